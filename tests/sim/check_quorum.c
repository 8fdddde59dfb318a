/* check_quorum.c: what a leader calls committed is durable on a majority of the voters of its configuration at that
 * moment, and the last of it is of its own term (Raft paper, 5.3 and 5.4.2).
 *
 * Does not verify: followers' commit indexes (commit does), nor a leader that was elected and committed inside one
 * phase. */
#include <inttypes.h>

#include "tests/sim/check.h"
#include "tests/sim/node.h"
#include "tests/sim/sim.h"

struct state {
    uint64_t seen;                   /* highest commit index judged */
    uint64_t led[SIM_NODES_MAX + 1]; /* term in which a replica was last seen leading */
};

static bool holds(const struct node *n, uint64_t index, uint64_t term)
{
    const struct shadow *log = &n->shadow;
    if (index <= log->base || (index <= log->synced_last && column_get(&log->synced_term, index) == term))
        return true;
    /* It was, and is lost since: whoever counted it before hearing of that may do so (I13). */
    return index <= log->lost_last && column_get(&log->lost_term, index) == term;
}

static void see(void *ctx, struct sim *sim, const struct check_event *e)
{
    struct state *s = ctx;
    if (e->kind != CHECK_STATUS || e->role != ENGINE_LEADER)
        return;
    bool fresh = s->led[e->node->id] != e->term; /* what it knew as a follower is not its own claim */
    s->led[e->node->id] = e->term;
    if (fresh || e->index <= s->seen)
        return;
    s->seen = e->index;
    uint64_t term = column_get(&e->node->shadow.term, e->index);
    const Hf__Catalog__Members *members = e->node->ops->members(e->node->engine);
    size_t voters = 0, have = 0;
    for (size_t i = 0; i < members->n_members; i++) {
        const Hf__Catalog__Member *m = members->members[i];
        if (m->role != HF__CATALOG__ROLE__VOTER)
            continue;
        voters++;
        have += m->replica <= SIM_NODES_MAX && holds(&sim->nodes[m->replica], e->index, term);
    }
    if (have * 2 <= voters)
        check_failed(sim, &check_quorum, "leader %u committed (%" PRIu64 ", %" PRIu64 "), durable on %zu of %zu voters",
                     e->node->id, e->index, term, have, voters);
    else if (term != e->term)
        check_failed(sim, &check_quorum, "leader %u of term %" PRIu64 " committed up to an entry of term %" PRIu64,
                     e->node->id, e->term, term);
}

const struct checker check_quorum = {"quorum", sizeof(struct state), see, NULL};
