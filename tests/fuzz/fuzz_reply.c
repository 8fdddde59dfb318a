/* fuzz_reply.c: any bytes as replies of coordinators and shards to libholdfast, over a network of this file's own: every
 * call ends once with a code of its kind, its results can be read, and memory stays in bounds.
 *
 * The input is a list of replies: flags, length, bytes. Each message the library sends takes the next. */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/client.h" /* holdfast.h, and the tables it repeats */
#include "common/sys/net.h"
#include "proto/client.pb-c.h"
#include "tests/fuzz/fuzz.h"

#define INBOX_MAX 64
#define FLAG_SILENT 0x80 /* no reply */
#define FLAG_TWICE 0x40
#define FLAG_OWN_ID 0x20 /* the id as the bytes have it, not the request's */
#define IDLE_TRIES 3     /* so many waits of a few milliseconds without anything new end an input */
#define IDLE_MS 4

struct net {
    int unused;
};

struct net_socket {
    struct buf inbox[INBOX_MAX];
    size_t head, tail;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slice input;   /* under the lock */
static unsigned sent_so_far; /* likewise */

struct net *__wrap_net_new(int io_threads, int sockets_max);
void __wrap_net_free(struct net **net);
int __wrap_net_connect(struct net *net, const char *endpoint, const struct net_options *o, struct net_socket **out);
void __wrap_net_close(struct net_socket **s);
int __wrap_net_send(struct net_socket *s, struct slice data);
int __wrap_net_send_owned(struct net_socket *s, const struct net_peer *peer, uint8_t **data, size_t size);
int __wrap_net_receive(struct net_socket *s, struct net_peer *out_peer, struct net_message *out);
struct slice __wrap_net_message_data(const struct net_message *m);
void __wrap_net_message_release(struct net_message *m);
int __wrap_net_poll(struct net_poll_item *items, size_t count, long timeout_ms);

struct net *__wrap_net_new(int io_threads, int sockets_max)
{
    (void)io_threads, (void)sockets_max;
    return calloc(1, sizeof(struct net));
}

void __wrap_net_free(struct net **net)
{
    free(*net);
    *net = NULL;
}

int __wrap_net_connect(struct net *net, const char *endpoint, const struct net_options *o, struct net_socket **out)
{
    (void)net;
    must(o->hwm > 0 && o->message_bytes > 0);
    if (strncmp(endpoint, "tcp://", 6) != 0)
        return HF_E_INVALID;
    *out = calloc(1, sizeof **out);
    must(*out != NULL);
    return HF_OK;
}

void __wrap_net_close(struct net_socket **s)
{
    if (*s == NULL)
        return;
    for (size_t i = 0; i < INBOX_MAX; i++)
        buf_deinit(&(*s)->inbox[i]);
    free(*s);
    *s = NULL;
}

static void deliver(struct net_socket *s, struct slice bytes, uint64_t id, bool own_id)
{
    if (s->tail - s->head == INBOX_MAX)
        return;
    struct buf *to = &s->inbox[s->tail++ % INBOX_MAX];
    buf_clear(to);
    buf_append(to, bytes.data, bytes.size);
    if (own_id)
        return;
    Hf__Client__Reply tail = HF__CLIENT__REPLY__INIT; /* of a field that comes twice the last counts */
    tail.version = 1;
    tail.id = id;
    pack_append(&tail.base, to);
}

int __wrap_net_send(struct net_socket *s, struct slice data)
{
    struct arena arena = {0};
    const Hf__Client__Request *q = pack_unpack(&hf__client__request__descriptor, data, &arena);
    must(q != NULL);
    pthread_mutex_lock(&lock);
    sent_so_far++;
    if (input.size > 0) {
        uint8_t flags = fuzz_byte(&input);
        uint16_t length = fuzz_word(&input);
        struct slice bytes = fuzz_bytes(&input, length);
        if (!(flags & FLAG_SILENT))
            deliver(s, bytes, q->id, flags & FLAG_OWN_ID);
        if (flags & FLAG_TWICE)
            deliver(s, bytes, q->id, flags & FLAG_OWN_ID);
    }
    pthread_mutex_unlock(&lock);
    arena_deinit(&arena);
    return HF_OK;
}

int __wrap_net_send_owned(struct net_socket *s, const struct net_peer *peer, uint8_t **data, size_t size)
{
    must(peer == NULL);
    int rc = __wrap_net_send(s, slice_make(*data, size));
    free(*data);
    *data = NULL;
    return rc;
}

int __wrap_net_receive(struct net_socket *s, struct net_peer *out_peer, struct net_message *out)
{
    must(out_peer == NULL);
    if (s->head == s->tail)
        return HF_E_AGAIN;
    struct buf *from = &s->inbox[s->head++ % INBOX_MAX];
    struct slice copy = slice_make(malloc(from->size + 1), from->size);
    must(copy.data != NULL);
    memcpy((uint8_t *)(uintptr_t)copy.data, from->data ? from->data : (const uint8_t *)"", from->size);
    memcpy(out->opaque, &copy, sizeof copy);
    return HF_OK;
}

struct slice __wrap_net_message_data(const struct net_message *m)
{
    struct slice copy;
    memcpy(&copy, m->opaque, sizeof copy);
    return copy;
}

void __wrap_net_message_release(struct net_message *m)
{
    free((uint8_t *)(uintptr_t)__wrap_net_message_data(m).data);
}

int __wrap_net_poll(struct net_poll_item *items, size_t count, long timeout_ms)
{
    int ready = 0;
    for (size_t i = 0; i < count; i++) {
        items[i].readable = items[i].socket != NULL && items[i].socket->head != items[i].socket->tail;
        ready += items[i].readable;
    }
    struct pollfd wake = {.fd = items[0].fd, .events = POLLIN};
    must(items[0].socket == NULL);
    if (poll(&wake, 1, ready ? 0 : (int)timeout_ms) > 0) {
        items[0].readable = true;
        ready++;
    }
    return ready;
}

/* All that a program may ask of a finished call. */
static void look(struct hf_future *f, int code, bool write)
{
    must(code <= 0 && hf_future_message(f) != NULL && strlen(hf_future_message(f)) < 1 << 20);
    must(hf_future_class(f) <= HF_CLASS_GIVE_UP);
    must(write || code != HF_E_OUTCOME_UNKNOWN);
    size_t sum = hf_future_version(f).sequence & 1;
    struct hf_bytes value = hf_future_value(f), next;
    for (size_t i = 0; i < value.size; i++)
        sum += ((const uint8_t *)value.data)[i];
    for (size_t i = 0; i < hf_future_count(f); i++) {
        struct hf_item item = hf_future_item(f, i);
        sum += item.key.size ? *(const uint8_t *)item.key.data : 0;
        sum += item.value.size ? *(const uint8_t *)item.value.data : 0;
    }
    if (hf_future_more(f, &next) && next.size > 0)
        sum += *(const uint8_t *)next.data;
    must(sum != SIZE_MAX);
}

#define CALLS 6

static void post(struct hf *h, struct hf_future **f)
{
    const struct hf_call call = {.deadline_ms = 60000};
    const struct hf_bytes a = {"apple", 5}, z = {"zebra", 5}, none = {NULL, 0};
    const struct hf_range all = {a, none, 0, 0, 0, 0}, back = {none, z, 3, 1, 1, 0};
    must(hf_put_async(h, a, z, 0, &call, &f[0]) == HF_OK);
    must(hf_get_async(h, z, 0, &call, &f[1]) == HF_OK);
    must(hf_scan_async(h, &all, &call, &f[2]) == HF_OK);
    must(hf_cas_async(h, z, &a, NULL, &call, &f[3]) == HF_OK);
    must(hf_scan_async(h, &back, &call, &f[4]) == HF_OK);
    must(hf_delete_prefix_async(h, a, &call, &f[5]) == HF_OK);
}

/* Until all are done or nothing is sent any more, or the input is used up. */
static void await(struct hf_future **f)
{
    unsigned before = 0;
    for (int idle = 0; idle < IDLE_TRIES;) {
        bool done = true;
        for (size_t i = 0; i < CALLS && done; i++)
            done = hf_future_wait(f[i], IDLE_MS) != HF_E_AGAIN;
        pthread_mutex_lock(&lock);
        idle = sent_so_far == before ? idle + 1 : 0;
        before = sent_so_far;
        bool over = done || input.size == 0;
        pthread_mutex_unlock(&lock);
        if (over)
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    struct hf_options options = {.endpoints = "tcp://127.0.0.1:1,tcp://127.0.0.1:2", .routed = fuzz_byte(&in) & 1};
    struct hf *h = NULL;
    struct hf_future *f[CALLS];
    pthread_mutex_lock(&lock);
    input = in;
    sent_so_far = 0;
    pthread_mutex_unlock(&lock);
    must(hf_open(&options, HF_ABI, &h) == HF_OK);
    post(h, f);
    await(f);
    hf_close(&h);
    for (size_t i = 0; i < CALLS; i++) {
        int code = hf_future_wait(f[i], 0);
        must(code != HF_E_AGAIN);
        look(f[i], code, i == 0 || i == 3 || i == 5);
        hf_future_free(f[i]);
    }
    return 0;
}
