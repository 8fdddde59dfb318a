/* lines.h: a file of any size, line by line, each line bounded.
 *
 * Position: the input of `holdfast load`. */
#pragma once

#include <stdint.h>

#include "common/base/must.h"
#include "common/base/slice.h"

struct lines;

/* `path` "-" is the standard input. On failure NULL, errno says why. */
struct lines *lines_open(const char *path, size_t line_bytes_max);
void lines_close(struct lines **l);

enum lines_result { LINES_LINE, LINES_END, LINES_TOO_LONG /* skipped to its end */, LINES_ERROR /* errno */ };

/* The next line without its line feed (borrowed until the next call); a last line may lack one. */
HF_CHECKED enum lines_result lines_next(struct lines *l, struct slice *out_line);
uint64_t lines_offset(const struct lines *l); /* bytes before the next line */
uint64_t lines_size(const struct lines *l);   /* of a regular file; else 0 */
/* Before the first line: goes on at `offset`. False: the input is shorter, or errno. */
HF_CHECKED bool lines_skip(struct lines *l, uint64_t offset);
