/* request.c: see request.h. */
#include "shard/server/request.h"

#include <stdio.h>

#include "common/base/error.h"
#include "proto/pack.h"

int request_check(const Hf__Client__Request *q, char message[REQUESTS_TEXT_BYTES])
{
    int rc = requests_check(q, message);
    if (rc)
        return rc;
    if (q->op_case == HF__CLIENT__REQUEST__OP_CLUSTER_STATUS || q->op_case == HF__CLIENT__REQUEST__OP_TIMESTAMP) {
        snprintf(message, REQUESTS_TEXT_BYTES, "a shard does not answer this request; send it to the coordinator");
        return HF_E_INVALID;
    }
    return HF_OK;
}

/* The first key after all that begin with `prefix`; empty when there is none. */
static struct slice prefix_end(struct slice prefix, struct arena *arena)
{
    size_t n = prefix.size;
    while (n > 0 && prefix.data[n - 1] == 0xff)
        n--;
    if (n == 0)
        return slice_make(NULL, 0);
    uint8_t *end = arena_alloc(arena, n);
    memcpy(end, prefix.data, n);
    end[n - 1]++;
    return slice_make(end, n);
}

static bool single(struct request_span *out, ProtobufCBinaryData key)
{
    *out = (struct request_span){.start = pack_slice(key), .single = true};
    return true;
}

bool request_span(const Hf__Client__Request *q, struct arena *arena, struct request_span *out)
{
    if (q->op_case == HF__CLIENT__REQUEST__OP_PUT)
        return single(out, q->put->key);
    if (q->op_case == HF__CLIENT__REQUEST__OP_DEL)
        return single(out, q->del->key);
    if (q->op_case == HF__CLIENT__REQUEST__OP_CAS)
        return single(out, q->cas->key);
    if (q->op_case == HF__CLIENT__REQUEST__OP_GET)
        return single(out, q->get->key);
    if (q->op_case == HF__CLIENT__REQUEST__OP_SCAN) {
        *out = (struct request_span){pack_slice(q->scan->start), pack_slice(q->scan->end), false};
        return true;
    }
    if (q->op_case == HF__CLIENT__REQUEST__OP_DELETE_PREFIX) {
        struct slice prefix = pack_slice(q->delete_prefix->key);
        *out = (struct request_span){prefix, prefix_end(prefix, arena), false};
        return true;
    }
    return false;
}
