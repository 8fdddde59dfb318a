/* inspect.c: inspect DIR: hands over to `holdfast-shard --inspect DIR`, which knows the files of a replica. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"

#define SHARD_PROGRAM "holdfast-shard"

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

int inspect_run(struct cli *c)
{
    char path[PATH_MAX + 32];
    char *const arguments[] = {(char *)(uintptr_t)SHARD_PROGRAM, (char *)(uintptr_t) "--inspect",
                               (char *)(uintptr_t)c->arguments[0].text, c->json ? (char *)(uintptr_t) "--json" : NULL,
                               NULL};
    if (!beside(path, sizeof path))
        return cli_error(c, HF_E_IO, "cannot find this program's own directory: %s", strerror(errno));
    execv(path, arguments);
    return cli_error(c, HF_E_IO, "cannot run %s: %s", path, strerror(errno));
}
