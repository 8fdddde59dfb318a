/* coordinator_process.c: holdfast-coordinator as coordinator/main.c puts it together. */
#include "coordinator/coordinator.h"
#include "tests/sim/world/process.h"

void coordinator_process_run(void *process)
{
    struct process *p = process;
    struct coordinator_options options = {.id = p->id,
                                          .listen = p->client,
                                          .seeds = "w:1/1/c,w:1/2/c,w:1/3/c",
                                          .request_timeout_ms = 2000,
                                          .queue_max = 256};
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
