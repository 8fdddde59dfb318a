/* status.h: asks replicas how they are: all the time, to follow leaders, and on request, for cluster_status.
 *
 * Position: its polls feed leaders.c and clock.c; its gathers answer `holdfast status`.
 * Thread: loop thread only. A gather asks every replica at once and ends after STATUS_GATHER_MS at the latest, so a
 * dead member costs the answer less than a second. */
#pragma once

#include "coordinator/catalog.h"
#include "coordinator/oracle.h"

struct status_answer { /* of one replica in a gather */
    uint32_t shard, replica;
    Hf__Client__Status *status; /* in the gather's arena; NULL: unreachable */
};

struct status;

struct gather {
    struct list in_status;
    struct status *owner;
    void *client; /* owned by whoever asked; handed back with the answer */
    struct arena arena;
    struct status_answer *answers; /* in the arena */
    size_t count, open;
};

struct status_port {
    void *ctx;
    /* Another leader of `shard` became known. */
    void (*leader_changed)(void *ctx, uint32_t shard);
    /* A gather ended. `cluster` lives until the function returns. */
    void (*gathered)(void *ctx, void *client, Hf__Client__ClusterStatus *cluster);
};

struct status {
    struct status_port port;
    struct calls *calls; /* borrowed, as all below */
    struct links *links;
    struct leaders *leaders;
    struct catalog *catalog;
    struct oracle *oracle;
    const char *endpoint; /* of this coordinator */
    struct list gathers;
    size_t gather_count;
};

void status_init(struct status *s, const struct status_port *port);
void status_deinit(struct status *s); /* after calls_deinit, which ends all gathers */

/* Polls whoever is due. */
void status_tick(struct status *s, uint64_t now_ns);

/* What this coordinator says of itself; borrows from `s`. */
void status_self(struct status *s, Hf__Client__CoordinatorStatus *out);

/* Starts a gather for `client`; port.gathered is called once, perhaps before this returns. The catalog must be loaded.
 * HF_E_BUSY: too many at once; the client stays the caller's. */
HF_CHECKED int status_gather(struct status *s, void *client, uint64_t now_ns);
