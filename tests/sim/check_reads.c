/* check_reads.c: no lease or barrier read is older than a write, or an answer, that was complete before the read began.
 * All writes go to one history, so the applied index of an answer is its place in it.
 *
 * Does not verify: reads at a timestamp, nor values; reads and writes that overlap in time may take any order. */
#include <inttypes.h>

#include "tests/sim/check.h"
#include "tests/sim/node.h"

struct state {
    struct column floor; /* by read: what it must see */
    uint64_t complete;   /* highest index of a completed write or answer */
};

static void see(void *ctx, struct sim *sim, const struct check_event *e)
{
    struct state *s = ctx;
    if (e->kind == CHECK_READ_BEGIN)
        column_set(&s->floor, e->other, s->complete);
    if (e->kind == CHECK_READ_DONE && e->index < column_get(&s->floor, e->other))
        check_failed(sim, &check_reads,
                     "replica %u answered a read as of index %" PRIu64 ", but %" PRIu64 " was complete before it began",
                     e->node->id, e->index, column_get(&s->floor, e->other));
    if ((e->kind == CHECK_READ_DONE || e->kind == CHECK_WRITE_DONE) && e->index > s->complete)
        s->complete = e->index;
}

static void deinit(void *ctx)
{
    column_deinit(&((struct state *)ctx)->floor);
}

const struct checker check_reads = {"reads", sizeof(struct state), see, deinit};
