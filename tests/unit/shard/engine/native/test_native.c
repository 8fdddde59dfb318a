/* test_native.c: the driver over the real log: one engine, and three wired in one process, on a simulated disk and on a
 * real one. */
#include "tests/unit/shard/engine/native/boxes.h"

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
