/* test_membership.c: schedules around changes of configuration, step by step on the real engine, log and state machine. */
#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "tests/sim/scenario.h"
#include "tests/unit/unit.h"

static struct configuration without(const struct node *n, uint32_t replica)
{
    struct configuration c;
    configuration_from(n->ops->members(n->engine), &c);
    for (uint32_t i = 0; i < c.count; i++)
        if (c.member[i].replica == replica)
            c.member[i--] = c.member[--c.count];
    return c;
}

/* Asks the leader between two turns, as its server would. */
static int change(struct node *n, const struct configuration *c)
{
    struct members_box box;
    uint64_t index = 0;
    configuration_box(c, &box);
    logtap_begin(n);
    int rc = n->ops->change(n->engine, &box.members, &index);
    logtap_end();
    return rc;
}

static bool nothing_from_2(struct sim *sim, Hf__Raft__Raft *m, uint32_t from, uint32_t to)
{
    (void)sim, (void)to;
    return from != 2 || m->kind != HF__RAFT__KIND__APPEND;
}

static bool two_leads(const struct sim *sim)
{
    return sim->nodes[2].status.role == ENGINE_LEADER;
}

static bool two_committed(const struct sim *sim)
{
    return sim->nodes[2].machine.config.count == 3;
}

static void isolate_pair(struct sim *sim, uint32_t a, uint32_t b)
{
    network_heal(&sim->network);
    for (uint32_t x = 1; x <= 4; x++)
        for (uint32_t y = 1; y <= 4; y++)
            if ((x == a || x == b) != (y == a || y == b))
                scenario_cut(sim, x, y);
}

/* Ongaro's message of July 2015 on raft-dev: 1 has {1, 2, 3} in its log alone; 2, elected by 2, 3 and 4 of the old
 * configuration, asks for {1, 2, 4} before anything of its term is committed. Two majorities without a common member
 * follow: {2, 4} and {1, 3}. *out_code: what the second change was answered. */
static struct sim *play_two_changes(int *out_code)
{
    struct sim *sim = scenario_new(11, 4);
    CU_ASSERT(scenario_write(sim, 1) && sim_run_ms(sim, 300));
    network_isolate(&sim->network, 1);
    struct configuration c = without(&sim->nodes[1], 4);
    CU_ASSERT_EQUAL(change(&sim->nodes[1], &c), HF_OK); /* something of its term is committed */
    CU_ASSERT(sim_run_ms(sim, 20));
    scenario_filter(nothing_from_2);
    scenario_candidate(2);
    CU_ASSERT(sim_run_until(sim, SCENARIO_ELECTION_MS, two_leads));
    c = without(&sim->nodes[2], 3);
    *out_code = change(&sim->nodes[2], &c);
    isolate_pair(sim, 2, 4);
    scenario_filter(NULL);
    if (*out_code != HF_OK)
        return sim;
    CU_ASSERT(sim_run_until(sim, SCENARIO_ELECTION_MS, two_committed));
    isolate_pair(sim, 1, 3);
    scenario_candidate(1);
    (void)sim_run_ms(sim, 2 * SCENARIO_ELECTION_MS);
    return sim;
}

static void no_change_before_the_own_term_is_committed(void)
{
    int code = HF_OK;
    struct sim *sim = play_two_changes(&code);
    CU_ASSERT_EQUAL(code, HF_E_BUSY);
    network_heal(&sim->network);
    scenario_candidate(0);
    CU_ASSERT(sim_run_ms(sim, 2 * SCENARIO_ELECTION_MS));
    uint32_t leader = sim_leader(sim);
    CU_ASSERT_NOT_EQUAL_FATAL(leader, 0);
    CU_ASSERT(scenario_write(sim, leader)); /* now something is */
    struct configuration c = without(&sim->nodes[leader], leader == 3 ? 4 : 3);
    if (c.count == 3) /* the first change was overwritten: the old configuration stands */
        CU_ASSERT_EQUAL(change(&sim->nodes[leader], &c), HF_OK);
    CU_ASSERT(sim_run_ms(sim, 1000));
    scenario_end(&sim);
}

#ifdef HF_FAILPOINTS
static void without_the_guard_two_leaders_commit(void)
{
    int code = HF_E_BUSY;
    failpoint_plant("native.change_early");
    struct sim *sim = play_two_changes(&code);
    failpoint_plant(NULL);
    CU_ASSERT_EQUAL(code, HF_OK);
    CU_ASSERT(sim->result.failed); /* an entry that {2, 4} committed is not in 1's log */
    CU_ASSERT_STRING_EQUAL(sim->result.checker, "completeness");
    sim_free(&sim);
}
#endif

int main(void)
{
    static const struct unit_case cases[] = {
        {"no change before the own term is committed", no_change_before_the_own_term_is_committed},
#ifdef HF_FAILPOINTS
        {"without the guard two leaders commit", without_the_guard_two_leaders_commit},
#endif
    };
    return UNIT_MAIN("membership", cases);
}
