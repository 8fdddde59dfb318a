/* trader_send.c: what a client with transactions sends: see trader.h. */
#include <stdio.h>

#include "common/base/error.h"
#include "proto/pack.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/lapses.h"
#include "tests/sim/world/process.h"
#include "tests/sim/world/trader.h"
#include "tests/sim/world/wire.h"

static const char *const starts[] = {"", "e", "t"}, *const ends[] = {"", "f", "u"};

static void say(struct trader *c, uint32_t process, Hf__Client__Request *q)
{
    struct buf packed = {0};
    q->version = 1;
    q->cluster = WORLD_CLUSTER;
    q->deadline_ms = 1000;
    q->id = q->id != 0 ? q->id : ++c->last_id;
    pack_append(&q->base, &packed);
    world_trace(c->world, 0, "ask", q->id, process);
    int rc = net_send(c->sockets[process], buf_slice(&packed));
    (void)rc; /* as lost */
    buf_deinit(&packed);
    c->next_at = c->world->now + TXN_ATTEMPT_MS * SIM_MS;
}

static uint32_t some_coordinator(struct world *w)
{
    return world_coordinator(1 + (uint32_t)world_below(w, WORLD_COORDINATORS));
}

static uint32_t leader(struct trader *c, uint32_t shard)
{
    struct trader_place *p = &c->places[shard];
    if (p->leader == 0)
        p->leader = 1 + (uint32_t)world_below(c->world, WORLD_REPLICAS);
    return world_replica(shard, p->leader);
}

static uint32_t target(struct trader *c, uint32_t shard)
{
    struct world *w = c->world;
    return (world_below(w, 6) == 0) != c->routed ? some_coordinator(w) : leader(c, shard);
}

void trader_sessions(struct trader *c)
{
    for (uint32_t s = 1; s <= WORLD_SHARDS; s++) {
        struct trader_place *p = &c->places[s];
        if (p->session != 0 || (p->opening != 0 && c->world->now < p->opening_until))
            continue;
        Hf__Client__SessionOpen open = HF__CLIENT__SESSION_OPEN__INIT;
        Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
        p->opening = q.id = TXN_UNHEARD | ++c->last_id; /* doubled answers are not taken for another one's */
        p->opening_until = c->world->now + TXN_ATTEMPT_MS * SIM_MS;
        p->leader = 0;
        q.shard = s;
        q.op_case = HF__CLIENT__REQUEST__OP_SESSION_OPEN;
        q.session_open = &open;
        uint64_t next_at = c->next_at;
        say(c, target(c, s), &q);
        c->next_at = next_at;
    }
}

void trader_ask_start(struct trader *c)
{
    Hf__Client__Timestamp timestamp = HF__CLIENT__TIMESTAMP__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    timestamp.above = c->above;
    c->asked_known = judge_timestamp_asked(c->world);
    c->first_id = c->last_id + 1; /* what was asked before counts no more */
    q.op_case = HF__CLIENT__REQUEST__OP_TIMESTAMP;
    q.timestamp = &timestamp;
    say(c, some_coordinator(c->world), &q);
}

void trader_ask_read(struct trader *c)
{
    const struct txn_read *r = &c->reads[c->at];
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    Hf__Client__Get get = HF__CLIENT__GET__INIT;
    Hf__Client__Scan scan = HF__CLIENT__SCAN__INIT;
    char name[8];
    if (r->all) {
        scan.start = pack_bytes(slice_text(starts[r->shard]));
        scan.end = pack_bytes(slice_text(ends[r->shard]));
        scan.at = c->start;
        q.op_case = HF__CLIENT__REQUEST__OP_SCAN;
        q.scan = &scan;
    } else {
        get.key = pack_bytes(trail_name(r->list, name));
        get.at = c->start;
        q.op_case = HF__CLIENT__REQUEST__OP_GET;
        q.get = &get;
    }
    say(c, target(c, r->shard), &q);
}

/* ---- the commit ---- */

struct body {
    Hf__Client__Txn txn;
    Hf__Entry__TxnWrite writes[TXN_WRITES], *write_pointers[TXN_WRITES];
    Hf__Entry__TxnRead reads[TXN_READS], *read_pointers[TXN_READS];
    uint32_t values[TXN_WRITES][TRAIL_LIST_MAX + 3];
    char names[TXN_WRITES + TXN_READS][16];
};

/* All that the transaction appends to the list, behind what it read. */
static ProtobufCBinaryData whole_list(const struct trader *c, const struct txn_write *to, uint32_t *values)
{
    const struct trail_list *list = &c->lists[to->list];
    uint32_t n = 0;
    values[n++] = 0;
    for (uint32_t i = 0; i < list->count; i++)
        values[n++] = list->values[i];
    values[n++] = to->value;
    return (ProtobufCBinaryData){.len = n * sizeof *values, .data = (uint8_t *)values};
}

static struct slice other_name(const struct txn_write *from, char name[8])
{
    char first = from->shard == 1 ? 'a' : 'x';
    int n = from->key == JUDGE_KEYS ? snprintf(name, 8, "%c", first) : snprintf(name, 8, "%c%u", first, from->key);
    return slice_make(name, (size_t)n);
}

static void fill_write(const struct trader *c, struct body *b, uint32_t i)
{
    const struct txn_write *from = &c->writes[i];
    Hf__Entry__TxnWrite *to = b->write_pointers[i] = &b->writes[i];
    *to = (Hf__Entry__TxnWrite)HF__ENTRY__TXN_WRITE__INIT;
    to->op = from->op;
    if (from->list < TRAIL_LISTS) {
        to->key = pack_bytes(trail_name(from->list, b->names[i]));
        to->value = whole_list(c, from, b->values[i]);
        return;
    }
    if (from->list > TRAIL_LISTS) { /* its value is nothing */
        to->key = pack_bytes(lapses_name(c->world, from->key, b->names[i]));
        to->ttl_ms = from->ttl_ms;
        return;
    }
    to->key = pack_bytes(other_name(from, b->names[i]));
    b->values[i][0] = from->value;
    if (from->op == HF__ENTRY__OP__PUT)
        to->value = (ProtobufCBinaryData){.len = sizeof from->value, .data = (uint8_t *)b->values[i]};
}

static void fill_read(const struct trader *c, struct body *b, uint32_t i)
{
    const struct txn_read *from = &c->reads[i];
    Hf__Entry__TxnRead *to = b->read_pointers[i] = &b->reads[i];
    *to = (Hf__Entry__TxnRead)HF__ENTRY__TXN_READ__INIT;
    to->range = from->all;
    to->key = from->all ? pack_bytes(slice_text(starts[from->shard]))
                        : pack_bytes(trail_name(from->list, b->names[TXN_WRITES + i]));
    if (from->all)
        to->end = pack_bytes(slice_text(ends[from->shard]));
}

void trader_ask_commit(struct trader *c)
{
    struct body b;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    b.txn = (Hf__Client__Txn)HF__CLIENT__TXN__INIT;
    b.txn.start = c->start;
    for (uint32_t i = 0; i < c->write_count; i++)
        fill_write(c, &b, i);
    for (uint32_t i = 0; i < c->read_count; i++)
        fill_read(c, &b, i);
    b.txn.writes = b.write_pointers;
    b.txn.n_writes = c->write_count;
    b.txn.reads = b.read_pointers;
    b.txn.n_reads = c->read_count;
    q.op_case = HF__CLIENT__REQUEST__OP_TXN;
    q.txn = &b.txn;
    q.session = c->session;
    q.seq = c->seq;
    q.done_below = c->seq;
    uint32_t shard, to = some_coordinator(c->world);
    bool whole = trader_whole(c, &shard);
    q.shard = c->session != 0 ? c->home : 0;
    if (whole && !c->routed && world_below(c->world, 3) != 0) {
        to = leader(c, shard);
        q.shard = shard;
    }
    say(c, to, &q);
}

void trader_ask_fence(struct trader *c)
{
    Hf__Client__SessionFence fence = HF__CLIENT__SESSION_FENCE__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    fence.session = c->session;
    fence.seq = c->seq;
    q.shard = c->home;
    q.op_case = HF__CLIENT__REQUEST__OP_SESSION_FENCE;
    q.session_fence = &fence;
    say(c, target(c, c->home), &q);
}

/* Nobody waits for the answer: the read is asked again. */
void trader_ask_resolve(struct trader *c, uint32_t shard, Hf__Client__Lock *lock)
{
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    uint64_t next_at = c->next_at;
    q.id = TXN_UNHEARD | ++c->last_id;
    q.shard = shard;
    q.op_case = HF__CLIENT__REQUEST__OP_RESOLVE;
    q.resolve = lock->id;
    say(c, some_coordinator(c->world), &q);
    c->next_at = next_at;
}
