/* cut.c: see cut.h. */
#include "coordinator/cut.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/failpoint.h"
#include "coordinator/counters.h"
#include "coordinator/limits.h"

struct cut_client {
    struct list link;
    struct forward_client client;
    uint64_t deadline_ns;
};

void cut_init(struct cut *c, const struct cut_port *port, uint64_t id)
{
    *c = (struct cut){.port = *port, .id = id};
    list_init(&c->asked);
    list_init(&c->later);
}

static void forget(struct list *clients)
{
    while (!list_empty(clients)) {
        struct cut_client *one = LIST_OWNER(clients->next, struct cut_client, link);
        list_remove(&one->link);
        free(one);
    }
}

void cut_deinit(struct cut *c)
{
    forget(&c->asked);
    forget(&c->later);
    free(c->shards);
    c->shards = NULL;
}

static void explain(const struct cut *c, char text[256])
{
    if (c->code == HF_OK)
        snprintf(text, 256, "no cut: not all shards have answered yet");
    else if (c->code == HF_E_REFUSED)
        snprintf(text, 256, "no cut: shard %" PRIu32 ": its group's feature level serves the latest only", c->culprit);
    else if (c->culprit == 0)
        snprintf(text, 256, "no cut: %s", error_text(c->code));
    else
        snprintf(text, 256, "no cut: shard %" PRIu32 ": %s", c->culprit, error_text(c->code));
}

static void answer(struct cut *c, struct cut_client *one, int code)
{
    char text[256];
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    reply.code = code;
    if (code == HF_OK) {
        reply.timestamp = c->t.t;
    } else {
        explain(c, text);
        reply.message = text;
    }
    list_remove(&one->link);
    c->clients--;
    c->port.answer(c->port.ctx, &one->client, &reply);
    free(one);
}

static void answer_all(struct cut *c, struct list *clients, int code)
{
    while (!list_empty(clients))
        answer(c, LIST_OWNER(clients->next, struct cut_client, link), code);
}

static void fail(struct cut *c, int code, uint32_t shard)
{
    if (c->code != HF_OK)
        return;
    c->code = code;
    c->culprit = shard;
}

static void ask_all(struct cut *c, struct hlc at, bool end, uint64_t now_ns)
{
    Hf__Client__Hold hold = HF__CLIENT__HOLD__INIT;
    hold.id = c->id;
    hold.at = at.t;
    hold.end = end;
    for (size_t i = 0; i < c->count; i++) {
        int rc = c->port.ask(c->port.ctx, c->shards[i], &hold, !end, now_ns);
        if (end)
            continue;
        if (rc)
            fail(c, rc, c->shards[i]);
        else
            c->waiting++;
    }
}

/* The round is over. */
static void finish(struct cut *c, uint64_t now_ns)
{
    bool held = c->state == CUT_HOLDING;
    c->state = CUT_IDLE;
    if (c->code == HF_OK) {
        count(COUNTER_CUTS);
        c->next_ns = now_ns;
        answer_all(c, &c->asked, HF_OK);
        return;
    }
    count(COUNTER_CUTS_FAILED);
    if (held) /* nobody's writes shall wait for what does not come */
        ask_all(c, (struct hlc){0}, true, now_ns);
    c->next_ns = now_ns + CUT_RETRY_MS * CLOCK_NS_PER_MS;
    if (c->code == HF_E_REFUSED) { /* of no use to try again */
        answer_all(c, &c->asked, HF_E_REFUSED);
        answer_all(c, &c->later, HF_E_REFUSED);
    }
}

static void confirm(struct cut *c, uint64_t now_ns)
{
    int rc = c->port.draw(c->port.ctx, c->above, &c->t);
    if (rc) {
        fail(c, rc, 0);
        finish(c, now_ns);
        return;
    }
    c->state = CUT_CONFIRMING;
    ask_all(c, c->t, false, now_ns);
    if (c->waiting == 0)
        finish(c, now_ns);
}

/* Everybody answered what was asked last. */
static void advance(struct cut *c, uint64_t now_ns)
{
    if (c->state == CUT_HOLDING && c->code == HF_OK)
        confirm(c, now_ns);
    else
        finish(c, now_ns);
}

/* The shards of the round. False: it would be in vain. */
static bool gather(struct cut *c)
{
    const Hf__Catalog__Routes *routes = c->port.routes(c->port.ctx);
    c->shards = realloc(c->shards, routes->n_shards * sizeof *c->shards + 1);
    must(c->shards != NULL); /* out of memory */
    c->count = routes->n_shards;
    for (size_t i = 0; i < c->count; i++) {
        c->shards[i] = routes->shards[i]->shard;
        if (!c->port.led(c->port.ctx, c->shards[i]))
            fail(c, HF_E_UNAVAILABLE, c->shards[i]);
    }
    return c->code == HF_OK;
}

static void begin(struct cut *c, uint64_t now_ns)
{
    must(c->state == CUT_IDLE && c->waiting == 0);
    while (!list_empty(&c->later)) {
        struct list *it = c->later.next;
        list_remove(it);
        list_push(&c->asked, it);
    }
    c->next_ns = now_ns + CUT_RETRY_MS * CLOCK_NS_PER_MS;
    c->code = HF_OK;
    c->culprit = 0;
    if (!gather(c))
        return;
    c->id = c->id + 1 != 0 ? c->id + 1 : 1;
    c->state = CUT_HOLDING;
    if (planted_bug("cut.no_hold")) {
        confirm(c, now_ns);
        return;
    }
    ask_all(c, (struct hlc){0}, false, now_ns);
    if (c->waiting == 0)
        finish(c, now_ns);
}

int cut_ask(struct cut *c, const struct forward_client *client, uint64_t deadline_ns, uint64_t now_ns)
{
    if (c->clients >= CUT_CLIENTS_MAX)
        return HF_E_BUSY;
    struct cut_client *one = calloc(1, sizeof *one);
    must(one != NULL); /* out of memory */
    one->client = *client;
    one->deadline_ns = deadline_ns;
    c->clients++;
    list_push(c->state == CUT_CONFIRMING ? &c->later : &c->asked, &one->link);
    if (c->state == CUT_IDLE && now_ns >= c->next_ns)
        begin(c, now_ns);
    return HF_OK;
}

void cut_answered(struct cut *c, uint64_t id, uint32_t shard, int code, struct hlc above, uint64_t now_ns)
{
    if (c->state == CUT_IDLE || id != c->id)
        return;
    must(c->waiting > 0);
    c->waiting--;
    if (code == HF_E_RESTART_ABOVE)
        c->above = hlc_max(c->above, above);
    if (code != HF_OK)
        fail(c, code, shard);
    if (c->waiting == 0)
        advance(c, now_ns);
}

static void expire(struct cut *c, struct list *clients, uint64_t now_ns)
{
    LIST_EACH (it, clients) {
        struct cut_client *one = LIST_OWNER(it, struct cut_client, link);
        if (one->deadline_ns <= now_ns)
            answer(c, one, HF_E_UNAVAILABLE);
    }
}

void cut_tick(struct cut *c, uint64_t now_ns)
{
    if (c->clients == 0)
        return;
    if (c->state == CUT_IDLE && now_ns >= c->next_ns)
        begin(c, now_ns);
    expire(c, &c->asked, now_ns);
    expire(c, &c->later, now_ns);
}
