/* io.c: see io.h. */
#include "client/io.h"

#include "client/attempt.h"
#include "client/future.h"
#include "client/peer.h"
#include "common/sys/clock.h"
#include "proto/pack.h"

#define TURN_MESSAGES_MAX 1024 /* of one server, before the others and the timers get their turn */

static long timeout_ms(const struct hf *h)
{
    if (h->pump)
        return 0;
    uint64_t next = timers_next_ns(&h->timers);
    if (next == UINT64_MAX)
        return -1;
    uint64_t now = clock_boot_ns();
    return next <= now ? 0 : (long)((next - now) / CLOCK_NS_PER_MS) + 1;
}

static void wait_for_events(struct hf *h)
{
    h->items[0] = (struct net_poll_item){.fd = mailbox_fd(h->mailbox)};
    for (uint32_t i = 0; i < h->peers_count; i++)
        h->items[i + 1] = (struct net_poll_item){.socket = h->peers[i]->socket, .fd = -1};
    int n = net_poll(h->items, h->peers_count + 1, timeout_ms(h));
    (void)n; /* an interrupted wait is a turn without events */
    h->now_ns = clock_boot_ns();
}

/* New requests. */
static void collect(struct hf *h)
{
    struct list posted;
    list_init(&posted);
    mailbox_take(h->mailbox, &posted);
    while (!list_empty(&posted)) {
        struct list *first = posted.next;
        list_remove(first);
        attempt_submit(h, LIST_OWNER(first, struct hf_future, link));
    }
}

static void receive_from(struct hf *h, struct peer *p)
{
    for (int i = 0; i < TURN_MESSAGES_MAX; i++) {
        struct net_message m;
        int rc = net_receive(p->socket, NULL, &m);
        if (rc == HF_E_PROTOCOL)
            continue;
        if (rc != HF_OK)
            return;
        struct slice data = net_message_data(&m);
        Hf__Client__Reply *reply = pack_unpack_owned(&hf__client__reply__descriptor, data);
        net_message_release(&m);
        if (reply) /* malformed: as if lost (I11) */
            attempt_answer(h, p, reply);
    }
}

static void receive(struct hf *h)
{
    uint32_t polled = h->peers_count; /* answers may open more */
    uint64_t readable[CLIENT_PEERS_MAX / 64] = {0};
    for (uint32_t i = 0; i < polled; i++)
        readable[i / 64] |= (uint64_t)h->items[i + 1].readable << (i % 64);
    for (uint32_t i = 0; i < polled; i++)
        if (readable[i / 64] >> (i % 64) & 1)
            receive_from(h, h->peers[i]);
}

static void turn(struct hf *h)
{
    wait_for_events(h);
    bool posted = h->items[0].readable;
    receive(h); /* replies first: they make room in windows  */
    if (posted)
        collect(h);                          /* new requests                              */
    timers_expire(&h->timers, h->now_ns, h); /* deadlines, attempts, backoffs, searches   */
    attempt_pump(h);                         /* what waited and now can go                */
    future_deliver(h, &h->finished);         /* results to the application, one lock      */
}

void *io_thread(void *hf)
{
    struct hf *h = hf;
    (void)pthread_setname_np(pthread_self(), "hf-io");
    while (!atomic_load_explicit(&h->stop, memory_order_acquire))
        turn(h);
    collect(h); /* whatever was posted before the stop */
    attempt_end_all(h);
    future_deliver(h, &h->finished);
    return NULL;
}
