/* reads.h: linearizable reads on their way to the moment at which they may look.
 *
 * Position:  server queues a read; it looks at the state machine once everything that was committed when the read came is
 *            applied and leadership is certain: by the read lease, or by a barrier round (Raft, ReadIndex).
 * Thread:    loop thread.
 * Invariant: an answer built under the lease leaves only if the lease still holds after it was built: the process may have
 *            been paused in between. */
#pragma once

#include "common/base/hlc.h"
#include "common/base/list.h"
#include "shard/engine/engine.h"

/* Embedded in the server's request. */
struct replica_read {
    struct list link;
    struct hlc at;        /* 0: the latest */
    uint64_t index;       /* look when this is applied */
    uint64_t floor;       /* of a read at a timestamp: what was proposed before it, so perhaps stamped below it */
    uint64_t barrier;     /* id it waits for; 0: it stands under the lease */
    size_t bytes;         /* about, for the bound on what is held */
    uint64_t deadline_ns; /* CLOCK_BOOTTIME */
};

struct reads_calls {
    void *ctx;
    void (*build)(void *ctx, struct replica_read *r); /* look, and keep the answer aside; bytes of it so far: */
    size_t (*built_bytes)(void *ctx);
    void (*discard)(void *ctx);                                /* forget all answers kept aside */
    void (*send)(void *ctx, struct replica_read *r);           /* send the answer; the read is the server's again */
    void (*fail)(void *ctx, struct replica_read *r, int code); /* likewise */
};

struct reads {
    struct list fresh;     /* came in this turn */
    struct list waiting;   /* for a barrier or for apply, oldest first */
    size_t count, bytes;   /* of all held */
    uint64_t barrier_last; /* id of the newest barrier asked for */
    struct reads_calls calls;
};

void reads_init(struct reads *r, const struct reads_calls *calls);
void reads_deinit(struct reads *r);

/* HF_E_BUSY: the bound is reached (I12). */
HF_CHECKED int reads_queue(struct reads *r, struct replica_read *read);

/* Before the engine steps: gives this turn's reads their index, or asks for a barrier. */
void reads_begin(struct reads *r, const struct engine_ops *ops, struct engine *e);
/* As engine_env.barrier_ready. */
void reads_barrier_ready(struct reads *r, uint64_t id, uint64_t index);
/* After apply: answers whatever may be answered. `held`: apply waits for room. What waits with it was acknowledged to nobody
 * (I9), so that reads of the latest need not see it; but it may be stamped below what a read at a timestamp is to show. */
void reads_serve(struct reads *r, const struct engine_ops *ops, struct engine *e, uint64_t applied, bool held);

void reads_abandon(struct reads *r, int code); /* leadership is lost: all fail with `code` */
void reads_expire(struct reads *r, uint64_t now_ns);
