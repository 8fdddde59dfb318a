/* log.c: the durable log as its callers see it: buffered changes, one frame per sync, reads from memory or checked from
 * disk. */
#include "shard/log/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/metrics.h"
#include "shard/log/frame.h"
#include "shard/log/hardstate.h"
#include "shard/log/recover.h"
#include "shard/log/segments.h"
#include "shard/log/stretch.h"
#include "shard/log/tail.h"
#include "shard/log/view.h"

#define DIR_BYTES_MAX (SEGMENTS_PATH_BYTES - 64)

struct log {
    struct segments segments;
    struct hardstate hard;
    struct view view; /* with unsynced changes */
    struct tail tail;
    struct log_hard_state hs;
    bool hard_dirty;                    /* term or vote changed since the last sync */
    bool drop;                          /* segments may have become free */
    bool failed;                        /* poisoned (I6) */
    uint64_t sequence;                  /* of the next frame */
    uint64_t ahead_max;                 /* a commit bound written ahead of the next frame is at most this */
    uint64_t disk_base, disk_base_term; /* base and last entry as of the last frame: */
    uint64_t disk_last, disk_last_term; /* what the header of a new segment says */
    char where[RECOVER_WHERE_BYTES];
};

static struct metric_histogram sync_seconds = {.name = "holdfast_log_sync_seconds",
                                               .help = "Time to write and sync a turn's changes to the raft log"};

void log_metrics_register(void)
{
    metrics_register_histogram(&sync_seconds);
}

/* Making and opening. */

static void note_name(void *ctx, const char *name)
{
    buf_append(ctx, name, strlen(name) + 1);
}

static int remove_content(struct disk *disk, const char *dir)
{
    struct buf names = {0};
    int rc = disk->ops->list(disk, dir, note_name, &names);
    for (size_t at = 0; rc == 0 && at < names.size;) {
        char path[SEGMENTS_PATH_BYTES];
        const char *name = (const char *)names.data + at;
        int n = snprintf(path, sizeof path, "%s/%s", dir, name);
        rc = n < 0 || (size_t)n >= sizeof path ? HF_E_LIMIT : disk->ops->remove(disk, path);
        at += strlen(name) + 1;
    }
    buf_deinit(&names);
    return rc == 0 ? disk->ops->sync_dir(disk, dir) : rc;
}

static void hardstate_path(const char *dir, char out[SEGMENTS_PATH_BYTES])
{
    must(snprintf(out, SEGMENTS_PATH_BYTES, "%s/%s", dir, HARDSTATE_NAME) < SEGMENTS_PATH_BYTES);
}

int log_create(const struct log_config *config, uint64_t index, uint64_t term)
{
    struct disk *disk = config->disk;
    char path[SEGMENTS_PATH_BYTES];
    if (strlen(config->dir) > DIR_BYTES_MAX)
        return HF_E_LIMIT;
    int rc = disk->ops->make_dir(disk, config->dir);
    if (rc == HF_E_EXISTS)
        rc = remove_content(disk, config->dir);
    if (rc != 0)
        return rc;
    hardstate_path(config->dir, path);
    uint64_t seen = term > config->term_floor ? term : config->term_floor;
    rc = hardstate_create(disk, path, (struct log_hard_state){.term = seen, .commit = index});
    if (rc != 0)
        return rc;
    struct segments segments;
    segments_init(&segments, disk, config->dir, config->segment_bytes);
    rc = segments_add(
        &segments,
        (struct frame_segment){.sequence = 1, .base = index, .base_term = term, .last = index, .last_term = term}, 0);
    segments_deinit(&segments);
    return rc == 0 ? segments_sync_parent(disk, config->dir) : rc;
}

/* Segments that hold nothing above the base go. No space to rename in: another time. */
static int drop_segments(struct log *log)
{
    int rc = segments_drop(&log->segments, view_oldest_segment(&log->view));
    log->drop = rc != 0;
    return rc == HF_E_NO_SPACE ? 0 : rc;
}

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static void note_synced(struct log *log)
{
    log->disk_base = log->view.base;
    log->disk_base_term = log->view.runs[log->view.run_head].term;
    log->disk_last = log->view.last;
    log->disk_last_term = view_last_term(&log->view);
}

/* Replays, then makes durable what was found. Takes the recovery's view. */
static int recover(struct log *log, struct recovery *r, char out_where[256])
{
    int rc = recover_read(&log->segments, r, out_where);
    if (rc != 0)
        return rc;
    if (view_last_term(&r->view) > log->hs.term) {
        snprintf(out_where, 256, "%s: older than the last entry's term (in %s)", HARDSTATE_NAME, log->segments.dir);
        return HF_E_CORRUPT;
    }
    if (log->hs.commit > r->view.last) { /* it was durable when the bound was written, and is never truncated */
        snprintf(out_where, 256, "the log ends at %" PRIu64 ", %s says that %" PRIu64 " was committed (in %s)",
                 r->view.last, HARDSTATE_NAME, log->hs.commit, log->segments.dir);
        return HF_E_CORRUPT;
    }
    rc = recover_settle(&log->segments, r);
    if (rc == 0)
        rc = hardstate_write(&log->hard, log->hs); /* both copies, for the same reason as the last frame */
    if (rc != 0) {
        snprintf(out_where, 256, "%s: %s while rewriting what was last written", log->segments.dir,
                 disk_error_text(rc));
        return rc;
    }
    log->view = r->view;
    r->view = (struct view){0};
    log->sequence = r->sequence;
    note_synced(log);
    uint64_t commit = r->commit > log->hs.commit ? r->commit : log->hs.commit;
    log->hs.commit = clamp(commit, log->view.base, log->view.last);
    return 0;
}

static int open_files(struct log *log, const struct log_config *config, char out_where[256])
{
    char path[SEGMENTS_PATH_BYTES];
    int rc = segments_load(&log->segments);
    if (rc != 0) {
        snprintf(out_where, 256, "%s: %s", config->dir, error_text(rc));
        return rc;
    }
    hardstate_path(config->dir, path);
    rc = hardstate_open(&log->hard, config->disk, path, &log->hs);
    if (rc == HF_E_ABSENT && log->segments.count > 0)
        rc = HF_E_CORRUPT; /* segments without one */
    if (rc != 0)
        snprintf(out_where, 256, "%s: %s (in %s)", HARDSTATE_NAME, error_text(rc), config->dir);
    if (rc == 0 && log->segments.count == 0) {
        snprintf(out_where, 256, "no segment beside %s (in %s)", HARDSTATE_NAME, config->dir);
        rc = HF_E_CORRUPT;
    }
    return rc;
}

int log_open(const struct log_config *config, struct log **out, struct log_report *out_report, char out_where[256])
{
    out_where[0] = '\0';
    if (strlen(config->dir) > DIR_BYTES_MAX)
        return HF_E_LIMIT;
    struct log *log = calloc(1, sizeof *log);
    must(log != NULL); /* out of memory */
    struct recovery recovery = {0};
    segments_init(&log->segments, config->disk, config->dir, config->segment_bytes);
    int rc = open_files(log, config, out_where);
    if (rc == 0)
        rc = recover(log, &recovery, out_where);
    if (rc == 0)
        rc = drop_segments(log);
    recover_deinit(&recovery);
    if (rc != 0) {
        log_close(&log);
        return rc;
    }
    tail_init(&log->tail, config->cache_bytes, log->view.last + 1);
    log->ahead_max = UINT64_MAX;
    *out = log;
    *out_report = recovery.report;
    return 0;
}

void log_close(struct log **log)
{
    if (*log == NULL)
        return;
    hardstate_close(&(*log)->hard);
    segments_deinit(&(*log)->segments);
    view_deinit(&(*log)->view);
    tail_deinit(&(*log)->tail);
    free(*log);
    *log = NULL;
}

/* What is known. */

struct log_hard_state log_hard_state(const struct log *log)
{
    return log->hs;
}

uint64_t log_first(const struct log *log)
{
    return log->view.base + 1;
}

uint64_t log_last(const struct log *log)
{
    return log->view.last;
}

uint64_t log_synced(const struct log *log)
{
    return log->view.durable;
}

int log_term(const struct log *log, uint64_t index, uint64_t *out_term)
{
    return view_term(&log->view, index, out_term);
}

size_t log_runs(const struct log *log, const struct log_run **out)
{
    *out = log->view.runs + log->view.run_head;
    return log->view.run_count;
}

uint64_t log_disk_bytes(const struct log *log)
{
    return segments_bytes(&log->segments);
}

uint64_t log_reach(const struct log *log, uint64_t index, uint64_t bytes)
{
    must(index >= log->view.base && index <= log->view.durable);
    return view_reach(&log->view, index, bytes);
}

const char *log_where(const struct log *log)
{
    return log->where;
}

/* Changes. */

void log_append(struct log *log, const struct log_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        must(entries[i].index == log->view.last + 1); /* entries are consecutive */
        view_append(&log->view, entries[i].term);
        tail_append(&log->tail, &entries[i]);
    }
}

void log_truncate(struct log *log, uint64_t index)
{
    must(index > log->view.base);
    if (index > log->view.last)
        return;
    view_truncate(&log->view, index);
    tail_truncate(&log->tail, index);
}

void log_set_hard_state(struct log *log, struct log_hard_state hs)
{
    must(hs.term >= log->hs.term);                                                /* the term never falls */
    must(hs.term > log->hs.term || log->hs.vote == 0 || hs.vote == log->hs.vote); /* one vote per term (I7) */
    log->hard_dirty |= hs.term != log->hs.term || hs.vote != log->hs.vote;
    log->hs = hs;
}

int log_trim(struct log *log, uint64_t index)
{
    if (log->failed)
        return HF_E_IO;
    if (index <= log->view.base)
        return 0;
    must(index <= log->view.durable); /* I4, I7: applied is durable */
    uint64_t term = view_trim(&log->view, index);
    tail_trim(&log->tail, index, term);
    log->drop = true;
    return 0;
}

void log_restart(struct log *log, uint64_t index, uint64_t term)
{
    must(index >= log->view.base && term <= log->hs.term); /* the hard state is never behind the log */
    uint64_t known = log->hs.commit < log->view.durable ? log->hs.commit : log->view.durable;
    if (known < log->ahead_max)
        log->ahead_max = known; /* until the frame is there, the disk holds the old entries */
    view_deinit(&log->view);
    view_init(&log->view, index, term);
    tail_restart(&log->tail, index, term);
    log->drop = true;
    if (log->hs.commit < index)
        log->hs.commit = index;
}

bool log_dirty(const struct log *log)
{
    return log->hard_dirty || tail_pending(&log->tail);
}

/* All but want of space poisons. */
static int poison(struct log *log, int rc)
{
    if (rc == HF_E_NO_SPACE)
        return rc;
    log->failed = true;
    return HF_E_IO;
}

/* Says what failed at the log's end. */
static int fail(struct log *log, int rc, const char *what)
{
    char name[SEGMENTS_NAME_BYTES];
    segments_name(segments_active(&log->segments), name);
    snprintf(log->where, sizeof log->where, "%s at offset %" PRIu64 ": %s: %s (in %s)", name, log->segments.end, what,
             disk_error_text(rc), log->segments.dir);
    return poison(log, rc);
}

static int fail_hard(struct log *log, int rc)
{
    snprintf(log->where, sizeof log->where, "%s: writing it: %s (in %s)", HARDSTATE_NAME, disk_error_text(rc),
             log->segments.dir);
    return poison(log, rc);
}

static int write_frame(struct log *log)
{
    must(view_last_term(&log->view) <= log->hs.term); /* the hard state is never behind the entries */
    struct slice frame =
        tail_seal(&log->tail, log->sequence, log->hs.commit, segments_active(&log->segments), log->segments.end);
    uint64_t offset = log->segments.end;
    int rc = segments_write(&log->segments, frame);
    if (rc != 0)
        return fail(log, rc, "writing a frame");
    if (log->tail.first != 0)
        view_frame(&log->view, log->tail.first, segments_active(&log->segments), offset, frame.size);
    must(log->view.durable == log->view.last);
    log->ahead_max = UINT64_MAX;
    log->sequence++;
    note_synced(log);
    tail_done(&log->tail);
    rc = segments_prepare(&log->segments, frame.size);
    return rc == 0 ? 0 : fail(log, rc, "preparing the next segment");
}

static int sync_changes(struct log *log)
{
    int rc;
    if (tail_pending(&log->tail) && !segments_fit(&log->segments, log->tail.size)) { /* room first: it may be refused */
        rc = segments_add(&log->segments,
                          (struct frame_segment){.sequence = log->sequence,
                                                 .base = log->disk_base,
                                                 .base_term = log->disk_base_term,
                                                 .last = log->disk_last,
                                                 .last_term = log->disk_last_term},
                          log->tail.size);
        if (rc != 0)
            return fail(log, rc, "making a segment");
    }
    if (log->hard_dirty) {
        /* What this sync replaces in the log must not look committed if the frame behind it never gets there: the bound
         * written ahead of the frame is what the disk holds now. The frame carries its own, atomic with its entries. */
        struct log_hard_state ahead = log->hs;
        ahead.commit = clamp(ahead.commit, 0, log->view.durable < log->ahead_max ? log->view.durable : log->ahead_max);
        rc = hardstate_write(&log->hard, ahead);
        if (rc != 0)
            return fail_hard(log, rc);
        log->hard_dirty = false;
    }
    if (tail_pending(&log->tail)) {
        rc = write_frame(log);
        if (rc != 0)
            return rc;
    }
    if (log->drop) {
        rc = drop_segments(log);
        if (rc != 0)
            return fail(log, rc, "recycling a segment");
    }
    return 0;
}

int log_sync(struct log *log)
{
    if (log->failed)
        return HF_E_IO;
    if (!log_dirty(log))
        return 0;
    uint64_t from = clock_boot_ns();
    int rc = sync_changes(log);
    metric_observe_ns(&sync_seconds, clock_boot_ns() - from);
    return rc;
}

/* Reading. */

static int read_recent(struct log *log, uint64_t from, size_t count_max, size_t bytes_max, struct arena *arena,
                       struct log_entry **out, size_t *out_count)
{
    size_t count = 0, bytes = 0;
    for (uint64_t i = from; i <= log->view.last && count < count_max; i++, count++) {
        bytes += tail_entry(&log->tail, i)->data.size;
        if (count > 0 && bytes > bytes_max)
            break;
    }
    *out = arena_alloc(arena, count * sizeof **out);
    *out_count = count;
    for (size_t i = 0; i < count; i++)
        (*out)[i] = *tail_entry(&log->tail, from + i);
    return 0;
}

static int read_old(struct log *log, uint64_t from, size_t count_max, size_t bytes_max, struct arena *arena,
                    struct log_entry **out, size_t *out_count)
{
    uint64_t to = log->tail.from - 1, last = 0, bytes = 0;
    if (to - from >= count_max)
        to = from + count_max - 1;
    for (uint64_t i = from; i <= to && bytes <= bytes_max; i = last + 1) { /* no more stretches than are asked for */
        const struct view_stretch *s = view_find(&log->view, i, &last);
        must(s != NULL); /* what is not in memory is durable */
        bytes += s->bytes;
    }
    to = last < to ? last : to;
    struct log_entry *entries = arena_alloc(arena, (size_t)(to - from + 1) * sizeof *entries);
    size_t count = 0, payload = 0;
    for (uint64_t i = from; i <= to; i = last + 1) {
        const struct view_stretch *s = view_find(&log->view, i, &last);
        last = last < to ? last : to;
        int rc = stretch_read(&log->segments, s, i, last - i + 1, arena, entries + (i - from), log->where);
        if (rc != 0)
            return rc;
    }
    for (; count < to - from + 1; count++) {
        payload += entries[count].data.size;
        if (count > 0 && payload > bytes_max)
            break;
    }
    *out = entries;
    *out_count = count;
    return 0;
}

int log_read(struct log *log, uint64_t from, size_t count_max, size_t bytes_max, struct arena *arena,
             struct log_entry **out, size_t *out_count)
{
    if (log->failed)
        return HF_E_IO;
    must(count_max > 0);
    if (from <= log->view.base || from > log->view.last)
        return HF_E_ABSENT;
    if (from >= log->tail.from)
        return read_recent(log, from, count_max, bytes_max, arena, out, out_count);
    return read_old(log, from, count_max, bytes_max, arena, out, out_count);
}
