/* test_directory.c: a directory is opened only by who it belongs to; each disagreement is exit 6 and one line (I10,
 * I11). */
#include "shard/replica/directory.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/sys/digest.h"
#include "shard/replica/keep.h"
#include "tests/unit/common/sys/child.h"
#include "tests/unit/shard/replica/quiet_env.h"
#include "tests/unit/unit.h"

static char base[256];

struct plan { /* what a child does with base/dir */
    const char *dir;
    uint32_t group, replica;
    const char *engine, *raft, *client;
    uint64_t cluster;
    bool bootstrap; /* makes a fresh directory a member */
    uint64_t wrong_incarnation;
    uint32_t heartbeat_ms, election_ms; /* 0, 0: 100, 500 */
    bool learner, empty_range;
    bool of_three; /* two other voters are named, which nobody runs */
    bool rejoin;   /* the fresh directory comes back as the learner it was */
    bool open_all; /* opens the state machine and the engine too */
    bool keep;     /* and writes its state into a local file */
};

static struct plan plan_of(const char *dir)
{
    return (struct plan){
        .dir = dir, .group = 2, .replica = 1, .raft = "tcp://127.0.0.1:20001", .client = "tcp://127.0.0.1:20002"};
}

static void path_of(const char *dir, const char *name, char out[512])
{
    snprintf(out, 512, "%s/%s/%s", base, dir, name);
}

static int join(struct directory *d, const struct plan *p, uint64_t incarnation, char message[256])
{
    Hf__Catalog__Member member = HF__CATALOG__MEMBER__INIT;
    member.replica = p->replica;
    member.incarnation = incarnation;
    member.raft_endpoint = (char *)(uintptr_t)p->raft;
    member.client_endpoint = (char *)(uintptr_t)p->client;
    Hf__Catalog__Member others[2] = {HF__CATALOG__MEMBER__INIT, HF__CATALOG__MEMBER__INIT};
    Hf__Catalog__Member *list[] = {&member, &others[0], &others[1]};
    Hf__Catalog__Members members = HF__CATALOG__MEMBERS__INIT;
    for (uint32_t i = 0; i < 2; i++) {
        others[i].replica = p->replica + 1 + i;
        others[i].incarnation = 900 + i;
        others[i].raft_endpoint = others[i].client_endpoint = (char *)(uintptr_t) "tcp://127.0.0.1:20009";
    }
    members.n_members = p->of_three ? 3 : 1;
    members.members = list;
    member.role = p->learner ? HF__CATALOG__ROLE__LEARNER : HF__CATALOG__ROLE__VOTER;
    if (p->rejoin)
        return directory_rejoin(d, 77, &members, message);
    Hf__Catalog__Range range = HF__CATALOG__RANGE__INIT;
    if (p->empty_range)
        range.start = range.end = (ProtobufCBinaryData){.len = 1, .data = (uint8_t *)(uintptr_t) "m"};
    Hf__Catalog__Bootstrap b = HF__CATALOG__BOOTSTRAP__INIT;
    b.cluster = 77;
    b.shard = p->group;
    b.replica = p->replica;
    b.incarnation = d->id.incarnation;
    b.members = &members;
    b.range = &range;
    b.heartbeat_ms = p->heartbeat_ms ? p->heartbeat_ms : 100;
    b.election_ms = p->heartbeat_ms ? p->election_ms : 500;
    return directory_bootstrap(d, &b, message);
}

static void bootstrap(struct directory *d, const struct plan *p)
{
    char message[256];
    int rc = join(d, p, p->wrong_incarnation ? p->wrong_incarnation : d->id.incarnation, message);
    if (rc) {
        printf("bootstrap: %s: %s\n", error_name(rc), message);
        fflush(stdout);
        _exit(50);
    }
}

static void keep(struct directory *d)
{
    struct keep *k = keep_new(d->config.disk, d->config.dir, 1);
    keep_begin(k, d->fsm);
    while (keep_newest(k) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    keep_free(&k);
}

static void run(const void *arg)
{
    const struct plan *p = arg;
    char dir[512];
    snprintf(dir, sizeof dir, "%s/%s", base, p->dir);
    struct directory_config config = {.disk = disk_posix(),
                                      .dir = dir,
                                      .group = p->group,
                                      .replica = p->replica,
                                      .engine = p->engine,
                                      .cluster = p->cluster,
                                      .raft_endpoint = p->raft,
                                      .client_endpoint = p->client,
                                      .segment_bytes = 65536};
    config.fsm.cache_bytes = 1 << 20;
    config.fsm.buffer_bytes = 1 << 20;
    struct directory d;
    directory_open(&d, &config);
    if (p->bootstrap)
        bootstrap(&d, p);
    if (p->open_all) {
        struct engine_env env = quiet_env();
        directory_open_fsm(&d);
        directory_open_engine(&d, &env);
        if (d.fsm)
            printf("open applied=%llu incarnation=%llx\n", (unsigned long long)fsm_info(d.fsm)->applied.index,
                   (unsigned long long)d.id.incarnation);
        else
            printf("held %s trouble=%s\n", cold_state_name(d.cold.state), d.trouble);
        if (p->keep)
            keep(&d);
        if (d.id.recovering)
            printf("recovering %016llx forgot=%d\n", (unsigned long long)d.id.recovering,
                   (d.id.recovering & ENGINE_RECOVERING_FORGOT) != 0);
    } else {
        printf("%s incarnation=%llx\n", directory_fresh(&d) ? "fresh" : "member", (unsigned long long)d.id.incarnation);
    }
    directory_close(&d);
}

/* Lines that are more than information. */
static unsigned complaints(const char *text)
{
    unsigned count = 0;
    for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1) {
        const char *info = strstr(text, " INFO ");
        count += info == NULL || info > end;
    }
    return count;
}

static void expect(const struct plan *p, int exit_code, const char *text)
{
    struct child c = child_run(run, p);
    if (child_exit(&c) != exit_code || !strstr(c.output, text))
        fprintf(stderr, "wanted exit %d and \"%s\", got exit %d and: %s\n", exit_code, text, child_exit(&c), c.output);
    CU_ASSERT_EQUAL(child_exit(&c), exit_code);
    CU_ASSERT_PTR_NOT_NULL(strstr(c.output, text));
    if (exit_code == 6) /* one line, no more */
        CU_ASSERT_EQUAL(complaints(c.output), 1);
    if (exit_code == 6 && complaints(c.output) != 1)
        fprintf(stderr, "%s\n", c.output);
}

static struct plan member(const char *dir)
{
    struct plan p = plan_of(dir);
    p.bootstrap = p.open_all = true;
    expect(&p, 0, "open applied=1");
    p.bootstrap = false;
    return p;
}

static void fresh_keeps_its_incarnation(void)
{
    struct plan p = plan_of("fresh");
    struct child first = child_run(run, &p), second = child_run(run, &p);
    CU_ASSERT(strstr(first.output, "fresh incarnation=") != NULL);
    CU_ASSERT_STRING_EQUAL(first.output, second.output);
}

static void a_bootstrapped_directory_opens_again(void)
{
    struct plan p = member("again");
    expect(&p, 0, "open applied=1");
}

static void each_disagreement_is_refused(void) /* those of identity: test_detect.c */
{
    struct plan p = member("mine");
    struct plan q = p;
    q.engine = "libraft";
    expect(&q, 6, "is run by engine native, not libraft");
    q = p;
    q.raft = "tcp://127.0.0.1:20003";
    expect(&q, 6, "the raft endpoint tcp://127.0.0.1:20001, not tcp://127.0.0.1:20003");
    q = p;
    q.client = "tcp://127.0.0.1:20004";
    expect(&q, 6, "the client endpoint tcp://127.0.0.1:20002");
    expect(&p, 0, "open applied=1");
}

static void locked_by_another_process(void)
{
    struct plan p = plan_of("locked");
    char path[512];
    snprintf(path, sizeof path, "%s/locked", base);
    CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
    path_of("locked", "LOCK", path);
    CU_ASSERT_EQUAL(disk_lock(path), HF_OK); /* held by this process from now on */
    expect(&p, 6, "is in use by another process");
}

static void overwrite(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs(text, f);
    fclose(f);
}

static void foreign_or_damaged_files(void)
{
    struct plan p = plan_of("foreign");
    char path[512];
    snprintf(path, sizeof path, "%s/foreign", base);
    CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
    path_of("foreign", "somebody.txt", path);
    overwrite(path, "data");
    expect(&p, 6, "has no identity but holds \"somebody.txt\"");
    p = member("damaged");
    path_of("damaged", "identity", path);
    overwrite(path, "cluster 1\n");
    expect(&p, 6, "identity cannot be read");
}

static void parts_that_are_missing(void)
{
    struct plan p = member("nolog");
    char command[700];
    snprintf(command, sizeof command, "rm -r '%s/nolog/native-1'", base);
    CU_ASSERT_EQUAL(system(command), 0);
    expect(&p, 6, "has no files of engine native, log epoch 1");
    p = member("nopeers");
    snprintf(command, sizeof command, "rm '%s/nopeers/peers'", base);
    CU_ASSERT_EQUAL(system(command), 0);
    expect(&p, 6, "peers is missing");
    p = member("copied");
    struct plan other = plan_of("other");
    other.group = 5;
    other.bootstrap = other.open_all = true;
    expect(&other, 0, "open applied=1");
    snprintf(command, sizeof command, "cd '%s' && rm -r copied/fsm && cp -r other/fsm copied/fsm", base);
    CU_ASSERT_EQUAL(system(command), 0);
    expect(&p, 6, "one of them was copied from elsewhere");
}

/* The list must have this replica in it, by number and incarnation: another's was copied here, or this was wiped. */
static void a_list_of_peers_without_it(void)
{
    struct plan mine = member("mine-of-two"), other = member("peers-of"), third = plan_of("third");
    char command[700];
    snprintf(command, sizeof command, "cd '%s' && cp peers-of/peers mine-of-two/peers", base);
    CU_ASSERT_EQUAL(system(command), 0);
    expect(&mine, 6, "peers does not list replica 2/1 with incarnation"); /* same number, drawn by another directory */
    third.replica = 3;
    third.bootstrap = third.open_all = true;
    expect(&third, 0, "open applied=1");
    snprintf(command, sizeof command, "cd '%s' && cp third/peers peers-of/peers", base);
    CU_ASSERT_EQUAL(system(command), 0);
    expect(&other, 6, "peers does not list replica 2/1");
}

static bool there(const char *dir, const char *name)
{
    char path[512];
    path_of(dir, name, path);
    return access(path, F_OK) == 0;
}

static void shell(const char *command)
{
    char whole[700];
    snprintf(whole, sizeof whole, "cd '%s' && %s", base, command);
    CU_ASSERT_EQUAL(system(whole), 0);
}

static struct plan three(const char *dir)
{
    struct plan p = plan_of(dir);
    p.bootstrap = p.open_all = p.of_three = true;
    expect(&p, 0, "open applied=1");
    p.bootstrap = false;
    return p;
}

/* With others to heal it: what cannot be used is put aside, once, and the engine is opened without. */
static void with_peers_it_is_put_aside(void)
{
    char path[512];
    struct plan p = three("three");
    path_of("three", "quarantine-fsm", path); /* the mark of a check or of a damaged read */
    overwrite(path, "why");
    expect(&p, 0, "held corrupt_fsm trouble=state machine corrupt_fsm");
    CU_ASSERT(there("three", "quarantine/fsm-1/CURRENT") && !there("three", "fsm") &&
              !there("three", "quarantine-fsm"));
    expect(&p, 0, "held missing"); /* and again: no loop, nothing more is put aside */
    CU_ASSERT(!there("three", "quarantine/fsm-2"));
    struct plan other = plan_of("stranger");
    other.group = 5;
    other.bootstrap = other.open_all = true;
    expect(&other, 0, "open applied=1");
    shell("cp -r stranger/fsm three/fsm");
    expect(&p, 0, "held foreign_epoch");
    CU_ASSERT(there("three", "quarantine/fsm-2/CURRENT"));
    shell("mv three/quarantine/fsm-1 three/fsm");
    expect(&p, 0, "open applied=1"); /* an operator who knows better may bring it back */
    shell("rm -r three/native-1");
    expect(&p, 6, "has no files of engine native, log epoch 1"); /* its vote is gone with them */
}

/* Puts in place what was staged, as far as the log's part. */
static void exchange(const void *arg)
{
    char dir[512];
    const struct install_record record = {.cluster = 77, .group = 2, .log_epoch = 1, .index = 1, .term = 1};
    snprintf(dir, sizeof dir, "%s/%s", base, (const char *)arg);
    printf("exchanged: %s\n", error_name(install_exchange(disk_posix(), dir, &record)));
}

static void with_crash(const char *point, void (*does)(const void *), const void *arg)
{
    if (point)
        setenv("HOLDFAST_CRASH_POINT", point, 1);
    struct child c = child_run(does, arg);
    unsetenv("HOLDFAST_CRASH_POINT");
    CU_ASSERT_EQUAL(WIFSIGNALED(c.status), point != NULL);
}

/* A marked machine is being replaced when the process ends: the mark is the old machine's. It is gone before the record of
 * the install is, or the start after it would put the new one aside; and it stays as long as nothing was decided. */
static void a_mark_is_of_the_machine_before_the_install(void)
{
    static const char *const points[] = {"install.before_record", "install.after_record", "install.after_exchange",
                                         NULL};
    struct plan p = three("marked");
    char mark[512];
    path_of("marked", "quarantine-fsm", mark);
    for (size_t i = 0; i < 4; i++) {
        shell("mkdir -p marked/snapshots && cp -r marked/fsm marked/snapshots/incoming && touch "
              "marked/snapshots/incoming/STAGED");
        overwrite(mark, "why");
        with_crash(points[i], exchange, "marked");
        CU_ASSERT_EQUAL(there("marked", "INSTALL"), i > 0);
        if (i == 0) {
            expect(&p, 0, "held corrupt_fsm");
            CU_ASSERT(there("marked", "quarantine/fsm-1/CURRENT") && !there("marked", "quarantine-fsm"));
            shell("mv marked/quarantine/fsm-1 marked/fsm");
            expect(&p, 0, "open applied=1");
            continue;
        }
        with_crash("install.before_done", run, &p);
        CU_ASSERT(there("marked", "INSTALL") && !there("marked", "quarantine-fsm"));
        expect(&p, 0, "open applied=1");
        CU_ASSERT(!there("marked", "INSTALL") && !there("marked", "fsm/STAGED"));
        expect(&p, 0, "open applied=1");
        CU_ASSERT(!there("marked", "quarantine/fsm-1"));
    }
}

/* What was kept of a machine that was found to differ may differ as well: whoever has others to ask asks them, now and at
 * every later start. */
static void what_was_kept_of_a_marked_machine_heals_nobody(void)
{
    static const char stream[] = "snapshots/keep-00000000000000000001.stream";
    char path[512];
    struct plan p = three("kept");
    p.keep = true;
    expect(&p, 0, "open applied=1");
    p.keep = false;
    CU_ASSERT(there("kept", stream));
    shell("rm -r kept/fsm");
    expect(&p, 0, "restored from a local stream index=1"); /* a machine that is only lost */
    path_of("kept", "quarantine-fsm", path);
    overwrite(path, "differs from the majority at index 1");
    shell("mv kept/fsm kept/moved");
    expect(&p, 0, "held missing"); /* as a crash leaves it: put aside, and the mark not gone yet */
    shell("mv kept/moved kept/fsm");
    expect(&p, 0, "held corrupt_fsm");
    expect(&p, 0, "held missing");
    CU_ASSERT(!there("kept", "fsm") && !there("kept", stream));
    p = member("alone"); /* nobody else has anything */
    p.keep = true;
    expect(&p, 0, "open applied=1");
    p.keep = false;
    path_of("alone", "quarantine-fsm", path);
    overwrite(path, "it was damaged");
    expect(&p, 0, "restored from a local stream index=1");
    CU_ASSERT(there("alone", "quarantine/fsm-1/CURRENT") && there("alone", stream));
    expect(&p, 0, "open applied=1");
}

static void spoil_log(const char *dir)
{
    char command[700];
    snprintf(command, sizeof command,
             "printf damaged | dd conv=notrunc status=none of=\"$(ls '%s/%s/native-1/'seg-*)\"", base, dir);
    CU_ASSERT_EQUAL(system(command), 0);
}

static uint64_t number_in(const char *output)
{
    const char *at = strstr(output, "recovering ");
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    return strtoull(at + strlen("recovering "), NULL, 16);
}

/* I13: a damaged log takes no vote away. A wiped directory has forgotten its votes, and goes on saying so when its log is
 * damaged as well. */
static void who_forgot_its_vote_says_so_until_a_leader_brought_it_back(void)
{
    struct plan p = plan_of("spoilt");
    p.bootstrap = p.open_all = p.of_three = true;
    expect(&p, 0, "open applied=1");
    p.bootstrap = false;
    spoil_log("spoilt");
    expect(&p, 0, "forgot=0");
    p = plan_of("wiped");
    p.bootstrap = p.rejoin = p.learner = p.of_three = p.open_all = true;
    p.wrong_incarnation = 4711;
    struct child first = child_run(run, &p);
    CU_ASSERT_PTR_NOT_NULL(strstr(first.output, "held missing"));
    CU_ASSERT_PTR_NOT_NULL(strstr(first.output, "forgot=1"));
    p.bootstrap = false;
    struct child again = child_run(run, &p);
    CU_ASSERT_EQUAL(number_in(first.output), number_in(again.output));
    spoil_log("wiped");
    again = child_run(run, &p);
    CU_ASSERT_PTR_NOT_NULL(strstr(again.output, "held corrupt_log"));
    CU_ASSERT_PTR_NOT_NULL(strstr(again.output, "forgot=1"));
    CU_ASSERT_NOT_EQUAL(number_in(first.output), number_in(again.output));
}

/* Killed before the log followed a machine that was put in place, and then the log is damaged: it is begun again behind
 * that machine, and nothing is left to finish. */
static void a_damaged_log_under_an_install(void)
{
    struct plan p = three("amid");
    shell("mkdir amid/snapshots && cp -r amid/fsm amid/snapshots/incoming && touch amid/snapshots/incoming/STAGED");
    with_crash(NULL, exchange, "amid");
    CU_ASSERT(there("amid", INSTALL_NAME) && there("amid", "fsm/" INSTALL_STAGED));
    spoil_log("amid");
    expect(&p, 0, "open applied=1");
    CU_ASSERT(there("amid", "quarantine/log-1") && !there("amid", INSTALL_NAME) &&
              !there("amid", "fsm/" INSTALL_STAGED) && !there("amid", INSTALL_INCOMING));
    expect(&p, 0, "open applied=1");
    CU_ASSERT(!there("amid", "quarantine/log-2"));
}

static void a_bootstrap_for_another_is_refused(void)
{
    struct plan p = plan_of("wrong");
    p.bootstrap = true;
    p.wrong_incarnation = 4711;
    expect(&p, 50, "bootstrap: REFUSED");
    p.bootstrap = false;
    expect(&p, 0, "fresh incarnation=");
}

/* Taken, each of these would make every start from then on end: an election time-out of 0 by an assertion. */
static void a_bootstrap_that_cannot_run_is_refused(void)
{
    struct plan good = plan_of("unrunnable"), p = good;
    good.bootstrap = true;
    const uint32_t times[][2] = {{1u << 31, 0}, {300, 500}, {UINT32_MAX, UINT32_MAX}, {100, 3600000}};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        p = good;
        p.heartbeat_ms = times[i][0];
        p.election_ms = times[i][1];
        expect(&p, 50, "bootstrap: INVALID");
    }
    p = good;
    p.learner = true; /* nobody votes */
    expect(&p, 50, "bootstrap: INVALID");
    p = good;
    p.empty_range = true;
    expect(&p, 50, "bootstrap: INVALID");
    p = good;
    p.bootstrap = false;
    expect(&p, 0, "fresh incarnation=");
}

/* The killed attempt named other endpoints: nothing of it may be left. Found by review. */
static void a_killed_bootstrap_leaves_no_peers_behind(void)
{
    struct plan p = plan_of("moved");
    p.bootstrap = p.open_all = true;
    setenv("HOLDFAST_CRASH_POINT", "bootstrap.before_identity", 1);
    struct child c = child_run(run, &p);
    unsetenv("HOLDFAST_CRASH_POINT");
    CU_ASSERT(WIFSIGNALED(c.status));
    p.raft = "tcp://127.0.0.1:20007";
    expect(&p, 0, "open applied=1");
    p.bootstrap = false;
    expect(&p, 0, "open applied=1");
}

static void killed_during_bootstrap_it_is_fresh_or_member(void)
{
    struct plan p = plan_of("killed");
    p.bootstrap = p.open_all = true;
    setenv("HOLDFAST_CRASH_POINT", "bootstrap.before_identity", 1);
    struct child c = child_run(run, &p);
    CU_ASSERT(WIFSIGNALED(c.status) && WTERMSIG(c.status) == 9);
    unsetenv("HOLDFAST_CRASH_POINT");
    struct plan look = plan_of("killed");
    expect(&look, 0, "fresh incarnation=");
    setenv("HOLDFAST_CRASH_POINT", "bootstrap.after_identity", 1);
    c = child_run(run, &p);
    CU_ASSERT(WIFSIGNALED(c.status));
    unsetenv("HOLDFAST_CRASH_POINT");
    look.open_all = true;
    expect(&look, 0, "open applied=1");
}

int main(void)
{
    snprintf(base, sizeof base, "/tmp/holdfast-directory-XXXXXX");
    if (!mkdtemp(base))
        return 1;
    digest_init();
    static const struct unit_case cases[] = {
        {"fresh", fresh_keeps_its_incarnation},
        {"opens again", a_bootstrapped_directory_opens_again},
        {"disagreements", each_disagreement_is_refused},
        {"locked", locked_by_another_process},
        {"foreign or damaged", foreign_or_damaged_files},
        {"missing parts", parts_that_are_missing},
        {"peers without it", a_list_of_peers_without_it},
        {"with peers it is put aside", with_peers_it_is_put_aside},
        {"a mark is of the machine before", a_mark_is_of_the_machine_before_the_install},
        {"what was kept of a marked machine", what_was_kept_of_a_marked_machine_heals_nobody},
        {"who forgot its vote says so", who_forgot_its_vote_says_so_until_a_leader_brought_it_back},
        {"a damaged log under an install", a_damaged_log_under_an_install},
        {"bootstrap for another", a_bootstrap_for_another_is_refused},
        {"a bootstrap that cannot run", a_bootstrap_that_cannot_run_is_refused},
        {"killed bootstrap leaves no peers", a_killed_bootstrap_leaves_no_peers_behind},
        {"killed during bootstrap", killed_during_bootstrap_it_is_fresh_or_member},
    };
    int rc = UNIT_MAIN("directory", cases);
    char command[300];
    snprintf(command, sizeof command, "rm -r '%s'", base);
    return system(command) ? 1 : rc;
}
