/* simfile.c: changes are kept until a sync makes them durable or a power loss keeps a part of them. */
#include "tests/support/simfile.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/must.h"

struct simfile_change {
    bool resize;
    uint64_t offset; /* of the write; the new size */
    uint8_t *data;   /* owned; NULL: resize */
    size_t size;
};

static void content_resize(struct buf *content, uint64_t bytes)
{
    if (bytes > content->size) {
        size_t more = (size_t)bytes - content->size;
        memset(buf_extend(content, more), 0, more);
    }
    content->size = (size_t)bytes;
}

static void content_write(struct buf *content, uint64_t offset, const uint8_t *data, size_t size)
{
    if (size == 0)
        return;
    if (offset + size > content->size)
        content_resize(content, offset + size);
    memcpy(content->data + offset, data, size);
}

static void content_copy(struct buf *to, const struct buf *from)
{
    buf_clear(to);
    buf_append(to, from->data, from->size);
}

static void apply(struct buf *content, const struct simfile_change *change, size_t size)
{
    if (change->resize)
        content_resize(content, change->offset);
    else
        content_write(content, change->offset, change->data, size);
}

static void apply_sectors(struct buf *content, const struct simfile_change *change, struct random *random)
{
    if (change->resize) {
        if (random_below(random, 2) == 0)
            apply(content, change, 0);
        return;
    }
    for (size_t at = 0; at < change->size;) {
        size_t to_edge = SIMFILE_SECTOR_BYTES - (size_t)((change->offset + at) % SIMFILE_SECTOR_BYTES);
        size_t piece = change->size - at < to_edge ? change->size - at : to_edge;
        if (random_below(random, 2) == 0)
            content_write(content, change->offset + at, change->data + at, piece);
        at += piece;
    }
}

static void add_change(struct simfile *f, struct simfile_change change)
{
    if (f->change_count == f->change_cap) {
        f->change_cap = f->change_cap == 0 ? 8 : f->change_cap * 2;
        f->changes = realloc(f->changes, f->change_cap * sizeof *f->changes);
        must(f->changes != NULL);
    }
    f->changes[f->change_count++] = change;
    apply(&f->cache, &change, change.size);
}

static void clear_changes(struct simfile *f)
{
    for (size_t i = 0; i < f->change_count; i++)
        free(f->changes[i].data);
    f->change_count = 0;
}

void simfile_deinit(struct simfile *f)
{
    clear_changes(f);
    free(f->changes);
    buf_deinit(&f->image);
    buf_deinit(&f->cache);
    *f = (struct simfile){0};
}

void simfile_write(struct simfile *f, uint64_t offset, const void *data, size_t size)
{
    if (size == 0)
        return;
    struct simfile_change change = {.offset = offset, .data = malloc(size), .size = size};
    must(change.data != NULL);
    memcpy(change.data, data, size);
    add_change(f, change);
}

void simfile_resize(struct simfile *f, uint64_t bytes)
{
    if (bytes != f->cache.size)
        add_change(f, (struct simfile_change){.resize = true, .offset = bytes});
}

void simfile_sync(struct simfile *f)
{
    for (size_t i = 0; i < f->change_count; i++)
        apply(&f->image, &f->changes[i], f->changes[i].size);
    clear_changes(f);
}

void simfile_forget(struct simfile *f, struct random *random)
{
    for (size_t i = 0; i < f->change_count; i++)
        apply_sectors(&f->image, &f->changes[i], random);
    clear_changes(f);
}

void simfile_crash(struct simfile *f, enum simfile_loss loss, struct random *random)
{
    size_t kept = f->change_count;
    switch (loss) {
    case SIMFILE_NOTHING_KEPT:
        kept = 0;
        break;
    case SIMFILE_PREFIX_TORN:
        kept = (size_t)random_below(random, f->change_count + 1);
        break;
    case SIMFILE_SOME_KEPT:
    case SIMFILE_SECTORS:
    case SIMFILE_ALL_KEPT:
    case SIMFILE_LOSSES:
        break;
    }
    for (size_t i = 0; i < kept; i++) {
        const struct simfile_change *change = &f->changes[i];
        bool last = i + 1 == kept && loss != SIMFILE_ALL_KEPT;
        if (loss == SIMFILE_SECTORS)
            apply_sectors(&f->image, change, random);
        else if (last && !change->resize)
            apply(&f->image, change, (size_t)random_below(random, change->size + 1));
        else if (loss != SIMFILE_SOME_KEPT || random_below(random, 2) == 0)
            apply(&f->image, change, change->size);
    }
    clear_changes(f);
    content_copy(&f->cache, &f->image);
}

void simfile_flip(struct simfile *f, uint64_t offset, unsigned bit)
{
    uint8_t mask = (uint8_t)(1u << (bit % 8));
    must(offset < f->image.size && offset < f->cache.size);
    f->image.data[offset] ^= mask;
    f->cache.data[offset] ^= mask;
}
