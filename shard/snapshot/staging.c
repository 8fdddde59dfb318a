/* staging.c: a stream's files on their way onto the disk, beside the machine in use. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "shard/snapshot/install.h"

#define PATH_BYTES 4096

struct staging {
    struct disk *disk;
    char dir[PATH_BYTES];    /* the replica's */
    char folder[PATH_BYTES]; /* where the files go */
    struct disk_file *file;  /* owned; of the section that is open */
    uint64_t at;
    struct arena arena;
    struct stream_header header;
    bool header_done;
};

static int on_header(void *ctx, const struct stream_header *h)
{
    struct staging *s = ctx;
    struct buf text = {0};
    struct stream_header copy = *h;
    int rc = token_encode(&h->token, &text);
    if (rc == HF_OK)
        rc = token_decode(buf_slice(&text), &s->arena, &copy.token);
    buf_deinit(&text);
    if (rc != HF_OK)
        return HF_E_SNAPSHOT_TOKEN;
    s->header = copy;
    s->header_done = true;
    return HF_OK;
}

static int on_begin(void *ctx, enum stream_section kind, const char *name, uint64_t bytes)
{
    struct staging *s = ctx;
    char path[PATH_BYTES];
    (void)bytes;
    must(s->file == NULL);
    if (kind != STREAM_FILE || strcmp(name, INSTALL_STAGED) == 0)
        return HF_E_SNAPSHOT_MAGIC;
    int n = snprintf(path, sizeof path, "%s/%s", s->folder, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return HF_E_LIMIT;
    s->at = 0;
    return s->disk->ops->open(s->disk, path, DISK_CREATE, &s->file);
}

static int on_bytes(void *ctx, struct slice bytes)
{
    struct staging *s = ctx;
    int rc = s->disk->ops->write(s->disk, s->file, s->at, bytes.data, bytes.size);
    s->at += bytes.size;
    return rc;
}

static int on_end(void *ctx)
{
    struct staging *s = ctx;
    int rc = s->disk->ops->sync(s->disk, s->file);
    s->disk->ops->close(s->disk, &s->file);
    return rc;
}

struct stream_sink staging_sink(struct staging *s)
{
    return (struct stream_sink){.ctx = s, .header = on_header, .begin = on_begin, .bytes = on_bytes, .end = on_end};
}

static int path_below(const char *dir, const char *name, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", dir, name);
    return n < 0 || n >= PATH_BYTES ? HF_E_LIMIT : HF_OK;
}

/* <dir>/snapshots/incoming, empty. */
static int make_folder(struct staging *s)
{
    char path[PATH_BYTES];
    bool pending = false;
    int rc = path_below(s->dir, INSTALL_NAME, path);
    if (rc == HF_OK)
        rc = s->disk->ops->exists(s->disk, path, &pending);
    if (rc == HF_OK && pending)
        rc = HF_E_BUSY;
    if (rc == HF_OK)
        rc = path_below(s->dir, TOKEN_DIR, path);
    if (rc == HF_OK)
        rc = disk_ensure_dir(s->disk, s->dir, path);
    if (rc == HF_OK)
        rc = disk_remove_tree(s->disk, s->folder);
    if (rc == HF_OK)
        rc = disk_ensure_dir(s->disk, path, s->folder);
    return rc;
}

int staging_new(struct disk *disk, const char *dir, struct staging **out)
{
    struct staging *s = calloc(1, sizeof *s);
    must(s != NULL); /* out of memory */
    s->disk = disk;
    int rc = strlen(dir) < sizeof s->dir ? path_below(dir, INSTALL_INCOMING, s->folder) : HF_E_LIMIT;
    if (rc == HF_OK) {
        memcpy(s->dir, dir, strlen(dir) + 1);
        rc = make_folder(s);
    }
    if (rc != HF_OK) {
        staging_free(&s);
        return rc;
    }
    *out = s;
    return HF_OK;
}

const struct stream_header *staging_header(const struct staging *s)
{
    return s->header_done ? &s->header : NULL;
}

int staging_sync(struct staging *s)
{
    char path[PATH_BYTES];
    must(s->header_done && s->file == NULL);
    int rc = path_below(s->folder, INSTALL_STAGED, path);
    if (rc == HF_OK)
        rc = s->disk->ops->open(s->disk, path, DISK_CREATE, &s->file);
    if (rc == HF_OK)
        rc = s->disk->ops->sync(s->disk, s->file);
    s->disk->ops->close(s->disk, &s->file);
    if (rc == HF_OK)
        rc = s->disk->ops->sync_dir(s->disk, s->folder);
    return rc;
}

void staging_free(struct staging **s)
{
    if (*s == NULL)
        return;
    (*s)->disk->ops->close((*s)->disk, &(*s)->file);
    arena_deinit(&(*s)->arena);
    free(*s);
    *s = NULL;
}
