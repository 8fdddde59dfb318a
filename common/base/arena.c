/* arena.c: bump allocation from a chain of blocks; reset keeps the newest standard block for the next turn. */
#include "common/base/arena.h"

#include <stdlib.h>

#include "common/base/must.h"

#define ARENA_ALIGN ((size_t)16)

struct arena_block {
    struct arena_block *next; /* owned; older */
    size_t cap, used;         /* bytes of data */
    _Alignas(16) uint8_t data[];
};

static struct arena_block *block_new(size_t cap)
{
    struct arena_block *block = malloc(sizeof *block + cap);
    must(block != NULL); /* out of memory */
    block->next = NULL;
    block->cap = cap;
    block->used = 0;
    return block;
}

void arena_deinit(struct arena *a)
{
    struct arena_block *next;
    for (struct arena_block *block = a->head; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
    *a = (struct arena){0};
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = NULL, *next;
    for (struct arena_block *block = a->head; block != NULL; block = next) {
        next = block->next;
        if (keep == NULL && block->cap == ARENA_BLOCK_BYTES)
            keep = block;
        else
            free(block);
    }
    if (keep != NULL) {
        keep->next = NULL;
        keep->used = 0;
    }
    a->head = keep;
    a->used = 0;
}

/* A block of its own goes behind the head, so that the head's free room stays in use. */
static void *alloc_large(struct arena *a, size_t size)
{
    struct arena_block *block = block_new(size);
    block->used = size;
    if (a->head == NULL) {
        a->head = block;
    } else {
        block->next = a->head->next;
        a->head->next = block;
    }
    return block->data;
}

void *arena_alloc(struct arena *a, size_t size)
{
    must(size <= SIZE_MAX / 2);
    size = size == 0 ? ARENA_ALIGN : (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    a->used += size;
    if (size > ARENA_BLOCK_BYTES)
        return alloc_large(a, size);
    if (a->head == NULL || a->head->cap - a->head->used < size) {
        struct arena_block *block = block_new(ARENA_BLOCK_BYTES);
        block->next = a->head;
        a->head = block;
    }
    void *at = a->head->data + a->head->used;
    a->head->used += size;
    return at;
}

void *arena_zalloc(struct arena *a, size_t size)
{
    return memset(arena_alloc(a, size), 0, size);
}

struct slice arena_copy(struct arena *a, struct slice s)
{
    uint8_t *copy = arena_alloc(a, s.size);
    if (s.size > 0)
        memcpy(copy, s.data, s.size);
    return slice_make(copy, s.size);
}
