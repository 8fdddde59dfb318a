/* keepers.h: clients that have a timestamp kept for them and read at it, long past the retention; and the checker of that.
 *
 *  promise  what is read at a timestamp that a coordinator promised to keep is answered as long as the promise holds: it is
 *           there from the first answer on, and is renewed before the one before it ends
 *
 * Position: world.c gives them their time; what they see goes to history.c. */
#pragma once

#include "tests/sim/world/world.h"

#define WORLD_KEEPERS 2

struct keepers *keepers_new(struct world *w);
void keepers_free(struct keepers **k);
void keepers_act(struct world *w, uint32_t keeper); /* its timer; the next is scheduled */
