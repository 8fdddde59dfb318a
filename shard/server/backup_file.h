/* backup_file.h: `holdfast-shard --backup-head FILE`, `--backup-read FILE`: a backup checked whole, then what it says.
 *
 * Position: main, instead of running a replica; the `holdfast` command runs it. Changes nothing. */
#pragma once

#include <stdbool.h>

/* To standard output, each behind its length (u32, little endian): hf.client.BackupHead; with `records` every
 * hf.client.BackupRecord as well. Not a byte leaves before all of the file was read and every checksum held. Returns the
 * exit code. */
int backup_file_print(const char *path, bool records, bool json);
