/* txncycle.c: strongly connected components (Tarjan 1972) of chosen kinds of edges, and a shortest cycle in one. */
#include "tests/support/txncycle.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define LOOKS_MAX 2000 /* edges from which a cycle of a better name is sought */

struct link {
    uint32_t from, to;
    enum txn_edge kind;
};

struct txncycle {
    size_t nodes, count, room;
    struct link *links;                                       /* sorted by `from` when searched */
    uint32_t *first;                                          /* by node: where its links begin; one more than nodes */
    uint32_t *number, *low, *component, *stack, *walk, *next; /* Tarjan's, by node */
    uint32_t *before; /* of a search in breadth: the link by which a node was reached */
};

struct txncycle *txncycle_new(size_t nodes)
{
    struct txncycle *g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->nodes = nodes;
    uint32_t **tables[] = {&g->first, &g->number, &g->low, &g->component, &g->stack, &g->walk, &g->next, &g->before};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        *tables[i] = calloc(nodes + 2, sizeof **tables[i]);
        if (*tables[i] == NULL) {
            txncycle_free(g);
            return NULL;
        }
    }
    return g;
}

void txncycle_free(struct txncycle *g)
{
    if (g == NULL)
        return;
    free(g->links);
    free(g->first);
    free(g->number);
    free(g->low);
    free(g->component);
    free(g->stack);
    free(g->walk);
    free(g->next);
    free(g->before);
    free(g);
}

bool txncycle_edge(struct txncycle *g, uint32_t from, uint32_t to, enum txn_edge kind)
{
    if (g->count == g->room) {
        size_t room = g->room ? 2 * g->room : 1024;
        struct link *grown = realloc(g->links, room * sizeof *grown);
        if (grown == NULL)
            return false;
        g->links = grown;
        g->room = room;
    }
    g->links[g->count++] = (struct link){from, to, kind};
    return true;
}

size_t txncycle_edges(const struct txncycle *g)
{
    return g->count;
}

static int link_order(const void *a, const void *b)
{
    const struct link *x = a, *y = b;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return x->to < y->to ? -1 : x->to > y->to;
}

static void sort_links(struct txncycle *g)
{
    size_t at = 0;
    if (g->count > 0)
        qsort(g->links, g->count, sizeof *g->links, link_order);
    for (uint32_t node = 0; node <= g->nodes; node++) {
        while (at < g->count && g->links[at].from < node)
            at++;
        g->first[node] = (uint32_t)at;
    }
}

/* The component of everything that can be reached from `root`, without recursion. */
static void tarjan(struct txncycle *g, uint32_t root, unsigned kinds, uint32_t *numbers, uint32_t *components)
{
    size_t walk_count = 1, stack_count = 1;
    g->walk[0] = g->stack[0] = root;
    g->number[root] = g->low[root] = ++*numbers;
    g->next[root] = g->first[root];
    while (walk_count > 0) {
        uint32_t node = g->walk[walk_count - 1];
        if (g->next[node] < g->first[node + 1]) {
            const struct link *l = &g->links[g->next[node]++];
            if ((l->kind & kinds) == 0)
                continue;
            if (g->number[l->to] == 0) {
                g->number[l->to] = g->low[l->to] = ++*numbers;
                g->next[l->to] = g->first[l->to];
                g->walk[walk_count++] = l->to;
                g->stack[stack_count++] = l->to;
            } else if (g->component[l->to] == NONE && g->number[l->to] < g->low[node]) {
                g->low[node] = g->number[l->to];
            }
            continue;
        }
        walk_count--;
        if (walk_count > 0 && g->low[node] < g->low[g->walk[walk_count - 1]])
            g->low[g->walk[walk_count - 1]] = g->low[node];
        if (g->low[node] != g->number[node])
            continue;
        uint32_t member;
        do {
            member = g->stack[--stack_count];
            g->component[member] = *components;
        } while (member != node);
        ++*components;
    }
}

static void find_components(struct txncycle *g, unsigned kinds)
{
    uint32_t numbers = 0, components = 0;
    for (size_t i = 0; i < g->nodes; i++) {
        g->number[i] = 0;
        g->component[i] = NONE;
    }
    for (uint32_t i = 0; i < g->nodes; i++)
        if (g->number[i] == 0)
            tarjan(g, i, kinds, &numbers, &components);
}

/* Writes the cycle that link `closing` closes to the report, if its end leads back to its beginning by `kinds`. */
static bool close_cycle(struct txncycle *g, const struct link *closing, unsigned kinds, struct txn_report *report)
{
    size_t head = 0, tail = 0;
    for (size_t i = 0; i < g->nodes; i++)
        g->before[i] = NONE;
    g->walk[tail++] = closing->to; /* its own `before` stays NONE: the way back ends there */
    for (bool found = false; !found; head++) {
        if (head == tail)
            return false;
        uint32_t node = g->walk[head];
        for (uint32_t i = g->first[node]; i < g->first[node + 1] && !found; i++) {
            const struct link *l = &g->links[i];
            if ((l->kind & kinds) == 0 || l->to == closing->to || g->before[l->to] != NONE ||
                g->component[l->to] != g->component[node])
                continue;
            g->before[l->to] = i;
            g->walk[tail++] = l->to;
            found = l->to == closing->from;
        }
    }
    uint32_t way[TXN_CYCLE_MAX]; /* backwards */
    size_t count = 0;
    for (uint32_t node = closing->from; g->before[node] != NONE && count + 1 < TXN_CYCLE_MAX; count++) {
        way[count] = g->before[node];
        node = g->links[way[count]].from;
    }
    report->count = 0;
    report->at[report->count] = closing->from;
    report->to_next[report->count++] = closing->kind;
    while (count-- > 0) {
        report->at[report->count] = g->links[way[count]].from;
        report->to_next[report->count++] = g->links[way[count]].kind;
    }
    return true;
}

/* A cycle that goes through one edge of `once` and otherwise through `others`. */
static bool find_cycle(struct txncycle *g, unsigned once, unsigned others, struct txn_report *report)
{
    size_t looks = 0;
    for (size_t i = 0; i < g->count && looks < LOOKS_MAX; i++) {
        const struct link *l = &g->links[i];
        if ((l->kind & once) == 0 || g->component[l->from] != g->component[l->to])
            continue;
        looks++;
        if (close_cycle(g, l, others, report))
            return true;
    }
    return false;
}

void txncycle_find(struct txncycle *g, struct txn_report *report)
{
    static const struct {
        enum txn_anomaly name;
        unsigned once, others;
    } sorts[] = {
        {TXN_G0, TXN_WW, TXN_WW},
        {TXN_G1C, TXN_WR, TXN_WW | TXN_WR},
        {TXN_G_SINGLE, TXN_RW, TXN_WW | TXN_WR},
        {TXN_G2, TXN_RW, TXN_WW | TXN_WR | TXN_RW},
    };
    sort_links(g);
    for (unsigned time = 0; time <= TXN_RT; time += TXN_RT) {
        for (size_t i = 0; i < sizeof sorts / sizeof *sorts; i++) {
            find_components(g, sorts[i].once | sorts[i].others | time);
            if (!find_cycle(g, sorts[i].once, sorts[i].others | time, report))
                continue;
            report->anomaly = sorts[i].name + (time != 0 ? TXN_G0_REALTIME - TXN_G0 : 0);
            return;
        }
    }
}
