/* text.c: see text.h. */
#include "client/cli/text.h"

#include <time.h>

static const char digits[] = "0123456789abcdef";

static bool plain(uint8_t c)
{
    return c >= 0x20 && c != 0x7f && c != '\\';
}

void text_escape(FILE *to, struct slice s)
{
    for (size_t at = 0; at < s.size;) {
        size_t run = at;
        while (run < s.size && plain(s.data[run]))
            run++;
        fwrite(s.data + at, 1, run - at, to);
        at = run;
        if (at == s.size)
            return;
        uint8_t c = s.data[at++];
        if (c == '\t')
            fputs("\\t", to);
        else if (c == '\n')
            fputs("\\n", to);
        else if (c == '\\')
            fputs("\\\\", to);
        else
            fprintf(to, "\\x%02x", c);
    }
}

static int nibble(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool hex_byte(const uint8_t two[2], uint8_t *out)
{
    int high = nibble(two[0]), low = nibble(two[1]);
    if (high < 0 || low < 0)
        return false;
    *out = (uint8_t)(high * 16 + low);
    return true;
}

/* The escape that begins behind the backslash at `at`; how many characters it has, 0: none. */
static size_t escape(struct slice s, size_t at, uint8_t *out)
{
    if (at >= s.size)
        return 0;
    switch (s.data[at]) {
    case 't':
        *out = '\t';
        return 1;
    case 'n':
        *out = '\n';
        return 1;
    case '\\':
        *out = '\\';
        return 1;
    case 'x':
        return at + 2 < s.size && hex_byte(s.data + at + 1, out) ? 3 : 0;
    default:
        return 0;
    }
}

bool text_unescape(struct slice s, uint8_t *out, size_t *out_size)
{
    size_t n = 0;
    for (size_t at = 0; at < s.size;) {
        const uint8_t *stop = memchr(s.data + at, '\\', s.size - at);
        size_t run = stop ? (size_t)(stop - s.data) - at : s.size - at;
        memmove(out + n, s.data + at, run);
        n += run;
        at += run;
        if (!stop)
            break;
        size_t used = escape(s, at + 1, &out[n]);
        if (used == 0)
            return false;
        n++;
        at += 1 + used;
    }
    *out_size = n;
    return true;
}

void text_hex(FILE *to, struct slice s)
{
    for (size_t i = 0; i < s.size; i++) {
        putc(digits[s.data[i] >> 4], to);
        putc(digits[s.data[i] & 15], to);
    }
}

bool text_unhex(struct slice s, uint8_t *out, size_t *out_size)
{
    if (s.size % 2 != 0)
        return false;
    for (size_t i = 0; i < s.size; i += 2) {
        if (!hex_byte(s.data + i, &out[i / 2]))
            return false;
    }
    *out_size = s.size / 2;
    return true;
}

/* Bytes of the UTF-8 character at the beginning (RFC 3629: no overlong form, no surrogate); 0: none. */
static size_t character(struct slice s)
{
    uint8_t c = s.data[0];
    if (c < 0x80)
        return 1;
    size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || s.size < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s.data[i] & 0xc0) != 0x80)
            return 0;
    uint8_t d = s.data[1];
    bool bad = (c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f) || (c == 0xf0 && d < 0x90) || (c == 0xf4 && d > 0x8f);
    return bad ? 0 : n;
}

bool text_is_utf8(struct slice s)
{
    while (s.size > 0) {
        size_t n = character(s);
        if (n == 0)
            return false;
        s = slice_make(s.data + n, s.size - n);
    }
    return true;
}

void text_json(FILE *to, struct slice s)
{
    putc('"', to);
    while (s.size > 0) {
        size_t n = character(s);
        uint8_t c = s.data[0];
        if (n == 0)
            fputs("\\ufffd", to);
        else if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c == '\n')
            fputs("\\n", to);
        else if (c == '\t')
            fputs("\\t", to);
        else if (c < 0x20 || c == 0x7f)
            fprintf(to, "\\u%04x", c);
        else
            fwrite(s.data, 1, n, to);
        n = n ? n : 1;
        s = slice_make(s.data + n, s.size - n);
    }
    putc('"', to);
}

void text_json_or_hex(FILE *to, struct slice s, bool hex)
{
    if (!hex) {
        text_json(to, s);
        return;
    }
    putc('"', to);
    text_hex(to, s);
    putc('"', to);
}

void text_time(uint64_t ms, char out[TEXT_TIME_BYTES])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    size_t size = gmtime_r(&seconds, &tm) ? strftime(out, TEXT_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &tm) : 0;
    snprintf(out + size, TEXT_TIME_BYTES - size, ".%03uZ", (unsigned)(ms % 1000));
}
