/* checkpoint.c: copies of a live machine, and what a machine says of itself as it is on disk. */
#include "common/base/error.h"
#include "shard/fsm/fsm_internal.h"
#include "shard/fsm/meta.h"

#define PEEK_CACHE_BYTES ((uint64_t)1 << 20)

int fsm_checkpoint(struct fsm *fsm, const char *dir, char where[256])
{
    return store_checkpoint(fsm->store, dir, where);
}

int fsm_durable_info(struct fsm *fsm, struct arena *arena, struct fsm_info *out)
{
    return meta_durable_info(fsm->store, arena, out);
}

int fsm_peek(const char *dir, struct arena *arena, struct fsm_info *out, char where[256])
{
    struct store_config config = {
        .dir = dir, .read_only = true, .cache_bytes = PEEK_CACHE_BYTES, .prefix = vkey_prefix_length};
    struct store *store = NULL;
    struct fsm_info info = {0};
    int rc = store_open(&config, false, &store, where);
    if (rc == HF_OK)
        rc = meta_load(store, arena, arena, &info, where);
    store_close(&store);
    if (rc == HF_OK)
        *out = info;
    return rc;
}
