/* calls.h: the coordinator's own questions to replicas: one message out, one callback back, always.
 *
 * Position: oracle.c, renewals.c, status.c and catalog loading ask through it; beside it forward.c carries clients'
 * requests. Thread: loop thread only. A call is one attempt; whoever asks repeats at its own pace. */
#pragma once

#include "common/base/buf.h"
#include "common/base/hashmap.h"
#include "common/base/list.h"
#include "coordinator/leaders.h"
#include "coordinator/links.h"
#include "proto/client.pb-c.h"

#define CALLS_ID_BIT ((uint64_t)1 << 63) /* set in the ids of calls, clear in those of forwarded requests */

struct call {
    struct list in_order; /* in calls.open */
    uint64_t id;
    uint32_t shard, replica;
    uint64_t sent_ns, deadline_ns;
    void (*done)(void *ctx, const struct call *call, const Hf__Client__Reply *reply);
    void *ctx;
    uint64_t tag; /* the asker's */
};

/* Called exactly once per successful calls_send; reply NULL: no answer in time, or the calls were closed. */
typedef void call_done(void *ctx, const struct call *call, const Hf__Client__Reply *reply);

struct calls {
    struct links *links;     /* borrowed */
    struct leaders *leaders; /* borrowed */
    struct list open;
    struct hashmap by_id;
    uint64_t next;
    struct buf frame;
};

void calls_init(struct calls *c, struct links *links, struct leaders *leaders);
void calls_deinit(struct calls *c); /* open calls end with reply NULL */

/* Completes version and id of `request` and sends it. On failure `done` is not called and nothing was sent:
 * HF_E_UNAVAILABLE, HF_E_BUSY. */
HF_CHECKED int calls_send(struct calls *c, uint32_t shard, uint32_t replica, Hf__Client__Request *request,
                          uint64_t now_ns, uint32_t timeout_ms, call_done *done, void *ctx, uint64_t tag);

/* The same to whoever leads the shard, or may. */
HF_CHECKED int calls_send_leader(struct calls *c, uint32_t shard, Hf__Client__Request *request, uint64_t now_ns,
                                 uint32_t timeout_ms, call_done *done, void *ctx, uint64_t tag);

/* A reply with CALLS_ID_BIT came from a replica. False: nobody waits for it. */
bool calls_reply(struct calls *c, uint32_t shard, uint32_t replica, const Hf__Client__Reply *reply);
void calls_tick(struct calls *c, uint64_t now_ns);
