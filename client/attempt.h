/* attempt.h: the life of a request on the I/O thread: routed, parked, sent, sent again, finished.
 *
 *   accepted → PARKED ─→ IN_FLIGHT ─→ finished            PARKED: routes, leader, session or window room is missing
 *                ↑  ↑      │  │  ↑                        IN_FLIGHT: an attempt is out, for a limited time
 *                │  └──────┘  ↓  │  [lost, refused]       BACKOFF: refused; the same again a little later
 *                └───────── BACKOFF
 *
 * What makes retries safe: every write carries (session, seq), the same in each attempt; a shard executes a seq once.
 * Once an attempt went out and was not answered, no refusal of a later one makes the request surely-not-done (I9).
 * Thread: I/O thread only. */
#pragma once

#include "client/client.h"

/* Takes a posted request. */
void attempt_submit(struct hf *h, struct hf_future *r);
/* Takes a reply from `p`. */
void attempt_answer(struct hf *h, struct peer *p, Hf__Client__Reply *reply);
/* Sends what waited and now can go. End of a turn. */
void attempt_pump(struct hf *h);
/* The handle closes: everything under way ends. */
void attempt_end_all(struct hf *h);
/* One question of the library's own to `p`, once. False: not sent. */
bool attempt_ask(struct hf *h, struct peer *p, enum request_kind kind, struct shard *s);
