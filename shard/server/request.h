/* request.h: one client's request while a shard holds it, and the checks it must pass first.
 *
 * Position: front makes it, replica holds its write or read, front answers and frees it. */
#pragma once

#include "common/base/limits.h"
#include "common/sys/net.h"
#include "proto/client.pb-c.h"
#include "proto/requests.h"
#include "shard/replica/reads.h"
#include "shard/replica/writes.h"

#define REQUEST_DEADLINE_MS_DEFAULT 5000
/* On the wire: the coordinator adds a few fields to a request of the largest size. */
#define REQUEST_BYTES_MAX ((size_t)LIMIT_REQUEST_BYTES + LIMIT_TEXT_BYTES)
#define REQUEST_DEADLINE_MS_MAX (10u * 60 * 1000)

struct request {
    struct replica_write write;
    struct replica_read read;
    struct net_peer peer;
    uint64_t id;
    Hf__Client__Request__OpCase op;
    bool fence, check, migrate;
    bool home;                   /* of a transaction: this group is its home */
    struct fsm_txn_id txn_after; /* of a listing of transactions */
    /* Of a read; the bytes are owned through `copy`. */
    enum fsm_space space;
    struct slice key, end;
    uint32_t limit;
    bool reverse, keys_only;
    uint64_t view, offset;             /* of a backup */
    size_t answer_offset, answer_size; /* its reply among those kept aside */
    uint8_t *copy;
};

/* requests_check, and is it for a shard: HF_OK, or a code and what to say in message[]. */
HF_CHECKED int request_check(const Hf__Client__Request *q, char message[REQUESTS_TEXT_BYTES]);

/* The key that says which range a request touches, and for DELETE_PREFIX and scans the exclusive end (empty: open). */
struct request_span {
    struct slice start, end;
    bool single; /* exactly the key `start` */
};
/* false: the request touches no key. An end that must be made is made in `arena`. */
bool request_span(const Hf__Client__Request *q, struct arena *arena, struct request_span *out);

/* The first key after all that begin with `prefix`, made in `arena`; empty when there is none. */
struct slice request_prefix_end(struct slice prefix, struct arena *arena);

/* What the request asks to be written, into r->write. Its bytes are borrowed from `q` and `turn`; `group` is this one. */
void request_fill_write(struct request *r, const Hf__Client__Request *q, uint32_t group, struct arena *turn);
