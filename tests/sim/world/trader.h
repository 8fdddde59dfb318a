/* trader.h: one client that runs transactions, one at a time, and what it is at.
 *
 * Position: traders.c has them; trader.c: from the beginning to the end; trader_send.c: what is sent. */
#pragma once

#include "proto/client.pb-c.h"
#include "tests/sim/world/history.h"
#include "tests/sim/world/traders.h"
#include "tests/sim/world/trail.h"

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
    uint32_t shard, list; /* TRAIL_LISTS: a key of others; TRAIL_LISTS + 1: one that expires */
    unsigned key;         /* then; JUDGE_KEYS: all of the shard; likewise its number among the lapses */
    uint64_t ttl_ms;
    uint32_t value;
    uint32_t place; /* among the writes to its shard */
};

struct trader_place { /* a shard, as the client knows it */
    uint64_t session, opening, opening_until, next_seq;
    uint32_t leader;
};

struct trader {
    struct world *world;
    struct traders *traders;
    struct net_socket *sockets[WORLD_PROCESSES];
    struct trader_place places[WORLD_SHARDS + 1];
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

struct traders {
    bool on, last;
    struct trail *trail; /* owned */
    struct trader traders[WORLD_TRADERS];
};

void trader_init(struct world *w, struct traders *t, uint32_t number);
void trader_begin(struct trader *c, bool last);
void trader_go_on(struct trader *c);
bool trader_whole(const struct trader *c, uint32_t *shard); /* all of it is in one shard: which */
void trader_heard(void *client, struct slice frame);

/* trader_send.c: what it asks now, once more. */
void trader_sessions(struct trader *c);
void trader_ask_start(struct trader *c);
void trader_ask_read(struct trader *c);
void trader_ask_commit(struct trader *c);
void trader_ask_fence(struct trader *c);
void trader_ask_resolve(struct trader *c, uint32_t shard, Hf__Client__Lock *lock);
