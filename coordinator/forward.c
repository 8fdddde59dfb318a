/* forward.c: see forward.h. */
#include "coordinator/forward.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/failpoint.h"
#include "coordinator/calls.h"
#include "coordinator/counters.h"
#include "coordinator/limits.h"
#include "proto/pack.h"

#define ATTEMPT_BITS 6 /* of an id: which attempt; the rest is the serial */
#define ATTEMPTS_OPEN (1u << ATTEMPT_BITS)
#define SPARES_MAX 1024u
#define SPARE_BODY_BYTES ((size_t)4096) /* a larger body is not kept for reuse */
#define TEXT_BYTES 160

struct forward_item {
    struct list in_shard; /* or in forward.spare */
    uint64_t serial;
    struct forward_client client;
    struct forward_shard *queue; /* borrowed */
    enum forward_kind kind;
    struct buf body;  /* the request, then what the last attempt appended */
    size_t body_size; /* of the request alone */
    uint64_t deadline_ns;
    uint64_t unanswered;   /* bit n: attempt n was handed to a socket and nothing came back */
    uint32_t next_attempt; /* its number: none is used again soon, so an answer that comes twice is not another's */
    bool doubt;            /* some attempt's answer was that its outcome is unknown */
    uint32_t last;         /* replica of the last attempt; 0: none */
    uint32_t avoid;        /* replica that just refused */
    uint64_t next_ns;      /* when to try again: retry if nothing is unanswered, else repeat */
    uint32_t retry_ms;     /* the last wait of each sort, to double it */
    uint32_t repeat_ms;
    uint32_t locked_ms;
    int refusal; /* code of the last refusal, 0: none */
    struct {
        uint32_t home;
        uint64_t session, seq, min_commit;
    } lock; /* KEY_LOCKED: whose, as far as the shard said */
    bool scan_more;
    struct buf scan_next;
};

void forward_init(struct forward *f, const struct forward_port *port, uint64_t shard_requests_max,
                  uint64_t shard_bytes_max)
{
    *f = (struct forward){
        .port = *port, .shard_requests_max = shard_requests_max, .shard_bytes_max = shard_bytes_max, .next_serial = 1};
    list_init(&f->spare);
}

static void item_free(struct forward_item *item)
{
    buf_deinit(&item->body);
    buf_deinit(&item->scan_next);
    free(item);
}

void forward_deinit(struct forward *f)
{
    size_t at = 0;
    uint64_t key;
    void *value;
    while (hashmap_each(&f->by_serial, &at, &key, &value))
        item_free(value);
    LIST_EACH (it, &f->spare)
        item_free(LIST_OWNER(it, struct forward_item, in_shard));
    at = 0;
    while (hashmap_each(&f->shards, &at, &key, &value))
        free(value);
    hashmap_deinit(&f->by_serial);
    hashmap_deinit(&f->shards);
}

uint64_t forward_pending(const struct forward *f)
{
    return f->by_serial.count;
}

static struct forward_shard *queue_of(struct forward *f, uint32_t shard)
{
    struct forward_shard *queue = hashmap_get(&f->shards, shard);
    if (queue == NULL) {
        queue = calloc(1, sizeof *queue);
        must(queue != NULL); /* out of memory */
        queue->shard = shard;
        list_init(&queue->items);
        hashmap_put(&f->shards, shard, queue);
    }
    return queue;
}

static bool queue_full(const struct forward *f, const struct forward_shard *queue, size_t bytes)
{
    return queue->count >= f->shard_requests_max || queue->bytes + bytes > f->shard_bytes_max;
}

static void enqueue(struct forward_shard *queue, struct forward_item *item)
{
    item->queue = queue;
    list_push(&queue->items, &item->in_shard);
    queue->count++;
    queue->bytes += item->body_size;
}

static void dequeue(struct forward_item *item)
{
    must(item->queue->count > 0 && item->queue->bytes >= item->body_size); /* I12 */
    item->queue->count--;
    item->queue->bytes -= item->body_size;
    list_remove(&item->in_shard);
}

static struct forward_item *item_new(struct forward *f)
{
    struct forward_item *item;
    if (list_empty(&f->spare)) {
        item = calloc(1, sizeof *item);
        must(item != NULL); /* out of memory */
        return item;
    }
    item = LIST_OWNER(f->spare.next, struct forward_item, in_shard);
    list_remove(&item->in_shard);
    f->spares--;
    struct buf body = item->body, next = item->scan_next;
    buf_clear(&body);
    buf_clear(&next);
    *item = (struct forward_item){.body = body, .scan_next = next};
    return item;
}

static void forget(struct forward *f, struct forward_item *item)
{
    dequeue(item);
    hashmap_remove(&f->by_serial, item->serial);
    if (f->spares >= SPARES_MAX || item->body.cap > SPARE_BODY_BYTES) {
        item_free(item);
        return;
    }
    list_push(&f->spare, &item->in_shard);
    f->spares++;
}

static void finish(struct forward *f, struct forward_item *item, Hf__Client__Reply *reply)
{
    if (reply->code == HF_OK && item->scan_more && !reply->more) {
        reply->more = true;
        reply->next = pack_bytes(buf_slice(&item->scan_next));
    }
    if (reply->code == HF_E_OUTCOME_UNKNOWN)
        count(COUNTER_UNKNOWN);
    if (reply->code == HF_E_UNAVAILABLE)
        count(COUNTER_UNAVAILABLE);
    f->port.answer(f->port.ctx, &item->client, reply);
    if (planted_bug("forward.answers_twice") && item->repeat_ms > RESEND_MS_MIN)
        f->port.answer(f->port.ctx, &item->client, reply);
    forget(f, item);
}

static void finish_code(struct forward *f, struct forward_item *item, int code, const char *text)
{
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    reply.code = code;
    reply.message = (char *)(uintptr_t)text;
    reply.shard = item->queue->shard;
    finish(f, item, &reply);
}

static bool may_be_executed(const struct forward_item *item)
{
    return item->unanswered != 0 || item->doubt;
}

static void finish_locked(struct forward *f, struct forward_item *item)
{
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    Hf__Client__Lock lock = HF__CLIENT__LOCK__INIT;
    Hf__Entry__TxnId id = HF__ENTRY__TXN_ID__INIT;
    id.home = item->lock.home;
    id.session = item->lock.session;
    id.seq = item->lock.seq;
    lock.id = &id;
    lock.min_commit = item->lock.min_commit;
    reply.code = HF_E_KEY_LOCKED;
    reply.message = (char *)(uintptr_t) "a transaction that is not decided yet kept its lock until the deadline";
    reply.shard = item->queue->shard;
    reply.lock = id.home != 0 ? &lock : NULL;
    finish(f, item, &reply);
}

static void finish_late(struct forward *f, struct forward_item *item)
{
    char text[TEXT_BYTES], who[32] = "the active coordinator";
    bool clock = item->queue->shard == FORWARD_CLOCK;
    bool unknown = item->kind != FORWARD_READ && may_be_executed(item);
    if (!unknown && item->refusal == HF_E_KEY_LOCKED) {
        finish_locked(f, item);
        return;
    }
    if (!clock)
        snprintf(who, sizeof who, "shard %" PRIu32, item->queue->shard);
    if (unknown)
        snprintf(text, sizeof text, "%s did not answer in time: the request may have been executed", who);
    else if (may_be_executed(item))
        snprintf(text, sizeof text, "%s did not answer in time", who);
    else if (item->refusal != 0)
        snprintf(text, sizeof text, "%s %s: last answer %s", who, clock ? "cannot" : "has no leader that serves",
                 error_name(item->refusal));
    else
        snprintf(text, sizeof text, "%s: %s", who, clock ? "it could not be reached" : "no replica could be reached");
    finish_code(f, item, unknown ? HF_E_OUTCOME_UNKNOWN : HF_E_UNAVAILABLE, text);
}

static uint32_t doubled(uint32_t pause_ms, uint32_t least, uint32_t most)
{
    if (pause_ms < least)
        return least;
    return 2 * pause_ms < most ? 2 * pause_ms : most;
}

static void wait_retry(struct forward_item *item, uint64_t now_ns)
{
    item->retry_ms = doubled(item->retry_ms, RETRY_MS_MIN, RETRY_MS_MAX);
    item->next_ns = now_ns + item->retry_ms * CLOCK_NS_PER_MS;
}

static void wait_repeat(struct forward_item *item, uint64_t now_ns)
{
    item->repeat_ms = doubled(item->repeat_ms, RESEND_MS_MIN, RESEND_MS_MAX);
    item->next_ns = now_ns + item->repeat_ms * CLOCK_NS_PER_MS;
}

static void wait_unlocked(struct forward_item *item, uint64_t now_ns)
{
    item->locked_ms = doubled(item->locked_ms, LOCKED_MS_MIN, LOCKED_MS_MAX);
    item->next_ns = now_ns + item->locked_ms * CLOCK_NS_PER_MS;
}

/* The request and behind it what belongs to this attempt. */
static struct slice frame(const struct forward *f, struct forward_item *item, uint32_t attempt, uint64_t now_ns)
{
    uint64_t left_ms = (item->deadline_ns - now_ns) / CLOCK_NS_PER_MS;
    Hf__Client__Request head = HF__CLIENT__REQUEST__INIT;
    head.version = 1;
    head.id = item->serial << ATTEMPT_BITS | attempt;
    head.cluster = f->cluster;
    head.shard = item->queue->shard;
    head.route_version = f->route_version;
    head.deadline_ms = left_ms > 0 ? (uint32_t)left_ms : 1;
    item->body.size = item->body_size;
    pack_append(&head.base, &item->body);
    return buf_slice(&item->body);
}

static void attempt(struct forward *f, struct forward_item *item, uint64_t now_ns)
{
    uint32_t shard = item->queue->shard, number = item->next_attempt;
    while (item->unanswered != UINT64_MAX && (item->unanswered >> number & 1) != 0)
        number = (number + 1) % ATTEMPTS_OPEN;
    uint32_t replica = item->unanswered != UINT64_MAX && now_ns < item->deadline_ns
                           ? f->port.pick(f->port.ctx, shard, item->avoid)
                           : 0;
    item->avoid = 0;
    if (replica == 0 || f->port.send(f->port.ctx, shard, replica, frame(f, item, number, now_ns)) != 0) {
        wait_retry(item, now_ns); /* surely not sent */
        return;
    }
    count(COUNTER_ATTEMPTS);
    item->unanswered |= 1ull << number;
    item->next_attempt = (number + 1) % ATTEMPTS_OPEN;
    item->last = replica;
    wait_repeat(item, now_ns);
}

int forward_begin(struct forward *f, const struct forward_request *request, uint64_t now_ns)
{
    struct forward_shard *queue = queue_of(f, request->shard);
    if (queue_full(f, queue, request->body.size)) {
        count(COUNTER_BUSY);
        return HF_E_BUSY;
    }
    struct forward_item *item = item_new(f);
    item->serial = f->next_serial++;
    must((item->serial << ATTEMPT_BITS & CALLS_ID_BIT) == 0);
    item->client = request->client;
    item->kind = request->kind;
    item->deadline_ns = request->deadline_ns;
    item->body_size = request->body.size;
    buf_append(&item->body, request->body.data, request->body.size);
    item->scan_more = request->scan_more;
    if (request->scan_more)
        buf_append(&item->scan_next, request->scan_next.data, request->scan_next.size);
    enqueue(queue, item);
    hashmap_put(&f->by_serial, item->serial, item);
    count(COUNTER_FORWARDED);
    attempt(f, item, now_ns);
    return HF_OK;
}

static bool may_try(const struct forward_item *item)
{
    return item->kind != FORWARD_ONCE || !may_be_executed(item) || planted_bug("forward.resend_unknown");
}

/* What a reply to one attempt means for the request. */
enum verdict { FINAL, RETRY, REROUTE, DOUBT, LOCKED };

static enum verdict judge(const struct forward_item *item, int code)
{
    switch (error_class(code)) {
    case HF_CLASS_NONE:
        return FINAL;
    case HF_CLASS_RETRY_SAME:
        if (code == HF_E_KEY_LOCKED)
            return LOCKED;
        return code == HF_E_NOT_READY || code == HF_E_NO_ROUTE || may_be_executed(item) ? RETRY : FINAL;
    case HF_CLASS_RETRY_ELSEWHERE:
        return RETRY;
    case HF_CLASS_REFRESH_ROUTE:
        return REROUTE;
    case HF_CLASS_OUTCOME_UNKNOWN:
        return DOUBT;
    case HF_CLASS_GIVE_UP:
        return FINAL;
    }
    return DOUBT;
}

static bool decided(int code)
{
    return code == HF_OK || code == HF_E_NOT_FOUND || code == HF_E_COMPARE_FAILED || code == HF_E_CONFLICT ||
           code == HF_E_FENCED;
}

static void final(struct forward *f, struct forward_item *item, Hf__Client__Reply *reply)
{
    if (item->kind != FORWARD_READ && may_be_executed(item) && !decided(reply->code)) {
        char text[TEXT_BYTES];
        snprintf(text, sizeof text, "an earlier attempt went unanswered and may have been executed; a later one got %s",
                 error_name(reply->code));
        finish_code(f, item, HF_E_OUTCOME_UNKNOWN, text); /* I9 */
        return;
    }
    finish(f, item, reply);
}

/* Refused and surely not executed by that attempt. While another attempt is unanswered the pace stays that of repeats.
 */
static void again(struct forward_item *item, int code, uint64_t now_ns)
{
    item->refusal = code;
    item->avoid = error_class(code) == HF_CLASS_RETRY_ELSEWHERE ? item->last : 0;
    wait_retry(item, now_ns);
}

/* The first refusal often brings the leader's name and costs no pause. */
static void refused(struct forward *f, struct forward_item *item, int code, uint64_t now_ns)
{
    bool first = item->refusal == 0;
    again(item, code, now_ns);
    if (first && error_class(code) == HF_CLASS_RETRY_ELSEWHERE && may_try(item))
        attempt(f, item, now_ns);
}

/* Surely not executed by that attempt, and the leader is who answered. */
static void locked(struct forward *f, struct forward_item *item, const Hf__Client__Reply *reply, uint64_t now_ns)
{
    item->refusal = HF_E_KEY_LOCKED;
    item->avoid = 0;
    item->lock.home = 0;
    wait_unlocked(item, now_ns);
    const Hf__Client__Lock *lock = reply->lock;
    if (lock == NULL || lock->id == NULL)
        return;
    item->lock.home = lock->id->home;
    item->lock.session = lock->id->session;
    item->lock.seq = lock->id->seq;
    item->lock.min_commit = lock->min_commit;
    if (f->port.locked != NULL)
        f->port.locked(f->port.ctx, item->queue->shard, lock->id, now_ns);
}

static void reroute(struct forward *f, struct forward_item *item, Hf__Client__Reply *reply, uint64_t now_ns)
{
    uint32_t shard = 0;
    item->body.size = item->body_size;
    switch (f->port.reroute(f->port.ctx, buf_slice(&item->body), item->queue->shard, &shard)) {
    case FORWARD_SAME: /* the shard knows better than our routes, or is behind them: newer ones are on their way */
        again(item, reply->code, now_ns);
        return;
    case FORWARD_REFUSED:
        final(f, item, reply);
        return;
    case FORWARD_MOVED:
        break;
    }
    struct forward_shard *queue = queue_of(f, shard);
    if (may_be_executed(item) || queue_full(f, queue, item->body_size)) {
        final(f, item, reply);
        return;
    }
    dequeue(item);
    enqueue(queue, item);
    item->last = item->avoid = 0;
    attempt(f, item, now_ns);
}

bool forward_reply(struct forward *f, Hf__Client__Reply *reply, uint64_t now_ns)
{
    struct forward_item *item = hashmap_get(&f->by_serial, reply->id >> ATTEMPT_BITS);
    uint64_t bit = 1ull << (reply->id & (ATTEMPTS_OPEN - 1));
    if (item == NULL || (item->unanswered & bit) == 0)
        return false;
    item->unanswered &= ~bit;
    switch (judge(item, reply->code)) {
    case FINAL:
        final(f, item, reply);
        break;
    case RETRY:
        refused(f, item, reply->code, now_ns);
        break;
    case REROUTE:
        reroute(f, item, reply, now_ns);
        break;
    case LOCKED:
        locked(f, item, reply, now_ns);
        break;
    case DOUBT:
        item->doubt = true;
        if (item->kind == FORWARD_ONCE)
            final(f, item, reply);
        else
            again(item, reply->code, now_ns);
        break;
    }
    return true;
}

void forward_leader_changed(struct forward *f, uint32_t shard, uint64_t now_ns)
{
    struct forward_shard *queue = hashmap_get(&f->shards, shard);
    if (queue == NULL)
        return;
    LIST_EACH (it, &queue->items) {
        struct forward_item *item = LIST_OWNER(it, struct forward_item, in_shard);
        uint32_t leader = f->port.pick(f->port.ctx, shard, 0);
        if (may_try(item) && (item->unanswered == 0 || item->last != leader)) {
            item->avoid = 0;
            attempt(f, item, now_ns);
        }
    }
}

static void tick_shard(struct forward *f, struct forward_shard *queue, uint64_t now_ns)
{
    LIST_EACH (it, &queue->items) {
        struct forward_item *item = LIST_OWNER(it, struct forward_item, in_shard);
        if (item->deadline_ns <= now_ns) {
            finish_late(f, item);
        } else if (item->next_ns <= now_ns && may_try(item)) {
            if (item->unanswered != 0 && item->avoid == 0)
                item->avoid = item->last; /* silent: perhaps another one leads by now */
            attempt(f, item, now_ns);
        }
    }
}

void forward_tick(struct forward *f, uint64_t now_ns)
{
    size_t at = 0;
    uint64_t key;
    void *value;
    while (hashmap_each(&f->shards, &at, &key, &value))
        tick_shard(f, value, now_ns);
    gauge(COUNTER_PENDING, forward_pending(f));
}
