/* test_txns_random.c: random schedules of two drivers of transactions over a model of three shards, with questions lost, late and
 * doubled, sessions that go, drivers that lose the active role, and a resolver in between: nothing is half committed, no definite
 * answer is wrong, and nothing that a committed one read changed before its commit. Planted bugs must be found.
 * HOLDFAST_SEED replays one schedule. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "coordinator/limits.h"
#include "coordinator/txns.h"
#include "proto/pack.h"
#include "tests/unit/coordinator/txnmake.h"
#include "tests/unit/coordinator/txnmodel.h"
#include "tests/unit/unit.h"

#define MS CLOCK_NS_PER_MS
#define DRIVERS 2
#define FLIGHTS_MAX 1024
#define STEPS 900
#define SEEDS 2000
#define CANARY_SEEDS 4000

struct flight {
    struct world *world;
    size_t driver;
    uint32_t shard;
    uint64_t question; /* 0: nobody waits for the answer */
    Hf__Client__Request *request;
};

struct one {
    uint64_t start, ok;
    bool writes[MODEL_SHARDS + 1][MODEL_KEYS], reads[MODEL_SHARDS + 1][MODEL_KEYS];
    bool wrote, twice, refused;
};

struct driver {
    struct world *world;
    struct txns txns;
    bool standby;
};

static struct world {
    struct random random;
    struct model model;
    struct driver drivers[DRIVERS];
    struct flight flights[FLIGHTS_MAX];
    size_t count;
    struct one all[MODEL_TXNS + 1];
    uint64_t begun, next, now_ns;
    int committed, faults;
    char fault[160];
} w;

static Hf__Catalog__Routes routes;

static uint64_t below(uint64_t n)
{
    return random_below(&w.random, n);
}

static void fault(const char *what, uint64_t n)
{
    if (w.faults++ == 0)
        snprintf(w.fault, sizeof w.fault, "transaction %" PRIu64 ": %s", n, what);
}

/* ---- port ---- */

static const Hf__Catalog__Routes *port_routes(void *ctx)
{
    (void)ctx;
    return &routes;
}

static bool port_active(void *ctx)
{
    const struct driver *d = ctx;
    return !d->standby;
}

static Hf__Client__Request *copy_of(const Hf__Client__Request *request)
{
    struct buf packed = {0};
    pack_append(&request->base, &packed);
    Hf__Client__Request *copy = pack_unpack_owned(&hf__client__request__descriptor, buf_slice(&packed));
    buf_deinit(&packed);
    must(copy != NULL);
    return copy;
}

static int port_ask(void *ctx, uint32_t shard, Hf__Client__Request *request, uint64_t question, uint64_t now_ns)
{
    struct driver *d = ctx;
    (void)now_ns;
    if (w.count == FLIGHTS_MAX || below(30) == 0)
        return HF_E_UNAVAILABLE;
    w.flights[w.count++] = (struct flight){&w, (size_t)(d - w.drivers), shard, question, copy_of(request)};
    return HF_OK;
}

static int port_draw(void *ctx, struct hlc above, struct hlc *out)
{
    const struct driver *d = ctx;
    if (d->standby)
        return HF_E_NOT_LEADER;
    if (below(20) == 0)
        return HF_E_NOT_READY;
    w.next = w.next > above.t ? w.next + 1 : above.t + 1;
    *out = (struct hlc){w.next};
    return HF_OK;
}

static void port_answer(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply)
{
    struct one *one = &w.all[client->id];
    (void)ctx;
    if (reply->code == HF_OK) {
        if (one->ok != 0 && one->ok != reply->timestamp && one->wrote)
            fault("two timestamps", client->id);
        one->ok = reply->timestamp;
        w.committed++;
    } else if (reply->code == HF_E_CONFLICT || reply->code == HF_E_FENCED ||
               (!one->twice && error_class(reply->code) != HF_CLASS_OUTCOME_UNKNOWN)) {
        one->refused = true;
    }
}

/* ---- events ---- */

static uint64_t stamp(void)
{
    return below(4) == 0 ? w.next + below(6) : w.next;
}

static void submit(uint64_t n, size_t driver)
{
    static Hf__Entry__TxnWrite writes[MODEL_SHARDS * MODEL_KEYS], *write_list[MODEL_SHARDS * MODEL_KEYS];
    static Hf__Entry__TxnRead reads[MODEL_SHARDS * MODEL_KEYS], *read_list[MODEL_SHARDS * MODEL_KEYS];
    char keys[MODEL_SHARDS * MODEL_KEYS][2], text[TXNS_TEXT_BYTES];
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    Hf__Client__Txn txn = HF__CLIENT__TXN__INIT;
    const struct one *one = &w.all[n];
    txn.writes = write_list;
    txn.reads = read_list;
    txn.start = one->start;
    for (size_t i = 0; i < MODEL_SHARDS * MODEL_KEYS; i++) {
        size_t shard = 1 + i / MODEL_KEYS, key = i % MODEL_KEYS;
        keys[i][0] = (char)('a' + i / MODEL_KEYS);
        keys[i][1] = (char)('0' + i % MODEL_KEYS);
        if (one->writes[shard][key]) {
            Hf__Entry__TxnWrite *write = write_list[txn.n_writes] = &writes[txn.n_writes];
            hf__entry__txn_write__init(write);
            write->op = HF__ENTRY__OP__PUT;
            write->key = pack_bytes(slice_make(keys[i], 2));
            txn.n_writes++;
        }
        if (one->reads[shard][key]) {
            Hf__Entry__TxnRead *read = read_list[txn.n_reads] = &reads[txn.n_reads];
            hf__entry__txn_read__init(read);
            read->key = pack_bytes(slice_make(keys[i], 2));
            txn.n_reads++;
        }
    }
    q.op_case = HF__CLIENT__REQUEST__OP_TXN;
    q.txn = &txn;
    if (one->wrote) {
        q.shard = (uint32_t)(1 + n % MODEL_SHARDS);
        q.session = n;
        q.seq = 1;
    }
    int rc = txns_begin(&w.drivers[driver].txns, &(struct forward_client){.id = n}, &q,
                        w.now_ns + (200 + below(4000)) * MS, w.now_ns, text);
    must(rc == HF_OK);
}

static void begin_one(void)
{
    if (w.begun == MODEL_TXNS)
        return;
    uint64_t n = ++w.begun;
    struct one *one = &w.all[n];
    one->start = ++w.next;
    one->wrote = below(6) != 0;
    for (size_t s = 1; s <= MODEL_SHARDS; s++)
        for (size_t key = 0; key < MODEL_KEYS; key++) {
            one->writes[s][key] = one->wrote && below(5) == 0;
            one->reads[s][key] = below(5) == 0;
            if (one->reads[s][key] && w.model.shards[s].clock < one->start)
                w.model.shards[s].clock = one->start;
        }
    if (one->wrote)
        one->writes[1 + n % MODEL_SHARDS][below(MODEL_KEYS)] = true;
    else
        one->reads[1][0] = one->reads[2][0] = true;
    submit(n, below(DRIVERS));
}

static void begin_again(void)
{
    uint64_t n = w.begun ? 1 + below(w.begun) : 0;
    if (n == 0 || !w.all[n].wrote || w.all[n].refused)
        return;
    w.all[n].twice = true;
    submit(n, below(DRIVERS));
}

static void said(const struct flight *one, const Hf__Client__Reply *reply)
{
    if (one->question == 0)
        return;
    txns_said(&w.drivers[one->driver].txns, one->question, reply, w.now_ns);
    txns_check(&w.drivers[one->driver].txns);
}

static void say_no(const struct flight *one)
{
    static const int codes[] = {HF_E_NOT_LEADER, HF_E_NOT_READY, HF_E_BUSY, HF_E_UNAVAILABLE};
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    reply.code = codes[below(4)];
    if (one->request->op_case == HF__CLIENT__REQUEST__OP_VALIDATE && below(2) == 0) {
        reply.code = HF_E_RESTART_ABOVE;
        reply.timestamp = w.next + below(5);
    }
    said(one, &reply);
}

static void deliver(void)
{
    if (w.count == 0)
        return;
    size_t at = below(w.count);
    struct flight one = w.flights[at];
    uint64_t roll = below(100);
    struct model_reply reply;
    bool keeps = one.question != 0 && (roll < 6 || (roll >= 14 && roll < 20)); /* it is executed later, too */
    if (keeps)
        w.flights[at].question = 0;
    else
        w.flights[at] = w.flights[--w.count];
    bool executes = roll >= 6 && (roll < 10 || roll >= 20);
    if (keeps && roll >= 14)
        executes = true;
    if (executes)
        model_execute(&w.model, one.shard, one.request, stamp(), &reply);
    if (roll < 14) /* 6..9: executed, and the answer is lost; 10..13: lost */
        said(&one, NULL);
    else if (executes)
        said(&one, &reply.reply);
    else
        say_no(&one);
    if (!keeps)
        protobuf_c_message_free_unpacked(&one.request->base, NULL);
}

static void pass(uint64_t ms)
{
    w.now_ns += ms * MS;
    for (size_t d = 0; d < DRIVERS; d++) {
        txns_tick(&w.drivers[d].txns, w.now_ns);
        txns_check(&w.drivers[d].txns);
    }
}

static void happen(void)
{
    uint64_t roll = below(1000);
    if (roll < 60)
        begin_one();
    else if (roll < 80)
        begin_again();
    else if (roll < 250)
        pass(below(20));
    else if (roll < 255)
        pass(below(1500));
    else if (roll < 265)
        model_resolve(&w.model, below(8) == 0, stamp());
    else if (roll < 280)
        model_put(&w.model, (uint32_t)(1 + below(MODEL_SHARDS)), below(MODEL_KEYS), stamp());
    else if (roll < 282)
        w.drivers[below(DRIVERS)].standby ^= true;
    else if (roll < 284 && w.begun > 0) {
        uint64_t n = 1 + below(w.begun);
        w.model.shards[1 + n % MODEL_SHARDS].gone[n] = true;
    } else
        deliver();
}

/* ---- what must be ---- */

static void check_one(uint64_t n)
{
    const struct one *one = &w.all[n];
    uint64_t commit = 0;
    bool some = false, none = false, differ = false;
    for (uint32_t s = 1; s <= MODEL_SHARDS; s++)
        for (size_t key = 0; key < MODEL_KEYS; key++) {
            if (!one->writes[s][key])
                continue;
            uint64_t t = model_version_of(&w.model, s, key, n);
            differ |= some && t != 0 && t != commit;
            commit = t ? t : commit;
            some |= t != 0;
            none |= t == 0;
        }
    if ((some && none) || differ)
        fault("half committed", n);
    if (some && one->refused)
        fault("refused, and committed", n);
    if (one->wrote && one->ok != 0 && one->ok != commit)
        fault("acknowledged, and not committed there", n);
    commit = one->wrote ? commit : one->ok;
    for (uint32_t s = 1; s <= MODEL_SHARDS && commit; s++)
        for (size_t key = 0; key < MODEL_KEYS; key++)
            if (one->reads[s][key] && model_moved(&w.model, s, key, one->start, commit, n))
                fault("what it read changed before it committed", n);
}

static void run(uint64_t seed)
{
    memset(&w, 0, sizeof w);
    w.random.state = seed;
    w.next = 100;
    w.now_ns = 1000 * MS;
    model_init(&w.model);
    for (size_t d = 0; d < DRIVERS; d++) {
        const struct txns_port port = {.ctx = &w.drivers[d],
                                       .routes = port_routes,
                                       .active = port_active,
                                       .ask = port_ask,
                                       .draw = port_draw,
                                       .answer = port_answer};
        txns_init(&w.drivers[d].txns, &port, 3000);
    }
    for (size_t i = 0; i < STEPS; i++)
        happen();
    for (size_t i = 0; i < 3; i++) /* the time of all is over, but not of what is late */
        pass(10000);
    while (w.count > 0)
        deliver();
    for (size_t i = 0; i < 3; i++)
        model_resolve(&w.model, true, w.next);
    for (size_t d = 0; d < DRIVERS; d++) {
        if (w.drivers[d].txns.count != 0)
            fault("driven without end", 0);
        txns_deinit(&w.drivers[d].txns);
    }
    for (uint64_t n = 1; n <= w.begun; n++)
        check_one(n);
}

static void random_schedules(void)
{
    const char *replay = getenv("HOLDFAST_SEED");
    uint64_t committed = 0;
    for (uint64_t seed = replay ? strtoull(replay, NULL, 10) : 1, last = replay ? seed : SEEDS; seed <= last; seed++) {
        run(seed);
        committed += (uint64_t)w.committed;
        CU_ASSERT_EQUAL(w.faults, 0);
        if (w.faults > 0)
            fprintf(stderr, "%s; replay: HOLDFAST_SEED=%" PRIu64 " test_coordinator_txns_random\n", w.fault, seed);
    }
    CU_ASSERT(replay != NULL || committed > SEEDS); /* it is no test if nothing gets through */
}

static void is_found(const char *bug)
{
    uint64_t seed = 1;
    failpoint_plant(bug);
    for (w.faults = 0; seed <= CANARY_SEEDS && w.faults == 0; seed++)
        run(seed);
    failpoint_plant(NULL);
    CU_ASSERT(w.faults > 0);
    if (w.faults == 0)
        fprintf(stderr, "%s: not found\n", bug);
}

static void planted_bugs_are_found(void)
{
    is_found("txn.reads_unvalidated");
    is_found("txn.validate_first");
    is_found("txn.no_min_commit");
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"random schedules", random_schedules},
        {"planted bugs are found", planted_bugs_are_found},
    };
    txnmake_routes(&routes);
    diag_init("test", DIAG_ERROR);
    return UNIT_MAIN("coordinator/txns_random", cases);
}
