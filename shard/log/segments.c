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

/* Keeps a spare file of the right size, removes any other. */
static int sort_spare(struct segments *s, uint64_t id)
{
    char path[SEGMENTS_PATH_BYTES];
    uint64_t bytes = 0;
    path_of(s, "spare", id, path);
    int rc = size_of(s->disk, path, &bytes);
    if (rc != 0)
        return rc;
    if (id > s->id_max)
        s->id_max = id;
    if (bytes != s->segment_bytes || s->spare_count == SEGMENTS_SPARES_MAX)
        return s->disk->ops->remove(s->disk, path);
    s->spares[s->spare_count++] = id;
    return 0;
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
        rc = sort_spare(s, found.spares[i]);
    return rc;
}

int segments_resume(struct segments *s, uint64_t end)
{
    char path[SEGMENTS_PATH_BYTES];
    path_of(s, "seg", segments_active(s), path);
    s->end = end;
    return s->disk->ops->open(s->disk, path, DISK_WRITE, &s->active);
}

/* A new file called spare-<id>.log, zero-filled, open for writing. On failure it is gone again. */
static int make_spare(struct segments *s, uint64_t id, uint64_t bytes, struct disk_file **out)
{
    char path[SEGMENTS_PATH_BYTES];
    struct disk_file *file = NULL;
    path_of(s, "spare", id, path);
    int rc = s->disk->ops->open(s->disk, path, DISK_CREATE, &file);
    if (rc != 0)
        return rc;
    rc = s->disk->ops->zero_fill(s->disk, file, bytes); /* synced with the header */
    if (rc == 0) {
        *out = file;
        return 0;
    }
    s->disk->ops->close(s->disk, &file);
    int removed = s->disk->ops->remove(s->disk, path);
    return removed != 0 ? removed : rc;
}

/* The file of the next segment, still under its spare name (*out_id). */
static int take_spare(struct segments *s, uint64_t bytes, struct disk_file **out, uint64_t *out_id)
{
    if (bytes != s->segment_bytes || s->spare_count == 0) {
        int rc = make_spare(s, s->id_max + 1, bytes, out);
        *out_id = s->id_max + 1;
        return rc;
    }
    char path[SEGMENTS_PATH_BYTES];
    uint64_t id = s->spares[s->spare_count - 1];
    path_of(s, "spare", id, path);
    int rc = s->disk->ops->open(s->disk, path, DISK_WRITE, out);
    if (rc == 0)
        s->spare_count--;
    *out_id = id;
    return rc;
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
        rc = s->disk->ops->sync_dir(s->disk, s->dir);
        return rc == HF_E_NO_SPACE ? HF_E_IO : rc; /* the name is there: not to be tried again */
    }
    return rc;
}

int segments_add(struct segments *s, struct frame_segment header, uint64_t frame_bytes)
{
    uint64_t need = FRAME_SEGMENT_HEADER_BYTES + (frame_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    uint64_t bytes = need > s->segment_bytes ? need : s->segment_bytes, spare = 0;
    struct disk_file *file = NULL;
    int rc = take_spare(s, bytes, &file, &spare);
    if (rc != 0)
        return rc;
    header.id = s->id_max + 1;
    rc = christen(s, file, spare, &header);
    if (rc != 0) {
        s->disk->ops->close(s->disk, &file);
        if (rc == HF_E_NO_SPACE) { /* no spare file may be forgotten: its name would be in the way of the next */
            char path[SEGMENTS_PATH_BYTES];
            path_of(s, "spare", spare, path);
            int removed = s->disk->ops->remove(s->disk, path);
            return removed != 0 ? removed : rc;
        }
        return rc;
    }
    if (s->active != NULL)
        s->disk->ops->close(s->disk, &s->active);
    push(s, (struct segment){.id = header.id, .bytes = bytes});
    s->active = file;
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
    rc = s->disk->ops->sync(s->disk, s->active);
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
    bool keep = oldest.bytes == s->segment_bytes && s->spare_count < SEGMENTS_SPARES_MAX;
    int rc = keep ? s->disk->ops->rename(s->disk, from, to) : s->disk->ops->remove(s->disk, from);
    if (rc != 0)
        return rc;
    rc = s->disk->ops->sync_dir(s->disk, s->dir); /* each alone: a crash never leaves a hole in the row of segments */
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
    uint64_t bytes = s->spare_count * s->segment_bytes;
    for (size_t i = 0; i < s->count; i++)
        bytes += s->items[i].bytes;
    return bytes;
}
