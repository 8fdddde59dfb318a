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

void retain_tick(struct retain *r, bool active, uint64_t now_ns)
{
    if (active && !r->was_active)
        r->quiet_until_ns = now_ns + r->lease_max_ms * CLOCK_NS_PER_MS;
    if (!active)
        r->quiet_until_ns = UINT64_MAX;
    else if (now_ns >= r->quiet_until_ns)
        r->quiet_until_ns = 0;
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
        r->count++;
    r->all[at] = (struct retained){.id = id, .t = t, .until_ns = now_ns + *out_ms * CLOCK_NS_PER_MS};
    return HF_OK;
}

struct hlc retain_lowest(const struct retain *r, struct hlc now)
{
    if (!r->was_active || r->quiet_until_ns != 0)
        return (struct hlc){0};
    struct hlc lowest = now;
    for (size_t i = 0; i < r->count; i++)
        if (r->all[i].t.t < lowest.t)
            lowest = r->all[i].t;
    return lowest;
}
