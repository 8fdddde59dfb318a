/* cluster.h: a few cores in one process, with a perfect log in memory and a network that tests cut and replay by hand.
 */
#pragma once

#include <CUnit/Basic.h>

#include "shard/engine/native/core_state.h"

#define NODES_MAX 6
#define ENTRIES_MAX 4096
#define FLYING_MAX 8192
#define MS UINT64_C(1000000)
#define HEARTBEAT_MS 100u
#define ELECTION_MS 500u

struct stored {
    uint64_t term;
    uint64_t value; /* what was proposed; 0: no-op or configuration */
    bool is_config;
    struct core_config config;
};

struct node {
    struct core *core; /* NULL: not started */
    struct core_run *runs;
    struct stored log[ENTRIES_MAX]; /* by index; [0]: base of an empty log */
    uint64_t last, durable, applied, base;
    struct core_hard_state saved;
    bool no_sync; /* persist does not come back */
    bool no_apply;
    uint64_t drift_permille; /* of its clock: 1000 is true time */
    uint64_t barriers_ready, barrier_index, barrier_id;
    uint64_t recovering; /* durable */
    bool no_recovered;   /* that it is over does not become durable */
    bool held;
    uint64_t needs, need_index, need_term;
    uint64_t traces[CORE_TRACE_RECOVERED + 1]; /* seen, by kind */
};

struct flying {
    uint32_t from;
    struct core_message m;
    struct core_entry entries[64];
    struct core_config config; /* of the one configuration entry it may hold */
    uint64_t values[64];
};

struct cluster {
    uint32_t count;
    uint64_t now_ns;
    struct core_config config;              /* at start */
    struct node nodes[NODES_MAX + 1];       /* by id, from 1 */
    bool cut[NODES_MAX + 1][NODES_MAX + 1]; /* from, to */
    size_t flying_count;
    struct flying *flying;
    uint64_t sent[CORE_SNAPSHOT_REPLY + 1]; /* messages by kind, cut ones included */
    uint64_t clamped;                       /* appends whose commit index ends with their entries, below the leader's */
    unsigned bugs;
    uint64_t seed;
    uint64_t value; /* last one proposed */
};

struct cluster *cluster_new(uint32_t voters, uint32_t learners);
struct cluster *cluster_new_buggy(uint32_t voters, unsigned bugs);
void cluster_free(struct cluster *cl);
void cluster_start(struct cluster *cl, uint32_t id); /* from what is durable: a restart */
void cluster_stop(struct cluster *cl, uint32_t id);  /* a crash: unsynced entries are gone */
void cluster_lose(struct cluster *cl,
                  uint32_t id); /* its log is damaged: restarted behind what it applied, under a number of its own */
void cluster_wipe(struct cluster *cl, uint32_t id); /* nothing is left of it, term and vote neither; back, and empty */
void cluster_trim(struct cluster *cl, uint32_t id, uint64_t index);
int cluster_install(struct cluster *cl, uint32_t id, uint64_t index, uint64_t term);
void cluster_turn(struct cluster *cl, uint32_t id);             /* early, persist, late, apply */
void cluster_settle(struct cluster *cl);                        /* turns and deliveries until nothing flies */
void cluster_deliver(struct cluster *cl, size_t at, bool lost); /* one that flies; the last takes its place */
void cluster_run(struct cluster *cl, uint64_t ms);              /* time, in steps of 10 ms, settled after each */
uint32_t cluster_leader(const struct cluster *cl);              /* the one with the highest term; 0: none */
uint32_t cluster_elect(struct cluster *cl);                     /* runs until there is a serving one */
void cluster_isolate(struct cluster *cl, uint32_t id, bool cut);
int cluster_propose(struct cluster *cl, uint32_t id); /* of the next value; not settled */
int cluster_event(struct cluster *cl, uint32_t id, struct core_event event);
void cluster_send(struct cluster *cl, uint32_t from, struct core_message m, const uint64_t *terms, size_t count);
void cluster_same_logs(const struct cluster *cl); /* asserts */
void cluster_put(struct cluster *cl, uint32_t id, const uint64_t *terms, size_t count,
                 uint64_t term); /* before start */
bool cluster_late(struct cluster *cl, uint32_t id, enum core_kind kind,
                  struct core_message *out); /* drains until one is found */
