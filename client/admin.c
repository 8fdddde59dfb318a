/* admin.c: see admin.h. */
#include "client/admin.h"

#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "common/sys/clock.h"
#include "common/sys/net.h"
#include "proto/pack.h"
#include "proto/requests.h"

#define ENDPOINTS_MAX 2048
#define RESEND_MS 2

struct link {
    char *endpoint;            /* owned */
    struct net_socket *socket; /* owned */
};

struct admin {
    struct net *net;
    struct link links[ENDPOINTS_MAX];
    struct net_poll_item items[ENDPOINTS_MAX];
    size_t count;
    uint64_t next_id;
};

struct admin *admin_open(void)
{
    struct admin *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->net = net_new(1, ENDPOINTS_MAX + 8);
    a->next_id = clock_boot_ns();
    if (a->net)
        return a;
    free(a);
    return NULL;
}

void admin_close(struct admin **a)
{
    if (!*a)
        return;
    for (size_t i = 0; i < (*a)->count; i++) {
        net_close(&(*a)->links[i].socket);
        free((*a)->links[i].endpoint);
    }
    net_free(&(*a)->net);
    free(*a);
    *a = NULL;
}

static struct net_socket *socket_to(struct admin *a, const char *endpoint)
{
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->links[i].endpoint, endpoint) == 0)
            return a->links[i].socket;
    if (a->count == ENDPOINTS_MAX)
        return NULL;
    struct link link = {.endpoint = strdup(endpoint)};
    const struct net_options options = {.hwm = 1000, .message_bytes = LIMIT_REQUEST_BYTES + LIMIT_TEXT_BYTES};
    if (!link.endpoint || net_connect(a->net, endpoint, &options, &link.socket) != HF_OK) {
        free(link.endpoint);
        return NULL;
    }
    a->links[a->count++] = link;
    return link.socket;
}

/* True: it went out. */
static bool send_one(struct admin *a, struct admin_question *q, uint64_t left_ms)
{
    struct net_socket *socket = socket_to(a, q->endpoint);
    if (!socket) {
        q->code = HF_E_INVALID;
        return false;
    }
    q->request->version = REQUESTS_VERSION;
    q->request->id = q->id;
    q->request->deadline_ms = (uint32_t)left_ms;
    size_t size = hf__client__request__get_packed_size(q->request);
    uint8_t *packed = malloc(size + 1);
    if (!packed)
        return false;
    hf__client__request__pack(q->request, packed);
    bool sent = net_send_owned(socket, NULL, &packed, size) == HF_OK;
    if (sent)
        q->code = HF_E_OUTCOME_UNKNOWN;
    return sent;
}

static void take_reply(struct admin_question *questions, size_t count, struct slice data)
{
    Hf__Client__Reply *reply = pack_unpack_owned(&hf__client__reply__descriptor, data);
    for (size_t i = 0; reply && i < count; i++)
        if (questions[i].id == reply->id && !questions[i].reply && requests_reply_ok(reply)) {
            questions[i].reply = reply;
            questions[i].code = HF_OK;
            return;
        }
    if (reply)
        hf__client__reply__free_unpacked(reply, NULL);
}

static void receive_all(struct admin *a, struct admin_question *questions, size_t count)
{
    for (size_t i = 0; i < a->count; i++) {
        struct net_message m;
        int rc;
        while (a->items[i].readable && (rc = net_receive(a->links[i].socket, NULL, &m)) != HF_E_AGAIN) {
            if (rc == HF_E_PROTOCOL)
                continue;
            if (rc)
                break;
            take_reply(questions, count, net_message_data(&m));
            net_message_release(&m);
        }
    }
}

/* Sends what can be sent. *out_unsent: some wait for their connection. True: something is still to come. */
static bool go_on(struct admin *a, struct admin_question *questions, size_t count, uint64_t spent_ms,
                  const struct admin_patience *p, bool *out_unsent)
{
    bool open = false, answered = false;
    *out_unsent = false;
    for (size_t i = 0; i < count; i++)
        answered |= questions[i].reply != NULL;
    for (size_t i = 0; i < count; i++) {
        struct admin_question *q = &questions[i];
        bool unsent = q->code == HF_E_TIMEOUT && (p->connect_ms == 0 || spent_ms < p->connect_ms);
        if (unsent && send_one(a, q, p->deadline_ms - spent_ms))
            unsent = false;
        unsent = unsent && q->code == HF_E_TIMEOUT;
        bool waits = unsent || q->code == HF_E_OUTCOME_UNKNOWN;
        if (waits && !(q->optional && answered && spent_ms >= p->grace_ms))
            open = true;
        *out_unsent |= unsent;
    }
    return open;
}

void admin_ask(struct admin *a, struct admin_question *questions, size_t count, struct admin_patience patience)
{
    uint64_t begin = clock_boot_ns();
    for (size_t i = 0; i < count; i++) {
        questions[i].reply = NULL;
        questions[i].code = HF_E_TIMEOUT;
        questions[i].id = ++a->next_id;
    }
    for (;;) {
        uint64_t spent_ms = (clock_boot_ns() - begin) / CLOCK_NS_PER_MS;
        bool unsent;
        if (spent_ms >= patience.deadline_ms || !go_on(a, questions, count, spent_ms, &patience, &unsent))
            return;
        long wait_ms = (long)(patience.deadline_ms - spent_ms);
        if (spent_ms < patience.grace_ms && (long)(patience.grace_ms - spent_ms) < wait_ms)
            wait_ms = (long)(patience.grace_ms - spent_ms);
        if (unsent && wait_ms > RESEND_MS)
            wait_ms = RESEND_MS;
        for (size_t i = 0; i < a->count; i++)
            a->items[i] = (struct net_poll_item){.socket = a->links[i].socket, .fd = -1};
        if (net_poll(a->items, a->count, wait_ms) > 0)
            receive_all(a, questions, count);
    }
}

int admin_ask_one(struct admin *a, const char *endpoint, Hf__Client__Request *request, uint32_t deadline_ms,
                  Hf__Client__Reply **out_reply)
{
    struct admin_question q = {.endpoint = endpoint, .request = request};
    admin_ask(a, &q, 1, (struct admin_patience){.deadline_ms = deadline_ms});
    *out_reply = q.reply;
    return q.code == HF_OK ? q.reply->code : q.code;
}

void admin_forget(struct admin_question *questions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (questions[i].reply)
            hf__client__reply__free_unpacked(questions[i].reply, NULL);
        questions[i].reply = NULL;
    }
}
