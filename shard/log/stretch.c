/* stretch.c: see stretch.h. */
#include "shard/log/stretch.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/error.h"
#include "shard/log/frame.h"

static int fail(const struct segments *segments, int rc, const char *what, uint64_t segment, uint64_t offset,
                char where[RECOVER_WHERE_BYTES])
{
    char name[SEGMENTS_NAME_BYTES];
    segments_name(segment, name);
    snprintf(where, RECOVER_WHERE_BYTES, "%s at offset %" PRIu64 ": %s (in %.150s)", name, offset, what, segments->dir);
    return rc;
}

/* Files the entries of one frame. A later record of an index stands: the earlier one was truncated. */
static bool take_frame(const uint8_t *frame, const struct frame_header *h, uint64_t from, uint64_t count,
                       struct log_entry *out)
{
    struct frame_cursor cursor;
    struct frame_item item;
    int more;
    frame_open(&cursor, frame, h);
    while ((more = frame_next(&cursor, &item)) > 0)
        if (item.type == FRAME_ENTRIES && item.entry.index >= from && item.entry.index - from < count)
            out[item.entry.index - from] = item.entry;
    return more == 0;
}

int stretch_read(struct segments *segments, const struct view_stretch *v, uint64_t from, uint64_t count,
                 struct arena *arena, struct log_entry *out, char where[RECOVER_WHERE_BYTES])
{
    must(v->bytes <= FRAME_BYTES_MAX);
    uint8_t *data = arena_alloc(arena, (size_t)v->bytes);
    int rc = segments_read(segments, v->segment, v->offset, data, (size_t)v->bytes);
    if (rc != 0)
        return fail(segments, rc, disk_error_text(rc), v->segment, v->offset, where);
    for (uint64_t i = 0; i < count; i++)
        out[i] = (struct log_entry){0};
    for (uint64_t at = 0; at < v->bytes;) {
        struct frame_header h;
        if (v->bytes - at < FRAME_HEADER_BYTES ||
            !frame_header_read(data + at, v->segment, v->offset + at, v->bytes - at, &h) ||
            !frame_intact(data + at, &h, v->segment, v->offset + at) || !take_frame(data + at, &h, from, count, out))
            return fail(segments, HF_E_CORRUPT, "bad frame", v->segment, v->offset + at, where);
        at += h.length;
    }
    for (uint64_t i = 0; i < count; i++)
        if (out[i].index != from + i)
            return fail(segments, HF_E_CORRUPT, "bad frame", v->segment, v->offset, where);
    return 0;
}
