/* fake.c: see fake.h. */
#include "tests/unit/client/fake.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/must.h"
#include "proto/pack.h"
#include "tests/support/fakeclock.h"

#define WINDOW 1024
#define CLUSTER 77

void fake_init(struct fake *f, int port)
{
    memset(f, 0, sizeof *f);
    pthread_mutex_init(&f->txn_lock, NULL);
    f->hints = true;
    f->leader = FAKE_A;
    f->routed_leader = FAKE_A;
    f->port = port;
}

static struct fake_session *session_of(struct fake *f, uint64_t id)
{
    for (int i = 0; i < f->sessions_count; i++)
        if (f->sessions[i].id == id)
            return &f->sessions[i];
    return NULL;
}

struct routes_memory {
    Hf__Catalog__Member members[2];
    Hf__Catalog__Member *lists[2][2];
    Hf__Catalog__Shard shards[2], *shard_list[2];
    Hf__Catalog__Range ranges[2];
    Hf__Catalog__Route routes[2], *route_list[2];
    Hf__Catalog__Routes all;
};

static Hf__Catalog__Routes *routes_of(struct fake *f, struct routes_memory *m, bool split)
{
    hf__catalog__routes__init(&m->all);
    m->all.version = split ? 2 : 1;
    m->all.cluster = CLUSTER;
    m->all.routes = m->route_list;
    m->all.shards = m->shard_list;
    m->all.n_routes = m->all.n_shards = split ? 2 : 1;
    for (int i = 0; i < 2; i++) {
        hf__catalog__member__init(&m->members[i]);
        m->members[i].replica = (uint32_t)(FAKE_A + i);
        m->members[i].client_endpoint = f->endpoints[FAKE_A + i];
        m->members[i].raft_endpoint = f->endpoints[FAKE_A + i];
    }
    for (int i = 0; i < 2; i++) {
        hf__catalog__shard__init(&m->shards[i]);
        hf__catalog__range__init(&m->ranges[i]);
        hf__catalog__route__init(&m->routes[i]);
        m->shards[i].shard = m->routes[i].shard = (uint32_t)i + 1;
        m->lists[i][0] = &m->members[split ? i : 0];
        m->lists[i][1] = &m->members[1];
        m->shards[i].members = m->lists[i];
        m->shards[i].n_members = split ? 1 : 2;
        m->shards[i].leader = split ? (uint32_t)(FAKE_A + i) : (uint32_t)f->routed_leader;
        m->routes[i].range = &m->ranges[i];
        m->route_list[i] = &m->routes[i];
        m->shard_list[i] = &m->shards[i];
    }
    if (split) {
        m->ranges[0].end = pack_bytes(slice_text("m"));
        m->ranges[1].start = pack_bytes(slice_text("m"));
    }
    return &m->all;
}

static void send_reply(struct fake *f, int server, const struct net_peer *peer, const Hf__Client__Reply *reply)
{
    struct buf packed = {0};
    pack_append(&reply->base, &packed);
    for (int i = 0; i < (f->twice ? 2 : 1); i++) {
        int rc = net_send_to(f->sockets[server], peer, buf_slice(&packed));
        (void)rc; /* a client that is gone */
    }
    buf_deinit(&packed);
}

/* A write at its leader. False: no answer. */
static bool write_at_leader(struct fake *f, uint32_t shard, const Hf__Client__Request *q, Hf__Client__Reply *reply)
{
    atomic_fetch_add(&f->writes, 1);
    atomic_store(&f->last_session, q->session);
    atomic_store(&f->last_seq, q->seq);
    if (q->seq >= q->done_below + WINDOW)
        atomic_fetch_add(&f->window_broken, 1);
    if (atomic_exchange(&f->forget_sessions, false))
        for (int i = 0; i < f->sessions_count; i++)
            f->sessions[i].id = 0;
    if (f->refuse_writes != 0 && atomic_fetch_sub(&f->refuse_times, 1) > 0) {
        reply->code = f->refuse_writes;
        return true;
    }
    struct fake_session *s = session_of(f, q->session);
    if (!s || s->shard != shard) {
        reply->code = HF_E_SESSION_UNKNOWN;
        return true;
    }
    if (s->executed[q->seq]++ == 0)
        atomic_fetch_add(&f->executed, 1);
    else
        atomic_fetch_add(&f->repeated, 1);
    if (q->seq == atomic_load(&f->hold_seq))
        return false;
    return atomic_fetch_sub(&f->lose_replies, 1) <= 0;
}

/* ---- transactions ---- */

HF_PRINTF(2, 3) static void note(struct fake *f, const char *format, ...)
{
    size_t size = strlen(f->txn.text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(f->txn.text + size, sizeof f->txn.text - size, format, arguments);
    va_end(arguments);
}

static void note_txn(struct fake *f, const Hf__Client__Request *q)
{
    const Hf__Client__Txn *t = q->txn;
    pthread_mutex_lock(&f->txn_lock);
    f->txn.text[0] = 0;
    f->txn.start = t->start;
    f->txn.shard = q->shard;
    for (size_t i = 0; i < t->n_writes; i++) {
        const Hf__Entry__TxnWrite *w = t->writes[i];
        char sign = w->op == HF__ENTRY__OP__PUT ? '+' : w->op == HF__ENTRY__OP__DELETE ? '-' : '*';
        note(f, "%c%.*s", sign, (int)w->key.len, (const char *)w->key.data);
        if (sign == '+')
            note(f, "=%.*s", (int)w->value.len, (const char *)w->value.data);
        note(f, " ");
        f->txn.ttl = w->ttl_ms;
    }
    for (size_t i = 0; i < t->n_reads; i++) {
        const Hf__Entry__TxnRead *r = t->reads[i];
        if (r->range)
            note(f, "?[%.*s,%.*s) ", (int)r->key.len, (const char *)r->key.data, (int)r->end.len,
                 (const char *)r->end.data);
        else
            note(f, "?%.*s ", (int)r->key.len, (const char *)r->key.data);
    }
    pthread_mutex_unlock(&f->txn_lock);
}

const struct fake_txn *fake_noted(struct fake *f)
{
    static struct fake_txn noted;
    pthread_mutex_lock(&f->txn_lock);
    noted = f->txn;
    pthread_mutex_unlock(&f->txn_lock);
    return &noted;
}

/* True: a lock is in its way. */
static bool meets_lock(struct fake *f, Hf__Client__Reply *reply)
{
    static _Thread_local Hf__Entry__TxnId id = HF__ENTRY__TXN_ID__INIT;
    static _Thread_local Hf__Client__Lock lock = HF__CLIENT__LOCK__INIT;
    if (atomic_load(&f->locked) <= 0)
        return false;
    atomic_fetch_sub(&f->locked, 1);
    atomic_fetch_add(&f->locks_met, 1);
    id.home = 1;
    id.session = 2;
    id.seq = 3;
    lock.id = &id;
    reply->code = HF_E_KEY_LOCKED;
    reply->lock = &lock;
    return true;
}

/* At its shard or at the coordinator. False: no answer. */
static bool transaction(struct fake *f, const Hf__Client__Request *q, Hf__Client__Reply *reply)
{
    static _Thread_local Hf__Client__Conflict conflict = HF__CLIENT__CONFLICT__INIT;
    note_txn(f, q);
    if (atomic_load(&f->conflicts) > 0) {
        atomic_fetch_sub(&f->conflicts, 1);
        conflict.key = pack_bytes(slice_text("c"));
        conflict.above = f->conflict_above;
        reply->code = HF_E_CONFLICT;
        reply->conflict = &conflict;
        return true;
    }
    reply->timestamp = atomic_fetch_add(&f->issued, 1) + 1;
    return q->txn->n_writes == 0 || write_at_leader(f, q->shard, q, reply);
}

static void scan(struct fake *f, const Hf__Client__Scan *q, Hf__Client__Reply *reply, Hf__Client__Item *items,
                 Hf__Client__Item **list)
{
    reply->items = list;
    for (int n = 0; n < f->keys_count; n++) {
        struct slice key = slice_text(f->keys[q->reverse ? f->keys_count - 1 - n : n]);
        if (slice_compare(key, pack_slice(q->start)) < 0 || (q->end.len && slice_compare(key, pack_slice(q->end)) >= 0))
            continue;
        if (reply->n_items == 2) { /* pages of two */
            struct slice last = pack_slice(list[1]->key);
            reply->more = true;
            reply->next = q->reverse ? pack_bytes(last) : pack_bytes(key);
            return;
        }
        Hf__Client__Item *item = &items[reply->n_items];
        hf__client__item__init(item);
        item->key = item->value = pack_bytes(key);
        list[reply->n_items++] = item;
    }
}

/* True: nothing is read at `at`, not any more or not by this one. */
static bool refused_at(struct fake *f, int server, uint64_t at, Hf__Client__Reply *reply)
{
    if (at != 0 && server == f->latest_only) {
        reply->code = HF_E_REFUSED;
        return true;
    }
    if (at == 0 || at > f->restart || atomic_fetch_sub(&f->restart_after, 1) > 0)
        return false;
    reply->code = HF_E_RESTART_ABOVE;
    reply->timestamp = f->told = f->restart;
    return true;
}

/* For a cut `above` is the mark that a shard told it; that it told a client is the same here. */
static void give_timestamp(struct fake *f, uint64_t above, Hf__Client__Reply *reply)
{
    atomic_fetch_add(&f->timestamps, 1);
    reply->code = f->refuse_timestamps;
    reply->leader_endpoint = (char *)(uintptr_t)f->timestamp_hint;
    if (reply->code)
        return;
    if (f->issued < above)
        f->issued = above;
    reply->timestamp = ++f->issued;
}

static uint64_t open_session(struct fake *f, uint32_t shard)
{
    struct fake_session *s = &f->sessions[atomic_fetch_add(&f->sessions_count, 1)];
    memset(s, 0, sizeof *s);
    s->shard = shard;
    s->id = (uint64_t)++f->sessions_opened + 100;
    return s->id;
}

static bool answer_shard(struct fake *f, int server, bool routed, const Hf__Client__Request *q,
                         Hf__Client__Reply *reply)
{
    static _Thread_local Hf__Client__Version version = HF__CLIENT__VERSION__INIT; /* of each fake */
    static _Thread_local Hf__Client__Item items[2], *list[2];
    uint32_t shard = f->split && server == FAKE_B ? 2 : 1;
    bool leads = f->split || server == f->leader;
    if (!leads) {
        reply->code = HF_E_NOT_LEADER;
        reply->leader_endpoint = f->hints ? f->endpoints[f->leader] : (char *)(uintptr_t) "";
        return true;
    }
    if (q->shard != shard && !(routed && q->shard == 0)) { /* a coordinator finds the shard of a read itself */
        reply->code = HF_E_WRONG_SHARD;
        return true;
    }
    version.t = version.seq = 1;
    if (q->op_case != HF__CLIENT__REQUEST__OP_SESSION_OPEN && meets_lock(f, reply))
        return true;
    switch ((int)q->op_case) {
    case HF__CLIENT__REQUEST__OP_SESSION_OPEN:
        if (f->refuse_sessions) {
            reply->code = f->refuse_sessions;
            return true;
        }
        reply->session = open_session(f, shard);
        return true;
    case HF__CLIENT__REQUEST__OP_GET:
        if (refused_at(f, server, q->get->at, reply))
            return true;
        reply->value = q->get->key;
        reply->found = &version;
        return true;
    case HF__CLIENT__REQUEST__OP_SCAN:
        if (refused_at(f, server, q->scan->at, reply))
            return true;
        if (atomic_exchange(&f->last_at, q->scan->at) != q->scan->at)
            atomic_fetch_add(&f->at_changes, 1);
        scan(f, q->scan, reply, items, list);
        return true;
    case HF__CLIENT__REQUEST__OP_TXN:
        atomic_fetch_add(&f->txns_at_shard, 1);
        return transaction(f, q, reply);
    default:
        reply->written = &version;
        return write_at_leader(f, shard, q, reply);
    }
}

static bool wrong_shard(const struct fake *f, int server, const Hf__Client__Request *q)
{
    if (!f->split || q->op_case != HF__CLIENT__REQUEST__OP_PUT)
        return false;
    return (server == FAKE_A) != (slice_compare(pack_slice(q->put->key), slice_text("m")) < 0);
}

/* True: not answered yet. The answer kept from before goes first, with what must never be taken for the later one's. */
static bool late_scan(struct fake *f, int server, const struct net_peer *peer, uint64_t id)
{
    if (atomic_load(&f->late_scans) > 0) {
        atomic_fetch_sub(&f->late_scans, 1);
        f->late_peer = *peer;
        f->late_id = id;
        return true;
    }
    if (f->late_id == 0)
        return false;
    Hf__Client__Item item = HF__CLIENT__ITEM__INIT, *list[] = {&item};
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    item.key = pack_bytes(slice_text("late"));
    reply.version = 1;
    reply.id = f->late_id;
    reply.items = list;
    reply.n_items = 1;
    send_reply(f, server, &f->late_peer, &reply);
    f->late_id = 0;
    return false;
}

static void serve(struct fake *f, int server, const struct net_peer *peer, const Hf__Client__Request *q)
{
    struct routes_memory memory;
    Hf__Client__Status status = HF__CLIENT__STATUS__INIT;
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    reply.version = 1;
    reply.id = q->id;
    bool answered = true;
    if (q->op_case == HF__CLIENT__REQUEST__OP_ROUTES) {
        reply.routes = routes_of(f, &memory, f->split && !f->old_routes);
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_STATUS) {
        atomic_fetch_add(&f->statuses, 1);
        bool leads = f->split || server == f->leader;
        status.cluster = CLUSTER;
        status.shard = f->split && server == FAKE_B ? 2 : 1;
        status.role = (char *)(uintptr_t)(leads ? "leader" : "follower");
        status.state = (char *)(uintptr_t) "ready";
        status.term = 3;
        reply.status = &status;
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_TIMESTAMP && server != FAKE_COORDINATOR) {
        reply.code = HF_E_INVALID;
        reply.shard = 1;
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_TIMESTAMP) {
        give_timestamp(f, q->timestamp->above, &reply);
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_CUT) {
        give_timestamp(f, f->told, &reply);
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_RETAIN) {
        give_timestamp(f, f->told, &reply); /* or as a standby */
        reply.timestamp = 0;
        reply.lease_ms = q->retain->id == 7 && q->retain->timestamp == 900 ? q->retain->lease_ms / 2 : 0;
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_RESOLVE) {
        bool right =
            server == FAKE_COORDINATOR && q->resolve->home == 1 && q->resolve->session == 2 && q->resolve->seq == 3;
        f->resolve_shard = q->shard;
        atomic_fetch_add(&f->resolves, right);
    } else if (server == FAKE_COORDINATOR && q->op_case == HF__CLIENT__REQUEST__OP_TXN) {
        atomic_fetch_add(&f->txns_at_coordinator, 1);
        answered = transaction(f, q, &reply);
    } else if (server == FAKE_COORDINATOR) {
        answered = answer_shard(f, f->leader, true, q, &reply); /* routed: as if forwarded */
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_SCAN && late_scan(f, server, peer, q->id)) {
        answered = false;
    } else if (wrong_shard(f, server, q)) {
        reply.code = HF_E_WRONG_SHARD;
        reply.routes = routes_of(f, &memory, true);
    } else {
        answered = answer_shard(f, server, false, q, &reply);
    }
    reply.class_ = (uint32_t)error_class(reply.code);
    if (answered)
        send_reply(f, server, peer, &reply);
}

static void *run(void *ctx)
{
    struct fake *f = ctx;
    if (f->thread_begins)
        f->thread_begins();
    while (!f->stop) {
        struct net_poll_item items[FAKE_SERVERS];
        for (int i = 0; i < FAKE_SERVERS; i++)
            items[i] = (struct net_poll_item){.socket = f->sockets[i], .fd = -1};
        (void)net_poll(items, FAKE_SERVERS, FAKECLOCK_TURN_MS);
        for (int i = 0; i < FAKE_SERVERS; i++) {
            struct net_peer peer;
            struct net_message m;
            while (net_receive(f->sockets[i], &peer, &m) == HF_OK) {
                struct slice data = net_message_data(&m);
                Hf__Client__Request *q = hf__client__request__unpack(NULL, data.size, data.data);
                net_message_release(&m);
                must(q);
                atomic_fetch_add(&f->requests[i], 1);
                if (!f->silent[i])
                    serve(f, i, &peer, q);
                hf__client__request__free_unpacked(q, NULL);
            }
        }
        fakeclock_turn(f->clock);
    }
    return NULL;
}

void fake_start(struct fake *f)
{
    f->net = net_new(1, 64);
    const struct net_options options = {.hwm = 100000, .message_bytes = 1 << 24};
    for (int i = 0; i < FAKE_SERVERS; i++) {
        char own[64];
        snprintf(own, sizeof own, "tcp://127.0.0.1:%d", f->port + i);
        snprintf(f->endpoints[i], sizeof f->endpoints[i], "tcp://127.0.0.1:%d",
                 (f->relay_port ? f->relay_port : f->port) + i);
        must(net_listen(f->net, own, &options, &f->sockets[i]) == HF_OK);
    }
    f->clock = fakeclock_begin();
    must(pthread_create(&f->thread, NULL, run, f) == 0);
}

void fake_stop(struct fake *f)
{
    f->stop = true;
    pthread_join(f->thread, NULL);
    fakeclock_end(f->clock);
    for (int i = 0; i < FAKE_SERVERS; i++)
        net_close(&f->sockets[i]);
    net_free(&f->net);
}
