/* stream.h: one format for a whole state: what a replica is sent, what is kept locally, what a backup is.
 *
 *   header   "HFSNAP01" ceiling, crc | "HFSNAP02" ceiling, cutover, length of the room, crc, room, crc | nothing (legacy)
 *   section  "HFsc" kind, length of the name, 0, length, name, crc; bytes; crc of the bytes
 *            the first is the token, text as in token.h; then one file of a checkpoint each, or sorted records
 *   footer   "HFsf" sections, bytes before the footer, crc of the token, crc of everything before, own crc
 *
 * Position: sender and backup write it, receiver and restore read it; bytes in order, never a seek.
 * Thread:   the caller's. Nothing is believed before its checksum was checked (I11): who uses the sections before
 *           stream_reader_finish said HF_OK must be able to undo it. README.md has the format byte by byte. */
#pragma once

#include "common/base/buf.h"
#include "shard/snapshot/token.h"

/* Typed errors, each its own code in common/base/error.h:
 *   HF_E_SNAPSHOT_TOO_SMALL  it ended before its footer
 *   HF_E_SNAPSHOT_FOOTER     the footer is damaged, or says another token than the stream begins with
 *   HF_E_SNAPSHOT_BODY       a checksum of header, section or whole does not hold, or the counts do not
 *   HF_E_SNAPSHOT_MAGIC      unknown: of the family, another version; no stream at all; a kind of section, a name
 *   HF_E_SNAPSHOT_LENGTH     a length that cannot be; bytes behind the footer
 *   HF_E_SNAPSHOT_TOKEN      the token is missing or cannot be read; sinks also say it of one that is not the expected
 *   HF_E_SNAPSHOT_ABSENT     there is no such stream
 *   HF_E_SNAPSHOT_TOO_LARGE  larger than `bytes_max` */

enum stream_section { STREAM_FILE = 1 /* a file of a checkpoint */, STREAM_RECORDS = 2 /* sorted records */ };

#define STREAM_NAME_BYTES 255 /* of a section: printable, no slash, no dot in front */
#define STREAM_SECTIONS_MAX 65536
#define STREAM_ROOM_BYTES_MAX                                                                                          \
    65536 /* of a header of version 2: (tag u32, length u32, bytes) in a row; unknown ones are skipped */

struct stream_header {
    uint32_t version;   /* 0: headerless legacy, 1, 2; the writer chooses itself: 2 once there is a cutover */
    struct hlc ceiling; /* never above the token's: HF_E_SNAPSHOT_TOKEN */
    uint64_t cutover;   /* read: the token has it too, or a higher one */
    struct token token;
};

/* ---- writing: bytes come out through `write`, in order ---- */

typedef int stream_write_fn(void *ctx, struct slice bytes); /* 0 or negative: stop with it */

struct stream_writer; /* opaque; after a failure it may only be freed */
/* Writes header and token. HF_E_INVALID: the token cannot be; or what `write` said. */
HF_CHECKED int stream_writer_new(const struct stream_header *header, stream_write_fn *write, void *ctx,
                                 struct stream_writer **out);
/* HF_E_INVALID: the name cannot be. */
HF_CHECKED int stream_section_begin(struct stream_writer *w, enum stream_section kind, const char *name,
                                    uint64_t bytes);
HF_CHECKED int stream_section_bytes(struct stream_writer *w,
                                    struct slice bytes);     /* HF_E_INVALID: more than announced */
HF_CHECKED int stream_section_end(struct stream_writer *w);  /* HF_E_INVALID: less */
HF_CHECKED int stream_finish(struct stream_writer *w);       /* writes the footer */
uint64_t stream_writer_bytes(const struct stream_writer *w); /* came out so far */
void stream_writer_free(struct stream_writer **w);

/* The files of a checkpoint directory as sections, by name: the same bytes each time. Reads each file once. */
HF_CHECKED int stream_write_directory(struct stream_writer *w, const char *dir);
/* How many bytes the stream of a checkpoint will have, header to footer. */
HF_CHECKED int stream_directory_bytes(const struct stream_header *header, const char *dir, uint64_t *out_bytes);

/* ---- reading: pushed bytes, any cut ---- */

struct stream_sink { /* each may be NULL, and may fail: the reader stops with that code */
    void *ctx;
    /* Header and token were parsed and checked; no other call came before. `h` lives as long as the reader. */
    int (*header)(void *ctx, const struct stream_header *h);
    int (*begin)(void *ctx, enum stream_section kind, const char *name, uint64_t bytes);
    int (*bytes)(void *ctx, struct slice bytes); /* not checked yet */
    int (*end)(void *ctx);                       /* the section's checksum held */
};

struct stream_reader; /* opaque */
/* The sink is copied. bytes_max: of the whole stream; 0: any. */
struct stream_reader *stream_reader_new(const struct stream_sink *sink, uint64_t bytes_max);
/* HF_E_SNAPSHOT_*, or what the sink said; from then on always that. */
HF_CHECKED int stream_reader_push(struct stream_reader *r, struct slice bytes);
/* The end was reached: footer seen and everything before it as it says. HF_E_SNAPSHOT_*. */
HF_CHECKED int stream_reader_finish(struct stream_reader *r);
uint64_t stream_reader_bytes(const struct stream_reader *r);                     /* taken so far: where to resume */
const struct stream_header *stream_reader_header(const struct stream_reader *r); /* NULL: not there yet */
void stream_reader_free(struct stream_reader **r);

/* ---- a stream in a file ---- */

/* Header and token of a stream in a file, from its two ends; the sections are not read. Checks that it is large enough,
 * that the footer is whole and belongs to the token. Members live in the arena. HF_E_SNAPSHOT_*, HF_E_IO. */
HF_CHECKED int stream_file_peek(struct disk *disk, const char *path, struct arena *arena, struct stream_header *out,
                                uint64_t *out_bytes);
/* stream_file_peek, then all of it through `sink` (NULL: only checked). HF_E_SNAPSHOT_*, HF_E_IO, what the sink said. */
HF_CHECKED int stream_file_read(struct disk *disk, const char *path, const struct stream_sink *sink,
                                uint64_t bytes_max);
