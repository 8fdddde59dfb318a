/* migratemodel.h: three shards of three replicas as a migration job sees them: logs whose steps take effect as the state machine's
 * do (shard/fsm/apply_migrate.c), members that lag, die, come back, and go over one by one.
 *
 * It does not model elections, quorums or votes: a leader is given, and what it takes in is committed. */
#pragma once

#include "coordinator/migrate.h"

#define MODEL_SHARDS 3u
#define MODEL_REPLICAS 3u
#define MODEL_ENTRIES 4096u
#define MODEL_EPOCHS 8u

struct model_record {
    Hf__Entry__MigrationState state;
    uint64_t id, index, term, aborted;
    uint32_t epoch, aborted_epoch, target;
};

struct model_replica {
    bool alive;
    uint32_t epoch, engine; /* engine: 0 native, 1 libraft */
    size_t applied, durable;
    uint64_t applied_term;
    struct model_record record;
};

struct model_entry {
    uint32_t epoch;
    uint64_t term;
    Hf__Entry__MigrateStep step; /* MIGRATE_NONE: anything else */
    uint64_t id;
    uint32_t names, target; /* the epoch and the engine that it names */
};

struct model_shard {
    struct model_entry log[MODEL_ENTRIES];
    size_t count;
    struct model_replica replicas[MODEL_REPLICAS];
    uint32_t leader; /* 0: none */
    uint64_t term, leaderless_ms;
    uint64_t sealed[MODEL_EPOCHS]; /* by epoch: the id of the seal that took effect; 0: none */
    uint32_t other_digest;         /* a replica whose state is not the others'; 0: none */
};

extern struct model_shard model[MODEL_SHARDS + 1];
extern const char *const model_engines[2];

void model_begin(void);
const Hf__Catalog__Routes *model_routes(void);

/* Who is behind moves on, by `lag` one of so many times; a shard without a leader gets one. */
void model_turn(uint32_t shard, uint64_t now_ms, uint64_t (*below)(uint64_t n), unsigned lag);
void model_kill(uint32_t shard, uint32_t replica, uint64_t now_ms);
void model_start(uint32_t shard, uint32_t replica);
void model_write(uint32_t shard); /* an entry that is none of a migration, if it has a leader */

/* The code of a leader's answer. */
int model_step(uint32_t shard, uint32_t replica, const Hf__Entry__MigrateEntry *entry);
/* Packed; false: it is dead. */
bool model_status(uint32_t shard, uint32_t replica, struct buf *out);
bool model_publish(uint32_t shard, uint32_t replica);

/* A quorum runs `engine`. */
bool model_runs(uint32_t shard, uint32_t engine);
