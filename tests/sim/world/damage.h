/* damage.h: logs with flipped bits, machines that are gone, do not open or are misread while they run; one replica of a shard at a time, so that every
 * quorum has a whole one (I13). What is made of it is the product's: shard/replica's directory_open.c and heal.c. */
#pragma once

#include "tests/sim/world/world.h"

struct process;

/* Kills a replica and destroys something of it, if all of its shard are whole. */
void damage_some(struct world *w);
/* Likewise to one that died just now. */
void damage_dead(struct process *p);
