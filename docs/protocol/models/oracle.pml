/* oracle.pml: two coordinators, one register: no timestamp twice, none below one handed out before (I8).
 *
 * The rules are coordinator/clock.c's. -DDROP_<RULE> leaves one out; README.md lists them. Values of the register are
 * compared whole, as bytes: epoch, owner (id and nonce), beat, ceiling. Time passes in ticks for everybody alike; a process
 * that stands still just takes no step. The wall clock is any number, so any timestamp below the ceiling may be drawn. */

#ifndef T_MAX
#define T_MAX 6 /* highest ceiling */
#endif
#define EPOCHS 3
#define BEATS 1
#define LEASE 2 /* ticks */

#define VALUE(e, o, b, c) (((e) << 8) | ((o) << 6) | ((b) << 4) | (c))
#define EPOCH(v) ((v) >> 8)
#define BEAT(v) (((v) >> 4) & 3)
#define CEILING(v) ((v) & 15)
#define ABSENT 0
#define NOTHING 4095

#ifdef DROP_NAMED
#define OWNER(i) 0
#else
#define OWNER(i) ((i) + 2 * restarted[i])
#endif

short reg = ABSENT;  /* catalog key "oracle" */
byte handed = 0;     /* highest timestamp that left */

/* Of each coordinator. */
bool restarted[2];
bool issues[2];
bool known[2];
short key[2];        /* as last read or written */
byte last[2], ceiling[2];
short proposal[2];   /* 0: none */
bool doubtful[2];    /* handed to a socket, not surely refused */
bool must_read[2];
byte age[2];         /* ticks since the proposal was first sent */
byte lease[2];       /* ticks left */
byte changed[2];     /* ticks since the register was seen to change */
byte asking[2];      /* 0; 1: compare-and-set; 2: read */
short answer[2];     /* what was read; or 1: it stands, 2: it does not; NOTHING: no answer yet */
byte drawn[2];       /* drawn, not checked yet */

/* What was sent and may land at any time, or never: 0 and 1 of coordinator 0, 2 of coordinator 1. */
short expected[3], wanted[3];
bool awaited[3];

inline stands(i)
{
    if
    :: !issues[i] ->
#ifndef DROP_FROM_CEILING
        last[i] = (last[i] > ceiling[i] -> last[i] : ceiling[i]);
#endif
        issues[i] = true
    :: else
    fi;
    ceiling[i] = CEILING(proposal[i]);
    known[i] = true;
    key[i] = proposal[i];
    proposal[i] = 0;
    must_read[i] = false;
    changed[i] = 0;
#ifdef DROP_FROM_SENDING
    lease[i] = LEASE;
#else
    lease[i] = LEASE - age[i];
#endif
    age[i] = 0;
    doubtful[i] = false
}

inline was_read(i, value)
{
    must_read[i] = false;
    if
    :: value != ABSENT && proposal[i] == value -> stands(i)
    :: else ->
        if
        :: !known[i] || key[i] != value ->
            issues[i] = false;
            lease[i] = 0;
            proposal[i] = 0;
            doubtful[i] = false;
            age[i] = 0;
            known[i] = true;
            key[i] = value;
            ceiling[i] = (CEILING(value) > ceiling[i] -> CEILING(value) : ceiling[i]);
            changed[i] = 0
        :: else
        fi
    fi
}

inline send(i, k)
{
    expected[k] = key[i];
    wanted[k] = proposal[i];
    awaited[k] = true;
    if
#ifndef DROP_FIRST_SENDING
    :: doubtful[i]
#endif
    :: else -> age[i] = 0
    fi;
    asking[i] = 1;
    answer[i] = NOTHING;
    printf("%d sends epoch=%d beat=%d ceiling=%d\n", i, EPOCH(wanted[k]), BEAT(wanted[k]), CEILING(wanted[k]))
}

inline land(k)
{
    if
#ifdef DROP_COMPARE
    :: true ->
#else
    :: reg == expected[k] ->
#endif
        reg = wanted[k];
        tmp = 1
    :: else -> tmp = 2
    fi;
    if
    :: awaited[k] -> answer[k / 2] = tmp
    :: else
    fi;
    printf("epoch=%d beat=%d ceiling=%d of %d: %d (1: stands)\n", EPOCH(wanted[k]), BEAT(wanted[k]), CEILING(wanted[k]), k / 2, tmp);
    expected[k] = 0;
    wanted[k] = 0;
    awaited[k] = false;
    tmp = 0;
    forget()
}

/* What can never stand any more and nobody waits for: the register's values do not recur. */
inline forget()
{
#ifdef DROP_COMPARE
    skip
#else
    for (j : 0 .. 2) {
        if
        :: wanted[j] != 0 && !awaited[j] && expected[j] != reg -> expected[j] = 0; wanted[j] = 0
        :: else
        fi
    }
    j = 0
#endif
}

inline unawait(i)
{
    if
    :: i == 0 -> awaited[0] = false; awaited[1] = false
    :: else -> awaited[2] = false
    fi;
    forget()
}

inline no_answer(i)
{
    unawait(i);
    if
    :: asking[i] == 1 ->
#ifdef DROP_KEPT
        proposal[i] = 0;
        age[i] = 0
#else
        doubtful[i] = true;
        must_read[i] = true
#endif
    :: else
    fi;
    asking[i] = 0;
    answer[i] = 0;
    printf("%d gets no answer\n", i)
}

inline restart(i)
{
    unawait(i);
    restarted[i] = true;
    issues[i] = false;
    known[i] = false;
    key[i] = 0;
    last[i] = 0;
    ceiling[i] = 0;
    proposal[i] = 0;
    doubtful[i] = false;
    must_read[i] = false;
    age[i] = 0;
    lease[i] = 0;
    changed[i] = 0;
    asking[i] = 0;
    answer[i] = 0;
    drawn[i] = 0;
    printf("%d restarts\n", i)
}

/* `by`: how far the new ceiling is above the old one. */
inline propose(i, by)
{
    if
    :: issues[i] -> proposal[i] = VALUE(EPOCH(key[i]), OWNER(i), BEAT(key[i]) + 1, ceiling[i] + by)
    :: else -> proposal[i] = VALUE(EPOCH(key[i]) + 1, OWNER(i), 0, ceiling[i] + by)
    fi
}

#ifdef DROP_WAIT
#define MAY_TAKE(i) true
#else
#define MAY_TAKE(i) (key[i] == ABSENT || changed[i] >= LEASE)
#endif

#ifdef DROP_BELOW_CEILING
#define LIMIT(i) (T_MAX + 1)
#else
#define LIMIT(i) ceiling[i]
#endif

#define IDLE(i) (drawn[i] == 0)

inline hand_out(i)
{
    printf("%d hands out %d\n", i, drawn[i]);
    assert(drawn[i] > handed);
    handed = drawn[i]
}

inline tick()
{
    printf("tick\n");
    for (j : 0 .. 1) {
        age[j] = (proposal[j] != 0 && (doubtful[j] || must_read[j] || asking[j] == 1) && age[j] < LEASE -> age[j] + 1 : age[j]);
        lease[j] = (lease[j] > 0 -> lease[j] - 1 : 0);
        changed[j] = (known[j] && !issues[j] && changed[j] < LEASE -> changed[j] + 1 : changed[j])
    }
    j = 0
}

active proctype world()
{
    byte i, j, k, t;
    short tmp;
end:
    do
    :: d_step { tick() }
    :: atomic {
        select (i : 0 .. 1);
        if
        /* the catalog */
        :: asking[i] == 2 && answer[i] == NOTHING -> answer[i] = reg
        :: wanted[2 * i] != 0 -> d_step { k = 2 * i; land(k); k = 0 }
        :: i == 0 && wanted[1] != 0 -> d_step { k = 1; land(k); k = 0 }
        /* timestamps: one thread draws and checks, but it may stand still in between */
#ifdef DROP_CHECKED_AFTER
        :: issues[i] && drawn[i] == 0 && lease[i] > 0 -> drawn[i] = 1 /* checked */
        :: drawn[i] != 0 && last[i] + 1 < LIMIT(i) ->
            select (t : last[i] + 1 .. LIMIT(i) - 1);
            last[i] = t;
            drawn[i] = t;
            t = 0;
            hand_out(i);
            drawn[i] = 0
#else
        :: issues[i] && drawn[i] == 0 && last[i] + 1 < LIMIT(i) ->
            select (t : last[i] + 1 .. LIMIT(i) - 1);
            last[i] = t;
            drawn[i] = t;
            t = 0
        :: drawn[i] != 0 && lease[i] > 0 -> hand_out(i); drawn[i] = 0
        :: drawn[i] != 0 && lease[i] == 0 -> drawn[i] = 0
#endif
        :: i == 0 && !restarted[0] -> d_step { restart(i) }
        /* the question */

        :: IDLE(i) && asking[i] == 0 && (must_read[i] || !known[i] || (!issues[i] && proposal[i] == 0)) ->
            asking[i] = 2;
            answer[i] = NOTHING
        :: IDLE(i) && asking[i] == 2 && answer[i] != NOTHING ->
            d_step {
                asking[i] = 0;
                tmp = answer[i];
                answer[i] = 0;
                printf("%d read epoch=%d owner=%d beat=%d ceiling=%d\n", i, EPOCH(tmp), (tmp >> 6) & 3, BEAT(tmp), CEILING(tmp));
                was_read(i, tmp);
                tmp = 0
            }
        :: IDLE(i) && asking[i] == 0 && known[i] && !must_read[i] && proposal[i] == 0 &&
           (issues[i] -> BEAT(key[i]) < BEATS : (EPOCH(key[i]) < EPOCHS && MAY_TAKE(i))) ->
            if /* time may have stood still */
            :: issues[i] -> propose(i, 0)
            :: ceiling[i] + 2 <= T_MAX -> propose(i, 2)
            :: else
            fi
        :: IDLE(i) && asking[i] == 0 && proposal[i] != 0 && !must_read[i] && wanted[2 * i] == 0 -> d_step { k = 2 * i; send(i, k); k = 0 }
        :: IDLE(i) && asking[i] == 0 && proposal[i] != 0 && !must_read[i] && i == 0 && wanted[0] != 0 && wanted[1] == 0 ->
            d_step { k = 1; send(i, k); k = 0 }
        :: IDLE(i) && asking[i] == 1 && answer[i] == 1 -> d_step { printf("%d told it stands\n", i); asking[i] = 0; answer[i] = 0; stands(i) }
        :: IDLE(i) && asking[i] == 1 && answer[i] == 2 -> d_step { asking[i] = 0; answer[i] = 0; must_read[i] = true }
        :: IDLE(i) && asking[i] != 0 -> d_step { no_answer(i) }
        :: else
        fi;
        i = 0
    }
    od
}
