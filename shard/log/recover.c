/* recover.c: replays segments into a view; tells a torn tail from damage; rewrites the last frame. */
#include "shard/log/recover.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"

#define WINDOW_BYTES ((size_t)1024 * 1024)
#define TORN_BYTES_MIN 4096u /* zeroed behind the last frame even when no header says how long the torn one was */

/* A part of one segment in memory. */
struct recover_window {
    struct segments *segments;
    uint64_t id, bytes; /* the segment and its size */
    uint64_t from;
    size_t size, cap;
    uint8_t *data; /* owned */
};

static struct recover_window *window_new(struct segments *s)
{
    struct recover_window *w = calloc(1, sizeof *w);
    must(w != NULL); /* out of memory */
    w->segments = s;
    return w;
}

static void window_open(struct recover_window *w, const struct segment *segment)
{
    w->id = segment->id;
    w->bytes = segment->bytes;
    w->size = 0;
}

/* [offset, +size) of the segment, within its size; borrowed until the next call. */
static int window_at(struct recover_window *w, uint64_t offset, size_t size, const uint8_t **out)
{
    must(offset <= w->bytes && size <= w->bytes - offset);
    if (w->size == 0 || offset < w->from || offset + size > w->from + w->size) {
        uint64_t rest = w->bytes - offset;
        size_t want = size > WINDOW_BYTES ? size : rest < WINDOW_BYTES ? (size_t)rest : WINDOW_BYTES;
        if (want > w->cap) {
            free(w->data);
            w->data = malloc(want);
            must(w->data != NULL); /* out of memory */
            w->cap = want;
        }
        w->size = 0;
        int rc = segments_read(w->segments, w->id, offset, w->data, want);
        if (rc != 0)
            return rc;
        w->from = offset;
        w->size = want;
    }
    *out = w->data + (offset - w->from);
    return 0;
}

void recover_deinit(struct recovery *r)
{
    if (r->window != NULL)
        free(r->window->data);
    free(r->window);
    r->window = NULL;
    view_deinit(&r->view);
}

static int damage(const struct segments *s, uint64_t id, uint64_t offset, int rc, const char *what,
                  char out_where[RECOVER_WHERE_BYTES])
{
    char name[SEGMENTS_NAME_BYTES];
    segments_name(id, name);
    snprintf(out_where, RECOVER_WHERE_BYTES, "%s at offset %" PRIu64 ": %s (in %s)", name, offset, what, s->dir);
    return rc;
}

/* Replay of records. Until a base record covers it, a log whose oldest segments were let go begins behind a gap: the
 * view's base stands for the last index not known, with term 0 where that is unknown too. */

static bool apply_base(struct recovery *r, uint64_t index, uint64_t term)
{
    uint64_t known;
    if (index < r->base || index > r->view.durable)
        return false;
    r->base = index;
    r->base_term = term;
    if (index < r->view.base)
        return true; /* covered, or found missing, later */
    if (index == r->view.base)
        return view_set_base_term(&r->view, term);
    if (view_term(&r->view, index, &known) != 0 || known != term)
        return false;
    return view_trim(&r->view, index) == term;
}

static bool apply_truncate(struct recovery *r, uint64_t index)
{
    if (index <= r->base || index > r->view.last)
        return false;
    if (index > r->view.base) {
        view_truncate(&r->view, index);
        return true;
    }
    view_deinit(&r->view);
    view_init(&r->view, index - 1, index - 1 == r->base ? r->base_term : 0);
    return true;
}

/* All entries went, for a state machine that came from elsewhere and stands at (index, term). Nothing before matters any
 * more, not even that it was there. */
static bool apply_restart(struct recovery *r, uint64_t index, uint64_t term)
{
    if (index < r->base)
        return false;
    view_deinit(&r->view);
    view_init(&r->view, index, term);
    r->base = index;
    r->base_term = term;
    return true;
}

/* Takes an intact frame into the view; false: its content does not follow from what came before. */
static bool apply_frame(struct recovery *r, const uint8_t *frame, const struct frame_header *h, uint64_t segment,
                        uint64_t offset)
{
    struct frame_cursor cursor;
    struct frame_item item;
    uint64_t first = 0;
    int more;
    frame_open(&cursor, frame, h);
    while ((more = frame_next(&cursor, &item)) > 0) {
        switch (item.type) {
        case FRAME_ENTRIES:
            if (item.entry.index != r->view.last + 1 || item.entry.term < view_last_term(&r->view))
                return false;
            view_append(&r->view, item.entry.term);
            first = first == 0 ? item.entry.index : first;
            break;
        case FRAME_TRUNCATE:
            if (!apply_truncate(r, item.entry.index))
                return false;
            first = first >= item.entry.index ? 0 : first;
            break;
        case FRAME_BASE:
            if (!apply_base(r, item.entry.index, item.entry.term))
                return false;
            break;
        case FRAME_RESTART:
            if (!apply_restart(r, item.entry.index, item.entry.term))
                return false;
            first = 0;
            break;
        }
    }
    if (more != 0)
        return false;
    if (first != 0)
        view_frame(&r->view, first, segment, offset, h->length);
    return true;
}

/* The header block of segment `i` against its name and against what came before. */
static int read_header(struct segments *s, struct recovery *r, size_t i, char out_where[RECOVER_WHERE_BYTES])
{
    const struct segment *segment = &s->items[i];
    const uint8_t *block;
    struct frame_segment h;
    if (segment->bytes < FRAME_SEGMENT_HEADER_BYTES)
        return damage(s, segment->id, 0, HF_E_CORRUPT, "shorter than a segment header", out_where);
    int rc = window_at(r->window, 0, FRAME_SEGMENT_HEADER_BYTES, &block);
    if (rc != 0)
        return damage(s, segment->id, 0, rc, "cannot be read", out_where);
    rc = frame_segment_read(block, &h);
    if (rc != 0)
        return damage(s, segment->id, 0, rc, rc == HF_E_FORMAT ? "unknown format" : "bad segment header", out_where);
    if (h.id != segment->id)
        return damage(s, segment->id, 0, HF_E_CORRUPT, "header of another segment", out_where);
    if (segment->bytes < h.bytes) /* it was synced at its full length before it got its name */
        return damage(s, segment->id, segment->bytes, HF_E_CORRUPT, "the file has been cut short here", out_where);
    if (i == 0) {
        view_init(&r->view, h.last, h.last_term);
        r->base = h.base;
        r->base_term = h.base_term;
        r->sequence = h.sequence;
        return 0;
    }
    if (h.sequence != r->sequence) /* the segment before ends too early, or segments between are missing */
        return damage(s, s->items[i - 1].id, r->end, HF_E_CORRUPT, "bad frame, and later segments follow", out_where);
    if (h.last != r->view.last || !apply_base(r, h.base, h.base_term))
        return damage(s, segment->id, 0, HF_E_CORRUPT, "header does not follow from the frames before", out_where);
    return 0;
}

/* All good frames of the window's segment; r->end is then behind them. */
static int read_frames(struct segments *s, struct recovery *r, char out_where[RECOVER_WHERE_BYTES])
{
    struct recover_window *w = r->window;
    const uint8_t *at;
    struct frame_header h;
    int rc = 0;
    r->end = FRAME_SEGMENT_HEADER_BYTES;
    while (w->bytes - r->end >= FRAME_HEADER_BYTES) {
        rc = window_at(w, r->end, FRAME_HEADER_BYTES, &at);
        if (rc != 0 || !frame_header_read(at, w->id, r->end, w->bytes - r->end, &h))
            break;
        rc = window_at(w, r->end, h.length, &at);
        if (rc != 0 || !frame_intact(at, &h, w->id, r->end))
            break;
        if (h.sequence != r->sequence)
            return damage(s, w->id, r->end, HF_E_CORRUPT, "gap in the sequence of frames", out_where);
        if (!apply_frame(r, at, &h, w->id, r->end))
            return damage(s, w->id, r->end, HF_E_CORRUPT, "frame does not follow from those before", out_where);
        r->last_segment = w->id;
        r->last_offset = r->end;
        r->last_bytes = h.length;
        r->commit = h.commit;
        r->sequence++;
        r->report.frames++;
        r->end += h.length;
    }
    return rc == 0 ? 0 : damage(s, w->id, r->end, rc, "cannot be read", out_where);
}

/* Is there a frame header of its own place and of a higher sequence number anywhere behind r->end? Its header suffices:
 * it was written after the frame at r->end had been durable. */
static int later_frame(struct recovery *r, bool *out_found)
{
    struct recover_window *w = r->window;
    uint64_t most = r->sequence + w->bytes / FRAME_HEADER_BYTES;
    struct frame_header h;
    *out_found = false;
    for (uint64_t from = r->end + FRAME_ALIGN; from + FRAME_HEADER_BYTES <= w->bytes;) {
        const uint8_t *at;
        uint64_t rest = w->bytes - from;
        size_t size = rest < WINDOW_BYTES ? (size_t)rest : WINDOW_BYTES;
        int rc = window_at(w, from, size, &at);
        if (rc != 0)
            return rc;
        size_t i = 0;
        for (; i + FRAME_HEADER_BYTES <= size; i += FRAME_ALIGN)
            if (frame_header_read(at + i, w->id, from + i, rest - i, &h) && h.sequence >= r->sequence &&
                h.sequence <= most) {
                *out_found = true;
                return 0;
            }
        from += i;
    }
    return 0;
}

/* The end of the last segment: damage, or bytes to be zeroed. */
static int judge_tail(struct segments *s, struct recovery *r, char out_where[RECOVER_WHERE_BYTES])
{
    struct recover_window *w = r->window;
    struct frame_header h;
    const uint8_t *at;
    bool found;
    int rc = later_frame(r, &found);
    if (rc != 0)
        return damage(s, w->id, r->end, rc, "cannot be read", out_where);
    if (found)
        return damage(s, w->id, r->end, HF_E_CORRUPT, "bad frame, and later frames follow", out_where);
    uint64_t rest = w->bytes - r->end;
    r->torn_bytes = rest < TORN_BYTES_MIN ? rest : TORN_BYTES_MIN;
    if (rest < FRAME_HEADER_BYTES)
        return 0;
    rc = window_at(w, r->end, FRAME_HEADER_BYTES, &at);
    if (rc != 0)
        return damage(s, w->id, r->end, rc, "cannot be read", out_where);
    if (frame_header_read(at, w->id, r->end, rest, &h)) {
        r->report.torn_bytes = h.length;
        r->torn_bytes = h.length > r->torn_bytes ? h.length : r->torn_bytes;
    }
    return 0;
}

int recover_read(struct segments *s, struct recovery *out, char out_where[RECOVER_WHERE_BYTES])
{
    must(s->count > 0);
    *out = (struct recovery){.window = window_new(s)};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s->count; i++) {
        window_open(out->window, &s->items[i]);
        rc = read_header(s, out, i, out_where);
        if (rc == 0)
            rc = read_frames(s, out, out_where);
    }
    if (rc == 0)
        rc = judge_tail(s, out, out_where);
    if (rc != 0)
        return rc;
    if (out->view.base != out->base || !view_set_base_term(&out->view, out->base_term))
        return damage(s, s->items[0].id, 0, HF_E_CORRUPT, "entries before this segment are missing", out_where);
    view_check(&out->view);
    out->report.segments = s->count;
    out->report.entries = out->view.last - out->view.base;
    return 0;
}

static int zero_torn(struct segments *s, const struct recovery *r)
{
    static const uint8_t zeros[64 * 1024];
    int rc = 0;
    for (uint64_t done = 0; rc == 0 && done < r->torn_bytes;) {
        uint64_t rest = r->torn_bytes - done;
        size_t piece = rest < sizeof zeros ? (size_t)rest : sizeof zeros;
        rc = s->disk->ops->write(s->disk, s->active, r->end + done, zeros, piece);
        done += piece;
    }
    return rc;
}

/* Writes the last frame again where it is. */
static int rewrite_last(struct segments *s, struct recovery *r)
{
    const uint8_t *frame;
    int rc = window_at(r->window, r->last_offset, r->last_bytes, &frame);
    return rc != 0 ? rc : s->disk->ops->write(s->disk, s->active, r->last_offset, frame, r->last_bytes);
}

int recover_settle(struct segments *s, struct recovery *r)
{
    int rc = segments_resume(s, r->end);
    if (rc == 0)
        rc = zero_torn(s, r);
    if (rc == 0 && r->last_segment == segments_active(s)) /* in an earlier one: a later was begun, so it was synced */
        rc = rewrite_last(s, r);
    if (rc == 0)
        rc = s->disk->ops->sync(s->disk, s->active);
    return rc == 0 ? s->disk->ops->sync_dir(s->disk, s->dir) : rc; /* names found may not have been durable either */
}
