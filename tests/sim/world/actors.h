/* actors.h: the world's clients: sessions, retries elsewhere, fences, each operation ends in one of three ways; and the
 * operator that writes the routes.
 *
 * Position: world.c gives them their time; what they learn goes to judge.c. */
#pragma once

#include "tests/sim/world/world.h"

struct actors *actors_new(struct world *w);
void actors_free(struct actors **a);
void actors_act(struct world *w, uint32_t client); /* its timer; the next is scheduled */
void actors_last(struct world *w);       /* all is healed: each client has one more write done in each shard */
uint32_t actors_value(struct world *w);  /* one that nobody writes yet: for writes of others to their keys */
bool actors_done(const struct world *w); /* nothing is open any more; to be asked while healing */
