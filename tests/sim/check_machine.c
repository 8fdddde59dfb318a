/* check_machine.c: state-machine safety: all replicas that applied an index are in the same state, whichever way they
 * came there, wherever their batches were cut, and after a crash too (I1, I2): the running digest and the sum of all keys
 * and values are equal.
 *
 * Does not verify: the state between the entries of a batch; that what commands do is right (the sessions' and keys'
 * checkers do). */
#include <inttypes.h>

#include "tests/sim/check.h"
#include "tests/sim/node.h"

struct state {
    struct column chain, by; /* by index */
};

static void see(void *ctx, struct sim *sim, const struct check_event *e)
{
    struct state *s = ctx;
    if (e->kind != CHECK_APPLIED && e->kind != CHECK_RESTARTED && e->kind != CHECK_INSTALLED)
        return;
    if (e->index != e->node->machine.index) {
        check_failed(sim, &check_machine, "replica %u: applied %" PRIu64 " after %" PRIu64, e->node->id, e->index,
                     e->node->machine.index - 1);
        return;
    }
    if (e->other == 0)
        return;
    uint64_t known = column_get(&s->chain, e->index);
    if (known != 0 && known != e->other)
        check_failed(sim, &check_machine,
                     "replicas %u and %" PRIu64 " differ at applied index %" PRIu64 " (term %" PRIu64 ")", e->node->id,
                     column_get(&s->by, e->index), e->index, e->term);
    column_set(&s->chain, e->index, e->other);
    column_set(&s->by, e->index, e->node->id);
}

static void deinit(void *ctx)
{
    struct state *s = ctx;
    column_deinit(&s->chain);
    column_deinit(&s->by);
}

const struct checker check_machine = {"machine", sizeof(struct state), see, deinit};
