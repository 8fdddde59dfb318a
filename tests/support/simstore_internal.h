/* simstore_internal.h: what a medium is made of, for simstore.c, simstore_compact.c and simstore_trouble.c. */
#pragma once

#include "common/base/random.h"
#include "tests/support/simstore.h"

struct version_of {           /* of one key */
    struct version_of *older; /* owned */
    uint64_t batch;
    uint64_t hash; /* of key and value; 0: deleted */
    size_t size;
    bool deleted, compacted; /* compacted: there is nothing left of its being deleted */
    uint8_t value[];
};

struct entry {
    struct version_of *newest; /* owned */
    size_t size;
    uint8_t key[];
};

struct store {
    struct simstore *medium;
    struct store_config config;
    struct store_compaction *compaction; /* borrowed from who began it; NULL: none */
};

struct simstore {
    struct simstore *next; /* of all media */
    char dir[256];
    struct random random;
    bool created, halted, damaged;
    struct store *open;     /* borrowed; NULL: nobody has it open */
    struct entry **entries; /* owned, by key */
    size_t count, cap;
    uint64_t inserts; /* into `entries`: iterators find their place again */
    uint64_t batch, durable_batch;
    uint64_t flushing;   /* batch that a flush that was begun covers; 0: none */
    uint64_t flush_left; /* operations until it takes effect */
    uint32_t flush_permille;
    int fail_code;
    uint64_t fail_times, misread_times;
    uint64_t content;
    struct store_iterator *iterators; /* borrowed: what is open */
};

static inline struct slice simstore_key(const struct entry *e)
{
    return slice_make(e->key, e->size);
}

size_t simstore_find(const struct simstore *m, struct slice key); /* index of the first key >= `key` */
void simstore_flush(struct simstore *m, uint64_t batch);          /* is durable up to it */
void simstore_compact_pass(struct store_compaction *c);           /* one operation of the store has passed */
