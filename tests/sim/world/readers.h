/* readers.h: clients that read at timestamps: fresh ones, and again at old ones, at whatever replica answers.
 *
 * Position: world.c gives them their time; what they see goes to history.c. */
#pragma once

#include "tests/sim/world/world.h"

#define WORLD_READERS 2

struct readers *readers_new(struct world *w);
void readers_free(struct readers **r);
void readers_act(struct world *w, uint32_t reader); /* its timer; the next is scheduled */
/* All is healed and quiet: each asks for one more timestamp and reads every key at it, until that is answered. */
void readers_last(struct world *w);
bool readers_done(const struct world *w);
