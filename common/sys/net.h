/* net.h: ZeroMQ sockets as Holdfast uses them, and nothing else of ZeroMQ leaks out of common/sys.
 *
 * One thread owns a socket. Nothing here blocks but net_poll. Every send either queues the message or says why not:
 * HF_E_BUSY (at the high-water mark; a listener: also net_is_full; a connector: also not connected, ZeroMQ does not tell
 * them apart),
 * HF_E_UNAVAILABLE (a listener: no such peer). ZeroMQ delivers at most once. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/must.h"
#include "common/base/slice.h"

struct net;        /* the context; one a process */
struct net_socket; /* opaque, owned by its opener */

struct net *net_new(int io_threads, int sockets_max); /* NULL: out of memory; net_listen ends the process then */
void net_free(struct net **net); /* sockets must be closed; LINGER is 0: unsent messages are dropped */

/* Routing ids are always the server's: a listener whose connections name themselves, and take names over from each
 * other, keeps what the older one still delivers from being read, and then aborts (in ZeroMQ 4.3.4). */
struct net_options {
    int hwm;                /* messages per peer in each direction; must be > 0 */
    int64_t message_bytes;  /* larger inbound messages close the connection */
    size_t connections_max; /* listeners: more are ended as they come (connections.h); 0: not watched */
};

/* ROUTER with MANDATORY. HF_E_EXISTS: address in use. HF_E_INVALID: bad endpoint. */
HF_CHECKED int net_listen(struct net *net, const char *endpoint, const struct net_options *o, struct net_socket **out);
/* As net_listen, of a process that starts: while the address is in use it is tried again, for NET_LISTEN_MS. Who was just
 * killed may still hold it; and a port that the kernel gave to an outgoing connection is in use as long as that lives, and
 * in TIME-WAIT for a minute more: SO_REUSEADDR, which ZeroMQ sets on listeners only, takes over what both ends have set. */
HF_CHECKED int net_serve(struct net *net, const char *endpoint, const struct net_options *o, struct net_socket **out);
#define NET_LISTEN_MS 5000u
/* True, after a pause: `rc` is HF_E_EXISTS and `end_ns` (clock_boot_ns) has not come. */
bool net_listen_again(int rc, uint64_t end_ns);
/* Why net_serve or http_start failed, for people: static, never NULL. */
const char *net_listen_text(int rc);
/* DEALER with IMMEDIATE. Returns at once; the connection comes when it comes. */
HF_CHECKED int net_connect(struct net *net, const char *endpoint, const struct net_options *o, struct net_socket **out);
void net_close(struct net_socket **s);
/* Where a listener is bound, a port * filled in. `size`: enough for the endpoint asked for and a port. */
void net_endpoint(const struct net_socket *s, char *out, size_t size);

#define NET_PEER_BYTES 255
struct net_peer { /* a routing id as ROUTER reports it */
    uint8_t size;
    uint8_t id[NET_PEER_BYTES];
};

struct net_message { /* a received payload; owns library memory until released */
    _Alignas(8) unsigned char opaque[64];
};

/* Borrowed from m; a small payload lies within *m: after moving the struct, call again. */
struct slice net_message_data(const struct net_message *m);
void net_message_release(struct net_message *m);

/* Receives one message (one payload frame; more frames: HF_E_PROTOCOL, the message is swallowed).
 * HF_E_AGAIN: none waiting. *out_peer is set for listeners (may be NULL for connectors). */
HF_CHECKED int net_receive(struct net_socket *s, struct net_peer *out_peer, struct net_message *out);

/* Copies `data`. */
HF_CHECKED int net_send(struct net_socket *s, struct slice data);                                 /* connectors */
HF_CHECKED int net_send_to(struct net_socket *s, const struct net_peer *peer, struct slice data); /* listeners */

/* Listeners: so much waits for this peer to be read that only small messages are taken (unread.h). */
bool net_is_full(const struct net_socket *s, const struct net_peer *peer);

/* As net_send/net_send_to for big payloads: takes `*data` (malloc'ed), which is NULL afterwards, also on failure. */
HF_CHECKED int net_send_owned(struct net_socket *s, const struct net_peer *peer_or_null, uint8_t **data, size_t size);

struct net_poll_item {
    struct net_socket *socket; /* or NULL: */
    int fd;
    bool readable; /* out */
};

/* Waits until an item is readable or `timeout_ms` passed (-1: no limit). Returns how many are readable; EINTR is 0.
 * HF_E_NO_MEMORY: it did not wait (more than a hundred items only). */
int net_poll(struct net_poll_item *items, size_t count, long timeout_ms);
