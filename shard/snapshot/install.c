/* install.c: the record and the exchange; see install.h for the order and what each crash leaves. */
#include "shard/snapshot/install.h"

#include <stdio.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "shard/fsm/fsm.h"
#include "shard/snapshot/lines.h"

#define PATH_BYTES 4096
#define RECORD_FORMAT 1u
#define RECORD_BYTES_MAX 4096u
#define OUTGOING_PREFIX "outgoing-" /* checkpoints being sent */

struct paths {
    char dir[PATH_BYTES]; /* the replica's; a little longer names are made from it */
    char snapshots[PATH_BYTES], incoming[PATH_BYTES], machine[PATH_BYTES], record[PATH_BYTES];
    char incoming_staged[PATH_BYTES], machine_staged[PATH_BYTES];
    char aside[PATH_BYTES]; /* the old machine, where names cannot be exchanged */
};

static bool join(char out[PATH_BYTES], const char *dir, const char *name)
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", dir, name);
    return n > 0 && n < PATH_BYTES;
}

static int paths_of(const char *dir, struct paths *out)
{
    if (strlen(dir) >= sizeof out->dir)
        return HF_E_LIMIT;
    memcpy(out->dir, dir, strlen(dir) + 1);
    return join(out->snapshots, dir, TOKEN_DIR) && join(out->incoming, dir, INSTALL_INCOMING) &&
                   join(out->machine, dir, INSTALL_MACHINE) && join(out->record, dir, INSTALL_NAME) &&
                   join(out->incoming_staged, out->incoming, INSTALL_STAGED) &&
                   join(out->machine_staged, out->machine, INSTALL_STAGED) &&
                   join(out->aside, out->snapshots, OUTGOING_PREFIX "machine")
               ? HF_OK
               : HF_E_LIMIT;
}

/* ---- the record ---- */

static int write_record(struct disk *disk, const char *path, const struct install_record *record)
{
    struct buf text = {0};
    lines_put_decimal(&text, "format", RECORD_FORMAT);
    lines_put_hex(&text, "cluster", record->cluster);
    lines_put_decimal(&text, "group", record->group);
    lines_put_decimal(&text, "log_epoch", record->log_epoch);
    lines_put_decimal(&text, "index", record->index);
    lines_put_decimal(&text, "term", record->term);
    lines_end(&text);
    int rc = disk_replace(disk, path, buf_slice(&text));
    buf_deinit(&text);
    return rc;
}

static int decode(struct slice text, struct install_record *out)
{
    struct install_record record = {0};
    struct lines lines;
    uint64_t format = 0, group = 0, epoch = 0;
    int rc = lines_begin(&lines, text);
    if (rc != HF_OK || !lines_take_decimal(&lines, "format", UINT32_MAX, &format))
        return HF_E_CORRUPT;
    if (format != RECORD_FORMAT)
        return HF_E_FORMAT;
    if (!lines_take_hex(&lines, "cluster", &record.cluster) ||
        !lines_take_decimal(&lines, "group", UINT32_MAX, &group) ||
        !lines_take_decimal(&lines, "log_epoch", UINT32_MAX, &epoch) ||
        !lines_take_decimal(&lines, "index", UINT64_MAX, &record.index) ||
        !lines_take_decimal(&lines, "term", UINT64_MAX, &record.term) || !lines_done(&lines))
        return HF_E_CORRUPT;
    record.group = (uint32_t)group;
    record.log_epoch = (uint32_t)epoch;
    *out = record;
    return HF_OK;
}

static int read_record(struct disk *disk, const char *path, struct install_record *out)
{
    struct buf text = {0};
    int rc = disk_read_all(disk, path, RECORD_BYTES_MAX, &text);
    if (rc == HF_OK)
        rc = decode(buf_slice(&text), out);
    buf_deinit(&text);
    return rc == HF_E_LIMIT ? HF_E_CORRUPT : rc;
}

int install_read(struct disk *disk, const char *dir, struct install_record *out)
{
    char path[PATH_BYTES];
    return join(path, dir, INSTALL_NAME) ? read_record(disk, path, out) : HF_E_LIMIT;
}

/* ---- the exchange ---- */

static int sync_both(struct disk *disk, const struct paths *p)
{
    int rc = disk->ops->sync_dir(disk, p->snapshots);
    return rc == HF_OK ? disk->ops->sync_dir(disk, p->dir) : rc;
}

/* For a file system without exchange: the old machine steps aside first. A crash between leaves none, and INSTALL, by
 * which the next start goes on. */
static int replace(struct disk *disk, const struct paths *p)
{
    int rc = disk_remove_tree(disk, p->aside);
    if (rc == HF_OK)
        rc = disk->ops->rename(disk, p->machine, p->aside);
    if (rc == HF_OK)
        rc = sync_both(disk, p);
    return rc == HF_OK ? disk->ops->rename(disk, p->incoming, p->machine) : rc;
}

/* incoming/ becomes fsm/; what was there, if anything, becomes incoming/. Durable on return. */
static int exchange(struct disk *disk, const struct paths *p)
{
    bool there = false;
    int rc = disk->ops->exists(disk, p->machine, &there);
    if (rc == HF_OK)
        rc = there ? disk->ops->exchange(disk, p->incoming, p->machine)
                   : disk->ops->rename(disk, p->incoming, p->machine);
    if (rc == HF_E_INVALID)
        rc = replace(disk, p);
    crash_point("install.after_exchange");
    return rc == HF_OK ? sync_both(disk, p) : rc;
}

int install_exchange(struct disk *disk, const char *dir, const struct install_record *record)
{
    struct paths p;
    bool staged = false;
    int rc = paths_of(dir, &p);
    if (rc == HF_OK)
        rc = disk->ops->exists(disk, p.incoming_staged, &staged);
    if (rc == HF_OK && !staged)
        rc = HF_E_ABSENT;
    crash_point("install.before_record");
    if (rc == HF_OK)
        rc = write_record(disk, p.record, record);
    crash_point("install.after_record");
    return rc == HF_OK ? exchange(disk, &p) : rc;
}

/* ---- afterwards ---- */

/* The marker first: while the record is there, a machine without it is one whose log has followed. */
static int forget_record(struct disk *disk, const struct paths *p)
{
    int rc = disk->ops->remove(disk, p->machine_staged);
    if (rc == HF_OK || rc == HF_E_ABSENT) /* gone before a crash is not gone for ever: it is synced all the same */
        rc = disk->ops->sync_dir(disk, p->machine);
    rc = rc == HF_E_ABSENT ? HF_OK : rc;
    if (rc == HF_OK)
        rc = disk->ops->remove(disk, p->record);
    rc = rc == HF_E_ABSENT ? HF_OK : rc;
    return rc == HF_OK ? disk->ops->sync_dir(disk, p->dir) : rc;
}

struct sweep {
    struct buf names; /* NUL-terminated, in a row */
};

static void sweep_note(void *ctx, const char *name)
{
    struct sweep *sweep = ctx;
    if (strncmp(name, OUTGOING_PREFIX, strlen(OUTGOING_PREFIX)) == 0)
        buf_append(&sweep->names, name, strlen(name) + 1);
}

/* What nobody uses at start: staged files, checkpoints that were being sent, temporary files. */
static int sweep_up(struct disk *disk, const struct paths *p)
{
    struct sweep sweep = {0};
    char path[PATH_BYTES];
    int rc = disk_remove_tree(disk, p->incoming);
    if (rc == HF_OK)
        rc = disk->ops->list(disk, p->snapshots, sweep_note, &sweep);
    for (size_t at = 0; rc == HF_OK && at < sweep.names.size;) {
        const char *name = (const char *)sweep.names.data + at;
        rc = join(path, p->snapshots, name) ? disk_remove_tree(disk, path) : HF_E_LIMIT;
        at += strlen(name) + 1;
    }
    buf_deinit(&sweep.names);
    if (rc == HF_OK)
        rc = disk_sweep_temp(disk, p->snapshots);
    if (rc == HF_OK)
        rc = disk->ops->sync_dir(disk, p->snapshots);
    return rc == HF_E_ABSENT ? HF_OK : rc; /* there are no snapshots at all */
}

int install_done(struct disk *disk, const char *dir)
{
    struct paths p;
    crash_point("install.before_done");
    int rc = paths_of(dir, &p);
    if (rc == HF_OK)
        rc = forget_record(disk, &p);
    if (rc == HF_OK)
        rc = disk_remove_tree(disk, p.incoming);
    if (rc == HF_OK)
        rc = disk_remove_tree(disk, p.aside);
    return rc == HF_OK ? disk->ops->sync_dir(disk, p.snapshots) : rc;
}

int install_discard(struct disk *disk, const char *dir)
{
    struct paths p;
    bool pending = false;
    int rc = paths_of(dir, &p);
    if (rc == HF_OK)
        rc = disk->ops->exists(disk, p.record, &pending);
    if (rc == HF_OK && pending)
        rc = HF_E_BUSY;
    return rc == HF_OK ? disk_remove_tree(disk, p.incoming) : rc;
}

/* There is a record; *out_pending as in install_finish. */
static int resolve(struct disk *disk, const struct paths *p, int record, bool *out_pending)
{
    bool incoming = false, machine = false;
    int rc =
        disk->ops->sync_dir(disk, p->dir); /* what follows rests on a record that an earlier life may not have synced */
    if (rc == HF_OK)
        rc = disk->ops->exists(disk, p->incoming_staged, &incoming);
    if (rc == HF_OK)
        rc = disk->ops->exists(disk, p->machine_staged, &machine);
    if (rc != HF_OK)
        return rc;
    if (record == HF_E_CORRUPT && !machine) { /* damaged, and the old machine is in place, or all has followed */
        rc = disk->ops->remove(disk, p->record);
        return rc == HF_OK ? disk->ops->sync_dir(disk, p->dir) : rc;
    }
    if (machine) {
        *out_pending = true;
        return record == HF_OK ? sync_both(disk, p) : record;
    }
    if (!incoming)
        return forget_record(disk, p);
    *out_pending = true;
    return exchange(disk, p);
}

int install_finish(struct disk *disk, const char *dir, bool *out_pending, struct install_record *out_record)
{
    struct paths p;
    struct install_record record = {0};
    bool pending = false;
    int rc = paths_of(dir, &p);
    if (rc == HF_OK)
        rc = read_record(disk, p.record, &record);
    if (rc == HF_E_ABSENT)
        rc = HF_OK;
    else if (rc == HF_OK || rc == HF_E_CORRUPT)
        rc = resolve(disk, &p, rc, &pending);
    if (rc == HF_OK && !pending)
        rc = sweep_up(disk, &p);
    if (rc != HF_OK)
        return rc;
    *out_pending = pending;
    if (pending)
        *out_record = record;
    return HF_OK;
}

/* ---- is it what it says it is ---- */

int install_check(const char *dir, const struct token *token, char where[256])
{
    char path[PATH_BYTES];
    struct arena arena = {0};
    struct fsm_info info;
    if (!join(path, dir, INSTALL_INCOMING))
        return HF_E_LIMIT;
    int rc = fsm_peek(path, &arena, &info, where);
    if (rc == HF_E_ABSENT || rc == HF_E_CORRUPT || rc == HF_E_INVALID)
        rc = HF_E_SNAPSHOT_BODY;
    if (rc == HF_OK &&
        (info.cluster != token->cluster || info.group != token->group || info.applied.epoch != token->log_epoch ||
         info.applied.index != token->index || info.applied.term != token->term || info.ceiling.t != token->ceiling.t ||
         info.cutover != token->cutover || memcmp(info.digest, token->digest, DIGEST_BYTES) != 0)) {
        snprintf(where, 256, "what was received stands at entry %llu, its token says %llu, or they differ otherwise",
                 (unsigned long long)info.applied.index, (unsigned long long)token->index);
        rc = HF_E_SNAPSHOT_TOKEN;
    }
    arena_deinit(&arena);
    return rc;
}
