/* status.c: see status.h. */
#include "shard/server/status.h"

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/disk.h"

static void fill_limits(struct status_buffer *b)
{
    static const struct {
        const char *name;
        uint64_t value;
    } table[] = {
#define LIMIT_ROW(name, key, value) {#key, (value)},
        HF_LIMITS(LIMIT_ROW)
#undef LIMIT_ROW
    };
    size_t count = sizeof table / sizeof table[0];
    must(count <= STATUS_LIMITS_MAX);
    for (size_t i = 0; i < count; i++) {
        hf__client__status__limits_entry__init(&b->limits[i]);
        b->limits[i].key = (char *)(uintptr_t)table[i].name; /* packing only reads */
        b->limits[i].value = table[i].value;
        b->limit_list[i] = &b->limits[i];
    }
    b->status.n_limits = count;
    b->status.limits = b->limit_list;
}

static const char *role_of(const struct engine_status *s)
{
    static const char *const names[] = {"follower", "candidate", "leader", "learner"};
    return names[s->role];
}

static void fill_check(struct status_buffer *b, const struct replica *replica)
{
    static const char *const phases[] = {"", "running", "done", "failed"};
    struct check_state check = check_state(replica_check(replica));
    Hf__Client__Status *s = &b->status;
    s->check_index = check.index;
    s->check_state = (char *)(uintptr_t)phases[check.phase];
    s->check_records = check.records;
    s->marked = check.marked;
    if (check.phase != CHECK_DONE)
        return;
    memcpy(b->check_digest, check.digest, DIGEST_BYTES);
    s->check_digest.data = b->check_digest;
    s->check_digest.len = DIGEST_BYTES;
}

Hf__Entry__MigrationRecord *status_migration(struct fsm_migration_record *b, const struct fsm_info *info)
{
    const struct fsm_migration *m = &info->migration;
    fsm_migration_record(m, b);
    return m->id == 0 && m->aborted_epoch == 0 ? NULL : &b->record;
}

static void fill_engines(struct status_buffer *b)
{
    const struct engine_ops *ops;
    size_t count = 0;
    while (count < STATUS_ENGINES_MAX && (ops = engine_at(count)) != NULL)
        b->engines[count++] = (char *)(uintptr_t)ops->name;
    b->status.n_engines = count;
    b->status.engines = b->engines;
}

static void fill_machine(struct status_buffer *b, struct fsm *fsm)
{
    Hf__Client__Status *s = &b->status;
    const struct fsm_info *info = fsm_info(fsm);
    struct fsm_applied durable = {0};
    s->applied = info->applied.index;
    s->applied_term = info->applied.term;
    if (fsm_durable_applied(fsm, &durable) == 0)
        s->durable_applied = durable.index;
    memcpy(b->digest, info->digest, DIGEST_BYTES);
    s->digest.data = b->digest;
    s->digest.len = DIGEST_BYTES;
    s->ceiling = info->ceiling.t;
    s->range = (Hf__Catalog__Range *)(uintptr_t)info->range;
    s->sessions = info->sessions;
    s->txns = info->txns;
    s->locks = info->locks;
    s->feature_level = info->feature_level;
    s->migration = status_migration(&b->migration, info);
}

/* The log that a change begins grows as the present one did, which stays; the state's flush writes what only the log has. */
static void fill_room(Hf__Client__Status *s, const struct directory_config *config, const struct replica_state *state)
{
    uint64_t free_bytes, log = state->engine.log_bytes;
    if (disk_room(config->dir, &free_bytes) != HF_OK)
        return;
    s->disk_free = free_bytes;
    s->change_bytes = (log > config->segment_bytes ? log : config->segment_bytes) + state->publish.replay_bytes;
}

static void fill_member(struct status_buffer *b, const struct directory *directory, const struct replica *replica)
{
    Hf__Client__Status *s = &b->status;
    struct replica_state state = replica_state(replica);
    s->role = (char *)(uintptr_t)role_of(&state.engine);
    s->state = state.healing ? "healing" : state.ready ? "ready" : "starting";
    s->term = state.engine.term;
    s->leader = state.engine.leader;
    s->commit = state.engine.commit;
    s->last = state.engine.last;
    s->log_first = state.publish.log_first;
    s->snapshot = state.publish.index;
    s->replay_bytes = state.publish.replay_bytes;
    if (replica_fsm(replica)) /* else it is being fetched */
        fill_machine(b, replica_fsm(replica));
    s->clock = replica_clock(replica).t;
    s->members = (Hf__Catalog__Members *)(uintptr_t)replica_members(replica);
    s->pending = state.pending;
    fill_check(b, replica);
    s->trouble = (char *)(uintptr_t)state.trouble;
    fill_room(s, &directory->config, &state);
}

Hf__Client__Status *status_fill(struct status_buffer *b, const struct directory *directory,
                                const struct replica *replica)
{
    hf__client__status__init(&b->status);
    Hf__Client__Status *s = &b->status;
    const struct identity *id = &directory->id;
    s->cluster = id->cluster;
    s->shard = id->group;
    s->replica = id->replica;
    s->incarnation = id->incarnation;
    s->engine = (char *)(uintptr_t)id->engine;
    s->log_epoch = id->log_epoch;
    s->version = HF_VERSION;
    fill_limits(b);
    fill_engines(b);
    if (replica) {
        fill_member(b, directory, replica);
    } else {
        s->role = "fresh";
        s->feature_level = FSM_FEATURE_LEVEL;
        s->state = "starting";
    }
    return s;
}
