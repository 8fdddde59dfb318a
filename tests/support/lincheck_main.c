/* lincheck_main.c: reads a history (hammer.c's lines), groups it by key, checks each key; exit 0 linearizable, 1 not.
 *
 * A line: client TAB op TAB key TAB value TAB expected TAB invoked_ns TAB returned_ns TAB outcome TAB read
 *   op: put get cas del; "-" stands for an absent value; outcome: ok notfound mismatch fail unknown. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/lincheck.h"

struct line {
    char *text;     /* as it stands in the file */
    char *field[9]; /* of a cut copy */
    struct lin_op op;
    size_t number;
};

struct lines {
    struct line *at;
    size_t count, room;
};

struct names { /* the values of one key, by first appearance: 1, 2, … */
    char **at;
    size_t count, room;
};

enum { CLIENT, OP, KEY, VALUE, EXPECTED, INVOKED, RETURNED, OUTCOME, READ };

static _Noreturn void die(size_t number, const char *what)
{
    fprintf(stderr, "lincheck: line %zu: %s\n", number, what);
    exit(2);
}

static void *grow(void *at, size_t *room, size_t size)
{
    *room = *room ? 2 * *room : 1024;
    void *grown = realloc(at, *room * size);
    if (grown == NULL)
        die(0, "out of memory");
    return grown;
}

static char *copy(const char *text)
{
    char *made = strdup(text);
    if (made == NULL)
        die(0, "out of memory");
    return made;
}

/* Cuts a line; false: it is no operation that could have had an effect or been seen (a failed write, a failed read). */
static bool cut(struct line *l)
{
    char *rest = copy(l->text);
    for (int i = 0; i < 9; i++) { /* more may follow: the code's name */
        l->field[i] = strsep(&rest, "\t");
        if (l->field[i] == NULL)
            die(l->number, "nine fields wanted");
    }
    static const char *const kinds[] = {"put", "get", "cas", "del"};
    size_t kind = 0;
    while (kind < 4 && strcmp(l->field[OP], kinds[kind]) != 0)
        kind++;
    if (kind == 4)
        die(l->number, "unknown op");
    l->op.kind = (enum lin_kind)kind;
    l->op.invoked = strtoull(l->field[INVOKED], NULL, 10);
    l->op.returned = strtoull(l->field[RETURNED], NULL, 10);
    const char *outcome = l->field[OUTCOME];
    if (strcmp(outcome, "fail") == 0)
        return false;
    if (strcmp(outcome, "unknown") == 0)
        l->op.outcome = LIN_UNKNOWN;
    else if (strcmp(outcome, "mismatch") == 0)
        l->op.outcome = LIN_MISMATCH;
    else if (strcmp(outcome, "ok") == 0 || strcmp(outcome, "notfound") == 0)
        l->op.outcome = LIN_DONE;
    else
        die(l->number, "unknown outcome");
    if (l->op.outcome != LIN_UNKNOWN && l->op.returned < l->op.invoked)
        die(l->number, "returned before it was invoked");
    return true;
}

static void read_lines(FILE *in, struct lines *lines)
{
    char *text = NULL;
    size_t room = 0, number = 0;
    ssize_t size;
    while ((size = getline(&text, &room, in)) > 0) {
        struct line l = {.number = ++number};
        if (text[size - 1] == '\n')
            text[size - 1] = 0;
        l.text = copy(text);
        if (!cut(&l)) {
            free(l.text);
            free(l.field[CLIENT]);
            continue;
        }
        if (lines->count == lines->room)
            lines->at = grow(lines->at, &lines->room, sizeof *lines->at);
        lines->at[lines->count++] = l;
    }
    free(text);
}

static int by_key(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    int order = strcmp(x->field[KEY], y->field[KEY]);
    if (order != 0)
        return order;
    return x->op.invoked < y->op.invoked ? -1 : x->op.invoked > y->op.invoked;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void note(struct names *n, char *text)
{
    if (strcmp(text, "-") == 0)
        return;
    if (n->count == n->room)
        n->at = grow(n->at, &n->room, sizeof *n->at);
    n->at[n->count++] = text;
}

static uint32_t number_of(const struct names *n, char *text)
{
    if (strcmp(text, "-") == 0 || n->count == 0)
        return LIN_ABSENT;
    char **found = bsearch(&text, n->at, n->count, sizeof *n->at, by_text);
    return (uint32_t)(found - n->at) + 1;
}

/* Gives the key's values numbers; equal texts have equal ones. */
static void number_values(struct line *l, size_t count, struct names *n)
{
    n->count = 0;
    for (size_t i = 0; i < count; i++) {
        note(n, l[i].field[VALUE]);
        note(n, l[i].field[EXPECTED]);
        note(n, l[i].field[READ]);
    }
    if (n->count > 0)
        qsort(n->at, n->count, sizeof *n->at, by_text);
    size_t kept = 0;
    for (size_t i = 0; i < n->count; i++)
        if (i == 0 || strcmp(n->at[i], n->at[kept - 1]) != 0)
            n->at[kept++] = n->at[i];
    n->count = kept;
    for (size_t i = 0; i < count; i++) {
        l[i].op.value = number_of(n, l[i].field[l[i].op.kind == LIN_GET ? READ : VALUE]);
        l[i].op.expected = number_of(n, l[i].field[EXPECTED]);
    }
}

static bool check_key(struct line *l, size_t count, struct names *n, struct lin_op *ops)
{
    size_t at = 0;
    number_values(l, count, n);
    for (size_t i = 0; i < count; i++)
        ops[i] = l[i].op;
    enum lin_verdict verdict = lin_check(ops, count, &at);
    if (verdict == LIN_OK)
        return true;
    if (verdict == LIN_NO_MEMORY)
        die(0, "out of memory");
    printf("key %s: %s\n", l[0].field[KEY],
           verdict == LIN_VIOLATION ? "not linearizable: nothing explains the marked answer"
                                    : "too many open operations to decide (use more keys)");
    for (size_t i = at > 12 ? at - 12 : 0; i < count && i < at + 4; i++)
        printf("%s %s\n", i == at ? ">" : " ", l[i].text);
    return false;
}

int main(int argc, char **argv)
{
    struct lines lines = {0};
    struct names names = {0};
    size_t keys = 0, bad = 0;
    for (int i = 1; i < argc || i == 1; i++) {
        FILE *in = i < argc ? fopen(argv[i], "r") : stdin;
        if (in == NULL) {
            fprintf(stderr, "lincheck: %s: %s\n", argv[i], strerror(errno));
            exit(2);
        }
        read_lines(in, &lines);
        fclose(in);
    }
    struct lin_op *ops = calloc(lines.count + 1, sizeof *ops);
    if (ops == NULL)
        die(0, "out of memory");
    if (lines.count > 0)
        qsort(lines.at, lines.count, sizeof *lines.at, by_key);
    for (size_t i = 0, end; i < lines.count; i = end) {
        for (end = i + 1; end < lines.count && strcmp(lines.at[end].field[KEY], lines.at[i].field[KEY]) == 0;)
            end++;
        keys++;
        bad += !check_key(&lines.at[i], end - i, &names, ops);
    }
    printf("%zu operations on %zu keys: %zu keys not linearizable\n", lines.count, keys, bad);
    for (size_t i = 0; i < lines.count; i++) {
        free(lines.at[i].text);
        free(lines.at[i].field[CLIENT]);
    }
    free(lines.at);
    free(names.at);
    free(ops);
    return lines.count == 0 || bad != 0;
}
