/* powercut.c: preloaded (LD_PRELOAD) into a process under test: every call that changes files below POWERCUT_ROOT is
 * journalled before it is done; a sync after it was done. README.md says what a power cut then takes away. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/support/powercut/journal.h"

#define DONE(rc) ((uint64_t)((rc) >= 0))

/* Reached by calls that were compiled with -D_FORTIFY_SOURCE. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir_fd, const char *path, int flags);
int __openat64_2(int dir_fd, const char *path, int flags);

static void done(uint64_t sequence, int rc, uint64_t inode)
{
    journal_record(JOURNAL_DONE, (struct journal_values){.a = sequence, .b = DONE(rc), .c = inode}, NULL, NULL);
}

/* ---- files */

static uint64_t record_size(int fd, const struct stat *st, uint64_t size)
{
    uint64_t old = (uint64_t)st->st_size;
    journal_before(fd, st->st_ino, size, old);
    return journal_record(JOURNAL_SIZE, (struct journal_values){.a = st->st_ino, .b = size, .c = old}, NULL, NULL);
}

/* An open that truncates: what goes is read through a descriptor of its own. */
static void record_open_truncates(const struct journal_place *place)
{
    if (!S_ISREG(place->st.st_mode) || place->st.st_size == 0)
        return;
    int fd = (int)syscall(SYS_openat, place->dir_fd, place->name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        journal_die("reading what is to be truncated");
    record_size(fd, &place->st, 0);
    syscall(SYS_close, fd);
}

static int opened(int dir_fd, const char *path, int flags, mode_t mode)
{
    if (!journal_active())
        return (int)syscall(SYS_openat, dir_fd, path, flags, mode);
    struct journal_place place = {.dir_fd = -1};
    uint64_t sequence = 0;
    journal_lock();
    if ((flags & (O_CREAT | O_TRUNC)) != 0)
        journal_place(dir_fd, path, &place);
    if (place.inside && !place.there && (flags & O_CREAT) != 0)
        sequence = journal_record(JOURNAL_CREATE, (struct journal_values){.a = place.dir}, place.name, NULL);
    if (place.inside && place.there && (flags & O_TRUNC) != 0 && (flags & O_EXCL) == 0)
        record_open_truncates(&place);
    int fd = (int)syscall(SYS_openat, dir_fd, path, flags, mode);
    uint64_t inode = fd >= 0 ? journal_follow(fd) : 0;
    if (sequence != 0)
        done(sequence, fd, inode);
    if (inode != 0 && (flags & O_TMPFILE) == O_TMPFILE)
        journal_die("O_TMPFILE is not followed");
    journal_place_free(&place);
    journal_unlock();
    return fd;
}

#define MODE_OF(flags)                                                                                                 \
    mode_t mode = 0;                                                                                                   \
    if (((flags) & (O_CREAT | __O_TMPFILE)) != 0) {                                                                    \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = (mode_t)va_arg(rest, unsigned);                                                                         \
        va_end(rest);                                                                                                  \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return opened(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return opened(AT_FDCWD, path, flags, mode);
}

int openat(int dir_fd, const char *path, int flags, ...)
{
    MODE_OF(flags)
    return opened(dir_fd, path, flags, mode);
}

int openat64(int dir_fd, const char *path, int flags, ...)
{
    MODE_OF(flags)
    return opened(dir_fd, path, flags, mode);
}

int __open_2(const char *path, int flags)
{
    return opened(AT_FDCWD, path, flags, 0);
}

int __open64_2(const char *path, int flags)
{
    return opened(AT_FDCWD, path, flags, 0);
}

int __openat_2(int dir_fd, const char *path, int flags)
{
    return opened(dir_fd, path, flags, 0);
}

int __openat64_2(int dir_fd, const char *path, int flags)
{
    return opened(dir_fd, path, flags, 0);
}

int creat(const char *path, mode_t mode)
{
    return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode)
{
    return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* Locks and returns true when `fd` is a file whose changes are journalled. */
static bool begin(int fd, struct stat *out_st)
{
    if (!journal_active() || fstat(fd, out_st) != 0 || !S_ISREG(out_st->st_mode)) /* sockets may block: no lock */
        return false;
    journal_lock();
    if (journal_followed(fd, out_st))
        return true;
    journal_unlock();
    return false;
}

/* offset < 0: at the file's position. */
static ssize_t written(int fd, const struct stat *st, const struct iovec *parts, int count, off_t offset, int how)
{
    uint64_t size = 0, old = (uint64_t)st->st_size;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    int flags = fcntl(fd, F_GETFL);
    if ((flags & O_APPEND) != 0 || (how & RWF_APPEND) != 0)
        offset = st->st_size;
    uint64_t from = (uint64_t)(offset >= 0 ? offset : lseek(fd, 0, SEEK_CUR));
    journal_before(fd, st->st_ino, from, from + size < old ? from + size : old);
    uint64_t sequence = journal_record(
        JOURNAL_WRITE, (struct journal_values){.a = st->st_ino, .b = from, .c = size, .d = old}, NULL, NULL);
    off_t where = (flags & O_APPEND) != 0 ? -1 : offset; /* the kernel appends and moves the position */
    ssize_t rc = syscall(SYS_pwritev2, fd, parts, count, where, 0, how);
    if (rc >= 0 && ((flags & O_DSYNC) != 0 || (how & (RWF_DSYNC | RWF_SYNC)) != 0))
        journal_record(JOURNAL_CLOSE, (struct journal_values){.a = sequence}, NULL, NULL);
    journal_unlock();
    return rc;
}

ssize_t write(int fd, const void *data, size_t size)
{
    struct stat st;
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    return begin(fd, &st) ? written(fd, &st, &part, 1, -1, 0) : syscall(SYS_write, fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    struct stat st;
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    if (offset < 0 || !begin(fd, &st))
        return syscall(SYS_pwrite64, fd, data, size, offset);
    return written(fd, &st, &part, 1, offset, 0);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    return pwrite(fd, data, size, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    struct stat st;
    return begin(fd, &st) ? written(fd, &st, parts, count, -1, 0) : syscall(SYS_writev, fd, parts, count);
}

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int how)
{
    struct stat st;
    return begin(fd, &st) ? written(fd, &st, parts, count, offset, how)
                          : syscall(SYS_pwritev2, fd, parts, count, offset, 0, how);
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int how)
{
    return pwritev2(fd, parts, count, offset, how);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev2(fd, parts, count, offset, 0);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return pwritev2(fd, parts, count, offset, 0);
}

int ftruncate(int fd, off_t size)
{
    struct stat st;
    bool followed = size >= 0 && begin(fd, &st);
    if (followed)
        record_size(fd, &st, (uint64_t)size);
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    if (followed)
        journal_unlock();
    return rc;
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

int truncate(const char *path, off_t size)
{
    int fd = opened(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int rc = ftruncate(fd, size), error = errno;
    syscall(SYS_close, fd);
    errno = error;
    return rc;
}

int truncate64(const char *path, off64_t size)
{
    return truncate(path, size);
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    struct stat st;
    bool followed = mode != FALLOC_FL_KEEP_SIZE && offset >= 0 && size > 0 && begin(fd, &st);
    if (followed) {
        uint64_t old = (uint64_t)st.st_size, from = (uint64_t)offset, to = from + (uint64_t)size;
        bool zeroes = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
        if (mode != 0 && !zeroes)
            journal_die("this mode of fallocate is not followed");
        if (zeroes) {
            journal_before(fd, st.st_ino, from, to < old ? to : old);
            journal_record(JOURNAL_WRITE,
                           (struct journal_values){.a = st.st_ino, .b = from, .c = (uint64_t)size, .d = old}, NULL,
                           NULL);
        } else if (to > old) {
            record_size(fd, &st, to);
        }
    }
    int rc = (int)syscall(SYS_fallocate, fd, mode, offset, size);
    if (followed)
        journal_unlock();
    return rc;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t size)
{
    return fallocate(fd, mode, offset, size);
}

int posix_fallocate(int fd, off_t offset, off_t size)
{
    return fallocate(fd, 0, offset, size) == 0 ? 0 : errno;
}

int posix_fallocate64(int fd, off64_t offset, off64_t size)
{
    return posix_fallocate(fd, offset, size);
}

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags)
{
    struct stat st;
    if (begin(out, &st))
        journal_die("copy_file_range is not followed");
    return syscall(SYS_copy_file_range, in, in_at, out, out_at, size, flags);
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    struct stat st;
    if (fd >= 0 && (flags & MAP_TYPE) != MAP_PRIVATE && (protection & PROT_WRITE) != 0 && begin(fd, &st))
        journal_die("writing through mmap is not followed");
    return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset); /* NOLINT: the kernel's answer */
}

void *mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset)
{
    return mmap(at, size, protection, flags, fd, offset);
}

/* ---- syncs: what was recorded before one began is durable when it has succeeded; sync_file_range promises nothing */

static int synced(int fd, long call)
{
    struct stat st;
    bool followed = false;
    uint64_t next = 0;
    if (journal_active()) {
        journal_lock();
        followed = journal_followed(fd, &st);
        next = journal_next();
        journal_unlock();
    }
    int rc = (int)syscall(call, fd);
    if (followed && rc == 0) {
        journal_lock();
        journal_record(JOURNAL_SYNC, (struct journal_values){.a = st.st_ino, .b = next}, NULL, NULL);
        journal_unlock();
    }
    return rc;
}

int fsync(int fd)
{
    return synced(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return synced(fd, SYS_fdatasync);
}

static int synced_all(long call, int fd)
{
    uint64_t next = 0;
    bool active = journal_active();
    if (active) {
        journal_lock();
        next = journal_next();
        journal_unlock();
    }
    int rc = (int)syscall(call, fd);
    if (active && rc == 0) {
        journal_lock();
        journal_record(JOURNAL_SYNC_ALL, (struct journal_values){.a = next}, NULL, NULL);
        journal_unlock();
    }
    return rc;
}

int syncfs(int fd)
{
    return synced_all(SYS_syncfs, fd);
}

void sync(void)
{
    (void)synced_all(SYS_sync, 0);
}
