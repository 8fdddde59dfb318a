/* timers.c: see timers.h. */
#include "client/timers.h"

#include <stdlib.h>

#include "common/base/error.h"

int timers_reserve(struct timers *ts, uint32_t owners)
{
    if (owners <= ts->cap)
        return HF_OK;
    uint32_t cap = ts->cap ? ts->cap : 64;
    while (cap < owners)
        cap *= 2;
    struct timer **heap = realloc(ts->heap, (cap + 1u) * sizeof *heap); /* places count from 1 */
    if (!heap)
        return HF_E_NO_MEMORY;
    ts->heap = heap;
    ts->cap = cap;
    return HF_OK;
}

void timers_deinit(struct timers *ts)
{
    free(ts->heap);
    *ts = (struct timers){0};
}

static void place(struct timers *ts, struct timer *t, uint32_t at)
{
    ts->heap[at] = t;
    t->at = at;
}

static void rise(struct timers *ts, struct timer *t, uint32_t at)
{
    while (at > 1 && ts->heap[at / 2]->when_ns > t->when_ns) {
        place(ts, ts->heap[at / 2], at);
        at /= 2;
    }
    place(ts, t, at);
}

static void sink(struct timers *ts, struct timer *t, uint32_t at)
{
    for (;;) {
        uint32_t child = at * 2;
        if (child > ts->count)
            break;
        if (child < ts->count && ts->heap[child + 1]->when_ns < ts->heap[child]->when_ns)
            child++;
        if (ts->heap[child]->when_ns >= t->when_ns)
            break;
        place(ts, ts->heap[child], at);
        at = child;
    }
    place(ts, t, at);
}

void timers_set(struct timers *ts, struct timer *t, uint64_t when_ns)
{
    timers_clear(ts, t);
    must(ts->count < ts->cap); /* reserved when the owner was made */
    t->when_ns = when_ns;
    rise(ts, t, ++ts->count);
}

void timers_clear(struct timers *ts, struct timer *t)
{
    if (t->at == 0)
        return;
    uint32_t at = t->at;
    struct timer *last = ts->heap[ts->count--];
    t->at = 0;
    if (last == t)
        return;
    if (at > 1 && ts->heap[at / 2]->when_ns > last->when_ns)
        rise(ts, last, at);
    else
        sink(ts, last, at);
}

uint64_t timers_next_ns(const struct timers *ts)
{
    return ts->count ? ts->heap[1]->when_ns : UINT64_MAX;
}

void timers_expire(struct timers *ts, uint64_t now_ns, void *ctx)
{
    uint32_t rounds = ts->count; /* bounds a fire that sets its own timer to the past */
    while (rounds-- > 0 && ts->count > 0 && ts->heap[1]->when_ns <= now_ns) {
        struct timer *t = ts->heap[1];
        timers_clear(ts, t);
        t->fire(ctx, t);
    }
}
