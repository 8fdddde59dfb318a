/* find.h: where to: the routes from any coordinator, the leader from a shard's replicas, by rounds of questions to all
 * of them at once. Rounds go on only while somebody waits.
 *
 * Position: attempt.c asks when it does not know; a found answer sets h->pump.
 * Thread:   I/O thread only. */
#pragma once

#include "client/client.h"

void find_routes(struct hf *h);                    /* also makes whoever answers first the current coordinator */
void find_newer_routes(struct hf *h);              /* a reply named a newer version; at most one search a second */
void find_leader(struct hf *h, struct shard *s);   /* direct mode */
void find_shard_timer(void *ctx, struct timer *t); /* of struct shard */

/* Takes `*routes` when they are well formed, of our cluster and newer than ours. True: taken. */
bool find_adopt(struct hf *h, Hf__Catalog__Routes **routes);
/* The library's own question was answered or given up (r->code, r->reply). */
void find_answered(struct hf *h, struct hf_future *r);
