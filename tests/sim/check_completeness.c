/* check_completeness.c: leader completeness: an entry committed in a term is in the log of every leader of a later
 * term. Committed is what a replica's commit index covered when it first moved past the entry.
 *
 * Does not verify: payloads (log_matching does), nor entries that were committed and never known to be. */
#include <inttypes.h>

#include "tests/sim/check.h"
#include "tests/sim/node.h"

struct state {
    struct column term;    /* of the committed entry, by index */
    struct column claimed; /* in which term it was first known to be committed, by index */
    uint64_t last;         /* highest committed index */
    struct column led;     /* by term: the leader was looked at */
};

static void see(void *ctx, struct sim *sim, const struct check_event *e)
{
    struct state *s = ctx;
    if (e->kind != CHECK_STATUS)
        return;
    const struct shadow *log = &e->node->shadow;
    if (e->role == ENGINE_LEADER && column_get(&s->led, e->term) == 0) {
        column_set(&s->led, e->term, 1);
        for (uint64_t i = log->base + 1; i <= s->last; i++) {
            if (column_get(&s->claimed, i) >= e->term)
                continue;
            if (i > log->last || column_get(&log->term, i) != column_get(&s->term, i))
                check_failed(sim, &check_completeness,
                             "leader %u of term %" PRIu64 " lacks the committed entry (%" PRIu64 ", %" PRIu64 ")",
                             e->node->id, e->term, i, column_get(&s->term, i));
        }
    }
    for (; s->last < e->index && s->last < log->last; s->last++) {
        column_set(&s->term, s->last + 1, column_get(&log->term, s->last + 1));
        column_set(&s->claimed, s->last + 1, e->term);
    }
}

static void deinit(void *ctx)
{
    struct state *s = ctx;
    column_deinit(&s->term);
    column_deinit(&s->claimed);
    column_deinit(&s->led);
}

const struct checker check_completeness = {"completeness", sizeof(struct state), see, deinit};
