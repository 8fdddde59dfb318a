/* replicas.c: see replicas.h. */
#include "tests/unit/coordinator/replicas.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/must.h"
#include "common/sys/net.h"
#include "proto/client.pb-c.h"
#include "proto/pack.h"
#include "tests/support/fakeclock.h"

struct replicas_thread {
    pthread_t id;
    struct replicas *owner;
    struct net *net;
    struct net_socket *sockets[REPLICAS];
    uint32_t clock; /* fakeclock.h */
    _Atomic bool stop;
    struct buf routes, oracle;
    bool oracle_present;
    struct arena arena;
    struct buf out;
};

static void pack_routes(struct replicas *r, struct buf *out)
{
    Hf__Catalog__Member members[REPLICAS], *lists[2][2];
    Hf__Catalog__Shard shards[2], *shard_list[2] = {&shards[0], &shards[1]};
    Hf__Catalog__Range ranges[2];
    Hf__Catalog__Route routes[2], *route_list[2] = {&routes[0], &routes[1]};
    for (uint32_t s = 0; s < 2; s++) {
        for (uint32_t m = 0; m < 2; m++) {
            hf__catalog__member__init(&members[s * 2 + m]);
            members[s * 2 + m].replica = m + 1;
            members[s * 2 + m].client_endpoint = r->endpoints[s * 2 + m];
            lists[s][m] = &members[s * 2 + m];
        }
        hf__catalog__shard__init(&shards[s]);
        shards[s].shard = s + 1;
        shards[s].n_members = 2;
        shards[s].members = lists[s];
        hf__catalog__range__init(&ranges[s]);
        hf__catalog__route__init(&routes[s]);
        routes[s].shard = s + 1;
        routes[s].range = &ranges[s];
    }
    ranges[0].end = ranges[1].start = pack_bytes(slice_text(REPLICAS_SPLIT));
    Hf__Catalog__Routes all = HF__CATALOG__ROUTES__INIT;
    all.version = 1;
    all.cluster = REPLICAS_CLUSTER;
    all.n_routes = all.n_shards = 2;
    all.routes = route_list;
    all.shards = shard_list;
    pack_append(&all.base, out);
}

static void send_reply(struct replicas_thread *t, size_t at, const struct net_peer *peer, Hf__Client__Reply *reply)
{
    buf_clear(&t->out);
    pack_append(&reply->base, &t->out);
    (void)!net_send_to(t->sockets[at], peer, buf_slice(&t->out));
}

static void catalog(struct replicas_thread *t, const Hf__Client__Request *q, Hf__Client__Reply *reply)
{
    if (q->op_case == HF__CLIENT__REQUEST__OP_GET) {
        bool routes = slice_equal(pack_slice(q->get->key), slice_text("routes"));
        bool present = routes ? !t->owner->no_catalog : t->oracle_present;
        reply->code = present ? HF_OK : HF_E_NOT_FOUND;
        if (present)
            reply->value = pack_bytes(buf_slice(routes ? &t->routes : &t->oracle));
        return;
    }
    must(q->op_case == HF__CLIENT__REQUEST__OP_CAS && slice_equal(pack_slice(q->cas->key), slice_text("oracle")));
    if (q->cas->has_expected != t->oracle_present ||
        (t->oracle_present && !slice_equal(pack_slice(q->cas->expected), buf_slice(&t->oracle)))) {
        reply->code = HF_E_COMPARE_FAILED;
        return;
    }
    buf_clear(&t->oracle);
    buf_append(&t->oracle, q->cas->value.data, q->cas->value.len);
    t->oracle_present = true;
}

static void take_beat(struct replica_play *play, const Hf__Client__Request *q)
{
    if (q->beat->issued <= play->last_beat)
        play->beats_fell = true;
    play->last_beat = q->beat->issued;
    play->beats++;
    if (q->beat->routes)
        play->beat_routes++;
}

static void serve(struct replicas_thread *t, size_t at, const struct net_peer *peer, const Hf__Client__Request *q)
{
    struct replica_play *play = &t->owner->play[at];
    uint32_t shard = (uint32_t)at / 2 + 1, replica = (uint32_t)at % 2 + 1;
    struct replica_play *other = &t->owner->play[at ^ 1];
    Hf__Client__Status status = HF__CLIENT__STATUS__INIT;
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    Hf__Client__TxnOutcome txn = HF__CLIENT__TXN_OUTCOME__INIT;
    reply.version = 1;
    reply.id = q->id;
    reply.shard = shard;
    must(q->shard == shard && (q->cluster == 0 || q->cluster == REPLICAS_CLUSTER));
    if (q->op_case == HF__CLIENT__REQUEST__OP_BEAT) {
        take_beat(play, q);
        if (play->beat_routes > 0)
            return;
        send_reply(t, at, peer, &reply); /* route version 0: we know none */
        return;
    }
    reply.route_version = 1;
    if (q->op_case == HF__CLIENT__REQUEST__OP_STATUS) {
        status.shard = shard;
        status.replica = replica;
        status.role = (char *)(uintptr_t)(play->leads ? "leader" : "follower");
        status.term = play->term;
        reply.status = &status;
    } else if (!play->leads || play->denies) {
        play->denied++;
        reply.code = HF_E_NOT_LEADER;
        reply.leader = other->leads ? replica ^ 3 : 0;
    } else if (q->space == HF__ENTRY__SPACE__CATALOG) {
        catalog(t, q, &reply);
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_LEASE) {
        play->leases++;
        play->last_ceiling = q->lease->ceiling;
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_TXNS) {
        play->swept++; /* it keeps none */
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_ROLLBACK) {
        play->rolled_back++;
        txn.state = HF__ENTRY__TXN_STATE__ROLLED_BACK;
        reply.txn = &txn;
    } else if (play->holds_writes) {
        play->swallowed++;
        return;
    } else {
        play->executed++;
        reply.session = replica; /* tells the test who it was */
        if (q->op_case == HF__CLIENT__REQUEST__OP_SCAN)
            reply.value = q->scan->end;
    }
    send_reply(t, at, peer, &reply);
}

static void *play(void *ctx)
{
    struct replicas_thread *t = ctx;
    while (!t->stop) {
        struct net_poll_item items[REPLICAS];
        for (size_t i = 0; i < REPLICAS; i++)
            items[i] = (struct net_poll_item){.socket = t->sockets[i]};
        must(net_poll(items, REPLICAS, FAKECLOCK_TURN_MS) >= 0);
        for (size_t i = 0; i < REPLICAS; i++) {
            struct net_peer peer;
            struct net_message message;
            while (net_receive(t->sockets[i], &peer, &message) == HF_OK) {
                Hf__Client__Request *q =
                    pack_unpack(&hf__client__request__descriptor, net_message_data(&message), &t->arena);
                must(q != NULL);
                if (!t->owner->play[i].silent)
                    serve(t, i, &peer, q);
                net_message_release(&message);
                arena_reset(&t->arena);
            }
        }
        fakeclock_turn(t->clock);
    }
    return NULL;
}

void replicas_start(struct replicas *r, int port)
{
    struct replicas_thread *t = calloc(1, sizeof *t);
    must(t != NULL);
    memset(r, 0, sizeof *r);
    r->thread = t;
    t->owner = r;
    t->net = net_new(1, 64);
    struct net_options options = {.hwm = 1000, .message_bytes = 16 << 20};
    for (int i = 0; i < REPLICAS; i++) {
        snprintf(r->endpoints[i], sizeof r->endpoints[i], "tcp://127.0.0.1:%d", port + i);
        must(net_listen(t->net, r->endpoints[i], &options, &t->sockets[i]) == 0);
        r->play[i].leads = i % 2 == 0;
        r->play[i].term = 1;
    }
    snprintf(r->seeds, sizeof r->seeds, "%s,%s", r->endpoints[0], r->endpoints[1]);
    pack_routes(r, &t->routes);
    t->clock = fakeclock_begin();
    must(pthread_create(&t->id, NULL, play, t) == 0);
}

void replicas_stop(struct replicas *r)
{
    struct replicas_thread *t = r->thread;
    t->stop = true;
    must(pthread_join(t->id, NULL) == 0);
    fakeclock_end(t->clock);
    for (size_t i = 0; i < REPLICAS; i++)
        net_close(&t->sockets[i]);
    net_free(&t->net);
    buf_deinit(&t->routes);
    buf_deinit(&t->oracle);
    buf_deinit(&t->out);
    arena_deinit(&t->arena);
    free(t);
}
