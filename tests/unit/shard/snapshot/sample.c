/* sample.c: see sample.h. */
#include "tests/unit/shard/snapshot/sample.h"

#include <string.h>

#include "common/base/crc32c.h"
#include "common/base/endian.h"

const char *const sample_names[SAMPLE_FILES] = {"000007.sst", "CURRENT", "MANIFEST-000004"};

struct token sample_token(uint64_t index)
{
    static Hf__Catalog__Member member[3];
    static Hf__Catalog__Member *list[3];
    static Hf__Catalog__Members members;
    members = (Hf__Catalog__Members)HF__CATALOG__MEMBERS__INIT;
    for (unsigned i = 0; i < 3; i++) {
        member[i] = (Hf__Catalog__Member)HF__CATALOG__MEMBER__INIT;
        member[i].replica = i + 1;
        member[i].incarnation = 100 + i;
        member[i].role = i == 2 ? HF__CATALOG__ROLE__LEARNER : HF__CATALOG__ROLE__VOTER;
        member[i].raft_endpoint = (char *)(uintptr_t) "tcp://127.0.0.1:7411";
        member[i].client_endpoint = (char *)(uintptr_t) "tcp://127.0.0.1:7412";
        list[i] = &member[i];
    }
    members.index = 17;
    members.n_members = 3;
    members.members = list;
    struct token token = {.cluster = 0x1122334455667788,
                          .group = 2,
                          .log_epoch = 1,
                          .index = index,
                          .term = index / 10 + 1,
                          .ceiling = {index << 20},
                          .members = &members};
    for (unsigned i = 0; i < DIGEST_BYTES; i++)
        token.digest[i] = (uint8_t)(index * 7 + i);
    return token;
}

struct slice sample_file(struct arena *arena, uint64_t index, unsigned file)
{
    static const size_t sizes[SAMPLE_FILES] = {3000, 0, 40};
    uint8_t *bytes = arena_alloc(arena, sizes[file] + 1);
    for (size_t i = 0; i < sizes[file]; i++)
        bytes[i] = (uint8_t)(index * 31 + file * 5 + i * i);
    return slice_make(bytes, sizes[file]);
}

static void add_section(struct buf *out, uint32_t kind, const char *name, uint64_t announced, struct slice body,
                        uint32_t crc_add)
{
    uint8_t crc[4];
    stream_format_section(kind, name, announced, out);
    buf_append(out, body.data, body.size);
    put_le32(crc, crc32c(0, body.data, body.size) + crc_add);
    buf_append(out, crc, sizeof crc);
}

static void add_header(const struct sample *s, const struct token *token, struct buf *out)
{
    struct stream_header header = {.ceiling = token->ceiling, .cutover = s->version == 2 ? 5 : 0};
    size_t start = out->size;
    if (s->version == 0)
        return;
    stream_format_header(&header, out);
    if (s->version == 1 || s->room.size == 0)
        return;
    uint8_t *at = out->data + start, crc[4];
    put_le32(at + 24, (uint32_t)s->room.size);
    put_le32(at + 28, crc32c(0, at, 28));
    out->size = start + STREAM_V2_BYTES;
    buf_append(out, s->room.data, s->room.size);
    put_le32(crc, crc32c(0, s->room.data, s->room.size));
    buf_append(out, crc, sizeof crc);
}

void sample_stream(const struct sample *s, struct buf *out)
{
    struct token token = sample_token(s->index);
    struct arena arena = {0};
    struct buf text = {0};
    must(token_encode(&token, &text) == HF_OK);
    struct slice body = s->token_text.data != NULL ? s->token_text : buf_slice(&text);
    add_header(s, &token, out);
    if (!s->no_token)
        add_section(out, STREAM_TOKEN, s->token_name != NULL ? s->token_name : STREAM_TOKEN_NAME, body.size, body, 0);
    if (s->token_twice)
        add_section(out, STREAM_TOKEN, STREAM_TOKEN_NAME, body.size, body, 0);
    uint32_t sections = 1u + s->token_twice - s->no_token;
    for (unsigned i = 0; i < SAMPLE_FILES; i++, sections++) {
        struct slice file = sample_file(&arena, s->index, i);
        bool odd = i == 1;
        add_section(out, odd && s->kind != 0 ? s->kind : STREAM_FILE,
                    odd && s->name != NULL ? s->name : sample_names[i],
                    odd && s->announced != 0 ? s->announced : file.size, file, odd ? s->section_crc_add : 0);
    }
    uint8_t footer[STREAM_FOOTER_BYTES];
    stream_format_footer(&(struct stream_footer){.sections = sections + s->add.sections,
                                                 .bytes = out->size + s->add.bytes,
                                                 .token_crc = crc32c(0, body.data, body.size) + s->add.token_crc,
                                                 .crc = crc32c(0, out->data, out->size) + s->add.crc},
                         footer);
    buf_append(out, footer, sizeof footer);
    buf_deinit(&text);
    arena_deinit(&arena);
}

static int append(void *ctx, struct slice bytes)
{
    buf_append(ctx, bytes.data, bytes.size);
    return HF_OK;
}

void sample_written(uint64_t index, uint64_t cutover, struct buf *out)
{
    struct token token = sample_token(index);
    struct stream_header header = {.ceiling = token.ceiling, .cutover = cutover, .token = token};
    struct stream_writer *w = NULL;
    struct arena arena = {0};
    must(stream_writer_new(&header, append, out, &w) == HF_OK);
    for (unsigned i = 0; i < SAMPLE_FILES; i++) {
        struct slice file = sample_file(&arena, index, i);
        size_t half = file.size / 2;
        must(stream_section_begin(w, STREAM_FILE, sample_names[i], file.size) == HF_OK);
        must(stream_section_bytes(w, slice_make(file.data, half)) == HF_OK);
        must(stream_section_bytes(w, slice_make(file.data + half, file.size - half)) == HF_OK);
        must(stream_section_end(w) == HF_OK);
    }
    must(stream_finish(w) == HF_OK);
    must(stream_writer_bytes(w) == out->size);
    stream_writer_free(&w);
    arena_deinit(&arena);
}
