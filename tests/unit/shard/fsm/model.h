/* model.h: the state machine once more, slow and plain: lists searched from end to end, nothing shared with the product
 * but the entry format. What the two disagree on is a bug in one of them. It does not know batches, digests or RocksDB.
 */
#pragma once

#include "tests/unit/shard/fsm/machine.h"

struct model;

struct model *model_new(bool catalog); /* a group that owns all keys */
void model_free(struct model **model);

/* Applies an entry; appends struct machine_result to *results. */
void model_apply(struct model *model, const struct log_entry *entry, struct buf *results);

/* Live pairs in key order as seen at `at` (0: latest) and `now`, in the arena. */
size_t model_scan(const struct model *model, uint8_t space, struct hlc at, struct hlc now, struct arena *arena,
                  struct fsm_item **out);
size_t model_sessions(const struct model *model);

/* Compares latest state and reads at random times, by get and by pages of scan both ways. False: they differ. */
bool model_agrees(const struct model *model, struct fsm *fsm, struct random *random, struct hlc now);
