/* flipstate.c: `flipstate DIR`: changes the last byte of one value in the state machine of a stopped replica, as silent
 * damage would that no checksum sees. For tests of consistency checks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "shard/fsm/vkey.h"
#include "shard/store/store.h"

int main(int argc, char **argv)
{
    char where[256] = "", dir[4096];
    if (argc != 2)
        return 2;
    snprintf(dir, sizeof dir, "%s/fsm", argv[1]);
    struct store_config config = {.dir = dir, .prefix = vkey_prefix_length};
    struct store *store = NULL;
    if (store_open(&config, false, &store, where) != HF_OK) {
        fprintf(stderr, "flipstate: %s\n", where);
        return 1;
    }
    static const uint8_t first[] = {VKEY_DATA, 0};
    struct store_iterator *it = store_iterator_new(store, false);
    struct store_batch *batch = store_batch_new();
    store_iterator_seek(it, slice_make(first, sizeof first));
    bool found = store_iterator_valid(it) && store_iterator_value(it).size > 1;
    if (found) {
        struct slice value = store_iterator_value(it);
        uint8_t *changed = malloc(value.size);
        must(changed != NULL);
        memcpy(changed, value.data, value.size);
        changed[value.size - 1] ^= 1;
        store_batch_put(batch, store_iterator_key(it), slice_make(changed, value.size));
        free(changed);
    }
    store_iterator_free(&it);
    found = found && store_write(store, batch) == HF_OK && store_flush(store) == HF_OK;
    store_batch_free(&batch);
    store_close(&store);
    return found ? 0 : 1;
}
