/* rig.h: a replica that serves a real state machine, another that fetches it, and a client that speaks the messages by
 * hand. */
#pragma once

#include "proto/snapshot.pb-c.h"
#include "shard/snapshot/receiver.h"
#include "shard/snapshot/sender.h"
#include "shard/snapshot/transfer.h"
#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/shard/snapshot/proxy.h"
#include "tests/unit/unit.h"

#define RIG_BYTES ((size_t)8 * 1024 * 1024) /* of the machine: twice a window */
#define RIG_LONG_MS 60000

struct rig {
    struct net *net;
    struct machine machine;
    char dir[64], into[64]; /* of the one that serves, of the one that fetches */
    struct identity id, fetcher;
    struct sender *sender;
    struct receiver *receiver;
    struct proxy *proxy; /* NULL: straight */
    uint16_t port;       /* of the sender */
};

/* `bytes` in the machine, in values that do not compress. */
void rig_begin(struct rig *r, size_t bytes);
void rig_end(struct rig *r);

void rig_sender(struct rig *r, uint64_t rate, uint32_t keep_ms); /* the same port again, if it was open before */
void rig_proxy(struct rig *r);
void rig_fetch(struct rig *r, uint64_t min_index, uint32_t timeout_ms);
enum receiver_state rig_await(struct rig *r);        /* until it does not run any more */
void rig_await_bytes(struct rig *r, uint64_t bytes); /* until so many were received */
bool rig_same(struct rig *r);                        /* is what was staged the machine? */
size_t rig_checkpoints(const struct rig *r);         /* outgoing-* that are there */
void rig_await_checkpoints(const struct rig *r, size_t count);
uint64_t rig_metric(const char *name, const char *labels_or_null); /* as /metrics shows it */
void rig_await_metric(const char *name, const char *labels_or_null, uint64_t least);

/* ---- by hand ---- */

struct hand {
    struct net_socket *socket;
    struct identity id; /* as whom it speaks */
    uint32_t to;
    uint64_t attempt, stream, number;
    struct arena arena;
};

void hand_begin(struct hand *h, struct rig *r, uint32_t replica);
void hand_end(struct hand *h);
void hand_send(struct hand *h, struct slice bytes);
void hand_request(struct hand *h, Hf__Snapshot__Request *q); /* fills in number and packs */
void hand_fetch(struct hand *h, uint64_t offset, uint64_t until, uint64_t min_index);
void hand_credit(struct hand *h, uint64_t offset, uint64_t until);
void hand_done(struct hand *h, int code);
const Hf__Snapshot__Reply *hand_reply(struct hand *h); /* the next one; fails after a minute */
/* The next that is not Waiting. */
const Hf__Snapshot__Reply *hand_answer(struct hand *h);
int hand_refusal(struct hand *h); /* the code of the next answer, which must be a refusal */
