/* test_resolve.c: what a look does with each thing that home can say, who waits for what, and the bounds of sweeps. */
#include "common/base/error.h"
#include "common/sys/clock.h"
#include "coordinator/limits.h"
#include "tests/unit/coordinator/resolve_port.h"
#include "tests/unit/unit.h"

static int ask(uint64_t seq, uint32_t shard)
{
    Hf__Entry__TxnId id = resolve_port_id(seq);
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

static bool was(size_t sent, uint32_t shard, Hf__Client__Request__OpCase op)
{
    return sent < f.sent_count && f.sent[sent].shard == shard && f.sent[sent].op == op && !f.sent[sent].force;
}

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
        resolve_port_begin();
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
    resolve_port_begin();
    f.standby = true;
    CU_ASSERT_EQUAL(ask(3, 2), HF_OK);
    say(0, HF_OK, PREPARED, 0);
    CU_ASSERT_EQUAL(ask(3, 2), HF_OK);
    Hf__Entry__TxnId id = resolve_port_id(3);
    resolve_met(&f.resolve, &id, 3, 0);
    CU_ASSERT(f.sent_count == 1 && f.answers == 2 && f.state == PREPARED);
    resolve_tick(&f.resolve, (RESOLVE_REST_MS + 1) * MS);
    resolve_met(&f.resolve, &id, 3, 0);
    CU_ASSERT(was(1, 1, ROLLBACK) && f.resolve.by_serial.count == 1);
    f.drives = true; /* nor is one that is driven here looked at */
    id = resolve_port_id(4);
    resolve_met(&f.resolve, &id, 3, 0);
    CU_ASSERT_EQUAL(ask(4, 3), HF_OK);
    CU_ASSERT(f.sent_count == 2 && f.answers == 3 && f.state == PREPARED);
    resolve_deinit(&f.resolve);
}

static void a_silent_shard_keeps_nobody_else(void)
{
    resolve_port_begin();
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
    resolve_port_begin();
    Hf__Entry__TxnId id = resolve_port_id(3);
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
    resolve_port_say_list(1, &txn, 1, false);
    CU_ASSERT(was(3, 2, COMMIT) && f.sent_count == 4);
    say(3, HF_OK, NONE, 0);
    CU_ASSERT(f.sent_count == 4 && f.resolve.by_serial.count == 0); /* shard 3 has not: home keeps it */
    f.dead = 0;
    resolve_tick(&f.resolve, (RESOLVE_PERIOD_MS + 1) * MS);
    size_t at = f.sent_count;
    resolve_port_say_list(1, &txn, 1, false);
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
    resolve_port_begin();
    for (uint64_t i = 0; i < COUNT; i++) {
        ids[i] = resolve_port_id(i + 1);
        hf__client__txn_outcome__init(&txns[i]);
        txns[i].id = &ids[i];
        txns[i].state = PREPARED;
        txns[i].min_commit = hlc_from_ms(9000).t;
        txns[i].expires = hlc_from_ms(20000).t;
    }
    resolve_tick(&f.resolve, 0);
    resolve_port_say_list(1, txns, 10, true); /* at home, not expired: nothing to ask */
    CU_ASSERT(f.sent_count == 4 && f.sent[3].after == 10 && f.sent[3].shard == 1);
    resolve_port_say_list(1, txns, 10, true); /* no progress: the pass ends */
    CU_ASSERT_EQUAL(f.sent_count, 4);
    resolve_port_say_list(2, txns, COUNT, false); /* locks elsewhere: home is asked, as far as there is room for it */
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
    resolve_port_begin();
    for (unsigned i = 0; i < RESOLVE_LOOK_CLIENTS_MAX; i++)
        CU_ASSERT_EQUAL(ask(3, 0), HF_OK);
    CU_ASSERT_EQUAL(ask(3, 0), HF_E_BUSY);
    CU_ASSERT_EQUAL(ask(4, 0), HF_OK);
    say(0, HF_OK, ROLLED_BACK, 0);
    CU_ASSERT_EQUAL(f.answers, (int)RESOLVE_LOOK_CLIENTS_MAX);
    resolve_deinit(&f.resolve);
}

/* What is kept for a shard is kept for ever, and numbers come from clients and shards. */
static void shards_that_do_not_exist_leave_nothing(void)
{
    resolve_port_begin();
    for (uint32_t i = 0; i < 100; i++) {
        Hf__Entry__TxnId id = resolve_port_id(i);
        id.home = SHARDS + 1 + i;
        resolve_met(&f.resolve, &id, 2, 0);
        CU_ASSERT_EQUAL(resolve_ask(&f.resolve, &(struct forward_client){0}, &id, 2, 5000 * MS, 0), HF_OK);
        CU_ASSERT_EQUAL(f.code, HF_E_UNAVAILABLE);
    }
    CU_ASSERT(f.answers == 100 && f.sent_count == 0 && f.resolve.by_serial.count == 0 && f.resolve.shards.count == 0);
    CU_ASSERT_EQUAL(ask(3, SHARDS + 1), HF_OK);
    say(0, HF_OK, COMMITTED, 77);
    CU_ASSERT(f.answers == 101 && f.code == HF_E_UNAVAILABLE && f.sent_count == 1);
    CU_ASSERT(f.resolve.by_serial.count == 0 && f.resolve.shards.count == 1);
    resolve_deinit(&f.resolve);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"what home says is told", what_home_says_is_told},
        {"an undecided one rests", an_undecided_one_rests},
        {"a silent shard keeps nobody else", a_silent_shard_keeps_nobody_else},
        {"home forgets when every shard has it", home_forgets_when_every_shard_has_it},
        {"sweeps are paged and bounded", sweeps_are_paged_and_bounded},
        {"only so many wait", only_so_many_wait},
        {"shards that do not exist leave nothing", shards_that_do_not_exist_leave_nothing},
    };
    return UNIT_MAIN("coordinator/resolve", cases);
}
