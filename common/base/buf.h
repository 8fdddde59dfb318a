/* buf.h: a growing byte buffer that owns its memory. Out of memory ends the process (servers only). */
#pragma once

#include "common/base/slice.h"

struct buf {
    uint8_t *data; /* owned */
    size_t size;   /* bytes in use */
    size_t cap;    /* bytes allocated */
};

void buf_deinit(struct buf *b);               /* frees; the buffer is empty and usable again */
void buf_reserve(struct buf *b, size_t more); /* room for `more` bytes beyond size */
void buf_append(struct buf *b, const void *data, size_t size);
/* Appends `size` unset bytes and returns them: borrowed until the next call, never NULL. */
uint8_t *buf_extend(struct buf *b, size_t size);

static inline void buf_clear(struct buf *b)
{
    b->size = 0;
}

static inline struct slice buf_slice(const struct buf *b)
{
    return slice_make(b->data, b->size);
}
