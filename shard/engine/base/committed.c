/* committed.c: see committed.h. */
#include "shard/engine/base/committed.h"

#include "common/base/error.h"

int committed_apply(const struct engine_env *env, struct log *log, uint64_t *applied, uint64_t limit,
                    struct arena *arena, int *failed)
{
    struct log_entry *entries;
    size_t count;
    if (limit <= *applied)
        return HF_OK;
    size_t most = limit - *applied < COMMITTED_ENTRIES ? (size_t)(limit - *applied) : COMMITTED_ENTRIES;
    arena_reset(arena);
    int rc = log_read(log, *applied + 1, most, COMMITTED_BYTES, arena, &entries, &count);
    if (rc != HF_OK)
        return *failed = rc;
    rc = env->apply(env->ctx, entries, count);
    if (rc == HF_OK)
        *applied += count;
    return rc;
}

uint64_t committed_reach(const struct log *log, uint64_t index, uint64_t bytes)
{
    uint64_t base = log_first(log) - 1;
    must(index <= log_synced(log)); /* I7: what is applied is durable */
    return index <= base ? base : log_reach(log, index, bytes);
}
