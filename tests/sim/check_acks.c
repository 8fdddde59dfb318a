/* check_acks.c: no acknowledged write is lost (I9): an entry a client was told of is what every replica applies at its
 * index, before and after, and is in the log of every leader of a term later than the one it was told of in. (An entry of
 * an older term may be committed, and so told of, in a later one: a leader between the two need not have it.)
 *
 * Does not verify: that what was refused or unknown does not happen, nor that a write is executed once (sessions do
 * that). */
#include <inttypes.h>

#include "tests/sim/check.h"
#include "tests/sim/node.h"

struct state {
    struct column term, hash;                 /* of the acknowledged write, by index; term 0: none there */
    struct column told;                       /* in which term, by index */
    struct column applied_term, applied_hash; /* of what was applied, by index */
    uint64_t last;
    struct column led;
};

static void leader(struct state *s, struct sim *sim, const struct check_event *e)
{
    const struct shadow *log = &e->node->shadow;
    for (uint64_t i = log->base + 1; i <= s->last; i++) {
        uint64_t term = column_get(&s->term, i);
        if (term == 0 || column_get(&s->told, i) >= e->term)
            continue;
        if (i > log->last || column_get(&log->term, i) != term || column_get(&log->hash, i) != column_get(&s->hash, i))
            check_failed(sim, &check_acks,
                         "leader %u of term %" PRIu64 " lost the acknowledged write (%" PRIu64 ", %" PRIu64 ")",
                         e->node->id, e->term, i, term);
    }
}

static void see(void *ctx, struct sim *sim, const struct check_event *e)
{
    struct state *s = ctx;
    if (e->kind == CHECK_STATUS && e->role == ENGINE_LEADER && column_get(&s->led, e->term) == 0) {
        column_set(&s->led, e->term, 1);
        leader(s, sim, e);
    }
    if (e->kind == CHECK_WRITE_DONE) {
        column_set(&s->term, e->index, e->term);
        column_set(&s->hash, e->index, e->hash);
        column_set(&s->told, e->index, e->other);
        if (e->index > s->last)
            s->last = e->index;
    }
    if (e->kind == CHECK_APPLIED) {
        column_set(&s->applied_term, e->index, e->term);
        column_set(&s->applied_hash, e->index, e->hash);
    }
    if (e->kind != CHECK_WRITE_DONE && e->kind != CHECK_APPLIED)
        return;
    uint64_t told = column_get(&s->term, e->index), applied = column_get(&s->applied_term, e->index);
    if (told != 0 && applied != 0 &&
        (told != applied || column_get(&s->hash, e->index) != column_get(&s->applied_hash, e->index)))
        check_failed(sim, &check_acks,
                     "index %" PRIu64 ": a write of term %" PRIu64 " was acknowledged, one of term %" PRIu64
                     " was applied (replica %u)",
                     e->index, told, applied, e->node->id);
}

static void deinit(void *ctx)
{
    struct state *s = ctx;
    column_deinit(&s->term);
    column_deinit(&s->hash);
    column_deinit(&s->told);
    column_deinit(&s->applied_term);
    column_deinit(&s->applied_hash);
    column_deinit(&s->led);
}

const struct checker check_acks = {"acks", sizeof(struct state), see, deinit};
