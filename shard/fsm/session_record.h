/* session_record.h: one session's state and the packed bytes of its 's' record.
 *
 * Position: below sessions.c. The bytes are written once per batch for each session used, so they are kept short:
 *           about 4 bytes per outcome. */
#pragma once

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/hlc.h"

struct session_ring { /* of one seq */
    struct version version;
    int32_t code;
    bool known;
};

struct session_state {
    uint64_t id;
    struct hlc last_used;
    uint64_t done_below;
    uint64_t top;              /* done_below ≤ top; every known outcome is below */
    struct session_ring *ring; /* owned; slot seq % cap, unknown ones cleared */
    uint32_t cap;              /* 0 or a power of two ≥ top - done_below */
};

static inline struct session_ring *session_slot(const struct session_state *state, uint64_t seq)
{
    return &state->ring[seq & (state->cap - 1)];
}

/* Notes an outcome; done_below ≤ seq < done_below + LIMIT_SESSION_WINDOW. */
void session_state_set(struct session_state *state, uint64_t seq, int code, struct version version);

void session_record_encode(const struct session_state *state, struct buf *out); /* appends */
/* Into a state that holds nothing but its id. False: damaged (I11); the ring is still the caller's to free. */
bool session_record_decode(struct slice bytes, struct session_state *state);
