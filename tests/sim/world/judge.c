/* judge.c: see judge.h. */
#include "tests/sim/world/judge.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/base/hashmap.h"
#include "proto/client.pb-c.h"
#include "shard/fsm/fsm_internal.h"
#include "shard/fsm/versions.h"
#include "shard/fsm/vkey.h"
#include "tests/sim/column.h"
#include "tests/sim/world/process.h"
#include "tests/sim/world/wire.h"

struct judge {
    struct column
        chain[WORLD_SHARDS + 1]; /* state by applied index, and whether its epoch is an even one: two share a seal's */
    uint64_t applied[WORLD_PROCESSES];
    struct lin_op *ops[JUDGE_KEYS]; /* owned */
    size_t count[JUDGE_KEYS], cap[JUDGE_KEYS];
    struct column fate;    /* by value: 1 + enum judge_fate */
    struct column found;   /* by value: how often it is in the store */
    struct column removed; /* by value: likewise in what was collected, for each replica that did */
    struct column session; /* by value: it was written through a session */
    uint64_t values;
    struct hashmap open[WORLD_COORDINATORS + 1]; /* requests that a coordinator has: by client and id, a counter */
    struct hashmap issued;
    uint64_t last_issued; /* highest timestamp that left a coordinator */
};

struct judge *judge_new(void)
{
    struct judge *j = calloc(1, sizeof *j);
    must(j != NULL);
    return j;
}

void judge_free(struct judge **jj)
{
    struct judge *j = *jj;
    if (j == NULL)
        return;
    for (uint32_t s = 0; s <= WORLD_SHARDS; s++)
        column_deinit(&j->chain[s]);
    for (unsigned k = 0; k < JUDGE_KEYS; k++)
        free(j->ops[k]);
    column_deinit(&j->fate);
    column_deinit(&j->found);
    column_deinit(&j->session);
    column_deinit(&j->removed);
    for (uint32_t c = 0; c <= WORLD_COORDINATORS; c++)
        hashmap_deinit(&j->open[c]);
    hashmap_deinit(&j->issued);
    free(j);
    *jj = NULL;
}

/* ---- state ---- */

void judge_applied(struct world *w, uint32_t process, struct fsm *fsm, const struct simstore *store)
{
    struct judge *j = w->judge;
    if (fsm == NULL)
        return;
    const struct fsm_info *info = fsm_info(fsm);
    uint64_t index = info->applied.index, digest;
    if (index == j->applied[process])
        return;
    j->applied[process] = index;
    memcpy(&digest, info->digest, sizeof digest);
    uint64_t chain = ((digest ^ simstore_content(store)) + info->applied.term * 31) | 1;
    struct column *known = &j->chain[w->processes[process]->shard];
    uint64_t place = 2 * index + info->applied.epoch % 2, before = column_get(known, place);
    if (before != 0 && before != chain)
        world_failed(w, "world.state", "replica %u/%u differs from others at applied index %" PRIu64,
                     w->processes[process]->shard, w->processes[process]->id, index);
    column_set(known, place, chain);
    world_trace(w, process, "applied", index, chain);
}

void judge_durable(struct world *w, uint32_t process, struct fsm *fsm, const char *what, uint64_t index)
{
    struct fsm_applied durable = {0};
    must(fsm == NULL || fsm_durable_applied(fsm, &durable) == 0);
    world_trace(w, process, what, index, durable.index);
    if (index > durable.index)
        world_failed(w, "world.snapshots", "replica %u/%u: %s at %" PRIu64 ", durable is %" PRIu64,
                     w->processes[process]->shard, w->processes[process]->id, what, index, durable.index);
}

void judge_installs(struct world *w, uint32_t process, uint64_t index)
{
    uint64_t applied = w->judge->applied[process];
    world_trace(w, process, "install", index, applied);
    if (index < applied)
        world_failed(w, "world.snapshots", "replica %u/%u: its state goes back from %" PRIu64 " to %" PRIu64,
                     w->processes[process]->shard, w->processes[process]->id, applied, index);
}

void judge_lost(struct world *w, uint32_t process)
{
    w->judge->applied[process] = 0;
}

bool judge_level(const struct world *w)
{
    for (uint32_t s = 1; s <= WORLD_SHARDS; s++) {
        uint64_t first = 0;
        for (uint32_t r = 1; r <= WORLD_REPLICAS; r++) {
            const struct fsm *fsm = replica_process_fsm(w->processes[world_replica(s, r)]);
            if (fsm == NULL || (r > 1 && fsm_info(fsm)->applied.index != first))
                return false;
            first = fsm_info(fsm)->applied.index;
        }
    }
    return true;
}

/* ---- answers ---- */

static uint64_t request_key(uint64_t client, uint64_t id)
{
    return client << 40 ^ id;
}

static uint32_t coordinator_of(const struct world *w, uint32_t process)
{
    const struct process *p = w->processes[process];
    return p != NULL && p->shard == 0 ? p->id : 0;
}

void judge_delivered(struct world *w, uint32_t process, const struct wire_frame *frame, bool listens)
{
    uint32_t c = coordinator_of(w, process);
    if (c == 0 || !listens)
        return;
    Hf__Client__Request *q = hf__client__request__unpack(NULL, frame->size, frame->bytes);
    must(q != NULL);
    uint64_t key = request_key(frame->from, q->id);
    hf__client__request__free_unpacked(q, NULL);
    uintptr_t had = (uintptr_t)hashmap_get(&w->judge->open[c], key);
    hashmap_put(&w->judge->open[c], key, (void *)(had + 1));
}

void judge_answered(struct world *w, uint32_t process, uint64_t to, struct slice frame)
{
    uint32_t c = coordinator_of(w, process);
    if (c == 0)
        return;
    Hf__Client__Reply *r = hf__client__reply__unpack(NULL, frame.size, frame.data);
    must(r != NULL);
    uint64_t id = r->id, key = request_key(to, id);
    hf__client__reply__free_unpacked(r, NULL);
    uintptr_t had = (uintptr_t)hashmap_get(&w->judge->open[c], key);
    if (had == 0) {
        world_failed(w, "answers", "coordinator %u answered request %" PRIu64 " of client %" PRIu64 " once more", c, id,
                     to);
        return;
    }
    if (had == 1)
        hashmap_remove(&w->judge->open[c], key);
    else
        hashmap_put(&w->judge->open[c], key, (void *)(had - 1));
}

void judge_coordinator_died(struct world *w, uint32_t process)
{
    uint32_t c = coordinator_of(w, process);
    if (c != 0)
        hashmap_deinit(&w->judge->open[c]);
}

static void all_answered(struct world *w)
{
    for (uint32_t c = 1; c <= WORLD_COORDINATORS; c++) {
        size_t at = 0;
        uint64_t key;
        void *value;
        if (hashmap_each(&w->judge->open[c], &at, &key, &value))
            world_failed(w, "answers", "coordinator %u never answered request %" PRIu64 " of client %" PRIu64, c,
                         key & ((UINT64_C(1) << 40) - 1), key >> 40);
    }
}

/* ---- oracle ---- */

uint64_t judge_timestamp_asked(const struct world *w)
{
    return w->judge->last_issued;
}

/* Also between two requests that nothing orders: who draws does so under a lease that no two hold at once. */
void judge_drawn(struct world *w, uint32_t process, uint64_t t)
{
    struct judge *j = w->judge;
    world_trace(w, process, "drawn", t, 0);
    if (t <= j->last_issued)
        world_failed(w, "oracle", "coordinator %" PRIu32 " lets %" PRIx64 " leave, %" PRIx64 " has left",
                     w->processes[process]->id, t, j->last_issued);
    hashmap_put(&j->issued, t, j);
    if (t > j->last_issued)
        j->last_issued = t;
    w->result.timestamps++;
}

void judge_cut(struct world *w, uint64_t asked, uint64_t t)
{
    if (t <= asked || hashmap_get(&w->judge->issued, t) == NULL)
        world_failed(w, "oracle", "cut %" PRIx64 " was issued by nobody, or after %" PRIx64 " was known", t, asked);
    w->result.cuts++;
}

void judge_timestamp(struct world *w, uint64_t asked, uint64_t above, uint64_t t)
{
    struct judge *j = w->judge;
    if (t <= asked || t <= above)
        world_failed(w, "oracle", "timestamp %" PRIx64 " was issued after %" PRIx64 " was known, above %" PRIx64, t,
                     asked, above);
    void *was = hashmap_put(&j->issued, t, w); /* w: a client has it */
    if (was != j)
        world_failed(w, "oracle", "timestamp %" PRIx64 " was issued twice, or by nobody", t);
}

/* ---- keys ---- */

void judge_op(struct world *w, unsigned key, struct lin_op op, enum judge_fate fate, bool session)
{
    struct judge *j = w->judge;
    bool writes = op.kind == LIN_PUT || op.kind == LIN_CAS;
    if (writes) {
        enum judge_fate written = fate == JUDGE_DONE && op.outcome == LIN_MISMATCH ? JUDGE_NOT : fate;
        column_set(&j->fate, op.value, 1 + (uint64_t)written);
        column_set(&j->session, op.value, session);
        j->values = op.value > j->values ? op.value : j->values;
    }
    if (fate == JUDGE_NOT || (fate == JUDGE_UNKNOWN && op.kind == LIN_GET))
        return;
    if (fate == JUDGE_UNKNOWN)
        op.outcome = LIN_UNKNOWN;
    if (j->count[key] == j->cap[key]) {
        j->cap[key] = j->cap[key] == 0 ? 64 : 2 * j->cap[key];
        j->ops[key] = realloc(j->ops[key], j->cap[key] * sizeof **j->ops);
        must(j->ops[key] != NULL);
    }
    j->ops[key][j->count[key]++] = op;
}

static void count_value(struct column *counts, struct slice key, struct slice bytes)
{
    struct version_value value;
    uint32_t number;
    must(versions_decode(bytes, &value));
    if (key.data[1] != FSM_USER || value.payload.size < sizeof number)
        return;
    memcpy(&number, value.payload.data, sizeof number);
    column_set(counts, number, column_get(counts, number) + 1);
}

void judge_removed(struct world *w, struct slice key, struct slice value)
{
    if (key.data[0] == VKEY_DATA)
        count_value(&w->judge->removed, key, value);
}

static void count_values(struct judge *j, struct fsm *fsm)
{
    struct store_iterator *it = store_iterator_new(fsm->store, false);
    const uint8_t first = VKEY_DATA;
    for (store_iterator_seek(it, slice_make(&first, 1)); store_iterator_valid(it); store_iterator_next(it)) {
        if (store_iterator_key(it).data[0] != VKEY_DATA)
            break;
        count_value(&j->found, store_iterator_key(it), store_iterator_value(it));
    }
    store_iterator_free(&it);
}

static void check_values(struct world *w)
{
    struct judge *j = w->judge;
    for (uint32_t s = 1; s <= WORLD_SHARDS; s++) {
        struct fsm *fsm = replica_process_fsm(w->processes[world_replica(s, 1)]);
        count_values(j, fsm);
    }
    for (uint64_t v = 1; v <= j->values; v++) {
        uint64_t fate = column_get(&j->fate, v), times = column_get(&j->found, v);
        if (fate == 0)
            continue;
        if (times > 1)
            world_failed(w, "once", "value %" PRIu64 " was written %" PRIu64 " times%s", v, times,
                         column_get(&j->session, v) != 0 ? " through a session" : "");
        else if (fate == 1 + JUDGE_DONE && times == 0 && column_get(&j->removed, v) == 0)
            world_failed(w, "once", "value %" PRIu64 " is lost: its writer was told that it is done", v);
        else if (fate == 1 + JUDGE_NOT && (times != 0 || column_get(&j->removed, v) != 0))
            world_failed(w, "once", "value %" PRIu64 " was written: its writer was told that it surely was not", v);
    }
}

static void check_keys(struct world *w)
{
    struct judge *j = w->judge;
    for (unsigned k = 0; k < JUDGE_KEYS; k++) {
        size_t at = 0;
        enum lin_verdict verdict = lin_check(j->ops[k], j->count[k], &at);
        if (verdict == LIN_VIOLATION)
            world_failed(w, "linear",
                         "key %u: operation %zu of %zu (kind %d, value %" PRIu32 ", expected %" PRIu32
                         ", at %.3f ms) is explained by nothing",
                         k, at, j->count[k], (int)j->ops[k][at].kind, j->ops[k][at].value, j->ops[k][at].expected,
                         (double)j->ops[k][at].invoked / 1e6);
        w->result.reads_done += j->count[k];
    }
}

static void count_collected(struct world *w)
{
    for (uint32_t s = 1; s <= WORLD_SHARDS; s++) {
        const struct fsm_collected *c = &fsm_info(replica_process_fsm(w->processes[world_replica(s, 1)]))->collected;
        w->result.passes += c->passes;
        w->result.versions_removed += c->versions;
        w->result.markers_removed += c->markers;
    }
}

void judge_end(struct world *w)
{
    count_collected(w);
    all_answered(w);
    check_values(w);
    check_keys(w);
}
