/* publish.h: snapshot_publish: the only place that moves the snapshot pointer, and the bound on replay.
 *
 * Position: the replica's loop asks once a turn; nothing here blocks it: flushes run in RocksDB's threads.
 * Order:    applied ≥ X → flush → durable applied ≥ X is seen → token, durable → the log may be cut up to
 *           min(X, durable applied) less the trailing entries (I4). Any failure: no token, no cut, tried again later.
 * One at a time; requests coalesce; not while a state machine is being installed. */
#pragma once

#include "shard/replica/directory.h"

enum publish_kind { PUBLISH_ENTRIES, PUBLISH_BYTES, PUBLISH_CONFIG, PUBLISH_OPERATOR, PUBLISH_KINDS };

struct publish_config {
    uint64_t every_entries; /* --snapshot-entries: entries since the last; 0: never for this reason */
    uint64_t every_bytes;   /* --snapshot-log-bytes */
    uint64_t trailing;      /* --snapshot-trailing-entries: kept behind the pointer for followers that are a little late */
    uint64_t replay_budget; /* --replay-budget: bytes of log since durable applied; at half a flush begins, at all of it
                               proposals wait */
};

struct publish; /* owned by the replica */

struct publish *publish_new(const struct publish_config *config, struct directory *d);
void publish_free(struct publish **p);
/* Asks for a publish of what is applied now. */
void snapshot_publish(struct publish *p, enum publish_kind kind);
/* After apply, each turn: begins, sees through or finishes what is due. Applied entries were told by publish_applied. */
void publish_turn(struct publish *p, uint64_t now_ns);
void publish_applied(struct publish *p, uint64_t index, uint64_t bytes, bool config);
/* While a state machine is replaced: nothing is published; afterwards the pointer is `index`. */
void publish_pause(struct publish *p);
void publish_resume(struct publish *p, uint64_t index);
bool publish_full(const struct publish *p); /* the replay budget is used up: proposals wait */

struct publish_state {
    uint64_t index;         /* of the token */
    uint64_t durable;       /* durable applied, as last seen */
    uint64_t replay_bytes;  /* log since durable applied */
    bool running;
};
struct publish_state publish_state(const struct publish *p);
