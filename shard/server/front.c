/* front.c: see front.h. A request's way: take → check → dispatch → (replica) → written / built and sent. */
#include "shard/server/front.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/metrics.h"
#include "proto/pack.h"
#include "proto/routes.h"
#include "shard/server/admission.h"
#include "shard/server/backup.h"
#include "shard/server/publishing.h"
#include "shard/server/request.h"
#include "shard/server/status.h"

#define SCAN_STEPS_MAX 20000 /* versions one page may look at: a few milliseconds of the loop */
#define SPARE_MAX 1024       /* requests kept for reuse */

enum { M_WRITES, M_READS, M_REFUSED, M_MALFORMED, M_BUSY, M_FUTURE, M_COUNT };
static struct metric metrics[M_COUNT] = {
    [M_WRITES] = {"holdfast_requests_total", "kind=\"write\"", "Requests taken from clients", METRIC_COUNTER, 0},
    [M_READS] = {"holdfast_requests_total", "kind=\"read\"", "Requests taken from clients", METRIC_COUNTER, 0},
    [M_REFUSED] = {"holdfast_requests_refused_total", NULL, "Requests answered with an error at the door",
                   METRIC_COUNTER, 0},
    [M_MALFORMED] = {"holdfast_requests_malformed_total", NULL, "Messages that are no request; dropped", METRIC_COUNTER,
                     0},
    [M_BUSY] = {"holdfast_requests_busy_total", NULL, "Requests refused because a queue is full", METRIC_COUNTER, 0},
    [M_FUTURE] = {"holdfast_beats_refused_total", NULL, "Beats with a timestamp at or above the committed ceiling",
                  METRIC_COUNTER, 0},
};

struct front {
    struct answer answer;
    struct directory *directory; /* borrowed */
    struct replica *replica;     /* borrowed */
    struct list spare;           /* requests for reuse, by write.link */
    size_t spare_count;
    struct backup *backup; /* owned */
    struct publishing publishing;
    struct buf built;            /* replies of reads kept aside until the lease is checked again */
    struct arena scratch;        /* of one reply */
    Hf__Catalog__Routes *routes; /* owned; the newest a beat brought, or NULL */
    bool read_failed;            /* and this was said */
};

struct front *front_new(struct net_socket *socket, struct directory *directory)
{
    struct front *f = calloc(1, sizeof *f);
    must(f);
    f->answer = (struct answer){.socket = socket, .shard = directory->id.group};
    f->publishing = (struct publishing){.answer = &f->answer};
    f->directory = directory;
    list_init(&f->spare);
    f->backup = backup_new();
    metrics_register(metrics, M_COUNT);
    answer_metrics();
    return f;
}

void front_free(struct front **f)
{
    if (!*f)
        return;
    LIST_EACH (it, &(*f)->spare)
        free(LIST_OWNER(it, struct request, write.link));
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

static void request_free(struct front *f, struct request *r)
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
static void add_hints(const struct front *f, Hf__Client__Reply *reply)
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

static void refuse_request(struct front *f, const struct net_peer *peer, uint64_t id, int code, const char *message)
{
    metric_add(&metrics[code == HF_E_BUSY ? M_BUSY : M_REFUSED], 1);
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, id, code);
    if (message && message[0])
        reply.message = (char *)(uintptr_t)message; /* packing only reads */
    add_hints(f, &reply);
    answer_send(&f->answer, peer, &reply);
}

static void write_done(void *ctx, struct replica_write *w, int code, const struct fsm_result *result)
{
    struct front *f = ctx;
    struct request *r = LIST_OWNER(w, struct request, write);
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, r->id, code);
    Hf__Client__Version version = HF__CLIENT__VERSION__INIT;
    if (result) {
        bool fence = r->fence && code == HF_OK;
        struct version v = fence ? result->outcome_version : result->version;
        version.t = v.t.t;
        version.seq = v.seq;
        reply.written = &version;
        reply.session = result->session;
        reply.check_index = r->check && code == HF_OK ? w->index : 0;
        reply.outcome = fence ? result->outcome : 0;
    }
    add_hints(f, &reply);
    answer_send(&f->answer, &r->peer, &reply);
    request_free(f, r);
}

static void keep_aside(struct front *f, struct request *r, const Hf__Client__Reply *reply)
{
    r->answer_offset = f->built.size;
    pack_append(&reply->base, &f->built);
    r->answer_size = f->built.size - r->answer_offset;
}

static Hf__Client__Version version_out(struct version v)
{
    Hf__Client__Version out = HF__CLIENT__VERSION__INIT;
    out.t = v.t.t;
    out.seq = v.seq;
    return out;
}

/* A read that met damage or a disk in trouble: the client is told where, and so is who reads this process's log, once. */
static void explain(struct front *f, Hf__Client__Reply *reply)
{
    if (reply->code != HF_E_CORRUPT && reply->code != HF_E_IO)
        return;
    const char *where = fsm_where(replica_fsm(f->replica));
    size_t size = strlen(where) + 256;
    reply->message = arena_alloc(&f->scratch, size);
    snprintf(reply->message, size, "%s in the state machine of replica %" PRIu32 "/%" PRIu32 ": %s",
             error_text(reply->code), f->directory->id.group, f->directory->id.replica, where);
    if (!f->read_failed)
        diag(DIAG_ERROR, "a read failed: %s in %s: %s; %s", error_text(reply->code), f->directory->fsm_dir, where,
             f->directory->facts.healers ? "another replica's state replaces it" : "replace this replica");
    f->read_failed = true;
    if (reply->code == HF_E_CORRUPT)
        replica_damaged(f->replica);
}

/* I12: to a client that does not read what it asked for, large answers are not even built. */
static void build_busy(struct front *f, struct request *r)
{
    metric_add(&metrics[M_BUSY], 1);
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, r->id, HF_E_BUSY);
    reply.message = (char *)(uintptr_t) "too many answers to this client are unread"; /* packing only reads */
    keep_aside(f, r, &reply);
}

/* What decides expiry. */
static struct hlc read_now(const struct front *f, const struct request *r)
{
    return r->read.at.t ? r->read.at : replica_clock(f->replica);
}

/* A new leader does not know yet whether this has expired by an earlier leader's time. */
static bool doubtful(const struct front *f, const struct request *r, struct hlc expiry)
{
    return r->read.at.t == 0 && expiry.t != 0 && expiry.t <= replica_doubt(f->replica).t;
}

static void build_get(struct front *f, struct request *r)
{
    struct fsm_value value = {0};
    int rc = fsm_get(replica_fsm(f->replica), r->space, r->key, r->read.at, read_now(f, r), &f->scratch, &value);
    if (!rc && doubtful(f, r, value.expiry))
        rc = HF_E_NOT_READY;
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, r->id, rc);
    Hf__Client__Version version = version_out(value.version);
    if (!rc) {
        reply.value = pack_bytes(value.value);
        reply.found = &version;
    }
    explain(f, &reply);
    add_hints(f, &reply);
    keep_aside(f, r, &reply);
}

static void build_scan(struct front *f, struct request *r)
{
    struct fsm_scan scan = {.space = r->space,
                            .start = r->key,
                            .end = r->end,
                            .at = r->read.at,
                            .now = read_now(f, r),
                            .items_max = r->limit && r->limit < LIMIT_SCAN_ITEMS ? r->limit : LIMIT_SCAN_ITEMS,
                            .bytes_max = LIMIT_SCAN_BYTES,
                            .steps_max = SCAN_STEPS_MAX,
                            .reverse = r->reverse,
                            .keys_only = r->keys_only};
    struct fsm_page page = {0};
    int rc = fsm_scan(replica_fsm(f->replica), &scan, &f->scratch, &page);
    for (size_t i = 0; !rc && i < page.count; i++)
        if (doubtful(f, r, page.items[i].expiry))
            rc = HF_E_NOT_READY;
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, r->id, rc);
    if (!rc) {
        Hf__Client__Item *items = arena_alloc(&f->scratch, page.count * sizeof *items + 1);
        Hf__Client__Version *versions = arena_alloc(&f->scratch, page.count * sizeof *versions + 1);
        reply.items = arena_alloc(&f->scratch, page.count * sizeof(Hf__Client__Item *) + 1);
        reply.n_items = page.count;
        for (size_t i = 0; i < page.count; i++) {
            hf__client__item__init(&items[i]);
            versions[i] = version_out(page.items[i].version);
            items[i].key = pack_bytes(page.items[i].key);
            items[i].value = pack_bytes(page.items[i].value);
            items[i].version = &versions[i];
            reply.items[i] = &items[i];
        }
        reply.more = page.more;
        reply.next = pack_bytes(page.next);
    }
    explain(f, &reply);
    keep_aside(f, r, &reply);
}

static void build_backup(struct front *f, struct request *r)
{
    char where[256];
    struct backup_part part = {0};
    int rc =
        backup_part(f->backup, replica_fsm(f->replica), replica_clock(f->replica), r->view, r->offset, &part, where);
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, r->id, rc);
    reply.view = part.view;
    reply.value = pack_bytes(part.bytes);
    reply.more = part.more;
    if (rc && where[0])
        reply.message = where;
    add_hints(f, &reply);
    keep_aside(f, r, &reply);
}

static void read_build(void *ctx, struct replica_read *read)
{
    struct front *f = ctx;
    struct request *r = LIST_OWNER(read, struct request, read);
    if (net_is_full(f->answer.socket, &r->peer))
        build_busy(f, r);
    else if (r->op == HF__CLIENT__REQUEST__OP_BACKUP)
        build_backup(f, r);
    else if (r->op == HF__CLIENT__REQUEST__OP_GET)
        build_get(f, r);
    else
        build_scan(f, r);
    arena_reset(&f->scratch);
}

static size_t built_bytes(void *ctx)
{
    const struct front *f = ctx;
    return f->built.size;
}

static void read_discard(void *ctx)
{
    struct front *f = ctx;
    buf_clear(&f->built);
}

static void read_send(void *ctx, struct replica_read *read)
{
    struct front *f = ctx;
    struct request *r = LIST_OWNER(read, struct request, read);
    answer_send_packed(&f->answer, &r->peer, slice_make(f->built.data + r->answer_offset, r->answer_size));
    request_free(f, r);
}

static void read_fail(void *ctx, struct replica_read *read, int code)
{
    struct front *f = ctx;
    struct request *r = LIST_OWNER(read, struct request, read);
    refuse_request(f, &r->peer, r->id, code, NULL);
    request_free(f, r);
}

/* ---- requests become writes and reads ---- */

static int queue_write(struct front *f, struct request *r, const Hf__Client__Request *q, size_t bytes)
{
    metric_add(&metrics[M_WRITES], 1);
    r->write.bytes = bytes + sizeof *r;
    request_fill_write(r, q);
    return replica_write(f->replica, &r->write);
}

static int queue_read(struct front *f, struct request *r, const Hf__Client__Request *q)
{
    metric_add(&metrics[M_READS], 1);
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
    metric_add(&metrics[M_READS], 1);
    r->view = q->backup->view;
    r->offset = q->backup->offset;
    r->read.at.t = 0;
    r->read.bytes = sizeof *r;
    return replica_read(f->replica, &r->read);
}

/* Why nothing is read at a timestamp. */
static void refuse_at(struct front *f, const struct net_peer *peer, uint64_t id, int code, struct hlc at)
{
    char text[256] = "";
    const struct fsm_info *info = replica_fsm(f->replica) ? fsm_info(replica_fsm(f->replica)) : NULL;
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, id, code);
    if (code == HF_E_RESTART_ABOVE)
        reply.timestamp = info->restart.t;
    if (code == HF_E_REFUSED)
        snprintf(text, sizeof text, "a group of feature level %" PRIu32 " serves the latest only; leave the timestamp out",
                 info->feature_level);
    else if (code == HF_E_FUTURE_TIMESTAMP || code == HF_E_TOO_OLD)
        snprintf(text, sizeof text, "%s: timestamp %" PRIu64 ", the shard's time is %" PRIu64, error_text(code), at.t,
                 replica_clock(f->replica).t);
    if (text[0])
        reply.message = text;
    metric_add(&metrics[code == HF_E_BUSY ? M_BUSY : M_REFUSED], 1);
    add_hints(f, &reply);
    answer_send(&f->answer, peer, &reply);
}

static uint64_t deadline_of(const Hf__Client__Request *q)
{
    uint64_t ms = q->deadline_ms ? q->deadline_ms : REQUEST_DEADLINE_MS_DEFAULT;
    return clock_boot_ns() + (ms < REQUEST_DEADLINE_MS_MAX ? ms : REQUEST_DEADLINE_MS_MAX) * CLOCK_NS_PER_MS;
}

static void queue(struct front *f, const struct net_peer *peer, const Hf__Client__Request *q, size_t bytes)
{
    struct request *r = request_new(f);
    uint64_t deadline = deadline_of(q);
    r->id = q->id;
    r->op = q->op_case;
    r->fence = r->check = false;
    r->copy = NULL;
    r->peer = *peer;
    r->write.deadline_ns = r->read.deadline_ns = deadline;
    bool read = q->op_case == HF__CLIENT__REQUEST__OP_GET || q->op_case == HF__CLIENT__REQUEST__OP_SCAN;
    int rc = q->op_case == HF__CLIENT__REQUEST__OP_BACKUP ? queue_backup(f, r, q)
             : read                                       ? queue_read(f, r, q)
                                                          : queue_write(f, r, q, bytes);
    if (rc == HF_OK)
        return;
    if (read && r->read.at.t)
        refuse_at(f, peer, q->id, rc, r->read.at);
    else
        refuse_request(f, peer, q->id, rc, NULL);
    request_free(f, r);
}

static void take_beat(struct front *f, const struct net_peer *peer, const Hf__Client__Request *q)
{
    if (replica_observe(f->replica, (struct hlc){q->beat->issued}, q->beat->fresh))
        metric_add(&metrics[M_FUTURE],
                   1); /* above the ceiling: nobody can have issued it, or the lease is on its way */
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
        refuse_request(f, peer, q->id, HF_E_REFUSED,
                       "a group of fewer than three voters has no majority without this one");
        return;
    }
    int rc = check_verdict(replica_check(f->replica), q->verdict->index, q->verdict->digest.data, &marked);
    refuse_request(f, peer, q->id, rc, rc == HF_E_ABSENT ? "this replica has no finished check at that index" : NULL);
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
        refuse_request(f, peer, q->id, rc, message);
        return;
    }
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
        refuse_request(f, peer, q->id, replica_transfer(f->replica, q->transfer->to), NULL);
        return;
    case HF__CLIENT__REQUEST__OP_SNAPSHOT:
        publishing_ask(&f->publishing, f->replica, peer, q->id, deadline_of(q));
        return;
    case HF__CLIENT__REQUEST__OP_VERDICT:
        take_verdict(f, peer, q);
        return;
    case HF__CLIENT__REQUEST__OP_BOOTSTRAP:
        refuse_request(f, peer, q->id, HF_E_EXISTS,
                       "this replica is bootstrapped already; its status says of which cluster");
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
    case HF__CLIENT__REQUEST__OP_BACKUP:
        queue(f, peer, q, bytes);
        return;
    case HF__CLIENT__REQUEST__OP_CLUSTER_STATUS:
    case HF__CLIENT__REQUEST__OP_TIMESTAMP:
    case HF__CLIENT__REQUEST__OP__NOT_SET:
    case _HF__CLIENT__REQUEST__OP__CASE_IS_INT_SIZE:
        break;
    }
    must(false); /* request_check lets no other operation pass */
}

static size_t collect(void *ctx, size_t max, struct arena *turn)
{
    struct front *f = ctx;
    size_t count = 0;
    backup_expire(f->backup, clock_boot_ns());
    if (check_damaged(replica_check(f->replica)))
        replica_damaged(f->replica);
    for (; count < max && turn->used < LIMIT_REQUEST_BYTES; count++) {
        struct net_peer peer;
        struct net_message message;
        int rc = net_receive(f->answer.socket, &peer, &message);
        if (rc == HF_E_PROTOCOL) {
            metric_add(&metrics[M_MALFORMED], 1);
            continue;
        }
        if (rc)
            break;
        struct slice bytes = net_message_data(&message);
        const Hf__Client__Request *q =
            bytes.size <= REQUEST_BYTES_MAX ? pack_unpack(&hf__client__request__descriptor, bytes, turn) : NULL;
        if (q)
            dispatch(f, &peer, q, bytes.size, turn);
        else
            metric_add(&metrics[M_MALFORMED], 1);
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
    return (struct replica_front){.ctx = f,
                                  .collect = collect,
                                  .write_done = write_done,
                                  .closing = machine_closing,
                                  .reads = {.ctx = f,
                                            .build = read_build,
                                            .built_bytes = built_bytes,
                                            .discard = read_discard,
                                            .send = read_send,
                                            .fail = read_fail}};
}
