/* manifest.c: see manifest.h. */
#include "client/cli/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/buf.h"
#include "common/base/crc32c.h"
#include "common/base/error.h"
#include "common/sys/disk.h"

#define VERSION_MAX 2
#define PATH_BYTES 4096
#define LINE_BYTES 192
#define BYTES_MAX ((size_t)(MANIFEST_SHARDS_MAX + 4) * LINE_BYTES)

static void add_line(struct buf *text, const char *line, int size)
{
    must(size > 0 && size < LINE_BYTES);
    buf_append(text, line, (size_t)size);
}

static void render(uint64_t at, const Hf__Client__BackupHead *heads, size_t count, struct buf *text)
{
    char line[LINE_BYTES];
    add_line(text, line, snprintf(line, sizeof line, "holdfast-backup %d\n", at ? 2 : 1));
    if (at != 0)
        add_line(text, line, snprintf(line, sizeof line, "at %" PRIu64 "\n", at));
    add_line(text, line, snprintf(line, sizeof line, "cluster %016" PRIx64 "\n", heads[0].cluster));
    add_line(text, line, snprintf(line, sizeof line, "shards %zu\n", count));
    for (size_t i = 0; i < count; i++)
        add_line(text, line,
                 snprintf(line, sizeof line,
                          "shard %" PRIu32 " file shard-%" PRIu32 ".backup bytes %" PRIu64 " records %" PRIu64
                          " index %" PRIu64 " term %" PRIu64 "\n",
                          heads[i].shard, heads[i].shard, heads[i].bytes, heads[i].records, heads[i].index,
                          heads[i].term));
    uint32_t crc = crc32c(0, text->data, text->size);
    add_line(text, line, snprintf(line, sizeof line, "crc %08" PRIx32 "\n", crc));
}

int manifest_write(const char *dir, uint64_t at, const Hf__Client__BackupHead *heads, size_t count)
{
    char path[PATH_BYTES];
    if (snprintf(path, sizeof path, "%s/" MANIFEST_NAME, dir) >= (int)sizeof path || count > MANIFEST_SHARDS_MAX)
        return HF_E_LIMIT;
    struct buf text = {0};
    render(at, heads, count, &text);
    int rc = disk_replace(disk_posix(), path, buf_slice(&text));
    buf_deinit(&text);
    return rc;
}

/* What the lines say; whether they say it in the one way they can be written is the caller's to see. */
static int parse(const char *at, struct arena *arena, uint64_t *out_at, Hf__Client__BackupHead **out, size_t *out_count)
{
    uint64_t cluster;
    unsigned version, count;
    int read = 0;
    *out_at = 0;
    if (sscanf(at, "holdfast-backup %9u\n%n", &version, &read) != 1 || read == 0 || version == 0)
        return HF_E_CORRUPT;
    if (version > VERSION_MAX)
        return HF_E_FORMAT;
    at += read;
    read = 0;
    if (version > 1) {
        if (sscanf(at, "at %20" SCNu64 "\n%n", out_at, &read) != 1 || read == 0)
            return HF_E_CORRUPT;
        at += read;
        read = 0;
    }
    if (sscanf(at, "cluster %16" SCNx64 " shards %9u\n%n", &cluster, &count, &read) != 2 || read == 0)
        return HF_E_CORRUPT;
    if (count == 0 || count > MANIFEST_SHARDS_MAX)
        return HF_E_CORRUPT;
    Hf__Client__BackupHead *heads = arena_alloc(arena, count * sizeof *heads);
    for (size_t i = 0; i < count; i++) {
        at += read;
        read = 0;
        hf__client__backup_head__init(&heads[i]);
        heads[i].cluster = cluster;
        if (sscanf(at,
                   "shard %10" SCNu32 " file shard-%*u.backup bytes %20" SCNu64 " records %20" SCNu64
                   " index %20" SCNu64 " term %20" SCNu64 "\n%n",
                   &heads[i].shard, &heads[i].bytes, &heads[i].records, &heads[i].index, &heads[i].term, &read) != 5 ||
            read == 0)
            return HF_E_CORRUPT;
    }
    *out = heads;
    *out_count = count;
    return HF_OK;
}

int manifest_read(const char *dir, struct arena *arena, uint64_t *out_at, Hf__Client__BackupHead **out,
                  size_t *out_count)
{
    char path[PATH_BYTES];
    struct stat st;
    struct buf text = {0}, again = {0};
    Hf__Client__BackupHead *heads = NULL;
    size_t count = 0;
    if (snprintf(path, sizeof path, "%s/" MANIFEST_NAME, dir) >= (int)sizeof path)
        return HF_E_LIMIT;
    if (stat(path, &st) != 0)
        return errno == ENOENT ? HF_E_ABSENT : HF_E_IO;
    int rc = S_ISREG(st.st_mode) ? disk_read_all(disk_posix(), path, BYTES_MAX, &text) : HF_E_CORRUPT;
    if (rc == HF_OK) {
        buf_append(&text, "", 1);
        rc = parse((const char *)text.data, arena, out_at, &heads, &count);
    }
    if (rc == HF_OK) { /* one way to write it, the checksum included */
        render(*out_at, heads, count, &again);
        buf_append(&again, "", 1);
        rc = slice_equal(buf_slice(&text), buf_slice(&again)) ? HF_OK : HF_E_CORRUPT;
    }
    buf_deinit(&text);
    buf_deinit(&again);
    if (rc == HF_OK) {
        *out = heads;
        *out_count = count;
    }
    return rc;
}
