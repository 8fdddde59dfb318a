/* test_manifest.c: what a backup's directory says of itself comes back as it was written; of anything else nothing is believed. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/manifest.h"
#include "common/base/buf.h"
#include "common/base/crc32c.h"
#include "common/base/error.h"
#include "common/sys/disk.h"
#include "tests/unit/unit.h"

#define WRITTEN                                                                                                        \
    "holdfast-backup 1\ncluster 00000000000000ab\nshards 2\n"                                                          \
    "shard 1 file shard-1.backup bytes 18446744073709551615 records 12 index 34 term 2\n"                              \
    "shard 4294967295 file shard-4294967295.backup bytes 512 records 0 index 7 term 3\n"

static uint64_t read_at;
static char dir[64];

static void path_of(char out[128])
{
    snprintf(out, 128, "%s/" MANIFEST_NAME, dir);
}

static void make_dir(void)
{
    snprintf(dir, sizeof dir, "/tmp/holdfast-manifest-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
}

static void remove_dir(void)
{
    CU_ASSERT_EQUAL(disk_remove_tree(disk_posix(), dir), HF_OK);
}

static int read_heads(size_t *out_count, Hf__Client__BackupHead out[2])
{
    struct arena arena = {0};
    Hf__Client__BackupHead *heads = NULL;
    size_t count = 0;
    int rc = manifest_read(dir, &arena, &read_at, &heads, &count);
    CU_ASSERT_EQUAL(rc == HF_OK, heads != NULL);
    for (size_t i = 0; i < count && i < 2; i++)
        out[i] = heads[i];
    *out_count = count;
    arena_deinit(&arena);
    return rc;
}

static int read_text(struct slice text)
{
    char path[128];
    size_t count;
    Hf__Client__BackupHead heads[2];
    path_of(path);
    CU_ASSERT_EQUAL_FATAL(disk_replace(disk_posix(), path, text), HF_OK);
    return read_heads(&count, heads);
}

/* With the right checksum. */
static int read_sealed(const char *lines)
{
    char text[2048];
    int n = snprintf(text, sizeof text, "%scrc %08x\n", lines, crc32c(0, lines, strlen(lines)));
    return read_text(slice_make(text, (size_t)n));
}

static void comes_back(void)
{
    Hf__Client__BackupHead heads[2], again[2];
    char path[128];
    size_t count;
    struct buf text = {0};
    make_dir();
    CU_ASSERT_EQUAL(read_heads(&count, again), HF_E_ABSENT);
    hf__client__backup_head__init(&heads[0]);
    heads[1] = heads[0];
    heads[0].cluster = heads[1].cluster = 0xab;
    heads[0].shard = 1, heads[0].bytes = UINT64_MAX, heads[0].records = 12, heads[0].index = 34, heads[0].term = 2;
    heads[1].shard = UINT32_MAX, heads[1].bytes = 512, heads[1].index = 7, heads[1].term = 3;
    CU_ASSERT_EQUAL(manifest_write(dir, 0, heads, 2), HF_OK);
    CU_ASSERT_EQUAL_FATAL(read_heads(&count, again), HF_OK);
    CU_ASSERT_EQUAL(read_at, 0);
    CU_ASSERT_EQUAL_FATAL(count, 2);
    for (size_t i = 0; i < count; i++)
        CU_ASSERT(again[i].cluster == 0xab && again[i].shard == heads[i].shard && again[i].bytes == heads[i].bytes &&
                  again[i].records == heads[i].records && again[i].index == heads[i].index &&
                  again[i].term == heads[i].term);
    path_of(path);
    CU_ASSERT_EQUAL(disk_read_all(disk_posix(), path, 4096, &text), HF_OK);
    CU_ASSERT(text.size > strlen(WRITTEN) && memcmp(text.data, WRITTEN, strlen(WRITTEN)) == 0);
    for (size_t at = 0; at < text.size; at++) { /* every bit, every length */
        for (int bit = 0; bit < 8; bit++) {
            text.data[at] ^= (uint8_t)(1 << bit);
            int rc = read_text(buf_slice(&text));
            CU_ASSERT(rc == HF_E_CORRUPT || (rc == HF_E_FORMAT && at == 16));
            text.data[at] ^= (uint8_t)(1 << bit);
        }
        CU_ASSERT_EQUAL(read_text(slice_make(text.data, at)), HF_E_CORRUPT);
    }
    CU_ASSERT_EQUAL(read_text(buf_slice(&text)), HF_OK);
    buf_deinit(&text);
    remove_dir();
}

/* A checksum is not what makes it true. */
#define OF_ONE_MOMENT(line)                                                                                            \
    "holdfast-backup 2\n" line "cluster 00000000000000ab\nshards 1\n"                                                  \
    "shard 1 file shard-1.backup bytes 1 records 1 index 1 term 1\n"

static void nothing_else_is_believed(void)
{
    make_dir();
    CU_ASSERT_EQUAL(read_sealed(WRITTEN), HF_OK);
    CU_ASSERT_EQUAL(read_sealed(WRITTEN "\n"), HF_E_CORRUPT);
    CU_ASSERT_EQUAL(read_sealed("holdfast-backup 3\nnobody knows\n"), HF_E_FORMAT);
    CU_ASSERT_EQUAL(read_sealed("holdfast-backup 0\n"), HF_E_CORRUPT);
    CU_ASSERT_EQUAL(read_sealed("holdfast-backup 1\ncluster 00000000000000ab\nshards 0\n"), HF_E_CORRUPT);
    CU_ASSERT_EQUAL(read_sealed("holdfast-backup 1\ncluster 00000000000000ab\nshards 999999999\n"), HF_E_CORRUPT);
    CU_ASSERT_EQUAL(read_sealed("holdfast-backup 1\ncluster 00000000000000ab\nshards 1\n"
                                "shard 1 file shard-2.backup bytes 1 records 1 index 1 term 1\n"),
                    HF_E_CORRUPT);
    CU_ASSERT_EQUAL(read_sealed("holdfast-backup 1\ncluster 00000000000000ab\nshards 1\n"
                                "shard 1 file shard-1.backup bytes 99999999999999999999 records 1 index 1 term 1\n"),
                    HF_E_CORRUPT);
    CU_ASSERT_EQUAL(read_sealed("holdfast-backup 1\ncluster 00000000000000ab\nshards 1\n"
                                "shard  1 file shard-1.backup bytes 1 records 1 index 1 term 1\n"),
                    HF_E_CORRUPT);
    CU_ASSERT_EQUAL(read_sealed(""), HF_E_CORRUPT);
    CU_ASSERT_EQUAL(read_sealed(OF_ONE_MOMENT("at 77\n")), HF_OK);
    CU_ASSERT_EQUAL(read_at, 77);
    CU_ASSERT_EQUAL(read_sealed(OF_ONE_MOMENT("at 0\n")), HF_E_CORRUPT); /* version 1 says that */
    CU_ASSERT_EQUAL(read_sealed(OF_ONE_MOMENT("at 077\n")), HF_E_CORRUPT);
    CU_ASSERT_EQUAL(read_sealed(OF_ONE_MOMENT("")), HF_E_CORRUPT);
    remove_dir();
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"comes back", comes_back},
        {"nothing else is believed", nothing_else_is_believed},
    };
    return UNIT_MAIN("manifest", cases);
}
