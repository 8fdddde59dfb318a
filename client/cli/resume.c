/* resume.c: see resume.h. */
#include "client/cli/resume.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/disk.h"

#define BYTES_MAX 128
#define NUMBERS 5

/* "RECORDS OFFSET LINES BYTES CRC\n", or the first three alone, and nothing else. */
static bool parse(const char *text, struct resume *out)
{
    uint64_t numbers[NUMBERS] = {0};
    for (int i = 0; i < NUMBERS; i++) {
        char *end;
        errno = 0;
        numbers[i] = strtoull(text, &end, 10);
        bool last = *end == '\n' && (i == 2 || i == NUMBERS - 1), more = *end == ' ' && i < NUMBERS - 1;
        if (*text < '0' || *text > '9' || errno != 0 || (!last && !more))
            return false;
        text = end + 1;
        if (last)
            break;
    }
    if (*text != 0)
        return false;
    *out = (struct resume){numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]};
    return out->last_bytes <= out->offset;
}

int resume_read(const char *path, struct resume *out)
{
    struct buf text = {0};
    *out = (struct resume){0};
    int rc = disk_read_all(disk_posix(), path, BYTES_MAX, &text);
    if (rc == HF_OK) {
        buf_append(&text, "", 1);
        if (!parse((const char *)text.data, out))
            rc = HF_E_CORRUPT;
    }
    buf_deinit(&text);
    return rc;
}

int resume_write(const char *path, const struct resume *r)
{
    char text[BYTES_MAX];
    int size = snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", r->records,
                        r->offset, r->lines, r->last_bytes, r->last_crc);
    return disk_replace(disk_posix(), path, slice_make(text, (size_t)size));
}
