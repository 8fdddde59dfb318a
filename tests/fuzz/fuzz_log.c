/* fuzz_log.c: a small real log of several segments, truncated and trimmed on its way, of which any bytes were changed,
 * any file lost or put in another's place, with checksums as they are or made right again: opening yields the log, a
 * torn tail or a typed refusal; what it yields can be read to the end, and written to, and opened again. */
#include <stdio.h>

#include "common/base/crc32c.h"
#include "common/base/endian.h"
#include "shard/log/frame.h"
#include "shard/log/log.h"
#include "shard/log/segments.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/simdisk.h"

#define SEGMENT_BYTES 8192
#define ENTRIES 60
#define FILES_MAX 16
#define INDEX_MAX (UINT64_C(1) << 62) /* the engine takes none above */

struct file {
    char path[64];
    uint64_t segment; /* 0: not a segment */
    struct buf bytes;
};

static struct file originals[FILES_MAX]; /* the last place stays free */
static size_t original_count;

static void make_log(const struct log_config *config)
{
    static const char payload[300] = "payload";
    struct log *log = NULL;
    struct log_report report;
    char where[256];
    must(log_create(config, 1, 1) == HF_OK);
    must(log_open(config, &log, &report, where) == HF_OK);
    for (uint64_t i = 2; i < 2 + ENTRIES; i++) {
        struct log_entry entry = {.index = i, .term = 1 + i / 8, .kind = i % 7 == 0 ? LOG_NOOP : LOG_COMMAND};
        if (entry.kind == LOG_COMMAND)
            entry.data = slice_make(payload, 7 + i * 37 % 290);
        log_set_hard_state(log, (struct log_hard_state){.term = entry.term, .vote = 1 + entry.term % 3, .commit = i});
        log_append(log, &entry, 1);
        must(log_sync(log) == HF_OK);
        if (i % 20 == 0) {
            log_truncate(log, i - 2);
            for (uint64_t k = i - 2; k <= i; k++) {
                entry.index = k;
                log_append(log, &entry, 1);
            }
            must(log_sync(log) == HF_OK);
        }
    }
    must(log_trim(log, 25) == HF_OK && log_sync(log) == HF_OK);
    log_close(&log);
}

static void keep(void *ctx, const char *name)
{
    struct file *f = &originals[original_count++];
    must(original_count < FILES_MAX);
    snprintf(f->path, sizeof f->path, "d/%.50s", name);
    if (strncmp(name, "seg-", 4) == 0)
        must(sscanf(name, "seg-%lu.log", &f->segment) == 1);
    must(disk_read_all(ctx, f->path, 1 << 24, &f->bytes) == HF_OK);
}

static void make_originals(void)
{
    struct simdisk *sd = simdisk_new();
    struct disk *disk = simdisk_disk(sd);
    struct log_config config = {.disk = disk, .dir = "d", .segment_bytes = SEGMENT_BYTES, .cache_bytes = 4096};
    make_log(&config);
    must(disk->ops->list(disk, "d", keep, disk) == HF_OK);
    must(original_count >= 4);
    simdisk_free(&sd);
}

/* Checksums of a segment's header and of every frame whose length is one. */
static void fix_segment(struct file *f)
{
    uint8_t *bytes = f->bytes.data;
    size_t size = f->bytes.size;
    if (size < FRAME_SEGMENT_HEADER_BYTES)
        return;
    put_le32(bytes + 12, crc32c(crc32c(0, bytes, 12), bytes + 16, FRAME_SEGMENT_HEADER_BYTES - 16));
    for (size_t at = FRAME_SEGMENT_HEADER_BYTES; at + FRAME_HEADER_BYTES <= size;) {
        struct frame_header h = {.length = get_le32(bytes + at + 4),
                                 .sequence = get_le64(bytes + at + 8),
                                 .commit = get_le64(bytes + at + 16),
                                 .records = get_le32(bytes + at + 24)};
        if (h.length < FRAME_HEADER_BYTES || h.length % FRAME_ALIGN != 0 || h.length > size - at)
            return;
        frame_seal(bytes + at, &h, f->segment, at);
        at += h.length;
    }
}

static void fix_hardstate(struct file *f)
{
    for (size_t at = 0; at + 4096 <= f->bytes.size; at += 4096)
        put_le32(f->bytes.data + at + 12,
                 crc32c(crc32c(0, f->bytes.data + at, 12), f->bytes.data + at + 16, 4096 - 16));
}

/* One change. An input is some of them: which file and how, where, how much, with what. */
static void change(struct file *files, struct slice *in)
{
    uint8_t how = fuzz_byte(in);
    struct file *f = &files[how % original_count];
    uint16_t at = fuzz_word(in);
    if ((how & 0xe0) == 0xe0) { /* another file's bytes in its place, or nothing at all */
        buf_clear(&f->bytes);
        const struct file *other = &originals[at % (original_count + 1)];
        if (other->bytes.size > 0)
            buf_append(&f->bytes, other->bytes.data, other->bytes.size);
    } else if ((how & 0xe0) == 0xc0) {
        f->bytes.size = at < f->bytes.size ? at : f->bytes.size;
    } else {
        struct slice with = fuzz_bytes(in, fuzz_byte(in) % 64);
        if (at <= f->bytes.size && with.size <= f->bytes.size - at && with.size > 0)
            memcpy(f->bytes.data + at, with.data, with.size);
    }
    if (!(how & 0x10))
        return;
    if (f->segment != 0)
        fix_segment(f);
    else
        fix_hardstate(f);
}

static void read_all(struct log *log)
{
    struct arena arena = {0};
    uint64_t term = 0;
    for (uint64_t at = log_first(log); at <= log_last(log);) {
        struct log_entry *entries = NULL;
        size_t count = 0;
        arena_reset(&arena);
        must(log_read(log, at, 8, 4096, &arena, &entries, &count) == HF_OK);
        must(count > 0 && entries[0].index == at && entries[0].term >= term);
        term = entries[count - 1].term;
        at += count;
    }
    arena_deinit(&arena);
}

/* What was accepted is a log: it takes an entry and is the same again after it. */
static void go_on(const struct log_config *config, struct log **log)
{
    uint64_t last = log_last(*log), term = 0;
    struct log_hard_state hs = log_hard_state(*log);
    if (last >= INDEX_MAX || log_term(*log, last, &term) != HF_OK || hs.term >= INDEX_MAX)
        return;
    struct log_entry entry = {
        .index = last + 1, .term = term > hs.term ? term : hs.term, .kind = LOG_COMMAND, .data = slice_text("next")};
    hs.vote = hs.term == entry.term ? hs.vote : 0;
    hs.term = entry.term;
    log_set_hard_state(*log, hs);
    log_append(*log, &entry, 1);
    must(log_sync(*log) == HF_OK);
    log_close(log);
    struct log_report report;
    char where[256] = "";
    must(log_open(config, log, &report, where) == HF_OK && log_last(*log) == last + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    struct file files[FILES_MAX] = {0};
    struct log *log = NULL;
    struct log_report report;
    char where[256] = "";
    if (original_count == 0)
        make_originals();
    for (size_t i = 0; i < original_count; i++) {
        files[i] = originals[i];
        files[i].bytes = (struct buf){0};
        buf_append(&files[i].bytes, originals[i].bytes.data, originals[i].bytes.size);
    }
    for (int n = 0; n < 64 && in.size > 0; n++)
        change(files, &in);
    struct simdisk *sd = simdisk_new();
    struct disk *disk = simdisk_disk(sd);
    must(disk->ops->make_dir(disk, "d") == HF_OK);
    for (size_t i = 0; i < original_count; i++) {
        must(disk_replace(disk, files[i].path, buf_slice(&files[i].bytes)) == HF_OK);
        buf_deinit(&files[i].bytes);
    }
    struct log_config config = {.disk = disk, .dir = "d", .segment_bytes = SEGMENT_BYTES, .cache_bytes = 4096};
    int rc = log_open(&config, &log, &report, where);
    if (rc == HF_OK) {
        read_all(log);
        go_on(&config, &log);
    } else {
        must((rc == HF_E_CORRUPT || rc == HF_E_FORMAT) && where[0] != '\0');
    }
    log_close(&log);
    simdisk_free(&sd);
    return 0;
}
