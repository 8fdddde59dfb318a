/* clients.c: requests go to any replica that takes itself for the leader, also to one that no longer is. */
#include "tests/sim/clients.h"

#include "tests/sim/sim.h"

void clients_init(struct clients *c, uint64_t seed)
{
    *c = (struct clients){.random = {.state = seed}};
    static const uint64_t gaps_us[] = {2000, 5000, 20000};
    c->gap_us = gaps_us[random_below(&c->random, 3)];
}

uint64_t clients_write(struct sim *sim, uint32_t node, uint32_t size)
{
    uint64_t id = ++sim->clients.last_id;
    sim_trace(sim, node, "write", id, size, 0);
    node_write(&sim->nodes[node], id, size);
    return id;
}

uint64_t clients_read(struct sim *sim, uint32_t node)
{
    uint64_t id = ++sim->clients.last_id;
    sim_trace(sim, node, "read", id, 0, 0);
    checks_see(sim, (struct check_event){.kind = CHECK_READ_BEGIN, .other = id});
    node_read(&sim->nodes[node], id);
    return id;
}

void clients_act(struct sim *sim)
{
    struct clients *c = &sim->clients;
    uint32_t leaders[SIM_NODES_MAX];
    uint32_t count = 0;
    for (uint32_t id = 1; id <= SIM_NODES_MAX; id++)
        if (sim->nodes[id].state == NODE_UP && sim->nodes[id].status.role == ENGINE_LEADER)
            leaders[count++] = id;
    if (count > 0) {
        uint32_t target = leaders[random_below(&c->random, count)];
        uint64_t burst = random_below(&c->random, 40) == 0 ? 1 + random_below(&c->random, 60) : 1;
        bool read = random_below(&c->random, 3) == 0 || (sim->faults.siege > 0 && count < 2);
        for (uint64_t i = 0; i < burst; i++) {
            bool large = random_below(&c->random, 100) == 0;
            uint64_t size = 8 + random_below(&c->random, large ? NODE_PAYLOAD_MAX - 8 : 120);
            if (read)
                clients_read(sim, target);
            else
                clients_write(sim, target, (uint32_t)size);
        }
    }
    uint64_t gap_us = 1 + random_below(&c->random, 2 * c->gap_us);
    sim_schedule(sim, (struct sim_event){.kind = EVENT_CLIENT}, sim->now + gap_us * 1000);
}

void clients_write_done(struct node *n, const struct write *w)
{
    struct sim *sim = n->sim;
    sim_trace(sim, n->id, "write_done", w->id, w->index, w->term);
    sim->result.writes_done++;
    if (w->index > sim->clients.told_index)
        sim->clients.told_index = w->index;
    checks_see(sim, (struct check_event){.kind = CHECK_WRITE_DONE,
                                         .node = n,
                                         .index = w->index,
                                         .term = w->term,
                                         .hash = w->hash,
                                         .other = n->ops->status(n->engine).term});
}

void clients_read_done(struct node *n, uint64_t id, uint64_t index)
{
    sim_trace(n->sim, n->id, "read_done", id, index, 0);
    n->sim->result.reads_done++;
    checks_see(n->sim, (struct check_event){.kind = CHECK_READ_DONE, .node = n, .index = index, .other = id});
}
