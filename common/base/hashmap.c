/* hashmap.c: linear probing at load ≤ 3/4; removal shifts later members of the run back, so there are no tombstones. */
#include "common/base/hashmap.h"

#include <stdlib.h>

#include "common/base/must.h"

#define HASHMAP_CAP_MIN ((size_t)16)

static uint64_t mix(uint64_t z) /* the finisher of splitmix64 */
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t home(const struct hashmap *m, uint64_t key)
{
    return (size_t)mix(key) & (m->cap - 1);
}

/* The slot that holds `key`, or the free one where it would go. cap > 0. */
static struct hashmap_slot *find(const struct hashmap *m, uint64_t key)
{
    size_t i = home(m, key);
    while (m->slots[i].value != NULL && m->slots[i].key != key)
        i = (i + 1) & (m->cap - 1);
    return &m->slots[i];
}

static void grow(struct hashmap *m)
{
    struct hashmap old = *m;
    m->cap = old.cap > 0 ? old.cap * 2 : HASHMAP_CAP_MIN;
    m->slots = calloc(m->cap, sizeof *m->slots);
    must(m->slots != NULL); /* out of memory */
    for (size_t i = 0; i < old.cap; i++)
        if (old.slots[i].value != NULL)
            *find(m, old.slots[i].key) = old.slots[i];
    free(old.slots);
}

void hashmap_deinit(struct hashmap *m)
{
    free(m->slots);
    *m = (struct hashmap){0};
}

void *hashmap_get(const struct hashmap *m, uint64_t key)
{
    return m->cap > 0 ? find(m, key)->value : NULL;
}

void *hashmap_put(struct hashmap *m, uint64_t key, void *value)
{
    must(value != NULL);
    if ((m->count + 1) * 4 > m->cap * 3)
        grow(m);
    struct hashmap_slot *slot = find(m, key);
    void *replaced = slot->value;
    m->count += replaced == NULL;
    *slot = (struct hashmap_slot){.key = key, .value = value};
    return replaced;
}

void *hashmap_remove(struct hashmap *m, uint64_t key)
{
    if (m->cap == 0)
        return NULL;
    struct hashmap_slot *slot = find(m, key);
    void *removed = slot->value;
    if (removed == NULL)
        return NULL;
    size_t hole = (size_t)(slot - m->slots), mask = m->cap - 1;
    for (size_t i = (hole + 1) & mask; m->slots[i].value != NULL; i = (i + 1) & mask) {
        /* A member may fill the hole unless its home lies cyclically in (hole, i]. */
        if (((i - home(m, m->slots[i].key)) & mask) < ((i - hole) & mask))
            continue;
        m->slots[hole] = m->slots[i];
        hole = i;
    }
    m->slots[hole].value = NULL;
    m->count--;
    return removed;
}

bool hashmap_each(const struct hashmap *m, size_t *at, uint64_t *out_key, void **out_value)
{
    while (*at < m->cap) {
        const struct hashmap_slot *slot = &m->slots[(*at)++];
        if (slot->value == NULL)
            continue;
        *out_key = slot->key;
        *out_value = slot->value;
        return true;
    }
    return false;
}

uint64_t hashmap_hash_bytes(const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return mix(h);
}
