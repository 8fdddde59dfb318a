/* core.c: the core's doors: start, one step per event, and what it hands out. */
#include <string.h>

#include "common/base/error.h"
#include "shard/engine/native/core_state.h"

size_t core_bytes(void)
{
    return sizeof(struct core);
}

void core_init(struct core *c, const struct core_start *start)
{
    must(start->self != 0 && start->run_count >= 1 && start->run_cap >= start->run_count + CORE_RUNS_ROOM);
    must(start->election_ms > 0 && start->heartbeat_ms > 0);
    c->self = start->self;
    c->bugs = start->bugs;
    c->heartbeat_ns = start->heartbeat_ms * CORE_NS_PER_MS;
    c->election_ns = start->election_ms * CORE_NS_PER_MS;
    c->random.state = start->seed;
    c->term = start->hard_state.term;
    c->vote = start->hard_state.vote;
    c->runs = start->runs;
    c->run_count = start->run_count;
    c->run_cap = start->run_cap;
    c->last = c->persisted = start->last;
    c->applied = start->applied;
    must(c->runs[0].first <= c->applied && c->applied <= c->last);
    c->held = start->held;
    c->recovering = start->recovering;
    uint64_t known = start->hard_state.commit < c->last ? start->hard_state.commit : c->last;
    c->campaign_from = known;
    c->commit = known > c->applied ? known : c->applied;
    c->role = CORE_FOLLOWER;
    c->now_ns = c->ticked_ns = start->now_ns;
    c->config = *start->config;
    if (start->previous != NULL)
        c->previous = *start->previous;
    core_config_refresh(c);
    core_election_role_from_config(c);
    c->quiet_until_ns = start->unused ? 0 : c->now_ns + c->election_ns;
    core_election_rearm(c);
    c->changed = true;
    core_state_check(c);
}

void core_state_check(const struct core *c)
{
    must(c->runs[0].first <= c->applied);
    must(c->applied <= c->commit && c->commit <= c->last && c->persisted <= c->last); /* I7: see core_apply_limit */
    must(c->role != CORE_LEADER || (c->leader == c->self && c->vote == c->self && c->noop != 0 && c->noop <= c->last));
    must(!c->held || c->role == CORE_FOLLOWER || c->role == CORE_LEARNER);
    must(c->recovering == 0 || c->role == CORE_FOLLOWER || c->role == CORE_LEARNER ||
         (c->bugs & CORE_BUG_RECOVERING_VOTES) != 0); /* I13 */
    must(c->role != CORE_CANDIDATE || (c->leader == 0 && c->vote == c->self));
    must(c->role != CORE_PRECANDIDATE || c->leader == 0);
    must(c->role == CORE_LEADER || (c->transferee == 0 && c->lease_from_ns == 0 && c->barrier_head == c->barrier_tail));
    must((c->role == CORE_LEARNER) == (!c->self_voter && c->role != CORE_LEADER));
}

struct core_peer *core_peer(struct core *c, uint32_t id)
{
    for (uint32_t i = 0; i < c->peer_count; i++) {
        if (c->peers[i].id == id)
            return &c->peers[i];
    }
    return NULL;
}

/* Bytes from the network are checked before they change anything (I11). */
static bool plausible(const struct core *c, const struct core_message *m)
{
    if (m->peer == 0 || m->peer == c->self || m->term == 0 || m->term > CORE_INDEX_MAX || m->index > CORE_INDEX_MAX)
        return false;
    if (m->entry_count != 0 && m->kind != CORE_APPEND)
        return false;
    return m->round <= CORE_INDEX_MAX && m->entry_count <= CORE_INDEX_MAX;
}

/* A message of a newer term: true when the term was taken over or need not be. */
static bool newer_term(struct core *c, const struct core_message *m)
{
    switch (m->kind) {
    case CORE_PREVOTE:
        return true; /* asks about a term, is not in it */
    case CORE_PREVOTE_REPLY:
        if (!m->reject)
            return true; /* carries the term asked about */
        if (core_peer(c, m->peer) == NULL)
            return false;
        core_election_follow(c, m->term, 0, m->peer);
        return true;
    case CORE_VOTE:
        if (!m->transfer && core_election_keeps_quiet(c))
            return false; /* not even the term: a leader may be counting its lease on us */
        core_election_follow(c, m->term, 0, m->peer);
        return true;
    case CORE_APPEND:
    case CORE_SNAPSHOT:
        core_election_follow(c, m->term, m->peer, m->peer);
        return true;
    case CORE_APPEND_REPLY:
    case CORE_SNAPSHOT_REPLY:
    case CORE_VOTE_REPLY:
        if (core_peer(c, m->peer) == NULL)
            return false; /* somebody who was removed must not depose a leader */
        core_election_follow(c, m->term, 0, m->peer);
        return true;
    case CORE_TIMEOUT_NOW:
    case CORE_NONE:
        return false;
    }
    return false;
}

/* A message of an older term: tell whoever acts on it that its time is over; replies are stale. */
static void older_term(struct core *c, const struct core_message *m)
{
    switch (m->kind) {
    case CORE_PREVOTE:
        core_late(c, CORE_PREVOTE_REPLY, m->peer)->reject = true;
        break;
    case CORE_VOTE:
        core_late(c, CORE_VOTE_REPLY, m->peer)->reject = true;
        break;
    case CORE_APPEND:
    case CORE_SNAPSHOT:
        core_late(c, CORE_APPEND_REPLY, m->peer)->reject = true;
        break;
    case CORE_NONE:
    case CORE_PREVOTE_REPLY:
    case CORE_VOTE_REPLY:
    case CORE_APPEND_REPLY:
    case CORE_TIMEOUT_NOW:
    case CORE_SNAPSHOT_REPLY:
        break;
    }
}

static void receive(struct core *c, const struct core_message *m, struct core_orders *out)
{
    if (!plausible(c, m)) {
        core_trace(c, CORE_TRACE_REFUSED, m->peer, (uint64_t)m->kind);
        return;
    }
    if (m->term < c->term) {
        older_term(c, m);
        return;
    }
    if (m->term > c->term && !newer_term(c, m))
        return;
    switch (m->kind) {
    case CORE_PREVOTE:
    case CORE_VOTE:
        core_election_request(c, m);
        break;
    case CORE_PREVOTE_REPLY:
    case CORE_VOTE_REPLY:
        core_election_reply(c, m, out);
        break;
    case CORE_APPEND:
        core_follow_append(c, m, out);
        break;
    case CORE_SNAPSHOT:
        core_follow_snapshot(c, m);
        break;
    case CORE_APPEND_REPLY:
    case CORE_SNAPSHOT_REPLY:
        core_replicate_reply(c, m);
        break;
    case CORE_TIMEOUT_NOW:
        core_election_timeout_now(c, m, out);
        break;
    case CORE_NONE:
        break;
    }
}

static void tick(struct core *c, uint64_t now_ns, struct core_orders *out)
{
    if (now_ns < c->now_ns)
        return;
    c->ticked_ns = c->now_ns;
    c->now_ns = now_ns;
    if (c->heard) {
        c->heard = false;
        c->heard_ns = now_ns;
        core_election_rearm(c);
    }
    if (c->role == CORE_LEADER) {
        core_replicate_tick(c);
        if (c->role == CORE_LEADER)
            core_transfer_tick(c);
    } else {
        core_election_tick(c, out);
    }
}

static int propose(struct core *c, size_t count, struct core_orders *out)
{
    if (c->role != CORE_LEADER)
        return HF_E_NOT_LEADER;
    if (c->transferee != 0)
        return HF_E_BUSY;
    must(count > 0);
    out->append = CORE_APPEND_PROPOSED;
    out->index = c->last + 1;
    out->term = c->term;
    out->count = count;
    core_log_append(c, c->term, count);
    return HF_OK;
}

static void persisted(struct core *c, uint64_t index)
{
    must(index <= c->last);
    c->hard_state_dirty = false;
    if (index > c->persisted)
        c->persisted = index;
    if (c->role == CORE_LEADER)
        core_replicate_commit(c);
}

int core_step(struct core *c, const struct core_event *event, struct core_orders *out_orders)
{
    int rc = HF_OK;
    memset(out_orders, 0, sizeof *out_orders);
    must(core_runs_room(c) >= CORE_RUNS_ROOM);
    switch (event->kind) {
    case CORE_EVENT_TICK:
        tick(c, event->now_ns, out_orders);
        break;
    case CORE_EVENT_RECEIVE:
        receive(c, event->message, out_orders);
        break;
    case CORE_EVENT_PROPOSE:
        rc = propose(c, event->count, out_orders);
        break;
    case CORE_EVENT_CHANGE:
        rc = core_config_change(c, event->config, out_orders);
        break;
    case CORE_EVENT_BARRIER:
        rc = core_read_barrier(c, event->id);
        break;
    case CORE_EVENT_TURN:
        core_read_turn(c);
        break;
    case CORE_EVENT_PERSISTED:
        persisted(c, event->index);
        break;
    case CORE_EVENT_APPLIED:
        must(event->index >= c->applied && event->index <= core_apply_limit(c)); /* I7 */
        c->applied = event->index;
        if (c->self_voter && c->voters == 1 && c->role == CORE_FOLLOWER)
            core_election_rearm(c); /* a group of one may have waited for this */
        break;
    case CORE_EVENT_TRIMMED:
        must(event->index <= c->applied); /* I4 */
        core_log_trim(c, event->index);
        break;
    case CORE_EVENT_TRANSFER:
        rc = core_transfer_start(c, event->to);
        break;
    case CORE_EVENT_CAMPAIGN:
        if (c->role != CORE_LEADER)
            core_election_start(c, out_orders);
        break;
    case CORE_EVENT_INSTALLED:
        rc = core_install(c, event->installed, out_orders);
        break;
    case CORE_EVENT_COMMITTED:
        rc = core_log_committed(c, event->committed.index, event->committed.term);
        break;
    case CORE_EVENT_RECOVERED:
        must(c->recovery_due);
        c->recovering = 0;
        c->recovery_due = false;
        break;
    }
    core_state_check(c);
    return rc;
}

struct core_message *core_late(struct core *c, enum core_kind kind, uint32_t to)
{
    if (c->late_count == CORE_LATE_MAX) { /* the oldest goes, as a network would lose it */
        c->late_head = (c->late_head + 1) % CORE_LATE_MAX;
        c->late_count--;
    }
    struct core_message *m = &c->late[(c->late_head + c->late_count++) % CORE_LATE_MAX];
    *m = (struct core_message){.kind = kind, .peer = to, .term = c->term};
    return m;
}

bool core_next_late(struct core *c, struct core_message *out)
{
    if (c->hard_state_dirty && (c->bugs & CORE_BUG_ACK_BEFORE_SYNC) == 0)
        return false; /* I7 */
    if (c->late_count == 0)
        return core_follow_ack(c, out);
    *out = c->late[c->late_head];
    c->late_head = (c->late_head + 1) % CORE_LATE_MAX;
    c->late_count--;
    return true;
}

void core_trace(struct core *c, enum core_trace_kind kind, uint64_t a, uint64_t b)
{
    if (c->trace_count == CORE_TRACES_MAX) {
        c->trace_head = (c->trace_head + 1) % CORE_TRACES_MAX;
        c->trace_count--;
    }
    c->traces[(c->trace_head + c->trace_count++) % CORE_TRACES_MAX] = (struct core_trace){kind, a, b};
}

bool core_next_trace(struct core *c, struct core_trace *out)
{
    if (c->trace_count == 0)
        return false;
    *out = c->traces[c->trace_head];
    c->trace_head = (c->trace_head + 1) % CORE_TRACES_MAX;
    c->trace_count--;
    return true;
}

bool core_next_need(struct core *c, uint32_t *out_from, uint64_t *out_index, uint64_t *out_term)
{
    if (c->need_from == 0)
        return false;
    *out_from = c->need_from;
    *out_index = c->need_index;
    *out_term = c->need_term;
    c->need_from = 0;
    return true;
}

bool core_recovery_due(const struct core *c)
{
    return c->recovery_due;
}

bool core_changed(struct core *c)
{
    bool changed = c->changed;
    c->changed = false;
    return changed;
}

struct core_hard_state core_hard_state(const struct core *c)
{
    return (struct core_hard_state){.term = c->term, .commit = c->commit, .vote = c->vote};
}

enum core_role core_role(const struct core *c)
{
    return c->role;
}

uint32_t core_leader(const struct core *c)
{
    return c->leader;
}

uint64_t core_apply_limit(const struct core *c)
{
    return c->commit < c->persisted ? c->commit : c->persisted; /* I7: nothing is applied before it is durable here */
}

bool core_serving(const struct core *c)
{
    return c->role == CORE_LEADER && c->applied >= c->noop;
}

bool core_transferring(const struct core *c)
{
    return c->transferee != 0;
}

bool core_held(const struct core *c)
{
    return c->held;
}

uint64_t core_recovering(const struct core *c)
{
    return c->recovering;
}

uint64_t core_deadline(const struct core *c)
{
    if (c->role != CORE_LEADER) { /* often enough to tell a pause of our own from a leader's silence */
        uint64_t soon = c->now_ns + c->election_ns / 4;
        return c->election_at_ns < soon ? c->election_at_ns : soon;
    }
    uint64_t at = c->heartbeat_at_ns < c->quorum_at_ns ? c->heartbeat_at_ns : c->quorum_at_ns;
    return c->transferee != 0 && c->transfer_until_ns < at ? c->transfer_until_ns : at;
}

const struct core_config *core_config(const struct core *c)
{
    return &c->config;
}

size_t core_progress(const struct core *c, struct core_progress *out, size_t max)
{
    size_t count = 0;
    if (c->role != CORE_LEADER)
        return 0;
    if (max > 0)
        out[count++] = (struct core_progress){c->self, c->persisted, true, false};
    for (uint32_t i = 0; i < c->peer_count && count < max; i++) {
        const struct core_peer *p = &c->peers[i];
        out[count++] =
            (struct core_progress){p->id, p->match, c->now_ns < p->heard_ns + c->election_ns, !core_recover_counts(p)};
    }
    return count;
}
