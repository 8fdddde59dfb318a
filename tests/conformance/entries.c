/* entries.c: conformance: entries proposed, applied, read back, replayed. */
#include "tests/conformance/conformance.h"

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

    CU_ASSERT_EQUAL(ops->archive(rig.disk, b->dir, 1), HF_OK);
    CU_ASSERT_FALSE(log_there(b->dir));
    char archived[96];
    snprintf(archived, sizeof archived, "%s/archive", b->dir);
    CU_ASSERT_TRUE(log_there(archived));
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

static void proposals_of_a_turn_get_consecutive_indexes_and_are_applied_in_order(void)
{
    begin(3, false);
    struct box *leader = elect();
    for (unsigned round = 0; round < 20; round++) {
        uint64_t first = put(leader, round), last = first;
        for (unsigned i = 1; i < 200; i++) {
            last = put(leader, i % 7);
            CU_ASSERT_EQUAL(last, first + i);
        }
        CU_ASSERT_EQUAL(ops->status(leader->e).last, last); /* readers at a timestamp wait for what has an index */
        CU_ASSERT(leader->applied < first);                 /* nothing before its turn */
        settle();
        CU_ASSERT(leader->applied == last && leader->last_size == 199 % 7);
    }
    run(300);
    all_equal();
    end();
}

/* Turns of the leader alone, in which proposals never cease, each a little ahead of the followers' answers. */
static void a_stream_of_proposals_is_committed_while_it_flows(void)
{
    begin(3, false);
    struct box *leader = elect();
    run(200);
    uint64_t before = leader->applied, first = put(leader, 100);
    for (unsigned i = 0; i < 50; i++) {
        put(leader, 100);
        turn(leader);
        deliver();
        for (uint32_t id = 1; id <= 3; id++) {
            if (id != leader->id)
                turn(&rig.boxes[id]);
        }
        put(leader, 100);
        turn(leader);
        deliver();
    }
    CU_ASSERT(leader->applied > before && leader->applied >= first + 60);
    run(300);
    all_equal();
    end();
}

static void a_long_log_is_there_again_after_a_restart_of_all(void)
{
    begin(3, false);
    struct box *leader = elect();
    for (unsigned i = 0; i < 60; i++) {
        for (unsigned k = 0; k < 100; k++)
            put(leader, k * 10);
        settle();
    }
    uint64_t last = ops->status(leader->e).last, applied = leader->applied;
    CU_ASSERT_EQUAL(applied, last);
    for (uint32_t id = 1; id <= 3; id++) {
        run(300);
        down(&rig.boxes[id]);
    }
    for (uint32_t id = 1; id <= 3; id++) {
        rig.boxes[id].applied = rig.boxes[id].applied_term = BASE; /* no state machine was flushed */
        rig.boxes[id].digest = 0;
        up(&rig.boxes[id]);
        CU_ASSERT(ops->status(rig.boxes[id].e).last >= last);
        while (ops->apply(rig.boxes[id].e) > 0) /* what was known to be committed needs no leader */
            ;
        CU_ASSERT(rig.boxes[id].applied + 300 >= applied); /* (the newest commit index was in no frame yet) */
    }
    leader = elect();
    put(leader, 10);
    run(300);
    all_equal();
    CU_ASSERT(leader->applied > last);
    end();
}

static void a_follower_far_behind_catches_up_by_the_log(void)
{
    begin(3, false);
    struct box *leader = elect(), *b = other_than(leader);
    run(200);
    rig.cut[b->id] = true;
    for (unsigned i = 0; i < 30; i++) {
        for (unsigned k = 0; k < 100; k++)
            put(leader, 200);
        put(leader, 900 * 1024);
        settle();
    }
    down(b);
    up(b);
    rig.cut[b->id] = false;
    run(1500);
    CU_ASSERT_EQUAL(b->needs, 0);
    CU_ASSERT_EQUAL(b->applied, leader->applied);
    all_equal();
    end();
}

const struct unit_case conformance_entries[] = {
    {"one engine applies what it was told and again after a restart",
     one_engine_applies_what_it_was_told_and_again_after_a_restart},
    {"an engine opens only over a log that covers the state", an_engine_opens_only_over_a_log_that_covers_the_state},
    {"three engines agree through restarts and large entries", three_engines_agree_through_restarts_and_large_entries},
    {"proposals of a turn get consecutive indexes and are applied in order",
     proposals_of_a_turn_get_consecutive_indexes_and_are_applied_in_order},
    {"a stream of proposals is committed while it flows", a_stream_of_proposals_is_committed_while_it_flows},
    {"a long log is there again after a restart of all", a_long_log_is_there_again_after_a_restart_of_all},
    {"a follower far behind catches up by the log", a_follower_far_behind_catches_up_by_the_log},
    {NULL, NULL},
};
