/* space.h: what a pass of collection removed gives its room back: everything is compacted, beside the loop.
 *
 * Position: the replica calls space_turn in each of its turns; nothing else is to compact the machine.
 * Thread:   loop thread; RocksDB's work runs on a thread of the store's.
 * A compaction is begun when a pass has ended since the last look, and what was removed since the last compaction is worth
 * one. What was removed before the machine was opened is left to RocksDB. */
#pragma once

#include "shard/fsm/fsm.h"

struct space;

struct space *space_new(void);
void space_free(struct space **s); /* stops */
/* Never waits. The same machine each time, until space_stop. */
void space_turn(struct space *s, struct fsm *fsm, uint64_t now_ns);
/* Before the machine is closed: on return nothing of ours works on it. What was not done yet is given up: it waits for the
 * record at hand, or for a flush. */
void space_stop(struct space *s);
bool space_running(const struct space *s);
