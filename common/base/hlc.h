/* hlc.h: timestamp arithmetic. A timestamp is 48 bits of milliseconds since 1970 and 16 bits of counter
 * (Kulkarni et al., Logical Physical Clocks, 2014). Pure: nobody here reads a clock.
 *
 * A version orders the writes of one shard: the coordinator's timestamp, extended by the leader's sequence (I8). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct hlc {
    uint64_t t; /* ms << 16 | counter */
};

struct version {
    struct hlc t;
    uint64_t seq;
};

static inline struct hlc hlc_from_ms(uint64_t ms)
{
    return (struct hlc){ms << 16};
}

static inline uint64_t hlc_ms(struct hlc h)
{
    return h.t >> 16;
}

static inline struct hlc hlc_max(struct hlc a, struct hlc b)
{
    return a.t >= b.t ? a : b;
}

/* `h` moved on by `ms` milliseconds, counter cleared of nothing. */
static inline struct hlc hlc_add_ms(struct hlc h, uint64_t ms)
{
    return (struct hlc){h.t + (ms << 16)};
}

/* <0, 0, >0 as a is older than, equal to, newer than b. */
static inline int version_compare(struct version a, struct version b)
{
    if (a.t.t != b.t.t)
        return a.t.t < b.t.t ? -1 : 1;
    return a.seq == b.seq ? 0 : a.seq < b.seq ? -1 : 1;
}
