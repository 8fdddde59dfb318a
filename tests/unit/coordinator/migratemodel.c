/* migratemodel.c: see migratemodel.h. */
#include "tests/unit/coordinator/migratemodel.h"

#include <string.h>

#include "common/base/error.h"
#include "common/base/must.h"
#include "proto/pack.h"

#define PREPARED HF__ENTRY__MIGRATION_STATE__MIGRATION_PREPARED
#define SEALED HF__ENTRY__MIGRATION_STATE__MIGRATION_SEALED

struct model_shard model[MODEL_SHARDS + 1];
const char *const model_engines[2] = {"native", "libraft"};

static Hf__Catalog__Member members[MODEL_REPLICAS], *member_list[MODEL_REPLICAS];
static Hf__Catalog__Shard shards[MODEL_SHARDS], *shard_list[MODEL_SHARDS];
static Hf__Catalog__Routes routes;

void model_begin(void)
{
    memset(model, 0, sizeof model);
    hf__catalog__routes__init(&routes);
    for (uint32_t r = 0; r < MODEL_REPLICAS; r++) {
        hf__catalog__member__init(&members[r]);
        members[r].replica = r + 1;
        member_list[r] = &members[r];
    }
    for (uint32_t s = 1; s <= MODEL_SHARDS; s++) {
        hf__catalog__shard__init(&shards[s - 1]);
        shards[s - 1].shard = s;
        shards[s - 1].n_members = MODEL_REPLICAS;
        shards[s - 1].members = member_list;
        shard_list[s - 1] = &shards[s - 1];
        model[s].term = 1;
        for (uint32_t r = 0; r < MODEL_REPLICAS; r++)
            model[s].replicas[r] = (struct model_replica){.alive = true, .epoch = 1};
    }
    routes.version = 1;
    routes.n_shards = MODEL_SHARDS;
    routes.shards = shard_list;
}

const Hf__Catalog__Routes *model_routes(void)
{
    return &routes;
}

/* ---- the state machine ---- */

static bool sealed(const struct model_replica *r)
{
    return r->record.state == SEALED && r->record.epoch == r->epoch;
}

static bool prepared(const struct model_replica *r)
{
    return r->record.state == PREPARED && r->record.epoch == r->epoch;
}

static int apply_prepare(struct model_replica *r, const struct model_entry *e)
{
    if (e->names != r->epoch)
        return HF_E_COMPARE_FAILED;
    if (r->record.aborted_epoch == r->epoch && e->id <= r->record.aborted)
        return HF_E_FENCED;
    if (prepared(r))
        return r->record.id == e->id ? HF_OK : HF_E_BUSY;
    r->record.state = PREPARED;
    r->record.id = e->id;
    r->record.epoch = e->names;
    r->record.target = e->target;
    return HF_OK;
}

static int apply_seal(struct model_replica *r, const struct model_entry *e, size_t index)
{
    if (!prepared(r) || r->record.id != e->id || e->names != r->epoch)
        return HF_E_COMPARE_FAILED;
    r->record.state = SEALED;
    r->record.index = index;
    r->record.term = e->term;
    return HF_OK;
}

static int apply_abort(struct model_replica *r, const struct model_entry *e)
{
    if (e->names != r->epoch)
        return HF_E_COMPARE_FAILED;
    r->record.aborted = r->record.aborted_epoch == r->epoch && r->record.aborted > e->id ? r->record.aborted : e->id;
    r->record.aborted_epoch = r->epoch;
    if (prepared(r) && r->record.id <= r->record.aborted)
        r->record.state = HF__ENTRY__MIGRATION_STATE__MIGRATION_NONE;
    return HF_OK;
}

static int apply_one(struct model_shard *s, struct model_replica *r)
{
    const struct model_entry *e = &s->log[r->applied++];
    int rc = HF_OK;
    must(e->epoch == r->epoch);
    r->applied_term = e->term;
    if (e->step == HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE)
        rc = apply_prepare(r, e);
    else if (e->step == HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL)
        rc = apply_seal(r, e, r->applied);
    else if (e->step == HF__ENTRY__MIGRATE_STEP__MIGRATE_ABORT)
        rc = apply_abort(r, e);
    if (sealed(r))
        s->sealed[r->epoch] = r->record.id;
    return rc;
}

static void cross(struct model_shard *s, struct model_replica *r)
{
    bool first = s->term <= r->record.term;
    r->epoch++;
    r->engine = r->record.target;
    r->durable = r->applied;
    s->term += first;
}

static bool move(struct model_shard *s, struct model_replica *r)
{
    if (sealed(r))
        cross(s, r);
    else if (r->applied < s->count)
        (void)apply_one(s, r);
    else
        return false;
    return true;
}

static int propose(struct model_shard *s, struct model_entry e)
{
    struct model_replica *r = &s->replicas[s->leader - 1];
    must(s->count < MODEL_ENTRIES && !sealed(r) && r->applied == s->count);
    e.epoch = r->epoch;
    e.term = s->term;
    s->log[s->count++] = e;
    return apply_one(s, r);
}

/* ---- what happens ---- */

static void lead(struct model_shard *s, uint32_t replica)
{
    struct model_replica *r = &s->replicas[replica - 1];
    while (move(s, r))
        ;
    s->leader = replica;
    s->term++;
    (void)propose(s, (struct model_entry){0});
}

void model_turn(uint32_t shard, uint64_t now_ms, uint64_t (*below)(uint64_t n), unsigned lag)
{
    struct model_shard *s = &model[shard];
    for (uint32_t i = 0; i < MODEL_REPLICAS; i++)
        if (s->replicas[i].alive && below(lag) == 0)
            (void)move(s, &s->replicas[i]);
    if (s->leader && s->replicas[s->leader - 1].epoch > s->log[s->count - 1].epoch) { /* it went over: leads no more */
        s->leader = 0;
        s->leaderless_ms = now_ms;
    }
    if (s->leader == 0 && now_ms >= s->leaderless_ms + 150) {
        uint32_t next = (uint32_t)below(MODEL_REPLICAS);
        if (s->replicas[next].alive)
            lead(s, next + 1);
    }
}

void model_kill(uint32_t shard, uint32_t replica, uint64_t now_ms)
{
    struct model_shard *s = &model[shard];
    s->replicas[replica - 1].alive = false;
    if (s->leader == replica) {
        s->leader = 0;
        s->leaderless_ms = now_ms;
    }
}

void model_start(uint32_t shard, uint32_t replica)
{
    model[shard].replicas[replica - 1].alive = true;
}

void model_write(uint32_t shard)
{
    struct model_shard *s = &model[shard];
    if (s->leader && !sealed(&s->replicas[s->leader - 1]) && s->count < MODEL_ENTRIES - 256)
        (void)propose(s, (struct model_entry){0});
}

int model_step(uint32_t shard, uint32_t replica, const Hf__Entry__MigrateEntry *entry)
{
    struct model_shard *s = &model[shard];
    if (s->leader != replica || sealed(&s->replicas[replica - 1]))
        return HF_E_NOT_LEADER;
    bool source = strcmp(model_engines[s->replicas[replica - 1].engine], entry->source) == 0;
    if (entry->step == HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE && !source)
        return HF_E_REFUSED;
    must(s->count < MODEL_ENTRIES);
    return propose(s, (struct model_entry){.step = entry->step,
                                           .id = entry->id,
                                           .names = entry->epoch,
                                           .target = strcmp(entry->target, model_engines[1]) == 0});
}

bool model_publish(uint32_t shard, uint32_t replica)
{
    struct model_replica *r = &model[shard].replicas[replica - 1];
    r->durable = r->alive ? r->applied : r->durable;
    return r->alive;
}

bool model_status(uint32_t shard, uint32_t replica, struct buf *out)
{
    static char *engines[2] = {"native", "libraft"};
    const struct model_shard *s = &model[shard];
    const struct model_replica *r = &s->replicas[replica - 1];
    uint8_t digest[32] = {0};
    Hf__Catalog__Members configuration = HF__CATALOG__MEMBERS__INIT;
    Hf__Entry__MigrationRecord record = HF__ENTRY__MIGRATION_RECORD__INIT;
    Hf__Client__Status status = HF__CLIENT__STATUS__INIT;
    if (!r->alive)
        return false;
    configuration.index = 1;
    configuration.n_members = MODEL_REPLICAS;
    configuration.members = member_list;
    record.state = r->record.state;
    record.id = r->record.id;
    record.epoch = r->record.epoch;
    record.target = engines[r->record.target];
    record.index = r->record.index;
    record.term = r->record.term;
    record.aborted = r->record.aborted;
    record.aborted_epoch = r->record.aborted_epoch;
    digest[0] = s->other_digest == replica;
    if (record.state == SEALED)
        record.digest = pack_bytes(slice_make(digest, sizeof digest));
    status.shard = shard;
    status.replica = replica;
    status.engine = engines[r->engine];
    status.log_epoch = r->epoch;
    status.role = s->leader == replica ? "leader" : "follower";
    status.state = sealed(r) ? "starting" : "ready";
    status.term = s->term;
    status.applied = r->applied;
    status.applied_term = r->applied_term;
    status.durable_applied = r->durable;
    status.last = s->count;
    status.members = &configuration;
    status.feature_level = MIGRATE_FEATURE_LEVEL;
    status.migration = r->record.id || r->record.aborted_epoch ? &record : NULL;
    status.n_engines = 2;
    status.engines = engines;
    pack_append(&status.base, out);
    return true;
}

bool model_runs(uint32_t shard, uint32_t engine)
{
    size_t there = 0;
    for (uint32_t i = 0; i < MODEL_REPLICAS; i++)
        there += model[shard].replicas[i].engine == engine;
    return there > MODEL_REPLICAS / 2;
}
