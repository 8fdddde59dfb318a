/* offline.h: what the commands that look at files share: one line on stderr, exit codes.
 *
 * Position: inspect, backup_file. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#define OFFLINE_NOT_FOUND 1
#define OFFLINE_NOT_DONE 3
#define OFFLINE_REFUSED 6
#define OFFLINE_DEGRADED 7

/* Says `path: what` for people or as {"error":{…}}; returns the exit code of `rc`. */
int offline_error(const char *path, int rc, const char *what, bool json);
