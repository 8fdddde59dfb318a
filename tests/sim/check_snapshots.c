/* check_snapshots.c: the pointer is never ahead of the durable applied index, nor is the log cut behind it (I4); an
 * installed state stands where its token says, and a state machine never goes back.
 *
 * Does not verify: content (machine does). */
#include <inttypes.h>

#include "tests/sim/check.h"
#include "tests/sim/node.h"

struct state {
    uint64_t applied[SIM_NODES_MAX + 1], token[SIM_NODES_MAX + 1];
};

static void installed(struct state *s, struct sim *sim, const struct check_event *e)
{
    uint32_t id = e->node->id;
    if (e->hash != e->index)
        check_failed(sim, &check_snapshots,
                     "replica %u: the installed state stands at %" PRIu64 ", its token says %" PRIu64, id, e->index,
                     e->hash);
    else if (e->index < s->applied[id])
        check_failed(sim, &check_snapshots, "replica %u: its state went back from %" PRIu64 " to %" PRIu64, id,
                     s->applied[id], e->index);
}

static void see(void *ctx, struct sim *sim, const struct check_event *e)
{
    struct state *s = ctx;
    uint32_t id = e->node != NULL ? e->node->id : 0;
    if (e->kind == CHECK_INSTALLED)
        installed(s, sim, e);
    if (e->kind == CHECK_LOST)
        s->applied[id] = s->token[id] = 0;
    if (e->kind == CHECK_RESTARTED && s->token[id] > e->index)
        check_failed(sim, &check_snapshots, "replica %u: its pointer says %" PRIu64 ", its state came back at %" PRIu64,
                     id, s->token[id], e->index);
    if ((e->kind == CHECK_TOKEN || e->kind == CHECK_TRIMMED) && e->index > e->other)
        check_failed(sim, &check_snapshots, "replica %u: %s %" PRIu64 ", durable is %" PRIu64, id,
                     e->kind == CHECK_TOKEN ? "the pointer was moved to" : "the log was cut at", e->index, e->other);
    if (e->kind == CHECK_TOKEN)
        s->token[id] = e->index;
    if (e->kind == CHECK_APPLIED || e->kind == CHECK_RESTARTED || e->kind == CHECK_INSTALLED)
        s->applied[id] = e->index;
}

const struct checker check_snapshots = {"snapshots", sizeof(struct state), see, NULL};
