/* look.c: see look.h. Recovery reads through a disk that cannot write. */
#include "shard/log/look.h"

#include <stdio.h>

#include "common/base/error.h"
#include "shard/log/hardstate.h"
#include "shard/log/recover.h"
#include "shard/log/stretch.h"

static int read_open(struct disk *d, const char *path, enum disk_open how, struct disk_file **out)
{
    (void)d;
    if (how == DISK_CREATE)
        return HF_E_IO;
    return disk_posix()->ops->open(disk_posix(), path, DISK_READ, out);
}

/* Spare files of an earlier process, which opening lets go: here they stay. */
static int read_remove(struct disk *d, const char *path)
{
    (void)d;
    (void)path;
    return HF_OK;
}

static int refuse_write(struct disk *d, struct disk_file *file, uint64_t offset, const void *data, size_t size)
{
    (void)d, (void)file, (void)offset, (void)data, (void)size;
    return HF_E_IO;
}

static int refuse_size(struct disk *d, struct disk_file *file, uint64_t bytes)
{
    (void)d, (void)file, (void)bytes;
    return HF_E_IO;
}

static int refuse_sync(struct disk *d, struct disk_file *file)
{
    (void)d, (void)file;
    return HF_E_IO;
}

static int refuse_path(struct disk *d, const char *path)
{
    (void)d, (void)path;
    return HF_E_IO;
}

static int refuse_names(struct disk *d, const char *one, const char *other)
{
    (void)d, (void)one, (void)other;
    return HF_E_IO;
}

static int show(struct segments *s, const struct view *view, uint64_t from, log_look_fn *each, void *ctx,
                char where[RECOVER_WHERE_BYTES])
{
    struct arena arena = {0};
    int rc = HF_OK;
    bool more = true;
    for (uint64_t last, i = from > view->base ? from : view->base + 1; rc == HF_OK && more && i <= view->last;
         i = last + 1) {
        const struct view_stretch *v = view_find(view, i, &last);
        must(v != NULL); /* all that was read is durable */
        arena_reset(&arena);
        struct log_entry *entries = arena_alloc(&arena, (size_t)(last - i + 1) * sizeof *entries);
        rc = stretch_read(s, v, i, last - i + 1, &arena, entries, where);
        for (uint64_t k = 0; rc == HF_OK && more && k <= last - i; k++)
            more = each(ctx, &entries[k]);
    }
    arena_deinit(&arena);
    return rc;
}

static void look_at_segments(struct segments *s, uint64_t from, log_look_fn *each, void *ctx, struct log_look *out)
{
    struct recovery r = {0};
    out->code = segments_load(s);
    if (out->code == HF_OK && s->count == 0)
        out->code = HF_E_ABSENT;
    if (out->code != HF_OK)
        return;
    out->code = recover_read(s, &r, out->where);
    out->segments = s->count;
    out->torn_bytes = r.report.torn_bytes;
    out->commit = r.commit;
    if (out->code == HF_OK) {
        out->first = r.view.base + 1;
        out->last = r.view.last;
        out->base_term = r.base_term;
        out->last_term = view_last_term(&r.view);
    }
    if (out->code == HF_OK && each)
        out->code = show(s, &r.view, from, each, ctx, out->where);
    recover_deinit(&r);
}

void log_look(const char *dir, struct log_look *out)
{
    log_look_from(dir, 0, NULL, NULL, out);
}

void log_look_from(const char *dir, uint64_t from, log_look_fn *each, void *ctx, struct log_look *out)
{
    struct disk_ops ops = *disk_posix()->ops;
    ops.open = read_open;
    ops.remove = read_remove;
    ops.write = refuse_write;
    ops.zero_fill = ops.truncate = refuse_size;
    ops.sync = refuse_sync;
    ops.sync_dir = ops.make_dir = refuse_path;
    ops.rename = ops.exchange = refuse_names;
    struct disk disk = {.ops = &ops};
    *out = (struct log_look){0};
    char path[SEGMENTS_PATH_BYTES];
    if ((size_t)snprintf(path, sizeof path, "%s/" HARDSTATE_NAME, dir) >= sizeof path) {
        out->code = out->hard_code = HF_E_LIMIT;
        return;
    }
    struct hardstate hard;
    out->hard_code = hardstate_open(&hard, &disk, path, &out->hard);
    hardstate_close(&hard);
    struct segments s;
    segments_init(&s, &disk, dir, 0);
    look_at_segments(&s, from, each, ctx, out);
    segments_deinit(&s);
    bool back = out->code == HF_OK && out->hard_code == HF_OK;
    if (back && (out->hard.term < out->last_term || out->hard.commit > out->last)) {
        out->code = HF_E_CORRUPT;
        snprintf(out->where, sizeof out->where, "the hard state has gone back, or the log's end is missing (in %.150s)",
                 dir);
    }
}
