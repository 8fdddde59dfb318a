/* transport.c: see transport.h. */
#include "shard/replica/transport.h"

#include <stdlib.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/diag.h"
#include "common/sys/metrics.h"
#include "proto/pack.h"

#define PROTOCOL_VERSION 1
#define CONNECTIONS_MAX (4 * LIMIT_PEERS) /* each peer's, and some that it left behind */
#define PEER_HWM 4096 /* messages; flow is bounded by the engine's own in-flight limits long before */

enum {
    M_SENT,
    M_RECEIVED,
    M_UNDELIVERED,
    M_MALFORMED,
    M_CLUSTER,
    M_GROUP,
    M_EPOCH,
    M_ENGINE,
    M_STRANGER,
    M_INCARNATION,
    M_COUNT
};

#define DROPPED(reason)                                                                                                \
    {                                                                                                                  \
        "holdfast_raft_messages_dropped_total", "reason=\"" reason "\"", "Messages dropped, by reason",                \
            METRIC_COUNTER, 0                                                                                          \
    }

static struct metric metrics[M_COUNT] = {
    [M_SENT] = {"holdfast_raft_messages_sent_total", NULL, "Messages handed to peers' sockets", METRIC_COUNTER, 0},
    [M_RECEIVED] = {"holdfast_raft_messages_received_total", NULL, "Messages accepted from peers", METRIC_COUNTER, 0},
    [M_UNDELIVERED] = DROPPED("undelivered"),
    [M_MALFORMED] = DROPPED("malformed"),
    [M_CLUSTER] = DROPPED("cluster"),
    [M_GROUP] = DROPPED("group"),
    [M_EPOCH] = DROPPED("epoch"),
    [M_ENGINE] = DROPPED("engine"),
    [M_STRANGER] = DROPPED("stranger"),
    [M_INCARNATION] = DROPPED("incarnation"),
};

struct member { /* who may speak to us, whether we can reach it or not */
    uint32_t replica;
    uint64_t incarnation;
};

struct peer {
    uint32_t replica;
    uint64_t incarnation;
    char *endpoint;            /* owned */
    struct net_socket *socket; /* owned */
};

struct transport {
    struct net *net; /* borrowed */
    struct identity id;
    struct net_socket *listener; /* owned */
    struct peer peers[LIMIT_PEERS];
    size_t peer_count;
    struct member members[LIMIT_PEERS];
    size_t member_count;
    struct buf packed;     /* reused for every message */
    struct arena received; /* of the last message received */
};

int transport_open(struct net *net, const char *endpoint, const struct identity *id, struct transport **out)
{
    struct net_options options = {
        .hwm = PEER_HWM, .message_bytes = LIMIT_RAFT_MESSAGE_BYTES, .connections_max = CONNECTIONS_MAX};
    struct net_socket *listener = NULL;
    int rc = net_listen(net, endpoint, &options, &listener);
    if (rc)
        return rc;
    struct transport *t = calloc(1, sizeof *t);
    must(t);
    t->net = net;
    t->id = *id;
    t->listener = listener;
    metrics_register(metrics, M_COUNT);
    *out = t;
    return HF_OK;
}

static void peer_drop(struct transport *t, size_t i)
{
    free(t->peers[i].endpoint);
    net_close(&t->peers[i].socket);
    t->peers[i] = t->peers[--t->peer_count];
}

void transport_close(struct transport **t)
{
    if (!*t)
        return;
    while ((*t)->peer_count > 0)
        peer_drop(*t, 0);
    net_close(&(*t)->listener);
    buf_deinit(&(*t)->packed);
    arena_deinit(&(*t)->received);
    free(*t);
    *t = NULL;
}

static struct peer *peer_find(struct transport *t, uint32_t replica)
{
    for (size_t i = 0; i < t->peer_count; i++)
        if (t->peers[i].replica == replica)
            return &t->peers[i];
    return NULL;
}

static bool still_there(const struct peer *p, const Hf__Catalog__Members *members)
{
    for (size_t i = 0; i < members->n_members; i++) {
        const Hf__Catalog__Member *m = members->members[i];
        if (m->replica == p->replica && m->incarnation == p->incarnation && strcmp(m->raft_endpoint, p->endpoint) == 0)
            return true;
    }
    return false;
}

static void peer_add(struct transport *t, const Hf__Catalog__Member *m)
{
    struct net_options options = {.hwm = PEER_HWM, .message_bytes = LIMIT_RAFT_MESSAGE_BYTES};
    struct net_socket *socket = NULL;
    int rc = net_connect(t->net, m->raft_endpoint, &options, &socket);
    if (rc) {
        diag(DIAG_ERROR, "cannot connect to a peer replica=%u endpoint=%s error=\"%s\"", m->replica, m->raft_endpoint,
             error_text(rc));
        return;
    }
    must(t->peer_count < LIMIT_PEERS); /* I12: peers_check bounds a configuration */
    char *endpoint = strdup(m->raft_endpoint);
    must(endpoint);
    t->peers[t->peer_count++] = (struct peer){m->replica, m->incarnation, endpoint, socket};
}

void transport_members(struct transport *t, const Hf__Catalog__Members *members)
{
    for (size_t i = 0; i < t->peer_count;)
        if (still_there(&t->peers[i], members))
            i++;
        else
            peer_drop(t, i);
    must(members->n_members <= LIMIT_PEERS); /* I12: peers_check bounds a configuration */
    t->member_count = members->n_members;
    for (size_t i = 0; i < members->n_members; i++) {
        const Hf__Catalog__Member *m = members->members[i];
        t->members[i] = (struct member){m->replica, m->incarnation};
        if (m->replica != t->id.replica && m->raft_endpoint[0] && !peer_find(t, m->replica))
            peer_add(t, m);
    }
}

void transport_send(struct transport *t, uint32_t to, const Hf__Raft__Raft *m, uint64_t commit)
{
    struct peer *p = peer_find(t, to);
    if (!p) {
        metric_add(&metrics[M_UNDELIVERED], 1);
        return;
    }
    Hf__Raft__Envelope e = HF__RAFT__ENVELOPE__INIT;
    e.version = PROTOCOL_VERSION;
    e.cluster = t->id.cluster;
    e.group = t->id.group;
    e.log_epoch = t->id.log_epoch;
    e.engine = t->id.engine;
    e.from = t->id.replica;
    e.from_incarnation = t->id.incarnation;
    e.to = to;
    e.to_incarnation = p->incarnation;
    e.commit = commit;
    e.body_case = HF__RAFT__ENVELOPE__BODY_RAFT;
    e.raft = (Hf__Raft__Raft *)(uintptr_t)m; /* packing only reads */
    buf_clear(&t->packed);
    pack_append(&e.base, &t->packed);
    int rc = net_send(p->socket, buf_slice(&t->packed));
    metric_add(&metrics[rc ? M_UNDELIVERED : M_SENT], 1);
}

static const struct member *member_find(const struct transport *t, uint32_t replica)
{
    for (size_t i = 0; i < t->member_count; i++)
        if (t->members[i].replica == replica)
            return &t->members[i];
    return NULL;
}

/* Which counter a message falls to; M_RECEIVED when it is for us. */
static int judge(struct transport *t, const Hf__Raft__Envelope *e)
{
    if (e->version != PROTOCOL_VERSION || e->body_case != HF__RAFT__ENVELOPE__BODY_RAFT || !e->raft)
        return M_MALFORMED;
    if (e->cluster != t->id.cluster)
        return M_CLUSTER;
    if (e->group != t->id.group || e->to != t->id.replica || e->from == t->id.replica)
        return M_GROUP;
    if (e->log_epoch != t->id.log_epoch)
        return M_EPOCH;
    if (strcmp(e->engine, t->id.engine) != 0)
        return M_ENGINE;
    const struct member *from = member_find(t, e->from);
    if (!from)
        return M_STRANGER;
    if (from->incarnation != e->from_incarnation || (e->to_incarnation && e->to_incarnation != t->id.incarnation))
        return M_INCARNATION;
    return M_RECEIVED;
}

int transport_receive(struct transport *t, const Hf__Raft__Envelope **out)
{
    struct net_message message;
    int rc = net_receive(t->listener, NULL, &message);
    if (rc && rc != HF_E_PROTOCOL)
        return rc;
    int verdict = M_MALFORMED;
    if (!rc) {
        arena_reset(&t->received); /* I12: however many come in a turn, whoever sends them */
        const Hf__Raft__Envelope *e =
            pack_unpack(&hf__raft__envelope__descriptor, net_message_data(&message), &t->received);
        net_message_release(&message);
        if (e) {
            verdict = judge(t, e);
            *out = e;
        }
    }
    metric_add(&metrics[verdict], 1);
    return verdict == M_RECEIVED ? HF_OK : HF_E_PROTOCOL;
}

struct net_socket *transport_socket(const struct transport *t)
{
    return t->listener;
}
