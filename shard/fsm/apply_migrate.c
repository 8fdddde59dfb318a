/* apply_migrate.c: the group's engine is changed: prepared, then sealed or aborted, each by an entry. A seal that takes effect is the
 * last entry of its epoch that does: whatever the log holds behind it nobody acknowledged. */
#include <stdio.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "shard/fsm/apply_internal.h"
#include "shard/fsm/meta.h"

void fsm_migration_record(const struct fsm_migration *m, struct fsm_migration_record *out)
{
    Hf__Entry__MigrationRecord *r = &out->record;
    Hf__Entry__MigrationSeal *seal = &out->left;
    hf__entry__migration_record__init(r);
    hf__entry__migration_seal__init(seal);
    r->state = (Hf__Entry__MigrationState)m->state;
    r->id = m->id;
    r->epoch = m->epoch;
    r->source = (char *)(uintptr_t)m->source; /* packing only reads */
    r->target = (char *)(uintptr_t)m->target;
    r->configuration = m->configuration;
    r->index = m->index;
    r->term = m->term;
    if (m->state == FSM_MIGRATION_SEALED)
        r->digest = pack_bytes(slice_make(m->digest, DIGEST_BYTES));
    r->aborted = m->aborted;
    r->aborted_epoch = m->aborted_epoch;
    if (m->state == FSM_MIGRATION_SEALED || m->seal.epoch == 0)
        return;
    seal->epoch = m->seal.epoch;
    seal->id = m->seal.id;
    seal->source = (char *)(uintptr_t)m->seal.source;
    seal->target = (char *)(uintptr_t)m->seal.target;
    seal->index = m->seal.index;
    seal->term = m->seal.term;
    r->left = seal;
}

static void pack_record(const struct fsm_migration *m, struct buf *out)
{
    struct fsm_migration_record packed;
    fsm_migration_record(m, &packed);
    pack_append(&packed.record.base, out);
}

static void put_record(struct applying *a)
{
    struct buf packed = {0};
    pack_record(&a->info.migration, &packed);
    apply_put(a, meta_key_migration(), buf_slice(&packed));
    buf_deinit(&packed);
}

/* Where an entry stands, and among what. */
struct place {
    uint32_t epoch;
    uint64_t configuration; /* index of the members */
    uint64_t index, term;
    const uint8_t *digest; /* as of the entry before it */
};

static bool aborted(const struct fsm_migration *m, const struct place *at, uint64_t id)
{
    return m->aborted_epoch == at->epoch && id <= m->aborted;
}

/* One is prepared in the log's epoch, that of an earlier one is history. */
static bool prepared(const struct fsm_migration *m, const struct place *at)
{
    return m->state == FSM_MIGRATION_PREPARED && m->epoch == at->epoch;
}

static bool engine_name(const char *name)
{
    size_t size = strlen(name);
    return size > 0 && size < FSM_ENGINE_BYTES;
}

static void name_engines(struct fsm_migration *m, const char *source, const char *target)
{
    snprintf(m->source, sizeof m->source, "%s", source);
    snprintf(m->target, sizeof m->target, "%s", target);
}

static void seal_at(struct fsm_migration *m, uint64_t index, uint64_t term, const uint8_t digest[DIGEST_BYTES])
{
    m->state = FSM_MIGRATION_SEALED;
    m->index = index;
    m->term = term;
    memcpy(m->digest, digest, DIGEST_BYTES);
    m->seal = meta_seal_of(m);
}

/* Each step: HF_OK and *out_changed: the record is another one. */
static int prepare(struct fsm_migration *m, const struct place *at, const Hf__Entry__MigrateEntry *e, bool *out_changed)
{
    if (e->id == 0 || !engine_name(e->source) || !engine_name(e->target) || strcmp(e->source, e->target) == 0)
        return HF_E_INVALID;
    if (e->epoch != at->epoch || e->configuration != at->configuration)
        return HF_E_COMPARE_FAILED;
    if (aborted(m, at, e->id))
        return HF_E_FENCED;
    if (prepared(m, at)) {
        bool same = m->id == e->id && strcmp(m->source, e->source) == 0 && strcmp(m->target, e->target) == 0;
        return same ? HF_OK : HF_E_BUSY;
    }
    m->state = FSM_MIGRATION_PREPARED;
    m->id = e->id;
    m->epoch = e->epoch;
    m->configuration = e->configuration;
    m->index = m->term = 0;
    name_engines(m, e->source, e->target);
    *out_changed = true;
    return HF_OK;
}

/* Without effect where anything differs: then it is an entry as any other, and those behind it are applied. */
static int seal(struct fsm_migration *m, const struct place *at, const Hf__Entry__MigrateEntry *e, bool *out_changed)
{
    if (!prepared(m, at) || m->id != e->id || e->epoch != at->epoch || m->configuration != at->configuration ||
        e->configuration != at->configuration)
        return HF_E_COMPARE_FAILED;
    must(!aborted(m, at, e->id)); /* an abort ends what is prepared */
    seal_at(m, at->index, at->term, at->digest);
    *out_changed = true;
    return HF_OK;
}

/* Remembered also for what is not prepared yet: its entry may come later. */
static int abort_until(struct fsm_migration *m, const struct place *at, const Hf__Entry__MigrateEntry *e,
                       bool *out_changed)
{
    if (e->id == 0)
        return HF_E_INVALID;
    if (e->epoch != at->epoch)
        return HF_E_COMPARE_FAILED;
    if (m->aborted_epoch != e->epoch)
        m->aborted = 0;
    m->aborted_epoch = e->epoch;
    if (prepared(m, at) || !planted_bug("fsm.abort_forgotten"))
        m->aborted = e->id > m->aborted ? e->id : m->aborted;
    if (prepared(m, at) && m->id <= m->aborted)
        m->state = FSM_MIGRATION_NONE;
    *out_changed = true;
    return HF_OK;
}

/* What a step makes of a group's record, wherever it is kept. */
static int take_step(struct fsm_migration *m, const struct place *at, const Hf__Entry__MigrateEntry *e,
                     bool *out_changed)
{
    *out_changed = false;
    switch ((int)e->step) {
    case HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE:
        return prepare(m, at, e, out_changed);
    case HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL:
        return seal(m, at, e, out_changed);
    case HF__ENTRY__MIGRATE_STEP__MIGRATE_ABORT:
        return abort_until(m, at, e, out_changed);
    default: /* a number from the wire */
        return HF_E_INVALID;
    }
}

int apply_migrate(struct applying *a, const Hf__Entry__MigrateEntry *e)
{
    struct place at = {a->info.applied.epoch, a->info.members->index, a->entry->index, a->entry->term, a->info.digest};
    bool changed;
    int rc = take_step(&a->info.migration, &at, e, &changed);
    if (changed)
        put_record(a);
    return rc;
}

/* ---- without a machine ---- */

void fsm_foresee_begin(const struct fsm_info *info, struct fsm_foresight *out)
{
    *out = (struct fsm_foresight){
        .applied = info->applied, .configuration = info->members->index, .migration = info->migration};
}

bool fsm_foresee(struct fsm_foresight *f, const struct log_entry *entry, struct arena *arena)
{
    static const uint8_t unknown[DIGEST_BYTES];
    struct place at = {f->applied.epoch, f->configuration, entry->index, entry->term, unknown};
    bool changed;
    must(entry->index == f->applied.index + 1 && !fsm_foreseen_seal(f));
    if (entry->kind == LOG_CONFIG)
        f->configuration = entry->index;
    if (fsm_is_migrate(entry)) {
        struct slice payload = slice_make(entry->data.data + 1, entry->data.size - 1);
        const Hf__Entry__MigrateEntry *e = pack_unpack(&hf__entry__migrate_entry__descriptor, payload, arena);
        if (e) /* who applies it says what is wrong with one that is malformed */
            (void)take_step(&f->migration, &at, e, &changed);
    }
    f->applied.index = entry->index;
    f->applied.term = entry->term;
    return !fsm_foreseen_seal(f);
}

bool fsm_sealed(const struct fsm_info *info)
{
    return info->migration.seal.epoch != 0 && info->migration.seal.epoch == info->applied.epoch;
}

/* `info`'s record and applied position, outside of any entry: durable on return. */
static int write_meta(struct fsm *fsm, const struct fsm_info *info)
{
    struct buf packed = {0};
    must(!fsm->busy);
    pack_record(&info->migration, &packed);
    store_batch_put(fsm->batch, meta_key_migration(), buf_slice(&packed));
    meta_put_applied(fsm->batch, info);
    int rc = store_write(fsm->store, fsm->batch);
    store_batch_clear(fsm->batch);
    buf_deinit(&packed);
    if (rc == HF_OK)
        fsm->info = *info;
    return rc == HF_OK ? fsm_flush(fsm) : rc;
}

int fsm_seal_offline(struct fsm *fsm, const char *source, const char *target)
{
    struct fsm_info info = fsm->info;
    struct fsm_migration *m = &info.migration;
    must(engine_name(source) && engine_name(target) && strcmp(source, target) != 0 && !fsm_sealed(&info));
    if (info.feature_level < FSM_FEATURE_MIGRATE)
        return HF_E_REFUSED;
    m->id = FSM_OFFLINE_IDS | info.applied.index;
    m->epoch = info.applied.epoch;
    m->configuration = info.members->index;
    name_engines(m, source, target);
    seal_at(m, info.applied.index, info.applied.term, info.digest);
    return write_meta(fsm, &info);
}

int fsm_enter_next_epoch(struct fsm *fsm)
{
    struct fsm_info info = fsm->info;
    must(info.migration.seal.epoch != 0);
    if (info.applied.epoch == info.migration.seal.epoch + 1)
        return fsm_flush(fsm);
    must(fsm_sealed(&info));
    info.applied.epoch = info.migration.seal.epoch + 1;
    return write_meta(fsm, &info);
}
