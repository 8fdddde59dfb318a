/* test_native_install.c: the driver over the real log when the state machine comes from elsewhere, is not there, or the log is
 * damaged. */
#include "tests/unit/shard/engine/native/boxes.h"

/* A state of another box, as a stream would bring it. */
static int install(struct box *b, const struct box *from)
{
    int rc = ops->install(b->e, from->applied, from->applied_term, &rig.members);
    if (rc == HF_OK) {
        b->applied = from->applied;
        b->applied_term = from->applied_term;
        b->digest = from->digest;
        b->held = false;
    }
    return rc;
}

static struct box *left_behind(struct box *leader)
{
    struct box *b = &rig.boxes[leader->id % 3 + 1];
    run(200);
    rig.cut[b->id] = true;
    for (unsigned i = 0; i < 20; i++) {
        put(leader, 100);
        settle();
    }
    CU_ASSERT_EQUAL(ops->trim(leader->e, leader->applied - 2), HF_OK);
    rig.cut[b->id] = false;
    return b;
}

static void an_installed_state_restarts_the_log_and_survives_a_power_loss(void)
{
    begin(3, false);
    struct box *leader = elect(), *b = left_behind(leader);
    run(500);
    CU_ASSERT(b->needs >= 3 && b->need_index == leader->applied - 2);
    CU_ASSERT_EQUAL(install(leader, leader), HF_E_BUSY);
    uint64_t applied = b->applied;
    b->applied = BASE;
    CU_ASSERT_EQUAL(install(b, &rig.boxes[b->id]), HF_E_INVALID); /* back */
    b->applied = applied;
    CU_ASSERT_EQUAL(install(b, leader), HF_OK);
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
    struct box *leader = elect(), *b = left_behind(leader);
    run(300);
    simdisk_fail(rig.sim, SIMDISK_WRITE, 1, HF_E_NO_SPACE, 2);
    CU_ASSERT_EQUAL(install(b, leader), HF_E_NO_SPACE);
    CU_ASSERT_EQUAL(install(b, leader), HF_E_NO_SPACE);
    CU_ASSERT_EQUAL(install(b, leader), HF_OK);
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
    CU_ASSERT_EQUAL(install(b, &rig.boxes[6 - leader->id - b->id]), HF_OK);
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
    snprintf(path, sizeof path, "%s/native-1/seg-0000000000000001.log", b->dir);
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

int main(void)
{
    static const struct unit_case cases[] = {
        {"an installed state restarts the log and survives a power loss",
         an_installed_state_restarts_the_log_and_survives_a_power_loss},
        {"an install that finds no space is done when it is asked again",
         an_install_that_finds_no_space_is_done_when_it_is_asked_again},
        {"without a state machine an engine opens held", without_a_state_machine_an_engine_opens_held},
        {"a damaged log is rebuilt and brought back", a_damaged_log_is_rebuilt_and_brought_back},
    };
    return UNIT_MAIN("native engine install", cases);
}
