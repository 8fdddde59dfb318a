/* backup.c: see backup.h. */
#include "shard/server/backup.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/endian.h"
#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/metrics.h"
#include "proto/client.pb-c.h"
#include "proto/pack.h"
#include "shard/fsm/image.h"
#include "shard/snapshot/stream.h"

#define VIEWS_MAX 2
#define IDLE_NS (20 * 1000 * CLOCK_NS_PER_MS) /* a disk that a part is written to may be that slow */
#define YIELD_NS (5 * 1000 * CLOCK_NS_PER_MS) /* its client may be gone: it makes room for another */
#define PART_BYTES ((size_t)512 * 1024)       /* about; at least one record */
#define PART_STEPS_MAX 20000                  /* records looked at: a few milliseconds of the loop */

enum { M_BEGUN, M_BYTES, M_COUNT };
static struct metric metrics[M_COUNT] = {
    [M_BEGUN] = {"holdfast_backups_begun_total", NULL, "Backups begun", METRIC_COUNTER, 0},
    [M_BYTES] = {"holdfast_backup_bytes_total", NULL, "Bytes of backups made", METRIC_COUNTER, 0},
};

struct view {
    uint64_t id; /* 0: free */
    struct image *image;
    struct stream_writer *writer;
    struct backup_when when;
    struct buf part;      /* the one given last */
    uint64_t part_offset; /* of it in the stream */
    bool finished;        /* it was the last */
    uint64_t used_ns;
};

struct backup {
    struct view views[VIEWS_MAX];
    struct buf records; /* of the section being made */
    uint64_t now_ns;    /* as of this turn */
};

struct backup *backup_new(void)
{
    struct backup *b = calloc(1, sizeof *b);
    must(b != NULL); /* out of memory */
    b->now_ns = clock_boot_ns();
    metrics_register(metrics, M_COUNT);
    return b;
}

static void drop(struct view *v)
{
    stream_writer_free(&v->writer);
    image_free(&v->image);
    buf_deinit(&v->part);
    *v = (struct view){0};
}

void backup_stop(struct backup *b)
{
    for (size_t i = 0; i < VIEWS_MAX; i++)
        drop(&b->views[i]);
}

void backup_free(struct backup **b)
{
    if (*b == NULL)
        return;
    backup_stop(*b);
    buf_deinit(&(*b)->records);
    free(*b);
    *b = NULL;
}

void backup_expire(struct backup *b, uint64_t now_ns)
{
    b->now_ns = now_ns;
    for (size_t i = 0; i < VIEWS_MAX; i++)
        if (b->views[i].id != 0 && now_ns - b->views[i].used_ns > IDLE_NS)
            drop(&b->views[i]);
}

static int into_part(void *ctx, struct slice bytes)
{
    struct view *v = ctx;
    buf_append(&v->part, bytes.data, bytes.size);
    return HF_OK;
}

/* The header is the first part's beginning. */
static int begin(struct view *v, struct fsm *fsm, const struct backup_when *when)
{
    v->image = image_new(fsm);
    v->when = *when;
    const struct fsm_info *info = image_info(v->image);
    struct stream_header header = {.version = 1, .ceiling = hlc_max(info->ceiling, info->newest.t)};
    header.token = token_from(info);
    header.token.ceiling = header.ceiling;
    metric_add(&metrics[M_BEGUN], 1);
    return stream_writer_new(&header, into_part, v, &v->writer);
}

static void add_record(struct buf *records, const struct image_item *item)
{
    Hf__Client__Version version = HF__CLIENT__VERSION__INIT;
    Hf__Client__BackupRecord record = HF__CLIENT__BACKUP_RECORD__INIT;
    version.t = item->version.t.t;
    version.seq = item->version.seq;
    record.key = pack_bytes(item->key);
    record.value = pack_bytes(item->value);
    record.version = &version;
    record.expires = item->expiry.t;
    size_t at = records->size;
    (void)buf_extend(records, 4);
    pack_append(&record.base, records);
    put_le32(records->data + at, (uint32_t)(records->size - at - 4));
}

/* The next records as one section; at the end of all, the footer. */
static int make_part(struct backup *b, struct view *v, char where[256])
{
    struct image_item item;
    int rc = HF_OK;
    buf_clear(&b->records);
    for (size_t steps = PART_STEPS_MAX; rc == HF_OK && b->records.size < PART_BYTES;) {
        rc = image_next(v->image, v->when.at, v->when.now, &steps, &item, where);
        if (rc == HF_OK)
            add_record(&b->records, &item);
    }
    if (rc != HF_OK && rc != HF_E_NOT_FOUND && rc != HF_E_AGAIN)
        return rc;
    v->finished = rc == HF_E_NOT_FOUND;
    rc = HF_OK;
    if (b->records.size > 0) {
        rc = stream_section_begin(v->writer, STREAM_RECORDS, "records", b->records.size);
        if (rc == HF_OK)
            rc = stream_section_bytes(v->writer, buf_slice(&b->records));
        if (rc == HF_OK)
            rc = stream_section_end(v->writer);
    }
    if (rc == HF_OK && v->finished) {
        rc = stream_finish(v->writer);
        image_free(&v->image); /* only the part may be asked for again */
    }
    metric_add(&metrics[M_BYTES], v->part.size);
    return rc;
}

static struct view *view_of(struct backup *b, uint64_t id)
{
    for (size_t i = 0; i < VIEWS_MAX; i++)
        if (b->views[i].id == id)
            return &b->views[i];
    return NULL;
}

/* A free one; else one that came to its end and is kept only to be asked again, else one that nobody went on with for a
 * while; of several the one asked for longest ago. */
static struct view *view_free(struct backup *b)
{
    struct view *found = view_of(b, 0);
    if (found != NULL)
        return found;
    for (size_t i = 0; i < VIEWS_MAX; i++) {
        struct view *v = &b->views[i];
        if (!v->finished && b->now_ns - v->used_ns < YIELD_NS)
            continue;
        if (found == NULL || v->finished > found->finished ||
            (v->finished == found->finished && v->used_ns < found->used_ns))
            found = v;
    }
    if (found != NULL)
        drop(found);
    return found;
}

static int refuse_third(const struct backup *b, char where[256])
{
    uint64_t oldest_ns = b->now_ns;
    for (size_t i = 0; i < VIEWS_MAX; i++)
        if (b->views[i].used_ns < oldest_ns)
            oldest_ns = b->views[i].used_ns;
    snprintf(where, 256,
             "%d backups are under way here, the one idle longest for %.1f s; one that nobody goes on with for %d s "
             "makes room",
             VIEWS_MAX, (double)(b->now_ns - oldest_ns) / 1e9, (int)(YIELD_NS / CLOCK_NS_PER_MS / 1000));
    return HF_E_BUSY;
}

int backup_part(struct backup *b, struct fsm *fsm, const struct backup_when *when, uint64_t id, uint64_t offset,
                struct backup_part *out, char where[256])
{
    where[0] = 0;
    struct view *v = id == 0 ? view_free(b) : view_of(b, id);
    if (v == NULL)
        return id == 0 ? refuse_third(b, where) : HF_E_ABSENT;
    if (id != 0 && offset == BACKUP_GIVEN_UP) {
        drop(v);
        *out = (struct backup_part){.view = id};
        return HF_OK;
    }
    int rc = HF_OK;
    if (id == 0) {
        v->id = digest_random_u64();
        rc = fsm_locked_below(fsm, when->at) ? HF_E_KEY_LOCKED : HF_OK; /* what is decided now may belong to it */
        if (rc == HF_OK)
            rc = begin(v, fsm, when);
        if (rc == HF_OK)
            rc = make_part(b, v, where);
    } else if (offset == v->part_offset + v->part.size && !v->finished) {
        v->part_offset = offset;
        buf_clear(&v->part);
        rc = make_part(b, v, where);
    } else if (offset != v->part_offset) {
        return HF_E_ABSENT;
    }
    if (rc != HF_OK) {
        drop(v);
        return rc;
    }
    v->used_ns = b->now_ns;
    *out = (struct backup_part){.view = v->id, .bytes = buf_slice(&v->part), .more = !v->finished};
    return HF_OK;
}
