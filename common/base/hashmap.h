/* hashmap.h: open-addressing map from a 64-bit key to a pointer. Grows; owns its table, not the values. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hashmap_slot {
    uint64_t key;
    void *value; /* NULL: free slot */
};

struct hashmap {
    struct hashmap_slot *slots; /* owned */
    size_t count, cap;          /* cap is 0 or a power of two */
};

void hashmap_deinit(struct hashmap *m);
void *hashmap_get(const struct hashmap *m, uint64_t key);        /* NULL when absent */
void *hashmap_put(struct hashmap *m, uint64_t key, void *value); /* value != NULL; returns what it replaced */
void *hashmap_remove(struct hashmap *m, uint64_t key);           /* returns what was there or NULL */
/* Visits every pair: start with *at = 0; false at the end. Not while putting or removing. */
bool hashmap_each(const struct hashmap *m, size_t *at, uint64_t *out_key, void **out_value);
/* FNV-1a finished with splitmix64; for in-memory tables only. */
uint64_t hashmap_hash_bytes(const void *data, size_t size);
