/* route.h: to which shard a client's request goes, and what of it.
 *
 * Position: front.c asks before forward.c takes the request; forward.c asks again after WRONG_SHARD.
 * Pure: routes and request in, decision out. The request passed front.c's checks of sizes. */
#pragma once

#include <stdbool.h>

#include "common/base/must.h"
#include "proto/client.pb-c.h"
#include "proto/routes.h"

#define ROUTE_TEXT_BYTES 160

struct route {
    uint32_t shard;
    bool empty;   /* a scan of nothing: answer it without asking anybody */
    bool several; /* a transaction over more shards than one: it is driven, not forwarded; no shard */
    bool cut;     /* a scan over several ranges: scan_start and scan_end are what this shard gets */
    struct slice scan_start, scan_end; /* borrowed from routes or request */
    bool more;                         /* when the shard has no more, the scan goes on at `next` */
    struct slice next;                 /* borrowed from routes */
    char text[ROUTE_TEXT_BYTES];       /* on failure: what to tell the client */
};

/* HF_E_WRONG_SHARD: request.shard names another than the key's. HF_E_INVALID: spans shards, or names no shard where one
 * is needed. HF_E_ABSENT: names a shard that does not exist. On failure only `text` is set. */
HF_CHECKED int route_request(const Hf__Catalog__Routes *routes, const Hf__Client__Request *request, struct route *out);

/* Indices of the ranges that a transaction's write, or its read, touches. */
void route_write_span(const Hf__Catalog__Routes *routes, const Hf__Entry__TxnWrite *write, size_t *out_first,
                      size_t *out_last);
void route_read_span(const Hf__Catalog__Routes *routes, const Hf__Entry__TxnRead *read, size_t *out_first,
                     size_t *out_last);

/* The first key after all keys that begin with `prefix`, into out[prefix.size]; the size, 0: there is none. */
size_t route_prefix_end(struct slice prefix, uint8_t *out);
