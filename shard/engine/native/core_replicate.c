/* core_replicate.c: the leader's side of the log: what each peer is sent next, what its answers say, what is committed.
 */
#include "shard/engine/native/core_state.h"

static void become_probe(struct core *c, struct core_peer *p, uint64_t next)
{
    if (p->state != CORE_PEER_PROBE)
        core_trace(c, CORE_TRACE_PEER_PROBE, p->id, next);
    p->state = CORE_PEER_PROBE;
    p->next = next;
    p->probe_out = false;
    p->flight_head = p->flight_count = 0;
    p->flight_bytes = 0;
}

void core_replicate_probe(struct core *c, struct core_peer *p, uint64_t next)
{
    become_probe(c, p, next);
}

void core_replicate_begin(struct core *c, struct core_peer *p)
{
    core_recover_begin(p);
    p->match = 0;
    p->round = 0;
    p->heard_ns = c->now_ns;
    p->heartbeat_due = true;
    p->state = CORE_PEER_PROBE;
    become_probe(c, p, c->last + 1);
}

static void fill(const struct core *c, const struct core_peer *p, enum core_kind kind, struct core_message *out)
{
    *out = (struct core_message){.kind = kind, .peer = p->id, .term = c->term, .round = c->round_last};
    if (kind == CORE_APPEND && p->brought && p->still_recovering)
        out->recovered = p->recovering;
}

static uint64_t clamp(const struct core *c, uint64_t last)
{
    return c->commit < last ? c->commit : last;
}

/* What is due to one peer; false: nothing. */
static bool due(struct core *c, struct core_peer *p, struct core_message *out)
{
    uint64_t base = c->runs[0].first;
    if (p->id == c->transferee && c->timeout_due) {
        c->timeout_due = false;
        c->lease_dead = true;
        fill(c, p, CORE_TIMEOUT_NOW, out);
        return true;
    }
    if (p->next <= base && p->state != CORE_PEER_SNAPSHOT) {
        become_probe(c, p, base + 1);
        p->state = CORE_PEER_SNAPSHOT;
        p->heartbeat_due = true;
        core_trace(c, CORE_TRACE_PEER_SNAPSHOT, p->id, base);
    }
    if (p->state == CORE_PEER_SNAPSHOT) {
        if (!p->heartbeat_due)
            return false;
        p->heartbeat_due = false;
        fill(c, p, CORE_SNAPSHOT, out);
        out->index = base;
        out->log_term = c->runs[0].term;
        return true;
    }
    bool room = p->state == CORE_PEER_PROBE
                    ? !p->probe_out
                    : p->flight_count < CORE_INFLIGHT_MAX && p->flight_bytes < CORE_INFLIGHT_BYTES;
    bool entries = room && p->next <= c->last;
    if (!entries && !p->heartbeat_due)
        return false;
    fill(c, p, CORE_APPEND, out);
    out->index = p->next - 1;
    must(core_term_at(c, out->index, &out->log_term));
    out->commit = clamp(c, out->index);
    if (entries) {
        uint64_t count = c->last - out->index;
        out->entry_count = count < CORE_MESSAGE_ENTRIES ? (size_t)count : CORE_MESSAGE_ENTRIES;
        out->entry_bytes = CORE_MESSAGE_BYTES;
    } else {
        p->heartbeat_due = false;
    }
    return true;
}

bool core_next_early(struct core *c, struct core_message *out)
{
    if (c->role != CORE_LEADER || c->hard_state_dirty) /* an undurable term could come twice with other entries */
        return false;
    for (; c->cursor < c->peer_count; c->cursor++) {
        if (due(c, &c->peers[c->cursor], out))
            return true;
    }
    c->cursor = 0;
    return false;
}

void core_sent(struct core *c, struct core_message *m, size_t count, size_t bytes)
{
    struct core_peer *p = core_peer(c, m->peer);
    must(p != NULL && count >= 1 && count <= m->entry_count && m->index == p->next - 1);
    uint64_t last = m->index + count;
    m->commit = clamp(c, last);
    p->heartbeat_due = false;
    if (p->state == CORE_PEER_PROBE) {
        p->probe_out = true;
        return;
    }
    must(p->state == CORE_PEER_REPLICATE && p->flight_count < CORE_INFLIGHT_MAX);
    p->flights[(p->flight_head + p->flight_count++) % CORE_INFLIGHT_MAX] = (struct core_flight){last, bytes};
    p->flight_bytes += bytes;
    p->next = last + 1;
}

static void landed(struct core_peer *p)
{
    while (p->flight_count > 0 && p->flights[p->flight_head].last <= p->match) {
        p->flight_bytes -= p->flights[p->flight_head].bytes;
        p->flight_head = (p->flight_head + 1) % CORE_INFLIGHT_MAX;
        p->flight_count--;
    }
}

static void accepted(struct core *c, struct core_peer *p, uint64_t index)
{
    bool more = index > p->match;
    if (more)
        p->match = index;
    switch (p->state) {
    case CORE_PEER_PROBE:
        if (index + 1 < p->next)
            break; /* the answer to something older */
        p->state = CORE_PEER_REPLICATE;
        p->next = p->match + 1;
        break;
    case CORE_PEER_REPLICATE:
        if (p->next <= p->match)
            p->next = p->match + 1;
        landed(p);
        break;
    case CORE_PEER_SNAPSHOT:
        if (p->match >= c->runs[0].first)
            become_probe(c, p, p->match + 1);
        break;
    }
    if (more) {
        core_replicate_commit(c);
        core_transfer_acked(c, p);
    }
}

static void rejected(struct core *c, struct core_peer *p, const struct core_message *m)
{
    if (m->commit <= p->match) {
        if (m->index < p->match && m->commit == p->match && p->state == CORE_PEER_PROBE)
            core_trace(c, CORE_TRACE_PEER_BEHIND, p->id, p->match);
        return; /* stale: it has acknowledged that index since */
    }
    if (p->state == CORE_PEER_SNAPSHOT || m->commit >= p->next)
        return;
    if (p->state == CORE_PEER_PROBE && m->commit != p->next - 1)
        return;
    uint64_t hint = m->index < m->commit ? m->index : m->commit - 1;
    uint64_t agree = hint;
    if (hint >= c->runs[0].first && hint <= c->last)
        agree = core_log_agree(c, hint, m->log_term);
    become_probe(c, p, (agree > p->match ? agree : p->match) + 1);
}

void core_replicate_reply(struct core *c, const struct core_message *m)
{
    struct core_peer *p = core_peer(c, m->peer);
    if (c->role != CORE_LEADER || p == NULL)
        return;
    if (m->index > c->last && !m->reject) {
        core_trace(c, CORE_TRACE_REFUSED, m->peer, (uint64_t)m->kind);
        return;
    }
    if (!core_recover_hear(c, p, m))
        return;
    p->heard_ns = c->now_ns;
    core_read_echo(c, p, m->round);
    if (m->reject)
        rejected(c, p, m);
    else
        accepted(c, p, m->index);
    core_recover_check(c, p);
}

/* The largest value that a quorum of the voters has reached, self counting as `self` if it votes. */
uint64_t core_replicate_quorum(const struct core *c, uint64_t self, uint64_t (*value)(const struct core_peer *p))
{
    uint64_t sorted[LIMIT_PEERS + 1]; /* largest first */
    uint32_t n = 0;
    if (c->self_voter)
        sorted[n++] = self;
    for (uint32_t i = 0; i < c->peer_count; i++) {
        if (!c->peers[i].voter)
            continue;
        uint64_t v = core_recover_counts(&c->peers[i]) ? value(&c->peers[i]) : 0; /* I13 */
        uint32_t at = n++;
        for (; at > 0 && sorted[at - 1] < v; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = v;
    }
    must(n == c->voters && n > 0);
    return sorted[n / 2];
}

static uint64_t match_of(const struct core_peer *p)
{
    return p->match;
}

/* Only entries of the own term are committed by counting; older ones with them (Raft §5.4.2, figure 8). */
void core_replicate_commit(struct core *c)
{
    uint64_t index = core_replicate_quorum(c, c->persisted, match_of);
    uint64_t term;
    if (index <= c->commit)
        return;
    must(core_term_at(c, index, &term));
    if (term != c->term && (c->bugs & CORE_BUG_COMMIT_OLD_TERM) == 0)
        return;
    c->commit = index;
    for (uint32_t i = 0; i < c->peer_count; i++)
        core_recover_check(c, &c->peers[i]);
    if (!c->self_voter && c->config.index <= c->commit)
        core_election_follow(c, c->term, 0, c->self); /* removed or made a learner, and that is final */
}

static void check_quorum(struct core *c)
{
    uint32_t heard = c->self_voter ? 1 : 0;
    for (uint32_t i = 0; i < c->peer_count; i++)
        heard += c->peers[i].voter && core_recover_counts(&c->peers[i]) &&
                 c->now_ns <= c->peers[i].heard_ns + c->election_ns;
    c->quorum_at_ns = c->now_ns + c->heartbeat_ns;
    if (heard >= c->voters / 2 + 1 || (c->bugs & CORE_BUG_LEASE_UNCHECKED) != 0)
        return;
    core_trace(c, CORE_TRACE_QUORUM_LOST, heard, c->voters);
    core_election_follow(c, c->term, 0, c->self);
}

void core_replicate_tick(struct core *c)
{
    if (c->now_ns >= c->heartbeat_at_ns) {
        c->heartbeat_at_ns = c->now_ns + c->heartbeat_ns;
        if (!core_read_begin_round(c)) {
            for (uint32_t i = 0; i < c->peer_count; i++)
                c->peers[i].heartbeat_due = true;
        }
    }
    if (c->now_ns - c->ticked_ns > c->election_ns / 2) /* we did not run: their answers may still be unread */
        c->quorum_at_ns = c->now_ns + c->election_ns / 2;
    if (c->now_ns >= c->quorum_at_ns)
        check_quorum(c);
}
