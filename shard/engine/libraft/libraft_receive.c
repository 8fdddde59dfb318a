/* libraft_receive.c: messages in: checked (I11), bent into what libraft handles safely, and handed over. */
#include <inttypes.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "shard/engine/libraft/libraft_state.h"

/* ---- what became of a call ---- */

static void barrier_applied(struct raft_barrier *req, int status)
{
    (void)status;
    raft_free(req);
}

/* G1: the first entry of our own term goes into the log at once. Until it is stored no answer is counted. */
static void begin_term(struct engine *e)
{
    e->led_term = e->raft.current_term;
    e->leading = true;
    e->barrier_stored = false;
    e->barrier_index = raft_last_index(&e->raft) + 1;
    libraft_read_reset(e);
    for (uint32_t i = 0; i < e->peer_count; i++) {
        struct peer *p = &e->peers[i];
        *p = (struct peer){.id = p->id, .voter = p->voter, .heard_ns = p->heard_ns};
    }
    if (planted_bug("libraft.no_first_entry")) {
        e->barrier_stored = true;
        e->barrier_index = 0;
        return;
    }
    struct raft_barrier *req = raft_malloc(sizeof *req);
    must(req != NULL);
    if (raft_barrier(&e->raft, req, barrier_applied) != 0)
        must(false); /* it leads, and no transfer has begun */
}

static void drop_batch(struct engine *e)
{
    for (size_t i = 0; i < e->batch_count; i++)
        raft_free(e->batch[i].base);
    e->batch_count = e->batch_bytes = 0;
}

void libraft_look(struct engine *e)
{
    if (raft_state(&e->raft) == RAFT_UNAVAILABLE && e->failed == HF_OK) {
        snprintf(e->where, sizeof e->where, "libraft gave up: %.200s", raft_errmsg(&e->raft));
        e->failed = HF_E_CORRUPT;
    }
    if (e->failed != HF_OK)
        return;
    if (e->leading && !libraft_leads(e)) {
        e->leading = false;
        if (e->raft.current_term == e->led_term)
            diag(DIAG_WARN, "quorum lost term=%" PRIu64, e->led_term);
    }
    /* G3: a transfer would outlive its term: a second vote for the transferee, and a next term without a first entry. */
    if ((!libraft_leads(e) || e->led_term != e->raft.current_term) && !planted_bug("libraft.second_vote"))
        e->raft.transfer = NULL;
    if (libraft_leads(e) && e->led_term != e->raft.current_term)
        begin_term(e);
    if (e->batch_count > 0 && (!libraft_leads(e) || e->batch_term != e->raft.current_term))
        drop_batch(e); /* (index, term) will never be theirs: another term has begun */
}

void libraft_hand(struct engine *e, struct raft_message *m)
{
    e->on_receive(&e->io, m);
    libraft_look(e);
}

static struct raft_message message_from(uint32_t from, unsigned short type, char address[16])
{
    snprintf(address, 16, "%" PRIu32, from);
    return (struct raft_message){.type = type, .server_id = from, .server_address = address};
}

/* ---- followers ---- */

/* One leader a term, terms that never fall and never pass the leader's: only such messages go on. */
static bool sound(const struct engine *e, uint32_t from, const Hf__Raft__Raft *m)
{
    uint64_t term = m->log_term;
    const struct raft *r = &e->raft;
    if (m->term == r->current_term &&
        (r->state == RAFT_LEADER || (r->state == RAFT_FOLLOWER && r->follower_state.current_leader.id != 0 &&
                                     r->follower_state.current_leader.id != from)))
        return false;
    if (m->n_entries > LIBRAFT_INDEX_MAX - m->index || m->log_term > m->term)
        return false;
    for (size_t i = 0; i < m->n_entries; i++) {
        const Hf__Raft__Entry *entry = m->entries[i];
        if (entry->term < term || entry->term > m->term || entry->data.len > LIMIT_ENTRY_BYTES ||
            (entry->kind != HF__RAFT__ENTRY_KIND__NOOP && entry->kind != HF__RAFT__ENTRY_KIND__COMMAND))
            return false;
        term = entry->term;
    }
    return true;
}

/* Entries [skip, …) of the message, as libraft wants them: an array, and one batch that holds all payloads. */
static struct raft_entry *take_entries(const Hf__Raft__Raft *m, size_t skip)
{
    size_t count = m->n_entries - skip, bytes = 0, used = 0;
    for (size_t i = skip; i < m->n_entries; i++)
        bytes += m->entries[i]->data.len;
    struct raft_entry *entries = raft_malloc(count * sizeof *entries);
    uint8_t *batch = raft_malloc(bytes + 1);
    must(entries != NULL && batch != NULL);
    for (size_t i = 0; i < count; i++) {
        const Hf__Raft__Entry *from = m->entries[skip + i];
        if (from->data.len > 0)
            memcpy(batch + used, from->data.data, from->data.len);
        entries[i] = (struct raft_entry){.term = from->term,
                                         .type = from->kind == HF__RAFT__ENTRY_KIND__NOOP ? RAFT_BARRIER : RAFT_COMMAND,
                                         .buf = {.base = batch + used, .len = from->data.len},
                                         .batch = batch};
        used += from->data.len;
    }
    return entries;
}

/* The leader of our term speaks. Who forgot its vote gives it to him before it acknowledges anything (I13). */
static void hear_leader(struct engine *e, uint32_t from, const Hf__Raft__Raft *m)
{
    e->heard = true;
    if (e->env.recovering == 0)
        return;
    struct log_hard_state hs = log_hard_state(e->log);
    if ((e->env.recovering & ENGINE_RECOVERING_FORGOT) != 0 && hs.vote == 0 && hs.term == m->term) {
        libraft_io_promise(e, hs.term, from);
        e->raft.voted_for = from;
    }
    if (m->recovered == e->env.recovering && !e->recovery_due) {
        e->recovery_due = true;
        e->recovery_term = m->term;
        diag(DIAG_INFO, "this log is complete again leader=%" PRIu32 " last=%" PRIu64, from, libraft_last(e));
    }
}

/* What is committed here is the same there (leader completeness), so the message begins behind it at the earliest: libraft
 * would look for terms that it has forgotten, and shut down at what it takes for a conflict. A commit index counts as far
 * as the message vouches for the log (G6). */
static void receive_append(struct engine *e, uint32_t from, const Hf__Raft__Raft *m)
{
    char address[16];
    struct raft_message message = message_from(from, RAFT_IO_APPEND_ENTRIES, address);
    struct raft_append_entries *a = &message.append_entries;
    uint64_t prev = m->index, prev_term = m->log_term, commit = e->raft.commit_index, known = 0;
    size_t skip = 0;
    if (!sound(e, from, m)) {
        diag(DIAG_WARN, "raft message refused from=%" PRIu32 " index=%" PRIu64 " reason=append", from, m->index);
        return;
    }
    if (prev <= commit && log_term(e->log, commit, &known) == HF_OK) {
        if (prev == commit && prev > 0 && prev_term != known) {
            diag(DIAG_WARN, "raft message refused from=%" PRIu32 " index=%" PRIu64 " reason=conflict", from, m->index);
            return;
        }
        skip = commit - prev < m->n_entries ? (size_t)(commit - prev) : m->n_entries;
        prev = commit;
        prev_term = known;
    }
    size_t count = m->n_entries - skip;
    if (count > 0 && m->entries[skip]->term < prev_term) {
        diag(DIAG_WARN, "raft message refused from=%" PRIu32 " index=%" PRIu64 " reason=term", from, m->index);
        return;
    }
    *a = (struct raft_append_entries){.term = m->term,
                                      .prev_log_index = prev,
                                      .prev_log_term = prev_term,
                                      .leader_commit = m->commit < prev + count ? m->commit : prev + count,
                                      .entries = count > 0 ? take_entries(m, skip) : NULL,
                                      .n_entries = (unsigned)count};
    e->answering.message = true;
    e->answering.upto = prev + count;
    e->answering.term = m->term;
    e->answering.round = m->round;
    libraft_hand(e, &message);
    memset(&e->answering, 0, sizeof e->answering);
    if (m->term == e->raft.current_term)
        hear_leader(e, from, m);
}

static void receive_snapshot(struct engine *e, uint32_t from, const Hf__Raft__Raft *m)
{
    uint64_t term;
    if (raft_state(&e->raft) != RAFT_FOLLOWER || m->term != e->raft.current_term || m->log_term > m->term ||
        e->raft.follower_state.current_leader.id != from || m->index <= e->raft.commit_index ||
        (log_term(e->log, m->index, &term) == HF_OK && term == m->log_term))
        return;
    if (e->need_index != m->index) /* said once, though told again and again */
        diag(DIAG_WARN, "this replica needs a snapshot leader=%" PRIu32 " index=%" PRIu64, from, m->index);
    e->need_from = from;
    e->need_index = m->index;
    e->need_term = m->log_term;
}

/* ---- candidates ---- */

/* In a group larger than one nobody votes for one election time-out after a start; libraft itself gives no vote while it
 * hears a leader, but remembers no vote beside a transfer (G3). Who lost what it promised gives none (I13). */
static bool may_vote(const struct engine *e, uint32_t from, const Hf__Raft__Raft *m)
{
    struct log_hard_state hs = log_hard_state(e->log);
    if (e->env.recovering != 0)
        return false;
    if (!m->transfer && e->peer_count > 1 && e->now_ns < e->vote_after_ns)
        return false;
    return m->kind == HF__RAFT__KIND__PREVOTE || m->term != hs.term || hs.vote == 0 || hs.vote == from ||
           planted_bug("libraft.second_vote");
}

static void receive_vote(struct engine *e, uint32_t from, const Hf__Raft__Raft *m)
{
    char address[16];
    struct raft_message message = message_from(from, RAFT_IO_REQUEST_VOTE, address);
    if (!may_vote(e, from, m))
        return;
    message.request_vote = (struct raft_request_vote){.term = m->term,
                                                      .candidate_id = from,
                                                      .last_log_index = m->index,
                                                      .last_log_term = m->log_term,
                                                      .disrupt_leader = m->transfer,
                                                      .pre_vote = m->kind == HF__RAFT__KIND__PREVOTE};
    libraft_hand(e, &message);
}

static void receive_vote_reply(struct engine *e, uint32_t from, const Hf__Raft__Raft *m)
{
    char address[16];
    struct raft_message message = message_from(from, RAFT_IO_REQUEST_VOTE_RESULT, address);
    if (m->recovering != 0)
        return;
    message.request_vote_result =
        (struct raft_request_vote_result){.term = m->term,
                                          .vote_granted = !m->reject,
                                          .pre_vote = TO_RAFT_TRIBOOL(m->kind == HF__RAFT__KIND__PREVOTE_REPLY)};
    libraft_hand(e, &message);
}

static void receive_timeout_now(struct engine *e, uint32_t from, const Hf__Raft__Raft *m)
{
    if (e->env.held || e->env.recovering != 0)
        return;
    e->campaign_due = true; /* once all that was sent before is on disk (G8) */
    e->timeout_from = from;
    e->timeout_now =
        (struct raft_timeout_now){.term = m->term, .last_log_index = m->index, .last_log_term = m->log_term};
    libraft_deferred(e);
}

void libraft_deferred(struct engine *e)
{
    if (e->append_count > 0 && raft_state(&e->raft) == RAFT_FOLLOWER && !planted_bug("libraft.tick_anyway"))
        return;
    if (e->tick_due && e->failed == HF_OK) {
        e->tick_due = false;
        if (!libraft_barred(e))
            e->on_tick(&e->io);
        else if (e->io.time(&e->io) >=
                 e->raft.election_timer_start + e->raft.follower_state.randomized_election_timeout)
            e->raft.follower_state.current_leader.id = 0; /* what a tick does for those who then campaign */
        libraft_look(e);
    }
    if (e->campaign_due && e->failed == HF_OK) {
        char address[16];
        struct raft_message message = message_from(e->timeout_from, RAFT_IO_TIMEOUT_NOW, address);
        message.timeout_now = e->timeout_now;
        e->campaign_due = false;
        libraft_hand(e, &message);
    }
}

/* ---- leaders ---- */

void libraft_answer(struct engine *e, struct peer *p, const struct raft_append_entries_result *answer)
{
    char address[16];
    struct raft_message message = message_from(p->id, RAFT_IO_APPEND_ENTRIES_RESULT, address);
    message.append_entries_result = *answer;
    libraft_hand(e, &message);
}

static void receive_append_reply(struct engine *e, struct peer *p, const Hf__Raft__Raft *m)
{
    struct raft_append_entries_result answer = {
        .term = m->term, .rejected = m->reject ? m->commit : 0, .last_log_index = m->index};
    if (!libraft_leads(e) || m->term != e->raft.current_term) {
        if (m->term > e->raft.current_term)
            libraft_answer(e, p, &answer); /* steps down */
        return;
    }
    if ((m->reject && m->commit == 0) || !libraft_feed_hear(e, p, m))
        return;
    p->heard_ns = e->now_ns;
    libraft_read_echo(e, p, m->round);
    if (libraft_feed_needed(e, p)) {
        libraft_feed_answer(e, p, &answer);
    } else if (!e->barrier_stored) {
        p->held = true; /* G1 */
        p->answer = answer;
    } else {
        libraft_answer(e, p, &answer);
    }
    libraft_feed_check(e);
}

void libraft_receive(struct engine *e, uint32_t from, const Hf__Raft__Raft *m)
{
    struct peer *p = libraft_peer(e, from);
    if (e->failed != HF_OK || from == e->env.replica || m->n_entries > LIBRAFT_MESSAGE_ENTRIES ||
        m->term > LIBRAFT_INDEX_MAX || m->index > LIBRAFT_INDEX_MAX || m->log_term > LIBRAFT_INDEX_MAX ||
        m->commit > LIBRAFT_INDEX_MAX || m->round > LIBRAFT_INDEX_MAX)
        return;
    libraft_deferred(e);
    switch (m->kind) {
    case HF__RAFT__KIND__APPEND:
        receive_append(e, from, m);
        break;
    case HF__RAFT__KIND__SNAPSHOT:
        receive_snapshot(e, from, m);
        break;
    case HF__RAFT__KIND__TIMEOUT_NOW:
        receive_timeout_now(e, from, m);
        break;
    case HF__RAFT__KIND__PREVOTE:
    case HF__RAFT__KIND__VOTE:
        if (p != NULL && p->voter)
            receive_vote(e, from, m);
        break;
    case HF__RAFT__KIND__PREVOTE_REPLY:
    case HF__RAFT__KIND__VOTE_REPLY:
        if (p != NULL && p->voter)
            receive_vote_reply(e, from, m);
        break;
    case HF__RAFT__KIND__APPEND_REPLY:
        if (p != NULL)
            receive_append_reply(e, p, m);
        break;
    case HF__RAFT__KIND__NONE:
    case HF__RAFT__KIND__SNAPSHOT_REPLY:
    case _HF__RAFT__KIND_IS_INT_SIZE:
        break;
    }
}
