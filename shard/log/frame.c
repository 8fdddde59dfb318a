/* frame.c: segment headers, frames and records to bytes and back, every length checked before it is used (I11). */
#include "shard/log/frame.h"

#include <string.h>

#include "common/base/crc32c.h"
#include "common/base/endian.h"
#include "common/base/error.h"
#include "common/base/limits.h"

static const char magic[8] = {'H', 'F', 'L', 'O', 'G', 'S', 'E', 'G'};

/* The header block: magic 0, format 8, crc 12 (of the block without these four bytes), then the fields. */

static uint32_t segment_crc(const uint8_t *block)
{
    return crc32c(crc32c(0, block, 12), block + 16, FRAME_SEGMENT_HEADER_BYTES - 16);
}

void frame_segment_write(uint8_t out[FRAME_SEGMENT_HEADER_BYTES], const struct frame_segment *segment)
{
    memset(out, 0, FRAME_SEGMENT_HEADER_BYTES);
    memcpy(out, magic, sizeof magic);
    put_le32(out + 8, FRAME_FORMAT);
    put_le64(out + 16, segment->id);
    put_le64(out + 24, segment->sequence);
    put_le64(out + 32, segment->base);
    put_le64(out + 40, segment->base_term);
    put_le64(out + 48, segment->last);
    put_le64(out + 56, segment->last_term);
    put_le64(out + 64, segment->bytes);
    put_le32(out + 12, segment_crc(out));
}

int frame_segment_read(const uint8_t block[FRAME_SEGMENT_HEADER_BYTES], struct frame_segment *out)
{
    if (memcmp(block, magic, sizeof magic) != 0 || get_le32(block + 12) != segment_crc(block))
        return HF_E_CORRUPT;
    if (get_le32(block + 8) != FRAME_FORMAT)
        return HF_E_FORMAT;
    struct frame_segment s = {.id = get_le64(block + 16),
                              .sequence = get_le64(block + 24),
                              .base = get_le64(block + 32),
                              .base_term = get_le64(block + 40),
                              .last = get_le64(block + 48),
                              .last_term = get_le64(block + 56),
                              .bytes = get_le64(block + 64)};
    if (s.id == 0 || s.sequence == 0 || s.last < s.base || s.last_term < s.base_term)
        return HF_E_CORRUPT;
    *out = s;
    return 0;
}

/* A frame: crc 0, length 4, sequence 8, commit 16, records 24, check of the header 28, records from 32. */

static uint32_t place_seed(uint64_t segment, uint64_t offset)
{
    uint8_t place[16];
    put_le64(place, segment);
    put_le64(place + 8, offset);
    return crc32c(0, place, sizeof place);
}

static uint32_t header_check(const uint8_t *at, uint32_t seed)
{
    return crc32c(seed, at + 4, 24);
}

void frame_seal(uint8_t *frame, const struct frame_header *header, uint64_t segment, uint64_t offset)
{
    must(header->length >= FRAME_HEADER_BYTES && header->length % FRAME_ALIGN == 0 &&
         header->length <= FRAME_BYTES_MAX);
    must(offset % FRAME_ALIGN == 0);
    uint32_t seed = place_seed(segment, offset);
    put_le32(frame + 4, header->length);
    put_le64(frame + 8, header->sequence);
    put_le64(frame + 16, header->commit);
    put_le32(frame + 24, header->records);
    put_le32(frame + 28, header_check(frame, seed));
    put_le32(frame, crc32c(seed, frame + 4, header->length - 4));
}

bool frame_header_read(const uint8_t *at, uint64_t segment, uint64_t offset, uint64_t room, struct frame_header *out)
{
    uint32_t length = get_le32(at + 4);
    if (length < FRAME_HEADER_BYTES || length % FRAME_ALIGN != 0 || length > FRAME_BYTES_MAX || length > room ||
        get_le32(at + 28) != header_check(at, place_seed(segment, offset)))
        return false;
    *out = (struct frame_header){.crc = get_le32(at),
                                 .length = length,
                                 .sequence = get_le64(at + 8),
                                 .commit = get_le64(at + 16),
                                 .records = get_le32(at + 24)};
    return true;
}

bool frame_intact(const uint8_t *frame, const struct frame_header *header, uint64_t segment, uint64_t offset)
{
    return crc32c(place_seed(segment, offset), frame + 4, header->length - 4) == header->crc;
}

/* A record: type 0, count 4, index 8, term 16; a run's entries follow: size 0, kind 4, payload 8, zeros to a multiple
 * of 8. */

void frame_record_write(uint8_t out[FRAME_RECORD_BYTES], enum frame_type type, uint32_t count, uint64_t index,
                        uint64_t term)
{
    put_le32(out, (uint32_t)type);
    put_le32(out + 4, count);
    put_le64(out + 8, index);
    put_le64(out + 16, term);
}

void frame_entry_write(uint8_t *out, const struct log_entry *entry)
{
    size_t size = entry->data.size, end = frame_entry_bytes(size);
    put_le32(out, (uint32_t)size);
    put_le32(out + 4, (uint32_t)entry->kind);
    if (size > 0)
        memcpy(out + FRAME_ENTRY_BYTES, entry->data.data, size);
    memset(out + FRAME_ENTRY_BYTES + size, 0, end - FRAME_ENTRY_BYTES - size);
}

void frame_open(struct frame_cursor *cursor, const uint8_t *frame, const struct frame_header *header)
{
    *cursor = (struct frame_cursor){
        .at = frame + FRAME_HEADER_BYTES, .end = frame + header->length, .records = header->records};
}

static bool kind_known(uint32_t kind)
{
    return kind == LOG_NOOP || kind == LOG_COMMAND || kind == LOG_CONFIG;
}

static int next_entry(struct frame_cursor *c, struct frame_item *out)
{
    size_t room = (size_t)(c->end - c->at);
    if (room < FRAME_ENTRY_BYTES)
        return HF_E_CORRUPT;
    uint32_t size = get_le32(c->at), kind = get_le32(c->at + 4);
    if (size > LIMIT_ENTRY_BYTES || frame_entry_bytes(size) > room || !kind_known(kind))
        return HF_E_CORRUPT;
    out->type = FRAME_ENTRIES;
    out->entry = (struct log_entry){.index = c->index,
                                    .term = c->term,
                                    .kind = (enum log_kind)kind,
                                    .data = slice_make(c->at + FRAME_ENTRY_BYTES, size)};
    c->at += frame_entry_bytes(size);
    c->index++;
    c->entries--;
    return 1;
}

int frame_next(struct frame_cursor *c, struct frame_item *out)
{
    if (c->entries > 0)
        return next_entry(c, out);
    if (c->records == 0)
        return c->at == c->end ? 0 : HF_E_CORRUPT;
    if ((size_t)(c->end - c->at) < FRAME_RECORD_BYTES)
        return HF_E_CORRUPT;
    uint32_t type = get_le32(c->at), count = get_le32(c->at + 4);
    c->index = get_le64(c->at + 8);
    c->term = get_le64(c->at + 16);
    c->at += FRAME_RECORD_BYTES;
    c->records--;
    if (type == FRAME_ENTRIES) {
        if (count == 0 || c->index == 0 || c->index > UINT64_MAX - count)
            return HF_E_CORRUPT;
        c->entries = count;
        return next_entry(c, out);
    }
    if ((type != FRAME_TRUNCATE && type != FRAME_BASE && type != FRAME_RESTART) || count != 0)
        return HF_E_CORRUPT;
    *out = (struct frame_item){.type = (enum frame_type)type, .entry = {.index = c->index, .term = c->term}};
    return 1;
}
