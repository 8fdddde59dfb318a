/* stage_frames.h: frames between the processes of a scenario that come late or not at all.
 *
 * Position: test_clock.c says which; the world asks for each frame (world.filter). */
#pragma once

#include "common/base/buf.h"
#include "tests/sim/world/process.h"

struct stage_frames {
    uint32_t writer;             /* a coordinator whose compare-and-sets come late: */
    uint64_t writer_ms;          /* by so much */
    unsigned written;            /* how many were sent */
    bool beats[WORLD_PROCESSES]; /* beats to these are lost */
    uint32_t silent;             /* a replica whose entries come late: */
    uint64_t silent_ms;
    uint32_t leased;   /* a shard of whose leases */
    unsigned leases;   /* the next so many come late */
    uint64_t lease_ms; /* by so much; UINT64_MAX: not at all */
    uint32_t asker;    /* a replica whose questions are answered late */
    bool deaf;         /* it hears of no timestamp at all */
    struct buf answer; /* owned: what answers it, kept back */
};
extern struct stage_frames stage_frames; /* all zero: nothing is held up */

uint64_t stage_frames_hold(struct world *w, uint32_t from, const char *endpoint,
                           struct slice data); /* as world.filter */
void stage_frames_beats_lost(uint32_t shard, bool lost);
