/* leaders.pml: one group, leaders in turn, reads at one timestamp T: every read at T answers the same, and shows every write
 * that was acknowledged before T was drawn; no two versions are equal and none goes backwards (I8).
 *
 * The rules are shard/replica's: leader_clock.c, stamp.h, reads.c, calls.c. -DDROP_<RULE> leaves one out; README.md lists them.
 * Raft is taken as it is proved: the log of a new leader holds all that is committed and some of what is not. Two seats lead
 * in turn; the deposed one may go on for ever without noticing. What the oracle model shows is taken from it: timestamps grow.
 *
 * A write counts as acknowledged as soon as its leader has applied it, which is the hardest case. */

#ifndef ISSUED_MAX
#define ISSUED_MAX 3 /* timestamps drawn */
#endif
#ifndef CEILING_MAX
#define CEILING_MAX 4
#endif
#define WRITES 2
#define LOG 4
#define CHANGES 2 /* of leader */

#define NONE 255

byte issued; /* the last timestamp drawn */

/* The log of the leader of the newest term. An entry is a write (id > 0) or a restart mark (id 0). */
byte id[LOG], ts[LOG], seq[LOG];
byte length, commit;
byte writes;  /* made so far */
byte changes; /* of leader so far */
byte ceiling = 2; /* committed */

/* The reads that are watched are all at T. */
byte T;             /* 0: not drawn yet */
byte acked;         /* writes that were acknowledged, as bits */
byte acked_before;  /* likewise, before T was drawn */
byte result = NONE; /* what the first read at T showed */

mtype = { FOLLOWS, ELECTED, ASKING, MARKING, GOING };

/* Of each seat. */
bit leader; /* the seat that leads in the newest term */
mtype state[2];
bool began[2];         /* its no-op is committed */
byte inherited[2];     /* length of the log when it was elected */
byte applied[2];
byte known_commit[2];  /* of a deposed one */
byte known_length[2];
byte known_ceiling[2]; /* that it applied */
byte observed[2], next_seq[2];
byte answer[2];        /* drawn after it asked, on its way; 0: none */
byte mark[2];          /* restart mark as of what it applied, and: */
byte says[2];          /* what the entry says that it proposed */
bool marked[2];        /* it went on from the ceiling itself */
bool reading[2], confirmed[2];
byte read_floor[2];

inline observe(s, t)
{
    if
    :: t > observed[s] -> observed[s] = t; next_seq[s] = 1
    :: else
    fi
}

inline apply(s)
{
    if
    :: id[applied[s]] == 0 -> mark[s] = (ts[applied[s]] > mark[s] -> ts[applied[s]] : mark[s])
    :: else ->
        if
        :: s == leader -> acked = acked | (1 << id[applied[s]])
        :: else
        fi
    fi;
    applied[s]++
}

/* All of earlier terms is applied: it may ask, and will stamp above what it knows. */
inline begin(s)
{
    observe(s, mark[s]);
#ifndef DROP_CONTINUE
    for (k : 1 .. applied[s]) {
        if
        :: id[k - 1] != 0 ->
            observe(s, ts[k - 1]);
            if
            :: observed[s] == ts[k - 1] && next_seq[s] <= seq[k - 1] -> next_seq[s] = seq[k - 1] + 1
            :: else
            fi
        :: else
        fi
    }
    k = 0;
#endif
#ifdef DROP_FRESH
    state[s] = GOING
#else
    state[s] = ASKING
#endif
}

/* Keeps `length` at `keep`; what was behind it is lost. */
inline elect(s, keep)
{
    known_commit[leader] = commit;
    known_length[leader] = length;
    for (k : 0 .. LOG - 1) {
        if
        :: k >= keep -> id[k] = 0; ts[k] = 0; seq[k] = 0
        :: else
        fi
    }
    k = 0;
    length = keep;
    leader = s;
    changes++;
    state[s] = ELECTED;
    began[s] = false;
    inherited[s] = keep;
    applied[s] = 0;
    mark[s] = 0;
    says[s] = 0;
    marked[s] = false;
#ifndef DROP_OWN_QUESTION
    answer[s] = 0;
#endif
    reading[s] = false;
    confirmed[s] = false;
    read_floor[s] = 0;
    known_commit[s] = 0;
    known_length[s] = 0;
    known_ceiling[s] = ceiling
}

#ifdef DROP_FROM_CEILING
#define GOES_ON_FROM(s) observed[s]
#else
#define GOES_ON_FROM(s) (observed[s] > known_ceiling[s] -> observed[s] : known_ceiling[s])
#endif

/* No coordinator answers. */
inline give_up(s)
{
    m = GOES_ON_FROM(s);
#ifdef DROP_MARK
    observe(s, m);
    state[s] = GOING;
#else
    if
    :: mark[s] >= m -> observe(s, m); state[s] = GOING
    :: mark[s] < m && length < LOG ->
        id[length] = 0;
        ts[length] = m;
        length++;
        says[s] = m;
        marked[s] = true;
        state[s] = MARKING
    :: else
    fi;
#endif
    m = 0
}

inline write(s)
{
    for (k : 1 .. length) {
        assert(id[k - 1] == 0 || ts[k - 1] < observed[s] || (ts[k - 1] == observed[s] && seq[k - 1] < next_seq[s]))
    }
    k = 0;
    writes++;
    id[length] = writes;
    ts[length] = observed[s];
    seq[length] = next_seq[s];
    next_seq[s]++;
    length++;
    printf("%d stamps write %d with %d.%d\n", s, writes, observed[s], next_seq[s] - 1)
}

inline read_begin(s)
{
#ifndef DROP_OBSERVED
    observe(s, T);
#endif
    reading[s] = true;
#ifdef DROP_IN_FLIGHT
    read_floor[s] = (s == leader -> commit : known_commit[s])
#else
    read_floor[s] = (s == leader -> length : known_length[s])
#endif
}

inline read_end(s)
{
    m = 0;
    for (k : 1 .. applied[s]) {
        if
        :: id[k - 1] != 0 && ts[k - 1] < T -> m = m | (1 << id[k - 1])
        :: else
        fi
    }
    k = 0;
    printf("%d reads at %d: writes %d\n", s, T, m);
    assert((acked_before & ~m) == 0); /* what was acknowledged before T was drawn is there */
    assert(result == NONE || result == m); /* the same for ever */
    result = m;
    m = 0;
    reading[s] = false;
    confirmed[s] = false;
    read_floor[s] = 0
}

#ifdef DROP_BELOW_CEILING
#define BELOW(t, s) true
#else
#define BELOW(t, s) ((t) < known_ceiling[s])
#endif

#ifdef DROP_MARK
#define ABOVE_MARK(s) true
#else
#ifdef DROP_MARK_KEPT
#define ABOVE_MARK(s) (!marked[s] || T > mark[s])
#else
#define ABOVE_MARK(s) (T > mark[s])
#endif
#endif

#ifdef DROP_CONFIRMED
#define SURE(s) true
#else
#define SURE(s) confirmed[s]
#endif

#ifdef DROP_APPLIED_FIRST
#define CAUGHT_UP(s) true
#else
#define CAUGHT_UP(s) (began[s] && applied[s] >= inherited[s])
#endif

active proctype world()
{
    byte k, m, t;
    bit s;
    state[0] = ELECTED;
    state[1] = FOLLOWS;
    known_ceiling[0] = ceiling;
    known_ceiling[1] = ceiling;
end:
    do
    /* clients draw timestamps */
    :: atomic { issued < ISSUED_MAX -> issued++ }
    :: atomic { issued < ISSUED_MAX && T == 0 -> issued++; T = issued; acked_before = acked;
        printf("T = %d is drawn, acknowledged: %d\n", T, acked) }
    /* Raft */
    :: atomic { changes < CHANGES ->
        select (t : commit .. length);
        s = 1 - leader;
        if
        :: observed[s] = 0; next_seq[s] = 0 /* it was started anew */
        :: observed[s] != 0
        fi;
        printf("%d leads with %d of %d entries\n", s, t, length);
        d_step { elect(s, t); t = 0; s = 0 } }
    :: atomic { !began[leader] -> began[leader] = true; commit = inherited[leader] }
    :: atomic { began[leader] && commit < length -> commit++ }
    /* what any coordinator says, and a lease */
    :: atomic { began[leader] && state[leader] != ELECTED && ceiling < CEILING_MAX ->
        ceiling++;
        known_ceiling[leader] = ceiling }
    :: atomic {
        select (s : 0 .. 1);
        if
        :: applied[s] < (s == leader -> commit : known_commit[s]) -> d_step { apply(s) }
        :: issued > observed[s] -> /* a beat, perhaps an old one */
            select (t : observed[s] + 1 .. issued);
            if
            :: t < known_ceiling[s] ->
                observe(s, t);
#ifdef DROP_DRAWN_AFTER
                if
                :: state[s] == ASKING -> state[s] = GOING
                :: else
                fi
#endif
            :: else
            fi;
            t = 0
        :: state[s] == ELECTED && CAUGHT_UP(s) -> d_step { begin(s) }
        :: state[s] == ASKING && answer[s] == 0 && issued < ISSUED_MAX ->
            issued++;
            answer[s] = issued;
            printf("%d is drawn for %d\n", issued, s)
        :: state[s] == ASKING && answer[s] != 0 ->
            if
            :: answer[s] < known_ceiling[s] -> observe(s, answer[s]); state[s] = GOING
            :: else
            fi;
            answer[s] = 0
        :: state[s] == ASKING && s == leader -> d_step { printf("%d goes on from the ceiling\n", s); give_up(s) }
        :: state[s] == MARKING && mark[s] >= says[s] -> observe(s, mark[s]); state[s] = GOING
        :: state[s] == GOING && s == leader && writes < WRITES && length < LOG -> d_step { write(s) }
        :: state[s] == GOING && T != 0 && !reading[s] && BELOW(T, s) && ABOVE_MARK(s) -> d_step { read_begin(s) }
        :: reading[s] && !confirmed[s] && s == leader -> confirmed[s] = true
        :: reading[s] && SURE(s) && applied[s] >= read_floor[s] -> d_step { read_end(s) }
        :: else
        fi;
        s = 0 }
    od
}
