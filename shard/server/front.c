/* front.c: see front.h. A request's way: take → check → dispatch → (replica) → written / built and sent. */
#include "shard/server/front_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "common/sys/failpoint.h"
#include "common/sys/metrics.h"
#include "proto/pack.h"
#include "proto/routes.h"
#include "shard/server/admission.h"
#include "shard/server/status.h"
#include "shard/server/txn.h"

#define SPARE_MAX 1024 /* requests kept for reuse */

static struct metric metrics[FRONT_METRICS] = {
    [FRONT_WRITES] = {"holdfast_requests_total", "kind=\"write\"", "Requests taken from clients", METRIC_COUNTER, 0},
    [FRONT_READS] = {"holdfast_requests_total", "kind=\"read\"", "Requests taken from clients", METRIC_COUNTER, 0},
    [FRONT_REFUSED] = {"holdfast_requests_refused_total", NULL, "Requests answered with an error at the door",
                       METRIC_COUNTER, 0},
    [FRONT_MALFORMED] = {"holdfast_requests_malformed_total", NULL, "Messages that are no request; dropped",
                         METRIC_COUNTER, 0},
    [FRONT_BUSY] = {"holdfast_requests_busy_total", NULL, "Requests refused because a queue is full", METRIC_COUNTER,
                    0},
    [FRONT_FUTURE] = {"holdfast_beats_refused_total", NULL, "Beats with a timestamp at or above the committed ceiling",
                      METRIC_COUNTER, 0},
    [FRONT_HOLDS] = {"holdfast_holds_total", NULL, "Times stamps were held for a strict cut", METRIC_COUNTER, 0},
    [FRONT_PARKED] = {"holdfast_writes_parked_total", NULL, "Writes that waited for it, or for a new leader's time",
                      METRIC_COUNTER, 0},
};

void front_count(enum front_metric metric)
{
    metric_add(&metrics[metric], 1);
}

struct front *front_new(struct net_socket *socket, struct directory *directory)
{
    struct front *f = calloc(1, sizeof *f);
    must(f);
    f->answer = (struct answer){.socket = socket, .shard = directory->id.group};
    f->publishing = (struct publishing){.answer = &f->answer};
    f->directory = directory;
    list_init(&f->spare);
    parked_init(&f->parked);
    f->backup = backup_new();
    metrics_register(metrics, FRONT_METRICS);
    answer_metrics();
    txn_metrics();
    return f;
}

void front_free(struct front **f)
{
    if (!*f)
        return;
    LIST_EACH (it, &(*f)->spare)
        free(LIST_OWNER(it, struct request, write.link));
    parked_deinit(&(*f)->parked);
    backup_free(&(*f)->backup);
    buf_deinit(&(*f)->built);
    buf_deinit(&(*f)->answer.packed);
    arena_deinit(&(*f)->scratch);
    if ((*f)->routes)
        hf__catalog__routes__free_unpacked((*f)->routes, NULL);
    free(*f);
    *f = NULL;
}

void front_attach(struct front *f, struct replica *replica)
{
    f->replica = replica;
}

static struct request *request_new(struct front *f)
{
    if (list_empty(&f->spare)) {
        struct request *fresh = malloc(sizeof *fresh);
        must(fresh);
        return fresh;
    }
    struct request *r = LIST_OWNER(f->spare.next, struct request, write.link);
    list_remove(&r->write.link);
    f->spare_count--;
    return r;
}

void front_request_free(struct front *f, struct request *r)
{
    free(r->copy);
    r->copy = NULL;
    if (f->spare_count >= SPARE_MAX) {
        free(r);
        return;
    }
    f->spare_count++;
    list_push(&f->spare, &r->write.link);
}

/* ---- answers ---- */

/* Where to go instead: the leader on NOT_LEADER, the newer routes on WRONG_SHARD. */
void front_hints(const struct front *f, Hf__Client__Reply *reply)
{
    if (reply->code == HF_E_WRONG_SHARD && f->routes)
        reply->routes = f->routes;
    if (reply->code != HF_E_NOT_LEADER)
        return;
    uint32_t leader = replica_state(f->replica).engine.leader;
    const Hf__Catalog__Members *members = replica_members(f->replica);
    for (size_t i = 0; leader != f->directory->id.replica && i < members->n_members; i++)
        if (members->members[i]->replica == leader) {
            reply->leader = leader;
            reply->leader_endpoint = members->members[i]->client_endpoint;
        }
}

void front_refuse(struct front *f, const struct net_peer *peer, uint64_t id, int code, const char *message)
{
    front_count(code == HF_E_BUSY ? FRONT_BUSY : FRONT_REFUSED);
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, id, code);
    if (message && message[0])
        reply.message = (char *)(uintptr_t)message; /* packing only reads */
    front_hints(f, &reply);
    answer_send(&f->answer, peer, &reply);
}

static void write_done(void *ctx, struct replica_write *w, int code, const struct fsm_result *result)
{
    struct front *f = ctx;
    struct request *r = LIST_OWNER(w, struct request, write);
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, r->id, code);
    Hf__Client__Version version = HF__CLIENT__VERSION__INIT;
    struct txn_answer txn;
    struct fsm_migration_record migration;
    if (result && r->migrate)
        reply.migration = status_migration(&migration, fsm_info(replica_fsm(f->replica)));
    if (result) {
        bool fence = r->fence && code == HF_OK;
        struct version v = fence ? result->outcome_version : result->version;
        version.t = v.t.t;
        version.seq = v.seq;
        reply.written = &version;
        reply.session = result->session;
        reply.check_index = r->check && code == HF_OK ? w->index : 0;
        reply.outcome = fence ? result->outcome : 0;
        txn_answer_write(&txn, &reply, r->op, r->home, result);
    }
    front_hints(f, &reply);
    answer_send(&f->answer, &r->peer, &reply);
    front_request_free(f, r);
}

/* ---- requests become writes and reads ---- */

static int queue_write(struct front *f, struct request *r, const Hf__Client__Request *q, size_t bytes,
                       struct arena *turn)
{
    front_count(FRONT_WRITES);
    r->write.bytes = bytes + sizeof *r;
    request_fill_write(r, q, f->answer.shard, turn);
    if (q->op_case == HF__CLIENT__REQUEST__OP_LEASE)
        replica_retain(f->replica, (struct hlc){q->lease->retain}, (struct hlc){q->lease->timestamp});
    return replica_write(f->replica, &r->write);
}

static int queue_read(struct front *f, struct request *r, const Hf__Client__Request *q)
{
    front_count(FRONT_READS);
    bool get = q->op_case == HF__CLIENT__REQUEST__OP_GET;
    ProtobufCBinaryData key = get ? q->get->key : q->scan->start;
    ProtobufCBinaryData end = get ? (ProtobufCBinaryData){0} : q->scan->end;
    r->copy = malloc(key.len + end.len + 1);
    must(r->copy);
    if (key.len)
        memcpy(r->copy, key.data, key.len);
    if (end.len)
        memcpy(r->copy + key.len, end.data, end.len);
    r->read.bytes = sizeof *r + key.len + end.len;
    r->key = slice_make(r->copy, key.len);
    r->end = slice_make(r->copy + key.len, end.len);
    r->space = q->space == HF__ENTRY__SPACE__CATALOG ? FSM_CATALOG : FSM_USER;
    r->limit = get ? 0 : q->scan->limit;
    r->reverse = !get && q->scan->reverse;
    r->keys_only = !get && q->scan->keys_only;
    r->read.at.t = get ? q->get->at : q->scan->at;
    return replica_read(f->replica, &r->read);
}

static int queue_backup(struct front *f, struct request *r, const Hf__Client__Request *q)
{
    front_count(FRONT_READS);
    r->view = q->backup->view;
    r->offset = q->backup->offset;
    r->read.at.t = q->backup->view == 0 ? q->backup->at : 0; /* a view stays what it is */
    r->read.bytes = sizeof *r;
    return replica_read(f->replica, &r->read);
}

/* Kept packed until it may be looked up. */
static int queue_validate(struct front *f, struct request *r, const Hf__Client__Request *q)
{
    front_count(FRONT_READS);
    size_t size = protobuf_c_message_get_packed_size(&q->validate->base);
    r->copy = malloc(size + 1);
    must(r->copy);
    protobuf_c_message_pack(&q->validate->base, r->copy);
    r->key = slice_make(r->copy, size);
    r->read.bytes = sizeof *r + size;
    r->read.at.t = q->validate->at;
    return replica_read(f->replica, &r->read);
}

static int queue_txns(struct front *f, struct request *r, const Hf__Client__Request *q)
{
    front_count(FRONT_READS);
    const Hf__Entry__TxnId *after = q->txns->after;
    r->txn_after = after ? (struct fsm_txn_id){after->home, after->session, after->seq} : (struct fsm_txn_id){0};
    r->limit = q->txns->limit;
    r->read.bytes = sizeof *r;
    return replica_read(f->replica, &r->read);
}

static int queue_release(struct front *f, struct request *r, const Hf__Client__Request *q)
{
    r->read.at.t = q->hold->at;
    r->read.bytes = sizeof *r;
    return replica_release(f->replica, q->hold->id, &r->read);
}

/* Why nothing is read at a timestamp. */
static void refuse_at(struct front *f, const struct net_peer *peer, uint64_t id, int code, struct hlc at)
{
    char text[256] = "";
    const struct fsm_info *info = replica_fsm(f->replica) ? fsm_info(replica_fsm(f->replica)) : NULL;
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, id, code);
    if (info && code == HF_E_RESTART_ABOVE)
        reply.timestamp = info->restart.t;
    if (info && code == HF_E_REFUSED)
        snprintf(text, sizeof text,
                 "a group of feature level %" PRIu32 " serves the latest only; leave the timestamp out",
                 info->feature_level);
    else if (code == HF_E_FUTURE_TIMESTAMP || code == HF_E_TOO_OLD)
        snprintf(text, sizeof text, "%s: timestamp %" PRIu64 ", the shard's time is %" PRIu64, error_text(code), at.t,
                 replica_clock(f->replica).t);
    if (text[0])
        reply.message = text;
    front_count(code == HF_E_BUSY ? FRONT_BUSY : FRONT_REFUSED);
    front_hints(f, &reply);
    answer_send(&f->answer, peer, &reply);
}

static uint64_t deadline_of(const Hf__Client__Request *q)
{
    uint64_t ms = q->deadline_ms ? q->deadline_ms : REQUEST_DEADLINE_MS_DEFAULT;
    return clock_boot_ns() + (ms < REQUEST_DEADLINE_MS_MAX ? ms : REQUEST_DEADLINE_MS_MAX) * CLOCK_NS_PER_MS;
}

static int queue_of(struct front *f, struct request *r, const Hf__Client__Request *q, size_t bytes, struct arena *turn)
{
    bool read = q->op_case == HF__CLIENT__REQUEST__OP_GET || q->op_case == HF__CLIENT__REQUEST__OP_SCAN;
    return q->op_case == HF__CLIENT__REQUEST__OP_BACKUP     ? queue_backup(f, r, q)
           : q->op_case == HF__CLIENT__REQUEST__OP_HOLD     ? queue_release(f, r, q)
           : q->op_case == HF__CLIENT__REQUEST__OP_VALIDATE ? queue_validate(f, r, q)
           : q->op_case == HF__CLIENT__REQUEST__OP_TXNS     ? queue_txns(f, r, q)
           : read                                           ? queue_read(f, r, q)
                                                            : queue_write(f, r, q, bytes, turn);
}

static void queue(struct front *f, const struct net_peer *peer, const Hf__Client__Request *q, size_t bytes,
                  struct arena *turn)
{
    struct request *r = request_new(f);
    uint64_t deadline = deadline_of(q);
    r->id = q->id;
    r->op = q->op_case;
    r->fence = r->check = r->migrate = r->home = false;
    r->copy = NULL;
    r->peer = *peer;
    r->read.at.t = 0;
    r->write.deadline_ns = r->read.deadline_ns = deadline;
    int rc = queue_of(f, r, q, bytes, turn);
    if (rc == HF_OK)
        return;
    if (r->read.at.t)
        refuse_at(f, peer, q->id, rc, r->read.at);
    else
        front_refuse(f, peer, q->id, rc, NULL);
    front_request_free(f, r);
}

static void take_beat(struct front *f, const struct net_peer *peer, const Hf__Client__Request *q)
{
    if (replica_observe(f->replica, (struct hlc){q->beat->issued}, q->beat->fresh))
        front_count(FRONT_FUTURE); /* above the ceiling: nobody can have issued it, or the lease is on its way */
    const Hf__Catalog__Routes *routes = q->beat->routes;
    if (routes && routes->version > f->answer.route_version && routes->cluster == f->directory->id.cluster &&
        routes_check(routes) == HF_OK) {
        struct buf packed = {0};
        pack_append(&routes->base, &packed);
        Hf__Catalog__Routes *copy = pack_unpack_owned(&hf__catalog__routes__descriptor, buf_slice(&packed));
        buf_deinit(&packed);
        if (copy) { /* else out of memory: the next beat brings them again */
            if (f->routes)
                hf__catalog__routes__free_unpacked(f->routes, NULL);
            f->routes = copy;
            f->answer.route_version = copy->version;
        }
    }
    uint64_t question = replica_question(f->replica);
    if (q->beat->route_version > f->answer.route_version || question) {
        Hf__Client__Reply reply;
        answer_init(&f->answer, &reply, q->id, HF_OK);
        reply.fresh = question;
        answer_send(&f->answer, peer, &reply);
    }
}

static void take_hold(struct front *f, const struct net_peer *peer, const Hf__Client__Request *q, size_t bytes,
                      struct arena *turn)
{
    if (q->hold->at != 0) {
        queue(f, peer, q, bytes, turn);
        return;
    }
    if (!q->hold->end)
        front_count(FRONT_HOLDS);
    int rc = q->hold->end ? replica_release(f->replica, q->hold->id, NULL) : replica_hold(f->replica, q->hold->id);
    front_refuse(f, peer, q->id, rc, NULL);
}

static void answer_status(struct front *f, const struct net_peer *peer, uint64_t id)
{
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, id, HF_OK);
    struct status_buffer status;
    reply.status = status_fill(&status, f->directory, f->replica);
    if (f->read_failed && !reply.status->trouble[0]) /* whatever else is the matter: this one does not pass */
        reply.status->trouble = (char *)(uintptr_t) "damaged data was read, replace this replica";
    answer_send(&f->answer, peer, &reply);
}

static void answer_routes(struct front *f, const struct net_peer *peer, uint64_t id)
{
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, id, f->routes ? HF_OK : HF_E_NO_ROUTE);
    reply.routes = f->routes;
    answer_send(&f->answer, peer, &reply);
}

static void take_verdict(struct front *f, const struct net_peer *peer, const Hf__Client__Request *q)
{
    bool marked = false;
    if (replica_state(f->replica).engine.role != ENGINE_LEARNER && f->directory->facts.healers < 2) {
        front_refuse(f, peer, q->id, HF_E_REFUSED,
                     "a group of fewer than three voters has no majority without this one");
        return;
    }
    int rc = check_verdict(replica_check(f->replica), q->verdict->index, q->verdict->digest.data, &marked);
    front_refuse(f, peer, q->id, rc, rc == HF_E_ABSENT ? "this replica has no finished check at that index" : NULL);
}

/* A request that was checked. */
static void perform(struct front *f, const struct net_peer *peer, const Hf__Client__Request *q, size_t bytes,
                    struct arena *turn)
{
    switch (q->op_case) {
    case HF__CLIENT__REQUEST__OP_STATUS:
        answer_status(f, peer, q->id);
        return;
    case HF__CLIENT__REQUEST__OP_ROUTES:
        answer_routes(f, peer, q->id);
        return;
    case HF__CLIENT__REQUEST__OP_BEAT:
        take_beat(f, peer, q);
        return;
    case HF__CLIENT__REQUEST__OP_TRANSFER:
        front_refuse(f, peer, q->id, replica_transfer(f->replica, q->transfer->to), NULL);
        return;
    case HF__CLIENT__REQUEST__OP_SNAPSHOT:
        publishing_ask(&f->publishing, f->replica, peer, q->id, deadline_of(q));
        return;
    case HF__CLIENT__REQUEST__OP_HOLD:
        take_hold(f, peer, q, bytes, turn);
        return;
    case HF__CLIENT__REQUEST__OP_VERDICT:
        take_verdict(f, peer, q);
        return;
    case HF__CLIENT__REQUEST__OP_BOOTSTRAP:
        front_refuse(f, peer, q->id, HF_E_EXISTS, "bootstrapped already; its status says of which cluster");
        return;
    case HF__CLIENT__REQUEST__OP_PUT:
    case HF__CLIENT__REQUEST__OP_DEL:
    case HF__CLIENT__REQUEST__OP_CAS:
    case HF__CLIENT__REQUEST__OP_DELETE_PREFIX:
    case HF__CLIENT__REQUEST__OP_GET:
    case HF__CLIENT__REQUEST__OP_SCAN:
    case HF__CLIENT__REQUEST__OP_SESSION_OPEN:
    case HF__CLIENT__REQUEST__OP_SESSION_FENCE:
    case HF__CLIENT__REQUEST__OP_LEASE:
    case HF__CLIENT__REQUEST__OP_CHECK:
    case HF__CLIENT__REQUEST__OP_MIGRATE:
    case HF__CLIENT__REQUEST__OP_BACKUP:
    case HF__CLIENT__REQUEST__OP_TXN:
    case HF__CLIENT__REQUEST__OP_PREPARE:
    case HF__CLIENT__REQUEST__OP_VALIDATE:
    case HF__CLIENT__REQUEST__OP_DECIDE_COMMIT:
    case HF__CLIENT__REQUEST__OP_ROLLBACK:
    case HF__CLIENT__REQUEST__OP_FORGET:
    case HF__CLIENT__REQUEST__OP_TXNS:
        queue(f, peer, q, bytes, turn);
        return;
    case HF__CLIENT__REQUEST__OP_CLUSTER_STATUS:
    case HF__CLIENT__REQUEST__OP_TIMESTAMP:
    case HF__CLIENT__REQUEST__OP_CUT:
    case HF__CLIENT__REQUEST__OP_RETAIN:
    case HF__CLIENT__REQUEST__OP_CLOCK_ACCEPT:
    case HF__CLIENT__REQUEST__OP_MIGRATE_JOB:
    case HF__CLIENT__REQUEST__OP_RESOLVE:
    case HF__CLIENT__REQUEST__OP__NOT_SET:
    case _HF__CLIENT__REQUEST__OP__CASE_IS_INT_SIZE:
        break;
    }
    must(false); /* request_check lets no other operation pass */
}

static void dispatch(struct front *f, const struct net_peer *peer, const Hf__Client__Request *q, size_t bytes,
                     struct arena *turn)
{
    char message[256] = "";
    int rc = request_check(q, message);
    if (!rc && q->cluster && q->cluster != f->directory->id.cluster) {
        rc = HF_E_WRONG_CLUSTER;
        snprintf(message, sizeof message, "this is cluster %016" PRIx64 ", the request is for %016" PRIx64,
                 f->directory->id.cluster, q->cluster);
    }
    if (!rc && q->shard && q->shard != f->answer.shard)
        rc = HF_E_WRONG_SHARD;
    if (!rc)
        rc = admission_check(f->replica, q, turn, message);
    if (rc) {
        front_refuse(f, peer, q->id, rc, message);
        return;
    }
    perform(f, peer, q, bytes, turn);
}

/* What needs a stamp that is not to be had for a moment. */
static bool waits(struct front *f, const Hf__Client__Request *q)
{
    bool stamped = q->op_case == HF__CLIENT__REQUEST__OP_PUT || q->op_case == HF__CLIENT__REQUEST__OP_DEL ||
                   q->op_case == HF__CLIENT__REQUEST__OP_CAS || q->op_case == HF__CLIENT__REQUEST__OP_DELETE_PREFIX ||
                   q->op_case == HF__CLIENT__REQUEST__OP_SESSION_OPEN ||
                   q->op_case == HF__CLIENT__REQUEST__OP_SESSION_FENCE || q->op_case == HF__CLIENT__REQUEST__OP_TXN ||
                   q->op_case == HF__CLIENT__REQUEST__OP_PREPARE;
    return stamped && q->space == HF__ENTRY__SPACE__USER && replica_unstamped(f->replica) &&
           !planted_bug("clock.hold_ignored");
}

static void take(struct front *f, const struct net_peer *peer, struct slice bytes, struct arena *turn)
{
    const Hf__Client__Request *q =
        bytes.size <= REQUEST_BYTES_MAX ? pack_unpack(&hf__client__request__descriptor, bytes, turn) : NULL;
    if (q == NULL) {
        front_count(FRONT_MALFORMED);
    } else if (!waits(f, q)) {
        dispatch(f, peer, q, bytes.size, turn);
    } else if (parked_add(&f->parked, peer, bytes)) {
        front_refuse(f, peer, q->id, HF_E_BUSY, NULL);
    } else {
        front_count(FRONT_PARKED);
    }
}

/* What waited is taken before what came later. False: some still waits. */
static bool take_parked(struct front *f, struct arena *turn)
{
    struct parked_message *m;
    while (f->parked.count > 0 && !replica_unstamped(f->replica) && turn->used < LIMIT_REQUEST_BYTES) {
        m = parked_take(&f->parked);
        take(f, &m->peer, slice_make(m->bytes, m->size), turn);
        free(m);
    }
    return f->parked.count == 0 || replica_unstamped(f->replica);
}

static size_t collect(void *ctx, size_t max, struct arena *turn)
{
    struct front *f = ctx;
    size_t count = 0;
    backup_expire(f->backup, clock_boot_ns());
    if (check_damaged(replica_check(f->replica)))
        replica_damaged(f->replica);
    while (count < max && turn->used < LIMIT_REQUEST_BYTES && take_parked(f, turn)) {
        struct net_peer peer;
        struct net_message message;
        int rc = net_receive(f->answer.socket, &peer, &message);
        if (rc && rc != HF_E_PROTOCOL)
            break;
        count++;
        if (rc) {
            front_count(FRONT_MALFORMED);
            continue;
        }
        take(f, &peer, net_message_data(&message), turn);
        net_message_release(&message);
    }
    return count;
}

static void machine_closing(void *ctx)
{
    struct front *f = ctx;
    backup_stop(f->backup);
    f->read_failed = false; /* it was of the old one */
}

struct replica_front front_calls(struct front *f)
{
    return (struct replica_front){
        .ctx = f, .collect = collect, .write_done = write_done, .closing = machine_closing, .reads = build_calls(f)};
}
