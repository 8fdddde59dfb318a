/* fuzz_text.c: any bytes as a file of `load`, as an escaped or hexadecimal argument, as JSON to be written and as a
 * place of --resume: what was escaped comes back the same, and every line of any input is found. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/cli/lines.h"
#include "client/cli/resume.h"
#include "client/cli/text.h"
#include "common/sys/disk.h"
#include "tests/fuzz/fuzz.h"

#define LINE_MAX_BYTES 200

static struct slice printed(void (*print)(FILE *to, struct slice s), struct slice s, char **out_text)
{
    size_t size = 0;
    FILE *to = open_memstream(out_text, &size);
    must(to != NULL);
    print(to, s);
    must(fclose(to) == 0);
    return slice_make(*out_text, size);
}

static void there_and_back(struct slice s)
{
    char *text = NULL;
    size_t size = 0;
    uint8_t *back = malloc(4 * s.size + 1);
    must(back != NULL);
    struct slice escaped = printed(text_escape, s, &text);
    must(escaped.size == 0 || (memchr(text, '\n', escaped.size) == NULL && memchr(text, '\t', escaped.size) == NULL));
    must(text_unescape(escaped, back, &size) && slice_equal(slice_make(back, size), s));
    free(text);
    text = NULL;
    struct slice hex = printed(text_hex, s, &text);
    must(text_unhex(hex, back, &size) && slice_equal(slice_make(back, size), s));
    free(text);
    text = NULL;
    must(text_is_utf8(printed(text_json, s, &text))); /* whatever the bytes were */
    free(text);
    if (text_unescape(s, back, &size))
        must(size <= s.size);
    if (text_unhex(s, back, &size))
        must(size == s.size / 2);
    free(back);
}

/* The lines together are the input: nothing is lost or invented, too long ones are said. */
static void as_lines(const char *path, struct slice s)
{
    struct lines *l = lines_open(path, LINE_MAX_BYTES);
    must(l != NULL);
    struct slice line;
    uint64_t at = 0;
    for (enum lines_result rc; (rc = lines_next(l, &line)) != LINES_END; at = lines_offset(l)) {
        const uint8_t *stop = memchr(s.data + at, '\n', s.size - at);
        uint64_t end = stop ? (uint64_t)(stop - s.data) : s.size;
        must(rc == LINES_LINE || rc == LINES_TOO_LONG);
        must((rc == LINES_LINE) == (end - at <= LINE_MAX_BYTES));
        if (rc == LINES_LINE)
            must(slice_equal(line, slice_make(s.data + at, end - at)));
        must(lines_offset(l) == (stop ? end + 1 : end));
    }
    must(at == s.size);
    lines_close(&l);
}

static void as_place(const char *path)
{
    struct resume place, again;
    if (resume_read(path, &place) != HF_OK)
        return;
    char copy[] = "/dev/shm/hf-fuzz-resume-XXXXXX";
    int fd = mkstemp(copy);
    must(fd >= 0 && resume_write(copy, &place) == HF_OK && resume_read(copy, &again) == HF_OK);
    must(again.records == place.records && again.offset == place.offset && again.lines == place.lines);
    close(fd);
    unlink(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    there_and_back(slice_make(data, size));
    int fd = memfd_create("input", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    as_lines(path, slice_make(data, size));
    as_place(path);
    close(fd);
    return 0;
}
