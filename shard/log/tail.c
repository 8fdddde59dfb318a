/* tail.c: blocks of frames and a ring of entries that point into them. */
#include "shard/log/tail.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/endian.h"
#include "common/base/limits.h"

#define RING_MIN 1024u       /* entries; a power of two */
#define BLOCK_TAIL_MIN 4096u /* a frame is not begun with less room than this in its block */
#define RING_SHARE 4u        /* of the budget, one such part may be ring */

struct tail_block {
    struct tail_block *next; /* newer */
    size_t cap, used;
    _Alignas(FRAME_ALIGN) uint8_t data[];
};

void tail_init(struct tail *t, uint64_t cache_bytes, uint64_t next)
{
    *t = (struct tail){.bytes_max = cache_bytes > SIZE_MAX ? SIZE_MAX : (size_t)cache_bytes,
                       .mask = RING_MIN - 1,
                       .from = next,
                       .next = next};
    t->ring = malloc(RING_MIN * sizeof *t->ring);
    must(t->ring != NULL); /* out of memory */
}

static void free_chain(struct tail_block *block)
{
    while (block != NULL) {
        struct tail_block *next = block->next;
        free(block);
        block = next;
    }
}

void tail_deinit(struct tail *t)
{
    free_chain(t->oldest);
    free_chain(t->spares);
    free(t->ring);
    *t = (struct tail){0};
}

/* The oldest block goes, with the entries that live in it. Never the newest: it holds the frame being built. */
static void drop_oldest(struct tail *t)
{
    struct tail_block *block = t->oldest;
    must(block != t->newest);
    while (t->from < t->next) {
        const uint8_t *at = tail_entry(t, t->from)->data.data;
        if (at < block->data || at > block->data + block->cap)
            break;
        t->from++;
    }
    t->oldest = block->next;
    t->bytes -= block->cap;
    if (block->cap == TAIL_BLOCK_BYTES && t->spare_count < TAIL_SPARE_BLOCKS) {
        block->next = t->spares;
        t->spares = block;
        t->spare_count++;
    } else {
        free(block);
    }
}

static struct tail_block *block_take(struct tail *t, size_t cap)
{
    struct tail_block *block = t->spares;
    if (cap <= TAIL_BLOCK_BYTES && block != NULL) {
        t->spares = block->next;
        t->spare_count--;
    } else {
        cap = cap < TAIL_BLOCK_BYTES ? TAIL_BLOCK_BYTES : cap;
        block = malloc(sizeof *block + cap);
        must(block != NULL); /* out of memory */
        block->cap = cap;
    }
    block->next = NULL;
    block->used = 0;
    return block;
}

/* A new newest block with room for `cap` bytes; the frame being built, if any, moves there. */
static void block_add(struct tail *t, size_t cap)
{
    while (t->oldest != t->newest && t->bytes + (cap < TAIL_BLOCK_BYTES ? TAIL_BLOCK_BYTES : cap) > t->bytes_max)
        drop_oldest(t);
    struct tail_block *block = block_take(t, cap), *before = t->newest;
    if (t->size > 0) {
        const uint8_t *frame = before->data + t->start;
        memcpy(block->data, frame, t->size);
        if (t->first != 0)
            for (uint64_t i = t->first; i < t->next; i++) {
                struct log_entry *entry = &t->ring[i & t->mask];
                entry->data.data = block->data + (entry->data.data - frame);
            }
        before->used = t->start;
    }
    t->start = 0;
    block->used = t->size;
    if (before == NULL)
        t->oldest = block;
    else
        before->next = block;
    t->newest = block;
    t->bytes += block->cap;
    while (t->oldest != t->newest && t->bytes > t->bytes_max)
        drop_oldest(t);
}

/* `size` more bytes at the end of the frame being built, which is begun if there is none. */
static uint8_t *extend(struct tail *t, size_t size)
{
    if (t->size == 0) {
        if (t->newest == NULL || t->newest->cap - t->newest->used < BLOCK_TAIL_MIN)
            block_add(t, TAIL_BLOCK_BYTES);
        t->start = t->newest->used;
        t->records = 0;
        t->run = 0;
        t->first = 0;
    }
    size_t head = t->size == 0 ? FRAME_HEADER_BYTES : 0;
    must(t->size + head + size <= FRAME_BYTES_MAX); /* I12: a turn is bounded far below */
    if (t->newest->cap - t->start < t->size + head + size) {
        size_t want = t->size + head + size;
        block_add(t, want <= TAIL_BLOCK_BYTES ? TAIL_BLOCK_BYTES : want + want / 2);
    }
    uint8_t *at = t->newest->data + t->start + t->size + head;
    t->size += head + size;
    t->newest->used = t->start + t->size;
    return at;
}

static void ring_grow(struct tail *t)
{
    uint64_t size = t->mask + 1;
    struct log_entry *ring = malloc((size_t)(2 * size) * sizeof *ring);
    must(ring != NULL); /* out of memory */
    for (uint64_t i = t->from; i < t->next; i++)
        ring[i & (2 * size - 1)] = t->ring[i & t->mask];
    free(t->ring);
    t->ring = ring;
    t->mask = 2 * size - 1;
}

/* The ring grows within its share of the budget; beyond, the oldest synced entry leaves the cache. */
static void ring_room(struct tail *t)
{
    if (t->next - t->from <= t->mask)
        return;
    bool pinned = t->first != 0 && t->from >= t->first;
    if (pinned || (t->mask + 1) * sizeof *t->ring <= t->bytes_max / RING_SHARE)
        ring_grow(t);
    else
        t->from++;
}

void tail_append(struct tail *t, const struct log_entry *entry)
{
    must(entry->index == t->next);
    must(entry->data.size <= LIMIT_ENTRY_BYTES);
    size_t bytes = frame_entry_bytes(entry->data.size);
    if (t->size == 0 || t->run == 0 || t->run_term != entry->term) {
        uint8_t *record = extend(t, FRAME_RECORD_BYTES);
        frame_record_write(record, FRAME_ENTRIES, 0, entry->index, entry->term);
        t->run = t->size - FRAME_RECORD_BYTES;
        t->run_term = entry->term;
        t->records++;
    }
    uint8_t *at = extend(t, bytes);
    frame_entry_write(at, entry);
    uint8_t *count = t->newest->data + t->start + t->run + 4;
    put_le32(count, get_le32(count) + 1);
    if (t->first == 0)
        t->first = entry->index;
    ring_room(t);
    struct log_entry *slot = &t->ring[t->next & t->mask];
    *slot = *entry;
    slot->data.data = at + FRAME_ENTRY_BYTES;
    t->next++;
}

static void bare_record(struct tail *t, enum frame_type type, uint64_t index, uint64_t term)
{
    frame_record_write(extend(t, FRAME_RECORD_BYTES), type, 0, index, term);
    t->run = 0;
    t->records++;
}

void tail_truncate(struct tail *t, uint64_t index)
{
    bare_record(t, FRAME_TRUNCATE, index, 0);
    if (t->first >= index)
        t->first = 0;
    if (t->next > index)
        t->next = index;
    if (t->from > index)
        t->from = index;
}

void tail_trim(struct tail *t, uint64_t index, uint64_t term)
{
    bare_record(t, FRAME_BASE, index, term);
    if (t->from <= index)
        t->from = index + 1; /* its block goes with the next that is taken */
}

void tail_restart(struct tail *t, uint64_t index, uint64_t term)
{
    bare_record(t, FRAME_RESTART, index, term);
    t->first = 0;
    t->from = t->next = index + 1;
}

struct slice tail_seal(struct tail *t, uint64_t sequence, uint64_t commit, uint64_t segment, uint64_t offset)
{
    must(t->size > 0);
    uint8_t *frame = t->newest->data + t->start;
    struct frame_header header = {
        .length = (uint32_t)t->size, .sequence = sequence, .commit = commit, .records = t->records};
    frame_seal(frame, &header, segment, offset);
    return slice_make(frame, t->size);
}

void tail_done(struct tail *t)
{
    t->size = 0;
    t->first = 0;
    t->run = 0;
}
