/* overlay.c: an append-only list of writes with a hash table over it, made on demand. */
#include "shard/fsm/overlay.h"

#include <stdlib.h>

#include "common/base/hashmap.h"

#define OVERLAY_TABLE_MIN ((size_t)256)

struct overlay_write {
    struct slice prefix;
    struct version_found found;
};

void overlay_deinit(struct overlay *o)
{
    free(o->writes);
    free(o->table);
    *o = (struct overlay){0};
}

void overlay_clear(struct overlay *o)
{
    if (o->indexed > 0)
        memset(o->table, 0, o->table_cap * sizeof *o->table);
    o->count = o->indexed = 0;
}

void overlay_note(struct overlay *o, struct slice prefix, struct version version, const struct version_value *value)
{
    if (o->count == o->cap) {
        o->cap = o->cap > 0 ? o->cap * 2 : 64;
        o->writes = realloc(o->writes, o->cap * sizeof *o->writes);
        must(o->writes != NULL); /* out of memory */
    }
    o->writes[o->count++] = (struct overlay_write){.prefix = prefix, .found = {.version = version, .value = *value}};
}

/* The slot of `prefix`, or the free one where it would go. */
static uint32_t *slot(const struct overlay *o, struct slice prefix)
{
    size_t i = (size_t)hashmap_hash_bytes(prefix.data, prefix.size) & (o->table_cap - 1);
    while (o->table[i] != 0 && !slice_equal(o->writes[o->table[i] - 1].prefix, prefix))
        i = (i + 1) & (o->table_cap - 1);
    return &o->table[i];
}

static void index_writes(struct overlay *o)
{
    if (o->count * 2 > o->table_cap) {
        free(o->table);
        if (o->table_cap == 0)
            o->table_cap = OVERLAY_TABLE_MIN;
        while (o->count * 2 > o->table_cap)
            o->table_cap *= 2;
        o->table = calloc(o->table_cap, sizeof *o->table);
        must(o->table != NULL); /* out of memory */
        o->indexed = 0;
    }
    for (; o->indexed < o->count; o->indexed++)
        *slot(o, o->writes[o->indexed].prefix) = (uint32_t)o->indexed + 1; /* later writes are newer */
}

bool overlay_find(struct overlay *o, struct slice prefix, struct version_found *out)
{
    if (o->count == 0)
        return false;
    index_writes(o);
    uint32_t at = *slot(o, prefix);
    if (at == 0)
        return false;
    *out = o->writes[at - 1].found;
    return true;
}

void overlay_at(const struct overlay *o, size_t i, struct slice *out_prefix, struct version_found *out)
{
    must(i < o->count);
    *out_prefix = o->writes[i].prefix;
    *out = o->writes[i].found;
}
