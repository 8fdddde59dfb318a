/* replicas.h: two shards of two replicas each, played by one thread of a test over real sockets, so that a coordinator
 * can be driven end to end. They keep shard 1's catalog keys and count what they would have executed; they replicate
 * nothing. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"

#define REPLICAS_CLUSTER 0xc0ffeeull
#define REPLICAS_SPLIT "m" /* shard 1: below; shard 2: from here on */
#define REPLICAS 4         /* 1/1 1/2 2/1 2/2 */

struct replica_play {          /* set by the test, read by the thread, or the other way about */
    _Atomic bool silent;       /* answers nothing at all */
    _Atomic bool holds_writes; /* swallows users' requests, answers the rest */
    _Atomic bool denies;       /* says NOT_LEADER to requests, whatever its status says */
    _Atomic bool leads;
    _Atomic uint64_t term;
    _Atomic uint64_t executed, denied, beats, beat_routes, leases, swallowed, swept, rolled_back;
    _Atomic uint64_t last_beat, last_ceiling;
    _Atomic bool beats_fell; /* a beat was not above the one before */
};

struct replicas {
    struct replica_play play[REPLICAS];
    _Atomic bool no_catalog; /* the key "routes" is absent */
    char endpoints[REPLICAS][64];
    char seeds[192];
    struct replicas_thread *thread; /* owned */
};

/* Listens on four ports from `port` on; 1/1 and 2/1 lead. */
void replicas_start(struct replicas *r, int port);
void replicas_stop(struct replicas *r);

static inline struct replica_play *replicas_at(struct replicas *r, uint32_t shard, uint32_t replica)
{
    return &r->play[(shard - 1) * 2 + replica - 1];
}
