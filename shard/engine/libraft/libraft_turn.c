/* libraft_turn.c: the phases of a turn; engine.h says what each does. */
#include "shard/engine/libraft/libraft_turn.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "shard/engine/base/committed.h"

int libraft_propose(struct engine *e, enum log_kind kind, struct slice data, uint64_t *out_index, uint64_t *out_term)
{
    if (data.size > LIMIT_ENTRY_BYTES)
        return HF_E_LIMIT;
    if (kind != LOG_COMMAND)
        return HF_E_INVALID;
    libraft_deferred(e);
    if (e->failed != HF_OK || !libraft_leads(e) || e->raft.transfer != NULL)
        return HF_E_NOT_LEADER;
    if (e->batch_count == LIBRAFT_BATCH_ENTRIES || e->batch_bytes + data.size > LIBRAFT_BATCH_BYTES)
        return HF_E_BUSY;
    struct raft_buffer *buf = &e->batch[e->batch_count++];
    *buf = (struct raft_buffer){.base = raft_malloc(data.size + 1), .len = data.size};
    must(buf->base != NULL);
    if (data.size > 0)
        memcpy(buf->base, data.data, data.size);
    e->batch_bytes += data.size;
    e->batch_term = e->raft.current_term;
    *out_index = libraft_last(e) + e->batch_count;
    *out_term = e->batch_term;
    return HF_OK;
}

static void batch_applied(struct raft_apply *req, int status, void *result)
{
    (void)status, (void)result;
    raft_free(req);
}

/* All of it as one order: one append, one message a follower (G5). */
static void hand_batch(struct engine *e)
{
    struct raft_apply *req = raft_malloc(sizeof *req);
    must(req != NULL && libraft_leads(e) && e->batch_term == e->raft.current_term);
    int rc = raft_apply(&e->raft, req, e->batch, (unsigned)e->batch_count, batch_applied);
    must(rc == 0);
    e->batch_count = e->batch_bytes = 0;
    libraft_look(e);
}

/* G4: libraft looks for a quorum at its own last entry alone; under a stream of proposals that never stops moving. So the
 * next batch waits until the last one is committed: a group commit a round. */
static void hand_batch_when_due(struct engine *e)
{
    bool stored = e->raft.commit_index == libraft_last(e) || planted_bug("libraft.no_group_commit");
    if (e->batch_count > 0 && libraft_leads(e) && stored)
        hand_batch(e);
}

/* A pause of our own is not taken for the silence of others; a leader is heard from the tick behind its message on. */
void libraft_tick(struct engine *e, uint64_t now_ns)
{
    uint64_t before = e->now_ns;
    if (now_ns > before) {
        uint64_t gap_ms = (now_ns - before) / 1000000;
        e->now_ns = now_ns;
        if (e->heard)
            e->raft.election_timer_start = e->io.time(&e->io);
        else if (gap_ms > e->env.heartbeat_ms * 2)
            e->raft.election_timer_start += gap_ms - e->env.heartbeat_ms;
    }
    e->heard = false;
    e->tick_due = true;
    libraft_deferred(e);
}

void libraft_campaign(struct engine *e)
{
    uint64_t now = e->io.time(&e->io), since = e->raft.election_timer_start;
    bool early =
        now < since + e->raft.election_timeout && (!e->env.unused || e->raft.follower_state.current_leader.id != 0);
    if (raft_state(&e->raft) != RAFT_FOLLOWER || libraft_barred(e) || early)
        return; /* it may still hear a leader, or has only just started */
    e->raft.election_timer_start = now - e->raft.follower_state.randomized_election_timeout;
    e->tick_due = true;
    libraft_deferred(e);
}

static const struct peer *most_caught_up(const struct engine *e)
{
    const struct peer *best = NULL;
    const struct raft_progress *progress = e->raft.leader_state.progress;
    uint64_t silent_ns = (uint64_t)e->env.election_ms * 1000000;
    for (uint32_t i = 0; i < e->peer_count; i++) {
        const struct peer *p = &e->peers[i];
        if (p->id != e->env.replica && p->voter && p->recovering == 0 && p->heard_ns != 0 &&
            e->now_ns < p->heard_ns + silent_ns &&
            (best == NULL || progress[i].match_index > progress[best - e->peers].match_index))
            best = p;
    }
    return best;
}

int libraft_transfer(struct engine *e, uint32_t to)
{
    libraft_deferred(e);
    if (e->failed != HF_OK || !libraft_leads(e))
        return HF_E_NOT_LEADER;
    const struct peer *p = to == 0 ? most_caught_up(e) : libraft_peer(e, to);
    if (p == NULL || !p->voter || p->recovering != 0 || p->id == e->env.replica)
        return HF_E_INVALID;
    if (e->raft.transfer != NULL)
        return e->raft.transfer->id == p->id ? HF_OK : HF_E_BUSY;
    if (e->batch_count > 0)
        hand_batch(e); /* their places are promised */
    int rc = raft_transfer(&e->raft, &e->transfer, p->id, NULL);
    if (rc == 0)
        diag(DIAG_INFO, "leadership is handed over to=%" PRIu32 " last=%" PRIu64, p->id, libraft_last(e));
    libraft_look(e);
    return rc == 0 ? HF_OK : HF_E_INVALID;
}

/* ---- what became of it, told to the replica ---- */

static void report(struct engine *e)
{
    uint32_t leader = libraft_leader(e);
    int state = raft_state(&e->raft);
    bool transferring = libraft_leads(e) && e->raft.transfer != NULL;
    if (state != e->told.state || e->raft.current_term != e->told.term || leader != e->told.leader ||
        transferring != e->told.transferring) {
        e->told.state = state;
        e->told.term = e->raft.current_term;
        e->told.leader = leader;
        e->told.transferring = transferring;
        e->env.changed(e->env.ctx);
    }
    for (; e->ready > 0; e->ready--) {
        struct barrier b = e->barriers[e->barrier_head++ % LIMIT_PENDING_REQUESTS];
        e->env.barrier_ready(e->env.ctx, b.id, b.index);
    }
}

static void tell_commit(struct engine *e)
{
    struct log_hard_state hs = log_hard_state(e->log);
    if (e->raft.commit_index <= hs.commit)
        return;
    hs.commit = e->raft.commit_index;
    log_set_hard_state(e->log, hs);
}

/* Our log is whole again: from now on we vote. libraft learns that by a new start; we follow, there is nothing to lose. */
static void recover(struct engine *e)
{
    if (e->recovery_term != e->raft.current_term) {
        e->recovery_due = false; /* the next leader was told that we are recovering: it must see it through */
        return;
    }
    if (e->append_count > 0 || log_dirty(e->log) || e->env.recovered(e->env.ctx) != HF_OK)
        return;
    e->env.recovering = 0;
    e->recovery_due = false;
    tell_commit(e);
    e->failed = libraft_restart(e);
}

/* Behind the turn's sync, so that what it was said of is durable. */
static void report_late(struct engine *e)
{
    report(e);
    if (e->need_from != 0) {
        uint32_t from = e->need_from;
        e->need_from = 0;
        if (e->need_index > e->raft.commit_index)
            e->env.snapshot_needed(e->env.ctx, from, e->need_index, e->need_term);
    }
    if (e->recovery_due && e->failed == HF_OK)
        recover(e);
}

void libraft_step(struct engine *e)
{
    libraft_deferred(e);
    if (e->failed == HF_OK) {
        hand_batch_when_due(e);
        libraft_read_turn(e);
    }
    report(e);
}

/* G1: from here on the last entry stored is always of our own term. */
static void count_answers(struct engine *e)
{
    if (!libraft_leads(e) || e->barrier_stored || e->raft.last_stored < e->barrier_index)
        return;
    e->barrier_stored = true;
    for (uint32_t i = 0; i < e->peer_count && libraft_leads(e); i++) {
        if (e->peers[i].held)
            libraft_answer(e, &e->peers[i], &e->peers[i].answer);
        e->peers[i].held = false;
    }
}

static int store(struct engine *e)
{
    tell_commit(e);
    if (log_dirty(e->log)) {
        int rc = log_sync(e->log);
        if (rc != HF_OK)
            return rc;
    }
    e->promised = false;
    libraft_io_stored(e);
    count_answers(e);
    libraft_io_idle(e);
    return e->failed;
}

int libraft_persist(struct engine *e)
{
    int rc = e->failed != HF_OK ? e->failed : store(e);
    if (rc != HF_OK)
        return rc;
    libraft_deferred(e); /* G8: a candidacy that waited for the disk has a term and a vote to store */
    return e->failed != HF_OK || !e->promised ? e->failed : store(e);
}

int libraft_apply(struct engine *e)
{
    uint64_t commit = libraft_commit(e), limit = commit < log_synced(e->log) ? commit : log_synced(e->log); /* I7 */
    if (e->failed != HF_OK)
        return e->failed;
    if (e->env.held) {
        report_late(e);
        return HF_E_NOT_READY;
    }
    int rc = committed_apply(&e->env, e->log, &e->applied, limit, &e->out_arena, &e->failed);
    if (e->failed != HF_OK)
        return rc; /* said by the next persist */
    if (rc == HF_OK)
        libraft_io_forget(e);
    report_late(e); /* what the sync changed is told also while apply waits */
    return rc != HF_OK ? rc : limit > e->applied ? 1 : 0;
}

int libraft_committed(struct engine *e, uint64_t index, uint64_t term)
{
    uint64_t known;
    if (index < log_first(e->log) - 1)
        return HF_OK; /* gone, so it was applied */
    if (log_term(e->log, index, &known) != HF_OK)
        return HF_E_ABSENT;
    if (known != term)
        return index <= libraft_commit(e) ? HF_E_CORRUPT : HF_E_ABSENT;
    if (index > e->commit_told)
        e->commit_told = index;
    return HF_OK;
}

int libraft_trim(struct engine *e, uint64_t index)
{
    if (index > e->applied)
        return HF_E_INVALID; /* I4 is the caller's to keep; what is not applied at all is surely wrong */
    return index <= log_first(e->log) - 1 ? HF_OK : log_trim(e->log, index);
}
