/* requests.c: see requests.h. */
#include "proto/requests.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/base/hlc.h"
#include "common/base/limits.h"
#include "proto/pack.h"

#define LEASE_MS_MAX (UINT64_C(1) << 45) /* a ceiling beyond is nobody's wall clock (the year 3084) */

static int too_large(char message[REQUESTS_TEXT_BYTES], const char *what, size_t size, size_t limit)
{
    snprintf(message, REQUESTS_TEXT_BYTES, "%s has %zu bytes, the limit is %zu", what, size, limit);
    return HF_E_LIMIT;
}

static int check_key(ProtobufCBinaryData key, char message[REQUESTS_TEXT_BYTES])
{
    if (key.len == 0) {
        snprintf(message, REQUESTS_TEXT_BYTES, "the key is empty; give at least one byte");
        return HF_E_INVALID;
    }
    return key.len > LIMIT_KEY_BYTES ? too_large(message, "the key", key.len, LIMIT_KEY_BYTES) : HF_OK;
}

static int check_value(ProtobufCBinaryData value, char message[REQUESTS_TEXT_BYTES])
{
    return value.len > LIMIT_VALUE_BYTES ? too_large(message, "the value", value.len, LIMIT_VALUE_BYTES) : HF_OK;
}

static int check_bound(ProtobufCBinaryData bound, char message[REQUESTS_TEXT_BYTES])
{
    size_t most = LIMIT_KEY_BYTES + 1; /* the successor of the largest key */
    return bound.len > most ? too_large(message, "a bound", bound.len, most) : HF_OK;
}

/* 0: the latest. */
static int check_at(const Hf__Client__Request *q, uint64_t at, char message[REQUESTS_TEXT_BYTES])
{
    if (at == 0 || q->space == HF__ENTRY__SPACE__USER)
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES, "the catalog is read as it is; leave the timestamp %" PRIu64 " out", at);
    return HF_E_REFUSED;
}

static int check_fence(const Hf__Client__SessionFence *f, char message[REQUESTS_TEXT_BYTES])
{
    if (f->session != 0 && f->seq != 0)
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES, "a fence names a session and a sequence number, both from 1");
    return HF_E_INVALID;
}

/* A lease never falls again: one that no coordinator can have meant would move the group's clock for ever. */
static int check_lease(const Hf__Client__Lease *l, char message[REQUESTS_TEXT_BYTES])
{
    if (l->timestamp < l->ceiling && hlc_ms((struct hlc){l->ceiling}) < LEASE_MS_MAX)
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES, "a lease with ceiling %" PRIu64 " and timestamp %" PRIu64 " is none",
             l->ceiling, l->timestamp);
    return HF_E_INVALID;
}

static int check_verdict(const Hf__Client__Verdict *v, char message[REQUESTS_TEXT_BYTES])
{
    if (v->index != 0 && v->digest.len == REQUESTS_DIGEST_BYTES)
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES, "a verdict names the index of a check and a digest of %d bytes",
             REQUESTS_DIGEST_BYTES);
    return HF_E_INVALID;
}

static int check_hold(const Hf__Client__Hold *h, char message[REQUESTS_TEXT_BYTES])
{
    if (h->id != 0 && !(h->end && h->at != 0))
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES, "a hold has an id, and either a timestamp or an end");
    return HF_E_INVALID;
}

static int check_op(const Hf__Client__Request *q, char message[REQUESTS_TEXT_BYTES])
{
    int rc = HF_OK;
    switch (q->op_case) {
    case HF__CLIENT__REQUEST__OP_PUT:
        rc = check_key(q->put->key, message);
        return rc ? rc : check_value(q->put->value, message);
    case HF__CLIENT__REQUEST__OP_DEL:
        return check_key(q->del->key, message);
    case HF__CLIENT__REQUEST__OP_CAS:
        rc = check_key(q->cas->key, message);
        if (!rc)
            rc = check_value(q->cas->expected, message);
        return rc ? rc : check_value(q->cas->value, message);
    case HF__CLIENT__REQUEST__OP_DELETE_PREFIX:
        return q->delete_prefix->key.len > LIMIT_KEY_BYTES
                   ? too_large(message, "the prefix", q->delete_prefix->key.len, LIMIT_KEY_BYTES)
                   : HF_OK;
    case HF__CLIENT__REQUEST__OP_GET:
        rc = check_at(q, q->get->at, message);
        return rc ? rc : check_key(q->get->key, message);
    case HF__CLIENT__REQUEST__OP_SCAN:
        rc = check_at(q, q->scan->at, message);
        if (rc)
            return rc;
        rc = check_bound(q->scan->start, message);
        return rc ? rc : check_bound(q->scan->end, message);
    case HF__CLIENT__REQUEST__OP_SESSION_FENCE:
        return check_fence(q->session_fence, message);
    case HF__CLIENT__REQUEST__OP_LEASE:
        return check_lease(q->lease, message);
    case HF__CLIENT__REQUEST__OP_VERDICT:
        return check_verdict(q->verdict, message);
    case HF__CLIENT__REQUEST__OP_HOLD:
        return check_hold(q->hold, message);
    case HF__CLIENT__REQUEST__OP_SNAPSHOT:
    case HF__CLIENT__REQUEST__OP_CHECK:
    case HF__CLIENT__REQUEST__OP_BACKUP:
    case HF__CLIENT__REQUEST__OP_SESSION_OPEN:
    case HF__CLIENT__REQUEST__OP_ROUTES:
    case HF__CLIENT__REQUEST__OP_STATUS:
    case HF__CLIENT__REQUEST__OP_BOOTSTRAP:
    case HF__CLIENT__REQUEST__OP_BEAT:
    case HF__CLIENT__REQUEST__OP_TRANSFER:
    case HF__CLIENT__REQUEST__OP_CLUSTER_STATUS:
    case HF__CLIENT__REQUEST__OP_TIMESTAMP:
    case HF__CLIENT__REQUEST__OP_CUT:
    case HF__CLIENT__REQUEST__OP_CLOCK_ACCEPT:
        return HF_OK;
    case HF__CLIENT__REQUEST__OP__NOT_SET:
    case _HF__CLIENT__REQUEST__OP__CASE_IS_INT_SIZE:
        break;
    }
    snprintf(message, REQUESTS_TEXT_BYTES, "the request names no operation this program knows");
    return HF_E_PROTOCOL;
}

int requests_check(const Hf__Client__Request *q, char message[REQUESTS_TEXT_BYTES])
{
    if (q->version != REQUESTS_VERSION) {
        snprintf(message, REQUESTS_TEXT_BYTES, "protocol version %" PRIu32 ", this program speaks %d", q->version,
                 REQUESTS_VERSION);
        return HF_E_PROTOCOL;
    }
    if (q->space != HF__ENTRY__SPACE__USER && q->space != HF__ENTRY__SPACE__CATALOG) {
        snprintf(message, REQUESTS_TEXT_BYTES, "key space %d, this program knows 0 and 1", (int)q->space);
        return HF_E_PROTOCOL;
    }
    if ((q->session != 0) != (q->seq != 0) || q->done_below > q->seq) {
        snprintf(message, REQUESTS_TEXT_BYTES,
                 "session %" PRIu64 " with seq %" PRIu64 " and done_below %" PRIu64 " do not go together", q->session,
                 q->seq, q->done_below);
        return HF_E_INVALID;
    }
    return check_op(q, message);
}
