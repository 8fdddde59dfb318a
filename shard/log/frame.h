/* frame.h: the bytes of a segment: its header block, frames, the records inside a frame. No I/O.
 *
 * Position: tail.c builds frames, recover.c and log.c read them. Layout byte by byte: shard/log/README.md.
 * A frame's checksums are seeded with the segment's id and the frame's place in it: bytes of a recycled segment, of
 * another segment or of another place never pass for a frame, not even when a client stores a copy of a log as a value.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/must.h"
#include "common/base/slice.h"
#include "shard/log/log.h"

#define FRAME_FORMAT 1u
#define FRAME_ALIGN 8u
#define FRAME_HEADER_BYTES 32u
#define FRAME_RECORD_BYTES 24u     /* head of every record */
#define FRAME_ENTRY_BYTES 8u       /* head of every entry of a run */
#define FRAME_BYTES_MAX (1u << 30) /* of one frame: a turn never comes near it */
#define FRAME_SEGMENT_HEADER_BYTES 4096u

struct frame_segment { /* the header block: the log as it was when the segment began */
    uint64_t id;       /* from 1, never used twice in a directory */
    uint64_t sequence; /* of the first frame */
    uint64_t base, base_term;
    uint64_t last, last_term; /* last index before the first frame */
    uint64_t bytes;           /* of the file when it was made, 0: not said by the program that made it */
};

void frame_segment_write(uint8_t out[FRAME_SEGMENT_HEADER_BYTES], const struct frame_segment *segment);
/* HF_E_CORRUPT, HF_E_FORMAT (a format we do not know, itself undamaged). */
HF_CHECKED int frame_segment_read(const uint8_t block[FRAME_SEGMENT_HEADER_BYTES], struct frame_segment *out);

struct frame_header {
    uint32_t crc;    /* of all after it */
    uint32_t length; /* of the frame, this header included; a multiple of FRAME_ALIGN */
    uint64_t sequence;
    uint64_t commit; /* a lower bound of the commit index */
    uint32_t records;
};

/* Fills the header of `frame`, whose records are in place: the last step before it is written. */
void frame_seal(uint8_t *frame, const struct frame_header *header, uint64_t segment, uint64_t offset);
/* Is there a header of this place, of a frame that fits in `room` bytes? It has a check of its own, so that a length is
 * believed before the frame is read. `at` has FRAME_HEADER_BYTES bytes. */
bool frame_header_read(const uint8_t *at, uint64_t segment, uint64_t offset, uint64_t room, struct frame_header *out);
/* Does the checksum over the whole frame hold? `frame` has header->length bytes. */
bool frame_intact(const uint8_t *frame, const struct frame_header *header, uint64_t segment, uint64_t offset);

enum frame_type { FRAME_ENTRIES = 1, FRAME_TRUNCATE = 2, FRAME_BASE = 3, FRAME_RESTART = 4 };

void frame_record_write(uint8_t out[FRAME_RECORD_BYTES], enum frame_type type, uint32_t count, uint64_t index,
                        uint64_t term);
/* Bytes of an entry with `size` bytes of payload, padded. */
static inline size_t frame_entry_bytes(size_t size)
{
    return FRAME_ENTRY_BYTES + (size + FRAME_ALIGN - 1) / FRAME_ALIGN * FRAME_ALIGN;
}
/* Writes head, payload and padding: frame_entry_bytes(entry->data.size) bytes. */
void frame_entry_write(uint8_t *out, const struct log_entry *entry);

struct frame_item { /* one entry, or a record without entries */
    enum frame_type type;
    struct log_entry entry; /* index and term for every type; the payload is borrowed from the frame */
};

struct frame_cursor {
    const uint8_t *at, *end;
    uint32_t records; /* still to come */
    uint32_t entries; /* of the run being read, still to come */
    uint64_t index, term;
};

/* Walks an intact frame. */
void frame_open(struct frame_cursor *cursor, const uint8_t *frame, const struct frame_header *header);
/* 1: *out is the next item; 0: the frame ended as it should; HF_E_CORRUPT: it does not follow the format. */
HF_CHECKED int frame_next(struct frame_cursor *cursor, struct frame_item *out);
