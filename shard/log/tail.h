/* tail.h: the end of the log in memory: the frame being built, and the entries of the frames before it as a cache.
 *
 * Position: log.c appends here, writes the sealed frame from here, and answers reads of recent entries from here.
 * A frame is built where it stays: payloads are copied once, into a block; reads borrow them from there. A ring finds
 * an entry by its index. Blocks are dropped oldest first when they hold more than the budget; the frame being built
 * stays. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shard/log/frame.h"
#include "shard/log/log.h"

#define TAIL_BLOCK_BYTES ((size_t)256 * 1024) /* a larger frame gets a block of its own */
#define TAIL_SPARE_BLOCKS 4

struct tail_block; /* opaque */

struct tail {
    struct tail_block *oldest, *newest; /* owned chain */
    struct tail_block *spares;          /* owned; of TAIL_BLOCK_BYTES */
    size_t spare_count;
    size_t bytes, bytes_max; /* of blocks in the chain */
    struct log_entry *ring;  /* owned; entry i at i & mask, for from ≤ i < next */
    uint64_t mask, from, next;
    /* The frame being built, at `start` of the newest block. size 0: none. */
    size_t start, size, run; /* run: offset in the frame of the open run's record, 0: none is open */
    uint32_t records;
    uint64_t run_term;
    uint64_t first; /* first live entry of the frame, 0: none */
};

void tail_init(struct tail *t, uint64_t cache_bytes, uint64_t next);
void tail_deinit(struct tail *t);

/* Records of the frame being built. */
void tail_append(struct tail *t, const struct log_entry *entry);
void tail_truncate(struct tail *t, uint64_t index);
void tail_trim(struct tail *t, uint64_t index, uint64_t term);
void tail_restart(struct tail *t, uint64_t index, uint64_t term); /* nothing is cached any more */

static inline bool tail_pending(const struct tail *t)
{
    return t->size > 0;
}

/* The frame, sealed for its place; borrowed until the next change. May be sealed again for another place. */
struct slice tail_seal(struct tail *t, uint64_t sequence, uint64_t commit, uint64_t segment, uint64_t offset);
/* The frame is durable: the next record begins a new one. */
void tail_done(struct tail *t);

/* `index` in [from, next), borrowed until the next change. */
static inline const struct log_entry *tail_entry(const struct tail *t, uint64_t index)
{
    return &t->ring[index & t->mask];
}
