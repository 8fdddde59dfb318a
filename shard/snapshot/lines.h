/* lines.h: small files of ours as text: "key value" lines in a fixed order, checked as a whole before any is believed.
 *
 * Position: token.c and install.c write and read through it. The last line is "crc <hex of crc32c of all before>", true of
 * every format, so that a newer one is told from damage (I11). Numbers have one spelling. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/must.h"

void lines_put_decimal(struct buf *text, const char *key, uint64_t value);
void lines_put_hex(struct buf *text, const char *key, uint64_t value); /* 16 digits */
void lines_put_bytes(struct buf *text, const char *key, struct slice bytes);
void lines_end(struct buf *text); /* the checksum */

struct lines { /* what is left to read */
    const char *at, *end;
};

/* HF_E_CORRUPT: the checksum does not hold. The text is borrowed. */
HF_CHECKED int lines_begin(struct lines *lines, struct slice text);
/* Each takes the next line; false: it is not that, nothing was taken. */
bool lines_take_decimal(struct lines *lines, const char *key, uint64_t max, uint64_t *out);
bool lines_take_hex(struct lines *lines, const char *key, uint64_t *out);
/* At most `max` bytes, appended to *out. */
bool lines_take_bytes(struct lines *lines, const char *key, size_t max, struct buf *out);
bool lines_done(const struct lines *lines); /* nothing is left */
