/* lines.c: see lines.h. */
#include "shard/snapshot/lines.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/crc32c.h"
#include "common/base/error.h"

#define CRC_LINE_BYTES 13u /* "crc xxxxxxxx\n" */
#define LINE_BYTES 128     /* of a number */

static const char digits[] = "0123456789abcdef";

void lines_put_decimal(struct buf *text, const char *key, uint64_t value)
{
    char line[LINE_BYTES];
    int n = snprintf(line, sizeof line, "%s %" PRIu64 "\n", key, value);
    must(n > 0 && (size_t)n < sizeof line);
    buf_append(text, line, (size_t)n);
}

void lines_put_hex(struct buf *text, const char *key, uint64_t value)
{
    char line[LINE_BYTES];
    int n = snprintf(line, sizeof line, "%s %016" PRIx64 "\n", key, value);
    must(n > 0 && (size_t)n < sizeof line);
    buf_append(text, line, (size_t)n);
}

void lines_put_bytes(struct buf *text, const char *key, struct slice bytes)
{
    buf_append(text, key, strlen(key));
    buf_append(text, " ", 1);
    uint8_t *at = buf_extend(text, 2 * bytes.size + 1);
    for (size_t i = 0; i < bytes.size; i++) {
        *at++ = (uint8_t)digits[bytes.data[i] >> 4];
        *at++ = (uint8_t)digits[bytes.data[i] & 15];
    }
    *at = '\n';
}

void lines_end(struct buf *text)
{
    char line[CRC_LINE_BYTES + 1];
    snprintf(line, sizeof line, "crc %08" PRIx32 "\n", crc32c(0, text->data, text->size));
    buf_append(text, line, CRC_LINE_BYTES);
}

int lines_begin(struct lines *lines, struct slice text)
{
    char line[CRC_LINE_BYTES + 1];
    if (text.size <= CRC_LINE_BYTES || text.data[text.size - CRC_LINE_BYTES - 1] != '\n')
        return HF_E_CORRUPT;
    size_t size = text.size - CRC_LINE_BYTES;
    snprintf(line, sizeof line, "crc %08" PRIx32 "\n", crc32c(0, text.data, size));
    if (memcmp(text.data + size, line, CRC_LINE_BYTES) != 0)
        return HF_E_CORRUPT;
    *lines = (struct lines){.at = (const char *)text.data, .end = (const char *)text.data + size};
    return HF_OK;
}

/* The value in the next line, if its key is `key`. There is a line end: the text ends with one. */
static bool value_of(const struct lines *lines, const char *key, struct slice *out)
{
    size_t size = strlen(key), left = (size_t)(lines->end - lines->at);
    if (left < size + 2 || memcmp(lines->at, key, size) != 0 || lines->at[size] != ' ')
        return false;
    const char *value = lines->at + size + 1;
    const char *end = memchr(value, '\n', (size_t)(lines->end - value));
    if (end == NULL)
        return false;
    *out = slice_make(value, (size_t)(end - value));
    return true;
}

static void pass(struct lines *lines, struct slice value)
{
    lines->at = (const char *)value.data + value.size + 1;
}

static int nibble(uint8_t c)
{
    const char *at = c == 0 ? NULL : memchr(digits, c, 16);
    return at == NULL ? -1 : (int)(at - digits);
}

bool lines_take_decimal(struct lines *lines, const char *key, uint64_t max, uint64_t *out)
{
    struct slice value;
    if (!value_of(lines, key, &value) || value.size == 0 || (value.size > 1 && value.data[0] == '0'))
        return false;
    uint64_t n = 0;
    for (size_t i = 0; i < value.size; i++) {
        unsigned digit = (unsigned)value.data[i] - '0';
        if (digit > 9 || n > (max - digit) / 10 || digit > max)
            return false;
        n = n * 10 + digit;
    }
    pass(lines, value);
    *out = n;
    return true;
}

bool lines_take_hex(struct lines *lines, const char *key, uint64_t *out)
{
    struct slice value;
    if (!value_of(lines, key, &value) || value.size != 16)
        return false;
    uint64_t n = 0;
    for (size_t i = 0; i < value.size; i++) {
        int digit = nibble(value.data[i]);
        if (digit < 0)
            return false;
        n = n << 4 | (unsigned)digit;
    }
    pass(lines, value);
    *out = n;
    return true;
}

bool lines_take_bytes(struct lines *lines, const char *key, size_t max, struct buf *out)
{
    struct slice value;
    size_t before = out->size;
    if (!value_of(lines, key, &value) || value.size % 2 != 0 || value.size / 2 > max)
        return false;
    for (size_t i = 0; i < value.size; i += 2) {
        int high = nibble(value.data[i]), low = nibble(value.data[i + 1]);
        if (high < 0 || low < 0) {
            out->size = before;
            return false;
        }
        uint8_t byte = (uint8_t)(high << 4 | low);
        buf_append(out, &byte, 1);
    }
    pass(lines, value);
    return true;
}

bool lines_done(const struct lines *lines)
{
    return lines->at == lines->end;
}
