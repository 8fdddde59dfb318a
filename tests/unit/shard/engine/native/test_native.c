/* test_native.c: the driver over the real log: one engine, and three wired in one process, on a simulated disk and on a
 * real one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "shard/engine/engine.h"
#include "tests/support/simdisk.h"
#include "tests/unit/unit.h"

#define BOXES 4
#define MS UINT64_C(1000000)
#define BASE 1u /* bootstrap: state and log begin at (1, term 1) */

struct box { /* a replica without a state machine: it remembers what it was told to apply */
    uint32_t id;
    char dir[64];
    struct engine *e;                       /* NULL: down */
    uint64_t applied, applied_term, digest; /* durable: survives close */
    uint64_t last_kind, last_size;
    int refuse; /* env->apply answers this */
    unsigned changed, ready;
    uint64_t ready_id, ready_index, sent;
};

struct wire {
    uint32_t from, to;
    size_t size;
    uint8_t *bytes;
};

static struct rig {
    struct simdisk *sim;
    struct disk *disk;
    char root[32]; /* of a real disk, "" otherwise */
    struct box boxes[BOXES + 1];
    bool cut[BOXES + 1];
    struct wire wires[4096];
    size_t count;
    uint64_t now_ns;
    Hf__Catalog__Member list[BOXES], *pointers[BOXES];
    Hf__Catalog__Members members;
} rig;

static const struct engine_ops *ops;

static void on_send(void *ctx, uint32_t to, const Hf__Raft__Raft *m)
{
    struct box *b = ctx;
    b->sent++;
    if (rig.cut[b->id] || rig.cut[to] || rig.count == sizeof rig.wires / sizeof rig.wires[0])
        return;
    struct wire *w = &rig.wires[rig.count++];
    *w = (struct wire){.from = b->id, .to = to, .size = hf__raft__raft__get_packed_size(m)};
    w->bytes = malloc(w->size + 1);
    (void)hf__raft__raft__pack(m, w->bytes);
}

static int on_apply(void *ctx, const struct log_entry *entries, size_t count)
{
    struct box *b = ctx;
    if (b->refuse != 0)
        return b->refuse;
    CU_ASSERT_EQUAL(entries[0].index, b->applied + 1); /* I1: nothing twice, nothing left out */
    for (size_t i = 0; i < count; i++) {
        const struct log_entry *n = &entries[i];
        CU_ASSERT_EQUAL(n->index, entries[0].index + i);
        b->digest = (b->digest ^ n->term ^ (uint64_t)n->kind) * 1099511628211u;
        for (size_t k = 0; k < n->data.size; k += 1 + n->data.size / 64)
            b->digest = (b->digest ^ n->data.data[k]) * 1099511628211u;
        b->applied = n->index;
        b->applied_term = n->term;
        b->last_kind = (uint64_t)n->kind;
        b->last_size = n->data.size;
    }
    return 0;
}

static void on_ready(void *ctx, uint64_t id, uint64_t index)
{
    struct box *b = ctx;
    b->ready++;
    b->ready_id = id;
    b->ready_index = index;
}

static void on_changed(void *ctx)
{
    ((struct box *)ctx)->changed++;
}

static struct engine_env env_of(struct box *b)
{
    return (struct engine_env){.disk = rig.disk,
                               .dir = b->dir,
                               .group = 1,
                               .replica = b->id,
                               .log_epoch = 1,
                               .heartbeat_ms = 100,
                               .election_ms = 500,
                               .segment_bytes = 1024 * 1024,
                               .seed = b->id,
                               .now_ns = rig.now_ns,
                               .applied = b->applied,
                               .applied_term = b->applied_term,
                               .members = &rig.members,
                               .ctx = b,
                               .send = on_send,
                               .apply = on_apply,
                               .barrier_ready = on_ready,
                               .changed = on_changed};
}

static void up(struct box *b)
{
    char where[256];
    struct engine_env env = env_of(b);
    int rc = ops->open(&env, &b->e, where);
    if (rc != HF_OK)
        printf("open: %s: %s\n", error_text(rc), where);
    CU_ASSERT_EQUAL_FATAL(rc, HF_OK);
}

static void begin(uint32_t voters, bool real)
{
    static char endpoint[] = "tcp://127.0.0.1:1";
    memset(&rig, 0, sizeof rig);
    rig.now_ns = 1000 * MS;
    ops = engine_find("native");
    CU_ASSERT_PTR_NOT_NULL_FATAL(ops);
    CU_ASSERT_PTR_NULL(engine_find("none"));
    if (real) {
        snprintf(rig.root, sizeof rig.root, "/tmp/hf-native-XXXXXX");
        CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(rig.root));
        rig.disk = disk_posix();
    } else {
        rig.sim = simdisk_new();
        rig.disk = simdisk_disk(rig.sim);
    }
    hf__catalog__members__init(&rig.members);
    rig.members.index = BASE;
    rig.members.members = rig.pointers;
    for (uint32_t i = 0; i < BOXES; i++) {
        hf__catalog__member__init(&rig.list[i]);
        rig.list[i].replica = i + 1;
        rig.list[i].incarnation = 77;
        rig.list[i].raft_endpoint = rig.list[i].client_endpoint = endpoint;
        rig.pointers[i] = &rig.list[i];
    }
    rig.members.n_members = voters;
    for (uint32_t id = 1; id <= voters; id++) {
        struct box *b = &rig.boxes[id];
        b->id = id;
        b->applied = b->applied_term = BASE;
        snprintf(b->dir, sizeof b->dir, "%s%sr%u", rig.root, real ? "/" : "", id);
        CU_ASSERT_EQUAL(rig.disk->ops->make_dir(rig.disk, b->dir), HF_OK);
        struct engine_env env = env_of(b);
        bool present = true;
        CU_ASSERT_EQUAL(ops->detect(rig.disk, b->dir, 1, &present), HF_OK);
        CU_ASSERT_FALSE(present);
        CU_ASSERT_EQUAL(ops->create(&env, BASE, BASE), HF_OK);
        CU_ASSERT_EQUAL(ops->detect(rig.disk, b->dir, 1, &present), HF_OK);
        CU_ASSERT_TRUE(present);
        up(b);
    }
}

static void end(void)
{
    for (uint32_t id = 1; id <= BOXES; id++)
        ops->close(&rig.boxes[id].e);
    for (size_t i = 0; i < rig.count; i++)
        free(rig.wires[i].bytes);
    simdisk_free(&rig.sim);
    if (rig.root[0] != '\0') {
        char command[64];
        snprintf(command, sizeof command, "rm -r %s", rig.root);
        CU_ASSERT_EQUAL(system(command), 0);
    }
}

static void turn(struct box *b)
{
    ops->step(b->e);
    ops->send_early(b->e);
    CU_ASSERT_EQUAL(ops->persist(b->e), HF_OK);
    ops->send_late(b->e);
    while (ops->apply(b->e) > 0)
        ;
}

static void settle(void)
{
    for (unsigned round = 0; round < 1000; round++) {
        for (uint32_t id = 1; id <= BOXES; id++) {
            if (rig.boxes[id].e != NULL)
                turn(&rig.boxes[id]);
        }
        if (rig.count == 0)
            return;
        static struct wire now[sizeof rig.wires / sizeof rig.wires[0]];
        size_t count = rig.count;
        memcpy(now, rig.wires, count * sizeof now[0]);
        rig.count = 0;
        for (size_t i = 0; i < count; i++) {
            Hf__Raft__Raft *m = hf__raft__raft__unpack(NULL, now[i].size, now[i].bytes);
            CU_ASSERT_PTR_NOT_NULL_FATAL(m);
            if (rig.boxes[now[i].to].e != NULL)
                ops->receive(rig.boxes[now[i].to].e, now[i].from, m);
            hf__raft__raft__free_unpacked(m, NULL);
            free(now[i].bytes);
        }
    }
    CU_FAIL_FATAL("messages never cease");
}

static void run(uint64_t ms)
{
    for (uint64_t passed = 0; passed < ms; passed += 10) {
        rig.now_ns += 10 * MS;
        for (uint32_t id = 1; id <= BOXES; id++) {
            if (rig.boxes[id].e != NULL)
                ops->tick(rig.boxes[id].e, rig.now_ns);
        }
        settle();
    }
}

static struct box *elect(void)
{
    for (unsigned i = 0; i < 500; i++) {
        for (uint32_t id = 1; id <= BOXES; id++) {
            if (rig.boxes[id].e != NULL && !rig.cut[id] && ops->status(rig.boxes[id].e).serving)
                return &rig.boxes[id];
        }
        run(10);
    }
    CU_FAIL_FATAL("no leader within 5 s");
    return NULL;
}

static uint64_t put(struct box *b, size_t size)
{
    static uint8_t data[4 * 1024 * 1024];
    uint64_t index = 0, term = 0;
    memset(data, (int)(b->applied & 255), size);
    CU_ASSERT_EQUAL(ops->propose(b->e, LOG_COMMAND, slice_make(data, size), &index, &term), HF_OK);
    CU_ASSERT_EQUAL(term, ops->status(b->e).term);
    return index;
}

static void all_equal(void)
{
    for (uint32_t id = 2; id <= BOXES; id++) {
        if (rig.boxes[id].e == NULL)
            continue;
        CU_ASSERT_EQUAL(rig.boxes[id].applied, rig.boxes[1].applied);
        CU_ASSERT_EQUAL(rig.boxes[id].digest, rig.boxes[1].digest);
    }
}

static void one_engine_applies_what_it_was_told_and_again_after_a_restart(void)
{
    begin(1, true);
    struct box *b = elect();
    CU_ASSERT(b->changed > 0);
    CU_ASSERT_EQUAL(b->applied, BASE + 1);
    for (unsigned i = 0; i < 300; i++) {
        uint64_t index = put(b, i);
        turn(b);
        CU_ASSERT_EQUAL(b->applied, index);
        CU_ASSERT_EQUAL(b->last_size, i);
    }
    uint64_t last = b->applied, digest = b->digest;
    struct engine_status s = ops->status(b->e);
    CU_ASSERT(s.role == ENGINE_LEADER && s.leader == 1 && s.commit == last && s.last == last && s.first == BASE + 1);
    ops->close(&b->e);
    b->applied = b->applied_term = BASE; /* its state machine was not flushed */
    b->digest = 0;
    up(b);
    run(30);
    CU_ASSERT_EQUAL(b->applied, last + 1); /* and the no-op of the new term */
    ops->close(&b->e);
    up(b); /* nothing is applied twice */
    run(30);
    CU_ASSERT_EQUAL(b->applied, last + 2);
    CU_ASSERT_NOT_EQUAL(b->digest, digest);
    end();
}

static void an_engine_opens_only_over_a_log_that_covers_the_state(void)
{
    char where[256];
    struct engine *e = NULL;
    begin(1, false);
    struct box *b = elect();
    put(b, 10);
    turn(b);
    uint64_t applied = b->applied, term = b->applied_term;
    CU_ASSERT_EQUAL(ops->trim(b->e, applied + 1), HF_E_INVALID);
    CU_ASSERT_EQUAL(ops->trim(b->e, applied - 1), HF_OK);
    put(b, 10);
    turn(b);
    CU_ASSERT_EQUAL(ops->status(b->e).first, applied);
    ops->close(&b->e);

    struct engine_env env = env_of(b);
    env.applied = 1000;
    CU_ASSERT_EQUAL(ops->open(&env, &e, where), HF_E_CORRUPT);
    CU_ASSERT_PTR_NOT_NULL(strstr(where, "applied 1000"));
    env.applied = BASE;
    env.applied_term = BASE;
    CU_ASSERT_EQUAL(ops->open(&env, &e, where), HF_E_CORRUPT);
    CU_ASSERT_PTR_NOT_NULL(strstr(where, "begins after"));
    env.applied = applied;
    env.applied_term = term + 1;
    CU_ASSERT_EQUAL(ops->open(&env, &e, where), HF_E_CORRUPT); /* I5 */
    CU_ASSERT_PTR_NOT_NULL(strstr(where, "term at"));
    env.log_epoch = 2;
    CU_ASSERT_EQUAL(ops->open(&env, &e, where), HF_E_ABSENT);
    CU_ASSERT_PTR_NULL(e);

    bool present = true;
    CU_ASSERT_EQUAL(ops->archive(rig.disk, b->dir, 1), HF_OK);
    CU_ASSERT_EQUAL(ops->detect(rig.disk, b->dir, 1, &present), HF_OK);
    CU_ASSERT_FALSE(present);
    char archived[96];
    snprintf(archived, sizeof archived, "%s/archive", b->dir);
    CU_ASSERT_EQUAL(ops->detect(rig.disk, archived, 1, &present), HF_OK);
    CU_ASSERT_TRUE(present);
    end();
}

static void three_engines_agree_through_restarts_and_large_entries(void)
{
    begin(3, true);
    struct box *leader = elect();
    for (unsigned i = 0; i < 50; i++) {
        put(leader, i * 100);
        settle();
        CU_ASSERT_EQUAL(leader->applied, ops->status(leader->e).last);
    }
    ops->close(&leader->e);
    struct box *old = leader;
    leader = elect();
    CU_ASSERT(leader != old);
    for (unsigned i = 0; i < 12; i++) { /* more than a message, entries above its bytes, more than a segment */
        put(leader, i % 3 == 0 ? 3 * 1024 * 1024 : 300 * 1024);
        settle();
    }
    up(old);
    run(1000);
    all_equal();
    CU_ASSERT_EQUAL(old->applied, leader->applied);
    struct engine_progress progress[BOXES];
    CU_ASSERT_EQUAL(ops->progress(leader->e, progress, BOXES), 3);
    for (size_t i = 0; i < 3; i++)
        CU_ASSERT(progress[i].active && progress[i].match == leader->applied);
    CU_ASSERT_EQUAL(ops->progress(old->e, progress, BOXES), 0);
    end();
}

static void reads_wait_for_a_barrier_or_use_the_lease(void)
{
    begin(3, false);
    struct box *leader = elect();
    run(200);
    CU_ASSERT(ops->read_lease(leader->e) > rig.now_ns);
    struct box *other = &rig.boxes[leader->id % 3 + 1];
    CU_ASSERT_EQUAL(ops->read_lease(other->e), 0);
    CU_ASSERT_EQUAL(ops->barrier(other->e, 1), HF_E_NOT_LEADER);
    uint64_t index = put(leader, 5);
    settle();
    CU_ASSERT_EQUAL(ops->barrier(leader->e, 42), HF_OK);
    settle();
    CU_ASSERT(leader->ready == 1 && leader->ready_id == 42 && leader->ready_index == index);
    CU_ASSERT_EQUAL(ops->transfer(leader->e, other->id), HF_OK);
    CU_ASSERT_EQUAL(ops->read_lease(leader->e), 0);
    settle();
    CU_ASSERT(ops->status(other->e).serving);
    CU_ASSERT_EQUAL(ops->status(leader->e).role, ENGINE_FOLLOWER);
    end();
}

static void a_configuration_travels_in_the_log_and_survives_a_restart(void)
{
    begin(3, false);
    struct box *leader = elect();
    Hf__Catalog__Members next = *ops->members(leader->e), here = rig.members;
    uint64_t index = 0;
    here.n_members = 4;
    here.index = next.index;
    rig.list[3].role = HF__CATALOG__ROLE__LEARNER;
    here.index = BASE + 7;
    CU_ASSERT_EQUAL(ops->change(leader->e, &here, &index), HF_E_COMPARE_FAILED);
    here.index = BASE;
    CU_ASSERT_EQUAL(ops->change(leader->e, &here, &index), HF_OK);
    run(300);
    for (uint32_t id = 1; id <= 3; id++) {
        const Hf__Catalog__Members *m = ops->members(rig.boxes[id].e);
        CU_ASSERT(m->index == index && m->n_members == 4);
        CU_ASSERT_STRING_EQUAL(m->members[3]->raft_endpoint, "tcp://127.0.0.1:1");
        CU_ASSERT_EQUAL(rig.boxes[id].last_kind, LOG_CONFIG);
    }
    struct box *b = &rig.boxes[1];
    ops->close(&b->e);
    b->applied = b->applied_term = BASE;
    up(b);
    CU_ASSERT_EQUAL(ops->members(b->e)->index, index);
    b->applied = BASE; /* replays */
    b->digest = 0;
    run(300);
    uint64_t term, at;
    CU_ASSERT_EQUAL(ops->propose(leader->e, LOG_CONFIG, slice_make(NULL, 0), &at, &term), HF_E_INVALID);
    CU_ASSERT_EQUAL(rig.boxes[1].applied, rig.boxes[2].applied);
    end();
}

/* A leader cut off takes a configuration nobody else gets; it is gone again when its log is cut, its name too. */
static void a_configuration_cut_from_the_log_is_gone(void)
{
    begin(3, false);
    struct box *leader = elect();
    Hf__Catalog__Members here = rig.members;
    uint64_t index = 0;
    here.n_members = 4;
    rig.list[3].role = HF__CATALOG__ROLE__LEARNER;
    rig.cut[leader->id] = true;
    CU_ASSERT_EQUAL(ops->change(leader->e, &here, &index), HF_OK);
    CU_ASSERT_EQUAL(ops->members(leader->e)->n_members, 4);
    settle();
    struct box *next = elect();
    put(next, 100);
    run(1000);
    rig.cut[leader->id] = false;
    run(1000);
    CU_ASSERT_EQUAL(ops->members(leader->e)->n_members, 3);
    CU_ASSERT_EQUAL(ops->members(leader->e)->index, BASE);
    all_equal();
    end();
}

static void a_disk_that_fails_promises_nothing(void)
{
    begin(3, false);
    struct box *leader = elect(), *b = &rig.boxes[leader->id % 3 + 1];
    run(200);
    put(leader, 100);
    ops->step(leader->e);
    ops->send_early(leader->e);
    CU_ASSERT_FATAL(rig.count >= 2);
    for (size_t i = 0; i < rig.count; i++) {
        Hf__Raft__Raft *m = hf__raft__raft__unpack(NULL, rig.wires[i].size, rig.wires[i].bytes);
        if (rig.wires[i].to == b->id)
            ops->receive(b->e, leader->id, m);
        hf__raft__raft__free_unpacked(m, NULL);
    }
    simdisk_fail(rig.sim, SIMDISK_SYNC, 1, HF_E_IO, 0);
    uint64_t sent = b->sent, applied = b->applied;
    ops->step(b->e);
    ops->send_early(b->e);
    CU_ASSERT_EQUAL(ops->persist(b->e), HF_E_IO);
    CU_ASSERT_EQUAL(ops->persist(b->e), HF_E_IO); /* poisoned */
    ops->send_late(b->e);
    for (size_t i = 0; i < rig.count; i++) {
        Hf__Raft__Raft *m = hf__raft__raft__unpack(NULL, rig.wires[i].size, rig.wires[i].bytes);
        if (rig.wires[i].from == b->id) /* that it hears the leader it may say, not that it has the entry */
            CU_ASSERT(m->kind == HF__RAFT__KIND__APPEND_REPLY && m->index < ops->status(b->e).last);
        hf__raft__raft__free_unpacked(m, NULL);
    }
    CU_ASSERT(b->sent <= sent + 1);
    CU_ASSERT_EQUAL(ops->apply(b->e), 0);
    CU_ASSERT_EQUAL(b->applied, applied);
    end();
}

static void a_full_disk_is_waited_out(void)
{
    begin(1, false);
    struct box *b = elect();
    uint64_t applied = b->applied;
    simdisk_limit(rig.sim, simdisk_used(rig.sim));
    uint64_t index = put(b, 3 * 1024 * 1024);
    for (unsigned i = 0; i < 3; i++) {
        ops->step(b->e);
        CU_ASSERT_EQUAL(ops->persist(b->e), HF_E_NO_SPACE);
        CU_ASSERT_EQUAL(ops->apply(b->e), 0);
        CU_ASSERT_EQUAL(b->applied, applied); /* I6: held, not skipped */
    }
    simdisk_limit(rig.sim, 0);
    turn(b);
    CU_ASSERT_EQUAL(b->applied, index);
    end();
}

static void an_apply_that_cannot_is_asked_again(void)
{
    begin(1, false);
    struct box *b = elect();
    b->refuse = HF_E_AGAIN;
    uint64_t index = put(b, 10);
    ops->step(b->e);
    CU_ASSERT_EQUAL(ops->persist(b->e), HF_OK);
    CU_ASSERT_EQUAL(ops->apply(b->e), HF_E_AGAIN);
    CU_ASSERT_EQUAL(b->applied, index - 1);
    b->refuse = 0;
    turn(b);
    CU_ASSERT_EQUAL(b->applied, index);
    for (unsigned i = 0; i < 3000; i++)
        put(b, 1);
    ops->step(b->e);
    CU_ASSERT_EQUAL(ops->persist(b->e), HF_OK);
    CU_ASSERT(ops->apply(b->e) > 0); /* a turn is bounded */
    CU_ASSERT_EQUAL(b->applied, index + 1024);
    end();
}

static void malformed_messages_change_nothing(void)
{
    begin(3, false);
    struct box *leader = elect(), *b = &rig.boxes[leader->id % 3 + 1];
    run(200);
    struct engine_status before = ops->status(b->e);
    Hf__Raft__Entry entry = HF__RAFT__ENTRY__INIT, *entries[] = {&entry};
    Hf__Raft__Raft m = HF__RAFT__RAFT__INIT;
    m.kind = HF__RAFT__KIND__APPEND;
    m.term = before.term;
    m.index = before.last;
    m.log_term = before.term;
    m.n_entries = 1;
    m.entries = entries;
    entry.term = before.term;
    entry.kind = (Hf__Raft__EntryKind)9;
    ops->receive(b->e, leader->id, &m);
    entry.kind = HF__RAFT__ENTRY_KIND__CONFIG; /* empty: no members */
    ops->receive(b->e, leader->id, &m);
    entry.data = pack_bytes(slice_text("\xff\xff\xff garbage"));
    ops->receive(b->e, leader->id, &m);
    entry.kind = HF__RAFT__ENTRY_KIND__COMMAND;
    entry.term = before.term + 1; /* above its message's */
    ops->receive(b->e, leader->id, &m);
    m.kind = (Hf__Raft__Kind)77;
    ops->receive(b->e, leader->id, &m);
    static Hf__Raft__Entry *many[1025]; /* CORE_MESSAGE_ENTRIES and one */
    for (size_t i = 0; i < 1025; i++)
        many[i] = &entry;
    m.kind = HF__RAFT__KIND__APPEND;
    entry.term = before.term;
    m.entries = many;
    m.n_entries = 1025;
    ops->receive(b->e, leader->id, &m);
    CU_ASSERT_EQUAL(ops->status(b->e).last, before.last);
    CU_ASSERT_EQUAL(ops->status(b->e).term, before.term);
    settle();
    end();
}

static void a_planted_bug_loses_an_entry(void)
{
#ifdef HF_FAILPOINTS
    begin(1, false);
    struct box *b = elect();
    failpoint_plant("native.lose_entry");
    unsigned lost = 0;
    for (unsigned i = 0; i < 64; i++) {
        put(b, 10);
        turn(b);
        lost += b->last_kind == LOG_NOOP;
    }
    failpoint_plant(NULL);
    CU_ASSERT_EQUAL(lost, 4);
    end();
#endif
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"one engine applies what it was told and again after a restart",
         one_engine_applies_what_it_was_told_and_again_after_a_restart},
        {"an engine opens only over a log that covers the state",
         an_engine_opens_only_over_a_log_that_covers_the_state},
        {"three engines agree through restarts and large entries",
         three_engines_agree_through_restarts_and_large_entries},
        {"reads wait for a barrier or use the lease", reads_wait_for_a_barrier_or_use_the_lease},
        {"a configuration travels in the log and survives a restart",
         a_configuration_travels_in_the_log_and_survives_a_restart},
        {"a configuration cut from the log is gone", a_configuration_cut_from_the_log_is_gone},
        {"a disk that fails promises nothing", a_disk_that_fails_promises_nothing},
        {"a full disk is waited out", a_full_disk_is_waited_out},
        {"an apply that cannot is asked again", an_apply_that_cannot_is_asked_again},
        {"malformed messages change nothing", malformed_messages_change_nothing},
        {"a planted bug loses an entry", a_planted_bug_loses_an_entry},
    };
    return UNIT_MAIN("native engine", cases);
}
