/* opening.h: an engine opens its log, which must be the one that the state machine was applied from.
 *
 * Position: below every engine. */
#pragma once

#include "shard/engine/engine.h"

/* Opens the log in the engine's folder, fills env->found, and checks that it holds what the state machine has applied (I5);
 * *out_applied is env->applied, or, while env->held, from where on the log counts. Prints what was found. On failure
 * nothing stays open. Errors and where[] as engine_ops.open. */
HF_CHECKED int opening_log(const char *engine, const struct engine_env *env, uint64_t cache_bytes, struct log **out,
                           uint64_t *out_applied, char where[256]);
