/* vkey.c: order-preserving record keys. 00 in a user key becomes 00 FF, 00 01 ends it; a version is stored inverted. */
#include "shard/fsm/vkey.h"

#include "common/base/endian.h"
#include "common/base/must.h"

enum { ESCAPE = 0x00, ESCAPED_ZERO = 0xff, TERMINATOR = 0x01 };

static uint8_t *escape(uint8_t *to, struct slice key)
{
    if (key.size == 0)
        return to;
    const uint8_t *from = key.data, *end = key.data + key.size;
    while (from < end) {
        const uint8_t *zero = memchr(from, ESCAPE, (size_t)(end - from));
        size_t run = (size_t)((zero != NULL ? zero : end) - from);
        memcpy(to, from, run);
        to += run;
        from += run;
        if (zero != NULL) {
            *to++ = ESCAPE;
            *to++ = ESCAPED_ZERO;
            from++;
        }
    }
    return to;
}

static size_t zeros(struct slice key)
{
    size_t count = 0;
    if (key.size == 0)
        return count;
    const uint8_t *from = key.data, *end = key.data + key.size;
    while (from < end && (from = memchr(from, ESCAPE, (size_t)(end - from))) != NULL) {
        count++;
        from++;
    }
    return count;
}

struct slice vkey_prefix(struct arena *arena, enum vkey_kind kind, uint8_t space, struct slice key)
{
    uint8_t *start = arena_alloc(arena, 2 + key.size + zeros(key) + 2 + VKEY_VERSION_BYTES), *to = start;
    *to++ = (uint8_t)kind;
    *to++ = space;
    to = escape(to, key);
    *to++ = ESCAPE;
    *to++ = TERMINATOR;
    return slice_make(start, (size_t)(to - start));
}

struct slice vkey_versioned(struct slice prefix, struct version version)
{
    uint8_t *suffix = (uint8_t *)(uintptr_t)prefix.data + prefix.size;
    put_be64(suffix, ~version.t.t);
    put_be64(suffix + 8, ~version.seq);
    return slice_make(prefix.data, prefix.size + VKEY_VERSION_BYTES);
}

struct slice vkey_seek(struct slice prefix, struct hlc at)
{
    return vkey_versioned(prefix, (struct version){.t = {at.t - 1}, .seq = UINT64_MAX});
}

size_t vkey_prefix_length(struct slice record)
{
    if (record.size < 4 || (record.data[0] != VKEY_DATA && record.data[0] != VKEY_MARKER))
        return 0;
    const uint8_t *at = record.data + 2, *end = record.data + record.size;
    while (end - at >= 2 && (at = memchr(at, ESCAPE, (size_t)(end - at) - 1)) != NULL) {
        if (at[1] == TERMINATOR)
            return (size_t)(at + 2 - record.data);
        at += 2;
    }
    return 0;
}

bool vkey_decode(struct slice record, struct vkey *out)
{
    size_t length = vkey_prefix_length(record);
    if (length == 0 || record.size != length + VKEY_VERSION_BYTES)
        return false;
    out->kind = record.data[0];
    out->space = record.data[1];
    out->prefix = slice_make(record.data, length);
    out->version.t.t = ~get_be64(record.data + length);
    out->version.seq = ~get_be64(record.data + length + 8);
    return true;
}

bool vkey_user(struct slice prefix, struct arena *arena, struct slice *out)
{
    if (prefix.size < 4 || prefix.size > VKEY_PREFIX_MAX)
        return false;
    const uint8_t *from = prefix.data + 2, *end = prefix.data + prefix.size - 2;
    if (end[0] != ESCAPE || end[1] != TERMINATOR)
        return false;
    uint8_t *start = arena_alloc(arena, (size_t)(end - from)), *to = start;
    while (from < end) {
        const uint8_t *zero = memchr(from, ESCAPE, (size_t)(end - from));
        size_t run = (size_t)((zero != NULL ? zero : end) - from);
        memcpy(to, from, run);
        to += run;
        from += run;
        if (zero == NULL)
            continue;
        if (end - zero < 2 || zero[1] != ESCAPED_ZERO)
            return false;
        *to++ = 0;
        from += 2;
    }
    if (to - start > LIMIT_KEY_BYTES)
        return false;
    *out = slice_make(start, (size_t)(to - start));
    return true;
}

void vkey_session(uint64_t id, uint8_t out[VKEY_SESSION_BYTES])
{
    out[0] = VKEY_SESSION;
    put_be64(out + 1, id);
}
