/* check_leaders.c: election safety: at most one leader is seen in a term (Raft paper, figure 3).
 *
 * Does not verify: a replica that leads only inside one phase of a turn is not seen. */
#include <inttypes.h>

#include "tests/sim/check.h"
#include "tests/sim/node.h"

struct state {
    struct column leader; /* by term */
};

static void see(void *ctx, struct sim *sim, const struct check_event *e)
{
    struct state *s = ctx;
    if (e->kind != CHECK_STATUS || e->role != ENGINE_LEADER)
        return;
    uint64_t known = column_get(&s->leader, e->term);
    if (known != 0 && known != e->node->id)
        check_failed(sim, &check_leaders, "two leaders in term %" PRIu64 ": %" PRIu64 " and %u", e->term, known,
                     e->node->id);
    column_set(&s->leader, e->term, e->node->id);
}

static void deinit(void *ctx)
{
    column_deinit(&((struct state *)ctx)->leader);
}

const struct checker check_leaders = {"leaders", sizeof(struct state), see, deinit};
