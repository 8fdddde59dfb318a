/* timers.h: which timer goes off next: a binary heap of timers embedded in their owners.
 *
 * Position: io.c waits until the first one; requests, shards and the search for routes own one each.
 * Thread:   I/O thread only. Setting a timer never allocates: room is reserved when its owner is made. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/must.h"

struct timer {
    uint64_t when_ns;
    uint32_t at; /* place in the heap, from 1; 0: off */
    void (*fire)(void *ctx, struct timer *t);
};

struct timers {
    struct timer **heap; /* owned; the timers are their owners' */
    uint32_t count, cap;
};

/* Room for `owners` timers in all. HF_E_NO_MEMORY. */
HF_CHECKED int timers_reserve(struct timers *ts, uint32_t owners);
void timers_deinit(struct timers *ts);

void timers_set(struct timers *ts, struct timer *t, uint64_t when_ns); /* also moves one that is set */
void timers_clear(struct timers *ts, struct timer *t);                 /* may be off */
uint64_t timers_next_ns(const struct timers *ts);                      /* UINT64_MAX: none */
/* Turns off and fires what is due; a timer set to a time already due by `fire` waits for the next call. */
void timers_expire(struct timers *ts, uint64_t now_ns, void *ctx);
