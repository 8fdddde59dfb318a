/* test_cuts.c: the same history applied in one batch, one by one, in random cuts and with writes that fail, against
 * each other byte by byte (I1) and against the model. HOLDFAST_SEED=n repeats one seed. */
#include <stdio.h>
#include <stdlib.h>

#include "common/sys/failpoint.h"
#include "tests/unit/shard/fsm/model.h"
#include "tests/unit/unit.h"

#include "shard/store/store.h"

#define ENTRIES 1300 /* longer than the two gaps in which sessions expire */

static unsigned failures_percent; /* of store_write */
static struct random fail_random;
static bool applying; /* creating a machine does not fail */

int __real_store_write(struct store *s, const struct store_batch *b);
int __wrap_store_write(struct store *s, const struct store_batch *b);

int __wrap_store_write(struct store *s, const struct store_batch *b)
{
    if (applying && random_below(&fail_random, 100) < failures_percent)
        return random_below(&fail_random, 2) == 0 ? HF_E_NO_SPACE : HF_E_IO;
    return __real_store_write(s, b);
}

static struct log_entry entries[ENTRIES]; /* from index 2 on */
static struct arena entries_arena;

static void make_entries(uint64_t seed)
{
    arena_reset(&entries_arena);
    for (uint64_t i = 0; i < ENTRIES; i++)
        entries[i] = machine_random(seed, i + 2, &entries_arena);
}

/* A retry must give what the first try would have given. */
static void apply_cut(struct machine *m, size_t from, size_t count)
{
    uint8_t digest[DIGEST_BYTES];
    memcpy(digest, fsm_info(m->fsm)->digest, sizeof digest);
    uint64_t sessions = fsm_info(m->fsm)->sessions;
    applying = true;
    while (fsm_apply(m->fsm, entries + from, count, machine_report, m) != HF_OK) {
        CU_ASSERT_EQUAL(memcmp(digest, fsm_info(m->fsm)->digest, sizeof digest), 0);
        CU_ASSERT_EQUAL(fsm_info(m->fsm)->sessions, sessions);
    }
    applying = false;
}

struct outcome {
    uint8_t digest[DIGEST_BYTES];
    struct buf results, dump;
};

static void outcome_deinit(struct outcome *o)
{
    buf_deinit(&o->results);
    buf_deinit(&o->dump);
}

static bool outcome_equal(const struct outcome *a, const struct outcome *b)
{
    return memcmp(a->digest, b->digest, DIGEST_BYTES) == 0 &&
           slice_equal(buf_slice(&a->results), buf_slice(&b->results)) &&
           slice_equal(buf_slice(&a->dump), buf_slice(&b->dump));
}

/* cut_max entries a batch, in random cuts if `random`; reopened now and then if `reopen`. */
static struct outcome history(uint64_t cut_max, struct random *random, bool reopen)
{
    struct machine m;
    machine_start(&m, "", "", true);
    for (size_t at = 0; at < ENTRIES;) {
        size_t count = (size_t)(random != NULL ? 1 + random_below(random, cut_max) : cut_max);
        if (count > ENTRIES - at)
            count = ENTRIES - at;
        apply_cut(&m, at, count);
        at += count;
        if (reopen && random_below(random, 20) == 0) {
            machine_close(&m);
            machine_open(&m);
        }
    }
    struct outcome o = {0};
    memcpy(o.digest, fsm_info(m.fsm)->digest, DIGEST_BYTES);
    machine_dump(m.fsm, &o.dump);
    o.results = m.results;
    m.results = (struct buf){0};
    machine_stop(&m);
    return o;
}

static uint64_t seed_first(void)
{
    const char *text = getenv("HOLDFAST_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 1;
}

static uint64_t seed_count(uint64_t otherwise)
{
    return getenv("HOLDFAST_SEED") != NULL ? 1 : otherwise;
}

static void cuts_change_nothing(void)
{
    for (uint64_t seed = seed_first(), end = seed + seed_count(6); seed < end; seed++) {
        struct random random = {seed};
        make_entries(seed);
        struct outcome o[] = {history(ENTRIES, NULL, false), history(1, NULL, false), history(40, &random, false),
                              history(400, &random, true)};
        for (size_t i = 1; i < sizeof o / sizeof o[0]; i++) {
            CU_ASSERT(outcome_equal(&o[0], &o[i]));
            if (!outcome_equal(&o[0], &o[i]))
                fprintf(stderr, "variant %zu differs: HOLDFAST_SEED=%llu test_fsm_cuts\n", i, (unsigned long long)seed);
            outcome_deinit(&o[i]);
        }
        CU_ASSERT(o[0].dump.size > 10000);
        outcome_deinit(&o[0]);
    }
}

static void failed_writes_change_nothing(void)
{
    for (uint64_t seed = seed_first(), end = seed + seed_count(4); seed < end; seed++) {
        struct random random = {seed};
        make_entries(seed);
        struct outcome plain = history(ENTRIES, NULL, false);
        fail_random.state = seed;
        failures_percent = 40;
        struct outcome failing = history(100, &random, false);
        failures_percent = 0;
        CU_ASSERT(outcome_equal(&plain, &failing));
        outcome_deinit(&plain);
        outcome_deinit(&failing);
    }
}

/* A history in which nothing happens would prove nothing. */
static void history_is_rich(struct slice results)
{
    static const int codes[] = {
        HF_OK, HF_E_COMPARE_FAILED, HF_E_INVALID, HF_E_SESSION_UNKNOWN, HF_E_SESSION_WINDOW, HF_E_FENCED};
    const struct machine_result *r = (const void *)results.data;
    for (size_t c = 0; c < sizeof codes / sizeof codes[0]; c++) {
        size_t count = 0;
        for (size_t i = 0; i < results.size / sizeof *r; i++)
            count += r[i].r.code == codes[c] || r[i].r.outcome == codes[c];
        CU_ASSERT(count > 10);
        if (count <= 10)
            fprintf(stderr, "%s occurs %zu times only\n", error_name(codes[c]), count);
    }
}

static void agrees_with_the_model(void)
{
    for (uint64_t seed = seed_first(), end = seed + seed_count(4); seed < end; seed++) {
        struct random random = {seed};
        struct machine m;
        struct buf results = {0};
        struct model *model = model_new(true);
        make_entries(seed);
        machine_start(&m, "", "", true);
        bool same = true;
        for (size_t at = 0; at < ENTRIES && same;) {
            size_t count = 1 + (size_t)random_below(&random, 150);
            if (count > ENTRIES - at)
                count = ENTRIES - at;
            apply_cut(&m, at, count);
            for (size_t i = 0; i < count; i++)
                model_apply(model, &entries[at + i], &results);
            at += count;
            same = slice_equal(buf_slice(&m.results), buf_slice(&results)) &&
                   model_agrees(model, m.fsm, &random, fsm_info(m.fsm)->newest.t);
            if (!same)
                fprintf(stderr, "differs from the model: HOLDFAST_SEED=%llu test_fsm_cuts\n", (unsigned long long)seed);
        }
        CU_ASSERT(same);
        history_is_rich(buf_slice(&results));
        buf_deinit(&results);
        model_free(&model);
        machine_stop(&m);
    }
}

/* The checks above can fail. */
static void planted_bugs_are_found(void)
{
    make_entries(1);
    struct outcome right = history(1, NULL, false);
    failpoint_plant("fsm.ignore_overlay");
    struct outcome no_overlay = history(ENTRIES, NULL, false);
    failpoint_plant("fsm.apply_twice");
    struct outcome twice = history(1, NULL, false);
    failpoint_plant(NULL);
    CU_ASSERT(!outcome_equal(&right, &no_overlay));
    CU_ASSERT(!outcome_equal(&right, &twice));
    outcome_deinit(&right);
    outcome_deinit(&no_overlay);
    outcome_deinit(&twice);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"where batches are cut changes no byte (I1)", cuts_change_nothing},
        {"a failed write leaves no trace (I6)", failed_writes_change_nothing},
        {"agrees with the model", agrees_with_the_model},
        {"planted bugs are found", planted_bugs_are_found},
    };
    int failed = UNIT_MAIN("fsm cuts", cases);
    arena_deinit(&entries_arena);
    return failed;
}
