/* slice.h: a borrowed run of bytes. It owns nothing and is passed by value. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *data; /* borrowed; may be NULL when size is 0 */
    size_t size;         /* bytes */
};

static inline struct slice slice_make(const void *data, size_t size)
{
    return (struct slice){.data = data, .size = size};
}

static inline struct slice slice_text(const char *text)
{
    return slice_make(text, strlen(text));
}

/* Byte order, shorter first when one is a prefix of the other. <0, 0, >0. */
int slice_compare(struct slice a, struct slice b);
bool slice_equal(struct slice a, struct slice b);
bool slice_has_prefix(struct slice s, struct slice prefix);
