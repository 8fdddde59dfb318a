/* history.h: the checkers of time: what acknowledged writes were stamped with, and what reads at a timestamp saw.
 *
 *  versions  a write is stamped above everything of its shard that was acknowledged before it began; where it is told to
 *            stand it stands; no two writes of a shard are stamped alike (I8)
 *  fresh     a read at T is answered only where every write of the shard that was acknowledged before T was asked for lies
 *            below T; a latest read shows nothing older than what was acknowledged before it began
 *  stable    a read at T saw what all replicas show at T when everything is over: so it has one answer, whoever leads, and
 *            what was in flight or came later never appears below it
 *  cut       a strict cut shows no write without those that were acknowledged, anywhere, before it began
 *
 * Method: what is in the stores at the end, and what was collected of them before (history_removed), is every version of
 *         every key.
 * Do not verify: of writes whose outcome nobody was told, that cuts show them in order. */
#pragma once

#include "common/base/hlc.h"
#include "tests/sim/world/judge.h"

struct history;

struct history *history_new(void);
void history_free(struct history **h);

/* Per shard: the highest version that was acknowledged so far. */
struct history_floor {
    struct version shard[WORLD_SHARDS + 1];
    struct version heard[WORLD_SHARDS + 1]; /* of those that the shard itself had heard of: it stamps above them */
};
struct history_floor history_floor(const struct world *w);
static inline uint32_t history_shard(unsigned key)
{
    return key < JUDGE_KEYS / 2 ? 1 : 2;
}

/* A client was told that its write of `value` (LIN_ABSENT: a deletion) stands at `version`; it began at `floor`. `heard`
 * false: of a transaction over several shards, and this shard, which has it prepared, may hear of its commit later. */
void history_wrote(struct world *w, unsigned key, uint32_t value, struct version version,
                   const struct history_floor *floor, bool heard);
/* Likewise a read: `at` 0: the latest, which began at `floor`; else at a timestamp that was asked for at `floor`.
 * LIN_ABSENT: there was nothing, at version 0. */
void history_read(struct world *w, unsigned key, uint64_t at, uint32_t value, struct version found,
                  const struct history_floor *floor);

/* Collection takes it out of a store of the shard. */
void history_removed(struct world *w, uint32_t shard, struct slice record, struct slice value);
void history_cut(struct world *w, uint64_t t); /* a client was told that it is one */
void history_end(struct world *w);             /* replicas are level */
