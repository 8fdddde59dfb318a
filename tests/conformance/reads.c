/* reads.c: conformance: linearizable reads. */
#include "tests/conformance/conformance.h"

static void a_barrier_holds_when_a_quorum_has_answered(void)
{
    begin(3, false);
    struct box *leader = elect(), *other = other_than(leader);
    run(200);
    CU_ASSERT_EQUAL(ops->barrier(other->e, 1), HF_E_NOT_LEADER);
    uint64_t index = put(leader, 5);
    settle();
    CU_ASSERT_EQUAL(ops->barrier(leader->e, 41), HF_OK);
    CU_ASSERT_EQUAL(ops->barrier(leader->e, 42), HF_OK);
    turn(leader);
    CU_ASSERT_EQUAL(leader->ready, 0); /* not by itself */
    settle();
    CU_ASSERT(leader->ready == 2 && leader->ready_id == 42 && leader->ready_index == index);
    uint64_t lease = ops->read_lease(leader->e);
    CU_ASSERT(lease == 0 || lease > rig.now_ns);
    CU_ASSERT_EQUAL(ops->read_lease(other->e), 0);
    end();
}

/* The old leader, cut off, is asked for a read: it never gets one, whatever it believes. */
static void no_barrier_holds_at_a_leader_that_was_replaced(void)
{
    begin(3, false);
    struct box *leader = elect();
    run(200);
    rig.cut[leader->id] = true;
    unsigned ready = leader->ready;
    CU_ASSERT_EQUAL(ops->barrier(leader->e, 7), HF_OK);
    settle();
    struct box *next = elect();
    CU_ASSERT(next != leader);
    uint64_t index = put(next, 100);
    settle();
    if (ops->status(leader->e).role == ENGINE_LEADER)
        (void)ops->barrier(leader->e, 8);
    CU_ASSERT_EQUAL(ops->barrier(next->e, 9), HF_OK);
    run(100);
    CU_ASSERT(next->ready_id == 9 && next->ready_index >= index); /* linearizable after the change */
    rig.cut[leader->id] = false;
    run(2000);
    CU_ASSERT_EQUAL(leader->ready, ready);
    end();
}

/* Before an entry of its own is committed a leader's commit index may be behind the group's. */
static void a_new_leader_serves_when_its_own_entry_is_applied(void)
{
    begin(3, false);
    struct box *leader = elect();
    run(200);
    uint64_t index = put(leader, 100);
    settle();
    down(leader);
    struct box *next = NULL;
    for (unsigned i = 0; i < 500 && next == NULL; i++) {
        rig.now_ns += 10 * MS;
        for (uint32_t id = 1; id <= 3; id++) {
            if (rig.boxes[id].e == NULL)
                continue;
            ops->tick(rig.boxes[id].e, rig.now_ns);
            turn(&rig.boxes[id]);
        }
        deliver();
        for (uint32_t id = 1; id <= 3; id++) {
            if (rig.boxes[id].e != NULL && ops->status(rig.boxes[id].e).role == ENGINE_LEADER)
                next = &rig.boxes[id];
        }
    }
    CU_ASSERT_PTR_NOT_NULL_FATAL(next);
    CU_ASSERT_FALSE(ops->status(next->e).serving);
    CU_ASSERT_EQUAL(ops->barrier(next->e, 3), HF_OK);
    turn(next);
    CU_ASSERT_EQUAL(next->ready, 0);
    settle();
    CU_ASSERT(ops->status(next->e).serving && next->ready == 1 && next->ready_index > index);
    end();
}

static void a_group_of_one_is_its_own_quorum(void)
{
    begin(1, false);
    struct box *b = elect();
    uint64_t index = put(b, 10);
    turn(b);
    CU_ASSERT_EQUAL(ops->barrier(b->e, 5), HF_OK);
    turn(b);
    CU_ASSERT(b->ready == 1 && b->ready_id == 5 && b->ready_index == index);
    end();
}

const struct unit_case conformance_reads[] = {
    {"a barrier holds when a quorum has answered", a_barrier_holds_when_a_quorum_has_answered},
    {"no barrier holds at a leader that was replaced", no_barrier_holds_at_a_leader_that_was_replaced},
    {"a new leader serves when its own entry is applied", a_new_leader_serves_when_its_own_entry_is_applied},
    {"a group of one is its own quorum", a_group_of_one_is_its_own_quorum},
    {NULL, NULL},
};
