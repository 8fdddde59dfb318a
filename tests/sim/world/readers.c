/* readers.c: see readers.h. */
#include "tests/sim/world/readers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "proto/client.pb-c.h"
#include "proto/pack.h"
#include "tests/sim/world/history.h"
#include "tests/sim/world/process.h"
#include "tests/sim/world/wire.h"

#define KEPT 6         /* timestamps that a reader comes back to */
#define GLANCES_MAX 4  /* open at once */
#define LOOKS_MAX 1500 /* of a reader in a run: keys read */
#define ATTEMPT_MS 350
#define CUT_MS 900
#define GLANCE_MS 3000
#define ID_ATTEMPTS 6 /* bits */
#define ID_GLANCE (UINT64_C(1) << 36)
#define ID_READER 34

struct moment { /* a timestamp that was issued, and what was acknowledged before it was asked for */
    uint64_t t;
    struct history_floor floor;
};

struct glance { /* one key, or all of a shard, at a moment; any answer to any attempt counts, however late */
    struct moment at;
    uint32_t shard;
    unsigned key;    /* JUDGE_KEYS: all of the shard */
    bool open, last; /* last: everything is healed, it ends in an answer */
    unsigned attempts;
    uint64_t next_at, deadline;
};

struct reader {
    struct net_socket *sockets[WORLD_PROCESSES];
    struct moment kept[KEPT];
    struct glance *glances; /* owned: all of the run, by number */
    size_t count, cap, open;
    uint64_t asked, asked_until, above; /* asked: id of the request for a timestamp, 0: none is open */
    uint64_t asked_known, asked_above;
    bool asked_cut;
    struct moment asking;
    uint32_t leader[WORLD_SHARDS + 1];
    uint64_t looks;
    bool last_begun, last_done;
};

struct hearing { /* whose socket it is */
    struct world *world;
    struct reader *reader;
};

struct readers {
    struct reader readers[WORLD_READERS];
    struct hearing hearing[WORLD_READERS];
    uint64_t last_id;
    bool last;
};

static void say(struct world *w, struct reader *r, uint32_t process, Hf__Client__Request *q)
{
    struct buf packed = {0};
    q->version = 1;
    q->cluster = WORLD_CLUSTER;
    q->deadline_ms = 1000;
    pack_append(&q->base, &packed);
    world_trace(w, 0, "ask", q->id, process);
    int rc = net_send(r->sockets[process], buf_slice(&packed));
    (void)rc; /* as lost */
    buf_deinit(&packed);
}

static uint32_t some_coordinator(struct world *w)
{
    return world_coordinator(1 + (uint32_t)world_below(w, WORLD_COORDINATORS));
}

/* ---- timestamps ---- */

static void ask_timestamp(struct world *w, struct reader *r)
{
    Hf__Client__Timestamp timestamp = HF__CLIENT__TIMESTAMP__INIT;
    Hf__Client__Cut cut = HF__CLIENT__CUT__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    r->asked_cut = w->readers->last ? r == w->readers->readers : world_below(w, 3) == 0;
    timestamp.above = r->asked_above = r->asked_cut ? 0 : r->above;
    r->asked = q.id = ID_GLANCE / 2 + ++w->readers->last_id;
    r->asked_until = w->now + (r->asked_cut ? CUT_MS : ATTEMPT_MS) * SIM_MS;
    r->asked_known = judge_timestamp_asked(w);
    r->asking.floor = history_floor(w);
    q.op_case = r->asked_cut ? HF__CLIENT__REQUEST__OP_CUT : HF__CLIENT__REQUEST__OP_TIMESTAMP;
    if (r->asked_cut)
        q.cut = &cut;
    else
        q.timestamp = &timestamp;
    say(w, r, some_coordinator(w), &q);
}

/* Some server told it: nobody may take it for one that cannot be. */
static void issued(struct world *w, int code, uint64_t t)
{
    if (code == HF_E_FUTURE_TIMESTAMP)
        world_failed(w, "progress", "a timestamp that was told, %" PRIx64 ", is refused as one of the future", t);
}

static void timestamp_heard(struct world *w, struct reader *r, const Hf__Client__Reply *reply)
{
    r->asked = 0;
    issued(w, reply->code, r->asked_above);
    if (reply->code != HF_OK) { /* a standby, or a ceiling on its way; asked again */
        r->asked_until = w->now + 10 * SIM_MS;
        return;
    }
    if (r->asked_cut)
        judge_cut(w, r->asked_known, reply->timestamp);
    else
        judge_timestamp(w, r->asked_known, r->asked_above, reply->timestamp);
    if (r->asked_cut)
        history_cut(w, reply->timestamp);
    if (reply->timestamp > r->above)
        r->above = 0;
    r->asking.t = reply->timestamp;
    r->kept[world_below(w, KEPT)] = r->asking;
}

/* ---- glances ---- */

static void attempt(struct world *w, struct reader *r, struct glance *g)
{
    static const char *const starts[] = {"", "a", "x"}, *const ends[] = {"", "b", "y"};
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    Hf__Client__Get get = HF__CLIENT__GET__INIT;
    Hf__Client__Scan scan = HF__CLIENT__SCAN__INIT;
    char name[8];
    q.id = ID_GLANCE | (uint64_t)(r - w->readers->readers) << ID_READER | (uint64_t)(g - r->glances) << ID_ATTEMPTS |
           (g->attempts++ & ((1u << ID_ATTEMPTS) - 1));
    if (g->key < JUDGE_KEYS) {
        snprintf(name, sizeof name, "%s%u", starts[g->shard], g->key);
        get.key = pack_bytes(slice_text(name));
        get.at = g->at.t;
        q.op_case = HF__CLIENT__REQUEST__OP_GET;
        q.get = &get;
    } else {
        scan.start = pack_bytes(slice_text(starts[g->shard]));
        scan.end = pack_bytes(slice_text(ends[g->shard]));
        scan.at = g->at.t;
        q.op_case = HF__CLIENT__REQUEST__OP_SCAN;
        q.scan = &scan;
    }
    g->next_at = w->now + ATTEMPT_MS * SIM_MS;
    uint32_t to = r->leader[g->shard] != 0 ? r->leader[g->shard] : 1 + (uint32_t)world_below(w, WORLD_REPLICAS);
    say(w, r, world_below(w, 3) == 0 ? some_coordinator(w) : world_replica(g->shard, to), &q);
}

static void begin(struct world *w, struct reader *r, const struct moment *at, uint32_t shard, unsigned key, bool last)
{
    if (r->count == r->cap) {
        r->cap = r->cap == 0 ? 128 : 2 * r->cap;
        r->glances = realloc(r->glances, r->cap * sizeof *r->glances);
        must(r->glances != NULL);
    }
    struct glance *g = &r->glances[r->count++];
    *g = (struct glance){
        .at = *at, .shard = shard, .key = key, .open = true, .last = last, .deadline = w->now + GLANCE_MS * SIM_MS};
    r->open++;
    attempt(w, r, g);
}

static void close(struct reader *r, struct glance *g)
{
    r->open -= g->open;
    g->open = false;
}

static void saw(struct world *w, struct reader *r, const struct glance *g, unsigned key, ProtobufCBinaryData bytes,
                const Hf__Client__Version *version)
{
    uint32_t value = LIN_ABSENT;
    struct version found = {0};
    if (bytes.len == sizeof value)
        memcpy(&value, bytes.data, sizeof value);
    if (version != NULL)
        found = (struct version){.t = {version->t}, .seq = version->seq};
    r->looks++;
    history_read(w, key, g->at.t, value, found, &g->at.floor);
}

static void saw_all(struct world *w, struct reader *r, const struct glance *g, const Hf__Client__Reply *reply)
{
    unsigned first = g->shard == 1 ? 0 : JUDGE_KEYS / 2;
    for (unsigned k = first; k < first + JUDGE_KEYS / 2; k++) {
        char name[8];
        const Hf__Client__Item *item = NULL;
        snprintf(name, sizeof name, "%c%u", g->shard == 1 ? 'a' : 'x', k);
        for (size_t i = 0; i < reply->n_items; i++)
            if (slice_equal(pack_slice(reply->items[i]->key), slice_text(name)))
                item = reply->items[i];
        saw(w, r, g, k, item != NULL ? item->value : (ProtobufCBinaryData){0}, item != NULL ? item->version : NULL);
    }
}

/* It is served at this timestamp no more: nor may it have to be, when all is quiet. */
static void refused(struct world *w, struct reader *r, struct glance *g, const Hf__Client__Reply *reply)
{
    bool restart = reply->code == HF_E_RESTART_ABOVE;
    if (restart && reply->timestamp < g->at.t)
        world_failed(w, "progress", "a read at %" PRIx64 " was told to begin anew above %" PRIx64, g->at.t,
                     reply->timestamp);
    w->result.restarts_above += restart;
    if (restart && reply->timestamp > r->above)
        r->above = reply->timestamp;
    if (g->last)
        r->last_begun = false; /* once more, at a new timestamp */
    close(r, g);
}

static void glance_heard(struct world *w, struct reader *r, struct glance *g, const Hf__Client__Reply *reply)
{
    bool ok = reply->code == HF_OK, get = g->key < JUDGE_KEYS;
    world_trace(w, 0, "heard", reply->id, (uint64_t)-reply->code);
    if (ok || (get && reply->code == HF_E_NOT_FOUND)) {
        if (get)
            saw(w, r, g, g->key, reply->value, reply->found);
        else
            saw_all(w, r, g, reply);
        close(r, g);
        return;
    }
    issued(w, reply->code, g->at.t);
    if (!g->open)
        return;
    if (reply->code == HF_E_RESTART_ABOVE || reply->code == HF_E_TOO_OLD || reply->code == HF_E_CORRUPT ||
        reply->code == HF_E_REFUSED) {
        refused(w, r, g, reply);
        return;
    }
    r->leader[g->shard] = reply->leader; /* 0: anybody */
    if (g->next_at > w->now)
        g->next_at = w->now + (1 + world_below(w, 30)) * SIM_MS;
}

static void heard(void *ctx, struct slice frame)
{
    const struct hearing *h = ctx;
    struct reader *r = h->reader;
    Hf__Client__Reply *reply = hf__client__reply__unpack(NULL, frame.size, frame.data);
    must(reply != NULL);
    size_t number = reply->id >> ID_ATTEMPTS & ((UINT64_C(1) << (ID_READER - ID_ATTEMPTS)) - 1);
    if ((reply->id & ID_GLANCE) != 0)
        glance_heard(h->world, r, &r->glances[number], reply);
    else if (reply->id == r->asked)
        timestamp_heard(h->world, r, reply);
    hf__client__reply__free_unpacked(reply, NULL);
}

/* ---- what a reader does when its time comes ---- */

static void go_on(struct world *w, struct reader *r)
{
    for (size_t i = r->count; i > 0 && r->open > 0; i--) {
        struct glance *g = &r->glances[i - 1];
        if (!g->open || w->now < g->next_at)
            continue;
        if (w->now >= g->deadline && !g->last) {
            close(r, g);
        } else {
            r->leader[g->shard] = 0;
            attempt(w, r, g);
        }
        if (r->count - i > 64)
            break; /* older ones are closed */
    }
}

static void look_again(struct world *w, struct reader *r)
{
    const struct moment *at = &r->kept[world_below(w, KEPT)];
    uint32_t shard = 1 + (uint32_t)world_below(w, WORLD_SHARDS);
    unsigned key = (unsigned)world_below(w, JUDGE_KEYS / 2) + (shard == 1 ? 0 : JUDGE_KEYS / 2);
    if (at->t != 0 && r->open < GLANCES_MAX && r->looks < LOOKS_MAX)
        begin(w, r, at, shard, world_below(w, 3) == 0 ? JUDGE_KEYS : key, false);
}

static void last_round(struct world *w, struct reader *r)
{
    if (!r->last_begun && r->asked == 0 && r->asking.t != 0) {
        r->last_begun = true;
        for (uint32_t s = 1; s <= WORLD_SHARDS; s++)
            begin(w, r, &r->asking, s, JUDGE_KEYS, true);
        r->asking.t = 0;
    }
    r->last_done = r->last_begun && r->open == 0;
}

void readers_act(struct world *w, uint32_t number)
{
    struct reader *r = &w->readers->readers[number];
    bool last = w->readers->last, more = last ? !r->last_begun && r->asking.t == 0 : !w->healing && !w->options.calm;
    if (r->asked != 0 && w->now >= r->asked_until)
        r->asked = 0;
    if (r->asked == 0 && more && w->now >= r->asked_until && (last || world_below(w, 4) == 0))
        ask_timestamp(w, r);
    go_on(w, r);
    if (last)
        last_round(w, r);
    else if (more && world_below(w, 2) == 0)
        look_again(w, r);
    world_schedule(w, (struct world_event){.kind = WORLD_READER, .who = number},
                   w->now + (1 + world_below(w, 25)) * SIM_MS);
}

void readers_last(struct world *w)
{
    w->readers->last = true;
    for (uint32_t i = 0; i < WORLD_READERS; i++) {
        struct reader *r = &w->readers->readers[i];
        r->asking.t = r->asked = 0;
    }
}

bool readers_done(const struct world *w)
{
    for (uint32_t i = 0; i < WORLD_READERS; i++)
        if (w->readers->last ? !w->readers->readers[i].last_done : w->readers->readers[i].open > 0)
            return false;
    return true;
}

struct readers *readers_new(struct world *w)
{
    struct readers *all = calloc(1, sizeof *all);
    must(all != NULL);
    for (uint32_t i = 0; i < WORLD_READERS; i++) {
        struct reader *r = &all->readers[i];
        all->hearing[i] = (struct hearing){w, r};
        for (uint32_t p = 1; p < WORLD_PROCESSES; p++)
            r->sockets[p] = wire_client(w, 0, w->processes[p]->client, heard, &all->hearing[i]);
        world_schedule(w, (struct world_event){.kind = WORLD_READER, .who = i}, w->now + i * SIM_MS);
    }
    return all;
}

void readers_free(struct readers **r)
{
    if (*r == NULL)
        return;
    for (uint32_t i = 0; i < WORLD_READERS; i++)
        free((*r)->readers[i].glances);
    free(*r);
    *r = NULL;
}
