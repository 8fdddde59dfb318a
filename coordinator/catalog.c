/* catalog.c: see catalog.h. */
#include "coordinator/catalog.h"

#include <inttypes.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "coordinator/counters.h"
#include "coordinator/limits.h"
#include "proto/pack.h"

void catalog_init(struct catalog *c, struct calls *calls, void (*changed)(void *ctx), void *ctx)
{
    *c = (struct catalog){.calls = calls, .changed = changed, .ctx = ctx};
}

void catalog_deinit(struct catalog *c)
{
    arena_deinit(&c->arena);
}

uint64_t catalog_version(const struct catalog *c)
{
    return c->routes ? c->routes->version : 0;
}

uint64_t catalog_cluster(const struct catalog *c)
{
    return c->routes ? c->routes->cluster : 0;
}

int catalog_offer(struct catalog *c, struct slice packed)
{
    struct arena arena = {0};
    Hf__Catalog__Routes *routes = pack_unpack(&hf__catalog__routes__descriptor, packed, &arena);
    int rc = routes ? routes_check(routes) : HF_E_CORRUPT;
    if (rc == HF_OK && c->routes && routes->cluster != c->routes->cluster)
        rc = HF_E_WRONG_CLUSTER;
    if (rc == HF_OK && routes->version <= catalog_version(c))
        rc = HF_E_EXISTS;
    if (rc) {
        arena_deinit(&arena);
        return rc;
    }
    arena_deinit(&c->arena);
    c->arena = arena;
    c->routes = routes;
    gauge(COUNTER_ROUTE_VERSION, routes->version);
    diag(DIAG_INFO, "routes in use: version=%" PRIu64 " cluster=%016" PRIx64 " shards=%zu ranges=%zu", routes->version,
         routes->cluster, routes->n_shards, routes->n_routes);
    c->changed(c->ctx);
    return HF_OK;
}

void catalog_heard(struct catalog *c, uint64_t version, uint64_t now_ns)
{
    if (version <= c->heard)
        return;
    c->heard = version;
    if (version > catalog_version(c) && c->next_ns > now_ns)
        c->next_ns = now_ns;
}

static void loaded(void *ctx, const struct call *call, const Hf__Client__Reply *reply)
{
    struct catalog *c = ctx;
    c->asking = false;
    int rc = reply ? reply->code : HF_E_UNAVAILABLE;
    if (rc == HF_OK)
        rc = catalog_offer(c, pack_slice(reply->value));
    if (rc != HF_OK && rc != HF_E_EXISTS) {
        if (error_class(rc) == HF_CLASS_GIVE_UP && rc != HF_E_NOT_FOUND)
            diag(DIAG_WARN, "the catalog's routes cannot be used: replica=%" PRIu32 ": %s", call->replica,
                 error_text(rc));
        return; /* next_ns stands at the short pause */
    }
    /* A version that was only heard of may be an error of its sender: it is asked for once, then at the usual pace. */
    c->next_ns = call->sent_ns + CATALOG_RELOAD_MS * CLOCK_NS_PER_MS;
}

void catalog_tick(struct catalog *c, uint64_t now_ns)
{
    if (c->asking || now_ns < c->next_ns)
        return;
    Hf__Client__Get get = HF__CLIENT__GET__INIT;
    get.key = pack_bytes(slice_text("routes"));
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.cluster = catalog_cluster(c);
    request.space = HF__ENTRY__SPACE__CATALOG;
    request.op_case = HF__CLIENT__REQUEST__OP_GET;
    request.get = &get;
    c->next_ns = now_ns + CATALOG_RETRY_MS * CLOCK_NS_PER_MS;
    c->asking = calls_send_leader(c->calls, COORDINATOR_CATALOG_SHARD, &request, now_ns, CALL_MS, loaded, c, 0) == 0;
}
