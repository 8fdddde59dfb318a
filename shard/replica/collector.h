/* collector.h: when a leader raises its group's watermark and when it takes the next step of a pass (docs/protocol/collection.md).
 *
 * Position: replica.c asks it in the turn and proposes what it says. Pure: time is an argument. Thread: loop thread.
 * The watermark follows the leader's time at the distance of --retention-seconds, and never passes what the coordinator says
 * that somebody still reads at. Without a word of the coordinator nothing is raised; a pass that has begun goes on. */
#pragma once

#include <stdbool.h>

#include "shard/fsm/fsm.h"

#define COLLECTOR_STEPS 500u     /* records looked at by one entry, */
#define COLLECTOR_BYTES 1048576u /* and bytes of them: every replica's loop stands still for it, a millisecond or so */
#define COLLECTOR_STEP_MS 25u    /* from one such entry to the next */

struct collector {
    uint64_t retention_ms;
    uint32_t steps;    /* of one entry; 0: COLLECTOR_STEPS */
    struct hlc retain; /* the coordinator's word: nothing from here on may be collected; 0: nothing at all, or none */
    struct hlc said;   /* when, by the oracle */
    uint64_t retain_until_ns; /* it holds so long */
    uint64_t index;           /* of the entry proposed last */
    uint64_t next_ns;         /* not before */
};

struct collector_step {
    struct hlc below; /* as in hf.entry.CollectEntry */
    uint32_t steps;
};

/* With each lease. `said`: the lease's timestamp: leases may come late, and an older word than the last one is not heard. */
void collector_retain(struct collector *c, struct hlc retain, struct hlc said, uint64_t now_ns);
/* Leadership is over: what the coordinator said was said to this leader. */
void collector_end(struct collector *c);
/* Of a leader whose time is `time`: is an entry to be proposed now, and which? Sets next_ns. */
bool collector_due(struct collector *c, const struct fsm_info *info, struct hlc time, uint64_t now_ns,
                   struct collector_step *out);
/* It was proposed. */
void collector_proposed(struct collector *c, uint64_t index);
