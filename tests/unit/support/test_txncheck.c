/* test_txncheck.c: a planted history for each anomaly, clean ones, and small ones by chance against all orders. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/random.h"
#include "tests/support/txncheck.h"
#include "tests/unit/unit.h"

enum { X, Y, Z };

#define LIST(...)                                                                                                      \
    (const uint32_t[]){0, __VA_ARGS__} + 1, sizeof((const uint32_t[]){0, __VA_ARGS__}) / sizeof(uint32_t) - 1
#define EMPTY NULL, 0
#define A(key, value)                                                                                                  \
    {                                                                                                                  \
        TXN_APPEND, (key), (value), NULL, 0                                                                            \
    }
#define R(key, ...)                                                                                                    \
    {                                                                                                                  \
        TXN_READ, (key), 0, __VA_ARGS__                                                                                \
    }
#define TXN_OF(outcome, from, to, ...)                                                                                 \
    {                                                                                                                  \
        (const struct txn_op[]){__VA_ARGS__}, sizeof((const struct txn_op[]){__VA_ARGS__}) / sizeof(struct txn_op),    \
            (outcome), (from), (to)                                                                                    \
    }
#define T(from, to, ...) TXN_OF(TXN_DONE, from, to, __VA_ARGS__)
#define UNKNOWN(from, ...) TXN_OF(TXN_OPEN_OUTCOME, from, 0, __VA_ARGS__)
#define FAILED(from, to, ...) TXN_OF(TXN_FAILED, from, to, __VA_ARGS__)
#define IS(anomaly, ...)                                                                                               \
    judge(__LINE__, (struct txn[]){__VA_ARGS__}, sizeof((struct txn[]){__VA_ARGS__}) / sizeof(struct txn), (anomaly))

static void judge(int line, const struct txn *txns, size_t count, enum txn_anomaly want)
{
    struct txn_report report;
    txncheck_run(txns, count, &report);
    if (report.anomaly != want)
        printf("\nline %d: %s, wanted %s\n", line, txncheck_name(report.anomaly), txncheck_name(want));
    CU_ASSERT_EQUAL(report.anomaly, want);
    CU_ASSERT(want == TXN_NONE || report.count > 0);
    for (size_t i = 0; i < report.count; i++)
        CU_ASSERT(report.at[i] < count);
}

static void test_clean(void)
{
    IS(TXN_NONE, T(1, 2, R(X, EMPTY)));
    IS(TXN_NONE, T(1, 2, A(X, 1)), T(3, 4, R(X, LIST(1)), A(X, 2)), T(5, 6, R(X, LIST(1, 2))));
    IS(TXN_NONE, T(1, 9, A(X, 1)), T(2, 8, A(X, 2)), T(10, 11, R(X, LIST(2, 1))));
    IS(TXN_NONE, T(1, 9, A(X, 1)), T(2, 3, R(X, EMPTY)), T(4, 5, R(X, LIST(1))));
    IS(TXN_NONE, T(1, 2, A(X, 1), R(X, LIST(1)), A(X, 2), R(X, LIST(1, 2))), T(3, 4, R(X, LIST(1, 2))));
    IS(TXN_NONE, T(1, 9, R(X, EMPTY), A(Y, 1)), T(1, 9, R(Y, LIST(1)), A(X, 2)),
       T(10, 11, R(X, LIST(2)), R(Y, LIST(1))));
    IS(TXN_NONE, T(1, 2, A(X, 1)), T(2, 3, R(X, EMPTY))); /* at the same instant they overlap */
}

static void test_unknown_outcomes(void)
{
    IS(TXN_NONE, UNKNOWN(1, A(X, 1)), T(2, 3, R(X, EMPTY)), T(4, 5, R(X, LIST(1))));
    IS(TXN_NONE, UNKNOWN(1, A(X, 1)), T(2, 3, R(X, EMPTY)));
    IS(TXN_NONE, UNKNOWN(1, R(X, LIST(1)), A(Y, 2)), FAILED(1, 2, A(X, 1)), T(3, 4, R(Y, EMPTY))); /* it never was */
    IS(TXN_G1A, UNKNOWN(1, R(X, LIST(1)), A(Y, 2)), FAILED(1, 2, A(X, 1)), T(3, 4, R(Y, LIST(2))));
    IS(TXN_G_SINGLE, UNKNOWN(1, A(X, 1), A(Y, 2)), T(2, 3, R(X, LIST(1)), R(Y, EMPTY)), T(4, 5, R(Y, LIST(2))));
    IS(TXN_G_SINGLE, UNKNOWN(1, A(X, 1), A(Y, 2)), T(2, 3, R(X, LIST(1)), R(Y, EMPTY))); /* half of it */
    IS(TXN_G_SINGLE_REALTIME, UNKNOWN(1, A(X, 1)), T(2, 3, R(X, LIST(1))), T(4, 5, R(X, EMPTY)));
    IS(TXN_G1C_REALTIME, UNKNOWN(9, A(X, 1)), T(2, 3, R(X, LIST(1))));
    IS(TXN_G2, UNKNOWN(1, R(X, EMPTY), A(Y, 1)), T(1, 9, R(Y, EMPTY), A(X, 2)),
       T(10, 11, R(Y, LIST(1)), R(X, LIST(2))));
}

static void test_lists(void)
{
    IS(TXN_BAD_HISTORY, T(1, 2, A(X, 1)), T(3, 4, A(Y, 1)));
    IS(TXN_INTERNAL, T(1, 2, A(X, 1), R(X, EMPTY)));
    IS(TXN_INTERNAL, T(1, 2, R(X, LIST(1)), A(X, 1)));
    IS(TXN_INTERNAL, T(1, 2, A(X, 1)), T(1, 9, R(X, EMPTY), R(X, LIST(1))));
    IS(TXN_FROM_NOWHERE, T(1, 2, A(X, 1)), T(3, 4, R(X, LIST(7))));
    IS(TXN_FROM_NOWHERE, T(1, 2, A(X, 1)), T(3, 4, R(Y, LIST(1))));
    IS(TXN_DUPLICATED, T(1, 2, A(X, 1)), T(3, 4, R(X, LIST(1, 1))));
    IS(TXN_G1A, FAILED(1, 2, A(X, 1)), T(3, 4, R(X, LIST(1))));
    IS(TXN_G1B, T(1, 2, A(X, 1), A(X, 2)), T(1, 9, R(X, LIST(1))));
    IS(TXN_INCOMPATIBLE, T(1, 9, A(X, 1)), T(1, 9, A(X, 2)), T(1, 9, R(X, LIST(1, 2))), T(1, 9, R(X, LIST(2))));
    IS(TXN_INCOMPATIBLE, T(1, 9, A(X, 1), A(X, 2)), T(1, 10, A(X, 3)), T(1, 9, R(X, LIST(2, 1, 3))));
    IS(TXN_LOST, T(1, 2, A(X, 1)), T(3, 4, R(X, EMPTY)));
    IS(TXN_LOST, T(1, 2, A(X, 1)), T(3, 4, A(X, 2)), T(5, 6, R(X, LIST(2))));
}

static void test_cycles(void)
{
    IS(TXN_G0, T(1, 9, A(X, 1), A(Y, 2)), T(1, 9, A(X, 3), A(Y, 4)), T(1, 9, R(X, LIST(1, 3)), R(Y, LIST(4, 2))));
    IS(TXN_G0, T(1, 9, A(X, 1), A(X, 2)), T(1, 9, A(X, 3)), T(1, 9, R(X, LIST(1, 3, 2)))); /* not in one step */
    IS(TXN_G1C, T(1, 9, A(X, 1), R(Y, LIST(2))), T(1, 9, A(Y, 2), R(X, LIST(1))));
    IS(TXN_G_SINGLE, T(1, 9, A(X, 1), A(Y, 2)), T(1, 9, R(X, LIST(1)), R(Y, EMPTY)), T(1, 9, R(Y, LIST(2))));
    IS(TXN_G_SINGLE, T(1, 9, R(X, EMPTY), A(X, 1)), T(1, 9, R(X, EMPTY), A(X, 2)),
       T(1, 9, R(X, LIST(1, 2)))); /* lost update */
    IS(TXN_G_SINGLE, T(1, 9, A(X, 1), A(Z, 4)), T(1, 9, R(Z, LIST(4)), A(Y, 2)), T(1, 9, R(X, EMPTY), R(Y, LIST(2))));
    IS(TXN_G2, T(1, 9, R(X, EMPTY), A(Y, 1)), T(1, 9, R(Y, EMPTY), A(X, 2)));           /* write skew */
    IS(TXN_G2, T(1, 9, A(X, 1)), T(1, 9, A(Y, 2)), T(1, 9, R(X, LIST(1)), R(Y, EMPTY)), /* long fork */
       T(1, 9, R(X, EMPTY), R(Y, LIST(2))));
}

static void test_cycles_with_real_time(void)
{
    IS(TXN_G0_REALTIME, T(1, 2, A(X, 1)), T(3, 4, A(X, 2)), T(1, 9, R(X, LIST(2, 1))));
    IS(TXN_G1C_REALTIME, T(1, 2, R(X, LIST(1))), T(3, 4, A(X, 1)));
    IS(TXN_G_SINGLE_REALTIME, T(1, 2, A(X, 1)), T(3, 4, R(X, EMPTY)), T(5, 6, R(X, LIST(1))));
    IS(TXN_G_SINGLE_REALTIME, T(1, 20, A(X, 1)), T(2, 3, R(X, LIST(1))), T(4, 5, R(X, EMPTY)));
    IS(TXN_G2_REALTIME, T(1, 9, R(X, EMPTY), A(Z, 1)), T(1, 2, A(X, 2)), T(3, 4, R(Z, EMPTY)));
    IS(TXN_G_SINGLE_REALTIME, T(1, 2, A(X, 1)), T(3, 4, A(Y, 2)), T(1, 9, R(Y, LIST(2)), R(X, EMPTY)),
       T(10, 11, R(X, LIST(1))));
}

/* ---- against all orders: is there one of some transactions, those of unknown outcome or not, that explains every read? */

enum { SMALL = 5, SMALL_OPS = 3, SMALL_VALUES = 16 };

struct lists {
    uint32_t at[3][SMALL_VALUES], count[3];
};

struct small {
    struct txn txns[SMALL];
    struct txn_op ops[SMALL][SMALL_OPS];
    uint32_t room[SMALL][SMALL_OPS][SMALL_VALUES];
    size_t count;
};

static bool runs(const struct txn *t, struct lists *l)
{
    for (uint32_t i = 0; i < t->op_count; i++) {
        const struct txn_op *op = &t->ops[i];
        if (op->kind == TXN_APPEND)
            l->at[op->key][l->count[op->key]++] = op->value;
        else if (op->list_count != l->count[op->key] ||
                 (op->list_count > 0 && memcmp(op->list, l->at[op->key], op->list_count * sizeof(uint32_t)) != 0))
            return false;
    }
    return true;
}

static bool some_order(const struct small *s, unsigned used, const struct lists *lists)
{
    bool complete = true;
    for (size_t i = 0; i < s->count; i++)
        complete = complete && ((used >> i & 1) != 0 || s->txns[i].outcome != TXN_DONE);
    if (complete)
        return true;
    for (size_t i = 0; i < s->count; i++) {
        const struct txn *t = &s->txns[i];
        bool may = (used >> i & 1) == 0 && t->outcome != TXN_FAILED;
        for (size_t j = 0; j < s->count; j++) /* nobody that is not there yet had returned before it began */
            may = may && ((used >> j & 1) != 0 || s->txns[j].outcome != TXN_DONE || s->txns[j].returned >= t->invoked);
        struct lists next = *lists;
        if (may && runs(t, &next) && some_order(s, used | 1u << i, &next))
            return true;
    }
    return false;
}

/* Runs transactions by chance in their order, some of them reading a state of before or with a list changed. */
static void make_small(struct small *s, struct random *random)
{
    struct lists states[SMALL + 1] = {0};
    uint32_t value = 0;
    s->count = 2 + random_below(random, SMALL - 1);
    for (size_t i = 0; i < s->count; i++) {
        struct lists now = states[i], *read = random_below(random, 2) ? &now : &states[random_below(random, i + 1)];
        uint64_t spread = random_below(random, 3) * 6;
        struct txn *t = &s->txns[i];
        *t = (struct txn){s->ops[i], 1 + (uint32_t)random_below(random, SMALL_OPS), TXN_DONE, 100 + 4 * i - spread,
                          101 + 4 * i + spread};
        if (random_below(random, 4) == 0)
            t->outcome = random_below(random, 4) ? TXN_OPEN_OUTCOME : TXN_FAILED;
        for (uint32_t j = 0; j < t->op_count; j++) {
            struct txn_op *op = &s->ops[i][j];
            uint32_t key = (uint32_t)random_below(random, 3);
            if (random_below(random, 2)) {
                *op = (struct txn_op){TXN_APPEND, key, value, NULL, 0};
                now.at[key][now.count[key]++] = value++;
                if (read != &now && read->count[key] < SMALL_VALUES && random_below(random, 2))
                    read = &now;
                continue;
            }
            memcpy(s->room[i][j], read->at[key], sizeof s->room[i][j]);
            *op = (struct txn_op){TXN_READ, key, 0, s->room[i][j], read->count[key]};
            if (op->list_count > 1 && random_below(random, 12) == 0) {
                uint32_t was = s->room[i][j][0];
                s->room[i][j][0] = s->room[i][j][1];
                s->room[i][j][1] = was;
            }
        }
        bool happened = t->outcome == TXN_DONE || (t->outcome == TXN_OPEN_OUTCOME && random_below(random, 2)) ||
                        random_below(random, 12) == 0;
        states[i + 1] = happened ? now : states[i];
    }
}

static void test_small_ones_against_all_orders(void)
{
    struct random random = {11};
    size_t clean = 0, bad[TXN_NO_MEMORY + 1] = {0}, names = 0;
    for (int i = 0; i < 60000; i++) {
        static struct small s;
        struct txn_report report;
        make_small(&s, &random);
        bool explained = some_order(&s, 0, &(struct lists){0});
        txncheck_run(s.txns, s.count, &report);
        if (explained != (report.anomaly == TXN_NONE))
            printf("\nhistory %d: %s, but %s\n", i, txncheck_name(report.anomaly),
                   explained ? "explained" : "impossible");
        CU_ASSERT_EQUAL_FATAL(explained, report.anomaly == TXN_NONE);
        clean += explained;
        bad[report.anomaly]++;
    }
    for (int i = TXN_INTERNAL; i <= TXN_G2_REALTIME; i++)
        names += bad[i] > 0;
    CU_ASSERT(clean > 5000 && clean < 58000);
    CU_ASSERT(names >= 10);
}

/* ---- long ones: made by a real store, then one list without its last value */

static void test_long_histories(void)
{
    enum { COUNT = 20000, KEYS = 400, LENGTH = 60 };
    struct random random = {5};
    struct txn *txns = calloc(COUNT, sizeof *txns);
    struct txn_op *ops = calloc((size_t)COUNT * 4, sizeof *ops);
    uint32_t(*lists)[LENGTH] = calloc(KEYS, sizeof *lists), *counts = calloc(KEYS, sizeof *counts);
    struct txn_report report;
    struct txn_op *longest = NULL;
    CU_ASSERT_FATAL(txns != NULL && ops != NULL && lists != NULL && counts != NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        txns[i] = (struct txn){&ops[(size_t)i * 4], 4, TXN_DONE, 10 * i + 1000 - random_below(&random, 100),
                               10 * i + 1001 + random_below(&random, 100)};
        for (uint32_t j = 0; j < 4; j++) {
            uint32_t key = (i / (COUNT / KEYS * 5)) * 5 + (i + j) % 5;
            struct txn_op *op = &ops[(size_t)i * 4 + j];
            if (random_below(&random, 2) && counts[key] < LENGTH) {
                *op = (struct txn_op){TXN_APPEND, key, i * 4 + j, NULL, 0};
                lists[key][counts[key]++] = op->value;
            } else {
                *op = (struct txn_op){TXN_READ, key, 0, lists[key], counts[key]};
                longest = j == 0 && counts[key] > 30 ? op : longest;
            }
        }
    }
    txncheck_run(txns, COUNT, &report);
    CU_ASSERT_EQUAL(report.anomaly, TXN_NONE);
    CU_ASSERT(report.edges > COUNT);
    CU_ASSERT_PTR_NOT_NULL_FATAL(longest);
    longest->list_count -= 25;
    txncheck_run(txns, COUNT, &report);
    CU_ASSERT_NOT_EQUAL(report.anomaly, TXN_NONE);
    free(txns);
    free(ops);
    free(lists);
    free(counts);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"clean histories", test_clean},
        {"unknown outcomes", test_unknown_outcomes},
        {"lists that cannot be", test_lists},
        {"cycles", test_cycles},
        {"cycles with real time", test_cycles_with_real_time},
        {"small ones against all orders", test_small_ones_against_all_orders},
        {"long histories, with and without a fault", test_long_histories},
    };
    return UNIT_MAIN("txncheck", cases);
}
