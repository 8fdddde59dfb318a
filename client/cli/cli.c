/* cli.c: see cli.h. */
#include "client/cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/text.h"

enum cli_exit cli_exit_of(int code)
{
    switch (code) {
    case HF_OK:
        return CLI_OK;
    case HF_E_NOT_FOUND:
    case HF_E_COMPARE_FAILED:
        return CLI_NOT_FOUND;
    case HF_E_INVALID:
        return CLI_USAGE;
    case HF_E_EXISTS:
    case HF_E_LOCKED:
    case HF_E_FENCED:
        return CLI_CONFLICT;
    case HF_E_LIMIT:
    case HF_E_REFUSED:
    case HF_E_WRONG_CLUSTER:
    case HF_E_PROTOCOL:
    case HF_E_FORMAT:
    case HF_E_CORRUPT:
    case HF_E_FUTURE_TIMESTAMP:
    case HF_E_SESSION_UNKNOWN:
    case HF_E_SESSION_WINDOW:
    case HF_E_ABSENT:
        return CLI_REFUSED;
    default: /* a number, not an enum: whatever is left by its class */
        return hf_error_class(code) == HF_CLASS_OUTCOME_UNKNOWN ? CLI_UNKNOWN : CLI_NOT_DONE;
    }
}

static void say(const struct cli *c, int code, const char *message)
{
    if (!c->json) {
        fprintf(stderr, "holdfast: %s\n", message);
        return;
    }
    fprintf(stderr, "{\"error\":{\"code\":\"%s\",\"class\":\"%s\",\"message\":", hf_error_name(code),
            hf_class_name(hf_error_class(code)));
    text_json(stderr, slice_text(message));
    fputs("}}\n", stderr);
}

int cli_error(const struct cli *c, int code, const char *format, ...)
{
    char message[4096];
    if (format) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(message, sizeof message, format, arguments);
        va_end(arguments);
    }
    for (char *at = message; format && *at; at++)
        if (*at == '\n')
            *at = ' ';
    say(c, code, format ? message : hf_error_text(code));
    return (int)cli_exit_of(code);
}

int cli_usage(const struct cli *c, const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    strncat(message, "; see holdfast --help", sizeof message - strlen(message) - 1);
    say(c, HF_E_INVALID, message);
    return CLI_USAGE;
}

int cli_open(struct cli *c)
{
    struct hf_options options = {.endpoints = c->endpoints, .routed = c->routed};
    int rc = hf_open(&options, HF_ABI, &c->h);
    if (rc == HF_E_INVALID)
        return cli_usage(c, "no usable coordinator endpoint in \"%s\": give tcp://HOST:PORT, several with commas",
                         c->endpoints);
    return rc ? cli_error(c, rc, NULL) : HF_OK;
}

bool cli_bytes(struct cli *c, const char *text, struct hf_bytes *out)
{
    struct slice s = slice_text(text);
    if (!c->hex) {
        *out = (struct hf_bytes){s.data, s.size};
        return true;
    }
    uint8_t *bytes = arena_alloc(&c->arena, s.size / 2 + 1);
    size_t size = 0;
    if (text_unhex(s, bytes, &size)) {
        *out = (struct hf_bytes){bytes, size};
        return true;
    }
    cli_usage(c, "\"%s\" is not hexadecimal (--hex was given)", text);
    return false;
}

bool cli_number(const struct cli *c, const char *what, const char *text, uint64_t max, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 0);
    if (text[0] < '0' || text[0] > '9' || *end || errno || n > max) {
        cli_usage(c, "%s \"%s\" is not a number from 0 to %llu", what, text, (unsigned long long)max);
        return false;
    }
    *out = n;
    return true;
}

int cli_flush(const struct cli *c, int exit_code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return exit_code;
    return cli_error(c, HF_E_IO, "cannot write to the standard output: %s", strerror(errno));
}
