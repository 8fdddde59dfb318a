/* receiver.c: see receiver.h.
 *
 * Nothing is sent twice over one connection, so a gap means that one was lost: after a silence, and after anything that
 * does not fit, a new connection asks for the same stream from where we are. */
#include "shard/snapshot/receiver.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "common/sys/mailbox.h"
#include "common/sys/metrics.h"
#include "proto/pack.h"
#include "shard/snapshot/stream.h"
#include "shard/snapshot/transfer.h"

/* More than anybody sends who keeps to our credits: ZeroMQ 4.3.4 aborts when a heartbeat is due on a connection that
 * breaks while its queue is full (docs/DEPENDENCIES.md). */
#define HWM 256
#define CREDIT_BYTES (4 * TRANSFER_CHUNK_BYTES)   /* received before the next credit is given */
#define ASK_MS 300                                /* of silence, then the Fetch is repeated */
#define ASK_RETRY_MS 50                           /* while it cannot leave: not connected yet */
#define REFUSED_MS 250                            /* until the next attempt after "busy" or "not ready" */
#define SILENCE_MS 5000                           /* then another connection is tried */
#define FAREWELL_MS 300                           /* that the sender may take to hear that we are done */
#define ABORT_MS 50                               /* likewise, while the loop waits for us */
#define ROOM_RESERVE (UINT64_C(16) * 1024 * 1024) /* that a state must leave for others on its disk */
#define BEGINS_MAX 16                             /* a sender that loses its stream so often is not asked again */

enum { M_DONE, M_FAILED, M_ABORTED, M_BYTES, M_RESUMED, M_BEGUN, M_MALFORMED, M_FOREIGN, M_COUNT };

#define RECEIVED(outcome)                                                                                              \
    {                                                                                                                  \
        "holdfast_snapshot_streams_received_total", "outcome=\"" outcome "\"",                                         \
            "Streams from other replicas, by outcome", METRIC_COUNTER, 0                                               \
    }
static struct metric metrics[M_COUNT] = {
    [M_DONE] = RECEIVED("done"),
    [M_FAILED] = RECEIVED("failed"),
    [M_ABORTED] = RECEIVED("aborted"),
    [M_BYTES] = {"holdfast_snapshot_received_bytes_total", NULL, "Bytes of streams taken from other replicas",
                 METRIC_COUNTER, 0},
    [M_RESUMED] = {"holdfast_snapshot_resumed_total", NULL, "Connections opened anew to go on with a stream",
                   METRIC_COUNTER, 0},
    [M_BEGUN] = {"holdfast_snapshot_attempts_total", NULL, "Streams asked for from their first byte", METRIC_COUNTER,
                 0},
    [M_MALFORMED] = {"holdfast_snapshot_replies_dropped_total", "reason=\"malformed\"",
                     "Replies of a sender that were dropped, by reason", METRIC_COUNTER, 0},
    [M_FOREIGN] = {"holdfast_snapshot_replies_dropped_total", "reason=\"foreign\"",
                   "Replies of a sender that were dropped, by reason", METRIC_COUNTER, 0},
};
static struct metric_histogram seconds = {.name = "holdfast_snapshot_receive_seconds",
                                          .help = "Time until a stream was staged, checked and synced"};

struct receiver {
    struct receiver_config config; /* its texts are ours */
    struct identity id;
    char *endpoint, *dir; /* owned */
    struct mailbox *wake;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic int state; /* enum receiver_state; what it speaks of is written before */
    _Atomic uint64_t bytes, total, progress_ns;
    int code;
    char text[256];
    struct staging *staging; /* owned; its header is read by the loop once DONE */

    struct net_socket *socket; /* owned; from here on the thread's */
    struct stream_reader *reader;
    struct stream_sink staged; /* the staging's own */
    uint64_t attempt, stream, number;
    uint64_t received, credited; /* bytes; until when we last said so */
    unsigned begins;
    uint64_t begun_ns, heard_ns, ask_ns; /* ask_ns: when the Fetch is due again */
    bool room_seen;                      /* there is room for all of it */
    bool ending, ended;                  /* we are done with it; the sender has heard so */
    struct arena arena;
    struct buf packed;
};

static uint64_t ms(uint64_t n)
{
    return n * CLOCK_NS_PER_MS;
}

/* ---- the end ---- */

static bool running(const struct receiver *r)
{
    return atomic_load(&r->state) == RECEIVER_RUNNING && !atomic_load(&r->stop);
}

static void fail(struct receiver *r, int code, const char *text)
{
    r->code = code;
    snprintf(r->text, sizeof r->text, "%s", text[0] ? text : error_text(code));
    diag(DIAG_WARN, "snapshot from replica=%" PRIu32 " failed after bytes=%" PRIu64 ": %s", r->config.from, r->received,
         r->text);
    metric_add(&metrics[M_FAILED], 1);
    atomic_store(&r->state, RECEIVER_FAILED);
}

/* ---- requests ---- */

static bool send_request(struct receiver *r, const Hf__Snapshot__Request *q)
{
    buf_clear(&r->packed);
    pack_append(&q->base, &r->packed);
    return net_send(r->socket, buf_slice(&r->packed)) == HF_OK;
}

static Hf__Snapshot__Request request(struct receiver *r)
{
    Hf__Snapshot__Request q = transfer_request(&r->id, r->config.from, r->attempt, r->stream);
    q.number = ++r->number;
    return q;
}

static void ask(struct receiver *r, uint64_t now)
{
    Hf__Snapshot__Request q = request(r);
    Hf__Snapshot__Fetch f = HF__SNAPSHOT__FETCH__INIT;
    f.offset = r->received;
    f.until = r->received + TRANSFER_WINDOW_BYTES;
    f.min_index = r->config.min_index;
    q.body_case = HF__SNAPSHOT__REQUEST__BODY_FETCH;
    q.fetch = &f;
    bool left = send_request(r, &q);
    if (left)
        r->credited = r->received;
    r->ask_ns = now + ms(left ? ASK_MS : ASK_RETRY_MS);
}

static void give_credit(struct receiver *r)
{
    Hf__Snapshot__Request q = request(r);
    Hf__Snapshot__Credit c = HF__SNAPSHOT__CREDIT__INIT;
    c.offset = r->received;
    c.until = r->received + TRANSFER_WINDOW_BYTES;
    q.body_case = HF__SNAPSHOT__REQUEST__BODY_CREDIT;
    q.credit = &c;
    if (send_request(r, &q)) /* else the Fetch after a silence says it */
        r->credited = r->received;
}

/* Another connection: what was under way to the old one is sent again to this one. */
static void reconnect(struct receiver *r)
{
    struct net_options options = {.hwm = HWM, .message_bytes = TRANSFER_REPLY_BYTES_MAX};
    uint64_t now = clock_boot_ns();
    if (r->stream != 0)
        metric_add(&metrics[M_RESUMED], 1);
    net_close(&r->socket);
    int rc = net_connect(r->config.net, r->endpoint, &options, &r->socket);
    if (rc) {
        fail(r, rc, r->endpoint);
        return;
    }
    r->heard_ns = now;
    r->ask_ns = now;
}

/* ---- the stream ---- */

static int on_header(void *ctx, const struct stream_header *h)
{
    struct receiver *r = ctx;
    const struct token *t = &h->token;
    if (t->cluster != r->id.cluster || t->group != r->id.group || t->log_epoch != r->id.log_epoch)
        return HF_E_SNAPSHOT_TOKEN;
    if (t->index < r->config.min_index)
        return HF_E_SNAPSHOT_ABSENT;
    diag(DIAG_INFO, "snapshot from replica=%" PRIu32 " begins index=%" PRIu64 " term=%" PRIu64, r->config.from,
         t->index, t->term);
    return r->staged.header(r->staged.ctx, h);
}

static int on_begin(void *ctx, enum stream_section kind, const char *name, uint64_t bytes)
{
    const struct receiver *r = ctx;
    return r->staged.begin(r->staged.ctx, kind, name, bytes);
}

static int on_bytes(void *ctx, struct slice bytes)
{
    const struct receiver *r = ctx;
    return r->staged.bytes(r->staged.ctx, bytes);
}

static int on_end(void *ctx)
{
    const struct receiver *r = ctx;
    return r->staged.end(r->staged.ctx);
}

/* From the first byte, of whatever stream the sender makes for it. */
static void begin(struct receiver *r)
{
    if (++r->begins > BEGINS_MAX) {
        fail(r, HF_E_UNAVAILABLE, "the sender lost its stream again and again");
        return;
    }
    metric_add(&metrics[M_BEGUN], 1);
    stream_reader_free(&r->reader);
    staging_free(&r->staging);
    int rc = staging_new(r->config.disk, r->dir, &r->staging);
    if (rc) {
        fail(r, rc, "cannot stage it");
        return;
    }
    r->staged = staging_sink(r->staging);
    const struct stream_sink sink = {r, on_header, on_begin, on_bytes, on_end};
    r->reader = stream_reader_new(&sink, r->config.bytes_max);
    r->attempt = digest_random_u64();
    r->stream = r->received = r->credited = 0;
    atomic_store(&r->bytes, 0);
    r->ask_ns = 0;
}

/* Tells the sender that we are done with its stream; until it has heard so or `for_ms` passed: then its time-out tells it. */
static void say_end(struct receiver *r, int code, uint64_t for_ms);

static void finish(struct receiver *r)
{
    int rc = stream_reader_finish(r->reader);
    crash_point("snapshot.received");
    if (!rc)
        rc = staging_sync(r->staging);
    if (rc) {
        fail(r, rc, "");
        return;
    }
    uint64_t took = clock_boot_ns() - r->begun_ns;
    say_end(r, HF_OK, FAREWELL_MS);
    diag(DIAG_INFO, "snapshot from replica=%" PRIu32 " received bytes=%" PRIu64 " ms=%" PRIu64, r->config.from,
         r->received, (uint64_t)(took / CLOCK_NS_PER_MS));
    metric_add(&metrics[M_DONE], 1);
    metric_observe_ns(&seconds, took);
    atomic_store(&r->state, RECEIVER_DONE);
}

static void fail_for_room(struct receiver *r, uint64_t total, uint64_t room)
{
    char text[sizeof r->text];
    snprintf(text, sizeof text,
             "there is no room for it: it takes %" PRIu64 " bytes and leaves %" PRIu64
             " to others, the disk has room for %" PRIu64,
             total, (uint64_t)ROOM_RESERVE, room);
    fail(r, HF_E_NO_SPACE, text);
}

/* Asked once: what does not fit is not begun, since others need the room that is left. */
static bool fits(struct receiver *r, uint64_t total)
{
    uint64_t room;
    if (r->room_seen || total == 0)
        return true;
    r->room_seen = true;
    if (disk_room(r->dir, &room) != HF_OK || (room >= ROOM_RESERVE && total <= room - ROOM_RESERVE))
        return true;
    fail_for_room(r, total, room);
    return false;
}

static void on_chunk(struct receiver *r, const Hf__Snapshot__Reply *p)
{
    const Hf__Snapshot__Chunk *c = p->chunk;
    if (r->stream == 0)
        r->stream = p->stream;
    if (p->stream != r->stream || c->offset < r->received)
        return; /* late, of a connection or a sender that is gone */
    if (c->offset > r->received) {
        reconnect(r);
        return;
    }
    crash_point("snapshot.chunk_received");
    if (!fits(r, c->total))
        return;
    int rc = stream_reader_push(r->reader, pack_slice(c->data));
    if (rc) {
        fail(r, rc, "");
        return;
    }
    r->received += c->data.len;
    atomic_store(&r->progress_ns, clock_boot_ns());
    atomic_store(&r->bytes, r->received);
    atomic_store(&r->total, c->total);
    metric_add(&metrics[M_BYTES], c->data.len);
    if (c->last)
        finish(r);
    else if (r->received - r->credited >= CREDIT_BYTES)
        give_credit(r);
}

static void on_refusal(struct receiver *r, const Hf__Snapshot__Refusal *refusal)
{
    switch (refusal->code) {
    case HF_E_ABSENT: /* a sender that began anew */
        begin(r);
        return;
    case HF_E_BUSY:
    case HF_E_NOT_READY:
        r->code = refusal->code; /* in case that time runs out; the loop does not look before */
        r->stream = 0;
        r->ask_ns = clock_boot_ns() + ms(REFUSED_MS);
        if (r->received > 0)
            begin(r);
        return;
    default: /* any number may come */
        fail(r, refusal->code, refusal->message);
    }
}

static void on_reply(struct receiver *r, struct slice bytes)
{
    const Hf__Snapshot__Reply *p = NULL;
    enum transfer_verdict verdict = transfer_read_reply(&r->id, r->config.from, bytes, &r->arena, &p);
    if (verdict != TRANSFER_FINE) {
        metric_add(&metrics[verdict == TRANSFER_MALFORMED ? M_MALFORMED : M_FOREIGN], 1);
        return; /* if it was what we wait for, the silence or the gap tells */
    }
    if (p->attempt != r->attempt)
        return;
    r->ended |= p->body_case == HF__SNAPSHOT__REPLY__BODY_ENDED;
    if (r->ending)
        return;
    uint64_t now = clock_boot_ns();
    r->heard_ns = now;
    r->ask_ns = now + ms(ASK_MS);
    switch (p->body_case) {
    case HF__SNAPSHOT__REPLY__BODY_CHUNK:
        on_chunk(r, p);
        return;
    case HF__SNAPSHOT__REPLY__BODY_WAITING:
        if (r->stream == 0)
            r->stream = p->stream;
        return;
    case HF__SNAPSHOT__REPLY__BODY_REFUSAL:
        on_refusal(r, p->refusal);
        return;
    case HF__SNAPSHOT__REPLY__BODY_ENDED:
    case HF__SNAPSHOT__REPLY__BODY__NOT_SET:
    case _HF__SNAPSHOT__REPLY__BODY__CASE_IS_INT_SIZE:
        return;
    }
}

static void receive(struct receiver *r, bool (*more)(const struct receiver *r))
{
    struct net_message message;
    for (int i = 0; i < HWM && more(r); i++) { /* then the clock is looked at */
        int rc = net_receive(r->socket, NULL, &message);
        if (rc == HF_E_PROTOCOL) {
            metric_add(&metrics[M_MALFORMED], 1);
            continue;
        }
        if (rc)
            return;
        arena_reset(&r->arena);
        on_reply(r, net_message_data(&message));
        net_message_release(&message);
    }
}

static bool waits_for_end(const struct receiver *r)
{
    return !r->ended;
}

static void say_end(struct receiver *r, int code, uint64_t for_ms)
{
    uint64_t until = clock_boot_ns() + ms(for_ms);
    Hf__Snapshot__Request q = request(r);
    Hf__Snapshot__End e = HF__SNAPSHOT__END__INIT;
    struct net_poll_item item = {.socket = r->socket};
    r->ending = true;
    e.code = code;
    q.body_case = HF__SNAPSHOT__REQUEST__BODY_END;
    q.end = &e;
    for (bool left = false; !r->ended && clock_boot_ns() < until;) {
        left = left || send_request(r, &q);
        (void)net_poll(&item, 1, left ? 20 : 5);
        receive(r, waits_for_end);
    }
}

/* ---- the thread ---- */

static void look_at_clock(struct receiver *r)
{
    uint64_t now = clock_boot_ns();
    if (now - atomic_load(&r->progress_ns) > ms(r->config.timeout_ms))
        fail(r, r->code ? r->code : HF_E_TIMEOUT, r->code ? "" : "nothing came in time");
    else if (now - r->heard_ns > ms(SILENCE_MS))
        reconnect(r);
    else if (now >= r->ask_ns)
        ask(r, now);
}

static void *run(void *ctx)
{
    struct receiver *r = ctx;
    struct list none;
    list_init(&none);
    begin(r);
    if (running(r))
        reconnect(r);
    while (running(r)) {
        look_at_clock(r);
        if (!running(r))
            break;
        struct net_poll_item items[] = {{.socket = r->socket}, {.fd = mailbox_fd(r->wake)}};
        (void)net_poll(items, 2, ASK_RETRY_MS);
        mailbox_take(r->wake, &none); /* wakes only */
        receive(r, running);
    }
    if (atomic_load(&r->state) != RECEIVER_DONE && r->socket && r->stream != 0)
        say_end(r, HF_E_CLOSED, ABORT_MS);
    net_close(&r->socket);
    return NULL;
}

/* ---- the loop's side ---- */

void receiver_metrics(void)
{
    metrics_register(metrics, M_COUNT);
    metrics_register_histogram(&seconds);
}

static void receiver_free(struct receiver **r)
{
    stream_reader_free(&(*r)->reader);
    staging_free(&(*r)->staging);
    mailbox_free(&(*r)->wake);
    arena_deinit(&(*r)->arena);
    buf_deinit(&(*r)->packed);
    free((*r)->endpoint);
    free((*r)->dir);
    free(*r);
    *r = NULL;
}

int receiver_start(const struct receiver_config *config, struct receiver **out)
{
    if (strlen(config->endpoint) > LIMIT_TEXT_BYTES)
        return HF_E_INVALID;
    struct receiver *r = calloc(1, sizeof *r);
    must(r); /* out of memory */
    r->config = *config;
    r->id = *config->id;
    r->endpoint = strdup(config->endpoint);
    r->dir = strdup(config->dir);
    must(r->endpoint && r->dir); /* out of memory */
    r->begun_ns = clock_boot_ns();
    atomic_store(&r->progress_ns, r->begun_ns);
    r->wake = mailbox_new();
    if (!r->wake || pthread_create(&r->thread, NULL, run, r) != 0) {
        receiver_free(&r);
        return HF_E_LIMIT;
    }
    *out = r;
    return HF_OK;
}

enum receiver_state receiver_state(const struct receiver *r)
{
    return (enum receiver_state)atomic_load(&r->state);
}

const struct stream_header *receiver_header(const struct receiver *r)
{
    must(receiver_state(r) == RECEIVER_DONE);
    return staging_header(r->staging);
}

int receiver_code(const struct receiver *r)
{
    return receiver_state(r) == RECEIVER_FAILED ? r->code : HF_OK;
}

const char *receiver_text(const struct receiver *r)
{
    return receiver_state(r) == RECEIVER_FAILED ? r->text : "";
}

uint64_t receiver_bytes(const struct receiver *r)
{
    return atomic_load(&r->bytes);
}

uint64_t receiver_progress_ns(const struct receiver *r)
{
    return atomic_load(&r->progress_ns);
}

uint64_t receiver_total(const struct receiver *r)
{
    return atomic_load(&r->total);
}

void receiver_stop(struct receiver **r)
{
    if (!*r)
        return;
    bool was_running = receiver_state(*r) == RECEIVER_RUNNING;
    atomic_store(&(*r)->stop, true);
    mailbox_wake((*r)->wake);
    pthread_join((*r)->thread, NULL);
    if (was_running && receiver_state(*r) == RECEIVER_RUNNING)
        metric_add(&metrics[M_ABORTED], 1);
    receiver_free(r);
}
