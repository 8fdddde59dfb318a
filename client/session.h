/* session.h: one session of one shard as the client counts it: which seqs are out, which answers are here.
 *
 * Position: attempt.c gives every write a seq of its shard's session; a retry keeps it.
 * Thread:   I/O thread only.
 * Invariants (session_check): done_below ≤ next_seq < done_below + the window plus one; below done_below all are done.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/limits.h"

struct session {
    uint64_t id;
    uint64_t next_seq;                        /* the next to give out; the first is 1 */
    uint64_t done_below;                      /* the lowest seq whose outcome we may still ask for */
    uint64_t done[LIMIT_SESSION_WINDOW / 64]; /* bit seq mod window: done, though a lower one is not */
    uint32_t refs;                            /* the shard's, while it is the current one, and one per request */
};

struct session *session_new(uint64_t id); /* one reference; NULL: out of memory */
void session_unref(struct session **s);   /* nulls; NULL is ignored */

bool session_room(const struct session *s); /* seq never reaches done_below + window: the shard would refuse it */
uint64_t session_take(struct session *s);   /* a new seq; there is room. Adds a reference */
/* The outcome of `seq` will not be asked for again. Gives the reference of session_take back. */
void session_done(struct session **s, uint64_t seq);
