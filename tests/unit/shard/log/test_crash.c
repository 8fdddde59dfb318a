/* test_crash.c: a log that dies, or whose disk fails, at each operation in turn; and a random model test.
 * test_log_crash SEED [TURNS]   replays one seed of the random test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/shard/log/model.h"
#include "tests/unit/unit.h"

#define SEGMENT_BYTES (12u * 1024)
#define CACHE_BYTES (2u * 1024)
#define TURNS 50

static struct model before, after, now; /* large */

static void begin(struct rig *rig, uint64_t seed, struct random *random, uint64_t segment_bytes)
{
    *random = (struct random){.state = seed};
    rig_create(rig, segment_bytes, CACHE_BYTES, 0, 0);
    memset(&now, 0, sizeof now);
}

/* Turns until the log fails or `turns` are done; `before` and `after` are then the last turn's ends. */
static int run(struct rig *rig, struct random *random, int turns)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < turns; i++) {
        before = now;
        model_turn(&now, rig, random);
        after = now;
        rc = log_sync(rig->log);
    }
    return rc;
}

static bool go_on(struct rig *rig, struct random *random)
{
    int rc = run(rig, random, 5);
    CU_ASSERT_EQUAL(rc, 0);
    rig_power_loss(rig, random_next(random));
    return rc == 0 && model_recovered(&now, &after, &after, rig);
}

struct cut_case {
    uint64_t segment_bytes;
    size_t entry_bytes;
    int turns;
    bool restarts;
};

/* The process is gone (kind 0) or the power (others) after `n` operations. False: all turns were done before. */
static bool cut_after(const struct cut_case *c, uint64_t n, uint64_t kind)
{
    struct rig rig;
    struct random random;
    begin(&rig, 4711, &random, c->segment_bytes);
    rig.size = c->entry_bytes;
    now.restarts = c->restarts;
    simdisk_halt_after(rig.sim, SIMDISK_CHANGES, n);
    int rc = run(&rig, &random, c->turns);
    bool cut = rc != 0;
    if (cut) {
        CU_ASSERT_EQUAL(rc, HF_E_IO);
        CU_ASSERT_EQUAL(log_sync(rig.log), HF_E_IO); /* poisoned */
        rig_close(&rig);
        if (kind == 0)
            simdisk_restart(rig.sim);
        else
            simdisk_crash(rig.sim, kind * 1000 + n);
        rc = rig_open(&rig);
        CU_ASSERT_EQUAL(rc, 0);
        bool good = rc == 0 && model_recovered(&now, &before, &after, &rig);
        if (good && n % 2 == 0)
            good = go_on(&rig, &random);
        if (good) {
            before = after = now; /* what was found once is found again */
            rig_power_loss(&rig, n + 1);
            good = model_recovered(&now, &before, &after, &rig) && go_on(&rig, &random);
        }
        CU_ASSERT(good);
        if (!good)
            fprintf(stderr, "cut after %llu operations, kind %llu: %s\n", (unsigned long long)n,
                    (unsigned long long)kind, rig.where);
    }
    rig_end(&rig);
    return cut;
}

static void test_cut_between_any_two_operations(void)
{
    static const struct cut_case c = {.segment_bytes = SEGMENT_BYTES, .entry_bytes = 40, .turns = TURNS};
    uint64_t n = 0;
    for (bool more = true; more; n++)
        for (uint64_t kind = 0; kind < 5; kind++)
            more = cut_after(&c, n, kind);
    CU_ASSERT(n > 180);
}

/* Logs that begin anew, often: a crash leaves the old one or the new one. */
static void test_cut_while_restarting(void)
{
    static const struct cut_case c = {
        .segment_bytes = SEGMENT_BYTES, .entry_bytes = 40, .turns = TURNS, .restarts = true};
    uint64_t n = 0;
    for (bool more = true; more; n++)
        for (uint64_t kind = 0; kind < 5; kind++)
            more = cut_after(&c, n, kind);
    CU_ASSERT(n > 150);
}

/* Segments of 1, 2 and 4 MiB, each spare filled in many pieces and synced in between. */
static void test_cut_while_segments_grow(void)
{
    static const struct cut_case c = {.segment_bytes = 4u * 1024 * 1024, .entry_bytes = 6000, .turns = TURNS};
    uint64_t n = 0;
    for (bool more = true; more; n += 3)
        more = cut_after(&c, n, n % 5);
    CU_ASSERT(n > 150);
}

/* The recovery itself is cut, again and again. */
static void test_cut_while_recovering(void)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct rig rig;
        struct random random;
        begin(&rig, seed, &random, SEGMENT_BYTES);
        simdisk_halt_after(rig.sim, SIMDISK_CHANGES, 40 + seed * 3);
        CU_ASSERT_EQUAL(run(&rig, &random, TURNS * 4), HF_E_IO);
        rig_close(&rig);
        simdisk_crash(rig.sim, seed);
        int rc = HF_E_IO;
        uint64_t n = 0;
        for (; rc != 0 && n < 40; n++) {
            simdisk_halt_after(rig.sim, SIMDISK_CHANGES, n);
            rc = rig_open(&rig);
            if (rc == 0)
                break;
            if (rc != HF_E_IO)
                fprintf(stderr, "%s %s", error_text(rc), rig.where);
            CU_ASSERT_EQUAL(rc, HF_E_IO);
            if (n % 2 == 0)
                simdisk_crash(rig.sim, seed + n);
            else
                simdisk_restart(rig.sim);
        }
        CU_ASSERT_EQUAL_FATAL(rc, 0);
        CU_ASSERT(n >= 3);
        simdisk_halt_after(rig.sim, 0, 0);
        CU_ASSERT(model_recovered(&now, &before, &after, &rig));
        CU_ASSERT(go_on(&rig, &random));
        rig_end(&rig);
    }
}

static void test_cut_while_creating(void)
{
    for (uint64_t n = 0;; n++) {
        struct rig rig;
        rig_start(&rig, SEGMENT_BYTES, 0);
        simdisk_halt_after(rig.sim, SIMDISK_CHANGES, n);
        int rc = log_create(&rig.config, 3, 2);
        if (rc != 0) {
            simdisk_crash(rig.sim, n);
            CU_ASSERT_EQUAL(log_create(&rig.config, 3, 2), 0);
        }
        rig_power_loss(&rig, n + 77);
        CU_ASSERT(log_last(rig.log) == 3 && log_hard_state(rig.log).term == 2);
        rig_end(&rig);
        if (rc == 0) {
            CU_ASSERT(n > 8);
            break;
        }
    }
}

/* The n-th operation fails; the page cache goes on showing what a failed sync lost; then the power fails. */
static bool fail_at(uint64_t n, unsigned ops)
{
    struct rig rig;
    struct random random;
    begin(&rig, 42, &random, SEGMENT_BYTES);
    simdisk_fail(rig.sim, ops, n, HF_E_IO, 1);
    int rc = run(&rig, &random, TURNS);
    bool failed = rc != 0;
    if (failed) {
        uint64_t writes = simdisk_count(rig.sim, SIMDISK_WRITE), syncs = simdisk_count(rig.sim, SIMDISK_SYNC);
        struct log_entry *entries;
        size_t count;
        CU_ASSERT_EQUAL(rc, HF_E_IO);
        CU_ASSERT_EQUAL(log_sync(rig.log), HF_E_IO);
        CU_ASSERT_EQUAL(log_trim(rig.log, 1), HF_E_IO);
        CU_ASSERT_EQUAL(log_read(rig.log, 1, 1, 1, &rig.arena, &entries, &count), HF_E_IO);
        CU_ASSERT(strlen(log_where(rig.log)) > 0);
        CU_ASSERT_EQUAL(simdisk_count(rig.sim, SIMDISK_WRITE), writes);
        CU_ASSERT_EQUAL(simdisk_count(rig.sim, SIMDISK_SYNC), syncs);
        rig_reopen(&rig);
        CU_ASSERT(model_recovered(&now, &before, &after, &rig));
        if (n % 2 == 0)
            CU_ASSERT(go_on(&rig, &random));
        before = after = now;
        rig_power_loss(&rig, n);
        CU_ASSERT(model_recovered(&now, &before, &after, &rig));
        CU_ASSERT(go_on(&rig, &random));
    }
    rig_end(&rig);
    return failed;
}

static void test_each_operation_fails(void)
{
    uint64_t n = 1;
    while (fail_at(n, SIMDISK_CHANGES))
        n++;
    CU_ASSERT(n > 150);
    for (n = 1; fail_at(n, SIMDISK_SYNC_DIR);)
        n++;
    CU_ASSERT(n > 10);
}

static uint64_t room_asked(const struct rig *rig)
{
    return simdisk_count(rig->sim, SIMDISK_OPEN_CREATE) + simdisk_count(rig->sim, SIMDISK_WRITE) +
           simdisk_count(rig->sim, SIMDISK_ZERO_FILL) + simdisk_count(rig->sim, SIMDISK_RENAME);
}

/* The n-th operation that needs room finds none, some times: nothing is lost, the next try does it; and when only the
 * next spare file was refused, nobody is told. */
static bool no_space_at(uint64_t n, uint64_t *refused)
{
    struct rig rig;
    struct random random;
    begin(&rig, 99, &random, SEGMENT_BYTES);
    uint64_t times = 1 + n % 3, asked = room_asked(&rig);
    simdisk_fail(rig.sim, SIMDISK_OPEN_CREATE | SIMDISK_WRITE | SIMDISK_ZERO_FILL | SIMDISK_RENAME, n, HF_E_NO_SPACE,
                 times);
    int rc = run(&rig, &random, TURNS);
    bool reached = rc != 0 || room_asked(&rig) - asked >= n;
    *refused += rc != 0;
    for (uint64_t i = 0; rc != 0 && i <= times; i++) {
        CU_ASSERT_EQUAL(rc, HF_E_NO_SPACE);
        CU_ASSERT(log_dirty(rig.log));
        CU_ASSERT(model_same_entries(&after, &rig));
        rig_check(&rig);
        if (i == 1) { /* more comes in while we wait */
            model_turn(&now, &rig, &random);
            after = now;
        }
        if (n % 2 == 0 && i == 0) { /* the power fails instead */
            simdisk_fail(rig.sim, 0, 0, 0, 0);
            rig_power_loss(&rig, n);
            CU_ASSERT(model_recovered(&now, &before, &after, &rig));
            after = now;
            rc = 0;
            break;
        }
        rc = log_sync(rig.log);
    }
    CU_ASSERT_EQUAL(rc, 0);
    before = after;
    simdisk_fail(rig.sim, 0, 0, 0, 0);
    rig_power_loss(&rig, n + 5);
    CU_ASSERT(model_recovered(&now, &before, &after, &rig));
    CU_ASSERT(go_on(&rig, &random));
    rig_end(&rig);
    return reached;
}

static void test_no_space(void)
{
    uint64_t n = 1, refused = 0;
    while (no_space_at(n, &refused))
        n++;
    CU_ASSERT(refused > 50 && refused + 5 < n); /* some refused a spare file only */
}

static void test_full_disk(void)
{
    struct rig rig;
    rig_create(&rig, 64u * 1024, 0, 0, 1);
    simdisk_limit(rig.sim, 300u * 1024);
    int rc = 0;
    while (rc == 0) {
        rig_append(&rig, 20);
        rc = log_sync(rig.log);
    }
    CU_ASSERT_EQUAL(rc, HF_E_NO_SPACE);
    uint64_t synced = log_synced(rig.log), used = simdisk_used(rig.sim);
    for (int i = 0; i < 10; i++) {
        rig_append(&rig, 20);
        CU_ASSERT_EQUAL(log_sync(rig.log), HF_E_NO_SPACE);
        CU_ASSERT_EQUAL(log_synced(rig.log), synced);
        CU_ASSERT_EQUAL(simdisk_used(rig.sim), used); /* no half-made segment is left */
    }
    rig_check(&rig);
    simdisk_limit(rig.sim, 0);
    CU_ASSERT_EQUAL(log_sync(rig.log), 0);
    uint64_t last = log_last(rig.log);
    rig_power_loss(&rig, 3);
    CU_ASSERT_EQUAL(log_last(rig.log), last);
    rig_check(&rig);
    rig_end(&rig);
}

static bool random_seed(uint64_t seed, int turns)
{
    struct rig rig;
    struct random random;
    begin(&rig, seed, &random, SEGMENT_BYTES);
    rig.config.cache_bytes = random_below(&random, 3) * 64 * 1024;
    rig.size = 10 + random_below(&random, 3) * 300;
    bool good = true;
    rig_reopen(&rig);
    for (int i = 0; good && i < turns; i++) {
        bool cut = random_below(&random, 4) == 0;
        if (cut)
            simdisk_halt_after(rig.sim, SIMDISK_CHANGES, random_below(&random, 60));
        int rc = run(&rig, &random, 1 + (int)random_below(&random, 30));
        simdisk_halt_after(rig.sim, 0, 0);
        good = rc == 0 ? rig_check(&rig) : rc == HF_E_IO && cut;
        if (rc == 0)
            before = now;
        if (rc == 0 && random_below(&random, 2) == 0)
            continue;
        rig_close(&rig);
        if (random_below(&random, 2) == 0)
            simdisk_crash(rig.sim, random_next(&random));
        else
            simdisk_restart(rig.sim);
        rc = rig_open(&rig);
        good = good && rc == 0 && model_recovered(&now, &before, &after, &rig);
        if (rc != 0) {
            fprintf(stderr, "%s: %s\n", error_text(rc), rig.where);
            break;
        }
    }
    if (!good)
        fprintf(stderr, "replay: test_log_crash %llu %d\n", (unsigned long long)seed, turns);
    rig_end(&rig);
    return good;
}

static void test_random_model(void)
{
    for (uint64_t seed = 1; seed <= 50; seed++)
        CU_ASSERT(random_seed(seed, 30));
}

static uint64_t replay_seed;
static int replay_turns = 30;

static void test_replay(void)
{
    CU_ASSERT(random_seed(replay_seed, replay_turns));
}

/* One turn replaces uncommitted entries 8 and 9, learns that the new ones are committed, and hears of a higher term: cut at
 * each of its operations, the old ones must never be found together with the new bound. Found by review. */
static void test_a_commit_bound_never_outruns_its_entries(void)
{
    for (uint64_t cut = 0; cut < 12; cut++) {
        struct rig rig;
        rig_create(&rig, 1 << 20, 4096, 1, 1);
        rig_turn(&rig, 6); /* 2 … 7 */
        rig.term = 2;
        rig_turn(&rig, 2); /* 8, 9 */
        log_set_hard_state(rig.log, (struct log_hard_state){.term = 3, .commit = 7});
        CU_ASSERT_EQUAL(log_sync(rig.log), 0);
        log_truncate(rig.log, 8);
        rig.term = 3;
        rig_append(&rig, 2);
        log_set_hard_state(rig.log, (struct log_hard_state){.term = 4, .commit = 9});
        simdisk_halt_after(rig.sim, SIMDISK_CHANGES, cut);
        (void)!log_sync(rig.log);
        rig_close(&rig);
        simdisk_restart(rig.sim);
        CU_ASSERT_EQUAL_FATAL(rig_open(&rig), 0);
        uint64_t term = 0;
        CU_ASSERT_EQUAL(log_term(rig.log, 9, &term), 0);
        CU_ASSERT(term == 3 || log_hard_state(rig.log).commit <= 7);
        rig_end(&rig);
    }
}

/* A log of which 8 and 9 are not committed begins anew at 9, and a higher term is heard in the same turn: cut at each
 * operation, the old 8 and 9 must never be found under the bound of the new log. */
static void test_a_commit_bound_never_outruns_a_restart(void)
{
    for (uint64_t cut = 0; cut < 12; cut++) {
        struct rig rig;
        rig_create(&rig, 1 << 20, 4096, 1, 1);
        rig_turn(&rig, 6); /* 2 … 7 */
        rig.term = 2;
        rig_turn(&rig, 2); /* 8, 9 */
        log_set_hard_state(rig.log, (struct log_hard_state){.term = 3, .vote = 2, .commit = 7});
        CU_ASSERT_EQUAL(log_sync(rig.log), 0);
        log_set_hard_state(rig.log, (struct log_hard_state){.term = 4, .vote = 3, .commit = 7});
        log_restart(rig.log, 9, 3);
        simdisk_halt_after(rig.sim, SIMDISK_CHANGES, cut);
        (void)!log_sync(rig.log);
        rig_close(&rig);
        simdisk_restart(rig.sim);
        CU_ASSERT_EQUAL_FATAL(rig_open(&rig), 0);
        uint64_t term = 0;
        CU_ASSERT(log_hard_state(rig.log).term == 4 ? log_hard_state(rig.log).vote == 3
                                                    : log_hard_state(rig.log).vote == 2);
        CU_ASSERT_EQUAL(log_term(rig.log, 9, &term), 0);
        bool new = log_first(rig.log) == 10 && log_last(rig.log) == 9 && log_hard_state(rig.log).commit == 9;
        bool old = log_first(rig.log) == 2 && log_hard_state(rig.log).commit <= 7;
        CU_ASSERT(term == 3 ? new : old);
        rig_end(&rig);
    }
}

int main(int argc, char **argv)
{
    static const struct unit_case cases[] = {
        {"cut between any two operations", test_cut_between_any_two_operations},
        {"cut while segments grow", test_cut_while_segments_grow},
        {"cut while restarting", test_cut_while_restarting},
        {"a commit bound never outruns its entries", test_a_commit_bound_never_outruns_its_entries},
        {"a commit bound never outruns a restart", test_a_commit_bound_never_outruns_a_restart},
        {"cut while recovering", test_cut_while_recovering},
        {"cut while creating", test_cut_while_creating},
        {"each operation fails", test_each_operation_fails},
        {"no space", test_no_space},
        {"full disk", test_full_disk},
        {"random model", test_random_model},
    };
    static const struct unit_case replay[] = {{"replay of one seed", test_replay}};
    if (argc > 1) {
        replay_seed = strtoull(argv[1], NULL, 10);
        replay_turns = argc > 2 ? (int)strtol(argv[2], NULL, 10) : replay_turns;
        return UNIT_MAIN("shard/log crash", replay);
    }
    return UNIT_MAIN("shard/log crash", cases);
}
