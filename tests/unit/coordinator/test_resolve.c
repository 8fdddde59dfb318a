/* test_resolve.c: what a look does with each thing that home can say, then random schedules: a driver that stops anywhere,
 * messages lost, late and doubled; in the end nothing is half and no lock is left. `test_coordinator_resolve SEED` replays. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/sys/clock.h"
#include "common/sys/failpoint.h"
#include "coordinator/limits.h"
#include "coordinator/resolve.h"
#include "tests/unit/unit.h"

#define MS CLOCK_NS_PER_MS
#define SHARDS 3u
#define SENT_MAX 8192u

struct sent {
    uint32_t shard;
    Hf__Client__Request__OpCase op;
    uint64_t look, commit, seq, after;
    bool force;
};

static struct {
    struct resolve resolve;
    struct sent sent[SENT_MAX];
    size_t sent_count, lists;
    uint32_t dead;
    bool standby, drives;
    uint64_t now_ms;
    int answers, code;
    Hf__Entry__TxnState state;
} f;

static Hf__Catalog__Shard shard_rows[SHARDS], *shard_list[SHARDS];
static Hf__Catalog__Routes routes;

static const Hf__Catalog__Routes *port_routes(void *ctx)
{
    (void)ctx;
    return &routes;
}

static bool port_active(void *ctx)
{
    (void)ctx;
    return !f.standby;
}

static struct hlc port_now(void *ctx)
{
    (void)ctx;
    return hlc_from_ms(f.now_ms);
}

static bool port_drives(void *ctx, const Hf__Entry__TxnId *id)
{
    (void)ctx;
    (void)id;
    return f.drives;
}

static int port_list(void *ctx, uint32_t shard, const Hf__Client__Txns *question, uint64_t now_ns)
{
    (void)ctx;
    (void)now_ns;
    if (shard == f.dead)
        return HF_E_UNAVAILABLE;
    CU_ASSERT_FATAL(f.sent_count < SENT_MAX);
    f.sent[f.sent_count++] = (struct sent){
        .shard = shard, .op = HF__CLIENT__REQUEST__OP_TXNS, .after = question->after ? question->after->seq : 0};
    f.lists++;
    return HF_OK;
}

static int port_ask(void *ctx, uint32_t shard, Hf__Client__Request *q, uint64_t look, uint64_t now_ns)
{
    (void)ctx;
    (void)now_ns;
    if (shard == f.dead)
        return HF_E_UNAVAILABLE;
    CU_ASSERT_FATAL(f.sent_count < SENT_MAX);
    const Hf__Entry__Txn *txn = q->rollback; /* the same member for all three */
    f.sent[f.sent_count++] = (struct sent){.shard = shard,
                                           .op = q->op_case,
                                           .look = look,
                                           .commit = txn->commit,
                                           .seq = txn->id->seq,
                                           .force = txn->force};
    return HF_OK;
}

static void port_answer(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply)
{
    (void)ctx;
    (void)client;
    f.answers++;
    f.code = reply->code;
    f.state = reply->txn ? reply->txn->state : HF__ENTRY__TXN_STATE__TXN_NONE;
}

static void begin(void)
{
    memset(&f, 0, sizeof f);
    f.now_ms = 10000;
    hf__catalog__routes__init(&routes);
    for (uint32_t i = 0; i < SHARDS; i++) {
        hf__catalog__shard__init(&shard_rows[i]);
        shard_rows[i].shard = i + 1;
        shard_list[i] = &shard_rows[i];
    }
    routes.n_shards = SHARDS;
    routes.shards = shard_list;
    const struct resolve_port port = {.routes = port_routes,
                                      .active = port_active,
                                      .now = port_now,
                                      .drives = port_drives,
                                      .list = port_list,
                                      .ask = port_ask,
                                      .answer = port_answer};
    resolve_init(&f.resolve, &port);
}

static Hf__Entry__TxnId id_of(uint64_t seq)
{
    Hf__Entry__TxnId id = HF__ENTRY__TXN_ID__INIT;
    id.home = 1;
    id.session = 5;
    id.seq = seq;
    return id;
}

static int ask(uint64_t seq, uint32_t shard)
{
    Hf__Entry__TxnId id = id_of(seq);
    return resolve_ask(&f.resolve, &(struct forward_client){0}, &id, shard, 5000 * MS, 0);
}

static void say(size_t sent, int code, Hf__Entry__TxnState state, uint64_t commit)
{
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    Hf__Client__TxnOutcome txn = HF__CLIENT__TXN_OUTCOME__INIT;
    txn.state = state;
    txn.commit = commit;
    reply.code = code;
    reply.txn = &txn;
    resolve_answered(&f.resolve, f.sent[sent].look, f.sent[sent].shard, &reply, 0);
}

static void say_list(uint32_t shard, Hf__Client__TxnOutcome *all, size_t n, bool more)
{
    Hf__Client__TxnOutcome **rows = calloc(n + 1, sizeof *rows);
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    for (size_t i = 0; i < n; i++)
        rows[i] = &all[i];
    reply.txns = rows;
    reply.n_txns = n;
    reply.more = more;
    resolve_listed(&f.resolve, shard, &reply, 0);
    free(rows);
}

static bool was(size_t sent, uint32_t shard, Hf__Client__Request__OpCase op)
{
    return sent < f.sent_count && f.sent[sent].shard == shard && f.sent[sent].op == op && !f.sent[sent].force;
}

#define ROLLBACK HF__CLIENT__REQUEST__OP_ROLLBACK
#define COMMIT HF__CLIENT__REQUEST__OP_DECIDE_COMMIT
#define FORGET HF__CLIENT__REQUEST__OP_FORGET
#define NONE HF__ENTRY__TXN_STATE__TXN_NONE
#define PREPARED HF__ENTRY__TXN_STATE__PREPARED
#define COMMITTED HF__ENTRY__TXN_STATE__COMMITTED
#define ROLLED_BACK HF__ENTRY__TXN_STATE__ROLLED_BACK

static void what_home_says_is_told(void)
{
    static const struct {
        int code;
        Hf__Entry__TxnState state;
        uint64_t commit;
        Hf__Client__Request__OpCase op; /* NOT_SET: nothing is told */
        int answer;
    } rows[] = {{HF_OK, COMMITTED, 77, COMMIT, HF_OK},
                {HF_OK, ROLLED_BACK, 0, ROLLBACK, HF_OK},
                {HF_E_SESSION_UNKNOWN, ROLLED_BACK, 0, ROLLBACK, HF_OK},
                {HF_E_SESSION_WINDOW, ROLLED_BACK, 0, ROLLBACK, HF_OK},
                {HF_E_SESSION_WINDOW, NONE, 0, HF__CLIENT__REQUEST__OP__NOT_SET, HF_E_UNAVAILABLE},
                {HF_OK, PREPARED, 0, HF__CLIENT__REQUEST__OP__NOT_SET, HF_OK},
                {HF_OK, COMMITTED, 0, HF__CLIENT__REQUEST__OP__NOT_SET, HF_E_UNAVAILABLE},
                {HF_OK, NONE, 0, HF__CLIENT__REQUEST__OP__NOT_SET, HF_E_UNAVAILABLE},
                {HF_E_NOT_LEADER, ROLLED_BACK, 0, HF__CLIENT__REQUEST__OP__NOT_SET, HF_E_UNAVAILABLE}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin();
        CU_ASSERT_EQUAL(ask(3, 2), HF_OK);
        CU_ASSERT(was(0, 1, ROLLBACK) && f.sent_count == 1 && f.answers == 0);
        CU_ASSERT_EQUAL(ask(3, 2), HF_OK); /* one look */
        CU_ASSERT_EQUAL(f.sent_count, 1);
        say(0, rows[i].code, rows[i].state, rows[i].commit);
        say(0, HF_OK, COMMITTED, 99); /* doubled: nobody waits */
        bool told = rows[i].op != HF__CLIENT__REQUEST__OP__NOT_SET;
        CU_ASSERT(f.sent_count == (told ? 2 : 1) && f.answers == (told ? 0 : 2));
        if (told) {
            CU_ASSERT(was(1, 2, rows[i].op) && f.sent[1].commit == rows[i].commit);
            say(1, i % 2 == 0 && rows[i].op == COMMIT ? HF_E_ABSENT : HF_OK, rows[i].state, 0);
        }
        CU_ASSERT(f.answers == 2 && f.code == rows[i].answer);
        CU_ASSERT_EQUAL(f.state, rows[i].answer == HF_OK ? rows[i].state : NONE);
        CU_ASSERT_EQUAL(f.resolve.by_serial.count, rows[i].state == PREPARED ? 1 : 0);
        resolve_deinit(&f.resolve);
    }
}

static void an_undecided_one_rests(void)
{
    begin();
    f.standby = true;
    CU_ASSERT_EQUAL(ask(3, 2), HF_OK);
    say(0, HF_OK, PREPARED, 0);
    CU_ASSERT_EQUAL(ask(3, 2), HF_OK);
    Hf__Entry__TxnId id = id_of(3);
    resolve_met(&f.resolve, &id, 3, 0);
    CU_ASSERT(f.sent_count == 1 && f.answers == 2 && f.state == PREPARED);
    resolve_tick(&f.resolve, (RESOLVE_REST_MS + 1) * MS);
    resolve_met(&f.resolve, &id, 3, 0);
    CU_ASSERT(was(1, 1, ROLLBACK) && f.resolve.by_serial.count == 1);
    f.drives = true; /* nor is one that is driven here looked at */
    id = id_of(4);
    resolve_met(&f.resolve, &id, 3, 0);
    CU_ASSERT_EQUAL(ask(4, 3), HF_OK);
    CU_ASSERT(f.sent_count == 2 && f.answers == 3 && f.state == PREPARED);
    resolve_deinit(&f.resolve);
}

static void a_silent_shard_keeps_nobody_else(void)
{
    begin();
    f.standby = true;
    CU_ASSERT_EQUAL(ask(3, 2), HF_OK);
    CU_ASSERT_EQUAL(ask(3, 3), HF_OK);
    say(0, HF_OK, COMMITTED, 77);
    CU_ASSERT(was(1, 2, COMMIT) && was(2, 3, COMMIT));
    say(1, HF_OK, NONE, 0);
    CU_ASSERT(f.answers == 1 && f.code == HF_OK); /* who waits for shard 2 does not wait for shard 3 */
    CU_ASSERT_EQUAL(ask(3, 2), HF_OK);
    CU_ASSERT_EQUAL(f.answers, 2); /* known already */
    resolve_answered(&f.resolve, f.sent[2].look, 3, NULL, 0);
    CU_ASSERT(f.answers == 3 && f.code == HF_E_UNAVAILABLE);
    CU_ASSERT(f.resolve.by_serial.count == 0 && f.resolve.asks == 0);
    f.dead = 1;
    CU_ASSERT_EQUAL(ask(3, 2), HF_OK);
    CU_ASSERT(f.answers == 4 && f.code == HF_E_UNAVAILABLE && f.resolve.by_serial.count == 0);
    f.dead = 0;
    CU_ASSERT_EQUAL(ask(3, 2), HF_OK);
    resolve_tick(&f.resolve, 5000 * MS); /* its deadline */
    CU_ASSERT(f.answers == 5 && f.code == HF_E_UNAVAILABLE && f.resolve.client_count == 0);
    say(f.sent_count - 1, HF_OK, ROLLED_BACK, 0);
    CU_ASSERT(was(f.sent_count - 1, 2, ROLLBACK) && f.answers == 5);
    resolve_deinit(&f.resolve);
}

static void home_forgets_when_every_shard_has_it(void)
{
    begin();
    Hf__Entry__TxnId id = id_of(3);
    uint32_t others[] = {2, 3};
    Hf__Client__TxnOutcome txn = HF__CLIENT__TXN_OUTCOME__INIT;
    txn.id = &id;
    txn.state = COMMITTED;
    txn.commit = 77;
    txn.others = others;
    txn.n_others = 2;
    resolve_tick(&f.resolve, 0);
    CU_ASSERT_EQUAL(f.lists, 3);
    f.dead = 3;
    say_list(1, &txn, 1, false);
    CU_ASSERT(was(3, 2, COMMIT) && f.sent_count == 4);
    say(3, HF_OK, NONE, 0);
    CU_ASSERT(f.sent_count == 4 && f.resolve.by_serial.count == 0); /* shard 3 has not: home keeps it */
    f.dead = 0;
    resolve_tick(&f.resolve, (RESOLVE_PERIOD_MS + 1) * MS);
    size_t at = f.sent_count;
    say_list(1, &txn, 1, false);
    CU_ASSERT(was(at, 2, COMMIT) && was(at + 1, 3, COMMIT) && f.sent[at].commit == 77);
    say(at, HF_E_ABSENT, NONE, 0);
    CU_ASSERT_EQUAL(f.sent_count, at + 2);
    say(at + 1, HF_OK, NONE, 0);
    CU_ASSERT(was(at + 2, 1, FORGET));
    say(at + 2, HF_OK, NONE, 0);
    CU_ASSERT(f.resolve.by_serial.count == 0 && f.resolve.asks == 0);
    resolve_deinit(&f.resolve);
}

static void sweeps_are_paged_and_bounded(void)
{
    enum { COUNT = 2 * RESOLVE_SHARD_ASKS_MAX };
    static Hf__Entry__TxnId ids[COUNT];
    static Hf__Client__TxnOutcome txns[COUNT];
    begin();
    for (uint64_t i = 0; i < COUNT; i++) {
        ids[i] = id_of(i + 1);
        hf__client__txn_outcome__init(&txns[i]);
        txns[i].id = &ids[i];
        txns[i].state = PREPARED;
        txns[i].min_commit = hlc_from_ms(9000).t;
        txns[i].expires = hlc_from_ms(20000).t;
    }
    resolve_tick(&f.resolve, 0);
    say_list(1, txns, 10, true); /* at home, not expired: nothing to ask */
    CU_ASSERT(f.sent_count == 4 && f.sent[3].after == 10 && f.sent[3].shard == 1);
    say_list(1, txns, 10, true); /* no progress: the pass ends */
    CU_ASSERT_EQUAL(f.sent_count, 4);
    say_list(2, txns, COUNT, false); /* locks elsewhere: home is asked, as far as there is room for it */
    CU_ASSERT(f.sent_count == 4 + RESOLVE_SHARD_ASKS_MAX && f.resolve.asks == RESOLVE_SHARD_ASKS_MAX);
    resolve_tick(&f.resolve, (RESOLVE_SKIPPED_MS + 1) * MS);
    CU_ASSERT(was(f.sent_count - 1, 2, HF__CLIENT__REQUEST__OP_TXNS)); /* soon again */
    CU_ASSERT_EQUAL(ask(COUNT + 1, 2), HF_E_BUSY);
    f.standby = true;
    size_t lists = f.lists;
    resolve_tick(&f.resolve, 9000 * MS);
    CU_ASSERT_EQUAL(f.lists, lists);
    resolve_deinit(&f.resolve);
}

static void only_so_many_wait(void)
{
    begin();
    for (unsigned i = 0; i < RESOLVE_LOOK_CLIENTS_MAX; i++)
        CU_ASSERT_EQUAL(ask(3, 0), HF_OK);
    CU_ASSERT_EQUAL(ask(3, 0), HF_E_BUSY);
    CU_ASSERT_EQUAL(ask(4, 0), HF_OK);
    say(0, HF_OK, ROLLED_BACK, 0);
    CU_ASSERT_EQUAL(f.answers, (int)RESOLVE_LOOK_CLIENTS_MAX);
    resolve_deinit(&f.resolve);
}

/* ---- random schedules: one transaction that writes in three shards, shard 1 its home ---- */

#define FLIGHTS 128
#define TTL_MS 3000u
#define TROUBLE_MS 12000u
#define END_MS 20000u

enum op { PREPARE_OP, COMMIT_OP, ROLLBACK_OP, FORGET_OP, LIST_OP };

struct flight {
    bool used, extra; /* a second copy: nobody waits for its answer */
    uint32_t shard;
    enum op op;
    bool force;
    uint64_t commit, look, at_ms, give_up_ms;
    bool lost;
};

static const char *model_bug;
static struct {
    struct random random;
    uint64_t counter;
    struct {
        bool record;
        Hf__Entry__TxnState state;
        uint64_t min_commit, commit, expires_ms;
        uint64_t applied; /* commit timestamp of what is written; 0: nothing */
    } group[SHARDS + 1];
    int outcome; /* home's session table: 1 none yet, HF_OK, HF_E_CONFLICT */
    uint64_t outcome_commit;
    struct flight flights[FLIGHTS];
    int step, last_step; /* of the driver, which dies after that one */
    uint64_t driver_ms, commit;
    bool acknowledged, refused, gave_up;
} w;

static bool bug(const char *name)
{
    return model_bug != NULL && strcmp(model_bug, name) == 0;
}

static uint64_t stamp(void)
{
    return hlc_from_ms(f.now_ms).t + ++w.counter % 60000;
}

static int model_prepare(uint32_t g)
{
    if (w.group[g].record)
        return HF_OK;
    if (g == 1 && w.outcome != 1 && !bug("marker_unchecked"))
        return w.outcome == HF_OK ? HF_OK : HF_E_CONFLICT;
    if (w.group[g].applied != 0)
        return HF_E_CONFLICT; /* its own version is newer than its start */
    w.group[g].record = true;
    w.group[g].state = PREPARED;
    w.group[g].min_commit = stamp();
    w.group[g].expires_ms = f.now_ms + TTL_MS;
    return HF_OK;
}

static int model_commit(uint32_t g, uint64_t commit, Hf__Client__TxnOutcome *out)
{
    if (!w.group[g].record) {
        bool done = g == 1 && w.outcome == HF_OK;
        out->state = done ? COMMITTED : g == 1 ? ROLLED_BACK : NONE;
        out->commit = done ? w.outcome_commit : 0;
        return done ? HF_OK : g == 1 ? HF_E_FENCED : HF_E_ABSENT;
    }
    if (g == 1 && w.group[g].state == COMMITTED) {
        out->state = COMMITTED;
        out->commit = w.group[g].commit;
        return HF_OK;
    }
    if (commit <= w.group[g].min_commit) { /* elsewhere: a late record of what was committed before */
        w.group[g].record = g == 1;
        return g == 1 ? HF_E_INVALID : HF_OK;
    }
    w.group[g].applied = commit;
    out->state = COMMITTED;
    out->commit = commit;
    w.group[g].record = g == 1; /* until it is forgotten */
    if (g == 1) {
        w.group[g].state = COMMITTED;
        w.group[g].commit = w.outcome_commit = commit;
        w.outcome = HF_OK;
    }
    return HF_OK;
}

static int model_rollback(uint32_t g, bool force, Hf__Client__TxnOutcome *out)
{
    out->state = ROLLED_BACK;
    if (g != 1) {
        w.group[g].record = false;
        return HF_OK;
    }
    if (w.group[1].record && w.group[1].state == PREPARED && !force && f.now_ms < w.group[1].expires_ms) {
        out->state = PREPARED;
        return HF_OK;
    }
    if ((w.group[1].record && w.group[1].state == COMMITTED) || (!w.group[1].record && w.outcome == HF_OK)) {
        out->state = COMMITTED;
        out->commit = w.outcome_commit;
        return HF_OK;
    }
    w.group[1].record = false;
    if (!bug("no_marker"))
        w.outcome = HF_E_CONFLICT;
    return HF_OK;
}

static int model(const struct flight *m, Hf__Client__TxnOutcome *out)
{
    switch (m->op) {
    case PREPARE_OP:
        return model_prepare(m->shard);
    case COMMIT_OP:
        return model_commit(m->shard, m->commit, out);
    case ROLLBACK_OP:
        return model_rollback(m->shard, m->force, out);
    case FORGET_OP:
        if (w.group[1].record && w.group[1].state == PREPARED)
            return HF_E_INVALID;
        w.group[1].record = false;
        return HF_OK;
    case LIST_OP:
        break;
    }
    return HF_OK;
}

static void fly(struct flight m)
{
    for (int i = 0; i < FLIGHTS; i++)
        if (!w.flights[i].used) {
            m.used = true;
            w.flights[i] = m;
            return;
        }
}

static bool trouble(uint64_t one_in)
{
    return f.now_ms < 10000 + TROUBLE_MS && random_below(&w.random, one_in) == 0;
}

/* A copy that comes late, some seconds perhaps. */
static void double_late(struct flight m)
{
    m.extra = true;
    m.at_ms = f.now_ms + random_below(&w.random, random_below(&w.random, 2) ? 6000 : 60);
    if (trouble(3) && m.op != LIST_OP)
        fly(m);
}

static void answer_list(uint32_t shard)
{
    Hf__Entry__TxnId id = id_of(3);
    uint32_t others[] = {2, 3};
    Hf__Client__TxnOutcome txn = HF__CLIENT__TXN_OUTCOME__INIT;
    txn.id = &id;
    txn.state = w.group[shard].state;
    txn.min_commit = w.group[shard].min_commit;
    if (shard == 1) {
        txn.expires = hlc_from_ms(w.group[1].expires_ms).t;
        txn.commit = w.group[1].state == COMMITTED ? w.group[1].commit : 0;
        txn.others = others;
        txn.n_others = 2;
    }
    say_list(shard, &txn, w.group[shard].record ? 1 : 0, false);
}

static void arrive(struct flight m)
{
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    Hf__Client__TxnOutcome txn = HF__CLIENT__TXN_OUTCOME__INIT;
    uint64_t now_ns = f.now_ms * MS;
    reply.code = model(&m, &txn);
    reply.txn = &txn;
    if (m.extra)
        return;
    if (trouble(6)) { /* the answer is lost: the call ends by its time */
        m.lost = m.used = true;
        fly(m);
    } else if (m.op == LIST_OP) {
        answer_list(m.shard);
    } else {
        resolve_answered(&f.resolve, m.look, m.shard, &reply, now_ns);
        if (trouble(4))
            resolve_answered(&f.resolve, m.look, m.shard, &reply, now_ns);
    }
}

/* What the port put into f.sent goes on its way. */
static void set_out(void)
{
    for (size_t i = 0; i < f.sent_count; i++) {
        const struct sent *s = &f.sent[i];
        enum op op = s->op == COMMIT                         ? COMMIT_OP
                     : s->op == FORGET                       ? FORGET_OP
                     : s->op == HF__CLIENT__REQUEST__OP_TXNS ? LIST_OP
                                                             : ROLLBACK_OP;
        struct flight m = {.shard = s->shard, .op = op, .force = s->force, .commit = s->commit, .look = s->look};
        m.at_ms = f.now_ms + random_below(&w.random, trouble(5) ? 900 : 30);
        m.give_up_ms = f.now_ms + RESOLVE_CALL_MS;
        m.lost = trouble(6);
        double_late(m);
        fly(m);
    }
    f.sent_count = 0;
}

static void deliver(void)
{
    for (int i = 0; i < FLIGHTS; i++) {
        struct flight m = w.flights[i];
        if (!m.used || (m.lost ? m.give_up_ms : m.at_ms) > f.now_ms)
            continue;
        w.flights[i].used = false;
        if (!m.lost)
            arrive(m);
        else if (m.op == LIST_OP)
            resolve_listed(&f.resolve, m.shard, NULL, f.now_ms * MS);
        else
            resolve_answered(&f.resolve, m.look, m.shard, NULL, f.now_ms * MS);
    }
}

static int drive_one(uint32_t shard, enum op op, bool force, Hf__Client__TxnOutcome *out)
{
    struct flight m = {.shard = shard, .op = op, .force = force, .commit = w.commit};
    double_late(m);
    if (trouble(20))
        return HF_E_UNAVAILABLE; /* perhaps it comes late */
    return model(&m, out);
}

/* A step of the driver that got a refusal. */
static void drive_back(void)
{
    Hf__Client__TxnOutcome out = HF__CLIENT__TXN_OUTCOME__INIT;
    w.gave_up = true;
    if (drive_one(1, ROLLBACK_OP, true, &out) != HF_OK || out.state != ROLLED_BACK)
        return; /* the resolver's */
    w.refused = true;
    (void)drive_one(2, ROLLBACK_OP, false, &out);
    if (random_below(&w.random, 2))
        (void)drive_one(3, ROLLBACK_OP, false, &out);
}

static void drive(void)
{
    Hf__Client__TxnOutcome out = HF__CLIENT__TXN_OUTCOME__INIT;
    if (w.gave_up || w.step > w.last_step || f.now_ms < w.driver_ms)
        return;
    w.driver_ms = f.now_ms + random_below(&w.random, random_below(&w.random, 4) ? 40 : 4000);
    int rc = HF_OK;
    if (w.step < 3) {
        rc = drive_one((uint32_t)w.step + 1, PREPARE_OP, false, &out);
    } else if (w.step == 3) {
        w.commit = stamp();
        for (uint32_t g = 1; g <= SHARDS; g++) /* as answered to the prepares that were repeated just now */
            if (w.group[g].record && w.group[g].min_commit >= w.commit)
                w.commit = w.group[g].min_commit + 1;
    } else if (w.step == 4) {
        rc = drive_one(1, COMMIT_OP, false, &out);
        if (rc == HF_OK && out.state == COMMITTED) {
            w.acknowledged = true;
            w.commit = out.commit;
        } else if (rc == HF_E_FENCED || rc == HF_E_INVALID) {
            w.gave_up = true;
        }
    } else if (w.step < 7) {
        rc = drive_one((uint32_t)w.step - 3, COMMIT_OP, false, &out) == HF_E_UNAVAILABLE ? HF_E_UNAVAILABLE : HF_OK;
    } else {
        (void)drive_one(1, FORGET_OP, false, &out);
    }
    if (rc == HF_E_CONFLICT)
        drive_back();
    if (rc != HF_E_UNAVAILABLE)
        w.step++;
}

/* How many promises are broken. */
static int run(uint64_t seed)
{
    begin();
    memset(&w, 0, sizeof w);
    w.random = (struct random){seed};
    w.outcome = 1;
    w.last_step = (int)random_below(&w.random, 9) - 1;
    w.driver_ms = f.now_ms;
    for (; f.now_ms < 10000 + TROUBLE_MS + END_MS; f.now_ms += 5) {
        if (f.now_ms >= 10000 + TROUBLE_MS)
            w.gave_up = true;
        drive();
        deliver();
        f.dead = trouble(3) ? (uint32_t)random_below(&w.random, 4) : 0;
        if (trouble(100)) { /* somebody meets a lock */
            uint32_t g = (uint32_t)random_below(&w.random, SHARDS) + 1;
            Hf__Entry__TxnId id = id_of(3);
            if (w.group[g].record && w.group[g].state == PREPARED)
                resolve_met(&f.resolve, &id, g, f.now_ms * MS);
        }
        resolve_tick(&f.resolve, f.now_ms * MS);
        f.dead = 0;
        set_out();
    }
    int bad = 0;
    for (uint32_t g = 1; g <= SHARDS; g++) {
        bad += w.group[g].record;                        /* a lock, or a record, for ever */
        bad += w.group[g].applied != w.group[1].applied; /* half */
        bad += (w.acknowledged && w.group[g].applied == 0) || (w.refused && w.group[g].applied != 0);
    }
    bad += f.resolve.by_serial.count > 0 || f.resolve.asks > 0;
    resolve_deinit(&f.resolve);
    return bad;
}

static uint64_t only_seed;

static int runs(uint64_t seeds, int *committed)
{
    int bad = 0;
    *committed = 0;
    for (uint64_t seed = only_seed ? only_seed : 1; seed <= (only_seed ? only_seed : seeds); seed++) {
        int now = run(seed);
        bad += now != 0;
        *committed += w.group[1].applied != 0;
        if (now && model_bug == NULL && !planted_bug("resolve.forget_early") && !planted_bug("resolve.home_unasked"))
            fprintf(stderr, "replay: test_coordinator_resolve %llu\n", (unsigned long long)seed);
    }
    return bad;
}

static void nothing_is_half_and_no_lock_is_left(void)
{
    int committed;
    CU_ASSERT_EQUAL(runs(400, &committed), 0);
    if (!only_seed)
        CU_ASSERT(committed > 80 && committed < 320); /* the schedules must have been worth it */
    printf(" [%d of 400 committed] ", committed);
}

static void planted_bugs_are_found(void)
{
    static const char *const models[] = {"marker_unchecked", "no_marker"};
    int ignored;
    if (only_seed)
        return;
    for (size_t i = 0; i < 2; i++) {
        model_bug = models[i];
        int bad = runs(2000, &ignored);
        CU_ASSERT(bad > 0);
        printf(" [%s: %d] ", models[i], bad);
        model_bug = NULL;
    }
#ifdef HF_FAILPOINTS
    static const char *const bugs[] = {"resolve.forget_early", "resolve.home_unasked"};
    for (size_t i = 0; i < 2; i++) {
        failpoint_plant(bugs[i]);
        int bad = runs(400, &ignored);
        CU_ASSERT(bad > 0);
        printf(" [%s: %d] ", bugs[i], bad);
        failpoint_plant(NULL);
    }
#endif
}

int main(int argc, char **argv)
{
    static const struct unit_case cases[] = {
        {"what home says is told", what_home_says_is_told},
        {"an undecided one rests", an_undecided_one_rests},
        {"a silent shard keeps nobody else", a_silent_shard_keeps_nobody_else},
        {"home forgets when every shard has it", home_forgets_when_every_shard_has_it},
        {"sweeps are paged and bounded", sweeps_are_paged_and_bounded},
        {"only so many wait", only_so_many_wait},
        {"nothing is half and no lock is left", nothing_is_half_and_no_lock_is_left},
        {"planted bugs are found", planted_bugs_are_found},
    };
    only_seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    return UNIT_MAIN("coordinator/resolve", cases);
}
