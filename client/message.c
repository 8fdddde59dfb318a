/* message.c: see message.h. */
#include "client/message.h"

#include "client/peer.h"
#include "client/slots.h"
#include "common/sys/clock.h"
#include "proto/requests.h"

/* The parts a Request points to. */
struct parts {
    Hf__Client__Put put;
    Hf__Client__Key key;
    Hf__Client__Cas cas;
    Hf__Client__Get get;
    Hf__Client__Scan scan;
    Hf__Client__SessionOpen session_open;
    Hf__Client__Timestamp timestamp;
    Hf__Client__Cut cut;
    Hf__Client__Retain retain;
    Hf__Client__Empty empty;
    Hf__Entry__TxnId lock;
};

static ProtobufCBinaryData bytes(struct slice s) /* borrowed, only read */
{
    return (ProtobufCBinaryData){.len = s.size, .data = (uint8_t *)(uintptr_t)s.data};
}

static void fill_scan(const struct hf_future *r, Hf__Client__Request *m, struct parts *p)
{
    hf__client__scan__init(&p->scan);
    p->scan.start = bytes(r->clip_start);
    p->scan.end = bytes(r->clip_end);
    p->scan.limit = r->limit;
    p->scan.reverse = r->reverse;
    p->scan.keys_only = r->keys_only;
    p->scan.at = r->at;
    m->op_case = HF__CLIENT__REQUEST__OP_SCAN;
    m->scan = &p->scan;
}

static void fill_cas(const struct hf_future *r, Hf__Client__Request *m, struct parts *p)
{
    hf__client__cas__init(&p->cas);
    p->cas.key = bytes(r->key);
    p->cas.has_expected = r->has_expected;
    p->cas.expected = bytes(r->expected);
    p->cas.becomes_absent = r->becomes_absent;
    p->cas.value = bytes(r->value);
    m->op_case = HF__CLIENT__REQUEST__OP_CAS;
    m->cas = &p->cas;
}

static void fill_key(const struct hf_future *r, Hf__Client__Request *m, struct parts *p)
{
    hf__client__key__init(&p->key);
    p->key.key = bytes(r->key);
    if (r->kind == REQUEST_DEL) {
        m->op_case = HF__CLIENT__REQUEST__OP_DEL;
        m->del = &p->key;
    } else {
        m->op_case = HF__CLIENT__REQUEST__OP_DELETE_PREFIX;
        m->delete_prefix = &p->key;
    }
}

static void fill_resolve(const struct hf_future *r, Hf__Client__Request *m, struct parts *p)
{
    hf__entry__txn_id__init(&p->lock);
    p->lock.home = r->lock.home;
    p->lock.session = r->lock.session;
    p->lock.seq = r->lock.seq;
    m->op_case = HF__CLIENT__REQUEST__OP_RESOLVE;
    m->resolve = &p->lock;
}

static void fill(const struct hf_future *r, Hf__Client__Request *m, struct parts *p)
{
    switch (r->kind) {
    case REQUEST_PUT:
        hf__client__put__init(&p->put);
        p->put.key = bytes(r->key);
        p->put.value = bytes(r->value);
        p->put.ttl_ms = r->ttl_ms;
        m->op_case = HF__CLIENT__REQUEST__OP_PUT;
        m->put = &p->put;
        break;
    case REQUEST_DEL:
    case REQUEST_DELETE_PREFIX:
        fill_key(r, m, p);
        break;
    case REQUEST_CAS:
        fill_cas(r, m, p);
        break;
    case REQUEST_GET:
        hf__client__get__init(&p->get);
        p->get.key = bytes(r->key);
        p->get.at = r->at;
        m->op_case = HF__CLIENT__REQUEST__OP_GET;
        m->get = &p->get;
        break;
    case REQUEST_SCAN:
        fill_scan(r, m, p);
        break;
    case REQUEST_TIMESTAMP:
        hf__client__timestamp__init(&p->timestamp);
        p->timestamp.above = r->at;
        m->op_case = HF__CLIENT__REQUEST__OP_TIMESTAMP;
        m->timestamp = &p->timestamp;
        break;
    case REQUEST_CUT:
        hf__client__cut__init(&p->cut);
        m->op_case = HF__CLIENT__REQUEST__OP_CUT;
        m->cut = &p->cut;
        break;
    case REQUEST_RETAIN:
        hf__client__retain__init(&p->retain);
        p->retain.id = r->reader;
        p->retain.timestamp = r->at;
        p->retain.lease_ms = r->lease_ms;
        m->op_case = HF__CLIENT__REQUEST__OP_RETAIN;
        m->retain = &p->retain;
        break;
    case REQUEST_TXN:
        m->op_case = HF__CLIENT__REQUEST__OP_TXN;
        m->txn = r->txn;
        break;
    case REQUEST_SESSION_OPEN:
        hf__client__session_open__init(&p->session_open);
        m->op_case = HF__CLIENT__REQUEST__OP_SESSION_OPEN;
        m->session_open = &p->session_open;
        break;
    case REQUEST_STATUS:
        hf__client__empty__init(&p->empty);
        m->op_case = HF__CLIENT__REQUEST__OP_STATUS;
        m->status = &p->empty;
        break;
    case REQUEST_ROUTES:
        hf__client__empty__init(&p->empty);
        m->op_case = HF__CLIENT__REQUEST__OP_ROUTES;
        m->routes = &p->empty;
        break;
    case REQUEST_RESOLVE:
        fill_resolve(r, m, p);
        break;
    }
}

int message_send(struct hf *h, struct hf_future *r, struct peer *p)
{
    struct parts parts;
    Hf__Client__Request m;
    hf__client__request__init(&m);
    m.version = REQUESTS_VERSION;
    m.id = slots_id(r, r->attempts + 1);
    m.cluster = h->routes ? h->routes->cluster : 0;
    m.route_version = h->routes ? h->routes->version : 0;
    uint64_t left_ms = r->deadline_ns > h->now_ns ? (r->deadline_ns - h->now_ns) / CLOCK_NS_PER_MS : 0;
    m.deadline_ms = left_ms == 0 ? 1 : (uint32_t)left_ms; /* 0 would mean the server's default */
    if (r->session) {
        m.session = r->session->id;
        m.seq = r->seq;
        m.done_below = r->session->done_below;
    }
    bool names_shard = (!h->routed && !r->spread) || r->session || r->kind == REQUEST_SESSION_OPEN;
    m.shard = r->shard && names_shard ? r->shard->id : 0;
    fill(r, &m, &parts);
    return peer_send(h, p, &m);
}
