/* renewals.h: each second every shard's leader gets a new ceiling for its timestamps, through its raft log (entry
 * 0x02).
 *
 * Position: the active coordinator does it, and a standby while no active one is heard of: a lease is a maximum and
 * unfenced. Each shard has its own pace, so one that fails delays no other.
 * Thread: loop thread only. */
#pragma once

#include "coordinator/catalog.h"
#include "coordinator/oracle.h"
#include "coordinator/retain.h"

struct renewal {
    uint32_t shard;
    bool asking;
    uint64_t next_ns;
};

struct renewals {
    struct calls *calls;         /* borrowed */
    struct oracle *oracle;       /* borrowed */
    const struct retain *retain; /* borrowed */
    struct hashmap shards;       /* shard → struct renewal, owned */
};

void renewals_init(struct renewals *r, struct calls *calls, struct oracle *oracle, const struct retain *retain);
void renewals_deinit(struct renewals *r); /* after calls_deinit: calls in flight end here */
void renewals_tick(struct renewals *r, const Hf__Catalog__Routes *routes, uint64_t now_ns);
