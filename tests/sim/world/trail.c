/* trail.c: see trail.h. */
#include "tests/sim/world/trail.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct trail {
    struct txn *txns; /* owned; their operations are known at the end */
    size_t *first;    /* owned; of each, its first operation */
    size_t count, cap;
    struct txn_op *ops; /* owned, with their lists */
    size_t op_count, op_cap, open;
    uint32_t last_value;
};

struct trail *trail_new(void)
{
    struct trail *t = calloc(1, sizeof *t);
    must(t != NULL);
    return t;
}

void trail_free(struct trail **tt)
{
    struct trail *t = *tt;
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->op_count; i++)
        free((void *)(uintptr_t)t->ops[i].list);
    free(t->ops);
    free(t->txns);
    free(t->first);
    free(t);
    *tt = NULL;
}

uint32_t trail_value(struct trail *t)
{
    return ++t->last_value;
}

size_t trail_count(const struct trail *t)
{
    return t->count;
}

static void add(struct trail *t, struct txn_op op)
{
    if (t->op_count == t->op_cap) {
        t->op_cap = t->op_cap == 0 ? 256 : 2 * t->op_cap;
        t->ops = realloc(t->ops, t->op_cap * sizeof *t->ops);
        must(t->ops != NULL);
    }
    t->ops[t->op_count++] = op;
}

void trail_read(struct trail *t, uint32_t list, const struct trail_list *found)
{
    uint32_t *copy = malloc((found->count + 1) * sizeof *copy);
    must(copy != NULL);
    memcpy(copy, found->values, found->count * sizeof *copy);
    add(t, (struct txn_op){.kind = TXN_READ, .key = list, .list = copy, .list_count = found->count});
}

void trail_append(struct trail *t, uint32_t list, uint32_t value)
{
    add(t, (struct txn_op){.kind = TXN_APPEND, .key = list, .value = value});
}

void trail_end(struct trail *t, enum txn_outcome outcome, uint64_t invoked, uint64_t returned)
{
    if (t->count == t->cap) {
        t->cap = t->cap == 0 ? 256 : 2 * t->cap;
        t->txns = realloc(t->txns, t->cap * sizeof *t->txns);
        t->first = realloc(t->first, t->cap * sizeof *t->first);
        must(t->txns != NULL && t->first != NULL);
    }
    t->first[t->count] = t->open;
    t->txns[t->count++] = (struct txn){
        .op_count = (uint32_t)(t->op_count - t->open), .outcome = outcome, .invoked = invoked, .returned = returned};
    t->open = t->op_count;
}

bool trail_decode(struct slice bytes, struct trail_list *out)
{
    const size_t one = sizeof out->values[0];
    out->count = 0;
    if (bytes.size == 0)
        return true;
    if (bytes.size % one != 0 || bytes.size < one || bytes.size > (TRAIL_LIST_MAX + 3) * one)
        return false;
    out->count = (uint32_t)(bytes.size / one) - 1;
    memcpy(out->values, bytes.data + one, out->count * one);
    return true;
}

struct slice trail_name(uint32_t list, char out[8])
{
    int n = snprintf(out, 8, "%c%" PRIu32, trail_shard(list) == 1 ? 'e' : 't', list);
    return slice_make(out, (size_t)n);
}

static void tell(struct world *w, const struct trail *t, const struct txn_report *r)
{
    char text[200] = "";
    size_t n = 0;
    for (size_t i = 0; i < r->count && i < 6 && n < sizeof text; i++) {
        const struct txn *txn = &t->txns[r->at[i]];
        n += (size_t)snprintf(text + n, sizeof text - n, " [%zu at %.3f-%.3f ms%s%s]", r->at[i],
                              (double)txn->invoked / 1e6, (double)txn->returned / 1e6, r->anomaly >= TXN_G0 ? " " : "",
                              r->anomaly >= TXN_G0 ? txncheck_edge_name(r->to_next[i]) : "");
    }
    world_failed(w, "txns", "%s, list %" PRIu32 ":%s", txncheck_name(r->anomaly), r->key, text);
}

void trail_check(struct world *w, const struct trail *t)
{
    struct txn_report report = {0};
    for (size_t i = 0; i < t->count; i++)
        t->txns[i].ops = t->ops + t->first[i];
    txncheck_run(t->txns, t->count, &report);
    if (report.anomaly != TXN_NONE)
        tell(w, t, &report);
}
