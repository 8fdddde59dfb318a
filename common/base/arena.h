/* arena.h: memory of one turn: cheap to take, given back all at once. Out of memory ends the process (servers only). */
#pragma once

#include "common/base/slice.h"

struct arena_block;

struct arena {
    struct arena_block *head; /* owned; the block being filled */
    size_t used;              /* bytes handed out since the last reset */
};

#define ARENA_BLOCK_BYTES ((size_t)64 * 1024) /* a larger request gets a block of its own */

void arena_deinit(struct arena *a);
void arena_reset(struct arena *a);               /* all memory handed out is invalid; one block is kept for reuse */
void *arena_alloc(struct arena *a, size_t size); /* 16-byte aligned, not cleared; never NULL */
void *arena_zalloc(struct arena *a, size_t size);
struct slice arena_copy(struct arena *a, struct slice s);
