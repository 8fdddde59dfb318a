/* native.c: the native engine: opening over a log and a state machine that must agree, and the table of its functions.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "shard/engine/base/committed.h"
#include "shard/engine/base/folder.h"
#include "shard/engine/base/opening.h"
#include "shard/engine/native/native_state.h"

static unsigned planted(void)
{
    static const struct {
        const char *name;
        unsigned bug;
    } bugs[] = {
        {"native.vote_twice", CORE_BUG_VOTE_TWICE},
        {"native.commit_old_term", CORE_BUG_COMMIT_OLD_TERM},
        {"native.ack_before_sync", CORE_BUG_ACK_BEFORE_SYNC},
        {"native.skip_truncate", CORE_BUG_SKIP_TRUNCATE},
        {"native.lease_unchecked", CORE_BUG_LEASE_UNCHECKED},
        {"native.change_early", CORE_BUG_CHANGE_EARLY},
        {"native.recovering_votes", CORE_BUG_RECOVERING_VOTES},
        {"native.install_back", CORE_BUG_INSTALL_BACK},
    };
    unsigned flags = 0;
    for (size_t i = 0; i < sizeof bugs / sizeof bugs[0]; i++) {
        if (planted_bug(bugs[i].name))
            flags |= bugs[i].bug;
    }
    return flags;
}

/* Configurations behind `applied`: the last two count. Replay reads the same entries a moment later. */
static int find_members(struct engine *e, char where[256])
{
    for (uint64_t at = e->applied + 1; at <= log_last(e->log);) {
        struct log_entry *entries;
        size_t count;
        int rc = log_read(e->log, at, COMMITTED_ENTRIES, COMMITTED_BYTES, &e->in, &entries, &count);
        for (size_t i = 0; rc == HF_OK && i < count; i++) {
            Hf__Catalog__Members *members = NULL;
            if (entries[i].kind != LOG_CONFIG || entries[i].index <= e->members->index)
                continue;
            rc = members_decode(entries[i].data, entries[i].index, &members);
            if (rc == HF_OK)
                native_members_push(e, &members);
            else
                rc = HF_E_CORRUPT;
        }
        arena_reset(&e->in);
        if (rc != HF_OK) {
            snprintf(where, 256, "native-%" PRIu32 ": entries from %" PRIu64 " on: %s", e->env.log_epoch, at,
                     error_text(rc));
            return rc;
        }
        at += count;
    }
    return HF_OK;
}

static void native_close(struct engine **engine)
{
    struct engine *e = *engine;
    if (e == NULL)
        return;
    free(e->core);
    free(e->runs);
    if (e->log != NULL)
        log_close(&e->log);
    members_free(&e->members);
    members_free(&e->previous);
    arena_deinit(&e->in);
    arena_deinit(&e->out);
    free(e->batch);
    free(e);
    *engine = NULL;
}

static int start_core(struct engine *e, char where[256])
{
    struct core_config config, previous;
    const struct log_run *known;
    size_t count = log_runs(e->log, &known);
    struct log_hard_state hs = log_hard_state(e->log);
    if (native_members_core(e->members, &config) != HF_OK ||
        (e->previous != NULL && native_members_core(e->previous, &previous) != HF_OK) || hs.vote > UINT32_MAX ||
        count == 0) {
        snprintf(where, 256, "native-%" PRIu32 ": configuration at index %" PRIu64 " or hard state is malformed",
                 e->env.log_epoch, e->members->index);
        return HF_E_CORRUPT;
    }
    size_t cap = count + 4 * (size_t)CORE_RUNS_ROOM;
    struct core_run *runs = e->runs = malloc(cap * sizeof *runs);
    e->core = calloc(1, core_bytes());
    must(runs != NULL && e->core != NULL);
    for (size_t i = 0; i < count; i++)
        runs[i] = (struct core_run){known[i].first, known[i].term};
    runs[0].first = log_first(e->log) - 1;
    struct core_start start = {
        .self = e->env.replica,
        .heartbeat_ms = e->env.heartbeat_ms,
        .election_ms = e->env.election_ms,
        .seed = e->env.seed,
        .now_ns = e->env.now_ns,
        .hard_state = {.term = hs.term, .commit = hs.commit, .vote = (uint32_t)hs.vote},
        .applied = e->applied,
        .held = e->env.held,
        .recovering = e->env.recovering,
        .unused = e->env.unused,
        .last = log_last(e->log),
        .runs = runs,
        .run_count = count,
        .run_cap = cap,
        .config = &config,
        .previous = e->previous != NULL ? &previous : NULL,
        .bugs = planted(),
    };
    core_init(e->core, &start);
    e->saved = start.hard_state;
    return HF_OK;
}

static int native_open(const struct engine_env *env, struct engine **out, char where[256])
{
    struct engine *e = calloc(1, sizeof *e);
    must(e != NULL);
    e->env = *env;
    e->members = members_copy(env->members);
    int rc = opening_log(engine_native.name, env, NATIVE_CACHE_BYTES, &e->log, &e->applied, where);
    if (rc == HF_OK)
        rc = find_members(e, where);
    if (rc == HF_OK)
        rc = start_core(e, where);
    if (rc != HF_OK) {
        native_close(&e);
        return rc;
    }
    *out = e;
    return HF_OK;
}

static uint64_t native_read_lease(const struct engine *e)
{
    return core_lease_until(e->core);
}

static uint64_t native_deadline(const struct engine *e)
{
    return core_deadline(e->core);
}

static struct engine_status native_status(const struct engine *e)
{
    static const enum engine_role roles[] = {
        [CORE_FOLLOWER] = ENGINE_FOLLOWER, [CORE_PRECANDIDATE] = ENGINE_CANDIDATE, [CORE_CANDIDATE] = ENGINE_CANDIDATE,
        [CORE_LEADER] = ENGINE_LEADER,     [CORE_LEARNER] = ENGINE_LEARNER,
    };
    struct core_hard_state hs = core_hard_state(e->core);
    return (struct engine_status){
        .role = roles[core_role(e->core)],
        .term = hs.term,
        .leader = core_leader(e->core),
        .commit = hs.commit,
        .last = core_last(e->core),
        .first = log_first(e->log),
        .serving = core_serving(e->core),
        .transferring = core_transferring(e->core),
        .log_bytes = log_disk_bytes(e->log),
        .held = core_held(e->core),
        .recovering = core_recovering(e->core) != 0,
    };
}

static size_t native_progress(const struct engine *e, struct engine_progress *out, size_t max)
{
    struct core_progress progress[LIMIT_PEERS + 1];
    size_t count = core_progress(e->core, progress, max < LIMIT_PEERS + 1 ? max : LIMIT_PEERS + 1);
    for (size_t i = 0; i < count; i++)
        out[i] =
            (struct engine_progress){progress[i].id, progress[i].match, progress[i].active, progress[i].recovering};
    return count;
}

static uint64_t native_reach(const struct engine *e, uint64_t index, uint64_t bytes)
{
    return committed_reach(e->log, index, bytes);
}

static const char *native_where(const struct engine *e)
{
    return log_where(e->log);
}

static void native_set_times(struct engine *e, uint32_t heartbeat_ms, uint32_t election_ms)
{
    core_set_times(e->core, heartbeat_ms, election_ms);
    e->env.heartbeat_ms = heartbeat_ms;
    e->env.election_ms = election_ms;
}

static const Hf__Catalog__Members *native_members(const struct engine *e)
{
    return e->members;
}

static int native_create(const struct engine_env *env, uint64_t index, uint64_t term)
{
    return folder_create(engine_native.name, env, index, term);
}

static int native_archive(struct disk *disk, const char *dir, uint32_t log_epoch)
{
    return folder_archive(engine_native.name, disk, dir, log_epoch);
}

static int native_rebuild(const struct engine_env *env, const char *quarantine, uint64_t index, uint64_t term,
                          char where[256])
{
    return folder_rebuild(engine_native.name, env, quarantine, index, term, where);
}

const struct engine_ops engine_native = {
    .name = "native",
    .open = native_open,
    .close = native_close,
    .receive = native_receive,
    .propose = native_propose,
    .barrier = native_barrier,
    .read_lease = native_read_lease,
    .tick = native_tick,
    .deadline = native_deadline,
    .step = native_step,
    .send_early = native_send_early,
    .persist = native_persist,
    .where = native_where,
    .send_late = native_send_late,
    .apply = native_apply,
    .status = native_status,
    .progress = native_progress,
    .members = native_members,
    .change = native_members_change,
    .transfer = native_transfer,
    .campaign = native_campaign,
    .reach = native_reach,
    .committed = native_committed,
    .trim = native_trim,
    .install = native_install,
    .set_times = native_set_times,
    .create = native_create,
    .archive = native_archive,
    .rebuild = native_rebuild,
};
