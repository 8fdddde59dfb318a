/* backup_file.c: see backup_file.h. Two passes: the first checks, the second gives out. */
#include "shard/server/backup_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/endian.h"
#include "common/base/error.h"
#include "common/base/limits.h"
#include "proto/client.pb-c.h"
#include "proto/pack.h"
#include "shard/server/offline.h"
#include "shard/snapshot/stream.h"

#define READ_BYTES ((size_t)256 * 1024)
#define SECTION_BYTES_MAX ((uint64_t)LIMIT_REQUEST_BYTES * 4) /* what backup.c makes is a part and one record at most */

struct pass {
    bool give_out;
    struct stream_header header; /* its members are the reader's: not looked at */
    bool headed;
    struct buf section; /* records of the section in hand */
    struct buf last;    /* the key read last: they are in order */
    struct arena arena;
    uint64_t records;
    const char *what; /* why a sink refused, beyond its code */
};

static int take_header(void *ctx, const struct stream_header *h)
{
    struct pass *p = ctx;
    if (h->version == 0)
        return HF_E_SNAPSHOT_MAGIC;
    p->header = *h;
    p->headed = true;
    return HF_OK;
}

static int begin_section(void *ctx, enum stream_section kind, const char *name, uint64_t bytes)
{
    struct pass *p = ctx;
    (void)name;
    if (kind != STREAM_RECORDS) {
        p->what = "it is a stream of a replica's files, no backup";
        return HF_E_INVALID;
    }
    buf_clear(&p->section);
    return bytes > SECTION_BYTES_MAX ? HF_E_SNAPSHOT_LENGTH : HF_OK;
}

static int take_bytes(void *ctx, struct slice bytes)
{
    struct pass *p = ctx;
    buf_append(&p->section, bytes.data, bytes.size);
    return HF_OK;
}

/* The checksum held; that it was made by a sound program is not taken for granted (I11). */
static int check_record(struct pass *p, struct slice packed)
{
    const Hf__Client__BackupRecord *r = pack_unpack(&hf__client__backup_record__descriptor, packed, &p->arena);
    if (!r || r->key.len == 0 || r->key.len > LIMIT_KEY_BYTES || r->value.len > LIMIT_VALUE_BYTES) {
        p->what = "a record that cannot be";
        return HF_E_CORRUPT;
    }
    if (p->records > 0 && slice_compare(pack_slice(r->key), buf_slice(&p->last)) <= 0) {
        p->what = "records out of order";
        return HF_E_CORRUPT;
    }
    buf_clear(&p->last);
    buf_append(&p->last, r->key.data, r->key.len);
    p->records++;
    arena_reset(&p->arena);
    return HF_OK;
}

static int end_section(void *ctx)
{
    struct pass *p = ctx;
    const uint8_t *at = p->section.data;
    size_t left = p->section.size;
    if (p->give_out)
        return fwrite(at, 1, left, stdout) == left ? HF_OK : HF_E_IO;
    while (left > 0) {
        uint32_t size = left >= 4 ? get_le32(at) : UINT32_MAX;
        if (size > left - 4 || left < 4) {
            p->what = "records that do not fill their section";
            return HF_E_CORRUPT;
        }
        int rc = check_record(p, slice_make(at + 4, size));
        if (rc)
            return rc;
        at += 4 + size;
        left -= 4 + size;
    }
    return HF_OK;
}

/* The whole file through the reader. */
static int run(struct pass *p, FILE *file, uint64_t *out_bytes)
{
    struct stream_sink sink = {
        .ctx = p, .header = take_header, .begin = begin_section, .bytes = take_bytes, .end = end_section};
    struct stream_reader *reader = stream_reader_new(&sink, 0);
    uint8_t *bytes = malloc(READ_BYTES);
    must(bytes); /* out of memory */
    int rc = HF_OK;
    for (size_t n; rc == HF_OK && (n = fread(bytes, 1, READ_BYTES, file)) > 0;)
        rc = stream_reader_push(reader, slice_make(bytes, n));
    if (rc == HF_OK && ferror(file))
        rc = HF_E_IO;
    if (rc == HF_OK)
        rc = stream_reader_finish(reader);
    *out_bytes = stream_reader_bytes(reader);
    free(bytes);
    stream_reader_free(&reader);
    return rc;
}

static void pass_deinit(struct pass *p)
{
    buf_deinit(&p->section);
    buf_deinit(&p->last);
    arena_deinit(&p->arena);
}

static bool print_head(const struct pass *p, uint64_t bytes)
{
    Hf__Client__BackupHead head = HF__CLIENT__BACKUP_HEAD__INIT;
    struct buf packed = {0};
    uint8_t length[4];
    head.cluster = p->header.token.cluster;
    head.shard = p->header.token.group;
    head.index = p->header.token.index;
    head.term = p->header.token.term;
    head.ceiling = hlc_max(p->header.ceiling, p->header.token.ceiling).t;
    head.records = p->records;
    head.bytes = bytes;
    pack_append(&head.base, &packed);
    put_le32(length, (uint32_t)packed.size);
    bool wrote = fwrite(length, 1, sizeof length, stdout) == sizeof length &&
                 fwrite(packed.data, 1, packed.size, stdout) == packed.size;
    buf_deinit(&packed);
    return wrote;
}

/* Checked, then given out. */
static int print(FILE *file, bool records, const char **out_what)
{
    struct pass check = {0}, give = {.give_out = true};
    uint64_t bytes = 0;
    int rc = run(&check, file, &bytes);
    if (rc == HF_OK && !print_head(&check, bytes))
        rc = HF_E_IO;
    if (rc == HF_OK && records) {
        rewind(file);
        rc = run(&give, file, &bytes);
    }
    *out_what = check.what ? check.what : give.what;
    if (rc == HF_OK && fflush(stdout) != 0)
        rc = HF_E_IO;
    pass_deinit(&check);
    pass_deinit(&give);
    return rc;
}

int backup_file_print(const char *path, bool records, bool json)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) /* to open a pipe would wait for its writer */
        return offline_error(path, HF_E_INVALID, "no regular file", json);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    FILE *file = fd >= 0 ? fdopen(fd, "rb") : NULL;
    if (!file)
        return offline_error(path, errno == ENOENT ? HF_E_ABSENT : HF_E_IO, strerror(errno), json);
    const char *what = NULL;
    int rc = print(file, records, &what);
    fclose(file);
    return rc ? offline_error(path, rc, what ? what : error_text(rc), json) : 0;
}
