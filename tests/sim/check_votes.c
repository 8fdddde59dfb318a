/* check_votes.c: a replica gives at most one vote in a term, whatever it went through in between (Raft paper, 5.2
 * and 5.4). Counted are votes that left: a granted vote, and a request for votes (the candidate's own).
 *
 * Does not verify: that the candidate deserved it (completeness shows when not). */
#include <inttypes.h>

#include "tests/sim/check.h"
#include "tests/sim/node.h"

struct state {
    struct column voted[SIM_NODES_MAX + 1]; /* by term: for whom */
};

static void see(void *ctx, struct sim *sim, const struct check_event *e)
{
    struct state *s = ctx;
    if (e->kind != CHECK_VOTED)
        return;
    struct column *voted = &s->voted[e->node->id];
    uint64_t before = column_get(voted, e->term);
    if (before != 0 && before != e->peer)
        check_failed(sim, &check_votes, "replica %u voted for %" PRIu64 " and for %u in term %" PRIu64, e->node->id,
                     before, e->peer, e->term);
    column_set(voted, e->term, e->peer);
}

static void deinit(void *ctx)
{
    struct state *s = ctx;
    for (size_t i = 0; i <= SIM_NODES_MAX; i++)
        column_deinit(&s->voted[i]);
}

const struct checker check_votes = {"votes", sizeof(struct state), see, deinit};
