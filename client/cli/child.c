/* child.c: see child.h. */
#include "client/cli/child.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/endian.h"
#include "common/base/limits.h"
#include "proto/pack.h"

#define SHARD_PROGRAM "holdfast-shard"
#define FRAME_BYTES_MAX ((uint32_t)LIMIT_REQUEST_BYTES)

/* Beside this program's own file. */
static bool beside(char *out, size_t size)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return false;
    self[n] = 0;
    int wrote = snprintf(out, size, "%s/" SHARD_PROGRAM, dirname(self));
    return wrote > 0 && (size_t)wrote < size;
}

static char *borrow(const char *text) /* execv takes what it does not write to */
{
    return (char *)(uintptr_t)text;
}

int child_become(const struct cli *c, const char *option, const char *argument)
{
    char path[PATH_MAX + 32];
    char *const arguments[] = {borrow(SHARD_PROGRAM), borrow(option), borrow(argument),
                               c->json ? borrow("--json") : NULL, NULL};
    if (!beside(path, sizeof path))
        return cli_error(c, HF_E_IO, "cannot find this program's own directory: %s", strerror(errno));
    execv(path, arguments);
    return cli_error(c, HF_E_IO, "cannot run %s: %s", path, strerror(errno));
}

int child_open(const struct cli *c, const char *path, bool records, struct child_backup *out)
{
    int ends[2];
    if (pipe(ends) != 0)
        return cli_error(c, HF_E_IO, "cannot make a pipe: %s", strerror(errno));
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        signal(SIGPIPE, SIG_DFL); /* who stops reading has no use for the rest */
        _exit(child_become(c, records ? "--backup-read" : "--backup-head", path));
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return cli_error(c, HF_E_IO, "cannot start a process: %s", strerror(errno));
    }
    *out = (struct child_backup){.from = fdopen(ends[0], "rb"), .pid = pid};
    must(out->from); /* out of memory */
    return HF_OK;
}

int child_frame(struct child_backup *b, struct slice *out)
{
    uint8_t length[4];
    size_t n = fread(length, 1, sizeof length, b->from);
    if (n == 0)
        return HF_E_NOT_FOUND;
    uint32_t size = n == sizeof length ? get_le32(length) : UINT32_MAX;
    if (size > FRAME_BYTES_MAX)
        return HF_E_PROTOCOL;
    if (size > b->cap) {
        b->bytes = realloc(b->bytes, size);
        must(b->bytes); /* out of memory */
        b->cap = size;
    }
    if (fread(b->bytes, 1, size, b->from) != size)
        return HF_E_PROTOCOL;
    *out = slice_make(b->bytes, size);
    return HF_OK;
}

int child_close(const struct cli *c, struct child_backup *b)
{
    int status = 0;
    fclose(b->from);
    free(b->bytes);
    while (waitpid(b->pid, &status, 0) < 0)
        if (errno != EINTR)
            return cli_error(c, HF_E_IO, "cannot wait for " SHARD_PROGRAM ": %s", strerror(errno));
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    if (WTERMSIG(status) == SIGPIPE)
        return HF_OK;
    if (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGTERM) /* Ctrl-C reaches both */
        return cli_error(c, HF_E_CLOSED, "stopped by a signal");
    return cli_error(c, HF_E_IO, SHARD_PROGRAM " was ended by signal %d", WTERMSIG(status));
}

int child_head(const struct cli *c, const char *path, Hf__Client__BackupHead *out)
{
    struct child_backup b = {0};
    struct slice frame;
    int rc = child_open(c, path, false, &b);
    if (rc)
        return rc;
    int found = child_frame(&b, &frame);
    Hf__Client__BackupHead *head =
        found == HF_OK ? pack_unpack_owned(&hf__client__backup_head__descriptor, frame) : NULL;
    if (head) {
        *out = *head;
        hf__client__backup_head__free_unpacked(head, NULL);
    }
    rc = child_close(c, &b);
    if (rc == HF_OK && !head)
        rc = cli_error(c, HF_E_PROTOCOL, SHARD_PROGRAM " said nothing of %s; is it another version?", path);
    return rc;
}
