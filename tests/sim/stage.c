/* stage.c: see stage.h. */
#include "tests/sim/stage.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "proto/pack.h"
#include "tests/sim/world/wire.h"

#define CALLS_MAX 4096
#define ID_FIRST (UINT64_C(1) << 38)
#define WAIT_MS 15000
#define ASK_MS 1500

struct call {
    struct stage_answer *answer; /* borrowed */
    unsigned key;                /* of a write or a read */
    uint32_t value;              /* written; LIN_ABSENT: it reads */
    uint64_t at, known, above;
    struct history_floor floor;
};

bool stage_bug;
uint64_t stage_ttl_ms;
static struct call calls[CALLS_MAX];
static uint64_t count;
static struct net_socket *sockets[WORLD_PROCESSES];

static void heard(void *ctx, struct slice frame)
{
    struct world *w = ctx;
    Hf__Client__Reply *r = hf__client__reply__unpack(NULL, frame.size, frame.data);
    must(r != NULL);
    if (r->id < ID_FIRST || r->id - ID_FIRST >= count) { /* of a frame of somebody else's */
        hf__client__reply__free_unpacked(r, NULL);
        return;
    }
    const struct call *c = &calls[r->id - ID_FIRST];
    *c->answer = (struct stage_answer){.came = true, .code = r->code, .timestamp = r->timestamp};
    const Hf__Client__Version *v = r->written != NULL ? r->written : r->found;
    if (v != NULL)
        c->answer->version = (struct version){.t = {v->t}, .seq = v->seq};
    if (r->value.len == sizeof c->answer->value)
        memcpy(&c->answer->value, r->value.data, sizeof c->answer->value);
    bool read = r->code == HF_OK || r->code == HF_E_NOT_FOUND;
    if (c->known != 0 && r->code == HF_OK)
        judge_timestamp(w, c->known, c->above, r->timestamp);
    else if (c->value != LIN_ABSENT && r->code == HF_OK)
        history_wrote(w, c->key, c->value, c->answer->version, &c->floor, true);
    else if (c->at != 0 && read)
        history_read(w, c->key, c->at, c->answer->value, c->answer->version, &c->floor);
    hf__client__reply__free_unpacked(r, NULL);
}

static void say(struct world *w, uint32_t process, Hf__Client__Request *q, const struct call *call)
{
    struct buf packed = {0};
    must(count < CALLS_MAX);
    q->version = 1;
    q->cluster = WORLD_CLUSTER;
    q->id = ID_FIRST + count;
    q->deadline_ms = 20000;
    *call->answer = (struct stage_answer){0};
    calls[count++] = *call;
    pack_append(&q->base, &packed);
    world_trace(w, 0, "ask", q->id, process);
    int rc = net_send(sockets[process], buf_slice(&packed));
    (void)rc; /* as lost */
    buf_deinit(&packed);
}

static struct slice key_name(unsigned key, char out[8])
{
    snprintf(out, 8, "%c%u", history_shard(key) == 1 ? 'a' : 'x', key);
    return slice_text(out);
}

void stage_send_put(struct world *w, uint32_t process, unsigned key, uint32_t value, struct stage_answer *answer)
{
    char name[8];
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    Hf__Client__Put put = HF__CLIENT__PUT__INIT;
    put.key = pack_bytes(key_name(key, name));
    put.value = pack_bytes(slice_make(&value, sizeof value));
    put.ttl_ms = stage_ttl_ms;
    q.op_case = HF__CLIENT__REQUEST__OP_PUT;
    q.put = &put;
    say(w, process, &q, &(struct call){.answer = answer, .key = key, .value = value, .floor = history_floor(w)});
}

void stage_send_look(struct world *w, uint32_t process, unsigned key, const struct stage_moment *at,
                     struct stage_answer *answer)
{
    char name[8];
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    Hf__Client__Get get = HF__CLIENT__GET__INIT;
    get.key = pack_bytes(key_name(key, name));
    get.at = at->t;
    q.op_case = HF__CLIENT__REQUEST__OP_GET;
    q.get = &get;
    say(w, process, &q, &(struct call){.answer = answer, .key = key, .at = at->t, .floor = at->floor});
}

void stage_send_frame(struct world *w, uint32_t process, struct slice frame)
{
    world_trace(w, 0, "frame", frame.size, process);
    int rc = net_send(sockets[process], frame);
    (void)rc; /* as lost */
}

static void send_timestamp(struct world *w, uint32_t coordinator, uint64_t above, struct stage_answer *answer)
{
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    Hf__Client__Timestamp timestamp = HF__CLIENT__TIMESTAMP__INIT;
    timestamp.above = above;
    q.op_case = HF__CLIENT__REQUEST__OP_TIMESTAMP;
    q.timestamp = &timestamp;
    say(w, coordinator, &q, &(struct call){.answer = answer, .known = judge_timestamp_asked(w), .above = above});
}

void stage_run(struct world *w, uint64_t ms)
{
    bool ok = world_run_until(w, w->now + ms * SIM_MS);
    (void)ok; /* stage_end says what was found */
}

bool stage_until(struct world *w, uint64_t ms_max, bool (*done)(struct world *w))
{
    uint64_t end = w->now + ms_max * SIM_MS;
    while (!done(w) && w->now < end && !w->result.failed)
        stage_run(w, 1);
    return done(w);
}

static bool came(struct world *w, const struct stage_answer *answer, uint64_t ms_max)
{
    uint64_t end = w->now + ms_max * SIM_MS;
    while (!answer->came && w->now < end && !w->result.failed)
        stage_run(w, 1);
    return answer->came;
}

/* ---- who is who ---- */

uint32_t stage_leader(struct world *w, uint32_t shard)
{
    uint32_t best = 0;
    uint64_t term = 0;
    for (uint32_t p = world_replica(shard, 1); p <= world_replica(shard, WORLD_REPLICAS); p++)
        if (replica_process_serves(w->processes[p], &term))
            best = p;
    return best;
}

uint32_t stage_active(struct world *w)
{
    for (uint32_t c = 1; c <= WORLD_COORDINATORS; c++)
        if (coordinator_process_active(w->processes[world_coordinator(c)]))
            return world_coordinator(c);
    return 0;
}

void stage_cut(struct world *w, uint32_t a, uint32_t b)
{
    w->cut[a][b] = w->cut[b][a] = true;
}

void stage_cut_coordinators(struct world *w, uint32_t shard)
{
    for (uint32_t r = 1; r <= WORLD_REPLICAS; r++)
        for (uint32_t c = 1; c <= WORLD_COORDINATORS; c++)
            stage_cut(w, world_replica(shard, r), world_coordinator(c));
}

void stage_mend(struct world *w)
{
    memset(w->cut, 0, sizeof w->cut);
}

void stage_other_leader(struct world *w, uint32_t shard)
{
    bool before[WORLD_PROCESSES][WORLD_PROCESSES];
    uint32_t old = stage_leader(w, shard);
    memcpy(before, w->cut, sizeof before);
    for (uint32_t other = 0; other < WORLD_PROCESSES; other++)
        stage_cut(w, old, other);
    for (uint64_t end = w->now + WAIT_MS * SIM_MS; w->now < end && !w->result.failed;) {
        stage_run(w, 1);
        uint32_t now = stage_leader(w, shard);
        if (now != 0 && now != old)
            break;
    }
    EXPECT(stage_leader(w, shard) != old && stage_leader(w, shard) != 0);
    memcpy(w->cut, before, sizeof before);
}

/* ---- requests that end well ---- */

struct stage_answer stage_put(struct world *w, unsigned key, uint32_t value)
{
    static struct stage_answer answer[CALLS_MAX];
    for (uint64_t end = w->now + WAIT_MS * SIM_MS; w->now < end && !w->result.failed; stage_run(w, 5)) {
        uint32_t to = stage_leader(w, history_shard(key));
        struct stage_answer *a = &answer[count];
        if (to == 0)
            continue;
        stage_send_put(w, to, key, value, a);
        if (came(w, a, ASK_MS) && a->code == HF_OK)
            return *a;
        must(!a->came ||
             error_class(a->code) != HF_CLASS_OUTCOME_UNKNOWN); /* a scenario in which that may be sends itself */
    }
    EXPECT(false && "a write was not done");
    return (struct stage_answer){0};
}

struct stage_answer stage_look(struct world *w, unsigned key, const struct stage_moment *at)
{
    static struct stage_answer answer[CALLS_MAX];
    struct stage_answer last = {0};
    for (uint64_t end = w->now + WAIT_MS * SIM_MS; w->now < end && !w->result.failed; stage_run(w, 5)) {
        uint32_t to = stage_leader(w, history_shard(key));
        struct stage_answer *a = &answer[count];
        if (to == 0)
            continue;
        stage_send_look(w, to, key, at, a);
        if (!came(w, a, ASK_MS))
            continue;
        last = *a;
        if (a->code == HF_OK || a->code == HF_E_NOT_FOUND || error_class(a->code) == HF_CLASS_GIVE_UP)
            return last;
    }
    EXPECT(false && "a read was not answered");
    return last;
}

struct stage_answer stage_ask_timestamp(struct world *w, uint32_t coordinator, uint64_t above)
{
    static struct stage_answer answer[CALLS_MAX];
    struct stage_answer *a = &answer[count];
    send_timestamp(w, coordinator, above, a);
    (void)came(w, a, ASK_MS);
    return *a;
}

struct stage_moment stage_timestamp(struct world *w, uint64_t above)
{
    struct stage_moment out = {.floor = history_floor(w)};
    for (uint64_t end = w->now + WAIT_MS * SIM_MS; w->now < end && !w->result.failed; stage_run(w, 5)) {
        uint32_t active = stage_active(w);
        struct stage_answer a = {0};
        if (active != 0)
            a = stage_ask_timestamp(w, active, above);
        if (a.came && a.code == HF_OK) {
            out.t = a.timestamp;
            return out;
        }
    }
    EXPECT(false && "no timestamp was issued");
    return out;
}

/* ---- life ---- */

static bool ready(struct world *w)
{
    return stage_leader(w, 1) != 0 && stage_leader(w, 2) != 0 && stage_active(w) != 0;
}

struct world *stage_new(uint64_t seed)
{
    struct sim_options options = {.seed = seed, .calm = true, .verbose = getenv("SIM_TRACE") != NULL};
    struct world *w = world_new(&options);
    count = 0;
    stage_ttl_ms = 0;
    for (uint32_t p = 1; p < WORLD_PROCESSES; p++)
        sockets[p] = wire_client(w, 0, w->processes[p]->client, heard, w);
    EXPECT(stage_until(w, WAIT_MS, ready));
    struct stage_moment t = stage_timestamp(w, 0);
    for (uint32_t s = 1; s <= WORLD_SHARDS; s++) {
        stage_put(w, s == 1 ? 0 : JUDGE_KEYS / 2, 50000 + s);
        stage_look(w, s == 1 ? 0 : JUDGE_KEYS / 2, &t); /* its lease is there */
    }
    return w;
}

const char *stage_end(struct world **w)
{
    static struct sim_result result;
    (*w)->filter = NULL;
    if (!(*w)->result.failed)
        world_finish(*w);
    result = (*w)->result;
    if (result.failed && !stage_bug)
        printf("\n  found by %s: %s\n", result.checker, result.text);
    world_free(w);
    return result.failed ? result.checker : NULL;
}
