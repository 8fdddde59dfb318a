/* test_core_config.c: membership: one server at a time, compare-and-swap, rollback of what was truncated (Raft §4). */
#include "common/base/error.h"
#include "tests/unit/shard/engine/native/cluster.h"
#include "tests/unit/unit.h"

static struct core *core_of(struct cluster *cl, uint32_t id)
{
    return cl->nodes[id].core;
}

static int change(struct cluster *cl, uint32_t leader, const struct core_config *config)
{
    return cluster_event(cl, leader, (struct core_event){.kind = CORE_EVENT_CHANGE, .config = config});
}

static struct core_config with(const struct core_config *config, uint32_t id, bool voter)
{
    struct core_config next = *config;
    for (uint32_t i = 0; i < next.count; i++) {
        if (next.members[i].id == id) {
            next.members[i].voter = voter;
            return next;
        }
    }
    next.members[next.count++] = (struct core_member){id, voter};
    return next;
}

static struct core_config without(const struct core_config *config, uint32_t id)
{
    struct core_config next = {.index = config->index};
    for (uint32_t i = 0; i < config->count; i++) {
        if (config->members[i].id != id)
            next.members[next.count++] = config->members[i];
    }
    return next;
}

static void a_learner_is_added_catches_up_and_is_promoted(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl);
    for (unsigned i = 0; i < 200; i++) {
        CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
        cluster_settle(cl);
    }
    cluster_start(cl, 4);
    CU_ASSERT_EQUAL(core_role(core_of(cl, 4)), CORE_LEARNER); /* not of the group yet */
    struct core_config next = with(core_config(core_of(cl, leader)), 4, false);
    CU_ASSERT_EQUAL(change(cl, leader, &next), HF_OK);
    cluster_run(cl, 300);
    cluster_same_logs(cl);
    CU_ASSERT_EQUAL(core_role(core_of(cl, 4)), CORE_LEARNER);
    next = with(core_config(core_of(cl, leader)), 4, true);
    CU_ASSERT_EQUAL(change(cl, leader, &next), HF_OK);
    cluster_run(cl, 300);
    CU_ASSERT_EQUAL(core_role(core_of(cl, 4)), CORE_FOLLOWER);
    CU_ASSERT_EQUAL(core_of(cl, leader)->voters, 4);
    uint32_t cut = leader % 3 + 1;
    cluster_isolate(cl, cut, true); /* three of four are enough, two are not */
    uint64_t commit = core_hard_state(core_of(cl, leader)).commit;
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
    cluster_settle(cl);
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, leader)).commit, commit + 1);
    cluster_isolate(cl, 4, true);
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
    cluster_settle(cl);
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, leader)).commit, commit + 1);
    cluster_free(cl);
}

static void changes_are_refused_that_are_not_one_server_over_the_current_configuration(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl);
    const struct core_config *now = core_config(core_of(cl, leader));
    struct core_config next = with(now, 4, true);
    next.index++;
    CU_ASSERT_EQUAL(change(cl, leader, &next), HF_E_COMPARE_FAILED);
    next = with(now, 4, true);
    next = with(&next, 5, true);
    CU_ASSERT_EQUAL(change(cl, leader, &next), HF_E_INVALID);
    next = without(now, 1);
    next = with(&next, 4, true); /* a replacement is two changes */
    CU_ASSERT_EQUAL(change(cl, leader, &next), HF_E_INVALID);
    next = (struct core_config){.index = now->index};
    CU_ASSERT_EQUAL(change(cl, leader, &next), HF_E_INVALID);
    next = with(now, 4, true);
    CU_ASSERT_EQUAL(change(cl, leader % 3 + 1, &next), HF_E_NOT_LEADER);
    CU_ASSERT_EQUAL(change(cl, leader, &next), HF_OK);
    next = with(core_config(core_of(cl, leader)), 5, false);
    CU_ASSERT_EQUAL(change(cl, leader, &next), HF_E_BUSY); /* one is in flight */
    cluster_settle(cl);
    next = with(core_config(core_of(cl, leader)), 5, false);
    CU_ASSERT_EQUAL(change(cl, leader, &next), HF_OK);
    cluster_free(cl);
}

static void no_change_before_an_entry_of_the_own_term_is_committed(void)
{
    struct cluster *cl = cluster_new(3, 0);
    cluster_start(cl, 1);
    cluster_run(cl, 700);
    cluster_send(cl, 2, (struct core_message){.kind = CORE_PREVOTE_REPLY, .peer = 1, .term = 1}, NULL, 0);
    cluster_turn(cl, 1);
    cluster_send(cl, 2, (struct core_message){.kind = CORE_VOTE_REPLY, .peer = 1, .term = 1}, NULL, 0);
    CU_ASSERT_EQUAL(core_role(core_of(cl, 1)), CORE_LEADER);
    struct core_config next = with(core_config(core_of(cl, 1)), 4, true);
    CU_ASSERT_EQUAL(change(cl, 1, &next), HF_E_BUSY);
    cluster_turn(cl, 1);
    cluster_send(cl, 2, (struct core_message){.kind = CORE_APPEND_REPLY, .peer = 1, .term = 1, .index = 1}, NULL, 0);
    CU_ASSERT_EQUAL(change(cl, 1, &next), HF_OK);
    cluster_free(cl);
}

static void a_truncated_configuration_rolls_back(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl);
    cluster_run(cl, 200);
    cluster_isolate(cl, leader, true);
    struct core_config next = without(core_config(core_of(cl, leader)), leader % 3 + 1);
    CU_ASSERT_EQUAL(change(cl, leader, &next), HF_OK);
    cluster_settle(cl);
    CU_ASSERT_EQUAL(core_of(cl, leader)->voters, 2); /* in force as soon as it is in the log */
    cluster_run(cl, 2000);
    uint32_t other = cluster_leader(cl);
    CU_ASSERT_FATAL(other != 0 && other != leader);
    CU_ASSERT_EQUAL(cluster_propose(cl, other), HF_OK);
    cluster_stop(cl, leader); /* the same after a restart */
    cluster_start(cl, leader);
    CU_ASSERT_EQUAL(core_of(cl, leader)->voters, 2);
    cluster_isolate(cl, leader, false);
    cluster_run(cl, 500);
    CU_ASSERT_EQUAL(core_of(cl, leader)->voters, 3);
    CU_ASSERT_EQUAL(core_config(core_of(cl, leader))->index, 0);
    CU_ASSERT_EQUAL(cl->nodes[leader].traces[CORE_TRACE_CONFIG_ROLLBACK], 1);
    cluster_same_logs(cl);
    cluster_free(cl);
}

static void a_leader_removed_steps_down_once_that_is_committed(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), a = leader % 3 + 1;
    struct core_config next = without(core_config(core_of(cl, leader)), leader);
    cluster_isolate(cl, a, true);
    CU_ASSERT_EQUAL(change(cl, leader, &next), HF_OK);
    cluster_settle(cl);
    CU_ASSERT_EQUAL(core_role(core_of(cl, leader)),
                    CORE_LEADER); /* it does not count itself: one of two is not enough */
    cluster_isolate(cl, a, false);
    cluster_run(cl, 200);
    CU_ASSERT_EQUAL(core_role(core_of(cl, leader)), CORE_LEARNER);
    cluster_run(cl, 3000);
    CU_ASSERT_EQUAL(core_role(core_of(cl, leader)), CORE_LEARNER);
    uint32_t now = cluster_leader(cl);
    CU_ASSERT(now != 0 && now != leader);
    CU_ASSERT_EQUAL(core_of(cl, now)->voters, 2);
    cluster_free(cl);
}

static void a_removed_server_does_not_disturb(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), gone = leader % 3 + 1;
    cluster_isolate(cl, gone, true); /* it never learns */
    struct core_config next = without(core_config(core_of(cl, leader)), gone);
    CU_ASSERT_EQUAL(change(cl, leader, &next), HF_OK);
    cluster_run(cl, 2000);
    uint64_t term = core_hard_state(core_of(cl, leader)).term;
    cluster_isolate(cl, gone, false);
    cluster_run(cl, 3000);
    CU_ASSERT_EQUAL(cluster_leader(cl), leader);
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, leader)).term, term);
    cluster_send(cl, gone,
                 (struct core_message){.kind = CORE_APPEND_REPLY, .peer = leader, .term = term + 5, .reject = true},
                 NULL, 0);
    CU_ASSERT_EQUAL(cluster_leader(cl), leader);
    cluster_free(cl);
}

static void a_group_grows_from_one_to_five_and_back_under_load(void)
{
    struct cluster *cl = cluster_new(1, 0);
    uint32_t leader = cluster_elect(cl);
    for (uint32_t id = 2; id <= 5; id++) {
        cluster_start(cl, id);
        for (unsigned step = 0; step < 2; step++) {
            struct core_config next = with(core_config(core_of(cl, leader)), id, step == 1);
            CU_ASSERT_EQUAL(change(cl, leader, &next), HF_OK);
            CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
            cluster_run(cl, 200);
        }
    }
    cluster_same_logs(cl);
    CU_ASSERT_EQUAL(core_of(cl, leader)->voters, 5);
    for (uint32_t id = 2; id <= 5; id++) {
        leader = cluster_leader(cl);
        uint32_t gone = id == leader ? 1 : id;
        struct core_config next = without(core_config(core_of(cl, leader)), gone);
        CU_ASSERT_EQUAL(change(cl, leader, &next), HF_OK);
        cluster_run(cl, 300);
        cluster_stop(cl, gone);
    }
    CU_ASSERT_EQUAL(core_of(cl, leader)->voters, 1);
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
    cluster_settle(cl);
    CU_ASSERT_EQUAL(cl->nodes[leader].applied, cl->nodes[leader].last);
    cluster_free(cl);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"a learner is added, catches up and is promoted", a_learner_is_added_catches_up_and_is_promoted},
        {"changes are refused that are not one server over the current configuration",
         changes_are_refused_that_are_not_one_server_over_the_current_configuration},
        {"no change before an entry of the own term is committed",
         no_change_before_an_entry_of_the_own_term_is_committed},
        {"a truncated configuration rolls back", a_truncated_configuration_rolls_back},
        {"a leader removed steps down once that is committed", a_leader_removed_steps_down_once_that_is_committed},
        {"a removed server does not disturb", a_removed_server_does_not_disturb},
        {"a group grows from one to five and back under load", a_group_grows_from_one_to_five_and_back_under_load},
    };
    return UNIT_MAIN("native core: configurations", cases);
}
