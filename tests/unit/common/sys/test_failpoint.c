/* test_failpoint.c: a crash point kills at its n-th pass only, or stops at each; a planted bug answers to its name only. */
#include "common/sys/failpoint.h"

#include <signal.h>
#include <stdlib.h>

#include "tests/unit/common/sys/child.h"
#include "tests/unit/unit.h"

static void pass_points(const void *crash)
{
    if (crash != NULL)
        setenv("HOLDFAST_CRASH_POINT", crash, 1);
    setenv("HOLDFAST_PLANTED_BUG", "a.bug", 1);
    for (int i = 0; i < 3; i++) {
        crash_point("a.point.longer");
        crash_point("a.point");
        dprintf(STDOUT_FILENO, "%d", i);
    }
    dprintf(STDOUT_FILENO, planted_bug("a.bug") && !planted_bug("a.bu") ? "+" : "-");
}

static void a_crash_point_kills_at_its_pass(void)
{
    struct child c = child_run(pass_points, "a.point:3");
    CU_ASSERT(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGKILL);
    CU_ASSERT_STRING_EQUAL(c.output, "01");
    c = child_run(pass_points, "a.point");
    CU_ASSERT(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGKILL);
    CU_ASSERT_STRING_EQUAL(c.output, "");
    c = child_run(pass_points, "a.point:4");
    CU_ASSERT_EQUAL(child_exit(&c), 0);
    CU_ASSERT_STRING_EQUAL(c.output, "012+");
    c = child_run(pass_points, NULL);
    CU_ASSERT_EQUAL(child_exit(&c), 0);
}

static void a_process_stops_at_each_pass(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        setenv("HOLDFAST_CRASH_STOPS", "1", 1);
        setenv("HOLDFAST_CRASH_POINT", "a.point", 1);
        for (int i = 0; i < 2; i++)
            crash_point("a.point");
        crash_point("a.point.longer");
        _exit(7);
    }
    for (int i = 0, status = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(waitpid(pid, &status, WUNTRACED), pid);
        CU_ASSERT(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
        kill(pid, SIGCONT);
    }
    struct child c = {0};
    CU_ASSERT_EQUAL(waitpid(pid, &c.status, WUNTRACED), pid);
    CU_ASSERT_EQUAL(child_exit(&c), 7);
}

static void a_mistyped_crash_point_is_a_bug_of_the_test(void)
{
    struct child c = child_run(pass_points, "a.point:x");
    CU_ASSERT(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGABRT);
}

static void a_test_plants_and_clears(void)
{
    CU_ASSERT_FALSE(planted_bug("one"));
    failpoint_plant("one");
    CU_ASSERT(planted_bug("one"));
    CU_ASSERT_FALSE(planted_bug("two"));
    failpoint_plant(NULL);
    CU_ASSERT_FALSE(planted_bug("one"));
}

int main(void)
{
    unsetenv("HOLDFAST_CRASH_POINT");
    unsetenv("HOLDFAST_CRASH_STOPS");
    unsetenv("HOLDFAST_PLANTED_BUG");
    static const struct unit_case cases[] = {
        {"a crash point kills at its pass", a_crash_point_kills_at_its_pass},
        {"a process stops at each pass", a_process_stops_at_each_pass},
        {"a mistyped crash point is a bug of the test", a_mistyped_crash_point_is_a_bug_of_the_test},
        {"a test plants and clears", a_test_plants_and_clears},
    };
    return UNIT_MAIN("failpoint", cases);
}
