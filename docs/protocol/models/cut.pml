/* cut.pml: two shards, leaders in turn, one strict cut T: of two writes of which the second began after the first was
 * acknowledged, on whatever shards, the cut never shows the second without the first.
 *
 * The rules are coordinator/cut.c's and shard/replica's. -DDROP_<RULE> leaves one out; README.md lists them. What the other two
 * models show is taken from them: timestamps grow, and what is committed stays. So there is no log here: a write counts as
 * acknowledged as soon as the leader of the newest term stamped it, and a restart mark is committed at once.
 *
 * A write arrives first and is stamped later in the same turn, so a leader that holds may still stamp what came before. Of a
 * deposed leader nothing counts but its word, which it gives gladly. */

#ifndef ISSUED_MAX
#define ISSUED_MAX 4 /* timestamps drawn */
#endif
#ifndef CEILING_MAX
#define CEILING_MAX 5
#endif
#ifndef CHANGES
#define CHANGES 2 /* of leaders */
#endif

mtype = { ASKING, GOING };                         /* a leader's clock */
mtype = { ASKED, HELD, TOLD, CONFIRMED };          /* how far the round is with a shard */

byte issued = 1; /* the last timestamp drawn */
byte changes;
byte T;     /* the cut; guessed at the beginning, so that what is stamped before it is drawn is judged by it too */
bool drawn;
bool above; /* a write was stamped at or above T */
bool torn;  /* one that began after that was stamped below */

/* Of each shard, as its leader in the newest term knows it. */
mtype state[2];
byte observed[2], ceiling[2], mark[2];
byte answer[2];    /* drawn after it asked; 0: none */
bool holds[2];
bool came[2];      /* a write arrived and is not stamped yet, */
bool late[2];      /* and it began after a write at or above T was acknowledged */
mtype said[2];
bool by_leader[2]; /* by the leader of the newest term */

#define OTHERS (issued < ISSUED_MAX && issued + 1 != T)

inline observe(s, t)
{
    observed[s] = (t > observed[s] -> t : observed[s])
}

#ifdef DROP_ALL_ANSWER
#define CUT (said[0] == CONFIRMED || said[1] == CONFIRMED)
#else
#define CUT (said[0] == CONFIRMED && said[1] == CONFIRMED)
#endif

#ifdef DROP_MARK
#define READABLE true
#define UNMARKED(s) true
#else
#define READABLE (T > mark[0] && T > mark[1])
#define UNMARKED(s) (T > mark[s])
#endif

inline check()
{
    assert(!(CUT && torn && READABLE))
}

inline stamp(s)
{
    printf("%d stamps %d\n", s, observed[s]);
    if
    :: observed[s] >= T -> above = true
    :: else -> torn = torn || late[s]
    fi;
    came[s] = false;
    late[s] = false;
    check()
}

/* `again`: it is the one whose word was given, in a term before. */
inline elect(s, again)
{
    printf("%d has a new leader\n", s);
    changes++;
    observed[s] = mark[s];
    answer[s] = 0;
    holds[s] = false;
    came[s] = false;
    late[s] = false;
#ifdef DROP_ABANDONED
    by_leader[s] = again;
#else
    by_leader[s] = false;
#endif
#ifdef DROP_FRESH
    state[s] = GOING
#else
    state[s] = ASKING
#endif
}

#ifdef DROP_HOLD
#define TAKES(s) true
#else
#define TAKES(s) (!holds[s])
#endif

#ifdef DROP_DRAWN_LAST
#define MAY_DRAW (said[0] == HELD || said[1] == HELD)
#else
#define MAY_DRAW (said[0] == HELD && said[1] == HELD)
#endif

#ifdef DROP_STILL_HELD
#define STILL(s) true
#else
#define STILL(s) holds[s]
#endif

#ifdef DROP_BELOW_CEILING
#define BELOW(s) true
#else
#define BELOW(s) (T < ceiling[s])
#endif

#ifdef DROP_CONFIRMED
#define SURE(s) true
#else
#define SURE(s) by_leader[s]
#endif

active proctype world()
{
    bit s;
    byte t;
    state[0] = GOING;
    state[1] = GOING;
    observed[0] = 1;
    observed[1] = 1;
    ceiling[0] = 3;
    ceiling[1] = 3;
    said[0] = ASKED;
    said[1] = ASKED;
    select (T : 2 .. ISSUED_MAX);
end:
    do
    :: atomic { OTHERS -> issued++ } /* for somebody */
    :: atomic { issued + 1 == T && MAY_DRAW -> issued++; drawn = true; printf("T = %d is drawn\n", T) }
    :: atomic {
        select (s : 0 .. 1);
        if
        :: ceiling[s] < CEILING_MAX -> ceiling[s]++
        :: changes < CHANGES -> d_step { elect(s, false) }
#ifdef DROP_ABANDONED
        :: changes < CHANGES -> d_step { elect(s, true) }
#endif
        :: issued > observed[s] -> /* a beat, perhaps an old one */
            select (t : observed[s] + 1 .. issued);
            if
            :: t < ceiling[s] -> observe(s, t)
            :: else
            fi;
            t = 0
        /* a new leader */
        :: state[s] == ASKING && answer[s] == 0 && OTHERS -> issued++; answer[s] = issued
        :: state[s] == ASKING && answer[s] != 0 ->
            if
            :: answer[s] < ceiling[s] -> observe(s, answer[s]); state[s] = GOING
            :: else
            fi;
            answer[s] = 0
        :: state[s] == ASKING -> /* no coordinator answers */
            observe(s, ceiling[s]);
            mark[s] = observed[s];
            state[s] = GOING;
            answer[s] = 0;
            printf("%d goes on from %d\n", s, observed[s])
        /* writes */
        :: state[s] == GOING && !came[s] && TAKES(s) -> came[s] = true; late[s] = above
        :: came[s] -> d_step { stamp(s) }
        /* the cut */
        :: state[s] == GOING && said[s] == ASKED ->
            holds[s] = true;
            said[s] = HELD;
            by_leader[s] = true;
            printf("%d holds\n", s)
        :: said[s] == ASKED && changes > 0 -> said[s] = HELD; printf("an old leader of %d holds\n", s)
        :: holds[s] -> holds[s] = false; printf("the hold of %d runs out\n", s)
        :: drawn && said[s] == HELD && by_leader[s] && STILL(s) && !came[s] && BELOW(s) && UNMARKED(s) ->
#ifndef DROP_OBSERVED
            observe(s, T);
#endif
            holds[s] = false;
            said[s] = TOLD;
            printf("%d is told T\n", s)
        :: drawn && said[s] == HELD && !by_leader[s] -> said[s] = TOLD; printf("an old leader of %d is told T\n", s)
        :: said[s] == TOLD && SURE(s) -> d_step { said[s] = CONFIRMED; printf("%d confirms\n", s); check() }
        :: else
        fi;
        s = 0 }
    od
}
