/* manifest.h: the file `backup` in a backup's directory: which shards the backup is made of, and what the file of each must be.
 *
 *   holdfast-backup 2
 *   at 117660276556365824                                all files are as of this timestamp
 *   cluster 00a1b2c3d4e5f607
 *   shards 2
 *   shard 1 file shard-1.backup bytes 4096 records 12 index 34 term 2
 *   shard 2 file shard-2.backup bytes 512 records 0 index 7 term 2
 *   crc 1a2b3c4d                                         CRC-32C of all lines above
 *
 * Version 1 has no such line: each file is as of a moment of its own.
 *
 * Position: create writes it last, so a directory that has it was whole; verify and restore hold the directory against it.
 * Of a head (client.proto) it keeps all but the ceiling, which the files themselves tell. */
#pragma once

#include "common/base/arena.h"
#include "common/base/must.h"
#include "proto/client.pb-c.h"

#define MANIFEST_NAME "backup"
#define MANIFEST_SHARDS_MAX 4096u

/* Durable when it returns; at 0: there is none; heads of one cluster, 1 to MANIFEST_SHARDS_MAX. HF_E_IO, HF_E_NO_SPACE, HF_E_LIMIT: a path too long. */
HF_CHECKED int manifest_write(const char *dir, uint64_t at, const Hf__Client__BackupHead *heads, size_t count);
/* *out lies in `arena`. HF_E_ABSENT: none there. HF_E_FORMAT: of a later program. HF_E_CORRUPT, HF_E_LIMIT, HF_E_IO. */
HF_CHECKED int manifest_read(const char *dir, struct arena *arena, uint64_t *out_at, Hf__Client__BackupHead **out,
                             size_t *out_count);
