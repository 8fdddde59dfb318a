/* segments.c: making, finding, writing, reading and recycling segment files. */
#include "shard/log/segments.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"

#define BLOCK_BYTES 4096u /* file sizes are multiples of it */

void segments_init(struct segments *s, struct disk *disk, const char *dir, uint64_t segment_bytes)
{
    *s =
        (struct segments){.disk = disk, .segment_bytes = (segment_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES};
    if (s->segment_bytes < 2 * FRAME_SEGMENT_HEADER_BYTES)
        s->segment_bytes = 2 * FRAME_SEGMENT_HEADER_BYTES;
    s->dir = strdup(dir);
    must(s->dir != NULL); /* out of memory */
}

void segments_deinit(struct segments *s)
{
    if (s->active != NULL)
        s->disk->ops->close(s->disk, &s->active);
    if (s->reading != NULL)
        s->disk->ops->close(s->disk, &s->reading);
    if (s->filling != NULL)
        s->disk->ops->close(s->disk, &s->filling);
    free(s->items);
    free(s->dir);
    *s = (struct segments){0};
}

void segments_name(uint64_t id, char out[SEGMENTS_NAME_BYTES])
{
    snprintf(out, SEGMENTS_NAME_BYTES, "seg-%016" PRIx64 ".log", id);
}

static void path_of(const struct segments *s, const char *kind, uint64_t id, char out[SEGMENTS_PATH_BYTES])
{
    int n = snprintf(out, SEGMENTS_PATH_BYTES, "%s/%s-%016" PRIx64 ".log", s->dir, kind, id);
    must(n > 0 && n < SEGMENTS_PATH_BYTES); /* log_open and log_create bound the directory's length */
}

/* "<kind>-<16 hex digits>.log" → the number; 0: not such a name. */
static uint64_t id_of(const char *name, const char *kind)
{
    size_t head = strlen(kind);
    if (strlen(name) != head + 21 || strncmp(name, kind, head) != 0 || name[head] != '-' ||
        strcmp(name + head + 17, ".log") != 0 || strspn(name + head + 1, "0123456789abcdef") != 16)
        return 0;
    return strtoull(name + head + 1, NULL, 16);
}

static void push(struct segments *s, struct segment item)
{
    if (s->count == s->cap) {
        s->cap = s->cap == 0 ? 16 : 2 * s->cap;
        s->items = realloc(s->items, s->cap * sizeof *s->items);
        must(s->items != NULL); /* out of memory */
    }
    s->items[s->count++] = item;
    if (item.id > s->id_max)
        s->id_max = item.id;
}

struct found {
    struct segments *s;
    uint64_t spares[64];
    size_t spare_count;
};

static void note_file(void *ctx, const char *name)
{
    struct found *found = ctx;
    uint64_t id = id_of(name, "seg");
    if (id != 0)
        push(found->s, (struct segment){.id = id});
    id = id_of(name, "spare");
    if (id != 0 && found->spare_count < sizeof found->spares / sizeof found->spares[0])
        found->spares[found->spare_count++] = id;
}

static int by_id(const void *a, const void *b)
{
    const struct segment *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int size_of(struct disk *disk, const char *path, uint64_t *out_bytes)
{
    struct disk_file *file = NULL;
    int rc = disk->ops->open(disk, path, DISK_READ, &file);
    if (rc != 0)
        return rc;
    rc = disk->ops->size(disk, file, out_bytes);
    disk->ops->close(disk, &file);
    return rc;
}

/* I6: of a spare file of an earlier process not even the length can be believed, its syncs may have failed: it goes, and
 * its id is not used again, since a power failure may bring it back. */
static int drop_spare(struct segments *s, uint64_t id)
{
    char path[SEGMENTS_PATH_BYTES];
    path_of(s, "spare", id, path);
    if (id > s->id_max)
        s->id_max = id;
    return s->disk->ops->remove(s->disk, path);
}

int segments_load(struct segments *s)
{
    struct found found = {.s = s};
    int rc = s->disk->ops->list(s->disk, s->dir, note_file, &found);
    if (rc != 0)
        return rc;
    if (s->count > 0)
        qsort(s->items, s->count, sizeof *s->items, by_id);
    for (size_t i = 0; rc == 0 && i < s->count; i++) {
        char path[SEGMENTS_PATH_BYTES];
        path_of(s, "seg", s->items[i].id, path);
        rc = size_of(s->disk, path, &s->items[i].bytes);
    }
    for (size_t i = 0; rc == 0 && i < found.spare_count; i++)
        rc = drop_spare(s, found.spares[i]);
    return rc;
}

int segments_resume(struct segments *s, uint64_t end)
{
    char path[SEGMENTS_PATH_BYTES];
    path_of(s, "seg", segments_active(s), path);
    s->end = end;
    return s->disk->ops->open(s->disk, path, DISK_WRITE, &s->active);
}

/* Of the segment after the last one: an idle log stays small. */
static uint64_t next_bytes(const struct segments *s)
{
    uint64_t bytes = s->count == 0 ? 0 : 2 * (s->items[s->count - 1].bytes / BLOCK_BYTES * BLOCK_BYTES);
    bytes = bytes < SEGMENTS_FIRST_BYTES ? SEGMENTS_FIRST_BYTES : bytes;
    return bytes < s->segment_bytes ? bytes : s->segment_bytes;
}

int segments_sync_parent(struct disk *disk, const char *dir)
{
    char parent[SEGMENTS_PATH_BYTES];
    size_t end = strlen(dir);
    while (end > 1 && dir[end - 1] == '/')
        end--;
    while (end > 0 && dir[end - 1] != '/')
        end--;
    while (end > 1 && dir[end - 1] == '/')
        end--;
    snprintf(parent, sizeof parent, "%.*s", (int)(end == 0 ? 1 : end), end == 0 ? "." : dir);
    return disk->ops->sync_dir(disk, parent);
}

static int open_next(struct segments *s)
{
    char path[SEGMENTS_PATH_BYTES];
    if (s->filling != NULL)
        return 0;
    bool made = s->next.id == 0;
    uint64_t id = made ? s->id_max + 1 : s->next.id;
    path_of(s, "spare", id, path);
    int rc = s->disk->ops->open(s->disk, path, made ? DISK_CREATE : DISK_WRITE, &s->filling);
    if (rc == 0 && made) {
        s->next = (struct segment){.id = id};
        s->id_max = id;
    }
    return rc;
}

/* The spare file being filled, made if there is none, gets `bytes` at least; not synced. On failure it is gone. */
static int fill_next(struct segments *s, uint64_t bytes)
{
    int rc = open_next(s);
    if (rc != 0 && s->next.id == 0)
        return rc;
    if (rc == 0 && s->next.bytes < bytes) {
        rc = s->disk->ops->zero_fill(s->disk, s->filling, bytes);
        if (rc == 0)
            s->next.bytes = bytes;
    }
    if (rc == 0)
        return 0;
    char path[SEGMENTS_PATH_BYTES];
    path_of(s, "spare", s->next.id, path);
    s->disk->ops->close(s->disk, &s->filling);
    s->next = (struct segment){0};
    int removed = s->disk->ops->remove(s->disk, path);
    return removed != 0 ? removed : rc;
}

/* By how much the next spare file, `rest` bytes short, should grow for a frame of `written` bytes. */
static uint64_t due(const struct segments *s, uint64_t rest, uint64_t written)
{
    uint64_t room = s->items[s->count - 1].bytes - s->end + written;
    must(written > 0 && written <= room && written <= FRAME_BYTES_MAX && rest <= UINT64_MAX / FRAME_BYTES_MAX);
    uint64_t share = rest * written / room;
    return share + share / 4 + BLOCK_BYTES;
}

int segments_prepare(struct segments *s, uint64_t written)
{
    uint64_t goal = next_bytes(s), from = s->next.bytes;
    if (s->spare_count > 0 || s->refused || from >= goal)
        return 0;
    uint64_t rest = goal - from, least = goal / 16, most = written + written / 4;
    least = least < SEGMENTS_PREPARE_BYTES ? least : SEGMENTS_PREPARE_BYTES; /* few long writes cost less than many */
    most = most > SEGMENTS_PREPARE_BYTES ? most : SEGMENTS_PREPARE_BYTES;
    s->owed += due(s, rest, written);
    if (s->owed < least && s->owed < rest)
        return 0;
    uint64_t piece = s->owed < most ? s->owed : most;
    uint64_t to = piece < rest ? (from + piece) / BLOCK_BYTES * BLOCK_BYTES : goal;
    s->owed = 0; /* what is short of it raises the share of the frames to come */
    int rc = fill_next(s, to);
    if (rc == HF_E_NO_SPACE) {
        s->refused = true;
        return 0;
    }
    crash_point("log.prepared");
    if (rc == 0 && (to == goal || to / SEGMENTS_PREPARE_BYTES != from / SEGMENTS_PREPARE_BYTES))
        rc = s->disk->ops->sync(s->disk, s->filling) == 0 ? 0 : HF_E_IO; /* so that no heap of dirty pages builds up */
    return rc;
}

/* A file of `bytes` at least for the next segment, still under its spare name. */
static int take_spare(struct segments *s, uint64_t bytes, struct disk_file **out, struct segment *out_spare)
{
    int rc;
    if (bytes <= s->segment_bytes && s->spare_count > 0) {
        char path[SEGMENTS_PATH_BYTES];
        struct segment spare = {.id = s->spares[s->spare_count - 1], .bytes = s->segment_bytes};
        path_of(s, "spare", spare.id, path);
        rc = s->disk->ops->open(s->disk, path, DISK_WRITE, out);
        if (rc != 0)
            return rc;
        s->spare_count--;
        *out_spare = spare;
        return 0;
    }
    /* What is filled so far is enough, after a start late in a segment: a smaller one costs less than a long fill. */
    uint64_t least = s->next.bytes > SEGMENTS_FIRST_BYTES ? s->next.bytes : SEGMENTS_FIRST_BYTES;
    least = least < next_bytes(s) ? least : next_bytes(s);
    rc = fill_next(s, bytes > least ? bytes : least); /* synced with the header */
    if (rc != 0)
        return rc;
    *out = s->filling;
    *out_spare = s->next;
    s->filling = NULL;
    s->next = (struct segment){0};
    return 0;
}

/* Makes names durable. */
static int sync_names(const struct segments *s)
{
    return planted_bug("log.skip_dirsync") ? 0 : s->disk->ops->sync_dir(s->disk, s->dir);
}

/* Header, then name: after this the file is the segment header->id. */
static int christen(struct segments *s, struct disk_file *file, uint64_t spare, const struct frame_segment *header)
{
    uint8_t block[FRAME_SEGMENT_HEADER_BYTES];
    char from[SEGMENTS_PATH_BYTES], to[SEGMENTS_PATH_BYTES];
    path_of(s, "spare", spare, from);
    path_of(s, "seg", header->id, to);
    frame_segment_write(block, header);
    int rc = s->disk->ops->write(s->disk, file, 0, block, sizeof block);
    if (rc == 0)
        rc = s->disk->ops->sync(s->disk, file);
    crash_point("log.new_segment");
    if (rc == 0)
        rc = s->disk->ops->rename(s->disk, from, to);
    if (rc == 0) {
        rc = sync_names(s);
        return rc == HF_E_NO_SPACE ? HF_E_IO : rc; /* the name is there: not to be tried again */
    }
    return rc;
}

int segments_add(struct segments *s, struct frame_segment header, uint64_t frame_bytes)
{
    uint64_t need = FRAME_SEGMENT_HEADER_BYTES + (frame_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    struct segment spare = {0};
    struct disk_file *file = NULL;
    int rc = take_spare(s, need, &file, &spare);
    if (rc != 0)
        return rc;
    bool unused = s->count == 0 || spare.id > segments_active(s); /* as an id of a segment: ids rise */
    header.id = unused ? spare.id : s->id_max + 1;
    header.bytes = spare.bytes;
    rc = christen(s, file, spare.id, &header);
    if (rc != 0) {
        s->disk->ops->close(s->disk, &file);
        if (rc == HF_E_NO_SPACE) { /* no spare file may be forgotten: its name would be in the way of the next */
            char path[SEGMENTS_PATH_BYTES];
            path_of(s, "spare", spare.id, path);
            int removed = s->disk->ops->remove(s->disk, path);
            return removed != 0 ? removed : rc;
        }
        return rc;
    }
    if (s->active != NULL)
        s->disk->ops->close(s->disk, &s->active);
    push(s, (struct segment){.id = header.id, .bytes = spare.bytes});
    s->active = file;
    s->refused = false;
    s->end = FRAME_SEGMENT_HEADER_BYTES;
    return 0;
}

int segments_write(struct segments *s, struct slice frame)
{
    must(segments_fit(s, frame.size)); /* a frame never spans segments */
    crash_point("log.before_write");
    int rc = s->disk->ops->write(s->disk, s->active, s->end, frame.data, frame.size);
    if (rc != 0)
        return rc;
    crash_point("log.after_write");
    rc = planted_bug("log.skip_sync") ? 0 : s->disk->ops->sync(s->disk, s->active);
    if (rc != 0)
        return HF_E_IO; /* I6: whatever it is called, a failed sync is never tried again */
    crash_point("log.after_sync");
    s->end += frame.size;
    return 0;
}

int segments_read(struct segments *s, uint64_t id, uint64_t offset, void *out, size_t size)
{
    if (s->reading == NULL || s->reading_id != id) {
        char path[SEGMENTS_PATH_BYTES];
        if (s->reading != NULL)
            s->disk->ops->close(s->disk, &s->reading);
        path_of(s, "seg", id, path);
        int rc = s->disk->ops->open(s->disk, path, DISK_READ, &s->reading);
        if (rc != 0)
            return rc;
        s->reading_id = id;
    }
    return s->disk->ops->read(s->disk, s->reading, offset, out, size);
}

/* The oldest segment becomes spare, or goes; its name is durably gone on return. */
static int drop_oldest(struct segments *s)
{
    struct segment oldest = s->items[0];
    char from[SEGMENTS_PATH_BYTES], to[SEGMENTS_PATH_BYTES];
    if (s->reading != NULL && s->reading_id == oldest.id)
        s->disk->ops->close(s->disk, &s->reading);
    path_of(s, "seg", oldest.id, from);
    path_of(s, "spare", oldest.id, to);
    bool keep = oldest.bytes == s->segment_bytes && s->spare_count + (s->next.id != 0) < SEGMENTS_SPARES_MAX;
    int rc = keep ? s->disk->ops->rename(s->disk, from, to) : s->disk->ops->remove(s->disk, from);
    if (rc != 0)
        return rc;
    rc = sync_names(s); /* each alone: a crash never leaves a hole in the row of segments */
    if (rc != 0)
        return HF_E_IO;
    if (keep)
        s->spares[s->spare_count++] = oldest.id;
    s->count--;
    memmove(s->items, s->items + 1, s->count * sizeof *s->items);
    crash_point("log.recycled");
    return 0;
}

int segments_drop(struct segments *s, uint64_t id)
{
    int rc = 0;
    while (rc == 0 && s->count > 1 && (id == 0 || s->items[0].id < id))
        rc = drop_oldest(s);
    return rc;
}

uint64_t segments_bytes(const struct segments *s)
{
    uint64_t bytes = s->spare_count * s->segment_bytes + s->next.bytes;
    for (size_t i = 0; i < s->count; i++)
        bytes += s->items[i].bytes;
    return bytes;
}
