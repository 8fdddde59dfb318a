/* txncheck.c: from lists to dependencies (txncheck.h says which); their cycles are found by txncycle.c. */
#include "tests/support/txncheck.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/txncycle.h"

#define NOBODY UINT32_MAX

/* The part of a read that its transaction did not append itself. */
struct seen {
    uint32_t txn, key;
    const uint32_t *list;
    uint32_t count;
};

struct writer {
    uint32_t txn, key;
    bool last;    /* its transaction's last append to the key */
    bool ordered; /* it stands in the longest list of the key */
};

struct order { /* of one key */
    const uint32_t *list;
    uint32_t count;
    uint32_t reader;
};

struct checker {
    const struct txn *txns;
    size_t count;
    struct txn_report *report;
    struct writer *writers; /* by value */
    size_t values, keys;
    struct order *orders;      /* by key */
    uint32_t *stamp, *stamped; /* by value: the last list that held it; by key: the next of the same */
    struct seen *seen;
    size_t seen_count;
    bool *there; /* by transaction */
    struct txncycle *graph;
};

static bool anomaly(struct checker *c, enum txn_anomaly what, uint32_t key, size_t txn, size_t other)
{
    if (c->report->anomaly != TXN_NONE && c->report->anomaly <= what)
        return false;
    c->report->anomaly = what;
    c->report->key = key;
    c->report->at[0] = txn;
    c->report->at[1] = other;
    c->report->count = other == txn || other == NOBODY ? 1 : 2;
    return false;
}

static void sizes(struct checker *c, size_t *out_reads)
{
    *out_reads = 0;
    for (size_t i = 0; i < c->count; i++) {
        for (uint32_t j = 0; j < c->txns[i].op_count; j++) {
            const struct txn_op *op = &c->txns[i].ops[j];
            *out_reads += op->kind == TXN_READ;
            if (op->key >= c->keys)
                c->keys = (size_t)op->key + 1;
            if (op->kind == TXN_APPEND && op->value >= c->values)
                c->values = (size_t)op->value + 1;
        }
    }
}

static void note_writers(struct checker *c)
{
    for (size_t i = 0; i < c->values; i++)
        c->writers[i].txn = NOBODY;
    for (size_t i = 0; i < c->count; i++) {
        const struct txn *t = &c->txns[i];
        for (uint32_t j = 0; j < t->op_count; j++) {
            const struct txn_op *op = &t->ops[j];
            if (op->kind != TXN_APPEND)
                continue;
            if (c->writers[op->value].txn != NOBODY)
                anomaly(c, TXN_BAD_HISTORY, op->key, i, c->writers[op->value].txn);
            bool last = true;
            for (uint32_t k = j + 1; k < t->op_count; k++)
                last = last && !(t->ops[k].kind == TXN_APPEND && t->ops[k].key == op->key);
            c->writers[op->value] = (struct writer){(uint32_t)i, op->key, last, false};
        }
    }
}

/* Cuts a transaction's own appends (those before op j) off the end of what op j read; false: they are not there. */
static bool cut_own(const struct txn *t, uint32_t j, uint32_t *count)
{
    const struct txn_op *read = &t->ops[j];
    for (uint32_t k = j; k-- > 0;) {
        if (t->ops[k].kind != TXN_APPEND || t->ops[k].key != read->key)
            continue;
        if (*count == 0 || read->list[*count - 1] != t->ops[k].value)
            return false;
        (*count)--;
    }
    return true;
}

static bool is_prefix(const uint32_t *a, uint32_t a_count, const uint32_t *b, uint32_t b_count)
{
    return a_count <= b_count && (a_count == 0 || memcmp(a, b, a_count * sizeof *a) == 0);
}

/* The reads of transaction i, its own appends cut off, each key once. */
static void note_reads(struct checker *c, size_t i)
{
    const struct txn *t = &c->txns[i];
    size_t first = c->seen_count;
    for (uint32_t j = 0; j < t->op_count; j++) {
        const struct txn_op *op = &t->ops[j];
        uint32_t left = op->list_count;
        if (op->kind != TXN_READ)
            continue;
        if (!cut_own(t, j, &left)) {
            anomaly(c, TXN_INTERNAL, op->key, i, NOBODY);
            continue;
        }
        size_t k = first;
        while (k < c->seen_count && c->seen[k].key != op->key)
            k++;
        if (k == c->seen_count)
            c->seen[c->seen_count++] = (struct seen){(uint32_t)i, op->key, op->list, left};
        else if (c->seen[k].count != left || !is_prefix(op->list, left, c->seen[k].list, left))
            anomaly(c, TXN_INTERNAL, op->key, i, NOBODY);
    }
}

/* Everything that is wrong with one list by itself. False: it can not be used further. */
static bool judge_list(struct checker *c, const struct seen *s, uint32_t stamp)
{
    bool good = true;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t value = s->list[i];
        if (value >= c->values || c->writers[value].txn == NOBODY || c->writers[value].key != s->key) {
            good = anomaly(c, TXN_FROM_NOWHERE, s->key, s->txn, NOBODY);
            continue;
        }
        const struct writer *w = &c->writers[value];
        if (c->stamp[value] == stamp)
            good = anomaly(c, TXN_DUPLICATED, s->key, s->txn, w->txn);
        c->stamp[value] = stamp;
        if (w->txn == s->txn)
            good = anomaly(c, TXN_INTERNAL, s->key, s->txn, NOBODY); /* its own append before it made it */
        if (c->txns[w->txn].outcome == TXN_FAILED)
            good = anomaly(c, TXN_G1A, s->key, s->txn, w->txn);
    }
    if (good && s->count > 0 && !c->writers[s->list[s->count - 1]].last)
        anomaly(c, TXN_G1B, s->key, s->txn, c->writers[s->list[s->count - 1]].txn);
    return good;
}

/* Takes in the transactions of unknown outcome that those which are there have seen, until there are no more. */
static bool take_in(struct checker *c)
{
    uint32_t stamp = 0;
    size_t next = 0; /* reads before it are judged */
    bool good = true;
    for (size_t i = 0; i < c->count; i++) {
        c->there[i] = c->txns[i].outcome == TXN_DONE;
        if (c->there[i])
            note_reads(c, i);
    }
    for (; next < c->seen_count; next++) { /* it grows while it is walked */
        if (!judge_list(c, &c->seen[next], ++stamp)) {
            good = false;
            continue;
        }
        for (uint32_t i = 0; i < c->seen[next].count; i++) {
            uint32_t writer = c->writers[c->seen[next].list[i]].txn;
            if (!c->there[writer]) {
                c->there[writer] = true;
                note_reads(c, writer);
            }
        }
    }
    return good && c->report->anomaly == TXN_NONE;
}

/* The longest list of each key; all others must be its beginnings. */
static bool find_orders(struct checker *c)
{
    for (size_t i = 0; i < c->seen_count; i++) {
        const struct seen *s = &c->seen[i];
        struct order *o = &c->orders[s->key];
        if (s->count > o->count)
            *o = (struct order){s->list, s->count, s->txn};
    }
    for (size_t i = 0; i < c->seen_count; i++) {
        const struct seen *s = &c->seen[i];
        const struct order *o = &c->orders[s->key];
        if (!is_prefix(s->list, s->count, o->list, o->count))
            return anomaly(c, TXN_INCOMPATIBLE, s->key, s->txn, o->reader);
    }
    for (size_t key = 0; key < c->keys; key++)
        for (uint32_t i = 0; i < c->orders[key].count; i++)
            c->writers[c->orders[key].list[i]].ordered = true;
    return true;
}

/* One's own appends, next to each other in a list, must stand in the order in which they were made. */
static bool own_order(struct checker *c, uint32_t key, uint32_t txn, uint32_t value, uint32_t next)
{
    const struct txn *t = &c->txns[txn];
    for (uint32_t j = 0; j < t->op_count; j++) {
        if (t->ops[j].kind != TXN_APPEND || t->ops[j].key != key)
            continue;
        if (t->ops[j].value == next)
            return anomaly(c, TXN_INCOMPATIBLE, key, txn, c->orders[key].reader);
        if (t->ops[j].value == value)
            return true;
    }
    return true;
}

static bool edge(struct checker *c, uint32_t from, uint32_t to, enum txn_edge kind)
{
    if (from == to)
        return true;
    if (txncycle_edge(c->graph, from, to, kind))
        return true;
    c->report->anomaly = TXN_NO_MEMORY;
    return false;
}

static bool edges_of_orders(struct checker *c)
{
    for (uint32_t key = 0; key < c->keys; key++) {
        const struct order *o = &c->orders[key];
        for (uint32_t i = 0; i + 1 < o->count; i++) {
            uint32_t from = c->writers[o->list[i]].txn, to = c->writers[o->list[i + 1]].txn;
            if (from == to ? !own_order(c, key, from, o->list[i], o->list[i + 1]) : !edge(c, from, to, TXN_WW))
                return false;
        }
    }
    return true;
}

/* Appends that are in no list, but there: they came after all that the key's longest list holds. Chained by key through
 * `stamp`, so that each read of the longest list finds them. */
static bool edges_of_unseen(struct checker *c)
{
    for (size_t key = 0; key < c->keys; key++)
        c->stamped[key] = NOBODY;
    for (uint32_t value = 0; value < c->values; value++) {
        const struct writer *w = &c->writers[value];
        if (w->txn == NOBODY || w->ordered || !c->there[w->txn])
            continue;
        const struct order *o = &c->orders[w->key];
        c->stamp[value] = c->stamped[w->key];
        c->stamped[w->key] = value;
        if (o->count > 0 && !edge(c, c->writers[o->list[o->count - 1]].txn, w->txn, TXN_WW))
            return false;
    }
    return true;
}

static bool edges_of_reads(struct checker *c)
{
    for (size_t i = 0; i < c->seen_count; i++) {
        const struct seen *s = &c->seen[i];
        const struct order *o = &c->orders[s->key];
        if (s->count > 0 && !edge(c, c->writers[s->list[s->count - 1]].txn, s->txn, TXN_WR))
            return false;
        if (s->count < o->count) {
            if (!edge(c, s->txn, c->writers[o->list[s->count]].txn, TXN_RW))
                return false;
            continue;
        }
        for (uint32_t value = c->stamped[s->key]; value != NOBODY; value = c->stamp[value]) {
            const struct writer *w = &c->writers[value];
            if (c->txns[w->txn].outcome == TXN_DONE && c->txns[w->txn].returned < c->txns[s->txn].invoked)
                anomaly(c, TXN_LOST, s->key, s->txn, w->txn);
            if (!edge(c, s->txn, w->txn, TXN_RW))
                return false;
        }
    }
    return true;
}

struct event {
    uint64_t when;
    uint32_t txn;
    bool is_return;
};

static int event_order(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    if (x->when != y->when)
        return x->when < y->when ? -1 : 1;
    return (int)x->is_return - (int)y->is_return; /* at the same instant they overlap */
}

/* Real time, reduced: at a return, those that had returned before that one began are implied by it from now on. */
static bool edges_of_time(struct checker *c)
{
    struct event *events = malloc((2 * c->count + 1) * sizeof *events);
    uint32_t *front = malloc((c->count + 1) * sizeof *front);
    size_t n = 0, front_count = 0;
    bool good = events != NULL && front != NULL;
    if (!good)
        c->report->anomaly = TXN_NO_MEMORY;
    for (size_t i = 0; good && i < c->count; i++) {
        if (c->there[i])
            events[n++] = (struct event){c->txns[i].invoked, (uint32_t)i, false};
        if (c->there[i] && c->txns[i].outcome == TXN_DONE)
            events[n++] = (struct event){c->txns[i].returned, (uint32_t)i, true};
    }
    if (n > 0)
        qsort(events, n, sizeof *events, event_order);
    for (size_t i = 0; good && i < n; i++) {
        const struct event *e = &events[i];
        if (!e->is_return) {
            for (size_t j = 0; good && j < front_count; j++)
                good = edge(c, front[j], e->txn, TXN_RT);
            continue;
        }
        size_t kept = 0;
        for (size_t j = 0; j < front_count; j++)
            if (c->txns[front[j]].returned >= c->txns[e->txn].invoked)
                front[kept++] = front[j];
        front[kept++] = e->txn;
        front_count = kept;
    }
    free(events);
    free(front);
    return good;
}

static bool open_checker(struct checker *c)
{
    size_t reads;
    sizes(c, &reads);
    c->writers = calloc(c->values + 1, sizeof *c->writers);
    c->stamp = calloc(c->values + 1, sizeof *c->stamp);
    c->stamped = calloc(c->keys + 1, sizeof *c->stamped);
    c->orders = calloc(c->keys + 1, sizeof *c->orders);
    c->seen = calloc(reads + 1, sizeof *c->seen);
    c->there = calloc(c->count + 1, sizeof *c->there);
    c->graph = txncycle_new(c->count);
    return c->writers != NULL && c->stamp != NULL && c->stamped != NULL && c->orders != NULL && c->seen != NULL &&
           c->there != NULL && c->graph != NULL;
}

void txncheck_run(const struct txn *txns, size_t count, struct txn_report *out_report)
{
    struct checker c = {.txns = txns, .count = count, .report = out_report};
    *out_report = (struct txn_report){.anomaly = TXN_NONE};
    if (!open_checker(&c)) {
        out_report->anomaly = TXN_NO_MEMORY;
    } else {
        note_writers(&c);
        if (out_report->anomaly == TXN_NONE && take_in(&c) && find_orders(&c) && edges_of_orders(&c) &&
            edges_of_unseen(&c) && edges_of_reads(&c) && out_report->anomaly == TXN_NONE && edges_of_time(&c))
            txncycle_find(c.graph, out_report);
        for (size_t i = 0; i < count; i++)
            out_report->included += c.there[i];
        out_report->edges = txncycle_edges(c.graph);
    }
    txncycle_free(c.graph);
    free(c.writers);
    free(c.stamp);
    free(c.stamped);
    free(c.orders);
    free(c.seen);
    free(c.there);
}

const char *txncheck_name(enum txn_anomaly what)
{
    static const char *const names[] = {
        [TXN_NONE] = "none",
        [TXN_BAD_HISTORY] = "bad history",
        [TXN_INTERNAL] = "internal",
        [TXN_FROM_NOWHERE] = "from nowhere",
        [TXN_DUPLICATED] = "duplicated",
        [TXN_G1A] = "G1a",
        [TXN_G1B] = "G1b",
        [TXN_INCOMPATIBLE] = "incompatible order",
        [TXN_LOST] = "lost",
        [TXN_G0] = "G0",
        [TXN_G1C] = "G1c",
        [TXN_G_SINGLE] = "G-single",
        [TXN_G2] = "G2",
        [TXN_G0_REALTIME] = "G0-realtime",
        [TXN_G1C_REALTIME] = "G1c-realtime",
        [TXN_G_SINGLE_REALTIME] = "G-single-realtime",
        [TXN_G2_REALTIME] = "G2-realtime",
        [TXN_NO_MEMORY] = "out of memory",
    };
    return names[what];
}

const char *txncheck_edge_name(enum txn_edge kind)
{
    switch (kind) {
    case TXN_WW:
        return "ww";
    case TXN_WR:
        return "wr";
    case TXN_RW:
        return "rw";
    case TXN_RT:
        return "rt";
    }
    return "?";
}
