/* check_commit.c: a replica's commit index and term never fall while it runs, and replicas agree on what is committed
 * at an index.
 *
 * Does not verify: that it was right to commit (quorum does), nor the commit index across a restart: it may fall there.
 */
#include <inttypes.h>

#include "tests/sim/check.h"
#include "tests/sim/node.h"

struct state {
    uint64_t commit[SIM_NODES_MAX + 1], term[SIM_NODES_MAX + 1];
    struct column committed; /* term, by index */
};

static void see(void *ctx, struct sim *sim, const struct check_event *e)
{
    struct state *s = ctx;
    uint32_t id = e->node != NULL ? e->node->id : 0;
    if (e->kind == CHECK_OPENED)
        s->commit[id] = s->term[id] = 0;
    if (e->kind != CHECK_STATUS)
        return;
    if (e->index < s->commit[id])
        check_failed(sim, &check_commit, "replica %u: commit index fell from %" PRIu64 " to %" PRIu64, id,
                     s->commit[id], e->index);
    if (e->term < s->term[id])
        check_failed(sim, &check_commit, "replica %u: term fell from %" PRIu64 " to %" PRIu64, id, s->term[id],
                     e->term);
    const struct shadow *log = &e->node->shadow;
    if (e->index > log->last)
        check_failed(sim, &check_commit, "replica %u: commit index %" PRIu64 " beyond its last %" PRIu64, id, e->index,
                     log->last);
    uint64_t from = s->commit[id] > log->base ? s->commit[id] : log->base;
    for (uint64_t i = from + 1; i <= e->index && i <= log->last; i++) {
        uint64_t known = column_get(&s->committed, i), term = column_get(&log->term, i);
        if (known != 0 && known != term)
            check_failed(sim, &check_commit,
                         "replica %u: committed (%" PRIu64 ", %" PRIu64 "), elsewhere it is of term %" PRIu64, id, i,
                         term, known);
        column_set(&s->committed, i, term);
    }
    s->commit[id] = e->index;
    s->term[id] = e->term;
}

static void deinit(void *ctx)
{
    column_deinit(&((struct state *)ctx)->committed);
}

const struct checker check_commit = {"commit", sizeof(struct state), see, deinit};
