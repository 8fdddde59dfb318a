/* disk.h: files as the durable parts see them, behind a table of functions so that the simulator can lose and tear
 * what was not synced. The product's only implementation is disk_posix().
 *
 * Every function returns 0 or a negative HF_E_ code: HF_E_ABSENT (no such file), HF_E_EXISTS, HF_E_NO_SPACE, HF_E_IO.
 * A failed sync poisons: the caller must end the process and never retry (I6). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/must.h"
#include "common/base/slice.h"

struct disk_file; /* opaque, owned by whoever opened it */
struct disk;

enum disk_open { DISK_READ, DISK_WRITE, DISK_CREATE /* must not exist yet */ };

typedef void disk_list_fn(void *ctx, const char *name); /* name: borrowed, no directory part */

struct disk_ops {
    int (*open)(struct disk *d, const char *path, enum disk_open how, struct disk_file **out);
    void (*close)(struct disk *d, struct disk_file **file);
    int (*size)(struct disk *d, struct disk_file *file, uint64_t *out_bytes);
    /* Exactly `size` bytes or HF_E_IO; a read past the end is HF_E_IO. */
    int (*read)(struct disk *d, struct disk_file *file, uint64_t offset, void *out, size_t size);
    int (*write)(struct disk *d, struct disk_file *file, uint64_t offset, const void *data, size_t size);
    /* Writes real zeros from the file's end up to `bytes`, so that later writes change no metadata (measured: 1.4-2 x
     * faster to sync). */
    int (*zero_fill)(struct disk *d, struct disk_file *file, uint64_t bytes);
    int (*truncate)(struct disk *d, struct disk_file *file, uint64_t bytes);
    int (*sync)(struct disk *d, struct disk_file *file);             /* fdatasync */
    int (*sync_dir)(struct disk *d, const char *path);               /* makes names durable */
    int (*rename)(struct disk *d, const char *from, const char *to); /* durable after sync_dir */
    /* Both names are there and change places, at once; HF_E_ABSENT otherwise. Durable as a rename is. HF_E_INVALID: this
     * file system cannot. */
    int (*exchange)(struct disk *d, const char *one, const char *other);
    int (*remove)(struct disk *d, const char *path);   /* a file or an empty directory; HF_E_EXISTS: it is not empty */
    int (*make_dir)(struct disk *d, const char *path); /* HF_E_EXISTS when it is there */
    int (*list)(struct disk *d, const char *path, disk_list_fn *fn, void *ctx);
    int (*exists)(struct disk *d, const char *path, bool *out);
};

struct disk {
    const struct disk_ops *ops;
};

struct disk *disk_posix(void); /* static, never freed */

/* The whole file, at most `max` bytes (HF_E_LIMIT above). Appends to *out. */
HF_CHECKED int disk_read_all(struct disk *d, const char *path, size_t max, struct buf *out);

/* Atomic replace: temp file in the same directory, sync, rename, sync of the directory. After success the new content
 * is durable; after failure the old content is what a restart finds, unless the sync of the directory failed
 * (HF_E_IO): then it is in doubt. */
HF_CHECKED int disk_replace(struct disk *d, const char *path, struct slice content);

/* Removes leftovers of disk_replace in `dir` (names ending in ".tmp"). */
HF_CHECKED int disk_sweep_temp(struct disk *d, const char *dir);

/* Removes a file, or a directory with all below it; absent is fine. Not durable: sync the directory it is in. HF_E_LIMIT:
 * deeper than we ever make. */
HF_CHECKED int disk_remove_tree(struct disk *d, const char *path);

/* Makes the directory if it is not there, its name durable in `parent`. */
HF_CHECKED int disk_ensure_dir(struct disk *d, const char *parent, const char *path);

/* The text of `rc`; of HF_E_IO what the operating system just said of it (errno), such as "Read-only file system". To be
 * asked for at once, before another call may change errno. Never NULL. */
const char *disk_error_text(int rc);

/* What the file system of `path` has left for this process. Product only, not simulated. */
HF_CHECKED int disk_room(const char *path, uint64_t *out_bytes);

/* Bytes of all files below `path`, as their names say; 0: it is not there, or cannot be read. Product only, not simulated. */
uint64_t disk_tree_bytes(const char *path);

/* Takes an exclusive flock on `path`, created if absent, held until the process ends. HF_E_LOCKED: another process has
 * it. Product only, not simulated. */
HF_CHECKED int disk_lock(const char *path);
/* Does a process hold that lock? Takes nothing, and makes no file. */
bool disk_locked(const char *path);
