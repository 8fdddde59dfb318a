/* process.h: one process of the world: a replica or a coordinator, with its disk, its clocks and its own stack.
 *
 * Position: world.c starts and kills it; its loop runs in replica_process.c or coordinator_process.c. */
#pragma once

#include <stdatomic.h>

#include "tests/sim/world/fiber.h"
#include "tests/sim/world/world.h"

struct identity;
struct receiver;
struct replica_parts; /* of replica_process.c */
struct sender;

struct process {
    struct world *world;        /* borrowed */
    uint32_t number, shard, id; /* shard 0: a coordinator */
    char client[WORLD_ENDPOINT], raft[WORLD_ENDPOINT], state[WORLD_ENDPOINT];
    struct fiber *fiber; /* owned; NULL: down */
    bool dying;          /* what it still says reaches nobody */
    struct random random;

    struct simdisk *disk;        /* owned; of a replica */
    struct simstore *media[2];   /* likewise; what state machines stand on */
    uint8_t medium;              /* the one that was opened last */
    struct simstore *store;      /* borrowed; that one */
    uint64_t published;          /* its pointer, as last seen */
    bool damaged;                /* its log or its machine, until it is whole again */
    bool damage_next;            /* when it dies */
    bool crossed;                /* since it was started, or in the life before */
    bool swap_halted;            /* by world.swap_halt */
    bool short_of_space;         /* its disk or its store was made so */
    struct sender *sender;       /* borrowed: its own (states.c) */
    struct receiver *receiver;   /* likewise; NULL: nothing is on its way to it */
    uint64_t stream_version;     /* of the next step of that */
    struct replica_parts *parts; /* owned; of a running replica */
    void *coordinator;           /* owned; of a running coordinator */
    _Atomic bool ready;

    uint64_t clock_local, clock_global; /* local time at a global time */
    int64_t clock_ppm;
    int64_t wall_ms; /* its wall clock was off by so much, at that global time, and runs faster by so much */
    int64_t wall_permille;
    uint64_t wall_global;

    uint64_t wake_at, wake_version, stopped_until;
    enum phase die_before, stop_before; /* PHASES: not planned */
    uint64_t stop_for;
    uint64_t stop_after_draw; /* ms, behind the next timestamp a coordinator draws; 0: not planned */
    enum node_death death;
};

struct process *process_new(struct world *w, uint32_t number);
void process_free(struct process **p);
void process_start(struct process *p);
void process_die(struct process *p, enum node_death death); /* from outside its stack */
void process_run(struct process *p);                        /* its loop goes on until it waits again */
void process_wake(struct process *p, uint64_t at);
void process_look(struct process *p); /* dead if it ended itself, or its disk is halted */
bool process_up(const struct process *p);

void process_stop(struct process *p, uint64_t ms); /* it stands still where it waits */

/* From its own stack. */
void process_wait(struct process *p, uint64_t ns);        /* for something to receive, or so long */
void process_stand_still(struct process *p, uint64_t ns); /* amid whatever it does */
void process_point(struct process *p, enum phase phase);  /* between two phases: it may stand still or die here */
HF_NORETURN void process_end(struct process *p);          /* it ends itself: fatal */

uint64_t process_clock(const struct process *p);
uint64_t process_wall_ms(const struct process *p);
/* From now on its wall clock is off by `ms` and runs faster by `permille`. */
void process_set_wall(struct process *p, int64_t ms, int64_t permille);

#define PROCESS_DIR "/replica"

/* replica_process.c, coordinator_process.c */
struct simstore *replica_process_medium(const char *dir);           /* for simstore_find_by */
void replica_process_removes(struct slice key, struct slice value); /* for simstore_see_removals */
void replica_process_create(struct process *p);
void replica_process_run(void *process);
void replica_process_close(struct process *p);
bool replica_process_whole(const struct process *p);  /* it runs, and has nothing to heal */
bool replica_process_opened(const struct process *p); /* its start is behind it */
bool replica_process_runs(const struct process *p);   /* it has started, and is not between two engines */
const struct identity *replica_process_identity(const struct process *p); /* NULL: it is down, or has not read it yet */
struct fsm *replica_process_fsm(const struct process *p);                 /* NULL: down, or there is none */
/* false: it is down or does not lead. */
bool replica_process_leads(const struct process *p);
/* It leads with a term above *term, which becomes that, and everything of earlier terms is applied. */
bool replica_process_serves(const struct process *p, uint64_t *term);
void coordinator_process_run(void *process);
void coordinator_process_close(struct process *p);
bool coordinator_process_active(const struct process *p); /* it may issue timestamps, by its own clocks */
