/* gauges.h: what a replica shows of itself at /metrics, its own table, and at /readyz, set once a turn.
 *
 * Position: replica.c shows and counts; the tables of its parts stand in their files. Thread: loop thread. */
#pragma once

#include <stdatomic.h>

#include "common/base/hlc.h"
#include "shard/engine/engine.h"
#include "shard/fsm/fsm.h"
#include "shard/replica/readiness.h"

enum gauges_event {
    GAUGES_TURN,
    GAUGES_APPLY_HELD,     /* apply could not write and waits */
    GAUGES_BUDGET_REFUSED, /* a command, because the replay budget is used up */
    GAUGES_EVENTS
};

void gauges_register(void);
void gauges_count(enum gauges_event event);
void gauges_changed(const struct engine_status *was, const struct engine_status *is); /* role, term or leader did */
void gauges_apply_ns(uint64_t ns);                                                    /* one call of fsm_apply took */

struct gauges_look {
    const struct engine_status *engine;
    uint64_t applied;
    struct hlc ceiling, observed;
    bool ready;
    uint64_t txns, locks;
    struct fsm_collected collected;
};
void gauges_show(const struct gauges_look *look);
/* /readyz: whether, and why not (`unready` may be NULL); a line for each change of either. */
void gauges_ready(const struct readiness *now, const struct engine_status *engine, uint64_t applied,
                  _Atomic bool *ready, _Atomic(const char *) *unready);
/* Room on the directory's file system; now and then. */
void gauges_room(const char *dir);
