/* folder.c: an engine's folder in a replica's directory: make it, rebuild it, put it away. */
#include <stdio.h>

#include "common/base/error.h"
#include "shard/engine/base/folder.h"
#include "shard/log/log.h"

int folder_path(const char *engine, const char *dir, uint32_t log_epoch, char out[FOLDER_PATH_BYTES])
{
    int n = snprintf(out, FOLDER_PATH_BYTES, "%s/%s-%u", dir, engine, log_epoch);
    return n < 0 || (size_t)n >= FOLDER_PATH_BYTES ? HF_E_LIMIT : HF_OK;
}

int folder_create(const char *engine, const struct engine_env *env, uint64_t index, uint64_t term)
{
    char path[FOLDER_PATH_BYTES];
    int rc = folder_path(engine, env->dir, env->log_epoch, path);
    if (rc != HF_OK)
        return rc;
    struct log_config config = {
        .disk = env->disk, .dir = path, .segment_bytes = env->segment_bytes, .term_floor = env->term_floor};
    rc = log_create(&config, index, term);
    return rc != HF_OK ? rc : env->disk->ops->sync_dir(env->disk, env->dir);
}

int folder_rebuild(const char *engine, const struct engine_env *env, const char *quarantine, uint64_t index,
                   uint64_t term, char where[256])
{
    char path[FOLDER_PATH_BYTES];
    where[0] = '\0';
    must(env->recovering != 0); /* I13: durable before the first entry goes */
    int rc = folder_path(engine, env->dir, env->log_epoch, path);
    if (rc != HF_OK)
        return rc;
    struct log_config config = {.disk = env->disk, .dir = path, .segment_bytes = env->segment_bytes};
    return log_rebuild(&config, quarantine, index, term, where);
}

int folder_archive(const char *engine, struct disk *disk, const char *dir, uint32_t log_epoch)
{
    char from[FOLDER_PATH_BYTES], folder[FOLDER_PATH_BYTES], to[FOLDER_PATH_BYTES];
    int rc = folder_path(engine, dir, log_epoch, from);
    if (rc != HF_OK)
        return rc;
    int n = snprintf(folder, sizeof folder, "%s/" ENGINE_ARCHIVE, dir);
    if (n < 0 || (size_t)n >= sizeof folder)
        return HF_E_LIMIT;
    rc = folder_path(engine, folder, log_epoch, to);
    if (rc != HF_OK)
        return rc;
    rc = disk->ops->make_dir(disk, folder);
    if (rc != HF_OK && rc != HF_E_EXISTS)
        return rc;
    rc = disk->ops->rename(disk, from, to);
    if (rc == HF_OK)
        rc = disk->ops->sync_dir(disk, folder);
    return rc != HF_OK ? rc : disk->ops->sync_dir(disk, dir);
}
