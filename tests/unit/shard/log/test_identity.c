/* test_identity.c: the files identity and peers: round trip, atomic replace, and bytes from anyone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/crc32c.h"
#include "common/base/endian.h"
#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/base/random.h"
#include "shard/log/identity.h"
#include "tests/support/simdisk.h"
#include "tests/unit/unit.h"

static struct simdisk *sim;
static struct disk *disk;

static void begin(void)
{
    sim = simdisk_new();
    disk = simdisk_disk(sim);
    must(disk->ops->make_dir(disk, "r") == 0);
    must(disk->ops->sync_dir(disk, ".") == 0);
}

static void end(void)
{
    simdisk_free(&sim);
}

static void put(const char *path, const void *data, size_t size)
{
    must(disk_replace(disk, path, slice_make(data, size)) == 0);
}

static const struct identity sample = {.cluster = 0xfeedfacecafebeef,
                                       .group = 2,
                                       .replica = 3,
                                       .incarnation = 0x0123456789abcdef,
                                       .engine = "native",
                                       .format = IDENTITY_FORMAT,
                                       .log_epoch = 1};

static bool same(const struct identity *a, const struct identity *b)
{
    return a->cluster == b->cluster && a->group == b->group && a->replica == b->replica &&
           a->incarnation == b->incarnation && strcmp(a->engine, b->engine) == 0 && a->format == b->format &&
           a->log_epoch == b->log_epoch && a->heartbeat_ms == b->heartbeat_ms && a->election_ms == b->election_ms &&
           a->recovering == b->recovering && a->left.epoch == b->left.epoch &&
           strcmp(a->left.engine, b->left.engine) == 0 && a->left.migration == b->left.migration &&
           a->left.index == b->left.index && a->left.term == b->left.term;
}

static void test_identity_round_trip(void)
{
    struct identity id = sample, out = {0};
    begin();
    CU_ASSERT_EQUAL(identity_read(disk, "r", &out), HF_E_ABSENT);
    CU_ASSERT_EQUAL(identity_write(disk, "r", &id), 0);
    simdisk_crash(sim, 1);
    CU_ASSERT_EQUAL(identity_read(disk, "r", &out), 0);
    CU_ASSERT(same(&id, &out));
    id = (struct identity){.group = UINT32_MAX, .replica = 1, .incarnation = 1, .format = IDENTITY_FORMAT}; /* fresh */
    CU_ASSERT_EQUAL(identity_write(disk, "r", &id), 0);
    CU_ASSERT_EQUAL(identity_read(disk, "r", &out), 0);
    CU_ASSERT(same(&id, &out));
    id = sample; /* lines that may be there or not */
    id.recovering = 0xfedcba9876543210;
    CU_ASSERT_EQUAL(identity_write(disk, "r", &id), 0);
    CU_ASSERT_EQUAL(identity_read(disk, "r", &out), 0);
    CU_ASSERT(same(&id, &out));
    id.heartbeat_ms = 100;
    id.election_ms = 500;
    CU_ASSERT_EQUAL(identity_write(disk, "r", &id), 0);
    CU_ASSERT_EQUAL(identity_read(disk, "r", &out), 0);
    CU_ASSERT(same(&id, &out));
    id.left = (struct identity_left){
        .epoch = 3, .engine = "libraft", .migration = UINT64_MAX, .index = UINT64_MAX - 1, .term = 12345678901};
    CU_ASSERT_EQUAL(identity_write(disk, "r", &id), 0);
    CU_ASSERT_EQUAL(identity_read(disk, "r", &out), 0);
    CU_ASSERT(same(&id, &out));
    id.left.engine[0] = '/';
    CU_ASSERT_EQUAL(identity_write(disk, "r", &id), HF_E_INVALID);
    id.group = 0;
    CU_ASSERT_EQUAL(identity_write(disk, "r", &id), HF_E_INVALID);
    id = sample;
    memcpy(id.engine, "two\nlines", 10);
    CU_ASSERT_EQUAL(identity_write(disk, "r", &id), HF_E_INVALID);
    id = sample;
    id.format = 2;
    CU_ASSERT_EQUAL(identity_write(disk, "r", &id), HF_E_INVALID);
    end();
}

static void test_identity_is_replaced_whole(void)
{
    for (uint64_t n = 0, more = 1; more; n++) {
        struct identity id = sample, out = {0};
        begin();
        CU_ASSERT_EQUAL(identity_write(disk, "r", &sample), 0);
        id.log_epoch = 2;
        simdisk_halt_after(sim, SIMDISK_CHANGES, n);
        more = identity_write(disk, "r", &id) != 0;
        simdisk_crash(sim, n);
        CU_ASSERT_EQUAL(identity_read(disk, "r", &out), 0);
        CU_ASSERT(same(&out, &id) || (more && same(&out, &sample)));
        end();
    }
}

static size_t with_crc(char *text)
{
    size_t size = strlen(text);
    return size + (size_t)snprintf(text + size, 16, "crc %08x\n", crc32c(0, text, size));
}

static void test_identity_damage_and_formats(void)
{
    static const struct {
        const char *text;
        int code;
    } cases[] = {
        {"format 1\ncluster 000000000000000a\ngroup 1\nreplica 1\nincarnation 0000000000000001\nengine "
         "native\nlog_epoch 1\n",
         0},
        {"format 2\nanything at all\n", HF_E_FORMAT},
        {"format 2\n", HF_E_FORMAT},
        {"format 4294967296\n", HF_E_CORRUPT},
        {"format 1\n", HF_E_CORRUPT},
        {"format 01\n", HF_E_CORRUPT},
        {"format -1\n", HF_E_CORRUPT},
        {"", HF_E_CORRUPT},
        {"\n", HF_E_CORRUPT},
        {"format 1\ncluster 000000000000000a\ngroup 0\nreplica 1\nincarnation 0000000000000001\nengine "
         "native\nlog_epoch 1\n",
         HF_E_CORRUPT},
        {"format 1\ncluster 000000000000000a\ngroup 1\nreplica 1\nincarnation 1\nengine native\nlog_epoch 1\n",
         HF_E_CORRUPT},
        {"format 1\ncluster 000000000000000a\ngroup 1\nreplica 1\nincarnation 0000000000000001\n"
         "engine a_name_that_is_too_long\nlog_epoch 1\n",
         HF_E_CORRUPT},
        {"format 1\ncluster 000000000000000a\ngroup 1\nreplica 1\nincarnation 0000000000000001\nengine "
         "native\nlog_epoch "
         "1\nmore 1\n",
         HF_E_CORRUPT},
    };
    begin();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        struct identity out = {0};
        snprintf(text, sizeof text, "%s", cases[i].text);
        put("r/identity", text, with_crc(text));
        CU_ASSERT_EQUAL(identity_read(disk, "r", &out), cases[i].code);
    }
    char *large = malloc(100000);
    must(large != NULL);
    struct identity out = {0};
    memset(large, 'a', 100000);
    put("r/identity", large, 100000);
    CU_ASSERT_EQUAL(identity_read(disk, "r", &out), HF_E_CORRUPT);
    put("r/identity", "", 0);
    CU_ASSERT_EQUAL(identity_read(disk, "r", &out), HF_E_CORRUPT);
    free(large);
    end();
}

static void test_identity_every_flip(void)
{
    struct identity out = {0};
    begin();
    CU_ASSERT_EQUAL(identity_write(disk, "r", &sample), 0);
    uint64_t at = 0;
    for (; simdisk_flip(sim, "r/identity", at, (unsigned)(at % 7)) == 0; at++) {
        CU_ASSERT_EQUAL(identity_read(disk, "r", &out), HF_E_CORRUPT);
        must(simdisk_flip(sim, "r/identity", at, (unsigned)(at % 7)) == 0);
    }
    CU_ASSERT(at > 80);
    CU_ASSERT_EQUAL(identity_read(disk, "r", &out), 0);
    end();
}

/* A configuration of `count` members; texts borrowed. */
struct group {
    Hf__Catalog__Members members;
    Hf__Catalog__Member member[LIMIT_PEERS + 1];
    Hf__Catalog__Member *list[LIMIT_PEERS + 1];
};

static void group_init(struct group *g, size_t count, uint64_t index)
{
    hf__catalog__members__init(&g->members);
    g->members.index = index;
    g->members.n_members = count;
    g->members.members = g->list;
    for (size_t i = 0; i < count; i++) {
        hf__catalog__member__init(&g->member[i]);
        g->member[i].replica = (uint32_t)i + 1;
        g->member[i].incarnation = 1000 + i;
        g->member[i].raft_endpoint = "tcp://127.0.0.1:7411";
        g->member[i].client_endpoint = "tcp://127.0.0.1:7412";
        g->list[i] = &g->member[i];
    }
}

static void test_peers_round_trip(void)
{
    static struct group g;
    Hf__Catalog__Members *out = NULL;
    begin();
    CU_ASSERT_EQUAL(peers_read(disk, "r", &out), HF_E_ABSENT);
    group_init(&g, 3, 1);
    g.member[2].role = HF__CATALOG__ROLE__LEARNER;
    g.member[2].raft_endpoint = g.member[2].client_endpoint = ""; /* a member without an address stays one */
    CU_ASSERT_EQUAL(peers_write(disk, "r", &g.members), 0);
    simdisk_crash(sim, 3);
    CU_ASSERT_EQUAL_FATAL(peers_read(disk, "r", &out), 0);
    CU_ASSERT(out->index == 1 && out->n_members == 3);
    CU_ASSERT(out->members[2]->role == HF__CATALOG__ROLE__LEARNER && out->members[2]->incarnation == 1002);
    CU_ASSERT_STRING_EQUAL(out->members[1]->raft_endpoint, "tcp://127.0.0.1:7411");
    hf__catalog__members__free_unpacked(out, NULL);
    uint64_t renames = simdisk_count(sim, SIMDISK_RENAME);
    CU_ASSERT_EQUAL(peers_write(disk, "r", &g.members), 0); /* the same index: nothing to write */
    CU_ASSERT_EQUAL(simdisk_count(sim, SIMDISK_RENAME), renames);
    g.members.index = 9;
    g.member[0].raft_endpoint = "";
    CU_ASSERT_EQUAL(peers_write(disk, "r", &g.members), HF_E_INVALID); /* an address is not forgotten */
    g.member[0].raft_endpoint = "tcp://10.0.0.1:1";
    g.members.n_members = 2; /* a member may go */
    CU_ASSERT_EQUAL(peers_write(disk, "r", &g.members), 0);
    CU_ASSERT_EQUAL_FATAL(peers_read(disk, "r", &out), 0);
    CU_ASSERT(out->index == 9 && out->n_members == 2);
    CU_ASSERT_STRING_EQUAL(out->members[0]->raft_endpoint, "tcp://10.0.0.1:1");
    hf__catalog__members__free_unpacked(out, NULL);
    end();
}

static void test_peers_check(void)
{
    static struct group g;
    static char text[LIMIT_TEXT_BYTES + 2];
    memset(text, 'x', LIMIT_TEXT_BYTES + 1);
    group_init(&g, 0, 1);
    CU_ASSERT_EQUAL(peers_check(&g.members), HF_E_INVALID);
    group_init(&g, LIMIT_PEERS, 1);
    CU_ASSERT_EQUAL(peers_check(&g.members), 0);
    group_init(&g, LIMIT_PEERS + 1, 1);
    CU_ASSERT_EQUAL(peers_check(&g.members), HF_E_LIMIT);
    group_init(&g, 3, 1);
    g.member[2].replica = 1;
    CU_ASSERT_EQUAL(peers_check(&g.members), HF_E_INVALID);
    g.member[2].replica = 0;
    CU_ASSERT_EQUAL(peers_check(&g.members), HF_E_INVALID);
    group_init(&g, 3, 1);
    g.member[1].role = (Hf__Catalog__Role)7;
    CU_ASSERT_EQUAL(peers_check(&g.members), HF_E_INVALID);
    group_init(&g, 3, 1);
    g.member[1].client_endpoint = text;
    CU_ASSERT_EQUAL(peers_check(&g.members), HF_E_LIMIT);
    text[LIMIT_TEXT_BYTES] = '\0';
    CU_ASSERT_EQUAL(peers_check(&g.members), 0);
    group_init(&g, LIMIT_PEERS, 1); /* the largest of all fits in the file */
    for (size_t i = 0; i < LIMIT_PEERS; i++)
        g.member[i].raft_endpoint = g.member[i].client_endpoint = text;
    begin();
    Hf__Catalog__Members *out = NULL;
    CU_ASSERT_EQUAL(peers_write(disk, "r", &g.members), 0);
    CU_ASSERT_EQUAL_FATAL(peers_read(disk, "r", &out), 0);
    CU_ASSERT_EQUAL(out->n_members, LIMIT_PEERS);
    hf__catalog__members__free_unpacked(out, NULL);
    end();
}

/* Gives `payload` an undamaged header and reads it. */
static int read_payload(const uint8_t *payload, size_t size, uint32_t format)
{
    uint8_t *file = malloc(24 + size);
    must(file != NULL);
    memset(file, 0, 24);
    memcpy(file, "HFPEERS", 8);
    put_le32(file + 8, format);
    put_le32(file + 16, (uint32_t)size);
    memcpy(file + 24, payload, size);
    put_le32(file + 12, crc32c(crc32c(0, file, 12), file + 16, 8 + size));
    put("r/peers", file, 24 + size);
    free(file);
    Hf__Catalog__Members *out = NULL;
    int rc = peers_read(disk, "r", &out);
    if (rc == 0) {
        must(peers_check(out) == 0);
        hf__catalog__members__free_unpacked(out, NULL);
    }
    return rc;
}

static void test_peers_hostile(void)
{
    static struct group g;
    uint8_t payload[4096], many[4 * LIMIT_PEERS];
    begin();
    group_init(&g, 5, 77);
    size_t size = hf__catalog__members__pack(&g.members, payload);
    CU_ASSERT_EQUAL(read_payload(payload, size, 1), 0);
    CU_ASSERT_EQUAL(read_payload(payload, size, 2), HF_E_FORMAT);
    CU_ASSERT_EQUAL(read_payload(payload, size - 1, 1), HF_E_CORRUPT);
    CU_ASSERT_EQUAL(read_payload(payload, 0, 1), HF_E_CORRUPT);
    static const uint8_t undecodable[] = {0x08, 9,    0x12, 2,    0x08,
                                          1,    0x12, 2,    0x08, 0x80}; /* one member, half of another */
    CU_ASSERT_EQUAL(read_payload(undecodable, 6, 1), 0);
    CU_ASSERT_EQUAL(read_payload(undecodable, sizeof undecodable, 1), HF_E_CORRUPT); /* no member is left out */
    for (size_t i = 0; i < sizeof many; i += 2) { /* twice as many empty members as there may be */
        many[i] = 0x12;
        many[i + 1] = 0;
    }
    CU_ASSERT_EQUAL(read_payload(many, sizeof many, 1), HF_E_CORRUPT);
    struct random random = {.state = 5};
    for (int i = 0; i < 20000; i++) {
        uint8_t mutated[4096];
        memcpy(mutated, payload, size);
        for (uint64_t k = random_below(&random, 4) + 1; k > 0; k--)
            mutated[random_below(&random, size)] = (uint8_t)random_next(&random);
        int rc = read_payload(mutated, random_below(&random, 3) == 0 ? random_below(&random, size) : size, 1);
        must(rc == 0 || rc == HF_E_CORRUPT);
    }
    group_init(&g, 5, 78);
    CU_ASSERT_EQUAL(read_payload(payload, size, 1), 0);
    must(simdisk_flip(sim, "r/peers", 30, 2) == 0);
    CU_ASSERT_EQUAL(peers_write(disk, "r", &g.members), HF_E_CORRUPT); /* not papered over */
    end();
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"identity: round trip", test_identity_round_trip},
        {"identity: replaced whole", test_identity_is_replaced_whole},
        {"identity: damage and formats", test_identity_damage_and_formats},
        {"identity: every flip", test_identity_every_flip},
        {"peers: round trip", test_peers_round_trip},
        {"peers: check", test_peers_check},
        {"peers: hostile", test_peers_hostile},
    };
    return UNIT_MAIN("shard/log identity", cases);
}
