/* markers.c: the cache of prefix markers: hashed by (space, prefix), looked up at every length that occurs. */
#include "shard/fsm/markers.h"

#include <stdlib.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "shard/fsm/versions.h"

struct marker {
    struct marker *next; /* owned: another prefix of the same hash */
    struct version newest;
    uint32_t size;
    uint8_t space;
    uint8_t prefix[];
};

struct marker_undo {
    struct marker *marker;
    struct version before;
    uint64_t hash;
    bool added;
};

/* FNV-1a, so that the hash of a longer prefix goes on from that of a shorter one. */
static uint64_t hash_start(uint8_t space)
{
    return 0xcbf29ce484222325u ^ space;
}

static uint64_t hash_more(uint64_t h, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        h = (h ^ bytes[i]) * 0x100000001b3u;
    return h;
}

static struct marker *find(const struct markers *m, uint64_t hash, uint8_t space, struct slice prefix)
{
    struct marker *at = hashmap_get(&m->by_hash, hash);
    while (at != NULL && !(at->space == space && slice_equal(slice_make(at->prefix, at->size), prefix)))
        at = at->next;
    return at;
}

static void add_length(struct markers *m, uint8_t space, uint32_t length)
{
    size_t at = 0, count = m->of[space].count;
    while (at < count && m->of[space].lengths[at] < length)
        at++;
    if (at < count && m->of[space].lengths[at] == length)
        return;
    if (count == m->of[space].cap) {
        m->of[space].cap = count > 0 ? count * 2 : 8;
        m->of[space].lengths = realloc(m->of[space].lengths, m->of[space].cap * sizeof(uint32_t));
        must(m->of[space].lengths != NULL); /* out of memory */
    }
    uint32_t *lengths = m->of[space].lengths;
    memmove(lengths + at + 1, lengths + at, (count - at) * sizeof *lengths);
    lengths[at] = length;
    m->of[space].count++;
}

static struct marker *insert(struct markers *m, uint64_t hash, uint8_t space, struct slice prefix)
{
    struct marker *marker = malloc(sizeof *marker + prefix.size);
    must(marker != NULL); /* out of memory */
    *marker = (struct marker){.space = space, .size = (uint32_t)prefix.size};
    if (prefix.size > 0)
        memcpy(marker->prefix, prefix.data, prefix.size);
    marker->next = hashmap_put(&m->by_hash, hash, marker);
    m->count++;
    add_length(m, space, marker->size);
    return marker;
}

/* Its length stays known: that costs a lookup, never an answer. */
static void take_out(struct markers *m, uint64_t hash, struct marker *marker)
{
    struct marker *first = hashmap_remove(&m->by_hash, hash), **at = &first;
    while (*at != marker)
        at = &(*at)->next;
    *at = marker->next;
    if (first != NULL)
        hashmap_put(&m->by_hash, hash, first);
    m->count--;
    free(marker);
}

static void remember(struct markers *m, struct marker_undo undo)
{
    if (m->undo_count == m->undo_cap) {
        m->undo_cap = m->undo_cap > 0 ? m->undo_cap * 2 : 8;
        m->undo = realloc(m->undo, m->undo_cap * sizeof *m->undo);
        must(m->undo != NULL); /* out of memory */
    }
    m->undo[m->undo_count++] = undo;
}

int markers_add(struct markers *m, uint8_t space, struct slice prefix, struct version version)
{
    must(space < MARKERS_SPACES);
    uint64_t hash = hash_more(hash_start(space), prefix.data, prefix.size);
    struct marker *marker = find(m, hash, space, prefix);
    bool added = marker == NULL;
    if (added && m->count >= LIMIT_MARKERS)
        return HF_E_LIMIT;
    if (added)
        marker = insert(m, hash, space, prefix);
    must(version_compare(version, marker->newest) > 0); /* I8 */
    remember(m, (struct marker_undo){.marker = marker, .before = marker->newest, .hash = hash, .added = added});
    marker->newest = version;
    return HF_OK;
}

void markers_forget(struct markers *m, uint8_t space, struct slice prefix, struct version version, struct version left)
{
    uint64_t hash = hash_more(hash_start(space), prefix.data, prefix.size);
    struct marker *marker = find(m, hash, space, prefix);
    must(m->undo_count == 0);
    if (marker == NULL || version_compare(marker->newest, version) != 0)
        return;
    if (version_compare(left, (struct version){0}) == 0)
        take_out(m, hash, marker);
    else
        marker->newest = left;
}

void markers_commit(struct markers *m)
{
    m->undo_count = 0;
}

void markers_rollback(struct markers *m)
{
    while (m->undo_count > 0) {
        struct marker_undo *undo = &m->undo[--m->undo_count];
        if (undo->added)
            take_out(m, undo->hash, undo->marker);
        else
            undo->marker->newest = undo->before;
    }
}

void markers_deinit(struct markers *m)
{
    size_t at = 0;
    uint64_t hash;
    void *value;
    while (hashmap_each(&m->by_hash, &at, &hash, &value)) {
        struct marker *next;
        for (struct marker *marker = value; marker != NULL; marker = next) {
            next = marker->next;
            free(marker);
        }
    }
    hashmap_deinit(&m->by_hash);
    for (size_t i = 0; i < MARKERS_SPACES; i++)
        free(m->of[i].lengths);
    free(m->undo);
    *m = (struct markers){0};
}

/* One record; newer records of the same prefix came before it. */
static int load_one(struct markers *m, struct arena *arena, const struct vkey *key, struct version newest)
{
    struct slice prefix;
    if (key->space >= MARKERS_SPACES || !vkey_user(key->prefix, arena, &prefix) ||
        version_compare(key->version, newest) > 0 || version_compare(key->version, (struct version){0}) == 0)
        return HF_E_CORRUPT; /* a version that no entry had would make the next marker's look old (I8) */
    int rc = markers_add(m, key->space, prefix, key->version);
    return rc == HF_E_LIMIT ? HF_E_CORRUPT : rc;
}

int markers_load(struct markers *m, struct store *store, struct version newest)
{
    struct store_iterator *it = store_iterator_new(store, false);
    int rc = markers_read(m, it, newest, (struct hlc){0});
    store_iterator_free(&it);
    return rc;
}

int markers_read(struct markers *m, struct store_iterator *it, struct version newest, struct hlc at)
{
    struct arena arena = {0};
    const uint8_t first = VKEY_MARKER;
    int rc = HF_OK;
    store_iterator_seek(it, slice_make(&first, 1));
    while (rc == HF_OK && store_iterator_valid(it)) {
        struct slice record = store_iterator_key(it);
        if (record.size < 1 || record.data[0] != VKEY_MARKER)
            break;
        struct vkey key;
        rc = vkey_decode(record, &key) ? HF_OK : HF_E_CORRUPT;
        if (rc == HF_OK && at.t != 0 && key.version.t.t >= at.t) {
            store_iterator_next(it);
            continue;
        }
        if (rc == HF_OK)
            rc = load_one(m, &arena, &key, newest);
        if (rc != HF_OK)
            break;
        /* Older markers of this prefix are passed over: behind its oldest possible version. */
        uint8_t *past = arena_alloc(&arena, key.prefix.size);
        memcpy(past, key.prefix.data, key.prefix.size);
        past[key.prefix.size - 1]++;
        store_iterator_seek(it, slice_make(past, key.prefix.size));
        arena_reset(&arena);
    }
    if (rc == HF_OK)
        rc = store_iterator_status(it);
    arena_deinit(&arena);
    markers_commit(m);
    return rc;
}

struct version markers_newest(const struct markers *m, uint8_t space, struct slice key)
{
    struct version newest = {0};
    uint64_t hash = hash_start(space);
    size_t hashed = 0;
    for (size_t i = 0; i < m->of[space].count && m->of[space].lengths[i] <= key.size; i++) {
        size_t length = m->of[space].lengths[i];
        if (length > hashed)
            hash = hash_more(hash, key.data + hashed, length - hashed);
        hashed = length;
        const struct marker *marker = find(m, hash, space, slice_make(key.data, length));
        if (marker != NULL && version_compare(marker->newest, newest) > 0)
            newest = marker->newest;
    }
    return newest;
}

/* The newest marker of exactly `prefix` below `at`, from the store. */
static int older(struct store *store, uint8_t space, struct slice prefix, struct hlc at, struct version *out)
{
    struct arena arena = {0};
    struct store_iterator *it = store_iterator_new(store, true);
    struct slice records = vkey_prefix(&arena, VKEY_MARKER, space, prefix);
    int rc = HF_OK;
    struct vkey key;
    store_iterator_seek(it, vkey_seek(records, at));
    if (!store_iterator_valid(it))
        rc = store_iterator_status(it);
    else if (slice_has_prefix(store_iterator_key(it), records))
        rc = vkey_decode(store_iterator_key(it), &key) ? HF_OK : HF_E_CORRUPT;
    if (rc == HF_OK && store_iterator_valid(it) && slice_has_prefix(store_iterator_key(it), records))
        *out = key.version;
    store_iterator_free(&it);
    arena_deinit(&arena);
    return rc;
}

int markers_at(const struct markers *m, struct store *store, uint8_t space, struct slice key, struct hlc at,
               struct version *out)
{
    struct version newest = {0};
    uint64_t hash = hash_start(space);
    size_t hashed = 0;
    for (size_t i = 0; i < m->of[space].count && m->of[space].lengths[i] <= key.size; i++) {
        size_t length = m->of[space].lengths[i];
        if (length > hashed)
            hash = hash_more(hash, key.data + hashed, length - hashed);
        hashed = length;
        const struct marker *marker = find(m, hash, space, slice_make(key.data, length));
        if (marker == NULL)
            continue;
        struct version version = marker->newest;
        if (version.t.t >= at.t) {
            version = (struct version){0};
            int rc = older(store, space, slice_make(key.data, length), at, &version);
            if (rc != HF_OK)
                return rc;
        }
        if (version_compare(version, newest) > 0)
            newest = version;
    }
    *out = newest;
    return HF_OK;
}
