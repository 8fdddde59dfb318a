/* resolve.pml: one transaction of two groups, whoever drives it and dies: one outcome, told truly, and nothing locked for ever.
 *
 * The rules are shard/fsm's and coordinator's, ../transactions.md. -DDROP_<RULE> leaves one out; README.md lists them. Two drivers of
 * the same id go their way, or stand still for ever at any step; a resolver looks at what is left; a client fences; the
 * session may be gone at any time. What was once sent arrives at any time later, any number of times. What commit.pml shows is taken
 * from it: here a conflict is just met or not. The group beside home is G; what is written there is keys, or prefixes only. */

mtype = { NONE, PREPARED, COMMITTED };                  /* records */
mtype = { OPEN, DONE, REFUSED, FENCED };                /* the outcome in home's session table */
mtype = { IDLE, BEGIN, OTHERS, DRAW, DECIDE, ROLL, FOLLOW, FORGETS, CLEAN, END }; /* where a driver is */

/* Home. */
mtype home = NONE;
mtype outcome = OPEN;
bool gone;          /* the session */
byte home_commit;   /* of the record */
byte done_commit;   /* of the outcome */
/* The other group. */
mtype there = NONE;
byte there_min;
byte observed;      /* by its leader */
bool blind;         /* prefixes only: no version is in the way of a repeated PREPARE */

/* Each driver. */
mtype at[2];
byte ts[2];         /* the commit's timestamp: its own, then what home said */

byte issued = 1;

/* What was sent. */
bool s_prepare, s_prepare_there, s_rollback, s_rollback_there, s_forget;
bool s_commit[4], s_commit_there[4];

/* What came of it, for the properties. */
byte committed;       /* home decided so; at */
byte committed_there;
bool told_no, told_ok;

/* Answers of the groups. */
byte said;            /* commit's timestamp if COMMITTED */
mtype = { A_PREPARED, A_COMMITTED, A_ROLLED_BACK, A_NO, A_NO_SESSION };
mtype answer;

inline check()
{
    assert(!(told_no && committed));
    assert(!(told_ok && !committed));
    assert(!(committed_there && committed_there != committed))
}

inline keep_outcome(o)
{
    if
    :: !gone -> outcome = o; done_commit = home_commit
    :: else
    fi
}

/* Home's answer when there is no record. */
inline by_outcome()
{
    if
    :: !gone && outcome == DONE -> answer = A_COMMITTED; said = done_commit
    :: !gone && outcome != DONE -> answer = A_ROLLED_BACK
#ifdef DROP_GONE_UNKNOWN
    :: gone -> answer = A_ROLLED_BACK
#else
    :: gone -> answer = A_NO_SESSION
#endif
    fi
}

inline prepare_home()
{
    if
    :: home == PREPARED -> answer = A_PREPARED
    :: home == COMMITTED -> answer = A_COMMITTED; said = home_commit
    :: home == NONE && gone -> answer = A_NO_SESSION
#ifdef DROP_OUTCOME_CHECKED
    :: home == NONE && !gone && outcome == DONE -> answer = A_COMMITTED; said = done_commit
    :: home == NONE && !gone && outcome != DONE -> home = PREPARED; answer = A_PREPARED
#else
    :: home == NONE && !gone && outcome == OPEN -> home = PREPARED; answer = A_PREPARED
    :: home == NONE && !gone && outcome != OPEN -> by_outcome()
#endif
    fi
}

inline prepare_there()
{
    if
    :: there == PREPARED ->
#ifdef DROP_PREPARE_SAME
        there_min = observed;
#endif
        answer = A_PREPARED
    :: there == NONE && committed_there && !blind -> answer = A_NO /* its own version is newer than its start */
    :: there == NONE && (!committed_there || blind) -> there = PREPARED; there_min = observed; answer = A_PREPARED
    fi
}

inline commit_home(t)
{
    if
    :: home == PREPARED ->
        assert(committed == 0);
        committed = t;
        home_commit = t;
        keep_outcome(DONE);
#ifdef DROP_RECORD_KEPT
        home = NONE; home_commit = 0;
#else
        home = COMMITTED;
#endif
        answer = A_COMMITTED;
        said = t
    :: home == COMMITTED -> answer = A_COMMITTED; said = home_commit
    :: home == NONE ->
#ifdef DROP_ABSENT_IS_NO
        answer = A_COMMITTED; said = t
#else
        by_outcome()
#endif
    fi;
    check()
}

inline commit_there(t)
{
    observed = (t > observed -> t : observed);
    if
    :: there == PREPARED ->
        if
#ifndef DROP_LATE_DROPPED
        :: t <= there_min -> there = NONE; there_min = 0 /* made after the commit */
#endif
        :: t > there_min -> there = NONE; there_min = 0; committed_there = t
#ifdef DROP_LATE_DROPPED
        :: t <= there_min -> skip /* refused */
#endif
        fi
    :: else
    fi;
    check()
}

inline rollback_home(may_now)
{
    if
    :: home == PREPARED && may_now ->
        home = NONE;
#ifndef DROP_OUTCOME_KEPT
        keep_outcome(REFUSED);
#endif
        answer = A_ROLLED_BACK
    :: home == PREPARED && !may_now -> answer = A_PREPARED
    :: home == COMMITTED -> answer = A_COMMITTED; said = home_commit
    :: home == NONE ->
#ifndef DROP_MARKER
        if
        :: !gone && outcome == OPEN -> outcome = REFUSED
        :: else
        fi;
#endif
        by_outcome()
    fi
}

inline rollback_there()
{
    there = NONE;
    there_min = 0
}

inline forget()
{
    if
    :: home == COMMITTED -> home = NONE; home_commit = 0
    :: else
    fi
}

inline fence()
{
    if
    :: gone
    :: !gone && outcome == OPEN ->
#ifndef DROP_FENCE_ROLLS_BACK
        home = NONE;
#endif
        outcome = FENCED;
        told_no = true
    :: !gone && outcome == DONE -> told_ok = true
    :: !gone && (outcome == REFUSED || outcome == FENCED) -> told_no = true
    fi;
    check()
}

/* A driver. */

inline ends(d)
{
    at[d] = END;
    ts[d] = 0
}

inline goes_on(d) /* home said that it is committed */
{
    told_ok = true;
    at[d] = FOLLOW;
#ifdef DROP_HOMES_WORD
    ts[d] = (ts[d] != 0 -> ts[d] : said);
#else
    ts[d] = said;
#endif
    s_commit_there[ts[d]] = true
}

inline rolls(d)
{
    at[d] = ROLL;
    ts[d] = 0;
    s_rollback = true;
#ifdef DROP_HOME_ROLLS_FIRST
    s_rollback_there = true;
#endif
#ifdef DROP_CONFLICT_LAST
    told_no = true
#endif
}

inline heard(d)
{
    if
    :: answer == A_PREPARED && at[d] == BEGIN -> at[d] = OTHERS; s_prepare_there = true
    :: answer == A_PREPARED && at[d] == OTHERS -> at[d] = DRAW
    :: answer == A_COMMITTED -> goes_on(d)
    :: answer == A_NO -> rolls(d)
    :: answer == A_ROLLED_BACK -> told_no = true; at[d] = CLEAN; ts[d] = 0; s_rollback_there = true
    :: answer == A_NO_SESSION && at[d] == BEGIN -> ends(d) /* this attempt did nothing; of another the client knows */
    :: answer == A_NO_SESSION && at[d] != BEGIN -> at[d] = CLEAN; ts[d] = 0; s_rollback_there = true /* unknown */
    fi;
    check()
}

inline forgotten()
{
    answer = 0;
    said = 0
}

/* Everybody is dead and all that was sent has arrived or is lost: does the resolver bring it to an end? */
inline quiesce()
{
    for (round : 0 .. 2) {
        if
        :: there == PREPARED ->
            rollback_home(true);
            if
            :: answer == A_COMMITTED -> commit_there(said)
            :: else -> rollback_there()
            fi
        :: else
        fi;
        if
        :: home == PREPARED -> rollback_home(true)
        :: home == COMMITTED -> commit_there(home_commit); forget()
        :: else
        fi
    }
    assert(home == NONE && there == NONE);
    assert(committed == committed_there)
}

active proctype world()
{
    bit d;
    byte t, round;
    at[0] = IDLE;
    at[1] = IDLE;
    if
    :: blind = true
    :: skip
    fi;
    do
    :: atomic {
        if
        /* late and repeated messages, whose answers nobody waits for */
        :: s_prepare -> prepare_home()
        :: s_prepare_there -> prepare_there()
        :: s_rollback -> rollback_home(true)
        :: s_rollback_there -> rollback_there()
        :: s_forget -> forget()
        :: select (t : 2 .. 3);
            if
            :: s_commit[t] -> commit_home(t)
            :: s_commit_there[t] -> commit_there(t)
            :: else
            fi;
            t = 0
        /* others */
        :: observed < issued -> observed = issued
        :: !gone -> gone = true; outcome = OPEN; done_commit = 0; printf("the session is gone\n")
        :: fence(); printf("fenced\n")
        /* the resolver; what it then sends arrives whenever it likes */
        :: there == PREPARED ->
#ifdef DROP_HOME_ASKED
            s_rollback_there = true
#else
            if
            :: rollback_home(true) /* expired */
            :: rollback_home(false)
            fi;
            if
            :: answer == A_COMMITTED -> s_commit_there[said] = true
            :: answer == A_ROLLED_BACK || answer == A_NO_SESSION -> s_rollback_there = true
            :: else
            fi
#endif
        :: home == PREPARED -> rollback_home(true)
        :: home == COMMITTED -> /* has all committed, then it can be forgotten */
            s_commit_there[home_commit] = true;
#ifndef DROP_FORGET_LAST
            commit_there(home_commit);
#endif
            s_forget = true
        /* the drivers */
        :: select (d : 0 .. 1);
            if
            :: at[d] == IDLE && (d == 0 || at[0] != IDLE) -> at[d] = BEGIN; s_prepare = true
            :: at[d] == BEGIN -> prepare_home(); printf("%d begins\n", d); heard(d)
            :: at[d] == OTHERS ->
                if
                :: prepare_there()
                :: answer = A_NO
                fi;
                printf("%d prepares the other\n", d);
                heard(d)
            :: at[d] == DRAW && issued < 3 ->
                issued++;
                ts[d] = issued;
                at[d] = DECIDE;
                s_commit[ts[d]] = true;
                printf("%d draws %d\n", d, ts[d])
            :: at[d] == DECIDE -> commit_home(ts[d]); printf("%d decides\n", d); heard(d)
            :: at[d] == ROLL -> rollback_home(true); printf("%d rolls back\n", d); heard(d)
            :: at[d] == FOLLOW -> commit_there(ts[d]); at[d] = FORGETS; s_forget = true
            :: at[d] == CLEAN -> rollback_there(); ends(d)
            :: at[d] == FORGETS -> forget(); ends(d)
            /* no answer, or a conflict met elsewhere */
            :: at[d] == BEGIN || at[d] == OTHERS || at[d] == DRAW || at[d] == DECIDE -> rolls(d); check()
            :: else
            fi;
            d = 0
        fi;
        forgotten()
    }
    :: d_step { quiesce(); forgotten() } -> break
    od
}
