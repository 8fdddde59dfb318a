/* test_requests.c: which transactions' requests are refused at every door (I11, I12). */
#include "proto/requests.h"

#include <stdlib.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "proto/pack.h"
#include "tests/unit/unit.h"

static char message[REQUESTS_TEXT_BYTES];
static uint8_t zeros[LIMIT_VALUE_BYTES + 1];
static Hf__Entry__TxnId id;
static Hf__Entry__TxnWrite write_one, *writes[LIMIT_TXN_KEYS + 1];
static Hf__Entry__TxnRead read_one, *reads[LIMIT_TXN_KEYS + 1];
static Hf__Entry__Txn txn;

static ProtobufCBinaryData bytes(size_t size)
{
    return (ProtobufCBinaryData){size, zeros};
}

/* A put of one key, a read of one, and a transaction named 1/2/3 that began at 7. */
static void begin(void)
{
    hf__entry__txn_id__init(&id);
    id.home = 1;
    id.session = 2;
    id.seq = 3;
    hf__entry__txn_write__init(&write_one);
    write_one.op = HF__ENTRY__OP__PUT;
    write_one.key = bytes(1);
    hf__entry__txn_read__init(&read_one);
    read_one.key = bytes(1);
    for (size_t i = 0; i <= LIMIT_TXN_KEYS; i++) {
        writes[i] = &write_one;
        reads[i] = &read_one;
    }
    hf__entry__txn__init(&txn);
    txn.id = &id;
    txn.start = 7;
    txn.writes = writes;
    txn.n_writes = 1;
}

static int check(Hf__Client__Request__OpCase op, void *what)
{
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    q.version = REQUESTS_VERSION;
    q.op_case = op;
    q.txn = what; /* of the union */
    return requests_check(&q, message);
}

static int check_whole(size_t n_writes, size_t n_reads)
{
    Hf__Client__Txn t = HF__CLIENT__TXN__INIT;
    t.start = 7;
    t.writes = writes;
    t.n_writes = n_writes;
    t.reads = reads;
    t.n_reads = n_reads;
    return check(HF__CLIENT__REQUEST__OP_TXN, &t);
}

static void what_it_writes_and_reads_is_bounded(void)
{
    begin();
    CU_ASSERT_EQUAL(check_whole(1, 0), HF_OK);
    CU_ASSERT_EQUAL(check_whole(0, 0), HF_OK);
    CU_ASSERT_EQUAL(check_whole(LIMIT_TXN_KEYS - 1, 1), HF_OK);
    CU_ASSERT_EQUAL(check_whole(LIMIT_TXN_KEYS, 1), HF_E_LIMIT);
    CU_ASSERT_STRING_EQUAL(message, "the transaction writes and reads 10001 keys and ranges, the limit is 10000");
    write_one.value = bytes(LIMIT_VALUE_BYTES);
    CU_ASSERT_EQUAL(check_whole(1, 0), HF_OK);
    CU_ASSERT_EQUAL(check_whole(2, 0), HF_E_LIMIT); /* all of it together */
    write_one.value = bytes(LIMIT_VALUE_BYTES + 1);
    CU_ASSERT_EQUAL(check_whole(1, 0), HF_E_LIMIT);
}

static void keys_prefixes_and_bounds(void)
{
    begin();
    write_one.key = bytes(0);
    CU_ASSERT_EQUAL(check_whole(1, 0), HF_E_INVALID);
    write_one.op = HF__ENTRY__OP__DELETE_PREFIX; /* of everything */
    CU_ASSERT_EQUAL(check_whole(1, 0), HF_OK);
    write_one.key = bytes(LIMIT_KEY_BYTES + 1);
    CU_ASSERT_EQUAL(check_whole(1, 0), HF_E_LIMIT);
    write_one.op = HF__ENTRY__OP__DELETE;
    CU_ASSERT_EQUAL(check_whole(1, 0), HF_E_LIMIT);
    write_one.key = bytes(LIMIT_KEY_BYTES);
    CU_ASSERT_EQUAL(check_whole(1, 0), HF_OK);
    write_one.op = HF__ENTRY__OP__CAS;
    CU_ASSERT_EQUAL(check_whole(1, 0), HF_E_INVALID);
    read_one.key = bytes(0);
    CU_ASSERT_EQUAL(check_whole(0, 1), HF_E_INVALID);
    read_one.range = true;
    CU_ASSERT_EQUAL(check_whole(0, 1), HF_OK);
    read_one.key = read_one.end = bytes(LIMIT_KEY_BYTES + 1);
    CU_ASSERT_EQUAL(check_whole(0, 1), HF_OK);
    read_one.end = bytes(LIMIT_KEY_BYTES + 2);
    CU_ASSERT_EQUAL(check_whole(0, 1), HF_E_LIMIT);
}

static void what_is_prepared(void)
{
    begin();
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_PREPARE, &txn), HF_OK);
    txn.start = 0;
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_PREPARE, &txn), HF_E_INVALID);
    begin();
    txn.n_writes = 0;
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_PREPARE, &txn), HF_E_INVALID);
    begin();
    txn.reads = reads;
    txn.n_reads = 1;
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_PREPARE, &txn), HF_E_INVALID);
    begin();
    txn.n_others = LIMIT_ROUTES + 1;
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_PREPARE, &txn), HF_E_INVALID);
}

static void what_decides(void)
{
    begin();
    txn.n_writes = 0;
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_DECIDE_COMMIT, &txn), HF_E_INVALID); /* when? */
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_ROLLBACK, &txn), HF_OK);
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_FORGET, &txn), HF_OK);
    txn.commit = 9;
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_DECIDE_COMMIT, &txn), HF_OK);
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_ROLLBACK, &txn), HF_E_INVALID);
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_FORGET, &txn), HF_E_INVALID);
    txn.n_writes = 1;
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_DECIDE_COMMIT, &txn), HF_E_INVALID);
}

static void what_is_validated(void)
{
    begin();
    Hf__Client__Validate v = HF__CLIENT__VALIDATE__INIT;
    v.id = &id;
    v.start = 7;
    v.at = 8;
    v.reads = reads;
    v.n_reads = 1;
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_VALIDATE, &v), HF_OK);
    v.at = 7;
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_VALIDATE, &v), HF_E_INVALID);
    v.at = 8;
    v.n_reads = LIMIT_TXN_KEYS + 1;
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_VALIDATE, &v), HF_E_LIMIT);
}

/* Each of them names a transaction by three numbers from 1. */
static void names(void)
{
    for (int missing = 0; missing < 4; missing++) {
        begin();
        txn.n_writes = 0;
        id.home = missing == 0 ? 0 : 1;
        id.session = missing == 1 ? 0 : 2;
        id.seq = missing == 2 ? 0 : 3;
        txn.id = missing == 3 ? NULL : &id;
        Hf__Client__Validate v = HF__CLIENT__VALIDATE__INIT;
        v.start = 7;
        v.at = 8;
        v.id = txn.id;
        CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_VALIDATE, &v), HF_E_INVALID);
        CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_ROLLBACK, &txn), HF_E_INVALID);
        CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_FORGET, &txn), HF_E_INVALID);
        CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_RESOLVE, txn.id), HF_E_INVALID);
        txn.commit = 9;
        CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_DECIDE_COMMIT, &txn), HF_E_INVALID);
        txn.commit = 0;
        txn.n_writes = 1;
        CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_PREPARE, &txn), HF_E_INVALID);
    }
    begin();
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_RESOLVE, &id), HF_OK);
    Hf__Client__Txns txns = HF__CLIENT__TXNS__INIT;
    CU_ASSERT_EQUAL(check(HF__CLIENT__REQUEST__OP_TXNS, &txns), HF_OK);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"bounds", what_it_writes_and_reads_is_bounded},
        {"keys, prefixes, bounds of ranges", keys_prefixes_and_bounds},
        {"prepare", what_is_prepared},
        {"commit, rollback, forget", what_decides},
        {"validate", what_is_validated},
        {"names", names},
    };
    return UNIT_MAIN("requests", cases);
}
