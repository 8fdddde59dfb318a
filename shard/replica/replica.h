/* replica.h: one replica of one group: the loop turn that joins sockets, engine, log and state machine.
 *
 * Position: between server (what clients want) and engine (what the group decides). The turn is in replica.c, on one page.
 * Thread:   loop thread. */
#pragma once

#include <stdatomic.h>

#include "shard/replica/check.h"
#include "shard/replica/directory.h"
#include "shard/replica/publish.h"
#include "shard/replica/reads.h"
#include "shard/replica/transport.h"
#include "shard/replica/writes.h"

struct replica;

struct replica_front { /* the server's side of the turn */
    void *ctx;
    /* Takes at most `max` requests from clients and queues them; returns how many were taken. */
    size_t (*collect)(void *ctx, size_t max, struct arena *turn);
    /* Gives a write back with its answer. */
    writes_done_fn *write_done;
    struct reads_calls reads;
    void (*closing)(void *ctx); /* the state machine is about to be replaced: nobody may look at it; NULL: no matter */
};

struct replica_config {
    struct net *net;                  /* borrowed */
    struct directory *directory;      /* borrowed; its state machine is open, its engine is opened here */
    struct net_socket *client_socket; /* borrowed: polled, read by front->collect */
    int signal_fd;
    struct replica_front front;
    struct publish_config publish;
    const char *snapshot_listen;    /* where this replica's state is served; NULL: nowhere, and none is fetched */
    const char *snapshot_endpoint;  /* as others reach it; NULL: as bound */
    uint64_t snapshot_rate;         /* bytes a second; 0: no limit */
    uint64_t retention_ms;          /* collection stays that far behind time */
    uint32_t collect_steps;         /* records looked at by one of its entries; 0: COLLECTOR_STEPS */
    _Atomic bool *ready;            /* what /readyz shows */
    _Atomic(const char *) *unready; /* and why not: static texts; NULL: nobody asks */
};

/* Refuses (exit 6) when the engine's files disagree or the raft endpoint cannot be had. */
struct replica *replica_open(const struct replica_config *config);
void replica_close(struct replica **r);

/* Turns until a signal asks to stop and what was in flight is answered and flushed. */
void replica_run(struct replica *r);

/* Queue a request of this turn. HF_E_NOT_LEADER, HF_E_NOT_READY (a new leader), HF_E_BUSY, HF_E_NO_SPACE; then it stays
 * the caller's. A read at a timestamp also: HF_E_REFUSED (the group's feature level), HF_E_FUTURE_TIMESTAMP, HF_E_TOO_OLD,
 * HF_E_RESTART_ABOVE (fsm_info.restart says above what). */
HF_CHECKED int replica_write(struct replica *r, struct replica_write *w);
HF_CHECKED int replica_read(struct replica *r, struct replica_read *read);

/* A user's write that comes now had better wait for a moment: stamps are held for a strict cut, or this leader has no time yet,
 * which it then gets soon (leader_clock_wait): only to be asked for a write. */
bool replica_unstamped(struct replica *r);

/* Strict cuts (leader_clock.h). replica_hold: as replica_read. While it is held the caller queues no user's write.
 * replica_release: HF_E_ABSENT: `id` does not hold, something may have been stamped since. `read` is one at the cut's
 * timestamp, of nothing, and is queued as by replica_read: it is served when all that was stamped before is applied and the
 * leadership confirmed. NULL: no cut is made. In every case the hold of `id` is over. */
HF_CHECKED int replica_hold(struct replica *r, uint64_t id);
HF_CHECKED int replica_release(struct replica *r, uint64_t id, struct replica_read *read);

/* A timestamp the coordinator issued; below the committed ceiling or not believed (nobody can have issued it). `answers`:
 * the question (replica_question) after which it was drawn, or 0. */
HF_CHECKED int replica_observe(struct replica *r, struct hlc t, uint64_t answers);
/* The coordinator's word, with each lease (`said`: its timestamp): nobody was promised that he can read below; 0: it does not know
 * yet. */
void replica_retain(struct replica *r, struct hlc retain, struct hlc said);
uint64_t replica_question(const struct replica *r); /* for the coordinator, to be answered by a beat; 0: none */

/* What decides expiry in reads of the latest: no leader before was ahead of it, but for one that may have been up to the
 * ceiling before this one has its time: what expires in between is neither there nor gone, and doubtful. */
struct hlc replica_clock(const struct replica *r);
bool replica_doubtful(struct replica *r, struct hlc expiry);

struct replica_state {
    struct engine_status engine;
    bool ready; /* as in readiness.h */
    bool stopping;
    bool healing; /* machine or log are being rebuilt, or a state is needed, fetched, or not caught up with yet */
    uint64_t pending;
    struct publish_state publish;
    const char *trouble; /* borrowed: why it refuses writes though it runs, or what is being healed; "": nothing */
};
struct replica_state replica_state(const struct replica *r);
/* Publishes a snapshot of what is applied now; `w` is the replica's until it is given back. */
void replica_snapshot(struct replica *r, struct publish_wait *w);
int replica_transfer(struct replica *r, uint32_t to);
/* A read met damage in the state machine: it is marked, leadership is handed over, another replica's state replaces it. */
void replica_damaged(struct replica *r);
struct check *replica_check(const struct replica *r);
struct fsm *replica_fsm(const struct replica *r);
const char *replica_engine(const struct replica *r); /* static */
const Hf__Catalog__Members *replica_members(const struct replica *r);
