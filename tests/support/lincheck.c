/* lincheck.c: just-in-time linearization of one key's history (lincheck.h says what it decides). */
#include "tests/support/lincheck.h"

#include <stdlib.h>

struct event {
    uint64_t when;
    uint32_t op;
    bool is_return;
};

/* One way to explain what was answered so far: which open operations took effect, and the value they left. */
struct way {
    uint64_t used;
    uint32_t value;
};

struct ways {
    struct way *at;
    size_t count, room;
};

struct checker {
    const struct lin_op *ops;
    uint32_t slot_op[LIN_OPEN_MAX];
    uint64_t open;    /* slots in use */
    uint64_t unknown; /* of those, the ones that never return */
    struct ways now, next, trail;
};

static int event_order(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    if (x->when != y->when)
        return x->when < y->when ? -1 : 1;
    return (int)x->is_return - (int)y->is_return; /* at the same instant they overlap: careful towards the store */
}

/* True when `a` can do all that `b` can: same value, same operations that must take effect, fewer optional ones spent.
 */
static bool covers(const struct checker *c, struct way a, struct way b)
{
    return a.value == b.value && (a.used & ~c->unknown) == (b.used & ~c->unknown) &&
           ((a.used & c->unknown) & ~(b.used & c->unknown)) == 0;
}

/* Adds `way` unless another covers it; with `prune`, removes those that it covers. False: out of memory. */
static bool ways_add(const struct checker *c, struct ways *w, struct way way, bool prune)
{
    for (size_t i = 0; i < w->count; i++)
        if (covers(c, w->at[i], way))
            return true;
    if (prune) {
        size_t kept = 0;
        for (size_t i = 0; i < w->count; i++)
            if (!covers(c, way, w->at[i]))
                w->at[kept++] = w->at[i];
        w->count = kept;
    }
    if (w->count == w->room) {
        size_t room = w->room ? 2 * w->room : 64;
        struct way *grown = realloc(w->at, room * sizeof *grown);
        if (grown == NULL)
            return false;
        w->at = grown;
        w->room = room;
    }
    w->at[w->count++] = way;
    return true;
}

/* Lets `op` take effect on *value; false when its answer contradicts the value (or an unknown one would change
 * nothing). */
static bool apply(const struct lin_op *op, uint32_t *value)
{
    switch (op->kind) {
    case LIN_PUT:
        *value = op->value;
        return true;
    case LIN_DEL:
        *value = LIN_ABSENT;
        return true;
    case LIN_GET:
        return *value == op->value;
    case LIN_CAS:
        if (op->outcome == LIN_MISMATCH)
            return *value != op->expected;
        if (*value != op->expected)
            return false;
        *value = op->value;
        return true;
    }
    return false;
}

/* Moves every way of `now` to those in which the operation of `slot` has taken effect. False: out of memory. */
static bool require(struct checker *c, unsigned slot)
{
    uint64_t bit = (uint64_t)1 << slot;
    c->next.count = 0;
    c->trail.count = 0;
    for (size_t i = 0; i < c->now.count; i++) {
        bool there = (c->now.at[i].used & bit) != 0;
        if (!ways_add(c, there ? &c->next : &c->trail, c->now.at[i], true))
            return false;
    }
    for (size_t i = 0; i < c->trail.count; i++) { /* it grows while it is walked */
        struct way from = c->trail.at[i];
        for (uint64_t left = c->open & ~from.used; left != 0; left &= left - 1) {
            unsigned other = (unsigned)__builtin_ctzll(left);
            struct way to = {from.used | (uint64_t)1 << other, from.value};
            if (apply(&c->ops[c->slot_op[other]], &to.value) &&
                !ways_add(c, other == slot ? &c->next : &c->trail, to, other == slot))
                return false;
        }
    }
    struct ways done = c->next;
    c->next = c->now;
    c->now = done;
    for (size_t i = 0; i < c->now.count; i++)
        c->now.at[i].used &= ~bit;
    c->open &= ~bit;
    return true;
}

static enum lin_verdict step(struct checker *c, struct event e, unsigned *slot_of)
{
    if (e.is_return) {
        if (!require(c, slot_of[e.op]))
            return LIN_NO_MEMORY;
        return c->now.count == 0 ? LIN_VIOLATION : LIN_OK;
    }
    if (c->open == UINT64_MAX)
        return LIN_TOO_MANY_OPEN;
    unsigned slot = (unsigned)__builtin_ctzll(~c->open);
    c->open |= (uint64_t)1 << slot;
    if (c->ops[e.op].outcome == LIN_UNKNOWN)
        c->unknown |= (uint64_t)1 << slot;
    else
        c->unknown &= ~((uint64_t)1 << slot);
    c->slot_op[slot] = e.op;
    slot_of[e.op] = slot;
    return LIN_OK;
}

enum lin_verdict lin_check(const struct lin_op *ops, size_t count, size_t *out_at)
{
    struct checker c = {.ops = ops};
    struct event *events = malloc((2 * count + 1) * sizeof *events);
    unsigned *slot_of = calloc(count + 1, sizeof *slot_of);
    size_t n = 0;
    enum lin_verdict verdict = LIN_NO_MEMORY;
    if (events == NULL || slot_of == NULL || !ways_add(&c, &c.now, (struct way){0, LIN_ABSENT}, false))
        goto out;
    for (size_t i = 0; i < count; i++) {
        if (ops[i].outcome == LIN_UNKNOWN && ops[i].kind == LIN_GET)
            continue; /* it says nothing and changes nothing */
        events[n++] = (struct event){ops[i].invoked, (uint32_t)i, false};
        if (ops[i].outcome != LIN_UNKNOWN)
            events[n++] = (struct event){ops[i].returned, (uint32_t)i, true};
    }
    qsort(events, n, sizeof *events, event_order);
    verdict = LIN_OK;
    for (size_t i = 0; i < n && verdict == LIN_OK; i++) {
        verdict = step(&c, events[i], slot_of);
        if (verdict != LIN_OK)
            *out_at = events[i].op;
    }
out:
    free(events);
    free(slot_of);
    free(c.now.at);
    free(c.next.at);
    free(c.trail.at);
    return verdict;
}
