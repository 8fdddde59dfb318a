/* options.h: a process's settings from one table: --name value on the command line, or name = "value" in a zconfig
 * file given with --config; the command line wins. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_TEXT,
    OPTION_UINT,
    OPTION_BYTES, /* 64MiB, 1GiB, plain numbers */
    OPTION_FLAG   /* no value */
};

struct option_spec {
    const char *name; /* "log-segment-bytes" */
    enum option_kind kind;
    size_t offset;     /* in the target struct: const char *, uint64_t or bool */
    const char *value; /* default as text; NULL: unset (NULL, 0, false) */
    uint64_t min, max; /* for numbers; max 0: no bound */
    const char *help;  /* one line */
};

/* Fills `target` (borrowing from argv or static memory that lives as long as the process). Prints to stderr what is
 * wrong, naming the option and value, and returns HF_E_INVALID; handles --help (prints, exit 0) and --version.
 * The first argument without dashes ends the options: *out_rest is its index in argv (argc when none);
 * when `rest_allowed` is false such an argument is an error. */
int options_parse(const char *program, const struct option_spec *specs, size_t count, int argc, char **argv,
                  bool rest_allowed, void *target, int *out_rest);
