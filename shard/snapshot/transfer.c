/* transfer.c: see transfer.h. */
#include "shard/snapshot/transfer.h"

#include <string.h>

#include "common/base/crc32c.h"
#include "common/base/error.h"
#include "common/base/limits.h"
#include "proto/pack.h"

#define NS_PER_S UINT64_C(1000000000)
#define UNUSED_NS_MAX (NS_PER_S / 10)
#define OFFSET_MAX (UINT64_C(1) << 56) /* no state is larger; offsets never overflow */

static bool bounds_hold(uint64_t offset, uint64_t until)
{
    return offset <= until && until <= OFFSET_MAX;
}

static bool request_formed(const Hf__Snapshot__Request *q)
{
    if (q->version != TRANSFER_VERSION || q->attempt == 0)
        return false;
    switch (q->body_case) {
    case HF__SNAPSHOT__REQUEST__BODY_FETCH:
        return bounds_hold(q->fetch->offset, q->fetch->until);
    case HF__SNAPSHOT__REQUEST__BODY_CREDIT:
        return bounds_hold(q->credit->offset, q->credit->until);
    case HF__SNAPSHOT__REQUEST__BODY_END:
        return true;
    case HF__SNAPSHOT__REQUEST__BODY__NOT_SET:
    case _HF__SNAPSHOT__REQUEST__BODY__CASE_IS_INT_SIZE:
        return false;
    }
    return false;
}

enum transfer_verdict transfer_read_request(const struct identity *id, struct slice bytes, struct arena *arena,
                                            const Hf__Snapshot__Request **out)
{
    if (bytes.size > TRANSFER_REQUEST_BYTES_MAX)
        return TRANSFER_MALFORMED;
    const Hf__Snapshot__Request *q = pack_unpack(&hf__snapshot__request__descriptor, bytes, arena);
    if (!q || !request_formed(q))
        return TRANSFER_MALFORMED;
    *out = q;
    if (q->cluster != id->cluster)
        return TRANSFER_CLUSTER;
    if (q->group != id->group)
        return TRANSFER_GROUP;
    if (q->log_epoch != id->log_epoch)
        return TRANSFER_EPOCH;
    if (q->to != id->replica || q->from == id->replica || q->from == 0)
        return TRANSFER_REPLICA;
    return TRANSFER_FINE;
}

static bool chunk_formed(const Hf__Snapshot__Chunk *c)
{
    if (c->data.len == 0 || c->data.len > TRANSFER_CHUNK_BYTES || c->offset > OFFSET_MAX)
        return false;
    return crc32c(0, c->data.data, c->data.len) == c->crc;
}

static bool reply_formed(const Hf__Snapshot__Reply *p)
{
    if (p->version != TRANSFER_VERSION)
        return false;
    switch (p->body_case) {
    case HF__SNAPSHOT__REPLY__BODY_CHUNK:
        return p->stream != 0 && chunk_formed(p->chunk);
    case HF__SNAPSHOT__REPLY__BODY_REFUSAL:
        return p->refusal->code < 0 && strlen(p->refusal->message) <= LIMIT_TEXT_BYTES;
    case HF__SNAPSHOT__REPLY__BODY_WAITING:
    case HF__SNAPSHOT__REPLY__BODY_ENDED:
        return true;
    case HF__SNAPSHOT__REPLY__BODY__NOT_SET:
    case _HF__SNAPSHOT__REPLY__BODY__CASE_IS_INT_SIZE:
        return false;
    }
    return false;
}

enum transfer_verdict transfer_read_reply(const struct identity *id, uint32_t from, struct slice bytes,
                                          struct arena *arena, const Hf__Snapshot__Reply **out)
{
    if (bytes.size > TRANSFER_REPLY_BYTES_MAX)
        return TRANSFER_MALFORMED;
    const Hf__Snapshot__Reply *p = pack_unpack(&hf__snapshot__reply__descriptor, bytes, arena);
    if (!p || !reply_formed(p))
        return TRANSFER_MALFORMED;
    *out = p;
    if (p->cluster != id->cluster)
        return TRANSFER_CLUSTER;
    if (p->group != id->group)
        return TRANSFER_GROUP;
    return p->from == from ? TRANSFER_FINE : TRANSFER_REPLICA;
}

int transfer_verdict_code(enum transfer_verdict verdict)
{
    switch (verdict) {
    case TRANSFER_FINE:
        return HF_OK;
    case TRANSFER_MALFORMED:
        return HF_E_PROTOCOL;
    case TRANSFER_CLUSTER:
        return HF_E_WRONG_CLUSTER;
    case TRANSFER_GROUP:
    case TRANSFER_EPOCH:
    case TRANSFER_REPLICA:
        return HF_E_REFUSED;
    }
    return HF_E_PROTOCOL;
}

const char *transfer_verdict_text(enum transfer_verdict verdict)
{
    switch (verdict) {
    case TRANSFER_FINE:
        return "";
    case TRANSFER_MALFORMED:
        return "malformed message or unknown protocol version";
    case TRANSFER_CLUSTER:
        return "another cluster";
    case TRANSFER_GROUP:
        return "another group";
    case TRANSFER_EPOCH:
        return "another log epoch";
    case TRANSFER_REPLICA:
        return "another replica than the one asked for";
    }
    return "";
}

Hf__Snapshot__Request transfer_request(const struct identity *id, uint32_t to, uint64_t attempt, uint64_t stream)
{
    Hf__Snapshot__Request q = HF__SNAPSHOT__REQUEST__INIT;
    q.version = TRANSFER_VERSION;
    q.cluster = id->cluster;
    q.group = id->group;
    q.log_epoch = id->log_epoch;
    q.from = id->replica;
    q.from_incarnation = id->incarnation;
    q.to = to;
    q.attempt = attempt;
    q.stream = stream;
    return q;
}

Hf__Snapshot__Reply transfer_reply(const struct identity *id, uint64_t attempt, uint64_t stream)
{
    Hf__Snapshot__Reply p = HF__SNAPSHOT__REPLY__INIT;
    p.version = TRANSFER_VERSION;
    p.cluster = id->cluster;
    p.group = id->group;
    p.from = id->replica;
    p.attempt = attempt;
    p.stream = stream;
    return p;
}

/* ---- rate ---- */

uint64_t transfer_rate_wait_ns(const struct transfer_rate *r, uint64_t now_ns)
{
    return r->rate == 0 || r->free_ns <= now_ns ? 0 : r->free_ns - now_ns;
}

void transfer_rate_take(struct transfer_rate *r, uint64_t now_ns, size_t bytes)
{
    if (r->rate == 0)
        return;
    uint64_t kept = now_ns > UNUSED_NS_MAX ? now_ns - UNUSED_NS_MAX : 0;
    uint64_t from = r->free_ns > kept ? r->free_ns : kept;
    r->free_ns = from + bytes / r->rate * NS_PER_S + bytes % r->rate * NS_PER_S / r->rate;
}
