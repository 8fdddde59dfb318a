/* session_record.c: outcomes as differences to the one before, in variable-length integers. */
#include "shard/fsm/session_record.h"

#include <stdlib.h>

#include "common/base/limits.h"
#include "common/base/must.h"

#define RECORD_FORMAT 1
#define RING_CAP_MIN 16u
#define VARINT_MAX ((size_t)10)

static void grow(struct session_state *state, uint64_t span)
{
    struct session_state old = *state;
    if (state->cap == 0)
        state->cap = RING_CAP_MIN;
    while (state->cap < span)
        state->cap *= 2;
    state->ring = calloc(state->cap, sizeof *state->ring);
    must(state->ring != NULL); /* out of memory */
    for (uint64_t seq = old.done_below; seq < old.top; seq++)
        *session_slot(state, seq) = *session_slot(&old, seq);
    free(old.ring);
}

void session_state_set(struct session_state *state, uint64_t seq, int code, struct version version)
{
    must(seq >= state->done_below && seq - state->done_below < LIMIT_SESSION_WINDOW);
    uint64_t span = seq + 1 - state->done_below;
    if (span > state->cap)
        grow(state, span);
    if (seq >= state->top)
        state->top = seq + 1;
    *session_slot(state, seq) = (struct session_ring){.version = version, .code = code, .known = true};
}

static uint8_t *varint(uint8_t *to, uint64_t v)
{
    while (v >= 0x80) {
        *to++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *to++ = (uint8_t)v;
    return to;
}

/* Small numbers of either sign stay short; differences wrap around, so every pair of values has one. */
static uint64_t zigzag(uint64_t v)
{
    return v << 1 ^ (0 - (v >> 63));
}

static uint64_t unzigzag(uint64_t v)
{
    return v >> 1 ^ (0 - (v & 1));
}

struct cursor { /* what the next outcome is told relative to */
    uint64_t seq, t, version_seq;
};

void session_record_encode(const struct session_state *state, struct buf *out)
{
    size_t start = out->size, count = 0;
    buf_reserve(out, 1 + 3 * VARINT_MAX + (size_t)(state->top - state->done_below) * 4 * VARINT_MAX);
    struct cursor at = {.seq = state->done_below, .t = state->last_used.t};
    for (uint64_t seq = state->done_below; seq < state->top; seq++)
        count += session_slot(state, seq)->known;
    uint8_t *to = out->data + start;
    *to++ = RECORD_FORMAT;
    to = varint(to, state->last_used.t);
    to = varint(to, state->done_below);
    to = varint(to, count);
    for (uint64_t seq = state->done_below; seq < state->top; seq++) {
        const struct session_ring *slot = session_slot(state, seq);
        if (!slot->known)
            continue;
        to = varint(to, seq - at.seq);
        to = varint(to, zigzag((uint64_t)(int64_t)slot->code));
        to = varint(to, zigzag(slot->version.t.t - at.t));
        to = varint(to, zigzag(slot->version.seq - at.version_seq));
        at = (struct cursor){.seq = seq + 1, .t = slot->version.t.t, .version_seq = slot->version.seq + 1};
    }
    out->size = (size_t)(to - out->data);
}

static bool take(struct slice *from, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70 && from->size > 0; shift += 7) {
        uint8_t byte = *from->data++;
        from->size--;
        if (shift == 63 && byte > 1)
            return false;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = v;
            return true;
        }
    }
    return false;
}

static bool take_outcome(struct slice *from, struct cursor *at, struct session_state *state)
{
    uint64_t gap, code, t, version_seq;
    if (!take(from, &gap) || !take(from, &code) || !take(from, &t) || !take(from, &version_seq))
        return false;
    if (gap >= LIMIT_SESSION_WINDOW || at->seq - state->done_below + gap >= LIMIT_SESSION_WINDOW)
        return false;
    int64_t number = (int64_t)unzigzag(code);
    if (number > 0 || number < INT32_MIN)
        return false;
    uint64_t seq = at->seq + gap;
    struct version version = {.t = {at->t + unzigzag(t)}, .seq = at->version_seq + unzigzag(version_seq)};
    session_state_set(state, seq, (int)number, version);
    *at = (struct cursor){.seq = seq + 1, .t = version.t.t, .version_seq = version.seq + 1};
    return true;
}

bool session_record_decode(struct slice bytes, struct session_state *state)
{
    uint64_t last_used, done_below, count;
    if (bytes.size < 1 || bytes.data[0] != RECORD_FORMAT)
        return false;
    bytes.data++;
    bytes.size--;
    if (!take(&bytes, &last_used) || !take(&bytes, &done_below) || !take(&bytes, &count) ||
        count > LIMIT_SESSION_WINDOW || done_below > UINT64_MAX - LIMIT_SESSION_WINDOW)
        return false;
    state->last_used.t = last_used;
    state->done_below = state->top = done_below;
    struct cursor at = {.seq = done_below, .t = last_used};
    for (uint64_t i = 0; i < count; i++)
        if (!take_outcome(&bytes, &at, state))
            return false;
    return bytes.size == 0;
}
