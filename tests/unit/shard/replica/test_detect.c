/* test_detect.c: every state of a directory, and what it is taken for (I10): one table. */
#include "shard/replica/detect.h"

#include <stdio.h>
#include <string.h>

#include "common/base/crc32c.h"
#include "common/base/error.h"
#include "shard/engine/engine.h"
#include "tests/support/simdisk.h"
#include "tests/unit/unit.h"

#define MINE 77u

/* `holds`: names in the directory, apart from identity. `identity`: "": none; "native 1": a member run by that engine with
 * that epoch; "native 0": told no cluster yet. */
struct row {
    const char *what, *identity, *holds;
    enum detect_verdict verdict;
    const char *says;
    uint32_t replica;   /* asked for; 0: 2, which it is */
    const char *engine; /* asked for */
    uint64_t cluster;   /* expected */
};

#define ALL "peers fsm snapshots native-1"

static const struct row rows[] = {
    {"nothing", "", "", DETECT_NEW, "", 0, NULL, 0},
    {"a lock", "", "LOCK", DETECT_NEW, "", 0, NULL, 0},
    {"a new file system", "", "LOCK lost+found", DETECT_NEW, "", 0, "native", 0},
    {"nothing, unknown engine", "", "", DETECT_REFUSED, "--engine paxos: this program does not have it", 0, "paxos", 0},
    {"nothing, a long engine", "", "", DETECT_REFUSED, "does not have it; it has native", 0, "a_name_of_many_letters",
     0},
    {"somebody's data", "", "mail", DETECT_REFUSED, "no identity but holds \"mail\"; give an empty directory", 0, NULL,
     0},
    {"a log without identity", "", "LOCK fsm native-3 peers", DETECT_REFUSED, "no identity but holds \"native-3\"", 0,
     NULL, 0},
    {"peers without identity", "", "peers", DETECT_REFUSED, "no identity but holds \"peers\"", 0, NULL, 0},
    {"fresh", "native 0", "LOCK", DETECT_FRESH, "", 0, NULL, 0},
    {"fresh, any cluster", "native 0", "", DETECT_FRESH, "", 0, NULL, 5},
    {"fresh, after a killed bootstrap", "native 0", ALL, DETECT_FRESH, "", 0, "native", 0},
    {"fresh, of the other engine", "native 0", "", DETECT_REFUSED, "is run by engine native, not libraft", 0, "libraft",
     0},
    {"fresh, a log of the other engine", "native 0", "libraft-1", DETECT_REFUSED, "holds libraft-1, but its identity",
     0, NULL, 0},
    {"fresh, a log that went on", "native 0", "native-2", DETECT_REFUSED, "holds native-2, but its identity", 0, NULL,
     0},
    {"member", "native 1", ALL, DETECT_MEMBER, "", 0, NULL, MINE},
    {"member, its engine named", "native 1", ALL, DETECT_MEMBER, "", 0, "native", 0},
    {"member, things beside", "native 1", ALL " archive quarantine notes.txt backup-2 native-x -1", DETECT_MEMBER, "",
     0, NULL, 0},
    {"member of a later epoch", "native 7", "peers native-7", DETECT_MEMBER, "", 0, NULL, 0},
    {"another replica's", "native 1", ALL, DETECT_REFUSED,
     "belongs to replica 2, not to replica 3; start it with --replica 2", 3, NULL, 0},
    {"another cluster's", "native 1", ALL, DETECT_REFUSED,
     "to cluster 000000000000004d, not to cluster 000000000000004e", 0, NULL, MINE + 1},
    {"flag against identity", "native 1", ALL, DETECT_REFUSED,
     "is run by engine native, not libraft; leave --engine out", 0, "libraft", 0},
    {"unknown engine", "paxos 1", "peers paxos-1", DETECT_REFUSED,
     "is run by engine paxos, which this program does not have", 0, NULL, 0},
    {"identity without a log", "native 1", "peers fsm", DETECT_REFUSED, "no files of engine native, log epoch 1", 0,
     NULL, 0},
    {"identity, an older log", "native 2", ALL, DETECT_REFUSED,
     "holds native-1, but its identity names engine native, log epoch 2", 0, NULL, 0},
    {"logs of two engines", "native 1", ALL " libraft-1", DETECT_REFUSED,
     "holds libraft-1, but its identity names engine native", 0, NULL, 0},
    {"logs of two epochs", "native 2", ALL " native-2", DETECT_REFUSED, "holds native-1, but its identity", 0, NULL, 0},
    {"a log of an epoch beyond", "native 1", ALL " native-4294967296", DETECT_MEMBER, "", 0, NULL, 0}, /* no epoch */
    {"identity without peers", "native 1", "native-1 fsm", DETECT_REFUSED, "peers is missing; bring the file back", 0,
     NULL, 0},
};

static struct simdisk *sim;
static struct disk *disk;

static void lay(const char *names)
{
    char copy[256], path[300], *save = NULL;
    snprintf(copy, sizeof copy, "%s", names);
    for (char *name = strtok_r(copy, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
        snprintf(path, sizeof path, "d/%s", name);
        CU_ASSERT_EQUAL(disk->ops->make_dir(disk, path), HF_OK);
    }
}

static void write_identity(const char *text)
{
    struct identity id = {.group = 1, .replica = 2, .incarnation = 9, .format = IDENTITY_FORMAT};
    CU_ASSERT_EQUAL(sscanf(text, "%15s %u", id.engine, &id.log_epoch), 2);
    id.cluster = id.log_epoch ? MINE : 0;
    CU_ASSERT_EQUAL(identity_write(disk, "d", &id), HF_OK);
}

static void begin(void)
{
    sim = simdisk_new();
    disk = simdisk_disk(sim);
    CU_ASSERT_EQUAL(disk->ops->make_dir(disk, "d"), HF_OK);
}

static enum detect_verdict decide(const struct row *r, char message[DETECT_MESSAGE_BYTES])
{
    struct detect_facts facts = {
        .dir = "d", .group = 1, .replica = r->replica ? r->replica : 2, .engine = r->engine, .cluster = r->cluster};
    CU_ASSERT_EQUAL(detect_look(disk, &facts), HF_OK);
    return detect_decide(&facts, message);
}

static void each_state_is_taken_for_what_it_is(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *r = &rows[i];
        char message[DETECT_MESSAGE_BYTES];
        begin();
        lay(r->holds);
        if (r->identity[0])
            write_identity(r->identity);
        enum detect_verdict verdict = decide(r, message);
        bool good = verdict == r->verdict && (r->says[0] ? strstr(message, r->says) != NULL : message[0] == '\0');
        if (!good)
            printf("%s: verdict %d, not %d: %s\n", r->what, (int)verdict, (int)r->verdict, message);
        CU_ASSERT(good);
        simdisk_free(&sim);
    }
}

static void another_shards(void)
{
    begin();
    write_identity("native 1");
    lay(ALL);
    struct detect_facts facts = {.dir = "d", .group = 4, .replica = 2};
    char message[DETECT_MESSAGE_BYTES];
    CU_ASSERT_EQUAL(detect_look(disk, &facts), HF_OK);
    CU_ASSERT_EQUAL(detect_decide(&facts, message), DETECT_REFUSED);
    CU_ASSERT_STRING_EQUAL(message, "directory d belongs to shard 1, not to shard 4; start it with --shard 1");
    simdisk_free(&sim);
}

static void put(const char *text)
{
    CU_ASSERT_EQUAL(disk_replace(disk, "d/identity", slice_text(text)), HF_OK);
}

/* Damage is one thing, a newer program's format another, a disk in trouble a third. None of them is "no identity". */
static void an_identity_that_cannot_be_read(void)
{
    static const struct row any = {.what = "unread"};
    char message[DETECT_MESSAGE_BYTES];
    begin();
    put("cluster 1\n");
    CU_ASSERT_EQUAL(decide(&any, message), DETECT_REFUSED);
    CU_ASSERT_PTR_NOT_NULL(strstr(message, "identity cannot be read: "));
    const char body[] = "format 2\nwhat only that format knows\n";
    char text[128];
    snprintf(text, sizeof text, "%scrc %08x\n", body, crc32c(0, body, sizeof body - 1));
    put(text);
    CU_ASSERT_EQUAL(decide(&any, message), DETECT_REFUSED);
    CU_ASSERT_PTR_NOT_NULL(strstr(message, "a format this program does not know (it knows 1); use a newer program"));
    write_identity("native 1");
    simdisk_fail(sim, SIMDISK_READ, 1, HF_E_IO, 1);
    CU_ASSERT_EQUAL(decide(&any, message), DETECT_REFUSED);
    CU_ASSERT_PTR_NOT_NULL(strstr(message, "identity cannot be read: "));
    simdisk_free(&sim);
}

static void what_a_killed_replace_left_is_swept(void)
{
    static const struct row any = {.what = "temporary"};
    char message[DETECT_MESSAGE_BYTES];
    begin();
    lay("identity.tmp");
    CU_ASSERT_EQUAL(disk_sweep_temp(disk, "d"), HF_OK);
    CU_ASSERT_EQUAL(decide(&any, message), DETECT_NEW);
    simdisk_free(&sim);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"each state", each_state_is_taken_for_what_it_is},
        {"another shard's", another_shards},
        {"an identity that cannot be read", an_identity_that_cannot_be_read},
        {"temporary files", what_a_killed_replace_left_is_swept},
    };
    return UNIT_MAIN("detect", cases);
}
