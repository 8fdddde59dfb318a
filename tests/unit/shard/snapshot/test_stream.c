/* test_stream.c: streams are written and read again whatever the cuts; everything else gets an error of its own type. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/endian.h"
#include "tests/support/simdisk.h"
#include "tests/unit/shard/snapshot/sample.h"
#include "tests/unit/unit.h"

#define INDEX 42

/* A sink that remembers, and holds the reader to its order. */
struct catcher {
    unsigned headers, begun, ended;
    bool open;
    struct token token; /* members as long as the reader */
    struct stream_header header;
    struct buf files[SAMPLE_FILES + 2];
    char names[SAMPLE_FILES + 2][STREAM_NAME_BYTES + 1];
    uint64_t announced;
    int refuse_header;
};

static int on_header(void *ctx, const struct stream_header *h)
{
    struct catcher *c = ctx;
    CU_ASSERT(c->headers == 0 && c->begun == 0);
    c->headers++;
    c->header = *h;
    struct token token = sample_token(INDEX);
    token.cutover = h->cutover;
    CU_ASSERT(token_equal(&h->token, &token)); /* never a damaged one */
    CU_ASSERT_EQUAL(h->token.members->n_members, 3);
    return c->refuse_header;
}

static int on_begin(void *ctx, enum stream_section kind, const char *name, uint64_t bytes)
{
    struct catcher *c = ctx;
    CU_ASSERT(c->headers == 1 && !c->open && c->begun < SAMPLE_FILES + 1);
    CU_ASSERT(kind == STREAM_FILE || kind == STREAM_RECORDS);
    snprintf(c->names[c->begun], sizeof c->names[0], "%s", name);
    c->announced = bytes;
    c->open = true;
    c->begun++;
    return HF_OK;
}

static int on_bytes(void *ctx, struct slice bytes)
{
    struct catcher *c = ctx;
    CU_ASSERT(c->open && bytes.size > 0);
    buf_append(&c->files[c->begun - 1], bytes.data, bytes.size);
    CU_ASSERT(c->files[c->begun - 1].size <= c->announced);
    return HF_OK;
}

static int on_end(void *ctx)
{
    struct catcher *c = ctx;
    CU_ASSERT(c->open && c->files[c->begun - 1].size == c->announced);
    c->open = false;
    c->ended++;
    return HF_OK;
}

static void catcher_deinit(struct catcher *c)
{
    for (unsigned i = 0; i < SAMPLE_FILES + 2; i++)
        buf_deinit(&c->files[i]);
}

static bool all_there(const struct catcher *c)
{
    struct arena arena = {0};
    bool good = c->headers == 1 && c->begun == SAMPLE_FILES && c->ended == SAMPLE_FILES;
    for (unsigned i = 0; i < SAMPLE_FILES; i++)
        good = good && strcmp(c->names[i], sample_names[i]) == 0 &&
               slice_equal(buf_slice(&c->files[i]), sample_file(&arena, INDEX, i));
    arena_deinit(&arena);
    return good;
}

/* Pushes all in pieces of `piece` bytes (0: random ones) and finishes. */
static int read_in(struct slice bytes, size_t piece, struct random *random, struct catcher *c, uint64_t bytes_max)
{
    struct stream_sink sink = {.ctx = c, .header = on_header, .begin = on_begin, .bytes = on_bytes, .end = on_end};
    struct stream_reader *r = stream_reader_new(&sink, bytes_max);
    int rc = HF_OK;
    while (rc == HF_OK && bytes.size > 0) {
        size_t size = piece != 0 ? piece : 1 + (size_t)random_below(random, 300);
        size = size < bytes.size ? size : bytes.size;
        rc = stream_reader_push(r, slice_make(bytes.data, size));
        bytes = slice_make(bytes.data + size, bytes.size - size);
    }
    int finished = stream_reader_finish(r);
    CU_ASSERT(rc == HF_OK || finished == rc);
    CU_ASSERT_EQUAL(stream_reader_push(r, slice_text("x")), finished == HF_OK ? HF_E_SNAPSHOT_LENGTH : finished);
    stream_reader_free(&r);
    return finished;
}

static int code_of(struct slice bytes)
{
    struct catcher c = {0};
    int rc = read_in(bytes, bytes.size + 1, NULL, &c, 0);
    catcher_deinit(&c);
    return rc;
}

static int code_of_sample(const struct sample *s)
{
    struct buf bytes = {0};
    sample_stream(s, &bytes);
    int rc = code_of(buf_slice(&bytes));
    buf_deinit(&bytes);
    return rc;
}

static bool typed(int rc)
{
    return rc <= HF_E_SNAPSHOT_TOO_SMALL && rc >= HF_E_SNAPSHOT_TOO_LARGE;
}

static void test_any_cut(void)
{
    struct buf bytes = {0};
    struct random random = {1};
    sample_written(INDEX, 0, &bytes);
    for (unsigned i = 0; i < 60; i++) {
        struct catcher c = {0};
        CU_ASSERT_EQUAL(read_in(buf_slice(&bytes), i < 40 ? i : 0, &random, &c, i % 2 ? 0 : bytes.size), HF_OK);
        CU_ASSERT(all_there(&c));
        CU_ASSERT(c.header.version == 1 && c.header.ceiling.t == sample_token(INDEX).ceiling.t);
        catcher_deinit(&c);
    }
    buf_deinit(&bytes);
}

static void test_as_composed(void)
{
    struct buf written = {0}, composed = {0};
    sample_written(INDEX, 0, &written);
    sample_stream(&(struct sample){.index = INDEX, .version = 1}, &composed);
    CU_ASSERT(slice_equal(buf_slice(&written), buf_slice(&composed)));
    buf_clear(&written);
    buf_clear(&composed);
    sample_written(INDEX, 5, &written);
    sample_stream(&(struct sample){.index = INDEX, .version = 2}, &composed);
    CU_ASSERT(slice_equal(buf_slice(&written), buf_slice(&composed)));
    buf_deinit(&written);
    buf_deinit(&composed);
}

/* (ceiling, cutover) of each version; unknown parts of the room are passed over. */
static void test_headers(void)
{
    static const uint8_t room[] = {1, 0, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 3, 0, 0, 0, 'a', 'b', 'c'};
    uint64_t ceiling = sample_token(INDEX).ceiling.t;
    const struct {
        struct sample sample;
        uint64_t ceiling, cutover;
    } rows[] = {
        {{.index = INDEX, .version = 0}, 0, 0},
        {{.index = INDEX, .version = 1}, ceiling, 0},
        {{.index = INDEX, .version = 2}, ceiling, 5},
        {{.index = INDEX, .version = 2, .room = {room, sizeof room}}, ceiling, 5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t piece = 1; piece < 50; piece += 16) {
            struct buf bytes = {0};
            struct catcher c = {0};
            sample_stream(&rows[i].sample, &bytes);
            CU_ASSERT_EQUAL(read_in(buf_slice(&bytes), piece, NULL, &c, 0), HF_OK);
            CU_ASSERT(all_there(&c) && c.header.version == rows[i].sample.version);
            CU_ASSERT(c.header.ceiling.t == rows[i].ceiling && c.header.cutover == rows[i].cutover);
            catcher_deinit(&c);
            buf_deinit(&bytes);
        }
}

static void test_rooms_that_cannot_be(void)
{
    static const uint8_t beyond[] = {1, 0, 0, 0, 4, 0, 0, 0, 'a', 'b', 'c'}, stub[] = {1, 0, 0};
    static const uint8_t huge[] = {1, 0, 0, 0, 255, 255, 255, 255, 'a'};
    CU_ASSERT_EQUAL(code_of_sample(&(struct sample){.index = INDEX, .version = 2, .room = {beyond, sizeof beyond}}),
                    HF_E_SNAPSHOT_LENGTH);
    CU_ASSERT_EQUAL(code_of_sample(&(struct sample){.index = INDEX, .version = 2, .room = {stub, sizeof stub}}),
                    HF_E_SNAPSHOT_LENGTH);
    CU_ASSERT_EQUAL(code_of_sample(&(struct sample){.index = INDEX, .version = 2, .room = {huge, sizeof huge}}),
                    HF_E_SNAPSHOT_LENGTH);
    static uint8_t large[STREAM_ROOM_BYTES_MAX + 8];
    put_le32(large + 4, sizeof large - 8);
    CU_ASSERT_EQUAL(code_of_sample(&(struct sample){.index = INDEX, .version = 2, .room = {large, sizeof large}}),
                    HF_E_SNAPSHOT_LENGTH);
}

/* Each typed error, made for real and with every checksum before it right. */
static void test_every_error(void)
{
    static const char not_a_token[] = "format 1\n";
    const struct {
        const char *what;
        struct sample sample;
        int code;
    } rows[] = {
        {"nothing wrong", {.version = 1}, HF_OK},
        {"footer of another token", {.version = 1, .add = {.token_crc = 1}}, HF_E_SNAPSHOT_FOOTER},
        {"body is not the footer's", {.version = 1, .add = {.crc = 1}}, HF_E_SNAPSHOT_BODY},
        {"a section less", {.version = 1, .add = {.sections = 1}}, HF_E_SNAPSHOT_BODY},
        {"some bytes less", {.version = 1, .add = {.bytes = 1}}, HF_E_SNAPSHOT_BODY},
        {"a section's crc", {.version = 1, .section_crc_add = 1}, HF_E_SNAPSHOT_BODY},
        {"no token", {.version = 1, .no_token = true}, HF_E_SNAPSHOT_TOKEN},
        {"two tokens", {.version = 1, .token_twice = true}, HF_E_SNAPSHOT_TOKEN},
        {"a token of another name", {.version = 1, .token_name = "x"}, HF_E_SNAPSHOT_TOKEN},
        {"a token that is none",
         {.version = 1, .token_text = {(const uint8_t *)not_a_token, sizeof not_a_token - 1}},
         HF_E_SNAPSHOT_TOKEN},
        {"unknown kind", {.version = 1, .kind = 9}, HF_E_SNAPSHOT_MAGIC},
        {"a path as a name", {.version = 1, .name = "../CURRENT"}, HF_E_SNAPSHOT_MAGIC},
        {"a hidden name", {.version = 1, .name = ".x"}, HF_E_SNAPSHOT_MAGIC},
        {"a name with a slash", {.version = 1, .name = "a/b"}, HF_E_SNAPSHOT_MAGIC},
        {"a name with a blank", {.version = 1, .name = "a b"}, HF_E_SNAPSHOT_MAGIC},
        {"no name", {.version = 1, .name = ""}, HF_E_SNAPSHOT_LENGTH},
        {"a longer section than there are bytes", {.version = 1, .announced = 1u << 30}, HF_E_SNAPSHOT_TOO_SMALL},
        {"other records", {.version = 1, .kind = STREAM_RECORDS}, HF_OK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sample s = rows[i].sample;
        s.index = INDEX;
        int rc = code_of_sample(&s);
        CU_ASSERT_EQUAL(rc, rows[i].code);
        if (rc != rows[i].code)
            fprintf(stderr, "%s: %s\n", rows[i].what, error_name(rc));
    }
}

static void test_magic(void)
{
    struct buf bytes = {0};
    sample_written(INDEX, 0, &bytes);
    static const char *const others[] = {"HFSNAP00", "HFSNAP03", "HFSNAP99", "HFSNAPxx",
                                         "hfsnap01", "GARBAGE!", "HFsf...."};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        memcpy(bytes.data, others[i], 8);
        CU_ASSERT_EQUAL(code_of(buf_slice(&bytes)), HF_E_SNAPSHOT_MAGIC);
    }
    buf_deinit(&bytes);
    CU_ASSERT_EQUAL(code_of(slice_text("")), HF_E_SNAPSHOT_TOO_SMALL);
}

static void test_limits(void)
{
    struct buf bytes = {0};
    struct catcher c = {0}, d = {0}, e = {0};
    sample_written(INDEX, 0, &bytes);
    CU_ASSERT_EQUAL(read_in(buf_slice(&bytes), 100, NULL, &c, bytes.size - 1), HF_E_SNAPSHOT_TOO_LARGE);
    CU_ASSERT_EQUAL(c.ended, SAMPLE_FILES); /* only its last byte was too much */
    CU_ASSERT_EQUAL(read_in(buf_slice(&bytes), 100, NULL, &d, 2000), HF_E_SNAPSHOT_TOO_LARGE);
    CU_ASSERT_EQUAL(d.begun, 0); /* a section that will not fit is not begun */
    e.refuse_header = HF_E_SNAPSHOT_TOKEN;
    CU_ASSERT_EQUAL(read_in(buf_slice(&bytes), 100, NULL, &e, 0), HF_E_SNAPSHOT_TOKEN); /* what the sink says */
    CU_ASSERT_EQUAL(e.begun, 0);
    catcher_deinit(&c);
    catcher_deinit(&d);
    catcher_deinit(&e);
    buf_deinit(&bytes);
}

static void test_truncated_anywhere(void)
{
    struct buf bytes = {0};
    for (unsigned version = 0; version < 3; version++) {
        buf_clear(&bytes);
        sample_stream(&(struct sample){.index = INDEX, .version = version}, &bytes);
        for (size_t size = 0; size < bytes.size; size++)
            CU_ASSERT_EQUAL(code_of(slice_make(bytes.data, size)), HF_E_SNAPSHOT_TOO_SMALL);
        buf_append(&bytes, "x", 1);
        CU_ASSERT_EQUAL(code_of(buf_slice(&bytes)), HF_E_SNAPSHOT_LENGTH);
    }
    buf_deinit(&bytes);
}

static void test_one_byte_flipped_anywhere(void)
{
    struct buf bytes = {0};
    for (unsigned version = 0; version < 3; version++) {
        buf_clear(&bytes);
        sample_stream(&(struct sample){.index = INDEX, .version = version}, &bytes);
        for (size_t at = 0; at < bytes.size; at++)
            for (unsigned bit = 0; bit < 8; bit++) {
                bytes.data[at] ^= (uint8_t)(1u << bit);
                int rc = code_of(buf_slice(&bytes));
                CU_ASSERT(typed(rc));
                bytes.data[at] ^= (uint8_t)(1u << bit);
            }
    }
    buf_deinit(&bytes);
}

/* ---- files ---- */

static void put_file(struct disk *disk, const char *path, struct slice bytes)
{
    (void)disk->ops->remove(disk, path);
    must(disk_replace(disk, path, bytes) == HF_OK);
}

static void test_file(void)
{
    struct simdisk *sd = simdisk_new();
    struct disk *disk = simdisk_disk(sd);
    struct buf bytes = {0};
    struct arena arena = {0};
    struct stream_header header = {0};
    uint64_t size = 0;
    struct catcher c = {0};
    struct stream_sink sink = {.ctx = &c, .header = on_header, .begin = on_begin, .bytes = on_bytes, .end = on_end};
    CU_ASSERT_EQUAL(stream_file_peek(disk, "s", &arena, &header, &size), HF_E_SNAPSHOT_ABSENT);
    CU_ASSERT_EQUAL(stream_file_read(disk, "s", NULL, 0), HF_E_SNAPSHOT_ABSENT);
    sample_written(INDEX, 0, &bytes);
    put_file(disk, "s", buf_slice(&bytes));
    uint64_t reads = simdisk_count(sd, SIMDISK_READ);
    CU_ASSERT_EQUAL(stream_file_peek(disk, "s", &arena, &header, &size), HF_OK);
    CU_ASSERT_EQUAL(simdisk_count(sd, SIMDISK_READ) - reads, 2); /* the two ends */
    struct token token = sample_token(INDEX);
    CU_ASSERT(size == bytes.size && header.version == 1 && token_equal(&header.token, &token));
    CU_ASSERT_EQUAL(header.token.members->n_members, 3);
    CU_ASSERT_EQUAL(stream_file_read(disk, "s", &sink, 0), HF_OK);
    CU_ASSERT(all_there(&c));
    CU_ASSERT_EQUAL(stream_file_read(disk, "s", NULL, bytes.size - 1), HF_E_SNAPSHOT_TOO_LARGE);
    catcher_deinit(&c);
    arena_deinit(&arena);
    buf_deinit(&bytes);
    simdisk_free(&sd);
}

static void test_damaged_file(void)
{
    struct simdisk *sd = simdisk_new();
    struct disk *disk = simdisk_disk(sd);
    struct buf bytes = {0};
    struct arena arena = {0};
    struct stream_header header = {0};
    uint64_t size = 0;
    sample_written(INDEX, 0, &bytes);
    for (size_t cut = 0; cut < bytes.size; cut += 7) {
        put_file(disk, "s", slice_make(bytes.data, cut));
        CU_ASSERT_EQUAL(stream_file_peek(disk, "s", &arena, &header, &size), HF_E_SNAPSHOT_TOO_SMALL);
        CU_ASSERT_EQUAL(stream_file_read(disk, "s", NULL, 0), HF_E_SNAPSHOT_TOO_SMALL);
    }
    put_file(disk, "s", buf_slice(&bytes));
    for (size_t at = 0; at < bytes.size; at += at < 1500 || at > bytes.size - 200 ? 1 : 13) {
        must(simdisk_flip(sd, "s", at, (unsigned)(at % 8)) == HF_OK);
        CU_ASSERT(typed(stream_file_read(disk, "s", NULL, 0)));
        must(simdisk_flip(sd, "s", at, (unsigned)(at % 8)) == HF_OK);
    }
    must(simdisk_flip(sd, "s", bytes.size - STREAM_FOOTER_BYTES + 17, 1) == HF_OK);
    CU_ASSERT_EQUAL(stream_file_peek(disk, "s", &arena, &header, &size), HF_E_SNAPSHOT_FOOTER);
    buf_clear(&bytes); /* the whole footer of another one, as of a file that was cut and written over */
    sample_stream(&(struct sample){.index = INDEX, .version = 1, .add = {.token_crc = 3}}, &bytes);
    put_file(disk, "s", buf_slice(&bytes));
    CU_ASSERT_EQUAL(stream_file_peek(disk, "s", &arena, &header, &size), HF_E_SNAPSHOT_FOOTER);
    simdisk_fail(sd, SIMDISK_READ, 1, HF_E_IO, 0);
    CU_ASSERT_EQUAL(stream_file_read(disk, "s", NULL, 0), HF_E_IO);
    arena_deinit(&arena);
    buf_deinit(&bytes);
    simdisk_free(&sd);
}

/* Both ends are whole, and the token goes on behind the end: found by fuzz_stream. */
static void test_a_token_longer_than_its_file(void)
{
    struct simdisk *sd = simdisk_new();
    struct disk *disk = simdisk_disk(sd);
    struct buf bytes = {0};
    struct arena arena = {0};
    struct stream_header header = {.ceiling = {7}};
    uint64_t size = 0;
    uint8_t footer[STREAM_FOOTER_BYTES];
    stream_format_header(&header, &bytes);
    stream_format_section(STREAM_TOKEN, STREAM_TOKEN_NAME, 100000, &bytes);
    buf_append(&bytes, "format 1\n", 9);
    stream_format_footer(&(struct stream_footer){.sections = 1, .bytes = bytes.size}, footer);
    buf_append(&bytes, footer, sizeof footer);
    put_file(disk, "s", buf_slice(&bytes));
    CU_ASSERT_EQUAL(stream_file_peek(disk, "s", &arena, &header, &size), HF_E_SNAPSHOT_TOO_SMALL);
    CU_ASSERT_EQUAL(stream_file_read(disk, "s", NULL, 0), HF_E_SNAPSHOT_TOO_SMALL);
    arena_deinit(&arena);
    buf_deinit(&bytes);
    simdisk_free(&sd);
}

/* ---- a directory, and a writer used wrongly ---- */

static int append(void *ctx, struct slice bytes)
{
    buf_append(ctx, bytes.data, bytes.size);
    return HF_OK;
}

static int full(void *ctx, struct slice bytes)
{
    uint64_t *left = ctx;
    if (bytes.size > *left)
        return HF_E_NO_SPACE;
    *left -= bytes.size;
    return HF_OK;
}

static void test_directory(void)
{
    char dir[] = "/tmp/hf-stream-XXXXXX", path[64];
    must(mkdtemp(dir) != NULL);
    struct arena arena = {0};
    struct buf expected = {0}, got = {0};
    struct disk *disk = disk_posix();
    static const char *const ignored[] = {"LOCK", "LOG", "LOG.old.17"};
    for (unsigned i = 0; i < SAMPLE_FILES; i++) { /* made in another order than they are written */
        snprintf(path, sizeof path, "%s/%s", dir, sample_names[SAMPLE_FILES - 1 - i]);
        must(disk_replace(disk, path, sample_file(&arena, INDEX, SAMPLE_FILES - 1 - i)) == HF_OK);
        snprintf(path, sizeof path, "%s/%s", dir, ignored[i]);
        must(disk_replace(disk, path, slice_text("x")) == HF_OK);
    }
    struct token token = sample_token(INDEX);
    struct stream_header header = {.ceiling = token.ceiling, .token = token};
    struct stream_writer *w = NULL;
    uint64_t bytes = 0;
    CU_ASSERT_EQUAL(stream_directory_bytes(&header, dir, &bytes), HF_OK);
    CU_ASSERT_EQUAL(stream_writer_new(&header, append, &got, &w), HF_OK);
    CU_ASSERT_EQUAL(stream_write_directory(w, dir), HF_OK);
    CU_ASSERT_EQUAL(stream_finish(w), HF_OK);
    stream_writer_free(&w);
    sample_written(INDEX, 0, &expected);
    CU_ASSERT(slice_equal(buf_slice(&got), buf_slice(&expected)));
    CU_ASSERT_EQUAL(bytes, got.size);
    must(disk_remove_tree(disk, dir) == HF_OK);
    CU_ASSERT_EQUAL(stream_directory_bytes(&header, dir, &bytes), HF_E_ABSENT);
    buf_deinit(&got);
    buf_deinit(&expected);
    arena_deinit(&arena);
}

static void test_writer(void)
{
    struct token token = sample_token(INDEX);
    struct stream_header header = {.ceiling = token.ceiling, .token = token};
    struct stream_writer *w = NULL;
    struct buf out = {0};
    must(stream_writer_new(&header, append, &out, &w) == HF_OK);
    CU_ASSERT_EQUAL(stream_section_begin(w, STREAM_FILE, "a/b", 3), HF_E_INVALID);
    CU_ASSERT_EQUAL(stream_section_begin(w, STREAM_FILE, "", 3), HF_E_INVALID);
    CU_ASSERT_EQUAL(stream_section_begin(w, STREAM_FILE, "a", 3), HF_OK);
    CU_ASSERT_EQUAL(stream_section_bytes(w, slice_text("four")), HF_E_INVALID);
    CU_ASSERT_EQUAL(stream_section_bytes(w, slice_text("ab")), HF_OK);
    CU_ASSERT_EQUAL(stream_section_end(w), HF_E_INVALID);
    stream_writer_free(&w);
    header.token.members = NULL;
    CU_ASSERT_EQUAL(stream_writer_new(&header, append, &out, &w), HF_E_INVALID);
    header.token.members = token.members;
    uint64_t left = 10; /* what `write` says is passed on */
    CU_ASSERT_EQUAL(stream_writer_new(&header, full, &left, &w), HF_E_NO_SPACE);
    left = 5000;
    CU_ASSERT_EQUAL(stream_writer_new(&header, full, &left, &w), HF_OK);
    CU_ASSERT_EQUAL(stream_section_begin(w, STREAM_FILE, "a", 10000), HF_OK);
    static uint8_t zeros[10000];
    CU_ASSERT_EQUAL(stream_section_bytes(w, slice_make(zeros, sizeof zeros)), HF_E_NO_SPACE);
    stream_writer_free(&w);
    buf_deinit(&out);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"any cut", test_any_cut},
        {"the writer writes what the format says", test_as_composed},
        {"headers of each version", test_headers},
        {"rooms that cannot be", test_rooms_that_cannot_be},
        {"every typed error", test_every_error},
        {"unknown magic of the family, and no stream at all", test_magic},
        {"too large, and a sink that refuses", test_limits},
        {"truncated anywhere", test_truncated_anywhere},
        {"one bit flipped anywhere", test_one_byte_flipped_anywhere},
        {"a stream in a file", test_file},
        {"a damaged file", test_damaged_file},
        {"a token longer than its file", test_a_token_longer_than_its_file},
        {"a directory", test_directory},
        {"a writer used wrongly, or stopped", test_writer},
    };
    return UNIT_MAIN("stream", cases);
}
