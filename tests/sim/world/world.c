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
#include "tests/sim/world/epochs.h"
#include "tests/sim/world/history.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/keepers.h"
#include "tests/sim/world/lapses.h"
#include "tests/sim/world/migrator.h"
#include "tests/sim/world/process.h"
#include "tests/sim/world/readers.h"
#include "tests/sim/world/states.h"
#include "tests/sim/world/traders.h"
#include "tests/sim/world/trouble.h"
#include "tests/sim/world/wire.h"

#define RUN_MS 6000
#define HEAL_MS 20000
#define LEVEL_MS 25000 /* a state that is fetched may have to be fetched again */
#define STEP_MS 100

struct world *world_now;

static const char *const checkers[] = {"world.state", "world.snapshots", "linear",   "once",        "sessions",
                                       "answers",     "oracle",          "progress", "versions",    "fresh",
                                       "cut",         "expiry",          "stable",   "txns",        "locks",
                                       "promise",     "epochs",          "aborted",  "world.votes", "world.leaders"};

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
    case WORLD_KEEPER:
        keepers_act(w, e.who);
        break;
    case WORLD_MIGRATE:
        migrators_act(w, e.who);
        break;
    case WORLD_LAPSE:
        lapses_act(w);
        break;
    case WORLD_TXN:
        traders_act(w, e.who);
        break;
    case WORLD_FAULT:
        if (!w->healing)
            trouble_some(w);
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

bool world_run_until(struct world *w, uint64_t until)
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

static bool all_done(const struct world *w)
{
    return actors_done(w) && readers_done(w) && traders_done(w);
}

/* Until clients and readers have nothing open. */
static bool quiet_by(struct world *w, uint64_t end, const char *else_)
{
    while (!all_done(w) && w->now < end)
        if (!world_run_until(w, w->now + STEP_MS * SIM_MS))
            return false;
    bool quiet = all_done(w);
    if (!quiet)
        world_failed(w, "progress", "%d ms after everything was healed %s", HEAL_MS, else_);
    return quiet || !w->result.failed;
}

static bool level(const struct world *w)
{
    return judge_level(w) && epochs_level(w);
}

void world_finish(struct world *w)
{
    heal(w);
    uint64_t end = w->now + HEAL_MS * SIM_MS;
    if (!quiet_by(w, end, "an operation is still open"))
        return;
    actors_last(w); /* whatever came before: writes are done, and timestamps issued at which all is read */
    if (!quiet_by(w, end + HEAL_MS * SIM_MS, "a write of each client is not done"))
        return;
    traders_last(w);
    if (!quiet_by(w, end + 2 * HEAL_MS * SIM_MS, "a transaction of each client is not done"))
        return;
    readers_last(w);
    if (!quiet_by(w, end + 3 * HEAL_MS * SIM_MS, "nothing can be read at a fresh timestamp"))
        return;
    world_run_until(w, w->now + 3000 * SIM_MS); /* what a coordinator still has is over its deadline by then */
    for (int i = 0; i < LEVEL_MS / 10 && !(level(w) && traders_forgotten(w)); i++)
        world_run_until(w, w->now + 10 * SIM_MS);
    if (!level(w)) {
        world_failed(w, "progress", "the replicas of a shard do not come to the same %s",
                     judge_level(w) ? "epoch" : "applied index");
        return; /* whatever checker was asked for */
    }
    if (!w->result.failed)
        judge_end(w);
    if (!w->result.failed)
        history_end(w);
    if (!w->result.failed)
        traders_end(w);
}

/* In a third of the worlds. */
static void draw_collection(struct world *w)
{
    static const uint64_t retention_ms[] = {250, 500, 800, 1500};
    uint64_t kind = world_below(w, 12);
    w->retention_ms = kind < 4 ? retention_ms[kind] : UINT64_C(1) << 32;
    w->collect_steps = 1 + (uint32_t)world_below(w, world_below(w, 3) != 0 ? 8 : 200);
    w->retain_lease_seconds = world_below(w, 3);
}

static void draw(struct world *w)
{
    static const uint64_t gaps_ms[] = {60, 200, 600, 3000};
    w->fault_gap_ms = gaps_ms[world_below(w, 4)];
    w->long_plots = world_below(w, 4) == 0;
    w->power = world_below(w, 3) != 0;
    w->start_deaths = world_below(w, 2) == 0;
    w->damages = world_below(w, 2) == 0;
    static const uint64_t trailing[] = {0, 20, 100, UINT64_MAX / 2};
    w->trailing = trailing[world_below(w, 4)];
    w->keep_ms = world_below(w, 2) == 0 ? 500 : 5000;
    w->right_walls = world_below(w, 2) == 0;
    w->pace_us = world_below(w, 2) == 0 ? 4000 : 800000;
    draw_collection(w);
}

struct world *world_new(const struct sim_options *options)
{
    struct world *w = calloc(1, sizeof *w);
    must(w != NULL && world_now == NULL);
    *w = (struct world){.options = *options, .random = {.state = options->seed ^ UINT64_C(0x574f524c44)}};
    world_now = w;
    digest_init();
    w->now = SIM_MS;
    w->judge = judge_new();
    w->migrates = migrator_wanted(options);
    w->epochs = epochs_new();
    w->history = history_new();
    draw(w);
    if (options->calm) {
        w->start_deaths = w->damages = false;
        w->right_walls = true;
        w->retention_ms = UINT64_C(1) << 32;
    }
    simstore_find_by(replica_process_medium);
    simstore_see_removals(replica_process_removes);
    for (uint32_t i = 1; i < WORLD_PROCESSES; i++) {
        w->processes[i] = process_new(w, i);
        world_schedule(w, (struct world_event){.kind = WORLD_START, .who = i}, world_below(w, 50 * SIM_MS));
    }
    w->actors = actors_new(w);
    w->readers = readers_new(w);
    w->lapses = lapses_new(w);
    w->keepers = keepers_new(w);
    w->traders = traders_new(w);
    if (w->migrates)
        w->migrators = migrators_new(w);
    if (!options->calm)
        world_schedule(w, (struct world_event){.kind = WORLD_FAULT}, (SIM_ELECTION_MS + world_below(w, 1000)) * SIM_MS);
    return w;
}

void world_free(struct world **ww)
{
    struct world *w = *ww;
    w->healing = true;
    for (uint32_t i = 1; i < WORLD_PROCESSES; i++)
        process_free(&w->processes[i]);
    wire_close_all(w, 0);
    for (size_t i = 0; i < w->queue_count; i++)
        free(w->queue[i].frame);
    free(w->queue);
    actors_free(&w->actors);
    readers_free(&w->readers);
    lapses_free(&w->lapses);
    keepers_free(&w->keepers);
    traders_free(&w->traders);
    history_free(&w->history);
    judge_free(&w->judge);
    migrators_free(&w->migrators);
    epochs_free(&w->epochs);
    simstore_find_by(NULL);
    simstore_see_removals(NULL);
    world_now = NULL;
    free(w);
    *ww = NULL;
}

struct sim_result world_run(const struct sim_options *options)
{
    struct world *w = world_new(options);
    if (world_run_until(w, (w->long_plots ? 2u : 1u) * RUN_MS * SIM_MS))
        world_finish(w);
    w->result.virtual_ns = w->now;
    struct sim_result result = w->result;
    world_free(&w);
    return result;
}
