/* test_writes.c: writes are packed by the turn, come back exactly once, with one of the three answers (I8, I9, I12). */
#include "shard/replica/writes.h"

#include "common/base/error.h"
#include "common/base/limits.h"
#include "proto/pack.h"
#include "tests/unit/shard/replica/fake_engine.h"
#include "tests/unit/unit.h"

struct answer {
    struct replica_write *write;
    int code;
    bool decided; /* by the state machine */
};

static struct answer answers[LIMIT_PENDING_REQUESTS + 8];
static size_t answer_count;

static void done(void *ctx, struct replica_write *w, int code, const struct fsm_result *result)
{
    (void)ctx;
    answers[answer_count++] = (struct answer){w, code, result != NULL};
}

struct fixture {
    struct writes writes;
    struct fake_engine engine;
    struct stamp stamp;
    struct arena arena;
    struct replica_write w[2000];
};

static struct fixture *fixture_new(void)
{
    static struct fixture f;
    f = (struct fixture){.engine = {.term = 7, .last = 10}, .stamp = {{100}, 1}};
    writes_init(&f.writes, done, NULL);
    answer_count = 0;
    for (size_t i = 0; i < 2000; i++) {
        f.w[i] = (struct replica_write){.kind = WRITE_COMMAND, .deadline_ns = 1000, .bytes = 100};
        hf__entry__command__init(&f.w[i].command);
    }
    return &f;
}

static void fixture_end(struct fixture *f)
{
    writes_deinit(&f->writes);
    arena_deinit(&f->arena);
}

static void propose(struct fixture *f)
{
    writes_propose(&f->writes, &fake_engine_ops, (struct engine *)(void *)&f->engine, &f->stamp, &f->arena);
}

static void queue(struct fixture *f, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        CU_ASSERT_EQUAL(writes_queue(&f->writes, &f->w[i]), HF_OK);
}

static void a_turn_is_one_entry(void)
{
    struct fixture *f = fixture_new();
    queue(f, 0, 100);
    propose(f);
    CU_ASSERT_EQUAL(f->engine.proposals, 1);
    CU_ASSERT_EQUAL(f->engine.opcode[0], 0x01);
    CU_ASSERT_EQUAL(f->stamp.next_seq, 101);
    struct fsm_result r = {.code = HF_OK};
    for (uint32_t i = 0; i < 100; i++)
        writes_result(&f->writes, 11, 7, i, &r);
    CU_ASSERT_EQUAL(answer_count, 100);
    CU_ASSERT(answers[99].write == &f->w[99] && answers[99].code == HF_OK && answers[99].decided);
    CU_ASSERT_EQUAL(f->writes.count, 0);
    CU_ASSERT_EQUAL(f->writes.bytes, 0);
    fixture_end(f);
}

static void entries_are_bounded(void)
{
    struct fixture *f = fixture_new();
    for (size_t i = 0; i < 4; i++)
        f->w[i].bytes = 700 * 1024;
    queue(f, 0, 4);
    propose(f);
    CU_ASSERT_EQUAL(f->engine.proposals, 4); /* two together would pass the bound of an entry */
    queue(f, 4, 1500);
    propose(f);
    CU_ASSERT_EQUAL(f->engine.proposals, 6); /* 1024 commands, then the rest */
    fixture_end(f);
}

static void other_kinds_stand_alone(void)
{
    struct fixture *f = fixture_new();
    f->w[1].kind = WRITE_LEASE;
    hf__entry__lease_entry__init(&f->w[1].lease);
    f->w[3].kind = WRITE_SESSION;
    hf__entry__session_entry__init(&f->w[3].session);
    queue(f, 0, 5);
    propose(f);
    CU_ASSERT_EQUAL(f->engine.proposals, 5);
    static const uint8_t expected[] = {0x01, 0x02, 0x01, 0x13, 0x01};
    CU_ASSERT_EQUAL(memcmp(f->engine.opcode, expected, 5), 0);
    CU_ASSERT_EQUAL(f->w[3].session.timestamp, 100);
    fixture_end(f);
}

static void queue_seal(struct fixture *f, size_t i, Hf__Entry__MigrateStep step)
{
    f->w[i].kind = WRITE_MIGRATE;
    hf__entry__migrate_entry__init(&f->w[i].migrate);
    f->w[i].migrate.step = step;
    f->w[i].migrate.id = 1;
    queue(f, i, i + 1);
}

/* Whoever waits behind it is told that nothing was done; it may take effect, and then nothing behind it ever is. */
static void nothing_is_proposed_behind_a_seal(void)
{
    struct fixture *f = fixture_new();
    struct engine *e = (struct engine *)(void *)&f->engine;
    struct collector_step step = {.steps = 1};
    uint64_t index;
    queue(f, 0, 1);
    queue_seal(f, 1, HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL);
    queue(f, 2, 4);
    propose(f);
    CU_ASSERT(f->engine.proposals == 2 && f->engine.opcode[1] == 0x10 && f->writes.sealing == 12);
    CU_ASSERT(answer_count == 2 && answers[1].code == HF_E_NOT_READY && !answers[1].decided);
    queue(f, 4, 5);
    propose(f);
    CU_ASSERT(f->engine.proposals == 2 && answer_count == 3);
    CU_ASSERT_EQUAL(writes_mark(&f->writes, &fake_engine_ops, e, (struct hlc){5}), HF_E_NOT_READY);
    CU_ASSERT_EQUAL(writes_collect(&f->writes, &fake_engine_ops, e, &step, &index), HF_E_NOT_READY);
    struct fsm_result r = {.code = HF_OK}, refused = {.code = HF_E_COMPARE_FAILED};
    writes_result(&f->writes, 11, 7, 0, &r);
    CU_ASSERT_EQUAL(f->writes.sealing, 12);
    writes_result(&f->writes, 12, 7, 0, &refused); /* without effect: all goes on */
    queue(f, 5, 6);
    propose(f);
    CU_ASSERT(f->writes.sealing == 0 && f->engine.proposals == 3);
    queue_seal(f, 6, HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL);
    propose(f);
    CU_ASSERT_EQUAL(f->writes.sealing, 14);
    writes_abandon(&f->writes); /* whoever leads next knows what the log holds */
    queue_seal(f, 7, HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE);
    queue(f, 8, 9);
    propose(f);
    CU_ASSERT(f->writes.sealing == 0 && f->engine.proposals == 6);
    fixture_end(f);
}

/* Until then a seal of the same migration may stand before it, in this log or in another. */
static void a_step_of_a_migration_is_answered_when_it_is_applied(void)
{
    static const Hf__Entry__MigrateStep steps[] = {HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE,
                                                   HF__ENTRY__MIGRATE_STEP__MIGRATE_ABORT,
                                                   HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL};
    for (size_t i = 0; i < 3; i++) {
        struct fixture *f = fixture_new();
        queue_seal(f, 0, steps[i]);
        propose(f);
        CU_ASSERT(f->engine.proposals == 1 && answer_count == 0);
        struct fsm_result refused = {.code = HF_E_COMPARE_FAILED};
        writes_result(&f->writes, 11, 7, 0, &refused);
        CU_ASSERT(answer_count == 1 && answers[0].code == HF_E_COMPARE_FAILED && answers[0].decided);
        queue_seal(f, 1, steps[i]);
        propose(f);
        writes_abandon(&f->writes);
        CU_ASSERT(answer_count == 2 && answers[1].code == HF_E_OUTCOME_UNKNOWN && !answers[1].decided);
        fixture_end(f);
    }
}

static void refused_by_the_engine_is_surely_not_done(void)
{
    struct fixture *f = fixture_new();
    f->engine.propose_code = HF_E_NOT_LEADER;
    queue(f, 0, 3);
    propose(f);
    CU_ASSERT_EQUAL(answer_count, 3);
    CU_ASSERT(answers[2].code == HF_E_NOT_LEADER && !answers[2].decided);
    fixture_end(f);
}

static void lost_leadership_is_unknown_for_what_was_proposed_only(void)
{
    struct fixture *f = fixture_new();
    queue(f, 0, 1);
    propose(f);
    queue(f, 1, 2);
    writes_abandon(&f->writes);
    CU_ASSERT_EQUAL(answer_count, 2);
    CU_ASSERT_EQUAL(answers[0].code, HF_E_OUTCOME_UNKNOWN);
    CU_ASSERT_EQUAL(answers[1].code, HF_E_NOT_LEADER);
    fixture_end(f);
}

static void another_leaders_entry_at_the_index_is_surely_not_done(void)
{
    struct fixture *f = fixture_new();
    queue(f, 0, 2);
    propose(f);
    struct fsm_result r = {.code = HF_OK};
    writes_result(&f->writes, 11, 8, 0, &r);
    CU_ASSERT_EQUAL(answer_count, 2);
    CU_ASSERT(answers[0].code == HF_E_NOT_LEADER && answers[1].code == HF_E_NOT_LEADER);
    fixture_end(f);
}

static void results_of_entries_before_ours_are_not_ours(void)
{
    struct fixture *f = fixture_new();
    queue(f, 0, 1);
    propose(f);
    struct fsm_result r = {.code = HF_OK};
    writes_result(&f->writes, 10, 7, 0, &r);
    CU_ASSERT_EQUAL(answer_count, 0);
    fixture_end(f);
    CU_ASSERT_EQUAL(answer_count, 1);
}

static void a_deadline_gives_back_as_unknown_and_once(void)
{
    struct fixture *f = fixture_new();
    f->w[1].deadline_ns = 5000;
    queue(f, 0, 2);
    propose(f);
    writes_expire(&f->writes, 1000);
    CU_ASSERT_EQUAL(answer_count, 1);
    CU_ASSERT_EQUAL(answers[0].code, HF_E_OUTCOME_UNKNOWN);
    CU_ASSERT_EQUAL(f->writes.bytes, 200); /* the entry is in the log: its bytes stay charged until its fate is known */
    struct fsm_result r = {.code = HF_OK};
    writes_result(&f->writes, 11, 7, 0, &r);
    writes_result(&f->writes, 11, 7, 1, &r);
    CU_ASSERT_EQUAL(answer_count, 2);
    CU_ASSERT(answers[1].write == &f->w[1] && answers[1].code == HF_OK);
    CU_ASSERT_EQUAL(f->writes.bytes, 0);
    fixture_end(f);
    CU_ASSERT_EQUAL(answer_count, 2);
}

static void the_queue_is_bounded(void)
{
    struct fixture *f = fixture_new();
    static struct replica_write many[LIMIT_PENDING_REQUESTS + 1];
    for (size_t i = 0; i <= LIMIT_PENDING_REQUESTS; i++) {
        many[i] = (struct replica_write){.bytes = 1};
        CU_ASSERT_EQUAL(writes_queue(&f->writes, &many[i]), i < LIMIT_PENDING_REQUESTS ? HF_OK : HF_E_BUSY);
    }
    writes_abandon(&f->writes);
    many[0].bytes = LIMIT_PENDING_BYTES;
    CU_ASSERT_EQUAL(writes_queue(&f->writes, &many[0]), HF_OK);
    CU_ASSERT_EQUAL(writes_queue(&f->writes, &many[1]), HF_E_BUSY);
    fixture_end(f);
}

static void stamps_never_repeat(void)
{
    struct stamp s = {0};
    stamp_continue(&s, (struct version){{50}, 9});
    struct version a = stamp_take(&s, 3);
    CU_ASSERT(a.t.t == 50 && a.seq == STAMP_FIRST_SEQ); /* the versions of commits are below */
    stamp_observe(&s, (struct hlc){40});                /* older: ignored */
    struct version b = stamp_take(&s, 1);
    CU_ASSERT(version_compare(b, (struct version){{50}, STAMP_FIRST_SEQ + 2}) > 0);
    stamp_observe(&s, (struct hlc){60});
    stamp_continue(&s, (struct version){{50}, 99});
    struct version c = stamp_take(&s, 1);
    CU_ASSERT(c.t.t == 60 && c.seq == STAMP_FIRST_SEQ);
    stamp_continue(&s, (struct version){{60}, STAMP_FIRST_SEQ}); /* the same version seen again as applied */
    CU_ASSERT_EQUAL(stamp_take(&s, 1).seq, STAMP_FIRST_SEQ + 1);
    stamp_continue(&s, (struct version){{70}, 5}); /* a commit */
    CU_ASSERT_EQUAL(stamp_take(&s, 1).seq, STAMP_FIRST_SEQ);
    stamp_continue(&s, (struct version){{80}, 2 * STAMP_FIRST_SEQ});
    CU_ASSERT_EQUAL(stamp_take(&s, 1).seq, 2 * STAMP_FIRST_SEQ + 1);
}

/* Writes of prefixes of no byte and reads of all: the largest structures for the fewest bytes. */
struct large {
    Hf__Entry__Txn txn;
    Hf__Entry__TxnWrite write;
    Hf__Entry__TxnRead read;
    Hf__Entry__TxnWrite *writes[LIMIT_TXN_KEYS];
    Hf__Entry__TxnRead *reads[LIMIT_TXN_KEYS];
};

static void transact(struct replica_write *w, struct large *l, size_t writes, size_t reads)
{
    hf__entry__txn__init(&l->txn);
    hf__entry__txn_write__init(&l->write);
    hf__entry__txn_read__init(&l->read);
    l->write.op = HF__ENTRY__OP__DELETE_PREFIX;
    l->read.range = true;
    for (size_t i = 0; i < LIMIT_TXN_KEYS; i++) {
        l->writes[i] = &l->write;
        l->reads[i] = &l->read;
    }
    l->txn.start = 7;
    l->txn.writes = l->writes;
    l->txn.n_writes = writes;
    l->txn.reads = l->reads;
    l->txn.n_reads = reads;
    w->command.op = HF__ENTRY__OP__TXN_WHOLE;
    w->command.txn = &l->txn;
}

static bool readable(struct fixture *f)
{
    struct arena arena = {0};
    struct slice payload = slice_make(f->writes.payload.data + 1, f->writes.payload.size - 1);
    bool read = pack_unpack(&hf__entry__command_batch__descriptor, payload, &arena) != NULL;
    arena_deinit(&arena);
    return read;
}

static void a_transaction_takes_a_stamp_for_each_write(void)
{
    static struct large three, none;
    struct fixture *f = fixture_new();
    transact(&f->w[0], &three, 3, 0);
    transact(&f->w[2], &none, 0, 2);
    f->w[1].command.op = HF__ENTRY__OP__DELETE;
    queue(f, 0, 3);
    propose(f);
    CU_ASSERT_EQUAL(f->engine.proposals, 1);
    CU_ASSERT_EQUAL(f->stamp.next_seq, 1 + 3 + 1 + 1);
    transact(&f->w[3], &three, 3, 0);
    f->w[3].command.op = HF__ENTRY__OP__TXN_PREPARE; /* its versions are the commit's */
    queue(f, 3, 4);
    propose(f);
    CU_ASSERT_EQUAL(f->stamp.next_seq, 7);
    fixture_end(f);
}

/* An entry that no replica can read ends all of them. */
static void entries_of_large_transactions_can_be_read(void)
{
    static const size_t sizes[] = {1, 17, 200, 2048, 4080, 4096, 5000, 8177, LIMIT_TXN_KEYS};
    static struct large l[1024];
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int reads = 0; reads < 2; reads++) {
            struct fixture *f = fixture_new();
            size_t count = sizes[s] < 4096 ? 4096 / sizes[s] : 1;
            count = count > 1024 ? 1024 : count;
            for (size_t i = 0; i < count; i++)
                transact(&f->w[i], &l[i], reads ? 0 : sizes[s], reads ? sizes[s] : 0);
            for (size_t i = count; i < 1024; i++)
                f->w[i].command.op = HF__ENTRY__OP__TXN_FORGET;
            queue(f, 0, count);
            propose(f);
            CU_ASSERT_EQUAL(f->engine.proposals, 1);
            CU_ASSERT(readable(f));
            for (size_t i = 0; i < count && count + i < 1024; i++)
                transact(&f->w[count + i], &l[i], reads ? 0 : sizes[s], reads ? sizes[s] : 0);
            if (count > 1) { /* with as many commands as fit behind */
                queue(f, count, 1024);
                propose(f);
                CU_ASSERT(readable(f));
            }
            fixture_end(f);
        }
}

static void large_transactions_stand_alone(void)
{
    static struct large most, half;
    struct fixture *f = fixture_new();
    transact(&f->w[1], &most, 5000, 5000);
    transact(&f->w[3], &half, 3000, 0);
    transact(&f->w[4], &half, 3000, 0);
    queue(f, 0, 6);
    propose(f); /* 0 | 1 | 2 3 | 4 5: a command without keys goes with any that is not above the bound */
    CU_ASSERT_EQUAL(f->engine.proposals, 4);
    for (size_t i = 6; i < 16; i++)
        transact(&f->w[i], &most, 5000, 5000);
    queue(f, 6, 16);
    propose(f); /* together none could read them */
    CU_ASSERT(f->engine.proposals == 14 && readable(f));
    fixture_end(f);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"a turn is one entry", a_turn_is_one_entry},
        {"entries are bounded", entries_are_bounded},
        {"leases and sessions stand alone", other_kinds_stand_alone},
        {"nothing is proposed behind a seal", nothing_is_proposed_behind_a_seal},
        {"a step of a migration is answered when it is applied", a_step_of_a_migration_is_answered_when_it_is_applied},
        {"refused by the engine", refused_by_the_engine_is_surely_not_done},
        {"lost leadership", lost_leadership_is_unknown_for_what_was_proposed_only},
        {"another leader's entry", another_leaders_entry_at_the_index_is_surely_not_done},
        {"earlier entries", results_of_entries_before_ours_are_not_ours},
        {"deadline", a_deadline_gives_back_as_unknown_and_once},
        {"bounded queue", the_queue_is_bounded},
        {"stamps", stamps_never_repeat},
        {"stamps of a transaction", a_transaction_takes_a_stamp_for_each_write},
        {"large transactions can be read", entries_of_large_transactions_can_be_read},
        {"large transactions stand alone", large_transactions_stand_alone},
    };
    return UNIT_MAIN("writes", cases);
}
