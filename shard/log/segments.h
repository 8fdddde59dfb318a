/* segments.h: the files seg-<id>.log of a log's directory and the spare ones that become new segments.
 *
 * Position: log.c writes frames at the end of the last segment, recover.c reads all of them.
 * A new segment: a spare file (recycled, or made and zero-filled) → fresh header, synced → renamed to
 * seg-<id>.log, directory synced → first frame. A segment that is let go: renamed to spare-<id>.log, directory synced;
 * only then may its bytes be overwritten. So a file called seg-… always begins with its own header.
 * While no spare file is there, the next one is filled bit by bit behind the frames written, so that beginning a
 * segment takes no long write. Unfinished, it differs from a finished one by its size alone. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/must.h"
#include "common/base/slice.h"
#include "common/sys/disk.h"
#include "shard/log/frame.h"

#define SEGMENTS_PATH_BYTES 4096
#define SEGMENTS_NAME_BYTES 48
#define SEGMENTS_SPARES_MAX 2                          /* with the one being filled */
#define SEGMENTS_FIRST_BYTES ((uint64_t)1024 * 1024)   /* of a log's first segment; doubled up to segment_bytes */
#define SEGMENTS_PREPARE_BYTES ((uint64_t)1024 * 1024) /* filled at a time; more only behind a longer frame */

struct segment {
    uint64_t id;
    uint64_t bytes; /* size of the file */
};

struct segments {
    struct disk *disk; /* borrowed */
    char *dir;         /* owned */
    uint64_t segment_bytes;
    struct segment *items; /* owned; oldest first */
    size_t count, cap;
    uint64_t spares[SEGMENTS_SPARES_MAX]; /* ids in the names of spare files of segment_bytes */
    size_t spare_count;
    struct segment next;       /* the spare file being filled, with its size so far; id 0: none */
    struct disk_file *filling; /* owned; that file, open for writing; NULL: not opened yet */
    uint64_t owed;             /* bytes it should have by now: too few yet for a write */
    bool refused;              /* there was no room to fill it: not before a segment is needed */
    uint64_t id_max;           /* of any file seen or made */
    struct disk_file *active;  /* owned; the last segment, open for writing */
    uint64_t end;              /* where its next frame goes */
    struct disk_file *reading; /* owned; the segment read last */
    uint64_t reading_id;
};

void segments_init(struct segments *s, struct disk *disk, const char *dir, uint64_t segment_bytes);
void segments_deinit(struct segments *s);
void segments_name(uint64_t id, char out[SEGMENTS_NAME_BYTES]);

/* Makes the name of `dir` durable. */
HF_CHECKED int segments_sync_parent(struct disk *disk, const char *dir);

/* Finds the files. The spare ones of an earlier process are removed: even their length may not be durable.
 * HF_E_ABSENT: no directory. HF_E_IO. */
HF_CHECKED int segments_load(struct segments *s);
/* Opens the last segment for writing at `end`. */
HF_CHECKED int segments_resume(struct segments *s, uint64_t end);

/* Does a frame of `bytes` fit behind the last one? */
static inline bool segments_fit(const struct segments *s, uint64_t bytes)
{
    return s->active != NULL && bytes <= s->items[s->count - 1].bytes - s->end;
}
/* A new last segment in which a frame of `frame_bytes` fits; header->id is chosen here. HF_E_NO_SPACE: the log is as it
 * was. HF_E_IO. */
HF_CHECKED int segments_add(struct segments *s, struct frame_segment header, uint64_t frame_bytes);
/* The frame at `end`, durable on return. HF_E_NO_SPACE (try again), HF_E_IO. */
HF_CHECKED int segments_write(struct segments *s, struct slice frame);
/* After a frame of `written` bytes: goes on filling the next spare file, by as much as it takes to be done when the
 * last segment is four fifths full; synced at each whole MiB. Nothing if a spare is there. Want of space is not
 * reported: the file is given up. HF_E_IO. */
HF_CHECKED int segments_prepare(struct segments *s, uint64_t written);
/* `size` bytes of segment `id`. */
HF_CHECKED int segments_read(struct segments *s, uint64_t id, uint64_t offset, void *out, size_t size);
/* Lets all segments before `id` go; 0: all but the last. HF_E_NO_SPACE: some stayed. HF_E_IO. */
HF_CHECKED int segments_drop(struct segments *s, uint64_t id);

static inline uint64_t segments_active(const struct segments *s)
{
    return s->items[s->count - 1].id;
}
uint64_t segments_bytes(const struct segments *s); /* spare ones included, also the one being filled */
