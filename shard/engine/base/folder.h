/* folder.h: an engine's folder <dir>/<engine>-<epoch> in a replica's directory: make it, rebuild it, put it away.
 *
 * Position: below every engine; each hands in its own name.
 * Thread:   any, on a directory that nobody else uses meanwhile. */
#pragma once

#include "shard/engine/engine.h"

#define FOLDER_PATH_BYTES 4096u

/* HF_E_LIMIT: the path is too long. */
HF_CHECKED int folder_path(const char *engine, const char *dir, uint32_t log_epoch, char out[FOLDER_PATH_BYTES]);
/* What `struct engine_ops` says of the members of the same names. */
int folder_create(const char *engine, const struct engine_env *env, uint64_t index, uint64_t term);
int folder_archive(const char *engine, struct disk *disk, const char *dir, uint32_t log_epoch);
int folder_rebuild(const char *engine, const struct engine_env *env, const char *quarantine, uint64_t index,
                   uint64_t term, char where[256]);
