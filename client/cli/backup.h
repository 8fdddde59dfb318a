/* backup.h: what backup.c and restore.c share: where backups are. */
#pragma once

#include "client/cli/child.h"

struct backup_file {
    const char *path; /* in the run's arena */
    Hf__Client__BackupHead head;
};

/* FILE, or what is called shard-N.backup in DIR, in the order of N; each checked whole. HF_OK, or an exit code after saying
 * why. */
HF_CHECKED int backup_files(struct cli *c, const char *path, struct backup_file **out, size_t *out_count);
