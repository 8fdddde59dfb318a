/* network.h: messages between replicas: lost, late, doubled, out of order, or cut off in one direction. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/random.h"
#include "proto/raft.pb-c.h"
#include "tests/sim/check.h"

struct message { /* packed as on the wire */
    uint32_t from, to;
    size_t size;
    uint8_t bytes[];
};

struct network {
    struct random random;
    bool cut[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];          /* from, to */
    uint64_t lost_permille, doubled_permille, late_permille; /* late: up to late_ms */
    uint64_t delay_us_min, delay_us_max, late_ms;
    bool no_votes; /* a planted bug */
    uint64_t sent, lost;
    /* Of scenarios: false drops the message; it may be shortened. NULL: all pass. */
    bool (*filter)(struct sim *sim, Hf__Raft__Raft *m, uint32_t from, uint32_t to);
};

void network_init(struct network *net, uint64_t seed);
void network_calm(struct network *net); /* nothing lost, late or doubled; cuts stay */
void network_heal(struct network *net); /* no cuts */
void network_isolate(struct network *net, uint32_t id);
void network_send(struct sim *sim, uint32_t from, uint32_t to, const Hf__Raft__Raft *m);
