/* publish.h: snapshot_publish: the only place that moves the snapshot pointer, and the bound on replay.
 *
 * Position: the replica's loop asks once a turn. Nothing here blocks it: flushes run in RocksDB's threads, the token is
 *           written on one of its own (token_writer.h).
 * Order:    applied ≥ X → flush → durable applied ≥ X is seen → token, durable → the log may be cut up to
 *           min(X, durable applied) less the trailing entries (I4). Any failure: no token, no cut, tried again later.
 * One at a time; requests coalesce; not while a state machine is being installed. */
#pragma once

#include "common/base/list.h"
#include "shard/replica/directory.h"

enum publish_kind { PUBLISH_ENTRIES, PUBLISH_BYTES, PUBLISH_CONFIG, PUBLISH_OPERATOR, PUBLISH_KINDS };

struct publish_config {
    uint64_t every_entries; /* --snapshot-entries: entries since the last; 0: never for this reason */
    uint64_t every_bytes;   /* --snapshot-log-bytes; 0: never for this reason */
    uint64_t trailing; /* --snapshot-trailing-entries: kept behind the pointer for followers that are a little late, but
                               no more than every_bytes of them, or four times that while a live one is behind */
    uint64_t replay_budget; /* --replay-budget: bytes of log since durable applied; at half a flush begins, at all of it
                               proposals wait; 0: no limit */
    bool threaded;          /* the token is written on a thread of its own; false: simulator */
};

struct publish; /* owned by the replica */

/* Looks at the token that is there. The machine may be absent: then it begins paused. */
struct publish *publish_new(const struct publish_config *config, struct directory *d);
void publish_free(struct publish **p); /* waits for a token that is being written */
/* Asks for a publish of what is applied now. */
void snapshot_publish(struct publish *p, enum publish_kind kind);
/* Each turn, after apply: begins, sees through or finishes what is due. Applied entries were told by publish_applied. */
void publish_turn(struct publish *p, uint64_t now_ns);
void publish_applied(struct publish *p, uint64_t index, uint64_t bytes, bool config);
/* When publish_turn wants to be called at the latest, and a descriptor that then is readable; -1: none. */
uint64_t publish_deadline(const struct publish *p);
int publish_fd(const struct publish *p);
/* While a state machine is replaced: nothing is published, nobody looks at it; waits for a token that is being written.
 * Afterwards the pointer is `index`, all of which is durable. */
void publish_pause(struct publish *p);
void publish_resume(struct publish *p, uint64_t index);
/* While a state is on its way to another replica: the log that follows it is kept, up to a bound. */
void publish_hold(struct publish *p, bool hold);
/* The log is not cut above `index`, either: a local stream stands there. */
void publish_floor(struct publish *p, uint64_t index);
bool publish_full(const struct publish *p); /* the replay budget is used up: proposals wait */

struct publish_wait { /* who waits for a publish of what is applied now; embedded in its owner */
    struct list link;
    uint64_t index;
    uint64_t deadline_ns;
    /* Given back: the pointer is at `index` or above, or: HF_E_TIMEOUT, HF_E_NO_SPACE, HF_E_IO, HF_E_NOT_READY. */
    void (*done)(void *ctx, struct publish_wait *w, int code, uint64_t index);
    void *ctx;
};
void publish_wait(struct publish *p, struct publish_wait *w);

struct publish_state {
    uint64_t index;        /* of the token; 0: none */
    uint64_t durable;      /* durable applied, as last seen */
    uint64_t replay_bytes; /* log since durable applied */
    uint64_t log_first;    /* as of now: who is told of a pointer sees the cut that came with it */
    bool running;
};
struct publish_state publish_state(const struct publish *p);
