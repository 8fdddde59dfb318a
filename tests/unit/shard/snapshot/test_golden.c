/* test_golden.c: tokens, records and streams written by each version of the formats are read for ever
 * (tests/golden/snapshot). test_snapshot_golden --generate DIR   writes them anew with this program, into a folder that
 * exists: for a new format only. */
#include <stdio.h>
#include <string.h>

#include "tests/support/simdisk.h"
#include "tests/unit/shard/snapshot/sample.h"
#include "tests/unit/unit.h"

#define INDEX 42

static const char *const versions[] = {"1"};
#define VERSIONS (sizeof versions / sizeof versions[0])

static const uint8_t room[] = {1, 0, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 3, 0, 0, 0, 'a', 'b', 'c'};

/* Headerless, both versions, and version 2 with parts that nobody knows yet. */
static const struct {
    const char *name;
    struct sample sample;
} streams[] = {
    {"stream-headerless", {.index = INDEX, .version = 0}},
    {"stream-v1", {.index = INDEX, .version = 1}},
    {"stream-v2", {.index = INDEX, .version = 2}},
    {"stream-v2-room", {.index = INDEX, .version = 2, .room = {room, sizeof room}}},
};
#define STREAMS (sizeof streams / sizeof streams[0])

static void read_at(const char *dir, const char *name, struct buf *out)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int rc = disk_read_all(disk_posix(), path, 1u << 20, out);
    if (rc != HF_OK)
        fprintf(stderr, "%s: %s\n", path, error_text(rc));
    CU_ASSERT_EQUAL_FATAL(rc, HF_OK);
}

static void read_token(const char *dir)
{
    struct arena arena = {0};
    struct token token = {0}, expected = sample_token(INDEX);
    CU_ASSERT_EQUAL_FATAL(token_read(disk_posix(), dir, &arena, &token), HF_OK);
    CU_ASSERT(token_equal(&token, &expected));
    CU_ASSERT(token.members->n_members == 3 && token.members->index == 17);
    CU_ASSERT_STRING_EQUAL(token.members->members[1]->client_endpoint, "tcp://127.0.0.1:7412");
    arena_deinit(&arena);
}

static void read_record(const char *dir)
{
    struct install_record record = {0};
    CU_ASSERT_EQUAL_FATAL(install_read(disk_posix(), dir, &record), HF_OK);
    CU_ASSERT(record.cluster == 0x1122334455667788 && record.group == 2 && record.log_epoch == 1);
    CU_ASSERT(record.index == INDEX && record.term == sample_token(INDEX).term);
}

struct files {
    struct buf bytes; /* of all, in a row */
    unsigned count;
};

static int on_begin(void *ctx, enum stream_section kind, const char *name, uint64_t bytes)
{
    struct files *files = ctx;
    (void)bytes;
    CU_ASSERT(kind == STREAM_FILE && files->count < SAMPLE_FILES && strcmp(name, sample_names[files->count]) == 0);
    files->count++;
    return HF_OK;
}

static int on_bytes(void *ctx, struct slice bytes)
{
    struct files *files = ctx;
    buf_append(&files->bytes, bytes.data, bytes.size);
    return HF_OK;
}

static void read_stream(const char *dir, unsigned which)
{
    char path[1024];
    struct arena arena = {0};
    struct stream_header header = {0};
    struct token expected = sample_token(INDEX);
    uint64_t bytes = 0;
    struct buf content = {0};
    struct files files = {0};
    struct stream_sink sink = {.ctx = &files, .begin = on_begin, .bytes = on_bytes};
    snprintf(path, sizeof path, "%s/%s", dir, streams[which].name);
    CU_ASSERT_EQUAL_FATAL(stream_file_peek(disk_posix(), path, &arena, &header, &bytes), HF_OK);
    expected.cutover = header.cutover;
    CU_ASSERT(token_equal(&header.token, &expected) && header.version == streams[which].sample.version);
    CU_ASSERT(header.ceiling.t == (which == 0 ? 0 : expected.ceiling.t) && header.cutover == (which < 2 ? 0 : 5));
    CU_ASSERT_EQUAL(stream_file_read(disk_posix(), path, &sink, 0), HF_OK);
    for (unsigned i = 0; i < SAMPLE_FILES; i++) {
        struct slice file = sample_file(&arena, INDEX, i);
        buf_append(&content, file.data, file.size);
    }
    CU_ASSERT(slice_equal(buf_slice(&content), buf_slice(&files.bytes)));
    buf_deinit(&content);
    buf_deinit(&files.bytes);
    arena_deinit(&arena);
}

static void test_all_are_read(void)
{
    for (size_t i = 0; i < VERSIONS; i++) {
        char dir[512];
        snprintf(dir, sizeof dir, "%s/%s", HF_GOLDEN_DIR, versions[i]);
        read_token(dir);
        read_record(dir);
        for (unsigned k = 0; k < STREAMS; k++)
            read_stream(dir, k);
    }
}

/* What this program makes, name by name, as it is in the newest folder. */
static void make(const char *name, struct buf *out)
{
    for (unsigned i = 0; i < STREAMS; i++)
        if (strcmp(name, streams[i].name) == 0)
            sample_stream(&streams[i].sample, out);
    struct token token = sample_token(INDEX);
    if (strcmp(name, TOKEN_DIR "/" TOKEN_NAME) == 0)
        must(token_encode(&token, out) == HF_OK);
    if (strcmp(name, INSTALL_NAME) != 0)
        return;
    struct simdisk *sd = simdisk_new();
    struct disk *disk = simdisk_disk(sd);
    struct install_record record = {token.cluster, token.group, token.log_epoch, token.index, token.term};
    must(disk->ops->make_dir(disk, "snapshots") == HF_OK && disk->ops->make_dir(disk, INSTALL_INCOMING) == HF_OK);
    must(disk_replace(disk, INSTALL_INCOMING "/" INSTALL_STAGED, slice_text("")) == HF_OK);
    must(install_exchange(disk, ".", &record) == HF_OK);
    must(disk_read_all(disk, INSTALL_NAME, 4096, out) == HF_OK);
    simdisk_free(&sd);
}

static const char *const names[] = {
    TOKEN_DIR "/" TOKEN_NAME, INSTALL_NAME, "stream-headerless", "stream-v1", "stream-v2", "stream-v2-room"};
#define NAMES (sizeof names / sizeof names[0])

static void test_written_as_in_the_newest(void)
{
    char dir[512];
    snprintf(dir, sizeof dir, "%s/%s", HF_GOLDEN_DIR, versions[VERSIONS - 1]);
    for (size_t i = 0; i < NAMES; i++) {
        struct buf ours = {0}, theirs = {0};
        make(names[i], &ours);
        read_at(dir, names[i], &theirs);
        CU_ASSERT(slice_equal(buf_slice(&ours), buf_slice(&theirs)));
        buf_deinit(&ours);
        buf_deinit(&theirs);
    }
}

static const char *generate_dir;

static void generate(void)
{
    struct disk *disk = disk_posix();
    char path[1024];
    snprintf(path, sizeof path, "%s/" TOKEN_DIR, generate_dir);
    must(disk->ops->make_dir(disk, path) == HF_OK);
    for (size_t i = 0; i < NAMES; i++) {
        struct buf bytes = {0};
        bool there = true;
        make(names[i], &bytes);
        snprintf(path, sizeof path, "%s/%s", generate_dir, names[i]);
        must(disk->ops->exists(disk, path, &there) == HF_OK && !there); /* never written again */
        must(disk_replace(disk, path, buf_slice(&bytes)) == HF_OK);
        buf_deinit(&bytes);
    }
}

int main(int argc, char **argv)
{
    static const struct unit_case cases[] = {
        {"all are read", test_all_are_read},
        {"written as in the newest", test_written_as_in_the_newest},
    };
    static const struct unit_case generator[] = {{"generate", generate}};
    if (argc == 3 && strcmp(argv[1], "--generate") == 0)
        generate_dir = argv[2];
    if (generate_dir != NULL)
        return UNIT_MAIN("snapshot golden", generator);
    return UNIT_MAIN("snapshot golden", cases);
}
