/* stream_file.c: a stream that lies in a file: its two ends, or all of it. */
#include <stdlib.h>

#include "common/base/error.h"
#include "shard/snapshot/stream_format.h"

#define HEAD_BYTES ((size_t)4096) /* at a time; header and token of few members */
#define PIECE_BYTES ((size_t)256 * 1024)

struct reading {
    struct disk *disk;
    struct disk_file *file;
    uint64_t bytes;
};

static int open_stream(struct disk *disk, const char *path, struct reading *out)
{
    *out = (struct reading){.disk = disk};
    int rc = disk->ops->open(disk, path, DISK_READ, &out->file);
    if (rc == HF_E_ABSENT)
        return HF_E_SNAPSHOT_ABSENT;
    if (rc == HF_OK)
        rc = disk->ops->size(disk, out->file, &out->bytes);
    if (rc == HF_OK && out->bytes < STREAM_BYTES_MIN)
        rc = HF_E_SNAPSHOT_TOO_SMALL;
    return rc;
}

static int push_piece(const struct reading *in, struct stream_reader *r, uint8_t *piece, size_t size)
{
    uint64_t at = stream_reader_bytes(r), left = in->bytes - at;
    size = left < size ? (size_t)left : size;
    int rc = in->disk->ops->read(in->disk, in->file, at, piece, size);
    return rc == HF_OK ? stream_reader_push(r, slice_make(piece, size)) : rc;
}

/* The footer at the file's end, and as far from its beginning as the token goes. */
static int peek(const struct reading *in, struct stream_reader *r)
{
    uint8_t bytes[STREAM_FOOTER_BYTES], head[HEAD_BYTES];
    struct stream_footer footer = {0};
    int rc = in->disk->ops->read(in->disk, in->file, in->bytes - sizeof bytes, bytes, sizeof bytes);
    if (rc == HF_OK)
        rc = stream_format_read_footer(bytes, &footer);
    if (rc == HF_OK && footer.bytes != in->bytes - sizeof bytes)
        rc = HF_E_SNAPSHOT_FOOTER;
    while (rc == HF_OK && stream_reader_header(r) == NULL && stream_reader_bytes(r) < in->bytes)
        rc = push_piece(in, r, head, sizeof head);
    if (rc == HF_OK && stream_reader_header(r) == NULL)
        rc = HF_E_SNAPSHOT_TOO_SMALL; /* the token does not end before the file does */
    if (stream_reader_header(r) != NULL && footer.token_crc != stream_reader_token_crc(r))
        rc = HF_E_SNAPSHOT_FOOTER;
    else if (stream_reader_header(r) != NULL)
        rc = HF_OK; /* damage behind it is found by who reads it */
    return rc;
}

/* The header, with a token of its own in the arena. */
static int copy_header(const struct stream_header *header, struct arena *arena, struct stream_header *out)
{
    struct buf text = {0};
    struct stream_header copy = *header;
    int rc = token_encode(&header->token, &text);
    if (rc == HF_OK)
        rc = token_decode(buf_slice(&text), arena, &copy.token);
    buf_deinit(&text);
    if (rc == HF_OK)
        *out = copy;
    return rc == HF_OK ? HF_OK : HF_E_SNAPSHOT_TOKEN;
}

int stream_file_peek(struct disk *disk, const char *path, struct arena *arena, struct stream_header *out,
                     uint64_t *out_bytes)
{
    struct reading in;
    struct stream_reader *r = stream_reader_new(NULL, 0);
    int rc = open_stream(disk, path, &in);
    if (rc == HF_OK)
        rc = peek(&in, r);
    if (rc == HF_OK)
        rc = copy_header(stream_reader_header(r), arena, out);
    if (rc == HF_OK)
        *out_bytes = in.bytes;
    disk->ops->close(disk, &in.file);
    stream_reader_free(&r);
    return rc;
}

int stream_file_read(struct disk *disk, const char *path, const struct stream_sink *sink, uint64_t bytes_max)
{
    struct reading in;
    struct stream_reader *r = stream_reader_new(NULL, 0);
    int rc = open_stream(disk, path, &in);
    if (rc == HF_OK && bytes_max != 0 && in.bytes > bytes_max)
        rc = HF_E_SNAPSHOT_TOO_LARGE;
    if (rc == HF_OK)
        rc = peek(&in, r);
    stream_reader_free(&r);
    r = stream_reader_new(sink, bytes_max);
    uint8_t *piece = malloc(PIECE_BYTES);
    must(piece != NULL); /* out of memory */
    while (rc == HF_OK && stream_reader_bytes(r) < in.bytes)
        rc = push_piece(&in, r, piece, PIECE_BYTES);
    if (rc == HF_OK)
        rc = stream_reader_finish(r);
    free(piece);
    disk->ops->close(disk, &in.file);
    stream_reader_free(&r);
    return rc;
}
