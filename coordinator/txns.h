/* txns.h: transactions over several shards: driven from the first lock to the last, one client's answer in between.
 *
 * Position: front.c (and active.c, for a standby that became the active one) hands them in; questions to the shards' leaders
 * go out through the port and their answers come back. Pure but for its port: time is an argument. Thread: loop thread only.
 * txns_parts.c says what goes to which shard, txns_said.c what an answer means.
 *
 * One transaction (struct txns_one); its id is (home, session, number), and home, one of the shards it writes, decides:
 *
 *     HOME → REST          [home has prepared its part: the id's record is there]
 *     REST → DRAWING       [all other writing shards have: everything is locked]
 *     DRAWING → VALIDATING [a timestamp above every lock's least one is drawn]
 *     VALIDATING → DRAWING [a shard serves nothing at it any more: another one, and all is validated again]
 *     VALIDATING → DECIDING [what was read is unchanged on all shards that were read]
 *     DECIDING → TELLING   [home has the commit: the client is answered; the other shards are told]
 *     TELLING → FORGETTING [all of them have it: home may forget]
 *     HOME, REST, DRAWING, VALIDATING → UNDOING [a conflict, a lock, a refusal, the deadline, the active role is lost]
 *     UNDOING → TELLING    [home says what became of it, which is not always what was asked for]
 *     any → gone           [done, or too late: what is left is found by resolve.c]
 *
 * - The order makes it right: home first, so that whoever meets a lock finds somebody to ask; all locks before the timestamp,
 *   the timestamp above all of them, the reads after both.
 * - After anything that may have been prepared at home, and before the commit was sent, a refusal is told to the client only
 *   when home says that it is rolled back (I9). Once the commit was sent only home's own word is definite.
 * - The same transaction may be driven by another coordinator at the same time: home decides once, and its answer is what
 *   counts, not what was asked for.
 * - What reads only locks nothing: DRAWING and VALIDATING, no more.
 * - Questions are single attempts, repeated here after a pause; at most one per shard is open. Each transaction ends at a time
 *   that is known from the beginning (I12).
 *
 * Invariants (txns_check). */
#pragma once

#include "common/base/arena.h"
#include "common/base/hlc.h"
#include "coordinator/forward.h"

enum txns_step {
    TXNS_HOME,
    TXNS_REST,
    TXNS_DRAWING,
    TXNS_VALIDATING,
    TXNS_DECIDING,
    TXNS_UNDOING,
    TXNS_TELLING,
    TXNS_FORGETTING,
    TXNS_GONE
};

#define TXNS_TEXT_BYTES 200
#define TXNS_ONE_CLIENTS_MAX 8 /* that wait for the same one: another takes the place of the oldest */

struct txns_one;

/* What of a transaction concerns one shard. */
struct txns_part {
    struct txns_one *one;
    uint32_t shard;
    Hf__Entry__TxnWrite **writes; /* in the transaction's arena, as the next */
    Hf__Entry__TxnRead **reads;
    size_t n_writes, n_reads, writes_cap, reads_cap;
    bool done;         /* with the step */
    bool prepared;     /* it said so, */
    bool touched;      /* or may have: it was asked to */
    bool unanswered;   /* a question of this step was handed to a socket and nothing came back */
    uint64_t question; /* open; 0: none */
    uint64_t next_ns;  /* when to ask again */
    uint32_t retry_ms;
    int refusal; /* last code that was not the end of it */
    struct hlc min_commit;
};

struct txns_id {
    uint32_t home;
    uint64_t session, seq;
};

struct txns_one {
    struct list in_all;
    struct txns_one *same; /* next with the same hash */
    struct txns_id id;     /* of what only reads: one that nobody has */
    uint64_t hash, bytes;
    struct arena arena; /* the transaction and its parts */
    Hf__Client__Txn *txn;
    uint64_t done_below;
    struct txns_part *parts; /* home first */
    size_t count;
    enum txns_step step;
    uint64_t work_ns;     /* not decided then: it is undone, */
    uint64_t deadline_ns; /* in time for an answer at the latest then; */
    uint64_t end_ns;      /* and nobody drives it after that */
    uint64_t draw_ns;     /* DRAWING: when to try again */
    uint32_t draw_ms;
    uint32_t redraws;
    struct hlc above, commit; /* commit: drawn, or home's word */
    bool others_commit;       /* it is home's word about what another driver did */
    bool validated, committed;
    int code; /* the answer's: HF_OK with `committed`, or what undoes it */
    char text[TXNS_TEXT_BYTES];
    struct buf conflict; /* packed, of the shard that found it; empty: none */
    bool answered;
    struct forward_client clients[TXNS_ONE_CLIENTS_MAX];
    size_t client_count;
};

struct txns_port {
    void *ctx;
    const Hf__Catalog__Routes *(*routes)(void *ctx); /* those in use; never NULL once something is begun */
    bool (*active)(void *ctx);                       /* may this coordinator draw timestamps? */
    /* Sends to a shard's leader; txns_said is called once, later, unless this fails. */
    int (*ask)(void *ctx, uint32_t shard, Hf__Client__Request *request, uint64_t question, uint64_t now_ns);
    int (*draw)(void *ctx, struct hlc above, struct hlc *out); /* as oracle_issue_above */
    /* A lock of this transaction is in the way on `shard`; nullable. */
    void (*locked)(void *ctx, uint32_t shard, const Hf__Entry__TxnId *id, uint64_t now_ns);
    void (*answer)(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply);
};

struct txns {
    struct txns_port port;
    uint64_t ttl_ms;          /* told to home: undecided for so long, anybody may roll it back */
    struct list all;          /* owned: struct txns_one */
    struct hashmap by_id;     /* hash of the id → first of its chain */
    struct hashmap questions; /* → struct txns_part */
    uint64_t count, bytes, next_question, next_reader;
};

void txns_init(struct txns *t, const struct txns_port *port, uint64_t ttl_ms);
void txns_deinit(struct txns *t); /* who waits is not answered */

/* Begins a checked `txn` request that route_request said goes over several shards, or waits for the one that is driven
 * already. Later, or at once, port.answer is called once for the client. HF_E_BUSY: too many, nothing was taken;
 * HF_E_INVALID, HF_E_LIMIT: nor then; text[] says why. */
HF_CHECKED int txns_begin(struct txns *t, const struct forward_client *client, const Hf__Client__Request *request,
                          uint64_t deadline_ns, uint64_t now_ns, char text[TXNS_TEXT_BYTES]);

/* What a shard's leader said; NULL: nothing in time. */
void txns_said(struct txns *t, uint64_t question, const Hf__Client__Reply *reply, uint64_t now_ns);

void txns_tick(struct txns *t, uint64_t now_ns);

/* Is it driven here, now? */
bool txns_drives(const struct txns *t, uint32_t home, uint64_t session, uint64_t seq);

void txns_check(const struct txns *t); /* must() on the invariants */
