/* trader.c: a transaction of a client, from its beginning to its end: see trader.h. */
#include "tests/sim/world/trader.h"

#include <inttypes.h>

#include "common/base/error.h"
#include "proto/pack.h"
#include "tests/sim/world/actors.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/lapses.h"
#include "tests/sim/world/process.h"
#include "tests/sim/world/wire.h"

#define READING_MS 1500
#define PAUSE_MS 25
#define BETWEEN_MS 40

/* ---- what it is to do ---- */

static void plan_write(struct trader *c, struct txn_write write)
{
    must(c->write_count < TXN_WRITES);
    for (uint32_t i = 0; i < c->write_count; i++)
        write.place += c->writes[i].shard == write.shard;
    c->writes[c->write_count++] = write;
}

static void plan_list(struct trader *c, uint32_t list, bool appends)
{
    for (uint32_t i = 0; i < c->read_count; i++)
        if (c->reads[i].list == list)
            return; /* it is drawn already */
    c->reads[c->read_count++] = (struct txn_read){.shard = trail_shard(list), .list = list};
    if (appends)
        plan_write(c, (struct txn_write){.op = HF__ENTRY__OP__PUT,
                                         .shard = trail_shard(list),
                                         .list = list,
                                         .value = trail_value(c->traders->trail)});
}

/* A key that other clients write. */
static void plan_other(struct trader *c, uint32_t shard)
{
    struct world *w = c->world;
    unsigned first = shard == 1 ? 0 : JUDGE_KEYS / 2;
    struct txn_write write = {.op = HF__ENTRY__OP__PUT, .shard = shard, .list = TRAIL_LISTS};
    write.key = first + (unsigned)world_below(w, JUDGE_KEYS / 2);
    uint64_t kind = world_below(w, world_collects(w) ? 8 : 16);
    if (kind == 0) {
        write.op = HF__ENTRY__OP__DELETE_PREFIX;
        write.key = JUDGE_KEYS;
    } else if (kind < 4) {
        write.op = HF__ENTRY__OP__DELETE;
    }
    write.value = write.op == HF__ENTRY__OP__PUT ? actors_value(w) : LIN_ABSENT;
    plan_write(c, write);
}

/* One that expires, which nobody else writes. */
static void plan_lapse(struct trader *c, uint32_t shard)
{
    struct txn_write write = {.op = HF__ENTRY__OP__PUT, .shard = shard, .list = TRAIL_LISTS + 1};
    write.key = lapses_take(c->world, shard, &write.ttl_ms);
    if (write.key != LAPSES_NONE)
        plan_write(c, write);
}

static void plan(struct trader *c)
{
    struct world *w = c->world;
    uint32_t half = TRAIL_LISTS / 2, only = (uint32_t)world_below(w, 4); /* 0, 1: all of it in that half */
    uint32_t lists = 1 + (uint32_t)world_below(w, 3);
    c->read_count = c->write_count = 0;
    if (c->final) {
        uint32_t first = (uint32_t)world_below(w, 2);
        plan_list(c, first * half + (uint32_t)world_below(w, half), true);
        plan_list(c, (1 - first) * half + (uint32_t)world_below(w, half), true);

        return;
    }
    bool writes = world_below(w, 4) != 0;
    for (uint32_t i = 0; i < lists; i++) {
        uint32_t side = only < 2 ? only : (uint32_t)world_below(w, 2);
        plan_list(c, side * half + (uint32_t)world_below(w, half), writes && world_below(w, 3) != 0);
    }
    for (uint32_t i = 0; i < 2 && writes && !c->glance; i++)
        if (world_below(w, world_collects(w) ? 2 : 4) == 0)
            plan_other(c, only < 2 ? 1 + only : 1 + (uint32_t)world_below(w, WORLD_SHARDS));
    if (writes && !c->glance && world_below(w, 5) == 0)
        plan_lapse(c, only < 2 ? 1 + only : 1 + (uint32_t)world_below(w, WORLD_SHARDS));
    if (c->glance)
        c->read_count = 1, c->write_count = 0;
    else if (world_below(w, 3) == 0)
        c->reads[world_below(w, c->read_count)].all = true;
}

bool trader_whole(const struct trader *c, uint32_t *shard)
{
    *shard = c->read_count > 0 ? c->reads[0].shard : c->writes[0].shard;
    bool whole = true;
    for (uint32_t i = 0; i < c->read_count; i++)
        whole = whole && c->reads[i].shard == *shard;
    for (uint32_t i = 0; i < c->write_count; i++)
        whole = whole && c->writes[i].shard == *shard;
    return whole;
}

/* ---- how it ends ---- */

static void tell_trail(const struct trader *c, enum txn_outcome outcome)
{
    struct trail *t = c->traders->trail;
    for (uint32_t i = 0; i < TRAIL_LISTS; i++)
        if (c->known[i])
            trail_read(t, i, &c->lists[i]);
    for (uint32_t i = 0; i < c->write_count; i++)
        if (c->writes[i].list < TRAIL_LISTS)
            trail_append(t, c->writes[i].list, c->writes[i].value);
    world_trace(c->world, 0, "txn", trail_count(t), (uint64_t)outcome);
    trail_end(t, outcome, c->began, c->world->now);
}

/* The first version of its writes in a shard; zero: it was not told. */
static struct version first_version(const struct trader *c, const Hf__Client__Reply *r)
{
    uint32_t shard;
    if (trader_whole(c, &shard))
        return r->written != NULL ? (struct version){.t = {r->written->t}, .seq = r->written->seq}
                                  : (struct version){0};
    return (struct version){.t = {r->timestamp != 0 ? r->timestamp : r->written != NULL ? r->written->t : 0}};
}

static void tell_other(struct trader *c, const struct txn_write *write, enum judge_fate fate, struct version version)
{
    struct world *w = c->world;
    bool all = write->key == JUDGE_KEYS, put = write->op == HF__ENTRY__OP__PUT;
    unsigned first = all ? (write->shard == 1 ? 0 : JUDGE_KEYS / 2) : write->key, count = all ? JUDGE_KEYS / 2 : 1;
    struct lin_op op = {.kind = put ? LIN_PUT : LIN_DEL,
                        .value = put ? write->value : 0,
                        .invoked = c->committing,
                        .returned = w->now,
                        .outcome = LIN_DONE};
    for (unsigned k = first; k < first + count; k++) {
        judge_op(w, k, op, fate, true);
        if (fate == JUDGE_DONE && version.t.t != 0)
            history_wrote(w, k, write->value, version, &c->floor, write->shard == c->home);
    }
}

/* A later write of the same transaction hides an earlier one of the same key. */
static bool hidden(const struct trader *c, uint32_t which)
{
    const struct txn_write *write = &c->writes[which];
    for (uint32_t i = which + 1; i < c->write_count; i++) {
        const struct txn_write *later = &c->writes[i];
        if (later->list == TRAIL_LISTS && later->shard == write->shard &&
            (later->key == write->key || later->key == JUDGE_KEYS))
            return true;
    }
    return false;
}

static void finish(struct trader *c, enum txn_outcome outcome, const Hf__Client__Reply *r)
{
    struct world *w = c->world;
    struct version first = outcome == TXN_DONE && c->write_count > 0 ? first_version(c, r) : (struct version){0};
    tell_trail(c, outcome);
    for (uint32_t i = 0; i < c->write_count; i++) {
        struct version version = first;
        version.seq += c->writes[i].place;
        if (c->writes[i].list > TRAIL_LISTS && outcome == TXN_DONE && version.t.t != 0)
            lapses_wrote(c->world, c->writes[i].key, version);
        if (c->writes[i].list == TRAIL_LISTS && !hidden(c, i))
            tell_other(c, &c->writes[i], outcome == TXN_DONE ? JUDGE_DONE : JUDGE_NOT, version);
    }
    uint32_t shard;
    bool whole = trader_whole(c, &shard), early = whole ? first.t.t < c->start : first.t.t <= c->start;
    if (outcome == TXN_DONE && first.t.t != 0 && early) /* it read below its start, there was nothing above */
        world_failed(w, "txns", "a transaction that began at %" PRIx64 " is committed at %" PRIx64, c->start,
                     first.t.t);
    w->result.txns_done += outcome == TXN_DONE && !c->glance;
    w->result.txns_wide += outcome == TXN_DONE && !whole && c->write_count > 0;
    w->result.txns_refused += outcome == TXN_FAILED;
    c->last_done |= c->final && outcome == TXN_DONE;
    c->stage = TXN_IDLE;
    c->next_at = w->now + (1 + world_below(w, BETWEEN_MS)) * SIM_MS;
}

/* ---- what it hears ---- */

static void again_soon(struct trader *c)
{
    c->next_at = c->world->now + (1 + world_below(c->world, PAUSE_MS)) * SIM_MS;
}

static void commit(struct trader *c)
{
    struct world *w = c->world;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->write_count; i++) /* full lists stay as they are */
        if (c->writes[i].list >= TRAIL_LISTS || c->lists[c->writes[i].list].count < TRAIL_LIST_MAX)
            c->writes[kept++] = c->writes[i];
    if (kept < c->write_count) {
        struct txn_write writes[TXN_WRITES];
        for (uint32_t i = 0; i < kept; i++)
            writes[i] = c->writes[i], writes[i].place = 0;
        c->write_count = 0;
        for (uint32_t i = 0; i < kept; i++)
            plan_write(c, writes[i]);
    }
    c->session = c->seq = 0;
    if (c->write_count > 0) {
        c->home = c->writes[0].shard;
        c->session = c->places[c->home].session;
        c->seq = c->places[c->home].next_seq++;
    }
    c->committing = w->now;
    c->floor = history_floor(w);
    c->deadline = w->now + TXN_MS * SIM_MS;
    c->stage = TXN_COMMITTING;
    c->first_id = c->last_id + 1;
    c->fence_id = UINT64_MAX;
    world_trace(w, 0, "commit", c->session, c->seq);
    trader_ask_commit(c);
}

static void next_read(struct trader *c)
{
    c->first_id = c->last_id + 1;
    if (c->at < c->read_count)
        trader_ask_read(c);
    else if (c->glance)
        finish(c, TXN_DONE, NULL);
    else
        commit(c);
}

static void start_heard(struct trader *c, const Hf__Client__Reply *r)
{
    if (r->code != HF_OK) {
        again_soon(c);
        return;
    }
    judge_timestamp(c->world, c->asked_known, c->above, r->timestamp);
    c->start = r->timestamp;
    c->above = 0;
    c->stage = TXN_READING;
    c->deadline = c->world->now + READING_MS * SIM_MS;
    next_read(c);
}

static void found(struct trader *c, uint32_t list, struct slice bytes)
{
    struct trail_list now;
    if (!trail_decode(bytes, &now))
        world_failed(c->world, "txns", "list %" PRIu32 ": %zu bytes were read, which nobody wrote", list, bytes.size);
    else if (c->known[list] && (now.count != c->lists[list].count ||
                                memcmp(now.values, c->lists[list].values, now.count * sizeof now.values[0]) != 0))
        world_failed(c->world, "txns", "list %" PRIu32 " was read twice at %" PRIx64 ", differently", list, c->start);
    else
        c->lists[list] = now;
    c->known[list] = true;
}

static void take_page(struct trader *c, const struct txn_read *read, const Hf__Client__Reply *r)
{
    for (uint32_t list = 0; list < TRAIL_LISTS; list++) {
        char name[8];
        struct slice bytes = {0}, wanted = trail_name(list, name);
        if (trail_shard(list) != read->shard)
            continue;
        for (size_t i = 0; i < r->n_items; i++)
            if (slice_equal(pack_slice(r->items[i]->key), wanted))
                bytes = pack_slice(r->items[i]->value);
        found(c, list, bytes);
    }
}

static void read_heard(struct trader *c, const Hf__Client__Reply *r)
{
    const struct txn_read *read = &c->reads[c->at];
    if (r->code == HF_OK || (r->code == HF_E_NOT_FOUND && !read->all)) {
        if (read->all)
            take_page(c, read, r);
        else
            found(c, read->list, pack_slice(r->value));
        c->at++;
        next_read(c);
        return;
    }
    if (r->code == HF_E_RESTART_ABOVE || r->code == HF_E_TOO_OLD || r->code == HF_E_CORRUPT) {
        c->above = r->code == HF_E_RESTART_ABOVE ? r->timestamp : c->above;
        c->write_count = 0; /* nothing was sent of them */
        finish(c, TXN_FAILED, NULL);
        return;
    }
    if (r->code == HF_E_FUTURE_TIMESTAMP)
        world_failed(c->world, "progress", "a start that was told, %" PRIx64 ", is refused as one of the future",
                     c->start);
    if (r->code == HF_E_KEY_LOCKED && r->lock != NULL && r->lock->id != NULL && world_below(c->world, 2) == 0)
        trader_ask_resolve(c, read->shard, r->lock);
    c->places[read->shard].leader = r->leader;
    again_soon(c);
}

/* Told as it is for good; else it is asked again. */
static void commit_heard(struct trader *c, const Hf__Client__Reply *r)
{
    bool writes = c->write_count > 0;
    uint32_t shard;
    if (r->code == HF_OK || r->code == HF_E_CONFLICT) {
        finish(c, r->code == HF_OK ? TXN_DONE : TXN_FAILED, r);
        return;
    }
    if (!writes && error_class(r->code) == HF_CLASS_GIVE_UP) {
        c->above = r->code == HF_E_RESTART_ABOVE ? r->timestamp : c->above;
        finish(c, TXN_FAILED, r);
        return;
    }
    bool fenced = r->code == HF_E_FENCED && c->stage == TXN_FENCING;
    if (fenced || r->code == HF_E_RESTART_ABOVE || r->code == HF_E_TOO_OLD) {
        finish(c, TXN_FAILED, r);
        return;
    }
    bool known = r->code == HF_E_TIMEOUT || r->code == HF_E_CORRUPT || r->code == HF_E_REFUSED;
    if (error_class(r->code) == HF_CLASS_GIVE_UP && !known)
        world_failed(c->world, "sessions", "transaction %" PRIu64 " of session %" PRIu64 " of shard %" PRIu32 ": %s",
                     c->seq, c->session, c->home, error_text(r->code));
    if (trader_whole(c, &shard) && !c->routed)
        c->places[shard].leader = r->leader;
    if (c->stage == TXN_COMMITTING)
        again_soon(c);
}

static void fence_heard(struct trader *c, const Hf__Client__Reply *r)
{
    if (r->code == HF_OK) {
        finish(c, r->outcome == HF_OK ? TXN_DONE : TXN_FAILED, r);
        return;
    }
    if (r->code == HF_E_SESSION_UNKNOWN || r->code == HF_E_SESSION_WINDOW)
        world_failed(c->world, "sessions", "fence of transaction %" PRIu64 " of session %" PRIu64 ": %s", c->seq,
                     c->session, error_text(r->code));
    c->places[c->home].leader = r->leader;
    again_soon(c);
}

static bool session_heard(struct trader *c, const Hf__Client__Reply *r)
{
    for (uint32_t s = 1; s <= WORLD_SHARDS; s++) {
        struct trader_place *p = &c->places[s];
        if (p->opening != r->id)
            continue;
        p->opening = 0;
        p->session = r->code == HF_OK ? r->session : 0;
        p->next_seq = 1;
        return true;
    }
    return false;
}

void trader_heard(void *client, struct slice frame)
{
    struct trader *c = client;
    Hf__Client__Reply *r = hf__client__reply__unpack(NULL, frame.size, frame.data);
    must(r != NULL);
    world_trace(c->world, 0, "heard", r->id, (uint64_t)-r->code);
    bool counts = !session_heard(c, r) && r->id >= c->first_id && r->id <= c->last_id;
    if (counts && c->stage == TXN_STARTING)
        start_heard(c, r);
    else if (counts && c->stage == TXN_READING)
        read_heard(c, r);
    else if (counts && c->stage == TXN_FENCING && r->id >= c->fence_id)
        fence_heard(c, r);
    else if (counts && (c->stage == TXN_COMMITTING || c->stage == TXN_FENCING))
        commit_heard(c, r);
    hf__client__reply__free_unpacked(r, NULL);
}

/* ---- what it does when its time comes ---- */

void trader_begin(struct trader *c, bool last)
{
    struct world *w = c->world;
    c->final = last;
    c->glance = !last && world_below(w, 8) == 0;
    if (!c->glance && (c->places[1].session == 0 || c->places[2].session == 0))
        return; /* not open yet */
    plan(c);
    memset(c->known, 0, sizeof c->known);
    c->at = 0;
    c->began = w->now;
    c->start = 0;
    c->deadline = w->now + READING_MS * SIM_MS;
    if (c->glance) {
        c->stage = TXN_READING;
        next_read(c);
    } else {
        c->stage = TXN_STARTING;
        trader_ask_start(c);
    }
}

void trader_go_on(struct trader *c)
{
    struct world *w = c->world;
    bool late = w->now >= c->deadline;
    if (late && (c->stage < TXN_COMMITTING || (c->stage == TXN_COMMITTING && c->session == 0))) {
        c->write_count = 0; /* nothing was sent of them */
        finish(c, TXN_FAILED, NULL);
        return;
    }
    if (w->now < c->next_at)
        return;
    if (late && c->stage == TXN_COMMITTING) {
        c->stage = TXN_FENCING;
        c->fence_id = c->last_id + 1;
    }
    uint32_t shard;
    bool whole = trader_whole(c, &shard);
    if (c->stage == TXN_STARTING) {
        trader_ask_start(c);
    } else if (c->stage == TXN_READING) {
        c->places[c->reads[c->at].shard].leader = world_below(w, 2) == 0 ? 0 : c->places[c->reads[c->at].shard].leader;
        trader_ask_read(c);
    } else if (c->stage == TXN_COMMITTING) {
        if (whole && world_below(w, 2) == 0)
            c->places[shard].leader = 0;
        trader_ask_commit(c);
    } else {
        if (world_below(w, 2) == 0)
            c->places[c->home].leader = 0;
        trader_ask_fence(c);
    }
}

void trader_init(struct world *w, struct traders *t, uint32_t number)
{
    struct trader *c = &t->traders[number];
    c->world = w;
    c->traders = t;
    c->routed = number != 0;
    c->last_id = UINT64_C(1) << 37;
    for (uint32_t p = 1; p < WORLD_PROCESSES && t->on; p++)
        c->sockets[p] = wire_client(w, 0, w->processes[p]->client, trader_heard, c);
}
