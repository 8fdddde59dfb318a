/* active.c: see active.h. */
#include "coordinator/active.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/arena.h"
#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "coordinator/limits.h"
#include "proto/pack.h"

void active_init(struct active *a, struct net *net, struct oracle *oracle, struct retain *retain,
                 struct forward *forward, const char *own)
{
    *a = (struct active){.net = net, .oracle = oracle, .retain = retain, .forward = forward, .own = own};
}

void active_deinit(struct active *a)
{
    net_close(&a->socket);
    for (size_t i = 0; i < a->inbox_count; i++)
        buf_deinit(&a->inbox[i].request);
    free(a->inbox);
}

/* ---- answers ---- */

static const char *text_of(Hf__Client__Request__OpCase op, int code)
{
    switch (code) {
    case HF_OK:
        return "";
    case HF_E_NOT_LEADER:
        return "this coordinator is a standby";
    case HF_E_BUSY:
        return "this coordinator has just become the active one; ask again";
    case HF_E_NOT_READY:
        return "the oracle's ceiling is being raised";
    case HF_E_UNAVAILABLE:
        return "no timestamps now: the oracle's lease is not renewed";
    case HF_E_NOT_FOUND:
        return "there is nothing to accept: the active coordinator's wall clock is believed";
    case HF_E_REFUSED:
        return "the wall clock is set to a time that no timestamp can have; set it right";
    case HF_E_OUTCOME_UNKNOWN:
        return "the wall clock is accepted when a ceiling above it is committed, which has not happened yet";
    }
    return op == HF__CLIENT__REQUEST__OP_CLOCK_ACCEPT ? "the clock was not accepted" : error_text(code);
}

/* What this coordinator says of something that only the active one does, if it is not done here. */
static int not_here(const struct active *a)
{
    return a->oracle->clock.role != CLOCK_ACTIVE ? HF_E_NOT_LEADER
           : oracle_active(a->oracle)            ? HF_E_BUSY
                                                 : HF_E_UNAVAILABLE;
}

static void answer_accept(struct active *a, struct active_reply *out)
{
    struct clock_accepted accepted;
    out->reply.code = oracle_accept(a->oracle, &accepted);
    if (out->reply.code != HF_OK)
        return;
    hf__client__clock_accepted__init(&out->accepted);
    out->accepted.coordinator = a->oracle->clock.id;
    out->accepted.from_ms = accepted.from_ms;
    out->accepted.to_ms = accepted.to_ms;
    out->reply.clock_accepted = &out->accepted;
}

/* Counted from a moment when its request was here and this coordinator was active: `now` of a turn may be before the request, and
 * it may pause between two lines. */
static void answer_retain(struct active *a, const Hf__Client__Retain *q, struct active_reply *out)
{
    uint64_t now_ns = clock_boot_ns();
    out->reply.code = not_here(a);
    if (oracle_active(a->oracle))
        out->reply.code =
            retain_ask(a->retain, q->id, (struct hlc){q->timestamp}, q->lease_ms, now_ns, &out->reply.lease_ms);
}

static void answer(struct active *a, const Hf__Client__Request *q, struct active_reply *out)
{
    struct hlc t = {0};
    const struct clock *clock = &a->oracle->clock;
    Hf__Client__Request__OpCase op = q->op_case;
    hf__client__reply__init(&out->reply);
    if (op == HF__CLIENT__REQUEST__OP_CUT || op == HF__CLIENT__REQUEST__OP_TXN ||
        op == HF__CLIENT__REQUEST__OP_MIGRATE_JOB) { /* not ours: cut.c, txns.c, migrate.c */
        out->reply.code = not_here(a);
    } else if (op == HF__CLIENT__REQUEST__OP_RETAIN) {
        answer_retain(a, q->retain, out);
    } else if (op == HF__CLIENT__REQUEST__OP_CLOCK_ACCEPT) {
        answer_accept(a, out);
    } else {
        out->reply.code = oracle_issue_above(a->oracle, (struct hlc){q->timestamp->above}, &t);
        out->reply.timestamp = t.t;
    }
    if (out->reply.code == HF_E_NOT_LEADER) {
        out->reply.leader_endpoint = (char *)(uintptr_t)clock->key_endpoint; /* packing only reads */
        out->reply.leader = clock->key.coordinator;
    }
    out->reply.message = (char *)(uintptr_t)text_of(op, out->reply.code);
}

/* Marks it. False: it was forwarded to us. */
static bool mark(Hf__Client__Request *q)
{
    protobuf_c_boolean *forwarded = q->op_case == HF__CLIENT__REQUEST__OP_TIMESTAMP     ? &q->timestamp->forwarded
                                    : q->op_case == HF__CLIENT__REQUEST__OP_CUT         ? &q->cut->forwarded
                                    : q->op_case == HF__CLIENT__REQUEST__OP_TXN         ? &q->txn->forwarded
                                    : q->op_case == HF__CLIENT__REQUEST__OP_RETAIN      ? &q->retain->forwarded
                                    : q->op_case == HF__CLIENT__REQUEST__OP_MIGRATE_JOB ? &q->migrate_job->forwarded
                                                                                        : &q->clock_accept->forwarded;
    bool was = *forwarded;
    *forwarded = true;
    return !was;
}

/* A job that is started twice is refused the second time, though it was asked for once. */
static enum forward_kind kind_of(const Hf__Client__Request *q)
{
    if (q->op_case == HF__CLIENT__REQUEST__OP_MIGRATE_JOB) {
        Hf__Client__JobAction action = q->migrate_job->action;
        bool reads = action == HF__CLIENT__JOB_ACTION__JOB_PLAN || action == HF__CLIENT__JOB_ACTION__JOB_STATUS;
        return reads ? FORWARD_READ : action == HF__CLIENT__JOB_ACTION__JOB_START ? FORWARD_ONCE : FORWARD_REPEATABLE;
    }
    bool writes = q->op_case == HF__CLIENT__REQUEST__OP_CLOCK_ACCEPT ||
                  (q->op_case == HF__CLIENT__REQUEST__OP_TXN && q->txn->n_writes > 0);
    return writes ? FORWARD_REPEATABLE : FORWARD_READ;
}

bool active_ask(struct active *a, const struct forward_client *client, Hf__Client__Request *request,
                uint64_t deadline_ns, uint64_t now_ns, struct active_reply *out)
{
    answer(a, request, out);
    /* An acceptance that is not committed yet is asked for again until it is. */
    bool waits = out->reply.code == HF_E_NOT_LEADER || out->reply.code == HF_E_OUTCOME_UNKNOWN;
    if (!waits || !mark(request))
        return true;
    struct buf body = {0};
    pack_append(&request->base, &body);
    struct forward_request forwarded = {.client = *client,
                                        .kind = kind_of(request),
                                        .shard = FORWARD_CLOCK,
                                        .body = buf_slice(&body),
                                        .deadline_ns = deadline_ns};
    out->reply.code = forward_begin(a->forward, &forwarded, now_ns);
    buf_deinit(&body);
    if (out->reply.code == HF_OK)
        return false;
    out->reply.message = (char *)(uintptr_t) "too many requests wait for the active coordinator";
    out->reply.leader_endpoint = (char *)(uintptr_t)protobuf_c_empty_string;
    out->reply.leader = 0;
    return true;
}

/* ---- whom to ask ---- */

uint32_t active_pick(const struct active *a)
{
    return a->number;
}

static void take_in(struct active *a, uint64_t id, struct slice frame)
{
    if (a->inbox_count == a->inbox_cap) { /* forward.c bounds them */
        a->inbox_cap = a->inbox_cap ? 2 * a->inbox_cap : 16;
        a->inbox = realloc(a->inbox, a->inbox_cap * sizeof *a->inbox);
        must(a->inbox != NULL); /* out of memory */
    }
    struct active_question *question = &a->inbox[a->inbox_count++];
    *question = (struct active_question){.id = id};
    buf_append(&question->request, frame.data, frame.size);
}

int active_send(struct active *a, uint32_t number, struct slice frame)
{
    must(number == a->number && number != 0);
    if (!a->self)
        return a->socket ? net_send(a->socket, frame) : HF_E_UNAVAILABLE;
    struct arena arena = {0};
    const Hf__Client__Request *q = pack_unpack(&hf__client__request__descriptor, frame, &arena);
    must(q != NULL); /* active_ask packed it */
    take_in(a, q->id, frame);
    arena_deinit(&arena);
    return HF_OK;
}

static void serve_one(struct active *a, const struct active_question *question, uint64_t now_ns)
{
    struct arena arena = {0};
    const Hf__Client__Request *q = pack_unpack(&hf__client__request__descriptor, buf_slice(&question->request), &arena);
    must(q != NULL); /* active_send unpacked it */
    bool driven = q->op_case == HF__CLIENT__REQUEST__OP_TXN || q->op_case == HF__CLIENT__REQUEST__OP_MIGRATE_JOB;
    if (driven && oracle_active(a->oracle) && a->drive != NULL) {
        a->drive(a->ctx, question->id, q, now_ns);
    } else {
        struct active_reply reply;
        answer(a, q, &reply);
        reply.reply.version = 1;
        reply.reply.id = question->id;
        (void)forward_reply(a->forward, &reply.reply, now_ns); /* false: its time is over */
    }
    arena_deinit(&arena);
}

void active_serve(struct active *a, uint64_t now_ns)
{
    struct active_question *all = a->inbox;
    size_t count = a->inbox_count;
    a->inbox = NULL; /* a question that has to wait comes in again */
    a->inbox_count = a->inbox_cap = 0;
    for (size_t i = 0; i < count; i++) {
        serve_one(a, &all[i], now_ns);
        buf_deinit(&all[i].request);
    }
    free(all);
}

bool active_follow(struct active *a, uint64_t now_ns)
{
    const struct clock *c = &a->oracle->clock;
    bool self = c->role == CLOCK_ACTIVE;
    bool other = !self && c->key_known && c->key.present && c->key_endpoint[0] != '\0' &&
                 strcmp(c->key_endpoint, a->own) != 0; /* else an earlier life of ours holds it: nobody is there */
    bool nobody = !self && !other;
    bool same = nobody ? a->number == 0
                       : a->number != 0 && a->self == self && a->epoch == c->key.epoch &&
                             (self || strcmp(a->endpoint, c->key_endpoint) == 0);
    if (same)
        return false;
    bool moved = a->socket != NULL;
    net_close(&a->socket);
    a->self = self;
    a->epoch = c->key.epoch;
    a->number = nobody ? 0 : ++a->changes;
    memcpy(a->endpoint, c->key_endpoint, sizeof a->endpoint);
    if (other) {
        struct net_options options = {.hwm = LINK_HWM_SLACK, .message_bytes = LIMIT_REQUEST_BYTES};
        int rc = net_connect(a->net, a->endpoint, &options, &a->socket);
        if (rc)
            diag(DIAG_WARN, "cannot connect to the active coordinator: endpoint=%s: %s", a->endpoint, error_text(rc));
    }
    if (!nobody)
        forward_leader_changed(a->forward, FORWARD_CLOCK, now_ns);
    return moved || a->socket != NULL;
}
