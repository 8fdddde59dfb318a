/* routes.c: see routes.h. */
#include "proto/routes.h"

#include "common/base/error.h"
#include "common/base/limits.h"
#include "proto/pack.h"

static bool text_ok(const char *text)
{
    return text && strnlen(text, LIMIT_TEXT_BYTES + 1) <= LIMIT_TEXT_BYTES;
}

static int check_shards(const Hf__Catalog__Routes *r)
{
    if (r->n_shards == 0 || r->n_shards > LIMIT_ROUTES)
        return HF_E_LIMIT;
    for (size_t i = 0; i < r->n_shards; i++) {
        const Hf__Catalog__Shard *s = r->shards[i];
        if (s->shard == 0 || s->n_members == 0 || s->n_members > LIMIT_PEERS)
            return HF_E_INVALID;
        for (size_t m = 0; m < s->n_members; m++)
            if (s->members[m]->replica == 0 || !text_ok(s->members[m]->client_endpoint) ||
                !text_ok(s->members[m]->raft_endpoint))
                return HF_E_INVALID;
        for (size_t j = 0; j < i; j++)
            if (r->shards[j]->shard == s->shard)
                return HF_E_INVALID;
    }
    return HF_OK;
}

int routes_check(const Hf__Catalog__Routes *r)
{
    if (r->n_routes == 0 || r->n_routes > LIMIT_ROUTES)
        return HF_E_LIMIT;
    int rc = check_shards(r);
    if (rc)
        return rc;
    for (size_t i = 0; i < r->n_routes; i++) {
        const Hf__Catalog__Range *range = r->routes[i]->range;
        if (!range || range->start.len > LIMIT_KEY_BYTES || range->end.len > LIMIT_KEY_BYTES)
            return HF_E_INVALID;
        if (!routes_shard(r, r->routes[i]->shard))
            return HF_E_INVALID;
        bool last = i + 1 == r->n_routes;
        if (i == 0 && range->start.len != 0)
            return HF_E_INVALID;
        if (last != (range->end.len == 0))
            return HF_E_INVALID;
        if (!last && slice_compare(pack_slice(range->start), pack_slice(range->end)) >= 0)
            return HF_E_INVALID;
        if (!last && (!r->routes[i + 1]->range ||
                      !slice_equal(pack_slice(range->end), pack_slice(r->routes[i + 1]->range->start))))
            return HF_E_INVALID;
    }
    return HF_OK;
}

size_t routes_find(const Hf__Catalog__Routes *r, struct slice key)
{
    size_t low = 0, high = r->n_routes - 1; /* the last range whose start ≤ key */
    while (low < high) {
        size_t mid = (low + high + 1) / 2;
        if (slice_compare(pack_slice(r->routes[mid]->range->start), key) <= 0)
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}

const Hf__Catalog__Shard *routes_shard(const Hf__Catalog__Routes *r, uint32_t shard)
{
    for (size_t i = 0; i < r->n_shards; i++)
        if (r->shards[i]->shard == shard)
            return r->shards[i];
    return NULL;
}
