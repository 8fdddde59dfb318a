/* traders.h: clients that run transactions: they read lists at a timestamp, append to them, write keys that other clients write
 * too, in one shard or over both, and end each of them with an answer or a fence.
 *
 *  txns      their history is strictly serializable, with what the stores hold in the end as its last transaction (so nothing
 *            that was told to be done is lost, nothing is half there, and nothing that was told not to be done is there)
 *  locks     when all is healed and quiet, no shard keeps anything of a transaction
 *
 * Position: world.c gives them their time; what they write elsewhere goes to judge.c and history.c, the rest to trail.c. */
#pragma once

#include "tests/sim/world/world.h"

#define WORLD_TRADERS 3

struct traders *traders_new(struct world *w);
void traders_free(struct traders **t);
void traders_act(struct world *w, uint32_t client); /* its timer; the next is scheduled */
void traders_last(struct world *w); /* all is healed: each client commits one more transaction over both shards */
bool traders_done(const struct world *w);
bool traders_forgotten(const struct world *w); /* no replica keeps anything of a transaction */
void traders_end(struct world *w);             /* replicas are level */
