/* process.h: one process of the world: a replica or a coordinator, with its disk, its clocks and its own stack.
 *
 * Position: world.c starts and kills it; its loop runs in replica_process.c or coordinator_process.c. */
#pragma once

#include <stdatomic.h>

#include "tests/sim/world/fiber.h"
#include "tests/sim/world/world.h"

struct replica_parts; /* of replica_process.c */

struct process {
    struct world *world;        /* borrowed */
    uint32_t number, shard, id; /* shard 0: a coordinator */
    char client[WORLD_ENDPOINT], raft[WORLD_ENDPOINT];
    struct fiber *fiber; /* owned; NULL: down */
    bool dying;          /* what it still says reaches nobody */
    struct random random;

    struct simdisk *disk;        /* owned; of a replica */
    struct simstore *store;      /* likewise */
    struct replica_parts *parts; /* owned; of a running replica */
    void *coordinator;           /* owned; of a running coordinator */
    _Atomic bool ready;

    uint64_t clock_local, clock_global; /* local time at a global time */
    int64_t clock_ppm;
    int64_t wall_ms; /* its wall clock is off by */

    uint64_t wake_at, wake_version, stopped_until;
    enum phase die_before, stop_before; /* PHASES: not planned */
    uint64_t stop_for;
    enum node_death death;
};

struct process *process_new(struct world *w, uint32_t number);
void process_free(struct process **p);
void process_start(struct process *p);
void process_die(struct process *p, enum node_death death); /* from outside its stack */
void process_run(struct process *p);                        /* its loop goes on until it waits again */
void process_wake(struct process *p, uint64_t at);
bool process_up(const struct process *p);

/* From its own stack. */
void process_wait(struct process *p, uint64_t ns);       /* for something to receive, or so long */
void process_point(struct process *p, enum phase phase); /* between two phases: it may stand still or die here */
HF_NORETURN void process_end(struct process *p);         /* it ends itself: fatal */

uint64_t process_clock(const struct process *p);

/* replica_process.c, coordinator_process.c */
void replica_process_create(struct process *p);
void replica_process_run(void *process);
void replica_process_close(struct process *p);
/* false: it is down or does not lead. */
struct fsm *replica_process_fsm(const struct process *p); /* NULL: down */
bool replica_process_leads(const struct process *p);
void coordinator_process_run(void *process);
void coordinator_process_close(struct process *p);
