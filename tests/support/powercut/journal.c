/* journal.c: see journal.h. */
#include "tests/support/powercut/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAGIC 0x74756350u
#define BLOCK_BYTES 4096u
#define FOLLOWED_MAX 65536u /* a power of two */

struct record {
    uint32_t magic, payload_bytes;
    uint64_t sequence;
    uint32_t kind, unused;
    struct journal_values v;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool active;
static char root[PATH_MAX];
static size_t root_size;
static dev_t root_device;
static int journal_fd = -1, keep_fd = -1;
static uint64_t sequence = 1;
static uint64_t followed[FOLLOWED_MAX]; /* inodes, by hash; 0: free */
static size_t followed_count;

void journal_die(const char *what)
{
    char line[256];
    int n = snprintf(line, sizeof line, "powercut: %s: %s\n", what, strerror(errno));
    if (syscall(SYS_write, STDERR_FILENO, line, (size_t)n) < 0)
        abort();
    abort();
}

static int raw_open(int dir_fd, const char *path, int flags)
{
    return (int)syscall(SYS_openat, dir_fd, path, flags | O_CLOEXEC, 0600);
}

static void raw_close(int fd)
{
    int error = errno;
    syscall(SYS_close, fd);
    errno = error;
}

/* The path of what `fd` has open; false when it has none. */
static bool path_of(int fd, char out[PATH_MAX])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    if (n <= 0)
        return false;
    out[n] = '\0';
    return true;
}

static void open_journal(const char *dir)
{
    char name[PATH_MAX];
    if (snprintf(name, sizeof name, "%s/keep", dir) >= (int)sizeof name)
        journal_die("POWERCUT_JOURNAL is too long");
    syscall(SYS_mkdir, dir, 0700);
    syscall(SYS_mkdir, name, 0700);
    keep_fd = raw_open(AT_FDCWD, name, O_RDONLY | O_DIRECTORY);
    struct stat st;
    if (keep_fd < 0 || fstat(keep_fd, &st) != 0)
        journal_die(name);
    errno = EXDEV;
    if (st.st_dev != root_device)
        journal_die("POWERCUT_JOURNAL must be on the file system of POWERCUT_ROOT");
    for (unsigned life = 1; journal_fd < 0;
         life++) { /* a life of the process each: an old one's last record may be torn */
        if (snprintf(name, sizeof name, "%s/journal-%06u", dir, life) >= (int)sizeof name)
            journal_die("POWERCUT_JOURNAL is too long");
        journal_fd = raw_open(AT_FDCWD, name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND);
        if (journal_fd < 0 && errno != EEXIST)
            journal_die(name);
    }
}

static void init(void)
{
    const char *from = getenv("POWERCUT_ROOT"), *dir = getenv("POWERCUT_JOURNAL");
    if (from == NULL || dir == NULL)
        return;
    struct stat st;
    int fd = raw_open(AT_FDCWD, from, O_PATH | O_DIRECTORY);
    if (fd < 0 || fstat(fd, &st) != 0 || !path_of(fd, root))
        journal_die("POWERCUT_ROOT");
    raw_close(fd);
    root_size = strlen(root);
    root_device = st.st_dev;
    open_journal(dir);
    active = true;
}

bool journal_active(void)
{
    int error = errno;
    pthread_once(&once, init);
    errno = error;
    return active;
}

void journal_lock(void)
{
    pthread_mutex_lock(&mutex);
}

void journal_unlock(void)
{
    int error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
}

static bool below_root(int fd)
{
    char path[PATH_MAX];
    return path_of(fd, path) && strncmp(path, root, root_size) == 0 &&
           (path[root_size] == '/' || path[root_size] == '\0');
}

void journal_place(int dir_fd, const char *path, struct journal_place *out)
{
    char parent[PATH_MAX];
    *out = (struct journal_place){.dir_fd = -1};
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    size_t start = size;
    while (start > 0 && path[start - 1] != '/')
        start--;
    if (size == 0 || size - start > NAME_MAX || start + 2 > sizeof parent)
        return;
    memcpy(out->name, path + start, size - start);
    snprintf(parent, sizeof parent, "%.*s", (int)(start == 0 ? 1 : start), start == 0 ? "." : path);
    int fd = raw_open(dir_fd, parent, O_PATH | O_DIRECTORY);
    struct stat st;
    if (fd < 0)
        return;
    if (fstat(fd, &st) != 0 || st.st_dev != root_device || !below_root(fd)) {
        raw_close(fd);
        return;
    }
    out->inside = true;
    out->dir_fd = fd;
    out->dir = st.st_ino;
    out->there = fstatat(fd, out->name, &out->st, AT_SYMLINK_NOFOLLOW) == 0;
}

void journal_place_free(struct journal_place *place)
{
    if (place->dir_fd >= 0)
        raw_close(place->dir_fd);
    place->dir_fd = -1;
}

static size_t slot_of(uint64_t inode)
{
    size_t at = (size_t)((inode * 0x9E3779B97F4A7C15u) >> 40) % FOLLOWED_MAX;
    while (followed[at] != 0 && followed[at] != inode)
        at = (at + 1) % FOLLOWED_MAX;
    return at;
}

uint64_t journal_follow(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_dev != root_device || !below_root(fd))
        return 0;
    size_t at = slot_of(st.st_ino);
    if (followed[at] == 0) {
        if (++followed_count > FOLLOWED_MAX / 2)
            journal_die("too many files");
        followed[at] = st.st_ino;
    }
    return st.st_ino;
}

bool journal_followed(int fd, struct stat *out_st)
{
    return fstat(fd, out_st) == 0 && out_st->st_dev == root_device && followed[slot_of(out_st->st_ino)] != 0;
}

static void append(enum journal_kind kind, struct journal_values v, struct iovec payload[2])
{
    struct record r = {.magic = MAGIC,
                       .payload_bytes = (uint32_t)(payload[0].iov_len + payload[1].iov_len),
                       .sequence = sequence++,
                       .kind = kind,
                       .v = v};
    struct iovec parts[3] = {{.iov_base = &r, .iov_len = sizeof r}, payload[0], payload[1]};
    if (syscall(SYS_writev, journal_fd, parts, 3) != (ssize_t)(sizeof r + r.payload_bytes))
        journal_die("writing the journal");
}

uint64_t journal_record(enum journal_kind kind, struct journal_values v, const char *first, const char *second)
{
    struct iovec names[2] = {
        {.iov_base = (void *)(uintptr_t)first, .iov_len = first != NULL ? strlen(first) + 1 : 0},
        {.iov_base = (void *)(uintptr_t)second, .iov_len = second != NULL ? strlen(second) + 1 : 0}};
    int error = errno;
    append(kind, v, names);
    errno = error;
    return sequence - 1;
}

uint64_t journal_next(void)
{
    return sequence;
}

static bool is_zero(const uint8_t *at, size_t size)
{
    return at[0] == 0 && memcmp(at, at + 1, size - 1) == 0;
}

void journal_before(int fd, uint64_t inode, uint64_t from, uint64_t to)
{
    static uint8_t chunk[16 * BLOCK_BYTES]; /* under the lock */
    char link[64];
    if (from >= to)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int reader = raw_open(AT_FDCWD, link, O_RDONLY); /* `fd` may be for writing only */
    if (reader < 0)
        journal_die("reading what is to be overwritten");
    while (from < to) {
        size_t want = to - from < sizeof chunk ? (size_t)(to - from) : sizeof chunk;
        ssize_t got = syscall(SYS_pread64, reader, chunk, want, from);
        if (got <= 0)
            journal_die("reading what is to be overwritten");
        for (size_t at = 0; at < (size_t)got; at += BLOCK_BYTES) {
            size_t size = (size_t)got - at < BLOCK_BYTES ? (size_t)got - at : BLOCK_BYTES;
            struct iovec bytes[2] = {{.iov_base = chunk + at, .iov_len = size}, {0}};
            if (!is_zero(chunk + at, size))
                append(JOURNAL_PRE, (struct journal_values){.a = inode, .b = from + at}, bytes);
        }
        from += (uint64_t)got;
    }
    raw_close(reader);
}

void journal_keep(const struct journal_place *place)
{
    char name[32];
    snprintf(name, sizeof name, "%llu", (unsigned long long)place->st.st_ino);
    if (syscall(SYS_linkat, place->dir_fd, place->name, keep_fd, name, 0) != 0 && errno != EEXIST)
        journal_die("keeping a file that goes");
}
