/* commit.pml: two groups of one key each, transactions over both, plain writes and reads at a timestamp beside them: what a
 * transaction read is still so at its commit's timestamp, a read at T has one answer, and nobody who sees a write misses
 * one that was acknowledged before it began.
 *
 * The rules are coordinator's (the order of the steps), shard/fsm's (locks, conflicts) and shard/replica's (what is observed),
 * ../transactions.md. -DDROP_<RULE> leaves one out; README.md lists them. What leaders.pml shows is taken from it: a write is
 * applied as it is stamped, a leader never loses its place. What resolve.pml shows, too: a decision stands, nobody dies.
 *
 * A play says who there is. SKEW: A reads 1 and writes 0, B reads 0 and writes 1. BOTH: A writes 0 and 1, B reads both and writes
 * nothing, and each key is written plainly. BLIND: A deletes both by prefix, blind to what is there; a leader went on from its
 * ceiling, ahead of all that was issued. In each somebody reads both at a timestamp. Values are told apart by their writer. */

mtype = { SKEW, BOTH, BLIND };
mtype = { IDLE, READING, LOCKING, DRAWING, VALIDATING, DECIDING, SETTLING, OVER }; /* where a transaction is */

#ifndef ISSUED_MAX
#define ISSUED_MAX 4
#endif
#define A 0
#define B 1
#define W 2 /* the plain writer, who writes key 0, then 1, or 1, then 0 */
#define S 2 /* the reader at a timestamp */
#define NOBODY 3

mtype play;
byte issued = 1;

/* Each group. */
byte observed[2];
byte mark[2];
byte holder[2]; /* of the lock */
byte min_commit[2];
/* (timestamp, sequence) of what A, B and W wrote, as 2 * timestamp + (stamped by a leader); 0: not written. */
byte written[6];
#define VERSION(g, w) written[3 * (g) + (w)]

/* Transactions A and B, and S. */
mtype at[2];
byte start[3];
byte commit[2];
byte saw[6];       /* by A, B, S: the version it read; */
bool did_read[6];  /* if it did */
byte locked[2], validated[2]; /* bit of a group */
bool decided[2];
bool repeated; /* a prepare came twice */

/* W: the second write began after these were acknowledged. */
byte plain;    /* how many are done */
bit first;     /* group of the first */
bool after_a;

#define READS(x, g) ((play == SKEW && (x) != (g)) || (play == BOTH && (x) == B))
#define WRITES(x, g) ((play == SKEW && (x) == (g)) || (play != SKEW && (x) == A))
#define READ_ONLY(x) (play == BOTH && (x) == B)
#define EXISTS(x) ((x) == A || play != BLIND)

byte newest;

/* The newest version of g below `bound` (a version), into `newest`. */
inline look(g, bound)
{
    newest = 0;
    for (w : 0 .. 2) {
        newest = (VERSION(g, w) < bound && VERSION(g, w) > newest -> VERSION(g, w) : newest)
    }
    w = 0
}

inline forgotten()
{
    newest = 0
}

/* A version comes in: it must be the newest of its key, and change no answer that was given. */
inline writes(g, who, version)
{
    printf("%d writes %d: %d.%d\n", who, g, version / 2, version % 2);
    look(g, 255);
    assert(version > newest);
    VERSION(g, who) = version;
    for (w : 0 .. 2) {
        if
        :: w == S && did_read[3 * g + w] -> assert(version >= 2 * start[w])
        :: w != S && decided[w % 2] && READS(w, g) && w != who -> assert(version >= 2 * commit[w % 2])
        :: else
        fi
    }
    w = 0
}

inline prepare(x, g, ok)
{
    look(g, 255);
    ok = true;
    if
    :: holder[g] == x ->
#ifdef DROP_PREPARE_SAME
        min_commit[g] = observed[g]
#else
        skip
#endif
    :: holder[g] != x && holder[g] != NOBODY -> ok = false
    :: holder[g] == NOBODY && newest >= 2 * start[x] && play != BLIND -> ok = false
    :: else -> holder[g] = x; min_commit[g] = observed[g]; locked[x] = locked[x] | (1 << g)
    fi
}

inline draw(x)
{
    issued++;
#ifndef DROP_ABOVE_MIN
    if
    :: holder[0] == x && min_commit[0] >= issued -> issued = min_commit[0] + 1
    :: else
    fi;
    if
    :: holder[1] == x && min_commit[1] >= issued -> issued = min_commit[1] + 1
    :: else
    fi;
#endif
    commit[x] = issued;
    printf("%d draws %d\n", x, issued)
}

inline validate(x, g, ok)
{
    ok = true;
#ifndef DROP_VALIDATE_OBSERVES
    observed[g] = (commit[x] > observed[g] -> commit[x] : observed[g]);
#endif
    look(g, 255);
    if
#ifndef DROP_FOREIGN_LOCK
    :: holder[g] != NOBODY && holder[g] != x -> ok = false
#endif
    :: newest >= 2 * start[x] -> ok = false
    :: else -> validated[x] = validated[x] | (1 << g)
    fi
}

#define ALL_LOCKED(x) (locked[x] == (WRITES(x, 0) -> 1 : 0) + (WRITES(x, 1) -> 2 : 0))
#define ALL_VALID(x) (validated[x] == (READS(x, 0) -> 1 : 0) + (READS(x, 1) -> 2 : 0))

#ifdef DROP_LOCKS_FIRST
#define FIRST VALIDATING
#define VALIDATED LOCKING
#define LOCKED DECIDING
#else
#define FIRST LOCKING
#define VALIDATED DECIDING
#define LOCKED DRAWING
#endif

inline give_up(x)
{
    printf("%d gives up\n", x);
    at[x] = OVER;
    commit[x] = 0;
    locked[x] = 0;
    validated[x] = 0;
    if
    :: holder[0] == x -> holder[0] = NOBODY; min_commit[0] = 0
    :: else
    fi;
    if
    :: holder[1] == x -> holder[1] = NOBODY; min_commit[1] = 0
    :: else
    fi
}

/* The decision: what it read is what is there below its commit's timestamp. */
inline decide(x)
{
    printf("%d is committed\n", x);
    decided[x] = true;
    at[x] = SETTLING;
    for (h : 0 .. 1) {
        if
        :: READS(x, h) ->
            look(h, 2 * commit[x]);
            assert(newest == saw[3 * h + x])
        :: else
        fi
    }
    h = 0;
    if
    :: READ_ONLY(x) ->
        /* It saw the second plain write, but not the first? Or not A, which was acknowledged before that write began? */
        assert(!(plain == 2 && saw[3 * (1 - first) + x] == VERSION(1 - first, W) &&
                 saw[3 * first + x] < VERSION(first, W)));
        assert(!(plain == 2 && after_a && saw[3 * (1 - first) + x] == VERSION(1 - first, W) &&
                 saw[3 * first + x] < 2 * commit[A]));
        at[x] = OVER
    :: else
    fi
}

/* Of a reader at T, or of a transaction that reads at its start. */
#ifdef DROP_LOCK_WAITS
#define VISIBLE(g, t) true
#else
#define VISIBLE(g, t) (holder[g] == NOBODY || min_commit[g] >= (t))
#endif

inline read_at(x, g)
{
    observed[g] = (start[x] > observed[g] -> start[x] : observed[g]);
    look(g, 2 * start[x]);
    printf("%d reads %d at %d: %d.%d\n", x, g, start[x], newest / 2, newest % 2);
    if
    :: did_read[3 * g + x] -> assert(saw[3 * g + x] == newest)
    :: else
    fi;
    saw[3 * g + x] = newest;
    did_read[3 * g + x] = true
}

#ifdef DROP_PLAIN_LOCKED
#define FREE(g) true
#else
#define FREE(g) (holder[g] == NOBODY)
#endif

#define MAY_READ(x, g) (start[x] != 0 && start[x] > mark[g] && VISIBLE(g, start[x]))
#define HAS_READ(x) ((!READS(x, 0) || did_read[x]) && (!READS(x, 1) || did_read[3 + x]))

active proctype world()
{
    byte x, g, w, h;
    bool ok;
    holder[0] = NOBODY;
    holder[1] = NOBODY;
    observed[0] = 1;
    observed[1] = 1;
    at[0] = IDLE;
    at[1] = IDLE;
    if
    :: play = BLIND
    :: play = SKEW
    :: play = BOTH; select (first : 0 .. 1)
    fi;
end:
    do
    :: atomic {
        select (g : 0 .. 1);
        select (x : 0 .. 1);
        if
        :: x == 0 && observed[g] < issued -> observed[g] = issued /* a beat */
        :: x == 0 && play == BLIND && mark[0] == 0 && g == 0 -> mark[0] = issued + 2; observed[0] = mark[0]
        /* S */
        :: x == 0 && g == 0 && start[S] == 0 && issued < ISSUED_MAX -> issued++; start[S] = issued
        :: x == 0 && MAY_READ(S, g) -> read_at(S, g)
        /* plain writes, one behind the other */
        :: x == 0 && play == BOTH && plain < 2 && g == (plain == 0 -> first : 1 - first) && FREE(g) ->
            after_a = (plain == 1 && decided[A]);
            writes(g, W, 2 * observed[g] + 1);
            plain++
        :: x == 0 && play == BLIND && plain == 0 && g == 0 && FREE(g) -> writes(g, W, 2 * observed[g] + 1); plain++
        /* transactions */
        :: EXISTS(x) && at[x] == IDLE && g == 0 && issued < ISSUED_MAX ->
            issued++;
            start[x] = issued;
            at[x] = READING
        :: at[x] == READING && READS(x, g) && !did_read[3 * g + x] && MAY_READ(x, g) -> read_at(x, g)
        :: at[x] == READING && g == 0 && HAS_READ(x) ->
#ifdef DROP_READ_ONLY_VALIDATED
            if
            :: READ_ONLY(x) -> commit[x] = start[x]; decide(x)
            :: else -> at[x] = FIRST
            fi
#else
            at[x] = (READ_ONLY(x) -> DRAWING : FIRST);
#endif
#if defined(DROP_LOCKS_FIRST) || defined(DROP_DRAWN_AFTER)
            if
            :: !READ_ONLY(x) -> draw(x)
            :: else
            fi
#endif
        :: at[x] == LOCKING && WRITES(x, g) && !(locked[x] & (1 << g)) ->
            prepare(x, g, ok);
            if
            :: ok
            :: else -> give_up(x)
            fi
        :: !repeated && locked[x] & (1 << g) && holder[g] == x -> repeated = true; prepare(x, g, ok) /* once more */
        :: at[x] == LOCKING && g == 0 && ALL_LOCKED(x) -> at[x] = LOCKED
        :: at[x] == DRAWING && g == 0 ->
#ifdef DROP_DRAWN_AFTER
            if
            :: commit[x] == 0 -> draw(x)
            :: else
            fi;
#else
            draw(x);
#endif
#ifdef DROP_READS_VALIDATED
            at[x] = DECIDING
#else
            at[x] = VALIDATING
#endif
        :: at[x] == VALIDATING && READS(x, g) && !(validated[x] & (1 << g)) ->
            validate(x, g, ok);
            if
            :: ok
            :: else -> give_up(x)
            fi
        :: at[x] == VALIDATING && g == 0 && ALL_VALID(x) -> at[x] = (READ_ONLY(x) -> DECIDING : VALIDATED)
        :: at[x] == DECIDING && g == 0 -> decide(x)
        /* the commits of both groups; either first: home may be either */
        :: at[x] == SETTLING && holder[g] == x ->
#ifndef DROP_COMMIT_OBSERVES
            observed[g] = (commit[x] > observed[g] -> commit[x] : observed[g]);
#endif
            holder[g] = NOBODY;
            min_commit[g] = 0;
            writes(g, x, 2 * commit[x]);
            if
            :: holder[1 - g] != x -> at[x] = OVER
            :: else
            fi
        :: else
        fi;
        forgotten();
        ok = false;
        x = 0;
        g = 0
    }
    od
}
