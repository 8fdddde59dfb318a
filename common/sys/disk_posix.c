/* disk_posix.c: the disk of the operating system, and the lock of a directory. On HF_E_IO errno tells more. */
#include "common/sys/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/sys/diag.h"

#define DISK_FILE_MODE 0640
#define DISK_DIR_MODE 0750
#define DISK_ZERO_BYTES ((size_t)1024 * 1024) /* zeros written at a time */

struct disk_file {
    int fd;
};

static int from_errno(int error)
{
    switch (error) {
    case ENOENT:
        return HF_E_ABSENT;
    case EEXIST:
    case ENOTEMPTY:
        return HF_E_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return HF_E_NO_SPACE;
    case ENAMETOOLONG:
        return HF_E_LIMIT;
    default:
        return HF_E_IO;
    }
}

static int open_fd(const char *path, int flags)
{
    int fd;
    do
        fd = open(path, flags | O_CLOEXEC, DISK_FILE_MODE);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* Keeps errno: an error is being reported. */
static void close_fd(int fd)
{
    int error = errno;
    close(fd);
    errno = error;
}

static int posix_open(struct disk *d, const char *path, enum disk_open how, struct disk_file **out)
{
    (void)d;
    int flags = O_RDONLY;
    switch (how) {
    case DISK_READ:
        break;
    case DISK_WRITE:
        flags = O_RDWR;
        break;
    case DISK_CREATE:
        flags = O_RDWR | O_CREAT | O_EXCL;
        break;
    }
    int fd = open_fd(path, flags);
    if (fd < 0)
        return from_errno(errno);
    struct disk_file *file = malloc(sizeof *file);
    must(file != NULL); /* out of memory */
    file->fd = fd;
    *out = file;
    return 0;
}

static void posix_close(struct disk *d, struct disk_file **file)
{
    (void)d;
    if (*file == NULL)
        return;
    if (close((*file)->fd) != 0 && errno != EINTR) /* what was synced is safe; what was not nobody relied on (I6) */
        diag(DIAG_WARN, "cannot close a file: %s; look at the disk", strerror(errno));
    free(*file);
    *file = NULL;
}

static int posix_size(struct disk *d, struct disk_file *file, uint64_t *out_bytes)
{
    (void)d;
    struct stat st;
    if (fstat(file->fd, &st) != 0)
        return from_errno(errno);
    *out_bytes = (uint64_t)st.st_size;
    return 0;
}

static int posix_read(struct disk *d, struct disk_file *file, uint64_t offset, void *out, size_t size)
{
    (void)d;
    uint8_t *at = out;
    while (size > 0) {
        ssize_t n = pread(file->fd, at, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO; /* past the end */
        if (n <= 0)
            return HF_E_IO;
        at += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

static int posix_write(struct disk *d, struct disk_file *file, uint64_t offset, const void *data, size_t size)
{
    (void)d;
    const uint8_t *at = data;
    while (size > 0) {
        ssize_t n = pwrite(file->fd, at, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            return from_errno(errno);
        at += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

static int posix_zero_fill(struct disk *d, struct disk_file *file, uint64_t bytes)
{
    static const uint8_t zeros[DISK_ZERO_BYTES];
    uint64_t at = 0;
    int rc = posix_size(d, file, &at);
    while (rc == 0 && at < bytes) {
        size_t piece = bytes - at < sizeof zeros ? (size_t)(bytes - at) : sizeof zeros;
        rc = posix_write(d, file, at, zeros, piece);
        at += piece;
    }
    return rc;
}

static int posix_truncate(struct disk *d, struct disk_file *file, uint64_t bytes)
{
    (void)d;
    int rc;
    do
        rc = ftruncate(file->fd, (off_t)bytes);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : from_errno(errno);
}

/* No retry, and no code that reads as "try later": after a failed sync the kernel may have dropped the pages (I6). */
static int posix_sync(struct disk *d, struct disk_file *file)
{
    (void)d;
    return fdatasync(file->fd) == 0 ? 0 : HF_E_IO;
}

static int posix_sync_dir(struct disk *d, const char *path)
{
    (void)d;
    int fd = open_fd(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return from_errno(errno);
    int rc = fsync(fd) == 0 ? 0 : HF_E_IO;
    close_fd(fd);
    return rc;
}

static int posix_rename(struct disk *d, const char *from, const char *to)
{
    (void)d;
    return rename(from, to) == 0 ? 0 : from_errno(errno);
}

static int posix_exchange(struct disk *d, const char *one, const char *other)
{
    (void)d;
    if (renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) == 0)
        return 0;
    return errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP ? HF_E_INVALID : from_errno(errno);
}

static int posix_remove(struct disk *d, const char *path)
{
    (void)d;
    return remove(path) == 0 ? 0 : from_errno(errno);
}

static int posix_make_dir(struct disk *d, const char *path)
{
    (void)d;
    return mkdir(path, DISK_DIR_MODE) == 0 ? 0 : from_errno(errno);
}

static int posix_list(struct disk *d, const char *path, disk_list_fn *fn, void *ctx)
{
    (void)d;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return from_errno(errno);
    const struct dirent *entry;
    while (errno = 0, (entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            fn(ctx, entry->d_name);
    int error = errno;
    closedir(dir);
    errno = error;
    return error == 0 ? 0 : from_errno(error);
}

static int posix_exists(struct disk *d, const char *path, bool *out)
{
    (void)d;
    struct stat st;
    bool there = stat(path, &st) == 0;
    if (!there && errno != ENOENT)
        return from_errno(errno);
    *out = there;
    return 0;
}

struct disk *disk_posix(void)
{
    static const struct disk_ops ops = {
        .open = posix_open,
        .close = posix_close,
        .size = posix_size,
        .read = posix_read,
        .write = posix_write,
        .zero_fill = posix_zero_fill,
        .truncate = posix_truncate,
        .sync = posix_sync,
        .sync_dir = posix_sync_dir,
        .rename = posix_rename,
        .exchange = posix_exchange,
        .remove = posix_remove,
        .make_dir = posix_make_dir,
        .list = posix_list,
        .exists = posix_exists,
    };
    static struct disk disk = {.ops = &ops};
    return &disk;
}

int disk_room(const char *path, uint64_t *out_bytes)
{
    struct statvfs st;
    if (statvfs(path, &st) != 0)
        return from_errno(errno);
    *out_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}

uint64_t disk_tree_bytes(const char *path)
{
    char *const paths[] = {(char *)(uintptr_t)path, NULL}; /* fts only reads it */
    uint64_t bytes = 0;
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *e; tree && (e = fts_read(tree));)
        if (e->fts_info == FTS_F)
            bytes += (uint64_t)e->fts_statp->st_size;
    if (tree)
        fts_close(tree);
    return bytes;
}

int disk_lock(const char *path)
{
    int fd = open_fd(path, O_RDWR | O_CREAT);
    if (fd < 0)
        return from_errno(errno);
    int rc;
    do
        rc = flock(fd, LOCK_EX | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    if (rc == 0)
        return 0; /* the descriptor stays open on purpose: it is the lock */
    int code = errno == EWOULDBLOCK ? HF_E_LOCKED : from_errno(errno);
    close_fd(fd);
    return code;
}

bool disk_locked(const char *path)
{
    int fd = open_fd(path, O_RDONLY);
    if (fd < 0)
        return false;
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0;
    close_fd(fd);
    return held;
}
