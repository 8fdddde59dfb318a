/* txns_parts.c: see txns_parts.h. */
#include "coordinator/txns_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "coordinator/limits.h"
#include "coordinator/route.h"
#include "proto/pack.h"

/* ---- cutting ---- */

struct cutter {
    struct txns_one *one;
    const Hf__Catalog__Routes *routes;
    struct hashmap by_shard; /* → index in parts + 1 */
    size_t cap, pieces;
};

static struct txns_part *part_of(struct cutter *c, uint32_t shard)
{
    struct txns_one *one = c->one;
    uintptr_t found = (uintptr_t)hashmap_get(&c->by_shard, shard);
    if (found != 0)
        return &one->parts[found - 1];
    if (one->count == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 8;
        struct txns_part *parts = arena_zalloc(&one->arena, cap * sizeof *parts);
        if (one->count > 0)
            memcpy(parts, one->parts, one->count * sizeof *parts);
        one->parts = parts;
        c->cap = cap;
    }
    one->parts[one->count++] = (struct txns_part){.one = one, .shard = shard};
    hashmap_put(&c->by_shard, shard, (void *)(uintptr_t)one->count); /* NOLINT: a number, not an address */
    return &one->parts[one->count - 1];
}

/* Room for one more pointer at the end of a list in the arena. */
static void *grow(struct arena *arena, void *list, size_t count, size_t *cap)
{
    if (count < *cap)
        return list;
    *cap = *cap ? 2 * *cap : 4;
    void **bigger = arena_alloc(arena, *cap * sizeof *bigger);
    if (count > 0)
        memcpy(bigger, list, count * sizeof *bigger);
    return bigger;
}

static void add_write(struct cutter *c, uint32_t shard, Hf__Entry__TxnWrite *w)
{
    struct txns_part *part = part_of(c, shard);
    if (part->n_writes > 0 && part->writes[part->n_writes - 1] == w)
        return; /* a prefix over two ranges of one shard */
    part->writes = grow(&c->one->arena, part->writes, part->n_writes, &part->writes_cap);
    part->writes[part->n_writes++] = w;
    c->pieces++;
}

static void add_read(struct cutter *c, uint32_t shard, Hf__Entry__TxnRead *r)
{
    struct txns_part *part = part_of(c, shard);
    part->reads = grow(&c->one->arena, part->reads, part->n_reads, &part->reads_cap);
    part->reads[part->n_reads++] = r;
    c->pieces++;
}

static void cut_write(struct cutter *c, Hf__Entry__TxnWrite *w)
{
    size_t first, last;
    route_write_span(c->routes, w, &first, &last);
    for (size_t i = first; i <= last && c->pieces <= TXNS_PIECES_MAX; i++)
        add_write(c, c->routes->routes[i]->shard, w);
}

/* The routes may be others by the time that a piece is sent: it owns its bounds. */
static ProtobufCBinaryData bound(struct cutter *c, ProtobufCBinaryData from)
{
    return pack_bytes(arena_copy(&c->one->arena, pack_slice(from)));
}

static void cut_read(struct cutter *c, Hf__Entry__TxnRead *r)
{
    size_t first, last;
    route_read_span(c->routes, r, &first, &last);
    for (size_t i = first; i <= last && c->pieces <= TXNS_PIECES_MAX; i++) {
        Hf__Entry__TxnRead *piece = r;
        if (first != last) {
            piece = arena_alloc(&c->one->arena, sizeof *piece);
            *piece = *r;
            if (i > first)
                piece->key = bound(c, c->routes->routes[i]->range->start);
            if (i < last)
                piece->end = bound(c, c->routes->routes[i]->range->end);
        }
        add_read(c, c->routes->routes[i]->shard, piece);
    }
}

static int home_first(struct txns_one *one, char text[TXNS_TEXT_BYTES])
{
    for (size_t i = 0; i < one->count; i++)
        if (one->parts[i].shard == one->id.home && one->parts[i].n_writes > 0) {
            struct txns_part part = one->parts[i];
            one->parts[i] = one->parts[0];
            one->parts[0] = part;
            return HF_OK;
        }
    snprintf(text, TXNS_TEXT_BYTES,
             "the transaction's home, shard %" PRIu32 ", is none of the shards that it writes: name the first key's",
             one->id.home);
    return HF_E_INVALID;
}

int txns_parts_cut(struct txns_one *one, const Hf__Catalog__Routes *routes, char text[TXNS_TEXT_BYTES])
{
    struct cutter c = {.one = one, .routes = routes};
    for (size_t i = 0; i < one->txn->n_writes; i++)
        cut_write(&c, one->txn->writes[i]);
    for (size_t i = 0; i < one->txn->n_reads; i++)
        cut_read(&c, one->txn->reads[i]);
    hashmap_deinit(&c.by_shard);
    if (c.pieces > TXNS_PIECES_MAX) {
        snprintf(text, TXNS_TEXT_BYTES, "the transaction falls into more than %u pieces", TXNS_PIECES_MAX);
        return HF_E_LIMIT;
    }
    return one->txn->n_writes > 0 ? home_first(one, text) : HF_OK;
}

/* ---- words ---- */

static bool is_home(const struct txns_part *part)
{
    return part == part->one->parts && part->n_writes > 0;
}

bool txns_parts_in(const struct txns_part *part, enum txns_step step)
{
    switch (step) {
    case TXNS_HOME:
    case TXNS_DECIDING:
    case TXNS_UNDOING:
    case TXNS_FORGETTING:
        return is_home(part);
    case TXNS_REST:
        return part->n_writes > 0 && !is_home(part);
    case TXNS_TELLING: /* who was never asked to lock anything has nothing to undo */
        return part->n_writes > 0 && !is_home(part) && (part->one->committed || part->touched);
    case TXNS_VALIDATING:
        return part->n_reads > 0;
    case TXNS_DRAWING:
    case TXNS_GONE:
        return false;
    }
    return false;
}

static void ask_prepare(const struct txns_part *part, uint64_t ttl_ms, struct txns_question *q)
{
    const struct txns_one *one = part->one;
    q->request.op_case = HF__CLIENT__REQUEST__OP_PREPARE;
    q->request.prepare = &q->txn;
    q->txn.start = one->txn->start;
    q->txn.writes = part->writes;
    q->txn.n_writes = part->n_writes;
    if (!is_home(part))
        return;
    q->request.session = one->id.session;
    q->request.seq = one->id.seq;
    q->request.done_below = one->done_below;
    q->txn.ttl_ms = ttl_ms;
    q->txn.others = q->others = malloc(one->count * sizeof *q->others);
    must(q->others != NULL); /* out of memory */
    for (size_t i = 1; i < one->count; i++)
        if (one->parts[i].n_writes > 0)
            q->others[q->txn.n_others++] = one->parts[i].shard;
}

static void ask_validate(const struct txns_part *part, struct txns_question *q)
{
    q->request.op_case = HF__CLIENT__REQUEST__OP_VALIDATE;
    q->request.validate = &q->validate;
    q->validate.id = &q->id;
    q->validate.start = part->one->txn->start;
    q->validate.at = part->one->commit.t;
    q->validate.reads = part->reads;
    q->validate.n_reads = part->n_reads;
}

static void ask_decision(const struct txns_one *one, bool commits, struct txns_question *q)
{
    if (commits) {
        q->request.op_case = HF__CLIENT__REQUEST__OP_DECIDE_COMMIT;
        q->request.decide_commit = &q->txn;
        q->txn.commit = one->commit.t;
    } else {
        q->request.op_case = HF__CLIENT__REQUEST__OP_ROLLBACK;
        q->request.rollback = &q->txn;
        q->txn.force = true;
    }
}

void txns_parts_ask(const struct txns_part *part, uint64_t ttl_ms, struct txns_question *q)
{
    const struct txns_one *one = part->one;
    q->others = NULL;
    hf__client__request__init(&q->request);
    hf__entry__txn_id__init(&q->id);
    hf__entry__txn__init(&q->txn);
    hf__client__validate__init(&q->validate);
    q->id.home = one->id.home;
    q->id.session = one->id.session;
    q->id.seq = one->id.seq;
    q->txn.id = &q->id;
    switch (one->step) {
    case TXNS_HOME:
    case TXNS_REST:
        ask_prepare(part, ttl_ms, q);
        break;
    case TXNS_VALIDATING:
        ask_validate(part, q);
        break;
    case TXNS_DECIDING:
    case TXNS_UNDOING:
    case TXNS_TELLING:
        ask_decision(one, one->step == TXNS_DECIDING || (one->step == TXNS_TELLING && one->committed), q);
        break;
    case TXNS_FORGETTING:
        q->request.op_case = HF__CLIENT__REQUEST__OP_FORGET;
        q->request.forget = &q->txn;
        break;
    case TXNS_DRAWING:
    case TXNS_GONE:
        must(false); /* nobody is asked */
    }
}

void txns_parts_free(struct txns_question *question)
{
    free(question->others);
}
