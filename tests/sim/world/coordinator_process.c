/* coordinator_process.c: holdfast-coordinator as coordinator/main.c puts it together. What its clock draws and lets leave is
 * seen here, by the linker's --wrap. */
#include "coordinator/coordinator.h"

#include "common/base/error.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/process.h"

#define PAUSE_ONE_IN 400 /* draws behind which the process stands still */

int __real_clock_draw(struct clock *c, uint64_t wall_ms, uint64_t boot_ns, struct hlc *out);
int __wrap_clock_draw(struct clock *c, uint64_t wall_ms, uint64_t boot_ns, struct hlc *out);
int __real_oracle_issue(struct oracle *o, struct hlc *out);
int __wrap_oracle_issue(struct oracle *o, struct hlc *out);
int __real_oracle_issue_above(struct oracle *o, struct hlc above, struct hlc *out);
int __wrap_oracle_issue_above(struct oracle *o, struct hlc above, struct hlc *out);

/* A timestamp is drawn, and did not leave yet: what a pause may come between. */
int __wrap_clock_draw(struct clock *c, uint64_t wall_ms, uint64_t boot_ns, struct hlc *out)
{
    int rc = __real_clock_draw(c, wall_ms, boot_ns, out);
    struct process *p = world_now != NULL ? world_now->current : NULL;
    if (p == NULL || p->dying || world_now->healing || rc != HF_OK)
        return rc;
    bool any = !world_now->options.calm && random_below(&p->random, PAUSE_ONE_IN) == 0;
    if (p->stop_after_draw != 0 || any) {
        uint64_t ms = p->stop_after_draw != 0 ? p->stop_after_draw : 1 + random_below(&p->random, 4000);
        p->stop_after_draw = 0;
        world_trace(p->world, p->number, "stopped", PHASES, ms);
        process_stand_still(p, ms * SIM_MS);
    }
    return rc;
}

static int leaves(int rc, const struct hlc *t)
{
    if (rc == HF_OK && world_now != NULL)
        judge_drawn(world_now, world_now->current->number, t->t);
    return rc;
}

int __wrap_oracle_issue(struct oracle *o, struct hlc *out)
{
    return leaves(__real_oracle_issue(o, out), out);
}

int __wrap_oracle_issue_above(struct oracle *o, struct hlc above, struct hlc *out)
{
    return leaves(__real_oracle_issue_above(o, above, out), out);
}

void coordinator_process_run(void *process)
{
    struct process *p = process;
    struct coordinator_options options = {.id = p->id,
                                          .listen = p->client,
                                          .seeds = "w:1/1/c,w:1/2/c,w:1/3/c",
                                          .request_timeout_ms = 2000,
                                          .queue_max = 256,
                                          .retain_lease_seconds = p->world->retain_lease_seconds};
    struct coordinator *c = NULL;
    must(coordinator_open(&options, &c) == 0);
    p->coordinator = c;
    coordinator_run(c, -1);
    process_end(p);
}

void coordinator_process_close(struct process *p)
{
    struct coordinator *c = p->coordinator;
    coordinator_close(&c);
    p->coordinator = NULL;
}

bool coordinator_process_active(const struct process *p)
{
    const struct coordinator *c = p->coordinator;
    return c != NULL && clock_holds(&c->oracle.clock, process_clock(p));
}
