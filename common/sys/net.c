/* net.c: raw ZeroMQ: ROUTER listeners, DEALER connectors, one payload frame a message, never blocking. */
#include "common/sys/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/connections.h"
#include "common/sys/unread.h"

#define NET_HANDSHAKE_MS 5000
/* Connectors only. ZeroMQ 4.3.4 aborts when a heartbeat is due on a connection that broke while its input was stopped,
 * and input stops where others decide how much comes: at listeners. A connector's heartbeats carry a time to live, so
 * that a listener drops a connection that fell silent, too; what the TCP layer sees is left to TCP. */
#define NET_HEARTBEAT_MS 1000
#define NET_HEARTBEAT_TIMEOUT_MS 3000
#define NET_RECONNECT_MS_MIN 20
#define NET_RECONNECT_MS_MAX 200
#define NET_CONNECT_TIMEOUT_MS 2000
#define NET_BACKLOG 1024
#define LISTEN_PAUSE_NS (50L * 1000 * 1000) /* between two tries at an address in use */
#define NET_KEEPALIVE_IDLE_S 10
#define NET_KEEPALIVE_INTERVAL_S 2
#define NET_KEEPALIVE_COUNT 5
#define NET_UNACKED_MS_MAX 10000               /* also cuts off who does not read for so long */
#define NET_COPY_BYTES_MAX ((size_t)32 * 1024) /* handing memory over pays only above (measured) */
#define NET_TAKE_CONNECTIONS 64                /* messages after which connections are counted, however many wait */
#define NET_POLL_ITEMS 128                     /* on the stack; more are allocated */

struct net {
    void *context; /* owned */
};

struct net_socket {
    void *zmq; /* owned */
    bool listener;
    struct unread unread; /* of a listener */
    struct connections connections;
    unsigned received; /* since they were counted */
};

_Static_assert(sizeof(zmq_msg_t) <= sizeof(struct net_message), "room for ZeroMQ's message");

struct net *net_new(int io_threads, int sockets_max)
{
    struct net *net = malloc(sizeof *net);
    if (net == NULL)
        return NULL;
    net->context = zmq_ctx_new();
    if (net->context == NULL) {
        free(net);
        return NULL;
    }
    must(zmq_ctx_set(net->context, ZMQ_IO_THREADS, io_threads) == 0);
    must(zmq_ctx_set(net->context, ZMQ_MAX_SOCKETS, sockets_max) == 0);
    return net;
}

void net_free(struct net **net)
{
    if (*net == NULL)
        return;
    while (zmq_ctx_term((*net)->context) != 0 && errno == EINTR)
        continue;
    free(*net);
    *net = NULL;
}

static int from_errno(int error)
{
    switch (error) {
    case EAGAIN:
        return HF_E_BUSY;
    case EHOSTUNREACH:
        return HF_E_UNAVAILABLE;
    case EADDRINUSE:
        return HF_E_EXISTS;
    case EINVAL:
    case ENODEV:
    case EADDRNOTAVAIL:
    case EPROTONOSUPPORT:
        return HF_E_INVALID;
    case EMFILE:
        return HF_E_LIMIT;
    case ENOMEM:
        return HF_E_NO_MEMORY;
    case ETERM:
        return HF_E_CLOSED;
    default:
        return HF_E_IO;
    }
}

const char *net_listen_text(int rc)
{
    if (rc == HF_E_EXISTS)
        return "the address is in use: another process listens there, or an outgoing connection has its port, or had "
               "it "
               "less than a minute ago (which happens to ports of net.ipv4.ip_local_port_range)";
    return rc == HF_E_INVALID ? "no address of this machine in the right form" : error_text(rc);
}

static int set_options(void *zmq, bool listener, const struct net_options *o)
{
    const struct {
        int option, value;
    } ints[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_SNDHWM, o->hwm}, /* 0 would be without limit */
        {ZMQ_RCVHWM, o->hwm},
        {ZMQ_BACKLOG, NET_BACKLOG},
        {ZMQ_HANDSHAKE_IVL, NET_HANDSHAKE_MS},
        {ZMQ_HEARTBEAT_IVL, listener ? 0 : NET_HEARTBEAT_MS},
        {ZMQ_HEARTBEAT_TIMEOUT, NET_HEARTBEAT_TIMEOUT_MS},
        {ZMQ_HEARTBEAT_TTL, NET_HEARTBEAT_TIMEOUT_MS},
        {ZMQ_RECONNECT_IVL, NET_RECONNECT_MS_MIN},
        {ZMQ_RECONNECT_IVL_MAX, NET_RECONNECT_MS_MAX},
        {ZMQ_CONNECT_TIMEOUT, NET_CONNECT_TIMEOUT_MS},
        {ZMQ_TCP_KEEPALIVE, 1},
        {ZMQ_TCP_KEEPALIVE_IDLE, NET_KEEPALIVE_IDLE_S},
        {ZMQ_TCP_KEEPALIVE_INTVL, NET_KEEPALIVE_INTERVAL_S},
        {ZMQ_TCP_KEEPALIVE_CNT, NET_KEEPALIVE_COUNT},
        {ZMQ_TCP_MAXRT, NET_UNACKED_MS_MAX},
    };
    must(o->hwm > 0 && o->message_bytes > 0);
    int rc = 0, one = 1;
    for (size_t i = 0; i < sizeof ints / sizeof ints[0]; i++)
        rc |= zmq_setsockopt(zmq, ints[i].option, &ints[i].value, sizeof ints[i].value);
    rc |= zmq_setsockopt(zmq, ZMQ_MAXMSGSIZE, &o->message_bytes, sizeof o->message_bytes);
    if (listener) {
        rc |= zmq_setsockopt(zmq, ZMQ_ROUTER_MANDATORY, &one, sizeof one);
    } else {
        rc |= zmq_setsockopt(zmq, ZMQ_IMMEDIATE, &one, sizeof one);
    }
    return rc == 0 ? 0 : from_errno(errno);
}

bool net_listen_again(int rc, uint64_t end_ns)
{
    if (rc != HF_E_EXISTS || clock_boot_ns() >= end_ns)
        return false;
    nanosleep(&(struct timespec){.tv_nsec = LISTEN_PAUSE_NS}, NULL);
    return true;
}

static int bind_within(void *zmq, const char *endpoint, uint32_t patience_ms)
{
    uint64_t end_ns = clock_boot_ns() + patience_ms * CLOCK_NS_PER_MS;
    int rc;
    do
        rc = zmq_bind(zmq, endpoint) == 0 ? 0 : from_errno(errno);
    while (net_listen_again(rc, end_ns));
    return rc;
}

static int open_socket(struct net *net, bool listener, const char *endpoint, const struct net_options *o,
                       uint32_t patience_ms, struct net_socket **out)
{
    void *zmq = zmq_socket(net->context, listener ? ZMQ_ROUTER : ZMQ_DEALER);
    if (zmq == NULL)
        return from_errno(errno);
    struct connections connections = {0};
    int rc = set_options(zmq, listener, o);
    if (rc == 0 && o->connections_max > 0)
        rc = connections_watch(&connections, net->context, zmq, o->connections_max);
    if (rc == 0 && listener)
        rc = bind_within(zmq, endpoint, patience_ms);
    else if (rc == 0 && zmq_connect(zmq, endpoint) != 0)
        rc = from_errno(errno);
    struct net_socket *s = rc == 0 ? malloc(sizeof *s) : NULL;
    if (s == NULL) {
        connections_close(&connections);
        zmq_close(zmq);
        return rc != 0 ? rc : HF_E_NO_MEMORY;
    }
    *s = (struct net_socket){.zmq = zmq, .listener = listener, .connections = connections};
    *out = s;
    return 0;
}

int net_listen(struct net *net, const char *endpoint, const struct net_options *o, struct net_socket **out)
{
    must(net != NULL); /* out of memory ends a server */
    return open_socket(net, true, endpoint, o, 0, out);
}

int net_serve(struct net *net, const char *endpoint, const struct net_options *o, struct net_socket **out)
{
    must(net != NULL); /* out of memory ends a server */
    return open_socket(net, true, endpoint, o, NET_LISTEN_MS, out);
}

int net_connect(struct net *net, const char *endpoint, const struct net_options *o, struct net_socket **out)
{
    return open_socket(net, false, endpoint, o, 0, out);
}

void net_close(struct net_socket **s)
{
    if (*s == NULL)
        return;
    connections_close(&(*s)->connections);
    zmq_close((*s)->zmq);
    unread_deinit(&(*s)->unread);
    free(*s);
    *s = NULL;
}

void net_endpoint(const struct net_socket *s, char *out, size_t size)
{
    must(zmq_getsockopt(s->zmq, ZMQ_LAST_ENDPOINT, out, &size) == 0);
}

static zmq_msg_t *raw(struct net_message *m)
{
    return (zmq_msg_t *)(void *)m->opaque;
}

struct slice net_message_data(const struct net_message *m)
{
    zmq_msg_t *msg = (zmq_msg_t *)(uintptr_t)m->opaque; /* the library reads it only */
    return slice_make(zmq_msg_data(msg), zmq_msg_size(msg));
}

void net_message_release(struct net_message *m)
{
    zmq_msg_close(raw(m));
}

/* One frame. 0, HF_E_AGAIN or another error; on failure `frame` stays an empty message. */
static int receive_frame(void *zmq, zmq_msg_t *frame)
{
    int n;
    do
        n = zmq_msg_recv(frame, zmq, ZMQ_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return 0;
    return errno == EAGAIN ? HF_E_AGAIN : from_errno(errno);
}

/* Takes the rest of a message that has a wrong number of frames, so that the next receive begins at a message. */
static void swallow_rest(void *zmq, zmq_msg_t *frame)
{
    while (zmq_msg_more(frame) && receive_frame(zmq, frame) == 0)
        continue;
}

int net_receive(struct net_socket *s, struct net_peer *out_peer, struct net_message *out)
{
    struct net_peer peer = {0};
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    int rc = receive_frame(s->zmq, &frame);
    if (s->connections.monitor != NULL && (rc == HF_E_AGAIN || ++s->received >= NET_TAKE_CONNECTIONS)) {
        s->received = 0;
        connections_take(&s->connections);
    }
    if (rc == 0 && s->listener) {
        must(zmq_msg_size(&frame) <= NET_PEER_BYTES); /* a routing id's size is one byte on the wire */
        peer.size = (uint8_t)zmq_msg_size(&frame);
        memcpy(peer.id, zmq_msg_data(&frame), peer.size);
        rc = zmq_msg_more(&frame) ? receive_frame(s->zmq, &frame) : HF_E_PROTOCOL;
    }
    if (rc == 0 && zmq_msg_more(&frame)) {
        swallow_rest(s->zmq, &frame);
        rc = HF_E_PROTOCOL;
    }
    if (rc != 0) {
        zmq_msg_close(&frame);
        return rc;
    }
    zmq_msg_init(raw(out));
    zmq_msg_move(raw(out), &frame);
    if (s->listener && out_peer != NULL)
        *out_peer = peer;
    return 0;
}

/* Sends `frame` and takes it, also on failure. */
static int send_frame(void *zmq, zmq_msg_t *frame, int flags)
{
    int n;
    do
        n = zmq_msg_send(frame, zmq, flags | ZMQ_DONTWAIT);
    while (n < 0 && errno == EINTR);
    int rc = n >= 0 ? 0 : from_errno(errno);
    if (rc != 0)
        zmq_msg_close(frame);
    return rc;
}

/* The first frame decides: once ROUTER accepted the routing id it accepts the payload. Takes `payload`. */
static int send_message(struct net_socket *s, const struct net_peer *peer, zmq_msg_t *payload)
{
    must(s->listener == (peer != NULL));
    if (peer != NULL) {
        zmq_msg_t id;
        must(zmq_msg_init_size(&id, peer->size) == 0);
        memcpy(zmq_msg_data(&id), peer->id, peer->size);
        int rc = send_frame(s->zmq, &id, ZMQ_SNDMORE);
        if (rc != 0) {
            zmq_msg_close(payload);
            return rc;
        }
    }
    return send_frame(s->zmq, payload, 0);
}

static struct slice id_of(const struct net_peer *peer)
{
    return slice_make(peer->id, peer->size);
}

bool net_is_full(const struct net_socket *s, const struct net_peer *peer)
{
    return unread_full(&s->unread, id_of(peer));
}

/* Sends `m`, NULL for want of memory, which counts as unread until it has left. */
static int send_counted(struct net_socket *s, const struct net_peer *peer, struct unread_message *m, size_t size)
{
    zmq_msg_t payload;
    if (m == NULL)
        return HF_E_NO_MEMORY;
    if (zmq_msg_init_data(&payload, unread_data(m), size, unread_done, m) != 0) {
        unread_done(NULL, m);
        return HF_E_NO_MEMORY;
    }
    return send_message(s, peer, &payload);
}

static int send_copy(struct net_socket *s, const struct net_peer *peer, struct slice data)
{
    zmq_msg_t payload;
    if (zmq_msg_init_size(&payload, data.size) != 0)
        return HF_E_NO_MEMORY;
    if (data.size > 0)
        memcpy(zmq_msg_data(&payload), data.data, data.size);
    return send_message(s, peer, &payload);
}

int net_send(struct net_socket *s, struct slice data)
{
    return send_copy(s, NULL, data);
}

int net_send_to(struct net_socket *s, const struct net_peer *peer, struct slice data)
{
    if (data.size <= UNREAD_SMALL_BYTES)
        return send_copy(s, peer, data);
    if (net_is_full(s, peer))
        return HF_E_BUSY;
    return send_counted(s, peer, unread_copy(&s->unread, id_of(peer), data), data.size);
}

static void free_payload(void *data, void *hint) /* runs in an I/O thread */
{
    (void)hint;
    free(data);
}

int net_send_owned(struct net_socket *s, const struct net_peer *peer_or_null, uint8_t **data, size_t size)
{
    uint8_t *taken = *data;
    *data = NULL;
    int rc;
    if (peer_or_null != NULL && size > UNREAD_SMALL_BYTES) {
        rc = net_is_full(s, peer_or_null)
                 ? HF_E_BUSY
                 : send_counted(s, peer_or_null, unread_take(&s->unread, id_of(peer_or_null), &taken, size), size);
        free(taken);
        return rc;
    }
    if (size <= NET_COPY_BYTES_MAX) {
        rc = send_copy(s, peer_or_null, slice_make(taken, size));
        free(taken);
        return rc;
    }
    zmq_msg_t payload;
    if (zmq_msg_init_data(&payload, taken, size, free_payload, NULL) != 0) {
        free(taken);
        return HF_E_NO_MEMORY;
    }
    return send_message(s, peer_or_null, &payload);
}

int net_poll(struct net_poll_item *items, size_t count, long timeout_ms)
{
    zmq_pollitem_t few[NET_POLL_ITEMS], *all = few;
    if (count > NET_POLL_ITEMS) {
        all = malloc(count * sizeof *all);
        for (size_t i = 0; all == NULL && i < count; i++)
            items[i].readable = false;
        if (all == NULL)
            return HF_E_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        all[i] = (zmq_pollitem_t){
            .socket = items[i].socket != NULL ? items[i].socket->zmq : NULL, .fd = items[i].fd, .events = ZMQ_POLLIN};
        items[i].readable = false;
    }
    int n = zmq_poll(all, (int)count, timeout_ms);
    int rc = n >= 0 ? n : errno == EINTR ? 0 : from_errno(errno);
    for (size_t i = 0; n > 0 && i < count; i++)
        items[i].readable = all[i].revents != 0;
    if (all != few)
        free(all);
    return rc;
}
