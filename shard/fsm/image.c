/* image.c: see image.h. One iterator over everything; RocksDB keeps what it shows. */
#include "shard/fsm/image.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/endian.h"
#include "common/base/error.h"
#include "proto/pack.h"
#include "shard/fsm/fsm_internal.h"
#include "shard/fsm/meta.h"
#include "shard/fsm/versions.h"

struct image {
    struct store_iterator *it; /* owned */
    struct fsm_info info;
    struct arena arena;     /* of info's members and range */
    struct markers markers; /* as of the image; filled by the first image_next */
    struct store *store;    /* borrowed */
    bool begun;
    struct arena key;    /* of the key in hand */
    struct slice prefix; /* likewise */
};

static void *copy_packed(struct arena *arena, const ProtobufCMessage *message)
{
    struct buf packed = {0};
    pack_append(message, &packed);
    void *copy = pack_unpack(message->descriptor, buf_slice(&packed), arena);
    must(copy != NULL); /* it was unpacked before */
    buf_deinit(&packed);
    return copy;
}

struct image *image_new(struct fsm *fsm)
{
    struct image *image = calloc(1, sizeof *image);
    must(image != NULL && !fsm->busy);
    image->it = store_iterator_whole(fsm->store);
    image->info = fsm->info;
    image->info.members = copy_packed(&image->arena, &fsm->info.members->base);
    image->info.range = copy_packed(&image->arena, &fsm->info.range->base);
    image->store = fsm->store;
    return image;
}

void image_free(struct image **image)
{
    if (*image == NULL)
        return;
    store_iterator_free(&(*image)->it);
    markers_deinit(&(*image)->markers);
    arena_deinit(&(*image)->arena);
    arena_deinit(&(*image)->key);
    free(*image);
    *image = NULL;
}

const struct fsm_info *image_info(const struct image *image)
{
    return &image->info;
}

static int damaged(const struct image *image, int rc, char where[256])
{
    const char *text = store_iterator_where(image->it);
    snprintf(where, 256, "%.255s", *text ? text : "a record that cannot be read");
    return rc;
}

static int hash_all(struct store_iterator *it, const _Atomic bool *cancel, uint8_t out[DIGEST_BYTES],
                    uint64_t *out_records)
{
    struct digest digest;
    digest_begin(&digest);
    *out_records = 0;
    store_iterator_seek(it, slice_make(NULL, 0));
    for (; store_iterator_valid(it); store_iterator_next(it), ++*out_records) {
        if (cancel != NULL && atomic_load_explicit(cancel, memory_order_relaxed))
            return HF_E_AGAIN;
        struct slice key = store_iterator_key(it), value = store_iterator_value(it);
        uint8_t sizes[8];
        put_le32(sizes, (uint32_t)key.size);
        put_le32(sizes + 4, (uint32_t)value.size);
        digest_add(&digest, slice_make(sizes, sizeof sizes));
        digest_add(&digest, key);
        digest_add(&digest, value);
    }
    int rc = store_iterator_status(it);
    if (rc == HF_OK)
        digest_end(&digest, out);
    return rc;
}

int image_digest(struct image *image, const _Atomic bool *cancel, uint8_t out[DIGEST_BYTES], uint64_t *out_records,
                 char where[256])
{
    int rc = hash_all(image->it, cancel, out, out_records);
    return rc == HF_OK || rc == HF_E_AGAIN ? rc : damaged(image, rc, where);
}

int image_look(const char *dir, struct arena *arena, struct fsm_info *out_info, uint8_t out[DIGEST_BYTES],
               uint64_t *out_records, char where[256])
{
    struct store_config config = {.dir = dir, .read_only = true, .prefix = vkey_prefix_length};
    struct store *store = NULL;
    int rc = store_open(&config, false, &store, where);
    if (rc == HF_OK)
        rc = meta_load(store, arena, arena, out_info, where);
    if (rc == HF_OK) {
        struct store_iterator *it = store_iterator_whole(store);
        rc = hash_all(it, NULL, out, out_records);
        if (rc != HF_OK)
            snprintf(where, 256, "%.255s", store_iterator_where(it));
        store_iterator_free(&it);
    }
    store_close(&store);
    return rc;
}

/* The markers as the image has them. */
static int begin(struct image *image, struct hlc at)
{
    static const uint8_t first[] = {VKEY_DATA, FSM_USER};
    if (at.t != 0 && at.t < image->info.collected.below.t)
        return HF_E_TOO_OLD;
    int rc = markers_read(&image->markers, image->it, image->info.newest, at);
    image->begun = rc == HF_OK;
    store_iterator_seek(image->it, slice_make(first, sizeof first));
    return rc;
}

/* Is the iterator on an older version of the key in hand? */
static bool older(const struct image *image, struct slice record)
{
    return image->prefix.size > 0 && slice_has_prefix(record, image->prefix);
}

/* The newest version below `at` of a key, if the iterator is on it; HF_E_AGAIN: nothing lives there, or not yet. */
static int look(struct image *image, struct slice record, struct hlc at, struct hlc now, struct image_item *out)
{
    struct vkey key;
    struct version_found found;
    arena_reset(&image->key);
    if (!vkey_decode(record, &key))
        return HF_E_CORRUPT;
    if (at.t != 0 && key.version.t.t >= at.t) {
        image->prefix = slice_make(NULL, 0);
        return HF_E_AGAIN;
    }
    image->prefix = arena_copy(&image->key, key.prefix);
    found.version = key.version;
    if (!versions_decode(store_iterator_value(image->it), &found.value) ||
        !vkey_user(image->prefix, &image->key, &out->key))
        return HF_E_CORRUPT;
    if (!versions_live(&found, markers_newest(&image->markers, FSM_USER, out->key), now))
        return HF_E_AGAIN;
    out->value = arena_copy(&image->key, found.value.payload);
    out->version = found.version;
    out->expiry = found.value.flags & VERSION_EXPIRES ? found.value.expiry : (struct hlc){0};
    return HF_OK;
}

int image_next(struct image *image, struct hlc at, struct hlc now, size_t *steps, struct image_item *out,
               char where[256])
{
    int rc = image->begun ? HF_OK : begin(image, at);
    if (rc == HF_E_TOO_OLD)
        return rc;
    if (rc != HF_OK)
        return damaged(image, rc, where);
    for (; store_iterator_valid(image->it); store_iterator_next(image->it)) {
        struct slice record = store_iterator_key(image->it);
        if (record.size < 2 || record.data[0] != VKEY_DATA || record.data[1] != FSM_USER)
            return HF_E_NOT_FOUND;
        if (*steps == 0)
            return HF_E_AGAIN;
        (*steps)--;
        if (older(image, record))
            continue;
        rc = look(image, record, at, now, out);
        if (rc == HF_E_AGAIN)
            continue;
        if (rc != HF_OK)
            return damaged(image, rc, where);
        store_iterator_next(image->it);
        return HF_OK;
    }
    rc = store_iterator_status(image->it);
    return rc == HF_OK ? HF_E_NOT_FOUND : damaged(image, rc, where);
}
