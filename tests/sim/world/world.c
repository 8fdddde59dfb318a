/* world.c: time, what goes wrong in it, and the end of a run. */
#include "tests/sim/world/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/digest.h"
#include "common/sys/failpoint.h"
#include "tests/sim/world/actors.h"
#include "tests/sim/world/damage.h"
#include "tests/sim/world/history.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/process.h"
#include "tests/sim/world/readers.h"
#include "tests/sim/world/states.h"
#include "tests/sim/world/wire.h"

#define RUN_MS 6000
#define HEAL_MS 20000
#define LEVEL_MS 25000 /* a state that is fetched may have to be fetched again */
#define STEP_MS 100

struct world *world_now;

static const char *const checkers[] = {"world.state", "world.snapshots", "linear",   "once",  "sessions", "answers",
                                       "oracle",      "progress",        "versions", "fresh", "stable"};

bool world_knows(const char *checker)
{
    for (size_t i = 0; i < sizeof checkers / sizeof checkers[0]; i++)
        if (strcmp(checkers[i], checker) == 0)
            return true;
    return false;
}

uint64_t world_below(struct world *w, uint64_t n)
{
    return random_below(&w->random, n);
}

uint32_t world_replica(uint32_t shard, uint32_t replica)
{
    return (shard - 1) * WORLD_REPLICAS + replica;
}

uint32_t world_coordinator(uint32_t id)
{
    return WORLD_SHARDS * WORLD_REPLICAS + id;
}

void world_trace(struct world *w, uint32_t process, const char *what, uint64_t a, uint64_t b)
{
    uint64_t *hash = &w->result.trace_hash;
    const uint64_t values[] = {w->now, process, (uint64_t)what[0], a, b};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        *hash = (*hash ^ values[i]) * UINT64_C(0x9e3779b97f4a7c15);
        *hash ^= *hash >> 29;
    }
    if (w->options.verbose)
        printf("%10.3f ms  %u  %-10s %" PRIu64 " %" PRIu64 "\n", (double)w->now / 1e6, process, what, a, b);
}

void world_failed(struct world *w, const char *checker, const char *format, ...)
{
    if (w->result.failed || (w->options.only != NULL && strcmp(w->options.only, checker) != 0))
        return;
    va_list args;
    w->result.failed = true;
    snprintf(w->result.checker, sizeof w->result.checker, "%s", checker);
    va_start(args, format);
    vsnprintf(w->result.text, sizeof w->result.text, format, args);
    va_end(args);
}

/* ---- the queue: a binary heap by (at, order) ---- */

static bool earlier(const struct world_event *a, const struct world_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void world_schedule(struct world *w, struct world_event event, uint64_t at)
{
    if (w->queue_count == w->queue_cap) {
        w->queue_cap = w->queue_cap == 0 ? 256 : 2 * w->queue_cap;
        w->queue = realloc(w->queue, w->queue_cap * sizeof *w->queue);
        must(w->queue != NULL);
    }
    event.at = at < w->now ? w->now : at;
    event.order = ++w->order;
    size_t i = w->queue_count++;
    for (; i > 0 && earlier(&event, &w->queue[(i - 1) / 2]); i = (i - 1) / 2)
        w->queue[i] = w->queue[(i - 1) / 2];
    w->queue[i] = event;
}

static struct world_event take(struct world *w)
{
    struct world_event first = w->queue[0], last = w->queue[--w->queue_count];
    size_t i = 0;
    for (size_t child = 1; child < w->queue_count; child = 2 * i + 1) {
        child += child + 1 < w->queue_count && earlier(&w->queue[child + 1], &w->queue[child]);
        if (!earlier(&w->queue[child], &last))
            break;
        w->queue[i] = w->queue[child];
        i = child;
    }
    w->queue[i] = last;
    return first;
}

/* ---- what goes wrong ---- */

static uint32_t victim(struct world *w)
{
    uint32_t number = 1 + (uint32_t)world_below(w, WORLD_PROCESSES - 1);
    for (uint32_t i = 1; i < WORLD_PROCESSES && world_below(w, 2) == 0; i++)
        if (w->processes[i]->shard != 0 && replica_process_leads(w->processes[i]) && world_below(w, 3) == 0)
            return i;
    return number;
}

static void crash(struct world *w)
{
    struct process *p = w->processes[victim(w)];
    if (!process_up(p))
        return;
    p->death = w->power && world_below(w, 3) != 0 ? DEATH_POWER : DEATH_KILL;
    uint64_t how = p->shard != 0 ? world_below(w, 3) : 0;
    if (how == 0)
        process_die(p, p->death);
    else if (how == 1)
        p->die_before = (enum phase)(PHASE_STEP + world_below(w, PHASES - PHASE_STEP));
    else
        simdisk_halt_after(p->disk, SIMDISK_CHANGES, world_below(w, 8));
}

static void stop_waiting(struct process *p, uint64_t ms)
{
    p->stopped_until = p->world->now + ms * SIM_MS;
    p->wake_version++;
    p->wake_at = UINT64_MAX;
    process_wake(p, p->stopped_until);
}

static void pause(struct world *w)
{
    struct process *p = w->processes[victim(w)];
    uint64_t ms = world_below(w, 2) == 0 ? 5 + world_below(w, 100) : 100 + world_below(w, 1200);
    if (p->shard != 0) {
        p->stop_before = (enum phase)(PHASE_STEP + world_below(w, PHASES - PHASE_STEP));
        p->stop_for = ms * SIM_MS;
    } else {
        stop_waiting(p, ms);
    }
}

static void partition(struct world *w)
{
    memset(w->cut, 0, sizeof w->cut);
    uint32_t one = victim(w);
    uint64_t shape = world_below(w, 4);
    world_trace(w, one, "partition", shape, 0);
    for (uint32_t other = 0; other < WORLD_PROCESSES; other++) {
        if (shape == 0)
            w->cut[one][other] = w->cut[other][one] = true;
        else if (shape == 1)
            w->cut[one][other] = world_below(w, 3) != 0;
        else if (shape == 2)
            w->cut[other][one] = world_below(w, 3) != 0;
        else
            for (uint32_t third = 0; third < WORLD_PROCESSES; third++)
                w->cut[other][third] = world_below(w, 4) == 0;
    }
}

static void cut_both(struct world *w, uint32_t a, uint32_t b)
{
    w->cut[a][b] = w->cut[b][a] = true;
}

/* A leader that its clients reach and its group does not: what a read lease must end for. */
static uint64_t leader_alone(struct world *w)
{
    memset(w->cut, 0, sizeof w->cut);
    uint32_t first = world_replica(1 + (uint32_t)world_below(w, WORLD_SHARDS), 1);
    for (uint32_t one = first; one < first + WORLD_REPLICAS; one++)
        for (uint32_t other = first; other < first + WORLD_REPLICAS; other++)
            if (one != other && replica_process_leads(w->processes[one]))
                cut_both(w, one, other);
    return 300 + world_below(w, 2000);
}

/* A coordinator that clients reach, and that does not reach the catalog: for longer than its lease. */
static uint64_t coordinator_alone(struct world *w)
{
    memset(w->cut, 0, sizeof w->cut);
    uint32_t one = world_coordinator(1 + (uint32_t)world_below(w, WORLD_COORDINATORS));
    for (uint32_t r = 1; r <= WORLD_REPLICAS; r++)
        cut_both(w, one, world_replica(1, r));
    return 3500 + world_below(w, 2000);
}

static void weather(struct world *w)
{
    w->lost_permille = world_below(w, 2) == 0 ? world_below(w, 150) : 0;
    w->doubled_permille = world_below(w, 2) == 0 ? world_below(w, 200) : 0;
    w->late_permille = world_below(w, 2) == 0 ? world_below(w, 150) : 0;
    w->late_ms = world_below(w, 3) == 0 ? 2500 : 200;
}

/* A shard that no coordinator reaches loses its leader: the next one must go on without a fresh timestamp. */
static uint64_t shard_unanswered(struct world *w)
{
    memset(w->cut, 0, sizeof w->cut);
    uint32_t first = world_replica(1 + (uint32_t)world_below(w, WORLD_SHARDS), 1), leader = 0;
    for (uint32_t one = first; one < first + WORLD_REPLICAS; one++) {
        for (uint32_t c = 1; c <= WORLD_COORDINATORS; c++)
            cut_both(w, one, world_coordinator(c));
        if (replica_process_leads(w->processes[one]))
            leader = one;
    }
    if (leader != 0)
        process_die(w->processes[leader], DEATH_KILL);
    return 500 + world_below(w, 2500);
}

/* Who issues timestamps stands still, perhaps with one of them in hand, for longer than its lease; or dies. */
static uint64_t active_gone(struct world *w)
{
    for (uint32_t c = 1; c <= WORLD_COORDINATORS; c++) {
        struct process *p = w->processes[world_coordinator(c)];
        if (!process_up(p) || !coordinator_process_active(p))
            continue;
        uint64_t how = world_below(w, 3), ms = 100 + world_below(w, w->long_plots ? 6000 : 1000);
        if (how == 0)
            process_die(p, DEATH_KILL);
        else if (how == 1)
            p->stop_after_draw = ms;
        else
            stop_waiting(p, ms);
        return w->long_plots ? ms : 0;
    }
    return 0;
}

/* Sessions live for an hour: nobody may believe a clock an hour ahead, and nobody does once there is a ceiling. */
static void clock_step(struct world *w)
{
    struct process *p = w->processes[world_coordinator(1 + (uint32_t)world_below(w, WORLD_COORDINATORS))];
    static const int64_t reach_ms[] = {10000, 10000, 10000, 100000, 1000000, 3600000};
    size_t kind = world_below(w, judge_timestamp_asked(w) != 0 ? 6 : 5);
    int64_t ms = (int64_t)world_below(w, 2 * (uint64_t)reach_ms[kind]) - reach_ms[kind];
    if (kind == 5) /* just so much */
        ms = ms < 0 ? -reach_ms[kind] : reach_ms[kind];
    process_set_wall(p, ms, world_below(w, 2) == 0 ? 0 : (int64_t)world_below(w, 3000) - 1000);
}

static void no_space(struct world *w)
{
    struct process *p = w->processes[1 + world_below(w, WORLD_SHARDS * WORLD_REPLICAS)];
    p->short_of_space = true;
    if (world_below(w, 2) == 0)
        simstore_fail(p->store, HF_E_NO_SPACE, 1 + world_below(w, 10));
    else
        simdisk_fail(p->disk, SIMDISK_OPEN_CREATE | SIMDISK_ZERO_FILL, 1, HF_E_NO_SPACE, 1 + world_below(w, 10));
}

static void fault(struct world *w)
{
    uint64_t kind = world_below(w, 19), pause_ms = 1 + world_below(w, 2 * w->fault_gap_ms);
    if (kind < 3)
        crash(w);
    else if (kind < 5)
        pause(w);
    else if (kind < 7)
        partition(w);
    else if (kind < 9)
        memset(w->cut, 0, sizeof w->cut);
    else if (kind == 9)
        weather(w);
    else if (kind == 10)
        clock_step(w);
    else if (kind == 11)
        no_space(w);
    else if (kind == 12)
        pause_ms += leader_alone(w);
    else if (kind == 13 && w->long_plots)
        pause_ms += coordinator_alone(w);
    else if (kind < 16 && w->damages)
        damage_some(w);
    else if (kind == 16)
        pause_ms += shard_unanswered(w);
    else if (kind > 16)
        pause_ms += active_gone(w);
    world_schedule(w, (struct world_event){.kind = WORLD_FAULT}, w->now + pause_ms * SIM_MS);
}

/* ---- a run ---- */

static void step(struct world *w)
{
    struct world_event e = take(w);
    struct process *p = w->processes[e.who];
    w->now = e.at;
    w->result.steps++;
    switch (e.kind) {
    case WORLD_WAKE:
        if (process_up(p) && p->wake_version == e.version) {
            p->wake_at = UINT64_MAX;
            w->result.turns++;
            process_run(p);
        }
        break;
    case WORLD_DELIVER:
        wire_deliver(w, e.frame);
        break;
    case WORLD_CLIENT:
        actors_act(w, e.who);
        break;
    case WORLD_READER:
        readers_act(w, e.who);
        break;
    case WORLD_FAULT:
        if (!w->healing)
            fault(w);
        break;
    case WORLD_START:
        if (!process_up(p))
            process_start(p);
        break;
    case WORLD_STREAM:
        states_step(w, e.who, e.version);
        break;
    }
}

static bool run_until(struct world *w, uint64_t until)
{
    while (!w->result.failed && w->queue_count > 0 && w->queue[0].at <= until)
        step(w);
    if (!w->result.failed)
        w->now = until;
    return !w->result.failed;
}

static void heal(struct world *w)
{
    w->healing = true;
    world_trace(w, 0, "healed", 0, 0);
    memset(w->cut, planted_bug("sim.stays_cut"), sizeof w->cut);
    w->lost_permille = w->doubled_permille = w->late_permille = 0;
    for (uint32_t i = 1; i < WORLD_PROCESSES; i++) {
        struct process *p = w->processes[i];
        p->die_before = p->stop_before = PHASES;
        p->stopped_until = 0;
        if (w->right_walls)
            process_set_wall(p, 0, 0);
        if (p->shard != 0) {
            simdisk_fail(p->disk, 0, 0, 0, 0);
            for (unsigned m = 0; m < 2; m++) {
                simstore_fail(p->media[m], 0, 0);
                simstore_misread(p->media[m], 0);
            }
        }
        process_wake(p, w->now);
        if (!process_up(p))
            world_schedule(w, (struct world_event){.kind = WORLD_START, .who = i}, w->now);
    }
}

/* Until clients and readers have nothing open. */
static bool quiet_by(struct world *w, uint64_t end, const char *else_)
{
    while (!(actors_done(w) && readers_done(w)) && w->now < end)
        if (!run_until(w, w->now + STEP_MS * SIM_MS))
            return false;
    bool quiet = actors_done(w) && readers_done(w);
    if (!quiet)
        world_failed(w, "progress", "%d ms after everything was healed %s", HEAL_MS, else_);
    return quiet || !w->result.failed;
}

static void run(struct world *w)
{
    if (!run_until(w, (w->long_plots ? 2u : 1u) * RUN_MS * SIM_MS))
        return;
    heal(w);
    uint64_t end = w->now + HEAL_MS * SIM_MS;
    if (!quiet_by(w, end, "an operation is still open"))
        return;
    actors_last(w); /* whatever came before: writes are done, and timestamps issued at which all is read */
    if (!quiet_by(w, end + HEAL_MS * SIM_MS, "a write of each client is not done"))
        return;
    readers_last(w);
    if (!quiet_by(w, end + 2 * HEAL_MS * SIM_MS, "nothing can be read at a fresh timestamp"))
        return;
    run_until(w, w->now + 3000 * SIM_MS); /* what a coordinator still has is over its deadline by then */
    for (int i = 0; i < LEVEL_MS / 10 && !judge_level(w); i++)
        run_until(w, w->now + 10 * SIM_MS);
    if (!judge_level(w))
        world_failed(w, "progress", "the replicas of a shard do not come to the same applied index");
    if (!w->result.failed)
        judge_end(w);
    if (!w->result.failed)
        history_end(w);
}

static void close_all(struct world *w)
{
    w->healing = true;
    for (uint32_t i = 1; i < WORLD_PROCESSES; i++)
        process_free(&w->processes[i]);
    wire_close_all(w, 0);
    for (size_t i = 0; i < w->queue_count; i++)
        free(w->queue[i].frame);
    free(w->queue);
    actors_free(&w->actors);
    readers_free(&w->readers);
    history_free(&w->history);
    judge_free(&w->judge);
}

struct sim_result world_run(const struct sim_options *options)
{
    struct world w = {.options = *options, .random = {.state = options->seed ^ UINT64_C(0x574f524c44)}};
    must(world_now == NULL);
    world_now = &w;
    digest_init();
    w.now = SIM_MS;
    w.judge = judge_new();
    w.history = history_new();
    static const uint64_t gaps_ms[] = {60, 200, 600, 3000};
    w.fault_gap_ms = gaps_ms[world_below(&w, 4)];
    w.long_plots = world_below(&w, 4) == 0;
    w.power = world_below(&w, 3) != 0;
    w.start_deaths = world_below(&w, 2) == 0;
    w.damages = world_below(&w, 2) == 0;
    static const uint64_t trailing[] = {0, 20, 100, UINT64_MAX / 2};
    w.trailing = trailing[world_below(&w, 4)];
    w.keep_ms = world_below(&w, 2) == 0 ? 500 : 5000;
    w.right_walls = world_below(&w, 2) == 0;
    w.retention_ms = world_below(&w, 4) == 0 ? 1500 : UINT64_C(1) << 32;
    w.pace_us = world_below(&w, 2) == 0 ? 4000 : 800000;
    simstore_find_by(replica_process_medium);
    for (uint32_t i = 1; i < WORLD_PROCESSES; i++) {
        w.processes[i] = process_new(&w, i);
        world_schedule(&w, (struct world_event){.kind = WORLD_START, .who = i}, world_below(&w, 50 * SIM_MS));
    }
    w.actors = actors_new(&w);
    w.readers = readers_new(&w);
    world_schedule(&w, (struct world_event){.kind = WORLD_FAULT}, (SIM_ELECTION_MS + world_below(&w, 1000)) * SIM_MS);
    run(&w);
    w.result.virtual_ns = w.now;
    close_all(&w);
    simstore_find_by(NULL);
    world_now = NULL;
    return w.result;
}
