/* installs.c: conformance: the state machine comes from elsewhere, is not there, or the log is damaged. */
#include "tests/conformance/conformance.h"

static void an_installed_state_restarts_the_log_and_survives_a_power_loss(void)
{
    begin(3, false);
    struct box *leader = elect(), *b = left_behind(&leader);
    run(1000);
    CU_ASSERT(b->needs >= 3 && b->need_index == ops->status(leader->e).first - 1);
    CU_ASSERT_EQUAL(install_from(leader, leader), HF_E_BUSY);
    uint64_t applied = b->applied;
    b->applied = BASE;
    CU_ASSERT_EQUAL(install_from(b, &rig.boxes[b->id]), HF_E_INVALID); /* back */
    b->applied = applied;
    CU_ASSERT_EQUAL(install_from(b, leader), HF_OK);
    struct engine_status s = ops->status(b->e);
    CU_ASSERT(s.first == leader->applied + 1 && s.last == leader->applied && s.commit == leader->applied);
    simdisk_halt(rig.sim); /* durable on return */
    for (uint32_t id = 1; id <= 3; id++)
        ops->close(&rig.boxes[id].e);
    simdisk_crash(rig.sim, 5);
    for (uint32_t id = 1; id <= 3; id++)
        up(&rig.boxes[id]);
    s = ops->status(b->e);
    CU_ASSERT(s.first == leader->applied + 1 && s.last == leader->applied && s.commit == leader->applied);
    leader = elect();
    put(leader, 10);
    run(300);
    CU_ASSERT(b->applied == leader->applied && b->digest == leader->digest);
    end();
}

static void an_install_that_finds_no_space_is_done_when_it_is_asked_again(void)
{
    begin(3, false);
    struct box *leader = elect(), *b = left_behind(&leader);
    run(300);
    simdisk_fail(rig.sim, SIMDISK_WRITE, 1, HF_E_NO_SPACE, 2);
    CU_ASSERT_EQUAL(install_from(b, leader), HF_E_NO_SPACE);
    CU_ASSERT_EQUAL(install_from(b, leader), HF_E_NO_SPACE);
    CU_ASSERT_EQUAL(install_from(b, leader), HF_OK);
    run(300);
    CU_ASSERT(b->applied == leader->applied && b->digest == leader->digest);
    end();
}

/* Opened over any log, with a position that it may not even hold. */
static void without_a_state_machine_an_engine_opens_held(void)
{
    begin(3, false);
    struct box *leader = elect(), *b = &rig.boxes[leader->id % 3 + 1];
    run(200);
    uint64_t calls = leader->applied;
    ops->close(&b->e);
    b->held = true;
    b->applied = 1000;
    b->applied_term = 7;
    up(b);
    CU_ASSERT_TRUE(ops->status(b->e).held);
    put(leader, 10);
    run(300);
    CU_ASSERT_EQUAL(ops->apply(b->e), HF_E_NOT_READY);
    CU_ASSERT(b->applied == 1000 && ops->status(b->e).last == leader->applied && leader->applied > calls);
    ops->close(&leader->e);
    run(100);
    CU_ASSERT_EQUAL(install_from(b, &rig.boxes[6 - leader->id - b->id]), HF_OK);
    CU_ASSERT_FALSE(ops->status(b->e).held);
    CU_ASSERT_EQUAL(ops->status(b->e).first, BASE + 1); /* the log stayed */
    struct box *next = elect();
    put(next, 10);
    run(300);
    CU_ASSERT(b->applied == next->applied && b->digest == next->digest);
    end();
}

static void a_damaged_log_is_rebuilt_and_brought_back(void)
{
    char where[256] = "", path[96];
    begin(3, false);
    struct box *leader = elect(), *b = &rig.boxes[leader->id % 3 + 1];
    put(leader, 10);
    run(200);
    uint64_t term = ops->status(b->e).term;
    ops->close(&b->e);
    snprintf(path, sizeof path, "%s/%s-1/seg-0000000000000001.log", b->dir, ops->name);
    CU_ASSERT_EQUAL(simdisk_flip(rig.sim, path, 30, 1), HF_OK);
    struct engine_env env = env_of(b);
    struct engine_found found = {0};
    env.found = &found;
    CU_ASSERT_EQUAL(ops->open(&env, &b->e, where), HF_E_CORRUPT);
    CU_ASSERT_EQUAL(found.log_code, HF_E_CORRUPT);
    b->recovering = 4711;
    env = env_of(b);
    snprintf(path, sizeof path, "%s/put-aside", b->dir);
    CU_ASSERT_EQUAL(ops->rebuild(&env, path, b->applied, b->applied_term, where), HF_OK);
    up(b);
    struct engine_status s = ops->status(b->e);
    CU_ASSERT(s.recovering && s.term == term && s.last == b->applied);
    struct engine_progress progress[BOXES];
    put(leader, 10);
    run(400);
    CU_ASSERT_EQUAL(b->recovered, 2);
    CU_ASSERT_FALSE(ops->status(b->e).recovering);
    CU_ASSERT_EQUAL(ops->progress(leader->e, progress, BOXES), 3);
    for (size_t i = 0; i < 3; i++)
        CU_ASSERT(!progress[i].recovering && progress[i].match == leader->applied);
    all_equal();
    end();
}

/* It votes and acknowledges: the group goes on with it, but never under it. */
static void held_engines_vote_and_never_lead(void)
{
    begin(3, false);
    struct box *leader = elect(), *b = other_than(leader), *third = &rig.boxes[6 - leader->id - b->id];
    run(300);
    down(b);
    b->held = true;
    up(b);
    run(300);
    down(leader);
    CU_ASSERT_PTR_EQUAL(elect(), third);
    put(third, 10);
    run(300);
    CU_ASSERT_EQUAL(third->applied, ops->status(b->e).last);
    down(third);
    run(5000);
    CU_ASSERT(ops->status(b->e).role == ENGINE_FOLLOWER && ops->status(b->e).leader == 0);
    end();
}

/* A follower that only a state can help is told so at heartbeat pace, however much is proposed meanwhile. */
static void a_follower_behind_the_log_is_told_so_at_heartbeat_pace(void)
{
    begin(3, false);
    struct box *leader = elect(), *b = left_behind(&leader);
    run(600);
    unsigned before = b->needs;
    CU_ASSERT(before > 0);
    for (unsigned i = 0; i < 100; i++) {
        rig.now_ns += MS;
        for (uint32_t id = 1; id <= 3; id++)
            ops->tick(rig.boxes[id].e, rig.now_ns);
        put(leader, 50);
        settle();
    }
    CU_ASSERT(b->needs - before <= 3);
    CU_ASSERT_EQUAL(install_from(b, leader), HF_OK);
    run(500);
    all_equal();
    end();
}

/* With the third away its answers are all that keeps the leader leading. */
static void a_follower_that_waits_for_a_state_is_heard(void)
{
    begin(3, false);
    struct box *leader = elect(), *b = left_behind(&leader);
    run(600);
    uint64_t term = ops->status(leader->e).term;
    down(&rig.boxes[6 - leader->id - b->id]);
    run(4000);
    CU_ASSERT(ops->status(leader->e).role == ENGINE_LEADER && ops->status(leader->e).term == term);
    CU_ASSERT_EQUAL(install_from(b, leader), HF_OK);
    put(leader, 10);
    run(500);
    CU_ASSERT(b->applied == leader->applied && b->digest == leader->digest);
    end();
}

const struct unit_case conformance_installs[] = {
    {"an installed state restarts the log and survives a power loss",
     an_installed_state_restarts_the_log_and_survives_a_power_loss},
    {"an install that finds no space is done when it is asked again",
     an_install_that_finds_no_space_is_done_when_it_is_asked_again},
    {"without a state machine an engine opens held", without_a_state_machine_an_engine_opens_held},
    {"a damaged log is rebuilt and brought back", a_damaged_log_is_rebuilt_and_brought_back},
    {"held engines vote and never lead", held_engines_vote_and_never_lead},
    {"a follower behind the log is told so at heartbeat pace", a_follower_behind_the_log_is_told_so_at_heartbeat_pace},
    {"a follower that waits for a state is heard", a_follower_that_waits_for_a_state_is_heard},
    {NULL, NULL},
};
