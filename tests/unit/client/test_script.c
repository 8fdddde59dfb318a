/* test_script.c: `holdfast txn` against the fake: how its lines are read, what it sends, prints and returns. */
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "tests/unit/client/fake.h"
#include "tests/unit/unit.h"

static struct fake fake;
static char out[4096], err[4096];
static FILE *to; /* the standard output, unless it is NULL */

static void prepare(void)
{
    static const char *const keys[] = {"a", "b", "y"};
    fake_init(&fake, 21680);
    fake.split = true;
    fake.issued = 1000;
    memcpy(fake.keys, keys, sizeof keys);
    fake.keys_count = sizeof keys / sizeof keys[0];
}

/* Makes `file` what `fd` is. What it was. */
static int redirect(FILE *file, int fd)
{
    int saved = dup(fd);
    CU_ASSERT_FATAL(saved >= 0 && dup2(fileno(file), fd) >= 0);
    return saved;
}

static void restore(int saved, int fd)
{
    CU_ASSERT(dup2(saved, fd) >= 0);
    close(saved);
}

static void read_all(FILE *file, char text[4096])
{
    rewind(file);
    text[fread(text, 1, 4095, file)] = 0;
    fclose(file);
}

static int script(struct cli c, const char *text)
{
    FILE *in = tmpfile(), *to_out = tmpfile(), *to_err = tmpfile();
    CU_ASSERT_FATAL(in && to_out && to_err);
    fputs(text, in);
    fflush(in);
    rewind(in);
    fake_start(&fake);
    c.program = "test";
    c.timeout_ms = 10000;
    c.endpoints = fake.endpoints[FAKE_COORDINATOR];
    fflush(stdout);
    int saved_in = redirect(in, 0), saved_out = redirect(to ? to : to_out, 1), saved_err = redirect(to_err, 2);
    int rc = txn_run(&c);
    if (to != NULL) { /* the next one's is its own */
        __fpurge(stdout);
        clearerr(stdout);
    }
    fflush(stdout);
    restore(saved_err, 2);
    restore(saved_out, 1);
    restore(saved_in, 0);
    fclose(in);
    read_all(to_err, err);
    read_all(to_out, out);
    hf_close(&c.h);
    arena_deinit(&c.arena);
    fake_stop(&fake);
    return rc;
}

static bool begins(const char *with)
{
    return strncmp(out, with, strlen(with)) == 0;
}

static void its_lines_are_one_transaction(void)
{
    prepare();
    CU_ASSERT_EQUAL(script((struct cli){0},
                           "# a remark\n\nput a 1\n  put k\\x20x  2 ttl 5000\nput\tb c\td e\n"
                           "get b\\x20c\nget b\nscan --prefix a limit 5\nscan b c\ndel y\ndelprefix z\n"
                           "expect a 1\nexpect-absent y"),
                    CLI_OK);
    CU_ASSERT_STRING_EQUAL(err, "");
    CU_ASSERT_STRING_EQUAL(fake_noted(&fake)->text, "+a=1 +k x=2 +b c=d e -y *z ?b ?[a,c) ");
    CU_ASSERT(begins("d e\nb\na\t1\nb\tb\nb c\td e\ncommitted 1"));
    prepare();
    CU_ASSERT_EQUAL(script((struct cli){.json = true}, "put\ta\t\nget a\n"), CLI_OK);
    CU_ASSERT_STRING_EQUAL(fake_noted(&fake)->text, "+a= ");
    CU_ASSERT(begins("{\"key\":\"a\",\"value\":\"\",\"version\":\"0.0\"}\n{\"committed\":\"1"));
    prepare();
    CU_ASSERT_EQUAL(script((struct cli){.hex = true}, "put 6b 76\nget 6b\n"), CLI_OK);
    CU_ASSERT_STRING_EQUAL(fake_noted(&fake)->text, "+k=v ");
}

static void what_does_not_hold_ends_it_with_nothing_written(void)
{
    static const char *const scripts[] = {"put a 1\nexpect a 2\n", "put b 1\nexpect-absent a\n", "del a\nexpect a 1\n",
                                          "expect b other\nput b 1\n"};
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        prepare();
        CU_ASSERT_EQUAL(script((struct cli){0}, scripts[i]), CLI_NOT_FOUND);
        CU_ASSERT_EQUAL(fake.txns_at_shard + fake.txns_at_coordinator, 0);
        CU_ASSERT(strstr(err, "nothing was written") != NULL);
    }
    prepare();
    CU_ASSERT_EQUAL(script((struct cli){0}, "put a 1\nget a\nrollback\n"), CLI_OK);
    CU_ASSERT_STRING_EQUAL(out, "1\nrolled back\n");
    CU_ASSERT_EQUAL(fake.txns_at_shard + fake.txns_at_coordinator, 0);
}

static void what_is_no_script_does_nothing(void)
{
    static const char *const scripts[] = {
        "put a\n",    "put a b c\n",       "put a b ttl x\n",  "what a\n",     "get\n",
        "get a\\q\n", "scan a\n",          "scan a b limit\n", "rollback a\n", "rollback\nput a 1\n",
        "expect a\n", "a b c d e f g h\n", "put\t\tv\n",       "get\t\n"};
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        prepare();
        CU_ASSERT_EQUAL(script((struct cli){0}, scripts[i]), CLI_USAGE);
        CU_ASSERT_EQUAL(fake.timestamps, 0);
        CU_ASSERT(strstr(err, "line ") != NULL);
    }
}

static void what_is_wrong_is_said_in_one_line(void)
{
    char text[3001];
    memset(text, 'x', 3000);
    text[3000] = 0;
    prepare();
    CU_ASSERT_EQUAL(script((struct cli){0}, text), CLI_USAGE);
    CU_ASSERT(strlen(err) < 200);
    prepare();
    CU_ASSERT_EQUAL(script((struct cli){0}, "del\t\n"), CLI_USAGE);
    CU_ASSERT(strstr(err, "line 1: the key is empty") != NULL);
}

/* The standard output is full: what was only read is lost, what was written is done. */
static void what_cannot_be_printed_is_a_failure_of_reads_only(void)
{
    FILE *full = fopen("/dev/full", "w");
    CU_ASSERT_FATAL(full != NULL);
    static const struct {
        const char *text;
        int code;
    } cases[] = {{"get a\n", CLI_NOT_DONE}, {"get a\nput a 1\nrollback\n", CLI_NOT_DONE}, {"get a\nput a 1\n", CLI_OK}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        prepare();
        to = full;
        CU_ASSERT_EQUAL(script((struct cli){0}, cases[i].text), cases[i].code);
        CU_ASSERT(strstr(err, "the standard output") != NULL);
    }
    to = NULL;
    fclose(full);
}

static void a_conflict_is_exit_4_unless_a_retry_is_through(void)
{
    prepare();
    fake.conflicts = 2;
    CU_ASSERT_EQUAL(script((struct cli){.retry = 1}, "get a\nput a 1\n"), CLI_CONFLICT);
    CU_ASSERT(strstr(err, "nothing was written") != NULL);
    CU_ASSERT_EQUAL(fake.txns_at_shard, 2);
    prepare();
    fake.conflicts = 2;
    fake.conflict_above = 5000;
    CU_ASSERT_EQUAL(script((struct cli){.retry = 2}, "get a\nput a 1\n"), CLI_OK);
    CU_ASSERT(begins("a\ncommitted 50")); /* of the last try only */
    CU_ASSERT(fake_noted(&fake)->start > 5000);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"its lines are one transaction", its_lines_are_one_transaction},
        {"what does not hold ends it with nothing written", what_does_not_hold_ends_it_with_nothing_written},
        {"what is no script does nothing", what_is_no_script_does_nothing},
        {"what is wrong is said in one line", what_is_wrong_is_said_in_one_line},
        {"what cannot be printed is a failure of reads only", what_cannot_be_printed_is_a_failure_of_reads_only},
        {"a conflict is exit 4 unless a retry is through", a_conflict_is_exit_4_unless_a_retry_is_through},
    };
    return UNIT_MAIN("client/cli/txn", cases);
}
