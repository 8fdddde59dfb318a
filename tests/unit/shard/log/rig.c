/* rig.c: a log on a simulated disk for the tests of shard/log. */
#include "tests/unit/shard/log/rig.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/endian.h"
#include "common/base/random.h"

void rig_start(struct rig *rig, uint64_t segment_bytes, uint64_t cache_bytes)
{
    *rig = (struct rig){.sim = simdisk_new(), .term = 1, .size = 40};
    struct disk *disk = simdisk_disk(rig->sim);
    must(disk->ops->make_dir(disk, "replica") == 0);
    must(disk->ops->sync_dir(disk, ".") == 0);
    rig->config =
        (struct log_config){.disk = disk, .dir = RIG_DIR, .segment_bytes = segment_bytes, .cache_bytes = cache_bytes};
}

void rig_create(struct rig *rig, uint64_t segment_bytes, uint64_t cache_bytes, uint64_t index, uint64_t term)
{
    rig_start(rig, segment_bytes, cache_bytes);
    rig->term = term;
    CU_ASSERT_EQUAL_FATAL(log_create(&rig->config, index, term), 0);
    CU_ASSERT_EQUAL_FATAL(rig_open(rig), 0);
}

void rig_end(struct rig *rig)
{
    rig_close(rig);
    arena_deinit(&rig->arena);
    simdisk_free(&rig->sim);
}

int rig_open(struct rig *rig)
{
    return log_open(&rig->config, &rig->log, &rig->report, rig->where);
}

void rig_close(struct rig *rig)
{
    log_close(&rig->log);
}

void rig_reopen(struct rig *rig)
{
    rig_close(rig);
    simdisk_restart(rig->sim);
    CU_ASSERT_EQUAL_FATAL(rig_open(rig), 0);
}

void rig_power_loss(struct rig *rig, uint64_t seed)
{
    simdisk_halt(rig->sim);
    rig_close(rig);
    simdisk_crash(rig->sim, seed);
    int rc = rig_open(rig);
    if (rc != 0)
        fprintf(stderr, "after power loss: %s: %s\n", error_text(rc), rig->where);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
}

size_t rig_payload(uint64_t index, uint64_t term, size_t about, uint8_t *out)
{
    struct random random = {.state = index * 1000003 + term};
    size_t size = about == 0 ? 0 : random_below(&random, about) + (about > 1000 ? about / 2 : 0);
    size = size > about ? about : size;
    for (size_t i = 0; i < size; i += 8)
        put_le64(out + i, random_next(&random));
    return size;
}

void rig_append(struct rig *rig, size_t count)
{
    uint8_t *payload = malloc(rig->size + 8);
    must(payload != NULL);
    struct log_hard_state hs = log_hard_state(rig->log);
    if (hs.term < rig->term) {
        hs.term = rig->term;
        hs.vote = 0;
        log_set_hard_state(rig->log, hs);
    }
    for (size_t i = 0; i < count; i++) {
        struct log_entry entry = {
            .index = log_last(rig->log) + 1, .term = rig->term, .kind = (enum log_kind)((log_last(rig->log) + 1) % 3)};
        entry.data = slice_make(payload, rig_payload(entry.index, entry.term, rig->size, payload));
        log_append(rig->log, &entry, 1);
    }
    free(payload);
}

void rig_turn(struct rig *rig, size_t count)
{
    rig_append(rig, count);
    CU_ASSERT_EQUAL_FATAL(log_sync(rig->log), 0);
}

static bool check_entry(struct rig *rig, const struct log_entry *entry, uint64_t index, uint8_t *payload)
{
    uint64_t term = 0;
    if (entry->index != index || log_term(rig->log, index, &term) != 0 || entry->term != term ||
        entry->kind != (enum log_kind)(index % 3))
        return false;
    size_t size = rig_payload(index, term, rig->size, payload);
    return size == entry->data.size && memcmp(payload, entry->data.data, size) == 0;
}

bool rig_check(struct rig *rig)
{
    uint8_t *payload = malloc(rig->size + 8);
    must(payload != NULL);
    struct log_entry *entries;
    size_t count;
    bool good = true;
    uint64_t last = log_last(rig->log);
    for (uint64_t at = log_first(rig->log); good && at <= last; at += count) {
        int rc = log_read(rig->log, at, 7 + at % 13, 1 + at % 2000, &rig->arena, &entries, &count);
        good = rc == 0 && count > 0 && at + count <= last + 1;
        for (size_t i = 0; good && i < count; i++)
            good = check_entry(rig, &entries[i], at + i, payload);
        arena_reset(&rig->arena);
        if (!good)
            fprintf(stderr, "entry %llu: %s %s\n", (unsigned long long)at, error_text(rc), log_where(rig->log));
    }
    good = good && log_read(rig->log, last + 1, 1, 1, &rig->arena, &entries, &count) == HF_E_ABSENT &&
           log_read(rig->log, log_first(rig->log) - 1, 1, 1, &rig->arena, &entries, &count) == HF_E_ABSENT;
    CU_ASSERT(good);
    free(payload);
    return good;
}
