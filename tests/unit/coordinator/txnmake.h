/* txnmake.h: requests of transactions for tests, from short texts, and routes for them. */
#pragma once

#include <stdint.h>

#include "proto/client.pb-c.h"

struct txnmake {
    Hf__Client__Request request;
    Hf__Client__Txn txn;
    Hf__Entry__TxnWrite writes[8], *write_list[8];
    Hf__Entry__TxnRead reads[8], *read_list[8];
    char text[128];
};

/* Keys with spaces between, which are copied: "b*" deletes a prefix, "a-c" reads a range. */
void txnmake(struct txnmake *m, const char *writes, const char *reads, uint32_t home, uint64_t session, uint64_t start);

/* Three shards that begin at "", "b" and "c"; static memory. */
void txnmake_routes(Hf__Catalog__Routes *out);
