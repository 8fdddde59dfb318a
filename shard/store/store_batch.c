/* store_batch.c: writes that go in together or not at all. */
#include <stdlib.h>

#include "shard/store/store_internal.h"

struct store_batch *store_batch_new(void)
{
    struct store_batch *b = calloc(1, sizeof *b);
    must(b != NULL); /* out of memory */
    b->wb = rocksdb_writebatch_create();
    return b;
}

void store_batch_free(struct store_batch **b)
{
    if (*b == NULL)
        return;
    rocksdb_writebatch_destroy((*b)->wb);
    free(*b);
    *b = NULL;
}

void store_batch_clear(struct store_batch *b)
{
    rocksdb_writebatch_clear(b->wb);
}

void store_batch_put(struct store_batch *b, struct slice key, struct slice value)
{
    rocksdb_writebatch_put(b->wb, (const char *)key.data, key.size, (const char *)value.data, value.size);
}

void store_batch_delete(struct store_batch *b, struct slice key)
{
    rocksdb_writebatch_delete(b->wb, (const char *)key.data, key.size);
}
