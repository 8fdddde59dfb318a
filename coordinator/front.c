/* front.c: see front.h. */
#include "coordinator/front.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "coordinator/coordinator.h"
#include "coordinator/counters.h"
#include "coordinator/limits.h"
#include "coordinator/route.h"
#include "proto/pack.h"

#ifndef HF_VERSION
#define HF_VERSION "0.1.0"
#endif

static const char unread_text[] = "too many answers to this client are unread";

int front_open(struct front *f, struct net *net, const char *listen, size_t connections_max)
{
    *f = (struct front){0};
    struct net_options options = {
        .hwm = FRONT_HWM, .message_bytes = LIMIT_REQUEST_BYTES, .connections_max = connections_max};
    return net_serve(net, listen, &options, &f->socket);
}

void front_close(struct front *f)
{
    net_close(&f->socket);
    arena_deinit(&f->arena);
    buf_deinit(&f->out);
}

void front_answer(struct coordinator *c, const struct forward_client *client, Hf__Client__Reply *reply)
{
    reply->version = 1;
    reply->id = client->id;
    reply->class_ = (uint32_t)error_class(reply->code);
    reply->route_version = catalog_version(&c->catalog);
    if (reply->code == HF_E_WRONG_SHARD)
        reply->routes = c->catalog.routes;
    if ((reply->value.len > 0 || reply->n_items > 0) && net_is_full(c->front.socket, &client->peer)) {
        Hf__Client__Reply busy = HF__CLIENT__REPLY__INIT; /* I12: a read whose answers the client does not take */
        busy.code = HF_E_BUSY;
        busy.message = (char *)(uintptr_t)unread_text; /* packing only reads */
        count(COUNTER_REJECTED);
        front_answer(c, client, &busy);
        return;
    }
    struct buf *out = &c->front.out;
    buf_clear(out);
    pack_append(&reply->base, out);
    if (net_send_to(c->front.socket, &client->peer, buf_slice(out)))
        count(COUNTER_REPLIES_LOST);
}

static void answer_code(struct coordinator *c, const struct forward_client *client, int code, const char *text)
{
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    reply.code = code;
    reply.message = (char *)(uintptr_t)(text ? text : error_text(code));
    if (code != HF_OK)
        count(COUNTER_REJECTED);
    front_answer(c, client, &reply);
}

int front_check(const Hf__Client__Request *request, char text[REQUESTS_TEXT_BYTES])
{
    int rc = requests_check(request, text);
    if (rc == HF_OK && request->space == HF__ENTRY__SPACE__CATALOG) {
        snprintf(text, REQUESTS_TEXT_BYTES, "the catalog is reached at shard 1's replicas only");
        return HF_E_REFUSED;
    }
    return rc;
}

static enum forward_kind kind_of(const Hf__Client__Request *request)
{
    bool reads = request->op_case == HF__CLIENT__REQUEST__OP_GET || request->op_case == HF__CLIENT__REQUEST__OP_SCAN;
    bool txn = request->op_case == HF__CLIENT__REQUEST__OP_TXN;
    if (reads || (txn && request->txn->n_writes == 0))
        return FORWARD_READ;
    bool writes_key =
        request->op_case == HF__CLIENT__REQUEST__OP_PUT || request->op_case == HF__CLIENT__REQUEST__OP_DEL ||
        request->op_case == HF__CLIENT__REQUEST__OP_CAS || request->op_case == HF__CLIENT__REQUEST__OP_DELETE_PREFIX;
    bool repeatable =
        request->op_case == HF__CLIENT__REQUEST__OP_SESSION_FENCE || ((writes_key || txn) && request->session != 0);
    return repeatable ? FORWARD_REPEATABLE : FORWARD_ONCE;
}

/* A little less than the client's own, so that our answer is there before the client gives up. */
static uint64_t deadline_of(const struct coordinator *c, const Hf__Client__Request *request, uint64_t now_ns)
{
    uint64_t ms = request->deadline_ms ? request->deadline_ms : c->options.request_timeout_ms;
    if (ms > REQUEST_DEADLINE_MS_MAX)
        ms = REQUEST_DEADLINE_MS_MAX;
    uint64_t margin_ms = ms * REQUEST_MARGIN_PERCENT / 100;
    return now_ns + (ms - (margin_ms < REQUEST_MARGIN_MS_MAX ? margin_ms : REQUEST_MARGIN_MS_MAX)) * CLOCK_NS_PER_MS;
}

static void answer_clock(struct coordinator *c, const struct forward_client *client, Hf__Client__Request *request,
                         uint64_t now_ns)
{
    struct active_reply answer;
    if (active_ask(&c->active, client, request, deadline_of(c, request, now_ns), now_ns, &answer))
        front_answer(c, client, &answer.reply);
}

void front_commit(struct coordinator *c, const struct forward_client *client, const Hf__Client__Request *request,
                  uint64_t now_ns)
{
    char text[TXNS_TEXT_BYTES];
    int rc = txns_begin(&c->txns, client, request, deadline_of(c, request, now_ns), now_ns, text);
    if (rc == HF_OK)
        return;
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    reply.code = rc;
    reply.message = text;
    count(COUNTER_REJECTED);
    coordinator_answer(c, client, &reply);
}

/* A transaction over several shards; the active one drives it. Of nothing: it is committed as it is. */
static void commit(struct coordinator *c, const struct forward_client *client, Hf__Client__Request *request,
                   uint64_t now_ns)
{
    if (request->txn->n_writes + request->txn->n_reads == 0) {
        Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
        reply.timestamp = request->txn->start;
        front_answer(c, client, &reply);
    } else if (oracle_active(&c->oracle)) {
        front_commit(c, client, request, now_ns);
    } else {
        answer_clock(c, client, request, now_ns);
    }
}

static void forward(struct coordinator *c, const struct forward_client *client, Hf__Client__Request *request,
                    struct slice bytes, uint64_t now_ns)
{
    struct route route;
    char text[REQUESTS_TEXT_BYTES];
    int rc = front_check(request, text);
    if (rc) {
        answer_code(c, client, rc, text);
        return;
    }
    if (kind_of(request) == FORWARD_READ && net_is_full(c->front.socket, &client->peer)) {
        answer_code(c, client, HF_E_BUSY, unread_text); /* I12; nor is a shard troubled for it */
        return;
    }
    rc = route_request(c->catalog.routes, request, &route);
    if (rc == HF_OK && request->op_case == HF__CLIENT__REQUEST__OP_TXN && (route.several || route.empty)) {
        commit(c, client, request, now_ns);
        return;
    }
    if (rc || route.empty) {
        answer_code(c, client, rc, rc ? route.text : "");
        return;
    }
    struct forward_request forwarded = {.client = *client,
                                        .kind = kind_of(request),
                                        .shard = route.shard,
                                        .body = bytes,
                                        .deadline_ns = deadline_of(c, request, now_ns),
                                        .scan_more = route.more,
                                        .scan_next = route.next};
    struct buf cut = {0};
    if (route.cut) {
        request->scan->start = pack_bytes(route.scan_start);
        request->scan->end = pack_bytes(route.scan_end);
        pack_append(&request->base, &cut);
        forwarded.body = buf_slice(&cut);
    }
    rc = forward_begin(&c->forward, &forwarded, now_ns);
    buf_deinit(&cut);
    if (rc) {
        snprintf(text, sizeof text, "the coordinator's queue for shard %" PRIu32 " is full", route.shard);
        answer_code(c, client, rc, text);
    }
}

static void ask_for_cut(struct coordinator *c, const struct forward_client *client, Hf__Client__Request *request,
                        uint64_t now_ns)
{
    if (!oracle_active(&c->oracle)) {
        answer_clock(c, client, request, now_ns); /* the active one makes it */
        return;
    }
    int rc = cut_ask(&c->cut, client, deadline_of(c, request, now_ns), now_ns);
    if (rc)
        answer_code(c, client, rc, "too many wait for a cut");
}

static void retain(struct coordinator *c, const struct forward_client *client, Hf__Client__Request *request,
                   uint64_t now_ns)
{
    char text[REQUESTS_TEXT_BYTES];
    int rc = front_check(request, text);
    if (rc)
        answer_code(c, client, rc, text);
    else
        answer_clock(c, client, request, now_ns);
}

void front_migrate(struct coordinator *c, const struct forward_client *client, const Hf__Client__Request *request,
                   uint64_t now_ns)
{
    int rc = migrate_ask(&c->migrate, client, request->migrate_job, deadline_of(c, request, now_ns), now_ns);
    if (rc == HF_OK)
        return;
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    reply.code = rc;
    reply.message = (char *)(uintptr_t) "too many wait for the migration job"; /* packing only reads */
    count(COUNTER_REJECTED);
    coordinator_answer(c, client, &reply);
}

/* The active one drives the job. */
static void migrate(struct coordinator *c, const struct forward_client *client, Hf__Client__Request *request,
                    uint64_t now_ns)
{
    char text[REQUESTS_TEXT_BYTES];
    int rc = front_check(request, text);
    if (rc)
        answer_code(c, client, rc, text);
    else if (oracle_active(&c->oracle))
        front_migrate(c, client, request, now_ns);
    else
        answer_clock(c, client, request, now_ns);
}

static void resolve(struct coordinator *c, const struct forward_client *client, const Hf__Client__Request *request,
                    uint64_t now_ns)
{
    char text[REQUESTS_TEXT_BYTES];
    int rc = front_check(request, text);
    if (rc == HF_OK && (routes_shard(c->catalog.routes, request->resolve->home) == NULL ||
                        (request->shard != 0 && routes_shard(c->catalog.routes, request->shard) == NULL))) {
        rc = HF_E_ABSENT;
        snprintf(text, sizeof text, "a shard that does not exist: the transaction's home %" PRIu32 " or shard %" PRIu32,
                 request->resolve->home, request->shard);
    }
    if (rc == HF_OK) {
        rc =
            resolve_ask(&c->resolve, client, request->resolve, request->shard, deadline_of(c, request, now_ns), now_ns);
        snprintf(text, sizeof text, "too many wait for what becomes of transactions");
    }
    if (rc)
        answer_code(c, client, rc, text);
}

static void answer_routes(struct coordinator *c, const struct forward_client *client)
{
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    reply.routes = c->catalog.routes;
    for (size_t i = 0; i < reply.routes->n_shards; i++)
        reply.routes->shards[i]->leader = leaders_known(&c->leaders, reply.routes->shards[i]->shard);
    front_answer(c, client, &reply);
}

static Hf__Client__Status__LimitsEntry **limits(struct arena *arena, size_t *out_count)
{
    static const struct {
        const char *name;
        uint64_t value;
    } table[] = {
#define ROW(name, key, number) {#key, name},
        HF_LIMITS(ROW)
#undef ROW
            {"coordinator_shard_bytes", FORWARD_SHARD_BYTES},
        {"coordinator_calls", CALLS_MAX},
        {"coordinator_links", LINKS_MAX},
        {"coordinator_status_gathers", STATUS_GATHERS_MAX},
        {"coordinator_transactions", TXNS_MAX},
    };
    *out_count = sizeof table / sizeof table[0];
    Hf__Client__Status__LimitsEntry **rows = arena_alloc(arena, *out_count * sizeof *rows);
    for (size_t i = 0; i < *out_count; i++) {
        rows[i] = arena_alloc(arena, sizeof **rows);
        hf__client__status__limits_entry__init(rows[i]);
        rows[i]->key = (char *)(uintptr_t)table[i].name;
        rows[i]->value = table[i].value;
    }
    return rows;
}

static void answer_status(struct coordinator *c, const struct forward_client *client)
{
    Hf__Client__Status status = HF__CLIENT__STATUS__INIT;
    status.cluster = catalog_cluster(&c->catalog);
    status.replica = (uint32_t)c->options.id;
    status.role = (char *)(uintptr_t)(oracle_active(&c->oracle) ? "active" : "standby");
    status.state = (char *)(uintptr_t)(c->ready ? "ready" : "starting");
    status.term = c->oracle.clock.key.epoch;
    status.leader = c->oracle.clock.key.coordinator;
    status.ceiling = c->oracle.clock.ceiling.t;
    status.clock = c->oracle.clock.last.t;
    status.version = (char *)(uintptr_t)HF_VERSION;
    status.pending = forward_pending(&c->forward);
    status.limits = limits(&c->front.arena, &status.n_limits);
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    Hf__Client__CoordinatorStatus self, *list[] = {&self};
    Hf__Client__ClusterStatus cluster = HF__CLIENT__CLUSTER_STATUS__INIT; /* what it is beside a process */
    status_self(&c->status, &self);
    cluster.cluster = status.cluster;
    cluster.n_coordinators = 1;
    cluster.coordinators = list;
    reply.status = &status;
    reply.cluster = &cluster;
    reply.job = migrate_open(&c->migrate, &c->front.arena);
    front_answer(c, client, &reply);
}

static void gather_cluster(struct coordinator *c, const struct forward_client *client, uint64_t now_ns)
{
    struct forward_client *kept = malloc(sizeof *kept);
    must(kept != NULL); /* out of memory */
    *kept = *client;
    int rc = status_gather(&c->status, kept, now_ns);
    if (rc) {
        free(kept);
        answer_code(c, client, rc, "too many status requests at once");
    }
}

/* What needs no routes; false: not one of these. */
static bool answer_always(struct coordinator *c, const struct forward_client *client,
                          const Hf__Client__Request *request)
{
    switch (request->op_case) {
    case HF__CLIENT__REQUEST__OP_STATUS:
        answer_status(c, client);
        return true;
    case HF__CLIENT__REQUEST__OP__NOT_SET:
        answer_code(c, client, HF_E_PROTOCOL, "the request names no operation that this program knows");
        return true;
    case HF__CLIENT__REQUEST__OP_BOOTSTRAP:
    case HF__CLIENT__REQUEST__OP_BEAT:
    case HF__CLIENT__REQUEST__OP_LEASE:
    case HF__CLIENT__REQUEST__OP_SNAPSHOT:
    case HF__CLIENT__REQUEST__OP_CHECK:
    case HF__CLIENT__REQUEST__OP_MIGRATE:
    case HF__CLIENT__REQUEST__OP_VERDICT:
    case HF__CLIENT__REQUEST__OP_BACKUP:
    case HF__CLIENT__REQUEST__OP_HOLD:
    case HF__CLIENT__REQUEST__OP_PREPARE:
    case HF__CLIENT__REQUEST__OP_VALIDATE:
    case HF__CLIENT__REQUEST__OP_DECIDE_COMMIT:
    case HF__CLIENT__REQUEST__OP_ROLLBACK:
    case HF__CLIENT__REQUEST__OP_FORGET:
    case HF__CLIENT__REQUEST__OP_TXNS:
        answer_code(c, client, HF_E_REFUSED, "a coordinator does not take this request; it is one for a replica");
        return true;
    case HF__CLIENT__REQUEST__OP_PUT:
    case HF__CLIENT__REQUEST__OP_DEL:
    case HF__CLIENT__REQUEST__OP_CAS:
    case HF__CLIENT__REQUEST__OP_DELETE_PREFIX:
    case HF__CLIENT__REQUEST__OP_GET:
    case HF__CLIENT__REQUEST__OP_SCAN:
    case HF__CLIENT__REQUEST__OP_SESSION_OPEN:
    case HF__CLIENT__REQUEST__OP_SESSION_FENCE:
    case HF__CLIENT__REQUEST__OP_ROUTES:
    case HF__CLIENT__REQUEST__OP_CLUSTER_STATUS:
    case HF__CLIENT__REQUEST__OP_TRANSFER:
    case HF__CLIENT__REQUEST__OP_TIMESTAMP:
    case HF__CLIENT__REQUEST__OP_CUT:
    case HF__CLIENT__REQUEST__OP_RETAIN:
    case HF__CLIENT__REQUEST__OP_TXN:
    case HF__CLIENT__REQUEST__OP_RESOLVE:
    case HF__CLIENT__REQUEST__OP_CLOCK_ACCEPT:
    case HF__CLIENT__REQUEST__OP_MIGRATE_JOB:
    case _HF__CLIENT__REQUEST__OP__CASE_IS_INT_SIZE:
        return false;
    }
    return false;
}

static void dispatch(struct coordinator *c, const struct forward_client *client, Hf__Client__Request *request,
                     struct slice bytes, uint64_t now_ns)
{
    if (request->version != 1) {
        answer_code(c, client, HF_E_PROTOCOL, "unknown protocol version; this program speaks 1");
    } else if (request->cluster != 0 && c->catalog.routes && request->cluster != catalog_cluster(&c->catalog)) {
        answer_code(c, client, HF_E_WRONG_CLUSTER, NULL);
    } else if (answer_always(c, client, request)) {
        return;
    } else if (c->front.stopping) {
        answer_code(c, client, HF_E_UNAVAILABLE, "this coordinator is stopping");
    } else if (c->catalog.routes == NULL) {
        answer_code(c, client, HF_E_NO_ROUTE, NULL);
    } else if (request->op_case == HF__CLIENT__REQUEST__OP_TIMESTAMP ||
               request->op_case == HF__CLIENT__REQUEST__OP_CLOCK_ACCEPT) {
        answer_clock(c, client, request, now_ns);
    } else if (request->op_case == HF__CLIENT__REQUEST__OP_MIGRATE_JOB) {
        migrate(c, client, request, now_ns);
    } else if (request->op_case == HF__CLIENT__REQUEST__OP_RETAIN) {
        retain(c, client, request, now_ns);
    } else if (request->op_case == HF__CLIENT__REQUEST__OP_CUT) {
        ask_for_cut(c, client, request, now_ns);
    } else if (request->op_case == HF__CLIENT__REQUEST__OP_RESOLVE) {
        resolve(c, client, request, now_ns);
    } else if (request->op_case == HF__CLIENT__REQUEST__OP_ROUTES) {
        answer_routes(c, client);
    } else if (request->op_case == HF__CLIENT__REQUEST__OP_CLUSTER_STATUS) {
        gather_cluster(c, client, now_ns);
    } else {
        forward(c, client, request, bytes, now_ns);
    }
}

bool front_receive(struct coordinator *c, uint64_t now_ns)
{
    for (size_t i = 0; i < TURN_MESSAGES; i++) {
        struct forward_client client = {0};
        struct net_message message;
        int rc = net_receive(c->front.socket, &client.peer, &message);
        if (rc == HF_E_PROTOCOL) {
            count(COUNTER_REJECTED);
            continue;
        }
        if (rc)
            return false;
        count(COUNTER_RECEIVED);
        struct slice bytes = net_message_data(&message);
        Hf__Client__Request *request = pack_unpack(&hf__client__request__descriptor, bytes, &c->front.arena);
        if (request != NULL) {
            client.id = request->id;
            dispatch(c, &client, request, bytes, now_ns);
        } else {
            answer_code(c, &client, HF_E_PROTOCOL, NULL);
        }
        net_message_release(&message);
        arena_reset(&c->front.arena);
    }
    return true;
}
