/* world.h: whole processes in virtual time: two shards and their coordinators as they are built, and clients.
 *
 * Position: seeds.c runs one for some of the seeds. Beside sim.h, which takes one group apart phase by phase, here the
 *           product's own loops run: shard/replica, shard/server and coordinator, each on a stack of its own (fiber.h),
 *           over net.h, clocks, disk and store of ours. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/must.h"
#include "common/base/random.h"
#include "common/base/slice.h"
#include "tests/sim/sim.h"

#define WORLD_SHARDS 2
#define WORLD_REPLICAS 3
#define WORLD_COORDINATORS 2
#define WORLD_CLIENTS 4
#define WORLD_PROCESSES (1 + WORLD_SHARDS * WORLD_REPLICAS + WORLD_COORDINATORS) /* 0: the clients */
#define WORLD_ENDPOINT 40
#define WORLD_CLUSTER UINT64_C(0x5151)

struct process;
struct wire_frame;
struct judge;
struct actors;
struct readers;
struct lapses;
struct traders;
struct history;
struct keepers;
struct epochs;
struct migrators;

enum world_event_kind {
    WORLD_WAKE,
    WORLD_DELIVER,
    WORLD_CLIENT,
    WORLD_READER,
    WORLD_LAPSE,
    WORLD_KEEPER,
    WORLD_TXN,
    WORLD_FAULT,
    WORLD_MIGRATE,
    WORLD_START,
    WORLD_STREAM
};

struct world_event {
    uint64_t at, order;
    enum world_event_kind kind;
    uint32_t who;
    uint64_t version;         /* of a wake, of a stream */
    struct wire_frame *frame; /* owned */
};

struct world {
    struct sim_options options;
    struct sim_result result;
    uint64_t now; /* virtual ns */
    struct random random;
    struct world_event *queue; /* owned: a heap */
    size_t queue_count, queue_cap;
    uint64_t order;
    struct process *processes[WORLD_PROCESSES]; /* owned */
    struct process *current;                    /* whose stack this is; NULL: nobody's */
    struct net_socket *sockets;                 /* owned list */
    uint64_t next_socket;
    bool cut[WORLD_PROCESSES][WORLD_PROCESSES]; /* from, to */
    uint64_t lost_permille, doubled_permille, late_permille, late_ms;
    uint64_t fault_gap_ms;
    uint32_t unanswered; /* the shard of a plot that goes on; 0: none */
    bool power;
    bool start_deaths;             /* processes die while they start, too */
    uint64_t trailing;             /* entries that replicas keep behind their pointers, at most */
    uint64_t keep_ms;              /* a sender keeps the log so long for who was sent its state */
    uint64_t pace_us;              /* of a stream's steps, at most, mostly */
    uint64_t lives;                /* of senders */
    bool damages;                  /* logs and machines are damaged */
    bool long_plots;               /* this run is long enough for the oracle's lease to end */
    bool right_walls;              /* when all is healed the wall clocks are right as well */
    uint64_t retention_ms;         /* of replicas */
    uint32_t collect_steps;        /* of an entry of collection; 0: as in the product */
    uint64_t retain_lease_seconds; /* a promise to a reader */
    bool migrates;                 /* shards change their engines */
    uint64_t
        swap_halt; /* of a scenario: each replica's disk halts so many operations into its first swap, less one; 0: none does */
    struct migrators *migrators; /* owned; NULL: they do not */
    struct epochs *epochs;       /* owned */
    struct keepers *keepers;     /* owned */
    struct actors *actors;       /* owned */
    struct readers *readers;     /* owned */
    struct lapses *lapses;       /* owned */
    struct traders *traders;     /* owned */
    struct judge *judge;         /* owned */
    struct history *history;     /* owned */
    bool healing;
    /* What a scenario does to a frame: UINT64_MAX: it is lost; else it comes so many ms later. */
    uint64_t (*filter)(struct world *w, uint32_t from, const char *endpoint, struct slice data);
};

extern struct world *world_now; /* the one that runs */

/* One seed with everything, or with the parts that the checker `only` needs. */
struct sim_result world_run(const struct sim_options *options);

/* For scenarios: with options.calm nothing goes wrong, and clients write nothing but the routes until the end. */
struct world *world_new(const struct sim_options *options);
void world_free(struct world **w);
bool world_run_until(struct world *w, uint64_t until); /* false: a checker failed */
void world_finish(struct world *w);                    /* heals everything; what must hold then is checked */

void world_schedule(struct world *w, struct world_event event, uint64_t at);
void world_trace(struct world *w, uint32_t process, const char *what, uint64_t a, uint64_t b);
/* The first failure stands. Nothing when another checker alone is asked for. */
void world_failed(struct world *w, const char *checker, const char *format, ...) HF_PRINTF(3, 4);
bool world_knows(const char *checker); /* is it one of the world's */
uint64_t world_below(struct world *w, uint64_t n);

static inline bool world_collects(const struct world *w) /* within its run */
{
    return w->retention_ms < UINT32_MAX;
}

/* Processes are numbered: replicas of shard 1, of shard 2, coordinators. */
uint32_t world_replica(uint32_t shard, uint32_t replica);
uint32_t world_coordinator(uint32_t id);
