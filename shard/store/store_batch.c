/* store_batch.c: writes that go in together or not at all; handed to RocksDB in the order of keys. */
#include <stdlib.h>
#include <string.h>

#include "shard/store/store_internal.h"

#define RECORDS_FIRST 256

struct store_record {
    size_t at; /* of the key in `bytes`, the value follows; grows with the order in which records were given */
    uint32_t key_size, value_size;
};

struct store_batch {
    struct buf bytes;
    struct store_record *records; /* owned; sorted whenever it is written */
    size_t count, cap;
};

#define DELETED UINT32_MAX /* instead of a value's size */

struct store_batch *store_batch_new(void)
{
    struct store_batch *b = calloc(1, sizeof *b);
    must(b != NULL); /* out of memory */
    return b;
}

void store_batch_free(struct store_batch **b)
{
    if (*b == NULL)
        return;
    buf_deinit(&(*b)->bytes);
    free((*b)->records);
    free(*b);
    *b = NULL;
}

void store_batch_clear(struct store_batch *b)
{
    buf_clear(&b->bytes);
    b->count = 0;
}

static void add(struct store_batch *b, struct slice key, struct slice value, uint32_t value_size)
{
    must(key.size > 0 && key.size < UINT32_MAX && value.size < UINT32_MAX); /* I12: entries are bounded */
    if (b->count == b->cap) {
        b->cap = b->cap > 0 ? b->cap * 2 : RECORDS_FIRST;
        b->records = realloc(b->records, b->cap * sizeof *b->records);
        must(b->records != NULL); /* out of memory */
    }
    b->records[b->count++] =
        (struct store_record){.at = b->bytes.size, .key_size = (uint32_t)key.size, .value_size = value_size};
    buf_append(&b->bytes, key.data, key.size);
    if (value.size > 0)
        buf_append(&b->bytes, value.data, value.size);
}

void store_batch_put(struct store_batch *b, struct slice key, struct slice value)
{
    add(b, key, value, (uint32_t)value.size);
}

void store_batch_delete(struct store_batch *b, struct slice key)
{
    add(b, key, (struct slice){0}, DELETED);
}

/* By key; of one key, in the order given: the last one counts. */
static int by_key(const void *x, const void *y, void *bytes)
{
    const struct store_record *a = x, *b = y;
    const uint8_t *base = bytes;
    int c = memcmp(base + a->at, base + b->at, a->key_size < b->key_size ? a->key_size : b->key_size);
    if (c != 0)
        return c;
    if (a->key_size != b->key_size)
        return a->key_size < b->key_size ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* RocksDB's memtable looks for the place of a record from that of the one before: neighbours are found sooner. */
void store_batch_fill(const struct store_batch *b, rocksdb_writebatch_t *wb)
{
    rocksdb_writebatch_clear(wb);
    if (b->count > 1)
        qsort_r(b->records, b->count, sizeof *b->records, by_key, b->bytes.data);
    for (size_t i = 0; i < b->count; i++) {
        const struct store_record *r = &b->records[i];
        const char *key = (const char *)b->bytes.data + r->at;
        if (r->value_size == DELETED)
            rocksdb_writebatch_delete(wb, key, r->key_size);
        else
            rocksdb_writebatch_put(wb, key, r->key_size, key + r->key_size, r->value_size);
    }
}
