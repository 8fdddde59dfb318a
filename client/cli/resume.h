/* resume.h: the file that says how far a load is: everything before that place is acknowledged.
 *
 * Position: `holdfast load --resume FILE`. One line: "RECORDS OFFSET LINES BYTES CRC", replaced atomically: records
 * acknowledged in front of the first that is not, the input's bytes and lines before that one, and size and checksum of
 * the line before it, so that the place of another input is noticed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/must.h"

struct resume {
    uint64_t records, offset, lines;
    uint64_t last_bytes, last_crc; /* with its line feed, without; last_bytes 0: not known */
};

/* HF_E_ABSENT: no such file; *out is the beginning. HF_E_CORRUPT. */
HF_CHECKED int resume_read(const char *path, struct resume *out);
HF_CHECKED int resume_write(const char *path, const struct resume *r);
