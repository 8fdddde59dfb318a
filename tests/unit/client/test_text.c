/* test_text.c: keys and values as text: the escapes both ways, hexadecimal, JSON; lines of a file; the place of a load.
 */
#include <stdlib.h>
#include <unistd.h>

#include "client/cli/lines.h"
#include "client/cli/resume.h"
#include "client/cli/text.h"
#include "common/base/error.h"
#include "tests/unit/unit.h"

static char *printed(void (*print)(FILE *, struct slice), struct slice s)
{
    char *out = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&out, &size);
    print(to, s);
    fclose(to);
    return out;
}

static void check(void (*print)(FILE *, struct slice), struct slice in, const char *want)
{
    char *out = printed(print, in);
    CU_ASSERT_STRING_EQUAL(out, want);
    free(out);
}

static void escapes_are_as_documented(void)
{
    check(text_escape, slice_text("a\tb\nc\\d"), "a\\tb\\nc\\\\d");
    check(text_escape, slice_make("\0\x01\x1f\x7f\r", 5), "\\x00\\x01\\x1f\\x7f\\x0d");
    check(text_escape, slice_text("gr\xc3\xbc\xc3\x9f \"e\" \xff"), "gr\xc3\xbc\xc3\x9f \"e\" \xff");
    check(text_escape, slice_text(""), "");
}

static void every_byte_comes_back(void)
{
    uint8_t all[512], back[4 * 512];
    for (int i = 0; i < 512; i++)
        all[i] = (uint8_t)(i < 256 ? i : 511 - i);
    char *out = printed(text_escape, slice_make(all, sizeof all));
    size_t size = 0;
    CU_ASSERT_TRUE(text_unescape(slice_text(out), back, &size));
    CU_ASSERT_TRUE(size == sizeof all && memcmp(back, all, size) == 0);
    free(out);
    out = printed(text_hex, slice_make(all, sizeof all));
    CU_ASSERT_TRUE(text_unhex(slice_text(out), back, &size));
    CU_ASSERT_TRUE(size == sizeof all && memcmp(back, all, size) == 0);
    free(out);
}

static void unknown_escapes_are_errors(void)
{
    static const char *const bad[] = {"\\", "a\\", "\\q", "\\x", "\\x1", "\\xg0", "\\x0g", "\\n\\"};
    uint8_t out[16];
    size_t size;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_FALSE(text_unescape(slice_text(bad[i]), out, &size));
    CU_ASSERT_TRUE(text_unescape(slice_text("\\xfF\\x0a"), out, &size));
    CU_ASSERT_TRUE(size == 2 && out[0] == 0xff && out[1] == '\n');
    CU_ASSERT_FALSE(text_unhex(slice_text("abc"), out, &size));
    CU_ASSERT_FALSE(text_unhex(slice_text("ag"), out, &size));
    CU_ASSERT_TRUE(text_unhex(slice_text("aB"), out, &size));
    CU_ASSERT_TRUE(size == 1 && out[0] == 0xab);
}

static void json_strings_are_valid(void)
{
    check(text_json, slice_text("a\"b\\c\n\t\x01"), "\"a\\\"b\\\\c\\n\\t\\u0001\"");
    check(text_json, slice_text("\xc3\xbc"), "\"\xc3\xbc\"");
    check(text_json, slice_text("\xff"), "\"\\ufffd\"");
    static const char *const bad[] = {"\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                      "\xc3", "\xf5"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_FALSE(text_is_utf8(slice_text(bad[i])));
    CU_ASSERT_TRUE(text_is_utf8(slice_text("a\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80")));
}

static char path[] = "/tmp/holdfast-test-text-XXXXXX";

static void write_file(const char *content, size_t size)
{
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fwrite(content, 1, size, f), size);
    fclose(f);
}

static void lines_of_any_length_are_read_and_bounded(void)
{
    size_t big = 700000;
    char *content = malloc(2 * big + 100);
    size_t size = (size_t)sprintf(content, "one\n\n");
    memset(content + size, 'x', big);
    size += big;
    content[size++] = '\n';
    memset(content + size, 'y', big + 1);
    size += big + 1;
    size += (size_t)sprintf(content + size, "\nlast");
    write_file(content, size);
    struct lines *l = lines_open(path, big);
    CU_ASSERT_PTR_NOT_NULL_FATAL(l);
    CU_ASSERT_EQUAL(lines_size(l), size);
    struct slice line;
    CU_ASSERT_EQUAL(lines_next(l, &line), LINES_LINE);
    CU_ASSERT_TRUE(slice_equal(line, slice_text("one")));
    CU_ASSERT_EQUAL(lines_offset(l), 4);
    CU_ASSERT_EQUAL(lines_next(l, &line), LINES_LINE);
    CU_ASSERT_EQUAL(line.size, 0);
    CU_ASSERT_EQUAL(lines_next(l, &line), LINES_LINE);
    CU_ASSERT_TRUE(line.size == big && line.data[0] == 'x' && line.data[big - 1] == 'x');
    uint64_t place = lines_offset(l);
    CU_ASSERT_EQUAL(lines_next(l, &line), LINES_TOO_LONG);
    CU_ASSERT_EQUAL(lines_next(l, &line), LINES_LINE);
    CU_ASSERT_TRUE(slice_equal(line, slice_text("last")));
    CU_ASSERT_EQUAL(lines_offset(l), size);
    CU_ASSERT_EQUAL(lines_next(l, &line), LINES_END);
    lines_close(&l);
    l = lines_open(path, 2 * big);
    CU_ASSERT_TRUE(lines_skip(l, place));
    CU_ASSERT_EQUAL(lines_next(l, &line), LINES_LINE);
    CU_ASSERT_TRUE(line.size == big + 1 && line.data[0] == 'y');
    lines_close(&l);
    l = lines_open(path, big);
    CU_ASSERT_FALSE(lines_skip(l, size + 1));
    lines_close(&l);
    free(content);
}

static void the_place_of_a_load_is_kept_and_checked(void)
{
    struct resume r = {7, 4711, 9, 12, 0xfedcba98}, back;
    CU_ASSERT_EQUAL(resume_write(path, &r), HF_OK);
    CU_ASSERT_EQUAL(resume_read(path, &back), HF_OK);
    CU_ASSERT_TRUE(back.records == 7 && back.offset == 4711 && back.lines == 9);
    write_file("7 4711", 6);
    CU_ASSERT_EQUAL(resume_read(path, &back), HF_E_CORRUPT);
    unlink(path);
    CU_ASSERT_EQUAL(resume_read(path, &back), HF_E_ABSENT);
    CU_ASSERT_EQUAL(back.offset, 0);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"escapes are as documented", escapes_are_as_documented},
        {"every byte comes back", every_byte_comes_back},
        {"unknown escapes are errors", unknown_escapes_are_errors},
        {"JSON strings are valid", json_strings_are_valid},
        {"lines of any length are read and bounded", lines_of_any_length_are_read_and_bounded},
        {"the place of a load is kept and checked", the_place_of_a_load_is_kept_and_checked},
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    int rc = UNIT_MAIN("client text", cases);
    unlink(path);
    return rc;
}
