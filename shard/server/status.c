/* status.c: see status.h. */
#include "shard/server/status.h"

#include "common/base/limits.h"

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
}

static void fill_member(struct status_buffer *b, const struct replica *replica)
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
    if (replica) {
        fill_member(b, replica);
    } else {
        s->role = "fresh";
        s->feature_level = FSM_FEATURE_LEVEL;
        s->state = "starting";
    }
    return s;
}
