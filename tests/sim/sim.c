/* sim.c: the queue of events and the life of a run. */
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/sys/diag.h"
#include "common/sys/failpoint.h"

#define BOOT_SPREAD_MS 50 /* replicas start within */
#define CLOCK_PPM_MAX 20000

/* ---- the queue: a binary heap by (at, order) ---- */

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void sim_schedule(struct sim *sim, struct sim_event event, uint64_t at)
{
    if (sim->queue_count == sim->queue_cap) {
        sim->queue_cap = sim->queue_cap == 0 ? 256 : sim->queue_cap * 2;
        sim->queue = realloc(sim->queue, sim->queue_cap * sizeof *sim->queue);
        must(sim->queue != NULL);
    }
    event.at = at < sim->now ? sim->now : at;
    event.order = ++sim->order;
    size_t i = sim->queue_count++;
    for (; i > 0 && earlier(&event, &sim->queue[(i - 1) / 2]); i = (i - 1) / 2)
        sim->queue[i] = sim->queue[(i - 1) / 2];
    sim->queue[i] = event;
}

static struct sim_event take(struct sim *sim)
{
    must(sim->queue_count > 0);
    struct sim_event first = sim->queue[0], last = sim->queue[--sim->queue_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= sim->queue_count)
            break;
        if (child + 1 < sim->queue_count && earlier(&sim->queue[child + 1], &sim->queue[child]))
            child++;
        if (!earlier(&sim->queue[child], &last))
            break;
        sim->queue[i] = sim->queue[child];
        i = child;
    }
    sim->queue[i] = last;
    return first;
}

/* ---- the trace ---- */

static void mix(uint64_t *hash, uint64_t value)
{
    *hash = (*hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    *hash ^= *hash >> 29;
}

static void print_line(const struct sim *sim, uint32_t node, const char *what, uint64_t a, uint64_t b, uint64_t c)
{
    static const char *const kinds[] = {"none",   "prevote",      "prevote_reply", "vote",     "vote_reply",
                                        "append", "append_reply", "timeout_now",   "snapshot", "snapshot_reply"};
    printf("%10.3f ms  %u  ", (double)sim->now / 1e6, node);
    if (strncmp(what, "send", 4) == 0 || strcmp(what, "receive") == 0)
        printf("%-10s %s %u  %s term=%" PRIu64 " index=%" PRIu64 "\n", what, what[0] == 's' ? "to" : "from",
               (unsigned)a, b >> 32 < 10 ? kinds[b >> 32] : "?", b & UINT32_MAX, c);
    else
        printf("%-10s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", what, a, b, c);
}

void sim_trace(struct sim *sim, uint32_t node, const char *what, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t *hash = &sim->result.trace_hash;
    mix(hash, sim->now);
    mix(hash, node);
    for (const char *p = what; *p != '\0'; p++)
        mix(hash, (uint64_t)*p);
    mix(hash, a);
    mix(hash, b);
    mix(hash, c);
    if (sim->options.verbose)
        print_line(sim, node, what, a, b, c);
}

/* ---- life ---- */

static void boot(struct sim *sim, struct random *random)
{
    for (uint32_t id = 1; id <= sim->replicas; id++) {
        struct node *n = &sim->nodes[id];
        node_create(n, sim, id);
        if (!sim->options.calm)
            n->clock_ppm = (int64_t)random_below(random, 2 * CLOCK_PPM_MAX + 1) - CLOCK_PPM_MAX;
        n->clock_local = 1 + random_below(random, 1000 * SIM_MS);
        sim_schedule(sim, (struct sim_event){.kind = EVENT_START, .node = id},
                     random_below(random, BOOT_SPREAD_MS * SIM_MS));
    }
}

struct sim *sim_new(const struct sim_options *options)
{
    struct sim *sim = calloc(1, sizeof *sim);
    must(sim != NULL);
    diag_init("sim", DIAG_ERROR);
    sim->options = *options;
    if (sim->options.steps == 0)
        sim->options.steps = SIM_STEPS_DEFAULT;
    struct random random = {.state = options->seed};
    random_next(&random);
    sim->replicas = (uint32_t)(3 + random_below(&random, 5));
    if (options->replicas != 0)
        sim->replicas = options->replicas;
    must(sim->replicas >= 1 && sim->replicas <= SIM_NODES_MAX);
    network_init(&sim->network, random_next(&random));
    clients_init(&sim->clients, random_next(&random));
    faults_init(&sim->faults, random_next(&random));
    checks_init(&sim->checks, options->only);
    for (uint32_t id = 0; id <= SIM_NODES_MAX; id++)
        sim->nodes[id].random.state = random_next(&random);
    boot(sim, &random);
    if (!options->calm) {
        sim_schedule(sim, (struct sim_event){.kind = EVENT_CLIENT}, 0);
        sim_schedule(sim, (struct sim_event){.kind = EVENT_FAULT}, SIM_ELECTION_MS * SIM_MS);
    } else {
        sim->faults.flush_permille = sim->faults.hold_permille = 0;
    }
    return sim;
}

void sim_free(struct sim **sim)
{
    if (*sim == NULL)
        return;
    for (uint32_t id = 1; id <= SIM_NODES_MAX; id++)
        node_free(&(*sim)->nodes[id]);
    for (size_t i = 0; i < (*sim)->queue_count; i++)
        free((*sim)->queue[i].message);
    free((*sim)->queue);
    load_deinit(&(*sim)->clients.load);
    checks_deinit(&(*sim)->checks);
    free(*sim);
    *sim = NULL;
}

static void deliver(struct sim *sim, struct message *m)
{
    struct node *n = &sim->nodes[m->to];
    if (n->state == NODE_UP)
        node_receive(n, m);
    else
        free(m);
}

bool sim_step(struct sim *sim)
{
    struct sim_event event = take(sim);
    sim->now = event.at;
    sim->result.steps++;
    struct node *n = &sim->nodes[event.node];
    switch (event.kind) {
    case EVENT_WAKE:
        if (n->state == NODE_UP && n->wake_version == event.version) {
            n->wake_at = UINT64_MAX;
            turn_run(n);
        }
        break;
    case EVENT_DELIVER:
        deliver(sim, event.message);
        break;
    case EVENT_CLIENT:
        if (!sim->healing)
            clients_act(sim);
        break;
    case EVENT_FAULT:
        if (!sim->healing)
            faults_act(sim);
        break;
    case EVENT_START:
        if (n->state == NODE_DOWN)
            node_start(n);
        break;
    case EVENT_FETCH:
        snapshots_step(n, event.version);
        break;
    }
    sim->result.virtual_ns = sim->now;
    return !sim->result.failed;
}

bool sim_run_ms(struct sim *sim, uint64_t ms)
{
    uint64_t until = sim->now + ms * SIM_MS;
    while (sim->queue_count > 0 && sim->queue[0].at <= until)
        if (!sim_step(sim))
            return false;
    sim->now = until;
    return true;
}

bool sim_run_until(struct sim *sim, uint64_t ms_max, bool (*done)(const struct sim *sim))
{
    uint64_t until = sim->now + ms_max * SIM_MS;
    while (!done(sim)) {
        if (sim->queue_count == 0 || sim->queue[0].at > until || !sim_step(sim))
            return false;
    }
    return true;
}

uint32_t sim_leader(const struct sim *sim)
{
    uint32_t leader = 0;
    for (uint32_t id = 1; id <= SIM_NODES_MAX; id++) {
        const struct node *n = &sim->nodes[id];
        if (n->state == NODE_UP && n->status.role == ENGINE_LEADER && n->was_serving &&
            (leader == 0 || n->status.term > sim->nodes[leader].status.term))
            leader = id;
    }
    return leader;
}

uint64_t sim_durable_min(const struct sim *sim)
{
    uint64_t min = UINT64_MAX;
    for (uint32_t id = 1; id <= SIM_NODES_MAX; id++) {
        const struct node *n = &sim->nodes[id];
        if (n->state != NODE_ABSENT && n->durable.index < min)
            min = n->durable.index;
    }
    return min;
}

/* ---- the end ---- */

static bool has_leader(const struct sim *sim)
{
    return sim_leader(sim) != 0;
}

/* Does every member of the leader's configuration stand where the leader stands? */
static bool all_applied(const struct sim *sim)
{
    uint32_t leader = sim_leader(sim);
    if (leader == 0)
        return false;
    const struct node *l = &sim->nodes[leader];
    for (uint32_t i = 0; i < l->machine.config.count; i++) {
        const struct node *n = &sim->nodes[l->machine.config.member[i].replica];
        if (n->state != NODE_UP || n->machine.index != l->machine.index)
            return false;
    }
    return l->machine.index >= sim->clients.told_index;
}

/* A write is asked for until one is acknowledged: the leader may change once more. */
static bool write_is_told(struct sim *sim, uint64_t until)
{
    uint64_t told = sim->result.writes_done;
    while (!sim->result.failed && sim->now < until) {
        uint32_t leader = sim_leader(sim);
        if (leader != 0)
            clients_write(sim, leader, 16);
        if (!sim_run_ms(sim, SIM_HEARTBEAT_MS))
            return false;
        if (sim->result.writes_done > told)
            return true;
    }
    return false;
}

static uint64_t heal(struct sim *sim)
{
    uint64_t until = sim->now + SIM_HEAL_MS * SIM_MS;
    if (!sim_run_until(sim, SIM_HEAL_MS, has_leader))
        return 1;
    if (!write_is_told(sim, until))
        return 2;
    return sim_run_until(sim, sim->now < until ? (until - sim->now) / SIM_MS : 0, all_applied) ? 0 : 3;
}

void sim_run(struct sim *sim)
{
    while (sim->result.steps < sim->options.steps)
        if (!sim_step(sim))
            return;
    sim->healing = true;
    faults_heal(sim);
    sim->network.no_votes = planted_bug("sim.votes_lost_after_healing");
    sim_trace(sim, 0, "healed", 0, 0, 0);
    uint64_t missing = heal(sim);
    if (!sim->result.failed)
        checks_see(sim, (struct check_event){.kind = CHECK_HEALED, .index = missing});
}
