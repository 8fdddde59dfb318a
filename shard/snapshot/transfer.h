/* transfer.h: what sender and receiver agree on: sizes, and the messages of proto/snapshot.proto read, checked, written.
 *
 * Pure: no sockets, no clocks, no state. Everything from a network passes here first (I11, I12).
 * Flow:   the receiver names how far bytes may come (`until`); the sender goes no further, and holds what was not
 *         acknowledged, TRANSFER_WINDOW_BYTES at most, to send it again after a cut. */
#pragma once

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/must.h"
#include "proto/snapshot.pb-c.h"
#include "shard/log/identity.h"

#define TRANSFER_VERSION 1
#define TRANSFER_CHUNK_BYTES ((size_t)256 * 1024)
#define TRANSFER_WINDOW_BYTES (16 * TRANSFER_CHUNK_BYTES) /* sent and not acknowledged */
#define TRANSFER_REQUEST_BYTES_MAX ((size_t)1024)
#define TRANSFER_REPLY_BYTES_MAX (TRANSFER_CHUNK_BYTES + 8192)

/* Why a message is not taken; each is a label of the counters of refused messages. */
enum transfer_verdict {
    TRANSFER_FINE,
    TRANSFER_MALFORMED, /* no answer: whoever it is does not speak this */
    TRANSFER_CLUSTER,
    TRANSFER_GROUP,
    TRANSFER_EPOCH,
    TRANSFER_REPLICA,
};
#define TRANSFER_VERDICTS (TRANSFER_REPLICA + 1)

/* *out (in the arena) is set unless MALFORMED. `id`: of the sender that got it. */
enum transfer_verdict transfer_read_request(const struct identity *id, struct slice bytes, struct arena *arena,
                                            const Hf__Snapshot__Request **out);
/* `from`: the replica that was asked; also checks a chunk's checksum and bounds. `attempt`: replies to another one are
 * MALFORMED only by their form; the caller compares. */
enum transfer_verdict transfer_read_reply(const struct identity *id, uint32_t from, struct slice bytes,
                                          struct arena *arena, const Hf__Snapshot__Reply **out);

/* The code and the words of a refusal for a verdict that has an answer. */
int transfer_verdict_code(enum transfer_verdict verdict);
const char *transfer_verdict_text(enum transfer_verdict verdict);

/* Messages with everything but the body. */
Hf__Snapshot__Request transfer_request(const struct identity *id, uint32_t to, uint64_t attempt, uint64_t stream);
Hf__Snapshot__Reply transfer_reply(const struct identity *id, uint64_t attempt, uint64_t stream);

/* How fast bytes may leave: each taking moves the time of the next one on by what its bytes cost; time not used is kept
 * for a tenth of a second. Time is an input. */
struct transfer_rate {
    uint64_t rate;    /* bytes a second; 0: no limit */
    uint64_t free_ns; /* when the next bytes may leave */
};

/* 0: now; else how long to wait. */
uint64_t transfer_rate_wait_ns(const struct transfer_rate *r, uint64_t now_ns);
/* `bytes`: at most a chunk or so. */
void transfer_rate_take(struct transfer_rate *r, uint64_t now_ns, size_t bytes);
