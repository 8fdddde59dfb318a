/* simstore_batch.c: batches of the simulated store: changes, and the bytes they point to. */
#include "tests/support/simstore_batch.h"

#include <stdlib.h>

struct store_batch *store_batch_new(void)
{
    struct store_batch *b = calloc(1, sizeof *b);
    must(b != NULL);
    return b;
}

void store_batch_free(struct store_batch **b)
{
    if (*b == NULL)
        return;
    buf_deinit(&(*b)->changes);
    buf_deinit(&(*b)->bytes);
    free(*b);
    *b = NULL;
}

void store_batch_clear(struct store_batch *b)
{
    buf_clear(&b->changes);
    buf_clear(&b->bytes);
}

static void add(struct store_batch *b, struct slice key, struct slice value, bool deleted)
{
    struct change c = {.deleted = deleted, .key = b->bytes.size, .key_size = key.size, .value_size = value.size};
    buf_append(&b->bytes, key.data, key.size);
    c.value = b->bytes.size;
    if (value.size > 0)
        buf_append(&b->bytes, value.data, value.size);
    buf_append(&b->changes, &c, sizeof c);
}

void store_batch_put(struct store_batch *b, struct slice key, struct slice value)
{
    add(b, key, value, false);
}

void store_batch_delete(struct store_batch *b, struct slice key)
{
    add(b, key, slice_make(NULL, 0), true);
}
