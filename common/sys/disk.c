/* disk.c: what any disk can do with the table of functions: read a whole file, replace one, sweep leftovers, remove a
 * tree. */
#include "common/sys/disk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"

#define DISK_PATH_BYTES 4096
#define DISK_TEMP_SUFFIX ".tmp"

int disk_read_all(struct disk *d, const char *path, size_t max, struct buf *out)
{
    struct disk_file *file = NULL;
    int rc = d->ops->open(d, path, DISK_READ, &file);
    if (rc != 0)
        return rc;
    uint64_t bytes = 0;
    size_t before = out->size;
    rc = d->ops->size(d, file, &bytes);
    if (rc == 0 && bytes > max)
        rc = HF_E_LIMIT;
    if (rc == 0 && bytes > 0)
        rc = d->ops->read(d, file, 0, buf_extend(out, (size_t)bytes), (size_t)bytes);
    if (rc != 0)
        out->size = before;
    d->ops->close(d, &file);
    return rc;
}

static int write_temp(struct disk *d, const char *path, struct slice content)
{
    struct disk_file *file = NULL;
    int rc = d->ops->open(d, path, DISK_CREATE, &file);
    if (rc == HF_E_EXISTS) { /* of a replace that a crash interrupted */
        rc = d->ops->remove(d, path);
        if (rc == 0)
            rc = d->ops->open(d, path, DISK_CREATE, &file);
    }
    if (rc != 0)
        return rc;
    if (content.size > 0)
        rc = d->ops->write(d, file, 0, content.data, content.size);
    if (rc == 0)
        rc = d->ops->sync(d, file);
    d->ops->close(d, &file);
    if (rc != 0)
        (void)d->ops->remove(d, path); /* a sweep removes it otherwise */
    return rc;
}

const char *disk_error_text(int rc)
{
    return rc == HF_E_IO && errno != 0 ? strerror(errno) : error_text(rc);
}

/* The directory part of `path`, "." when there is none. `out` holds DISK_PATH_BYTES, `path` is shorter. */
static void directory_of(const char *path, char *out)
{
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (size == 0)
        snprintf(out, DISK_PATH_BYTES, ".");
    else
        snprintf(out, DISK_PATH_BYTES, "%.*s", (int)size, path);
}

int disk_replace(struct disk *d, const char *path, struct slice content)
{
    char temp[DISK_PATH_BYTES], dir[DISK_PATH_BYTES];
    if (strlen(path) + sizeof DISK_TEMP_SUFFIX > sizeof temp)
        return HF_E_LIMIT;
    snprintf(temp, sizeof temp, "%s%s", path, DISK_TEMP_SUFFIX);
    directory_of(path, dir);
    int rc = write_temp(d, temp, content);
    if (rc != 0)
        return rc;
    crash_point("disk.replace.before_rename");
    rc = d->ops->rename(d, temp, path);
    if (rc != 0) {
        (void)d->ops->remove(d, temp);
        return rc;
    }
    crash_point("disk.replace.after_rename");
    return d->ops->sync_dir(d, dir);
}

#define DISK_TREE_DEPTH 8

struct children { /* NUL-terminated names in a row: nothing is removed while the directory is being read */
    struct buf names;
};

static void children_note(void *ctx, const char *name)
{
    struct children *children = ctx;
    buf_append(&children->names, name, strlen(name) + 1);
}

static int remove_tree(struct disk *d, const char *path, unsigned depth)
{
    int rc = d->ops->remove(d, path);
    if (rc != HF_E_EXISTS) /* a file, an empty directory, or nothing there */
        return rc == HF_E_ABSENT ? 0 : rc;
    struct children children = {0};
    rc = depth == 0 ? HF_E_LIMIT : d->ops->list(d, path, children_note, &children);
    for (size_t at = 0; rc == 0 && at < children.names.size;) {
        const char *name = (const char *)children.names.data + at;
        char below[DISK_PATH_BYTES];
        int n = snprintf(below, sizeof below, "%s/%s", path, name);
        rc = n < 0 || (size_t)n >= sizeof below ? HF_E_LIMIT : remove_tree(d, below, depth - 1);
        at += strlen(name) + 1;
    }
    buf_deinit(&children.names);
    return rc == 0 ? d->ops->remove(d, path) : rc;
}

int disk_remove_tree(struct disk *d, const char *path)
{
    return remove_tree(d, path, DISK_TREE_DEPTH);
}

int disk_ensure_dir(struct disk *d, const char *parent, const char *path)
{
    int rc = d->ops->make_dir(d, path);
    if (rc != 0 && rc != HF_E_EXISTS)
        return rc;
    return d->ops->sync_dir(d, parent); /* also of one that is there: a crash may have come before its sync */
}

struct sweep {
    struct buf names; /* NUL-terminated names in a row: nothing is removed while the directory is being read */
};

static void sweep_note(void *ctx, const char *name)
{
    struct sweep *sweep = ctx;
    size_t size = strlen(name), suffix = sizeof DISK_TEMP_SUFFIX - 1;
    if (size >= suffix && strcmp(name + size - suffix, DISK_TEMP_SUFFIX) == 0)
        buf_append(&sweep->names, name, size + 1);
}

int disk_sweep_temp(struct disk *d, const char *dir)
{
    struct sweep sweep = {0};
    int rc = d->ops->list(d, dir, sweep_note, &sweep);
    for (size_t at = 0; rc == 0 && at < sweep.names.size;) {
        const char *name = (const char *)sweep.names.data + at;
        char path[DISK_PATH_BYTES];
        int n = snprintf(path, sizeof path, "%s/%s", dir, name);
        rc = n < 0 || (size_t)n >= sizeof path ? HF_E_LIMIT : d->ops->remove(d, path);
        at += strlen(name) + 1;
    }
    if (rc == 0 && sweep.names.size > 0)
        rc = d->ops->sync_dir(d, dir);
    buf_deinit(&sweep.names);
    return rc;
}
