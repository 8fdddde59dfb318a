/* main.c: the `holdfast` command: reads the command line, runs one command, ends with its exit code. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"

static const char help[] =
    "usage: holdfast [-c ENDPOINT[,ENDPOINT]] [--timeout MS] [--json] [--hex] [--routed] COMMAND\n"
    "       options stand before or after COMMAND; -- ends them\n"
    "\n"
    "keys     put K V [--ttl MS]        get K [--at T]        del K        delprefix P\n"
    "         cas K OLD|--absent NEW|--absent\n"
    "ranges   scan [--prefix P | START END] [--limit N] [--reverse] [--keys-only] [--at T]\n"
    "         dump [--prefix P] [--at T]\n"
    "         load FILE|- [--rate N] [--outstanding N] [--resume FILE]\n"
    "txn      txn [--retry N]: a transaction of the lines on the standard input\n"
    "time     timestamp [--above T]: a fresh one, a decimal number\n"
    "cluster  status [--watch]    members    routes    leader transfer SHARD [REPLICA]\n"
    "         bootstrap FILE      inspect DIR (of a stopped replica)\n"
    "         clock accept: the active coordinator's wall clock is right, though far ahead\n"
    "         snapshot [--shard N]: every replica notes durably from where its log is kept\n"
    "         verify [--shard N]: do the replicas hold the same\n"
    "engine   migrate plan|start --to ENGINE [--soak SECONDS] [--max-parallel N] [--without SHARD/REPLICA]...\n"
    "         migrate status|pause|resume|abort|finalize [--to ENGINE]\n"
    "         start, resume and abort follow the job to its end unless --detach; start asks unless --yes.\n"
    "         --without: the change does not wait for that replica; resume and abort take it too\n"
    "backup   backup create DIR, or FILE with --shard N    backup verify DIR|FILE\n"
    "         backup restore DIR|FILE: into a fresh cluster\n"
    "\n"
    "-c            coordinators; default $HOLDFAST_COORDINATORS, else " CLI_COORDINATOR ".\n"
    "              While none answers, any replica's client endpoint does for all but --routed\n"
    "--timeout MS  bounds one request (default 5000), never a load or dump\n"
    "--routed      every request through the coordinator instead of straight to the shards' leaders\n"
    "--json        results and errors as JSON\n"
    "--hex         keys and values are hexadecimal, on the command line, in files and in output\n"
    "\n"
    "--at T reads what was there at timestamp T, the same for ever, all pages at the one T; 0: the latest. dump takes "
    "a\n"
    "fresh T by itself unless told one; scan without --at reads the latest, each page as it then is.\n"
    "get prints the value's bytes as they are and a line feed. scan, dump and load have a line an item: key TAB "
    "value,\n"
    "with \\t \\n \\\\ escaped, other bytes below 0x20 and 0x7f as \\xHH, and everything else as it is. With --json "
    "keys and\n"
    "values are strings; where one of an item's is no UTF-8 both are hexadecimal and the item says \"hex\":true.\n"
    "load ends with \"loaded N failed N unknown N\", with --json as an object.\n"
    "Its puts are given 30 s each unless --timeout says otherwise.\n"
    "Ctrl-C ends it after what is out was answered; with --resume the same command goes on where it stopped.\n"
    "\n"
    "txn reads a line a command:  get K    put K V [ttl MS]    del K    delprefix P    expect K V    expect-absent K\n"
    "         scan [--prefix P | START END] [limit N]    rollback\n"
    "The end of the input commits, and all of it happens at one moment or nothing does. What follows a command's name "
    "stands\n"
    "between TABs if the line has one behind it, else between spaces; \\t \\n \\\\ \\xHH as in load. # begins a "
    "remark.\n"
    "Reads see the script's own writes. A key that does not hold what expect says ends it with exit 1, and nothing is "
    "written.\n"
    "get and scan print as the commands do (nothing for a key that is absent), then \"committed T\". --retry N does "
    "the whole script\n"
    "again after a conflict, up to N times (default 0); printed is the last try's.\n"
    "\n"
    "exit: 0 ok, 1 not found or compare (expect) failed, 2 usage, 3 surely not done, 4 conflict (of a read at T: a "
    "newer T\n"
    "      is needed; of a txn: something else was first, nothing was written), 5 outcome unknown, 6 refused "
    "(identity, limit, a T too old or never given out), 7 degraded "
    "(status), not equal or not all compared (verify)\n";

enum { /* which single-command options a command takes */
       TAKES_TTL = 1,
       TAKES_AT = 2,
       TAKES_ABSENT = 4,
       TAKES_PREFIX = 8,
       TAKES_SCAN = 16,
       TAKES_LOAD = 32,
       TAKES_WATCH = 64,
       TAKES_SHARD = 128,
       TAKES_ABOVE = 256,
       TAKES_RETRY = 512,
       TAKES_TO = 1024,
       TAKES_JOB = 2048,
       TAKES_YES = 4096,
       TAKES_DETACH = 8192,
       TAKES_WITHOUT = 16384,
};

struct command {
    const char *name, *second; /* second: the word after it, or NULL */
    int arguments_min, arguments_max;
    int takes;
    int (*run)(struct cli *c);
};

static const struct command commands[] = {
    {"put", NULL, 2, 2, TAKES_TTL, keys_put},
    {"get", NULL, 1, 1, TAKES_AT, keys_get},
    {"del", NULL, 1, 1, 0, keys_del},
    {"cas", NULL, 3, 3, TAKES_ABSENT, keys_cas},
    {"delprefix", NULL, 1, 1, 0, keys_delprefix},
    {"scan", NULL, 0, 2, TAKES_AT | TAKES_PREFIX | TAKES_SCAN, pages_scan},
    {"dump", NULL, 0, 0, TAKES_AT | TAKES_PREFIX, pages_dump},
    {"load", NULL, 1, 1, TAKES_LOAD, load_run},
    {"txn", NULL, 0, 0, TAKES_RETRY, txn_run},
    {"timestamp", NULL, 0, 0, TAKES_ABOVE, keys_timestamp},
    {"status", NULL, 0, 0, TAKES_WATCH, cluster_status},
    {"members", NULL, 0, 0, 0, cluster_members},
    {"routes", NULL, 0, 0, 0, cluster_routes},
    {"leader", "transfer", 1, 2, 0, transfer_leader},
    {"clock", "accept", 0, 0, 0, clock_accept_run},
    {"migrate", "plan", 0, 0, TAKES_TO | TAKES_JOB | TAKES_WITHOUT, migrate_plan},
    {"migrate", "start", 0, 0, TAKES_TO | TAKES_JOB | TAKES_WITHOUT | TAKES_YES | TAKES_DETACH, migrate_start},
    {"migrate", "status", 0, 0, TAKES_TO, migrate_status},
    {"migrate", "pause", 0, 0, TAKES_TO | TAKES_YES, migrate_pause},
    {"migrate", "resume", 0, 0, TAKES_TO | TAKES_WITHOUT | TAKES_YES | TAKES_DETACH, migrate_resume},
    {"migrate", "abort", 0, 0, TAKES_TO | TAKES_WITHOUT | TAKES_YES | TAKES_DETACH, migrate_abort},
    {"migrate", "finalize", 0, 0, TAKES_TO | TAKES_YES, migrate_finalize},
    {"snapshot", NULL, 0, 0, TAKES_SHARD, snapshot_run},
    {"verify", NULL, 0, 0, TAKES_SHARD, verify_run},
    {"backup", "create", 1, 1, TAKES_SHARD, backup_create},
    {"backup", "verify", 1, 1, 0, backup_verify},
    {"backup", "restore", 1, 1, 0, restore_run},
    {"bootstrap", NULL, 1, 1, 0, bootstrap_run},
    {"inspect", NULL, 1, 1, 0, inspect_run},
};

enum option_kind { KIND_FLAG, KIND_TEXT, KIND_NUMBER, KIND_WITHOUT };

struct option {
    const char *name;
    enum option_kind kind;
    size_t offset;
    int taken_by;           /* 0: every command */
    struct cli_range range; /* of a number */
};

#define AT(field) offsetof(struct cli, field)
static const struct option options[] = {
    {"-c", KIND_TEXT, AT(endpoints), 0, {0, 0}},
    {"--json", KIND_FLAG, AT(json), 0, {0, 0}},
    {"--hex", KIND_FLAG, AT(hex), 0, {0, 0}},
    {"--routed", KIND_FLAG, AT(routed), 0, {0, 0}},
    {"--ttl", KIND_NUMBER, AT(ttl_ms), TAKES_TTL, {0, INT64_MAX}},
    {"--at", KIND_NUMBER, AT(at), TAKES_AT, {0, UINT64_MAX - 1}},
    {"--above", KIND_NUMBER, AT(above), TAKES_ABOVE, {0, UINT64_MAX - 1}},
    {"--prefix", KIND_TEXT, AT(prefix), TAKES_PREFIX, {0, 0}},
    {"--limit", KIND_NUMBER, AT(limit), TAKES_SCAN, {0, INT64_MAX}},
    {"--reverse", KIND_FLAG, AT(reverse), TAKES_SCAN, {0, 0}},
    {"--keys-only", KIND_FLAG, AT(keys_only), TAKES_SCAN, {0, 0}},
    {"--rate", KIND_NUMBER, AT(rate), TAKES_LOAD, {0, 100000000}},
    {"--outstanding", KIND_NUMBER, AT(outstanding), TAKES_LOAD, {0, UINT32_MAX}},
    {"--resume", KIND_TEXT, AT(resume), TAKES_LOAD, {0, 0}},
    {"--watch", KIND_FLAG, AT(watch), TAKES_WATCH, {0, 0}},
    {"--retry", KIND_NUMBER, AT(retry), TAKES_RETRY, {0, 1000000}},
    {"--shard", KIND_NUMBER, AT(shard), TAKES_SHARD, {1, UINT32_MAX}},
    {"--to", KIND_TEXT, AT(to), TAKES_TO, {0, 0}},
    {"--soak", KIND_NUMBER, AT(soak), TAKES_JOB, {0, 1000000}},
    {"--max-parallel", KIND_NUMBER, AT(max_parallel), TAKES_JOB, {1, 64}},
    {"--without", KIND_WITHOUT, 0, TAKES_WITHOUT, {0, 0}},
    {"--yes", KIND_FLAG, AT(yes), TAKES_YES, {0, 0}},
    {"--detach", KIND_FLAG, AT(detach), TAKES_DETACH, {0, 0}},
};

struct parse {
    struct cli *c;
    int argc;
    char **argv;
    const char *word;              /* the command's name, when it came */
    const struct command *command; /* when it is complete */
    int takes_seen;                /* of the options given */
    const char *taken_example;
};

static int add_argument(struct parse *p, const char *text)
{
    if (p->command) {
        if (p->c->count == CLI_ARGUMENTS_MAX)
            return cli_usage(p->c, "too many arguments");
        p->c->arguments[p->c->count++].text = text;
        return HF_OK;
    }
    const char *first = p->word ? p->word : text;
    if (!first)
        return cli_usage(p->c, "--absent stands before the command");
    bool known = false;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        const struct command *one = &commands[i];
        if (strcmp(one->name, first) != 0)
            continue;
        known = true;
        if (!one->second || (p->word && text && strcmp(one->second, text) == 0))
            p->command = one;
    }
    if (!known || (p->word && !p->command))
        return cli_usage(p->c, p->word ? "unknown command \"%s %s\"" : "unknown command \"%s%s\"", first,
                         p->word && text ? text : "");
    p->word = first;
    return HF_OK;
}

static int set_option(struct parse *p, const struct option *o, const char *value)
{
    void *field = (char *)p->c + o->offset;
    p->takes_seen |= o->taken_by;
    if (o->taken_by)
        p->taken_example = o->name;
    if (o->kind == KIND_WITHOUT && p->c->without_count == CLI_WITHOUT_MAX)
        return cli_usage(p->c, "%s is given more than %d times", o->name, CLI_WITHOUT_MAX);
    if (o->kind == KIND_WITHOUT)
        p->c->without[p->c->without_count++] = value;
    else if (o->kind == KIND_FLAG)
        *(bool *)field = true;
    else if (o->kind == KIND_TEXT)
        *(const char **)field = value;
    else if (!cli_number(p->c, o->name, value, o->range, field))
        return CLI_USAGE;
    return HF_OK;
}

static int set_timeout(struct cli *c, const char *value)
{
    uint64_t ms;
    if (!cli_number(c, "--timeout", value, (struct cli_range){1, 600000}, &ms))
        return CLI_USAGE;
    c->timeout_ms = (uint32_t)ms;
    c->timeout_given = true;
    return HF_OK;
}

/* One option at argv[*at], perhaps with its value behind it. */
static int take_option(struct parse *p, int *at)
{
    const char *name = p->argv[*at], *value = *at + 1 < p->argc ? p->argv[*at + 1] : NULL;
    if (strcmp(name, "--absent") == 0) {
        p->takes_seen |= TAKES_ABSENT;
        p->taken_example = name;
        return add_argument(p, NULL);
    }
    const struct option *found = NULL;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (strcmp(options[i].name, name) == 0)
            found = &options[i];
    bool timeout = strcmp(name, "--timeout") == 0;
    if (!found && !timeout)
        return cli_usage(p->c, "unknown option %s", name);
    if (found && found->kind == KIND_FLAG)
        return set_option(p, found, NULL);
    if (!value)
        return cli_usage(p->c, "%s needs a value", name);
    ++*at;
    return timeout ? set_timeout(p->c, value) : set_option(p, found, value);
}

/* --json shows in the errors of the command line itself, wherever it stands. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

static bool is_option(const char *text)
{
    return strcmp(text, "-c") == 0 || (text[0] == '-' && text[1] == '-');
}

static int wrong_count(struct cli *c, const struct parse *p)
{
    int least = p->command->arguments_min, most = p->command->arguments_max;
    if (least == most)
        return cli_usage(c, "%s takes %d argument%s, not %d", p->command->name, least, least == 1 ? "" : "s", c->count);
    return cli_usage(c, "%s takes %d to %d arguments, not %d", p->command->name, least, most, c->count);
}

static int parse_all(struct parse *p)
{
    bool ended = false;
    for (int i = 1; i < p->argc; i++) {
        const char *text = p->argv[i];
        int rc;
        if (!ended && strcmp(text, "--") == 0) {
            ended = true;
            continue;
        }
        rc = !ended && is_option(text) ? take_option(p, &i) : add_argument(p, text);
        if (rc)
            return rc;
    }
    struct cli *c = p->c;
    if (!p->command)
        return cli_usage(c, "%s", p->word ? "the command is incomplete" : "no command given");
    if (p->takes_seen & ~p->command->takes)
        return cli_usage(c, "%s does not take %s", p->command->name, p->taken_example);
    if (c->count < p->command->arguments_min || c->count > p->command->arguments_max)
        return wrong_count(c, p);
    return HF_OK;
}

static _Noreturn void show(const char *text)
{
    fputs(text, stdout);
    exit(fflush(stdout) == 0 ? CLI_OK : CLI_NOT_DONE);
}

static void asked_for_help(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "help") == 0)
        show(help);
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            show(help);
        }
        if (strcmp(argv[i], "--version") == 0) {
            show("holdfast " HF_VERSION "\n");
        }
    }
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* what a reader that goes away means depends on the command: cli_flush */
    asked_for_help(argc, argv);
    const char *environment = getenv("HOLDFAST_COORDINATORS");
    struct cli c = {.program = argv[0],
                    .endpoints = environment && environment[0] ? environment : CLI_COORDINATOR,
                    .timeout_ms = CLI_TIMEOUT_MS,
                    .at = CLI_AT_NONE,
                    .json = wants_json(argc, argv)};
    struct parse p = {.c = &c, .argc = argc, .argv = argv};
    int rc = parse_all(&p);
    if (rc == HF_OK && p.command)
        rc = p.command->run(&c);
    hf_close(&c.h);
    arena_deinit(&c.arena);
    return rc;
}
