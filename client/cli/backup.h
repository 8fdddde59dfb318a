/* backup.h: what backup.c and restore.c share: where backups are, and how much of a cluster they hold. */
#pragma once

#include "client/cli/child.h"

struct backup_file {
    const char *path; /* in the run's arena */
    Hf__Client__BackupHead head;
};

enum backup_scope {
    BACKUP_CLUSTER, /* all shards of a cluster, as the file `backup` beside them says (manifest.h) */
    BACKUP_SHARD,   /* a single file */
    BACKUP_UNKNOWN, /* a directory without that file, as earlier versions made them */
};

struct backup_set {
    struct backup_file *files; /* in the run's arena, in the order of their shards */
    size_t count;
    enum backup_scope scope;
    uint64_t at; /* all files are as of this timestamp; 0: each of a moment of its own */
};

/* FILE, or what is called shard-N.backup in DIR; each checked whole, and that none is missing. HF_OK, or an exit code after
 * saying why. */
HF_CHECKED int backup_files(struct cli *c, const char *path, struct backup_set *out);
/* For scripts: "cluster", "shard", "unknown". */
const char *backup_scope_name(enum backup_scope scope);
/* Behind the last line of a command; "" of a cluster. In `out`. */
const char *backup_scope_text(const struct backup_set *set, char out[128]);
