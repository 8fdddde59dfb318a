/* check_liveness.c: once everything is healed and runs again, the cluster elects a leader, commits, and every member
 * applies it, within SIM_HEAL_MS of virtual time.
 *
 * Does not verify: progress while faults go on, nor how long an election takes. */
#include "tests/sim/check.h"
#include "tests/sim/sim.h"

struct state {
    bool unused;
};

static void see(void *ctx, struct sim *sim, const struct check_event *e)
{
    (void)ctx;
    static const char *const missing[] = {"", "no leader serves", "the leader's write is not acknowledged",
                                          "a member has not applied it"};
    if (e->kind == CHECK_HEALED && e->index != 0)
        check_failed(sim, &check_liveness, "%d ms after everything was healed: %s", SIM_HEAL_MS, missing[e->index]);
}

const struct checker check_liveness = {"liveness", sizeof(struct state), see, NULL};
