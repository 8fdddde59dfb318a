/* test_look.c: a log that is only looked at: the entries it shows are those that reading it gives, and not a byte is changed. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/random.h"
#include "common/sys/disk.h"
#include "shard/log/look.h"
#include "tests/unit/shard/log/rig.h"
#include "tests/unit/unit.h"

#define KIB 1024u
#define SIZE 900

struct seen {
    struct log *log;
    uint64_t next, until; /* the index that is to come; where it has seen enough */
    size_t wrong;
};

static bool on_entry(void *ctx, const struct log_entry *entry)
{
    struct seen *s = ctx;
    struct arena arena = {0};
    struct log_entry *is;
    size_t count;
    int rc = log_read(s->log, s->next, 1, 1, &arena, &is, &count);
    must(rc == HF_OK && count == 1);
    s->wrong += entry->index != s->next || entry->term != is->term || entry->kind != is->kind ||
                !slice_equal(entry->data, is->data);
    arena_deinit(&arena);
    return s->next++ < s->until;
}

static void check_from(struct log *log, const char *dir, uint64_t from, uint64_t until)
{
    uint64_t first = log_first(log), last = log_last(log);
    struct seen seen = {.log = log, .next = from > first ? from : first, .until = until};
    uint64_t begin = seen.next;
    struct log_look look;
    log_look_from(dir, from, on_entry, &seen, &look);
    CU_ASSERT_EQUAL(look.code, HF_OK);
    CU_ASSERT(look.first == first && look.last == last);
    CU_ASSERT_EQUAL(seen.wrong, 0);
    uint64_t end = until < last ? until : last;
    CU_ASSERT_EQUAL(seen.next, end < begin ? begin + (begin <= last) : end + 1);
}

static void append(struct log *log, struct random *r, uint64_t term)
{
    static uint8_t payload[SIZE + 8];
    for (uint64_t i = 1 + random_below(r, 8); i > 0; i--) {
        uint64_t index = log_last(log) + 1;
        size_t size = rig_payload(index, term, (size_t)random_below(r, SIZE), payload);
        struct log_entry e = {.index = index, .term = term, .kind = LOG_COMMAND, .data = slice_make(payload, size)};
        log_append(log, &e, 1);
    }
}

/* Segments that came and went, entries that were taken back, reopened in between. */
static void test_entries_are_those_of_reading(void)
{
    char dir[] = "/tmp/test_look-XXXXXX", where[256];
    struct random r = {7};
    struct log_report report;
    struct log *log;
    uint64_t term = 1;
    must(mkdtemp(dir) != NULL);
    struct log_config config = {.disk = disk_posix(), .dir = dir, .segment_bytes = 32 * KIB, .cache_bytes = 1};
    must(log_create(&config, 5, 1) == HF_OK && log_open(&config, &log, &report, where) == HF_OK);
    check_from(log, dir, 0, UINT64_MAX);
    for (int i = 0; i < 120; i++) {
        uint64_t first = log_first(log), last = log_last(log);
        if (last > first + 10 && random_below(&r, 4) == 0) {
            log_set_hard_state(log, (struct log_hard_state){.term = ++term});
            log_truncate(log, last - random_below(&r, 8));
        }
        append(log, &r, term);
        must(log_sync(log) == HF_OK);
        if (i % 40 == 39)
            must(log_trim(log, log_first(log) + 20) == HF_OK && log_sync(log) == HF_OK);
        if (i % 8 == 0)
            check_from(log, dir, random_below(&r, log_last(log) + 3), random_below(&r, 2 * log_last(log)));
    }
    check_from(log, dir, 0, UINT64_MAX);
    log_close(&log);
    must(disk_remove_tree(disk_posix(), dir) == HF_OK);
}

int main(void)
{
    static const struct unit_case cases[] = {{"entries are those of reading", test_entries_are_those_of_reading}};
    return UNIT_MAIN("log look", cases);
}
