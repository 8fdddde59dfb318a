/* sim.h: a cluster in one thread: virtual time, one queue of events, everything from one seed.
 *
 * Position: main.c and the scenarios make one, give it steps, and read its result. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/check.h"
#include "tests/sim/clients.h"
#include "tests/sim/faults.h"
#include "tests/sim/network.h"
#include "tests/sim/node.h"

#define SIM_STEPS_DEFAULT 20000 /* events; then everything is healed */
#define SIM_HEAL_MS 15000       /* virtual time in which a healed cluster must be well */
#define SIM_HEARTBEAT_MS 100
#define SIM_ELECTION_MS 500
#define SIM_SEGMENT_BYTES 16384  /* tiny: segments change often */
#define SIM_MS UINT64_C(1000000) /* ns */

/* Do worlds change engines? */
enum sim_migrate { SIM_MIGRATE_DRAWN, SIM_MIGRATE_ALWAYS, SIM_MIGRATE_NEVER };

struct sim_options {
    uint64_t seed;
    uint64_t steps;    /* 0: SIM_STEPS_DEFAULT */
    uint32_t replicas; /* 0: drawn, 3 to 7 */
    bool verbose;      /* every event on stdout */
    bool calm;         /* no clients, no faults, a good network, equal clocks: a scenario brings its own */
    const struct engine_ops *engine; /* NULL: native; of worlds that change it, the first */
    enum sim_migrate migrate;
    const char *only; /* one checker's name; NULL: all */
};

struct sim_result {
    bool failed;
    char checker[24]; /* who found it */
    char text[256];
    uint64_t trace_hash; /* of every event: equal for equal seeds */
    uint64_t virtual_ns, steps, turns;
    uint64_t writes_done, reads_done, lease_reads, elections, deaths, changes;
    uint64_t installs, restarts; /* restarts: of them, the log began anew */
    uint64_t rebuilt, recovered; /* logs that were damaged */
    uint64_t published, trimmed; /* of worlds */
    /* Likewise: timestamps drawn; keys read at one; reads refused for a restart mark; strict cuts. */
    uint64_t timestamps, looks, restarts_above, cuts;
    /* Collection: whole passes, versions and markers removed (of one replica of each shard); reads at a timestamp that was kept
     * past the retention; writes of transactions that expire. */
    uint64_t passes, versions_removed, markers_removed, retained, txns_expiring;
    /* Transactions of worlds: done; of them, over several shards; refused; left by a coordinator that died amid them. */
    uint64_t txns_done, txns_wide, txns_refused, txns_orphaned;
    /* Changes of engine of worlds: shards' seals; aborts that somebody was told of; replicas that went over while they ran, at a start,
     * behind a state that was fetched. */
    uint64_t seals, aborts, crossed_running, crossed_starting, crossed_installed;
};

enum sim_event_kind { EVENT_WAKE, EVENT_DELIVER, EVENT_CLIENT, EVENT_FAULT, EVENT_START, EVENT_FETCH };

struct sim_event {
    uint64_t at, order; /* order: of scheduling, so that equal times have one order */
    enum sim_event_kind kind;
    uint32_t node;
    uint64_t version;        /* of a wake */
    struct message *message; /* owned */
};

struct sim {
    struct sim_options options;
    struct sim_result result;
    uint64_t now;                         /* virtual ns */
    struct node nodes[SIM_NODES_MAX + 1]; /* by replica; 0 is nobody */
    uint32_t replicas;                    /* at first */
    struct sim_event *queue;              /* owned: a heap */
    size_t queue_count, queue_cap;
    uint64_t order;
    struct network network;
    struct clients clients;
    struct faults faults;
    struct checks checks;
    bool healing; /* the end: no more faults */
};

static inline const struct engine_ops *sim_engine(const struct sim_options *options)
{
    return options->engine != NULL ? options->engine : &engine_native;
}

struct sim *sim_new(const struct sim_options *options);
void sim_free(struct sim **sim);
bool sim_step(struct sim *sim); /* one event; false: a checker failed */
/* All steps, then healing and its wait. */
void sim_run(struct sim *sim);
bool sim_run_ms(struct sim *sim, uint64_t ms); /* virtual time; false: a checker failed */
/* Until `done` or the time is over; true: done. */
bool sim_run_until(struct sim *sim, uint64_t ms_max, bool (*done)(const struct sim *sim));

void sim_schedule(struct sim *sim, struct sim_event event, uint64_t at);
/* One line of the trace; `what` is static text. */
void sim_trace(struct sim *sim, uint32_t node, const char *what, uint64_t a, uint64_t b, uint64_t c);

uint32_t sim_leader(const struct sim *sim);      /* the running replica that serves with the highest term, or 0 */
uint64_t sim_durable_min(const struct sim *sim); /* lowest durable applied index: what may be trimmed everywhere */
