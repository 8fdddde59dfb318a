/* test_swap.c: a directory whose state is sealed goes over to the next epoch's engine, whenever it is killed on the way: once, with
 * what it held, and back again. */
#include "shard/replica/swap.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/sys/digest.h"
#include "proto/pack.h"
#include "shard/replica/directory.h"
#include "tests/support/simdisk.h"
#include "tests/unit/common/sys/child.h"
#include "tests/unit/shard/replica/quiet_env.h"
#include "tests/unit/unit.h"

#define ENDPOINT "tcp://127.0.0.1:20001"

static char base[256], dir[300];

enum what { LOOK, BOOTSTRAP, SEAL };

struct plan { /* of a process */
    enum what what;
    const char *engine; /* of the flag */
    const char *target; /* SEAL */
};

static void bootstrap(struct directory *d)
{
    char message[256];
    Hf__Catalog__Member one = HF__CATALOG__MEMBER__INIT, *list[] = {&one};
    Hf__Catalog__Members members = HF__CATALOG__MEMBERS__INIT;
    Hf__Catalog__Range range = HF__CATALOG__RANGE__INIT;
    Hf__Catalog__Bootstrap b = HF__CATALOG__BOOTSTRAP__INIT;
    one.replica = b.replica = b.shard = 1;
    one.incarnation = b.incarnation = d->id.incarnation;
    one.raft_endpoint = one.client_endpoint = (char *)(uintptr_t)ENDPOINT;
    members.n_members = 1;
    members.members = list;
    b.cluster = 77;
    b.members = &members;
    b.range = &range;
    b.heartbeat_ms = 100;
    b.election_ms = 500;
    b.feature_level = FSM_FEATURE_LEVEL;
    must(directory_bootstrap(d, &b, message) == HF_OK);
}

static void on_result(void *ctx, uint64_t index, uint64_t term, uint32_t position, const struct fsm_result *r)
{
    (void)ctx, (void)term, (void)position;
    if (r->code)
        printf("index %llu: %s\n", (unsigned long long)index, error_name(r->code));
}

static void apply(struct fsm *fsm, Hf__Entry__MigrateStep step, const char *source, const char *target)
{
    const struct fsm_info *info = fsm_info(fsm);
    Hf__Entry__MigrateEntry e = HF__ENTRY__MIGRATE_ENTRY__INIT;
    struct buf data = {0};
    e.step = step;
    e.id = 100 + info->applied.epoch;
    e.epoch = info->applied.epoch;
    e.configuration = info->members->index;
    e.source = (char *)(uintptr_t)source;
    e.target = (char *)(uintptr_t)target;
    buf_append(&data, &(uint8_t){FSM_OPCODE_MIGRATE}, 1);
    pack_append(&e.base, &data);
    const struct log_entry entry = {
        .index = info->applied.index + 1, .term = info->applied.term, .kind = LOG_COMMAND, .data = buf_slice(&data)};
    must(fsm_apply(fsm, &entry, 1, on_result, NULL) == HF_OK);
    buf_deinit(&data);
}

static void say(const struct directory *d)
{
    const struct fsm_applied *applied = &fsm_info(d->fsm)->applied;
    struct engine_status s = d->ops->status(d->engine);
    printf("runs %s-%u state epoch=%u index=%llu term=%llu log first=%llu last=%llu term=%llu left=%s-%u\n",
           d->id.engine, d->id.log_epoch, applied->epoch, (unsigned long long)applied->index,
           (unsigned long long)applied->term, (unsigned long long)s.first, (unsigned long long)s.last,
           (unsigned long long)s.term, d->id.left.engine, d->id.left.epoch);
}

static void run(const void *arg)
{
    const struct plan *p = arg;
    struct directory_config config = {.disk = disk_posix(),
                                      .dir = dir,
                                      .group = 1,
                                      .replica = 1,
                                      .engine = p->engine,
                                      .raft_endpoint = ENDPOINT,
                                      .client_endpoint = ENDPOINT,
                                      .segment_bytes = 65536};
    struct directory d;
    config.fsm.cache_bytes = config.fsm.buffer_bytes = 1 << 20;
    directory_open(&d, &config);
    if (p->what == BOOTSTRAP)
        bootstrap(&d);
    directory_open_fsm(&d);
    if (p->what == SEAL) {
        apply(d.fsm, HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE, d.id.engine, p->target);
        apply(d.fsm, HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL, "", "");
        must(fsm_flush(d.fsm) == HF_OK);
    } else {
        struct engine_env env = quiet_env();
        directory_open_engine(&d, &env);
        say(&d);
    }
    directory_close(&d);
}

static void expect(struct plan p, int exit_code, const char *text)
{
    struct child c = child_run(run, &p);
    bool good = child_exit(&c) == exit_code && strstr(c.output, text) != NULL;
    if (!good)
        fprintf(stderr, "wanted exit %d and \"%s\", got exit %d and: %s\n", exit_code, text, child_exit(&c), c.output);
    CU_ASSERT(good);
}

static void shell(const char *command)
{
    char whole[700];
    snprintf(whole, sizeof whole, "cd '%s' && %s", dir, command);
    CU_ASSERT_EQUAL(system(whole), 0);
}

static bool there(const char *name)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static const struct plan look = {.what = LOOK};

static void begin(const char *name)
{
    snprintf(dir, sizeof dir, "%s/%s", base, name);
    expect((struct plan){.what = BOOTSTRAP}, 0, "runs native-1 state epoch=1 index=1 term=1");
}

static void seal(const char *target)
{
    expect((struct plan){.what = SEAL, .target = target}, 0, "");
}

/* Term 1 sealed it: the next log begins with term 2, so that nobody is elected before term 3: by libraft, in a group of one, at once. */
#define OVER "runs libraft-2 state epoch=2 index=3 term=1 log first=4 last=4 term=3 left=native-1"

static void a_sealed_replica_goes_over_and_back(void)
{
    begin("over");
    seal("libraft");
    expect(look, 0, "engine changed to libraft log_epoch=2 migration=0000000000000065 sealed=3 applied=3");
    CU_ASSERT(there("libraft-2") && !there("native-1") && there("archive/native-1") && !there(SWAP_FOLDER));
    expect(look, 0, OVER); /* and stays there */
    expect((struct plan){.what = LOOK, .engine = "libraft"}, 0, OVER);
    expect((struct plan){.what = LOOK, .engine = "native"}, 6,
           "is run by engine libraft, not native"); /* the old command line */
    seal("native");
    expect(look, 0, "engine changed to native log_epoch=3 migration=0000000000000066 sealed=5");
    expect(look, 0, "runs native-3 state epoch=3 index=5 term=1 log first=6 last=5 term=2 left=libraft-2");
    CU_ASSERT(there("native-3") && there("archive/native-1") && there("archive/libraft-2") && !there("libraft-2"));
}

/* Killed anywhere, again and again: the log is made once, and what was left is finished. */
static void killed_on_the_way(void)
{
    static const char *const points[] = {"swap.before_identity",      "disk.replace.before_rename",
                                         "disk.replace.after_rename", "swap.after_identity",
                                         "swap.before_archive",       "swap.before_done"};
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        char name[16];
        snprintf(name, sizeof name, "killed-%zu", i);
        begin(name);
        seal("libraft");
        for (int times = 0; times < 2; times++) {
            setenv("HOLDFAST_CRASH_POINT", points[i], 1);
            struct child c = child_run(run, &look);
            unsetenv("HOLDFAST_CRASH_POINT");
            if (times == 0) /* the second time there may be nothing left to do there */
                CU_ASSERT(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGKILL);
            CU_ASSERT_EQUAL(there("MIGRATION") || there("libraft-2"), true);
        }
        expect(look, 0, OVER);
        CU_ASSERT(there("libraft-2") && !there("native-1") && there("archive/native-1") && !there(SWAP_FOLDER));
        expect(look, 0, OVER);
    }
}

/* Killed behind the commit point, the state still says that it is of the epoch before: that is no damage. */
static void identity_is_ahead_of_the_state(void)
{
    begin("ahead");
    seal("libraft");
    setenv("HOLDFAST_CRASH_POINT", "swap.before_done", 1);
    struct child c = child_run(run, &look);
    unsetenv("HOLDFAST_CRASH_POINT");
    CU_ASSERT(WIFSIGNALED(c.status));
    CU_ASSERT(there("libraft-2") && there("archive/native-1") && there(SWAP_FOLDER));
    expect(look, 0, OVER);
}

static void what_is_not_there_or_too_much(void)
{
    begin("unknown");
    seal("paxos");
    expect(look, 6, "goes over to engine paxos, which this program does not have; it has native");
    CU_ASSERT(there("native-1") && !there(SWAP_FOLDER));
    begin("back");
    seal("libraft");
    expect(look, 0, OVER);
    shell("cp -r archive/native-1 .");
    expect(look, 6, "holds native-1, but its identity names engine libraft, log epoch 2");
    shell("rm -r native-1 && cp -r libraft-2 libraft-3");
    expect(look, 6, "holds libraft-3, but its identity names engine libraft, log epoch 2");
    shell(
        "rm -r libraft-3 && mkdir MIGRATION && cp -r libraft-2 MIGRATION/native-3"); /* of a later one that was killed early */
    expect(look, 0, OVER);
    CU_ASSERT(!there(SWAP_FOLDER) && !there("native-3"));
}

/* What a killed one left is not touched while nobody can tell whose it is. */
static void without_identity_nothing_is_finished(void)
{
    begin("nobody");
    shell("mkdir MIGRATION && rm identity");
    expect(look, 6, "has no identity but holds");
    CU_ASSERT(there(SWAP_FOLDER));
}

/* The power goes, or an operation fails, at each step of the disk: identity and the logs that are there agree after the next start. */
static bool cut_at(uint64_t n, bool power)
{
    struct simdisk *sim = simdisk_new();
    struct disk *disk = simdisk_disk(sim);
    struct identity id = {.cluster = 77, .group = 1, .replica = 1, .incarnation = 9, .engine = "native"}, found;
    struct fsm_info info = {.cluster = 77, .group = 1, .applied = {1, 9, 4}};
    struct log_config old = {.disk = disk, .dir = "d/native-1", .segment_bytes = 4096};
    bool native, libraft, archived, folder;
    id.format = IDENTITY_FORMAT;
    id.log_epoch = 1;
    info.migration = (struct fsm_migration){.state = FSM_MIGRATION_SEALED,
                                            .id = 5,
                                            .epoch = 1,
                                            .source = "native",
                                            .target = "libraft",
                                            .index = 9,
                                            .term = 4,
                                            .seal = {1, 5, "native", "libraft", 9, 4}};
    must(disk->ops->make_dir(disk, "d") == HF_OK && disk->ops->sync_dir(disk, ".") == HF_OK);
    must(log_create(&old, 1, 1) == HF_OK && identity_write(disk, "d", &id) == HF_OK);
    if (power)
        simdisk_halt_after(sim, SIMDISK_CHANGES, n);
    else
        simdisk_fail(sim, SIMDISK_CHANGES, n + 1, HF_E_NO_SPACE, 1);
    bool whole = swap_directory(disk, "d", 4096, &info, &id) == HF_OK;
    if (power)
        simdisk_crash(sim, n);
    simdisk_fail(sim, 0, 0, 0, 0);
    CU_ASSERT_EQUAL(disk_sweep_temp(disk, "d"), HF_OK);
    CU_ASSERT_EQUAL(swap_finish(disk, "d"), HF_OK);
    CU_ASSERT_EQUAL_FATAL(identity_read(disk, "d", &found), HF_OK);
    must(disk->ops->exists(disk, "d/native-1", &native) == HF_OK);
    must(disk->ops->exists(disk, "d/libraft-2", &libraft) == HF_OK);
    must(disk->ops->exists(disk, "d/archive/native-1", &archived) == HF_OK);
    must(disk->ops->exists(disk, "d/" SWAP_FOLDER, &folder) == HF_OK);
    bool over = found.log_epoch == 2;
    CU_ASSERT(libraft == over && archived == over && native == !over && !folder);
    CU_ASSERT(!whole || over);
    simdisk_free(&sim);
    return whole;
}

static void the_power_goes_or_an_operation_fails(void)
{
    for (int power = 0; power < 2; power++) {
        uint64_t n = 0;
        while (!cut_at(n, power == 1))
            n++;
        CU_ASSERT(n > 10); /* steps there are */
    }
}

int main(void)
{
    if (!engine_find("libraft")) {
        puts("this program has no second engine to go over to");
        return 1;
    }
    snprintf(base, sizeof base, "/tmp/holdfast-swap-XXXXXX");
    if (!mkdtemp(base))
        return 1;
    digest_init();
    static const struct unit_case cases[] = {
        {"over and back", a_sealed_replica_goes_over_and_back},
        {"killed on the way", killed_on_the_way},
        {"identity is ahead", identity_is_ahead_of_the_state},
        {"not there or too much", what_is_not_there_or_too_much},
        {"power and failures", the_power_goes_or_an_operation_fails},
        {"without identity", without_identity_nothing_is_finished},
    };
    int rc = UNIT_MAIN("swap", cases);
    char command[300];
    snprintf(command, sizeof command, "rm -r '%s'", base);
    return system(command) ? 1 : rc;
}
