/* fuzz_log.c: a small real log with any bytes written over its segment and its hard state: opening yields the log, a
 * torn tail or a typed refusal; what it yields can be read to the end. */
#include "common/base/endian.h"
#include "common/base/error.h"
#include "shard/log/log.h"
#include "tests/support/simdisk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEGMENT_BYTES 16384
#define ENTRIES 20

static void make_log(const struct log_config *config)
{
    struct log *log = NULL;
    struct log_report report;
    char where[256];
    must(log_create(config, 1, 1) == HF_OK);
    must(log_open(config, &log, &report, where) == HF_OK);
    for (uint64_t i = 2; i < 2 + ENTRIES; i++) {
        struct log_entry entry = {.index = i, .term = 1 + i / 8, .kind = LOG_COMMAND, .data = slice_text("payload")};
        log_set_hard_state(log, (struct log_hard_state){.term = entry.term, .commit = i});
        log_append(log, &entry, 1);
        must(log_sync(log) == HF_OK);
    }
    log_close(&log);
}

/* The first four bytes say where, in which file; the rest is written there. */
static void overwrite(struct disk *disk, const uint8_t *data, size_t size)
{
    if (size < 5)
        return;
    uint32_t at = get_le32(data);
    const char *path = at & 0x80000000u ? "d/hardstate" : "d/seg-0000000000000001.log";
    struct disk_file *file = NULL;
    uint64_t bytes = 0;
    if (disk->ops->open(disk, path, DISK_WRITE, &file) != HF_OK)
        return;
    must(disk->ops->size(disk, file, &bytes) == HF_OK);
    uint64_t offset = (at & 0x7fffffffu) % (bytes + 1);
    size_t room = (size_t)(bytes - offset);
    size_t count = size - 4 < room ? size - 4 : room;
    if (count)
        must(disk->ops->write(disk, file, offset, data + 4, count) == HF_OK);
    disk->ops->close(disk, &file);
}

static void read_all(struct log *log)
{
    struct arena arena = {0};
    for (uint64_t at = log_first(log); at <= log_last(log);) {
        struct log_entry *entries = NULL;
        size_t count = 0;
        arena_reset(&arena);
        if (log_read(log, at, 8, 4096, &arena, &entries, &count) != HF_OK)
            break;
        must(count > 0 && entries[0].index == at);
        at += count;
    }
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct simdisk *sd = simdisk_new();
    struct disk *disk = simdisk_disk(sd);
    struct log_config config = {.disk = disk, .dir = "d", .segment_bytes = SEGMENT_BYTES, .cache_bytes = 4096};
    make_log(&config);
    overwrite(disk, data, size);
    struct log *log = NULL;
    struct log_report report;
    char where[256] = "";
    int rc = log_open(&config, &log, &report, where);
    if (rc == HF_OK)
        read_all(log);
    else
        must(rc == HF_E_CORRUPT || rc == HF_E_FORMAT);
    log_close(&log);
    simdisk_free(&sd);
    return 0;
}
