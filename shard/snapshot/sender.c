/* sender.c: see sender.h.
 *
 * A stream's life: started by a Fetch of a new attempt; its receiver acknowledges and lets come more; ended by the
 * receiver's End, by its next attempt, by a failure here, or by silence. A receiver that comes over another connection gets
 * everything again that it has not acknowledged; on one connection nothing is sent twice. */
#include "shard/snapshot/sender.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/endpoint.h"
#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/metrics.h"
#include "proto/pack.h"
#include "shard/snapshot/outgoing.h"
#include "shard/snapshot/transfer.h"

#define CONNECTIONS_MAX (4 * LIMIT_PEERS)
#define HWM 64             /* more than a window's chunks */
#define LEAVING_MAX 4      /* cancelled streams whose worker has not ended yet */
#define TICK_MS 100        /* while there are streams */
#define UNREAD_RETRY_MS 10 /* a peer that does not read is tried again */
#define RECEIVE_MAX 256    /* requests in a row; then chunks leave */
#define OUTGOING "outgoing-"
#define ACTIVE_NS (5000 * CLOCK_NS_PER_MS) /* a receiver puts in place what it got, and then asks for the log */

enum outcome { OUTCOME_DONE, OUTCOME_ABORTED, OUTCOME_FAILED, OUTCOME_TIMEOUT };
enum {
    M_SENT,                 /* four, by enum outcome */
    M_REFUSED = M_SENT + 4, /* by enum transfer_verdict, without FINE */
    M_BUSY = M_REFUSED + TRANSFER_VERDICTS - 1,
    M_NOT_READY,
    M_GONE,
    M_ACTIVE,
    M_BYTES,
    M_COUNT
};

#define SENT(outcome)                                                                                                  \
    {                                                                                                                  \
        "holdfast_snapshot_streams_sent_total", "outcome=\"" outcome "\"", "Streams to other replicas, by outcome",    \
            METRIC_COUNTER, 0                                                                                          \
    }
#define REFUSED(reason)                                                                                                \
    {                                                                                                                  \
        "holdfast_snapshot_requests_refused_total", "reason=\"" reason "\"",                                           \
            "Requests for a stream that were not served, by reason", METRIC_COUNTER, 0                                 \
    }

static struct metric metrics[M_COUNT] = {
    [M_SENT + OUTCOME_DONE] = SENT("done"),
    [M_SENT + OUTCOME_ABORTED] = SENT("aborted"),
    [M_SENT + OUTCOME_FAILED] = SENT("failed"),
    [M_SENT + OUTCOME_TIMEOUT] = SENT("timeout"),
    [M_REFUSED + TRANSFER_MALFORMED - 1] = REFUSED("malformed"),
    [M_REFUSED + TRANSFER_CLUSTER - 1] = REFUSED("cluster"),
    [M_REFUSED + TRANSFER_GROUP - 1] = REFUSED("group"),
    [M_REFUSED + TRANSFER_EPOCH - 1] = REFUSED("epoch"),
    [M_REFUSED + TRANSFER_REPLICA - 1] = REFUSED("replica"),
    [M_BUSY] = REFUSED("busy"),
    [M_NOT_READY] = REFUSED("not_ready"),
    [M_GONE] = REFUSED("gone"),
    [M_ACTIVE] = {"holdfast_snapshot_sending", NULL, "Streams on their way to other replicas", METRIC_GAUGE, 0},
    [M_BYTES] = {"holdfast_snapshot_sent_bytes_total", NULL, "Bytes of streams sent to other replicas", METRIC_COUNTER,
                 0},
};
static struct metric_histogram seconds = {.name = "holdfast_snapshot_send_seconds",
                                          .help = "Time from a stream's first request to its arrival"};

struct sending {          /* a stream on its way */
    struct outgoing *out; /* owned; NULL: the place is free */
    uint64_t id, attempt;
    uint32_t replica;
    uint64_t incarnation, number;
    struct net_peer peer;
    bool unreachable;      /* the connection is gone: nothing leaves until the receiver comes again */
    uint64_t acknowledged; /* bytes */
    uint64_t next;         /* to send; acknowledged <= next <= sent */
    uint64_t sent;         /* over whatever connection */
    uint64_t until;        /* next goes no further than the chunk that crosses it */
    uint64_t begun_ns, heard_ns;
};

struct sender {
    struct sender_config config;
    struct identity id;
    char dir[LIMIT_TEXT_BYTES]; /* <dir>/snapshots */
    char endpoint[LIMIT_TEXT_BYTES];
    struct net_socket *socket; /* owned; the thread's */
    struct mailbox *wake;
    pthread_t thread;
    _Atomic bool stop, withdrawn; /* withdrawn: streams are to end */
    _Atomic uint32_t epoch;       /* of the log, as the loop last said; id has it from there */
    _Atomic uint64_t active_ns;   /* when there last was a stream; 0: never */

    pthread_mutex_t mutex; /* of these three */
    pthread_cond_t idle;
    struct fsm *fsm; /* borrowed; NULL: none now */
    unsigned users;  /* workers that make a checkpoint of it */

    struct sending streams[SENDER_STREAMS_MAX]; /* from here on the thread's */
    struct outgoing *leaving[LEAVING_MAX];
    uint64_t made; /* checkpoints; names their directories */
    size_t turn;   /* whose chunk goes first */
    struct transfer_rate rate;
    struct arena arena;
    struct buf packed;
};

/* ---- the machine: workers take it, the loop withdraws it ---- */

static int on_checkpoint(void *ctx, const char *dir, char where[256])
{
    struct sender *s = ctx;
    pthread_mutex_lock(&s->mutex);
    struct fsm *fsm = s->fsm;
    s->users += fsm != NULL;
    pthread_mutex_unlock(&s->mutex);
    if (!fsm)
        return HF_E_NOT_READY;
    int rc = fsm_checkpoint(fsm, dir, where);
    pthread_mutex_lock(&s->mutex);
    s->users--;
    pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

void sender_serve(struct sender *s, struct fsm *fsm)
{
    pthread_mutex_lock(&s->mutex);
    bool changed = s->fsm != fsm;
    s->fsm = fsm;
    if (changed && fsm == NULL)
        atomic_store(&s->withdrawn, true);
    while (changed && s->users > 0)
        pthread_cond_wait(&s->idle, &s->mutex);
    pthread_mutex_unlock(&s->mutex);
}

void sender_cross(struct sender *s, uint32_t log_epoch)
{
    atomic_store(&s->epoch, log_epoch);
}

bool sender_active(const struct sender *s)
{
    uint64_t last = atomic_load(&s->active_ns);
    return last != 0 && clock_boot_ns() < last + ACTIVE_NS;
}

static bool has_machine(struct sender *s)
{
    pthread_mutex_lock(&s->mutex);
    bool has = s->fsm != NULL;
    pthread_mutex_unlock(&s->mutex);
    return has;
}

/* ---- what leaves ---- */

static int reply(struct sender *s, const struct net_peer *peer, const Hf__Snapshot__Reply *p)
{
    buf_clear(&s->packed);
    pack_append(&p->base, &s->packed);
    return net_send_to(s->socket, peer, buf_slice(&s->packed));
}

static void refuse_request(struct sender *s, const struct net_peer *peer, uint64_t attempt, int code, const char *text)
{
    Hf__Snapshot__Reply p = transfer_reply(&s->id, attempt, 0);
    Hf__Snapshot__Refusal r = HF__SNAPSHOT__REFUSAL__INIT;
    r.code = code;
    r.message = (char *)(uintptr_t)(text[0] ? text : error_text(code)); /* packing only reads */
    p.body_case = HF__SNAPSHOT__REPLY__BODY_REFUSAL;
    p.refusal = &r;
    (void)reply(s, peer, &p); /* it asks again */
}

static void tell(struct sender *s, const struct net_peer *peer, uint64_t attempt, uint64_t stream, bool ended)
{
    Hf__Snapshot__Reply p = transfer_reply(&s->id, attempt, stream);
    Hf__Snapshot__Waiting w = HF__SNAPSHOT__WAITING__INIT;
    Hf__Snapshot__Ended e = HF__SNAPSHOT__ENDED__INIT;
    p.body_case = ended ? HF__SNAPSHOT__REPLY__BODY_ENDED : HF__SNAPSHOT__REPLY__BODY_WAITING;
    if (ended)
        p.ended = &e;
    else
        p.waiting = &w;
    (void)reply(s, peer, &p);
}

static int send_chunk(struct sender *s, const struct sending *st, const struct outgoing_chunk *chunk)
{
    Hf__Snapshot__Reply p = transfer_reply(&s->id, st->attempt, st->id);
    Hf__Snapshot__Chunk c = HF__SNAPSHOT__CHUNK__INIT;
    struct buf packed = {0};
    c.offset = st->next;
    c.data = pack_bytes(chunk->data);
    c.crc = chunk->crc;
    c.total = outgoing_total(st->out);
    c.last = chunk->last;
    p.body_case = HF__SNAPSHOT__REPLY__BODY_CHUNK;
    p.chunk = &c;
    pack_append(&p.base, &packed);
    return net_send_owned(s->socket, &st->peer, &packed.data, packed.size);
}

/* ---- streams ---- */

static void leave(struct sender *s, struct outgoing **o)
{
    outgoing_cancel(*o);
    for (size_t i = 0; i < LEAVING_MAX; i++)
        if (!s->leaving[i]) {
            s->leaving[i] = *o;
            *o = NULL;
            return;
        }
    outgoing_free(o); /* waits; room was made sure of before the stream was started */
}

static void sending_end(struct sender *s, struct sending *st, enum outcome outcome)
{
    static const char *const names[] = {"done", "aborted", "failed", "timeout"};
    uint64_t took = clock_boot_ns() - st->begun_ns;
    if (outcome == OUTCOME_DONE)
        metric_observe_ns(&seconds, took);
    metric_add(&metrics[M_SENT + outcome], 1);
    diag(DIAG_INFO, "snapshot sent replica=%" PRIu32 " outcome=%s bytes=%" PRIu64 " ms=%" PRIu64, st->replica,
         names[outcome], st->sent, (uint64_t)(took / CLOCK_NS_PER_MS));
    leave(s, &st->out);
    *st = (struct sending){0};
}

static void reap(struct sender *s)
{
    for (size_t i = 0; i < LEAVING_MAX; i++)
        if (s->leaving[i] && outgoing_ended(s->leaving[i]))
            outgoing_free(&s->leaving[i]);
}

/* A place for a new stream, if there is one and its cancelled worker will find one, too. */
static struct sending *free_place(struct sender *s)
{
    size_t leaving = 0, active = 0;
    struct sending *place = NULL;
    for (size_t i = 0; i < LEAVING_MAX; i++)
        leaving += s->leaving[i] != NULL;
    for (size_t i = 0; i < SENDER_STREAMS_MAX; i++) {
        active += s->streams[i].out != NULL;
        if (!s->streams[i].out)
            place = &s->streams[i];
    }
    return active + leaving < LEAVING_MAX ? place : NULL;
}

static struct sending *sending_of(struct sender *s, uint32_t replica)
{
    for (size_t i = 0; i < SENDER_STREAMS_MAX; i++)
        if (s->streams[i].out && s->streams[i].replica == replica)
            return &s->streams[i];
    return NULL;
}

static int sending_begin(struct sender *s, const struct net_peer *peer, const Hf__Snapshot__Request *q,
                         struct sending **out)
{
    struct sending *before = sending_of(s, q->from);
    if (before)
        sending_end(s, before, OUTCOME_ABORTED); /* it begins anew */
    reap(s);
    struct sending *st = free_place(s);
    if (!st)
        return HF_E_BUSY;
    if (!has_machine(s))
        return HF_E_NOT_READY;
    char dir[LIMIT_TEXT_BYTES + 64];
    snprintf(dir, sizeof dir, "%s/" OUTGOING "%" PRIu64, s->dir, ++s->made);
    struct outgoing_config config = {.disk = s->config.disk,
                                     .dir = dir,
                                     .checkpoint = on_checkpoint,
                                     .ctx = s,
                                     .id = &s->id,
                                     .min_index = q->fetch->min_index,
                                     .wake = s->wake};
    struct outgoing *started = NULL;
    int rc = outgoing_start(&config, &started);
    if (rc)
        return HF_E_BUSY;
    *st = (struct sending){.out = started,
                           .id = digest_random_u64(),
                           .attempt = q->attempt,
                           .replica = q->from,
                           .incarnation = q->from_incarnation,
                           .peer = *peer,
                           .begun_ns = clock_boot_ns()};
    atomic_store(&s->active_ns, st->begun_ns);
    diag(DIAG_INFO, "snapshot asked for replica=%" PRIu32, st->replica);
    *out = st;
    return HF_OK;
}

/* False: it acknowledges what it cannot have, or wants what is gone. */
static bool sending_goes_on(struct sending *st, const struct net_peer *peer, uint64_t offset, uint64_t until)
{
    bool moved = st->peer.size != peer->size || memcmp(st->peer.id, peer->id, peer->size) != 0;
    if (!outgoing_holds(st->out, offset) || offset < st->acknowledged || offset > st->sent)
        return false;
    if (moved || st->unreachable) { /* what was under way to the other connection is lost */
        st->peer = *peer;
        st->unreachable = false;
        st->next = offset;
    }
    if (st->next < offset) /* it was still reading what had come over the old one */
        st->next = offset;
    st->acknowledged = offset;
    outgoing_acknowledge(st->out, offset);
    uint64_t most = offset + TRANSFER_WINDOW_BYTES; /* I12, whatever it wants */
    st->until = until < most ? until : most;
    return true;
}

/* ---- what arrives ---- */

static void on_fetch_or_credit(struct sender *s, const struct net_peer *peer, const Hf__Snapshot__Request *q,
                               struct sending *st)
{
    bool fetch = q->body_case == HF__SNAPSHOT__REQUEST__BODY_FETCH;
    uint64_t offset = fetch ? q->fetch->offset : q->credit->offset;
    uint64_t until = fetch ? q->fetch->until : q->credit->until;
    if (!st && fetch && offset == 0 && q->stream == 0) {
        int rc = sending_begin(s, peer, q, &st);
        if (rc) {
            metric_add(&metrics[rc == HF_E_BUSY ? M_BUSY : M_NOT_READY], 1);
            refuse_request(s, peer, q->attempt, rc, rc == HF_E_BUSY ? "as many streams as may be leave already" : "");
            return;
        }
    }
    if (!st || (q->stream != 0 && q->stream != st->id) || !sending_goes_on(st, peer, offset, until)) {
        metric_add(&metrics[M_GONE], 1);
        refuse_request(s, peer, q->attempt, HF_E_ABSENT, "that stream is gone");
        return;
    }
    st->heard_ns = clock_boot_ns();
    st->number = q->number;
    if (fetch)
        tell(s, peer, q->attempt, st->id, false);
}

static void on_request(struct sender *s, const struct net_peer *peer, struct slice bytes)
{
    const Hf__Snapshot__Request *q = NULL;
    s->id.log_epoch = atomic_load(&s->epoch);
    enum transfer_verdict verdict = transfer_read_request(&s->id, bytes, &s->arena, &q);
    if (verdict != TRANSFER_FINE) {
        metric_add(&metrics[M_REFUSED + verdict - 1], 1);
        if (verdict != TRANSFER_MALFORMED)
            refuse_request(s, peer, q->attempt, transfer_verdict_code(verdict), transfer_verdict_text(verdict));
        return;
    }
    struct sending *st = sending_of(s, q->from);
    if (st && (st->attempt != q->attempt || st->incarnation != q->from_incarnation))
        st = NULL;
    if (st && q->number <= st->number)
        return; /* overtaken, over a connection that is gone */
    if (q->body_case != HF__SNAPSHOT__REQUEST__BODY_END) {
        on_fetch_or_credit(s, peer, q, st);
        return;
    }
    if (st && (q->stream == 0 || q->stream == st->id))
        sending_end(s, st, q->end->code == HF_OK ? OUTCOME_DONE : OUTCOME_ABORTED);
    tell(s, peer, q->attempt, q->stream, true);
}

static void receive(struct sender *s)
{
    struct net_peer peer;
    struct net_message message;
    for (int i = 0; i < RECEIVE_MAX; i++) {
        int rc = net_receive(s->socket, &peer, &message);
        if (rc == HF_E_PROTOCOL) {
            metric_add(&metrics[M_REFUSED + TRANSFER_MALFORMED - 1], 1);
            continue;
        }
        if (rc)
            return;
        arena_reset(&s->arena);
        on_request(s, &peer, net_message_data(&message));
        net_message_release(&message);
    }
}

/* ---- the thread ---- */

enum sent { SENT_CHUNK, SENT_NOTHING, SENT_LATER /* the peer does not read */ };

static enum sent send_next(struct sender *s, struct sending *st, uint64_t now)
{
    struct outgoing_chunk chunk;
    if (!st->out || st->unreachable || st->next >= st->until || !outgoing_chunk(st->out, st->next, &chunk))
        return SENT_NOTHING;
    int rc = send_chunk(s, st, &chunk);
    if (rc == HF_E_BUSY)
        return SENT_LATER;
    if (rc) {
        st->unreachable = true;
        return SENT_NOTHING;
    }
    st->next += chunk.data.size;
    if (st->sent < st->next)
        st->sent = st->next;
    transfer_rate_take(&s->rate, now, chunk.data.size);
    metric_add(&metrics[M_BYTES], chunk.data.size);
    return SENT_CHUNK;
}

/* Sends what may leave now, a chunk of each stream in turn. Returns how long to wait for something to happen. */
static long send_chunks(struct sender *s)
{
    long wait_ms = TICK_MS;
    for (size_t idle = 0; idle < SENDER_STREAMS_MAX;) {
        uint64_t now = clock_boot_ns(), wait_ns = transfer_rate_wait_ns(&s->rate, now);
        if (wait_ns > 0)
            return wait_ns / CLOCK_NS_PER_MS < TICK_MS ? (long)(wait_ns / CLOCK_NS_PER_MS) + 1 : TICK_MS;
        enum sent sent = send_next(s, &s->streams[s->turn++ % SENDER_STREAMS_MAX], now);
        idle = sent == SENT_CHUNK ? 0 : idle + 1;
        if (sent == SENT_LATER)
            wait_ms = UNREAD_RETRY_MS;
    }
    return wait_ms;
}

/* Streams that failed here, or whose receiver is silent for too long. */
static void look_after(struct sender *s)
{
    uint64_t now = clock_boot_ns(), keep_ns = s->config.keep_ms * CLOCK_NS_PER_MS;
    size_t active = 0;
    bool withdrawn = atomic_exchange(&s->withdrawn, false);
    for (size_t i = 0; i < SENDER_STREAMS_MAX; i++) {
        struct sending *st = &s->streams[i];
        const char *text = "";
        int rc = st->out ? outgoing_failure(st->out, &text) : HF_OK;
        if (rc) {
            diag(rc == HF_E_SNAPSHOT_ABSENT || rc == HF_E_NOT_READY ? DIAG_INFO : DIAG_ERROR,
                 "snapshot for replica=%" PRIu32 " failed: %s%s%s", st->replica, error_text(rc), text[0] ? ": " : "",
                 text);
            refuse_request(s, &st->peer, st->attempt, rc, text);
            sending_end(s, st, OUTCOME_FAILED);
        } else if (st->out && (withdrawn || now - st->heard_ns > keep_ns)) {
            sending_end(s, st, withdrawn ? OUTCOME_ABORTED : OUTCOME_TIMEOUT);
        }
        active += st->out != NULL;
    }
    if (active > 0)
        atomic_store(&s->active_ns, now);
    reap(s);
    metric_set(&metrics[M_ACTIVE], active);
}

static bool anything(const struct sender *s)
{
    bool any = false;
    for (size_t i = 0; i < SENDER_STREAMS_MAX; i++)
        any |= s->streams[i].out != NULL;
    for (size_t i = 0; i < LEAVING_MAX; i++)
        any |= s->leaving[i] != NULL;
    return any;
}

static void *run(void *ctx)
{
    struct sender *s = ctx;
    struct list none;
    list_init(&none);
    long wait_ms = TICK_MS;
    while (!atomic_load(&s->stop)) {
        struct net_poll_item items[] = {{.socket = s->socket}, {.fd = mailbox_fd(s->wake)}};
        (void)net_poll(items, 2, anything(s) ? wait_ms : -1);
        mailbox_take(s->wake, &none); /* wakes only */
        receive(s);
        look_after(s);
        wait_ms = send_chunks(s);
    }
    return NULL;
}

/* ---- life ---- */

static void sweep(void *ctx, const char *name)
{
    struct sender *s = ctx;
    char path[LIMIT_TEXT_BYTES + 256];
    if (strncmp(name, OUTGOING, sizeof OUTGOING - 1) != 0)
        return;
    snprintf(path, sizeof path, "%s/%s", s->dir, name);
    int rc = disk_remove_tree(s->config.disk, path);
    diag(rc ? DIAG_WARN : DIAG_INFO, "checkpoint of an earlier process %s: %s", rc ? "cannot be removed" : "removed",
         path);
}

static int open_files(struct sender *s)
{
    struct disk *d = s->config.disk;
    int rc = disk_ensure_dir(d, s->config.dir, s->dir);
    return rc ? rc : d->ops->list(d, s->dir, sweep, s);
}

static int open_socket(struct sender *s)
{
    struct net_options options = {
        .hwm = HWM, .message_bytes = TRANSFER_REQUEST_BYTES_MAX, .connections_max = CONNECTIONS_MAX};
    char bound[LIMIT_TEXT_BYTES];
    int rc = net_serve(s->config.net, s->config.listen, &options, &s->socket);
    if (rc)
        return rc;
    net_endpoint(s->socket, bound, sizeof bound);
    endpoint_fill_port(s->config.announce ? s->config.announce : bound, bound, s->endpoint, sizeof s->endpoint);
    return HF_OK;
}

static void register_metrics(void)
{
    static bool known;
    if (known)
        return;
    known = true;
    metrics_register(metrics, M_COUNT);
    metrics_register_histogram(&seconds);
}

static void sender_free(struct sender **s)
{
    net_close(&(*s)->socket);
    mailbox_free(&(*s)->wake);
    pthread_cond_destroy(&(*s)->idle);
    pthread_mutex_destroy(&(*s)->mutex);
    arena_deinit(&(*s)->arena);
    buf_deinit(&(*s)->packed);
    free(*s);
    *s = NULL;
}

int sender_open(const struct sender_config *config, struct sender **out)
{
    struct sender *s = calloc(1, sizeof *s);
    must(s); /* out of memory */
    s->config = *config;
    s->id = *config->id;
    atomic_store(&s->epoch, s->id.log_epoch);
    s->config.keep_ms = config->keep_ms ? config->keep_ms : SENDER_KEEP_MS;
    s->rate.rate = config->rate;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->idle, NULL);
    s->wake = mailbox_new();
    must(s->wake); /* out of memory or descriptors: at start */
    int rc = (size_t)snprintf(s->dir, sizeof s->dir, "%s/snapshots", config->dir) < sizeof s->dir ? HF_OK : HF_E_LIMIT;
    if (!rc)
        rc = open_files(s);
    if (!rc)
        rc = open_socket(s);
    if (!rc && pthread_create(&s->thread, NULL, run, s) != 0)
        rc = HF_E_LIMIT;
    if (rc) {
        sender_free(&s);
        return rc;
    }
    register_metrics();
    *out = s;
    return HF_OK;
}

void sender_close(struct sender **s)
{
    if (!*s)
        return;
    atomic_store(&(*s)->stop, true);
    mailbox_wake((*s)->wake);
    pthread_join((*s)->thread, NULL);
    for (size_t i = 0; i < SENDER_STREAMS_MAX; i++)
        outgoing_free(&(*s)->streams[i].out);
    for (size_t i = 0; i < LEAVING_MAX; i++)
        outgoing_free(&(*s)->leaving[i]);
    metric_set(&metrics[M_ACTIVE], 0);
    sender_free(s);
}

const char *sender_endpoint(const struct sender *s)
{
    return s->endpoint;
}
