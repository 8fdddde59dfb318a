/* actors.c: see actors.h. */
#include "tests/sim/world/actors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "proto/client.pb-c.h"
#include "proto/pack.h"
#include "tests/sim/world/history.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/process.h"
#include "tests/sim/world/routes.h"
#include "tests/sim/world/wire.h"

#define OPS_MAX 4       /* of one client at once */
#define ATTEMPTS_MAX 40 /* of one operation, whose answers are still taken */
#define KEY_OPS_MAX 400 /* of one key in a run: what the checker can take */
#define ATTEMPT_MS 350
#define OPERATION_MS 2500
#define PAUSE_MS 15

enum op_kind { OP_PUT, OP_GET, OP_CAS, OP_DEL, OP_SCAN, OP_DELETE_PREFIX };

struct op {
    bool used, fencing, doubt, last;
    enum op_kind kind;
    unsigned key;
    uint32_t shard;
    struct lin_op lin;
    struct history_floor floor; /* when it began */
    uint64_t session, seq;
    uint64_t ids[ATTEMPTS_MAX];
    bool fences[ATTEMPTS_MAX]; /* the attempt is a fence */
    unsigned attempts;
    uint64_t unanswered; /* bit: attempt */
    uint64_t deadline, next_at;
};

struct place {                 /* what a client knows of a shard */
    uint64_t session, opening; /* opening: id of the request */
    uint64_t opening_until, next_seq;
    uint32_t leader;
};

struct client {
    struct world *world;
    uint32_t number;
    bool routed, sessions; /* mostly through coordinators; with sessions */
    uint32_t last;         /* when all is healed: shards in which it has a write done */
    struct net_socket *sockets[WORLD_PROCESSES];
    struct op ops[OPS_MAX];
    struct place places[WORLD_SHARDS + 1];
    uint32_t seen[JUDGE_KEYS]; /* value last seen, for compare-and-set */
    uint64_t timestamp_id, timestamp_asked;
    uint64_t routes_id; /* of the operator */
    bool routes_again;  /* were written once more after all was healed */
    uint64_t routes_version, routes_at;
};

struct actors {
    struct client clients[WORLD_CLIENTS];
    uint64_t last_id;
    uint32_t last_value;
    uint64_t key_ops[JUDGE_KEYS];
    bool last;        /* one more write of each client to each shard */
    bool wrong_first; /* the first routes name a wrong shard */
};

/* ---- sending ---- */

static void say(struct client *c, uint32_t process, Hf__Client__Request *q)
{
    struct buf packed = {0};
    q->version = 1;
    q->cluster = WORLD_CLUSTER;
    pack_append(&q->base, &packed);
    int rc = net_send(c->sockets[process], buf_slice(&packed));
    (void)rc; /* as lost */
    buf_deinit(&packed);
}

static uint32_t some_coordinator(struct world *w)
{
    return world_coordinator(1 + (uint32_t)world_below(w, WORLD_COORDINATORS));
}

/* Whom to ask for a shard: through a coordinator, or its leader as far as known. */
static uint32_t target(struct client *c, uint32_t shard)
{
    struct world *w = c->world;
    if (c->routed ? world_below(w, 8) != 0 : world_below(w, 8) == 0)
        return some_coordinator(w);
    struct place *p = &c->places[shard];
    if (p->leader == 0)
        p->leader = 1 + (uint32_t)world_below(w, WORLD_REPLICAS);
    return world_replica(shard, p->leader);
}

/* Everything below is answered as far as this client is concerned. */
static uint64_t done_below(const struct client *c, uint32_t shard)
{
    uint64_t low = c->places[shard].next_seq;
    for (size_t i = 0; i < OPS_MAX; i++) {
        const struct op *o = &c->ops[i];
        if (o->used && o->session != 0 && o->shard == shard && o->seq < low)
            low = o->seq;
    }
    return low;
}

static struct slice key_name(unsigned key, char out[8])
{
    int n = snprintf(out, 8, "%c%u", key < JUDGE_KEYS / 2 ? 'a' : 'x', key);
    return slice_make(out, (size_t)n);
}

union operation {
    Hf__Client__Put put;
    Hf__Client__Key key;
    Hf__Client__Cas cas;
    Hf__Client__Get get;
    Hf__Client__Scan scan;
    Hf__Client__SessionFence fence;
};

static void fill_fence(Hf__Client__Request *q, union operation *u, const struct op *o)
{
    u->fence = (Hf__Client__SessionFence)HF__CLIENT__SESSION_FENCE__INIT;
    u->fence.session = o->session;
    u->fence.seq = o->seq;
    q->op_case = HF__CLIENT__REQUEST__OP_SESSION_FENCE;
    q->session_fence = &u->fence;
}

static void fill_read(Hf__Client__Request *q, union operation *u, const struct op *o, ProtobufCBinaryData name)
{
    if (o->kind == OP_GET) {
        u->get = (Hf__Client__Get)HF__CLIENT__GET__INIT;
        u->get.key = name;
        q->op_case = HF__CLIENT__REQUEST__OP_GET;
        q->get = &u->get;
        return;
    }
    u->scan = (Hf__Client__Scan)HF__CLIENT__SCAN__INIT;
    u->scan.start = pack_bytes(slice_text(o->shard == 1 ? "a" : "x"));
    u->scan.end = pack_bytes(slice_text(o->shard == 1 ? "b" : "y"));
    q->op_case = HF__CLIENT__REQUEST__OP_SCAN;
    q->scan = &u->scan;
}

static void fill(Hf__Client__Request *q, union operation *u, struct op *o, ProtobufCBinaryData name)
{
    ProtobufCBinaryData value = {.len = sizeof o->lin.value, .data = (uint8_t *)&o->lin.value};
    ProtobufCBinaryData expected = {.len = sizeof o->lin.expected, .data = (uint8_t *)&o->lin.expected};
    switch (o->kind) {
    case OP_PUT:
        u->put = (Hf__Client__Put)HF__CLIENT__PUT__INIT;
        u->put.key = name;
        u->put.value = value;
        q->op_case = HF__CLIENT__REQUEST__OP_PUT;
        q->put = &u->put;
        break;
    case OP_CAS:
        u->cas = (Hf__Client__Cas)HF__CLIENT__CAS__INIT;
        u->cas.key = name;
        u->cas.value = value;
        u->cas.has_expected = o->lin.expected != LIN_ABSENT;
        if (u->cas.has_expected)
            u->cas.expected = expected;
        q->op_case = HF__CLIENT__REQUEST__OP_CAS;
        q->cas = &u->cas;
        break;
    case OP_DEL:
    case OP_DELETE_PREFIX:
        u->key = (Hf__Client__Key)HF__CLIENT__KEY__INIT;
        u->key.key = name;
        if (o->kind == OP_DELETE_PREFIX)
            u->key.key.len = 1;
        q->op_case = o->kind == OP_DEL ? HF__CLIENT__REQUEST__OP_DEL : HF__CLIENT__REQUEST__OP_DELETE_PREFIX;
        q->del = &u->key; /* one union */
        break;
    case OP_GET:
    case OP_SCAN:
        fill_read(q, u, o, name);
        break;
    }
}

static void attempt(struct client *c, struct op *o)
{
    struct world *w = c->world;
    if (o->attempts == ATTEMPTS_MAX) { /* older answers are taken no more */
        memmove(o->ids, o->ids + 1, (ATTEMPTS_MAX - 1) * sizeof o->ids[0]);
        memmove(o->fences, o->fences + 1, (ATTEMPTS_MAX - 1) * sizeof o->fences[0]);
        o->doubt |= (o->unanswered & 1) != 0;
        o->unanswered >>= 1;
        o->attempts--;
    }
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    union operation u;
    char name[8];
    q.id = ++w->actors->last_id;
    q.deadline_ms = 1000;
    if (o->fencing) {
        fill_fence(&q, &u, o);
        q.shard = o->shard;
    } else {
        fill(&q, &u, o, pack_bytes(key_name(o->key, name)));
        q.session = o->session;
        q.seq = o->seq;
        q.done_below = o->session != 0 ? done_below(c, o->shard) : 0;
        q.shard = o->session != 0 ? o->shard : 0;
    }
    o->ids[o->attempts] = q.id;
    o->fences[o->attempts] = o->fencing;
    o->unanswered |= UINT64_C(1) << o->attempts++;
    o->next_at = w->now + ATTEMPT_MS * SIM_MS;
    uint32_t to = target(c, o->shard);
    world_trace(w, 0, "value", o->lin.value, o->session);
    world_trace(w, 0, "ask", q.id, to);
    say(c, to, &q);
}

/* ---- how operations end ---- */

static void tell(struct client *c, const struct op *o, unsigned key, struct lin_op op, enum judge_fate fate)
{
    op.returned = c->world->now;
    judge_op(c->world, key, op, fate, o->session != 0);
}

static void end(struct client *c, struct op *o, enum judge_fate fate, enum lin_outcome outcome)
{
    unsigned first = o->shard == 1 ? 0 : JUDGE_KEYS / 2;
    o->lin.outcome = outcome;
    world_trace(c->world, 0, "end", (uint64_t)fate, (uint64_t)outcome);
    if (o->kind == OP_DELETE_PREFIX) {
        for (unsigned k = first; k < first + JUDGE_KEYS / 2; k++)
            tell(c, o, k, o->lin, fate);
    } else if (o->kind != OP_SCAN) {
        tell(c, o, o->key, o->lin, fate);
        if (fate == JUDGE_DONE && outcome == LIN_DONE)
            c->seen[o->key] = o->kind == OP_DEL ? LIN_ABSENT : o->lin.value;
    }
    c->world->result.writes_done += fate == JUDGE_DONE;
    c->last += o->last && fate == JUDGE_DONE;
    o->used = false;
}

/* Where a write stands, or what a read found. */
static void tell_version(struct client *c, const struct op *o, const Hf__Client__Version *v)
{
    unsigned first = o->kind == OP_DELETE_PREFIX ? (o->shard == 1 ? 0 : JUDGE_KEYS / 2) : o->key;
    unsigned count = o->kind == OP_DELETE_PREFIX ? JUDGE_KEYS / 2 : 1;
    if (v == NULL || o->kind == OP_SCAN)
        return;
    struct version version = {.t = {v->t}, .seq = v->seq};
    for (unsigned k = first; k < first + count; k++)
        if (o->kind == OP_GET)
            history_read(c->world, k, 0, o->lin.value, version, &o->floor);
        else
            history_wrote(c->world, k, o->lin.value, version, &o->floor, true);
}

static uint32_t value_of(ProtobufCBinaryData bytes)
{
    uint32_t value = LIN_ABSENT;
    if (bytes.len == sizeof value)
        memcpy(&value, bytes.data, sizeof value);
    return value;
}

/* Each key of the shard was read: those that are not there too. */
static void end_scan(struct client *c, struct op *o, const Hf__Client__Reply *r)
{
    unsigned first = o->shard == 1 ? 0 : JUDGE_KEYS / 2;
    for (unsigned k = first; k < first + JUDGE_KEYS / 2; k++) {
        char name[8];
        struct slice wanted = key_name(k, name);
        struct lin_op op = o->lin;
        op.value = LIN_ABSENT;
        for (size_t i = 0; i < r->n_items; i++)
            if (slice_equal(pack_slice(r->items[i]->key), wanted))
                op.value = value_of(r->items[i]->value);
        tell(c, o, k, op, JUDGE_DONE);
    }
    o->used = false;
}

static void end_well(struct client *c, struct op *o, const Hf__Client__Reply *r)
{
    if (o->kind == OP_SCAN) {
        end_scan(c, o, r);
        return;
    }
    if (o->kind == OP_GET)
        o->lin.value = r->code == HF_OK ? value_of(r->value) : LIN_ABSENT;
    if (r->code == HF_OK)
        tell_version(c, o, o->kind == OP_GET ? r->found : r->written);
    end(c, o, JUDGE_DONE, r->code == HF_E_COMPARE_FAILED ? LIN_MISMATCH : LIN_DONE);
}

static void fence_heard(struct client *c, struct op *o, const Hf__Client__Reply *r)
{
    if (r->code == HF_E_SESSION_UNKNOWN || r->code == HF_E_SESSION_WINDOW)
        world_failed(c->world, "sessions", "fence of (%" PRIu64 ", %" PRIu64 "): %s", o->session, o->seq,
                     error_text(r->code));
    if (r->code != HF_OK)
        return; /* asked again */
    if (r->outcome == HF_OK)
        tell_version(c, o, r->written);
    if (r->outcome == HF_E_FENCED)
        end(c, o, JUDGE_NOT, LIN_DONE);
    else
        end(c, o, JUDGE_DONE, r->outcome == HF_E_COMPARE_FAILED ? LIN_MISMATCH : LIN_DONE);
}

static bool reads(const struct op *o)
{
    return o->kind == OP_GET || o->kind == OP_SCAN;
}

static void op_heard(struct client *c, struct op *o, unsigned n, const Hf__Client__Reply *r)
{
    struct world *w = c->world;
    o->unanswered &= ~(UINT64_C(1) << n);
    world_trace(w, 0, "heard", r->id, (uint64_t)-r->code);
    if (o->fences[n]) {
        fence_heard(c, o, r);
        return;
    }
    bool mismatch = r->code == HF_E_COMPARE_FAILED && o->kind == OP_CAS;
    if (r->code == HF_OK || mismatch || (r->code == HF_E_NOT_FOUND && o->kind == OP_GET)) {
        end_well(c, o, r);
        return;
    }
    if (r->code == HF_E_CORRUPT && reads(o)) { /* damage.c: it learns nothing */
        end(c, o, JUDGE_NOT, LIN_UNKNOWN);
        return;
    }
    switch (error_class(r->code)) {
    case HF_CLASS_OUTCOME_UNKNOWN:
        o->doubt = true;
        if (o->session == 0 && !reads(o))
            end(c, o, JUDGE_UNKNOWN, LIN_UNKNOWN);
        break;
    case HF_CLASS_GIVE_UP:
    case HF_CLASS_NONE:
        if (r->code == HF_E_FENCED && o->fencing)
            end(c, o, JUDGE_NOT, LIN_DONE);
        else
            world_failed(w, "sessions", "session %" PRIu64 " seq %" PRIu64 ": answered %s", o->session, o->seq,
                         error_text(r->code));
        return;
    case HF_CLASS_RETRY_SAME:
    case HF_CLASS_RETRY_ELSEWHERE:
    case HF_CLASS_REFRESH_ROUTE:
        c->places[o->shard].leader = r->leader; /* 0: anybody */
        break;
    }
    if (o->used)
        o->next_at = w->now + (1 + world_below(w, PAUSE_MS)) * SIM_MS;
}

static void heard(void *ctx, struct slice frame)
{
    struct client *c = ctx;
    Hf__Client__Reply *r = hf__client__reply__unpack(NULL, frame.size, frame.data);
    must(r != NULL);
    for (uint32_t s = 1; s <= WORLD_SHARDS; s++) {
        struct place *p = &c->places[s];
        if (p->opening == r->id) {
            p->opening = 0;
            p->session = r->code == HF_OK ? r->session : 0;
            p->next_seq = 1;
        }
    }
    if (c->timestamp_id == r->id) {
        c->timestamp_id = 0;
        if (r->code == HF_OK)
            judge_timestamp(c->world, c->timestamp_asked, 0, r->timestamp);
    }
    if (c->routes_id == r->id) {
        c->routes_id = 0;
        c->routes_version += r->code == HF_OK;
    }
    for (size_t i = 0; i < OPS_MAX; i++)
        for (unsigned n = 0; n < c->ops[i].attempts && c->ops[i].used; n++)
            if (c->ops[i].ids[n] == r->id && (c->ops[i].unanswered >> n & 1) != 0)
                op_heard(c, &c->ops[i], n, r);
    hf__client__reply__free_unpacked(r, NULL);
}

/* ---- what a client does when its time comes ---- */

static void open_session(struct client *c, uint32_t shard)
{
    struct place *p = &c->places[shard];
    if (p->session != 0 || (p->opening != 0 && c->world->now < p->opening_until))
        return;
    Hf__Client__SessionOpen open = HF__CLIENT__SESSION_OPEN__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    p->opening = q.id = ++c->world->actors->last_id;
    p->opening_until = c->world->now + ATTEMPT_MS * SIM_MS;
    p->leader = 0;
    q.shard = shard;
    q.deadline_ms = 1000;
    q.op_case = HF__CLIENT__REQUEST__OP_SESSION_OPEN;
    q.session_open = &open;
    say(c, target(c, shard), &q);
}

static enum op_kind some_kind(struct world *w)
{
    uint64_t n = world_below(w, 100);
    return n < 36 ? OP_PUT : n < 60 ? OP_GET : n < 82 ? OP_CAS : n < 92 ? OP_DEL : n < 97 ? OP_SCAN : OP_DELETE_PREFIX;
}

static void begin(struct client *c, struct op *o, unsigned key, enum op_kind kind)
{
    struct world *w = c->world;
    struct actors *a = w->actors;
    *o = (struct op){.key = key, .kind = kind, .shard = history_shard(key), .last = a->last};
    if (a->key_ops[key]++ >= KEY_OPS_MAX && !a->last)
        return;
    static const enum lin_kind kinds[] = {LIN_PUT, LIN_GET, LIN_CAS, LIN_DEL, LIN_GET, LIN_DEL};
    o->lin = (struct lin_op){.kind = kinds[o->kind], .invoked = w->now};
    o->floor = history_floor(w);
    if (o->kind == OP_PUT || o->kind == OP_CAS)
        o->lin.value = ++a->last_value;
    if (o->kind == OP_CAS)
        o->lin.expected = c->seen[key];
    struct place *p = &c->places[o->shard];
    if (c->sessions && !reads(o) && !a->last) {
        if (p->session == 0)
            return; /* not open yet */
        o->session = p->session;
        o->seq = p->next_seq++;
    }
    o->used = true;
    o->deadline = w->now + OPERATION_MS * SIM_MS;
    attempt(c, o);
}

/* An operation without an answer for a while. */
static void go_on(struct client *c, struct op *o)
{
    struct world *w = c->world;
    bool late = w->now >= o->deadline;
    bool may_be_done = o->unanswered != 0 || o->doubt;
    if (late && o->session == 0) {
        end(c, o, reads(o) || !may_be_done ? JUDGE_NOT : JUDGE_UNKNOWN, LIN_UNKNOWN);
        return;
    }
    if (w->now < o->next_at)
        return;
    if (late)
        o->fencing = true;
    if (o->session == 0 && !reads(o) && may_be_done)
        return; /* it may be executed once: waits */
    if (o->unanswered != 0)
        c->places[o->shard].leader = 0;
    attempt(c, o);
}

static void ask_timestamp(struct client *c)
{
    struct world *w = c->world;
    Hf__Client__Timestamp timestamp = HF__CLIENT__TIMESTAMP__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    c->timestamp_id = q.id = ++w->actors->last_id;
    c->timestamp_asked = judge_timestamp_asked(w);
    q.op_case = HF__CLIENT__REQUEST__OP_TIMESTAMP;
    q.timestamp = &timestamp;
    say(c, some_coordinator(w), &q);
}

/* The operator: routes, perhaps wrong ones first. */
static void write_routes(struct client *c)
{
    struct world *w = c->world;
    uint64_t last = w->actors->wrong_first ? 2 : 1;
    if (w->healing && last == 2 &&
        !c->routes_again) { /* the wrong ones may have arrived once more, behind the right ones */
        c->routes_again = true;
        if (c->routes_version == 2)
            c->routes_version = 1;
    }
    if (c->routes_version == last || w->now < c->routes_at)
        return;
    c->routes_at = w->now + ATTEMPT_MS * SIM_MS;
    bool wrong = w->actors->wrong_first && c->routes_version == 0;
    if (w->actors->wrong_first && c->routes_version == 1 && w->now < 2000 * SIM_MS && !w->healing)
        return; /* the wrong ones are in use for a while */
    struct buf packed = {0};
    routes_packed(c->routes_version + 1, wrong, &packed);
    Hf__Client__Put put = HF__CLIENT__PUT__INIT;
    put.key = pack_bytes(slice_text("routes"));
    put.value = pack_bytes(buf_slice(&packed));
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    c->routes_id = q.id = ++w->actors->last_id;
    q.space = HF__ENTRY__SPACE__CATALOG;
    q.shard = 1;
    q.op_case = HF__CLIENT__REQUEST__OP_PUT;
    q.put = &put;
    for (uint32_t r = 1; r <= WORLD_REPLICAS; r++)
        if (replica_process_leads(w->processes[world_replica(1, r)]))
            say(c, world_replica(1, r), &q);
    buf_deinit(&packed);
}

static bool busy(const struct world *w)
{
    return !w->healing && !w->options.calm;
}

void actors_act(struct world *w, uint32_t number)
{
    struct client *c = &w->actors->clients[number];
    if (number == 0)
        write_routes(c);
    for (uint32_t s = 1; s <= WORLD_SHARDS && c->sessions && busy(w); s++)
        open_session(c, s);
    for (size_t i = 0; i < OPS_MAX; i++)
        if (c->ops[i].used)
            go_on(c, &c->ops[i]);
    for (size_t i = 0; i < OPS_MAX && busy(w); i++)
        if (!c->ops[i].used && world_below(w, 3) == 0) {
            begin(c, &c->ops[i], (unsigned)world_below(w, JUDGE_KEYS), some_kind(w));
            break;
        }
    if (w->actors->last && c->last < WORLD_SHARDS && !c->ops[0].used)
        begin(c, &c->ops[0], c->last * (JUDGE_KEYS / 2), OP_PUT);
    if (busy(w) && world_below(w, 10) == 0)
        ask_timestamp(c);
    world_schedule(w, (struct world_event){.kind = WORLD_CLIENT, .who = number},
                   w->now + (1 + world_below(w, 30)) * SIM_MS);
}

uint32_t actors_value(struct world *w)
{
    return ++w->actors->last_value;
}

void actors_last(struct world *w)
{
    w->actors->last = true;
}

bool actors_done(const struct world *w)
{
    for (uint32_t i = 0; i < WORLD_CLIENTS; i++)
        for (size_t o = 0; o < OPS_MAX; o++)
            if (w->actors->clients[i].ops[o].used)
                return false;
    for (uint32_t i = 0; i < WORLD_CLIENTS && w->actors->last; i++)
        if (w->actors->clients[i].last < WORLD_SHARDS)
            return false;
    return true;
}

struct actors *actors_new(struct world *w)
{
    struct actors *a = calloc(1, sizeof *a);
    must(a != NULL);
    a->wrong_first = !w->options.calm && world_below(w, 4) == 0;
    for (uint32_t i = 0; i < WORLD_CLIENTS; i++) {
        struct client *c = &a->clients[i];
        c->world = w;
        c->number = i;
        c->routed = world_below(w, 3) != 0;
        c->sessions = world_below(w, 4) != 0;
        for (uint32_t p = 1; p < WORLD_PROCESSES; p++)
            c->sockets[p] = wire_client(w, 0, w->processes[p]->client, heard, c);
        world_schedule(w, (struct world_event){.kind = WORLD_CLIENT, .who = i}, w->now + i * SIM_MS);
    }
    return a;
}

void actors_free(struct actors **a)
{
    free(*a);
    *a = NULL;
}
