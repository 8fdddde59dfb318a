/* lapses.h: a client that writes keys that expire, each once, and looks when they are gone; and the checker of that.
 *
 *  expiry   a read at T shows such a key if T lies between its version and its expiry, and only then; the latest does not show
 *           it again once it did not
 *
 * Position: world.c gives it its time. */
#pragma once

#include "tests/sim/world/world.h"

struct lapses *lapses_new(struct world *w);
void lapses_free(struct lapses **l);
void lapses_act(struct world *w); /* its timer; the next is scheduled */
