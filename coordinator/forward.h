/* forward.h: requests of clients on their way to shards: who waits for what, until when, and what may be repeated.
 *
 * Position: front.c hands validated and routed requests in; replies of replicas come back through it to the client.
 * Pure but for its port: time is an argument. Thread: loop thread only.
 *
 * Life of a request (one struct forward_item):
 *
 *     WAITING ── attempt handed to a socket ──▶ SENT ── final answer ──▶ gone
 *        ▲                                       │
 *        └── refused, surely not executed ◀──────┘        deadline, from either ──▶ gone
 *
 * - Each attempt has an id of its own (serial and attempt number), so a late refusal of one attempt is never taken for
 * the answer to another, and `unanswered` says which of them may still be executed (I9).
 * - A request is tried again while no attempt is unanswered: after a refusal of class RETRY_ELSEWHERE, NOT_READY or
 *   NO_ROUTE, after KEY_LOCKED, and after a failed send. A lock is told to the port; the pause after it begins short.
 * - While an attempt is unanswered only a repeatable one is tried again: a read, a fence, a write with a session.
 * - At the deadline: all attempts refused → UNAVAILABLE, surely not done. Else reads UNAVAILABLE, writes
 * OUTCOME_UNKNOWN. Where that is UNAVAILABLE and the last refusal was KEY_LOCKED, it is KEY_LOCKED.
 * - What a shard says about one attempt ends a write that has another one unanswered only if the session table or the
 * key itself decided: OK, NOT_FOUND, COMPARE_FAILED, CONFLICT, FENCED. Any other final answer then is OUTCOME_UNKNOWN.
 *
 * Every shard has a queue of its own, bounded in requests and bytes (I12): a silent shard takes no other's room. */
#pragma once

#include "common/base/buf.h"
#include "common/base/hashmap.h"
#include "common/base/list.h"
#include "common/sys/net.h"
#include "proto/client.pb-c.h"

/* The queue of questions for the clock, which go to the active coordinator (active.h); no shard has this number. */
#define FORWARD_CLOCK 0u

enum forward_kind {
    FORWARD_READ,       /* repeatable; unanswered is surely without effect */
    FORWARD_REPEATABLE, /* a write that a session, or its nature, makes safe to repeat */
    FORWARD_ONCE        /* a write that may be executed once per attempt */
};

struct forward_client {
    struct net_peer peer;
    uint64_t id; /* the client's own, echoed */
};

/* What a reroute after WRONG_SHARD found. */
enum forward_reroute { FORWARD_SAME, FORWARD_MOVED, FORWARD_REFUSED };

struct forward_port {
    void *ctx;
    /* Queues `frame` for one replica. Failure: surely not sent. */
    int (*send)(void *ctx, uint32_t shard, uint32_t replica, struct slice frame);
    /* Whom to ask; `avoid` 0: nobody is to be avoided. 0: nobody known. */
    uint32_t (*pick)(void *ctx, uint32_t shard, uint32_t avoid);
    /* Sends the answer; fills in id, class and route version. */
    void (*answer)(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply);
    /* Where the request `body` belongs by the newest routes. */
    enum forward_reroute (*reroute)(void *ctx, struct slice body, uint32_t shard, uint32_t *out_shard);
    /* A request met a lock of this transaction; nullable. */
    void (*locked)(void *ctx, uint32_t shard, const Hf__Entry__TxnId *id, uint64_t now_ns);
};

/* A request to take in. `body` is a packed Request; id, shard, route_version, cluster and deadline in it are
 * superseded by what each attempt appends (a later scalar field of a message replaces an earlier one). */
struct forward_request {
    struct forward_client client;
    enum forward_kind kind;
    uint32_t shard;
    struct slice body;
    uint64_t deadline_ns;
    bool scan_more; /* when the shard has no more, the scan goes on at scan_next */
    struct slice scan_next;
};

struct forward_shard {
    uint32_t shard;
    struct list items;
    uint64_t count, bytes;
};

struct forward {
    struct forward_port port;
    uint64_t shard_requests_max, shard_bytes_max;
    uint64_t cluster, route_version; /* added to every attempt; kept up to date by the owner */
    struct hashmap by_serial;        /* serial → struct forward_item */
    struct hashmap shards;           /* shard → struct forward_shard, owned */
    uint64_t next_serial;
    struct list spare; /* items to use again */
    uint64_t spares;
};

void forward_init(struct forward *f, const struct forward_port *port, uint64_t shard_requests_max,
                  uint64_t shard_bytes_max);
void forward_deinit(struct forward *f);

/* Takes the request and makes its first attempt. Later the port's answer is called exactly once. HF_E_BUSY: the shard's
 * queue is full; nothing was taken. */
HF_CHECKED int forward_begin(struct forward *f, const struct forward_request *request, uint64_t now_ns);

/* A reply of a replica. False: nobody waits for it. */
bool forward_reply(struct forward *f, Hf__Client__Reply *reply, uint64_t now_ns);

/* Another leader of `shard` is known: requests that wait are sent now, repeatable unanswered ones again. */
void forward_leader_changed(struct forward *f, uint32_t shard, uint64_t now_ns);

/* Deadlines, retries, repeats. */
void forward_tick(struct forward *f, uint64_t now_ns);

uint64_t forward_pending(const struct forward *f);
