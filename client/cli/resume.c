/* resume.c: see resume.h. */
#include "client/cli/resume.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/sys/disk.h"

#define BYTES_MAX 128

int resume_read(const char *path, struct resume *out)
{
    struct buf text = {0};
    *out = (struct resume){0};
    int rc = disk_read_all(disk_posix(), path, BYTES_MAX, &text);
    if (rc == HF_OK) {
        struct resume r;
        char end;
        buf_append(&text, "", 1);
        int n = sscanf((const char *)text.data, "%" SCNu64 " %" SCNu64 " %" SCNu64 "%c", &r.records, &r.offset,
                       &r.lines, &end);
        if (n == 4 && end == '\n')
            *out = r;
        else
            rc = HF_E_CORRUPT;
    }
    buf_deinit(&text);
    return rc;
}

int resume_write(const char *path, const struct resume *r)
{
    char text[BYTES_MAX];
    int size = snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", r->records, r->offset, r->lines);
    return disk_replace(disk_posix(), path, slice_make(text, (size_t)size));
}
