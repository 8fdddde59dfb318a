/* libraft.c: the libraft engine: opening, what it says of itself, the table of its functions. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "shard/engine/base/committed.h"
#include "shard/engine/base/folder.h"
#include "shard/engine/base/members.h"
#include "shard/engine/base/opening.h"
#include "shard/engine/libraft/libraft_turn.h"

struct peer *libraft_peer(struct engine *e, uint32_t id)
{
    for (uint32_t i = 0; i < e->peer_count; i++) {
        if (e->peers[i].id == id)
            return &e->peers[i];
    }
    return NULL;
}

bool libraft_leads(const struct engine *e)
{
    return e->raft.state == RAFT_LEADER;
}

uint64_t libraft_last(const struct engine *e)
{
    return raft_last_index((struct raft *)&e->raft); /* reads only */
}

uint32_t libraft_leader(const struct engine *e)
{
    if (e->raft.state == RAFT_LEADER)
        return e->env.replica;
    return e->raft.state == RAFT_FOLLOWER ? (uint32_t)e->raft.follower_state.current_leader.id : 0;
}

bool libraft_barred(const struct engine *e)
{
    const struct peer *self = libraft_peer((struct engine *)e, e->env.replica);
    return e->raft.state == RAFT_FOLLOWER && (self == NULL || !self->voter || e->env.held || e->env.recovering != 0);
}

static bool alone(const struct engine *e)
{
    size_t voters = 0;
    bool self = false;
    for (uint32_t i = 0; i < e->peer_count; i++) {
        voters += e->peers[i].voter;
        self |= e->peers[i].voter && e->peers[i].id == e->env.replica;
    }
    return self && voters == 1;
}

static void take_members(struct engine *e)
{
    must(e->members->n_members <= LIMIT_PEERS);
    e->peer_count = (uint32_t)e->members->n_members;
    for (uint32_t i = 0; i < e->peer_count; i++) {
        const Hf__Catalog__Member *m = e->members->members[i];
        e->peers[i] = (struct peer){.id = m->replica, .voter = m->role == HF__CATALOG__ROLE__VOTER};
    }
}

/* G14: the only voter leads at once, and libraft lets it do so in the term it had: what it had sent to a learner before a crash,
 * and not stored, could come again as something else under the same index and term. */
static void new_term_when_alone(struct engine *e)
{
    struct log_hard_state hs = log_hard_state(e->log);
    if (!alone(e) || e->env.held || e->env.recovering != 0 || planted_bug("libraft.same_term"))
        return;
    libraft_io_promise(e, hs.term + 1, e->env.replica);
}

int libraft_begin(struct engine *e)
{
    char address[16];
    take_members(e);
    e->led_term = e->barrier_index = 0;
    e->heard = e->tick_due = e->campaign_due = e->recovery_due = false;
    e->need_from = 0;
    e->need_index = 0;
    e->vote_after_ns = e->env.unused ? 0 : e->now_ns + (uint64_t)e->env.election_ms * 1000000;
    libraft_read_reset(e);
    new_term_when_alone(e);
    libraft_io_init(e);
    snprintf(address, sizeof address, "%" PRIu32, e->env.replica);
    must(raft_init(&e->raft, &e->io, &e->fsm, e->env.replica, address) == 0);
    raft_set_heartbeat_timeout(&e->raft, e->env.heartbeat_ms);
    raft_set_election_timeout(&e->raft, e->env.election_ms);
    raft_set_install_snapshot_timeout(&e->raft, LIBRAFT_NEVER);
    raft_set_snapshot_threshold(&e->raft, UINT32_MAX);
    raft_set_pre_vote(&e->raft, true);
    if (raft_start(&e->raft) == 0) {
        libraft_look(e);
        return e->failed;
    }
    if (e->failed == HF_E_FORMAT)
        snprintf(e->where, sizeof e->where,
                 "libraft-%" PRIu32 ": a configuration entry, which this engine never writes", e->env.log_epoch);
    else
        snprintf(e->where, sizeof e->where, "%.250s", log_where(e->log));
    return e->failed != HF_OK ? e->failed : HF_E_NO_MEMORY; /* not "damaged": that would cost the log (I13) */
}

void libraft_end(struct engine *e)
{
    raft_close(&e->raft, NULL); /* at once: what waits is cancelled inside */
}

int libraft_restart(struct engine *e)
{
    e->env.unused = false; /* it may have promised something since */
    libraft_end(e);
    return libraft_begin(e);
}

static void close_engine(struct engine **engine)
{
    struct engine *e = *engine;
    if (e == NULL)
        return;
    if (e->raft.io != NULL)
        libraft_end(e);
    if (e->log != NULL)
        log_close(&e->log);
    members_free(&e->members);
    arena_deinit(&e->in);
    arena_deinit(&e->out_arena);
    free(e->appends);
    free(e->unsent);
    free(e);
    *engine = NULL;
}

static int open_engine(const struct engine_env *env, struct engine **out, char where[256])
{
    struct engine *e = calloc(1, sizeof *e);
    must(e != NULL);
    e->env = *env;
    e->now_ns = env->now_ns;
    e->random.state = env->seed;
    e->members = members_copy(env->members);
    int rc = opening_log(engine_libraft.name, env, LIBRAFT_CACHE_BYTES, &e->log, &e->applied, where);
    if (rc == HF_OK) {
        rc = libraft_begin(e);
        if (rc != HF_OK)
            snprintf(where, 256, "%.250s", e->where);
    }
    if (rc != HF_OK) {
        close_engine(&e);
        return rc;
    }
    *out = e;
    return HF_OK;
}

static uint64_t no_lease(const struct engine *e)
{
    (void)e;
    return 0;
}

/* Of libraft's clock, which counts milliseconds. */
static uint64_t deadline(const struct engine *e)
{
    const struct raft *r = &e->raft;
    uint64_t at = r->election_timer_start;
    if (e->failed != HF_OK)
        return 0;
    switch (r->state) {
    case RAFT_FOLLOWER:
        if (libraft_barred(e) && r->follower_state.current_leader.id == 0)
            return UINT64_MAX;
        at += r->follower_state.randomized_election_timeout;
        break;
    case RAFT_CANDIDATE:
        at += r->candidate_state.randomized_election_timeout;
        break;
    case RAFT_LEADER:
        at += r->election_timeout;
        for (uint32_t i = 0; i < e->peer_count; i++) {
            uint64_t next = r->leader_state.progress[i].last_send + r->heartbeat_timeout;
            if (e->peers[i].id != e->env.replica && next < at)
                at = next;
        }
        break;
    default:
        break;
    }
    return at * 1000000;
}

static struct engine_status status(const struct engine *e)
{
    static const enum engine_role roles[] = {[RAFT_UNAVAILABLE] = ENGINE_FOLLOWER,
                                             [RAFT_FOLLOWER] = ENGINE_FOLLOWER,
                                             [RAFT_CANDIDATE] = ENGINE_CANDIDATE,
                                             [RAFT_LEADER] = ENGINE_LEADER};
    const struct peer *self = libraft_peer((struct engine *)e, e->env.replica);
    bool leads = libraft_leads(e);
    return (struct engine_status){
        .role = self != NULL && self->voter ? roles[e->raft.state] : ENGINE_LEARNER,
        .term = e->raft.current_term,
        .leader = libraft_leader(e),
        .commit = libraft_commit(e),
        .last = libraft_last(e) + e->batch_count,
        .first = log_first(e->log),
        .serving = leads && e->applied >= e->barrier_index,
        .transferring = leads && e->raft.transfer != NULL,
        .log_bytes = log_disk_bytes(e->log),
        .held = e->env.held,
        .recovering = e->env.recovering != 0,
    };
}

static size_t progress(const struct engine *e, struct engine_progress *out, size_t max)
{
    size_t count = 0;
    uint64_t silent_ns = (uint64_t)e->env.election_ms * 1000000;
    if (!libraft_leads(e))
        return 0;
    for (uint32_t i = 0; i < e->peer_count && count < max; i++) {
        const struct peer *p = &e->peers[i];
        bool self = p->id == e->env.replica;
        uint64_t match = p->recovering != 0 ? p->match : e->raft.leader_state.progress[i].match_index;
        out[count++] =
            (struct engine_progress){.replica = p->id,
                                     .match = self ? e->raft.last_stored : match,
                                     .active = self || (p->heard_ns != 0 && e->now_ns < p->heard_ns + silent_ns),
                                     .recovering = p->recovering != 0};
    }
    return count;
}

static uint64_t reach(const struct engine *e, uint64_t index, uint64_t bytes)
{
    return committed_reach(e->log, index, bytes);
}

static const char *where_failed(const struct engine *e)
{
    return e->where[0] != '\0' ? e->where : log_where(e->log);
}

static void set_times(struct engine *e, uint32_t heartbeat_ms, uint32_t election_ms)
{
    raft_set_heartbeat_timeout(&e->raft, heartbeat_ms);
    raft_set_election_timeout(&e->raft, election_ms);
    e->env.heartbeat_ms = heartbeat_ms;
    e->env.election_ms = election_ms;
    if (e->raft.state == RAFT_FOLLOWER) /* (libraft would draw with its next wait) */
        e->raft.follower_state.randomized_election_timeout =
            (unsigned)e->io.random(&e->io, (int)election_ms, 2 * (int)election_ms);
}

static const Hf__Catalog__Members *members(const struct engine *e)
{
    return e->members;
}

/* libraft rolls an uncommitted configuration back to an entry that may be gone, and after a restart not at all; there is
 * no guard from outside. Members change under the native engine. */
static int refuse_change(struct engine *e, const Hf__Catalog__Members *next, uint64_t *out_index)
{
    (void)e, (void)next, (void)out_index;
    return HF_E_REFUSED;
}

/* The log is made to follow, then libraft begins anew from it: as a follower, which has nothing to lose. */
static int install(struct engine *e, uint64_t index, uint64_t term, const Hf__Catalog__Members *next)
{
    uint64_t known;
    if (e->failed != HF_OK)
        return e->failed;
    if (index > LIBRAFT_INDEX_MAX || term > LIBRAFT_INDEX_MAX || next->index > index || members_check(next) != HF_OK ||
        index < log_first(e->log) - 1 || (!e->env.held && index < e->applied))
        return HF_E_INVALID;
    if (libraft_leads(e))
        return HF_E_BUSY;
    bool kept = log_term(e->log, index, &known) == HF_OK && known == term;
    if (!kept && index <= e->raft.commit_index)
        return HF_E_CORRUPT;
    struct log_hard_state hs = log_hard_state(e->log);
    uint64_t commit = e->raft.commit_index > index ? e->raft.commit_index : index, last = log_last(e->log);
    if (term > hs.term)
        hs = (struct log_hard_state){.term = term, .commit = hs.commit};
    log_set_hard_state(e->log, hs);
    libraft_end(e);
    if (!kept)
        log_restart(e->log, index, term);
    hs.commit = commit;
    log_set_hard_state(e->log, hs);
    Hf__Catalog__Members *copy = members_copy(next);
    members_free(&e->members);
    e->members = copy;
    e->applied = index;
    e->env.held = false;
    e->promised = true; /* nothing leaves before it is durable */
    diag(kept ? DIAG_INFO : DIAG_WARN, "%s index=%" PRIu64 " last=%" PRIu64,
         kept ? "the log goes on behind the installed state" : "the log begins anew behind the installed state", index,
         last);
    e->env.unused = false;
    e->failed = libraft_begin(e);
    return libraft_persist(e);
}

/* ---- offline ---- */

static int create(const struct engine_env *env, uint64_t index, uint64_t term)
{
    return folder_create(engine_libraft.name, env, index, term);
}

static int archive(struct disk *disk, const char *dir, uint32_t log_epoch)
{
    return folder_archive(engine_libraft.name, disk, dir, log_epoch);
}

static int rebuild(const struct engine_env *env, const char *quarantine, uint64_t index, uint64_t term, char where[256])
{
    return folder_rebuild(engine_libraft.name, env, quarantine, index, term, where);
}

const struct engine_ops engine_libraft = {
    .name = "libraft",
    .open = open_engine,
    .close = close_engine,
    .receive = libraft_receive,
    .propose = libraft_propose,
    .barrier = libraft_barrier,
    .read_lease = no_lease,
    .tick = libraft_tick,
    .deadline = deadline,
    .step = libraft_step,
    .send_early = libraft_send_early,
    .persist = libraft_persist,
    .where = where_failed,
    .send_late = libraft_send_late,
    .apply = libraft_apply,
    .status = status,
    .progress = progress,
    .members = members,
    .change = refuse_change,
    .transfer = libraft_transfer,
    .campaign = libraft_campaign,
    .reach = reach,
    .committed = libraft_committed,
    .trim = libraft_trim,
    .install = install,
    .set_times = set_times,
    .create = create,
    .archive = archive,
    .rebuild = rebuild,
};
