/* process.c: the life of a process: started, waiting, standing still, dead, started again. */
#include "tests/sim/world/process.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/world/damage.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/wire.h"

#define PPM 1000000
#define CLOCK_PPM_MAX 20000
#define WALL_START_MS 1000000 /* 1970 still: sessions live for an hour, whatever a clock was before it was set */

struct process *process_new(struct world *w, uint32_t number)
{
    struct process *p = calloc(1, sizeof *p);
    must(p != NULL);
    uint32_t replicas = WORLD_SHARDS * WORLD_REPLICAS;
    *p = (struct process){.world = w, .number = number, .wake_at = UINT64_MAX};
    p->random.state = random_next(&w->random);
    p->die_before = p->stop_before = PHASES;
    p->shard = number <= replicas ? (number - 1) / WORLD_REPLICAS + 1 : 0;
    p->id = number <= replicas ? (number - 1) % WORLD_REPLICAS + 1 : number - replicas;
    snprintf(p->client, sizeof p->client, "w:%" PRIu32 "/%" PRIu32 "/c", p->shard, p->id);
    snprintf(p->raft, sizeof p->raft, "w:%" PRIu32 "/%" PRIu32 "/r", p->shard, p->id);
    snprintf(p->state, sizeof p->state, "w:%" PRIu32 "/%" PRIu32 "/s", p->shard, p->id);
    p->clock_local = 1 + random_below(&p->random, 1000 * SIM_MS);
    p->clock_ppm = (int64_t)random_below(&p->random, 2 * CLOCK_PPM_MAX + 1) - CLOCK_PPM_MAX;
    if (p->shard != 0)
        replica_process_create(p);
    return p;
}

uint64_t process_clock(const struct process *p)
{
    int64_t elapsed = (int64_t)(p->world->now - p->clock_global);
    return p->clock_local + (uint64_t)(elapsed + elapsed / 1000 * p->clock_ppm / (PPM / 1000));
}

uint64_t process_wall_ms(const struct process *p)
{
    int64_t since_ms = (int64_t)((p->world->now - p->wall_global) / SIM_MS);
    int64_t ms = WALL_START_MS + (int64_t)(p->world->now / SIM_MS) + p->wall_ms + since_ms * p->wall_permille / 1000;
    return ms > 0 ? (uint64_t)ms : 0;
}

void process_set_wall(struct process *p, int64_t ms, int64_t permille)
{
    p->wall_ms = ms;
    p->wall_permille = permille;
    p->wall_global = p->world->now;
    world_trace(p->world, p->number, "wall", (uint64_t)ms, (uint64_t)permille);
}

bool process_up(const struct process *p)
{
    return p->fiber != NULL;
}

void process_start(struct process *p)
{
    must(p->fiber == NULL);
    world_trace(p->world, p->number, "start", 0, 0);
    p->dying = false;
    p->die_before = p->stop_before = PHASES;
    p->stopped_until = p->stop_after_draw = 0;
    p->wake_at = UINT64_MAX;
    struct world *w = p->world;
    if (p->shard != 0 && !w->healing && w->start_deaths &&
        world_below(w, p->damaged ? 3 : 8) == 0) { /* it dies of it, now or soon */
        p->death = w->power && world_below(w, 2) == 0 ? DEATH_POWER : DEATH_KILL;
        simdisk_halt_after(p->disk, SIMDISK_CHANGES, world_below(w, 15));
    }
    p->fiber = fiber_new(p->shard != 0 ? replica_process_run : coordinator_process_run, p);
    process_run(p);
}

void process_die(struct process *p, enum node_death death)
{
    struct world *w = p->world;
    if (p->fiber == NULL)
        return;
    world_trace(w, p->number, "die", death, 0);
    w->result.deaths++;
    p->dying = true;
    w->current = p; /* closing asks for its clock and its disk */
    if (p->shard != 0)
        replica_process_close(p);
    else
        coordinator_process_close(p);
    w->current = NULL;
    judge_coordinator_died(w, p->number);
    wire_close_all(w, p->number);
    fiber_free(&p->fiber);
    if (p->shard != 0) {
        simdisk_fail(p->disk, 0, 0, 0, 0);
        p->short_of_space = false;
        if (death == DEATH_POWER)
            simdisk_crash(p->disk, random_next(&p->random));
        else
            simdisk_restart(p->disk);
        simstore_crash(p->media[0]);
        simstore_crash(p->media[1]);
    }
    if (death == DEATH_POWER) {
        p->clock_local = 1 + random_below(&p->random, 100 * SIM_MS);
        p->clock_global = w->now;
    }
    if (p->damage_next)
        damage_dead(p);
    p->damage_next = false;
    p->wake_at = UINT64_MAX;
    p->wake_version++;
    uint64_t delay_ms = world_below(w, 2) == 0 ? 1 + world_below(w, 60) : 20 + world_below(w, 1500);
    world_schedule(w, (struct world_event){.kind = WORLD_START, .who = p->number},
                   w->now + (w->healing ? 1 : delay_ms) * SIM_MS);
}

void process_free(struct process **pp)
{
    struct process *p = *pp;
    if (p == NULL)
        return;
    if (p->fiber != NULL)
        process_die(p, DEATH_KILL);
    simdisk_free(&p->disk);
    simstore_free(&p->media[0]);
    simstore_free(&p->media[1]);
    free(p);
    *pp = NULL;
}

void process_run(struct process *p)
{
    struct world *w = p->world;
    must(w->current == NULL);
    w->current = p;
    fiber_resume(p->fiber);
    w->current = NULL;
    process_look(p);
}

void process_look(struct process *p)
{
    if (p->fiber != NULL && (p->dying || (p->shard != 0 && simdisk_halted(p->disk))))
        process_die(p, p->death);
}

void process_wake(struct process *p, uint64_t at)
{
    if (p == NULL || p->fiber == NULL)
        return;
    if (at < p->stopped_until)
        at = p->stopped_until;
    if (at >= p->wake_at)
        return;
    p->wake_at = at;
    world_schedule(p->world, (struct world_event){.kind = WORLD_WAKE, .who = p->number, .version = ++p->wake_version},
                   at);
}

void process_stop(struct process *p, uint64_t ms)
{
    p->stopped_until = p->world->now + ms * SIM_MS;
    p->wake_version++;
    p->wake_at = UINT64_MAX;
    process_wake(p, p->stopped_until);
}

void process_wait(struct process *p, uint64_t ns)
{
    process_wake(p, p->world->now + ns);
    fiber_yield();
}

HF_NORETURN void process_end(struct process *p)
{
    p->dying = true;
    for (;;)
        fiber_yield();
}

void process_stand_still(struct process *p, uint64_t ns)
{
    p->stopped_until = p->world->now + ns;
    process_wake(p, p->stopped_until);
    fiber_yield();
}

void process_point(struct process *p, enum phase phase)
{
    if (p->dying)
        return; /* being closed */
    if (p->die_before == phase)
        process_end(p);
    if (p->stop_before == phase) {
        p->stop_before = PHASES;
        world_trace(p->world, p->number, "stopped", phase, p->stop_for);
        process_stand_still(p, p->stop_for);
    } else if (random_below(&p->random, 48) == 0) {
        process_stand_still(p, (1 + random_below(&p->random, 500)) * 1000);
    }
}
