/* test_log.c: what log.h promises while nothing goes wrong: append, truncate, trim, read, reopen, recycle. */
#include <stdlib.h>
#include <string.h>

#include "common/base/limits.h"
#include "tests/unit/shard/log/rig.h"
#include "tests/unit/unit.h"

#define KIB 1024u

static void test_create_then_open_is_empty(void)
{
    struct rig rig;
    rig_create(&rig, 64 * KIB, 64 * KIB, 41, 7);
    uint64_t term = 0;
    const struct log_run *runs;
    CU_ASSERT_EQUAL(log_first(rig.log), 42);
    CU_ASSERT_EQUAL(log_last(rig.log), 41);
    CU_ASSERT_EQUAL(log_synced(rig.log), 41);
    CU_ASSERT_EQUAL(log_term(rig.log, 41, &term), 0);
    CU_ASSERT_EQUAL(term, 7);
    CU_ASSERT_EQUAL(log_term(rig.log, 40, &term), HF_E_ABSENT);
    CU_ASSERT_EQUAL(log_term(rig.log, 42, &term), HF_E_ABSENT);
    CU_ASSERT_EQUAL(log_runs(rig.log, &runs), 1);
    CU_ASSERT(runs[0].first == 41 && runs[0].term == 7);
    struct log_hard_state hs = log_hard_state(rig.log);
    CU_ASSERT(hs.term == 7 && hs.vote == 0 && hs.commit == 41);
    CU_ASSERT_FALSE(log_dirty(rig.log));
    CU_ASSERT_EQUAL(rig.report.entries, 0);
    CU_ASSERT_EQUAL(rig.report.torn_bytes, 0);
    rig_end(&rig);
}

static void test_open_of_nothing_is_absent(void)
{
    struct rig rig;
    rig_start(&rig, 64 * KIB, 0);
    CU_ASSERT_EQUAL(rig_open(&rig), HF_E_ABSENT);
    struct disk *disk = rig.config.disk;
    CU_ASSERT_EQUAL(disk->ops->make_dir(disk, RIG_DIR), 0);
    CU_ASSERT_EQUAL(rig_open(&rig), HF_E_ABSENT);
    rig_end(&rig);
}

static void test_create_removes_what_was_there(void)
{
    struct rig rig;
    rig_create(&rig, 16 * KIB, 0, 0, 0);
    for (int i = 0; i < 50; i++)
        rig_turn(&rig, 20);
    rig_close(&rig);
    CU_ASSERT_EQUAL(log_create(&rig.config, 9, 3), 0);
    rig_power_loss(&rig, 5);
    CU_ASSERT_EQUAL(log_last(rig.log), 9);
    CU_ASSERT_EQUAL(rig.report.segments, 1);
    CU_ASSERT_EQUAL(simdisk_used(rig.sim), (16 + 8) * KIB); /* no spare file either, finished or not */
    rig_end(&rig);
}

static void test_append_and_reopen(void)
{
    struct rig rig;
    rig_create(&rig, 64 * KIB, 16 * KIB, 1, 1);
    for (size_t i = 0; i < 200; i++) {
        rig.term += i % 40 == 0;
        rig_append(&rig, i % 9);
        CU_ASSERT_EQUAL(log_sync(rig.log), 0);
        CU_ASSERT_EQUAL(log_synced(rig.log), log_last(rig.log));
    }
    uint64_t last = log_last(rig.log);
    rig_check(&rig);
    rig_reopen(&rig);
    CU_ASSERT_EQUAL(log_last(rig.log), last);
    CU_ASSERT_EQUAL(rig.report.entries, last - 1);
    rig_check(&rig);
    rig_turn(&rig, 5);
    rig_reopen(&rig);
    CU_ASSERT_EQUAL(log_last(rig.log), last + 5);
    rig_check(&rig);
    const struct log_run *runs;
    CU_ASSERT_EQUAL(log_runs(rig.log, &runs), 6);
    for (size_t i = 1; i < 6; i++)
        CU_ASSERT(runs[i].first > runs[i - 1].first && runs[i].term == runs[i - 1].term + 1);
    rig_end(&rig);
}

static void test_one_write_and_one_sync_a_turn(void)
{
    struct rig rig;
    rig_create(&rig, 1024 * KIB, 64 * KIB, 0, 1);
    rig_turn(&rig, 3);
    for (size_t i = 0; i < 50; i++) {
        uint64_t writes = simdisk_count(rig.sim, SIMDISK_WRITE), syncs = simdisk_count(rig.sim, SIMDISK_SYNC);
        uint64_t fills = simdisk_count(rig.sim, SIMDISK_ZERO_FILL);
        rig_turn(&rig, i % 10 + 1);
        CU_ASSERT(simdisk_count(rig.sim, SIMDISK_ZERO_FILL) <= fills + 1); /* of the next segment */
        CU_ASSERT_EQUAL(simdisk_count(rig.sim, SIMDISK_WRITE), writes + 1);
        CU_ASSERT_EQUAL(simdisk_count(rig.sim, SIMDISK_SYNC), syncs + 1);
    }
    uint64_t syncs = simdisk_count(rig.sim, SIMDISK_SYNC), writes = simdisk_count(rig.sim, SIMDISK_WRITE);
    uint64_t used = simdisk_used(rig.sim);
    struct log_hard_state hs = log_hard_state(rig.log);
    hs.commit = log_last(rig.log);
    log_set_hard_state(rig.log, hs);
    CU_ASSERT_FALSE(log_dirty(rig.log));
    CU_ASSERT_EQUAL(log_sync(rig.log), 0);
    CU_ASSERT_EQUAL(simdisk_count(rig.sim, SIMDISK_SYNC), syncs);
    CU_ASSERT_EQUAL(simdisk_count(rig.sim, SIMDISK_WRITE), writes);
    hs.term++; /* no frame: nothing to prepare for */
    hs.vote = 2;
    log_set_hard_state(rig.log, hs);
    CU_ASSERT_EQUAL(log_sync(rig.log), 0);
    CU_ASSERT_EQUAL(simdisk_used(rig.sim), used);
    rig_turn(&rig, 1); /* the commit rides along */
    rig_power_loss(&rig, 1);
    CU_ASSERT_EQUAL(log_hard_state(rig.log).commit, hs.commit);
    rig_end(&rig);
}

static void test_commit_is_within_the_log(void)
{
    struct rig rig;
    rig_create(&rig, 64 * KIB, 0, 10, 1);
    rig_turn(&rig, 5);
    log_set_hard_state(rig.log, (struct log_hard_state){.term = 1, .vote = 2, .commit = 99});
    CU_ASSERT_EQUAL(log_sync(rig.log), 0);
    rig_reopen(&rig);
    CU_ASSERT_EQUAL(log_hard_state(rig.log).commit, 15);
    log_set_hard_state(rig.log, (struct log_hard_state){.term = 2, .vote = 2, .commit = 3});
    CU_ASSERT_EQUAL(log_trim(rig.log, 12), 0);
    CU_ASSERT_EQUAL(log_sync(rig.log), 0);
    rig_reopen(&rig);
    CU_ASSERT_EQUAL(log_hard_state(rig.log).commit, 12);
    rig_end(&rig);
}

static void test_truncate_then_append(void)
{
    struct rig rig;
    rig_create(&rig, 32 * KIB, 8 * KIB, 0, 1);
    for (int i = 0; i < 40; i++)
        rig_turn(&rig, 10);
    rig.term = 2;
    log_truncate(rig.log, 151);
    CU_ASSERT_EQUAL(log_last(rig.log), 150);
    CU_ASSERT_EQUAL(log_synced(rig.log), 150);
    rig_append(&rig, 30);
    log_truncate(rig.log, 171); /* of entries that were never synced */
    rig.term = 3;
    rig_append(&rig, 15);
    CU_ASSERT_EQUAL(log_synced(rig.log), 150);
    rig_check(&rig);
    CU_ASSERT_EQUAL(log_sync(rig.log), 0);
    for (int pass = 0; pass < 2; pass++) {
        uint64_t term = 0;
        CU_ASSERT_EQUAL(log_last(rig.log), 185);
        CU_ASSERT(log_term(rig.log, 150, &term) == 0 && term == 1);
        CU_ASSERT(log_term(rig.log, 170, &term) == 0 && term == 2);
        CU_ASSERT(log_term(rig.log, 171, &term) == 0 && term == 3);
        rig_check(&rig);
        rig_reopen(&rig);
    }
    log_truncate(rig.log, 1); /* everything */
    CU_ASSERT_EQUAL(log_sync(rig.log), 0);
    rig_reopen(&rig);
    CU_ASSERT_EQUAL(log_last(rig.log), 0);
    rig_turn(&rig, 4);
    rig_reopen(&rig);
    CU_ASSERT_EQUAL(log_last(rig.log), 4);
    rig_check(&rig);
    rig_end(&rig);
}

static void test_unsynced_changes_are_lost(void)
{
    struct rig rig;
    rig_create(&rig, 32 * KIB, 8 * KIB, 0, 1);
    rig_turn(&rig, 10);
    rig_append(&rig, 5);
    log_truncate(rig.log, 4);
    rig_reopen(&rig);
    CU_ASSERT_EQUAL(log_last(rig.log), 10);
    rig_check(&rig);
    rig_end(&rig);
}

static void test_trim_recycles(void)
{
    struct rig rig;
    rig_create(&rig, 16 * KIB, 4 * KIB, 0, 1);
    uint64_t most = 0;
    for (uint64_t i = 0; i < 400; i++) {
        rig.term += i % 50 == 49;
        rig_turn(&rig, 20);
        if (i % 10 == 9) {
            CU_ASSERT_EQUAL(log_trim(rig.log, log_last(rig.log) - 30), 0);
            CU_ASSERT(log_dirty(rig.log));
            CU_ASSERT_EQUAL(log_sync(rig.log), 0);
            CU_ASSERT_EQUAL(log_first(rig.log), log_last(rig.log) - 29);
            rig_check(&rig);
        }
        if (i % 77 == 76) {
            uint64_t first = log_first(rig.log), last = log_last(rig.log);
            rig_reopen(&rig);
            CU_ASSERT(log_first(rig.log) == first && log_last(rig.log) == last);
            rig_check(&rig);
        }
        most = log_disk_bytes(rig.log) > most ? log_disk_bytes(rig.log) : most;
    }
    CU_ASSERT(most <= 8 * 16 * KIB);
    CU_ASSERT_EQUAL(log_disk_bytes(rig.log) + 2 * 4096, simdisk_used(rig.sim));
    uint64_t fills = simdisk_count(rig.sim, SIMDISK_ZERO_FILL);
    CU_ASSERT(fills < 60); /* of some 100 segments that were begun, after 5 starts without a spare file */
    rig_end(&rig);
}

/* How many files of the log's directory are spare ones. */
static void count_spare(void *ctx, const char *name)
{
    *(size_t *)ctx += strncmp(name, "spare-", 6) == 0;
}

static size_t spares(const struct rig *rig)
{
    size_t count = 0;
    struct disk *disk = rig->config.disk;
    CU_ASSERT_EQUAL(disk->ops->list(disk, RIG_DIR, count_spare, &count), 0);
    return count;
}

/* Written to the disk by one turn of about 16 KiB, as bytes that files have grown. */
static uint64_t growth_of_turn(struct rig *rig)
{
    uint64_t used = simdisk_used(rig->sim);
    rig_turn(rig, 1);
    return simdisk_used(rig->sim) - used;
}

/* Segments of 1, 2, 4 and 8 MiB, then of 8 MiB: a turn never fills much of the next one, least of all the turn that
 * begins it; and no more is on the disk than what was written asks for. */
static void test_next_segment_is_ready(void)
{
    struct rig rig;
    rig_create(&rig, 8192 * KIB, 0, 0, 1);
    rig.size = 16 * KIB;
    CU_ASSERT_EQUAL(log_disk_bytes(rig.log), 1024 * KIB);
    bool lost = false;
    uint64_t written = 0, renames = simdisk_count(rig.sim, SIMDISK_RENAME);
    for (int i = 0; i < 3000; i++) {
        uint64_t most = growth_of_turn(&rig);
        written += 8 * KIB;                                         /* at least */
        CU_ASSERT(most <= (i % 500 < 250 ? 768 : 1024 + 64) * KIB); /* after a start it has to hurry */
        CU_ASSERT(spares(&rig) <= 1);
        CU_ASSERT(log_disk_bytes(rig.log) <= 8 * written + 1024 * KIB);
        CU_ASSERT_EQUAL(log_disk_bytes(rig.log) + 8 * KIB, simdisk_used(rig.sim));
        if (i % 500 == 250) { /* what was filled is not believed */
            uint64_t used = simdisk_used(rig.sim);
            lost = i % 1000 == 750;
            if (lost)
                rig_power_loss(&rig, (uint64_t)i);
            else
                rig_reopen(&rig);
            CU_ASSERT(lost || simdisk_used(rig.sim) <= used); /* the spare file is gone */
            CU_ASSERT_EQUAL(spares(&rig), 0);
            CU_ASSERT_EQUAL(log_disk_bytes(rig.log) + 8 * KIB, simdisk_used(rig.sim));
        }
    }
    CU_ASSERT(simdisk_count(rig.sim, SIMDISK_RENAME) >= renames + 6); /* segments begun */
    CU_ASSERT(rig_check(&rig));
    rig_end(&rig);
}

/* A frame as long as a good part of a segment: as much again is filled behind it, not a whole segment at once. */
static void test_long_frames_prepare_as_much(void)
{
    struct rig rig;
    rig_create(&rig, 16384 * KIB, 0, 0, 1);
    rig.size = 3072 * KIB;
    for (int i = 0; i < 30; i++) {
        uint64_t growth = growth_of_turn(&rig);
        CU_ASSERT(i < 8 || growth <= 2 * 4608 * KIB);
    }
    CU_ASSERT(rig_check(&rig));
    rig_end(&rig);
}

/* No room for the next spare file: nobody is told before a segment is needed, and nothing is left lying about. */
static void test_no_room_to_prepare(void)
{
    struct rig rig;
    rig_create(&rig, 1024 * KIB, 0, 0, 1);
    rig.size = 16 * KIB;
    simdisk_limit(rig.sim, (1024 + 8 + 200) * KIB);
    int turns = 0, rc = 0;
    while (rc == 0) {
        turns++;
        rig_append(&rig, 1);
        rc = log_sync(rig.log);
        CU_ASSERT(log_synced(rig.log) + (rc != 0) == log_last(rig.log));
    }
    CU_ASSERT_EQUAL(rc, HF_E_NO_SPACE);
    CU_ASSERT(turns > 40);
    CU_ASSERT_EQUAL(spares(&rig), 0);
    uint64_t fills = simdisk_count(rig.sim, SIMDISK_ZERO_FILL);
    CU_ASSERT(fills < 20); /* not tried again and again */
    simdisk_limit(rig.sim, 0);
    CU_ASSERT_EQUAL(log_sync(rig.log), 0);
    for (int i = 0; i < 8; i++)
        rig_turn(&rig, 1);
    CU_ASSERT_EQUAL(spares(&rig), 1); /* the new segment prepares again */
    rig_reopen(&rig);
    CU_ASSERT(rig_check(&rig));
    rig_end(&rig);
}

static void test_trim_everything(void)
{
    struct rig rig;
    rig_create(&rig, 16 * KIB, 0, 0, 1);
    for (int i = 0; i < 60; i++)
        rig_turn(&rig, 20);
    CU_ASSERT_EQUAL(log_trim(rig.log, 1200), 0);
    rig_append(&rig, 3); /* in the same frame as the base */
    CU_ASSERT_EQUAL(log_sync(rig.log), 0);
    for (int pass = 0; pass < 3; pass++) {
        uint64_t term = 0;
        CU_ASSERT(log_first(rig.log) == 1201 && log_last(rig.log) == 1203);
        CU_ASSERT(log_term(rig.log, 1200, &term) == 0 && term == 1);
        rig_check(&rig);
        rig_reopen(&rig);
    }
    CU_ASSERT_EQUAL(log_trim(rig.log, 1203), 0);
    CU_ASSERT_EQUAL(log_sync(rig.log), 0);
    rig_reopen(&rig);
    CU_ASSERT(log_first(rig.log) == 1204 && log_last(rig.log) == 1203);
    CU_ASSERT_EQUAL(log_trim(rig.log, 7), 0); /* below the base: nothing to do */
    CU_ASSERT_FALSE(log_dirty(rig.log));
    rig_end(&rig);
}

/* Entries of a segment that is let go were truncated and written again in the next one. */
static void thousands(struct rig *rig, int count) /* turns of one entry, which takes 1064 bytes */
{
    static const uint8_t payload[1000];
    for (int i = 0; i < count; i++) {
        struct log_entry entry = {.index = log_last(rig->log) + 1, .term = 1, .kind = LOG_COMMAND};
        entry.data = slice_make(payload, sizeof payload);
        log_append(rig->log, &entry, 1);
        CU_ASSERT_EQUAL(log_sync(rig->log), 0);
    }
}

/* Never further than `bytes`, and less by no more than two stretches. */
static void check_reach(const struct rig *rig, uint64_t index)
{
    uint64_t base = log_first(rig->log) - 1;
    CU_ASSERT(log_reach(rig->log, index, 0) == index && log_reach(rig->log, index, UINT64_MAX) == base);
    for (uint64_t count = 1; count < index - base; count += 17) {
        uint64_t reached = log_reach(rig->log, index, count * 1064);
        CU_ASSERT(reached >= index - count && reached <= index);
        CU_ASSERT(reached <= index - count + 32);
    }
}

static void test_reach(void)
{
    struct rig rig;
    rig_create(&rig, 128 * KIB, 0, 100, 1);
    CU_ASSERT(log_reach(rig.log, 100, 0) == 100 && log_reach(rig.log, 100, UINT64_MAX) == 100);
    thousands(&rig, 400);
    for (int again = 0; again < 2; again++) {
        for (uint64_t index = 101; index <= 500; index += 19)
            check_reach(&rig, index);
        rig_reopen(&rig); /* who did not write it knows it as well */
    }
    CU_ASSERT_EQUAL(log_trim(rig.log, 300), 0);
    CU_ASSERT_EQUAL(log_reach(rig.log, 300, UINT64_MAX), 300);
    thousands(&rig, 1);
    for (int again = 0; again < 2; again++) {
        check_reach(&rig, 501);
        check_reach(&rig, 420);
        rig_reopen(&rig);
    }
    rig_end(&rig);
}

static void test_truncate_across_a_trimmed_segment(void)
{
    struct rig rig;
    rig_create(&rig, 16 * KIB, 0, 0, 1);
    for (int i = 0; i < 40; i++)
        rig_turn(&rig, 20);
    rig.term = 2;
    for (uint64_t back = 790; back > 400; back -= 35) {
        log_truncate(rig.log, back);
        rig_turn(&rig, 40);
    }
    for (uint64_t base = 300; base < 440; base += 9) {
        CU_ASSERT_EQUAL(log_trim(rig.log, base), 0);
        CU_ASSERT_EQUAL(log_sync(rig.log), 0);
        uint64_t last = log_last(rig.log);
        rig_reopen(&rig);
        CU_ASSERT(log_first(rig.log) == base + 1 && log_last(rig.log) == last);
        rig_check(&rig);
    }
    rig_end(&rig);
}

static void test_big_entries(void)
{
    struct rig rig;
    rig_create(&rig, 64 * KIB, 32 * KIB, 0, 1);
    uint8_t *data = malloc(LIMIT_ENTRY_BYTES);
    must(data != NULL);
    for (size_t i = 0; i < LIMIT_ENTRY_BYTES; i++)
        data[i] = (uint8_t)(i * 31 + i / 251);
    rig_turn(&rig, 3);
    struct log_entry big = {.index = 4, .term = 1, .kind = LOG_COMMAND, .data = slice_make(data, LIMIT_ENTRY_BYTES)};
    log_append(rig.log, &big, 1);
    rig_append(&rig, 2);
    CU_ASSERT_EQUAL(log_sync(rig.log), 0);
    for (int i = 0; i < 30; i++)
        rig_turn(&rig, 30);
    rig_reopen(&rig);
    struct log_entry *out;
    size_t count;
    CU_ASSERT_EQUAL(log_read(rig.log, 4, 10, 10, &rig.arena, &out, &count), 0);
    CU_ASSERT(count == 1 && out[0].data.size == LIMIT_ENTRY_BYTES);
    CU_ASSERT(memcmp(out[0].data.data, data, LIMIT_ENTRY_BYTES) == 0);
    CU_ASSERT_EQUAL(log_trim(rig.log, 400), 0);
    CU_ASSERT_EQUAL(log_sync(rig.log), 0);
    CU_ASSERT(log_disk_bytes(rig.log) < 20 * 64 * KIB); /* the large segment is not kept */
    rig_check(&rig);
    free(data);
    rig_end(&rig);
}

static void test_recent_reads_borrow(void)
{
    struct rig rig;
    rig_create(&rig, 1024 * KIB, 1024 * KIB, 0, 1);
    rig_turn(&rig, 100);
    struct log_entry *a, *b;
    size_t count;
    uint64_t reads = simdisk_count(rig.sim, SIMDISK_READ);
    CU_ASSERT_EQUAL(log_read(rig.log, 50, 10, 1 << 20, &rig.arena, &a, &count), 0);
    CU_ASSERT_EQUAL(count, 10);
    CU_ASSERT_EQUAL(log_read(rig.log, 50, 10, 1 << 20, &rig.arena, &b, &count), 0);
    CU_ASSERT_PTR_EQUAL(a[3].data.data, b[3].data.data);
    CU_ASSERT_EQUAL(simdisk_count(rig.sim, SIMDISK_READ), reads);
    rig_end(&rig);
}

/* Old terms' entries are read as they are now, not as they were, whatever shares their frames. */
static void test_read_limits(void)
{
    struct rig rig;
    rig_create(&rig, 1024 * KIB, 0, 0, 1);
    rig.size = 100;
    for (int i = 0; i < 20; i++)
        rig_turn(&rig, 50);
    rig_reopen(&rig); /* nothing in memory */
    struct log_entry *out;
    size_t count;
    CU_ASSERT_EQUAL(log_read(rig.log, 17, 3, SIZE_MAX, &rig.arena, &out, &count), 0);
    CU_ASSERT_EQUAL(count, 3);
    CU_ASSERT_EQUAL(log_read(rig.log, 17, 1000, 0, &rig.arena, &out, &count), 0);
    CU_ASSERT(count >= 1);
    CU_ASSERT_EQUAL(log_read(rig.log, 1, SIZE_MAX, SIZE_MAX, &rig.arena, &out, &count), 0);
    CU_ASSERT_EQUAL(count, 1000);
    CU_ASSERT_EQUAL(log_read(rig.log, 999, SIZE_MAX, SIZE_MAX, &rig.arena, &out, &count), 0);
    CU_ASSERT_EQUAL(count, 2);
    CU_ASSERT(out[1].index == 1000);
    rig_end(&rig);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"create, then open: empty", test_create_then_open_is_empty},
        {"open of nothing", test_open_of_nothing_is_absent},
        {"create removes what was there", test_create_removes_what_was_there},
        {"append and reopen", test_append_and_reopen},
        {"one write and one sync a turn", test_one_write_and_one_sync_a_turn},
        {"commit is within the log", test_commit_is_within_the_log},
        {"truncate, then append", test_truncate_then_append},
        {"unsynced changes are lost", test_unsynced_changes_are_lost},
        {"trim recycles", test_trim_recycles},
        {"next segment is ready", test_next_segment_is_ready},
        {"long frames prepare as much", test_long_frames_prepare_as_much},
        {"no room to prepare", test_no_room_to_prepare},
        {"trim everything", test_trim_everything},
        {"reach", test_reach},
        {"truncate across a trimmed segment", test_truncate_across_a_trimmed_segment},
        {"big entries", test_big_entries},
        {"recent reads borrow", test_recent_reads_borrow},
        {"read limits", test_read_limits},
    };
    return UNIT_MAIN("shard/log", cases);
}
