/* stream_read.c: takes a stream apart as its bytes come, whatever the cuts.
 *
 *   START → V1 → SECTION          [header of version 1]
 *   START → V2 → ROOM → SECTION   [header of version 2]
 *   START → SECTION               [headerless]
 *   SECTION → NAME → BODY → BODY_CRC → SECTION   [once for each; the first is the token]
 *   SECTION → FOOTER → END
 * In BODY bytes go to the sink as they come; in every other state `head` gathers `want` bytes first. */
#include <stdlib.h>
#include <string.h>

#include "common/base/crc32c.h"
#include "common/base/endian.h"
#include "common/base/error.h"
#include "shard/snapshot/stream_format.h"

enum state { START, V1, V2, ROOM, SECTION, NAME, BODY, BODY_CRC, FOOTER, END };

struct stream_reader {
    struct stream_sink sink;
    uint64_t bytes_max;
    enum state state;
    int failed; /* HF_OK, or what every further call says */
    struct buf head;
    size_t want;
    uint64_t bytes; /* taken */
    uint32_t crc;   /* of everything before the section or footer in hand */
    uint32_t sections;
    uint32_t section_crc, token_crc;
    uint32_t kind;
    uint64_t left; /* of the body */
    struct buf token;
    struct arena arena;
    struct stream_header header;
    bool header_done;
};

struct stream_reader *stream_reader_new(const struct stream_sink *sink, uint64_t bytes_max)
{
    struct stream_reader *r = calloc(1, sizeof *r);
    must(r != NULL); /* out of memory */
    if (sink != NULL)
        r->sink = *sink;
    r->bytes_max = bytes_max == 0 ? UINT64_MAX : bytes_max;
    r->state = START;
    r->want = STREAM_MAGIC_BYTES;
    return r;
}

void stream_reader_free(struct stream_reader **r)
{
    if (*r == NULL)
        return;
    buf_deinit(&(*r)->head);
    buf_deinit(&(*r)->token);
    arena_deinit(&(*r)->arena);
    free(*r);
    *r = NULL;
}

/* What is in hand counts as read; `want` bytes are gathered next. */
static void next(struct stream_reader *r, enum state state, size_t want)
{
    r->crc = crc32c(r->crc, r->head.data, r->head.size);
    buf_clear(&r->head);
    r->state = state;
    r->want = want;
}

/* What is in hand stays; more of it is needed. */
static void more(struct stream_reader *r, enum state state, size_t want)
{
    r->state = state;
    r->want = want;
}

static int on_start(struct stream_reader *r)
{
    const uint8_t *at = r->head.data;
    if (memcmp(at, STREAM_SECTION_MAGIC, 4) == 0)
        more(r, SECTION, STREAM_SECTION_BYTES);
    else if (memcmp(at, STREAM_MAGIC_FAMILY "01", STREAM_MAGIC_BYTES) == 0)
        more(r, V1, STREAM_V1_BYTES);
    else if (memcmp(at, STREAM_MAGIC_FAMILY "02", STREAM_MAGIC_BYTES) == 0)
        more(r, V2, STREAM_V2_BYTES);
    else
        return HF_E_SNAPSHOT_MAGIC;
    return HF_OK;
}

static int on_v1(struct stream_reader *r)
{
    int rc = stream_format_read_v1(r->head.data, &r->header);
    next(r, SECTION, STREAM_SECTION_BYTES);
    return rc;
}

static int on_v2(struct stream_reader *r)
{
    size_t room = 0;
    int rc = stream_format_read_v2(r->head.data, &r->header, &room);
    next(r, ROOM, room + STREAM_CRC_BYTES);
    return rc;
}

static int on_room(struct stream_reader *r)
{
    int rc = stream_format_read_room(buf_slice(&r->head), &r->header);
    next(r, SECTION, STREAM_SECTION_BYTES);
    return rc;
}

static int on_section(struct stream_reader *r)
{
    const uint8_t *at = r->head.data;
    if (memcmp(at, STREAM_FOOTER_MAGIC, 4) == 0) {
        more(r, FOOTER, STREAM_FOOTER_BYTES);
        return HF_OK;
    }
    if (memcmp(at, STREAM_SECTION_MAGIC, 4) != 0)
        return HF_E_SNAPSHOT_BODY;
    uint32_t name = get_le32(at + 8);
    if (name == 0 || name > STREAM_NAME_BYTES || r->sections == STREAM_SECTIONS_MAX)
        return HF_E_SNAPSHOT_LENGTH;
    more(r, NAME, STREAM_SECTION_BYTES + name + STREAM_CRC_BYTES);
    return HF_OK;
}

/* The head of a section is whole: may it be what it says? */
static int check_section(const struct stream_reader *r, const char *name, size_t size)
{
    if (r->kind == STREAM_TOKEN || r->sections == 0) {
        if (r->kind != STREAM_TOKEN || r->sections != 0 || strcmp(name, STREAM_TOKEN_NAME) != 0)
            return HF_E_SNAPSHOT_TOKEN;
        return r->left <= TOKEN_BYTES_MAX ? HF_OK : HF_E_SNAPSHOT_LENGTH;
    }
    if ((r->kind != STREAM_FILE && r->kind != STREAM_RECORDS) || !stream_format_name(name, size))
        return HF_E_SNAPSHOT_MAGIC;
    return r->left <= r->bytes_max - r->bytes ? HF_OK : HF_E_SNAPSHOT_TOO_LARGE;
}

static int on_name(struct stream_reader *r)
{
    const uint8_t *at = r->head.data;
    size_t size = get_le32(at + 8), crc_at = STREAM_SECTION_BYTES + size;
    char name[STREAM_NAME_BYTES + 1];
    if (get_le32(at + crc_at) != crc32c(0, at, crc_at))
        return HF_E_SNAPSHOT_BODY;
    memcpy(name, at + STREAM_SECTION_BYTES, size);
    name[size] = '\0';
    r->kind = get_le32(at + 4);
    r->left = get_le64(at + 16);
    r->section_crc = 0;
    int rc = check_section(r, name, size);
    if (rc == HF_OK && r->kind != STREAM_TOKEN && r->sink.begin != NULL)
        rc = r->sink.begin(r->sink.ctx, (enum stream_section)r->kind, name, r->left);
    next(r, r->left > 0 ? BODY : BODY_CRC, STREAM_CRC_BYTES);
    return rc;
}

static int take_token(struct stream_reader *r)
{
    r->token_crc = r->section_crc;
    if (token_decode(buf_slice(&r->token), &r->arena, &r->header.token) != HF_OK)
        return HF_E_SNAPSHOT_TOKEN;
    buf_deinit(&r->token);
    if (r->header.ceiling.t > r->header.token.ceiling.t)
        return HF_E_SNAPSHOT_TOKEN; /* the body holds less than it promises: a ceiling would fall */
    if (r->header.token.cutover < r->header.cutover)
        r->header.token.cutover = r->header.cutover;
    r->header_done = true;
    return r->sink.header != NULL ? r->sink.header(r->sink.ctx, &r->header) : HF_OK;
}

static int on_body_crc(struct stream_reader *r)
{
    if (get_le32(r->head.data) != r->section_crc)
        return HF_E_SNAPSHOT_BODY;
    int rc = HF_OK;
    if (r->kind == STREAM_TOKEN)
        rc = take_token(r);
    else if (r->sink.end != NULL)
        rc = r->sink.end(r->sink.ctx);
    r->sections++;
    next(r, SECTION, STREAM_SECTION_BYTES);
    return rc;
}

static int on_footer(struct stream_reader *r)
{
    struct stream_footer footer;
    int rc = stream_format_read_footer(r->head.data, &footer);
    if (rc != HF_OK)
        return rc;
    if (!r->header_done)
        return HF_E_SNAPSHOT_TOKEN;
    if (footer.token_crc != r->token_crc)
        return HF_E_SNAPSHOT_FOOTER;
    if (footer.crc != r->crc || footer.sections != r->sections || footer.bytes != r->bytes - STREAM_FOOTER_BYTES)
        return HF_E_SNAPSHOT_BODY;
    next(r, END, 0);
    return HF_OK;
}

static int step(struct stream_reader *r)
{
    switch (r->state) {
    case START:
        return on_start(r);
    case V1:
        return on_v1(r);
    case V2:
        return on_v2(r);
    case ROOM:
        return on_room(r);
    case SECTION:
        return on_section(r);
    case NAME:
        return on_name(r);
    case BODY_CRC:
        return on_body_crc(r);
    case FOOTER:
        return on_footer(r);
    case BODY:
    case END:
        break;
    }
    must(r->state != BODY && r->state != END); /* these gather nothing */
    return HF_E_INVALID;
}

static int on_body(struct stream_reader *r, struct slice bytes)
{
    r->section_crc = crc32c(r->section_crc, bytes.data, bytes.size);
    r->crc = crc32c(r->crc, bytes.data, bytes.size);
    r->left -= bytes.size;
    if (r->left == 0)
        r->state = BODY_CRC;
    if (r->kind == STREAM_TOKEN) {
        buf_append(&r->token, bytes.data, bytes.size);
        return HF_OK;
    }
    return r->sink.bytes != NULL ? r->sink.bytes(r->sink.ctx, bytes) : HF_OK;
}

int stream_reader_push(struct stream_reader *r, struct slice bytes)
{
    while (r->failed == HF_OK && bytes.size > 0) {
        if (r->state == END) {
            r->failed = HF_E_SNAPSHOT_LENGTH;
            break;
        }
        uint64_t need = r->state == BODY ? r->left : r->want - r->head.size;
        size_t size = need < bytes.size ? (size_t)need : bytes.size;
        struct slice part = slice_make(bytes.data, size);
        if (size > r->bytes_max - r->bytes) {
            r->failed = HF_E_SNAPSHOT_TOO_LARGE;
            break;
        }
        r->bytes += size;
        bytes = slice_make(bytes.data + size, bytes.size - size);
        if (r->state == BODY) {
            r->failed = on_body(r, part);
            continue;
        }
        buf_append(&r->head, part.data, part.size);
        if (r->head.size == r->want)
            r->failed = step(r);
    }
    return r->failed;
}

int stream_reader_finish(struct stream_reader *r)
{
    if (r->failed == HF_OK && r->state != END)
        r->failed = HF_E_SNAPSHOT_TOO_SMALL;
    return r->failed;
}

uint64_t stream_reader_bytes(const struct stream_reader *r)
{
    return r->bytes;
}

uint32_t stream_reader_token_crc(const struct stream_reader *r)
{
    return r->token_crc;
}

const struct stream_header *stream_reader_header(const struct stream_reader *r)
{
    return r->header_done ? &r->header : NULL;
}
