/* test_cuts.c: the same history applied in one batch, one by one, in random cuts, with writes that fail, by another clock,
 * with restarts and with all a leader does beside, against each other byte by byte (I1, I2) and against the model.
 * HOLDFAST_SEED=n repeats one seed. */
#include <stdio.h>
#include <stdlib.h>

#include "common/sys/clock.h"
#include "common/sys/failpoint.h"
#include "shard/fsm/fsm_internal.h"
#include "shard/fsm/image.h"
#include "tests/unit/shard/fsm/model.h"
#include "tests/unit/unit.h"

#include "shard/store/store.h"

#define ENTRIES 1300 /* longer than the two gaps in which sessions expire */
#define COLLECT_STEPS 20

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

/* The machine's clocks, as our code reads them: off by so much. Nobody looks at them in apply (I2). */
static int64_t clock_off_ms;
static unsigned clock_looks;

uint64_t __real_clock_wall_ms(void);
uint64_t __wrap_clock_wall_ms(void);
uint64_t __real_clock_boot_ns(void);
uint64_t __wrap_clock_boot_ns(void);

uint64_t __wrap_clock_wall_ms(void)
{
    clock_looks += applying;
    return __real_clock_wall_ms() + (uint64_t)clock_off_ms;
}

uint64_t __wrap_clock_boot_ns(void)
{
    clock_looks += applying;
    return __real_clock_boot_ns() + (uint64_t)clock_off_ms * CLOCK_NS_PER_MS;
}

/* Planted: an apply in which sessions expire by the clock, and reads that are not told of what was written. */
static bool bug_clock, bug_reads;

struct session *__real_sessions_use(struct sessions *s, uint64_t id, struct hlc now, struct arena *arena);
struct session *__wrap_sessions_use(struct sessions *s, uint64_t id, struct hlc now, struct arena *arena);

struct session *__wrap_sessions_use(struct sessions *s, uint64_t id, struct hlc now, struct arena *arena)
{
    return __real_sessions_use(s, id, bug_clock ? hlc_from_ms(clock_wall_ms()) : now, arena);
}

void __real_recent_update(struct recent *r, struct slice prefix, const struct version_found *found);
void __wrap_recent_update(struct recent *r, struct slice prefix, const struct version_found *found);

void __wrap_recent_update(struct recent *r, struct slice prefix, const struct version_found *found)
{
    if (!bug_reads)
        __real_recent_update(r, prefix, found);
}

static struct log_entry entries[ENTRIES]; /* from index 2 on */
static struct arena entries_arena;

static void make_entries(uint64_t seed)
{
    arena_reset(&entries_arena);
    for (uint64_t i = 0; i < ENTRIES; i++)
        entries[i] = machine_random(seed, i + 2, &entries_arena);
}

static fsm_result_fn report;

/* A retry must give what the first try would have given. */
static void apply_run(struct machine *m, size_t from, size_t count)
{
    uint8_t digest[DIGEST_BYTES];
    memcpy(digest, fsm_info(m->fsm)->digest, sizeof digest);
    uint64_t sessions = fsm_info(m->fsm)->sessions;
    applying = true;
    while (fsm_apply(m->fsm, entries + from, count, report, m) != HF_OK) {
        CU_ASSERT_EQUAL(memcmp(digest, fsm_info(m->fsm)->digest, sizeof digest), 0);
        CU_ASSERT_EQUAL(fsm_info(m->fsm)->sessions, sessions);
    }
    applying = false;
}

/* A step of collection is a batch of its own, as a replica applies it. */
static void apply_cut(struct machine *m, size_t from, size_t count)
{
    for (size_t end = from + count, run; from < end; from += run) {
        for (run = 1; from + run < end && !fsm_is_collect(&entries[from]) && !fsm_is_collect(&entries[from + run]);)
            run++;
        apply_run(m, from, run);
    }
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

/* One replica's way through the log. */
struct way {
    const char *name;
    uint64_t cut_max; /* entries a batch, */
    bool random;      /* up to */
    bool reopens;     /* now and then */
    bool leads;       /* reads, scans, images and flushes between the batches, and reads while results are reported */
    int64_t clock_off_ms;  /* of the machine's clock */
    uint64_t buffer_bytes; /* of the store; 0: its own */
    bool sync_writes;
};

static void read_one(struct fsm *fsm, struct random *random)
{
    static const char *const keys[] = {"a", "b", "aa", "ab", "ba", "bb", "aab", "bba"};
    struct arena arena = {0};
    struct fsm_value value;
    struct hlc newest = fsm_info(fsm)->newest.t,
               at = {random_below(random, 2) ? 0 : newest.t - (random_below(random, 50) << 16)};
    int rc = fsm_get(fsm, FSM_USER, slice_text(keys[random_below(random, 8)]), at, newest, &arena, &value);
    bool old = at.t != 0 && at.t < fsm_info(fsm)->collected.below.t;
    CU_ASSERT(old ? rc == HF_E_TOO_OLD : rc == HF_OK || rc == HF_E_NOT_FOUND || rc == HF_E_KEY_LOCKED);
    arena_deinit(&arena);
}

static void read_much(struct fsm *fsm, struct random *random)
{
    struct arena arena = {0};
    struct fsm_page page = {0};
    struct fsm_applied durable;
    struct fsm_scan scan = {.space = random_below(random, 2) ? FSM_USER : FSM_CATALOG,
                            .at = {random_below(random, 2) ? 0 : fsm_info(fsm)->newest.t.t},
                            .now = fsm_info(fsm)->newest.t,
                            .items_max = 10,
                            .bytes_max = 10000,
                            .steps_max = 10000,
                            .reverse = random_below(random, 2) == 0};
    int rc = fsm_scan(fsm, &scan, &arena, &page);
    bool old = scan.at.t != 0 && scan.at.t < fsm_info(fsm)->collected.below.t;
    CU_ASSERT(old ? rc == HF_E_TOO_OLD : rc == HF_OK || rc == HF_E_KEY_LOCKED);
    arena_deinit(&arena);
    for (uint64_t i = random_below(random, 10); i > 0; i--)
        read_one(fsm, random);
    CU_ASSERT_EQUAL(fsm_durable_applied(fsm, &durable), HF_OK);
    if (random_below(random, 10) == 0) {
        struct image *image = image_new(fsm);
        image_free(&image);
    }
    if (random_below(random, 20) == 0)
        CU_ASSERT_EQUAL(random_below(random, 2) ? fsm_flush(fsm) : fsm_flush_begin(fsm), HF_OK);
}

/* The way of it whose history is under way, for what it does while results are reported. */
static struct random *reporting;

static void report(void *ctx, uint64_t index, uint64_t term, uint32_t position, const struct fsm_result *r)
{
    struct machine *m = ctx;
    machine_report(m, index, term, position, r);
    if (reporting != NULL && random_below(reporting, 8) == 0)
        read_one(m->fsm, reporting);
}

static struct outcome history(const struct way *way, struct random *random)
{
    struct machine m;
    machine_start(&m, "", "", true);
    machine_close(&m);
    m.config.sync_writes = way->sync_writes;
    m.config.buffer_bytes = way->buffer_bytes;
    machine_open(&m);
    clock_off_ms = way->clock_off_ms;
    reporting = way->leads ? random : NULL;
    for (size_t at = 0; at < ENTRIES;) {
        size_t count = (size_t)(way->random ? 1 + random_below(random, way->cut_max) : way->cut_max);
        if (count > ENTRIES - at)
            count = ENTRIES - at;
        apply_cut(&m, at, count);
        at += count;
        if (way->leads)
            read_much(m.fsm, random);
        if (way->reopens && random_below(random, 20) == 0) {
            CU_ASSERT_EQUAL(fsm_flush(m.fsm), HF_OK); /* closing gives up a flush that is under way */
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
    clock_off_ms = 0;
    reporting = NULL;
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

static const struct way as_one = {.name = "one batch", .cut_max = ENTRIES},
                        one_by_one = {.name = "one by one", .cut_max = 1};

/* All ways end in the same bytes. */
static void ways_agree(const struct way *ways, size_t count, uint64_t seeds)
{
    for (uint64_t seed = seed_first(), end = seed + seed_count(seeds); seed < end; seed++) {
        struct random random = {seed};
        make_entries(seed);
        struct outcome first = history(&as_one, &random);
        for (size_t i = 0; i < count; i++) {
            struct outcome o = history(&ways[i], &random);
            CU_ASSERT(outcome_equal(&first, &o));
            if (!outcome_equal(&first, &o))
                fprintf(stderr, "%s differs: HOLDFAST_SEED=%llu test_fsm_cuts\n", ways[i].name,
                        (unsigned long long)seed);
            outcome_deinit(&o);
        }
        CU_ASSERT(first.dump.size > 5000);
        outcome_deinit(&first);
    }
}

static void cuts_change_nothing(void)
{
    const struct way ways[] = {one_by_one,
                               {.name = "random cuts", .cut_max = 40, .random = true},
                               {.name = "reopened", .cut_max = 400, .random = true, .reopens = true}};
    ways_agree(ways, sizeof ways / sizeof ways[0], 6);
}

#define YEAR_MS (INT64_C(365) * 24 * 3600 * 1000)

static void apply_is_a_pure_function(void)
{
    const struct way ways[] = {
        {.name = "a clock years ahead", .cut_max = 60, .random = true, .clock_off_ms = 20 * YEAR_MS},
        {.name = "a clock years behind", .cut_max = 60, .random = true, .clock_off_ms = -20 * YEAR_MS},
        {.name = "a leader", .cut_max = 12, .random = true, .leads = true},
        {.name = "a leader that restarts",
         .cut_max = 12,
         .random = true,
         .leads = true,
         .reopens = true,
         .clock_off_ms = 3600000},
        {.name = "small buffers", .cut_max = 30, .random = true, .leads = true, .buffer_bytes = 65536},
        {.name = "a store that syncs", .cut_max = 200, .random = true, .sync_writes = true}};
    clock_looks = 0;
    ways_agree(ways, sizeof ways / sizeof ways[0], 3);
    CU_ASSERT_EQUAL(clock_looks, 0);
}

static void failed_writes_change_nothing(void)
{
    const struct way cuts = {.cut_max = 100, .random = true};
    for (uint64_t seed = seed_first(), end = seed + seed_count(4); seed < end; seed++) {
        struct random random = {seed};
        make_entries(seed);
        struct outcome plain = history(&as_one, NULL);
        fail_random.state = seed;
        failures_percent = 40;
        struct outcome failing = history(&cuts, &random);
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
        HF_OK,       HF_E_COMPARE_FAILED, HF_E_INVALID,    HF_E_SESSION_UNKNOWN, HF_E_SESSION_WINDOW,
        HF_E_FENCED, HF_E_CONFLICT,       HF_E_KEY_LOCKED, HF_E_ABSENT,          HF_E_TOO_OLD};
    const struct machine_result *r = (const void *)results.data;
    for (size_t c = 0; c < sizeof codes / sizeof codes[0]; c++) {
        size_t count = 0;
        for (size_t i = 0; i < results.size / sizeof *r; i++)
            count += r[i].r.code == codes[c] || r[i].r.outcome == codes[c];
        CU_ASSERT(count > 10);
        if (count <= 10)
            fprintf(stderr, "%s occurs %zu times only\n", error_name(codes[c]), count);
    }
    size_t states[FSM_TXN_ROLLED_BACK + 1] = {0};
    for (size_t i = 0; i < results.size / sizeof *r; i++)
        states[r[i].r.state] += r[i].r.code == HF_OK;
    CU_ASSERT(states[FSM_TXN_PREPARED] > 10 && states[FSM_TXN_COMMITTED] > 10 && states[FSM_TXN_ROLLED_BACK] > 10);
}

static void agrees_with_the_model(void)
{
    machine_random_collects = UINT32_MAX; /* the model knows whole stages only */
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
        CU_ASSERT(fsm_info(m.fsm)->collected.versions > 100 && fsm_info(m.fsm)->collected.markers > 5);
        buf_deinit(&results);
        model_free(&model);
        machine_stop(&m);
    }
    machine_random_collects = COLLECT_STEPS;
}

/* The checks above can fail. */
static void planted_bugs_are_found(void)
{
    make_entries(1);
    struct outcome right = history(&one_by_one, NULL);
    failpoint_plant("fsm.ignore_overlay");
    struct outcome no_overlay = history(&as_one, NULL);
    failpoint_plant("fsm.apply_twice");
    struct outcome twice = history(&one_by_one, NULL);
    failpoint_plant(NULL);
    static const char *const planted[] = {"txn.prewrite_again", "txn.marker_unchecked", "txn.absent_is_success",
                                          "txn.reads_unvalidated"};
    for (size_t i = 0; i < sizeof planted / sizeof planted[0]; i++) {
        failpoint_plant(planted[i]);
        struct outcome wrong = history(&one_by_one, NULL);
        failpoint_plant(NULL);
        CU_ASSERT(!outcome_equal(&right, &wrong));
        if (outcome_equal(&right, &wrong))
            fprintf(stderr, "%s makes no difference\n", planted[i]);
        outcome_deinit(&wrong);
    }
    CU_ASSERT(!outcome_equal(&right, &no_overlay));
    CU_ASSERT(!outcome_equal(&right, &twice));
    outcome_deinit(&right);
    outcome_deinit(&no_overlay);
    outcome_deinit(&twice);
}

static void an_apply_that_is_not_pure_is_found(void)
{
    const struct way leader = {.cut_max = 12, .random = true, .leads = true};
    const struct way in_1970 = {.cut_max = 1, .clock_off_ms = -(int64_t)clock_wall_ms()};
    struct random random = {1};
    make_entries(1);
    struct outcome right = history(&one_by_one, NULL);
    clock_looks = 0;
    bug_clock = true;
    struct outcome by_clock = history(&one_by_one, NULL), by_another = history(&in_1970, NULL);
    bug_clock = false;
    CU_ASSERT(clock_looks > 0);
    bug_reads = true;
    struct outcome unread = history(&one_by_one, NULL), read = history(&leader, &random);
    bug_reads = false;
    CU_ASSERT(!outcome_equal(&right, &by_clock) && !outcome_equal(&by_clock, &by_another));
    CU_ASSERT(!outcome_equal(&unread, &read));
    struct outcome *all[] = {&right, &by_clock, &by_another, &unread, &read};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        outcome_deinit(all[i]);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"where batches are cut changes no byte (I1)", cuts_change_nothing},
        {"nor does another clock, role, store or order of reads (I2)", apply_is_a_pure_function},
        {"a failed write leaves no trace (I6)", failed_writes_change_nothing},
        {"agrees with the model", agrees_with_the_model},
        {"planted bugs are found", planted_bugs_are_found},
        {"an apply that is not pure is found", an_apply_that_is_not_pure_is_found},
    };
    machine_random_txns = true;
    machine_random_collects = COLLECT_STEPS;
    int failed = UNIT_MAIN("fsm cuts", cases);
    arena_deinit(&entries_arena);
    return failed;
}
