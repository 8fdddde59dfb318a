/* test_pages.c: `holdfast dump` against the fake: all of it at one timestamp, at a newer one when that serves no more, and
 * page by page where a shard serves the latest only. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "tests/unit/client/fake.h"
#include "tests/unit/unit.h"

static struct fake fake;
static char out[4096], err[4096];

static void prepare(void)
{
    static const char *const keys[] = {"a", "b", "c", "l", "m", "n", "y", "z"};
    fake_init(&fake, 21606);
    fake.split = true;
    fake.issued = 1000;
    memcpy(fake.keys, keys, sizeof keys);
    fake.keys_count = sizeof keys / sizeof keys[0];
}

/* What was written to `fd` since capture_begin; `saved`: where it went before. */
struct capture {
    FILE *file;
    int fd, saved;
};

static void capture_begin(struct capture *c, int fd)
{
    *c = (struct capture){.file = tmpfile(), .fd = fd, .saved = dup(fd)};
    CU_ASSERT_FATAL(c->file != NULL && c->saved >= 0 && dup2(fileno(c->file), fd) >= 0);
}

static void capture_end(struct capture *c, char text[4096])
{
    CU_ASSERT(dup2(c->saved, c->fd) >= 0);
    close(c->saved);
    rewind(c->file);
    text[fread(text, 1, 4095, c->file)] = 0;
    fclose(c->file);
}

static int dump(uint64_t at)
{
    struct cli c = {.program = "test", .timeout_ms = 10000, .timeout_given = true, .at = at};
    struct capture to_out, to_err;
    fake_start(&fake);
    c.endpoints = fake.endpoints[FAKE_COORDINATOR];
    fflush(stdout);
    capture_begin(&to_out, 1);
    capture_begin(&to_err, 2);
    int rc = pages_dump(&c);
    fflush(stdout);
    capture_end(&to_err, err);
    capture_end(&to_out, out);
    hf_close(&c.h);
    arena_deinit(&c.arena);
    fake_stop(&fake);
    return rc;
}

static const char everything[] = "a\ta\nb\tb\nc\tc\nl\tl\nm\tm\nn\tn\ny\ty\nz\tz\n";

static int lines(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void all_of_it_is_read_at_one_timestamp(void)
{
    prepare();
    CU_ASSERT_EQUAL(dump(CLI_AT_NONE), CLI_OK);
    CU_ASSERT_STRING_EQUAL(out, everything);
    CU_ASSERT_STRING_EQUAL(err, "");
    CU_ASSERT(fake.last_at > 1000 && fake.at_changes == 1);
}

static void another_one_is_taken_while_nothing_is_printed(void)
{
    prepare();
    fake.restart = 1500;
    CU_ASSERT_EQUAL(dump(CLI_AT_NONE), CLI_OK);
    CU_ASSERT_STRING_EQUAL(out, everything);
    CU_ASSERT(fake.last_at > 1500 && fake.at_changes == 1);
    prepare();
    fake.restart = 1500;
    fake.restart_after = 2;
    CU_ASSERT_EQUAL(dump(CLI_AT_NONE), CLI_CONFLICT);
    CU_ASSERT_STRING_EQUAL(out, "a\ta\nb\tb\nc\tc\nl\tl\n");
    CU_ASSERT(lines(err) == 1 && strstr(err, "--above 1500") != NULL);
}

static void one_that_was_given_is_kept(void)
{
    prepare();
    fake.restart = 1500;
    CU_ASSERT_EQUAL(dump(1200), CLI_CONFLICT);
    CU_ASSERT_STRING_EQUAL(out, "");
    CU_ASSERT(lines(err) == 1 && strstr(err, "--above 1500") != NULL);
    prepare();
    fake.latest_only = FAKE_A;
    CU_ASSERT_EQUAL(dump(1200), CLI_REFUSED);
    CU_ASSERT_STRING_EQUAL(out, "");
    CU_ASSERT_EQUAL(lines(err), 1);
}

/* Nothing twice, nothing left out, and it is said once from where on. */
static void a_shard_that_serves_the_latest_only_is_read_so(void)
{
    for (int who = FAKE_A; who <= FAKE_B; who++) {
        prepare();
        fake.latest_only = who;
        CU_ASSERT_EQUAL(dump(CLI_AT_NONE), CLI_OK);
        CU_ASSERT_STRING_EQUAL(out, everything);
        CU_ASSERT(lines(err) == 1 && strstr(err, "no snapshot") != NULL);
        CU_ASSERT_EQUAL(strstr(err, "from here on") != NULL, who == FAKE_B);
        CU_ASSERT_EQUAL(fake.last_at, 0);
    }
}

static void without_a_coordinators_timestamp_it_says_how_to_do_without(void)
{
    prepare();
    fake.refuse_timestamps = HF_E_FUTURE_TIMESTAMP; /* a final refusal: no need to wait */
    CU_ASSERT_NOT_EQUAL(dump(CLI_AT_NONE), CLI_OK);
    CU_ASSERT(lines(err) == 1 && strstr(err, "--at 0") != NULL);
    prepare();
    fake.refuse_timestamps = HF_E_FUTURE_TIMESTAMP;
    CU_ASSERT_EQUAL(dump(0), CLI_OK);
    CU_ASSERT_STRING_EQUAL(out, everything);
    CU_ASSERT(err[0] == 0 && fake.timestamps == 0);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"all of it is read at one timestamp", all_of_it_is_read_at_one_timestamp},
        {"another one is taken while nothing is printed", another_one_is_taken_while_nothing_is_printed},
        {"one that was given is kept", one_that_was_given_is_kept},
        {"a shard that serves the latest only is read so", a_shard_that_serves_the_latest_only_is_read_so},
        {"without a coordinator's timestamp it says how to do without",
         without_a_coordinators_timestamp_it_says_how_to_do_without},
    };
    return UNIT_MAIN("client pages", cases);
}
