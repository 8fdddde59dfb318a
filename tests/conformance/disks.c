/* disks.c: conformance: what a disk, a state machine or a peer does wrong. */
#include "tests/conformance/conformance.h"

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

const struct unit_case conformance_disks[] = {
    {"a disk that fails promises nothing", a_disk_that_fails_promises_nothing},
    {"a full disk is waited out", a_full_disk_is_waited_out},
    {"an apply that cannot is asked again", an_apply_that_cannot_is_asked_again},
    {"malformed messages change nothing", malformed_messages_change_nothing},
    {NULL, NULL},
};
