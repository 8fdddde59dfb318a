/* lapses.c: see lapses.h. */
#include "tests/sim/world/lapses.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/base/hlc.h"
#include "proto/client.pb-c.h"
#include "proto/pack.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/process.h"
#include "tests/sim/world/wire.h"

#define LAPSES_MAX 300 /* keys in a run */
#define RECENT 6       /* of them that are looked at */
#define ATTEMPT_MS 400
#define TTL_MS_MAX 1200
#define ID_FIRST (UINT64_C(1) << 33)

struct lapse { /* one key */
    uint32_t shard;
    uint64_t ttl_ms, acked; /* acked: when it was told, 0: it is not known to be written */
    struct version version;
    uint64_t gone; /* when somebody was told that it is; 0: nobody yet */
};

struct lapses {
    struct world *world;
    struct net_socket *sockets[WORLD_PROCESSES];
    struct lapse all[LAPSES_MAX];
    size_t count;
    /* What is asked now; one at a time. */
    uint64_t id, until, asked, at; /* id 0: nothing; at: of a read at a timestamp */
    size_t which;
    bool put;
    uint64_t last_id;
    uint32_t leader[WORLD_SHARDS + 1];
};

static void say(struct lapses *l, uint32_t shard, Hf__Client__Request *q)
{
    struct world *w = l->world;
    struct buf packed = {0};
    uint32_t replica = l->leader[shard] != 0 ? l->leader[shard] : 1 + (uint32_t)world_below(w, WORLD_REPLICAS);
    uint32_t coordinator = world_coordinator(1 + (uint32_t)world_below(w, WORLD_COORDINATORS));
    uint32_t to = world_below(w, 3) == 0 ? coordinator : world_replica(shard, replica);
    q->version = 1;
    q->cluster = WORLD_CLUSTER;
    q->id = l->id = ID_FIRST + ++l->last_id;
    q->deadline_ms = 1000;
    l->asked = w->now;
    l->until = w->now + ATTEMPT_MS * SIM_MS;
    pack_append(&q->base, &packed);
    world_trace(w, 0, "ask", q->id, to);
    int rc = net_send(l->sockets[to], buf_slice(&packed));
    (void)rc; /* as lost */
    buf_deinit(&packed);
}

static struct slice key_name(const struct lapses *l, size_t which, char out[16])
{
    snprintf(out, 16, "%c%zu", l->all[which].shard == 1 ? 'c' : 'z', which);
    return slice_text(out);
}

static void put_one(struct lapses *l)
{
    char name[16];
    struct lapse *one = &l->all[l->count];
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    Hf__Client__Put put = HF__CLIENT__PUT__INIT;
    *one = (struct lapse){.shard = 1 + (uint32_t)world_below(l->world, WORLD_SHARDS),
                          .ttl_ms = 1 + world_below(l->world, TTL_MS_MAX)};
    l->which = l->count++;
    l->put = true;
    put.key = pack_bytes(key_name(l, l->which, name));
    put.ttl_ms = one->ttl_ms;
    q.op_case = HF__CLIENT__REQUEST__OP_PUT;
    q.put = &put;
    say(l, one->shard, &q);
}

static void look(struct lapses *l)
{
    char name[16];
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    Hf__Client__Get get = HF__CLIENT__GET__INIT;
    size_t recent = l->count < RECENT ? l->count : RECENT;
    l->which = l->count - 1 - world_below(l->world, recent);
    l->put = false;
    l->at = world_below(l->world, 2) == 0 ? judge_timestamp_asked(l->world) : 0;
    get.key = pack_bytes(key_name(l, l->which, name));
    get.at = l->at;
    q.op_case = HF__CLIENT__REQUEST__OP_GET;
    q.get = &get;
    say(l, l->all[l->which].shard, &q);
}

/* ---- what it is told ---- */

static void saw_at(struct lapses *l, const struct lapse *one, bool there)
{
    uint64_t expiry = hlc_add_ms(one->version.t, one->ttl_ms).t;
    bool lives = one->version.t.t < l->at && l->at < expiry;
    if (there != lives)
        world_failed(l->world, "expiry", "read at %" PRIx64 ": a key of %" PRIx64 " that expires at %" PRIx64 " is %s",
                     l->at, one->version.t.t, expiry, there ? "there" : "not there");
}

static void saw_latest(struct lapses *l, struct lapse *one, bool there)
{
    if (there && one->gone != 0 && one->gone <= l->asked)
        world_failed(l->world, "expiry", "a key that expires at %" PRIx64 " was gone, and is there again",
                     hlc_add_ms(one->version.t, one->ttl_ms).t);
    if (!there && one->gone == 0)
        one->gone = l->world->now;
}

static void heard(void *ctx, struct slice frame)
{
    struct lapses *l = ctx;
    Hf__Client__Reply *r = hf__client__reply__unpack(NULL, frame.size, frame.data);
    must(r != NULL);
    struct lapse *one = &l->all[l->which];
    bool read = r->code == HF_OK || r->code == HF_E_NOT_FOUND;
    if (r->id == l->id) {
        world_trace(l->world, 0, "heard", r->id, (uint64_t)-r->code);
        l->id = 0;
        if (l->put && r->code == HF_OK && r->written != NULL) {
            one->version = (struct version){.t = {r->written->t}, .seq = r->written->seq};
            one->acked = l->world->now;
        } else if (!l->put && read && one->acked != 0 && one->acked <= l->asked) {
            if (l->at != 0)
                saw_at(l, one, r->code == HF_OK);
            else
                saw_latest(l, one, r->code == HF_OK);
        }
        if (!read)
            l->leader[one->shard] = r->leader; /* 0: anybody */
    }
    hf__client__reply__free_unpacked(r, NULL);
}

uint32_t lapses_take(struct world *w, uint32_t shard, uint64_t *ttl_ms)
{
    struct lapses *l = w->lapses;
    if (l->count == LAPSES_MAX)
        return LAPSES_NONE;
    *ttl_ms = 1 + world_below(w, TTL_MS_MAX);
    l->all[l->count] = (struct lapse){.shard = shard, .ttl_ms = *ttl_ms};
    return (uint32_t)l->count++;
}

struct slice lapses_name(const struct world *w, uint32_t number, char name[16])
{
    return key_name(w->lapses, number, name);
}

void lapses_wrote(struct world *w, uint32_t number, struct version version)
{
    w->lapses->all[number].version = version;
    w->lapses->all[number].acked = w->now;
    w->result.txns_expiring++;
}

void lapses_act(struct world *w)
{
    struct lapses *l = w->lapses;
    if (l->id != 0 && w->now >= l->until) {
        l->id = 0;
        l->leader[l->all[l->which].shard] = 0;
    }
    if (l->id == 0 && !w->healing && !w->options.calm) {
        if (l->count < LAPSES_MAX && (l->count == 0 || world_below(w, 10) == 0))
            put_one(l);
        else
            look(l);
    }
    world_schedule(w, (struct world_event){.kind = WORLD_LAPSE}, w->now + (1 + world_below(w, 20)) * SIM_MS);
}

struct lapses *lapses_new(struct world *w)
{
    struct lapses *l = calloc(1, sizeof *l);
    must(l != NULL);
    l->world = w;
    for (uint32_t p = 1; p < WORLD_PROCESSES; p++)
        l->sockets[p] = wire_client(w, 0, w->processes[p]->client, heard, l);
    world_schedule(w, (struct world_event){.kind = WORLD_LAPSE}, w->now);
    return l;
}

void lapses_free(struct lapses **l)
{
    free(*l);
    *l = NULL;
}
