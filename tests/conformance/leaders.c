/* leaders.c: conformance: elections, transfers, what an engine says of itself and when it wants to be called. */
#include "tests/conformance/conformance.h"

static void status_and_configuration_are_the_same_everywhere(void)
{
    begin_with_learner();
    struct box *leader = elect();
    put(leader, 10);
    run(300);
    struct engine_status s = ops->status(leader->e);
    CU_ASSERT(s.role == ENGINE_LEADER && s.serving && !s.transferring && !s.held && !s.recovering && s.log_bytes > 0);
    for (uint32_t id = 1; id <= 4; id++) {
        struct engine_status o = ops->status(rig.boxes[id].e);
        const Hf__Catalog__Members *m = ops->members(rig.boxes[id].e);
        CU_ASSERT(o.leader == leader->id && o.term == s.term && o.commit == s.commit && o.last == s.last);
        CU_ASSERT(id == leader->id || o.role == (id == 4 ? ENGINE_LEARNER : ENGINE_FOLLOWER));
        CU_ASSERT(m->n_members == 4 && m->index == BASE && m->members[3]->role == HF__CATALOG__ROLE__LEARNER);
        CU_ASSERT_STRING_EQUAL(m->members[0]->raft_endpoint, "tcp://127.0.0.1:1");
    }
    struct engine_progress progress[BOXES];
    CU_ASSERT_EQUAL(ops->progress(leader->e, progress, BOXES), 4);
    uint32_t seen = 0;
    for (size_t i = 0; i < 4; i++) {
        CU_ASSERT(progress[i].replica <= 4 && progress[i].active && progress[i].match == s.last);
        seen |= 1u << progress[i].replica;
    }
    CU_ASSERT_EQUAL(seen, 0x1e);
    CU_ASSERT_EQUAL(ops->progress(leader->e, progress, 2), 2);
    all_equal();
    end();
}

static void a_learner_neither_leads_nor_counts(void)
{
    begin_with_learner();
    struct box *leader = elect(), *b = other_than(leader), *third = &rig.boxes[6 - leader->id - b->id];
    run(300);
    down(b);
    down(third);
    uint64_t applied = leader->applied;
    put(leader, 10);
    run(200); /* it has not noticed yet */
    CU_ASSERT_EQUAL(leader->applied, applied);
    run(5000);
    CU_ASSERT_NOT_EQUAL(ops->status(leader->e).role, ENGINE_LEADER);
    CU_ASSERT_EQUAL(ops->status(rig.boxes[4].e).role, ENGINE_LEARNER);
    up(b);
    leader = elect();
    run(500);
    CU_ASSERT(leader->id != 4 && leader->applied > applied && rig.boxes[4].applied == leader->applied);
    end();
}

static void a_new_leader_has_what_the_old_one_had_committed(void)
{
    begin(3, true);
    struct box *leader = elect();
    for (unsigned i = 0; i < 5; i++) {
        uint64_t index = put(leader, 100), term = ops->status(leader->e).term;
        settle();
        CU_ASSERT_EQUAL(leader->applied, index);
        unsigned told = other_than(leader)->changed;
        down(leader);
        struct box *old = leader;
        leader = elect();
        CU_ASSERT(leader != old && leader->applied > index && ops->status(leader->e).term > term);
        CU_ASSERT(other_than(old)->changed > told);
        up(old);
        run(1000);
        all_equal();
    }
    end();
}

/* Who is cut off with entries of its own loses them. */
static void a_leader_cut_off_steps_down_and_its_entries_are_replaced(void)
{
    begin(3, false);
    struct box *leader = elect();
    run(200);
    rig.cut[leader->id] = true;
    unsigned told = leader->changed;
    for (unsigned i = 0; i < 10; i++) {
        put(leader, 77);
        turn(leader);
    }
    struct box *next = elect();
    CU_ASSERT(next != leader);
    for (unsigned i = 0; i < 5; i++)
        put(next, 100);
    run(2000);
    CU_ASSERT(ops->status(leader->e).role != ENGINE_LEADER && leader->changed > told);
    CU_ASSERT(leader->applied < next->applied);
    rig.cut[leader->id] = false;
    run(2000);
    all_equal();
    CU_ASSERT_EQUAL(leader->applied, next->applied);
    end();
}

static void leadership_is_handed_over(void)
{
    uint64_t index, term;
    begin(3, false);
    struct box *leader = elect(), *b = other_than(leader), *third = &rig.boxes[6 - leader->id - b->id];
    run(200);
    CU_ASSERT_EQUAL(ops->transfer(b->e, third->id), HF_E_NOT_LEADER);
    CU_ASSERT_EQUAL(ops->transfer(leader->e, leader->id), HF_E_INVALID);
    CU_ASSERT_EQUAL(ops->transfer(leader->e, 9), HF_E_INVALID);
    uint64_t last = put(leader, 100);
    CU_ASSERT_EQUAL(ops->transfer(leader->e, b->id), HF_OK);
    CU_ASSERT_TRUE(ops->status(leader->e).transferring);
    int rc = ops->propose(leader->e, LOG_COMMAND, slice_text("late"), &index, &term);
    CU_ASSERT(rc == HF_E_NOT_LEADER || rc == HF_E_BUSY);
    settle();
    CU_ASSERT(ops->status(b->e).serving && b->applied > last);
    CU_ASSERT_EQUAL(ops->status(leader->e).role, ENGINE_FOLLOWER);
    down(third);
    run(1000);
    CU_ASSERT_EQUAL(ops->transfer(b->e, 0), HF_OK); /* to whom is there */
    run(100);
    CU_ASSERT_TRUE(ops->status(leader->e).serving);
    end();
}

static void a_transfer_to_somebody_silent_is_given_up(void)
{
    begin(3, false);
    struct box *leader = elect(), *b = other_than(leader);
    run(200);
    rig.cut[b->id] = true;
    uint64_t behind = put(leader, 10);
    settle();
    CU_ASSERT_EQUAL(leader->applied, behind);
    CU_ASSERT_EQUAL(ops->transfer(leader->e, b->id), HF_OK);
    run(1000);
    CU_ASSERT(ops->status(leader->e).serving && !ops->status(leader->e).transferring);
    put(leader, 10);
    settle();
    CU_ASSERT(leader->applied > behind);
    rig.cut[b->id] = false;
    run(2000);
    all_equal();
    end();
}

/* Not while a leader is heard: nobody is disturbed. */
static void a_campaign_is_for_those_who_hear_no_leader(void)
{
    begin(3, false);
    struct box *leader = elect(), *b = other_than(leader);
    run(300);
    uint64_t term = ops->status(leader->e).term;
    ops->campaign(b->e);
    run(100);
    CU_ASSERT(ops->status(leader->e).serving && ops->status(leader->e).term == term);
    down(leader);
    uint64_t silent = rig.now_ns;
    while (rig.now_ns < silent + 490 * MS)
        run(10);
    run(20);
    ops->campaign(b->e);
    run(60);
    CU_ASSERT(ops->status(b->e).serving || ops->status(rig.boxes[6 - leader->id - b->id].e).serving);
    end();
}

/* Called when they ask for it, and only then. */
static void ticks_at_the_deadlines_are_enough(void)
{
    begin(3, false);
    struct box *leader = elect();
    run(200);
    uint64_t term = ops->status(leader->e).term, until = rig.now_ns + 10000 * MS;
    unsigned ticks = 0;
    while (rig.now_ns < until) {
        uint64_t next = UINT64_MAX;
        for (uint32_t id = 1; id <= 3; id++) {
            uint64_t at = ops->deadline(rig.boxes[id].e);
            next = at < next ? at : next;
        }
        rig.now_ns = next > rig.now_ns ? next : rig.now_ns + 1000;
        for (uint32_t id = 1; id <= 3; id++)
            ops->tick(rig.boxes[id].e, rig.now_ns);
        settle();
        ticks++;
    }
    CU_ASSERT(ops->status(leader->e).serving && ops->status(leader->e).term == term);
    CU_ASSERT(ticks >= 90 && ticks < 600);
    end();
}

static void a_group_of_one_leads_at_once_and_in_a_new_term(void)
{
    begin(1, false);
    struct box *b = &rig.boxes[1];
    run(20);
    CU_ASSERT_TRUE(ops->status(b->e).serving);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t term = ops->status(b->e).term;
        down(b);
        up(b);
        run(20);
        CU_ASSERT(ops->status(b->e).serving && ops->status(b->e).term > term);
    }
    end();
}

const struct unit_case conformance_leaders[] = {
    {"status and configuration are the same everywhere", status_and_configuration_are_the_same_everywhere},
    {"a learner neither leads nor counts", a_learner_neither_leads_nor_counts},
    {"a new leader has what the old one had committed", a_new_leader_has_what_the_old_one_had_committed},
    {"a leader cut off steps down and its entries are replaced",
     a_leader_cut_off_steps_down_and_its_entries_are_replaced},
    {"leadership is handed over", leadership_is_handed_over},
    {"a transfer to somebody silent is given up", a_transfer_to_somebody_silent_is_given_up},
    {"a campaign is for those who hear no leader", a_campaign_is_for_those_who_hear_no_leader},
    {"ticks at the deadlines are enough", ticks_at_the_deadlines_are_enough},
    {"a group of one leads at once and in a new term", a_group_of_one_leads_at_once_and_in_a_new_term},
    {NULL, NULL},
};
