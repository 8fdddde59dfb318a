/* txnset.h: what a transaction has written and read so far: its own writes, which its reads see, and what its commit
 * sends.
 *
 * Position: txn.c and txnpage.c ask and add; nothing here sends.
 * Thread:   the one of the transaction.
 * Invariants (txnset_check): keys ascend, one write each; no write of a key is older than a prefix over it that is deleted. */
#pragma once

#include "client/client.h"
#include "common/base/must.h"

struct txnset_write { /* owned by the set */
    struct list link; /* in the order in which they were made */
    Hf__Entry__Op op; /* PUT, DELETE, DELETE_PREFIX */
    struct slice key, value;
    uint64_t ttl_ms;
    uint8_t bytes[];
};

struct txnset_read { /* owned by the set */
    bool range;
    struct slice key, end; /* a range: [key, end); empty end: open */
    uint8_t bytes[];
};

struct txnset {
    struct list order;          /* of every write */
    struct txnset_write **keys; /* owned table, by key: PUT, DELETE */
    size_t keys_count, keys_cap;
    struct txnset_write **prefixes; /* owned table */
    size_t prefixes_count, prefixes_cap;
    struct txnset_read **reads; /* owned table, by key: of single keys */
    size_t reads_count, reads_cap;
    struct txnset_read **ranges; /* owned table, as they were read */
    size_t ranges_count, ranges_cap;
    size_t bytes; /* keys and values of all */
};

void txnset_init(struct txnset *s);
void txnset_deinit(struct txnset *s);

/* Each copies. HF_E_LIMIT: too many or too large to be sent. HF_E_NO_MEMORY. On failure nothing changes, but that
 * txnset_delete_prefix may have let go of what the prefix deletes. */
HF_CHECKED int txnset_write_key(struct txnset *s, Hf__Entry__Op op, struct slice key, struct slice value,
                                uint64_t ttl_ms);
HF_CHECKED int txnset_delete_prefix(struct txnset *s, struct slice prefix);
HF_CHECKED int txnset_read_key(struct txnset *s, struct slice key);
HF_CHECKED int txnset_read_range(struct txnset *s, struct slice start, struct slice end);

/* What the transaction itself made of `key`: true: *out_write, NULL: it deleted it. False: it left it alone. */
bool txnset_find(const struct txnset *s, struct slice key, const struct txnset_write **out_write);
/* The place in `keys` of the first that is not below `key`. */
size_t txnset_place(const struct txnset *s, struct slice key);
bool txnset_prefix_deleted(const struct txnset *s, struct slice key);

static inline bool txnset_nothing_read(const struct txnset *s)
{
    return s->reads_count + s->ranges_count == 0;
}

static inline bool txnset_empty(const struct txnset *s)
{
    return list_empty(&s->order) && txnset_nothing_read(s);
}

/* Bytes that the message's body takes in memory, and the body, built there: it points to nothing outside. */
size_t txnset_body_bytes(const struct txnset *s);
Hf__Client__Txn *txnset_body(const struct txnset *s, uint64_t start, void *memory);
