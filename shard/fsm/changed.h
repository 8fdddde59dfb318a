/* changed.h: is what a transaction read at its start still what is there?
 *
 * Position: apply (one shard) and fsm_validate (several). Sees what the batch in hand has written so far (I1), and where batches
 *           are cut changes no answer (I2). Locks are not looked at here. */
#pragma once

#include "shard/fsm/fsm_internal.h"

/* `start`: as of which it was read: versions and markers with timestamps at or above are newer. `at`: a value that lived at
 * `start` and has expired at `at` has changed, too; 0: expiry does not count. HF_OK: unchanged; HF_E_CONFLICT with *out (the key is
 * `key` itself); HF_E_CORRUPT, HF_E_IO. */
HF_CHECKED int changed_key(struct fsm *fsm, struct slice key, struct hlc start, struct hlc at, struct arena *arena,
                           struct fsm_conflict *out);

/* The same of every key in [start, end), cut to the group's range; empty end: open. *steps: how many keys it may hold at most,
 * counted down, written ones of whatever state; HF_E_LIMIT: more. out->key is in the arena. */
HF_CHECKED int changed_range(struct fsm *fsm, struct slice start, struct slice end, struct hlc since, struct hlc at,
                             size_t *steps, struct arena *arena, struct fsm_conflict *out);
