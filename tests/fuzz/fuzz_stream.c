/* fuzz_stream.c: any bytes as a stream, cut anywhere, and as the files token and INSTALL, with their checksums as they are
 * or made right so that what stands behind them is reached. A stream that is taken was written by the rules; one that is
 * refused was refused with an error of its own type; a machine in use is never touched by either. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/crc32c.h"
#include "common/base/endian.h"
#include "common/base/limits.h"
#include "shard/log/identity.h"
#include "shard/snapshot/install.h"
#include "shard/snapshot/stream_format.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/simdisk.h"

#define FILE_BYTES_MAX 65536

/* ---- a stream ---- */

struct watched {
    struct stream_sink staging;
    bool header, open;
    uint64_t left, taken;
};

static int on_header(void *ctx, const struct stream_header *h)
{
    struct watched *w = ctx;
    must(!w->header && h->version <= 2 && (h->version > 0 || (h->ceiling.t == 0 && h->cutover == 0)));
    must(h->ceiling.t <= h->token.ceiling.t && h->cutover <= h->token.cutover);
    must(h->token.cluster != 0 && h->token.group != 0 && h->token.index != 0);
    must(peers_check(h->token.members) == HF_OK);
    w->header = true;
    return w->staging.header(w->staging.ctx, h);
}

static int on_begin(void *ctx, enum stream_section kind, const char *name, uint64_t bytes)
{
    struct watched *w = ctx;
    must(w->header && !w->open && (kind == STREAM_FILE || kind == STREAM_RECORDS));
    must(stream_format_name(name, strlen(name)) && bytes <= FILE_BYTES_MAX);
    w->open = true;
    w->left = bytes;
    return w->staging.begin(w->staging.ctx, kind, name, bytes);
}

static int on_bytes(void *ctx, struct slice bytes)
{
    struct watched *w = ctx;
    must(w->open && bytes.size > 0 && bytes.size <= w->left);
    w->left -= bytes.size;
    w->taken += bytes.size;
    return w->staging.bytes(w->staging.ctx, bytes);
}

static int on_end(void *ctx)
{
    struct watched *w = ctx;
    must(w->open && w->left == 0);
    w->open = false;
    return w->staging.end(w->staging.ctx);
}

static bool typed(int rc)
{
    return (rc <= HF_E_SNAPSHOT_TOO_SMALL && rc >= HF_E_SNAPSHOT_TOO_LARGE) || rc == HF_E_EXISTS;
}

/* The input's checksums made right, as far as its lengths lead. */
static void fix(uint8_t *at, size_t size)
{
    uint8_t *start = at, *end = at + size;
    uint32_t token_crc = 0, sections = 0;
    if (size >= STREAM_V2_BYTES && memcmp(at, STREAM_MAGIC_FAMILY "01", 8) == 0) {
        put_le32(at + 16, crc32c(0, at, 16));
        at += STREAM_V1_BYTES;
    } else if (size >= STREAM_V2_BYTES && memcmp(at, STREAM_MAGIC_FAMILY "02", 8) == 0) {
        put_le32(at + 28, crc32c(0, at, 28));
        uint32_t room = get_le32(at + 24);
        if (room > size - STREAM_V2_BYTES || size - STREAM_V2_BYTES - room < 4)
            return;
        put_le32(at + STREAM_V2_BYTES + room, crc32c(0, at + STREAM_V2_BYTES, room));
        at += STREAM_V2_BYTES + room + 4;
    }
    while ((size_t)(end - at) >= STREAM_SECTION_BYTES + 9 && memcmp(at, STREAM_SECTION_MAGIC, 4) == 0) {
        size_t left = (size_t)(end - at), head = STREAM_SECTION_BYTES + (size_t)get_le32(at + 8);
        uint64_t bytes = get_le64(at + 16);
        if (head > left || left - head < 8 || bytes > left - head - 8)
            return;
        uint8_t *body = at + head + 4;
        if (sections++ == 0 && bytes > 13 && body[bytes - 14] == '\n') { /* the token's own */
            char line[16];
            snprintf(line, sizeof line, "crc %08x\n", (unsigned)crc32c(0, body, (size_t)bytes - 13));
            memcpy(body + bytes - 13, line, 13);
        }
        put_le32(at + head, crc32c(0, at, head));
        uint32_t crc = crc32c(0, body, (size_t)bytes);
        put_le32(body + bytes, crc);
        token_crc = sections == 1 ? crc : token_crc;
        at = body + bytes + 4;
    }
    if ((size_t)(end - at) < STREAM_FOOTER_BYTES || memcmp(at, STREAM_FOOTER_MAGIC, 4) != 0)
        return;
    struct stream_footer footer = {sections, (uint64_t)(at - start), token_crc, crc32c(0, start, (size_t)(at - start))};
    stream_format_footer(&footer, at);
}

/* All of it in pieces; what the reader said. */
static int read_all(struct disk *disk, struct slice in, uint8_t cuts)
{
    struct staging *s = NULL;
    must(staging_new(disk, "d", &s) == HF_OK);
    struct watched w = {.staging = staging_sink(s)};
    struct stream_sink sink = {.ctx = &w, .header = on_header, .begin = on_begin, .bytes = on_bytes, .end = on_end};
    struct stream_reader *r = stream_reader_new(&sink, FILE_BYTES_MAX);
    struct slice left = in;
    int rc = HF_OK;
    for (unsigned i = 0; rc == HF_OK && left.size > 0; i++)
        rc = stream_reader_push(r, fuzz_bytes(&left, cuts == 0 ? left.size : 1 + (size_t)(cuts * (i + 1)) % 97));
    rc = stream_reader_finish(r);
    must(rc == HF_OK ? w.header && !w.open && stream_reader_bytes(r) == in.size : typed(rc));
    if (rc == HF_OK)
        must(staging_sync(s) == HF_OK);
    stream_reader_free(&r);
    staging_free(&s);
    return rc;
}

static void stream(struct disk *disk, struct slice in, bool right)
{
    uint8_t cuts = fuzz_byte(&in);
    uint8_t *bytes = malloc(in.size + 1);
    must(bytes != NULL);
    memcpy(bytes, in.data, in.size);
    if (right)
        fix(bytes, in.size);
    struct slice all = slice_make(bytes, in.size);
    int rc = read_all(disk, all, cuts);
    must(read_all(disk, all, 0) == rc); /* whatever the cuts */
    must(disk_replace(disk, "d/stream", all) == HF_OK);
    struct arena arena = {0};
    struct stream_header header;
    uint64_t size = 0;
    int filed = stream_file_read(disk, "d/stream", NULL, 0),
        peeked = stream_file_peek(disk, "d/stream", &arena, &header, &size);
    must(filed == HF_OK || typed(filed));
    must(rc != HF_OK || (filed == HF_OK && peeked == HF_OK && size == in.size));
    must(peeked == HF_OK || (typed(peeked) && filed != HF_OK));
    must(rc == HF_OK || rc == HF_E_EXISTS || rc == HF_E_SNAPSHOT_MAGIC ||
         filed != HF_OK); /* MAGIC: the staging's own */
    arena_deinit(&arena);
    free(bytes);
}

/* ---- files ---- */

static void put_text(struct disk *disk, const char *path, struct slice in, bool right)
{
    struct buf text = {0};
    buf_append(&text, in.data, in.size);
    if (right) {
        char line[16];
        snprintf(line, sizeof line, "crc %08x\n", (unsigned)crc32c(0, in.data, in.size));
        buf_append(&text, line, 13);
    }
    must(disk_replace(disk, path, buf_slice(&text)) == HF_OK);
    buf_deinit(&text);
}

static void token(struct disk *disk, struct slice in, bool right)
{
    struct arena arena = {0};
    struct token found, again;
    must(disk_ensure_dir(disk, "d", "d/snapshots") == HF_OK);
    put_text(disk, "d/snapshots/token", in, right);
    int rc = token_read(disk, "d", &arena, &found);
    if (rc == HF_OK) {
        must(peers_check(found.members) == HF_OK);
        must(token_write(disk, "d", &found) == HF_OK && token_read(disk, "d", &arena, &again) == HF_OK);
        must(token_equal(&found, &again) && again.members->n_members == found.members->n_members);
        fuzz_stable(&found.members->base);
    } else {
        must(rc == HF_E_CORRUPT || rc == HF_E_FORMAT);
    }
    arena_deinit(&arena);
}

/* Whatever the record says, whichever directory has the mark: the machine is the old one or the new one. */
static void record(struct disk *disk, struct slice in, bool right)
{
    uint8_t where = fuzz_byte(&in);
    must(disk_ensure_dir(disk, "d", "d/snapshots") == HF_OK && disk_ensure_dir(disk, "d", "d/fsm") == HF_OK);
    must(disk_replace(disk, "d/fsm/F", slice_text("old")) == HF_OK);
    must(disk_ensure_dir(disk, "d/snapshots", "d/snapshots/incoming") == HF_OK);
    must(disk_replace(disk, "d/snapshots/incoming/F", slice_text("new")) == HF_OK);
    if (where & 1)
        must(disk_replace(disk, "d/snapshots/incoming/STAGED", slice_text("")) == HF_OK);
    else if (where & 2)
        must(disk_replace(disk, "d/fsm/STAGED", slice_text("")) == HF_OK);
    put_text(disk, "d/INSTALL", in, right);
    struct install_record found = {0}, told = {0};
    bool pending = false, there = true;
    int rc = install_read(disk, "d", &found);
    must(rc == HF_OK || rc == HF_E_CORRUPT || rc == HF_E_FORMAT);
    int finished = install_finish(disk, "d", &pending, &told);
    must(!pending || (rc == HF_OK && memcmp(&found, &told, sizeof told) == 0 && (where & 3)));
    must(finished == HF_OK || (finished == rc && !pending));
    struct buf machine = {0};
    must(disk_read_all(disk, "d/fsm/F", 10, &machine) == HF_OK);
    must(slice_equal(buf_slice(&machine), slice_text(rc == HF_OK && (where & 1) ? "new" : "old")));
    buf_deinit(&machine);
    if (pending)
        must(install_done(disk, "d") == HF_OK);
    if (pending || finished == HF_OK)
        must(disk->ops->exists(disk, "d/INSTALL", &there) == HF_OK && !there);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    uint8_t what = fuzz_byte(&in);
    if (in.size > FILE_BYTES_MAX)
        return 0;
    struct simdisk *sd = simdisk_new();
    struct disk *disk = simdisk_disk(sd);
    must(disk->ops->make_dir(disk, "d") == HF_OK);
    if (what % 3 == 0)
        stream(disk, in, what & 0x80);
    else if (what % 3 == 1)
        token(disk, in, what & 0x80);
    else
        record(disk, in, what & 0x80);
    simdisk_free(&sd);
    return 0;
}
