/* aside.c: see aside.h. */
#include "shard/replica/aside.h"

#include <stdio.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "shard/replica/check.h"
#include "shard/replica/keep.h"

#define FOLDER_MAX 10000

void aside_name(struct directory *d, const char *what, char out[DIRECTORY_PATH_BYTES])
{
    struct disk *disk = d->config.disk;
    char folder[DIRECTORY_PATH_BYTES], name[64];
    directory_path(d, ASIDE_FOLDER, folder);
    int rc = disk_ensure_dir(disk, d->config.dir, folder);
    bool there = true;
    for (int n = 1; !rc && there; n++) {
        if (n > FOLDER_MAX)
            refuse("%s is full; look at what is in it, then remove it", folder);
        snprintf(name, sizeof name, ASIDE_FOLDER "/%s-%d", what, n);
        directory_path(d, name, out);
        rc = disk->ops->exists(disk, out, &there);
    }
    if (rc)
        refuse("cannot make %s: %s; %s", folder, disk_error_text(rc), directory_advice(rc));
}

void aside_sync(struct directory *d)
{
    struct disk *disk = d->config.disk;
    char folder[DIRECTORY_PATH_BYTES];
    directory_path(d, ASIDE_FOLDER, folder);
    int rc = disk->ops->sync_dir(disk, folder);
    if (!rc)
        rc = disk->ops->sync_dir(disk, d->config.dir);
    if (rc)
        refuse("%s cannot be synced: %s; %s", folder, disk_error_text(rc), directory_advice(rc));
}

bool aside_put(struct directory *d, const char *from, const char *what, const char *why)
{
    struct disk *disk = d->config.disk;
    char to[DIRECTORY_PATH_BYTES], path[DIRECTORY_PATH_BYTES];
    bool there = false;
    directory_path(d, from, path);
    int rc = disk->ops->exists(disk, path, &there);
    if (!rc && !there)
        return false;
    aside_name(d, what, to);
    if (!rc)
        rc = disk->ops->rename(disk, path, to);
    if (rc)
        refuse("%s cannot be moved to %s: %s; %s", path, to, disk_error_text(rc), directory_advice(rc));
    aside_sync(d);
    diag(DIAG_WARN, "put aside %s: %s", to, why);
    return true;
}

bool aside_marked(const struct directory *d)
{
    char path[DIRECTORY_PATH_BYTES];
    bool there = false;
    directory_path(d, CHECK_MARK_NAME, path);
    return d->config.disk->ops->exists(d->config.disk, path, &there) == HF_OK && there;
}

void aside_unmark(struct directory *d)
{
    struct disk *disk = d->config.disk;
    char path[DIRECTORY_PATH_BYTES];
    int rc = HF_OK;
    directory_path(d, CHECK_MARK_NAME, path);
    if (aside_marked(d)) {
        rc = d->facts.healers > 0 ? keep_forget(disk, d->config.dir) : HF_OK;
        if (!rc)
            rc = disk->ops->remove(disk, path);
    }
    if (!rc) /* also what an earlier life removed: a power loss must not bring it back, the machine is another by then */
        rc = disk->ops->sync_dir(disk, d->config.dir);
    if (rc)
        diag(DIAG_WARN, "cannot remove %s: %s; the state machine will be replaced once more", path,
             disk_error_text(rc));
}

int directory_mark_damaged(struct directory *d, const char *why)
{
    char path[DIRECTORY_PATH_BYTES];
    directory_path(d, CHECK_MARK_NAME, path);
    return disk_replace(d->config.disk, path, slice_text(why));
}
