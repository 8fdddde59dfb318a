/* committed.h: what is committed goes from the log to the state machine; how far back the log reaches. */
#pragma once

#include "common/base/arena.h"
#include "shard/engine/engine.h"

#define COMMITTED_ENTRIES 1024u /* of one call of env->apply: a turn is bounded */
#define COMMITTED_BYTES (4u * 1024 * 1024)

/* Hands env->apply the next entries of (*applied, limit], which are durable (I7), and moves *applied behind them. `arena` is
 * reset. Negative: what env->apply answered, nothing was applied; or, with *failed set to it, the log cannot be read. */
HF_CHECKED int committed_apply(const struct engine_env *env, struct log *log, uint64_t *applied, uint64_t limit,
                               struct arena *arena, int *failed);
/* engine_ops.reach. */
uint64_t committed_reach(const struct log *log, uint64_t index, uint64_t bytes);
