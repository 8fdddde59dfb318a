/* fake.h: a coordinator and two replicas in one thread of the test, on real sockets: they answer as a shard would
 * (sessions, leadership, routes) and misbehave as told. Each test sets the knobs, starts it, and looks at the counters
 * afterwards. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/sys/net.h"
#include "proto/client.pb-c.h"

enum { FAKE_COORDINATOR, FAKE_A, FAKE_B, FAKE_SERVERS };
#define FAKE_KEYS 64
#define FAKE_SEQS 8192
#define FAKE_TXN_TEXT 1024

struct fake_session {
    uint64_t id;
    uint32_t shard;
    int executed[FAKE_SEQS]; /* how often each seq was */
};

struct fake_txn {
    char text[FAKE_TXN_TEXT]; /* "+key=value " "-key " "*prefix " "?key " "?[start,end) " */
    uint64_t start, ttl;      /* ttl: of its last write */
    uint32_t shard;
};

struct fake {
    /* Knobs: set before fake_start, or later through the atomics. */
    bool hints;                        /* NOT_LEADER names the leader */
    _Atomic int leader;                /* FAKE_A or FAKE_B, of shard 1 */
    int routed_leader;                 /* what the routes say; 0: nothing */
    _Atomic bool silent[FAKE_SERVERS]; /* takes requests, answers nothing */
    _Atomic int lose_replies;          /* so many writes are executed and not answered */
    _Atomic int refuse_writes;         /* code for writes, instead of executing; 0: none */
    _Atomic int refuse_sessions;       /* code for session_open; 0: none */
    _Atomic int refuse_times;          /* so often; then it executes again */
    _Atomic uint64_t hold_seq;         /* this seq is not answered while set */
    _Atomic int late_scans; /* so many are answered only when the next scan comes, before it and with a key "late" */
    _Atomic bool forget_sessions;
    _Atomic int refuse_timestamps;      /* the coordinator's code for timestamp; 0: gives one */
    const char *_Atomic timestamp_hint; /* whom it names then; NULL: nobody */
    _Atomic uint64_t restart;           /* reads at timestamps up to it are RESTART_ABOVE; 0: none is */
    _Atomic int restart_after;          /* so many pages are served before */
    _Atomic int latest_only;            /* FAKE_A or FAKE_B: it refuses reads at a timestamp; 0: nobody does */
    _Atomic int conflicts;              /* so many transactions meet one, with key "c" and `conflict_above` */
    _Atomic uint64_t conflict_above;
    _Atomic int locked;      /* so many reads, writes and transactions meet a lock of 1.2.3 */
    bool twice;              /* every reply is sent two times */
    _Atomic bool split;      /* A leads shard 1 (keys below "m"), B shard 2: version 2 of the routes */
    _Atomic bool old_routes; /* the coordinator still tells version 1 */
    /* Counters, of the fake's thread; read after fake_stop or when the calls they count are over. */
    _Atomic int requests[FAKE_SERVERS], writes, executed, sessions_opened, repeated, window_broken, statuses;
    _Atomic uint64_t last_session, last_seq;
    _Atomic uint64_t issued; /* the last timestamp; set before: the next is above */
    _Atomic uint64_t last_at,
        at_changes;         /* of scans at a timestamp: the last one, how often it was another than before */
    _Atomic int timestamps; /* asked of the coordinator */
    _Atomic int txns_at_shard, txns_at_coordinator, resolves, locks_met;
    _Atomic uint32_t resolve_shard; /* that the last one named */
    pthread_mutex_t txn_lock;
    struct fake_txn txn; /* the last one; under txn_lock: fake_noted */

    uint64_t told;             /* the mark of its last RESTART_ABOVE */
    struct net_peer late_peer; /* whose scan waits for the next one */
    uint64_t late_id;          /* 0: none */
    int port;
    int relay_port; /* where it says it is, in routes, hints and `endpoints`; 0: at `port` */
    struct net *net;
    struct net_socket *sockets[FAKE_SERVERS];
    char endpoints[FAKE_SERVERS][64];
    pthread_t thread;
    uint32_t clock; /* fakeclock.h */
    _Atomic bool stop;
    struct fake_session sessions[16];
    _Atomic int sessions_count;
    void (*thread_begins)(void); /* called by the fake's thread first; NULL: nothing */
    const char *keys[FAKE_KEYS]; /* of scans, sorted */
    int keys_count;
};

void fake_init(struct fake *f, int port); /* A leads, the routes say so, nothing goes wrong */
void fake_start(struct fake *f);
void fake_stop(struct fake *f);

/* What was noted of the last transaction, for the one thread that asks; until the next call. */
const struct fake_txn *fake_noted(struct fake *f);
