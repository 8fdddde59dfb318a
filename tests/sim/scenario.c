/* scenario.c: see scenario.h. */
#include "tests/sim/scenario.h"

#include <CUnit/CUnit.h>
#include <stdio.h>

static uint32_t candidate;
static bool (*beside)(struct sim *sim, Hf__Raft__Raft *m, uint32_t from, uint32_t to);

static bool filter(struct sim *sim, Hf__Raft__Raft *m, uint32_t from, uint32_t to)
{
    bool asks = m->kind == HF__RAFT__KIND__PREVOTE || m->kind == HF__RAFT__KIND__VOTE;
    if (asks && candidate != 0 && from != candidate)
        return false;
    return beside == NULL || beside(sim, m, from, to);
}

void scenario_candidate(uint32_t only)
{
    candidate = only;
}

void scenario_filter(bool (*more)(struct sim *sim, Hf__Raft__Raft *m, uint32_t from, uint32_t to))
{
    beside = more;
}

static bool leads(const struct sim *sim)
{
    return sim_leader(sim) == candidate;
}

bool scenario_elect(struct sim *sim, uint32_t id)
{
    candidate = id;
    return sim_run_until(sim, SCENARIO_ELECTION_MS, leads);
}

struct sim *scenario_new(uint64_t seed, uint32_t replicas)
{
    struct sim *sim = sim_new(&(struct sim_options){
        .seed = seed, .replicas = replicas, .calm = true, .verbose = getenv("SIM_TRACE") != NULL});
    beside = NULL;
    sim->network.filter = filter;
    CU_ASSERT_FATAL(scenario_elect(sim, 1));
    return sim;
}

void scenario_end(struct sim **sim)
{
    if ((*sim)->result.failed)
        printf("\n  found by %s: %s\n", (*sim)->result.checker, (*sim)->result.text);
    CU_ASSERT_FALSE((*sim)->result.failed);
    sim_free(sim);
    candidate = 0;
    beside = NULL;
}

bool scenario_write(struct sim *sim, uint32_t node)
{
    uint64_t told = sim->result.writes_done;
    clients_write(sim, node, 16);
    for (int i = 0; i < 100 && sim->result.writes_done == told; i++)
        if (!sim_run_ms(sim, 10))
            return false;
    return sim->result.writes_done > told;
}

void scenario_cut(struct sim *sim, uint32_t a, uint32_t b)
{
    sim->network.cut[a][b] = sim->network.cut[b][a] = true;
}

void scenario_start(struct sim *sim, uint32_t id)
{
    sim_schedule(sim, (struct sim_event){.kind = EVENT_START, .node = id}, sim->now);
}
