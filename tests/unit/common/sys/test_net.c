/* test_net.c: sockets over loopback TCP: both directions, every refusal to queue, odd messages, sizes, peers that break off. */
#include "common/sys/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/unread.h"
#include "tests/unit/unit.h"

#define PORT_MIN 21050
#define PORT_MAX 21089 /* further up are those of test_transport */
#define LIMIT_NS (20000 * CLOCK_NS_PER_MS)

static const struct net_options usual = {.hwm = 100, .message_bytes = 1 << 20};
static struct net *net;
static char endpoint[64];

/* Those that were closed keep their ports and count among the context's sockets until a thread of ZeroMQ's has seen it, and each
 * try at a port in use makes some more of them: so it is given time. */
static struct net_socket *listen_somewhere(const struct net_options *o)
{
    struct net_socket *s = NULL;
    uint64_t end = clock_boot_ns() + LIMIT_NS;
    int rc = HF_E_EXISTS;
    for (int port = PORT_MIN; rc != HF_OK && clock_boot_ns() < end; port = port < PORT_MAX ? port + 1 : PORT_MIN) {
        snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", port);
        rc = net_listen(net, endpoint, o, &s);
        if (rc != HF_OK)
            usleep(1000);
    }
    if (rc != HF_OK)
        fprintf(stderr, "%s: %s, errno %d\n", endpoint, error_text(rc), errno);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    return s;
}

static struct net_socket *connect_to_it(const struct net_options *o)
{
    struct net_socket *s = NULL;
    CU_ASSERT_EQUAL_FATAL(net_connect(net, endpoint, o, &s), 0);
    return s;
}

static int receive_within(struct net_socket *s, struct net_peer *peer, struct net_message *m, long ms)
{
    struct net_poll_item item = {.socket = s};
    return net_poll(&item, 1, ms) == 1 && item.readable ? net_receive(s, peer, m) : HF_E_AGAIN;
}

/* Sends until the connection stands (IMMEDIATE: nothing is queued before) and what was sent arrives; sends again when
 * nothing came in `wait_ms`. */
static int say_hello_again(struct net_socket *client, struct net_socket *server, struct net_peer *peer, long wait_ms)
{
    uint64_t end = clock_boot_ns() + LIMIT_NS;
    struct net_message m;
    do {
        int rc = net_send(client, slice_text("hello"));
        if (rc != 0 && rc != HF_E_BUSY)
            return rc;
        rc = receive_within(server, peer, &m, rc == 0 ? wait_ms : 5);
        if (rc == 0)
            net_message_release(&m);
        if (rc != HF_E_AGAIN)
            return rc;
    } while (clock_boot_ns() < end);
    return HF_E_TIMEOUT;
}

static int say_hello(struct net_socket *client, struct net_socket *server, struct net_peer *peer)
{
    return say_hello_again(client, server, peer, 20000);
}

static bool gets(struct net_socket *s, const void *data, size_t size)
{
    struct net_message m;
    if (receive_within(s, NULL, &m, 20000) != 0)
        return false;
    bool equal = slice_equal(net_message_data(&m), slice_make(data, size));
    net_message_release(&m);
    return equal;
}

static void messages_go_both_ways(void)
{
    struct net_socket *server = listen_somewhere(&usual), *client = connect_to_it(&usual);
    struct net_peer peer, nobody = {.size = 3, .id = "xyz"};
    struct net_message m;
    CU_ASSERT_EQUAL_FATAL(say_hello(client, server, &peer), 0);
    CU_ASSERT_EQUAL(net_receive(server, &peer, &m), HF_E_AGAIN);
    CU_ASSERT_EQUAL(net_send_to(server, &peer, slice_make("a\0b", 3)), 0);
    CU_ASSERT(gets(client, "a\0b", 3));
    CU_ASSERT_EQUAL(net_send_to(server, &peer, slice_make(NULL, 0)), 0);
    CU_ASSERT(gets(client, NULL, 0));
    CU_ASSERT_EQUAL(net_send_to(server, &nobody, slice_text("x")), HF_E_UNAVAILABLE);
    CU_ASSERT_EQUAL(net_send_to(server, &peer, slice_text("after")), 0); /* the refusal left nothing half sent */
    CU_ASSERT(gets(client, "after", 5));
    struct net_socket *second = NULL;
    CU_ASSERT_EQUAL(net_listen(net, endpoint, &usual, &second), HF_E_EXISTS);
    CU_ASSERT_EQUAL(net_listen(net, "nonsense", &usual, &second), HF_E_INVALID);
    CU_ASSERT_EQUAL(net_connect(net, "tcp://127.0.0.1", &usual, &second), HF_E_INVALID);
    CU_ASSERT_PTR_NULL(second);
    net_close(&client);
    net_close(&server);
    net_close(&server);
}

/* An outgoing connection; `endpoint` is its port: none of the kernel's, which others on this machine may share. */
static int connect_outwards(int *out_other)
{
    struct sockaddr_in own = {.sin_family = AF_INET}, other = {.sin_family = AF_INET};
    own.sin_addr.s_addr = other.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof other;
    int to = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
    CU_ASSERT_FATAL(bind(to, (struct sockaddr *)&other, sizeof other) == 0 && listen(to, 1) == 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(to, (struct sockaddr *)&other, &size), 0);
    struct linger reset = {.l_onoff = 1}; /* its end leaves no TIME-WAIT, which would outlast the test */
    CU_ASSERT_EQUAL_FATAL(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    int port = PORT_MIN, rc;
    do
        own.sin_port = htons((uint16_t)port);
    while ((rc = bind(fd, (struct sockaddr *)&own, sizeof own)) != 0 && ++port <= PORT_MAX);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&other, sizeof other), 0);
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", port);
    *out_other = to;
    return fd;
}

static void *let_go(void *fd)
{
    nanosleep(&(struct timespec){.tv_nsec = 200 * 1000000L}, NULL);
    close(*(int *)fd);
    return NULL;
}

static void a_port_that_a_connection_has_is_waited_for(void)
{
    struct net_socket *s = NULL;
    pthread_t thread;
    int other, fd = connect_outwards(&other);
    CU_ASSERT_EQUAL(net_listen(net, endpoint, &usual, &s), HF_E_EXISTS);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, let_go, &fd), 0);
    CU_ASSERT_EQUAL(net_serve(net, endpoint, &usual, &s), 0);
    CU_ASSERT_PTR_NOT_NULL(s);
    pthread_join(thread, NULL);
    close(other);
    net_close(&s);
    CU_ASSERT_EQUAL(net_serve(net, "nonsense", &usual, &s), HF_E_INVALID);
}

static void owned_payloads_are_taken_always(void)
{
    struct net_socket *server = listen_somewhere(&usual), *client = connect_to_it(&usual);
    struct net_peer peer, nobody = {.size = 1, .id = "x"};
    static const size_t sizes[] = {0, 10, 500000};
    CU_ASSERT_EQUAL_FATAL(say_hello(client, server, &peer), 0);
    for (size_t i = 0; i < 3; i++) {
        uint8_t *copy = calloc(1, sizes[i] + 1);
        for (int round = 0; round < 3; round++) {
            uint8_t *data = calloc(1, sizes[i] + 1);
            const struct net_peer *to = round == 0 ? &peer : round == 1 ? &nobody : NULL;
            int rc = net_send_owned(round < 2 ? server : client, to, &data, sizes[i]);
            CU_ASSERT_EQUAL(rc, round == 1 ? HF_E_UNAVAILABLE : 0);
            CU_ASSERT_PTR_NULL(data);
        }
        CU_ASSERT(gets(client, copy, sizes[i]));
        CU_ASSERT(gets(server, copy, sizes[i]));
        free(copy);
    }
    net_close(&client);
    net_close(&server);
}

static void a_sender_is_told_when_the_queue_is_full(void)
{
    struct net_options few = {.hwm = 4, .message_bytes = 1 << 20};
    struct net_socket *server = listen_somewhere(&few), *client = connect_to_it(&few);
    struct net_peer peer;
    uint8_t payload[65536] = {0};
    CU_ASSERT_EQUAL_FATAL(say_hello(client, server, &peer), 0);
    int rc = 0, sent = 0, received = 0;
    for (; rc == 0 && sent < 100000; sent += rc == 0) /* nobody reads: socket buffers and marks fill up */
        rc = net_send_to(server, &peer, slice_make(payload, sizeof payload));
    CU_ASSERT_EQUAL(rc, HF_E_BUSY);
    while (received < sent && gets(client, payload, sizeof payload))
        received++;
    CU_ASSERT_EQUAL(received, sent); /* what was accepted arrives */
    net_close(&client);
    struct net_socket *alone = NULL;
    CU_ASSERT_EQUAL(net_connect(net, "tcp://127.0.0.1:21199", &few, &alone), 0);
    CU_ASSERT_EQUAL(net_send(alone, slice_text("x")), HF_E_BUSY); /* not connected: nothing is queued */
    net_close(&alone);
    net_close(&server);
}

static void a_message_of_many_frames_is_swallowed_whole(void)
{
    struct net_socket *server = listen_somewhere(&usual);
    void *context = zmq_ctx_new(), *raw = zmq_socket(context, ZMQ_DEALER);
    struct net_peer peer;
    struct net_message m;
    CU_ASSERT_EQUAL_FATAL(zmq_connect(raw, endpoint), 0);
    for (int frames = 1; frames <= 4; frames++) {
        for (int i = 1; i < frames; i++)
            zmq_send(raw, "part", 4, ZMQ_SNDMORE);
        zmq_send(raw, "last", 4, 0);
    }
    zmq_send(raw, "good", 4, 0);
    for (int frames = 1; frames <= 4; frames++) {
        int rc = receive_within(server, &peer, &m, 20000);
        CU_ASSERT_EQUAL(rc, frames == 1 ? 0 : HF_E_PROTOCOL);
        if (rc == 0)
            net_message_release(&m);
    }
    CU_ASSERT(gets(server, "good", 4));
    zmq_close(raw);
    zmq_ctx_term(context);
    net_close(&server);
}

static void a_message_above_the_limit_never_arrives(void)
{
    struct net_options small = {.hwm = 10, .message_bytes = 1000};
    struct net_socket *server = listen_somewhere(&small), *client = connect_to_it(&usual);
    struct net_peer peer;
    uint8_t payload[1001] = {0};
    CU_ASSERT_EQUAL_FATAL(say_hello(client, server, &peer), 0);
    CU_ASSERT_EQUAL(net_send(client, slice_make(payload, 1000)), 0);
    CU_ASSERT(gets(server, payload, 1000));
    CU_ASSERT_EQUAL(net_send(client, slice_make(payload, 1001)), 0);
    /* Cut off, connected again (a hello sent meanwhile is lost); the large one does not come before it. */
    CU_ASSERT_EQUAL(say_hello_again(client, server, &peer, 500), 0);
    net_close(&client);
    net_close(&server);
}

/* All of it; MSG_WAITALL ends early where the process was stopped meanwhile. */
static bool reads(int fd, uint8_t *out, size_t size)
{
    ssize_t n = 1;
    for (size_t at = 0; at < size && n > 0; at += n > 0 ? (size_t)n : 0)
        n = recv(fd, out + at, size - at, 0);
    return n > 0;
}

/* ZMTP by hand: greeting and READY of a DEALER; returns when the other side's have come. */
static int raw_peer(void)
{
    static const uint8_t ready[] = "\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06"
                                   "DEALER";
    uint8_t greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1, 'N', 'U', 'L', 'L'};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)strtoul(strrchr(endpoint, ':') + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    CU_ASSERT_EQUAL(write(fd, greeting, sizeof greeting), sizeof greeting);
    CU_ASSERT_EQUAL(write(fd, ready, sizeof ready - 1), sizeof ready - 1);
    uint8_t head[sizeof greeting + 2], body[255];
    CU_ASSERT_FATAL(reads(fd, head, sizeof head));
    CU_ASSERT(reads(fd, body, head[sizeof head - 1]));
    return fd;
}

/* ZeroMQ aborts when its heartbeat is due on a connection that broke while more was unread than the mark allows. */
static void a_peer_that_floods_and_dies_hurts_nobody(void)
{
    enum { PAST_A_HEARTBEAT_MS = 1300 };
    struct net_socket *server = listen_somewhere(&usual);
    uint8_t frames[1000] = {0}; /* four messages of 248 bytes */
    for (size_t i = 0; i < sizeof frames; i++)
        frames[i] = i % 250 == 1 ? 248 : 0;
    int fd = raw_peer(), written = 0;
    struct timeval stuck = {.tv_sec = 1}; /* the server has had time to take what it may */
    CU_ASSERT_EQUAL(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &stuck, sizeof stuck), 0);
    while (send(fd, frames, sizeof frames, MSG_NOSIGNAL) == sizeof frames) /* until nobody takes more */
        written += 4;
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    CU_ASSERT_EQUAL(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(fd);
    usleep(PAST_A_HEARTBEAT_MS * 1000);
    struct net_message m;
    int got = 0;
    while (receive_within(server, NULL, &m, 100) == 0) {
        net_message_release(&m);
        got++;
    }
    CU_ASSERT(got >= usual.hwm && got < written);
    struct net_socket *client = connect_to_it(&usual);
    struct net_peer peer;
    CU_ASSERT_EQUAL(say_hello(client, server, &peer), 0);
    net_close(&client);
    net_close(&server);
}

static void who_does_not_read_gets_only_small_answers(void)
{
    enum { BIG = 1 << 20 };
    struct net_socket *server = listen_somewhere(&usual);
    struct net_peer deaf, other;
    struct net_message m;
    uint8_t *big = calloc(1, BIG);
    CU_ASSERT_PTR_NOT_NULL_FATAL(big);
    int fd = raw_peer(), rc = 0;
    CU_ASSERT_EQUAL(write(fd,
                          "\0\x05"
                          "hello",
                          7),
                    7);
    CU_ASSERT_EQUAL_FATAL(receive_within(server, &deaf, &m, 20000), 0);
    net_message_release(&m);
    size_t taken = 0;
    while (rc == 0 && taken < 4 * UNREAD_PEER_BYTES_MAX) {
        rc = net_send_to(server, &deaf, slice_make(big, BIG));
        taken += rc == 0 ? BIG : 0;
    }
    CU_ASSERT_EQUAL(rc, HF_E_BUSY);
    CU_ASSERT(net_is_full(server, &deaf));
    CU_ASSERT(taken >= UNREAD_PEER_BYTES_MAX);
    CU_ASSERT_EQUAL(net_send_to(server, &deaf, slice_text("small")), 0);
    struct net_socket *client = connect_to_it(&usual);
    CU_ASSERT_EQUAL_FATAL(say_hello(client, server, &other), 0);
    CU_ASSERT_EQUAL(net_send_to(server, &other, slice_make(big, BIG)), 0);
    CU_ASSERT(gets(client, big, BIG));
    CU_ASSERT(!net_is_full(server, &other));
    close(fd);
    uint64_t end = clock_boot_ns() + LIMIT_NS;
    while (net_is_full(server, &deaf) && clock_boot_ns() < end)
        usleep(1000);
    CU_ASSERT(!net_is_full(server, &deaf));
    net_close(&client);
    net_close(&server);
    free(big);
}

/* A server that is never done with what one client sends ends the others' connections all the same. There is room for some
 * that clients of the cases before may still make. */
static void connections_are_counted_under_a_flood(void)
{
    enum { ROOM = 16 };
    struct net_options some = {.hwm = 4000, .message_bytes = 1 << 20, .connections_max = ROOM};
    struct net_socket *server = listen_somewhere(&some), *client = connect_to_it(&some);
    struct net_peer peer;
    struct net_message m;
    int raw[ROOM];
    char greeting[64];
    CU_ASSERT_EQUAL_FATAL(say_hello(client, server, &peer), 0);
    struct timeval limit = {.tv_sec = 3}; /* a handshake's own limit is 5 s */
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)atoi(strrchr(endpoint, ':') + 1));
    for (int i = 0; i < ROOM; i++) {
        raw[i] = socket(AF_INET, SOCK_STREAM, 0);
        CU_ASSERT_EQUAL(setsockopt(raw[i], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
        CU_ASSERT_EQUAL(connect(raw[i], (const struct sockaddr *)&to, sizeof to), 0);
        CU_ASSERT(recv(raw[i], greeting, 1, 0) == 1); /* it was accepted */
    }
    for (int i = 0; i < 1000; i++)
        CU_ASSERT_EQUAL(net_send(client, slice_text("flood")), 0);
    for (int i = 0; i < 500; i++) { /* more is always waiting */
        int rc = receive_within(server, &peer, &m, 20000);
        CU_ASSERT_EQUAL(rc, 0);
        if (rc == 0)
            net_message_release(&m);
    }
    ssize_t n;
    while ((n = recv(raw[ROOM - 1], greeting, sizeof greeting, 0)) > 0)
        continue;
    CU_ASSERT_EQUAL(n, 0); /* the one too many was ended, not waited for in vain */
    for (int i = 0; i < ROOM; i++)
        close(raw[i]);
    net_close(&client);
    net_close(&server);
}

/* Connections that come and go while a watched listener is closed stop nobody; ZeroMQ's thread would wait for ever. */
static void a_listener_is_closed_while_others_come(void)
{
    enum { ROUNDS = 60, PEERS = 8 };
    struct net_options watched = {.hwm = 100, .message_bytes = 1 << 20, .connections_max = 4};
    for (int round = 0; round < ROUNDS; round++) {
        struct net_socket *server = listen_somewhere(&watched);
        int raw[PEERS];
        for (int i = 0; i < PEERS; i++)
            raw[i] = raw_peer();
        for (int i = 0; i < PEERS; i += 2)
            close(raw[i]);
        net_close(&server);
        for (int i = 1; i < PEERS; i += 2)
            close(raw[i]);
    }
    struct net_socket *server = listen_somewhere(&usual), *client = connect_to_it(&usual);
    struct net_peer peer;
    CU_ASSERT_EQUAL(say_hello(client, server, &peer), 0);
    net_close(&client);
    net_close(&server);
}

static void poll_sees_each_message_and_descriptors(void)
{
    enum { EXTRA = 200 }; /* more than the stack's share */
    struct net_socket *server = listen_somewhere(&usual), *client = connect_to_it(&usual);
    struct net_peer peer;
    CU_ASSERT_EQUAL_FATAL(say_hello(client, server, &peer), 0);
    int fd = eventfd(0, EFD_NONBLOCK);
    static struct net_poll_item items[EXTRA + 2];
    for (int i = 0; i < EXTRA; i++)
        items[i].fd = fd;
    items[EXTRA].socket = server;
    items[EXTRA + 1].socket = client;
    CU_ASSERT_EQUAL(net_poll(items, EXTRA + 2, 0), 0);
    CU_ASSERT_EQUAL(net_send(client, slice_text("one")), 0);
    CU_ASSERT_EQUAL(net_send(client, slice_text("two")), 0);
    CU_ASSERT(gets(server, "one", 3)); /* gets polls before each: no edge is lost */
    CU_ASSERT(gets(server, "two", 3));
    uint64_t one = 1;
    CU_ASSERT_EQUAL(write(fd, &one, sizeof one), (ssize_t)sizeof one);
    CU_ASSERT_EQUAL(net_poll(items, EXTRA + 2, 20000), EXTRA);
    CU_ASSERT(items[0].readable && items[EXTRA - 1].readable && !items[EXTRA].readable);
    close(fd);
    net_close(&client);
    net_close(&server);
}

int main(void)
{
    net = net_new(1, 1024);
    static const struct unit_case cases[] = {
        {"messages go both ways", messages_go_both_ways},
        {"a port that a connection has is waited for", a_port_that_a_connection_has_is_waited_for},
        {"owned payloads are taken always", owned_payloads_are_taken_always},
        {"a sender is told when the queue is full", a_sender_is_told_when_the_queue_is_full},
        {"a message of many frames is swallowed whole", a_message_of_many_frames_is_swallowed_whole},
        {"a message above the limit never arrives", a_message_above_the_limit_never_arrives},
        {"a peer that floods and dies hurts nobody", a_peer_that_floods_and_dies_hurts_nobody},
        {"who does not read gets only small answers", who_does_not_read_gets_only_small_answers},
        {"connections are counted under a flood", connections_are_counted_under_a_flood},
        {"a listener is closed while others come", a_listener_is_closed_while_others_come},
        {"poll sees each message and descriptors", poll_sees_each_message_and_descriptors},
    };
    int rc = UNIT_MAIN("net", cases);
    net_free(&net);
    net_free(&net);
    return rc;
}
