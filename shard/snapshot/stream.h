/* stream.h: one format for a whole state: what a replica is sent, what is kept locally, what a backup is.
 *
 *   header   magic and version, ceiling (v1), cutover (v2), room to grow; then the token of what follows
 *   section  kind, name, length, bytes, crc32c: one file of a checkpoint, or sorted records
 *   footer   counts, crc32c over everything before
 *
 * Position: sender and backup write it, receiver and restore read it; bytes in order, never a seek.
 * Thread:   the caller's. Nothing is believed before its checksum was checked (I11). */
#pragma once

#include "common/base/buf.h"
#include "shard/snapshot/token.h"

/* Typed errors, each its own code in common/base/error.h: HF_E_SNAPSHOT_TOO_SMALL, _FOOTER (footer against token), _BODY
 * (body against footer), _MAGIC (unknown of the family), _LENGTH (a length that cannot be), _TOKEN (token invalid),
 * _ABSENT, _TOO_LARGE. */

enum stream_section { STREAM_FILE = 1 /* a file of a checkpoint */, STREAM_RECORDS = 2 /* sorted records */ };

struct stream_header {
    uint32_t version; /* 0: headerless legacy, 1, 2 */
    struct hlc ceiling;
    uint64_t cutover;
    struct token token;
};

/* ---- writing: bytes come out through `write`, in order ---- */

typedef int stream_write_fn(void *ctx, struct slice bytes); /* 0 or negative: stop with it */

struct stream_writer; /* opaque */
HF_CHECKED int stream_writer_new(const struct stream_header *header, stream_write_fn *write, void *ctx,
                                 struct stream_writer **out);
HF_CHECKED int stream_section_begin(struct stream_writer *w, enum stream_section kind, const char *name, uint64_t bytes);
HF_CHECKED int stream_section_bytes(struct stream_writer *w, struct slice bytes);
HF_CHECKED int stream_section_end(struct stream_writer *w);
HF_CHECKED int stream_finish(struct stream_writer *w); /* writes the footer */
void stream_writer_free(struct stream_writer **w);

/* A whole checkpoint directory as one stream; `bytes` of what comes out are counted in *out_bytes. Reads each file once. */
HF_CHECKED int stream_write_directory(struct stream_writer *w, const char *dir);

/* ---- reading: pushed bytes, any cut ---- */

struct stream_sink { /* all may fail: the reader stops with that code */
    void *ctx;
    int (*header)(void *ctx, const struct stream_header *h); /* parsed and checked; no side effect happened before */
    int (*begin)(void *ctx, enum stream_section kind, const char *name, uint64_t bytes);
    int (*bytes)(void *ctx, struct slice bytes);
    int (*end)(void *ctx); /* the section's checksum held */
};

struct stream_reader; /* opaque */
struct stream_reader *stream_reader_new(const struct stream_sink *sink, uint64_t bytes_max);
/* HF_E_SNAPSHOT_*, or what the sink said. */
HF_CHECKED int stream_reader_push(struct stream_reader *r, struct slice bytes);
/* The end was reached: footer seen and everything before it as it says. */
HF_CHECKED int stream_reader_finish(struct stream_reader *r);
void stream_reader_free(struct stream_reader **r);
