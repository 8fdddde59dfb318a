/* txnclient.h: one client that runs transactions, one at a time, and what it is at.
 *
 * Position: txns.c has them; txnclient.c: from the beginning to the end; txnsend.c: what is sent. */
#pragma once

#include "proto/client.pb-c.h"
#include "tests/sim/world/history.h"
#include "tests/sim/world/trail.h"
#include "tests/sim/world/txns.h"

#define TXNS_MAX 500                    /* in a run */
#define TXNS_EVERY 3                    /* worlds by seed: one of so many has none */
#define TXN_UNHEARD (UINT64_C(1) << 38) /* in the id of what is asked without waiting */
#define TXN_READS 4
#define TXN_WRITES 8
#define TXN_ATTEMPT_MS 350
#define TXN_MS 2500 /* from its commit on; then it is fenced */

enum txn_stage { TXN_IDLE, TXN_STARTING, TXN_READING, TXN_COMMITTING, TXN_FENCING };

struct txn_read { /* of one list, or of all of a shard */
    uint32_t shard, list;
    bool all;
};

struct txn_write {
    Hf__Entry__Op op;
    uint32_t shard, list; /* TRAIL_LISTS: a key of others */
    unsigned key;         /* then; JUDGE_KEYS: all of the shard */
    uint32_t value;
    uint32_t place; /* among the writes to its shard */
};

struct txn_place { /* a shard, as the client knows it */
    uint64_t session, opening, opening_until, next_seq;
    uint32_t leader;
};

struct txn_client {
    struct world *world;
    struct txns *txns;
    struct net_socket *sockets[WORLD_PROCESSES];
    struct txn_place places[WORLD_SHARDS + 1];
    enum txn_stage stage;
    bool routed, last_done;
    uint64_t last_id, first_id,
        fence_id; /* ids of what is asked now are not below first_id, of fences not below fence_id */
    uint64_t next_at, deadline;
    uint64_t above, asked_known; /* of its start */
    /* The transaction. */
    bool glance, final; /* glance: the latest value of one list, nothing else; final: the last one */
    uint64_t start, began, committing;
    struct history_floor floor;
    struct txn_read reads[TXN_READS];
    struct txn_write writes[TXN_WRITES];
    uint32_t read_count, write_count, at; /* at: the read that is asked */
    bool known[TRAIL_LISTS];
    struct trail_list lists[TRAIL_LISTS];
    uint32_t home;
    uint64_t session, seq;
};

struct txns {
    bool on, last;
    struct trail *trail; /* owned */
    struct txn_client clients[WORLD_TXN_CLIENTS];
};

void txn_client_init(struct world *w, struct txns *t, uint32_t number);
void txn_client_begin(struct txn_client *c, bool last);
void txn_client_go_on(struct txn_client *c);
bool txn_client_whole(const struct txn_client *c, uint32_t *shard); /* all of it is in one shard: which */
void txn_client_heard(void *client, struct slice frame);

/* txnsend.c: what it asks now, once more. */
void txn_client_sessions(struct txn_client *c);
void txn_client_ask_start(struct txn_client *c);
void txn_client_ask_read(struct txn_client *c);
void txn_client_ask_commit(struct txn_client *c);
void txn_client_ask_fence(struct txn_client *c);
void txn_client_ask_resolve(struct txn_client *c, uint32_t shard, Hf__Client__Lock *lock);
