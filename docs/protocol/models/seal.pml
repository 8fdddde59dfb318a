/* seal.pml: one shard of three members changes its engine, and changes it back: nothing acknowledged is lost, no read is
 * stale, no term has two leaders, and two members that live can always come to serve.
 *
 * The rules are shard/replica's. -DDROP_<RULE> leaves one out; README.md lists them. The migration is prepared and not
 * aborted: abort.pml is about that. Logs, terms and votes are Raft's. An election is one step of two members, and so is the
 * sending of one entry: a message that comes late is the same as a member that stood still. A member may die and return
 * between any two steps. That it never returns matters only to the others: it is asked in every state, and ends the run. */

/* Three plays: one change of the engine; a change and the way back; a change and one state that is lost. */
#define CHANGE 0
#define BACK 1
#define LOSS 2
byte play;

#define EPOCHS 3
#define LAST_EPOCH (play == BACK -> 3 : 2)
#define ELECTIONS(e) (play == CHANGE || (play == BACK && (e) == 1) -> 2 : 1) /* in an epoch */
#define SEALS (play == CHANGE -> 2 : 1)                                      /* proposed in an epoch */
#define WRITES (play == BACK -> 1 : 2)
#define LOSSES (play == LOSS -> 1 : 0)
#ifndef BEFORE
#define BEFORE 3 /* entries of the first epoch */
#endif
#define AFTER (play == BACK -> 2 : 3) /* and of a later one */
#define LOG 7
#define LIMIT(e) ((e) == 1 -> BEFORE : MIN(LOG, epochs[(e) - 1].X + AFTER))
#define FIRST_TERM 2

/* An entry is 8 * term + kind. */
#define NOOP 1
#define SEAL 2
#define WRITE 3 /* and WRITE + 1 */

/* What keeps a member from taking part. */
#define UNBUILT 1  /* its identity names an engine whose files are not there yet */
#define BROKEN 2   /* and they never will be */
#define ARCHIVED 3 /* its old engine is gone, the new one not made */

#if defined(DROP_VOTED_WAITS) || defined(DROP_FOLLOWED_WAITS)
#define FORGETS
#endif

typedef member {
    unsigned epoch : 2; /* of its identity */
    unsigned term : 4;  /* hard state */
    unsigned base : 3;  /* the log begins behind it */
    unsigned base_term : 4;
    unsigned length : 3;
    unsigned applied : 3; /* below base: the state is lost */
    unsigned applied_term : 4;
    unsigned writes : 2; /* in the state, as bits */
    unsigned to : 2;     /* the epoch to which the newest seal in the state leads */
    bool leader;         /* it believes so */
    bool lease;
    bool built; /* the state is flushed, the target's files are there */
    unsigned down : 2;
    byte voted; /* the highest term of this epoch that it ever stored, for the property */
#ifdef DROP_NOT_CREATED_TWICE
    bool finished; /* says the swap's journal */
#endif
#ifdef FORGETS
    bool promised; /* it knows that it heard a leader */
    bool has_voted;
#endif
#ifdef DROP_SEAL_OF_STATE
    unsigned told : 2; /* the epoch of the member that gave it its state */
#endif
#ifdef DROP_FLUSHED
    bool unflushed;
#endif
    byte log[LOG]
};
member m[3];

typedef facts {
    unsigned elections : 2;
    unsigned seals : 2; /* proposed */
    unsigned led : 4;   /* the highest term that had a leader */
    unsigned X : 4;     /* its seal: where, of what term, behind what writes, as the first one found who applied it */
    unsigned T : 4;
    unsigned cut : 2
};
facts epochs[EPOCHS + 1]; /* from 1 */

byte proposed; /* writes */
byte seen;     /* writes that were acknowledged or shown, as bits */
byte losses;   /* of a state */

/* Of one step. */
hidden byte k, n, a, h, g, p, q, r, count, rounds;
hidden byte ok, up, exempt;

#define AT(i, x) m[i].log[(x) - 1]
#define TERM_AT(i, x) ((x) == m[i].base -> m[i].base_term : AT(i, x) >> 3)
#define HOLDS(i, x, t) (m[i].base <= (x) && (x) <= m[i].length && TERM_AT(i, x) == (t))
#define MAX(x, y) ((x) > (y) -> (x) : (y))
#define MIN(x, y) ((x) < (y) -> (x) : (y))
#define SEALED(i) (m[i].to > m[i].epoch)
#define INTACT(i) (m[i].applied >= m[i].base)

/* ---- the state ---- */

inline apply(i)
{
    n = m[i].applied + 1;
    k = AT(i, n) & 7;
    if
    :: k >= WRITE ->
        m[i].writes = m[i].writes | (1 << (k - WRITE));
        seen = (m[i].leader -> seen | (1 << (k - WRITE)) : seen)
    :: k == SEAL && !SEALED(i) ->
        a = m[i].epoch;
        if
        :: epochs[a].X == 0 -> epochs[a].X = n; epochs[a].T = AT(i, n) >> 3; epochs[a].cut = m[i].writes
        :: else -> assert(epochs[a].X == n && epochs[a].T == AT(i, n) >> 3 && epochs[a].cut == m[i].writes)
        fi;
        m[i].to = a + 1
    :: else
    fi;
    m[i].applied = n;
    m[i].applied_term = AT(i, n) >> 3;
    printf("%d applies %d\n", i, n)
}

#ifdef DROP_APPLY_STOPS
#define APPLIES(i) true
#else
#define APPLIES(i) (!SEALED(i))
#endif

/* The state as it was at x, which is not below what was flushed. */
inline falls_back(i, x)
{
    for (n : x + 1 .. m[i].applied) {
        k = AT(i, n) & 7;
        if
        :: k >= WRITE -> m[i].writes = m[i].writes & ~(1 << (k - WRITE))
        :: k == SEAL -> m[i].to = m[i].epoch
        :: else
        fi
    }
    m[i].applied = x;
    m[i].applied_term = TERM_AT(i, x);
    printf("%d comes back with state %d\n", i, x)
}

inline loses_state(i)
{
    m[i].writes = 0;
    m[i].to = m[i].epoch;
#ifdef DROP_COVERS_X
    m[i].applied = m[i].base;
    m[i].applied_term = m[i].base_term
#else
    m[i].applied = 0;
    m[i].applied_term = 0
#endif
}

/* The state of one is given to another. */
inline takes_state(taker, giver)
{
    m[taker].writes = m[giver].writes;
    m[taker].to = m[giver].to;
    m[taker].applied = m[giver].applied;
    m[taker].applied_term = m[giver].applied_term
}

inline starts_log(i)
{
    for (n : 1 .. LOG) {
        AT(i, n) = 0
    }
    m[i].base = m[i].applied;
    m[i].base_term = m[i].applied_term;
    m[i].length = m[i].applied
}

/* ---- consensus ---- */

/* n: the last index at which the logs of i and j agree; ok: there is one. */
inline find_match(i, j)
{
    n = MIN(m[i].length, m[j].length);
    k = MAX(m[i].base, m[j].base);
    ok = false;
    do
    :: n < k || ok -> break
    :: else ->
        if
        :: TERM_AT(i, n) == TERM_AT(j, n) -> ok = true
        :: else ->
            if
            :: n == 0 -> break
            :: else -> n--
            fi
        fi
    od
}

/* ok: i, which leads, may take entry x for committed. */
inline find_committed(i, x)
{
    ok = false;
    for (n : x .. m[i].length) {
        for (g : 0 .. 2) {
            ok = ok || (g != i && m[g].epoch == m[i].epoch && m[g].down == 0 && TERM_AT(i, n) == m[i].term &&
                HOLDS(g, n, m[i].term))
        }
    }
}

inline hears_term(i, to)
{
    if
    :: m[i].term < to -> m[i].term = to; m[i].leader = false; m[i].lease = false
    :: else
    fi;
    m[i].voted = MAX(m[i].voted, to)
}

#define LAST_TERM(i) TERM_AT(i, m[i].length)
#define UP_TO_DATE(c, v) \
    (LAST_TERM(c) > LAST_TERM(v) || (LAST_TERM(c) == LAST_TERM(v) && m[c].length >= m[v].length))

#ifdef DROP_VOTE_OF_EPOCH
#define MAY_VOTE(c, v) (m[v].epoch <= m[c].epoch)
#else
#define MAY_VOTE(c, v) (m[v].epoch == m[c].epoch)
#endif

inline elect(i, j)
{
    a = MAX(m[i].term, m[j].term) + 1;
    h = m[i].epoch;
    printf("%d leads epoch %d in term %d, elected by %d\n", i, h, a, j);
    assert(a > m[i].voted && (a > m[j].voted || m[j].epoch != h)); /* one vote in a term */
    assert(a > epochs[h].led); /* one leader in a term: these are given without a gap */
    epochs[h].led = a;
    epochs[h].elections++;
    hears_term(i, a);
    hears_term(j, a);
    m[i].leader = true;
    /* time passes before anybody votes, unless he forgot */
#ifdef FORGETS
    ok = m[i].promised || m[j].promised;
    m[i].has_voted = true;
    m[j].has_voted = true;
#else
    ok = true;
#endif
    for (n : 0 .. 2) {
        if
        :: ok && m[n].epoch == h ->
            m[n].lease = false;
#ifdef FORGETS
            m[n].promised = false
#endif
        :: else
        fi
    }
    m[i].length++;
    AT(i, m[i].length) = a * 8 + NOOP
}

/* i, which leads, sends j an entry, or only that it leads. */
inline send(i, j)
{
    hears_term(j, m[i].term);
    printf("%d hears from %d\n", j, i);
    m[i].lease = true;
#ifdef FORGETS
    m[j].promised = true;
#endif
    find_match(i, j);
    if
    :: ok && n < m[i].length ->
        assert(n >= m[j].applied || !HOLDS(j, m[j].applied, m[j].applied_term)); /* what is applied is not taken back */
        n++;
        printf("%d sends %d to %d\n", i, n, j);
        AT(j, n) = AT(i, n);
        m[j].length = n;
        for (k : n + 1 .. LOG) {
            AT(j, k) = 0
        }
    :: ok && n == m[i].length
    :: !ok && m[i].base > m[j].length && INTACT(i) -> /* installs its state */
        takes_state(j, i);
        starts_log(j)
    :: else
    fi
}

/* ---- service ---- */

/* up: i leads and has applied what was before; ok: its log holds no seal that it has not applied. */
inline find_serving(i)
{
    up = m[i].leader && m[i].applied_term == m[i].term && INTACT(i) && !SEALED(i);
    ok = true;
    for (n : m[i].applied + 1 .. m[i].length) {
        ok = ok && (AT(i, n) & 7) != SEAL
    }
}

#ifdef DROP_READS_STOP
#define READS_GO_ON up
#else
#define READS_GO_ON (up && ok)
#endif

inline append(i, kind)
{
    m[i].length++;
    AT(i, m[i].length) = m[i].term * 8 + kind
}

inline write(i)
{
    find_serving(i);
    if
    :: up && ok -> append(i, WRITE + proposed); proposed++; printf("%d takes write %d\n", i, proposed)
    :: else
    fi
}

inline seal(i)
{
    find_serving(i);
    if
    :: up && ok -> append(i, SEAL); epochs[m[i].epoch].seals++; printf("%d takes a seal at %d\n", i, m[i].length)
    :: else
    fi
}

inline read(i)
{
    find_serving(i);
    if
    :: READS_GO_ON ->
        printf("%d reads in epoch %d: writes %d, seen before: %d\n", i, m[i].epoch, m[i].writes, seen);
        assert((seen & ~m[i].writes) == 0);
        seen = m[i].writes
    :: else
    fi
}

/* ---- the swap ---- */

#ifdef DROP_TERM_FLOOR
#define FLOOR(i) 0
#else
#define FLOOR(i) MAX(epochs[m[i].epoch - 1].T + 1, m[i].applied_term)
#endif

/* identity is replaced, and with it all that the engine is. */
inline swaps(i)
{
#ifdef DROP_SEAL_OF_STATE
    m[i].epoch = (m[i].told > m[i].epoch -> m[i].told : m[i].to);
    m[i].to = m[i].epoch;
    m[i].told = 0;
#else
    m[i].epoch = m[i].to;
#endif
    m[i].built = false;
    m[i].leader = false;
    m[i].lease = false;
    starts_log(i);
    m[i].term = FLOOR(i);
    m[i].voted = m[i].term;
    printf("%d swaps to epoch %d with state %d of term %d\n", i, m[i].epoch, m[i].applied, m[i].applied_term);
#ifdef DROP_NOT_CREATED_TWICE
    m[i].finished = false;
#endif
#ifdef FORGETS
    m[i].promised = false;
    m[i].has_voted = false;
#endif
#ifdef DROP_FLUSHED
    m[i].unflushed = true;
#endif
#ifdef DROP_PUBLISH_Y
    if
    :: m[i].applied > epochs[m[i].epoch - 1].X -> m[i].down = BROKEN /* a log that ends below the state is damaged */
    :: else
    fi;
#endif
}

#ifdef DROP_TERM_COMPARED
#define HAS_SEAL(i, e) (m[i].epoch == (e) && m[i].length >= epochs[e].X)
#else
#define HAS_SEAL(i, e) (m[i].epoch == (e) && HOLDS(i, epochs[e].X, epochs[e].T))
#endif
#ifdef DROP_FETCH_FROM_ANY
#define GIVES_STATE(s) (INTACT(s) && m[s].leader)
#else
#define GIVES_STATE(s) INTACT(s)
#endif
#ifdef DROP_SEALED_ANSWER
#define ANSWERS(s) false
#else
#ifdef DROP_IDENTITY_CARRIES
#define ANSWERS(s) INTACT(s)
#else
#define ANSWERS(s) true
#endif
#endif

/* j, of a later epoch, tells i that its epoch was sealed. */
inline answer_sealed(i, j)
{
    a = m[j].epoch - 1;
    if
    :: m[i].down == 0 && HAS_SEAL(i, a) ->
        if
        :: APPLIES(i) && m[i].applied < epochs[a].X ->
            printf("%d is told by %d that %d is sealed\n", i, j, epochs[a].X);
            apply(i)
        :: else
        fi
#ifdef DROP_ARCHIVE_LAST
    :: m[i].down == 0 && !HAS_SEAL(i, a) -> m[i].down = ARCHIVED; printf("%d archives\n", i)
    :: m[i].down == ARCHIVED && GIVES_STATE(j) ->
        m[i].down = 0;
#else
    :: m[i].down == 0 && !HAS_SEAL(i, a) && GIVES_STATE(j) ->
#endif
        takes_state(i, j);
#ifdef DROP_SEAL_OF_STATE
        m[i].told = m[j].epoch;
#endif
        printf("%d fetches state %d from %d\n", i, m[i].applied, j)
    :: else
    fi
}

/* ---- what the others can do when one is dead ---- */

#define LIVES(i, dead) ((i) != (dead) && m[i].down != BROKEN)

inline complete_swaps(dead)
{
    h = 0;
    for (p : 0 .. 2) {
        if
        :: LIVES(p, dead) ->
            m[p].down = (m[p].down == UNBUILT -> 0 : m[p].down);
            if
            :: SEALED(p) && m[p].down == 0 -> swaps(p)
            :: else
            fi;
            h = (m[p].down == 0 && m[p].epoch > h -> m[p].epoch : h)
        :: else
        fi
    }
    for (q : 0 .. 2) {
        for (p : 0 .. 2) {
            if
            :: LIVES(q, dead) && LIVES(p, dead) && m[q].down == 0 && m[q].epoch == h && ANSWERS(q) ->
                for (r : 0 .. LOG) {
                    if
                    :: m[p].epoch < h && !SEALED(p) -> answer_sealed(p, q)
                    :: else
                    fi
                }
            :: else
            fi
        }
    }
}

#define IN_GROUP(i, dead) (LIVES(i, dead) && m[i].down == 0 && m[i].epoch == h)

/* The best log leads. Its state may be lost: it takes another's. Then all of its log is committed and applied. */
inline group_goes_on(dead)
{
    count = 0;
    q = 3;
    for (p : 0 .. 2) {
        if
        :: IN_GROUP(p, dead) ->
            count++;
            m[p].leader = false;
            if
            :: q == 3 -> q = p
            :: else ->
                if
                :: UP_TO_DATE(p, q) -> q = p
                :: else
                fi
            fi
        :: else
        fi
    }
    ok = false;
    if
    :: count >= 2 ->
        for (p : 0 .. 2) {
            if
            :: IN_GROUP(p, dead) && p != q ->
                for (r : 1 .. LOG) { /* what both have is committed, and so is what the leader's log begins behind */
                    if
                    :: INTACT(p) && APPLIES(p) && m[p].applied < m[p].length &&
                       ((m[p].applied < m[q].base && HOLDS(p, m[q].base, m[q].base_term)) ||
                        (m[p].applied >= m[q].base && m[p].applied < m[q].length &&
                         AT(p, m[p].applied + 1) == AT(q, m[p].applied + 1))) -> apply(p)
                    :: else
                    fi
                }
                if
                :: !INTACT(q) && m[p].applied >= m[q].base -> takes_state(q, p)
                :: else
                fi
            :: else
            fi
        }
        m[q].leader = true;
        for (r : 1 .. LOG) {
            if
            :: INTACT(q) && APPLIES(q) && m[q].applied < m[q].length -> apply(q)
            :: else
            fi
        }
        for (p : 0 .. 2) {
            if
            :: INTACT(q) && IN_GROUP(p, dead) && p != q ->
                takes_state(p, q);
                starts_log(p)
            :: else
            fi
        }
        ok = INTACT(q) && !SEALED(q)
    :: else
    fi
}

/* A lost state and a death are two faults. They are borne if the one who is left has what the log of the other begins
 * behind. */
inline find_exempt(dead)
{
    exempt = false;
    for (p : 0 .. 2) {
        for (q : 0 .. 2) {
            if
            :: dead < 3 && losses > 0 && p != q && p != dead && q != dead && !INTACT(p) ->
                exempt = !(m[q].epoch + 1 == m[p].epoch && m[p].base == epochs[m[q].epoch].X &&
                           HOLDS(q, epochs[m[q].epoch].X, epochs[m[q].epoch].T)) &&
                         !(m[q].epoch == m[p].epoch && INTACT(q) && HOLDS(q, m[p].base, m[p].base_term))
            :: else
            fi
        }
    }
}

inline recover(dead)
{
    find_exempt(dead);
    ok = exempt;
    rounds = 0;
    do
    :: ok || rounds == 2 * EPOCHS + 1 -> break
    :: else ->
        complete_swaps(dead);
        group_goes_on(dead);
        rounds++
    od;
    assert(ok); /* it serves again */
    assert(exempt || (seen & ~m[q].writes) == 0)
}

inline clear()
{
    for (p : 0 .. 2) {
        m[p].epoch = 0;
        m[p].term = 0;
        m[p].applied = 0;
        m[p].applied_term = 0;
        m[p].writes = 0;
        starts_log(p);
        m[p].leader = false;
        m[p].lease = false;
        m[p].to = 0;
        m[p].built = false;
        m[p].down = 0;
        m[p].voted = 0
    }
    for (p : 0 .. EPOCHS) {
        epochs[p].elections = 0;
        epochs[p].led = 0;
        epochs[p].seals = 0;
        epochs[p].X = 0;
        epochs[p].T = 0;
        epochs[p].cut = 0
    }
    play = 0;
    proposed = 0;
    seen = 0;
    losses = 0
}

/* ---- everybody ---- */

#define UNDONE_FROM(i) (m[i].built || !HOLDS(i, m[i].applied, m[i].applied_term) -> m[i].applied : m[i].base)

/* What it had not flushed is gone: its state is that of x. */
inline dies_and_returns(i, x)
{
    printf("%d dies and returns\n", i);
    if
    :: x < m[i].applied -> falls_back(i, x)
    :: else
    fi;
    m[i].leader = false;
    m[i].lease = false;
#ifdef DROP_IDENTITY_LAST
    m[i].down = (m[i].down == UNBUILT -> BROKEN : m[i].down);
#endif
#ifdef DROP_FLUSHED
    if
    :: m[i].unflushed -> loses_state(i); m[i].unflushed = false
    :: else
    fi;
#endif
#ifdef DROP_STATE_CARRIES
    if
    :: m[i].epoch > 1 && m[i].applied == m[i].base -> loses_state(i) /* it is of another epoch, says its identity */
    :: else
    fi;
#endif
#ifdef DROP_NOT_CREATED_TWICE
    if
    :: m[i].epoch > 1 && !m[i].finished && INTACT(i) ->
        printf("%d creates its target again\n", i);
        starts_log(i);
        m[i].term = FLOOR(i)
    :: else
    fi;
#endif
#ifdef DROP_VOTED_WAITS
    m[i].promised = m[i].promised && !(m[i].epoch > 1 && m[i].has_voted);
#endif
#ifdef DROP_FOLLOWED_WAITS
    m[i].promised = m[i].promised && !(m[i].epoch > 1 && !m[i].has_voted);
#endif
    skip
}

inline lose_state(i)
{
    printf("the state of %d is lost\n", i);
    losses++;
    m[i].leader = false;
    m[i].lease = false;
    loses_state(i)
}

inline leader_applies(i)
{
    find_committed(i, m[i].applied + 1);
    if
    :: ok -> apply(i)
    :: else
    fi
}

/* i, which leads j, tells it what is committed. It may not have applied that itself. */
inline follower_applies(i, j)
{
    find_match(i, j);
    if
    :: ok && m[j].applied < n ->
        find_committed(i, m[j].applied + 1);
        if
        :: ok -> apply(j)
        :: else
        fi
    :: else
    fi
}

/* i lost its state and takes j's, which is not older than i's log. */
inline heals(i, j)
{
    printf("%d heals from %d\n", i, j);
    takes_state(i, j);
    if
    :: !HOLDS(i, m[i].applied, m[i].applied_term) -> starts_log(i)
    :: else
    fi
}

inline begin()
{
    for (p : 0 .. 2) {
        m[p].epoch = 1;
        m[p].to = 1;
        m[p].term = FIRST_TERM;
        m[p].base_term = FIRST_TERM;
        m[p].applied_term = FIRST_TERM;
        m[p].voted = FIRST_TERM;
#ifdef FORGETS
        m[p].promised = true;
        m[p].has_voted = true
#endif
    }
    m[0].leader = true;
    m[0].lease = true;
    epochs[1].led = FIRST_TERM
}

#define ROOM(i) (m[i].length < LIMIT(m[i].epoch))
#define LEADS(i, j) (m[i].leader && m[i].epoch == m[j].epoch)

active proctype world()
{
    byte i, j, x;
    if
    :: play = LOSS
    :: play = BACK
    :: play = CHANGE
    fi;
    d_step { begin(); skip }
    do
    :: atomic { /* alone */
        if
        :: i = 0
        :: i = 1
        :: i = 2
        fi;
        if
        :: m[i].leader && ROOM(i) && proposed < WRITES -> d_step { write(i); skip }
        :: m[i].leader && ROOM(i) && m[i].epoch < LAST_EPOCH && epochs[m[i].epoch].seals < SEALS ->
            d_step { seal(i); skip }
        :: m[i].leader && m[i].lease -> d_step { read(i); skip }
        :: m[i].leader && INTACT(i) && APPLIES(i) && m[i].applied < m[i].length -> d_step { leader_applies(i); skip }
#ifdef DROP_SEAL_COMMITTED
        :: APPLIES(i) && m[i].applied < m[i].length && (AT(i, m[i].applied + 1) & 7) == SEAL -> d_step { apply(i); skip }
#endif
        :: SEALED(i) && m[i].down == 0 && !m[i].built -> m[i].built = true; printf("%d builds\n", i)
        :: SEALED(i) && m[i].built -> d_step { swaps(i); skip }
#ifdef DROP_IDENTITY_LAST
        :: SEALED(i) && m[i].down == 0 && !m[i].built -> d_step { swaps(i); m[i].down = UNBUILT }
        :: m[i].down == UNBUILT -> m[i].down = 0; printf("%d builds\n", i)
#endif
#ifdef DROP_NOT_CREATED_TWICE
        :: m[i].epoch > 1 -> m[i].finished = true
#endif
        :: select (x : UNDONE_FROM(i) .. m[i].applied); true; d_step { dies_and_returns(i, x); x = 0 }
        :: losses < LOSSES && m[i].epoch > 1 && INTACT(i) && m[i].applied == epochs[m[i].epoch - 1].X ->
            d_step { lose_state(i); skip }
        :: else
        fi;
        i = 0 }
    :: atomic { /* two of them */
        if
        :: i = 0
        :: i = 1
        :: i = 2
        fi;
        if
        :: j = (i + 1) % 3
        :: j = (i + 2) % 3
        fi;
        if
        :: m[j].down == 0 && m[i].epoch < m[j].epoch && !SEALED(i) && ANSWERS(j) ->
            d_step { answer_sealed(i, j); skip }
        :: m[i].down == 0 && m[j].down == 0 && MAY_VOTE(i, j) && UP_TO_DATE(i, j) && ROOM(i) &&
           epochs[m[i].epoch].elections < ELECTIONS(m[i].epoch) -> d_step { elect(i, j); skip }
        :: m[i].down == 0 && m[j].down == 0 && LEADS(i, j) && m[i].term >= m[j].term -> d_step { send(i, j); skip }
        :: m[i].down == 0 && m[j].down == 0 && LEADS(i, j) && m[i].term == m[j].term && INTACT(j) && APPLIES(j) &&
           m[j].applied < m[j].length -> d_step { follower_applies(i, j); skip }
        :: m[i].epoch == m[j].epoch && !INTACT(i) && m[j].applied >= m[i].base -> d_step { heals(i, j); skip }
        :: else
        fi;
        i = 0;
        j = 0 }
    :: atomic { /* one, or none, is dead for ever */
        if
        :: i = 0
        :: i = 1
        :: i = 2
        :: i = 3
        fi;
        d_step { printf("%d is dead, and the others go on\n", i); recover(i); clear(); i = 0; skip } } -> break
    od
}
