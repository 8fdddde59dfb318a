/* coordinator.h: the whole of a coordinator: its modules and the one loop that drives them.
 *
 * Position: between clients and all shards. Keeps nothing on disk.
 * Thread: everything runs on the thread that calls coordinator_run; only `ready` is read by the HTTP thread. */
#pragma once

#include <stdatomic.h>

#include "coordinator/active.h"
#include "coordinator/beat.h"
#include "coordinator/catalog.h"
#include "coordinator/cut.h"
#include "coordinator/forward.h"
#include "coordinator/front.h"
#include "coordinator/migrate.h"
#include "coordinator/renewals.h"
#include "coordinator/resolve.h"
#include "coordinator/retain.h"
#include "coordinator/status.h"
#include "coordinator/txns.h"

struct coordinator_options {
    uint64_t id;
    const char *listen;
    const char *endpoint; /* told to others; NULL: as listen */
    const char *http_endpoint;
    const char *seeds; /* comma-separated */
    uint64_t request_timeout_ms;
    uint64_t queue_max;
    uint64_t txn_ttl_ms, retain_lease_seconds;
    bool insecure;
    size_t connections_max; /* of clients, at once */
};

struct coordinator {
    struct coordinator_options options; /* text borrowed */
    struct net *net;                    /* owned */
    struct links links;
    struct leaders leaders;
    struct calls calls;
    struct catalog catalog;
    struct forward forward;
    struct oracle oracle;
    struct retain retain;
    struct active active;
    struct renewals renewals;
    struct beat beat;
    struct cut cut;
    struct resolve resolve;
    struct txns txns;
    struct migrate migrate;
    struct status status;
    struct front front;
    struct arena arena;          /* of one reply from a replica */
    struct net_poll_item *items; /* owned; rebuilt when the links change */
    size_t item_count;
    bool links_changed;
    uint64_t next_tick_ns;
    _Atomic bool ready;
};

/* Binds and connects; *out is owned by the caller. HF_E_INVALID: a bad endpoint; HF_E_EXISTS: the address is in use.
 * What is wrong is printed as a diagnostic. */
HF_CHECKED int coordinator_open(const struct coordinator_options *options, struct coordinator **out);

/* Serves until `stop_fd` is readable, then finishes what is in flight (bounded by DRAIN_MS_MAX). */
void coordinator_run(struct coordinator *c, int stop_fd);

void coordinator_close(struct coordinator **c);

/* To a client, or to what waited here for an active coordinator. */
void coordinator_answer(struct coordinator *c, const struct forward_client *client, Hf__Client__Reply *reply);
