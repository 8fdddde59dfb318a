/* core_election.c: who leads: time-outs, pre-votes, votes, and the change of roles (diagram in core_state.h). */
#include "shard/engine/native/core_state.h"

#define ROLE(r) (1u << (r))

static const unsigned allowed_next[] = {
    [CORE_FOLLOWER] = ROLE(CORE_FOLLOWER) | ROLE(CORE_PRECANDIDATE) | ROLE(CORE_CANDIDATE) | ROLE(CORE_LEARNER),
    [CORE_PRECANDIDATE] = ROLE(CORE_PRECANDIDATE) | ROLE(CORE_CANDIDATE) | ROLE(CORE_FOLLOWER) | ROLE(CORE_LEARNER),
    [CORE_CANDIDATE] =
        ROLE(CORE_LEADER) | ROLE(CORE_PRECANDIDATE) | ROLE(CORE_CANDIDATE) | ROLE(CORE_FOLLOWER) | ROLE(CORE_LEARNER),
    [CORE_LEADER] = ROLE(CORE_FOLLOWER) | ROLE(CORE_LEARNER),
    [CORE_LEARNER] = ROLE(CORE_FOLLOWER) | ROLE(CORE_LEARNER),
};

static void set_role(struct core *c, enum core_role role)
{
    must((allowed_next[c->role] & ROLE(role)) != 0);
    if (c->role == role)
        return;
    if (c->role == CORE_LEADER) { /* nothing of a leader outlives it: no barrier, no lease, no transfer */
        core_read_reset(c);
        c->transferee = 0;
        c->timeout_due = false;
        c->noop = 0;
    }
    c->role = role;
    c->changed = true;
    core_trace(c, CORE_TRACE_ROLE, (uint64_t)role, c->term);
}

static void set_leader(struct core *c, uint32_t leader)
{
    if (c->leader == leader)
        return;
    c->leader = leader;
    c->changed = true;
    if (leader != 0)
        core_trace(c, CORE_TRACE_LEADER, leader, c->term);
}

static void set_term(struct core *c, uint64_t term, uint32_t vote, uint32_t from)
{
    if (term != c->term) {
        must(term > c->term); /* terms never fall */
        core_trace(c, CORE_TRACE_TERM, term, from);
        c->changed = true;
        c->ack = (struct core_ack){0}; /* an acknowledgement belongs to the term whose leader asked for it */
        c->late_count = 0;             /* and so does a vote */
        c->recovery_due = false;       /* the next leader was told that we are recovering: it must see it through */
    }
    c->term = term;
    c->vote = vote;
    c->hard_state_dirty = true;
}

void core_election_rearm(struct core *c)
{
    if (c->role == CORE_LEARNER || c->voters > 1 || c->leader != 0) {
        uint64_t spread = random_below(&c->random, c->election_ns * 3 / 10 + 1);
        c->election_at_ns = c->now_ns + c->election_ns + spread;
    } else {
        c->election_at_ns = c->now_ns; /* a group of one has nobody to wait for */
    }
}

/* What is counted from the start or from a leader's last word is so as if the right ones had been known from the start on. */
void core_set_times(struct core *c, uint32_t heartbeat_ms, uint32_t election_ms)
{
    uint64_t election_ns = election_ms * CORE_NS_PER_MS;
    must(heartbeat_ms > 0 && election_ms > 0 && c->role != CORE_LEADER);
    if (c->quiet_until_ns != 0)
        c->quiet_until_ns = c->quiet_until_ns - c->election_ns + election_ns;
    c->heartbeat_ns = heartbeat_ms * CORE_NS_PER_MS;
    c->election_ns = election_ns;
    core_election_rearm(c);
}

/* Counted from the next tick: our clock may be a whole wait behind, and a lease may rest on us not forgetting early. */
void core_election_heard(struct core *c)
{
    c->heard = true;
}

bool core_election_hears(const struct core *c)
{
    if (c->role == CORE_LEADER || c->heard)
        return true;
    return c->heard_ns != 0 && c->now_ns < c->heard_ns + c->election_ns;
}

bool core_election_keeps_quiet(const struct core *c)
{
    bool alone = c->self_voter && c->voters == 1;
    return core_election_hears(c) || (!alone && c->now_ns < c->quiet_until_ns);
}

void core_election_follow(struct core *c, uint64_t term, uint32_t leader, uint32_t from)
{
    if (term > c->term) {
        set_leader(c, 0);
        set_term(c, term, 0, from);
    }
    set_role(c, c->self_voter ? CORE_FOLLOWER : CORE_LEARNER);
    c->transfer_election = false;
    set_leader(c, leader);
    core_election_rearm(c);
}

void core_election_role_from_config(struct core *c)
{
    if (c->role == CORE_LEADER || (c->role != CORE_LEARNER) == c->self_voter)
        return; /* a leader that is no voter any more steps down once that is committed (core_replicate_commit) */
    set_role(c, c->self_voter ? CORE_FOLLOWER : CORE_LEARNER);
    core_election_rearm(c);
}

static void lead(struct core *c, struct core_orders *out)
{
    set_role(c, CORE_LEADER);
    set_leader(c, c->self);
    c->transfer_election = false;
    for (uint32_t i = 0; i < c->peer_count; i++)
        core_replicate_begin(c, &c->peers[i]);
    c->cursor = 0;
    c->lease_dead = false;
    core_read_reset(c);
    c->quorum_at_ns = c->now_ns + c->election_ns;
    c->heartbeat_at_ns = c->now_ns + c->heartbeat_ns;
    out->append = CORE_APPEND_NOOP;
    out->index = c->noop = c->last + 1;
    out->term = c->term;
    out->count = 1;
    core_log_append(c, c->term, 1);
    (void)core_read_begin_round(c); /* everybody hears of us at once */
}

static void candidate(struct core *c, struct core_orders *out);

/* Own vote included, is there a quorum? Then on to the next role. */
static void count(struct core *c, struct core_orders *out)
{
    uint32_t granted = 1, refused = 0;
    for (uint32_t i = 0; i < c->peer_count; i++) {
        const struct core_peer *p = &c->peers[i];
        if (p->voter && p->vote_known) {
            granted += p->vote_granted;
            refused += !p->vote_granted;
        }
    }
    uint32_t quorum = c->voters / 2 + 1;
    if (granted >= quorum) {
        if (c->role == CORE_PRECANDIDATE)
            candidate(c, out);
        else
            lead(c, out);
    } else if (c->voters - refused < quorum) {
        core_election_follow(c, c->term, 0, c->self);
    }
}

static void ask(struct core *c, enum core_kind kind, uint64_t term)
{
    for (uint32_t i = 0; i < c->peer_count; i++) {
        struct core_peer *p = &c->peers[i];
        p->vote_known = p->vote_granted = false;
        if (!p->voter)
            continue;
        struct core_message *m = core_late(c, kind, p->id);
        m->term = term;
        m->index = c->last;
        m->log_term = core_log_last_term(c);
        m->transfer = c->transfer_election;
    }
}

static void candidate(struct core *c, struct core_orders *out)
{
    set_leader(c, 0);
    set_role(c, CORE_CANDIDATE);
    set_term(c, c->term + 1, c->self, c->self);
    core_election_rearm(c);
    ask(c, CORE_VOTE, c->term);
    count(c, out); /* a group of one; its votes and entries become durable in one sync, before anything leaves */
}

void core_election_start(struct core *c, struct core_orders *out)
{
    bool alone = c->self_voter && c->voters == 1;
    core_election_rearm(c);
    if (!c->self_voter || !core_follow_may_lead(c))
        return;
    if (!alone && core_election_keeps_quiet(c))
        return; /* our own vote, too, may be one that a lease rests on */
    c->transfer_election = false;
    if (alone) {
        candidate(c, out);
        return;
    }
    set_leader(c, 0);
    set_role(c, CORE_PRECANDIDATE);
    ask(c, CORE_PREVOTE, c->term + 1);
    count(c, out);
}

void core_election_timeout_now(struct core *c, const struct core_message *m, struct core_orders *out)
{
    if (m->peer != c->leader || c->role != CORE_FOLLOWER || !core_follow_may_lead(c))
        return;
    c->transfer_election = true; /* the leader has given its lease up for the rest of its term */
    candidate(c, out);
}

static bool up_to_date(const struct core *c, const struct core_message *m)
{
    uint64_t term = core_log_last_term(c);
    return m->log_term > term || (m->log_term == term && m->index >= c->last);
}

void core_election_request(struct core *c, const struct core_message *m)
{
    bool pre = m->kind == CORE_PREVOTE;
    bool may;
    if (!m->transfer && core_election_keeps_quiet(c))
        return;
    /* A learner votes when it is asked: it may have been promoted and not know it yet, and its vote may be needed for
     * anybody to lead who could tell it (Ongaro 2014, §4.1: requests are served whatever one's own configuration). */
    if (pre)
        may = m->term > c->term;
    else
        may = (c->vote == 0 || c->vote == m->peer || (c->bugs & CORE_BUG_VOTE_TWICE) != 0) &&
              (c->role == CORE_FOLLOWER || c->role == CORE_PRECANDIDATE || c->role == CORE_LEARNER);
    if (c->recovering != 0 && (c->bugs & CORE_BUG_RECOVERING_VOTES) == 0)
        may = false; /* I13: the candidate may lack what we have lost */
    bool grant = may && up_to_date(c, m);
    if (grant && !pre) {
        if (c->vote != m->peer) {
            set_term(c, c->term, m->peer, m->peer);
            core_trace(c, CORE_TRACE_VOTED, m->peer, c->term);
        }
        core_election_rearm(c);
    }
    struct core_message *reply = core_late(c, pre ? CORE_PREVOTE_REPLY : CORE_VOTE_REPLY, m->peer);
    reply->reject = !grant;
    if (grant)
        reply->term = m->term;
}

void core_election_reply(struct core *c, const struct core_message *m, struct core_orders *out)
{
    bool pre = m->kind == CORE_PREVOTE_REPLY;
    struct core_peer *p = core_peer(c, m->peer);
    if (p == NULL || c->role != (pre ? CORE_PRECANDIDATE : CORE_CANDIDATE))
        return;
    if (m->term != (pre && !m->reject ? c->term + 1 : c->term))
        return;
    p->vote_known = true;
    p->vote_granted = !m->reject;
    count(c, out);
}

void core_election_tick(struct core *c, struct core_orders *out)
{
    if (c->now_ns < c->election_at_ns)
        return;
    if (c->now_ns - c->ticked_ns > c->election_ns / 2 && c->voters > 1) {
        /* We were not running (a long sync, a stopped process): what the leader said meanwhile may still be unread. */
        c->election_at_ns = c->now_ns + c->heartbeat_ns;
        return;
    }
    if (!core_election_hears(c))
        set_leader(c, 0);
    core_election_start(c, out);
    if (c->role == CORE_FOLLOWER && c->election_at_ns > c->now_ns + c->heartbeat_ns)
        c->election_at_ns = c->now_ns + c->heartbeat_ns; /* not allowed yet: look again soon */
    else if (c->role != CORE_LEADER && c->election_at_ns <= c->now_ns)
        c->election_at_ns = c->now_ns + c->heartbeat_ns;
}
