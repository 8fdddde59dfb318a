/* writes.h: the commands of a turn on their way into entries, and from applied entries back to who asked.
 *
 * Position:   server queues writes; `writes_propose` packs a turn's commands into few entries and hands them to the engine;
 *             the state machine's results come back through `writes_result`.
 * Thread:     loop thread.
 * Invariants: a write is given back exactly once, with one of the three answers (I9): done when its entry is applied here,
 *             surely not done when it was never proposed, unknown when leadership or its deadline ran out in between. */
#pragma once

#include "common/base/arena.h"
#include "common/base/list.h"
#include "proto/entry.pb-c.h"
#include "shard/engine/engine.h"
#include "shard/fsm/fsm.h"
#include "shard/replica/collector.h"
#include "shard/replica/stamp.h"

enum write_kind { WRITE_COMMAND, WRITE_LEASE, WRITE_SESSION, WRITE_CHECK, WRITE_MIGRATE };

/* Embedded in the server's request. */
struct replica_write {
    struct list link; /* while queued */
    enum write_kind kind;
    Hf__Entry__Command command;      /* WRITE_COMMAND; its bytes live until the end of the turn */
    Hf__Entry__LeaseEntry lease;     /* WRITE_LEASE */
    Hf__Entry__SessionEntry session; /* WRITE_SESSION */
    Hf__Entry__MigrateEntry migrate; /* WRITE_MIGRATE; its texts live until the end of the turn */
    uint64_t index;                  /* of its entry, once that is applied */
    uint64_t deadline_ns;            /* CLOCK_BOOTTIME */
    size_t bytes;                    /* about, for the bound on what is held */
};

/* Gives a write back. `result` is NULL when `code` was not decided by the state machine. */
typedef void writes_done_fn(void *ctx, struct replica_write *w, int code, const struct fsm_result *result);

struct writes {
    struct list queued;   /* replica_write.link: came in this turn */
    struct list proposed; /* proposal.link, in index order */
    size_t count, bytes;  /* of all held: queued and proposed */
    uint64_t sealing; /* index of a seal that was proposed and is not applied: nothing is proposed behind it; 0: none */
    writes_done_fn *done;
    void *ctx;
    struct buf payload; /* reused */
};

void writes_init(struct writes *w, writes_done_fn *done, void *ctx);
void writes_deinit(struct writes *w); /* gives back what is left as unknown or unavailable */

/* HF_E_BUSY: the bounds are reached (I12), the write stays the caller's. */
HF_CHECKED int writes_queue(struct writes *w, struct replica_write *write);

/* Packs and proposes everything queued; what the engine refuses is given back with its code, what stands behind a seal with
 * HF_E_NOT_READY: it was never proposed. */
void writes_propose(struct writes *w, const struct engine_ops *ops, struct engine *e, struct stamp *stamp,
                    struct arena *arena);

/* Proposes an entry that nobody waits for: this leader goes on from `t`, a committed ceiling (leader_clock.h). HF_E_NOT_READY: behind a
 * seal. */
HF_CHECKED int writes_mark(struct writes *w, const struct engine_ops *ops, struct engine *e, struct hlc t);

/* Likewise: a step of collection. */
HF_CHECKED int writes_collect(struct writes *w, const struct engine_ops *ops, struct engine *e,
                              const struct collector_step *step, uint64_t *out_index);

/* As fsm_result_fn. */
void writes_result(struct writes *w, uint64_t index, uint64_t term, uint32_t position, const struct fsm_result *r);

/* Leadership is lost: what was proposed is unknown, what is queued was never proposed. */
void writes_abandon(struct writes *w);
/* Gives back, as unknown, what waits longer than its deadline. */
void writes_expire(struct writes *w, uint64_t now_ns);
