/* column.h: numbers by index, zero where nothing was set; grows, owns its memory. */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/must.h"

struct column {
    uint64_t *values; /* owned */
    size_t cap;
};

static inline uint64_t column_get(const struct column *c, uint64_t index)
{
    return index < c->cap ? c->values[index] : 0;
}

static inline void column_set(struct column *c, uint64_t index, uint64_t value)
{
    if (index >= c->cap) {
        size_t cap = c->cap == 0 ? 256 : c->cap;
        while (cap <= index)
            cap *= 2;
        c->values = realloc(c->values, cap * sizeof *c->values);
        must(c->values != NULL);
        memset(c->values + c->cap, 0, (cap - c->cap) * sizeof *c->values);
        c->cap = cap;
    }
    c->values[index] = value;
}

static inline void column_deinit(struct column *c)
{
    free(c->values);
    *c = (struct column){0};
}
