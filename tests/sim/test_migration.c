/* test_migration.c: schedules around a change of engine, step by step on whole processes, from native to libraft and back. What must be
 * true of all of them is in world/epochs.h; where a bug can be planted that a schedule is about, the schedule finds it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "proto/raft.pb-c.h"
#include "shard/fsm/fsm.h"
#include "shard/log/identity.h"
#include "tests/sim/stage.h"
#include "tests/sim/world/epochs.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/wire.h"
#include "tests/support/simstore.h"
#include "tests/unit/unit.h"

#define SHARD 2
#define KEY (JUDGE_KEYS / 2) /* of that shard */
#define ID_FIRST (UINT64_C(1) << 39)
#define FIRST 1000u /* value: no client writes so many */
#define TOLD_MAX 256
#define OPERATIONS 44 /* of the disk in a swap, at the least */
#define PREPARE HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE
#define SEAL HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL
#define ABORT HF__ENTRY__MIGRATE_STEP__MIGRATE_ABORT

struct told {
    bool came;
    int code;
};

static struct told told[TOLD_MAX];
static unsigned told_count;
static struct net_socket *sockets[WORLD_PROCESSES];
static uint32_t epoch; /* that the schedule begins in */
static uint64_t operations;

/* ---- frames that get lost ---- */

static struct {
    uint32_t deaf;      /* a replica that no acknowledgement reaches */
    uint32_t silent;    /* one that tells nobody of a commit, or an end of its epoch, */
    uint64_t committed; /* beyond this */
} lost;

static uint64_t hold(struct world *w, uint32_t from, const char *endpoint, struct slice data)
{
    if (strstr(endpoint, "/r") == NULL || (lost.deaf == 0 && from != lost.silent))
        return 0;
    Hf__Raft__Envelope *e = hf__raft__envelope__unpack(NULL, data.size, data.data);
    must(e != NULL);
    const Hf__Raft__Raft *m = e->body_case == HF__RAFT__ENVELOPE__BODY_RAFT ? e->raft : NULL;
    bool acknowledges = m != NULL && m->kind == HF__RAFT__KIND__APPEND_REPLY && lost.deaf != 0 &&
                        strcmp(endpoint, w->processes[lost.deaf]->raft) == 0;
    bool tells =
        from == lost.silent && (m == NULL || (m->kind == HF__RAFT__KIND__APPEND && m->commit > lost.committed));
    hf__raft__envelope__free_unpacked(e, NULL);
    return acknowledges || tells ? UINT64_MAX : 0;
}

/* ---- who is where ---- */

static uint32_t replica(uint32_t id)
{
    return world_replica(SHARD, id);
}

static uint32_t epoch_of(struct world *w, uint32_t process)
{
    const struct identity *id = replica_process_identity(w->processes[process]);
    return id != NULL ? id->log_epoch : 0;
}

static uint32_t other_than(uint32_t a, uint32_t b)
{
    uint32_t r = 1;
    while (replica(r) == a || replica(r) == b)
        r++;
    return replica(r);
}

static uint32_t wanted; /* of all_in, one_in */
static uint32_t who;

static bool one_in(struct world *w)
{
    return epoch_of(w, who) == wanted;
}

static bool all_in(struct world *w)
{
    for (uint32_t r = 1; r <= WORLD_REPLICAS; r++)
        if (epoch_of(w, replica(r)) != wanted)
            return false;
    return stage_leader(w, SHARD) != 0;
}

static void expect_all_in(struct world *w, uint32_t number)
{
    wanted = number;
    EXPECT(stage_until(w, 15000, all_in));
}

static void expect_one_in(struct world *w, uint32_t process, uint32_t number)
{
    who = process;
    wanted = number;
    EXPECT(stage_until(w, 5000, one_in));
}

static bool led(struct world *w)
{
    return stage_leader(w, SHARD) != 0 && epoch_of(w, stage_leader(w, SHARD)) == wanted;
}

/* ---- asking ---- */

static void heard(void *ctx, struct slice frame)
{
    (void)ctx;
    Hf__Client__Reply *r = hf__client__reply__unpack(NULL, frame.size, frame.data);
    must(r != NULL && r->id >= ID_FIRST && r->id - ID_FIRST < told_count);
    told[r->id - ID_FIRST] = (struct told){true, r->code};
    hf__client__reply__free_unpacked(r, NULL);
}

/* As whoever knows what that replica holds now. */
static struct told *ask(struct world *w, uint32_t process, Hf__Entry__MigrateStep step, uint64_t id)
{
    const struct identity *of = replica_process_identity(w->processes[process]);
    const struct fsm *fsm = replica_process_fsm(w->processes[process]);
    Hf__Entry__MigrateEntry e = HF__ENTRY__MIGRATE_ENTRY__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    struct buf packed = {0};
    char source[IDENTITY_ENGINE_BYTES], target[IDENTITY_ENGINE_BYTES];
    must(of != NULL && fsm != NULL && told_count < TOLD_MAX);
    snprintf(source, sizeof source, "%s", of->engine);
    snprintf(target, sizeof target, "%s", strcmp(of->engine, "native") == 0 ? "libraft" : "native");
    e.step = step;
    e.id = id;
    e.epoch = of->log_epoch;
    e.source = source;
    e.target = target;
    e.configuration = fsm_info(fsm)->members->index;
    q.version = 1;
    q.cluster = WORLD_CLUSTER;
    q.id = ID_FIRST + told_count;
    q.deadline_ms = 20000;
    q.shard = SHARD;
    q.op_case = HF__CLIENT__REQUEST__OP_MIGRATE;
    q.migrate = &e;
    struct told *answer = &told[told_count++];
    *answer = (struct told){0};
    pack_append(&q.base, &packed);
    world_trace(w, 0, "migrate", (uint64_t)step, process);
    int rc = net_send(sockets[process], buf_slice(&packed));
    (void)rc; /* as lost */
    buf_deinit(&packed);
    return answer;
}

/* Of the leader, until it is answered in another way than with "ask somebody else". */
static int ask_leader(struct world *w, Hf__Entry__MigrateStep step, uint64_t id)
{
    for (uint64_t end = w->now + 10000 * SIM_MS; w->now < end && !w->result.failed; stage_run(w, 20)) {
        uint32_t to = stage_leader(w, SHARD);
        if (to == 0)
            continue;
        uint32_t in = epoch_of(w, to);
        struct told *answer = ask(w, to, step, id);
        for (int i = 0; i < 1000 && !answer->came; i++)
            stage_run(w, 1);
        enum hf_class class = answer->came ? error_class(answer->code) : HF_CLASS_RETRY_SAME;
        if (class == HF_CLASS_RETRY_SAME || class == HF_CLASS_RETRY_ELSEWHERE)
            continue;
        if (answer->code == HF_OK && step == ABORT)
            epochs_told_aborted(w, SHARD, in, id);
        return answer->code;
    }
    return HF_E_TIMEOUT;
}

/* The others follow as they can. */
static void change(struct world *w, uint64_t id)
{
    uint32_t next = epoch_of(w, stage_leader(w, SHARD)) + 1;
    EXPECT(ask_leader(w, PREPARE, id) == HF_OK);
    EXPECT(ask_leader(w, SEAL, id) == HF_OK);
    wanted = next;
    EXPECT(stage_until(w, 10000, led));
}

/* ---- schedules ---- */

static void nothing_in_the_way(struct world *w)
{
    (void)stage_put(w, KEY, FIRST + 7);
    change(w, 11);
    expect_all_in(w, epoch + 1);
    EXPECT(stage_put(w, KEY, FIRST + 8).code == HF_OK);
}

/* All hold it, nobody knows that it is committed. */
static void the_leader_dies_between_proposal_and_commit(struct world *w)
{
    uint32_t leader = stage_leader(w, SHARD);
    EXPECT(ask_leader(w, PREPARE, 11) == HF_OK);
    lost.deaf = leader;
    (void)ask(w, leader, SEAL, 11);
    stage_run(w, 60);
    EXPECT(epoch_of(w, leader) == epoch);
    process_die(w->processes[leader], DEATH_KILL);
    lost.deaf = 0;
    expect_all_in(w, epoch + 1);
}

/* Nobody else has it, and it goes; what follows is sealed as if it had never been. */
static void a_seal_that_nobody_else_holds(struct world *w)
{
    uint32_t leader = stage_leader(w, SHARD);
    EXPECT(ask_leader(w, PREPARE, 11) == HF_OK);
    stage_cut(w, leader, other_than(leader, 0));
    stage_cut(w, leader, other_than(leader, other_than(leader, 0)));
    (void)ask(w, leader, SEAL, 11);
    stage_run(w, 20);
    stage_other_leader(w, SHARD);
    (void)stage_put(w, KEY, FIRST + 7);
    stage_mend(w);
    stage_run(w, 3000);
    expect_all_in(w, epoch);
    EXPECT(ask_leader(w, SEAL, 11) == HF_OK);
    expect_all_in(w, epoch + 1);
}

/* The seal is in the log of a leader that nobody hears, the next one aborts. */
static void an_abort_beside_a_seal(struct world *w)
{
    uint32_t leader = stage_leader(w, SHARD);
    EXPECT(ask_leader(w, PREPARE, 11) == HF_OK);
    stage_cut(w, leader, other_than(leader, 0));
    stage_cut(w, leader, other_than(leader, other_than(leader, 0)));
    (void)ask(w, leader, SEAL, 11);
    stage_run(w, 20);
    stage_other_leader(w, SHARD);
    EXPECT(ask_leader(w, ABORT, 11) == HF_OK);
    stage_mend(w);
    stage_run(w, 2000);
    EXPECT(ask_leader(w, SEAL, 11) == HF_E_COMPARE_FAILED);
    EXPECT(ask_leader(w, PREPARE, 11) == HF_E_FENCED);
    expect_all_in(w, epoch);
    change(w, 12);
    expect_all_in(w, epoch + 1);
}

/* Remembered, though it came before what it aborts. */
static void an_abort_before_its_prepare(struct world *w)
{
    EXPECT(ask_leader(w, ABORT, 11) == HF_OK);
    EXPECT(ask_leader(w, PREPARE, 11) == HF_E_FENCED);
    EXPECT(ask_leader(w, SEAL, 11) == HF_E_COMPARE_FAILED);
    stage_run(w, 500);
    expect_all_in(w, epoch);
}

/* It commits the seal, says so, stands still with its lease, and answers when the others have gone on. */
static void a_late_leader_of_the_epoch_before(struct world *w)
{
    uint32_t leader = stage_leader(w, SHARD);
    static struct stage_answer read[20];
    static const struct stage_moment latest;
    (void)stage_put(w, KEY, FIRST + 7);
    EXPECT(ask_leader(w, PREPARE, 11) == HF_OK);
    lost.deaf = leader;
    (void)ask(w, leader, SEAL, 11);
    stage_run(w, 30);
    w->processes[leader]->stop_before = PHASE_APPLY;
    w->processes[leader]->stop_for = 3000 * SIM_MS;
    lost.deaf = 0;
    for (size_t i = 0; i < 20; i++) {
        stage_send_look(w, leader, KEY, &latest, &read[i]);
        stage_run(w, 3);
    }
    wanted = epoch + 1;
    EXPECT(stage_until(w, 2900, led));
    EXPECT(epoch_of(w, leader) == epoch);
    (void)stage_put(w, KEY, FIRST + 8);
    for (size_t i = 0; i < 20; i++)
        if (!read[i].came) /* asked once more, behind the write */
            stage_send_look(w, leader, KEY, &latest, &read[i]);
    stage_run(w, 4000);
    for (size_t i = 0; i < 20; i++)
        EXPECT(!read[i].came || read[i].code != HF_OK || read[i].value != FIRST + 7 || read[i].timestamp != 0);
    expect_all_in(w, epoch + 1);
}

/* One is there, the second has the seal and does not know that it is committed, the third is dead. */
static void a_minority_is_there_and_one_is_dead(struct world *w)
{
    uint32_t leader = stage_leader(w, SHARD), dead = other_than(leader, 0);
    EXPECT(ask_leader(w, PREPARE, 11) == HF_OK);
    stage_run(w, 300);
    lost.silent = leader;
    lost.committed = fsm_info(replica_process_fsm(w->processes[leader]))->applied.index;
    (void)ask(w, leader, SEAL, 11);
    expect_one_in(w, leader, epoch + 1);
    for (uint32_t other = 0; other < WORLD_PROCESSES; other++)
        stage_cut(w, dead, other);
    EXPECT(epoch_of(w, other_than(leader, dead)) == epoch);
    lost.silent = 0;
    wanted = epoch + 1;
    EXPECT(stage_until(w, 5000, led));
    (void)stage_put(w, KEY, FIRST + 9);
    stage_mend(w);
    expect_all_in(w, epoch + 1);
}

/* The same, and the one that is there has lost its state: its identity says where the log ended. */
static void who_is_there_has_lost_its_state(struct world *w)
{
    uint32_t leader = stage_leader(w, SHARD), dead = other_than(leader, 0);
    struct process *p = w->processes[leader];
    EXPECT(ask_leader(w, PREPARE, 11) == HF_OK);
    stage_run(w, 300);
    lost.silent = leader;
    lost.committed = fsm_info(replica_process_fsm(p))->applied.index;
    (void)ask(w, leader, SEAL, 11);
    expect_one_in(w, leader, epoch + 1);
    for (uint32_t other = 0; other < WORLD_PROCESSES; other++)
        stage_cut(w, dead, other);
    EXPECT(epoch_of(w, other_than(leader, dead)) == epoch);
    process_die(p, DEATH_KILL);
    simstore_damage(p->store);
    judge_lost(w, leader);
    p->damaged = true;
    lost.silent = 0;
    wanted = epoch + 1;
    EXPECT(stage_until(w, 10000, led));
    (void)stage_put(w, KEY, FIRST + 9);
    stage_mend(w);
    expect_all_in(w, epoch + 1);
}

/* Through one seal, through two, and while the next is prepared, or aborted: what it fetches tells all the same. */
static void asleep(struct world *w, unsigned changes, Hf__Entry__MigrateStep last)
{
    uint32_t sleeper = other_than(stage_leader(w, SHARD), 0);
    for (uint32_t r = 1; r <= WORLD_REPLICAS; r++)
        if (replica(r) != sleeper)
            stage_cut(w, sleeper, replica(r));
    for (unsigned i = 0; i < changes; i++) {
        change(w, 11 + i);
        (void)stage_put(w, KEY, FIRST + 20 + i);
    }
    EXPECT(ask_leader(w, PREPARE, 31) == HF_OK);
    if (last == ABORT)
        EXPECT(ask_leader(w, ABORT, 31) == HF_OK);
    EXPECT(epoch_of(w, sleeper) == epoch);
    stage_mend(w);
    expect_all_in(w, epoch + changes);
}

static void asleep_through_a_seal(struct world *w)
{
    asleep(w, 1, PREPARE);
}

static void asleep_through_two(struct world *w)
{
    asleep(w, 2, ABORT);
}

/* The power goes for all three, each in the n-th operation of its swap. */
static void all_die_amid_the_swap(struct world *w)
{
    EXPECT(ask_leader(w, PREPARE, 11) == HF_OK);
    w->swap_halt = 1 + operations;
    (void)ask(w, stage_leader(w, SHARD), SEAL, 11);
    expect_all_in(w, epoch + 1);
    (void)stage_put(w, KEY, FIRST + 9);
}

/* Read from the old leader, again and again, while the new one writes: it shows nothing older than what was acknowledged. */
static void read_while_written(struct world *w, uint32_t old, uint32_t new, uint32_t before, uint32_t value)
{
    static struct stage_answer read[300], written;
    static const struct stage_moment latest;
    size_t count = 0;
    stage_send_put(w, new, KEY, value, &written);
    for (size_t i = 0; i < 300; i++) {
        if (written.came && written.code == HF_OK)
            stage_send_look(w, old, KEY, &latest, &read[count++]);
        stage_run(w, 2);
    }
    for (size_t i = 0; i < count; i++)
        if (read[i].came && read[i].code == HF_OK && read[i].value == before)
            world_failed(w, "linear", "a leader with a lease showed what was overwritten");
}

/* An engine that was opened once has promised something: a member that returns waits before it votes, or the lease of who leads is worth
 * nothing. One reaches nobody but a member that dies and is there again, the leader then reaches nobody. */
static void a_member_that_returns_waits(struct world *w)
{
    for (uint32_t i = 0; i < (stage_bug ? 100 : 8) && !w->result.failed; i++) {
        (void)stage_put(w, KEY, FIRST + 2 * i);
        uint32_t old = stage_leader(w, SHARD), member = other_than(old, 0), rival = other_than(old, member);
        stage_cut(w, old, rival);
        stage_run(w, 800 + 47 * i % 600);
        process_die(w->processes[member], DEATH_KILL);
        stage_cut(w, old, member);
        process_start(w->processes[member]);
        for (int ms = 0; ms < 450 && stage_leader(w, SHARD) != rival; ms++)
            stage_run(w, 1);
        if (stage_leader(w, SHARD) == rival)
            read_while_written(w, old, rival, FIRST + 2 * i, FIRST + 2 * i + 1);
        stage_mend(w);
        stage_run(w, 2500);
    }
}

static void full(struct world *w, uint32_t process, bool is)
{
    simstore_fail(w->processes[process]->store, HF_E_NO_SPACE, is ? UINT64_MAX : 0);
}

/* Two have no room for what they apply: the leader, whose log holds a seal, and the member that its lease rests on. The third goes over,
 * and campaigns alone until the member has room: that follows at once, and its new engine has promised nothing to anybody. */
static void a_leader_without_room_for_the_seal(struct world *w)
{
    for (uint32_t i = 0; i < (stage_bug ? 12 : 4) && !w->result.failed; i++) {
        uint32_t leader = stage_leader(w, SHARD), first = other_than(leader, 0), member = other_than(leader, first);
        uint32_t next = epoch_of(w, leader) + 1;
        (void)stage_put(w, KEY, FIRST + 2 * i);
        EXPECT(ask_leader(w, PREPARE, 11 + i) == HF_OK);
        lost.deaf = leader;
        (void)ask(w, leader, SEAL, 11 + i);
        stage_run(w, 60);
        full(w, leader, true);
        full(w, member, true);
        lost.deaf = 0;
        expect_one_in(w, first, next);
        stage_run(w, SIM_ELECTION_MS + 37 * i % SIM_ELECTION_MS);
        EXPECT(epoch_of(w, leader) + 1 == next && epoch_of(w, member) + 1 == next);
        full(w, member, false);
        for (int ms = 0; ms < 3 * SIM_ELECTION_MS && stage_leader(w, SHARD) != first; ms++)
            stage_run(w, 1);
        if (stage_leader(w, SHARD) == first)
            read_while_written(w, leader, first, FIRST + 2 * i, FIRST + 2 * i + 1);
        full(w, leader, false);
        expect_all_in(w, next);
    }
}

/* Of what is sent beside a seal, in a group that nothing else happens to, nobody is told that it may have been done: what comes behind the
 * seal is never proposed. */
static void writes_beside_a_seal(struct world *w)
{
    static struct stage_answer written[12];
    uint32_t leader = stage_leader(w, SHARD);
    EXPECT(ask_leader(w, PREPARE, 11) == HF_OK);
    lost.deaf = leader; /* it is not committed yet */
    (void)ask(w, leader, SEAL, 11);
    for (uint32_t i = 0; i < 12; i++) {
        stage_send_put(w, leader, KEY, FIRST + i, &written[i]);
        stage_run(w, 2);
    }
    lost.deaf = 0;
    expect_all_in(w, epoch + 1);
    for (uint32_t i = 0; i < 12; i++)
        if (written[i].came && error_class(written[i].code) == HF_CLASS_OUTCOME_UNKNOWN)
            world_failed(w, "pause", "write %u, sent beside a seal, may have been done", i);
    EXPECT(written[11].came && written[11].code != HF_OK);
}

static const struct schedule {
    const char *name;
    void (*play)(struct world *w);
    const char *bug, *checker; /* NULL: none */
} schedules[] = {
    {"nothing in the way", nothing_in_the_way, NULL, NULL},
    {"the leader dies between proposal and commit", the_leader_dies_between_proposal_and_commit, "cross.applies_on",
     "epochs"},
    {"a seal that nobody else holds", a_seal_that_nobody_else_holds, NULL, NULL},
    {"an abort beside a seal", an_abort_beside_a_seal, NULL, NULL},
    {"an abort before its prepare", an_abort_before_its_prepare, "fsm.abort_forgotten", "aborted"},
    {"a late leader of the epoch before", a_late_leader_of_the_epoch_before, NULL, NULL},
    {"a minority is there and one is dead", a_minority_is_there_and_one_is_dead, NULL, NULL},
    {"who is there has lost its state", who_is_there_has_lost_its_state, NULL, NULL},
    {"asleep through a seal", asleep_through_a_seal, "heal.own_epoch", "progress"},
    {"asleep through two", asleep_through_two, "heal.own_epoch", "progress"},
    {"a leader without room for the seal", a_leader_without_room_for_the_seal, "cross.reads_go_on", "linear"},
    {"writes beside a seal", writes_beside_a_seal, "writes.behind_a_seal", "pause"},
    {"a member that returns waits", a_member_that_returns_waits, "directory.always_unused", "linear"},
    {"all die amid the swap", all_die_amid_the_swap, "swap.unflushed", "world.state"},
};

static void plant(const char *bug)
{
#ifdef HF_FAILPOINTS
    failpoint_plant(bug);
#else
    must(bug == NULL);
#endif
}

static const char *play(const struct schedule *s, uint64_t seed, uint32_t from, const char *bug)
{
    memset(&lost, 0, sizeof lost);
    told_count = 0;
    stage_bug = bug != NULL;
    struct world *w = stage_new(seed);
    w->migrates = true;
    w->filter = hold;
    for (uint32_t p = 1; p <= WORLD_SHARDS * WORLD_REPLICAS; p++)
        sockets[p] = wire_client(w, 0, w->processes[p]->client, heard, NULL);
    for (epoch = 1; epoch < from; epoch++) {
        change(w, epoch);
        expect_all_in(w, epoch + 1);
    }
    plant(bug);
    s->play(w);
    const char *found = stage_end(&w);
    plant(NULL);
    stage_bug = false;
    return found;
}

static void clean(const struct schedule *s, uint64_t seed, uint32_t from)
{
    unsigned before = CU_get_number_of_failures();
    const char *found = play(s, seed, from, NULL);
    CU_ASSERT_PTR_NULL(found);
    if (CU_get_number_of_failures() > before)
        printf("\n  in: %s, seed %llu, epoch %u, operation %llu: %s\n", s->name, (unsigned long long)seed, from,
               (unsigned long long)operations, found != NULL ? found : "");
}

static void every_schedule_is_clean(void)
{
    const char *only = getenv("SCHEDULE");
    for (size_t i = 0; i < sizeof schedules / sizeof schedules[0]; i++)
        for (uint32_t from = 1; from <= 2; from++) {
            if (only != NULL && strstr(schedules[i].name, only) == NULL)
                continue;
            bool dies = schedules[i].play == all_die_amid_the_swap;
            for (operations = 0; operations < (dies ? OPERATIONS : 3); operations++)
                clean(&schedules[i], 1 + operations, from);
        }
}

#ifdef HF_FAILPOINTS
static void every_schedule_finds_its_bug(void)
{
    for (size_t i = 0; i < sizeof schedules / sizeof schedules[0]; i++) {
        const struct schedule *s = &schedules[i];
        operations = 24; /* behind the commit point */
        const char *found = s->bug != NULL ? play(s, 1, 1, s->bug) : NULL;
        bool right = s->bug == NULL || (found != NULL && strcmp(found, s->checker) == 0);
        if (!right)
            printf("\n  %s: %s found by %s\n", s->name, s->bug, found != NULL ? found : "nobody");
        CU_ASSERT(right);
    }
}
#endif

int main(void)
{
    static const struct unit_case cases[] = {
        {"every schedule is clean", every_schedule_is_clean},
#ifdef HF_FAILPOINTS
        {"every schedule finds its bug", every_schedule_finds_its_bug},
#endif
    };
    return UNIT_MAIN("changes of engine in the simulator", cases);
}
