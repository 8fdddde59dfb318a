/* test_calls.c: transactions' writes at the replica: what may be queued when, and what the leader's clock observes first. */
#include "common/base/error.h"
#include "shard/replica/replica_internal.h"
#include "tests/unit/shard/replica/fake_engine.h"
#include "tests/unit/unit.h"

static struct fsm_info info;
static bool full;

const struct fsm_info *__wrap_fsm_info(const struct fsm *fsm);
bool __wrap_publish_full(const struct publish *p);

const struct fsm_info *__wrap_fsm_info(const struct fsm *fsm)
{
    (void)fsm;
    return &info;
}

bool __wrap_publish_full(const struct publish *p)
{
    (void)p;
    return full;
}

static void done(void *ctx, struct replica_write *w, int code, const struct fsm_result *result)
{
    (void)ctx, (void)w, (void)code, (void)result;
}

static struct replica r;
static struct replica_write w;
static Hf__Entry__Txn txn;
static Hf__Entry__TxnWrite one, *writes[] = {&one};

/* Leads since (100, .), with a ceiling of 200 ms. */
static void begin(void)
{
    r = (struct replica){.status.role = ENGINE_LEADER, .was_serving = true};
    info = (struct fsm_info){.feature_level = FSM_FEATURE_LEVEL, .ceiling = hlc_from_ms(200)};
    full = false;
    writes_init(&r.writes, done, NULL);
    leader_clock_begin(&r.clock, &info, 7, 0);
    leader_clock_observe(&r.clock, hlc_from_ms(100), 7);
}

static int write_txn(Hf__Entry__Op op, uint64_t start, uint64_t commit)
{
    w = (struct replica_write){.kind = WRITE_COMMAND, .bytes = 100};
    hf__entry__command__init(&w.command);
    hf__entry__txn__init(&txn);
    hf__entry__txn_write__init(&one);
    w.command.op = op;
    w.command.txn = &txn;
    txn.start = start;
    txn.commit = commit;
    int rc = replica_write(&r, &w);
    writes_abandon(&r.writes);
    return rc;
}

static void a_commit_is_observed_before_it_is_queued(void)
{
    begin();
    CU_ASSERT_EQUAL(write_txn(HF__ENTRY__OP__TXN_COMMIT, 0, hlc_from_ms(150).t), HF_OK);
    CU_ASSERT(r.clock.stamp.observed.t == hlc_from_ms(150).t && r.clock.stamp.next_seq == STAMP_FIRST_SEQ);
    CU_ASSERT_EQUAL(write_txn(HF__ENTRY__OP__TXN_COMMIT, 0, hlc_from_ms(5000).t), HF_OK); /* above the ceiling, too */
    CU_ASSERT(r.clock.stamp.observed.t == hlc_from_ms(5000).t);
    uint64_t beyond = hlc_from_ms(200 + UINT64_C(604800001)).t;
    CU_ASSERT_EQUAL(write_txn(HF__ENTRY__OP__TXN_COMMIT, 0, beyond), HF_E_FUTURE_TIMESTAMP);
    CU_ASSERT(r.clock.stamp.observed.t == hlc_from_ms(5000).t);
}

static void what_was_read_at_is_observed_below_the_ceiling(void)
{
    begin();
    CU_ASSERT_EQUAL(write_txn(HF__ENTRY__OP__TXN_WHOLE, hlc_from_ms(160).t, 0), HF_OK);
    CU_ASSERT(r.clock.stamp.observed.t == hlc_from_ms(160).t);
    CU_ASSERT_EQUAL(write_txn(HF__ENTRY__OP__TXN_PREPARE, hlc_from_ms(200).t, 0), HF_OK);
    CU_ASSERT(r.clock.stamp.observed.t == hlc_from_ms(160).t);
}

static void decisions_pass_where_others_wait(void)
{
    begin();
    full = true;
    CU_ASSERT_EQUAL(write_txn(HF__ENTRY__OP__TXN_WHOLE, 1, 0), HF_E_BUSY);
    CU_ASSERT_EQUAL(write_txn(HF__ENTRY__OP__TXN_PREPARE, 1, 0), HF_E_BUSY);
    leader_clock_hold(&r.clock, 9, 0);
    CU_ASSERT_EQUAL(write_txn(HF__ENTRY__OP__TXN_COMMIT, 0, hlc_from_ms(110).t), HF_OK);
    CU_ASSERT_EQUAL(write_txn(HF__ENTRY__OP__TXN_ROLLBACK, 0, 0), HF_OK);
    CU_ASSERT_EQUAL(write_txn(HF__ENTRY__OP__TXN_FORGET, 0, 0), HF_OK);
    leader_clock_end(&r.clock);
    CU_ASSERT_EQUAL(write_txn(HF__ENTRY__OP__TXN_COMMIT, 0, hlc_from_ms(110).t), HF_E_NOT_READY); /* no time yet */
    CU_ASSERT_EQUAL(write_txn(HF__ENTRY__OP__TXN_ROLLBACK, 0, 0), HF_E_NOT_READY);
    r.status.role = ENGINE_FOLLOWER;
    CU_ASSERT_EQUAL(write_txn(HF__ENTRY__OP__TXN_ROLLBACK, 0, 0), HF_E_NOT_LEADER);
}

static int write_ttl(uint64_t of_write, uint64_t of_txn)
{
    w = (struct replica_write){.kind = WRITE_COMMAND, .bytes = 100};
    hf__entry__command__init(&w.command);
    hf__entry__txn__init(&txn);
    hf__entry__txn_write__init(&one);
    w.command.op = of_txn ? HF__ENTRY__OP__TXN_PREPARE : HF__ENTRY__OP__TXN_WHOLE;
    w.command.txn = &txn;
    txn.writes = writes;
    txn.n_writes = 1;
    txn.ttl_ms = of_txn;
    one.ttl_ms = of_write;
    int rc = replica_write(&r, &w);
    writes_abandon(&r.writes);
    return rc;
}

static void a_time_to_live_needs_the_coordinators_time(void)
{
    begin();
    r.clock.beat = false; /* it goes on from a ceiling */
    CU_ASSERT_EQUAL(write_ttl(0, 0), HF_OK);
    CU_ASSERT_EQUAL(write_ttl(5, 0), HF_E_NOT_READY);
    CU_ASSERT_EQUAL(write_ttl(0, 5), HF_E_NOT_READY);
    r.clock.beat = true;
    CU_ASSERT_EQUAL(write_ttl(5, 0), HF_OK);
    CU_ASSERT_EQUAL(write_ttl(5, 5), HF_OK);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"a commit is observed", a_commit_is_observed_before_it_is_queued},
        {"what was read at is observed", what_was_read_at_is_observed_below_the_ceiling},
        {"decisions pass", decisions_pass_where_others_wait},
        {"times to live", a_time_to_live_needs_the_coordinators_time},
    };
    return UNIT_MAIN("replica/calls", cases);
}
