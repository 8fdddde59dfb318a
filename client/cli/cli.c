/* cli.c: see cli.h. */
#include "client/cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/text.h"
#include "common/base/endpoint.h"

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
    case HF_E_RESTART_ABOVE:
    case HF_E_CONFLICT:
        return CLI_CONFLICT;
    case HF_E_LIMIT:
    case HF_E_REFUSED:
    case HF_E_WRONG_CLUSTER:
    case HF_E_PROTOCOL:
    case HF_E_FORMAT:
    case HF_E_CORRUPT:
    case HF_E_FUTURE_TIMESTAMP:
    case HF_E_TOO_OLD:
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

void cli_warn(const struct cli *c, const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (c->json) {
        fputs("{\"warning\":", stderr);
        text_json(stderr, slice_text(message));
        fputs("}\n", stderr);
    } else {
        fprintf(stderr, "holdfast: %s\n", message);
    }
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

int cli_check_endpoints(const struct cli *c)
{
    bool any = false;
    for (const char *at = c->endpoints; *at;) {
        size_t size = strcspn(at, ",");
        if (size > 0 && !endpoint_to_connect(slice_make(at, size)))
            return cli_usage(c, "\"%.*s\" is no endpoint: give tcp://HOST:PORT, several with commas", (int)size, at);
        any |= size > 0;
        at += size + (at[size] == ',');
    }
    return any ? HF_OK : cli_usage(c, "-c names no endpoint: give tcp://HOST:PORT, several with commas");
}

int cli_failed(const struct cli *c, int code, const char *message)
{
    if (code == HF_E_TIMEOUT)
        return cli_error(c, code, "%s; asked: %s", message, c->endpoints);
    return cli_error(c, code, "%s", message);
}

int cli_failed_at(const struct cli *c, int code, const char *message, uint64_t at, uint64_t above)
{
    if (code == HF_E_TOO_OLD)
        return cli_error(c, code,
                         "timestamp %" PRIu64 " is further back than the shards keep (--retention-seconds of "
                         "holdfast-shard); take a newer one: holdfast timestamp",
                         at);
    if (code == HF_E_FUTURE_TIMESTAMP)
        return cli_error(c, code, "nobody gave out the timestamp %" PRIu64 "; take one: holdfast timestamp", at);
    if (code == HF_E_RESTART_ABOVE)
        return cli_error(c, code,
                         "a shard went on while no coordinator answered: nothing is read at timestamp %" PRIu64
                         " any more; begin again at a newer one: holdfast timestamp --above %" PRIu64,
                         at, above);
    return cli_failed(c, code, message);
}

int cli_no_routes(const struct cli *c)
{
    return cli_error(c, HF_E_UNAVAILABLE,
                     "nobody at %s told the routes: are the endpoints right, is one of them up, is the cluster "
                     "bootstrapped? A replica's client endpoint tells them too",
                     c->endpoints);
}

int cli_no_shard(const struct cli *c, uint64_t shard)
{
    return cli_error(c, HF_E_ABSENT, "there is no shard %" PRIu64 "; holdfast routes lists them", shard);
}

int cli_open(struct cli *c)
{
    int bad = cli_check_endpoints(c);
    if (bad)
        return bad;
    struct hf_options options = {.endpoints = c->endpoints, .routed = c->routed};
    int rc = hf_open(&options, HF_ABI, &c->h);
    if (rc == HF_E_INVALID)
        return cli_usage(c, "no usable coordinator endpoint in \"%s\": give tcp://HOST:PORT, several with commas",
                         c->endpoints);
    return rc ? cli_error(c, rc, NULL) : HF_OK;
}

int cli_cut(struct cli *c, const char *hint, uint64_t *out_timestamp)
{
    struct hf_future *f;
    const struct hf_call call = {.deadline_ms = c->timeout_ms};
    int rc = c->h ? HF_OK : cli_open(c);
    if (rc)
        return rc;
    rc = hf_cut_async(c->h, &call, &f);
    if (rc)
        return cli_error(c, rc, NULL);
    do
        rc = hf_future_wait(f, 1000);
    while (rc == HF_E_AGAIN);
    *out_timestamp = rc == HF_OK ? hf_future_timestamp(f) : 0;
    if (rc == HF_E_REFUSED)
        cli_warn(c, "no moment of all shards: %s; each is read as it then is", hf_future_message(f));
    else if (rc == HF_E_TIMEOUT)
        rc = cli_error(c, rc, "%s; asked: %s; %s", hf_future_message(f), c->endpoints, hint);
    else if (rc)
        rc = cli_error(c, rc, "%s; %s", hf_future_message(f), hint);
    hf_future_free(f);
    return rc == HF_E_REFUSED ? HF_OK : rc;
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

bool cli_number(const struct cli *c, const char *what, const char *text, struct cli_range range, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 0);
    if (text[0] < '0' || text[0] > '9' || *end || errno || n < range.min || n > range.max) {
        cli_usage(c, "%s \"%s\" is not a number from %llu to %llu", what, text, (unsigned long long)range.min,
                  (unsigned long long)range.max);
        return false;
    }
    *out = n;
    return true;
}

static bool flushed(void)
{
    return fflush(stdout) == 0 && !ferror(stdout);
}

int cli_flush(const struct cli *c, int exit_code)
{
    if (flushed())
        return exit_code;
    if (errno == EPIPE) {
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    return cli_error(c, HF_E_IO, "cannot write to the standard output: %s", strerror(errno));
}

int cli_flush_done(const struct cli *c, int exit_code)
{
    if (!flushed() && errno != EPIPE && exit_code == CLI_OK)
        (void)cli_error(c, HF_E_IO, "done, but the standard output cannot be written: %s", strerror(errno));
    return exit_code;
}
