/* check_durable.c: what the state machine says of itself (I3-I5): it is durable up to an index it applied, never goes back
 * behind that, comes back from a crash exactly there with the term its log has at that index, and the log still has
 * everything behind it.
 *
 * Does not verify: content (machine does). */
#include <inttypes.h>

#include "tests/sim/check.h"
#include "tests/sim/node.h"

struct state {
    uint64_t durable[SIM_NODES_MAX + 1], applied[SIM_NODES_MAX + 1];
};

static void restarted(const struct state *s, struct sim *sim, const struct check_event *e)
{
    const struct shadow *log = &e->node->shadow;
    uint32_t id = e->node->id;
    if (e->index < s->durable[id] || (s->applied[id] != 0 && e->index > s->applied[id]))
        check_failed(sim, &check_durable,
                     "replica %u: came back at applied index %" PRIu64 ", durable was %" PRIu64 ", applied %" PRIu64,
                     id, e->index, s->durable[id], s->applied[id]);
    else if (log->opened_first > e->index + 1)
        check_failed(sim, &check_durable, "replica %u: its log begins at %" PRIu64 ", its state ends at %" PRIu64, id,
                     log->opened_first, e->index);
    else if (e->index > log->opened_last && e->index != log->base)
        check_failed(sim, &check_durable, "replica %u: its log ends at %" PRIu64 ", its state at %" PRIu64, id,
                     log->opened_last, e->index);
    else if (e->index >= log->base && column_get(&log->term, e->index) != e->term)
        check_failed(sim, &check_durable,
                     "replica %u: its state is of term %" PRIu64 " at index %" PRIu64 ", its log of %" PRIu64, id,
                     e->term, e->index, column_get(&log->term, e->index));
}

static void see(void *ctx, struct sim *sim, const struct check_event *e)
{
    struct state *s = ctx;
    if (e->kind == CHECK_APPLIED)
        s->applied[e->node->id] = e->index;
    if (e->kind == CHECK_INSTALLED)
        s->applied[e->node->id] = s->durable[e->node->id] = e->index;
    if (e->kind == CHECK_LOST)
        s->applied[e->node->id] = s->durable[e->node->id] = 0;
    if (e->kind == CHECK_RESTARTED) {
        restarted(s, sim, e);
        s->applied[e->node->id] = s->durable[e->node->id] = e->index;
    }
    if (e->kind != CHECK_DURABLE)
        return;
    uint32_t id = e->node->id;
    if (e->index < s->durable[id] || e->index > s->applied[id])
        check_failed(sim, &check_durable,
                     "replica %u: durable at index %" PRIu64 ", was %" PRIu64 ", applied is %" PRIu64, id, e->index,
                     s->durable[id], s->applied[id]);
    s->durable[id] = e->index;
}

const struct checker check_durable = {"state", sizeof(struct state), see, NULL};
