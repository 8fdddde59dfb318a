/* keepers.c: see keepers.h. */
#include "tests/sim/world/keepers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "proto/client.pb-c.h"
#include "proto/pack.h"
#include "tests/sim/world/history.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/process.h"
#include "tests/sim/world/wire.h"

#define ATTEMPT_MS 300
#define YOUNG_MS 200  /* so long after it was asked for a timestamp is handed over at most */
#define ROUND_MS 4000 /* of one timestamp, at most */
#define SURE_PERCENT 94
#define ID_FIRST (UINT64_C(1) << 35)

enum asked { NOTHING, A_TIMESTAMP, A_PROMISE, A_READ };

struct keeper {
    struct world *world;
    struct net_socket *sockets[WORLD_PROCESSES];
    /* What it keeps. */
    uint64_t t, id; /* t 0: nothing; id: the coordinator knows it by that */
    uint64_t drawn, since, until, end;
    struct history_floor floor;
    /* What is asked now; one at a time. */
    enum asked asks;
    uint64_t asked_id, asked, known, next_at;
    unsigned key;
    uint64_t last_id;
    uint32_t leader[WORLD_SHARDS + 1];
};

struct keepers {
    struct keeper keepers[WORLD_KEEPERS];
    uint64_t rounds;
};

static void say(struct keeper *k, enum asked what, uint32_t to, Hf__Client__Request *q)
{
    struct world *w = k->world;
    struct buf packed = {0};
    q->version = 1;
    q->cluster = WORLD_CLUSTER;
    q->id = k->asked_id = ID_FIRST + ++k->last_id;
    q->deadline_ms = 1000;
    k->asks = what;
    k->asked = w->now;
    pack_append(&q->base, &packed);
    world_trace(w, 0, "ask", q->id, to);
    int rc = net_send(k->sockets[to], buf_slice(&packed));
    (void)rc; /* as lost */
    buf_deinit(&packed);
}

static uint32_t some_coordinator(struct world *w)
{
    return world_coordinator(1 + (uint32_t)world_below(w, WORLD_COORDINATORS));
}

static void ask_timestamp(struct keeper *k)
{
    Hf__Client__Timestamp timestamp = HF__CLIENT__TIMESTAMP__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    k->known = judge_timestamp_asked(k->world);
    k->floor = history_floor(k->world);
    q.op_case = HF__CLIENT__REQUEST__OP_TIMESTAMP;
    q.timestamp = &timestamp;
    say(k, A_TIMESTAMP, some_coordinator(k->world), &q);
    k->drawn = k->asked;
}

static void ask_promise(struct keeper *k)
{
    Hf__Client__Retain retain = HF__CLIENT__RETAIN__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    retain.id = k->id;
    retain.timestamp = k->t;
    retain.lease_ms = 300 + (uint32_t)world_below(k->world, 3000);
    q.op_case = HF__CLIENT__REQUEST__OP_RETAIN;
    q.retain = &retain;
    say(k, A_PROMISE, some_coordinator(k->world), &q);
}

static void ask_read(struct keeper *k)
{
    struct world *w = k->world;
    Hf__Client__Get get = HF__CLIENT__GET__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    char name[8];
    k->key = (unsigned)world_below(w, JUDGE_KEYS);
    uint32_t shard = history_shard(k->key), replica = k->leader[shard];
    snprintf(name, sizeof name, "%c%u", shard == 1 ? 'a' : 'x', k->key);
    replica = replica != 0 ? replica : 1 + (uint32_t)world_below(w, WORLD_REPLICAS);
    get.key = pack_bytes(slice_text(name));
    get.at = k->t;
    q.op_case = HF__CLIENT__REQUEST__OP_GET;
    q.get = &get;
    say(k, A_READ, world_below(w, 4) == 0 ? some_coordinator(w) : world_replica(shard, replica), &q);
}

/* ---- what it is told ---- */

static void timestamp_heard(struct keeper *k, const Hf__Client__Reply *r)
{
    struct world *w = k->world;
    if (r->code != HF_OK)
        return;
    judge_timestamp(w, k->known, 0, r->timestamp);
    k->t = r->timestamp;
    k->id = ++w->keepers->rounds; /* of its own: what was asked before cannot end it */
    k->since = k->until = 0;
    k->end = w->now + (500 + world_below(w, ROUND_MS)) * SIM_MS;
}

/* It holds from when it was asked for. A first one must come while the timestamp is young. */
static void promise_heard(struct keeper *k, const Hf__Client__Reply *r)
{
    struct world *w = k->world;
    if (r->code != HF_OK)
        return;
    bool first = k->since == 0, late = first ? w->now > k->drawn + YOUNG_MS * SIM_MS : w->now >= k->until;
    if (late) {
        k->t = 0; /* begun anew */
        return;
    }
    if (first)
        k->since = w->now;
    uint64_t until = k->asked + r->lease_ms * SIM_MS * SURE_PERCENT / 100;
    k->until = until;
}

static void read_heard(struct keeper *k, const Hf__Client__Reply *r)
{
    struct world *w = k->world;
    uint32_t value = LIN_ABSENT, shard = history_shard(k->key);
    struct version found = {0};
    if (r->code == HF_OK || r->code == HF_E_NOT_FOUND) {
        if (r->value.len == sizeof value)
            memcpy(&value, r->value.data, sizeof value);
        if (r->found != NULL)
            found = (struct version){.t = {r->found->t}, .seq = r->found->seq};
        w->result.retained += w->now > k->drawn + w->retention_ms * SIM_MS;
        history_read(w, k->key, k->t, value, found, &k->floor);
    } else if (r->code == HF_E_TOO_OLD) {
        if (k->since != 0 && k->since <= k->asked && w->now < k->until)
            world_failed(w, "promise", "key %u: %" PRIx64 " is too old to read at, and was promised to be kept", k->key,
                         k->t);
        k->t = 0;
    } else if (r->code == HF_E_RESTART_ABOVE) {
        k->t = 0;
    } else {
        k->leader[shard] = r->leader;
    }
}

static void heard(void *ctx, struct slice frame)
{
    struct keeper *k = ctx;
    Hf__Client__Reply *r = hf__client__reply__unpack(NULL, frame.size, frame.data);
    must(r != NULL);
    enum asked was = k->asks;
    if (was != NOTHING && r->id == k->asked_id) {
        world_trace(k->world, 0, "heard", r->id, (uint64_t)-r->code);
        k->asks = NOTHING;
        if (was == A_TIMESTAMP)
            timestamp_heard(k, r);
        else if (was == A_PROMISE)
            promise_heard(k, r);
        else
            read_heard(k, r);
    }
    hf__client__reply__free_unpacked(r, NULL);
}

/* ---- what it does when its time comes ---- */

static void ask_next(struct keeper *k)
{
    struct world *w = k->world;
    bool lost = k->since == 0 ? w->now > k->drawn + YOUNG_MS * SIM_MS : w->now >= k->until;
    if (k->t == 0 || lost || w->now >= k->end) {
        k->t = 0;
        ask_timestamp(k);
    } else if (k->since == 0 || w->now + 300 * SIM_MS >= k->until || world_below(w, 8) == 0) {
        ask_promise(k);
    } else {
        ask_read(k);
    }
}

void keepers_act(struct world *w, uint32_t number)
{
    struct keeper *k = &w->keepers->keepers[number];
    uint64_t wait_ms = k->asks == A_PROMISE ? ATTEMPT_MS / 4 : ATTEMPT_MS;
    if (k->asks != NOTHING && w->now >= k->asked + wait_ms * SIM_MS) {
        k->leader[history_shard(k->key)] = 0;
        k->asks = NOTHING;
    }
    if (k->asks == NOTHING && !w->healing)
        ask_next(k);
    world_schedule(w, (struct world_event){.kind = WORLD_KEEPER, .who = number},
                   w->now + (1 + world_below(w, 60)) * SIM_MS);
}

struct keepers *keepers_new(struct world *w)
{
    struct keepers *all = calloc(1, sizeof *all);
    must(all != NULL);
    bool on = !w->options.calm && w->retain_lease_seconds != 0 && world_collects(w);
    for (uint32_t i = 0; i < WORLD_KEEPERS && on; i++) {
        struct keeper *k = &all->keepers[i];
        k->world = w;
        for (uint32_t p = 1; p < WORLD_PROCESSES; p++)
            k->sockets[p] = wire_client(w, 0, w->processes[p]->client, heard, k);
        world_schedule(w, (struct world_event){.kind = WORLD_KEEPER, .who = i}, w->now + i * SIM_MS);
    }
    return all;
}

void keepers_free(struct keepers **k)
{
    free(*k);
    *k = NULL;
}
