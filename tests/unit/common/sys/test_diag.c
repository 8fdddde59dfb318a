/* test_diag.c: the form of a line, the least level, and how fatal, refuse and must end a process. */
#include "common/sys/diag.h"

#include <signal.h>

#include "common/sys/clock.h"
#include "tests/unit/common/sys/child.h"
#include "tests/unit/unit.h"

static void print_lines(const void *arg)
{
    (void)arg;
    diag_init("shard 1/2", DIAG_INFO);
    diag(DIAG_DEBUG, "hidden");
    diag(DIAG_WARN, "two\nlines n=%d", 7);
    char longer[5000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    diag(DIAG_INFO, "%s", longer);
}

static void a_line_has_time_level_role_and_no_break(void)
{
    struct child c = child_run(print_lines, NULL);
    CU_ASSERT_EQUAL(child_exit(&c), 0);
    CU_ASSERT_PTR_NULL(strstr(c.output, "hidden"));
    unsigned year, month, day, hour, minute, second, ms;
    int end = 0;
    sscanf(c.output, "%4u-%2u-%2uT%2u:%2u:%2u.%3uZ%n", &year, &month, &day, &hour, &minute, &second, &ms, &end);
    CU_ASSERT_EQUAL(end, 24);
    CU_ASSERT_EQUAL(strncmp(c.output + 24, " WARN shard 1/2: two lines n=7\n", 31), 0);
    const char *second_line = strchr(c.output, '\n');
    CU_ASSERT_PTR_NOT_NULL_FATAL(second_line);
    const char *cut = strchr(second_line + 1, '\n'); /* cut, yet ended, and the last one */
    CU_ASSERT_PTR_NOT_NULL_FATAL(cut);
    CU_ASSERT_EQUAL(cut[1], '\0');
    CU_ASSERT(cut - second_line > 1000);
}

static void end_fatally(const void *arg)
{
    (void)arg;
    fatal("sync failed errno=%d", 5);
}

static void end_refusing(const void *arg)
{
    (void)arg;
    refuse("%s is locked", "/data");
}

static void end_by_bug(const void *arg)
{
    must(arg != NULL);
}

static void the_three_ends_of_a_process(void)
{
    struct child c = child_run(end_fatally, NULL);
    CU_ASSERT_EQUAL(child_exit(&c), 70);
    CU_ASSERT_PTR_NOT_NULL(strstr(c.output, " ERROR holdfast: sync failed errno=5\n"));
    c = child_run(end_refusing, NULL);
    CU_ASSERT_EQUAL(child_exit(&c), 6);
    CU_ASSERT_STRING_EQUAL(c.output, "holdfast: /data is locked\n");
    c = child_run(end_by_bug, NULL);
    CU_ASSERT(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGABRT);
    CU_ASSERT_PTR_NOT_NULL(strstr(c.output, "must(arg != NULL) failed"));
}

static void clocks_run(void)
{
    uint64_t before = clock_boot_ns();
    CU_ASSERT(before > 0);
    uint64_t after = clock_boot_ns();
    CU_ASSERT(after >= before);
    CU_ASSERT(clock_wall_ms() > 1577836800000u); /* 2020: milliseconds, not seconds */
    CU_ASSERT(clock_wall_ms() < (uint64_t)1 << 48);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"a line has time, level, role and no break", a_line_has_time_level_role_and_no_break},
        {"the three ends of a process", the_three_ends_of_a_process},
        {"clocks run", clocks_run},
    };
    return UNIT_MAIN("diag", cases);
}
