/* lapses.h: a client that writes keys that expire, each once, and looks when they are gone; and the checker of that.
 *
 *  expiry   a read at T shows such a key if T lies between its version and its expiry, and only then; the latest does not show
 *           it again once it did not
 *
 * Position: world.c gives it its time. */
#pragma once

#include "common/base/hlc.h"
#include "common/base/slice.h"
#include "tests/sim/world/world.h"

struct lapses *lapses_new(struct world *w);
void lapses_free(struct lapses **l);
/* A key that a transaction is to write: its number; LAPSES_NONE: there are enough. Then it was written. */
#define LAPSES_NONE UINT32_MAX
uint32_t lapses_take(struct world *w, uint32_t shard, uint64_t *ttl_ms);
struct slice lapses_name(const struct world *w, uint32_t number, char name[16]);
void lapses_wrote(struct world *w, uint32_t number, struct version version);
void lapses_act(struct world *w); /* its timer; the next is scheduled */
