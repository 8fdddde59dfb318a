/* progress.h: one line on a terminal that says how far a long command is.
 *
 * Position: load, backup, restore; on anything but a terminal it prints nothing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool on;
    uint64_t begin_ns, shown_ns;
    uint64_t shown_records;
    double rate; /* records a second, smoothed */
};

void progress_start(struct progress *p, uint64_t now_ns);
/* At most ten times a second. size 0: not known. */
void progress_show(struct progress *p, uint64_t now_ns, uint64_t records, uint64_t bytes, uint64_t size);
/* The same of bytes alone. */
void progress_bytes(struct progress *p, uint64_t now_ns, uint64_t bytes, uint64_t size);
void progress_clear(const struct progress *p); /* a message comes */
void progress_end(struct progress *p);
