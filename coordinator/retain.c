/* retain.c: see retain.h. */
#include "coordinator/retain.h"

#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "coordinator/limits.h"

void retain_init(struct retain *r, uint64_t lease_max_ms)
{
    *r = (struct retain){.lease_max_ms = lease_max_ms, .all = calloc(RETAIN_MAX, sizeof(struct retained))};
    must(r->all != NULL); /* out of memory */
}

void retain_deinit(struct retain *r)
{
    free(r->all);
    *r = (struct retain){0};
}

static void drop(struct retain *r, size_t at)
{
    r->all[at] = r->all[--r->count];
}

void retain_tick(struct retain *r, bool active, struct hlc issued, uint64_t now_ns)
{
    if (!active || !r->was_active)
        r->before = r->latest = (struct hlc){0};
    if (active && (!r->was_active || now_ns >= r->next_ns)) {
        r->before = r->latest;
        r->latest = issued;
        r->next_ns = now_ns + r->lease_max_ms * CLOCK_NS_PER_MS;
    }
    r->was_active = active;
    for (size_t i = r->count; i-- > 0;)
        if (now_ns >= r->all[i].until_ns)
            drop(r, i);
}

int retain_ask(struct retain *r, uint64_t id, struct hlc t, uint32_t lease_ms, uint64_t now_ns, uint32_t *out_ms)
{
    size_t at = 0;
    while (at < r->count && r->all[at].id != id)
        at++;
    *out_ms = lease_ms < r->lease_max_ms ? lease_ms : (uint32_t)r->lease_max_ms;
    if (lease_ms == 0) {
        if (at < r->count)
            drop(r, at);
        return HF_OK;
    }
    if (at == RETAIN_MAX)
        return HF_E_BUSY;
    if (at == r->count)
        r->all[r->count++] = (struct retained){0};
    uint64_t until_ns = now_ns + *out_ms * CLOCK_NS_PER_MS;
    if (until_ns < r->all[at].until_ns) /* what was promised stays: requests may come late, and in another order */
        until_ns = r->all[at].until_ns;
    r->all[at] = (struct retained){.id = id, .t = t, .until_ns = until_ns};
    return HF_OK;
}

struct hlc retain_lowest(const struct retain *r, struct hlc now)
{
    struct hlc lowest = r->lease_max_ms != 0 ? r->before : r->was_active ? now : (struct hlc){0};
    for (size_t i = 0; i < r->count; i++)
        if (r->all[i].t.t < lowest.t)
            lowest = r->all[i].t;
    return lowest;
}
