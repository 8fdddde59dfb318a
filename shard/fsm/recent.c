/* recent.c: a set-associative table; in a full set, and when the bytes run out, an entry not asked for since goes
 * first. */
#include "shard/fsm/recent.h"

#include <stdlib.h>

#include "common/base/hashmap.h"

#define RECENT_WAYS ((size_t)4)
#define RECENT_SETS ((size_t)1 << 14)
#define RECENT_SLOTS (RECENT_SETS * RECENT_WAYS)
#define RECENT_ENTRY_MAX (RECENT_BYTES / 64) /* a larger one would push out too many */

struct recent_entry {
    uint64_t hash;
    struct version version;
    struct hlc expiry;
    uint32_t prefix_size, payload_size;
    uint8_t flags;
    bool asked;      /* since the hand passed */
    uint8_t bytes[]; /* prefix, payload */
};

static size_t entry_bytes(const struct recent_entry *e)
{
    return sizeof *e + e->prefix_size + e->payload_size;
}

static void drop(struct recent *r, struct recent_entry **slot)
{
    r->bytes -= entry_bytes(*slot);
    free(*slot);
    *slot = NULL;
}

void recent_deinit(struct recent *r)
{
    for (size_t i = 0; r->slots != NULL && i < RECENT_SLOTS; i++)
        free(r->slots[i]);
    free(r->slots);
    *r = (struct recent){0};
}

static struct recent_entry **set_of(struct recent *r, uint64_t hash)
{
    return &r->slots[(hash & (RECENT_SETS - 1)) * RECENT_WAYS];
}

/* The slot that holds the key, or NULL. */
static struct recent_entry **slot_of(struct recent *r, struct slice prefix, uint64_t hash)
{
    struct recent_entry **set = set_of(r, hash);
    for (size_t i = 0; i < RECENT_WAYS; i++)
        if (set[i] != NULL && set[i]->hash == hash &&
            slice_equal(slice_make(set[i]->bytes, set[i]->prefix_size), prefix))
            return &set[i];
    return NULL;
}

bool recent_find(struct recent *r, struct slice prefix, struct version_found *out)
{
    if (r->slots == NULL)
        return false;
    struct recent_entry **slot = slot_of(r, prefix, hashmap_hash_bytes(prefix.data, prefix.size));
    if (slot == NULL)
        return false;
    struct recent_entry *e = *slot;
    e->asked = true;
    *out = (struct version_found){.version = e->version,
                                  .value = {.flags = e->flags,
                                            .expiry = e->expiry,
                                            .payload = slice_make(e->bytes + e->prefix_size, e->payload_size)}};
    return true;
}

/* An empty slot of the set, made by dropping one if need be. */
static struct recent_entry **free_slot(struct recent *r, uint64_t hash)
{
    struct recent_entry **set = set_of(r, hash), **victim = &set[(hash >> 32) % RECENT_WAYS];
    for (size_t i = 0; i < RECENT_WAYS; i++) {
        if (set[i] == NULL)
            return &set[i];
        if (!set[i]->asked)
            victim = &set[i];
        set[i]->asked = false;
    }
    drop(r, victim);
    return victim;
}

static void make_room(struct recent *r, size_t bytes)
{
    while (r->bytes + bytes > RECENT_BYTES) {
        struct recent_entry **slot = &r->slots[r->hand++ % RECENT_SLOTS];
        if (*slot == NULL)
            continue;
        if ((*slot)->asked)
            (*slot)->asked = false;
        else
            drop(r, slot);
    }
}

static void insert(struct recent *r, struct slice prefix, uint64_t hash, const struct version_found *found)
{
    struct slice payload = found->value.payload;
    size_t bytes = sizeof(struct recent_entry) + prefix.size + payload.size;
    if (bytes > RECENT_ENTRY_MAX)
        return;
    make_room(r, bytes);
    struct recent_entry *e = malloc(bytes);
    must(e != NULL); /* out of memory */
    *e = (struct recent_entry){.hash = hash,
                               .version = found->version,
                               .expiry = found->value.expiry,
                               .flags = found->value.flags,
                               .prefix_size = (uint32_t)prefix.size,
                               .payload_size = (uint32_t)payload.size};
    memcpy(e->bytes, prefix.data, prefix.size);
    if (payload.size > 0)
        memcpy(e->bytes + prefix.size, payload.data, payload.size);
    *free_slot(r, hash) = e;
    r->bytes += bytes;
}

void recent_note(struct recent *r, struct slice prefix, const struct version_found *found)
{
    if (r->slots == NULL) {
        r->slots = calloc(RECENT_SLOTS, sizeof(struct recent_entry *));
        must(r->slots != NULL); /* out of memory */
    }
    uint64_t hash = hashmap_hash_bytes(prefix.data, prefix.size);
    struct recent_entry **slot = slot_of(r, prefix, hash);
    if (slot != NULL)
        drop(r, slot);
    insert(r, prefix, hash, found);
}

void recent_update(struct recent *r, struct slice prefix, const struct version_found *found)
{
    if (r->bytes == 0)
        return;
    uint64_t hash = hashmap_hash_bytes(prefix.data, prefix.size);
    struct recent_entry **slot = slot_of(r, prefix, hash);
    if (slot == NULL)
        return;
    drop(r, slot);
    insert(r, prefix, hash, found);
}

void recent_forget(struct recent *r, struct slice prefix)
{
    struct recent_entry **slot = r->bytes > 0 ? slot_of(r, prefix, hashmap_hash_bytes(prefix.data, prefix.size)) : NULL;
    if (slot != NULL)
        drop(r, slot);
}
