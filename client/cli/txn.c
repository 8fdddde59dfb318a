/* txn.c: a transaction from a script: the lines of the standard input, parsed before anything is done, then run as one
 * transaction, and again after a conflict as often as --retry says. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/cli/cli.h"
#include "client/cli/lines.h"
#include "client/cli/text.h"
#include "common/base/limits.h"

#define FIELDS_MAX 6
#define STEPS_MAX 100000u
#define LINE_BYTES_MAX (4 * ((size_t)LIMIT_KEY_BYTES + LIMIT_VALUE_BYTES) + 64) /* every byte escaped */
#define PAUSE_MS_MAX 200u
#define NAME_SHOWN_MAX 40u

enum verb { GET, PUT, DEL, DELPREFIX, SCAN, EXPECT, EXPECT_ABSENT, ROLLBACK };

struct step {
    size_t line;
    enum verb verb;
    struct hf_bytes key, value; /* scan: start and end */
    uint64_t number;            /* put: ttl; scan: limit, 0: none */
};

struct script {
    struct cli *c;
    struct step *steps; /* owned; their bytes are in c->arena */
    size_t count, cap;
};

struct fields {
    struct slice text[FIELDS_MAX];
    size_t count;
    size_t line;
};

/* ---- reading ---- */

static int wrong(const struct script *s, const struct fields *f, const char *what)
{
    return cli_usage(s->c, "line %zu: %s", f->line, what);
}

/* The first word, then the rest by TABs if it has one, else by spaces. False: too many. */
static bool split(struct slice line, struct fields *f)
{
    size_t at = 0;
    f->count = 0;
    while (at < line.size && line.data[at] == ' ')
        at++;
    size_t begin = at;
    while (at < line.size && line.data[at] != ' ' && line.data[at] != '\t')
        at++;
    if (at == begin || line.data[begin] == '#')
        return true;
    f->text[f->count++] = slice_make(line.data + begin, at - begin);
    bool tabs = at < line.size && memchr(line.data + at, '\t', line.size - at) != NULL;
    uint8_t separator = tabs ? '\t' : ' ';
    while (at < line.size && line.data[at] == ' ')
        at++;
    if (tabs && line.data[at] == '\t')
        at++;
    while (at < line.size || (tabs && at == line.size && line.data[at - 1] == '\t')) {
        begin = at;
        while (at < line.size && line.data[at] != separator)
            at++;
        if (f->count == FIELDS_MAX)
            return false;
        if (tabs || at > begin)
            f->text[f->count++] = slice_make(line.data + begin, at - begin);
        if (at++ >= line.size)
            break;
    }
    return true;
}

static bool is(struct slice s, const char *word)
{
    return slice_equal(s, slice_text(word));
}

/* A key or value as bytes in the arena. False: said. */
static bool bytes_of(const struct script *s, const struct fields *f, struct slice text, struct hf_bytes *out)
{
    uint8_t *to = arena_alloc(&s->c->arena, text.size + 1);
    size_t size = 0;
    bool ok = s->c->hex ? text_unhex(text, to, &size) : text_unescape(text, to, &size);
    if (!ok)
        (void)wrong(s, f, s->c->hex ? "not hexadecimal (--hex was given)" : "an escape other than \\t \\n \\\\ \\xHH");
    *out = (struct hf_bytes){to, size};
    return ok;
}

static bool number_of(const struct script *s, const struct fields *f, struct slice text, uint64_t *out)
{
    uint64_t n = 0;
    bool ok = text.size > 0 && text.size < 19;
    for (size_t i = 0; ok && i < text.size; i++) {
        ok = text.data[i] >= '0' && text.data[i] <= '9';
        n = n * 10 + (uint64_t)(text.data[i] - '0');
    }
    if (!ok)
        (void)wrong(s, f, "not a number");
    *out = n;
    return ok;
}

/* scan [--prefix P | START END] [limit N] */
static bool parse_scan(const struct script *s, const struct fields *f, struct step *step)
{
    size_t n = f->count;
    if (n >= 3 && is(f->text[n - 2], "limit")) {
        if (!number_of(s, f, f->text[n - 1], &step->number))
            return false;
        n -= 2;
    }
    if (n == 1)
        return true;
    if (n != 3) {
        (void)wrong(s, f, "scan takes --prefix P or START END or neither, then limit N");
        return false;
    }
    bool prefix = is(f->text[1], "--prefix");
    if (!bytes_of(s, f, f->text[prefix ? 2 : 1], &step->key) || (!prefix && !bytes_of(s, f, f->text[2], &step->value)))
        return false;
    if (prefix)
        step->value = pages_prefix_end(s->c, step->key);
    return true;
}

static const struct {
    const char *name;
    enum verb verb;
    size_t fields; /* with its name; put may have two more, scan any */
} verbs[] = {
    {"get", GET, 2},
    {"put", PUT, 3},
    {"del", DEL, 2},
    {"delprefix", DELPREFIX, 2},
    {"scan", SCAN, 0},
    {"expect", EXPECT, 3},
    {"expect-absent", EXPECT_ABSENT, 2},
    {"rollback", ROLLBACK, 1},
};

/* False: said. */
static bool parse(const struct script *s, const struct fields *f, struct step *step)
{
    size_t i = 0, known = sizeof verbs / sizeof verbs[0];
    while (i < known && !is(f->text[0], verbs[i].name))
        i++;
    if (i == known) {
        (void)cli_usage(s->c, "line %zu: unknown command \"%.*s\"", f->line,
                        (int)(f->text[0].size < NAME_SHOWN_MAX ? f->text[0].size : NAME_SHOWN_MAX),
                        (const char *)f->text[0].data);
        return false;
    }
    *step = (struct step){.line = f->line, .verb = verbs[i].verb};
    if (step->verb == SCAN)
        return parse_scan(s, f, step);
    bool ttl = step->verb == PUT && f->count == 5 && is(f->text[3], "ttl");
    if (f->count != verbs[i].fields + (ttl ? 2 : 0)) {
        (void)cli_usage(s->c, "line %zu: %s takes %zu field(s), not %zu (separate by TABs what has spaces in it)",
                        f->line, verbs[i].name, verbs[i].fields - 1, f->count - 1);
        return false;
    }
    if (f->count > 1 && f->text[1].size == 0 && step->verb != DELPREFIX) {
        (void)wrong(s, f, "the key is empty; give at least one byte");
        return false;
    }
    return (f->count < 2 || bytes_of(s, f, f->text[1], &step->key)) &&
           (f->count < 3 || bytes_of(s, f, f->text[2], &step->value)) &&
           (!ttl || number_of(s, f, f->text[4], &step->number));
}

static int add(struct script *s, struct slice line, size_t number)
{
    struct fields f = {.line = number};
    if (!split(line, &f))
        return wrong(s, &f, "too many fields");
    if (f.count == 0)
        return HF_OK;
    if (s->count > 0 && s->steps[s->count - 1].verb == ROLLBACK)
        return wrong(s, &f, "nothing follows a rollback");
    if (s->count == STEPS_MAX)
        return wrong(s, &f, "too many lines for one transaction");
    if (s->count == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        struct step *grown = realloc(s->steps, s->cap * sizeof *grown);
        must(grown);
        s->steps = grown;
    }
    return parse(s, &f, &s->steps[s->count]) ? (s->count++, HF_OK) : CLI_USAGE;
}

static int read_script(struct script *s)
{
    struct lines *input = lines_open("-", LINE_BYTES_MAX);
    if (!input)
        return cli_error(s->c, HF_E_IO, "cannot read the standard input: %s", strerror(errno));
    int rc = HF_OK;
    struct slice line;
    for (size_t number = 1; rc == HF_OK; number++) {
        enum lines_result r = lines_next(input, &line);
        if (r == LINES_END)
            break;
        if (r == LINES_ERROR)
            rc = cli_error(s->c, HF_E_IO, "cannot read the standard input: %s", strerror(errno));
        else if (r == LINES_TOO_LONG)
            rc = cli_usage(s->c, "line %zu is longer than any key and value", number);
        else
            rc = add(s, line, number);
    }
    lines_close(&input);
    return rc;
}

/* ---- running ---- */

/* What one try of the script said; shown when it was the last. */
struct attempt {
    struct cli *c;
    struct hf_txn *t;
    FILE *out;
    size_t line;  /* at which it failed; 0: at the beginning or the commit */
    int expected; /* EXPECT or EXPECT_ABSENT did not hold */
};

static void print_got(const struct attempt *a, struct hf_bytes key, const struct hf_value *value)
{
    const struct hf_item item = {key, {value->data, value->size}, value->version};
    if (a->c->json) {
        pages_print_item(a->out, a->c, &item);
        return;
    }
    if (a->c->hex)
        text_hex(a->out, cli_slice(item.value));
    else
        fwrite(value->data, 1, value->size, a->out);
    putc('\n', a->out);
}

/* get, expect, expect-absent */
static int look(struct attempt *a, const struct step *s)
{
    struct hf_value value;
    int rc = hf_txn_get(a->t, s->key, a->c->timeout_ms, &value);
    if (rc == HF_E_NOT_FOUND) {
        a->expected = s->verb == EXPECT;
        return a->expected ? HF_E_COMPARE_FAILED : HF_OK;
    }
    if (rc)
        return rc;
    if (s->verb == GET)
        print_got(a, s->key, &value);
    a->expected = s->verb == EXPECT_ABSENT ||
                  (s->verb == EXPECT && !slice_equal(slice_make(value.data, value.size), cli_slice(s->value)));
    hf_value_free(&value);
    return a->expected ? HF_E_COMPARE_FAILED : HF_OK;
}

static int print_pages(struct attempt *a, const struct step *s)
{
    struct hf_range range = {.start = s->key, .end = s->value};
    uint64_t printed = 0;
    for (int more = 1; more && (s->number == 0 || printed < s->number);) {
        struct hf_future *page;
        uint64_t left = s->number - printed;
        range.page_items = s->number > 0 && left < LIMIT_SCAN_ITEMS ? (uint32_t)left : 0;
        int rc = hf_txn_scan(a->t, &range, a->c->timeout_ms, &page);
        if (rc)
            return rc;
        for (size_t i = 0; i < hf_future_count(page); i++, printed++) {
            struct hf_item item = hf_future_item(page, i);
            pages_print_item(a->out, a->c, &item);
        }
        struct hf_bytes next = {NULL, 0};
        more = hf_future_more(page, &next);
        struct slice kept = arena_copy(&a->c->arena, cli_slice(next));
        range.start = (struct hf_bytes){kept.data, kept.size};
        hf_future_free(page);
    }
    return HF_OK;
}

static int do_step(struct attempt *a, const struct step *s)
{
    switch (s->verb) {
    case GET:
    case EXPECT:
    case EXPECT_ABSENT:
        return look(a, s);
    case SCAN:
        return print_pages(a, s);
    case PUT:
        return hf_txn_put(a->t, s->key, s->value, s->number);
    case DEL:
        return hf_txn_del(a->t, s->key);
    case DELPREFIX:
        return hf_txn_delete_prefix(a->t, s->key);
    case ROLLBACK:
        hf_txn_rollback(a->t);
        return HF_OK;
    }
    return HF_E_INVALID;
}

static int attempt(struct attempt *a, const struct script *s, uint64_t above)
{
    int rc = hf_txn_begin(a->c->h, above, a->c->timeout_ms, &a->t);
    bool rolled_back = false;
    for (size_t i = 0; rc == HF_OK && i < s->count; i++) {
        a->line = s->steps[i].line;
        rc = do_step(a, &s->steps[i]);
        rolled_back = s->steps[i].verb == ROLLBACK;
    }
    if (rc)
        return rc;
    a->line = 0;
    uint64_t timestamp = 0;
    if (!rolled_back)
        rc = hf_txn_commit(a->t, a->c->timeout_ms, &timestamp);
    if (rc)
        return rc;
    if (rolled_back)
        fputs(a->c->json ? "{\"rolled_back\":true}\n" : "rolled back\n", a->out);
    else
        fprintf(a->out, a->c->json ? "{\"committed\":\"%" PRIu64 "\"}\n" : "committed %" PRIu64 "\n", timestamp);
    return HF_OK;
}

static int say_failed(const struct attempt *a, int code)
{
    char where[32] = "";
    const char *message = a->t ? hf_txn_message(a->t) : hf_error_text(code);
    if (!a->t && code == HF_E_UNAVAILABLE)
        message = "unavailable: no coordinator gave a timestamp before the deadline (is one active? holdfast status)";
    if (a->line > 0)
        snprintf(where, sizeof where, "line %zu: ", a->line);
    if (a->expected)
        return cli_error(a->c, code, "%sthe key does not hold what is expected; nothing was written", where);
    if (code == HF_E_CONFLICT)
        return cli_error(a->c, code, "%s%s (nothing was written; --retry N does it again)", where, message);
    if (code == HF_E_RESTART_ABOVE || code == HF_E_TOO_OLD)
        return cli_error(a->c, code, "%s%s (nothing was written)", where, message);
    if (code == HF_E_LIMIT)
        return cli_error(
            a->c, code,
            "%sthe limits are %u keys and ranges and %u MiB in a transaction, %u bytes of a key, %u of a value; "
            "nothing was written",
            where, (unsigned)LIMIT_TXN_KEYS, (unsigned)LIMIT_TXN_BYTES >> 20, (unsigned)LIMIT_KEY_BYTES,
            (unsigned)LIMIT_VALUE_BYTES);
    char text[1024];
    snprintf(text, sizeof text, "%s%s", where, message[0] ? message : hf_error_text(code));
    return cli_failed(a->c, code, text);
}

static bool worth_another(int code)
{
    return code == HF_E_CONFLICT || code == HF_E_RESTART_ABOVE || code == HF_E_TOO_OLD;
}

/* Is something done by it, whether or not the output can be written? */
static bool writes(const struct script *s)
{
    bool any = false;
    for (size_t i = 0; i < s->count; i++)
        any |= s->steps[i].verb == PUT || s->steps[i].verb == DEL || s->steps[i].verb == DELPREFIX;
    return any && s->steps[s->count - 1].verb != ROLLBACK;
}

int txn_run(struct cli *c)
{
    struct script s = {.c = c};
    int rc = read_script(&s);
    if (rc == HF_OK)
        rc = cli_open(c);
    uint64_t above = 0;
    bool again = rc == HF_OK;
    for (uint64_t tries = 0; again; tries++) {
        char *text = NULL;
        size_t size = 0;
        struct attempt a = {.c = c, .out = open_memstream(&text, &size)};
        must(a.out);
        int code = attempt(&a, &s, above);
        fclose(a.out);
        again = worth_another(code) && tries < c->retry;
        uint64_t told = a.t ? hf_txn_conflict(a.t, NULL) : 0;
        above = told > above ? told : above;
        if (!again) {
            fwrite(text, 1, size, stdout);
            rc = code ? say_failed(&a, code) : CLI_OK;
        }
        hf_txn_free(a.t);
        free(text);
        long ms = 2L << (tries < 6 ? tries : 6);
        if (again)
            nanosleep(&(struct timespec){.tv_nsec = (ms < (long)PAUSE_MS_MAX ? ms : (long)PAUSE_MS_MAX) * 1000000},
                      NULL);
    }
    bool done = rc != CLI_OK || writes(&s);
    free(s.steps);
    return done ? cli_flush_done(c, rc) : cli_flush(c, rc);
}
