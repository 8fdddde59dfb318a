/* migrator.h: who changes the shards' engines while everything else goes on: prepares, seals, aborts, at times of its own, and goes on
 * by what `status` and the answers say; two at once, with ids of their own.
 *
 * Position: world.c gives them their time, in worlds that migrate; what they learn goes to epochs.c. */
#pragma once

#include "tests/sim/world/world.h"

#define MIGRATORS 2

/* Does the world of these options change engines: as asked for, or one in three of the seeds. None of those that were kept before
 * there was a migrator does. */
bool migrator_wanted(const struct sim_options *options);

struct migrators *migrators_new(struct world *w);
void migrators_free(struct migrators **m);
void migrators_act(struct world *w, uint32_t migrator); /* its timer; the next is scheduled */
