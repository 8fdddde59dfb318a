/* txns.h: what a group keeps of transactions, and the locks that follow from it.
 *
 * Position: apply adds and removes; apply, reads and validation ask for locks.
 * Invariants: what two transactions lock never overlaps; of one transaction, no locked prefix lies under another. So
 *             nothing depends on the order in which locks were taken (I2). */
#pragma once

#include "common/base/arena.h"
#include "shard/fsm/fsm.h"
#include "shard/fsm/sorted.h"
#include "shard/store/store.h"

#define TXNS_ID_BYTES ((size_t)20)

struct txn { /* borrowed by all but txns.c; not changed once made */
    struct fsm_txn_id id;
    Hf__Entry__TxnRecord *record; /* owned */
    size_t packed;                /* bytes of it */
    size_t prefixes;              /* of its writes: those that delete a prefix */
    uint8_t name[TXNS_ID_BYTES];
};

struct txns_undo;

struct txns {
    struct sorted by_id;          /* struct txn, owned */
    struct sorted keys, prefixes; /* what is locked: struct txn */
    uint64_t bytes;               /* packed */
    size_t reserved;              /* markers that the PREPARED ones may add */
    struct txns_undo *undo;       /* owned: changes since the last commit */
    size_t undo_count, undo_cap;
};

void txns_close(struct txns *t);
/* Reads all 't' records of the group. HF_E_CORRUPT, HF_E_IO. */
HF_CHECKED int txns_load(struct txns *t, struct store *store, const struct fsm_info *info);

const struct txn *txns_find(const struct txns *t, const struct fsm_txn_id *id); /* NULL: none */
/* `packed`, an Hf__Entry__TxnRecord that is well-formed, of which nothing is there yet; its locks are free. */
const struct txn *txns_add(struct txns *t, struct slice packed);
void txns_remove(struct txns *t, const struct txn *txn); /* stays readable until commit or rollback */
void txns_commit(struct txns *t);
void txns_rollback(struct txns *t);

/* The record key. */
void txns_key(const struct fsm_txn_id *id, uint8_t out[1 + TXNS_ID_BYTES]);

static inline size_t txns_locks(const struct txns *t)
{
    return t->keys.count + t->prefixes.count;
}

struct txns_span {           /* of user keys */
    struct slice start, end; /* empty end: open */
    bool prefix;             /* instead: all that begin with `start` */
};

/* Which locks are asked for. */
struct txns_who {
    const struct fsm_txn_id *except; /* not this transaction's; NULL: all */
    struct hlc below;                /* min_commit below; 0: any */
};

/* A lock on `key`, or on a prefix over it. */
bool txns_lock_on(const struct txns *t, struct slice key, const struct txns_who *who, struct fsm_lock *out);
/* The first one that overlaps the span; *steps counts down for each that is passed over, and ends the search at 0. */
bool txns_lock_in(const struct txns *t, const struct txns_span *span, const struct txns_who *who, size_t *steps,
                  struct fsm_lock *out);
