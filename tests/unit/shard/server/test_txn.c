/* test_txn.c: transactions at a shard's door: what is refused there, what becomes of them, what is answered (I11, I12). */
#include "shard/server/txn.h"

#include "proto/pack.h"
#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/unit.h"

static char message[REQUESTS_TEXT_BYTES];
static Hf__Entry__TxnId id;
static Hf__Entry__TxnWrite one, *writes[] = {&one};
static Hf__Entry__TxnRead seen, *reads[] = {&seen};
static Hf__Entry__Txn txn;
static Hf__Client__Txn whole;
static Hf__Client__Validate validate;
static struct arena arena;

static ProtobufCBinaryData bytes_of(const char *text)
{
    return pack_bytes(slice_text(text));
}

static void begin(void)
{
    hf__entry__txn_id__init(&id);
    id.home = 1;
    id.session = 5;
    id.seq = 6;
    hf__entry__txn_write__init(&one);
    one.op = HF__ENTRY__OP__PUT;
    one.key = bytes_of("k");
    hf__entry__txn_read__init(&seen);
    seen.key = bytes_of("k");
    hf__entry__txn__init(&txn);
    txn.id = &id;
    txn.start = 7;
    txn.writes = writes;
    txn.n_writes = 1;
    hf__client__txn__init(&whole);
    whole.start = 7;
    whole.writes = writes;
    whole.n_writes = 1;
    whole.reads = reads;
    whole.n_reads = 1;
    hf__client__validate__init(&validate);
    validate.id = &id;
    validate.start = 7;
    validate.at = 9;
    validate.reads = reads;
    validate.n_reads = 1;
}

static Hf__Client__Request request(Hf__Client__Request__OpCase op, void *what)
{
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    q.version = REQUESTS_VERSION;
    q.op_case = op;
    q.txn = what; /* of the union */
    return q;
}

static int check(Hf__Client__Request__OpCase op, void *what)
{
    Hf__Client__Request q = request(op, what);
    return request_check(&q, message);
}

static void what_it_does_not_know_it_does_not_do(void)
{
    ProtobufCMessageUnknownField unknown = {.tag = 99};
    ProtobufCMessage *const bases[] = {&txn.base, &id.base, &one.base};
    for (size_t i = 0; i < 3; i++) {
        begin();
        CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_PREPARE, &txn), HF_OK);
        bases[i]->n_unknown_fields = 1;
        bases[i]->unknown_fields = &unknown;
        CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_PREPARE, &txn), HF_E_INVALID);
        txn.n_writes = 0;
        CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_ROLLBACK, &txn), i < 2 ? HF_E_INVALID : HF_OK);
    }
    ProtobufCMessage *const others[] = {&whole.base, &one.base, &seen.base};
    for (size_t i = 0; i < 3; i++) {
        begin();
        CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_TXN, &whole), HF_OK);
        others[i]->n_unknown_fields = 1;
        others[i]->unknown_fields = &unknown;
        CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_TXN, &whole), HF_E_INVALID);
    }
}

static void what_is_not_for_a_shard(void)
{
    begin();
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_RESOLVE, &id), HF_E_INVALID);
    Hf__Client__Request q = request(HF__CLIENT__REQUEST__OP_TXN, &whole);
    q.space = HF__ENTRY__SPACE__CATALOG;
    CU_ASSERT_EQUAL(request_check(&q, message), HF_E_INVALID);
    q = request(HF__CLIENT__REQUEST__OP_PREPARE, &txn);
    q.session = 5;
    q.seq = 6;
    CU_ASSERT_EQUAL(request_check(&q, message), HF_OK);
    q.seq = 7;
    CU_ASSERT_EQUAL(request_check(&q, message), HF_E_INVALID);
}

static int range(const struct machine *m, Hf__Client__Request__OpCase op, void *what)
{
    Hf__Client__Request q = request(op, what);
    return txn_check_range(m->fsm, &q, &arena, message);
}

static void range_of_writes(struct machine *m)
{
    static const struct {
        const char *key;
        Hf__Entry__Op op;
        int whole, prepare;
    } rows[] = {
        {"c", HF__ENTRY__OP__PUT, HF_OK, HF_OK},
        {"mzz", HF__ENTRY__OP__DELETE, HF_OK, HF_OK},
        {"n", HF__ENTRY__OP__PUT, HF_E_WRONG_SHARD, HF_E_WRONG_SHARD},
        {"b", HF__ENTRY__OP__DELETE, HF_E_WRONG_SHARD, HF_E_WRONG_SHARD},
        {"m", HF__ENTRY__OP__DELETE_PREFIX, HF_OK, HF_OK}, /* [m, n) */
        {"n", HF__ENTRY__OP__DELETE_PREFIX, HF_E_WRONG_SHARD, HF_OK},
        {"", HF__ENTRY__OP__DELETE_PREFIX, HF_E_WRONG_SHARD, HF_OK}, /* everything */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin();
        whole.n_reads = 0;
        one.op = rows[i].op;
        one.key = bytes_of(rows[i].key);
        CU_ASSERT_EQUAL(range(m, HF__CLIENT__REQUEST__OP_TXN, &whole), rows[i].whole);
        CU_ASSERT_EQUAL(range(m, HF__CLIENT__REQUEST__OP_PREPARE, &txn), rows[i].prepare);
    }
}

static void range_of_reads(struct machine *m)
{
    static const struct {
        const char *key, *end;
        int code;
    } rows[] = {
        {"c", NULL, HF_OK},          {"n", NULL, HF_E_WRONG_SHARD}, {"c", "n", HF_OK},
        {"c", "d", HF_OK},           {"b", "d", HF_E_WRONG_SHARD},  {"c", "n0", HF_E_WRONG_SHARD},
        {"c", "", HF_E_WRONG_SHARD}, {"n", "n", HF_E_WRONG_SHARD},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin();
        whole.n_writes = 0;
        seen.key = bytes_of(rows[i].key);
        seen.range = rows[i].end != NULL;
        seen.end = bytes_of(rows[i].end ? rows[i].end : "");
        CU_ASSERT_EQUAL(range(m, HF__CLIENT__REQUEST__OP_TXN, &whole), rows[i].code);
        CU_ASSERT_EQUAL(range(m, HF__CLIENT__REQUEST__OP_VALIDATE, &validate), rows[i].code);
    }
}

static void what_is_elsewhere(void)
{
    struct machine m;
    machine_start(&m, "c", "n", true);
    range_of_writes(&m);
    range_of_reads(&m);
    begin();
    txn.n_writes = 0; /* it touches what was prepared, wherever that is */
    CU_ASSERT_EQUAL(range(&m, HF__CLIENT__REQUEST__OP_ROLLBACK, &txn), HF_OK);
    machine_stop(&m);
    machine_start(&m, "n", "", true);
    begin();
    seen.key = bytes_of("n");
    seen.range = true;
    CU_ASSERT_EQUAL(range(&m, HF__CLIENT__REQUEST__OP_VALIDATE, &validate), HF_OK); /* to the end of all */
    machine_stop(&m);
    arena_deinit(&arena);
}

static Hf__Entry__Command filled(Hf__Client__Request__OpCase op, void *what, uint32_t group, struct request *r)
{
    Hf__Client__Request q = request(op, what);
    q.session = op == HF__CLIENT__REQUEST__OP_TXN || op == HF__CLIENT__REQUEST__OP_PREPARE ? 5 : 0;
    q.seq = q.session ? 6 : 0;
    q.done_below = q.session ? 4 : 0;
    request_fill_write(r, &q, group, &arena);
    CU_ASSERT_EQUAL(r->write.kind, WRITE_COMMAND);
    return r->write.command;
}

static void what_becomes_of_them(void)
{
    struct request r = {0};
    begin();
    Hf__Entry__Command c = filled(HF__CLIENT__REQUEST__OP_TXN, &whole, 1, &r);
    CU_ASSERT(c.op == HF__ENTRY__OP__TXN_WHOLE && c.session == 5 && c.seq == 6 && c.done_below == 4 && r.home);
    CU_ASSERT(c.txn->start == 7 && c.txn->n_writes == 1 && c.txn->n_reads == 1 && c.txn->id == NULL);
    txn.ttl_ms = 3000;
    txn.force = true; /* means nothing here, so it gets into no entry */
    txn.commit = 4;
    txn.n_others = 1;
    txn.others = &(uint32_t){2};
    c = filled(HF__CLIENT__REQUEST__OP_PREPARE, &txn, 1, &r);
    CU_ASSERT(c.op == HF__ENTRY__OP__TXN_PREPARE && c.session == 5 && c.seq == 6 && c.done_below == 4 && r.home);
    CU_ASSERT(c.txn->n_others == 1 && c.txn->ttl_ms == 3000 && c.txn->id->seq == 6 && !c.txn->force && !c.txn->commit);
    c = filled(HF__CLIENT__REQUEST__OP_PREPARE, &txn, 2, &r); /* elsewhere: the session is another group's */
    CU_ASSERT(c.session == 0 && c.seq == 0 && c.done_below == 0 && c.txn->n_others == 0 && !r.home);
    CU_ASSERT(c.txn->n_writes == 1 && c.txn->id->session == 5);
    txn.n_writes = 0;
    c = filled(HF__CLIENT__REQUEST__OP_DECIDE_COMMIT, &txn, 1, &r);
    CU_ASSERT(c.op == HF__ENTRY__OP__TXN_COMMIT && c.session == 0 && c.txn->commit == 4 && c.txn->id->home == 1);
    c = filled(HF__CLIENT__REQUEST__OP_ROLLBACK, &txn, 1, &r);
    CU_ASSERT(c.op == HF__ENTRY__OP__TXN_ROLLBACK && c.txn->force && c.txn->commit == 0);
    c = filled(HF__CLIENT__REQUEST__OP_FORGET, &txn, 1, &r);
    CU_ASSERT(c.op == HF__ENTRY__OP__TXN_FORGET && !c.txn->force && c.txn->id->session == 5);
    arena_deinit(&arena);
}

/* The largest that a request can bring comes in, and its entry can be read again. */
static void the_largest_shape_can_be_read(bool reading, size_t value_bytes)
{
    static uint8_t zeros[4096];
    static Hf__Entry__TxnWrite *many_writes[LIMIT_TXN_KEYS];
    static Hf__Entry__TxnRead *many_reads[LIMIT_TXN_KEYS];
    struct buf packed = {0}, entry = {0};
    struct request r = {0};
    begin();
    one.op = value_bytes ? HF__ENTRY__OP__PUT : HF__ENTRY__OP__DELETE_PREFIX;
    one.key = value_bytes ? one.key : bytes_of("");
    one.value = (ProtobufCBinaryData){value_bytes, zeros};
    seen.range = true;
    seen.key = bytes_of("");
    for (size_t i = 0; i < LIMIT_TXN_KEYS; i++) {
        many_writes[i] = &one;
        many_reads[i] = &seen;
    }
    whole.writes = many_writes;
    whole.reads = many_reads;
    whole.n_writes = reading ? 0 : LIMIT_TXN_KEYS;
    whole.n_reads = reading ? LIMIT_TXN_KEYS : 0;
    Hf__Client__Request q = request(HF__CLIENT__REQUEST__OP_TXN, &whole);
    pack_append(&q.base, &packed);
    CU_ASSERT(packed.size <= REQUEST_BYTES_MAX);
    const Hf__Client__Request *came = pack_unpack(&hf__client__request__descriptor, buf_slice(&packed), &arena);
    CU_ASSERT_PTR_NOT_NULL_FATAL(came);
    CU_ASSERT_EQUAL(request_check(came, message), HF_OK);
    request_fill_write(&r, came, 1, &arena);
    Hf__Entry__CommandBatch batch = HF__ENTRY__COMMAND_BATCH__INIT;
    batch.timestamp = 1;
    batch.n_commands = 1;
    batch.commands = &(Hf__Entry__Command *){&r.write.command};
    pack_append(&batch.base, &entry);
    CU_ASSERT(entry.size <= LIMIT_ENTRY_BYTES);
    const Hf__Entry__CommandBatch *again =
        pack_unpack(&hf__entry__command_batch__descriptor, buf_slice(&entry), &arena);
    CU_ASSERT(again && again->commands[0]->txn->n_writes + again->commands[0]->txn->n_reads == LIMIT_TXN_KEYS);
    buf_deinit(&packed);
    buf_deinit(&entry);
    arena_deinit(&arena);
}

static void the_largest_shapes_can_be_read(void)
{
    the_largest_shape_can_be_read(true, 0);
    the_largest_shape_can_be_read(false, 0);
    the_largest_shape_can_be_read(false, 1);
    the_largest_shape_can_be_read(false, 1660);
}

static Hf__Client__Reply reply;
static struct txn_answer answer;

static void answered(Hf__Client__Request__OpCase op, struct fsm_result result)
{
    hf__client__reply__init(&reply);
    txn_answer_write(&answer, &reply, op, true, &result);
}

static void what_is_answered(void)
{
    answered(HF__CLIENT__REQUEST__OP_TXN, (struct fsm_result){.version = {{90}, 3}});
    CU_ASSERT(reply.timestamp == 90 && reply.txn == NULL);
    answered(HF__CLIENT__REQUEST__OP_PREPARE, (struct fsm_result){.state = FSM_TXN_PREPARED, .min_commit = {80}});
    CU_ASSERT(reply.txn && reply.txn->state == HF__ENTRY__TXN_STATE__PREPARED && reply.txn->min_commit == 80);
    answered(HF__CLIENT__REQUEST__OP_DECIDE_COMMIT, (struct fsm_result){.state = FSM_TXN_COMMITTED, .commit = {95}});
    CU_ASSERT(reply.txn && reply.txn->commit == 95 && reply.timestamp == 95);
    answered(HF__CLIENT__REQUEST__OP_ROLLBACK,
             (struct fsm_result){.code = HF_E_SESSION_UNKNOWN, .state = FSM_TXN_ROLLED_BACK});
    CU_ASSERT(reply.txn && reply.txn->state == HF__ENTRY__TXN_STATE__ROLLED_BACK);
    struct fsm_conflict newer = {.key = slice_text("k"), .version = {{70}, 2}};
    answered(HF__CLIENT__REQUEST__OP_TXN, (struct fsm_result){.code = HF_E_CONFLICT, .conflict = &newer});
    CU_ASSERT(reply.conflict && reply.conflict->version->t == 70 && reply.conflict->version->seq == 2);
    CU_ASSERT(reply.conflict->above == 70 && reply.conflict->lock == NULL && reply.timestamp == 0);
    answered(HF__CLIENT__REQUEST__OP_TXN,
             (struct fsm_result){.code = HF_E_CONFLICT}); /* it is told again, but not why */
    CU_ASSERT_PTR_NULL(reply.conflict);
    struct fsm_conflict lock = {.lock = {.id = {2, 3, 4}, .min_commit = {60}, .key = slice_text("p")}};
    answered(HF__CLIENT__REQUEST__OP_PUT, (struct fsm_result){.code = HF_E_KEY_LOCKED, .conflict = &lock});
    CU_ASSERT(reply.lock && reply.lock->id->home == 2 && reply.lock->id->session == 3 && reply.lock->id->seq == 4);
    CU_ASSERT(reply.lock->min_commit == 60 && reply.lock->key.len == 1 && !reply.txn && !reply.conflict);
    hf__client__reply__init(&reply);
    txn_answer_conflict(&answer, &reply, &lock);
    CU_ASSERT(reply.conflict->lock && reply.conflict->version == NULL && reply.conflict->above == 60);
    hf__client__reply__init(&reply);
    txn_answer_lock(&answer, &reply, NULL);
    CU_ASSERT_PTR_NULL(reply.lock);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"unknown fields", what_it_does_not_know_it_does_not_do},
        {"not for a shard", what_is_not_for_a_shard},
        {"elsewhere", what_is_elsewhere},
        {"commands", what_becomes_of_them},
        {"the largest shapes", the_largest_shapes_can_be_read},
        {"answers", what_is_answered},
    };
    return UNIT_MAIN("server/txn", cases);
}
