/* test_options.c: precedence of default, file and command line; every complaint names what is wrong. */
#include "common/sys/options.h"

#include <stdlib.h>

#include "common/base/error.h"
#include "tests/unit/common/sys/child.h"
#include "tests/unit/unit.h"

struct settings {
    const char *dir, *unset;
    uint64_t shard, segment;
    bool verbose;
};

static const struct option_spec specs[] = {
    {"dir", OPTION_TEXT, offsetof(struct settings, dir), "/data", 0, 0, "where the data is"},
    {"unset", OPTION_TEXT, offsetof(struct settings, unset), NULL, 0, 0, "nothing"},
    {"shard", OPTION_UINT, offsetof(struct settings, shard), NULL, 1, 9, "which shard"},
    {"segment", OPTION_BYTES, offsetof(struct settings, segment), "64MiB", 4096, 0, "bytes of a segment"},
    {"verbose", OPTION_FLAG, offsetof(struct settings, verbose), NULL, 0, 0, "say more"},
};

#define ARGS_MAX 8
struct args { /* ends at the first NULL */
    const char *v[ARGS_MAX];
    bool rest_allowed;
};

static int parse(const struct args *args, struct settings *out, int *out_rest)
{
    char *argv[ARGS_MAX + 1] = {(char[]){"prog"}};
    int argc = 1;
    for (; argc <= ARGS_MAX && args->v[argc - 1] != NULL; argc++)
        argv[argc] = (char *)(uintptr_t)args->v[argc - 1];
    return options_parse("prog", specs, sizeof specs / sizeof specs[0], argc, argv, args->rest_allowed, out, out_rest);
}

static void parse_and_exit(const void *args)
{
    struct settings s;
    int rest = 0;
    exit(parse(args, &s, &rest) == HF_E_INVALID ? 3 : 4);
}

static void complains(const char *one, const char *two, const char *expected)
{
    struct args args = {.v = {one, two}};
    struct child c = child_run(parse_and_exit, &args);
    CU_ASSERT_EQUAL(child_exit(&c), 3);
    CU_ASSERT_STRING_EQUAL(c.output, expected);
}

static char path[] = "/tmp/holdfast-test-options-XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs(text, f);
    fclose(f);
}

static void defaults_and_forms_of_the_command_line(void)
{
    struct settings s = {.unset = "x", .shard = 7, .verbose = true};
    int rest = 0;
    CU_ASSERT_EQUAL(parse(&(struct args){.v = {NULL}}, &s, &rest), 0);
    CU_ASSERT_STRING_EQUAL(s.dir, "/data");
    CU_ASSERT_PTR_NULL(s.unset);
    CU_ASSERT(s.shard == 0 && s.segment == 64u << 20 && !s.verbose && rest == 1);
    CU_ASSERT_EQUAL(
        parse(&(struct args){.v = {"--dir", "--odd", "--shard=9", "--segment", "2GiB", "--verbose", "--unset="}}, &s,
              &rest),
        0);
    CU_ASSERT_STRING_EQUAL(s.dir, "--odd");
    CU_ASSERT_STRING_EQUAL(s.unset, "");
    CU_ASSERT(s.shard == 9 && s.segment == (uint64_t)2 << 30 && s.verbose && rest == 8);
}

static void the_rest_begins_at_the_first_bare_argument(void)
{
    struct settings s;
    int rest = 0;
    CU_ASSERT_EQUAL(
        parse(&(struct args){.v = {"--verbose", "get", "--shard", "oops"}, .rest_allowed = true}, &s, &rest), 0);
    CU_ASSERT_EQUAL(rest, 2);
    CU_ASSERT_EQUAL(parse(&(struct args){.v = {"--verbose", "--", "--shard"}, .rest_allowed = true}, &s, &rest), 0);
    CU_ASSERT_EQUAL(rest, 3);
    CU_ASSERT_EQUAL(parse(&(struct args){.v = {"-"}, .rest_allowed = true}, &s, &rest), 0);
    CU_ASSERT_EQUAL(rest, 1);
    complains("get", NULL, "prog: unexpected argument \"get\"\n");
}

static void complaints_name_option_and_value(void)
{
    complains("--shards", "1", "prog: unknown option --shards\n");
    complains("--shar=1", NULL, "prog: unknown option --shar\n");
    complains("-v", NULL, "prog: unknown option -v\n");
    complains("--shard", NULL, "prog: option --shard needs a value\n");
    complains("--shard", "1x", "prog: option --shard: \"1x\" is not a number\n");
    complains("--shard", "", "prog: option --shard: \"\" is not a number\n");
    complains("--shard", "-1", "prog: option --shard: \"-1\" is not a number\n");
    complains("--shard", "18446744073709551616", "prog: option --shard: \"18446744073709551616\" is not a number\n");
    complains("--shard", "1KiB", "prog: option --shard: \"1KiB\" is not a number\n");
    complains("--shard", "0", "prog: option --shard: 0 is outside 1..9\n");
    complains("--shard=10", NULL, "prog: option --shard: 10 is outside 1..9\n");
    complains("--segment=1", NULL, "prog: option --segment: 1 is outside 4096..\n");
    complains("--segment", "5MB", "prog: option --segment: \"5MB\" is not a size (like 4096, 64MiB, 1GiB)\n");
    complains("--segment", "16777216TiB",
              "prog: option --segment: \"16777216TiB\" is not a size (like 4096, 64MiB, 1GiB)\n");
    complains("--verbose=maybe", NULL, "prog: option --verbose: \"maybe\" is not true or false\n");
    complains("--config", NULL, "prog: option --config needs a value\n");
    complains("--config=/nonexistent/x", NULL, "prog: /nonexistent/x: cannot read the configuration: does not exist\n");
}

static void the_file_is_between_default_and_command_line(void)
{
    struct settings s;
    int rest = 0;
    char expected[200];
    write_file("# settings\ndir = \"/from/file\"\nshard = \"3\"\nsegment = 1MiB\nverbose = \"true\"");
    CU_ASSERT_EQUAL(parse(&(struct args){.v = {"--shard", "4", "--config", path}}, &s, &rest), 0);
    CU_ASSERT_STRING_EQUAL(s.dir, "/from/file");
    CU_ASSERT(s.shard == 4 && s.segment == 1u << 20 && s.verbose);
    write_file("dirr = \"/x\"\n");
    snprintf(expected, sizeof expected, "prog: %s: unknown key \"dirr\"\n", path);
    complains("--config", path, expected);
    write_file("shard = \"x\"\n");
    snprintf(expected, sizeof expected, "prog: %s: shard: \"x\" is not a number\n", path);
    complains("--config", path, expected);
    write_file("dir = \"/x\"\n    deeper = \"1\"\n");
    snprintf(expected, sizeof expected, "prog: %s: unknown key \"dir\"\n", path);
    complains("--config", path, expected);
}

static void help_and_version_exit_0(void)
{
    struct args help = {.v = {"--verbose", "--help", "--bad"}}, version = {.v = {"--version"}};
    struct child c = child_run(parse_and_exit, &help);
    CU_ASSERT_EQUAL(child_exit(&c), 0);
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++)
        CU_ASSERT_PTR_NOT_NULL(strstr(c.output, specs[i].help));
    CU_ASSERT_PTR_NOT_NULL(strstr(c.output, "--segment BYTES"));
    CU_ASSERT_PTR_NOT_NULL(strstr(c.output, "(default 64MiB)"));
    c = child_run(parse_and_exit, &version);
    CU_ASSERT_EQUAL(child_exit(&c), 0);
    unsigned major, minor, patch;
    CU_ASSERT_EQUAL(sscanf(c.output, "prog %u.%u.%u", &major, &minor, &patch), 3);
}

int main(void)
{
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    static const struct unit_case cases[] = {
        {"defaults and forms of the command line", defaults_and_forms_of_the_command_line},
        {"the rest begins at the first bare argument", the_rest_begins_at_the_first_bare_argument},
        {"complaints name option and value", complaints_name_option_and_value},
        {"the file is between default and command line", the_file_is_between_default_and_command_line},
        {"help and version exit 0", help_and_version_exit_0},
    };
    int rc = UNIT_MAIN("options", cases);
    unlink(path);
    return rc;
}
