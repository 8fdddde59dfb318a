/* route.c: see route.h. */
#include "client/route.h"

#include <stdlib.h>

#include "proto/pack.h"
#include "proto/routes.h"

static struct shard *shard_at(const struct hf *h, size_t route)
{
    for (uint32_t i = 0; i < h->shards_count; i++)
        if (h->shards[i]->id == h->routes->routes[route]->shard)
            return h->shards[i];
    must(false); /* every routed shard was added when the routes were taken */
    return NULL;
}

/* The range that holds the last key below `end`. */
static size_t route_below(const Hf__Catalog__Routes *routes, struct slice end)
{
    if (end.size == 0)
        return routes->n_routes - 1;
    size_t at = routes_find(routes, end);
    bool starts_there = slice_equal(pack_slice(routes->routes[at]->range->start), end);
    return starts_there && at > 0 ? at - 1 : at;
}

/* Everything with this prefix lies in range `at`. */
static bool holds_prefix(const Hf__Catalog__Routes *routes, size_t at, struct slice prefix)
{
    struct slice end = pack_slice(routes->routes[at]->range->end);
    return end.size == 0 || (slice_compare(prefix, end) < 0 && !slice_has_prefix(end, prefix));
}

/* Cuts the scan to range `at`; what is cut off is copied, because routes may change while the request waits. */
static int clip(const Hf__Catalog__Routes *routes, size_t at, struct hf_future *r)
{
    struct slice start = pack_slice(routes->routes[at]->range->start);
    struct slice end = pack_slice(routes->routes[at]->range->end);
    bool cut_start = slice_compare(r->key, start) < 0;
    bool cut_end = end.size > 0 && (r->end.size == 0 || slice_compare(end, r->end) < 0);
    free(r->clip_bytes);
    r->clip_bytes = malloc(start.size + end.size + 1);
    if (!r->clip_bytes)
        return HF_E_NO_MEMORY;
    memcpy(r->clip_bytes, start.data ? start.data : (const uint8_t *)"", start.size);
    memcpy(r->clip_bytes + start.size, end.data ? end.data : (const uint8_t *)"", end.size);
    r->clip_start = cut_start ? slice_make(r->clip_bytes, start.size) : r->key;
    r->clip_end = cut_end ? slice_make(r->clip_bytes + start.size, end.size) : r->end;
    r->clipped = r->reverse ? cut_start : cut_end;
    if (r->clip_end.size > 0 &&
        slice_compare(r->clip_start, r->clip_end) >= 0) { /* empty, also for the one shard asked */
        if (r->reverse)
            r->clip_start = r->clip_end;
        else
            r->clip_end = r->clip_start;
        r->clipped = false;
    }
    return HF_OK;
}

/* ---- transactions ---- */

/* The ranges [first, last] are added to what is touched: *shard is the one of all of them, *several says that there is none. */
static void touch(const Hf__Catalog__Routes *routes, size_t first, size_t last, uint32_t *shard, bool *several)
{
    if (*shard == 0)
        *shard = routes->routes[first]->shard;
    for (size_t i = first; i <= last && !*several; i++)
        *several = routes->routes[i]->shard != *shard;
}

static void touch_prefix(const Hf__Catalog__Routes *routes, struct slice prefix, uint32_t *shard, bool *several)
{
    size_t first = routes_find(routes, prefix), last = first;
    while (!holds_prefix(routes, last, prefix))
        last++; /* the last range has no end: it holds the rest of any */
    touch(routes, first, last, shard, several);
}

/* Its first written key names its home; of what only reads, the first key or range that was read. */
static void route_txn(struct hf *h, struct hf_future *r)
{
    const Hf__Catalog__Routes *routes = h->routes;
    const Hf__Client__Txn *t = r->txn;
    uint32_t shard = 0;
    bool several = false;
    for (size_t i = 0; i < t->n_writes && !several; i++) {
        struct slice key = pack_slice(t->writes[i]->key);
        if (t->writes[i]->op == HF__ENTRY__OP__DELETE_PREFIX)
            touch_prefix(routes, key, &shard, &several);
        else
            touch(routes, routes_find(routes, key), routes_find(routes, key), &shard, &several);
    }
    for (size_t i = 0; i < t->n_reads && !several; i++) {
        size_t first = routes_find(routes, pack_slice(t->reads[i]->key)), last = first;
        if (t->reads[i]->range)
            last = route_below(routes, pack_slice(t->reads[i]->end));
        touch(routes, first, last, &shard, &several);
    }
    r->spread = several || h->routed;
    struct slice first = {NULL, 0};
    if (t->n_writes + t->n_reads > 0)
        first = pack_slice(t->n_writes > 0 ? t->writes[0]->key : t->reads[0]->key);
    r->shard = shard_at(h, routes_find(routes, first));
}

int route_request(struct hf *h, struct hf_future *r)
{
    if (r->kind == REQUEST_TXN) {
        route_txn(h, r);
        return HF_OK;
    }
    const Hf__Catalog__Routes *routes = h->routes;
    size_t at = r->kind == REQUEST_SCAN && r->reverse ? route_below(routes, r->end) : routes_find(routes, r->key);
    if (r->kind == REQUEST_DELETE_PREFIX && !holds_prefix(routes, at, r->key)) {
        r->spans = true;
        return HF_OK;
    }
    int rc = r->kind == REQUEST_SCAN ? clip(routes, at, r) : HF_OK;
    if (rc == HF_OK)
        r->shard = shard_at(h, at);
    return rc;
}
