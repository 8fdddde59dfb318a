/* oracle.h: which coordinator is asked for a timestamp: the one that gave the last, whom another one named, else the next
 * of the list.
 *
 * Position: attempt.c sends to it and says what came of that; find.c names one that lives.
 * Thread:   I/O thread only. */
#pragma once

#include "client/client.h"

/* Only the active coordinator can answer it. */
static inline bool oracle_answers(const struct hf_future *r)
{
    return r->kind == REQUEST_TIMESTAMP || r->kind == REQUEST_CUT || r->kind == REQUEST_RETAIN;
}

/* NULL: out of memory. */
struct peer *oracle_peer(struct hf *h);
/* It answers, so it may be the one. Taken while no other is. */
void oracle_lives(struct hf *h, struct peer *p, const Hf__Client__Reply *reply);
/* Not `p`: it says so. `hint` (may be NULL or empty) is asked next, unless it was silent just now. */
void oracle_leave(struct hf *h, const struct peer *p, const char *hint);
/* Not `p`: it does not answer, or takes no message. */
void oracle_silent(struct hf *h, struct peer *p);
/* A replica in the list of coordinators: it has no timestamps, another endpoint may. */
bool oracle_mistaken(const struct hf_future *r, const Hf__Client__Reply *reply);
