/* faults.c: each fault is one function; the seed decides which kinds a run has, how often, and on whom they fall. */
#include "tests/sim/faults.h"

#include "common/base/error.h"
#include "tests/sim/sim.h"

static uint64_t below(struct sim *sim, uint64_t n)
{
    return random_below(&sim->faults.random, n);
}

static bool one_in(struct sim *sim, uint64_t n)
{
    return below(sim, n) == 0;
}

void faults_init(struct faults *f, uint64_t seed)
{
    *f = (struct faults){.random = {.state = seed}};
    static const uint64_t gaps_ms[] = {50, 150, 400, 1200};
    f->gap_ms = gaps_ms[random_below(&f->random, 4)];
    f->crashes = random_below(&f->random, 8) != 0;
    f->power = random_below(&f->random, 4) != 0;
    f->pauses = random_below(&f->random, 3) != 0;
    f->partitions = random_below(&f->random, 4) != 0;
    f->changes = random_below(&f->random, 3) == 0;
    f->disks = random_below(&f->random, 4) == 0;
    f->flush_permille = 1 + random_below(&f->random, 200);
    f->damage = !f->changes && random_below(&f->random, 2) == 0;
    f->publish_entries = 5 + random_below(&f->random, 150);
    f->trailing = random_below(&f->random, 60);
    f->hold_permille = random_below(&f->random, 4) == 0 ? 20 : 0;
}

/* A running replica, a leader more often than by chance; 0: none runs. */
static uint32_t victim(struct sim *sim)
{
    uint32_t up[SIM_NODES_MAX], count = 0;
    for (uint32_t id = 1; id <= SIM_NODES_MAX; id++)
        if (sim->nodes[id].state == NODE_UP)
            up[count++] = id;
    uint32_t leader = sim_leader(sim);
    if (leader != 0 && one_in(sim, 3))
        return leader;
    return count == 0 ? 0 : up[below(sim, count)];
}

/* ---- crashes and pauses ---- */

void faults_died(struct node *n)
{
    struct sim *sim = n->sim;
    if (sim->options.calm)
        return;
    uint64_t delay_ms = one_in(sim, 2) ? 1 + below(sim, 60) : 20 + below(sim, 2500); /* half of them are back at once */
    if (sim->healing)
        delay_ms = 1;
    sim_schedule(sim, (struct sim_event){.kind = EVENT_START, .node = n->id}, sim->now + delay_ms * SIM_MS);
}

static void crash_one(struct sim *sim, uint32_t id)
{
    if (id == 0)
        return;
    struct node *n = &sim->nodes[id];
    n->death = sim->faults.power && !one_in(sim, 3) ? DEATH_POWER : DEATH_KILL;
    switch (below(sim, 3)) {
    case 0:
        node_die(n, n->death);
        break;
    case 1:
        n->die_before = (enum phase)below(sim, PHASES);
        break;
    default: /* at some operation of the disk from now on: inside persist */
        simdisk_halt_after(n->disk, SIMDISK_CHANGES, below(sim, 8));
        break;
    }
}

static void crash(struct sim *sim)
{
    uint64_t count = one_in(sim, 6) ? 2 + below(sim, sim->replicas - 1) : 1;
    for (uint64_t i = 0; i < count; i++)
        crash_one(sim, victim(sim));
    if (one_in(sim, 20)) /* all at once: nobody knows the commit index */
        for (uint32_t id = 1; id <= SIM_NODES_MAX; id++)
            node_die(&sim->nodes[id], one_in(sim, 2) ? DEATH_KILL : DEATH_POWER);
}

/* The leader sees a bare quorum; the others, cut off from it, campaign, while those it sees restart fast and forget
 * whom they follow: what a lease must survive. */
static void siege_begin(struct sim *sim)
{
    struct faults *f = &sim->faults;
    f->besieged = sim_leader(sim);
    f->surrounded = false;
    f->siege = f->besieged == 0 || f->besieged > sim->replicas ? 0 : 5 + below(sim, 20);
    network_heal(&sim->network);
    sim_trace(sim, f->besieged, "siege", f->siege, 0, 0);
}

static void siege_go_on(struct sim *sim)
{
    struct faults *f = &sim->faults;
    uint32_t leader = f->besieged, id = leader;
    f->siege--;
    for (uint32_t i = 0; i < (sim->replicas - 1) / 2 && !f->surrounded; i++) {
        id = id % sim->replicas + 1;
        sim->network.cut[leader][id] = sim->network.cut[id][leader] = true;
    }
    f->surrounded = true;
    id = 1 + (uint32_t)below(sim, sim->replicas);
    if (id == leader || sim->network.cut[leader][id] || !f->crashes || one_in(sim, 3))
        return;
    node_die(&sim->nodes[id], one_in(sim, 2) ? DEATH_KILL : DEATH_POWER);
    sim_schedule(sim, (struct sim_event){.kind = EVENT_START, .node = id}, sim->now + below(sim, 30) * SIM_MS);
}

static void pause(struct sim *sim)
{
    uint32_t id = victim(sim);
    if (id == 0)
        return;
    struct node *n = &sim->nodes[id];
    n->stop_before = one_in(sim, 2) ? PHASE_REPLY : (enum phase)below(sim, PHASES);
    n->stop_for = (one_in(sim, 2) ? 5 + below(sim, 100) : 100 + below(sim, 1500)) * SIM_MS;
}

/* ---- the network ---- */

static void cut_halves(struct sim *sim, uint32_t bridge)
{
    uint64_t side = below(sim, UINT64_C(1) << SIM_NODES_MAX);
    for (uint32_t a = 1; a <= SIM_NODES_MAX; a++)
        for (uint32_t b = 1; b <= SIM_NODES_MAX; b++)
            if (a != bridge && b != bridge && ((side >> (a - 1) ^ side >> (b - 1)) & 1) != 0)
                sim->network.cut[a][b] = true;
}

static void cut_one_way(struct sim *sim, uint32_t id)
{
    bool out = one_in(sim, 2);
    for (uint32_t other = 1; other <= SIM_NODES_MAX; other++) {
        bool *cut = out ? &sim->network.cut[id][other] : &sim->network.cut[other][id];
        *cut = !one_in(sim, 4);
    }
}

static void partition(struct sim *sim)
{
    uint32_t id = victim(sim), leader = sim_leader(sim);
    uint64_t shape = below(sim, 6);
    sim_trace(sim, id, "partition", shape, leader, 0);
    if (id == 0)
        return;
    if (!one_in(sim, 3))
        network_heal(&sim->network);
    switch (shape) {
    case 0:
        network_isolate(&sim->network, leader != 0 ? leader : id);
        break;
    case 1:
        cut_one_way(sim, id);
        break;
    case 2:
        cut_halves(sim, id); /* one sees both halves */
        break;
    case 3:
        cut_halves(sim, 0);
        break;
    case 4: /* the leader sees some only, in both directions */
        for (uint32_t other = 1; other <= SIM_NODES_MAX; other++)
            if (one_in(sim, 2))
                sim->network.cut[id][other] = sim->network.cut[other][id] = true;
        break;
    default: /* any direction of any pair */
        for (uint32_t a = 1; a <= SIM_NODES_MAX; a++)
            for (uint32_t b = 1; b <= SIM_NODES_MAX; b++)
                sim->network.cut[a][b] |= one_in(sim, 3);
        break;
    }
}

static void weather(struct sim *sim)
{
    struct network *net = &sim->network;
    network_calm(net);
    if (one_in(sim, 3))
        return;
    net->lost_permille = one_in(sim, 2) ? below(sim, 300) : 0;
    net->doubled_permille = one_in(sim, 2) ? below(sim, 300) : 0;
    net->late_permille = one_in(sim, 2) ? below(sim, 200) : 0;
    net->late_ms = one_in(sim, 3) ? 3000 : 200;
    net->delay_us_max = one_in(sim, 2) ? 1000 + below(sim, 60000) : 400;
}

/* ---- the group ---- */

static void transfer(struct sim *sim)
{
    uint32_t leader = sim_leader(sim);
    if (leader != 0)
        sim->nodes[leader].want_transfer = one_in(sim, 2) ? NODE_TRANSFER_ANY : 1 + (uint32_t)below(sim, sim->replicas);
}

/* A new replica begins with a copy of a durable state, as an operator would seed it: the oldest there is, so that its
 * log, should it lead one day, has what every other still needs. */
static uint32_t join(struct sim *sim)
{
    struct node *donor = NULL;
    for (uint32_t i = 1; i <= SIM_NODES_MAX; i++)
        if (sim->nodes[i].state == NODE_UP)
            node_look_durable(&sim->nodes[i]);
    for (uint32_t i = 1; i <= SIM_NODES_MAX; i++)
        if (sim->nodes[i].state != NODE_ABSENT && (donor == NULL || sim->nodes[i].durable.index < donor->durable.index))
            donor = &sim->nodes[i];
    uint32_t id = 1;
    while (id <= SIM_NODES_MAX && sim->nodes[id].state != NODE_ABSENT)
        id++;
    if (id > SIM_NODES_MAX)
        return 0;
    node_copy(&sim->nodes[id], sim, id, donor);
    node_start(&sim->nodes[id]);
    return id;
}

static void change(struct sim *sim)
{
    uint32_t leader = sim_leader(sim);
    if (leader == 0)
        return;
    struct node *n = &sim->nodes[leader];
    struct configuration c;
    configuration_from(n->ops->members(n->engine), &c);
    uint32_t voters = 0, learner = SIM_NODES_MAX;
    for (uint32_t i = 0; i < c.count; i++) {
        voters += !c.member[i].learner;
        if (c.member[i].learner)
            learner = i;
    }
    uint32_t at = (uint32_t)below(sim, c.count);
    if (learner != SIM_NODES_MAX && one_in(sim, 2)) {
        c.member[learner].learner = false;
    } else if (one_in(sim, 2) && (c.member[at].learner || voters > 2)) {
        c.member[at] = c.member[--c.count];
    } else {
        uint32_t id = c.count < SIM_NODES_MAX ? join(sim) : 0;
        if (id == 0)
            return;
        c.member[c.count].replica = id;
        c.member[c.count++].learner = true;
    }
    n->change = c;
    n->want_change = true;
}

static void disk(struct sim *sim)
{
    uint32_t id = victim(sim);
    if (id == 0)
        return;
    struct simdisk *sd = sim->nodes[id].disk;
    if (one_in(sim, 2))
        simdisk_fail(sd, SIMDISK_SYNC, 1 + below(sim, 5), HF_E_IO, 1);
    else
        simdisk_fail(sd, SIMDISK_OPEN_CREATE | SIMDISK_ZERO_FILL, 1, HF_E_NO_SPACE, 1 + below(sim, 20));
}

/* Every quorum that a damaged replica is in must have a whole one: less than half of them at a time. */
static bool may_be_damaged(const struct sim *sim)
{
    uint32_t impaired = 0;
    for (uint32_t id = 1; id <= sim->replicas; id++) {
        const struct node *n = &sim->nodes[id];
        impaired += n->damaged || n->machine_lost || n->lost_log || n->recovering != 0 || n->status.held;
    }
    return impaired < (sim->replicas - 1) / 2;
}

static void damage(struct sim *sim)
{
    uint32_t id = victim(sim);
    if (id == 0 || !may_be_damaged(sim))
        return;
    struct node *n = &sim->nodes[id];
    node_die(n, one_in(sim, 2) ? DEATH_KILL : DEATH_POWER);
    if (!one_in(sim, 3))
        node_damage_log(n);
    else
        node_lose_machine(n);
}

/* Somebody asks for a state without need: a stream that comes too late, or early enough. */
static void fetch(struct sim *sim)
{
    uint32_t id = victim(sim), from = victim(sim);
    if (id != 0 && from != 0)
        snapshots_need(&sim->nodes[id], from, 0);
}

static void trim(struct sim *sim)
{
    uint64_t min = sim_durable_min(sim);
    for (uint32_t id = 1; id <= SIM_NODES_MAX; id++)
        sim->nodes[id].want_trim = min > 20 ? min - below(sim, 20) : 0;
}

static void any(struct sim *sim)
{
    const struct faults *f = &sim->faults;
    uint64_t kind = below(sim, 19);
    if (kind < 4 && f->crashes)
        crash(sim);
    else if (kind < 6 && f->pauses)
        pause(sim);
    else if (kind < 9 && f->partitions)
        partition(sim);
    else if (kind < 11)
        network_heal(&sim->network);
    else if (kind == 11)
        weather(sim);
    else if (kind == 12)
        transfer(sim);
    else if (kind == 13 && f->changes)
        change(sim);
    else if (kind == 14 && f->disks)
        disk(sim);
    else if (kind == 15 && f->partitions)
        siege_begin(sim);
    else if (kind == 16 && f->damage)
        damage(sim);
    else if (kind == 17)
        fetch(sim);
    else
        trim(sim);
}

void faults_act(struct sim *sim)
{
    uint64_t gap_ms = 1 + below(sim, 2 * sim->faults.gap_ms);
    if (sim->faults.siege > 0)
        siege_go_on(sim);
    else
        any(sim);
    if (sim->faults.siege > 0)
        gap_ms = 20 + below(sim, 150);
    sim_schedule(sim, (struct sim_event){.kind = EVENT_FAULT}, sim->now + gap_ms * SIM_MS);
}

void faults_heal(struct sim *sim)
{
    network_heal(&sim->network);
    network_calm(&sim->network);
    for (uint32_t id = 1; id <= SIM_NODES_MAX; id++) {
        struct node *n = &sim->nodes[id];
        if (n->state == NODE_ABSENT)
            continue;
        simdisk_fail(n->disk, 0, 0, 0, 0);
        n->die_before = n->stop_before = PHASES;
        if (n->stopped_until > sim->now)
            n->stopped_until = sim->now;
        if (n->state == NODE_UP)
            node_wake(n, sim->now);
        else
            sim_schedule(sim, (struct sim_event){.kind = EVENT_START, .node = id}, sim->now);
    }
}
