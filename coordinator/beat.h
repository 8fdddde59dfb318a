/* beat.h: every 50 ms the replicas hear the last timestamp issued, so that leaders stamp writes close to now (no raft).
 *
 * Position: only while this coordinator may issue. Never a wall-clock value: each beat draws a timestamp of its own.
 * A replica answers if it knows older routes than the beat names, which its next beat brings, or asks for a timestamp
 * drawn after its question, which it gets at once.
 * Thread: loop thread only. */
#pragma once

#include "coordinator/links.h"
#include "coordinator/oracle.h"

#define BEAT_ID ((uint64_t)1 << 62) /* request id of all beats: an answer is told from those of calls and forwards */

struct beat {
    struct links *links;   /* borrowed */
    struct oracle *oracle; /* borrowed */
    uint64_t next_ns;
    struct buf frame;
};

void beat_init(struct beat *b, struct links *links, struct oracle *oracle);
void beat_deinit(struct beat *b);
/* At once, to a replica that asked (link->question): a timestamp drawn now. Nothing happens at a standby: it is asked again. */
void beat_answer(struct beat *b, struct link *link, Hf__Catalog__Routes *routes);
void beat_tick(struct beat *b, Hf__Catalog__Routes *routes, uint64_t now_ns);
