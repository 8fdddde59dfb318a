/* test_simdisk.c: the simulated disk keeps what was synced, and loses everything else at some seed. */
#include <stdio.h>
#include <string.h>

#include "common/base/error.h"
#include "tests/support/simdisk.h"
#include "tests/unit/unit.h"

#define SEEDS 400

static struct disk_file *make(struct disk *d, const char *path)
{
    struct disk_file *f = NULL;
    CU_ASSERT_EQUAL_FATAL(d->ops->open(d, path, DISK_CREATE, &f), 0);
    return f;
}

static void put(struct disk *d, struct disk_file *f, uint64_t offset, const char *text)
{
    CU_ASSERT_EQUAL_FATAL(d->ops->write(d, f, offset, text, strlen(text)), 0);
}

/* The content of a file as text, "-" when it is absent. */
static const char *content(struct disk *d, const char *path)
{
    static char text[4096];
    struct buf b = {0};
    int rc = disk_read_all(d, path, sizeof text - 1, &b);
    snprintf(text, sizeof text, "%.*s", (int)b.size, (const char *)b.data);
    buf_deinit(&b);
    return rc == 0 ? text : "-";
}

static void test_reads_what_was_written(void)
{
    struct simdisk *sd = simdisk_new();
    struct disk *d = simdisk_disk(sd);
    CU_ASSERT_EQUAL(d->ops->make_dir(d, "/a"), 0);
    CU_ASSERT_EQUAL(d->ops->make_dir(d, "/a"), HF_E_EXISTS);
    CU_ASSERT_EQUAL(d->ops->make_dir(d, "/x/y"), HF_E_ABSENT);
    struct disk_file *f = make(d, "/a/f");
    put(d, f, 0, "hello");
    put(d, f, 3, "p me");
    uint64_t bytes = 0;
    CU_ASSERT_EQUAL(d->ops->size(d, f, &bytes), 0);
    CU_ASSERT_EQUAL(bytes, 7);
    char out[8];
    CU_ASSERT_EQUAL(d->ops->read(d, f, 4, out, 4), HF_E_IO); /* past the end */
    d->ops->close(d, &f);
    CU_ASSERT_PTR_NULL(f);
    CU_ASSERT_STRING_EQUAL(content(d, "/a/f"), "help me");
    CU_ASSERT_EQUAL(d->ops->open(d, "/a/f", DISK_CREATE, &f), HF_E_EXISTS);
    CU_ASSERT_EQUAL(d->ops->open(d, "/a/g", DISK_READ, &f), HF_E_ABSENT);
    CU_ASSERT_EQUAL(d->ops->rename(d, "/a", "/b"), 0);
    CU_ASSERT_STRING_EQUAL(content(d, "/b/f"), "help me");
    CU_ASSERT_EQUAL(d->ops->remove(d, "/b"), HF_E_EXISTS); /* not empty */
    CU_ASSERT_EQUAL(d->ops->remove(d, "/b/f"), 0);
    CU_ASSERT_EQUAL(simdisk_used(sd), 0);
    simdisk_free(&sd);
}

/* Writes "old" durably and "new" over it unsynced, then takes the power. */
static void crash_after_overwrite(uint64_t seed, char out[16])
{
    struct simdisk *sd = simdisk_new();
    struct disk *d = simdisk_disk(sd);
    struct disk_file *f = make(d, "f");
    put(d, f, 0, "oldold");
    CU_ASSERT_EQUAL(d->ops->sync(d, f), 0);
    CU_ASSERT_EQUAL(d->ops->sync_dir(d, "/"), 0);
    put(d, f, 0, "new");
    put(d, f, 3, "new");
    simdisk_crash(sd, seed);
    CU_ASSERT_EQUAL(d->ops->write(d, f, 0, "x", 1), HF_E_IO); /* a handle of before */
    d->ops->close(d, &f);
    snprintf(out, 16, "%s", content(d, "f"));
    simdisk_free(&sd);
}

static void test_power_loss_keeps_any_part_of_unsynced_writes(void)
{
    static const char *const wanted[] = {"oldold", "newold", "newnew", "oldnew"};
    unsigned seen[4] = {0}, torn = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        char text[16], again[16];
        crash_after_overwrite(seed, text);
        crash_after_overwrite(seed, again);
        CU_ASSERT_STRING_EQUAL(text, again); /* one seed, one outcome */
        CU_ASSERT_EQUAL(strlen(text), 6);
        for (size_t i = 0; i < 4; i++)
            seen[i] += strcmp(text, wanted[i]) == 0;
        torn += strcmp(text, "nldold") == 0 || strcmp(text, "newned") == 0;
        for (size_t half = 0; half < 6; half += 3) /* every half is some first bytes of "new", then "old" */
            for (size_t i = 0, old = 0; i < 3; i++) {
                old |= text[half + i] != "new"[i];
                CU_ASSERT(text[half + i] == (old ? "old" : "new")[i]);
            }
    }
    for (size_t i = 0; i < 4; i++)
        CU_ASSERT(seen[i] > 0);
    CU_ASSERT(torn > 0);
}

static void test_synced_content_survives_every_seed(void)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct simdisk *sd = simdisk_new();
        struct disk *d = simdisk_disk(sd);
        struct disk_file *f = make(d, "f");
        CU_ASSERT_EQUAL(d->ops->zero_fill(d, f, 2000), 0);
        put(d, f, 0, "kept");
        CU_ASSERT_EQUAL(d->ops->sync(d, f), 0);
        CU_ASSERT_EQUAL(d->ops->sync_dir(d, "."), 0);
        d->ops->close(d, &f);
        simdisk_crash(sd, seed);
        CU_ASSERT_STRING_EQUAL(content(d, "f"), "kept");
        CU_ASSERT_EQUAL(simdisk_used(sd), 2000);
        simdisk_free(&sd);
    }
}

static void test_a_name_is_durable_only_after_sync_dir(void)
{
    unsigned there = 0, lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct simdisk *sd = simdisk_new();
        struct disk *d = simdisk_disk(sd);
        struct disk_file *f = make(d, "f");
        put(d, f, 0, "x");
        CU_ASSERT_EQUAL(d->ops->sync(d, f), 0);
        d->ops->close(d, &f);
        simdisk_crash(sd, seed);
        bool found = false;
        CU_ASSERT_EQUAL(d->ops->exists(d, "f", &found), 0);
        there += found;
        lost += !found;
        CU_ASSERT(!found || strcmp(content(d, "f"), "x") == 0);
        simdisk_free(&sd);
    }
    CU_ASSERT(there > 0 && lost > 0);
}

static void test_replace_leaves_old_or_new(void)
{
    unsigned old = 0, fresh = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct simdisk *sd = simdisk_new();
        struct disk *d = simdisk_disk(sd);
        CU_ASSERT_EQUAL(disk_replace(d, "f", slice_text("old")), 0);
        simdisk_halt_after(sd, SIMDISK_CHANGES, seed % 6);
        int rc = disk_replace(d, "f", slice_text("new"));
        simdisk_crash(sd, seed);
        const char *text = content(d, "f");
        old += strcmp(text, "old") == 0;
        fresh += strcmp(text, "new") == 0;
        CU_ASSERT(strcmp(text, "old") == 0 || strcmp(text, "new") == 0);
        CU_ASSERT(rc != 0 || strcmp(text, "new") == 0);
        CU_ASSERT_EQUAL(disk_sweep_temp(d, "."), 0);
        simdisk_free(&sd);
    }
    CU_ASSERT(old > 0 && fresh > 0);
}

static void test_a_removed_name_may_come_back(void)
{
    unsigned back = 0, gone = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct simdisk *sd = simdisk_new();
        struct disk *d = simdisk_disk(sd);
        CU_ASSERT_EQUAL(disk_replace(d, "f", slice_text("x")), 0);
        CU_ASSERT_EQUAL(d->ops->remove(d, "f"), 0);
        simdisk_crash(sd, seed);
        back += strcmp(content(d, "f"), "x") == 0;
        gone += strcmp(content(d, "f"), "-") == 0;
        CU_ASSERT_EQUAL(back + gone, seed + 1);
        simdisk_free(&sd);
    }
    CU_ASSERT(back > 0 && gone > 0);
}

/* Both names change at once, durably after a sync of either directory. */
/* A file gets a name in one directory, unsynced, and then one in another, synced: the first does not come back. */
static void test_a_change_takes_those_before_it_along(void)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct simdisk *sd = simdisk_new();
        struct disk *d = simdisk_disk(sd);
        CU_ASSERT_EQUAL(d->ops->make_dir(d, "/log"), 0);
        CU_ASSERT_EQUAL(d->ops->make_dir(d, "/aside"), 0);
        CU_ASSERT_EQUAL(d->ops->sync_dir(d, "/"), 0);
        struct disk_file *f = make(d, "/log/spare");
        d->ops->close(d, &f);
        CU_ASSERT_EQUAL(d->ops->rename(d, "/log/spare", "/log/seg"), 0);
        CU_ASSERT_EQUAL(d->ops->rename(d, "/log/seg", "/aside/seg"), 0);
        CU_ASSERT_EQUAL(d->ops->sync_dir(d, "/aside"), 0);
        CU_ASSERT_EQUAL(d->ops->sync_dir(d, "/log"), 0);
        simdisk_crash(sd, seed);
        CU_ASSERT_EQUAL(d->ops->open(d, "/log/seg", DISK_READ, &f), HF_E_ABSENT);
        CU_ASSERT_EQUAL(d->ops->open(d, "/log/spare", DISK_READ, &f), HF_E_ABSENT);
        CU_ASSERT_EQUAL(d->ops->open(d, "/aside/seg", DISK_READ, &f), 0);
        d->ops->close(d, &f);
        simdisk_free(&sd);
    }
}

static void test_exchanged(void)
{
    unsigned changed = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct simdisk *sd = simdisk_new();
        struct disk *d = simdisk_disk(sd);
        CU_ASSERT_EQUAL(d->ops->exchange(d, "/a", "/s/b"), HF_E_ABSENT);
        must(disk_ensure_dir(d, "/", "/s") == 0 && disk_ensure_dir(d, "/", "/a") == 0);
        CU_ASSERT_EQUAL(d->ops->exchange(d, "/a", "/s/b"), HF_E_ABSENT);
        must(disk_ensure_dir(d, "/s", "/s/b") == 0);
        must(disk_replace(d, "/a/f", slice_text("1")) == 0 && disk_replace(d, "/s/b/f", slice_text("2")) == 0);
        uint64_t used = simdisk_used(sd);
        CU_ASSERT_EQUAL(d->ops->exchange(d, "/a", "/s/b"), 0);
        CU_ASSERT_STRING_EQUAL(content(d, "/a/f"), "2");
        CU_ASSERT_STRING_EQUAL(content(d, "/s/b/f"), "1");
        CU_ASSERT_EQUAL(simdisk_used(sd), used);
        bool synced = seed % 3 != 0;
        if (synced)
            CU_ASSERT_EQUAL(d->ops->sync_dir(d, seed % 3 == 1 ? "/" : "/s"), 0);
        simdisk_crash(sd, seed);
        bool is = strcmp(content(d, "/a/f"), "2") == 0;
        CU_ASSERT_STRING_EQUAL(content(d, "/s/b/f"), is ? "1" : "2");
        CU_ASSERT(is || (!synced && strcmp(content(d, "/a/f"), "1") == 0));
        changed += is && !synced;
        CU_ASSERT_EQUAL(disk_remove_tree(d, "/s"), 0);
        CU_ASSERT_EQUAL(simdisk_used(sd), 1);
        simdisk_free(&sd);
    }
    CU_ASSERT(changed > 0 && changed < SEEDS / 3);
}

static void test_after_a_failed_sync_the_page_cache_lies(void)
{
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct simdisk *sd = simdisk_new();
        struct disk *d = simdisk_disk(sd);
        CU_ASSERT_EQUAL(disk_replace(d, "f", slice_text("old")), 0);
        struct disk_file *f = NULL;
        CU_ASSERT_EQUAL_FATAL(d->ops->open(d, "f", DISK_WRITE, &f), 0);
        put(d, f, 0, "new");
        simdisk_crash(sd, seed); /* another start for the generator that decides what a failed sync keeps */
        d->ops->close(d, &f);
        CU_ASSERT_EQUAL_FATAL(d->ops->open(d, "f", DISK_WRITE, &f), 0);
        put(d, f, 0, "new");
        simdisk_fail(sd, SIMDISK_SYNC, 1, HF_E_IO, 1);
        CU_ASSERT_EQUAL(d->ops->sync(d, f), HF_E_IO);
        CU_ASSERT_EQUAL(d->ops->sync(d, f), 0); /* says so, and yet nothing more is written */
        simdisk_halt(sd);
        d->ops->close(d, &f);
        simdisk_restart(sd);
        CU_ASSERT_STRING_EQUAL(content(d, "f"), "new");
        simdisk_crash(sd, seed);
        lost += strcmp(content(d, "f"), "new") != 0;
        simdisk_free(&sd);
    }
    CU_ASSERT(lost > SEEDS / 10);
}

static void test_halted_disk_changes_nothing(void)
{
    struct simdisk *sd = simdisk_new();
    struct disk *d = simdisk_disk(sd);
    struct disk_file *f = make(d, "f");
    put(d, f, 0, "one");
    simdisk_halt_after(sd, SIMDISK_WRITE, 1);
    put(d, f, 0, "two");
    CU_ASSERT_EQUAL(d->ops->write(d, f, 0, "six", 3), HF_E_IO);
    CU_ASSERT(simdisk_halted(sd));
    CU_ASSERT_EQUAL(d->ops->sync(d, f), HF_E_IO);
    CU_ASSERT_EQUAL(d->ops->sync_dir(d, "."), HF_E_IO);
    simdisk_restart(sd); /* the machine was up all the time */
    d->ops->close(d, &f);
    CU_ASSERT_STRING_EQUAL(content(d, "f"), "two");
    simdisk_free(&sd);
}

static void test_nth_operation_fails(void)
{
    struct simdisk *sd = simdisk_new();
    struct disk *d = simdisk_disk(sd);
    struct disk_file *f = make(d, "f");
    simdisk_fail(sd, SIMDISK_WRITE, 2, HF_E_NO_SPACE, 2);
    put(d, f, 0, "abc");
    CU_ASSERT_EQUAL(d->ops->write(d, f, 3, "def", 3), HF_E_NO_SPACE);
    CU_ASSERT_EQUAL(d->ops->write(d, f, 3, "def", 3), HF_E_NO_SPACE);
    put(d, f, 3, "def");
    CU_ASSERT_EQUAL(simdisk_count(sd, SIMDISK_WRITE), 4);
    simdisk_fail(sd, SIMDISK_SYNC, 1, HF_E_IO, 0); /* for ever */
    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(d->ops->sync(d, f), HF_E_IO);
    simdisk_fail(sd, SIMDISK_SYNC, 0, 0, 0);
    CU_ASSERT_EQUAL(d->ops->sync(d, f), 0);
    d->ops->close(d, &f);
    CU_ASSERT_STRING_EQUAL(content(d, "f"), "abcdef");
    simdisk_free(&sd);
}

static void test_full_disk(void)
{
    struct simdisk *sd = simdisk_new();
    struct disk *d = simdisk_disk(sd);
    simdisk_limit(sd, 10);
    struct disk_file *f = make(d, "f"), *g = make(d, "g");
    put(d, f, 0, "12345678");
    CU_ASSERT_EQUAL(d->ops->write(d, g, 0, "abc", 3), HF_E_NO_SPACE);
    CU_ASSERT_EQUAL(d->ops->zero_fill(d, g, 4), HF_E_NO_SPACE);
    put(d, f, 4, "xxxx"); /* no growth */
    CU_ASSERT_EQUAL(d->ops->remove(d, "f"), 0);
    put(d, g, 0, "abc");
    CU_ASSERT_EQUAL(simdisk_used(sd), 3);
    d->ops->close(d, &f);
    d->ops->close(d, &g);
    simdisk_free(&sd);
}

static void count_name(void *ctx, const char *name)
{
    *(unsigned *)ctx += name[0] == 'f';
}

static void test_list_and_flip(void)
{
    struct simdisk *sd = simdisk_new();
    struct disk *d = simdisk_disk(sd);
    CU_ASSERT_EQUAL(disk_replace(d, "f1", slice_text("a")), 0);
    CU_ASSERT_EQUAL(disk_replace(d, "f2", slice_text("b")), 0);
    unsigned names = 0;
    CU_ASSERT_EQUAL(d->ops->list(d, "/", count_name, &names), 0);
    CU_ASSERT_EQUAL(names, 2);
    CU_ASSERT_EQUAL(simdisk_flip(sd, "f1", 0, 1), 0);
    CU_ASSERT_EQUAL(simdisk_flip(sd, "f1", 1, 1), HF_E_INVALID);
    CU_ASSERT_EQUAL(simdisk_flip(sd, "f3", 0, 1), HF_E_ABSENT);
    simdisk_crash(sd, 1);
    CU_ASSERT_STRING_EQUAL(content(d, "f1"), "c");
    simdisk_free(&sd);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"reads what was written", test_reads_what_was_written},
        {"power loss keeps any part of unsynced writes", test_power_loss_keeps_any_part_of_unsynced_writes},
        {"synced content survives every seed", test_synced_content_survives_every_seed},
        {"a name is durable only after sync_dir", test_a_name_is_durable_only_after_sync_dir},
        {"replace leaves old or new", test_replace_leaves_old_or_new},
        {"a removed name may come back", test_a_removed_name_may_come_back},
        {"a change takes those before it along", test_a_change_takes_those_before_it_along},
        {"two names are exchanged", test_exchanged},
        {"after a failed sync the page cache lies", test_after_a_failed_sync_the_page_cache_lies},
        {"a halted disk changes nothing", test_halted_disk_changes_nothing},
        {"the n-th operation fails", test_nth_operation_fails},
        {"full disk", test_full_disk},
        {"list and flip", test_list_and_flip},
    };
    return UNIT_MAIN("simdisk", cases);
}
