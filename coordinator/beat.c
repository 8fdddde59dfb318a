/* beat.c: see beat.h. */
#include "coordinator/beat.h"

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "coordinator/limits.h"
#include "proto/client.pb-c.h"
#include "proto/pack.h"

void beat_init(struct beat *b, struct links *links, struct oracle *oracle)
{
    *b = (struct beat){.links = links, .oracle = oracle};
}

void beat_deinit(struct beat *b)
{
    buf_deinit(&b->frame);
}

static void send_beat(struct beat *b, struct link *link, Hf__Catalog__Routes *routes, struct hlc issued)
{
    Hf__Client__Beat beat = HF__CLIENT__BEAT__INIT;
    beat.issued = issued.t;
    beat.route_version = routes->version;
    beat.routes = link->wants_routes ? routes : NULL;
    beat.fresh = link->question;
    link->question = 0;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.version = 1;
    request.id = BEAT_ID;
    request.cluster = routes->cluster;
    request.shard = link->shard;
    request.route_version = routes->version;
    request.op_case = HF__CLIENT__REQUEST__OP_BEAT;
    request.beat = &beat;
    buf_clear(&b->frame);
    pack_append(&request.base, &b->frame);
    if (net_send(link->socket, buf_slice(&b->frame)) == HF_OK)
        link->wants_routes = false; /* it says so again if these did not arrive; a lost beat is made good by the next */
}

void beat_answer(struct beat *b, struct link *link, Hf__Catalog__Routes *routes)
{
    struct hlc issued;
    must(link->question != 0);
    if (oracle_issue(b->oracle, &issued)) /* after the question came */
        link->question = 0;
    else
        send_beat(b, link, routes, issued);
}

void beat_tick(struct beat *b, Hf__Catalog__Routes *routes, uint64_t now_ns)
{
    struct hlc issued;
    if (now_ns < b->next_ns)
        return;
    b->next_ns = now_ns + BEAT_MS * CLOCK_NS_PER_MS;
    if (oracle_issue(b->oracle, &issued))
        return;
    for (size_t i = 0; i < b->links->count; i++) {
        struct link *link = b->links->all[i];
        bool silent = link->heard_ns == 0 || now_ns - link->heard_ns > LINK_SILENT_MS * CLOCK_NS_PER_MS;
        if (!silent) /* a stopped process must not find an hour of beats in its socket */
            send_beat(b, link, routes, issued);
    }
}
