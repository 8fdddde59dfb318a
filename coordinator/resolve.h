/* resolve.h: transactions that nobody drives: looked at, and what was decided of them is told to the shards that still wait.
 *
 * Position: front.c hands in clients that met a lock, forward.c the locks that its requests met; beside that the active
 * coordinator asks every shard's leader, each RESOLVE_PERIOD_MS, what it keeps of transactions. Questions go out through the
 * port and their answers come back. Pure but for its port: time is an argument. Thread: loop thread only.
 *
 * A look at one transaction:
 *
 *     ASKING → RESTING      [home: PREPARED and not expired: nothing is done, nor asked again for a moment]
 *     ASKING → TELLING      [home: COMMITTED or ROLLED_BACK, for ever: each shard where a lock of it was met is told]
 *     (new)  → TELLING      [home's list has it COMMITTED: all its other shards are told]
 *     TELLING → FORGETTING  [home's list had it, and every other shard has the commit: home may forget]
 *     any → gone            [a shard is silent or refuses: the next look begins anew]
 *
 * - Home alone decides: the question to it is a rollback that does nothing to what is not expired. No other shard is told
 *   anything before home said it. So any coordinator may look, at any time, beside the driver and other lookers: every step
 *   may be repeated, lost or come late.
 * - FORGET only after every other shard has the commit: while home keeps the record, no lock of a commit can outlive it.
 * - One look per transaction at a time, one question per look and shard; questions in flight are bounded in all and per shard
 *   (I12), so a dead shard has its own and delays no other. What did not fit is seen again by the next sweep. */
#pragma once

#include "common/base/hlc.h"
#include "coordinator/forward.h"

enum resolve_step { RESOLVE_ASKING, RESOLVE_TELLING, RESOLVE_FORGETTING, RESOLVE_RESTING };

struct resolve_port {
    void *ctx;
    const Hf__Catalog__Routes *(*routes)(void *ctx);       /* those in use; NULL: none yet */
    bool (*active)(void *ctx);                             /* does this coordinator sweep? */
    struct hlc (*now)(void *ctx);                          /* the oracle's time */
    bool (*drives)(void *ctx, const Hf__Entry__TxnId *id); /* it is being driven here; nullable */
    /* Asks a shard's leader for what it keeps behind `after`; resolve_listed is called once, unless this fails. */
    int (*list)(void *ctx, uint32_t shard, const Hf__Client__Txns *question, uint64_t now_ns);
    /* Sends to a shard's leader; resolve_answered is called once, unless this fails. */
    int (*ask)(void *ctx, uint32_t shard, Hf__Client__Request *request, uint64_t look, uint64_t now_ns);
    void (*answer)(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply);
};

struct resolve {
    struct resolve_port port;
    struct hashmap by_id;     /* hash of the id → struct resolve_look, chained */
    struct hashmap by_serial; /* owned */
    struct hashmap shards;    /* shard → struct resolve_shard, owned */
    struct list resting;      /* looks, the oldest first */
    struct list clients;      /* owned: all that wait */
    uint64_t next_serial, asks, client_count, resting_count;
    bool sweeping;
};

void resolve_init(struct resolve *r, const struct resolve_port *port);
void resolve_deinit(struct resolve *r); /* who waits is not answered */

/* The client met a lock of `id` in `shard` (0: it does not say where). Later, or at once, port.answer is called once:
 * HF_OK with reply.txn: PREPARED, not decided yet; COMMITTED or ROLLED_BACK, and `shard` knows. UNAVAILABLE: home, or the
 * shard, did not answer. HF_E_BUSY: too many wait; nothing was taken. */
HF_CHECKED int resolve_ask(struct resolve *r, const struct forward_client *client, const Hf__Entry__TxnId *id,
                           uint32_t shard, uint64_t deadline_ns, uint64_t now_ns);

/* A request met a lock of `id` in `shard`; nobody waits for the answer. */
void resolve_met(struct resolve *r, const Hf__Entry__TxnId *id, uint32_t shard, uint64_t now_ns);

/* What a shard's leader said; NULL: nothing in time. */
void resolve_listed(struct resolve *r, uint32_t shard, const Hf__Client__Reply *reply, uint64_t now_ns);
void resolve_answered(struct resolve *r, uint64_t look, uint32_t shard, const Hf__Client__Reply *reply,
                      uint64_t now_ns);

void resolve_tick(struct resolve *r, uint64_t now_ns);
