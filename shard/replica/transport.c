/* transport.c: see transport.h. */
#include "shard/replica/transport.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "common/sys/metrics.h"
#include "proto/pack.h"

#define PROTOCOL_VERSION 1
#define CONNECTIONS_MAX (4 * LIMIT_PEERS) /* each peer's, and some that it left behind */
#define PEER_HWM 4096                 /* messages; flow is bounded by the engine's own in-flight limits long before */
#define UNANSWERED 16                 /* messages to a peer in a row: it may not know where we are */
#define TERM_LEAP (UINT64_C(1) << 32) /* no replica sleeps through so many elections */

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
    M_SEALED,
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
    [M_SEALED] = {"holdfast_raft_sealed_sent_total", NULL,
                  "Peers told that the log they speak of was left for another engine", METRIC_COUNTER, 0},
};

struct member { /* who may speak to us, whether we can reach it or not */
    uint32_t replica;
    uint64_t incarnation;
    char *snapshots; /* owned; where it serves its state, as it last said. NULL: it did not */
    bool mute;       /* it has no address */
};

struct peer {
    uint32_t replica;
    uint64_t incarnation;
    char *endpoint;            /* owned */
    struct net_socket *socket; /* owned */
    unsigned unanswered;       /* messages since it was last heard, and as many as it takes at first */
};

struct transport {
    struct net *net; /* borrowed */
    struct identity id;
    struct net_socket *listener; /* owned */
    struct peer peers[LIMIT_PEERS];
    size_t peer_count;
    struct peer guest; /* who last asked us and is no member that we know; no socket: nobody */
    struct member guest_said;
    char *endpoint;  /* owned; our own, as the members list gives it. NULL: it does not */
    char *snapshots; /* owned; where we serve our state. NULL: we do not */
    uint32_t leader; /* that the engine follows, 0: none */
    uint64_t term;   /* of the engine */
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
    int rc = net_serve(net, endpoint, &options, &listener);
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

static void peer_close(struct peer *p)
{
    free(p->endpoint);
    net_close(&p->socket);
    *p = (struct peer){0};
}

static void peer_drop(struct transport *t, size_t i)
{
    peer_close(&t->peers[i]);
    t->peers[i] = t->peers[--t->peer_count];
}

void transport_close(struct transport **t)
{
    if (!*t)
        return;
    while ((*t)->peer_count > 0)
        peer_drop(*t, 0);
    peer_close(&(*t)->guest);
    for (size_t i = 0; i < (*t)->member_count; i++)
        free((*t)->members[i].snapshots);
    free((*t)->guest_said.snapshots);
    free((*t)->endpoint);
    free((*t)->snapshots);
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
    return t->guest.socket && t->guest.replica == replica ? &t->guest : NULL;
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

/* False: it cannot be reached. */
static bool peer_open(struct transport *t, struct peer *p, uint32_t replica, uint64_t incarnation, const char *endpoint)
{
    struct net_options options = {.hwm = PEER_HWM, .message_bytes = LIMIT_RAFT_MESSAGE_BYTES};
    struct net_socket *socket = NULL;
    int rc = net_connect(t->net, endpoint, &options, &socket);
    if (rc) {
        diag(DIAG_ERROR, "cannot connect to a peer replica=%u endpoint=%s error=\"%s\"", replica, endpoint,
             error_text(rc));
        return false;
    }
    char *copy = strdup(endpoint);
    must(copy); /* out of memory */
    *p = (struct peer){replica, incarnation, copy, socket, UNANSWERED};
    return true;
}

static void peer_add(struct transport *t, const Hf__Catalog__Member *m)
{
    must(t->peer_count < LIMIT_PEERS); /* I12: peers_check bounds a configuration */
    if (peer_open(t, &t->peers[t->peer_count], m->replica, m->incarnation, m->raft_endpoint))
        t->peer_count++;
}

static void replace_text(char **text, const char *with)
{
    if (*text && strcmp(*text, with) == 0)
        return;
    free(*text);
    *text = strdup(with);
    must(*text); /* out of memory */
}

/* The new list; what those that stay have said stays. */
static void members_replace(struct transport *t, const Hf__Catalog__Members *members)
{
    struct member was[LIMIT_PEERS];
    size_t count = t->member_count;
    memcpy(was, t->members, sizeof was);
    must(members->n_members <= LIMIT_PEERS); /* I12: peers_check bounds a configuration */
    t->member_count = members->n_members;
    for (size_t i = 0; i < members->n_members; i++) {
        const Hf__Catalog__Member *m = members->members[i];
        bool mute = m->replica != t->id.replica && !m->raft_endpoint[0], said = false;
        t->members[i] = (struct member){m->replica, m->incarnation, NULL, mute};
        for (size_t k = 0; k < count; k++)
            if (was[k].replica == m->replica && was[k].incarnation == m->incarnation) {
                t->members[i].snapshots = was[k].snapshots;
                was[k].snapshots = NULL;
                said = was[k].mute;
            }
        if (mute && !said)
            diag(DIAG_WARN, "replica %u/%u has no raft address: it stays a member, but nothing is sent to it",
                 t->id.group, m->replica);
    }
    for (size_t k = 0; k < count; k++)
        free(was[k].snapshots);
}

void transport_members(struct transport *t, const Hf__Catalog__Members *members)
{
    for (size_t i = 0; i < t->peer_count;)
        if (still_there(&t->peers[i], members))
            i++;
        else
            peer_drop(t, i);
    members_replace(t, members);
    for (size_t i = 0; i < members->n_members; i++) {
        const Hf__Catalog__Member *m = members->members[i];
        if (m->replica == t->guest.replica)
            peer_close(&t->guest);
        if (m->replica == t->id.replica)
            replace_text(&t->endpoint, m->raft_endpoint);
        else if (m->raft_endpoint[0] && !peer_find(t, m->replica))
            peer_add(t, m);
    }
}

/* Only whom a replica may fetch from: a leader, with what is sent at its own pace, or who went on in a later epoch (no message). */
static bool tells_snapshots(const Hf__Raft__Raft *m)
{
    return m == NULL || m->kind == HF__RAFT__KIND__SNAPSHOT || (m->kind == HF__RAFT__KIND__APPEND && m->n_entries == 0);
}

static Hf__Raft__Envelope envelope_to(struct transport *t, const struct peer *p)
{
    Hf__Raft__Envelope e = HF__RAFT__ENVELOPE__INIT;
    e.version = PROTOCOL_VERSION;
    e.cluster = t->id.cluster;
    e.group = t->id.group;
    e.log_epoch = t->id.log_epoch;
    e.engine = t->id.engine;
    e.from = t->id.replica;
    e.from_incarnation = t->id.incarnation;
    e.to = p->replica;
    e.to_incarnation = p->incarnation;
    return e;
}

static void envelope_send(struct transport *t, const struct peer *p, const Hf__Raft__Envelope *e, int counter)
{
    buf_clear(&t->packed);
    pack_append(&e->base, &t->packed);
    int rc = net_send(p->socket, buf_slice(&t->packed));
    metric_add(&metrics[rc ? M_UNDELIVERED : counter], 1);
}

void transport_send(struct transport *t, uint32_t to, const Hf__Raft__Raft *m, uint64_t commit)
{
    struct peer *p = peer_find(t, to);
    if (!p) {
        metric_add(&metrics[M_UNDELIVERED], 1);
        return;
    }
    Hf__Raft__Envelope e = envelope_to(t, p);
    e.commit = commit;
    if (p->unanswered < UNANSWERED)
        p->unanswered++;
    else if (t->endpoint)
        e.from_endpoint = t->endpoint;
    if (t->snapshots && tells_snapshots(m))
        e.snapshot_endpoint = t->snapshots;
    e.body_case = HF__RAFT__ENVELOPE__BODY_RAFT;
    e.raft = (Hf__Raft__Raft *)(uintptr_t)m; /* packing only reads */
    envelope_send(t, p, &e, M_SENT);
}

static size_t member_at(const struct transport *t, uint32_t replica) /* member_count: it is none */
{
    size_t i = 0;
    while (i < t->member_count && t->members[i].replica != replica)
        i++;
    return i;
}

static const struct member *member_find(const struct transport *t, uint32_t replica)
{
    size_t i = member_at(t, replica);
    return i < t->member_count ? &t->members[i] : NULL;
}

/* Where the sender of a message says that it serves its state. A text that cannot be an endpoint (I11) is as none. */
static void note_snapshots(struct transport *t, const Hf__Raft__Envelope *e)
{
    if (!e->snapshot_endpoint[0] || strlen(e->snapshot_endpoint) > LIMIT_TEXT_BYTES ||
        !tells_snapshots(e->body_case == HF__RAFT__ENVELOPE__BODY_RAFT ? e->raft : NULL))
        return;
    size_t i = member_at(t, e->from);
    struct member *m = i < t->member_count ? &t->members[i] : &t->guest_said;
    m->replica = e->from;
    m->incarnation = e->from_incarnation;
    replace_text(&m->snapshots, e->snapshot_endpoint);
}

void transport_announce(struct transport *t, const char *snapshot_endpoint)
{
    replace_text(&t->snapshots, snapshot_endpoint);
}

const char *transport_snapshots(const struct transport *t, uint32_t replica)
{
    const struct member *m = member_find(t, replica);
    if (!m && t->guest_said.replica == replica)
        m = &t->guest_said;
    return m ? m->snapshots : NULL;
}

/* A replica that slept through a change of members must still answer those that came meanwhile, or it never hears of the
 * change (Ongaro 2014, §4.1). They name this incarnation, which they have from a configuration, and are heard only while
 * nobody else leads here: a stranger disturbs no group that works. */
static bool may_be_member(const struct transport *t, const Hf__Raft__Envelope *e)
{
    if (e->from == 0 || e->to_incarnation != t->id.incarnation || (t->leader != 0 && t->leader != e->from))
        return false;
    if (e->raft->term > t->term && e->raft->term - t->term > TERM_LEAP)
        return false;
    switch (e->raft->kind) {
    case HF__RAFT__KIND__PREVOTE:
    case HF__RAFT__KIND__VOTE:
    case HF__RAFT__KIND__APPEND:
    case HF__RAFT__KIND__SNAPSHOT:
        return true;
    case HF__RAFT__KIND__NONE: /* what answers a question, or orders something, comes from members only */
    case HF__RAFT__KIND__PREVOTE_REPLY:
    case HF__RAFT__KIND__VOTE_REPLY:
    case HF__RAFT__KIND__APPEND_REPLY:
    case HF__RAFT__KIND__TIMEOUT_NOW:
    case HF__RAFT__KIND__SNAPSHOT_REPLY:
    case _HF__RAFT__KIND_IS_INT_SIZE:
        return false;
    }
    return false;
}

/* Whoever sent it gets our answers. */
static void welcome(struct transport *t, const Hf__Raft__Envelope *e)
{
    struct peer *p = peer_find(t, e->from);
    if (p && p != &t->guest)
        p->unanswered = 0;
    if (member_find(t, e->from) || !e->from_endpoint[0] || strlen(e->from_endpoint) > LIMIT_TEXT_BYTES)
        return;
    if (p && p->incarnation == e->from_incarnation && strcmp(p->endpoint, e->from_endpoint) == 0)
        return;
    peer_close(&t->guest);
    if (peer_open(t, &t->guest, e->from, e->from_incarnation, e->from_endpoint))
        diag(DIAG_INFO, "a replica that is no member here speaks for this group replica=%u endpoint=%s", e->from,
             e->from_endpoint);
}

/* A member that went on, to our epoch or a later one, says where the log before its own ended. */
static bool tells_an_end(const struct transport *t, const Hf__Raft__Envelope *e)
{
    return e->log_epoch >= t->id.log_epoch && e->sealed->epoch != 0 && e->sealed->epoch + 1 == e->log_epoch &&
           e->sealed->index != 0 && e->sealed->term != 0;
}

static void send_sealed(struct transport *t, const struct peer *p, const struct identity_left *left)
{
    Hf__Raft__Sealed sealed = HF__RAFT__SEALED__INIT;
    sealed.epoch = left->epoch;
    sealed.migration = left->migration;
    sealed.index = left->index;
    sealed.term = left->term;
    Hf__Raft__Envelope answer = envelope_to(t, p);
    if (left->epoch != 0)
        answer.log_epoch = left->epoch + 1;
    answer.body_case = HF__RAFT__ENVELOPE__BODY_SEALED;
    answer.sealed = &sealed;
    if (t->snapshots)
        answer.snapshot_endpoint = t->snapshots;
    envelope_send(t, p, &answer, M_SEALED);
}

/* Of another epoch. An earlier one's log was left: whoever still speaks of it is told where it ended. A later one: we are to be told,
 * and ask by naming no end. */
static void meet_epoch(struct transport *t, const Hf__Raft__Envelope *e)
{
    static const struct identity_left unknown;
    const struct member *from = member_find(t, e->from);
    const struct peer *p = peer_find(t, e->from);
    bool sealed = e->body_case == HF__RAFT__ENVELOPE__BODY_SEALED;
    if (!p || !from || from->incarnation != e->from_incarnation)
        return;
    if (e->log_epoch < t->id.log_epoch && t->id.left.epoch && !planted_bug("transport.no_sealed") &&
        (!sealed || e->sealed->index == 0))
        send_sealed(t, p, &t->id.left);
    else if (e->log_epoch > t->id.log_epoch && !sealed)
        send_sealed(t, p, &unknown);
}

void transport_tell_end(struct transport *t, const struct identity_left *left)
{
    for (size_t i = 0; i < t->peer_count; i++)
        send_sealed(t, &t->peers[i], left);
}

void transport_cross(struct transport *t, const struct identity *id)
{
    must(id->left.epoch != 0 && id->log_epoch > t->id.log_epoch);
    t->id = *id;
    t->leader = 0;
    transport_tell_end(t, &t->id.left);
}

/* Which counter a message falls to; M_RECEIVED when it is for us. */
static int judge(struct transport *t, const Hf__Raft__Envelope *e)
{
    bool sealed = e->body_case == HF__RAFT__ENVELOPE__BODY_SEALED && e->sealed;
    if (e->version != PROTOCOL_VERSION || !(sealed || (e->body_case == HF__RAFT__ENVELOPE__BODY_RAFT && e->raft)))
        return M_MALFORMED;
    if (e->cluster != t->id.cluster)
        return M_CLUSTER;
    if (e->group != t->id.group || e->to != t->id.replica || e->from == t->id.replica)
        return M_GROUP;
    if (sealed ? !tells_an_end(t, e) : e->log_epoch != t->id.log_epoch)
        return M_EPOCH;
    if (!sealed && strcmp(e->engine, t->id.engine) != 0)
        return M_ENGINE;
    const struct member *from = member_find(t, e->from);
    if (!from && (sealed || !may_be_member(t, e)))
        return M_STRANGER;
    bool mistaken = e->to_incarnation && e->to_incarnation != t->id.incarnation;
    if (mistaken || (from && from->incarnation != e->from_incarnation))
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
            if (verdict == M_RECEIVED) {
                welcome(t, e);
                note_snapshots(t, e);
            }
            if (verdict == M_EPOCH)
                meet_epoch(t, e);
        }
    }
    metric_add(&metrics[verdict], 1);
    return verdict == M_RECEIVED ? HF_OK : HF_E_PROTOCOL;
}

void transport_follows(struct transport *t, uint32_t leader, uint64_t term)
{
    t->leader = leader;
    t->term = term;
}

struct net_socket *transport_socket(const struct transport *t)
{
    return t->listener;
}
