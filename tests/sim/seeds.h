/* seeds.h: many runs: the kept seeds first, then new ones, in child processes, so that an abort or an endless loop of
 * the product is a finding of its seed and the rest goes on. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sim/sim.h"

#define SEEDS_HANG_SECONDS 60 /* of the processor's time for one seed: the machine may be loaded */
#define SEEDS_WORLD_EVERY 4   /* every so many-th seed is a world with everything (world/), the others one group */

struct seeds_plan {
    struct sim_options options; /* for all; the seed is set for each */
    const char *kept_file;      /* NULL: no kept seeds, and none is added */
    uint64_t first, count;      /* new ones */
    bool worlds_only;           /* of the new ones */
    unsigned jobs;
    bool stop_at_failure;
    const char *only_if_by; /* a failure counts only when this checker found it; NULL: any */
};

struct seeds_summary {
    uint64_t runs, failures;
    uint64_t first_failed; /* seed */
    struct sim_result first;
    struct sim_result total, worlds; /* sums of counts; worlds: of the seeds that are one */
    uint64_t world_runs;
};

/* One seed, whichever kind it is; in this process. */
struct sim_result seeds_run_one(const struct sim_options *options);
bool seeds_is_world(const struct sim_options *options);

/* Prints each failure with the command that replays it. */
void seeds_run(const struct seeds_plan *plan, struct seeds_summary *out);
