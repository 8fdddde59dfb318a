/* stream_format.h: the fixed parts of a stream as bytes; for stream_write.c, stream_read.c and stream_file.c only. */
#pragma once

#include "shard/snapshot/stream.h"

#define STREAM_MAGIC_BYTES ((size_t)8)
#define STREAM_MAGIC_FAMILY "HFSNAP" /* then two digits */
#define STREAM_V1_BYTES ((size_t)20)
#define STREAM_V2_BYTES ((size_t)32)      /* without the room */
#define STREAM_SECTION_BYTES ((size_t)24) /* without name and crc */
#define STREAM_FOOTER_BYTES ((size_t)28)
#define STREAM_CRC_BYTES ((size_t)4)
#define STREAM_TOKEN 0u /* the kind of the first section */
#define STREAM_TOKEN_NAME "token"
/* Nothing but a token. */
#define STREAM_BYTES_MIN                                                                                               \
    (STREAM_SECTION_BYTES + sizeof STREAM_TOKEN_NAME - 1 + 2 * STREAM_CRC_BYTES + STREAM_FOOTER_BYTES)

#define STREAM_SECTION_MAGIC "HFsc"
#define STREAM_FOOTER_MAGIC "HFsf"

struct stream_footer {
    uint32_t sections;
    uint64_t bytes; /* before it */
    uint32_t token_crc, crc;
};

void stream_format_header(const struct stream_header *header, struct buf *out);
void stream_format_section(uint32_t kind, const char *name, uint64_t bytes, struct buf *out);
void stream_format_footer(const struct stream_footer *footer, uint8_t out[STREAM_FOOTER_BYTES]);

/* HF_E_SNAPSHOT_BODY: the crc does not hold. */
HF_CHECKED int stream_format_read_v1(const uint8_t *bytes, struct stream_header *out);
/* As v1; HF_E_SNAPSHOT_LENGTH: the room cannot be so large. */
HF_CHECKED int stream_format_read_v2(const uint8_t *bytes, struct stream_header *out, size_t *out_room);
/* The parts of the room and their crc behind them. HF_E_SNAPSHOT_BODY, HF_E_SNAPSHOT_LENGTH. */
HF_CHECKED int stream_format_read_room(struct slice room, struct stream_header *out);
/* HF_E_SNAPSHOT_FOOTER; HF_E_SNAPSHOT_TOO_SMALL: no footer at all. */
HF_CHECKED int stream_format_read_footer(const uint8_t *bytes, struct stream_footer *out);
/* Of the token a reader met; for who has its header. */
uint32_t stream_reader_token_crc(const struct stream_reader *r);
bool stream_format_name(const char *name, size_t size); /* may a section be called so? */
