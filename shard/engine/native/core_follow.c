/* core_follow.c: a follower takes entries: the check that logs match, truncation, and the acknowledgement it owes. */
#include "shard/engine/native/core_state.h"

/* Only a correct leader's messages go on: one leader per term, terms that never fall and never pass the leader's. */
static bool sound(const struct core *c, const struct core_message *m)
{
    uint64_t term = m->log_term;
    if (c->role == CORE_LEADER || (c->leader != 0 && c->leader != m->peer))
        return false;
    if (m->entry_count > CORE_INDEX_MAX - m->index || m->log_term > m->term)
        return false;
    for (size_t i = 0; i < m->entry_count; i++) {
        if (m->entries[i].term < term || m->entries[i].term > m->term)
            return false;
        if (m->entries[i].config != NULL && !core_config_sane(m->entries[i].config))
            return false;
        term = m->entries[i].term;
    }
    return true;
}

static void hear_leader(struct core *c, const struct core_message *m)
{
    if (c->leader != m->peer || c->role == CORE_PRECANDIDATE || c->role == CORE_CANDIDATE)
        core_election_follow(c, c->term, m->peer, m->peer);
    core_election_heard(c);
    core_recover_follow(c, m->peer);
}

/* prev is not in our log: say where the logs may agree (largest index whose term is not above the leader's), so that a
 * whole term is skipped per message, not an entry. What is committed is in every later leader's log. */
static void reject(struct core *c, const struct core_message *m)
{
    uint64_t hint = core_log_agree(c, m->index < c->last ? m->index : c->last, m->log_term);
    uint64_t term = 0;
    if (hint < c->commit)
        hint = c->commit;
    must(core_term_at(c, hint, &term));
    struct core_message *reply = core_late(c, CORE_APPEND_REPLY, m->peer);
    reply->reject = true;
    reply->index = hint;
    reply->log_term = term;
    reply->commit = m->index;
    reply->round = m->round;
}

/* How many entries from the `at`-th on, following `prev`, our log already has. */
static size_t matching(const struct core *c, const struct core_message *m, size_t at, uint64_t prev)
{
    size_t same = 0;
    for (uint64_t term; at + same < m->entry_count && core_term_at(c, prev + 1 + same, &term); same++) {
        if (term != m->entries[at + same].term && (c->bugs & CORE_BUG_SKIP_TRUNCATE) == 0)
            break;
    }
    return same;
}

/* Entries [at, …) of the message continue our log at its end. Returns how many were taken: the array of runs has an
 * end. */
static size_t take(struct core *c, const struct core_message *m, size_t at, struct core_orders *out)
{
    size_t taken = 0;
    out->index = c->last + 1;
    for (size_t i = at; i < m->entry_count; i++) {
        uint64_t term = m->entries[i].term;
        if (term < core_log_last_term(c) || (term != core_log_last_term(c) && core_runs_room(c) == 0))
            break;
        core_log_append(c, term, 1);
        if (m->entries[i].config != NULL)
            core_config_install(c, m->entries[i].config, c->last);
        taken++;
    }
    out->append = taken > 0 ? CORE_APPEND_MESSAGE : CORE_APPEND_NOTHING;
    out->skip = at;
    out->count = taken;
    return taken;
}

void core_follow_append(struct core *c, const struct core_message *m, struct core_orders *out)
{
    if (!sound(c, m)) {
        core_trace(c, CORE_TRACE_REFUSED, m->peer, (uint64_t)m->kind);
        return;
    }
    hear_leader(c, m);
    core_recover_told(c, m);
    uint64_t prev = m->index, prev_term = m->log_term, term;
    size_t at = 0;
    if (prev < c->commit) { /* what is committed here is the same there: leader completeness */
        uint64_t covered = c->commit - prev;
        at = covered < m->entry_count ? (size_t)covered : m->entry_count;
        prev += at;
    } else if (!core_term_at(c, prev, &term) || term != prev_term) {
        reject(c, m);
        return;
    }
    if (prev >= c->commit) {
        size_t same = matching(c, m, at, prev);
        at += same;
        prev += same;
        if (at < m->entry_count) {
            if (prev < c->last) {
                if (prev < c->commit) { /* a conflict below the commit index: never by a correct leader */
                    core_trace(c, CORE_TRACE_REFUSED, m->peer, (uint64_t)m->kind);
                    return;
                }
                out->truncate = prev + 1;
                core_log_truncate(c, prev + 1);
            }
            prev += take(c, m, at, out);
        }
    }
    /* The message vouches for the log up to `prev` and not further: a suffix behind it may be stale. */
    uint64_t commit = m->commit < prev ? m->commit : prev;
    if (commit > c->commit)
        c->commit = commit;
    c->ack.owed = true;
    if (prev > c->ack.match)
        c->ack.match = prev;
    if (m->round > c->ack.round)
        c->ack.round = m->round;
}

void core_follow_snapshot(struct core *c, const struct core_message *m)
{
    if (c->role == CORE_LEADER || (c->leader != 0 && c->leader != m->peer) || m->log_term > m->term) {
        core_trace(c, CORE_TRACE_REFUSED, m->peer, (uint64_t)m->kind);
        return;
    }
    hear_leader(c, m);
    uint64_t term;
    if (m->index > c->commit) {
        if (core_term_at(c, m->index, &term) && term == m->log_term) {
            c->commit = m->index; /* its base, which is committed; ours up to there is the same */
        } else {
            if (c->need_index != m->index) /* said once, though told again and again */
                core_trace(c, CORE_TRACE_SNAPSHOT_NEEDED, m->peer, m->index);
            c->need_from = m->peer;
            c->need_index = m->index;
            c->need_term = m->log_term;
        }
    }
    struct core_message *reply = core_late(c, CORE_SNAPSHOT_REPLY, m->peer);
    reply->index =
        c->commit < c->persisted ? c->commit : c->persisted; /* of our log this much is surely the leader's */
    reply->round = m->round;
}

bool core_follow_may_lead(const struct core *c)
{
    bool lost = c->recovering != 0 && (c->bugs & CORE_BUG_RECOVERING_VOTES) == 0;
    return !c->held && !lost && c->applied >= c->campaign_from && c->term < CORE_INDEX_MAX;
}

bool core_follow_ack(struct core *c, struct core_message *out)
{
    struct core_ack *a = &c->ack;
    uint64_t match = a->match;
    if (match > c->persisted && (c->bugs & CORE_BUG_ACK_BEFORE_SYNC) == 0)
        match = c->persisted; /* I7: the rest when it is durable */
    if (!a->owed && match <= a->sent)
        return false;
    if (c->leader == 0 || c->leader == c->self)
        return false;
    *out = (struct core_message){
        .kind = CORE_APPEND_REPLY, .peer = c->leader, .term = c->term, .index = match, .round = a->round};
    a->owed = false;
    if (match > a->sent)
        a->sent = match;
    return true;
}
