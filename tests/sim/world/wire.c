/* wire.c: see wire.h. */
#include "tests/sim/world/wire.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "proto/client.pb-c.h"
#include "tests/sim/world/epochs.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/process.h"

#define INBOX_MAX 4096
#define ORPHANS_ONE_IN 80

struct net { /* nothing to hold */
    int unused;
};

struct letter {
    struct letter *next;
    struct wire_frame *frame; /* owned */
};

struct net_socket {
    struct net_socket *next; /* of all */
    uint64_t id;
    uint32_t process;
    bool listens;
    char endpoint[WORLD_ENDPOINT];
    struct letter *first, **last; /* owned */
    size_t count;
    void (*heard)(void *ctx, struct slice frame); /* of a client */
    void *ctx;
};

static struct net the_net;

struct net *net_new(int io_threads, int sockets_max)
{
    (void)io_threads, (void)sockets_max;
    return &the_net;
}

void net_free(struct net **net)
{
    *net = NULL;
}

static struct net_socket *add(struct world *w, uint32_t process, const char *endpoint, bool listens)
{
    struct net_socket *s = calloc(1, sizeof *s);
    must(s != NULL && strlen(endpoint) < sizeof s->endpoint);
    *s = (struct net_socket){.next = w->sockets, .id = ++w->next_socket, .process = process, .listens = listens};
    snprintf(s->endpoint, sizeof s->endpoint, "%s", endpoint);
    s->last = &s->first;
    w->sockets = s;
    return s;
}

static struct net_socket *listener(const struct world *w, const char *endpoint)
{
    for (struct net_socket *s = w->sockets; s != NULL; s = s->next)
        if (s->listens && strcmp(s->endpoint, endpoint) == 0)
            return s;
    return NULL;
}

static struct net_socket *by_id(const struct world *w, uint64_t id)
{
    for (struct net_socket *s = w->sockets; s != NULL; s = s->next)
        if (s->id == id)
            return s;
    return NULL;
}

int net_listen(struct net *net, const char *endpoint, const struct net_options *o, struct net_socket **out)
{
    (void)net, (void)o;
    must(listener(world_now, endpoint) == NULL);
    *out = add(world_now, world_now->current->number, endpoint, true);
    return HF_OK;
}

int net_serve(struct net *net, const char *endpoint, const struct net_options *o, struct net_socket **out)
{
    return net_listen(net, endpoint, o, out);
}

int net_connect(struct net *net, const char *endpoint, const struct net_options *o, struct net_socket **out)
{
    (void)net, (void)o;
    *out = add(world_now, world_now->current->number, endpoint, false);
    return HF_OK;
}

struct net_socket *wire_client(struct world *w, uint32_t process, const char *endpoint,
                               void (*heard)(void *ctx, struct slice frame), void *ctx)
{
    struct net_socket *s = add(w, process, endpoint, false);
    s->heard = heard;
    s->ctx = ctx;
    return s;
}

static struct letter *take(struct net_socket *s)
{
    struct letter *l = s->first;
    if (l == NULL)
        return NULL;
    s->first = l->next;
    if (s->first == NULL)
        s->last = &s->first;
    s->count--;
    return l;
}

void net_close(struct net_socket **s)
{
    if (*s == NULL)
        return;
    struct net_socket **at = &world_now->sockets;
    while (*at != *s)
        at = &(*at)->next;
    *at = (*s)->next;
    for (struct letter *l; (l = take(*s)) != NULL; free(l))
        free(l->frame);
    free(*s);
    *s = NULL;
}

void wire_close_all(struct world *w, uint32_t process)
{
    for (struct net_socket *s = w->sockets, *next; s != NULL; s = next) {
        next = s->next;
        if (s->process == process)
            net_close(&s);
    }
}

/* ---- receiving ---- */

struct received {
    struct wire_frame *frame; /* owned */
};

static struct received *in(struct net_message *m)
{
    return (void *)m->opaque;
}

struct slice net_message_data(const struct net_message *m)
{
    const struct received *r = (const void *)m->opaque;
    return slice_make(r->frame->bytes, r->frame->size);
}

void net_message_release(struct net_message *m)
{
    free(in(m)->frame);
    in(m)->frame = NULL;
}

int net_receive(struct net_socket *s, struct net_peer *out_peer, struct net_message *out)
{
    struct letter *l = take(s);
    if (l == NULL)
        return HF_E_AGAIN;
    in(out)->frame = l->frame;
    if (out_peer != NULL) {
        out_peer->size = sizeof l->frame->from;
        memcpy(out_peer->id, &l->frame->from, sizeof l->frame->from);
    }
    free(l);
    return HF_OK;
}

bool wire_waits(const struct process *p)
{
    for (const struct net_socket *s = world_now->sockets; s != NULL; s = s->next)
        if (s->process == p->number && s->first != NULL)
            return true;
    return false;
}

void wire_deliver(struct world *w, struct wire_frame *frame)
{
    struct net_socket *s = frame->to != 0 ? by_id(w, frame->to) : listener(w, frame->endpoint);
    if (s == NULL || s->count == INBOX_MAX || w->cut[frame->from_process][s->process]) {
        free(frame);
        return;
    }
    world_trace(w, s->process, "deliver", frame->from_process, frame->size);
    judge_delivered(w, s->process, frame, s->listens);
    if (s->heard != NULL) {
        s->heard(s->ctx, slice_make(frame->bytes, frame->size));
        free(frame);
        return;
    }
    struct letter *l = calloc(1, sizeof *l);
    must(l != NULL);
    l->frame = frame;
    *s->last = l;
    s->last = &l->next;
    s->count++;
    process_wake(w->processes[s->process], w->now + 1000 * (5 + world_below(w, 60)));
}

/* ---- sending ---- */

/* A request that the network may not repeat: on one connection nothing comes twice. Beats, leases, holds and questions for a
 * timestamp come twice all the same, as from two coordinators. */
static bool once_only(const char *endpoint, struct slice data)
{
    if (strstr(endpoint, "/c") == NULL)
        return false; /* between replicas */
    Hf__Client__Request *q = hf__client__request__unpack(NULL, data.size, data.data);
    bool harmless =
        q != NULL &&
        (q->session != 0 || q->op_case == HF__CLIENT__REQUEST__OP_GET || q->op_case == HF__CLIENT__REQUEST__OP_SCAN ||
         q->op_case == HF__CLIENT__REQUEST__OP_BEAT || q->op_case == HF__CLIENT__REQUEST__OP_LEASE ||
         q->op_case == HF__CLIENT__REQUEST__OP_TIMESTAMP || q->op_case == HF__CLIENT__REQUEST__OP_CUT ||
         q->op_case == HF__CLIENT__REQUEST__OP_HOLD || q->op_case == HF__CLIENT__REQUEST__OP_TXN ||
         q->op_case == HF__CLIENT__REQUEST__OP_PREPARE || q->op_case == HF__CLIENT__REQUEST__OP_VALIDATE ||
         q->op_case == HF__CLIENT__REQUEST__OP_TXNS || q->op_case == HF__CLIENT__REQUEST__OP_DECIDE_COMMIT ||
         q->op_case == HF__CLIENT__REQUEST__OP_ROLLBACK || q->op_case == HF__CLIENT__REQUEST__OP_FORGET ||
         q->op_case == HF__CLIENT__REQUEST__OP_RESOLVE);
    if (q != NULL)
        hf__client__request__free_unpacked(q, NULL);
    return !harmless;
}

/* A cut is about shards that hear of it at different times: what they are asked for it comes later at some than at others. */
static uint64_t skew_us(struct world *w, const struct net_socket *from, const char *endpoint, struct slice data)
{
    const struct process *p = w->processes[from->process];
    if (p == NULL || p->shard != 0 || w->healing || strstr(endpoint, "/c") == NULL)
        return 0;
    Hf__Client__Request *q = hf__client__request__unpack(NULL, data.size, data.data);
    bool hold = q != NULL && q->op_case == HF__CLIENT__REQUEST__OP_HOLD;
    if (q != NULL)
        hf__client__request__free_unpacked(q, NULL);
    return hold && world_below(w, 2) == 0 ? world_below(w, 50000) : 0;
}

static void post(struct world *w, const struct net_socket *from, uint64_t to, const char *endpoint, struct slice data)
{
    uint64_t held_ms = w->filter != NULL ? w->filter(w, from->process, endpoint, data) : 0;
    if (held_ms == UINT64_MAX)
        return;
    if (world_below(w, 1000) < w->lost_permille)
        return;
    unsigned copies = world_below(w, 1000) < w->doubled_permille && (to != 0 || !once_only(endpoint, data)) ? 2 : 1;
    uint64_t skew = to == 0 ? skew_us(w, from, endpoint, data) : 0;
    for (unsigned i = 0; i < copies; i++) {
        struct wire_frame *f = malloc(sizeof *f + data.size);
        must(f != NULL);
        *f = (struct wire_frame){.from = from->id, .to = to, .from_process = from->process, .size = data.size};
        snprintf(f->endpoint, sizeof f->endpoint, "%s", endpoint);
        memcpy(f->bytes, data.data, data.size);
        uint64_t delay_us = 40 + world_below(w, 300) + held_ms * 1000 + skew;
        if (world_below(w, 1000) < w->late_permille)
            delay_us += world_below(w, w->late_ms * 1000 + 1);
        world_schedule(w, (struct world_event){.kind = WORLD_DELIVER, .frame = f}, w->now + delay_us * 1000);
    }
}

static bool gone(const struct net_socket *s)
{
    const struct process *p = world_now->processes[s->process];
    return p != NULL && p->dying;
}

/* A coordinator may die behind any step of a transaction that it drives, or resolves. */
static bool dies_behind(const struct net_socket *s, struct slice data)
{
    struct world *w = world_now;
    struct process *p = w->processes[s->process];
    if (p == NULL || p->shard != 0 || w->healing || w->options.calm || strstr(s->endpoint, "/c") == NULL)
        return false;
    Hf__Client__Request *q = hf__client__request__unpack(NULL, data.size, data.data);
    bool step = q != NULL &&
                (q->op_case == HF__CLIENT__REQUEST__OP_PREPARE || q->op_case == HF__CLIENT__REQUEST__OP_VALIDATE ||
                 q->op_case == HF__CLIENT__REQUEST__OP_DECIDE_COMMIT || q->op_case == HF__CLIENT__REQUEST__OP_ROLLBACK);
    if (q != NULL)
        hf__client__request__free_unpacked(q, NULL);
    return step && random_below(&p->random, ORPHANS_ONE_IN) == 0;
}

int net_send(struct net_socket *s, struct slice data)
{
    struct world *w = world_now;
    if (gone(s))
        return HF_OK;
    if (w->migrates && strstr(s->endpoint, "/r") != NULL)
        epochs_sent(w, s->process, data);
    if (listener(w, s->endpoint) == NULL && world_below(w, 2) == 0)
        return HF_E_BUSY; /* not connected, and known to be */
    post(w, s, 0, s->endpoint, data);
    if (dies_behind(s, data)) {
        w->result.txns_orphaned++;
        world_trace(w, s->process, "orphan", 0, 0);
        process_end(w->processes[s->process]);
    }
    return HF_OK;
}

int net_send_to(struct net_socket *s, const struct net_peer *peer, struct slice data)
{
    uint64_t id;
    if (gone(s))
        return HF_OK;
    must(peer->size == sizeof id);
    memcpy(&id, peer->id, sizeof id);
    judge_answered(world_now, s->process, id, data);
    if (by_id(world_now, id) == NULL)
        return HF_E_UNAVAILABLE;
    post(world_now, s, id, "", data);
    return HF_OK;
}

int net_send_owned(struct net_socket *s, const struct net_peer *peer_or_null, uint8_t **data, size_t size)
{
    struct slice bytes = slice_make(*data, size);
    int rc = peer_or_null != NULL ? net_send_to(s, peer_or_null, bytes) : net_send(s, bytes);
    free(*data);
    *data = NULL;
    return rc;
}

/* ---- waiting ---- */

static int look(struct net_poll_item *items, size_t count)
{
    int readable = 0;
    for (size_t i = 0; i < count; i++) {
        items[i].readable = items[i].socket != NULL && items[i].socket->first != NULL;
        readable += items[i].readable;
    }
    return readable;
}

int net_poll(struct net_poll_item *items, size_t count, long timeout_ms)
{
    bool at_once = look(items, count) > 0 || timeout_ms == 0;
    process_wait(world_now->current, at_once ? 20000 : (uint64_t)timeout_ms * SIM_MS);
    return look(items, count);
}

bool net_is_full(const struct net_socket *s, const struct net_peer *peer)
{
    (void)s, (void)peer;
    return false;
}

const char *net_listen_text(int rc); /* of net.h */

const char *net_listen_text(int rc)
{
    return error_text(rc);
}

void net_endpoint(const struct net_socket *s, char *out, size_t size)
{
    snprintf(out, size, "%s", s->endpoint);
}
