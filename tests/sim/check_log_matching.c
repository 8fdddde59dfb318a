/* check_log_matching.c: log matching: two logs that hold an entry of the same index and term are equal up to it. By
 * induction over appends it is enough that (index, term) has one payload and one predecessor's term everywhere.
 *
 * Does not verify: that bytes stay what they were on disk (recovery does), nor entries appended before the base of a
 * log. */
#include <inttypes.h>

#include "common/base/hashmap.h"
#include "tests/sim/check.h"
#include "tests/sim/node.h"

struct known {
    uint64_t index, term, hash, term_before;
};

struct state {
    struct hashmap entries; /* hash of (index, term) → struct known, owned */
};

static void see(void *ctx, struct sim *sim, const struct check_event *e)
{
    struct state *s = ctx;
    if (e->kind != CHECK_APPENDED)
        return;
    uint64_t key = e->index | e->term << 32; /* both stay far below 2^32 */
    const struct known *known = hashmap_get(&s->entries, key);
    if (known == NULL) {
        struct known *fresh = malloc(sizeof *fresh);
        must(fresh != NULL);
        *fresh = (struct known){e->index, e->term, e->hash, e->other};
        hashmap_put(&s->entries, key, fresh);
        return;
    }
    if (known->hash != e->hash)
        check_failed(sim, &check_log_matching,
                     "replica %u: entry (%" PRIu64 ", %" PRIu64 ") has another payload than elsewhere", e->node->id,
                     e->index, e->term);
    else if (known->term_before != e->other)
        check_failed(sim, &check_log_matching,
                     "replica %u: entry (%" PRIu64 ", %" PRIu64 ") follows term %" PRIu64 " here and %" PRIu64
                     " elsewhere",
                     e->node->id, e->index, e->term, e->other, known->term_before);
}

static void deinit(void *ctx)
{
    struct state *s = ctx;
    size_t at = 0;
    uint64_t key;
    void *value;
    while (hashmap_each(&s->entries, &at, &key, &value))
        free(value);
    hashmap_deinit(&s->entries);
}

const struct checker check_log_matching = {"log_matching", sizeof(struct state), see, deinit};
