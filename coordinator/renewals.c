/* renewals.c: see renewals.h. */
#include "coordinator/renewals.h"

#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "coordinator/counters.h"
#include "coordinator/limits.h"

void renewals_init(struct renewals *r, struct calls *calls, struct oracle *oracle, const struct retain *retain)
{
    *r = (struct renewals){.calls = calls, .oracle = oracle, .retain = retain};
}

void renewals_deinit(struct renewals *r)
{
    size_t at = 0;
    uint64_t key;
    void *value;
    while (hashmap_each(&r->shards, &at, &key, &value))
        free(value);
    hashmap_deinit(&r->shards);
}

static void renewed(void *ctx, const struct call *call, const Hf__Client__Reply *reply)
{
    struct renewal *renewal = ctx;
    bool ok = reply && reply->code == HF_OK;
    renewal->asking = false;
    renewal->next_ns = call->sent_ns + (ok ? RENEWAL_MS : RENEWAL_RETRY_MS) * CLOCK_NS_PER_MS;
    count(ok ? COUNTER_RENEWALS : COUNTER_RENEWALS_FAILED);
}

static void renew(struct renewals *r, struct renewal *renewal, uint64_t cluster, uint64_t now_ns)
{
    Hf__Client__Lease lease = HF__CLIENT__LEASE__INIT;
    struct hlc t;
    if (oracle_issue(r->oracle, &t) == HF_OK)
        lease.timestamp = t.t;
    else
        lease.timestamp = hlc_max(r->oracle->clock.last, r->oracle->clock.seen).t; /* issued by somebody, once */
    lease.ceiling = hlc_add_ms(oracle_now(r->oracle), CLOCK_CEILING_AHEAD_MS).t;
    lease.retain = retain_lowest(r->retain, oracle_now(r->oracle)).t;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.cluster = cluster;
    request.op_case = HF__CLIENT__REQUEST__OP_LEASE;
    request.lease = &lease;
    int rc = calls_send_leader(r->calls, renewal->shard, &request, now_ns, CALL_MS, renewed, renewal, 0);
    renewal->asking = rc == HF_OK;
    renewal->next_ns = now_ns + RENEWAL_RETRY_MS * CLOCK_NS_PER_MS;
    if (rc)
        count(COUNTER_RENEWALS_FAILED);
}

static struct renewal *of_shard(struct renewals *r, uint32_t shard)
{
    struct renewal *renewal = hashmap_get(&r->shards, shard);
    if (renewal == NULL) {
        renewal = calloc(1, sizeof *renewal);
        must(renewal != NULL); /* out of memory */
        *renewal = (struct renewal){.shard = shard};
        hashmap_put(&r->shards, shard, renewal);
    }
    return renewal;
}

void renewals_tick(struct renewals *r, const Hf__Catalog__Routes *routes, uint64_t now_ns)
{
    /* A standby that never saw a committed ceiling cannot judge its own wall clock and stays silent: the first one to be
     * active may have one that is far behind, and no mark would ever be in its reach. */
    const struct clock *clock = &r->oracle->clock;
    bool mine = oracle_active(r->oracle);
    bool orphaned = clock->key_known && clock->key.present && !clock_other_alive(clock, now_ns);
    if (!mine && !orphaned)
        return;
    for (size_t i = 0; i < routes->n_shards; i++) {
        struct renewal *renewal = of_shard(r, routes->shards[i]->shard);
        if (!renewal->asking && now_ns >= renewal->next_ns)
            renew(r, renewal, routes->cluster, now_ns);
    }
}
