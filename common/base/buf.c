/* buf.c: the growing byte buffer. Capacity doubles, so appending is linear over all. */
#include "common/base/buf.h"

#include <stdlib.h>

#include "common/base/must.h"

#define BUF_CAP_MIN ((size_t)64)

void buf_deinit(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

void buf_reserve(struct buf *b, size_t more)
{
    must(more <= SIZE_MAX / 2 - b->size);
    size_t need = b->size + more;
    if (need <= b->cap)
        return;
    size_t cap = b->cap > 0 ? b->cap : BUF_CAP_MIN;
    while (cap < need)
        cap *= 2;
    uint8_t *data = realloc(b->data, cap);
    must(data != NULL); /* out of memory */
    b->data = data;
    b->cap = cap;
}

uint8_t *buf_extend(struct buf *b, size_t size)
{
    if (size > 0 || b->data == NULL)
        buf_reserve(b, size > 0 ? size : 1);
    uint8_t *at = b->data + b->size;
    b->size += size;
    return at;
}

void buf_append(struct buf *b, const void *data, size_t size)
{
    if (size > 0)
        memcpy(buf_extend(b, size), data, size);
}
