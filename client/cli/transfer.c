/* transfer.c: leader transfer SHARD [REPLICA]: asks a shard's leader to hand over, and waits until somebody else leads.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "client/cli/cli.h"
#include "client/status.h"
#include "common/sys/clock.h"

#define POLL_MS 20

static const struct status_shard *shard_of(const struct hf_cluster_status *s, uint32_t id)
{
    for (size_t i = 0; i < s->shards_count; i++)
        if (s->shards[i].shard == id)
            return &s->shards[i];
    return NULL;
}

/* Until another replica than `before` leads. 0: not before the deadline. */
static uint32_t await_leader(struct cli *c, struct admin *a, uint32_t shard, uint32_t before, uint64_t deadline_ns)
{
    while (clock_boot_ns() < deadline_ns) {
        struct hf_cluster_status *s;
        if (status_collect(a, c->endpoints, c->timeout_ms, &s) == HF_OK) {
            const struct status_shard *one = shard_of(s, shard);
            uint32_t leader = one ? one->leader : 0;
            status_free(&s);
            if (leader != 0 && leader != before)
                return leader;
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
    return 0;
}

struct order {
    uint32_t shard, to; /* to: a replica; 0: any */
};

static int transfer(struct cli *c, struct admin *a, const struct hf_cluster_status *s, const void *ctx)
{
    const struct order *order = ctx;
    uint32_t shard = order->shard;
    const struct status_shard *one = shard_of(s, shard);
    if (!one)
        return cli_no_shard(c, shard);
    const char *endpoint = status_leader_endpoint(s, shard);
    if (!endpoint)
        return cli_error(c, HF_E_UNAVAILABLE, "shard %" PRIu32 " has no leader", shard);
    uint64_t deadline_ns = clock_boot_ns() + c->timeout_ms * CLOCK_NS_PER_MS;
    uint32_t leader = one->leader;
    if (order->to != leader) {
        Hf__Client__Transfer body = HF__CLIENT__TRANSFER__INIT;
        Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
        body.to = order->to;
        request.cluster = s->cluster;
        request.shard = shard;
        request.op_case = HF__CLIENT__REQUEST__OP_TRANSFER;
        request.transfer = &body;
        Hf__Client__Reply *reply;
        int rc = admin_ask_one(a, endpoint, &request, c->timeout_ms, &reply);
        if (rc)
            rc = cli_error(c, rc, "shard %" PRIu32 ": %s", shard, reply ? reply->message : hf_error_text(rc));
        if (reply)
            hf__client__reply__free_unpacked(reply, NULL);
        if (rc)
            return rc;
        leader = await_leader(c, a, shard, leader, deadline_ns);
        if (!leader)
            return cli_error(c, HF_E_UNAVAILABLE, "shard %" PRIu32 ": nobody else leads yet; try again", shard);
    }
    if (c->json)
        printf("{\"shard\":%" PRIu32 ",\"leader\":\"%" PRIu32 "/%" PRIu32 "\"}\n", shard, shard, leader);
    else
        printf("shard %" PRIu32 " is led by %" PRIu32 "/%" PRIu32 "\n", shard, shard, leader);
    return cli_flush_done(c, CLI_OK);
}

int transfer_leader(struct cli *c)
{
    static const struct cli_range ids = {1, UINT32_MAX};
    uint64_t shard, to = 0;
    if (!cli_number(c, "SHARD", c->arguments[0].text, ids, &shard) ||
        (c->count > 1 && !cli_number(c, "REPLICA", c->arguments[1].text, ids, &to)))
        return CLI_USAGE;
    return cluster_act(c, transfer, &(struct order){(uint32_t)shard, (uint32_t)to});
}
