/* test_golden.c: files written by each version of the disk formats are read for ever (tests/golden/log).
 * test_log_golden --generate DIR   writes them anew with this program, into a folder that exists: for a new format
 * only. Zero bytes at the end of a segment are cut off in the tree and put back here. */
#include <stdio.h>
#include <string.h>

#include "shard/log/frame.h"
#include "shard/log/hardstate.h"
#include "shard/log/identity.h"
#include "tests/unit/shard/log/rig.h"
#include "tests/unit/unit.h"

#define SEGMENT_BYTES (12u * 1024)

/* Of the first program, of one whose segments say how long they were made, of one whose log began anew behind an
 * installed state while its identity said that it had been damaged, and of one whose engine was changed before. */
static const char *const versions[] = {"1", "2", "3", "4"};
#define VERSIONS (sizeof versions / sizeof versions[0])
static const char *version; /* the folder that is being read */

static bool restarted(void)
{
    return strcmp(version, "3") >= 0;
}

static bool changed(void)
{
    return strcmp(version, "4") >= 0;
}

/* The n-th file of the version's log; NULL: no more. */
static const char *file_of(size_t n)
{
    static const char *const first[] = {"hardstate", "seg-0000000000000002.log", "seg-0000000000000003.log", NULL};
    static const char *const third[] = {"hardstate", "seg-0000000000000003.log", NULL};
    return restarted() ? third[n] : first[n];
}

/* The log of the golden files: trimmed, truncated, two segments, five terms. */
static void write_sample(struct rig *rig)
{
    rig_create(rig, SEGMENT_BYTES, 0, 10, 2);
    for (int i = 0; i < 30; i++) {
        rig->term = 2 + (uint64_t)i / 10;
        rig_turn(rig, 20);
    }
    log_truncate(rig->log, 591);
    rig->term = 6;
    rig_turn(rig, 7);
    must(log_trim(rig->log, 300) == 0);
    log_set_hard_state(rig->log, (struct log_hard_state){.term = 9, .vote = 3, .commit = 593});
    rig_turn(rig, 0);
    rig->term = 9;
    rig_turn(rig, 2);
    if (!restarted())
        return;
    log_restart(rig->log, 650, 9);
    rig_turn(rig, 5);
}

static void read_sample(struct rig *rig)
{
    uint64_t term = 0;
    struct log_hard_state hs = log_hard_state(rig->log);
    CU_ASSERT(hs.term == 9 && hs.vote == 3 && hs.commit == (restarted() ? 650 : 593));
    if (restarted()) {
        CU_ASSERT(log_first(rig->log) == 651 && log_last(rig->log) == 655);
        CU_ASSERT(log_term(rig->log, 650, &term) == 0 && term == 9);
        rig_check(rig);
        return;
    }
    CU_ASSERT(log_first(rig->log) == 301 && log_last(rig->log) == 599);
    CU_ASSERT(log_term(rig->log, 300, &term) == 0 && term == 3);
    CU_ASSERT(log_term(rig->log, 590, &term) == 0 && term == 4);
    CU_ASSERT(log_term(rig->log, 591, &term) == 0 && term == 6);
    CU_ASSERT(log_term(rig->log, 598, &term) == 0 && term == 9);
    rig_check(rig);
}

static void write_identity(struct disk *disk, const char *dir)
{
    struct identity id = {.cluster = 0x1122334455667788,
                          .group = 2,
                          .replica = 3,
                          .incarnation = 0x99aabbccddeeff01,
                          .engine = "native",
                          .format = IDENTITY_FORMAT,
                          .heartbeat_ms = 100,
                          .election_ms = 500,
                          .recovering = 0x0123456789abcdef,
                          .log_epoch = 1};
    id.left = (struct identity_left){
        .epoch = 2, .engine = "libraft", .migration = 0x8877665544332211, .index = 650, .term = 9};
    must(identity_write(disk, dir, &id) == 0);
}

static void write_peers(struct disk *disk, const char *dir)
{
    Hf__Catalog__Member a = HF__CATALOG__MEMBER__INIT, b = HF__CATALOG__MEMBER__INIT;
    Hf__Catalog__Members members = HF__CATALOG__MEMBERS__INIT;
    Hf__Catalog__Member *list[] = {&a, &b};
    a.replica = 1;
    a.incarnation = 0x99aabbccddeeff01;
    a.raft_endpoint = "tcp://127.0.0.1:7411";
    a.client_endpoint = "tcp://127.0.0.1:7412";
    b.replica = 2;
    b.role = HF__CATALOG__ROLE__LEARNER;
    members.index = 17;
    members.n_members = 2;
    members.members = list;
    must(peers_write(disk, dir, &members) == 0);
}

static void golden_path(const char *name, char out[512])
{
    snprintf(out, 512, "%s/%s/%s", HF_GOLDEN_DIR, version, name);
}

static void read_golden(const char *name, struct buf *out)
{
    char path[512];
    golden_path(name, path);
    int rc = disk_read_all(disk_posix(), path, 1u << 20, out);
    if (rc != 0)
        fprintf(stderr, "%s: %s\n", path, error_text(rc));
    CU_ASSERT_EQUAL_FATAL(rc, 0);
}

static void read_log(void)
{
    struct rig rig;
    rig_start(&rig, SEGMENT_BYTES, 0);
    struct disk *disk = rig.config.disk;
    must(disk->ops->make_dir(disk, RIG_DIR) == 0);
    for (size_t i = 0; file_of(i) != NULL; i++) {
        struct buf file = {0};
        char path[128];
        read_golden(file_of(i), &file);
        while (i > 0 && file.size < SEGMENT_BYTES)
            *buf_extend(&file, 1) = 0;
        snprintf(path, sizeof path, "%s/%s", RIG_DIR, file_of(i));
        CU_ASSERT_EQUAL_FATAL(disk_replace(disk, path, buf_slice(&file)), 0);
        buf_deinit(&file);
    }
    int rc = rig_open(&rig);
    if (rc != 0)
        fprintf(stderr, "%s: %s\n", error_text(rc), rig.where);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    read_sample(&rig);
    rig.term = 9;
    rig_turn(&rig, 3); /* and goes on */
    rig_reopen(&rig);
    CU_ASSERT_EQUAL(log_last(rig.log), restarted() ? 658 : 602);
    rig_end(&rig);
}

static void read_identity(void)
{
    struct identity id = {0};
    char dir[512];
    golden_path("", dir);
    CU_ASSERT_EQUAL_FATAL(identity_read(disk_posix(), dir, &id), 0);
    CU_ASSERT(id.cluster == 0x1122334455667788 && id.incarnation == 0x99aabbccddeeff01);
    CU_ASSERT(id.group == 2 && id.replica == 3 && id.format == 1 && id.log_epoch == 1);
    CU_ASSERT_STRING_EQUAL(id.engine, "native");
    CU_ASSERT(id.left.epoch == (changed() ? 2 : 0) && id.left.index == (changed() ? 650 : 0));
    CU_ASSERT_STRING_EQUAL(id.left.engine, changed() ? "libraft" : "");
    CU_ASSERT(!changed() || (id.left.term == 9 && id.left.migration == 0x8877665544332211));
    CU_ASSERT(id.recovering == (restarted() ? 0x0123456789abcdef : 0) && id.election_ms == (restarted() ? 500 : 0));
}

static void read_peers(void)
{
    Hf__Catalog__Members *members = NULL;
    char dir[512];
    golden_path("", dir);
    CU_ASSERT_EQUAL_FATAL(peers_read(disk_posix(), dir, &members), 0);
    CU_ASSERT(members->index == 17 && members->n_members == 2);
    CU_ASSERT(members->members[0]->incarnation == 0x99aabbccddeeff01);
    CU_ASSERT_STRING_EQUAL(members->members[0]->client_endpoint, "tcp://127.0.0.1:7412");
    CU_ASSERT(members->members[1]->role == HF__CATALOG__ROLE__LEARNER);
    hf__catalog__members__free_unpacked(members, NULL);
}

static void each(void (*read)(void))
{
    for (size_t i = 0; i < VERSIONS; i++) {
        version = versions[i];
        read();
    }
}

static void test_logs_are_read(void)
{
    each(read_log);
}

static void test_identities_are_read(void)
{
    each(read_identity);
}

static void test_peers_are_read(void)
{
    each(read_peers);
}

/* This program writes today, byte for byte, what the newest golden files hold. */
static void test_written_as_in_the_newest(void)
{
    version = versions[VERSIONS - 1];
    struct rig rig;
    write_sample(&rig);
    rig_close(&rig);
    for (size_t i = 0; file_of(i) != NULL; i++) {
        struct buf golden = {0}, now = {0};
        char path[128];
        read_golden(file_of(i), &golden);
        snprintf(path, sizeof path, "%s/%s", RIG_DIR, file_of(i));
        CU_ASSERT_EQUAL_FATAL(disk_read_all(rig.config.disk, path, 1u << 20, &now), 0);
        while (golden.size < now.size)
            *buf_extend(&golden, 1) = 0;
        CU_ASSERT(slice_equal(buf_slice(&golden), buf_slice(&now)));
        buf_deinit(&golden);
        buf_deinit(&now);
    }
    rig_end(&rig);
}

static const char *generate_dir;

static void generate(void)
{
    const char *dir = generate_dir;
    version = versions[VERSIONS - 1];
    struct rig rig;
    char path[512];
    write_sample(&rig);
    rig_close(&rig);
    for (size_t i = 0; file_of(i) != NULL; i++) {
        struct buf file = {0};
        snprintf(path, sizeof path, "%s/%s", RIG_DIR, file_of(i));
        must(disk_read_all(rig.config.disk, path, 1u << 20, &file) == 0);
        while (i > 0 && file.size > 0 && file.data[file.size - 1] == 0)
            file.size--;
        snprintf(path, sizeof path, "%s/%s", dir, file_of(i));
        bool there = true;
        must(disk_posix()->ops->exists(disk_posix(), path, &there) == 0 && !there); /* never written again */
        must(disk_replace(disk_posix(), path, buf_slice(&file)) == 0);
        buf_deinit(&file);
    }
    write_identity(disk_posix(), dir);
    write_peers(disk_posix(), dir);
    rig_end(&rig);
}

int main(int argc, char **argv)
{
    static const struct unit_case cases[] = {
        {"logs are read", test_logs_are_read},
        {"identities are read", test_identities_are_read},
        {"peers are read", test_peers_are_read},
        {"written as in the newest", test_written_as_in_the_newest},
    };
    static const struct unit_case generator[] = {{"generate", generate}};
    if (argc == 3 && strcmp(argv[1], "--generate") == 0)
        generate_dir = argv[2];
    if (generate_dir != NULL)
        return UNIT_MAIN("shard/log golden", generator);
    return UNIT_MAIN("shard/log golden", cases);
}
