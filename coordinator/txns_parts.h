/* txns_parts.h: what of a transaction goes to which shard, and in which words.
 *
 * Position: txns.c's. Pure. */
#pragma once

#include "coordinator/txns.h"

/* Cuts one->txn by the routes into one->parts, home's first if there is one. HF_E_INVALID: home is none of the shards that
 * are written; HF_E_LIMIT: too many pieces. text[] says more. What is allocated is in the arena. */
HF_CHECKED int txns_parts_cut(struct txns_one *one, const Hf__Catalog__Routes *routes, char text[TXNS_TEXT_BYTES]);

struct txns_question { /* a request and what it points to */
    Hf__Client__Request request;
    Hf__Entry__TxnId id;
    Hf__Entry__Txn txn;
    Hf__Client__Validate validate;
    uint32_t *others; /* owned */
};

/* What the part's shard is asked in the transaction's step. */
void txns_parts_ask(const struct txns_part *part, uint64_t ttl_ms, struct txns_question *out);
void txns_parts_free(struct txns_question *question);

/* Is the part asked anything in this step? */
bool txns_parts_in(const struct txns_part *part, enum txns_step step);
