/* test_install.c: whatever happens while a machine is exchanged for another: the old one or the new one is there, whole,
 * and the log and the token belong to it; never none. Machines are files here; test_checkpoint.c has real ones. */
#include <stdio.h>
#include <string.h>

#include "common/base/crc32c.h"
#include "tests/support/simdisk.h"
#include "tests/unit/shard/snapshot/sample.h"
#include "tests/unit/unit.h"

#define OLD 20u
#define NEW 30u

struct rig {
    struct simdisk *sim;
    struct disk *disk;
    struct buf stream;
};

static int put_number(struct disk *disk, const char *path, uint64_t n)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    return disk_replace(disk, path, slice_text(text));
}

static uint64_t number_of(struct disk *disk, const char *path)
{
    struct buf text = {0};
    uint64_t n = 0;
    must(disk_read_all(disk, path, 100, &text) == HF_OK);
    for (size_t i = 0; i < text.size; i++)
        n = n * 10 + text.data[i] - '0';
    buf_deinit(&text);
    return n;
}

static int write_machine(struct disk *disk, const char *dir, uint64_t index)
{
    struct arena arena = {0};
    char path[256];
    int rc = HF_OK;
    for (unsigned i = 0; rc == HF_OK && i < SAMPLE_FILES; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, sample_names[i]);
        rc = disk_replace(disk, path, sample_file(&arena, index, i));
    }
    arena_deinit(&arena);
    return rc;
}

/* A replica's directory d: machine, log and token as of OLD; or none of them at all. */
enum { NO_MACHINE, MACHINE, MACHINE_WITHOUT_EXCHANGE, STARTS };

static struct rig start(unsigned machine)
{
    struct rig rig = {.sim = simdisk_new()};
    if (machine == MACHINE_WITHOUT_EXCHANGE)
        simdisk_refuse_exchange(rig.sim);
    rig.disk = simdisk_disk(rig.sim);
    must(rig.disk->ops->make_dir(rig.disk, "d") == HF_OK && rig.disk->ops->sync_dir(rig.disk, ".") == HF_OK);
    must(put_number(rig.disk, "d/log", machine ? OLD : 0) == HF_OK);
    if (machine) {
        struct token token = sample_token(OLD);
        must(disk_ensure_dir(rig.disk, "d", "d/fsm") == HF_OK && write_machine(rig.disk, "d/fsm", OLD) == HF_OK);
        must(token_write(rig.disk, "d", &token) == HF_OK);
    }
    sample_written(NEW, 0, &rig.stream);
    return rig;
}

static void stop(struct rig *rig)
{
    buf_deinit(&rig->stream);
    simdisk_free(&rig->sim);
}

static int stage(struct rig *rig)
{
    struct staging *s = NULL;
    int rc = staging_new(rig->disk, "d", &s);
    if (rc != HF_OK)
        return rc;
    struct stream_sink sink = staging_sink(s);
    struct stream_reader *r = stream_reader_new(&sink, 0);
    struct slice left = buf_slice(&rig->stream);
    while (rc == HF_OK && left.size > 0) {
        size_t size = left.size < 700 ? left.size : 700;
        rc = stream_reader_push(r, slice_make(left.data, size));
        left = slice_make(left.data + size, left.size - size);
    }
    if (rc == HF_OK)
        rc = stream_reader_finish(r);
    if (rc == HF_OK) {
        struct token token = sample_token(NEW);
        CU_ASSERT(staging_header(s) != NULL && token_equal(&staging_header(s)->token, &token));
        rc = staging_sync(s);
    }
    stream_reader_free(&r);
    staging_free(&s);
    return rc;
}

/* What comes after the exchange; may be done twice. */
static int follow(struct disk *disk, const struct install_record *record)
{
    struct token token = sample_token(record->index);
    int rc = put_number(disk, "d/log", record->index);
    if (rc == HF_OK)
        rc = token_write(disk, "d", &token);
    return rc == HF_OK ? install_done(disk, "d") : rc;
}

static int install(struct rig *rig)
{
    struct token token = sample_token(NEW);
    struct install_record record = {token.cluster, token.group, token.log_epoch, token.index, token.term};
    int rc = stage(rig);
    if (rc == HF_OK)
        rc = install_exchange(rig->disk, "d", &record);
    return rc == HF_OK ? follow(rig->disk, &record) : rc;
}

static int recover(struct rig *rig)
{
    bool pending = false;
    struct install_record record = {0};
    int rc = install_finish(rig->disk, "d", &pending, &record);
    if (rc == HF_OK && pending) {
        CU_ASSERT(record.index == NEW && record.term == sample_token(NEW).term && record.group == 2);
        rc = follow(rig->disk, &record);
    }
    return rc;
}

static void count_names(void *ctx, const char *name)
{
    (void)name;
    ++*(unsigned *)ctx;
}

static unsigned names_in(struct disk *disk, const char *path)
{
    unsigned count = 0;
    int rc = disk->ops->list(disk, path, count_names, &count);
    must(rc == HF_OK || rc == HF_E_ABSENT);
    return count;
}

static bool exists(struct disk *disk, const char *path)
{
    bool there = false;
    must(disk->ops->exists(disk, path, &there) == HF_OK);
    return there;
}

static bool machine_is(struct disk *disk, uint64_t index)
{
    struct arena arena = {0};
    bool same = true;
    for (unsigned i = 0; same && i < SAMPLE_FILES; i++) {
        char path[256];
        struct buf bytes = {0};
        snprintf(path, sizeof path, "d/fsm/%s", sample_names[i]);
        same = disk_read_all(disk, path, 10000, &bytes) == HF_OK &&
               slice_equal(buf_slice(&bytes), sample_file(&arena, index, i));
        buf_deinit(&bytes);
    }
    arena_deinit(&arena);
    return same && names_in(disk, "d/fsm") == SAMPLE_FILES; /* and nothing else */
}

/* Nothing of an install is left, and all is as of one index: OLD (or nothing) or NEW. Returns it; UINT64_MAX: not so. */
static uint64_t settled(struct rig *rig, bool machine)
{
    struct disk *disk = rig->disk;
    uint64_t log = number_of(disk, "d/log");
    struct arena arena = {0};
    struct token token = {0};
    int rc = token_read(disk, "d", &arena, &token);
    bool good = (log == NEW || log == (machine ? OLD : 0)) &&
                (log == 0 ? !exists(disk, "d/fsm") : machine_is(disk, log)) &&
                (log == 0 ? rc == HF_E_ABSENT : rc == HF_OK && token.index == log) && !exists(disk, "d/INSTALL") &&
                !exists(disk, "d/snapshots/incoming") && names_in(disk, "d/snapshots") <= 1;
    if (!good)
        fprintf(stderr, "log %llu, machine %d of it, %u files, token %s %llu, INSTALL %d, incoming %d\n",
                (unsigned long long)log, machine_is(disk, log), names_in(disk, "d/fsm"), error_name(rc),
                (unsigned long long)token.index, exists(disk, "d/INSTALL"), exists(disk, "d/snapshots/incoming"));
    CU_ASSERT(good);
    arena_deinit(&arena);
    return good ? log : UINT64_MAX;
}

static void restart(struct rig *rig, uint64_t kind, uint64_t n)
{
    if (kind == 0)
        simdisk_restart(rig->sim);
    else
        simdisk_crash(rig->sim, kind * 1000 + n);
}

/* The process is gone (kind 0) or the power after `n` operations, and again (kind `then`) after `again` operations of the
 * start that follows (0: not). False: the install was done before. */
static bool cut_after(uint64_t n, uint64_t kind, uint64_t again, uint64_t then, unsigned machine)
{
    struct rig rig = start(machine);
    simdisk_halt_after(rig.sim, SIMDISK_CHANGES, n);
    int rc = install(&rig);
    bool cut = rc != HF_OK;
    CU_ASSERT(!cut || rc == HF_E_IO);
    restart(&rig, kind, n);
    if (again > 0) {
        simdisk_halt_after(rig.sim, SIMDISK_CHANGES, again);
        (void)recover(&rig);
        restart(&rig, then, again);
    }
    CU_ASSERT_EQUAL(recover(&rig), HF_OK);
    uint64_t found = settled(&rig, machine);
    CU_ASSERT(cut || found == NEW);
    if (found == UINT64_MAX || (!cut && found != NEW))
        fprintf(stderr, "cut after %llu operations, kind %llu, again after %llu, machine %u\n", (unsigned long long)n,
                (unsigned long long)kind, (unsigned long long)again, machine);
    simdisk_crash(rig.sim, n); /* what was found once stays */
    CU_ASSERT_EQUAL(recover(&rig), HF_OK);
    CU_ASSERT_EQUAL(settled(&rig, machine), found);
    CU_ASSERT_EQUAL(install(&rig), HF_OK); /* and the next install goes through */
    CU_ASSERT_EQUAL(settled(&rig, machine), NEW);
    stop(&rig);
    return cut;
}

static void test_cut_anywhere(void)
{
    for (unsigned machine = 0; machine < STARTS; machine++) {
        uint64_t n = 0;
        for (bool more = true; more; n++)
            for (uint64_t kind = 0; kind < 6; kind++)
                more = cut_after(n, kind, 0, 0, machine);
        CU_ASSERT(n > 40);
    }
}

static void test_cut_again_while_recovering(void)
{
    for (unsigned machine = 0; machine < STARTS; machine++) {
        uint64_t n = 0;
        for (bool more = true; more; n++)
            for (uint64_t again = 1; again < 24; again++)
                more = cut_after(n, n % 4, again, (n % 4 + again) % 4, machine);
        CU_ASSERT(n > 40);
    }
}

/* What a killed process left is in the page cache only, and the start that goes by it meets the power cut (seed 8596859500346
 * of the simulator: the exchange was durable, the record that says what to do about it was not). */
static void test_killed_then_cut_while_recovering(void)
{
    for (unsigned machine = 0; machine < STARTS; machine++)
        for (uint64_t then = 1; then < 8; then++) {
            uint64_t n = 0;
            for (bool more = true; more; n++)
                for (uint64_t again = 1; again < 12; again++)
                    more = cut_after(n, 0, again, then, machine);
        }
}

/* Every operation fails once: the install is refused, the old machine is in use after the next start, or the new one. */
static void test_a_failed_operation(void)
{
    static const int errors[] = {HF_E_NO_SPACE, HF_E_IO};
    for (unsigned e = 0; e < 2; e++)
        for (uint64_t n = 1; n < 60; n++) {
            struct rig rig = start(true);
            simdisk_fail(rig.sim, SIMDISK_CHANGES, n, errors[e], 1);
            int rc = install(&rig);
            simdisk_fail(rig.sim, 0, 0, 0, 0);
            CU_ASSERT(rc == HF_OK || rc == errors[e]);
            simdisk_crash(rig.sim, n);
            CU_ASSERT_EQUAL(recover(&rig), HF_OK);
            CU_ASSERT(settled(&rig, true) == NEW || rc != HF_OK);
            stop(&rig);
        }
}

static void test_finish_is_idempotent(void)
{
    struct rig rig = start(true);
    bool pending = true;
    struct install_record record = {.index = 1}, expected = {0x1122334455667788, 2, 1, NEW, sample_token(NEW).term};
    CU_ASSERT_EQUAL(install_finish(rig.disk, "d", &pending, &record), HF_OK); /* nothing to do */
    CU_ASSERT(!pending && record.index == 1);
    CU_ASSERT_EQUAL(settled(&rig, true), OLD);
    must(stage(&rig) == HF_OK);
    CU_ASSERT_EQUAL(install_exchange(rig.disk, "d", &expected), HF_OK);
    struct staging *s = NULL;
    CU_ASSERT_EQUAL(staging_new(rig.disk, "d", &s), HF_E_BUSY); /* what was exchanged out is not staging's to remove */
    CU_ASSERT_EQUAL(install_read(rig.disk, "d", &record), HF_OK);
    CU_ASSERT(memcmp(&record, &expected, sizeof record) == 0);
    for (unsigned i = 0; i < 4; i++) {
        pending = false;
        record = (struct install_record){0};
        CU_ASSERT_EQUAL(install_finish(rig.disk, "d", &pending, &record), HF_OK);
        CU_ASSERT(pending && memcmp(&record, &expected, sizeof record) == 0);
        if (i % 2)
            simdisk_crash(rig.sim, i);
    }
    CU_ASSERT_EQUAL(follow(rig.disk, &record), HF_OK);
    CU_ASSERT_EQUAL(settled(&rig, true), NEW);
    CU_ASSERT_EQUAL(install_done(rig.disk, "d"), HF_OK);
    CU_ASSERT_EQUAL(install_read(rig.disk, "d", &record), HF_E_ABSENT);
    CU_ASSERT_EQUAL(settled(&rig, true), NEW);
    stop(&rig);
}

/* A record is written; only then is something exchanged; and nothing is exchanged that was not staged to its end. */
static void test_nothing_staged(void)
{
    struct rig rig = start(true);
    struct install_record record = {.cluster = 1, .group = 1, .index = NEW};
    CU_ASSERT_EQUAL(install_exchange(rig.disk, "d", &record), HF_E_ABSENT);
    CU_ASSERT_EQUAL(settled(&rig, true), OLD);
    rig.stream.size--; /* truncated: staged, but not to its end */
    CU_ASSERT_EQUAL(stage(&rig), HF_E_SNAPSHOT_TOO_SMALL);
    CU_ASSERT_EQUAL(install_exchange(rig.disk, "d", &record), HF_E_ABSENT);
    CU_ASSERT(machine_is(rig.disk, OLD));
    CU_ASSERT_EQUAL(recover(&rig), HF_OK);
    CU_ASSERT_EQUAL(settled(&rig, true), OLD);
    stop(&rig);
}

/* Damaged streams leave nothing behind: one flipped bit, a cut, a foreign section. */
static void test_damaged_streams(void)
{
    struct rig rig = start(true);
    struct install_record record = {.cluster = 1, .group = 1, .index = NEW};
    for (size_t at = 0; at < rig.stream.size; at += at < 1500 ? 5 : 41) {
        rig.stream.data[at] ^= 4;
        int rc = stage(&rig);
        CU_ASSERT(rc <= HF_E_SNAPSHOT_TOO_SMALL && rc >= HF_E_SNAPSHOT_TOO_LARGE);
        CU_ASSERT_EQUAL(install_exchange(rig.disk, "d", &record), HF_E_ABSENT);
        rig.stream.data[at] ^= 4;
    }
    CU_ASSERT(machine_is(rig.disk, OLD));
    static const struct sample samples[] = {{.index = NEW, .version = 1, .kind = STREAM_RECORDS},
                                            {.index = NEW, .version = 1, .name = INSTALL_STAGED},
                                            {.index = NEW, .version = 1, .name = "000007.sst"}};
    static const int codes[] = {HF_E_SNAPSHOT_MAGIC, HF_E_SNAPSHOT_MAGIC, HF_E_EXISTS};
    for (unsigned i = 0; i < 3; i++) {
        buf_clear(&rig.stream);
        sample_stream(&samples[i], &rig.stream);
        CU_ASSERT_EQUAL(stage(&rig), codes[i]);
        CU_ASSERT_EQUAL(install_exchange(rig.disk, "d", &record), HF_E_ABSENT);
    }
    CU_ASSERT_EQUAL(recover(&rig), HF_OK);
    CU_ASSERT_EQUAL(settled(&rig, true), OLD);
    stop(&rig);
}

/* What is not used goes, whole or half; but not what an install was begun for. */
static void test_what_is_not_used_goes(void)
{
    struct rig rig = start(true);
    struct install_record record = {.cluster = 1, .group = 2, .index = NEW, .term = sample_token(NEW).term};
    CU_ASSERT_EQUAL(install_discard(rig.disk, "d"), HF_OK);
    for (unsigned half = 0; half < 2; half++) {
        rig.stream.size -= half;
        CU_ASSERT_EQUAL(stage(&rig), half ? HF_E_SNAPSHOT_TOO_SMALL : HF_OK);
        CU_ASSERT(exists(rig.disk, "d/snapshots/incoming"));
        CU_ASSERT_EQUAL(install_discard(rig.disk, "d"), HF_OK);
        CU_ASSERT(!exists(rig.disk, "d/snapshots/incoming"));
        CU_ASSERT_EQUAL(install_exchange(rig.disk, "d", &record), HF_E_ABSENT);
    }
    CU_ASSERT_EQUAL(settled(&rig, true), OLD);
    rig.stream.size++;
    must(stage(&rig) == HF_OK);
    must(install_exchange(rig.disk, "d", &record) == HF_OK);
    CU_ASSERT_EQUAL(install_discard(rig.disk, "d"), HF_E_BUSY);
    CU_ASSERT(exists(rig.disk, "d/snapshots/incoming"));
    CU_ASSERT_EQUAL(recover(&rig), HF_OK);
    CU_ASSERT_EQUAL(settled(&rig, true), NEW);
    stop(&rig);
}

static void test_orphans_are_swept(void)
{
    struct rig rig = start(true);
    struct disk *disk = rig.disk;
    must(disk_ensure_dir(disk, "d/snapshots", "d/snapshots/outgoing-3") == HF_OK);
    must(write_machine(disk, "d/snapshots/outgoing-3", 7) == HF_OK);
    must(disk_ensure_dir(disk, "d/snapshots", "d/snapshots/outgoing-4.tmp") == HF_OK);
    must(write_machine(disk, "d/snapshots/outgoing-4.tmp", 7) == HF_OK);
    must(put_number(disk, "d/snapshots/stream-7.tmp", 7) == HF_OK);
    must(put_number(disk, "d/snapshots/stream-6", 7) == HF_OK);
    must(stage(&rig) == HF_OK);
    CU_ASSERT_EQUAL(recover(&rig), HF_OK);
    CU_ASSERT_EQUAL(names_in(disk, "d/snapshots"), 2); /* the token and the kept stream */
    CU_ASSERT(exists(disk, "d/snapshots/token") && exists(disk, "d/snapshots/stream-6"));
    must(disk->ops->remove(disk, "d/snapshots/stream-6") == HF_OK);
    CU_ASSERT_EQUAL(settled(&rig, true), OLD);
    stop(&rig);
}

/* The record is damaged: before the exchange it is forgotten; after it the machine must say what it is. */
static void test_damaged_record(void)
{
    struct install_record record = {.cluster = 1, .group = 1, .index = NEW};
    for (unsigned exchanged = 0; exchanged < 2; exchanged++) {
        struct rig rig = start(true);
        bool pending = false;
        must(stage(&rig) == HF_OK);
        if (exchanged)
            must(install_exchange(rig.disk, "d", &record) == HF_OK);
        must(put_number(rig.disk, "d/INSTALL", 17) == HF_OK);
        CU_ASSERT_EQUAL(install_read(rig.disk, "d", &record), HF_E_CORRUPT);
        CU_ASSERT_EQUAL(install_finish(rig.disk, "d", &pending, &record), exchanged ? HF_E_CORRUPT : HF_OK);
        CU_ASSERT(!pending);
        record = (struct install_record){.index = NEW};
        if (exchanged)
            CU_ASSERT_EQUAL(follow(rig.disk, &record), HF_OK);
        CU_ASSERT_EQUAL(settled(&rig, true), exchanged ? NEW : OLD);
        stop(&rig);
    }
}

static void test_newer_record(void)
{
    struct rig rig = start(true);
    bool pending = false;
    struct install_record record;
    char text[64];
    must(stage(&rig) == HF_OK);
    int n = snprintf(text, sizeof text, "format 2\nsomething new\n");
    snprintf(text + n, sizeof text - (size_t)n, "crc %08x\n", (unsigned)crc32c(0, text, (size_t)n));
    must(disk_replace(rig.disk, "d/INSTALL", slice_text(text)) == HF_OK);
    CU_ASSERT_EQUAL(install_finish(rig.disk, "d", &pending, &record), HF_E_FORMAT); /* a newer program's: hands off */
    CU_ASSERT(machine_is(rig.disk, OLD) && exists(rig.disk, "d/snapshots/incoming/STAGED"));
    stop(&rig);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"cut between any two operations", test_cut_anywhere},
        {"cut again while recovering", test_cut_again_while_recovering},
        {"killed, then cut while recovering", test_killed_then_cut_while_recovering},
        {"a failed operation", test_a_failed_operation},
        {"finishing is idempotent", test_finish_is_idempotent},
        {"nothing staged, or not to its end", test_nothing_staged},
        {"damaged streams leave nothing behind", test_damaged_streams},
        {"what is not used goes", test_what_is_not_used_goes},
        {"orphans are swept", test_orphans_are_swept},
        {"a damaged record", test_damaged_record},
        {"a newer program's record", test_newer_record},
    };
    return UNIT_MAIN("install", cases);
}
