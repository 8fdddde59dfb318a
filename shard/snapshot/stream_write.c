/* stream_write.c: header, sections and footer, out through a function; and a checkpoint's files as sections. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/crc32c.h"
#include "common/base/endian.h"
#include "common/base/error.h"
#include "shard/snapshot/stream_format.h"

#define PATH_BYTES 4096
#define PIECE_BYTES ((size_t)256 * 1024)

struct stream_writer {
    stream_write_fn *write;
    void *ctx;
    uint64_t bytes;    /* written */
    uint64_t left;     /* of the section */
    uint32_t sections; /* ended */
    uint32_t crc, section_crc, token_crc;
    bool open; /* a section is */
};

static int put(struct stream_writer *w, struct slice bytes)
{
    if (bytes.size == 0)
        return HF_OK;
    w->crc = crc32c(w->crc, bytes.data, bytes.size);
    w->bytes += bytes.size;
    return w->write(w->ctx, bytes);
}

static int begin(struct stream_writer *w, uint32_t kind, const char *name, uint64_t bytes)
{
    must(!w->open);
    if (!stream_format_name(name, strlen(name)) || w->sections == STREAM_SECTIONS_MAX)
        return HF_E_INVALID;
    struct buf head = {0};
    stream_format_section(kind, name, bytes, &head);
    int rc = put(w, buf_slice(&head));
    buf_deinit(&head);
    w->open = true;
    w->left = bytes;
    w->section_crc = 0;
    return rc;
}

static int write_token(struct stream_writer *w, const struct token *token)
{
    struct buf text = {0};
    int rc = token_encode(token, &text);
    if (rc == HF_OK)
        rc = begin(w, STREAM_TOKEN, STREAM_TOKEN_NAME, text.size);
    if (rc == HF_OK)
        rc = stream_section_bytes(w, buf_slice(&text));
    if (rc == HF_OK) {
        w->token_crc = w->section_crc;
        rc = stream_section_end(w);
    }
    buf_deinit(&text);
    return rc;
}

int stream_writer_new(const struct stream_header *header, stream_write_fn *write, void *ctx, struct stream_writer **out)
{
    struct stream_writer *w = calloc(1, sizeof *w);
    must(w != NULL); /* out of memory */
    w->write = write;
    w->ctx = ctx;
    struct buf head = {0};
    stream_format_header(header, &head);
    int rc = put(w, buf_slice(&head));
    buf_deinit(&head);
    if (rc == HF_OK)
        rc = write_token(w, &header->token);
    if (rc != HF_OK) {
        stream_writer_free(&w);
        return rc;
    }
    *out = w;
    return HF_OK;
}

int stream_section_begin(struct stream_writer *w, enum stream_section kind, const char *name, uint64_t bytes)
{
    return begin(w, (uint32_t)kind, name, bytes);
}

int stream_section_bytes(struct stream_writer *w, struct slice bytes)
{
    must(w->open);
    if (bytes.size > w->left)
        return HF_E_INVALID;
    w->left -= bytes.size;
    w->section_crc = crc32c(w->section_crc, bytes.data, bytes.size);
    return put(w, bytes);
}

int stream_section_end(struct stream_writer *w)
{
    must(w->open);
    if (w->left != 0)
        return HF_E_INVALID;
    uint8_t crc[STREAM_CRC_BYTES];
    put_le32(crc, w->section_crc);
    w->open = false;
    w->sections++;
    return put(w, slice_make(crc, sizeof crc));
}

int stream_finish(struct stream_writer *w)
{
    must(!w->open);
    uint8_t bytes[STREAM_FOOTER_BYTES];
    stream_format_footer(
        &(struct stream_footer){.sections = w->sections, .bytes = w->bytes, .token_crc = w->token_crc, .crc = w->crc},
        bytes);
    return put(w, slice_make(bytes, sizeof bytes));
}

uint64_t stream_writer_bytes(const struct stream_writer *w)
{
    return w->bytes;
}

void stream_writer_free(struct stream_writer **w)
{
    free(*w);
    *w = NULL;
}

/* ---- a directory ---- */

struct names { /* pointers into `text` once it is complete */
    struct buf text;
    const char **names; /* owned */
    size_t count;
};

static void note(void *ctx, const char *name)
{
    struct names *names = ctx;
    /* What RocksDB prints, and its lock: no part of the state. */
    if (strcmp(name, "LOCK") == 0 || strcmp(name, "LOG") == 0 || strncmp(name, "LOG.old", 7) == 0)
        return;
    buf_append(&names->text, name, strlen(name) + 1);
    names->count++;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void names_deinit(struct names *names)
{
    buf_deinit(&names->text);
    free(names->names);
}

static int names_of(const char *dir, struct names *out)
{
    *out = (struct names){0};
    struct disk *disk = disk_posix();
    int rc = disk->ops->list(disk, dir, note, out);
    if (rc != HF_OK)
        return rc;
    out->names = calloc(out->count + 1, sizeof *out->names);
    must(out->names != NULL); /* out of memory */
    const char *at = (const char *)out->text.data;
    for (size_t i = 0; i < out->count; i++, at += strlen(at) + 1)
        out->names[i] = at;
    qsort(out->names, out->count, sizeof *out->names, by_name);
    return HF_OK;
}

static int open_file(const char *dir, const char *name, struct disk_file **out, uint64_t *out_bytes)
{
    struct disk *disk = disk_posix();
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return HF_E_LIMIT;
    int rc = disk->ops->open(disk, path, DISK_READ, out);
    if (rc == HF_OK)
        rc = disk->ops->size(disk, *out, out_bytes);
    return rc;
}

static int write_file(struct stream_writer *w, const char *dir, const char *name, uint8_t *piece)
{
    struct disk *disk = disk_posix();
    struct disk_file *file = NULL;
    uint64_t bytes = 0;
    int rc = open_file(dir, name, &file, &bytes);
    if (rc == HF_OK)
        rc = stream_section_begin(w, STREAM_FILE, name, bytes);
    for (uint64_t at = 0; rc == HF_OK && at < bytes;) {
        size_t size = bytes - at < PIECE_BYTES ? (size_t)(bytes - at) : PIECE_BYTES;
        rc = disk->ops->read(disk, file, at, piece, size);
        if (rc == HF_OK)
            rc = stream_section_bytes(w, slice_make(piece, size));
        at += size;
    }
    if (rc == HF_OK)
        rc = stream_section_end(w);
    disk->ops->close(disk, &file);
    return rc;
}

int stream_write_directory(struct stream_writer *w, const char *dir)
{
    struct names names;
    int rc = names_of(dir, &names);
    uint8_t *piece = malloc(PIECE_BYTES);
    must(piece != NULL); /* out of memory */
    for (size_t i = 0; rc == HF_OK && i < names.count; i++)
        rc = write_file(w, dir, names.names[i], piece);
    free(piece);
    names_deinit(&names);
    return rc;
}

static int count(void *ctx, struct slice bytes)
{
    (void)ctx, (void)bytes; /* the writer counts */
    return HF_OK;
}

int stream_directory_bytes(const struct stream_header *header, const char *dir, uint64_t *out_bytes)
{
    struct names names = {0};
    struct stream_writer *w = NULL;
    int rc = stream_writer_new(header, count, NULL, &w);
    if (rc == HF_OK)
        rc = names_of(dir, &names);
    uint64_t total = rc == HF_OK ? w->bytes + STREAM_FOOTER_BYTES : 0;
    for (size_t i = 0; rc == HF_OK && i < names.count; i++) {
        struct disk_file *file = NULL;
        uint64_t bytes = 0;
        rc = open_file(dir, names.names[i], &file, &bytes);
        disk_posix()->ops->close(disk_posix(), &file);
        total += STREAM_SECTION_BYTES + strlen(names.names[i]) + 2 * STREAM_CRC_BYTES + bytes;
    }
    names_deinit(&names);
    stream_writer_free(&w);
    if (rc == HF_OK)
        *out_bytes = total;
    return rc;
}
