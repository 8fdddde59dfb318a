/* epochs.h: the checkers of changes of engine, and the swaps of replicas seen from outside.
 *
 *  epochs         who holds the seal of an epoch holds the same (id, index, term, digest) as all others, in state and identity;
 *                 nothing is applied behind it in its epoch; no replica goes back in epoch; a log of an epoch is not made again
 *                 once identity names it; when healed, all are in one epoch, with one engine
 *  aborted        no migration is sealed of which somebody was told that it is aborted, in its epoch
 *  world.votes    no replica votes twice in a term of an epoch
 *  world.leaders  no term of an epoch has two leaders
 *
 * Position: judge.c and replica_process.c say what a replica holds, wire.c what leaves one.
 * Do not verify: that a migration that was prepared is sealed in the end; what was told of it before an answer arrived. */
#pragma once

#include "common/base/slice.h"
#include "tests/sim/world/world.h"

struct fsm_info;
struct identity;
struct process;

struct epochs *epochs_new(void);
void epochs_free(struct epochs **e);

/* The replica's state and identity, as they stand now; the state may be NULL. */
void epochs_look(struct world *w, uint32_t process, const struct fsm_info *info, const struct identity *id);
/* A replica says it to another. */
void epochs_sent(struct world *w, uint32_t process, struct slice frame);
/* Somebody was told that in this epoch no id up to `id` is sealed any more; that `id` was sealed. */
void epochs_told_aborted(struct world *w, uint32_t shard, uint32_t epoch, uint64_t id);
void epochs_told_sealed(struct world *w, uint32_t shard, uint32_t epoch, uint64_t id);
/* Every member of each shard is in the same epoch, with the same engine. */
bool epochs_level(const struct world *w);
