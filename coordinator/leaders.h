/* leaders.h: who leads each shard, as far as we know, and whom to ask when we do not.
 *
 * Position: fed by status polls and NOT_LEADER replies; forward.c and the coordinator's own requests ask it.
 * Pure: no socket, no clock. Thread: loop thread only.
 * Nothing here is trusted: a wrong answer costs one more round, never correctness. */
#pragma once

#include <stdbool.h>

#include "common/base/hashmap.h"
#include "common/base/limits.h"

struct leaders_shard {
    uint32_t shard;
    uint32_t replicas[LIMIT_PEERS];
    size_t count;
    uint32_t leader; /* 0: unknown */
    uint64_t term;   /* of `leader`, as far as a status told; 0: only a hint */
    uint32_t lost;   /* could not be reached: not believed to lead until it says so itself or a higher term does */
    uint64_t lost_term;
    size_t turn; /* whom to try next while unknown */
};

struct leaders {
    struct hashmap shards; /* shard → struct leaders_shard, owned */
};

void leaders_deinit(struct leaders *l);

/* The replicas of a shard (at most LIMIT_PEERS are kept). What is known of its leader stays if that is still among
 * them. */
void leaders_members(struct leaders *l, uint32_t shard, const uint32_t *replicas, size_t count);

/* 0: unknown. */
uint32_t leaders_known(const struct leaders *l, uint32_t shard);

/* Whom to ask: the known leader unless it is `avoid`, else the next replica in turn that is not `avoid` if there is
 * another. 0: the shard has no replica that we know. */
uint32_t leaders_pick(struct leaders *l, uint32_t shard, uint32_t avoid);

/* Each of these says whether another leader than before is known now. */
bool leaders_status(struct leaders *l, uint32_t shard, uint32_t from, bool leads, uint64_t term, uint32_t leader);
bool leaders_hint(struct leaders *l, uint32_t shard, uint32_t from, uint32_t leader); /* NOT_LEADER from `from` */
void leaders_lost(struct leaders *l, uint32_t shard, uint32_t replica);               /* could not be reached */
