/* answer.c: see answer.h. */
#include "shard/server/answer.h"

#include "common/base/error.h"
#include "common/sys/metrics.h"
#include "common/sys/unread.h"
#include "proto/pack.h"
#include "proto/requests.h"

enum { M_SENT, M_DROPPED, M_COUNT };
static struct metric metrics[M_COUNT] = {
    [M_SENT] = {"holdfast_replies_sent_total", NULL, "Replies handed to clients' sockets", METRIC_COUNTER, 0},
    [M_DROPPED] = {"holdfast_replies_dropped_total", NULL, "Replies dropped: the client is gone or does not read",
                   METRIC_COUNTER, 0},
};

void answer_metrics(void)
{
    metrics_register(metrics, M_COUNT);
    unread_metrics();
}

void answer_init(const struct answer *a, Hf__Client__Reply *reply, uint64_t id, int code)
{
    hf__client__reply__init(reply);
    reply->version = REQUESTS_VERSION;
    reply->id = id;
    reply->code = code;
    reply->class_ = (uint32_t)error_class(code);
    if (code)
        reply->message = (char *)(uintptr_t)error_text(code); /* static text; packing only reads */
    reply->shard = a->shard;
    reply->route_version = a->route_version;
}

void answer_send(struct answer *a, const struct net_peer *peer, const Hf__Client__Reply *reply)
{
    buf_clear(&a->packed);
    pack_append(&reply->base, &a->packed);
    answer_send_packed(a, peer, buf_slice(&a->packed));
}

void answer_send_packed(struct answer *a, const struct net_peer *peer, struct slice packed)
{
    int rc = net_send_to(a->socket, peer, packed);
    metric_add(&metrics[rc ? M_DROPPED : M_SENT], 1);
}
