/* keep.c: see keep.h. */
#include "shard/replica/keep.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/metrics.h"
#include "shard/snapshot/install.h"

#define PATH_BYTES 4096
#define CHECKPOINT TOKEN_DIR "/outgoing-keep" /* by this name the next start sweeps what a kill leaves */
#define UNFINISHED TOKEN_DIR "/keep.tmp"
#define NAME "keep-%020" PRIu64 ".stream"

enum { M_KEPT, M_FAILED, M_NEWEST, M_COUNT };
static struct metric metrics[M_COUNT] = {
    [M_KEPT] = {"holdfast_snapshots_kept_total", "outcome=\"done\"", "Whole states written to local files",
                METRIC_COUNTER, 0},
    [M_FAILED] = {"holdfast_snapshots_kept_total", "outcome=\"failed\"", "Whole states written to local files",
                  METRIC_COUNTER, 0},
    [M_NEWEST] = {"holdfast_snapshot_kept_index", NULL, "Index of the newest local file", METRIC_GAUGE, 0},
};

struct keep {
    struct disk *disk;
    const char *dir;
    uint32_t count;
    bool started; /* the thread is to be joined */
    pthread_t thread;
    _Atomic bool running, cancel;
    _Atomic uint64_t newest;
    struct fsm *fsm; /* borrowed while running */
};

static void path_of(const char *dir, const char *name, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", dir, name);
    must(n > 0 && n < PATH_BYTES); /* the length of --dir is checked when the options are read */
}

static void stream_path(const char *dir, uint64_t index, char out[PATH_BYTES])
{
    char name[64];
    snprintf(name, sizeof name, TOKEN_DIR "/" NAME, index);
    path_of(dir, name, out);
}

/* ---- which there are ---- */

struct listing {
    uint64_t below, newest; /* the newest below it */
    uint64_t oldest;
    uint32_t count;
};

static void note(void *ctx, const char *name)
{
    struct listing *l = ctx;
    uint64_t index = 0;
    char again[64];
    if (sscanf(name, "keep-%20" SCNu64, &index) != 1)
        return;
    snprintf(again, sizeof again, NAME, index);
    if (strcmp(again, name) != 0 || index >= l->below)
        return;
    l->count++;
    l->newest = index > l->newest ? index : l->newest;
    l->oldest = l->oldest == 0 || index < l->oldest ? index : l->oldest;
}

static struct listing list(struct disk *disk, const char *dir, uint64_t below)
{
    struct listing l = {.below = below};
    char path[PATH_BYTES];
    path_of(dir, TOKEN_DIR, path);
    if (disk->ops->list(disk, path, note, &l))
        l = (struct listing){0}; /* no such directory: none are kept */
    return l;
}

uint64_t keep_find(struct disk *disk, const char *dir, const struct identity *id, uint64_t first, uint64_t below,
                   uint64_t *out_term)
{
    for (;;) {
        struct arena arena = {0};
        struct stream_header h;
        uint64_t bytes;
        char path[PATH_BYTES];
        uint64_t index = list(disk, dir, below).newest;
        if (index == 0 || index + 1 < first)
            return 0;
        stream_path(dir, index, path);
        int rc = stream_file_peek(disk, path, &arena, &h, &bytes);
        bool ours = rc == HF_OK && h.token.cluster == id->cluster && h.token.group == id->group &&
                    h.token.log_epoch == id->log_epoch && h.token.index == index;
        *out_term = ours ? h.token.term : 0;
        arena_deinit(&arena);
        if (ours)
            return index;
        diag(DIAG_WARN, "%s is not used: %s", path, rc ? error_text(rc) : "it is of another log");
        below = index;
    }
}

int keep_stage(struct disk *disk, const char *dir, uint64_t index, char where[256])
{
    struct staging *staging = NULL;
    char path[PATH_BYTES];
    stream_path(dir, index, path);
    snprintf(where, 256, "%.240s", path);
    int rc = staging_new(disk, dir, &staging);
    if (rc)
        return rc;
    struct stream_sink sink = staging_sink(staging);
    rc = stream_file_read(disk, path, &sink, 0);
    if (!rc)
        rc = staging_sync(staging);
    if (!rc)
        rc = install_check(dir, &staging_header(staging)->token, where);
    staging_free(&staging);
    return rc;
}

int keep_forget(struct disk *disk, const char *dir)
{
    char path[PATH_BYTES];
    for (uint64_t index; (index = list(disk, dir, UINT64_MAX).newest) != 0;) {
        stream_path(dir, index, path);
        int rc = disk->ops->remove(disk, path);
        if (rc)
            return rc;
        diag(DIAG_WARN, "removed %s: it is of a state machine that was found to be damaged", path);
    }
    path_of(dir, TOKEN_DIR, path);
    int rc = disk->ops->sync_dir(disk, path);
    return rc == HF_E_ABSENT ? HF_OK : rc;
}

/* ---- writing ---- */

struct file_writer {
    const _Atomic bool *cancel;
    struct disk *disk;
    struct disk_file *file;
    uint64_t offset;
};

static int write_bytes(void *ctx, struct slice bytes)
{
    struct file_writer *w = ctx;
    if (atomic_load(w->cancel))
        return HF_E_CLOSED;
    int rc = w->disk->ops->write(w->disk, w->file, w->offset, bytes.data, bytes.size);
    w->offset += bytes.size;
    return rc;
}

static int write_file(struct keep *k, const char *checkpoint, const char *path, const struct stream_header *header)
{
    struct file_writer out = {.cancel = &k->cancel, .disk = k->disk};
    struct stream_writer *w = NULL;
    int rc = k->disk->ops->remove(k->disk, path);
    if (rc == HF_OK || rc == HF_E_ABSENT)
        rc = k->disk->ops->open(k->disk, path, DISK_CREATE, &out.file);
    if (rc)
        return rc;
    rc = stream_writer_new(header, write_bytes, &out, &w);
    if (!rc)
        rc = stream_write_directory(w, checkpoint);
    if (!rc)
        rc = stream_finish(w);
    stream_writer_free(&w);
    if (!rc)
        rc = k->disk->ops->sync(k->disk, out.file);
    k->disk->ops->close(k->disk, &out.file);
    return rc;
}

static int read_header(const char *checkpoint, struct arena *arena, struct stream_header *out, char where[256])
{
    struct fsm_info info;
    int rc = fsm_peek(checkpoint, arena, &info, where);
    if (rc)
        return rc;
    *out = (struct stream_header){.ceiling = info.ceiling, .cutover = info.cutover, .token = token_from(&info)};
    return HF_OK;
}

static void remove_oldest(struct keep *k)
{
    for (struct listing l = list(k->disk, k->dir, UINT64_MAX); l.count > k->count; l.count--) {
        char path[PATH_BYTES];
        stream_path(k->dir, list(k->disk, k->dir, UINT64_MAX).oldest, path);
        if (k->disk->ops->remove(k->disk, path))
            diag(DIAG_WARN, "cannot remove %s", path);
    }
}

static int write_one(struct keep *k, struct arena *arena, uint64_t *out_index, char where[256])
{
    char checkpoint[PATH_BYTES], unfinished[PATH_BYTES], path[PATH_BYTES], folder[PATH_BYTES];
    struct stream_header header;
    path_of(k->dir, TOKEN_DIR, folder);
    path_of(k->dir, CHECKPOINT, checkpoint);
    path_of(k->dir, UNFINISHED, unfinished);
    int rc = disk_ensure_dir(k->disk, k->dir, folder);
    if (!rc)
        rc = fsm_checkpoint(k->fsm, checkpoint, where);
    if (!rc)
        rc = read_header(checkpoint, arena, &header, where);
    if (!rc)
        rc = write_file(k, checkpoint, unfinished, &header);
    if (disk_remove_tree(k->disk, checkpoint))
        diag(DIAG_WARN, "cannot remove %s; the next start does", checkpoint);
    if (rc)
        return rc;
    stream_path(k->dir, header.token.index, path);
    rc = k->disk->ops->rename(k->disk, unfinished, path);
    if (!rc)
        rc = k->disk->ops->sync_dir(k->disk, folder);
    *out_index = header.token.index;
    return rc;
}

static void *run(void *ctx)
{
    struct keep *k = ctx;
    struct arena arena = {0};
    char where[256] = "";
    uint64_t index = 0, from = clock_boot_ns();
    int rc = write_one(k, &arena, &index, where);
    if (rc) {
        metric_add(&metrics[M_FAILED], 1);
        diag(DIAG_WARN, "a local snapshot cannot be kept: %s %s; tried again after the next publish", error_text(rc),
             where);
    } else {
        metric_add(&metrics[M_KEPT], 1);
        metric_set(&metrics[M_NEWEST], index);
        atomic_store(&k->newest, index);
        remove_oldest(k);
        diag(DIAG_INFO, "local snapshot kept index=%" PRIu64 " ms=%" PRIu64, index,
             (uint64_t)((clock_boot_ns() - from) / CLOCK_NS_PER_MS));
    }
    arena_deinit(&arena);
    atomic_store(&k->running, false);
    return NULL;
}

struct keep *keep_new(struct disk *disk, const char *dir, uint32_t count)
{
    struct keep *k = calloc(1, sizeof *k);
    must(k); /* out of memory */
    k->disk = disk;
    k->dir = dir;
    k->count = count;
    atomic_store(&k->newest, list(disk, dir, UINT64_MAX).newest);
    metrics_register(metrics, M_COUNT);
    metric_set(&metrics[M_NEWEST], atomic_load(&k->newest));
    return k;
}

void keep_stop(struct keep *k)
{
    if (!k->started)
        return;
    atomic_store(&k->cancel, true);
    (void)pthread_join(k->thread, NULL);
    k->started = false;
    atomic_store(&k->cancel, false);
}

void keep_free(struct keep **k)
{
    if (!*k)
        return;
    keep_stop(*k);
    free(*k);
    *k = NULL;
}

void keep_begin(struct keep *k, struct fsm *fsm)
{
    if (atomic_load(&k->running))
        return;
    keep_stop(k);
    k->fsm = fsm;
    atomic_store(&k->running, true);
    must(pthread_create(&k->thread, NULL, run, k) == 0); /* out of threads */
    k->started = true;
}

uint64_t keep_newest(const struct keep *k)
{
    return atomic_load(&k->newest);
}
