/* lines.c: see lines.h. */
#include "client/cli/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/stop.h"

#define CHUNK_BYTES ((size_t)256 * 1024)

struct lines {
    int fd;
    uint8_t *data; /* owned: [at, end) is read and not handed out yet */
    size_t at, end, cap;
    size_t line_max;
    uint64_t offset; /* of data[at] in the input */
    uint64_t size;
    bool ended;
};

struct lines *lines_open(const char *path, size_t line_bytes_max)
{
    struct lines *l = calloc(1, sizeof *l);
    must(l);
    l->line_max = line_bytes_max;
    l->cap = CHUNK_BYTES;
    l->data = malloc(l->cap);
    must(l->data);
    l->fd = strcmp(path, "-") == 0 ? dup(0) : open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (l->fd < 0 || fstat(l->fd, &st) != 0) {
        int error = errno;
        lines_close(&l);
        errno = error;
        return NULL;
    }
    l->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    return l;
}

void lines_close(struct lines **l)
{
    if (!*l)
        return;
    if ((*l)->fd >= 0)
        close((*l)->fd);
    free((*l)->data);
    free(*l);
    *l = NULL;
}

/* Reads more behind what is there. 1: more, 0: the end, -1: errno. */
static int fill(struct lines *l)
{
    if (l->ended)
        return 0;
    if (l->at > 0) {
        memmove(l->data, l->data + l->at, l->end - l->at);
        l->end -= l->at;
        l->at = 0;
    }
    if (l->cap - l->end < CHUNK_BYTES) {
        l->cap *= 2;
        uint8_t *grown = realloc(l->data, l->cap);
        must(grown);
        l->data = grown;
    }
    ssize_t n;
    do
        n = read(l->fd, l->data + l->end, l->cap - l->end);
    while (n < 0 && errno == EINTR && !stop_asked());
    if (n < 0)
        return -1;
    l->ended = n == 0;
    l->end += (size_t)n;
    return n > 0;
}

static void consume(struct lines *l, size_t bytes)
{
    l->at += bytes;
    l->offset += bytes;
}

enum lines_result lines_next(struct lines *l, struct slice *out_line)
{
    size_t looked = 0;
    bool too_long = false;
    for (;;) {
        size_t have = l->end - l->at;
        const uint8_t *begin = l->data + l->at;
        const uint8_t *stop = have > looked ? memchr(begin + looked, '\n', have - looked) : NULL;
        if (stop) {
            size_t size = (size_t)(stop - begin);
            consume(l, size + 1);
            *out_line = slice_make(begin, size);
            return too_long || size > l->line_max ? LINES_TOO_LONG : LINES_LINE;
        }
        if (have > l->line_max) { /* let go of what is there; only the end matters now */
            too_long = true;
            consume(l, have);
            have = 0;
        }
        looked = have;
        int n = fill(l);
        if (n < 0)
            return LINES_ERROR;
        if (n == 0) {
            consume(l, have);
            *out_line = slice_make(l->data + l->at - have, have);
            return too_long ? LINES_TOO_LONG : have > 0 ? LINES_LINE : LINES_END;
        }
    }
}

uint64_t lines_offset(const struct lines *l)
{
    return l->offset;
}

uint64_t lines_size(const struct lines *l)
{
    return l->size;
}

bool lines_skip(struct lines *l, uint64_t offset)
{
    errno = 0;
    if (l->size > 0) {
        l->offset = offset;
        return offset <= l->size && lseek(l->fd, (off_t)offset, SEEK_SET) >= 0;
    }
    while (l->offset < offset) {
        size_t have = l->end - l->at;
        if (have == 0 && fill(l) <= 0)
            return false;
        have = l->end - l->at;
        consume(l, have < offset - l->offset ? have : (size_t)(offset - l->offset));
    }
    return true;
}
