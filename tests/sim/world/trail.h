/* trail.h: what transactions of a run read and appended, and how they ended: kept for tests/support/txncheck.h.
 *
 * Position: traders.c tells; at the end it asks. */
#pragma once

#include <stdbool.h>

#include "common/base/slice.h"
#include "tests/sim/world/world.h"
#include "tests/support/txncheck.h"

#define TRAIL_LISTS 8      /* half of them in each shard */
#define TRAIL_LIST_MAX 120 /* values of a list */

struct trail_list { /* as it stands in a store: nothing, or a 0 (a value that no other client writes) and its values */
    uint32_t count;
    uint32_t values[TRAIL_LIST_MAX + 2];
};

struct trail;

struct trail *trail_new(void);
void trail_free(struct trail **t);

uint32_t trail_value(struct trail *t); /* one that nobody has appended */
void trail_read(struct trail *t, uint32_t list, const struct trail_list *found);
void trail_append(struct trail *t, uint32_t list, uint32_t value);
/* A transaction: all that was read and appended since the last call. */
void trail_end(struct trail *t, enum txn_outcome outcome, uint64_t invoked, uint64_t returned);
size_t trail_count(const struct trail *t);
bool trail_decode(struct slice bytes, struct trail_list *out); /* an empty slice: nothing is there */
void trail_check(struct world *w, const struct trail *t);

static inline uint32_t trail_shard(uint32_t list)
{
    return list < TRAIL_LISTS / 2 ? 1 : 2;
}
struct slice trail_name(uint32_t list, char out[8]);
