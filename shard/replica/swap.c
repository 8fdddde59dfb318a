/* swap.c: see swap.h. */
#include "shard/replica/swap.h"

#include <stdio.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "shard/engine/engine.h"
#include "shard/replica/detect.h"

#define PATH_BYTES 4096

/* <dir>/<folder><engine>-<epoch>; the length of --dir is checked when the options are read. */
static void log_path(const char *dir, const char *folder, const char *engine, uint32_t epoch, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/%s%s-%u", dir, folder, engine, epoch);
    must(n > 0 && n < PATH_BYTES);
}

static void folder_of(const char *dir, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/" SWAP_FOLDER, dir);
    must(n > 0 && n < PATH_BYTES);
}

/* The log that identity names moves to its place. */
static int place(struct disk *disk, const char *dir, const struct identity *id)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    bool staged = false;
    log_path(dir, SWAP_FOLDER "/", id->engine, id->log_epoch, from);
    log_path(dir, "", id->engine, id->log_epoch, to);
    int rc = disk->ops->exists(disk, from, &staged);
    if (rc == HF_OK && staged)
        rc = disk->ops->rename(disk, from, to);
    return rc == HF_OK && staged ? disk->ops->sync_dir(disk, dir) : rc;
}

/* The logs of all epochs before: one, or, where a state was fetched from a group that went on twice, an older one. */
static int archive(struct disk *disk, const char *dir, const struct identity *id)
{
    struct detect_facts there = {.dir = dir};
    int rc = detect_look(disk, &there);
    for (size_t i = 0; rc == HF_OK && i < there.logs_count; i++) {
        const struct engine_ops *ops = engine_find(there.logs[i].engine);
        if (there.logs[i].epoch >= id->log_epoch)
            continue;
        rc = ops ? ops->archive(disk, dir, there.logs[i].epoch) : HF_E_ABSENT;
    }
    return rc;
}

int swap_finish(struct disk *disk, const char *dir)
{
    char folder[PATH_BYTES];
    struct identity id;
    bool there = false;
    folder_of(dir, folder);
    int rc = disk->ops->exists(disk, folder, &there);
    if (rc != HF_OK || !there)
        return rc;
    if (identity_read(disk, dir, &id) != HF_OK)
        return HF_OK;
    bool swapped = id.left.epoch != 0 && id.left.epoch + 1 == id.log_epoch;
    if (swapped)
        rc = place(disk, dir, &id);
    crash_point("swap.before_archive");
    if (rc == HF_OK && swapped)
        rc = archive(disk, dir, &id);
    crash_point("swap.before_done");
    if (rc == HF_OK)
        rc = disk_remove_tree(disk, folder);
    return rc == HF_OK ? disk->ops->sync_dir(disk, dir) : rc;
}

/* Nobody is elected in the seal's term, nor in one that the state, fetched from later on, has seen. */
static uint64_t term_floor(const struct fsm_info *info)
{
    uint64_t after = info->migration.seal.term + 1;
    return after > info->applied.term ? after : info->applied.term;
}

int swap_directory(struct disk *disk, const char *dir, uint64_t segment_bytes, const struct fsm_info *info,
                   struct identity *id)
{
    const struct fsm_seal *seal = &info->migration.seal;
    const struct engine_ops *ops = engine_find(seal->target);
    char folder[PATH_BYTES];
    must(swap_due(info, id) && info->applied.index >= seal->index);
    if (!ops)
        return HF_E_ABSENT;
    folder_of(dir, folder);
    struct engine_env env = {.disk = disk,
                             .dir = folder,
                             .group = id->group,
                             .replica = id->replica,
                             .log_epoch = seal->epoch + 1,
                             .segment_bytes = segment_bytes,
                             .members = info->members,
                             .term_floor = term_floor(info)};
    struct identity next = *id;
    snprintf(next.engine, sizeof next.engine, "%s", seal->target);
    next.log_epoch = seal->epoch + 1;
    next.recovering = 0; /* what a lost log had acknowledged is in the state: it covers the seal */
    next.left =
        (struct identity_left){.epoch = seal->epoch, .migration = seal->id, .index = seal->index, .term = seal->term};
    snprintf(next.left.engine, sizeof next.left.engine, "%s", seal->source);
    int rc = swap_finish(disk, dir); /* of an attempt that failed */
    if (rc == HF_OK)
        rc = disk_ensure_dir(disk, dir, folder);
    if (rc == HF_OK)
        rc = ops->create(&env, info->applied.index, info->applied.term);
    crash_point("swap.before_identity");
    if (rc == HF_OK)
        rc = identity_write(disk, dir, &next);
    crash_point("swap.after_identity");
    if (rc != HF_OK)
        return rc;
    *id = next;
    return swap_finish(disk, dir);
}

bool swap_due(const struct fsm_info *info, const struct identity *id)
{
    const struct fsm_seal *seal = &info->migration.seal;
    return seal->epoch != 0 && info->cluster == id->cluster && info->group == id->group &&
           id->log_epoch <= seal->epoch &&
           (info->applied.epoch == seal->epoch || info->applied.epoch == seal->epoch + 1);
}

bool swap_precedes(const struct fsm_info *info, const struct identity *id)
{
    return fsm_sealed(info) && info->cluster == id->cluster && info->group == id->group &&
           info->migration.seal.epoch + 1 == id->log_epoch && info->migration.seal.id == id->left.migration;
}
