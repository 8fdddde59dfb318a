/* diag.h: what a process prints about itself: one line an event, constant text plus key=value fields.
 *
 * Thread: any. Keys and values of users are never printed above debug. */
#pragma once

#include "common/base/must.h"

enum diag_level { DIAG_DEBUG, DIAG_INFO, DIAG_WARN, DIAG_ERROR };

/* `role` is the process's short name in every line ("shard 1/2"); borrowed text is copied. Lines go to stderr. */
void diag_init(const char *role, enum diag_level least);

/* "2026-01-02T03:04:05.678Z INFO shard 1/2: <message>". A line break in the message becomes a blank. */
void diag(enum diag_level level, const char *format, ...) HF_PRINTF(2, 3);

/* Durable state is in doubt (I6): say it and stop with exit code 70, no destructors; the supervisor restarts us. */
HF_NORETURN void fatal(const char *format, ...) HF_PRINTF(1, 2);

/* The process refuses to start (identity, lock, format, rights): "holdfast: <message>" on stderr, exit code 6. */
HF_NORETURN void refuse(const char *format, ...) HF_PRINTF(1, 2);
