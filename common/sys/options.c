/* options.c: the table's defaults first, then the zconfig file, then the command line: the last one written wins. */
#include "common/sys/options.h"

#include <czmq.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/base/must.h"
#include "common/sys/disk.h"

#define OPTIONS_FILE_BYTES_MAX ((size_t)1024 * 1024)

struct parse {
    const char *program;
    const struct option_spec *specs;
    size_t count;
    char *target;
};

struct kept { /* text from a file; the target borrows it as long as the process lives */
    struct kept *next;
    char text[];
};

static struct kept *all_kept;

static const char *keep(const char *text)
{
    size_t size = strlen(text) + 1;
    struct kept *kept = malloc(sizeof *kept + size);
    must(kept != NULL); /* out of memory */
    memcpy(kept->text, text, size);
    kept->next = all_kept;
    all_kept = kept;
    return kept->text;
}

static const struct option_spec *find(const struct parse *p, const char *name, size_t size)
{
    for (size_t i = 0; i < p->count; i++)
        if (strlen(p->specs[i].name) == size && memcmp(p->specs[i].name, name, size) == 0)
            return &p->specs[i];
    return NULL;
}

static bool read_number(const char *text, bool units, uint64_t *out)
{
    static const struct {
        const char *suffix;
        unsigned shift;
    } scales[] = {{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
    if (*text < '0' || *text > '9') /* strtoull takes blanks and signs */
        return false;
    char *end = NULL;
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    if (errno != 0)
        return false;
    for (size_t i = 0; i < (units ? sizeof scales / sizeof scales[0] : 1); i++) {
        if (strcmp(end, scales[i].suffix) != 0)
            continue;
        *out = number << scales[i].shift;
        return *out >> scales[i].shift == number;
    }
    return false;
}

static bool read_flag(const char *text, bool *out)
{
    *out = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
    return *out || strcmp(text, "false") == 0 || strcmp(text, "0") == 0;
}

/* `where` begins the complaint: "option --" or "FILE: ". */
static int set_number(const struct parse *p, const struct option_spec *spec, const char *where, const char *value)
{
    uint64_t number = 0;
    bool units = spec->kind == OPTION_BYTES;
    if (!read_number(value, units, &number)) {
        fprintf(stderr, "%s: %s%s: \"%s\" is not a %s\n", p->program, where, spec->name, value,
                units ? "size (like 4096, 64MiB, 1GiB)" : "number");
        return HF_E_INVALID;
    }
    if (number < spec->min || (spec->max > 0 && number > spec->max)) {
        fprintf(stderr, "%s: %s%s: %s is outside %llu..", p->program, where, spec->name, value,
                (unsigned long long)spec->min);
        fprintf(stderr, spec->max > 0 ? "%llu\n" : "\n", (unsigned long long)spec->max);
        return HF_E_INVALID;
    }
    memcpy(p->target + spec->offset, &number, sizeof number);
    return 0;
}

static int set(const struct parse *p, const struct option_spec *spec, const char *where, const char *value)
{
    bool flag = false;
    switch (spec->kind) {
    case OPTION_TEXT:
        memcpy(p->target + spec->offset, &value, sizeof value);
        return 0;
    case OPTION_UINT:
    case OPTION_BYTES:
        return set_number(p, spec, where, value);
    case OPTION_FLAG:
        if (!read_flag(value, &flag)) {
            fprintf(stderr, "%s: %s%s: \"%s\" is not true or false\n", p->program, where, spec->name, value);
            return HF_E_INVALID;
        }
        memcpy(p->target + spec->offset, &flag, sizeof flag);
        return 0;
    }
    return HF_E_INVALID;
}

static void set_defaults(const struct parse *p)
{
    static const char *const no_text;
    for (size_t i = 0; i < p->count; i++) {
        const struct option_spec *spec = &p->specs[i];
        uint64_t zero = 0;
        bool off = false;
        if (spec->value != NULL) {
            must(set(p, spec, "default of ", spec->value) == 0); /* a bug in the table */
            continue;
        }
        switch (spec->kind) {
        case OPTION_TEXT:
            memcpy(p->target + spec->offset, &no_text, sizeof no_text);
            break;
        case OPTION_UINT:
        case OPTION_BYTES:
            memcpy(p->target + spec->offset, &zero, sizeof zero);
            break;
        case OPTION_FLAG:
            memcpy(p->target + spec->offset, &off, sizeof off);
            break;
        }
    }
}

static int set_from_tree(const struct parse *p, const char *file, zconfig_t *root)
{
    char where[512];
    snprintf(where, sizeof where, "%s: ", file);
    for (zconfig_t *item = zconfig_child(root); item != NULL; item = zconfig_next(item)) {
        const char *name = zconfig_name(item), *value = zconfig_value(item);
        const struct option_spec *spec = find(p, name, strlen(name));
        if (spec == NULL || zconfig_child(item) != NULL) {
            fprintf(stderr, "%s: %sunknown key \"%s\"\n", p->program, where, name);
            return HF_E_INVALID;
        }
        int rc = set(p, spec, where, spec->kind == OPTION_TEXT ? keep(value != NULL ? value : "") : value ? value : "");
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int set_from_file(const struct parse *p, const char *file)
{
    struct buf text = {0};
    int rc = disk_read_all(disk_posix(), file, OPTIONS_FILE_BYTES_MAX, &text);
    if (rc != 0) {
        fprintf(stderr, "%s: %s: cannot read the configuration: %s\n", p->program, file,
                rc == HF_E_IO ? strerror(errno) : error_text(rc));
        buf_deinit(&text);
        return HF_E_INVALID;
    }
    bool has_nul = text.size > 0 && memchr(text.data, 0, text.size) != NULL;
    buf_append(&text, "\n", 2); /* a last line without its end; the text's NUL */
    zsys_handler_set(NULL);     /* signals are ours (signals.h) */
    zconfig_t *root = has_nul ? NULL : zconfig_str_load((const char *)text.data);
    buf_deinit(&text);
    if (root == NULL) {
        fprintf(stderr, "%s: %s: not a zconfig file\n", p->program, file);
        return HF_E_INVALID;
    }
    rc = set_from_tree(p, file, root);
    zconfig_destroy(&root);
    return rc;
}

static void print_help(const struct parse *p, bool rest_allowed)
{
    printf("usage: %s [options]%s\n\n", p->program, rest_allowed ? " ..." : "");
    for (size_t i = 0; i < p->count; i++) {
        const struct option_spec *spec = &p->specs[i];
        static const char *const kinds[] = {
            [OPTION_TEXT] = " TEXT", [OPTION_UINT] = " NUMBER", [OPTION_BYTES] = " BYTES", [OPTION_FLAG] = ""};
        char left[64];
        snprintf(left, sizeof left, "--%s%s", spec->name, kinds[spec->kind]);
        printf("  %-34s %s", left, spec->help);
        if (spec->value != NULL && spec->kind != OPTION_FLAG)
            printf(" (default %s)", *spec->value != '\0' ? spec->value : "empty");
        printf("\n");
    }
    printf("  %-34s %s\n", "--config FILE", "read options from a zconfig file: name = \"value\"");
    printf("  %-34s %s\n", "--help", "print this and exit");
    printf("  %-34s %s\n", "--version", "print the version and exit");
}

struct argument {
    const char *name; /* without dashes, not terminated by NUL */
    size_t size;
    const char *value; /* NULL: none */
};

/* Takes one option at argv[*at] and moves *at behind it. */
static int next_argument(const struct parse *p, int argc, char **argv, int *at, struct argument *out)
{
    const char *text = argv[(*at)++], *name = text + 2;
    const char *equals = strchr(name, '=');
    size_t size = equals != NULL ? (size_t)(equals - name) : strlen(name);
    bool config = size == 6 && memcmp(name, "config", 6) == 0;
    const struct option_spec *spec = find(p, name, size);
    *out = (struct argument){.name = name, .size = size, .value = equals != NULL ? equals + 1 : NULL};
    if (text[0] != '-' || text[1] != '-' || (spec == NULL && !config)) {
        fprintf(stderr, "%s: unknown option %.*s\n", p->program, (int)(size + 2), text);
        return HF_E_INVALID;
    }
    if (!config && spec->kind == OPTION_FLAG) {
        if (out->value == NULL)
            out->value = "true";
        return 0;
    }
    if (out->value == NULL && *at < argc)
        out->value = argv[(*at)++];
    if (out->value == NULL) {
        fprintf(stderr, "%s: option --%.*s needs a value\n", p->program, (int)size, name);
        return HF_E_INVALID;
    }
    return 0;
}

static bool is_option(const char *text)
{
    return text[0] == '-' && text[1] != '\0';
}

static void answer_and_exit(const struct parse *p, bool rest_allowed, const char *text)
{
    bool help = strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0;
    if (!help && strcmp(text, "--version") != 0)
        return;
    if (help)
        print_help(p, rest_allowed);
    else
        printf("%s %s\n", p->program, HF_VERSION);
    exit(0);
}

/* Walks the options. First pass (`apply` false): --help, --version, the last --config. Second pass: the values. */
static int walk(const struct parse *p, int argc, char **argv, bool rest_allowed, bool apply, const char **out_config,
                int *out_rest)
{
    int at = 1;
    while (at < argc && is_option(argv[at])) {
        if (strcmp(argv[at], "--") == 0) {
            at++;
            break;
        }
        if (!apply)
            answer_and_exit(p, rest_allowed, argv[at]);
        struct argument argument;
        int rc = next_argument(p, argc, argv, &at, &argument);
        if (rc != 0)
            return rc;
        const struct option_spec *spec = find(p, argument.name, argument.size);
        if (spec == NULL)
            *out_config = argument.value;
        else if (apply)
            rc = set(p, spec, "option --", argument.value);
        if (rc != 0)
            return rc;
    }
    *out_rest = at;
    return 0;
}

int options_parse(const char *program, const struct option_spec *specs, size_t count, int argc, char **argv,
                  bool rest_allowed, void *target, int *out_rest)
{
    struct parse p = {.program = program, .specs = specs, .count = count, .target = target};
    const char *config = NULL;
    int rest = argc;
    int rc = walk(&p, argc, argv, rest_allowed, false, &config, &rest);
    if (rc != 0)
        return rc;
    if (rest < argc && !rest_allowed) {
        fprintf(stderr, "%s: unexpected argument \"%s\"\n", program, argv[rest]);
        return HF_E_INVALID;
    }
    set_defaults(&p);
    if (config != NULL)
        rc = set_from_file(&p, config);
    if (rc == 0)
        rc = walk(&p, argc, argv, rest_allowed, true, &config, &rest);
    if (rc == 0 && out_rest != NULL)
        *out_rest = rest;
    return rc;
}
