/* route.h: which shard a request goes to, as of the handle's routes.
 *
 * Position: attempt.c's first question about a request.
 * Thread:   I/O thread only. */
#pragma once

#include "client/client.h"

/* Sets r->shard, and for a scan the part of its range that this shard holds. h->routes is set. A transaction's shard is its
 * home, the one of the first key it writes, and r->spread says whether a coordinator is to do it. A delete-prefix over
 * several shards: r->spans is set instead of its shard. HF_E_NO_MEMORY. */
HF_CHECKED int route_request(struct hf *h, struct hf_future *r);
