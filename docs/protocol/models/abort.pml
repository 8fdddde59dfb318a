/* abort.pml: a migration is prepared, sealed, aborted, by coordinators that know nothing of each other: nobody is told
 * ABORTED of what is ever sealed, nothing is sealed twice, and the shard takes writes again.
 *
 * The rules are shard/fsm's and shard/replica's. -DDROP_<RULE> leaves one out; README.md lists them. Raft is taken as it is
 * proved: the log of a new leader holds all that is committed and some of what is not. What was once sent to the shard arrives
 * at any time later, any number of times. What is applied leaves the log here. A swap is one step: seal.pml is about that. */

#define LOG 3 /* entries that are not applied yet */
#define EPOCH_MAX 3
#define CHANGES 2 /* of the members */

/* An entry is 4 * kind + id. */
#define PREPARE 1
#define SEAL 2
#define ABORT 3
#define CHANGE 4

byte log[LOG], length;

/* The state. */
byte epoch = 1;
byte configuration;
byte prepared; /* the newest id that was */
byte aborted;  /* ids, as bits */
byte sealed;   /* the newest id that was */

/* What the coordinators want, by id. */
byte planned; /* as bits */
byte its_epoch[3], its_configuration[3]; /* of which they knew when they planned it */

/* What they were told. */
byte told_prepared, told_aborted;

byte was_sealed; /* ids, as bits, for the property */
#ifdef DROP_DEAD_SEAL
bool dead_seal; /* the log holds a seal that had no effect */
#endif

#define BIT(x) (1 << (x))
#define HAS(set, x) (((set) & BIT(x)) != 0)

/* A prepared migration of which nothing has become yet. */
#define UNDER_WAY (prepared != 0 && prepared != sealed && !HAS(aborted, prepared))

inline apply_prepare(x)
{
    if
    :: its_epoch[x] == epoch && its_configuration[x] == configuration && !HAS(aborted, x) && (!UNDER_WAY || prepared == x) ->
        prepared = x;
        told_prepared = told_prepared | BIT(x);
        printf("%d is prepared in epoch %d\n", x, epoch)
    :: else -> printf("%d is not prepared\n", x)
    fi
}

#ifdef DROP_SEAL_CHECKS_ABORTED
#define NOT_ABORTED(x) true
#else
#define NOT_ABORTED(x) (!HAS(aborted, x))
#endif
#ifdef DROP_SEAL_CHECKS_EPOCH
#define SEAL_OF_EPOCH(x) true
#else
#define SEAL_OF_EPOCH(x) (its_epoch[x] == epoch)
#endif
#ifdef DROP_SEAL_CHECKS_MEMBERS
#define SAME_MEMBERS(x) true
#else
#define SAME_MEMBERS(x) (its_configuration[x] == configuration)
#endif

inline apply_seal(x)
{
    if
    :: prepared == x && NOT_ABORTED(x) && SEAL_OF_EPOCH(x) && SAME_MEMBERS(x) && epoch < EPOCH_MAX ->
        printf("%d is sealed in epoch %d\n", x, epoch);
        assert(!HAS(told_aborted, x));
        assert(!HAS(was_sealed, x));
        assert(its_configuration[x] == configuration); /* the members are those that were found healthy and staged */
        sealed = x;
        was_sealed = was_sealed | BIT(x);
        epoch++;
#ifdef DROP_DEAD_SEAL
        dead_seal = false;
#endif
        for (k : 0 .. LOG - 1) { /* what is behind it is never applied */
            log[k] = 0
        }
        length = 0
    :: else ->
#ifdef DROP_DEAD_SEAL
        dead_seal = true;
#endif
        printf("the seal of %d has no effect\n", x)
    fi
}

#ifdef DROP_ABORT_CHECKS_EPOCH
#define ABORT_OF_EPOCH(x) true
#else
#define ABORT_OF_EPOCH(x) (its_epoch[x] == epoch)
#endif
#ifdef DROP_ABORT_REMEMBERED
#define REMEMBERED(x) (prepared == (x))
#else
#define REMEMBERED(x) true
#endif

inline tells_aborted(x)
{
    told_aborted = told_aborted | BIT(x);
    printf("ABORTED is told of %d\n", x);
    assert(!HAS(was_sealed, x))
}

inline apply_abort(x)
{
    if
    :: ABORT_OF_EPOCH(x) && sealed != x ->
        aborted = (REMEMBERED(x) -> aborted | BIT(x) : aborted);
        tells_aborted(x)
    :: else ->
#ifdef DROP_ABORT_TELLS_STATE
        tells_aborted(x);
#endif
        skip
    fi
}

/* The first entry is committed and applied. */
inline apply()
{
    m = log[0] / 4;
    t = log[0] % 4;
    for (k : 1 .. LOG - 1) {
        log[k - 1] = log[k]
    }
    log[LOG - 1] = 0;
    length--;
    if
    :: m == PREPARE -> apply_prepare(t)
    :: m == SEAL -> apply_seal(t)
    :: m == ABORT -> apply_abort(t)
    :: m == CHANGE -> configuration++; printf("the members change\n")
    fi;
    m = 0;
    t = 0;
    k = 0
}

/* stopped: the leader takes no proposal. */
inline find_stopped()
{
    stopped = false;
#ifdef DROP_DEAD_SEAL
    stopped = dead_seal;
#endif
    for (k : 1 .. length) {
        stopped = stopped || log[k - 1] / 4 == SEAL
    }
    k = 0
}

inline propose(kind, x)
{
    find_stopped();
    if
    :: !stopped ->
        log[length] = 4 * kind + x;
        length++
    :: else
    fi;
    stopped = false
}

/* All that is there is committed: does it take a write? */
inline recover()
{
    do
    :: length == 0 -> break
    :: else -> apply()
    od;
    find_stopped();
    assert(!stopped)
}

inline clear()
{
    epoch = 0;
    configuration = 0;
    prepared = 0;
    aborted = 0;
    sealed = 0;
    planned = 0;
    for (k : 0 .. 2) {
        its_epoch[k] = 0;
        its_configuration[k] = 0
    }
    k = 0;
    told_prepared = 0;
    told_aborted = 0;
#ifdef DROP_DEAD_SEAL
    dead_seal = false;
#endif
    was_sealed = 0
}

active proctype world()
{
    byte x, k, m, t;
    bool stopped;
    do
    :: atomic {
        if
        :: x = 1
        :: x = 2
        fi;
        if
        /* the coordinators */
        :: !HAS(planned, x) && (x == 1 || HAS(planned, 1)) ->
            planned = planned | BIT(x);
            its_epoch[x] = epoch;
            its_configuration[x] = configuration;
            printf("%d is planned\n", x)
        :: HAS(planned, x) && length < LOG -> d_step { propose(PREPARE, x); skip }
        :: HAS(told_prepared, x) && length < LOG -> d_step { propose(SEAL, x); skip }
        :: HAS(planned, x) && length < LOG ->
#ifdef DROP_ABORT_APPLIED
            tells_aborted(x);
#endif
            d_step { propose(ABORT, x); skip }
        /* an operator */
        :: configuration < CHANGES && length < LOG && !UNDER_WAY -> d_step { propose(CHANGE, 0); skip }
        /* Raft */
        :: length > 0 -> d_step { apply(); skip }
        :: length > 0 -> length--; log[length] = 0; printf("another leads, without the last entry\n")
        :: else
        fi;
        x = 0 }
    :: d_step { recover(); clear(); skip } -> break
    od
}
