/* txns.h: clients that run transactions: they read lists at a timestamp, append to them, write keys that other clients write
 * too, in one shard or over both, and end each of them with an answer or a fence.
 *
 *  txns      their history is strictly serializable, with what the stores hold in the end as its last transaction (so nothing
 *            that was told to be done is lost, nothing is half there, and nothing that was told not to be done is there)
 *  locks     when all is healed and quiet, no shard keeps anything of a transaction
 *
 * Position: world.c gives them their time; what they write elsewhere goes to judge.c and history.c, the rest to trail.c. */
#pragma once

#include "tests/sim/world/world.h"

#define WORLD_TXN_CLIENTS 3

struct txns *txns_new(struct world *w);
void txns_free(struct txns **t);
void txns_act(struct world *w, uint32_t client); /* its timer; the next is scheduled */
void txns_last(struct world *w); /* all is healed: each client commits one more transaction over both shards */
bool txns_done(const struct world *w);
bool txns_forgotten(const struct world *w); /* no replica keeps anything of a transaction */
void txns_end(struct world *w);             /* replicas are level */
