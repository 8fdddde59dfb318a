/* ops.c: `powercut_ops`: does to files what its arguments say, word by word, for test_powercut.py.
 *
 *   new NAME  open NAME  write OFFSET TEXT  fill OFFSET BYTES CHAR  append TEXT  size BYTES  sync  fsync  close
 *   rename A B  exchange A B  link A B  unlink NAME  mkdir NAME  rmdir NAME  syncdir NAME  dsync NAME  range  kill */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char **word; /* the next one */
static int fd = -1;

static char *next(void)
{
    if (*word == NULL)
        exit(2);
    return *word++;
}

static void expect(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

static void fill(off_t at, size_t size, char c)
{
    char *bytes = malloc(size);
    expect(bytes != NULL, "malloc");
    memset(bytes, c, size);
    expect(pwrite(fd, bytes, size, at) == (ssize_t)size, "pwrite");
    free(bytes);
}

static void sync_dir(const char *name)
{
    int dir = open(name, O_RDONLY | O_DIRECTORY);
    expect(dir >= 0 && fsync(dir) == 0, name);
    close(dir);
}

static int on_file(const char *what)
{
    if (strcmp(what, "write") == 0) {
        off_t at = atol(next());
        char *text = next();
        struct iovec parts[2] = {{.iov_base = text, .iov_len = 1}, {.iov_base = text + 1, .iov_len = strlen(text) - 1}};
        expect(pwritev(fd, parts, 2, at) == (ssize_t)strlen(text), "pwritev");
    } else if (strcmp(what, "append") == 0) {
        const char *text = next();
        expect(lseek(fd, 0, SEEK_END) >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "write");
    } else if (strcmp(what, "fill") == 0) {
        off_t at = atol(next());
        size_t size = (size_t)atol(next());
        fill(at, size, *next());
    } else if (strcmp(what, "size") == 0) {
        expect(ftruncate(fd, atol(next())) == 0, "ftruncate");
    } else if (strcmp(what, "sync") == 0) {
        expect(fdatasync(fd) == 0, "fdatasync");
    } else if (strcmp(what, "fsync") == 0) {
        expect(fsync(fd) == 0, "fsync");
    } else if (strcmp(what, "range") == 0) {
        expect(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) == 0, "sync_file_range");
    } else if (strcmp(what, "close") == 0) {
        expect(close(fd) == 0, "close");
    } else {
        return 0;
    }
    return 1;
}

static void on_name(const char *what)
{
    const char *name = next();
    if (strcmp(what, "new") == 0)
        expect((fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600)) >= 0, name);
    else if (strcmp(what, "open") == 0)
        expect((fd = open(name, O_RDWR)) >= 0, name);
    else if (strcmp(what, "dsync") == 0)
        expect((fd = open(name, O_RDWR | O_CREAT | O_DSYNC, 0600)) >= 0, name);
    else if (strcmp(what, "rename") == 0)
        expect(rename(name, next()) == 0, name);
    else if (strcmp(what, "exchange") == 0)
        expect(renameat2(AT_FDCWD, name, AT_FDCWD, next(), RENAME_EXCHANGE) == 0, name);
    else if (strcmp(what, "link") == 0)
        expect(link(name, next()) == 0, name);
    else if (strcmp(what, "unlink") == 0)
        expect(remove(name) == 0, name);
    else if (strcmp(what, "mkdir") == 0)
        expect(mkdir(name, 0700) == 0, name);
    else if (strcmp(what, "rmdir") == 0)
        expect(rmdir(name) == 0, name);
    else if (strcmp(what, "syncdir") == 0)
        sync_dir(name);
    else
        exit(2);
}

int main(int argc, char **argv)
{
    (void)argc;
    for (word = argv + 1; *word != NULL;) {
        const char *what = next();
        if (strcmp(what, "kill") == 0)
            raise(SIGKILL);
        if (!on_file(what))
            on_name(what);
    }
    return 0;
}
