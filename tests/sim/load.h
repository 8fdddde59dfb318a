/* load.h: what simulated clients ask of the state machine: entries with commands of every kind, with and without sessions.
 *
 * Position: turn.c proposes what comes from here; the machine's checker compares what becomes of it. */
#pragma once

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "shard/fsm/fsm.h"
#include "shard/replica/stamp.h"

#define LOAD_SESSIONS 8

struct load_session {
    uint64_t id, next, done_below;
};

struct load {
    struct load_session sessions[LOAD_SESSIONS]; /* some that were opened */
    size_t opened;
    struct buf entry;
    struct arena arena;
};

/* The payload of the entry for request `id`, with values of about `size` bytes; borrowed until the next call. */
struct slice load_entry(struct load *l, uint64_t id, uint32_t size, struct stamp *stamp, struct fsm *fsm);
void load_session(struct load *l, uint64_t id); /* a session was opened */
void load_deinit(struct load *l);
