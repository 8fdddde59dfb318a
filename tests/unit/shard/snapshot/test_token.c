/* test_token.c: a token is the old one or the new one whatever happens while it is written; damage is found. */
#include <stdio.h>
#include <string.h>

#include "common/base/crc32c.h"
#include "tests/support/simdisk.h"
#include "tests/unit/shard/snapshot/sample.h"
#include "tests/unit/unit.h"

struct rig {
    struct simdisk *sim;
    struct disk *disk;
};

static struct rig start(void)
{
    struct rig rig = {.sim = simdisk_new()};
    rig.disk = simdisk_disk(rig.sim);
    must(rig.disk->ops->make_dir(rig.disk, "d") == HF_OK && rig.disk->ops->sync_dir(rig.disk, ".") == HF_OK);
    return rig;
}

/* 0: absent; the index otherwise. Anything but that and a sample fails. */
static uint64_t index_of(struct disk *disk)
{
    struct arena arena = {0};
    struct token found = {0};
    int rc = token_read(disk, "d", &arena, &found);
    CU_ASSERT(rc == HF_OK || rc == HF_E_ABSENT);
    if (rc == HF_OK) {
        struct token expected = sample_token(found.index);
        CU_ASSERT(token_equal(&found, &expected));
        CU_ASSERT(found.members->n_members == 3 && found.members->index == 17);
        CU_ASSERT(strcmp(found.members->members[1]->raft_endpoint, "tcp://127.0.0.1:7411") == 0);
        CU_ASSERT(found.members->members[2]->role == HF__CATALOG__ROLE__LEARNER);
    }
    arena_deinit(&arena);
    return found.index;
}

static int write_index(struct disk *disk, uint64_t index)
{
    struct token token = sample_token(index);
    return token_write(disk, "d", &token);
}

static void test_written_and_read(void)
{
    struct rig rig = start();
    CU_ASSERT_EQUAL(index_of(rig.disk), 0);
    CU_ASSERT_EQUAL(write_index(rig.disk, 5), HF_OK);
    CU_ASSERT_EQUAL(index_of(rig.disk), 5);
    CU_ASSERT_EQUAL(write_index(rig.disk, UINT64_MAX), HF_OK);
    simdisk_crash(rig.sim, 3);
    CU_ASSERT_EQUAL(index_of(rig.disk), UINT64_MAX);
    simdisk_free(&rig.sim);
}

static void test_invalid(void)
{
    struct rig rig = start();
    struct token token = sample_token(5);
    token.members = NULL;
    CU_ASSERT_EQUAL(token_write(rig.disk, "d", &token), HF_E_INVALID);
    token = sample_token(0);
    CU_ASSERT_EQUAL(token_write(rig.disk, "d", &token), HF_E_INVALID);
    token = sample_token(5);
    token.group = 0;
    CU_ASSERT_EQUAL(token_write(rig.disk, "d", &token), HF_E_INVALID);
    CU_ASSERT_EQUAL(index_of(rig.disk), 0);
    simdisk_free(&rig.sim);
}

/* kind 0: the process is gone; others: the power. False: it was written before. */
static bool cut_after(uint64_t n, uint64_t kind, bool first)
{
    struct rig rig = start();
    if (!first)
        must(write_index(rig.disk, 5) == HF_OK);
    simdisk_halt_after(rig.sim, SIMDISK_CHANGES, n);
    int rc = write_index(rig.disk, 9);
    CU_ASSERT(rc == HF_OK || rc == HF_E_IO);
    if (kind == 0)
        simdisk_restart(rig.sim);
    else
        simdisk_crash(rig.sim, kind * 100 + n);
    uint64_t found = index_of(rig.disk);
    CU_ASSERT(rc == HF_OK ? found == 9 : found == 9 || found == (first ? 0 : 5));
    CU_ASSERT_EQUAL(write_index(rig.disk, 11), HF_OK); /* and it goes on */
    CU_ASSERT_EQUAL(index_of(rig.disk), 11);
    simdisk_free(&rig.sim);
    return rc != HF_OK;
}

static void test_cut_anywhere(void)
{
    for (unsigned first = 0; first < 2; first++) {
        uint64_t n = 0;
        for (bool more = true; more; n++)
            for (uint64_t kind = 0; kind < 8; kind++)
                more = cut_after(n, kind, first == 1);
        CU_ASSERT(n > 6);
    }
}

static void test_a_failed_operation(void)
{
    static const int errors[] = {HF_E_NO_SPACE, HF_E_IO};
    for (unsigned e = 0; e < 2; e++)
        for (uint64_t n = 1; n < 8; n++) {
            struct rig rig = start();
            must(write_index(rig.disk, 5) == HF_OK);
            simdisk_fail(rig.sim, SIMDISK_CHANGES, n, errors[e], 1);
            int rc = write_index(rig.disk, 9);
            simdisk_fail(rig.sim, 0, 0, 0, 0);
            uint64_t found = index_of(rig.disk);
            CU_ASSERT(rc == HF_OK ? found == 9 : rc == errors[e] && (found == 5 || found == 9));
            simdisk_crash(rig.sim, n);
            found = index_of(rig.disk);
            CU_ASSERT(found == 9 || (rc != HF_OK && found == 5));
            simdisk_free(&rig.sim);
        }
}

static int code_of(struct rig *rig, struct slice text)
{
    struct arena arena = {0};
    struct token token = {.index = 77};
    must(disk_replace(rig->disk, "d/snapshots/token", text) == HF_OK);
    int rc = token_read(rig->disk, "d", &arena, &token);
    CU_ASSERT(rc == HF_OK || token.index == 77); /* untouched */
    arena_deinit(&arena);
    return rc;
}

static void test_damage(void)
{
    struct rig rig = start();
    struct token token = sample_token(5);
    struct buf text = {0};
    must(token_write(rig.disk, "d", &token) == HF_OK && token_encode(&token, &text) == HF_OK);
    CU_ASSERT_EQUAL(code_of(&rig, buf_slice(&text)), HF_OK);
    for (size_t at = 0; at < text.size; at++) {
        CU_ASSERT_EQUAL(code_of(&rig, slice_make(text.data, at)), HF_E_CORRUPT);
        for (unsigned bit = 0; bit < 8; bit += 3) {
            text.data[at] ^= (uint8_t)(1u << bit);
            CU_ASSERT_EQUAL(code_of(&rig, buf_slice(&text)), HF_E_CORRUPT);
            text.data[at] ^= (uint8_t)(1u << bit);
        }
    }
    buf_append(&text, "\n", 1);
    CU_ASSERT_EQUAL(code_of(&rig, buf_slice(&text)), HF_E_CORRUPT);
    buf_clear(&text);
    memset(buf_extend(&text, TOKEN_BYTES_MAX + 1), 'x', TOKEN_BYTES_MAX + 1);
    CU_ASSERT_EQUAL(code_of(&rig, buf_slice(&text)), HF_E_CORRUPT);
    buf_deinit(&text);
    simdisk_free(&rig.sim);
}

/* With a checksum that holds. */
static int code_of_lines(struct rig *rig, const char *from, const char *to)
{
    static char text[8192], out[9000];
    struct token token = sample_token(5);
    struct buf encoded = {0};
    must(token_encode(&token, &encoded) == HF_OK);
    snprintf(text, sizeof text, "%.*s", (int)encoded.size - 13, (const char *)encoded.data);
    buf_deinit(&encoded);
    char *at = strstr(text, from);
    must(at != NULL);
    int n = snprintf(out, sizeof out - 20, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    snprintf(out + n, 20, "crc %08x\n", (unsigned)crc32c(0, out, (size_t)n));
    return code_of(rig, slice_text(out));
}

static void test_syntax_and_bounds(void)
{
    struct rig rig = start();
    must(write_index(rig.disk, 5) == HF_OK);
    CU_ASSERT_EQUAL(code_of_lines(&rig, "index 5\n", "index 6\n"), HF_OK);
    CU_ASSERT_EQUAL(code_of_lines(&rig, "format 1\n", "format 2\nsomething new\n"), HF_E_FORMAT);
    static const char *const changes[][2] = {
        {"format 1\n", "format x\n"},
        {"format 1\n", ""},
        {"index 5\n", "index 05\n"},
        {"index 5\n", "index 0\n"},
        {"index 5\n", "index 18446744073709551616\n"},
        {"index 5\n", "index 99999999999999999999999\n"},
        {"index 5\n", "index -5\n"},
        {"index 5\n", "index 5 \n"},
        {"index 5\n", "index \n"},
        {"index 5\n", "term 5\n"},
        {"group 2\n", "group 0\n"},
        {"group 2\n", "group 4294967296\n"},
        {"cluster 1122334455667788\n", "cluster 0000000000000000\n"},
        {"cluster 1122334455667788\n", "cluster 112233445566778\n"},
        {"cluster 1122334455667788\n", "cluster 112233445566778G\n"},
        {"cluster 1122334455667788\n", "cluster 112233445566778A\n"},
        {"cutover 0000000000000000\n", ""},
        {"digest 23", "digest "},
        {"digest 23", "digest 2"},
        {"members 0811", "members 0811ff"},
        {"members 0811", "members 0"},
        {"members 0811", "members ffff"},
        {"members 0811", "extra 1\nmembers 0811"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        int rc = code_of_lines(&rig, changes[i][0], changes[i][1]);
        CU_ASSERT_EQUAL(rc, HF_E_CORRUPT);
        if (rc != HF_E_CORRUPT)
            fprintf(stderr, "%s instead of %s: %s\n", changes[i][1], changes[i][0], error_name(rc));
    }
    simdisk_free(&rig.sim);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"written and read", test_written_and_read},
        {"what cannot be a token is not written", test_invalid},
        {"cut between any two operations", test_cut_anywhere},
        {"a failed operation", test_a_failed_operation},
        {"damage", test_damage},
        {"syntax and bounds", test_syntax_and_bounds},
    };
    return UNIT_MAIN("token", cases);
}
