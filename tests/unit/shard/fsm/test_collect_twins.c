/* test_collect_twins.c: two machines with one history, of which only one removes anything, are never told apart.
 * HOLDFAST_SEED=n repeats one pair. */
#include <stdio.h>
#include <stdlib.h>

#include "common/sys/failpoint.h"
#include "shard/fsm/fsm_internal.h"
#include "tests/unit/shard/fsm/collecting.h"
#include "tests/unit/shard/fsm/transact.h"
#include "tests/unit/unit.h"

#define MS ((uint64_t)1 << 16)

#define ENTRIES 260
#define PENDING 3

struct twins {
    struct machine kept, swept;
    struct random random;
    struct {
        Hf__Entry__Txn *t; /* prepared; NULL: none */
        uint64_t commit;
    } pending[PENDING];
    uint64_t seq, now, seed;
    bool same;
};

static struct twins tw;

static void differ(const char *what)
{
    if (tw.same && getenv("HOLDFAST_SEED") != NULL)
        fprintf(stderr, "entry %llu: %s\n", (unsigned long long)tw.kept.index, what);
    tw.same = false;
}

static uint64_t newest_marker(void)
{
    static const uint8_t first = VKEY_MARKER;
    uint64_t newest = 0;
    struct store_iterator *it = store_iterator_new(tw.kept.fsm->store, false);
    struct vkey key;
    for (store_iterator_seek(it, slice_make(&first, 1)); store_iterator_valid(it); store_iterator_next(it))
        if (vkey_decode(store_iterator_key(it), &key) && key.kind == VKEY_MARKER && key.version.t.t > newest)
            newest = key.version.t.t;
    store_iterator_free(&it);
    return newest;
}

static const char *some_key(void)
{
    static const char *const keys[] = {"a", "b", "aa", "ab", "ba", "bb", "aab", "bba"};
    return keys[random_below(&tw.random, 8)];
}

static uint64_t below(void)
{
    return collecting_info(&tw.kept)->below.t;
}

/* Prepares one; or, later, whatever has been collected since, commits or rolls it back. A marker over a key that is dead
 * anyway is a conflict as long as the key's record is there: starts are above all markers. */
static Hf__Entry__Command own_txn(void)
{
    size_t i = (size_t)random_below(&tw.random, PENDING);
    if (tw.pending[i].t != NULL) {
        Hf__Entry__Txn *t = tw.pending[i].t;
        tw.pending[i].t = NULL;
        return random_below(&tw.random, 5) == 0 ? transact_rollback(t, true) : transact_commit(t, tw.pending[i].commit);
    }
    uint64_t lowest = newest_marker() + 1 > below() ? newest_marker() + 1 : below();
    uint64_t begin = random_below(&tw.random, 6) == 0 ? below() / 2 : lowest + random_below(&tw.random, 3 * MS);
    Hf__Entry__Txn *t = transact(TRANSACT_OTHER, 1, ++tw.seq, begin);
    for (uint64_t n = 1 + random_below(&tw.random, 2); n > 0; n--) {
        uint64_t kind = random_below(&tw.random, 5);
        if (kind < 2)
            transact_put_for(t, some_key(), "t", kind * random_below(&tw.random, 20));
        else if (kind < 4)
            transact_delete(t, some_key());
        else
            transact_delete_prefix(t, some_key());
    }
    if (random_below(&tw.random, 4) == 0) {
        transact_read(t, some_key());
        return transact_whole(t);
    }
    tw.pending[i].t = t;
    tw.pending[i].commit = tw.now + 1 + random_below(&tw.random, MS - 2);
    return transact_prepare(t);
}

static void apply_to(struct machine *at, struct log_entry entry)
{
    CU_ASSERT_EQUAL_FATAL(fsm_apply(at->fsm, &entry, 1, machine_report, at), HF_OK);
    at->index = entry.index;
}

static void next_entry(uint64_t index)
{
    struct log_entry entry = machine_random(tw.seed, index, &tw.kept.arena), other;
    uint64_t kind = random_below(&tw.random, 100);
    tw.now = machine_random_time(index);
    other = entry;
    if (index % 40 == 0 || kind >= 45) {
        kind = 100;
    } else if (kind < 20) {
        uint64_t w = tw.now - random_below(&tw.random, 5) * random_below(&tw.random, 8) * MS;
        uint32_t steps =
            (uint32_t)(random_below(&tw.random, 3) ? random_below(&tw.random, 5) : random_below(&tw.random, 60));
        entry.kind = other.kind = LOG_COMMAND;
        entry.data = machine_collect(&tw.kept.arena, w, 0);
        other.data = machine_collect(&tw.kept.arena, w, steps);
    } else {
        Hf__Entry__Command c = own_txn();
        entry.kind = LOG_COMMAND;
        entry.data = machine_batch(&tw.kept.arena, tw.now, 1, &c, 1);
        other = entry;
    }
    buf_clear(&tw.kept.results);
    buf_clear(&tw.swept.results);
    apply_to(&tw.kept, entry);
    apply_to(&tw.swept, other);
    if (!slice_equal(buf_slice(&tw.kept.results), buf_slice(&tw.swept.results)))
        differ("a result");
}

static bool same_page(enum fsm_space space, uint64_t at, bool reverse)
{
    struct arena arena = {0};
    struct fsm_page a = {0}, b = {0};
    const struct fsm_scan scan = {.space = space,
                                  .at = {at},
                                  .now = {at ? at : tw.now},
                                  .items_max = SIZE_MAX,
                                  .bytes_max = SIZE_MAX,
                                  .steps_max = SIZE_MAX,
                                  .reverse = reverse};
    int rc = fsm_scan(tw.kept.fsm, &scan, &arena, &a);
    bool same = rc == fsm_scan(tw.swept.fsm, &scan, &arena, &b) && a.count == b.count;
    for (size_t i = 0; same && rc == HF_OK && i < a.count; i++)
        same = slice_equal(a.items[i].key, b.items[i].key) && slice_equal(a.items[i].value, b.items[i].value) &&
               version_compare(a.items[i].version, b.items[i].version) == 0;
    arena_deinit(&arena);
    return same;
}

static bool same_get(const char *key, uint64_t at)
{
    struct arena arena = {0};
    struct fsm_value a, b;
    struct hlc now = {at ? at : tw.now};
    int rc = fsm_get(tw.kept.fsm, FSM_USER, slice_text(key), (struct hlc){at}, now, &arena, &a);
    bool same = rc == fsm_get(tw.swept.fsm, FSM_USER, slice_text(key), (struct hlc){at}, now, &arena, &b) &&
                (rc != HF_OK || (slice_equal(a.value, b.value) && version_compare(a.version, b.version) == 0));
    arena_deinit(&arena);
    return same;
}

/* The one difference that may be: a marker at or above `begin` over a value that was dead before it is taken for a change, until the
 * value is gone. */
static bool same_validation(void)
{
    uint64_t begin = below() + random_below(&tw.random, tw.now - below() + 1);
    Hf__Entry__Txn *t = transact(TRANSACT_OTHER, 2, 1, begin);
    const char *key = random_below(&tw.random, 2) == 0 ? some_key() : NULL;
    if (key != NULL)
        transact_read(t, key);
    else
        transact_range(t, some_key(), random_below(&tw.random, 2) ? "" : some_key());
    int kept = collecting_validate(&tw.kept, t, begin, tw.now),
        swept = collecting_validate(&tw.swept, t, begin, tw.now);
    bool dead = begin <= newest_marker() && (key == NULL || collecting_sees(&tw.kept, key, begin, NULL));
    return kept == swept || (dead && kept == HF_E_CONFLICT && swept == HF_OK);
}

static void look(void)
{
    uint64_t times[] = {0, below(), below() + random_below(&tw.random, tw.now - below() + 1)};
    for (size_t i = 0; i < 3; i++)
        for (int n = 0; n < 4; n++)
            if (!same_page(n < 2 ? FSM_USER : FSM_CATALOG, times[i], n % 2 == 1))
                differ("a scan");
    for (size_t i = 0; i < 9; i++)
        if (!same_get(some_key(), times[i % 3]))
            differ("a get");
    if (!same_validation())
        differ("a validation");
}

static void finish_pass(void)
{
    struct log_entry e = {.index = tw.swept.index, .term = ENTRIES, .kind = LOG_COMMAND};
    e.data = machine_collect(&tw.kept.arena, 0, 50);
    for (uint64_t passes = collecting_info(&tw.swept)->passes;
         below() > 0 && collecting_info(&tw.swept)->passes == passes;) {
        e.index++;
        apply_to(&tw.swept, e);
    }
}

/* True: they were never told apart. */
static bool twins(uint64_t seed, struct fsm_collected *total)
{
    tw = (struct twins){.random = {seed * 2 + 1}, .seed = seed, .same = true};
    machine_start(&tw.kept, "", "", true);
    machine_start(&tw.swept, "", "", true);
    for (uint64_t i = 2; i < 2 + ENTRIES && tw.same; i++) {
        next_entry(i);
        if (i % 4 == 0)
            look();
        if (random_below(&tw.random, 16) == 0)
            CU_ASSERT_EQUAL(fsm_flush(tw.swept.fsm), HF_OK);
        if (random_below(&tw.random, 80) == 0)
            collecting_compact(&tw.swept);
        if (random_below(&tw.random, 70) == 0)
            collecting_reopen(random_below(&tw.random, 3) ? &tw.swept : &tw.kept);
    }
    if (tw.same)
        finish_pass();
    look();
    total->versions += collecting_info(&tw.swept)->versions;
    total->markers += collecting_info(&tw.swept)->markers;
    total->passes += collecting_info(&tw.swept)->passes;
    machine_stop(&tw.kept);
    machine_stop(&tw.swept);
    transact_reset();
    return tw.same;
}

#define SEEDS 50

static void twins_are_never_told_apart(void)
{
    const char *text = getenv("HOLDFAST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : 1, end = text != NULL ? seed + 1 : seed + SEEDS;
    struct fsm_collected total = {0};
    for (; seed < end; seed++) {
        bool same = twins(seed, &total);
        CU_ASSERT(same);
        if (!same)
            fprintf(stderr, "the twins differ: HOLDFAST_SEED=%llu test_fsm_collect_twins\n", (unsigned long long)seed);
    }
    CU_ASSERT(text != NULL || (total.versions > 100 && total.passes > 4));
    CU_ASSERT(text != NULL || total.markers > 50);
}

/* By twins of some seed. */
static bool found(const char *bug)
{
    struct fsm_collected total = {0};
    bool same = true;
    failpoint_plant(bug);
    for (uint64_t seed = 1; seed <= 40 && same; seed++)
        same = twins(seed, &total);
    failpoint_plant(NULL);
    return !same;
}

static void planted_bugs_are_found(void)
{
    static const char *const bugs[] = {"collect.newest_first", "collect.markers_first", "collect.late_marker"};
    for (size_t i = 0; i < sizeof bugs / sizeof bugs[0]; i++) {
        bool is_found = found(bugs[i]);
        CU_ASSERT(is_found);
        if (!is_found)
            fprintf(stderr, "%s makes no difference\n", bugs[i]);
    }
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"twins are never told apart", twins_are_never_told_apart},
        {"planted bugs are found", planted_bugs_are_found},
    };
    return UNIT_MAIN("fsm collect twins", cases);
}
