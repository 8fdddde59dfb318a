/* node.h: one replica in the simulator: the real engine, log and state machine on a simulated disk and store, and a clock
 * of its own.
 *
 * Position: sim.c wakes it, turn.c is its turn, network.c carries its messages. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/random.h"
#include "shard/engine/engine.h"
#include "shard/fsm/fsm.h"
#include "shard/replica/stamp.h"
#include "tests/sim/check.h"
#include "tests/sim/logtap.h"
#include "tests/sim/snapshots.h"
#include "tests/support/simdisk.h"
#include "tests/support/simstore.h"

#define NODE_INBOX_MAX 512
#define NODE_WRITES_MAX 512
#define NODE_READS_MAX 64
#define NODE_PAYLOAD_MAX 6000

enum node_state { NODE_ABSENT, NODE_UP, NODE_DOWN };

/* The turn of shard/replica, cut where a process may die or stand still. */
enum phase {
    PHASE_COLLECT,
    PHASE_STEP,
    PHASE_SEND_EARLY,
    PHASE_PERSIST,
    PHASE_SEND_LATE,
    PHASE_APPLY,
    PHASE_REPLY,
    PHASES
};

enum node_death { DEATH_KILL /* the machine stays up */, DEATH_POWER };

struct configuration { /* hf.catalog.Members without addresses */
    uint64_t index;
    uint32_t count;
    struct {
        uint32_t replica;
        bool learner;
    } member[SIM_NODES_MAX];
};

struct members_box { /* the same as protobuf-c wants it; valid while it stays where it is */
    Hf__Catalog__Members members;
    Hf__Catalog__Member member[SIM_NODES_MAX];
    Hf__Catalog__Member *pointer[SIM_NODES_MAX];
};

struct machine { /* what is known of the state machine, as of an applied index */
    uint64_t index, term;
    uint64_t chain; /* its running digest and the sum of its content; 0: not looked at */
    struct configuration config;
};

struct write { /* a client's write; proposed when index != 0 */
    uint64_t id, index, term, hash;
    uint32_t size;
    enum log_kind kind;
};

struct read {
    uint64_t id, barrier, index, built; /* built: applied index of the answer; 0: not built */
    bool fresh, leased;
};

struct node {
    struct sim *sim; /* borrowed */
    uint32_t id;
    enum node_state state;
    struct simdisk *disk;      /* owned; NULL: absent */
    struct simstore *media[2]; /* owned; what state machines stand on */
    uint8_t medium;            /* the one in use */
    struct simstore *store;    /* borrowed; that one */
    char fsm_dirs[2][32];
    const struct engine_ops *ops;
    struct engine *engine;   /* owned; NULL: not running */
    struct fsm *fsm;         /* owned; NULL: not running */
    struct stamp stamp;      /* while it leads */
    struct members_box boot; /* what engine_env.members points to */
    struct shadow shadow;
    struct machine machine, durable; /* durable: index and term only */
    struct random random;

    uint64_t clock_local, clock_global; /* local time at a global time */
    int64_t clock_ppm;                  /* how fast it goes */

    enum phase phase;      /* to run next */
    bool split;            /* this turn is taken apart */
    bool more;             /* committed entries wait */
    uint64_t wake_version; /* of the one event that counts */
    uint64_t wake_at;
    uint64_t stopped_until; /* the process stands still */
    enum phase die_before;  /* PHASES: not planned */
    enum phase stop_before; /* likewise */
    uint64_t stop_for;
    enum node_death death;

    struct message *inbox[NODE_INBOX_MAX]; /* owned */
    size_t inbox_count;
    struct write queued[NODE_WRITES_MAX], proposed[NODE_WRITES_MAX];
    size_t queued_count, proposed_count;
    struct read reads[NODE_READS_MAX];
    size_t read_count;
    uint32_t want_transfer; /* 0: no; NODE_TRANSFER_ANY */
    bool want_change;
    struct configuration change; /* its index names the one it replaces */
    uint64_t want_trim;

    struct fetch fetch;
    bool publishing; /* a flush was begun; the pointer moves once publish_at is durable */
    uint64_t publish_at, token_index;
    bool following;      /* a machine was put in place, the log does not follow yet */
    bool machine_lost;   /* destroyed, and nothing was installed yet */
    bool damaged;        /* its log, not rebuilt yet */
    bool rebuilding;     /* that was begun */
    uint64_t recovering; /* as the disk says (I13) */
    bool lost_log;       /* rebuilt, and a power loss may bring back the word that it is not whole */

    struct engine_status status; /* as of the last look */
    bool was_serving;
    uint64_t lives;
};

#define NODE_TRANSFER_ANY UINT32_MAX

/* A directory as a bootstrap makes it, of the group's first members. */
void node_create(struct node *n, struct sim *sim, uint32_t id);
/* A directory with an empty log behind a copy of the donor's durable state, as an operator makes it. */
void node_copy(struct node *n, struct sim *sim, uint32_t id, struct node *donor);
void node_start(struct node *n);        /* opens the engine; a failure is a finding */
void node_damage_log(struct node *n);   /* of one that is down: what it held may be gone */
void node_lose_machine(struct node *n); /* likewise */
void node_open_fsm(struct node *n);
const char *node_fsm_dir(const struct node *n);
struct engine_env node_environment(struct node *n);
void node_die(struct node *n, enum node_death death); /* any state; what was not durable may be gone */
void node_free(struct node *n);

uint64_t node_now(const struct node *n);                       /* of its own clock, ns */
uint64_t node_global(const struct node *n, uint64_t local_ns); /* when its clock shows that, or now */
void node_wake(struct node *n, uint64_t at);                   /* a turn no later than at (global ns) */
void node_receive(struct node *n, struct message *m);          /* takes m */
void node_write(struct node *n, uint64_t id, uint32_t size);   /* a client's; dropped when it is not up or full */
void node_read(struct node *n, uint64_t id);
void node_look(struct node *n);         /* reports a change of status to the checkers */
bool node_serves(const struct node *n); /* would it take requests, as far as it knows */

void turn_run(struct node *n); /* phases, until the turn ends, is taken apart or the process dies (turn.c) */
void turn_env(struct node *n, struct engine_env *env); /* fills what the engine calls */
uint64_t node_chain(const struct node *n);             /* of the state machine as it stands */
void node_look_durable(struct node *n);                /* what a crash would leave of the state machine */

void configuration_box(const struct configuration *c, struct members_box *out);
void configuration_from(const Hf__Catalog__Members *m, struct configuration *out);
