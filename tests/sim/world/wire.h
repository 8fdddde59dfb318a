/* wire.h: common/sys/net.h in memory: sockets of processes and of simulated clients, frames that are late, lost or doubled.
 *
 * Position: process.c's processes call net.h; clients.c hears through wire_client. Linked in place of common/sys/net.c: it defines every
 *           function of net.h, or the linker finds each of them twice.
 * Model:    a connector reaches whoever listens at its endpoint when a frame arrives. Frames between two ends may overtake
 *           each other; those between replicas, replies, and requests that may be repeated may come twice. */
#pragma once

#include "common/base/buf.h"
#include "common/sys/net.h"
#include "tests/sim/world/world.h"

struct wire_frame {
    uint64_t from, to; /* ids of sockets; to 0: whoever listens at `endpoint` */
    char endpoint[WORLD_ENDPOINT];
    uint32_t from_process;
    size_t size;
    uint8_t bytes[];
};

/* A frame arrives; takes it. */
void wire_deliver(struct world *w, struct wire_frame *frame);
bool wire_waits(const struct process *p);               /* something is there to be received */
void wire_close_all(struct world *w, uint32_t process); /* the process is gone */

/* A client's connector: what comes back goes to `heard`. */
struct net_socket *wire_client(struct world *w, uint32_t process, const char *endpoint,
                               void (*heard)(void *ctx, struct slice frame), void *ctx);
