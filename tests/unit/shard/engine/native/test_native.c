/* test_native.c: what the native driver has beyond tests/conformance: configurations in the log, the read lease. */
#include "tests/conformance/boxes.h"

static void a_leader_that_is_heard_reads_by_a_lease(void)
{
    begin(3, false);
    struct box *leader = elect(), *other = other_than(leader);
    run(200);
    CU_ASSERT(ops->read_lease(leader->e) > rig.now_ns);
    CU_ASSERT_EQUAL(ops->read_lease(other->e), 0);
    CU_ASSERT_EQUAL(ops->transfer(leader->e, other->id), HF_OK);
    CU_ASSERT_EQUAL(ops->read_lease(leader->e), 0);
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
        {"a leader that is heard reads by a lease", a_leader_that_is_heard_reads_by_a_lease},
        {"a configuration travels in the log and survives a restart",
         a_configuration_travels_in_the_log_and_survives_a_restart},
        {"a configuration cut from the log is gone", a_configuration_cut_from_the_log_is_gone},
        {"a planted bug loses an entry", a_planted_bug_loses_an_entry},
    };
    boxes_engine("native");
    return UNIT_MAIN("native engine", cases);
}
