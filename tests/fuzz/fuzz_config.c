/* fuzz_config.c: any bytes as a cluster file of `holdfast bootstrap` and as the options file of a process: read, or
 * refused with a message; what is read keeps the limits. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/cli/clusterfile.h"
#include "common/base/limits.h"
#include "common/sys/options.h"
#include "proto/routes.h"
#include "tests/fuzz/fuzz.h"

struct settings {
    const char *text;
    uint64_t number, bytes;
    bool flag;
};

static const struct option_spec specs[] = {
    {"text", OPTION_TEXT, offsetof(struct settings, text), NULL, 0, 0, "a text"},
    {"number", OPTION_UINT, offsetof(struct settings, number), "3", 1, 1000, "a number"},
    {"some-bytes", OPTION_BYTES, offsetof(struct settings, bytes), "1KiB", 16, UINT64_C(1) << 40, "a size"},
    {"flag", OPTION_FLAG, offsetof(struct settings, flag), NULL, 0, 0, "a flag"},
};

static void as_clusterfile(const char *path)
{
    struct arena arena = {0};
    struct clusterfile file;
    char message[512] = "";
    if (clusterfile_read(path, &arena, &file, message) == HF_OK) {
        must(file.heartbeat_ms > 0 && file.election_ms > 0 && routes_check(&file.routes) == HF_OK);
        must(file.routes.n_shards <= LIMIT_ROUTES);
        fuzz_stable(&file.routes.base);
    } else {
        must(message[0] != '\0');
    }
    arena_deinit(&arena);
}

static void as_options(const char *path)
{
    struct settings s = {0};
    char *argv[] = {(char *)"fuzz", (char *)"--config", (char *)(uintptr_t)path, NULL};
    if (options_parse("fuzz", specs, sizeof specs / sizeof specs[0], 3, argv, false, &s, NULL) == HF_OK)
        must(s.number >= 1 && s.number <= 1000 && s.bytes >= 16 && s.bytes <= UINT64_C(1) << 40);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    must(freopen("/dev/null", "w", stdout) != NULL);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    bool options = fuzz_byte(&in) & 1;
    int fd = memfd_create("input", MFD_CLOEXEC), err = -1;
    must(fd >= 0 && write(fd, in.data, in.size) == (ssize_t)in.size);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    fflush(stderr);
    err = dup(2); /* what it says of a bad file is not of interest here */
    must(err >= 0 && freopen("/dev/null", "w", stderr) != NULL);
    if (options)
        as_options(path);
    else
        as_clusterfile(path);
    fflush(stderr);
    must(dup2(err, 2) == 2);
    close(err);
    close(fd);
    return 0;
}
