/* request.c: see request.h. */
#include "shard/server/request.h"

#include <stdio.h>

#include "common/base/error.h"
#include "proto/pack.h"
#include "shard/server/txn.h"

int request_check(const Hf__Client__Request *q, char message[REQUESTS_TEXT_BYTES])
{
    int rc = requests_check(q, message);
    if (rc)
        return rc;
    if (q->op_case == HF__CLIENT__REQUEST__OP_CLUSTER_STATUS || q->op_case == HF__CLIENT__REQUEST__OP_TIMESTAMP ||
        q->op_case == HF__CLIENT__REQUEST__OP_CUT || q->op_case == HF__CLIENT__REQUEST__OP_CLOCK_ACCEPT ||
        q->op_case == HF__CLIENT__REQUEST__OP_RESOLVE || q->op_case == HF__CLIENT__REQUEST__OP_RETAIN ||
        q->op_case == HF__CLIENT__REQUEST__OP_MIGRATE_JOB) {
        snprintf(message, REQUESTS_TEXT_BYTES, "a shard does not answer this request; send it to the coordinator");
        return HF_E_INVALID;
    }
    return txn_check(q, message);
}

struct slice request_prefix_end(struct slice prefix, struct arena *arena)
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
        *out = (struct request_span){prefix, request_prefix_end(prefix, arena), false};
        return true;
    }
    return false;
}

static void fill_command(Hf__Entry__Command *c, const Hf__Client__Request *q)
{
    hf__entry__command__init(c);
    c->space = q->space;
    c->session = q->session;
    c->seq = q->seq;
    c->done_below = q->done_below;
    if (q->op_case == HF__CLIENT__REQUEST__OP_PUT) {
        c->op = HF__ENTRY__OP__PUT;
        c->key = q->put->key;
        c->value = q->put->value;
        c->ttl_ms = q->put->ttl_ms;
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_CAS) {
        c->op = HF__ENTRY__OP__CAS;
        c->key = q->cas->key;
        c->has_expected = q->cas->has_expected;
        c->expected = q->cas->expected;
        c->becomes_absent = q->cas->becomes_absent;
        c->value = q->cas->value;
    } else {
        bool prefix = q->op_case == HF__CLIENT__REQUEST__OP_DELETE_PREFIX;
        c->op = prefix ? HF__ENTRY__OP__DELETE_PREFIX : HF__ENTRY__OP__DELETE;
        c->key = prefix ? q->delete_prefix->key : q->del->key;
    }
}

void request_fill_write(struct request *r, const Hf__Client__Request *q, uint32_t group, struct arena *turn)
{
    struct replica_write *w = &r->write;
    if (txn_is_write(q->op_case)) {
        w->kind = WRITE_COMMAND;
        hf__entry__command__init(&w->command);
        txn_fill_command(&w->command, q, group, turn);
        r->home = w->command.txn->id == NULL || w->command.txn->id->home == group;
        return;
    }
    if (q->op_case == HF__CLIENT__REQUEST__OP_LEASE) {
        w->kind = WRITE_LEASE;
        hf__entry__lease_entry__init(&w->lease);
        w->lease.ceiling = q->lease->ceiling;
        w->lease.timestamp = q->lease->timestamp;
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_SESSION_OPEN ||
               q->op_case == HF__CLIENT__REQUEST__OP_SESSION_FENCE) {
        w->kind = WRITE_SESSION;
        hf__entry__session_entry__init(&w->session);
        r->fence = q->op_case == HF__CLIENT__REQUEST__OP_SESSION_FENCE;
        w->session.fence_session = r->fence ? q->session_fence->session : 0;
        w->session.fence_seq = r->fence ? q->session_fence->seq : 0;
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_MIGRATE) {
        w->kind = WRITE_MIGRATE;
        w->migrate = *q->migrate;
        r->migrate = true;
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_CHECK) {
        w->kind = WRITE_CHECK;
        r->check = true;
    } else {
        w->kind = WRITE_COMMAND;
        fill_command(&w->command, q);
    }
}
