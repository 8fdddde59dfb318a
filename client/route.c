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

int route_request(struct hf *h, struct hf_future *r)
{
    const Hf__Catalog__Routes *routes = h->routes;
    size_t at = r->kind == REQUEST_SCAN && r->reverse ? route_below(routes, r->end) : routes_find(routes, r->key);
    if (r->kind == REQUEST_DELETE_PREFIX && !holds_prefix(routes, at, r->key)) {
        r->message = "the prefix spans several shards: deleting it in one step takes a transaction; "
                     "delete longer prefixes that lie in one shard each (holdfast routes shows the ranges)";
        return HF_E_REFUSED;
    }
    int rc = r->kind == REQUEST_SCAN ? clip(routes, at, r) : HF_OK;
    if (rc == HF_OK)
        r->shard = shard_at(h, at);
    return rc;
}
