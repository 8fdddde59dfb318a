/* fake_engine.h: an engine of a few variables for the tests of writes and reads: it accepts, refuses, leases on demand.
 */
#pragma once

#include "shard/engine/engine.h"

struct fake_engine {
    int propose_code, barrier_code;
    uint64_t last, term, commit, lease_ns, barrier;
    size_t proposals;
    uint8_t opcode[64]; /* of each proposal */
    size_t payload_bytes[64];
};

extern const struct engine_ops fake_engine_ops; /* propose, barrier, read_lease and status only */
