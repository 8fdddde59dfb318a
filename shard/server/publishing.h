/* publishing.h: who asked for a snapshot and waits until its pointer is durable.
 *
 * Position: front hands the request over; the replica's publish gives it back (replica_snapshot). Thread: loop thread. */
#pragma once

#include "proto/client.pb-c.h"
#include "shard/replica/replica.h"
#include "shard/server/answer.h"

struct publishing {
    struct answer *answer; /* borrowed */
    size_t waiting;
};

/* Answers by and by; at once when too many wait. */
void publishing_ask(struct publishing *p, struct replica *replica, const struct net_peer *peer, uint64_t id,
                    uint64_t deadline_ns);
