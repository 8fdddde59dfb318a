/* stamp.h: the leader's clock: the highest timestamp observed and the next sequence under it. A write's version is
 * (timestamp, sequence), so that no two versions of a shard are equal and none goes backwards (I8). Pure. */
#pragma once

#include "common/base/hlc.h"
#include "common/base/limits.h"

/* The writes of a transaction that is committed at a timestamp take the sequences below: never those of a stamp, which lies above
 * all of them. */
#define STAMP_FIRST_SEQ 65536
_Static_assert(LIMIT_TXN_KEYS < STAMP_FIRST_SEQ, "a commit's versions lie below every stamp's");

struct stamp {
    struct hlc observed;
    uint64_t next_seq;
};

/* A timestamp that was issued: later stamps are above everything it could have seen. */
static inline void stamp_observe(struct stamp *s, struct hlc t)
{
    if (t.t > s->observed.t)
        *s = (struct stamp){.observed = t, .next_seq = STAMP_FIRST_SEQ};
}

/* A version that was applied: a new leader goes on above it. */
static inline void stamp_continue(struct stamp *s, struct version newest)
{
    stamp_observe(s, newest.t);
    if (s->observed.t == newest.t.t && s->next_seq <= newest.seq)
        s->next_seq = newest.seq + 1;
}

/* The first of `count` consecutive versions. */
static inline struct version stamp_take(struct stamp *s, uint64_t count)
{
    struct version v = {s->observed, s->next_seq};
    s->next_seq += count;
    return v;
}
