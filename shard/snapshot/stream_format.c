/* stream_format.c: header, head of a section and footer; all numbers little endian. */
#include "shard/snapshot/stream_format.h"

#include <string.h>

#include "common/base/crc32c.h"
#include "common/base/endian.h"
#include "common/base/error.h"

void stream_format_header(const struct stream_header *header, struct buf *out)
{
    bool v2 = header->cutover != 0;
    size_t size = v2 ? STREAM_V2_BYTES : STREAM_V1_BYTES;
    uint8_t bytes[STREAM_V2_BYTES + STREAM_CRC_BYTES];
    memcpy(bytes, v2 ? STREAM_MAGIC_FAMILY "02" : STREAM_MAGIC_FAMILY "01", STREAM_MAGIC_BYTES);
    put_le64(bytes + 8, header->ceiling.t);
    if (v2) {
        put_le64(bytes + 16, header->cutover);
        put_le32(bytes + 24, 0); /* this program has nothing to put there */
    }
    put_le32(bytes + size - STREAM_CRC_BYTES, crc32c(0, bytes, size - STREAM_CRC_BYTES));
    if (v2) {
        put_le32(bytes + size, 0); /* of no bytes */
        size += STREAM_CRC_BYTES;
    }
    buf_append(out, bytes, size);
}

void stream_format_section(uint32_t kind, const char *name, uint64_t bytes, struct buf *out)
{
    uint8_t head[STREAM_SECTION_BYTES], crc[STREAM_CRC_BYTES];
    size_t size = strlen(name), start = out->size;
    memcpy(head, STREAM_SECTION_MAGIC, 4);
    put_le32(head + 4, kind);
    put_le32(head + 8, (uint32_t)size);
    put_le32(head + 12, 0);
    put_le64(head + 16, bytes);
    buf_append(out, head, sizeof head);
    buf_append(out, name, size);
    put_le32(crc, crc32c(0, out->data + start, out->size - start));
    buf_append(out, crc, sizeof crc);
}

void stream_format_footer(const struct stream_footer *footer, uint8_t out[STREAM_FOOTER_BYTES])
{
    memcpy(out, STREAM_FOOTER_MAGIC, 4);
    put_le32(out + 4, footer->sections);
    put_le64(out + 8, footer->bytes);
    put_le32(out + 16, footer->token_crc);
    put_le32(out + 20, footer->crc);
    put_le32(out + 24, crc32c(0, out, 24));
}

static bool crc_holds(const uint8_t *bytes, size_t size)
{
    return get_le32(bytes + size) == crc32c(0, bytes, size);
}

int stream_format_read_v1(const uint8_t *bytes, struct stream_header *out)
{
    if (!crc_holds(bytes, STREAM_V1_BYTES - STREAM_CRC_BYTES))
        return HF_E_SNAPSHOT_BODY;
    out->version = 1;
    out->ceiling.t = get_le64(bytes + 8);
    return HF_OK;
}

int stream_format_read_v2(const uint8_t *bytes, struct stream_header *out, size_t *out_room)
{
    if (!crc_holds(bytes, STREAM_V2_BYTES - STREAM_CRC_BYTES))
        return HF_E_SNAPSHOT_BODY;
    if (get_le32(bytes + 24) > STREAM_ROOM_BYTES_MAX)
        return HF_E_SNAPSHOT_LENGTH;
    out->version = 2;
    out->ceiling.t = get_le64(bytes + 8);
    out->cutover = get_le64(bytes + 16);
    *out_room = get_le32(bytes + 24);
    return HF_OK;
}

int stream_format_read_room(struct slice room, struct stream_header *out)
{
    (void)out; /* no part is known yet */
    size_t size = room.size - STREAM_CRC_BYTES;
    if (!crc_holds(room.data, size))
        return HF_E_SNAPSHOT_BODY;
    for (size_t at = 0; at < size;) {
        if (size - at < 8 || get_le32(room.data + at + 4) > size - at - 8)
            return HF_E_SNAPSHOT_LENGTH;
        at += 8 + get_le32(room.data + at + 4);
    }
    return HF_OK;
}

int stream_format_read_footer(const uint8_t *bytes, struct stream_footer *out)
{
    if (memcmp(bytes, STREAM_FOOTER_MAGIC, 4) != 0)
        return HF_E_SNAPSHOT_TOO_SMALL;
    if (!crc_holds(bytes, STREAM_FOOTER_BYTES - STREAM_CRC_BYTES))
        return HF_E_SNAPSHOT_FOOTER;
    out->sections = get_le32(bytes + 4);
    out->bytes = get_le64(bytes + 8);
    out->token_crc = get_le32(bytes + 16);
    out->crc = get_le32(bytes + 20);
    return HF_OK;
}

bool stream_format_name(const char *name, size_t size)
{
    if (size == 0 || size > STREAM_NAME_BYTES || name[0] == '.')
        return false;
    for (size_t i = 0; i < size; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '/')
            return false;
    return true;
}
