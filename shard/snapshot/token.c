/* token.c: the token as text, and its file. */
#include "shard/snapshot/token.h"

#include <stdio.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "proto/pack.h"
#include "shard/log/identity.h"
#include "shard/snapshot/lines.h"

#define PATH_BYTES 4096
#define MEMBERS_BYTES_MAX ((TOKEN_BYTES_MAX - 4096) / 2)

int token_encode(const struct token *token, struct buf *out)
{
    if (token->members == NULL || peers_check(token->members) != HF_OK || token->cluster == 0 || token->group == 0 ||
        token->index == 0)
        return HF_E_INVALID;
    struct buf text = {0}, members = {0};
    pack_append(&token->members->base, &members);
    must(members.size <= MEMBERS_BYTES_MAX); /* peers_check bounded every part */
    lines_put_decimal(&text, "format", TOKEN_FORMAT);
    lines_put_hex(&text, "cluster", token->cluster);
    lines_put_decimal(&text, "group", token->group);
    lines_put_decimal(&text, "log_epoch", token->log_epoch);
    lines_put_decimal(&text, "index", token->index);
    lines_put_decimal(&text, "term", token->term);
    lines_put_hex(&text, "ceiling", token->ceiling.t);
    lines_put_hex(&text, "cutover", token->cutover);
    lines_put_bytes(&text, "digest", slice_make(token->digest, sizeof token->digest));
    lines_put_bytes(&text, "members", buf_slice(&members));
    lines_end(&text);
    buf_append(out, text.data, text.size);
    buf_deinit(&members);
    buf_deinit(&text);
    return HF_OK;
}

static bool take_all(struct lines *lines, struct token *out, struct buf *digest, struct buf *members)
{
    uint64_t group = 0, epoch = 0;
    if (!lines_take_hex(lines, "cluster", &out->cluster) || !lines_take_decimal(lines, "group", UINT32_MAX, &group) ||
        !lines_take_decimal(lines, "log_epoch", UINT32_MAX, &epoch) ||
        !lines_take_decimal(lines, "index", UINT64_MAX, &out->index) ||
        !lines_take_decimal(lines, "term", UINT64_MAX, &out->term) ||
        !lines_take_hex(lines, "ceiling", &out->ceiling.t) || !lines_take_hex(lines, "cutover", &out->cutover) ||
        !lines_take_bytes(lines, "digest", DIGEST_BYTES, digest) ||
        !lines_take_bytes(lines, "members", MEMBERS_BYTES_MAX, members) || !lines_done(lines))
        return false;
    out->group = (uint32_t)group;
    out->log_epoch = (uint32_t)epoch;
    if (digest->size != DIGEST_BYTES || out->cluster == 0 || group == 0 || out->index == 0)
        return false;
    memcpy(out->digest, digest->data, DIGEST_BYTES);
    return true;
}

int token_decode(struct slice text, struct arena *arena, struct token *out)
{
    struct token token = {0};
    struct lines lines;
    struct buf digest = {0}, members = {0};
    uint64_t format = 0;
    int rc = lines_begin(&lines, text);
    if (rc == HF_OK && !lines_take_decimal(&lines, "format", UINT32_MAX, &format))
        rc = HF_E_CORRUPT;
    if (rc == HF_OK && format != TOKEN_FORMAT)
        rc = HF_E_FORMAT;
    if (rc == HF_OK && !take_all(&lines, &token, &digest, &members))
        rc = HF_E_CORRUPT;
    if (rc == HF_OK) {
        token.members = pack_unpack(&hf__catalog__members__descriptor, buf_slice(&members), arena);
        if (token.members == NULL || peers_check(token.members) != HF_OK)
            rc = HF_E_CORRUPT;
    }
    buf_deinit(&digest);
    buf_deinit(&members);
    if (rc == HF_OK)
        *out = token;
    return rc;
}

bool token_equal(const struct token *a, const struct token *b)
{
    return a->cluster == b->cluster && a->group == b->group && a->log_epoch == b->log_epoch && a->index == b->index &&
           a->term == b->term && a->ceiling.t == b->ceiling.t && a->cutover == b->cutover &&
           memcmp(a->digest, b->digest, DIGEST_BYTES) == 0;
}

static int path_of(const char *dir, const char *name, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/" TOKEN_DIR "%s", dir, name);
    return n < 0 || n >= PATH_BYTES ? HF_E_LIMIT : HF_OK;
}

struct token token_from(const struct fsm_info *info)
{
    struct token token = {.cluster = info->cluster,
                          .group = info->group,
                          .log_epoch = info->applied.epoch,
                          .index = info->applied.index,
                          .term = info->applied.term,
                          .ceiling = info->ceiling,
                          .cutover = info->cutover,
                          .members = info->members};
    memcpy(token.digest, info->digest, sizeof token.digest);
    return token;
}

int token_read(struct disk *disk, const char *dir, struct arena *arena, struct token *out)
{
    char path[PATH_BYTES];
    struct buf text = {0};
    int rc = path_of(dir, "/" TOKEN_NAME, path);
    if (rc == HF_OK) {
        rc = disk_read_all(disk, path, TOKEN_BYTES_MAX, &text);
        rc = rc == HF_E_LIMIT ? HF_E_CORRUPT : rc;
    }
    if (rc == HF_OK)
        rc = token_decode(buf_slice(&text), arena, out);
    buf_deinit(&text);
    return rc;
}

int token_write(struct disk *disk, const char *dir, const struct token *token)
{
    char folder[PATH_BYTES], path[PATH_BYTES];
    struct buf text = {0};
    int rc = token_encode(token, &text);
    if (rc == HF_OK)
        rc = path_of(dir, "", folder);
    if (rc == HF_OK)
        rc = path_of(dir, "/" TOKEN_NAME, path);
    if (rc == HF_OK)
        rc = disk_ensure_dir(disk, dir, folder);
    if (rc == HF_OK)
        rc = disk_replace(disk, path, buf_slice(&text));
    buf_deinit(&text);
    return rc;
}
