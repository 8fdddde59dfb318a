/* judge.h: the world's checkers: what processes and clients do is reported here.
 *
 *  world.state  replicas of a shard at equal applied index are in the same state, after crashes too (I1, I2, I5)
 *  world.snapshots  the pointer is not ahead of what is durable, nor is the log cut there (I4); an installed state takes
 *            nobody back
 *  linear    every key's history is linearizable, unknown outcomes included (tests/support/lincheck)
 *  once      a value is written at most once; if the client was told so, exactly once; never if told it surely was not
 *  sessions  a session that was opened is known, its seqs are inside its window, nothing is fenced unasked
 *  answers   a coordinator answers each request once, at most; when healed, each
 *  oracle    no timestamp twice, none below one that left before it was asked for, whoever drew them (I8)
 *  progress  when healed, all of it ends well
 *
 * Do not verify: orders across keys; what a scan saw at one moment, only each key of it. */
#pragma once

#include "tests/sim/world/world.h"
#include "tests/support/lincheck.h"

struct fsm;
struct simstore;
struct wire_frame;

#define JUDGE_KEYS 12 /* half of them in each shard */

enum judge_fate { JUDGE_DONE, JUDGE_NOT, JUDGE_UNKNOWN };

struct judge *judge_new(void);
void judge_free(struct judge **j);

void judge_applied(struct world *w, uint32_t process, struct fsm *fsm, const struct simstore *store);
/* The pointer moved to `index`, or the log is to be cut there: `what`. */
void judge_durable(struct world *w, uint32_t process, struct fsm *fsm, const char *what, uint64_t index);
/* A record is taken out of a store. */
void judge_removed(struct world *w, struct slice key, struct slice value);
void judge_installs(struct world *w, uint32_t process, uint64_t index); /* before the log follows */
void judge_lost(struct world *w, uint32_t process);                     /* its machine */
void judge_delivered(struct world *w, uint32_t process, const struct wire_frame *frame, bool listens);
void judge_answered(struct world *w, uint32_t process, uint64_t to, struct slice frame);
void judge_coordinator_died(struct world *w, uint32_t process);

/* An operation of a client ended. `value` of a write is its own among all; `fate` is what the client knows. */
void judge_op(struct world *w, unsigned key, struct lin_op op, enum judge_fate fate, bool session);
/* A coordinator lets a timestamp leave: to a client, in a beat, in a lease. */
void judge_drawn(struct world *w, uint32_t process, uint64_t t);
uint64_t judge_timestamp_asked(const struct world *w); /* highest that left so far */
/* A client was told it; it had asked when `asked` was known, for one above `above`. */
void judge_timestamp(struct world *w, uint64_t asked, uint64_t above, uint64_t t);
/* Likewise as a cut, which several may share. */
void judge_cut(struct world *w, uint64_t asked, uint64_t t);

/* The end: everything is healed and quiet. */
void judge_end(struct world *w);
/* Every member of each shard stands where its most advanced one stands. */
bool judge_level(const struct world *w);
