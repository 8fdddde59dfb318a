/* trouble.c: see trouble.h. */
#include "tests/sim/world/trouble.h"

#include <string.h>

#include "common/base/error.h"
#include "tests/sim/world/damage.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/process.h"

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

static void pause(struct world *w)
{
    struct process *p = w->processes[victim(w)];
    uint64_t ms = world_below(w, 2) == 0 ? 5 + world_below(w, 100) : 100 + world_below(w, 1200);
    if (p->shard != 0) {
        p->stop_before = (enum phase)(PHASE_STEP + world_below(w, PHASES - PHASE_STEP));
        p->stop_for = ms * SIM_MS;
    } else {
        process_stop(p, ms);
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
    return 2000 + world_below(w, 2000);
}

static void weather(struct world *w)
{
    w->lost_permille = world_below(w, 2) == 0 ? world_below(w, 150) : 0;
    w->doubled_permille = world_below(w, 2) == 0 ? world_below(w, 200) : 0;
    w->late_permille = world_below(w, 2) == 0 ? world_below(w, 150) : 0;
    w->late_ms = world_below(w, 3) == 0 ? 2500 : 200;
}

/* A shard that no coordinator reaches: timestamps are issued, and read at, of which its replicas hear no other way, perhaps
 * until its ceiling is reached. Then it loses its leader (unanswered_leader). */
static uint64_t shard_unanswered(struct world *w)
{
    memset(w->cut, 0, sizeof w->cut);
    w->unanswered = world_below(w, 3) == 0 ? 1 : 2;
    for (uint32_t r = 1; r <= WORLD_REPLICAS; r++)
        for (uint32_t c = 1; c <= WORLD_COORDINATORS; c++)
            cut_both(w, world_replica(w->unanswered, r), world_coordinator(c));
    return 20 + world_below(w, w->long_plots ? 5000 : 800);
}

/* The next one must go on without a fresh timestamp, as long as nothing is mended. */
static uint64_t unanswered_leader(struct world *w)
{
    for (uint32_t r = 1; r <= WORLD_REPLICAS; r++) {
        struct process *p = w->processes[world_replica(w->unanswered, r)];
        if (!replica_process_leads(p))
            continue;
        world_trace(w, p->number, "unanswered", w->unanswered, 0);
        process_die(p, DEATH_KILL);
    }
    w->unanswered = 0;
    return 500 + world_below(w, 2000);
}

/* Who issues timestamps stands still, perhaps with one of them in hand, for longer than its lease; or dies; or both do, and
 * come back with another idea of the time. */
static uint64_t active_gone(struct world *w)
{
    uint64_t how = world_below(w, 4), ms = 100 + world_below(w, w->long_plots ? 6000 : 2500);
    for (uint32_t c = 1; c <= WORLD_COORDINATORS; c++) {
        struct process *p = w->processes[world_coordinator(c)];
        if (how == 0)
            process_set_wall(p, (int64_t)world_below(w, 8000) - 8000, 0);
        if (!process_up(p) || (how != 0 && !coordinator_process_active(p)))
            continue;
        if (how < 2)
            process_die(p, DEATH_KILL);
        else if (how == 2)
            p->stop_after_draw = ms;
        else
            process_stop(p, ms);
    }
    return w->long_plots ? ms : 0;
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

void trouble_some(struct world *w)
{
    uint64_t kind = world_below(w, 19), pause_ms = 1 + world_below(w, 2 * w->fault_gap_ms);
    if (w->unanswered != 0)
        pause_ms += unanswered_leader(w);
    else if (kind < 3)
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
    else if (kind > 13 && kind < 16 && w->damages)
        damage_some(w);
    else if (kind == 16)
        pause_ms += shard_unanswered(w);
    else if (kind > 16)
        pause_ms += active_gone(w);
    world_schedule(w, (struct world_event){.kind = WORLD_FAULT}, w->now + pause_ms * SIM_MS);
}
