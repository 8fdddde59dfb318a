/* txncheck_main.c: reads histories of transactions (txnload.c's lines) and judges them together; exit 0: strictly
 * serializable, 1: not.
 *
 * A line: client TAB invoked_ns TAB returned_ns TAB outcome TAB code TAB operations, more may follow
 *   outcome: ok fail unknown (then returned_ns does not count); operations, by blanks: a:KEY:VALUE appended,
 *   r:KEY:VALUE,VALUE,… read ("r:KEY:": an empty list). No value is appended to one key twice. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/txncheck.h"

struct names { /* texts, numbered by first appearance */
    char **at;
    uint32_t count, room;
    uint32_t *slots; /* open addressing: number + 1 */
    uint32_t slot_count;
};

struct history {
    struct txn *at;
    char **text;
    size_t count, room, number;
    struct names keys, values; /* values: "KEY:VALUE" */
};

static _Noreturn void die(size_t number, const char *what)
{
    fprintf(stderr, "txncheck: line %zu: %s\n", number, what);
    exit(2);
}

static void *resize(void *at, size_t count, size_t size)
{
    void *grown = realloc(at, count * size);
    if (grown == NULL)
        die(0, "out of memory");
    return grown;
}

static uint32_t hash_of(const char *text)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 16777619u;
    return hash;
}

static void rehash(struct names *n)
{
    n->slot_count = n->slot_count ? 2 * n->slot_count : 4096;
    free(n->slots);
    n->slots = calloc(n->slot_count, sizeof *n->slots);
    if (n->slots == NULL)
        die(0, "out of memory");
    for (uint32_t i = 0; i < n->count; i++) {
        uint32_t slot = hash_of(n->at[i]) & (n->slot_count - 1);
        while (n->slots[slot] != 0)
            slot = (slot + 1) & (n->slot_count - 1);
        n->slots[slot] = i + 1;
    }
}

static uint32_t number_of(struct names *n, const char *text)
{
    if (2 * n->count >= n->slot_count)
        rehash(n);
    uint32_t slot = hash_of(text) & (n->slot_count - 1);
    for (; n->slots[slot] != 0; slot = (slot + 1) & (n->slot_count - 1))
        if (strcmp(n->at[n->slots[slot] - 1], text) == 0)
            return n->slots[slot] - 1;
    if (n->count == n->room) {
        n->room = n->room ? 2 * n->room : 1024;
        n->at = resize(n->at, n->room, sizeof *n->at);
    }
    n->at[n->count] = strdup(text);
    if (n->at[n->count] == NULL)
        die(0, "out of memory");
    n->slots[slot] = n->count + 1;
    return n->count++;
}

static uint32_t value_of(struct history *h, const char *key, const char *value)
{
    char text[512];
    int size = snprintf(text, sizeof text, "%s:%s", key, value);
    if (size < 0 || (size_t)size >= sizeof text)
        die(h->number, "too long a key or value");
    return number_of(&h->values, text);
}

static void read_op(struct history *h, char *text, struct txn_op *op)
{
    char *kind = strsep(&text, ":"), *key = strsep(&text, ":"), *value;
    if (key == NULL || text == NULL || (strcmp(kind, "a") != 0 && strcmp(kind, "r") != 0))
        die(h->number, "an operation is a:KEY:VALUE or r:KEY:VALUE,…");
    *op = (struct txn_op){.kind = kind[0] == 'a' ? TXN_APPEND : TXN_READ, .key = number_of(&h->keys, key)};
    if (op->kind == TXN_APPEND) {
        op->value = value_of(h, key, text);
        return;
    }
    uint32_t *list = NULL, room = 0;
    while (*text && (value = strsep(&text, ",")) != NULL) {
        if (list == NULL || op->list_count == room) {
            room = room ? 2 * room : 16;
            list = resize(list, room, sizeof *list);
        }
        list[op->list_count++] = value_of(h, key, value);
        if (text == NULL)
            break;
    }
    op->list = list;
}

static void read_line(struct history *h, char *line)
{
    struct txn t = {0};
    struct txn_op *ops = NULL;
    char *field[6];
    for (int i = 0; i < 6; i++) {
        field[i] = strsep(&line, "\t");
        if (field[i] == NULL)
            die(h->number, "six fields wanted");
    }
    t.invoked = strtoull(field[1], NULL, 10);
    t.returned = strtoull(field[2], NULL, 10);
    if (strcmp(field[3], "ok") == 0)
        t.outcome = TXN_DONE;
    else if (strcmp(field[3], "fail") == 0)
        t.outcome = TXN_FAILED;
    else if (strcmp(field[3], "unknown") == 0)
        t.outcome = TXN_OPEN_OUTCOME;
    else
        die(h->number, "unknown outcome");
    if (t.outcome == TXN_DONE && t.returned < t.invoked)
        die(h->number, "returned before it was invoked");
    for (char *op; (op = strsep(&field[5], " ")) != NULL;) {
        if (*op == 0)
            continue;
        ops = resize(ops, t.op_count + 1u, sizeof *ops);
        read_op(h, op, &ops[t.op_count++]);
    }
    t.ops = ops;
    h->at[h->count++] = t;
}

static void read_lines(FILE *in, struct history *h)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t size;
    h->number = 0;
    while ((size = getline(&text, &room, in)) > 0) {
        h->number++;
        if (text[size - 1] == '\n')
            text[size - 1] = 0;
        if (h->count == h->room) {
            h->room = h->room ? 2 * h->room : 1024;
            h->at = resize(h->at, h->room, sizeof *h->at);
            h->text = resize(h->text, h->room, sizeof *h->text);
        }
        h->text[h->count] = strdup(text);
        if (h->text[h->count] == NULL)
            die(0, "out of memory");
        read_line(h, text);
    }
    free(text);
}

static void tell(const struct history *h, const struct txn_report *r)
{
    bool cycle = r->anomaly >= TXN_G0 && r->anomaly <= TXN_G2_REALTIME;
    printf("not strictly serializable: %s", txncheck_name(r->anomaly));
    if (!cycle && r->key < h->keys.count)
        printf(" at key %s", h->keys.at[r->key]);
    printf("\n");
    for (size_t i = 0; h->text != NULL && i < r->count; i++)
        printf("  %s%s%s\n", h->text[r->at[i]], cycle ? "\n    --> " : "",
               cycle ? txncheck_edge_name(r->to_next[i]) : "");
}

static void free_names(struct names *n)
{
    for (uint32_t i = 0; i < n->count; i++)
        free(n->at[i]);
    free(n->at);
    free(n->slots);
}

int main(int argc, char **argv)
{
    struct history h = {0};
    struct txn_report report;
    size_t done[3] = {0};
    for (int i = 1; i < argc || i == 1; i++) {
        FILE *in = i < argc ? fopen(argv[i], "r") : stdin;
        if (in == NULL) {
            fprintf(stderr, "txncheck: %s: %s\n", argv[i], strerror(errno));
            exit(2);
        }
        read_lines(in, &h);
        fclose(in);
    }
    txncheck_run(h.at, h.count, &report);
    for (size_t i = 0; i < h.count; i++)
        done[h.at[i].outcome]++;
    if (report.anomaly != TXN_NONE)
        tell(&h, &report);
    printf("%zu transactions (%zu done, %zu failed, %zu unknown), %zu judged, %zu edges: %s\n", h.count, done[TXN_DONE],
           done[TXN_FAILED], done[TXN_OPEN_OUTCOME], report.included, report.edges, txncheck_name(report.anomaly));
    for (size_t i = 0; i < h.count; i++) {
        for (uint32_t j = 0; j < h.at[i].op_count; j++)
            free((void *)(uintptr_t)h.at[i].ops[j].list);
        free((void *)(uintptr_t)h.at[i].ops);
        free(h.text[i]);
    }
    free(h.at);
    free(h.text);
    free_names(&h.keys);
    free_names(&h.values);
    return h.count == 0 || report.anomaly != TXN_NONE;
}
