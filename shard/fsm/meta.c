/* meta.c: fixed little-endian records for numbers, packed protobuf for members and range. */
#include "shard/fsm/meta.h"

#include <stdio.h>

#include "common/base/endian.h"
#include "common/base/error.h"
#include "common/base/limits.h"
#include "proto/pack.h"
#include "shard/fsm/vkey.h"

#define META_FORMAT 1
#define META_APPLIED_BYTES ((size_t)(1 + 8 + 4 + 4 + 8 + 8 + 8 + 8 + DIGEST_BYTES))
#define META_CONSTANTS_BYTES ((size_t)(1 + 4 + 4 + 4))

static const char key_applied[] = "mapplied", key_ceiling[] = "mceiling", key_members[] = "mmembers",
                  key_range[] = "mrange", key_constants[] = "mconstants", key_checked[] = "mchecked",
                  key_restart[] = "mrestart", key_cutover[] = "mcutover", key_collect[] = "mcollect",
                  key_migration[] = "mmigration";

void meta_put_applied(struct store_batch *batch, const struct fsm_info *info)
{
    uint8_t bytes[META_APPLIED_BYTES] = {META_FORMAT};
    put_le64(bytes + 1, info->cluster);
    put_le32(bytes + 9, info->group);
    put_le32(bytes + 13, info->applied.epoch);
    put_le64(bytes + 17, info->applied.index);
    put_le64(bytes + 25, info->applied.term);
    put_le64(bytes + 33, info->newest.t.t);
    put_le64(bytes + 41, info->newest.seq);
    memcpy(bytes + 49, info->digest, DIGEST_BYTES);
    store_batch_put(batch, slice_text(key_applied), slice_make(bytes, sizeof bytes));
}

static bool read_applied(struct slice bytes, struct fsm_info *info)
{
    if (bytes.size != META_APPLIED_BYTES || bytes.data[0] != META_FORMAT)
        return false;
    info->cluster = get_le64(bytes.data + 1);
    info->group = get_le32(bytes.data + 9);
    info->applied.epoch = get_le32(bytes.data + 13);
    info->applied.index = get_le64(bytes.data + 17);
    info->applied.term = get_le64(bytes.data + 25);
    info->newest.t.t = get_le64(bytes.data + 33);
    info->newest.seq = get_le64(bytes.data + 41);
    memcpy(info->digest, bytes.data + 49, DIGEST_BYTES);
    return true;
}

static void put_number(struct store_batch *batch, const char *key, uint64_t number)
{
    uint8_t bytes[8];
    put_le64(bytes, number);
    store_batch_put(batch, slice_text(key), slice_make(bytes, sizeof bytes));
}

void meta_put_ceiling(struct store_batch *batch, struct hlc ceiling)
{
    put_number(batch, key_ceiling, ceiling.t);
}

void meta_put_checked(struct store_batch *batch, uint64_t index)
{
    put_number(batch, key_checked, index);
}

void meta_put_restart(struct store_batch *batch, struct hlc restart)
{
    put_number(batch, key_restart, restart.t);
}

static void put_packed(struct store_batch *batch, const char *key, const ProtobufCMessage *message)
{
    struct buf packed = {0};
    pack_append(message, &packed);
    store_batch_put(batch, slice_text(key), buf_slice(&packed));
    buf_deinit(&packed);
}

void meta_put_members(struct store_batch *batch, const Hf__Catalog__Members *members)
{
    put_packed(batch, key_members, &members->base);
}

void meta_put_range(struct store_batch *batch, const Hf__Catalog__Range *range)
{
    put_packed(batch, key_range, &range->base);
}

void meta_put_constants(struct store_batch *batch, const struct fsm_info *info)
{
    uint8_t bytes[META_CONSTANTS_BYTES] = {META_FORMAT};
    put_le32(bytes + 1, info->feature_level);
    put_le32(bytes + 5, info->heartbeat_ms);
    put_le32(bytes + 9, info->election_ms);
    store_batch_put(batch, slice_text(key_constants), slice_make(bytes, sizeof bytes));
}

Hf__Catalog__Members *meta_members(struct slice packed, struct arena *arena)
{
    Hf__Catalog__Members *members = pack_unpack(&hf__catalog__members__descriptor, packed, arena);
    if (members == NULL || members->n_members > LIMIT_PEERS)
        return NULL;
    for (size_t i = 0; i < members->n_members; i++) {
        const Hf__Catalog__Member *member = members->members[i];
        if (strlen(member->raft_endpoint) > LIMIT_TEXT_BYTES || strlen(member->client_endpoint) > LIMIT_TEXT_BYTES)
            return NULL;
    }
    return members;
}

struct slice meta_key_collect(void)
{
    return slice_text(key_collect);
}

Hf__Entry__CollectRecord *meta_collect(struct slice packed, struct arena *arena)
{
    Hf__Entry__CollectRecord *r = pack_unpack(&hf__entry__collect_record__descriptor, packed, arena);
    bool usable = r != NULL && r->pass <= r->below && r->swept <= r->below &&
                  r->at.len <= VKEY_PREFIX_MAX + VKEY_VERSION_BYTES && (r->pass != 0 || r->at.len == 0);
    return usable ? r : NULL;
}

struct slice meta_key_migration(void)
{
    return slice_text(key_migration);
}

struct fsm_seal meta_seal_of(const struct fsm_migration *m)
{
    struct fsm_seal seal = {.epoch = m->epoch, .id = m->id, .index = m->index, .term = m->term};
    memcpy(seal.source, m->source, sizeof seal.source);
    memcpy(seal.target, m->target, sizeof seal.target);
    return seal;
}

static bool seal_of(const Hf__Entry__MigrationSeal *s, struct fsm_seal *out)
{
    if (s->epoch == 0 || s->index == 0 || s->term == 0 || strlen(s->source) >= FSM_ENGINE_BYTES ||
        strlen(s->target) >= FSM_ENGINE_BYTES)
        return false;
    *out = (struct fsm_seal){.epoch = s->epoch, .id = s->id, .index = s->index, .term = s->term};
    memcpy(out->source, s->source, strlen(s->source));
    memcpy(out->target, s->target, strlen(s->target));
    return true;
}

/* Bounded (I11); false: it cannot be used. */
static bool migration_of(const Hf__Entry__MigrationRecord *r, struct fsm_migration *out)
{
    bool sealed = r->state == HF__ENTRY__MIGRATION_STATE__MIGRATION_SEALED;
    if (r->state > HF__ENTRY__MIGRATION_STATE__MIGRATION_SEALED || strlen(r->source) >= FSM_ENGINE_BYTES ||
        strlen(r->target) >= FSM_ENGINE_BYTES || r->digest.len != (sealed ? DIGEST_BYTES : 0) ||
        (sealed && (r->index == 0 || r->term == 0)))
        return false;
    *out = (struct fsm_migration){.state = (enum fsm_migration_state)r->state,
                                  .id = r->id,
                                  .epoch = r->epoch,
                                  .configuration = r->configuration,
                                  .index = r->index,
                                  .term = r->term,
                                  .aborted = r->aborted,
                                  .aborted_epoch = r->aborted_epoch};
    memcpy(out->source, r->source, strlen(r->source));
    memcpy(out->target, r->target, strlen(r->target));
    if (!sealed)
        return r->left == NULL || seal_of(r->left, &out->seal);
    memcpy(out->digest, r->digest.data, DIGEST_BYTES);
    out->seal = meta_seal_of(out);
    return true;
}

/* Bounded, and not empty: a key lies in it or does not (I11, I12). */
static const Hf__Catalog__Range *range_of(struct slice packed, struct arena *arena)
{
    const Hf__Catalog__Range *r = pack_unpack(&hf__catalog__range__descriptor, packed, arena);
    if (r == NULL || r->start.len > LIMIT_KEY_BYTES || r->end.len > LIMIT_KEY_BYTES ||
        (r->end.len > 0 && slice_compare(pack_slice(r->start), pack_slice(r->end)) >= 0))
        return NULL;
    return r;
}

/* Its checksum held, so this is not the disk's doing: another code than damage. */
static int damaged(const char *key, char where[256])
{
    snprintf(where, 256, "state machine: meta record \"%s\" is missing or cannot be read", key + 1);
    return HF_E_INVALID;
}

/* Reads of one kind: what a reader sees, or what is on disk. */
typedef int get_fn(struct store *s, struct slice key, struct buf *out);

/* Of a record that is absent until something first happens: 0 then. */
static int get_number(struct store *store, get_fn *get, const char *key, uint64_t *out, struct buf *bytes,
                      char where[256])
{
    buf_clear(bytes);
    int rc = get(store, slice_text(key), bytes);
    if (rc == HF_E_NOT_FOUND)
        return HF_OK;
    if (rc != HF_OK || bytes->size != 8)
        return rc != HF_OK ? rc : damaged(key, where);
    *out = get_le64(bytes->data);
    return HF_OK;
}

static int get_collected(struct store *store, get_fn *get, struct fsm_collected *out, struct buf *bytes,
                         char where[256])
{
    struct arena arena = {0};
    buf_clear(bytes);
    int rc = get(store, slice_text(key_collect), bytes);
    const Hf__Entry__CollectRecord *r = rc == HF_OK ? meta_collect(buf_slice(bytes), &arena) : NULL;
    if (rc == HF_OK && r == NULL)
        rc = damaged(key_collect, where);
    if (r != NULL)
        *out = (struct fsm_collected){.below = {r->below},
                                      .pass = {r->pass},
                                      .swept = {r->swept},
                                      .due = {r->due},
                                      .passes = r->passes,
                                      .versions = r->removed_versions,
                                      .markers = r->removed_markers,
                                      .bytes = r->removed_bytes};
    arena_deinit(&arena);
    return rc == HF_E_NOT_FOUND ? HF_OK : rc;
}

static int get_migration(struct store *store, get_fn *get, struct fsm_migration *out, struct buf *bytes,
                         char where[256])
{
    struct arena arena = {0};
    buf_clear(bytes);
    int rc = get(store, slice_text(key_migration), bytes);
    if (rc == HF_OK) {
        const Hf__Entry__MigrationRecord *r =
            pack_unpack(&hf__entry__migration_record__descriptor, buf_slice(bytes), &arena);
        if (r == NULL || !migration_of(r, out))
            rc = damaged(key_migration, where);
    }
    arena_deinit(&arena);
    return rc == HF_E_NOT_FOUND ? HF_OK : rc;
}

/* Every other record is there once "applied" is: they came in its batch or an earlier one. */
static int read_rest(struct store *store, get_fn *get, struct arena *members, struct arena *range,
                     struct fsm_info *info, struct buf *bytes, char where[256])
{
    int rc = get(store, slice_text(key_constants), bytes);
    if (rc != HF_OK || bytes->size != META_CONSTANTS_BYTES || bytes->data[0] != META_FORMAT)
        return rc != HF_OK && rc != HF_E_NOT_FOUND ? rc : damaged(key_constants, where);
    info->feature_level = get_le32(bytes->data + 1);
    info->heartbeat_ms = get_le32(bytes->data + 5);
    info->election_ms = get_le32(bytes->data + 9);
    if (info->heartbeat_ms == 0 || info->election_ms == 0)
        return damaged(key_constants, where);
    if (info->feature_level > FSM_FEATURE_LEVEL) {
        snprintf(where, 256, "state machine: feature level %u is above %u, which this program knows: use a newer one",
                 info->feature_level, FSM_FEATURE_LEVEL);
        return HF_E_FORMAT;
    }
    buf_clear(bytes);
    rc = get(store, slice_text(key_ceiling), bytes);
    if (rc != HF_OK || bytes->size != 8)
        return rc != HF_OK && rc != HF_E_NOT_FOUND ? rc : damaged(key_ceiling, where);
    info->ceiling.t = get_le64(bytes->data);
    buf_clear(bytes);
    rc = get(store, slice_text(key_members), bytes);
    if (rc != HF_OK || (info->members = meta_members(buf_slice(bytes), members)) == NULL)
        return rc != HF_OK && rc != HF_E_NOT_FOUND ? rc : damaged(key_members, where);
    buf_clear(bytes);
    rc = get(store, slice_text(key_range), bytes);
    if (rc == HF_OK)
        info->range = range_of(buf_slice(bytes), range);
    if (rc != HF_OK || info->range == NULL)
        return rc != HF_OK && rc != HF_E_NOT_FOUND ? rc : damaged(key_range, where);
    rc = get_number(store, get, key_checked, &info->checked, bytes, where);
    if (rc == HF_OK)
        rc = get_number(store, get, key_cutover, &info->cutover, bytes, where);
    if (rc == HF_OK)
        rc = get_number(store, get, key_restart, &info->restart.t, bytes, where);
    if (rc == HF_OK)
        rc = get_collected(store, get, &info->collected, bytes, where);
    return rc != HF_OK ? rc : get_migration(store, get, &info->migration, bytes, where);
}

static int load(struct store *store, get_fn *get, struct arena *members, struct arena *range, struct fsm_info *info,
                char where[256])
{
    struct buf bytes = {0};
    snprintf(where, 256, "state machine: meta cannot be read");
    int rc = get(store, slice_text(key_applied), &bytes);
    if (rc == HF_E_NOT_FOUND) {
        snprintf(where, 256, "state machine: no applied index: its creation did not finish");
        rc = HF_E_ABSENT;
    } else if (rc == HF_OK && !read_applied(buf_slice(&bytes), info)) {
        rc = damaged(key_applied, where);
    }
    buf_clear(&bytes);
    if (rc == HF_OK)
        rc = read_rest(store, get, members, range, info, &bytes, where);
    buf_deinit(&bytes);
    return rc;
}

int meta_durable_info(struct store *store, struct arena *arena, struct fsm_info *out)
{
    char where[256];
    struct fsm_applied after = {0};
    struct fsm_info info;
    int rc;
    do { /* a flush in the background may end between two reads: then they are of two states */
        info = (struct fsm_info){0};
        rc = load(store, store_get_durable, arena, arena, &info, where);
        if (rc == HF_OK)
            rc = meta_durable_applied(store, &after);
    } while (rc == HF_OK && after.index != info.applied.index);
    if (rc == HF_OK)
        *out = info;
    return rc;
}

int meta_load(struct store *store, struct arena *members, struct arena *range, struct fsm_info *info, char where[256])
{
    return load(store, store_get, members, range, info, where);
}

int meta_durable_applied(struct store *store, struct fsm_applied *out)
{
    struct buf bytes = {0};
    struct fsm_info info;
    int rc = store_get_durable(store, slice_text(key_applied), &bytes);
    if (rc == HF_OK)
        rc = read_applied(buf_slice(&bytes), &info) ? HF_OK : HF_E_CORRUPT;
    else if (rc == HF_E_NOT_FOUND)
        rc = HF_E_ABSENT;
    if (rc == HF_OK)
        *out = info.applied;
    buf_deinit(&bytes);
    return rc;
}
