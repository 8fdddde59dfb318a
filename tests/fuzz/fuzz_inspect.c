/* fuzz_inspect.c: `inspect` of a directory whose identity and peers hold any bytes behind right checksums: an exit code
 * it promises, and with --json what is JSON. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/crc32c.h"
#include "common/base/endian.h"
#include "common/sys/disk.h"
#include "shard/server/inspect.h"
#include "tests/fuzz/fuzz.h"

static char dir[] = "/dev/shm/hf-fuzz-inspect-XXXXXX";
static char identity_path[64], peers_path[64];

static void write_file(const char *path, const uint8_t *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0);
}

/* The text that follows "format 1 …", and its checksum. */
static void write_identity(struct slice in)
{
    char text[4096 + 64];
    int n = snprintf(text, sizeof text, "%.*s", in.size < 4000 ? (int)in.size : 4000, (const char *)in.data);
    must(n >= 0);
    n += snprintf(text + n, 16, "crc %08x\n", (unsigned)crc32c(0, text, (size_t)n));
    write_file(identity_path, (const uint8_t *)text, (size_t)n);
}

static void write_peers(struct slice in)
{
    static uint8_t bytes[24 + 65536];
    size_t size = in.size < 65536 ? in.size : 65536;
    memset(bytes, 0, 24);
    memcpy(bytes, "HFPEERS", 8);
    put_le32(bytes + 8, 1);
    put_le32(bytes + 16, (uint32_t)size);
    memcpy(bytes + 24, in.data, size);
    put_le32(bytes + 12, crc32c(crc32c(0, bytes, 12), bytes + 16, 8 + size));
    write_file(peers_path, bytes, 24 + size);
}

static const char *json_string(const char *at)
{
    must(*at == '"');
    for (at++; *at != '"'; at++) {
        must((unsigned char)*at >= 0x20);
        if (*at == '\\') {
            at++;
            must(*at != '\0' && strchr("\"\\/bfnrtu", *at) != NULL);
        }
    }
    return at + 1;
}

/* One value; behind it. As much of JSON as inspect uses. */
static const char *json_value(const char *at) // NOLINT(misc-no-recursion)
{
    if (*at == '"')
        return json_string(at);
    if (*at == '{' || *at == '[') {
        char close = *at == '{' ? '}' : ']';
        bool object = *at++ == '{';
        while (*at != close) {
            if (object) {
                at = json_string(at);
                must(*at++ == ':');
            }
            at = json_value(at);
            must(*at == ',' || *at == close);
            at += *at == ',' && at[1] != close;
        }
        return at + 1;
    }
    if (strncmp(at, "true", 4) == 0)
        return at + 4;
    if (strncmp(at, "false", 5) == 0)
        return at + 5;
    if (strncmp(at, "null", 4) == 0)
        return at + 4;
    size_t digits = strspn(at, "0123456789");
    must(digits > 0);
    return at + digits;
}

static void end(void)
{
    unlink(identity_path);
    unlink(peers_path);
    rmdir(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    must(mkdtemp(dir) != NULL);
    snprintf(identity_path, sizeof identity_path, "%s/identity", dir);
    snprintf(peers_path, sizeof peers_path, "%s/peers", dir);
    atexit(end);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    bool json = fuzz_byte(&in) & 1;
    uint16_t length = fuzz_word(&in);
    write_identity(fuzz_bytes(&in, length));
    write_peers(in);
    char *text = NULL;
    size_t text_size = 0;
    FILE *out = stdout, *err = stderr, *to = open_memstream(&text, &text_size);
    must(to != NULL);
    stdout = to;
    stderr = to;
    int code = inspect_print(dir, json);
    fflush(to);
    stdout = out;
    stderr = err;
    must(fclose(to) == 0);
    must(code == 0 || code == 6 || code == 7);
    if (json && code != 6) {
        const char *last = json_value(text);
        must(strcmp(last, "\n") == 0);
    }
    free(text);
    return 0;
}
