/* fsm.c: creating, opening, closing and flushing the state machine, and point reads. */
#include "shard/fsm/fsm.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/endian.h"
#include "common/base/error.h"
#include "common/sys/disk.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "shard/fsm/fsm_internal.h"
#include "shard/fsm/meta.h"

static struct store_config store_config(const struct fsm_config *config)
{
    return (struct store_config){.dir = config->dir,
                                 .sync_writes = config->sync_writes,
                                 .cache_bytes = config->cache_bytes,
                                 .buffer_bytes = config->buffer_bytes,
                                 .prefix = vkey_prefix_length};
}

/* The name of the new directory must survive too. */
static int sync_parent(const char *dir)
{
    const char *slash = strrchr(dir, '/');
    struct disk *disk = disk_posix();
    if (slash == NULL)
        return disk->ops->sync_dir(disk, ".");
    char parent[LIMIT_TEXT_BYTES];
    size_t size = slash == dir ? 1 : (size_t)(slash - dir);
    if (size >= sizeof parent)
        return HF_E_LIMIT;
    memcpy(parent, dir, size);
    parent[size] = 0;
    return disk->ops->sync_dir(disk, parent);
}

/* Where the running digest starts: groups that were told different things differ from the first entry on. */
static void genesis_digest(const struct fsm_genesis *genesis, uint8_t out[DIGEST_BYTES])
{
    uint8_t head[8 + 4 + 4 + 8 + 8];
    struct buf packed = {0};
    put_le64(head, genesis->cluster);
    put_le32(head + 8, genesis->group);
    put_le32(head + 12, genesis->log_epoch);
    put_le64(head + 16, genesis->index);
    put_le64(head + 24, genesis->term);
    pack_append(&genesis->members->base, &packed);
    pack_append(&genesis->range->base, &packed);
    struct digest d;
    digest_begin(&d);
    digest_add(&d, slice_make(head, sizeof head));
    digest_add(&d, buf_slice(&packed));
    digest_end(&d, out);
    buf_deinit(&packed);
}

static int write_genesis(struct store *store, const struct fsm_genesis *genesis)
{
    struct fsm_info info = {.cluster = genesis->cluster,
                            .group = genesis->group,
                            .heartbeat_ms = genesis->heartbeat_ms,
                            .election_ms = genesis->election_ms,
                            .feature_level = genesis->feature_level ? genesis->feature_level : FSM_FEATURE_LEVEL,
                            .applied = {genesis->log_epoch, genesis->index, genesis->term}};
    genesis_digest(genesis, info.digest);
    struct store_batch *batch = store_batch_new();
    meta_put_constants(batch, &info);
    meta_put_ceiling(batch, info.ceiling);
    meta_put_members(batch, genesis->members);
    meta_put_range(batch, genesis->range);
    meta_put_applied(batch, &info);
    int rc = store_write(store, batch);
    store_batch_free(&batch);
    return rc;
}

int fsm_create(const struct fsm_config *config, const struct fsm_genesis *genesis, char where[256])
{
    struct store_config sc = store_config(config);
    struct store *store = NULL;
    int rc = store_destroy(config->dir, where);
    if (rc == HF_OK)
        rc = store_open(&sc, true, &store, where);
    if (rc != HF_OK)
        return rc;
    snprintf(where, 256, "%.200s: writing the first state failed", config->dir);
    rc = write_genesis(store, genesis);
    if (rc == HF_OK)
        rc = store_flush(store);
    store_close(&store);
    return rc == HF_OK ? sync_parent(config->dir) : rc;
}

/* The rest of the record that meta_load has looked at. */
static int load_sweep(struct fsm *fsm)
{
    struct buf bytes = {0};
    int rc = store_get(fsm->store, meta_key_collect(), &bytes);
    const Hf__Entry__CollectRecord *r = rc == HF_OK ? meta_collect(buf_slice(&bytes), &fsm->turn) : NULL;
    if (r != NULL) {
        if (r->at.len > 0)
            buf_append(&fsm->sweep_at, r->at.data, r->at.len);
        fsm->sweep = (struct sweep){
            .markers = r->markers, .late = r->late, .within = r->within, .at = buf_slice(&fsm->sweep_at)};
    }
    buf_deinit(&bytes);
    arena_reset(&fsm->turn);
    return rc == HF_E_NOT_FOUND ? HF_OK : rc;
}

int fsm_open(const struct fsm_config *config, struct fsm **out, char where[256])
{
    struct fsm *fsm = calloc(1, sizeof *fsm);
    must(fsm != NULL); /* out of memory */
    sessions_init(&fsm->sessions);
    fsm->batch = store_batch_new();
    struct store_config sc = store_config(config);
    int rc = store_open(&sc, false, &fsm->store, where);
    if (rc == HF_OK)
        rc = meta_load(fsm->store, &fsm->members[0], &fsm->range, &fsm->info, where);
    if (rc == HF_OK) {
        rc = markers_load(&fsm->markers, fsm->store, fsm->info.newest);
        if (rc != HF_OK)
            snprintf(where, 256, "prefix markers cannot be read: %.180s",
                     *store_where(fsm->store) ? store_where(fsm->store) : "a record is malformed or out of range");
    }
    if (rc == HF_OK)
        rc = load_sweep(fsm);
    if (rc == HF_OK) {
        rc = sessions_load(&fsm->sessions, fsm->store, fsm->info.applied.index);
        if (rc != HF_OK)
            snprintf(where, 256, "sessions cannot be read: %.200s", store_where(fsm->store));
    }
    if (rc == HF_OK) {
        rc = txns_load(&fsm->txns, fsm->store, &fsm->info);
        if (rc != HF_OK)
            snprintf(where, 256, "transactions cannot be read: %.180s",
                     *store_where(fsm->store) ? store_where(fsm->store) : "a record is malformed or out of range");
    }
    if (rc != HF_OK) {
        fsm_close(&fsm);
        return rc;
    }
    fsm_count_txns(fsm);
    fsm->info.sessions = fsm->sessions.by_id.count;
    fsm->info.markers = fsm->markers.count;
    where[0] = 0;
    *out = fsm;
    return HF_OK;
}

void fsm_close(struct fsm **fsm)
{
    struct fsm *f = *fsm;
    if (f == NULL)
        return;
    fsm_drop_iterators(f);
    store_batch_free(&f->batch);
    store_close(&f->store);
    sessions_deinit(&f->sessions);
    markers_deinit(&f->markers);
    txns_close(&f->txns);
    overlay_deinit(&f->overlay);
    recent_deinit(&f->recent);
    buf_deinit(&f->results);
    buf_deinit(&f->sweep_at);
    arena_deinit(&f->turn);
    arena_deinit(&f->range);
    arena_deinit(&f->members[0]);
    arena_deinit(&f->members[1]);
    free(f);
    *fsm = NULL;
}

const struct fsm_info *fsm_info(const struct fsm *fsm)
{
    return &fsm->info;
}

const char *fsm_where(const struct fsm *fsm)
{
    return store_where(fsm->store);
}

int fsm_durable_applied(struct fsm *fsm, struct fsm_applied *out)
{
    return meta_durable_applied(fsm->store, out);
}

bool fsm_flush_pending(struct fsm *fsm)
{
    return store_flush_pending(fsm->store);
}

int fsm_flush(struct fsm *fsm)
{
    crash_point("fsm.before_flush");
    fsm_drop_iterators(fsm); /* they would hold the memory of what is flushed */
    int rc = store_flush(fsm->store);
    crash_point("fsm.after_flush");
    return rc;
}

int fsm_flush_begin(struct fsm *fsm)
{
    crash_point("fsm.before_flush");
    fsm_drop_iterators(fsm);
    return store_flush_begin(fsm->store);
}

int fsm_newest(struct fsm *fsm, struct slice prefix, struct hlc at, struct version_found *out)
{
    if (recent_find(&fsm->recent, prefix, out) && (at.t == 0 || out->version.t.t < at.t))
        return HF_OK;
    if (fsm->point == NULL)
        fsm->point = store_iterator_new(fsm->store, true);
    int rc = versions_newest(fsm->point, prefix, at, out);
    if (rc == HF_OK && at.t == 0)
        recent_note(&fsm->recent, prefix, out);
    return rc;
}

struct store_iterator *fsm_walk_iterator(struct fsm *fsm)
{
    if (fsm->walk == NULL)
        fsm->walk = store_iterator_new(fsm->store, false);
    return fsm->walk;
}

void fsm_drop_iterators(struct fsm *fsm)
{
    store_iterator_free(&fsm->point);
    store_iterator_free(&fsm->walk);
}

static bool has_opcode(const struct log_entry *entry, uint8_t opcode)
{
    return entry->kind == LOG_COMMAND && entry->data.size > 0 && entry->data.data[0] == opcode;
}

bool fsm_is_check(const struct log_entry *entry)
{
    return has_opcode(entry, FSM_OPCODE_CHECK);
}

bool fsm_is_collect(const struct log_entry *entry)
{
    return has_opcode(entry, FSM_OPCODE_COLLECT);
}

bool fsm_is_migrate(const struct log_entry *entry)
{
    return has_opcode(entry, FSM_OPCODE_MIGRATE);
}

bool fsm_owns(const struct fsm *fsm, enum fsm_space space, struct slice key)
{
    const Hf__Catalog__Range *range = fsm->info.range;
    if (space == FSM_CATALOG)
        return range->catalog;
    return slice_compare(key, pack_slice(range->start)) >= 0 &&
           (range->end.len == 0 || slice_compare(key, pack_slice(range->end)) < 0);
}

int fsm_marker(struct fsm *fsm, uint8_t space, struct slice key, struct hlc at, struct version *out)
{
    if (at.t != 0)
        return markers_at(&fsm->markers, fsm->store, space, key, at, out);
    *out = markers_newest(&fsm->markers, space, key);
    return HF_OK;
}

int fsm_get(struct fsm *fsm, enum fsm_space space, struct slice key, struct hlc at, struct hlc now, struct arena *arena,
            struct fsm_value *out)
{
    if (!fsm_owns(fsm, space, key))
        return HF_E_WRONG_SHARD;
    if (at.t != 0 && at.t < fsm->info.collected.below.t)
        return HF_E_TOO_OLD;
    struct version marker;
    struct version_found found;
    struct slice prefix = vkey_prefix(arena, VKEY_DATA, (uint8_t)space, key);
    int rc = fsm_key_free(fsm, space, key, at);
    if (rc == HF_OK)
        rc = fsm_newest(fsm, prefix, at, &found);
    if (rc == HF_OK)
        rc = fsm_marker(fsm, (uint8_t)space, key, at, &marker);
    if (rc != HF_OK)
        return rc;
    if (!versions_live(&found, marker, now))
        return HF_E_NOT_FOUND;
    out->value = arena_copy(arena, found.value.payload);
    out->version = found.version;
    out->expiry = versions_expiry(&found.value);
    return HF_OK;
}
