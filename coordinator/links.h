/* links.h: one connection to the client endpoint of every replica we know.
 *
 * Position: forward.c, calls.c and beat.c send through it; coordinator.c receives from it.
 * Thread: loop thread only. Never blocks: a send that cannot be queued says so and surely was not sent.
 *
 * Before the routes are loaded shard 1 is known by its seeds only: endpoints without replica ids. A seed's link carries
 * a stand-in id (LINKS_SEED_ID + n) until links_sync replaces the seeds by the members in the routes. */
#pragma once

#include <stdbool.h>

#include "common/sys/net.h"
#include "proto/catalog.pb-c.h"

#define LINKS_SEED_ID 0x80000000u

struct link {
    uint32_t shard, replica;
    char *endpoint;            /* owned */
    struct net_socket *socket; /* owned */
    uint64_t heard_ns;         /* boot time of the last reply; 0: never */
    uint64_t asked_ns;         /* when its status was last asked for */
    bool asking;               /* a status poll is open */
    bool wants_routes;         /* it answered a beat: it knows older ones */
    uint64_t question;         /* it asked for a timestamp drawn after this; 0: it did not */
    bool wanted;               /* links_sync: named by the new routes */
};

struct links {
    struct net *net; /* borrowed */
    int hwm;
    struct link **all; /* owned */
    size_t count, cap;
};

void links_init(struct links *l, struct net *net, int hwm);
void links_deinit(struct links *l);

/* Connects to shard 1's seeds. HF_E_INVALID: not an endpoint. */
HF_CHECKED int links_seed(struct links *l, const char *endpoint);

/* Makes the links those of `routes`: keeps equal ones, opens new ones, closes the rest. An endpoint that is not one is
 * reported and left out. */
void links_sync(struct links *l, const Hf__Catalog__Routes *routes);

struct link *links_find(const struct links *l, uint32_t shard, uint32_t replica); /* NULL: none */
struct link *links_find_endpoint(const struct links *l, uint32_t shard, const char *endpoint);

/* The ids of a shard's links, at most `max`. */
size_t links_replicas(const struct links *l, uint32_t shard, uint32_t *out, size_t max);

/* HF_E_UNAVAILABLE: no such link or not connected. HF_E_BUSY: its queue is full or it is not connected. */
HF_CHECKED int links_send(const struct links *l, uint32_t shard, uint32_t replica, struct slice frame);
