/* trouble.h: what goes wrong in a world: deaths, pauses, partitions, weather, wall clocks, want of room, and whole plots.
 *
 * Position: world.c calls it when its time comes; damage.h does what is done to disks. */
#pragma once

#include "tests/sim/world/world.h"

void trouble_some(struct world *w); /* one thing, or the end of one; the next is scheduled */
