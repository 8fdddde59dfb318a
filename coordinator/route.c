/* route.c: see route.h. */
#include "coordinator/route.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "proto/pack.h"

size_t route_prefix_end(struct slice prefix, uint8_t *out)
{
    size_t size = prefix.size;
    while (size > 0 && prefix.data[size - 1] == 0xff)
        size--;
    if (size == 0)
        return 0;
    memcpy(out, prefix.data, size);
    out[size - 1]++;
    return size;
}

static struct slice range_start(const Hf__Catalog__Routes *routes, size_t i)
{
    return pack_slice(routes->routes[i]->range->start);
}

static struct slice range_end(const Hf__Catalog__Routes *routes, size_t i)
{
    return pack_slice(routes->routes[i]->range->end);
}

/* A session lives in one shard, so a request that uses one names it. */
static int fits_shard(const Hf__Client__Request *request, struct route *out)
{
    if (request->session != 0 && request->shard == 0) {
        snprintf(out->text, sizeof out->text, "a request with a session must name the session's shard");
        return HF_E_INVALID;
    }
    if (request->shard == 0 || request->shard == out->shard)
        return HF_OK;
    snprintf(out->text, sizeof out->text, "the key belongs to shard %" PRIu32 ", not to shard %" PRIu32, out->shard,
             request->shard);
    return HF_E_WRONG_SHARD;
}

static int route_key(const Hf__Catalog__Routes *routes, const Hf__Client__Request *request, struct slice key,
                     struct route *out)
{
    out->shard = routes->routes[routes_find(routes, key)]->shard;
    return fits_shard(request, out);
}

/* The ranges that overlap [start, end); empty end: to the end of the space. */
static void span(const Hf__Catalog__Routes *routes, struct slice start, struct slice end, size_t *out_first,
                 size_t *out_last)
{
    size_t last = *out_first = routes_find(routes, start);
    while (last + 1 < routes->n_routes && (end.size == 0 || slice_compare(range_start(routes, last + 1), end) < 0))
        last++;
    *out_last = last;
}

static void span_prefix(const Hf__Catalog__Routes *routes, struct slice prefix, size_t *out_first, size_t *out_last)
{
    uint8_t end[LIMIT_KEY_BYTES];
    must(prefix.size <= sizeof end); /* I12: front.c checked */
    span(routes, prefix, slice_make(end, route_prefix_end(prefix, end)), out_first, out_last);
}

void route_write_span(const Hf__Catalog__Routes *routes, const Hf__Entry__TxnWrite *write, size_t *out_first,
                      size_t *out_last)
{
    if (write->op == HF__ENTRY__OP__DELETE_PREFIX)
        span_prefix(routes, pack_slice(write->key), out_first, out_last);
    else
        *out_first = *out_last = routes_find(routes, pack_slice(write->key));
}

void route_read_span(const Hf__Catalog__Routes *routes, const Hf__Entry__TxnRead *read, size_t *out_first,
                     size_t *out_last)
{
    if (read->range)
        span(routes, pack_slice(read->key), pack_slice(read->end), out_first, out_last);
    else
        *out_first = *out_last = routes_find(routes, pack_slice(read->key));
}

static int route_prefix(const Hf__Catalog__Routes *routes, const Hf__Client__Request *request, struct route *out)
{
    size_t first, last;
    span_prefix(routes, pack_slice(request->delete_prefix->key), &first, &last);
    out->shard = routes->routes[first]->shard;
    for (size_t i = first; i <= last; i++)
        if (routes->routes[i]->shard != out->shard) {
            snprintf(out->text, sizeof out->text, "spans shards %" PRIu32 "..%" PRIu32 ": needs a transaction",
                     out->shard, routes->routes[last]->shard);
            return HF_E_INVALID;
        }
    return fits_shard(request, out);
}

static void touch(const Hf__Catalog__Routes *routes, size_t first, size_t last, struct route *out)
{
    for (size_t i = first; i <= last && !out->several; i++) {
        uint32_t shard = routes->routes[i]->shard;
        out->several = out->shard != 0 && out->shard != shard;
        out->shard = shard;
    }
}

static int route_txn(const Hf__Catalog__Routes *routes, const Hf__Client__Request *request, struct route *out)
{
    const Hf__Client__Txn *txn = request->txn;
    size_t first, last;
    for (size_t i = 0; i < txn->n_writes && !out->several; i++) {
        route_write_span(routes, txn->writes[i], &first, &last);
        touch(routes, first, last, out);
    }
    for (size_t i = 0; i < txn->n_reads && !out->several; i++) {
        route_read_span(routes, txn->reads[i], &first, &last);
        touch(routes, first, last, out);
    }
    if (out->several || txn->n_writes + txn->n_reads == 0) {
        out->empty = !out->several;
        out->shard = 0;
        return HF_OK;
    }
    return fits_shard(request, out);
}

/* Forward: the range that holds the start, cut at its end; the rest begins there. */
static void cut_forward(const Hf__Catalog__Routes *routes, struct slice start, struct slice end, struct route *out)
{
    size_t i = routes_find(routes, start);
    struct slice bound = range_end(routes, i);
    out->shard = routes->routes[i]->shard;
    if (bound.size == 0 || (end.size > 0 && slice_compare(end, bound) <= 0))
        return;
    *out = (struct route){
        .shard = out->shard, .cut = true, .scan_start = start, .scan_end = bound, .more = true, .next = bound};
}

/* Reverse: the range that holds the last key below `end`, cut at its start; the rest ends there. */
static void cut_reverse(const Hf__Catalog__Routes *routes, struct slice start, struct slice end, struct route *out)
{
    size_t i = end.size == 0 ? routes->n_routes - 1 : routes_find(routes, end);
    if (end.size > 0 && i > 0 && slice_equal(range_start(routes, i), end))
        i--; /* `end` itself is not wanted */
    struct slice bound = range_start(routes, i);
    out->shard = routes->routes[i]->shard;
    if (slice_compare(start, bound) >= 0)
        return;
    *out = (struct route){
        .shard = out->shard, .cut = true, .scan_start = bound, .scan_end = end, .more = true, .next = bound};
}

static int route_scan(const Hf__Catalog__Routes *routes, const Hf__Client__Scan *scan, struct route *out)
{
    struct slice start = pack_slice(scan->start), end = pack_slice(scan->end);
    if (end.size > 0 && slice_compare(start, end) >= 0) {
        out->empty = true;
        return HF_OK;
    }
    if (scan->reverse)
        cut_reverse(routes, start, end, out);
    else
        cut_forward(routes, start, end, out);
    return HF_OK;
}

static int route_named(const Hf__Catalog__Routes *routes, uint32_t shard, struct route *out)
{
    if (shard == 0) {
        snprintf(out->text, sizeof out->text, "this request must name its shard");
        return HF_E_INVALID;
    }
    if (routes_shard(routes, shard) == NULL) {
        snprintf(out->text, sizeof out->text, "shard %" PRIu32 " does not exist", shard);
        return HF_E_ABSENT;
    }
    out->shard = shard;
    return HF_OK;
}

int route_request(const Hf__Catalog__Routes *routes, const Hf__Client__Request *request, struct route *out)
{
    *out = (struct route){0};
    switch (request->op_case) {
    case HF__CLIENT__REQUEST__OP_PUT:
        return route_key(routes, request, pack_slice(request->put->key), out);
    case HF__CLIENT__REQUEST__OP_DEL:
        return route_key(routes, request, pack_slice(request->del->key), out);
    case HF__CLIENT__REQUEST__OP_CAS:
        return route_key(routes, request, pack_slice(request->cas->key), out);
    case HF__CLIENT__REQUEST__OP_GET:
        return route_key(routes, request, pack_slice(request->get->key), out);
    case HF__CLIENT__REQUEST__OP_DELETE_PREFIX:
        return route_prefix(routes, request, out);
    case HF__CLIENT__REQUEST__OP_SCAN:
        return route_scan(routes, request->scan, out);
    case HF__CLIENT__REQUEST__OP_TXN:
        return route_txn(routes, request, out);
    case HF__CLIENT__REQUEST__OP_SESSION_OPEN:
    case HF__CLIENT__REQUEST__OP_SESSION_FENCE:
    case HF__CLIENT__REQUEST__OP_TRANSFER:
        return route_named(routes, request->shard, out);
    case HF__CLIENT__REQUEST__OP__NOT_SET:
    case HF__CLIENT__REQUEST__OP_ROUTES:
    case HF__CLIENT__REQUEST__OP_STATUS:
    case HF__CLIENT__REQUEST__OP_CLUSTER_STATUS:
    case HF__CLIENT__REQUEST__OP_BOOTSTRAP:
    case HF__CLIENT__REQUEST__OP_BEAT:
    case HF__CLIENT__REQUEST__OP_LEASE:
    case HF__CLIENT__REQUEST__OP_SNAPSHOT:
    case HF__CLIENT__REQUEST__OP_CHECK:
    case HF__CLIENT__REQUEST__OP_MIGRATE:
    case HF__CLIENT__REQUEST__OP_VERDICT:
    case HF__CLIENT__REQUEST__OP_BACKUP:
    case HF__CLIENT__REQUEST__OP_CUT:
    case HF__CLIENT__REQUEST__OP_RETAIN:
    case HF__CLIENT__REQUEST__OP_HOLD:
    case HF__CLIENT__REQUEST__OP_PREPARE:
    case HF__CLIENT__REQUEST__OP_VALIDATE:
    case HF__CLIENT__REQUEST__OP_DECIDE_COMMIT:
    case HF__CLIENT__REQUEST__OP_ROLLBACK:
    case HF__CLIENT__REQUEST__OP_FORGET:
    case HF__CLIENT__REQUEST__OP_TXNS:
    case HF__CLIENT__REQUEST__OP_TIMESTAMP:
    case HF__CLIENT__REQUEST__OP_RESOLVE:
    case HF__CLIENT__REQUEST__OP_CLOCK_ACCEPT:
    case HF__CLIENT__REQUEST__OP_MIGRATE_JOB:
    case _HF__CLIENT__REQUEST__OP__CASE_IS_INT_SIZE:
        break;
    }
    snprintf(out->text, sizeof out->text, "this request is not one for a shard");
    return HF_E_INVALID;
}
