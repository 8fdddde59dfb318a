/* native_files.c: the native engine's folder in a replica's directory: is it there, make it, put it away. */
#include <stdio.h>

#include "common/base/error.h"
#include "shard/engine/native/native_state.h"

int native_files_path(const char *dir, uint32_t log_epoch, char out[NATIVE_PATH_BYTES])
{
    int n = snprintf(out, NATIVE_PATH_BYTES, "%s/native-%u", dir, log_epoch);
    return n < 0 || (size_t)n >= NATIVE_PATH_BYTES ? HF_E_LIMIT : HF_OK;
}

int native_files_detect(struct disk *disk, const char *dir, uint32_t log_epoch, bool *out_present)
{
    char path[NATIVE_PATH_BYTES];
    int rc = native_files_path(dir, log_epoch, path);
    return rc != HF_OK ? rc : disk->ops->exists(disk, path, out_present);
}

int native_files_create(const struct engine_env *env, uint64_t index, uint64_t term)
{
    char path[NATIVE_PATH_BYTES];
    int rc = native_files_path(env->dir, env->log_epoch, path);
    if (rc != HF_OK)
        return rc;
    struct log_config config = {
        .disk = env->disk, .dir = path, .segment_bytes = env->segment_bytes, .cache_bytes = NATIVE_CACHE_BYTES};
    rc = log_create(&config, index, term);
    return rc != HF_OK ? rc : env->disk->ops->sync_dir(env->disk, env->dir);
}

int native_files_rebuild(const struct engine_env *env, const char *quarantine, uint64_t index, uint64_t term,
                         char where[256])
{
    char path[NATIVE_PATH_BYTES];
    where[0] = '\0';
    must(env->recovering != 0); /* I13: durable before the first entry goes */
    int rc = native_files_path(env->dir, env->log_epoch, path);
    if (rc != HF_OK)
        return rc;
    struct log_config config = {
        .disk = env->disk, .dir = path, .segment_bytes = env->segment_bytes, .cache_bytes = NATIVE_CACHE_BYTES};
    return log_rebuild(&config, quarantine, index, term, where);
}

int native_files_archive(struct disk *disk, const char *dir, uint32_t log_epoch)
{
    char from[NATIVE_PATH_BYTES], folder[NATIVE_PATH_BYTES], to[NATIVE_PATH_BYTES];
    int rc = native_files_path(dir, log_epoch, from);
    if (rc != HF_OK)
        return rc;
    int n = snprintf(folder, sizeof folder, "%s/archive", dir);
    if (n < 0 || (size_t)n >= sizeof folder)
        return HF_E_LIMIT;
    rc = native_files_path(folder, log_epoch, to);
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
