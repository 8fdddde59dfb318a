/* check_recovery.c: what log_sync returned for is there after a crash: the opened log is the last synced one, or that
 * with the change that was being synced, whole; the hard state likewise, so its term never falls and a vote is never
 * forgotten.
 *
 * Does not verify: entries let go by a trim; the commit index in the hard state, which rides along unpromised. */
#include <inttypes.h>

#include "tests/sim/check.h"
#include "tests/sim/node.h"

struct state {
    bool unused;
};

/* Is the opened log (shadow.opened_*) equal to the one given, from its first entry on? */
static bool equal(const struct shadow *log, const struct column *term, const struct column *hash, uint64_t last)
{
    if (log->opened_last != last)
        return false;
    for (uint64_t i = log->opened_first; i <= last; i++)
        if (column_get(term, i) != column_get(&log->opened_term, i) ||
            column_get(hash, i) != column_get(&log->opened_hash, i))
            return false;
    return true;
}

static void see(void *ctx, struct sim *sim, const struct check_event *e)
{
    (void)ctx;
    if (e->kind != CHECK_OPENED)
        return;
    const struct shadow *log = &e->node->shadow;
    if (!equal(log, &log->synced_term, &log->synced_hash, log->synced_last) &&
        !equal(log, &log->term, &log->hash, log->last))
        check_failed(sim, &check_recovery,
                     "replica %u: the opened log [%" PRIu64 ", %" PRIu64 "] is neither what was synced (last %" PRIu64
                     ") nor what was being synced (last %" PRIu64 ")",
                     e->node->id, log->opened_first, log->opened_last, log->synced_last, log->last);
    struct log_hard_state opened = log->opened_hard, synced = log->synced_hard, set = log->hard;
    bool is_synced = opened.term == synced.term && opened.vote == synced.vote;
    bool is_set = opened.term == set.term && opened.vote == set.vote;
    if (!is_synced && !is_set)
        check_failed(sim, &check_recovery,
                     "replica %u: opened with term %" PRIu64 " vote %" PRIu64 ", synced was term %" PRIu64
                     " vote %" PRIu64,
                     e->node->id, opened.term, opened.vote, synced.term, synced.vote);
}

const struct checker check_recovery = {"recovery", sizeof(struct state), see, NULL};
