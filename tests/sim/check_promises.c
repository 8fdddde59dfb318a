/* check_promises.c: votes and acknowledgements leave only after what they promise is durable (I7): at the moment of
 * sending the synced hard state holds the vote, and the synced log all entries up to the acknowledged index.
 *
 * Does not verify: that a sync that returned means durable (recovery does, after a crash). */
#include <inttypes.h>

#include "tests/sim/check.h"
#include "tests/sim/node.h"

struct state {
    bool unused;
};

static void see(void *ctx, struct sim *sim, const struct check_event *e)
{
    (void)ctx;
    if (e->kind != CHECK_VOTED && e->kind != CHECK_ACKNOWLEDGED)
        return;
    const struct shadow *log = &e->node->shadow;
    if (e->kind == CHECK_VOTED &&
        (log->synced_hard.term < e->term || (log->synced_hard.term == e->term && log->synced_hard.vote != e->peer)))
        check_failed(sim, &check_promises,
                     "replica %u: a vote for %u in term %" PRIu64 " left, durable is term %" PRIu64 " vote %" PRIu64,
                     e->node->id, e->peer, e->term, log->synced_hard.term, log->synced_hard.vote);
    if (e->kind == CHECK_ACKNOWLEDGED && e->index > log->base && e->index > shadow_durable(log))
        check_failed(sim, &check_promises, "replica %u acknowledged index %" PRIu64 ", durable is %" PRIu64,
                     e->node->id, e->index, shadow_durable(log));
}

const struct checker check_promises = {"promises", sizeof(struct state), see, NULL};
