/* child.h: `holdfast-shard` beside this program, which knows the files of a replica and of a backup; the client's code does
 * not.
 *
 * Position: inspect, backup and restore run it. It says its errors itself, on our standard error. */
#pragma once

#include <stdio.h>
#include <sys/types.h>

#include "client/cli/cli.h"
#include "proto/client.pb-c.h"

/* Becomes it. Returns only when that failed: an exit code, after saying why. */
int child_become(const struct cli *c, const char *option, const char *argument);

/* A backup as the program reads it, all of it checked before the first byte comes. */
struct child_backup {
    FILE *from; /* its standard output */
    pid_t pid;
    uint8_t *bytes; /* of the frame read last */
    size_t cap;
};

/* Begins; `records` false: only its head is wanted. HF_OK, or an exit code after saying why. */
HF_CHECKED int child_open(const struct cli *c, const char *path, bool records, struct child_backup *out);
/* The next frame; borrowed until the next call. HF_E_NOT_FOUND: the end. HF_E_PROTOCOL: no frame. */
HF_CHECKED int child_frame(struct child_backup *b, struct slice *out);
/* Waits for its end. HF_OK or its exit code; what it had to say it said. */
HF_CHECKED int child_close(const struct cli *c, struct child_backup *b);

/* Checks all of the file. HF_OK and *out, or an exit code after it was said why. */
HF_CHECKED int child_head(const struct cli *c, const char *path, Hf__Client__BackupHead *out);
