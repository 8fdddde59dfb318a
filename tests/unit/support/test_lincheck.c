/* test_lincheck.c: planted histories that must be refused, valid ones that must pass, and the checker's speed. */
#include <stdlib.h>

#include "common/base/random.h"
#include "tests/support/lincheck.h"
#include "tests/unit/unit.h"

#define PUT(v, from, to)                                                                                               \
    {                                                                                                                  \
        LIN_PUT, LIN_DONE, (v), 0, (from), (to)                                                                        \
    }
#define PUT_UNKNOWN(v, from)                                                                                           \
    {                                                                                                                  \
        LIN_PUT, LIN_UNKNOWN, (v), 0, (from), 0                                                                        \
    }
#define GET(v, from, to)                                                                                               \
    {                                                                                                                  \
        LIN_GET, LIN_DONE, (v), 0, (from), (to)                                                                        \
    }
#define DEL(from, to)                                                                                                  \
    {                                                                                                                  \
        LIN_DEL, LIN_DONE, 0, 0, (from), (to)                                                                          \
    }
#define DEL_UNKNOWN(from)                                                                                              \
    {                                                                                                                  \
        LIN_DEL, LIN_UNKNOWN, 0, 0, (from), 0                                                                          \
    }
#define CAS(old, new, from, to)                                                                                        \
    {                                                                                                                  \
        LIN_CAS, LIN_DONE, (new), (old), (from), (to)                                                                  \
    }
#define CAS_MISMATCH(old, new, from, to)                                                                               \
    {                                                                                                                  \
        LIN_CAS, LIN_MISMATCH, (new), (old), (from), (to)                                                              \
    }
#define CAS_UNKNOWN(old, new, from)                                                                                    \
    {                                                                                                                  \
        LIN_CAS, LIN_UNKNOWN, (new), (old), (from), 0                                                                  \
    }

#define ACCEPTS(...)                                                                                                   \
    judge((struct lin_op[]){__VA_ARGS__}, sizeof((struct lin_op[]){__VA_ARGS__}) / sizeof(struct lin_op), LIN_OK)
#define REFUSES(...)                                                                                                   \
    judge((struct lin_op[]){__VA_ARGS__}, sizeof((struct lin_op[]){__VA_ARGS__}) / sizeof(struct lin_op), LIN_VIOLATION)

static void judge(const struct lin_op *ops, size_t count, enum lin_verdict want)
{
    size_t at = SIZE_MAX;
    CU_ASSERT_EQUAL(lin_check(ops, count, &at), want);
    if (want != LIN_OK)
        CU_ASSERT(at < count);
}

static void test_one_after_the_other(void)
{
    ACCEPTS(GET(0, 1, 2), PUT(1, 3, 4), GET(1, 5, 6), DEL(7, 8), GET(0, 9, 10));
    REFUSES(PUT(1, 1, 2), GET(0, 3, 4));                             /* an acknowledged write is lost */
    REFUSES(PUT(1, 1, 2), PUT(2, 3, 4), GET(1, 5, 6));               /* a stale read */
    REFUSES(PUT(1, 1, 2), GET(7, 3, 4));                             /* a value from nowhere */
    REFUSES(PUT(1, 1, 2), DEL(3, 4), GET(1, 5, 6));                  /* a delete came undone */
    REFUSES(PUT(1, 1, 2), PUT(2, 3, 4), GET(2, 5, 6), GET(1, 7, 8)); /* back in time: a write applied twice */
}

static void test_at_the_same_time(void)
{
    ACCEPTS(PUT(1, 1, 10), GET(0, 2, 3), GET(1, 4, 5));
    ACCEPTS(PUT(1, 1, 10), PUT(2, 1, 10), GET(2, 11, 12), GET(2, 13, 14));
    ACCEPTS(PUT(1, 1, 10), PUT(2, 1, 10), GET(1, 11, 12));
    REFUSES(PUT(1, 1, 10), GET(1, 2, 3), GET(0, 4, 5));                    /* seen, then not */
    REFUSES(PUT(1, 1, 10), PUT(2, 1, 10), GET(1, 11, 12), GET(2, 13, 14)); /* two readers disagree on the order */
}

static void test_unknown_may_happen_late_or_never(void)
{
    ACCEPTS(PUT_UNKNOWN(1, 1), GET(0, 2, 3), GET(1, 100, 101));
    ACCEPTS(PUT_UNKNOWN(1, 1), GET(0, 2, 3), PUT(2, 4, 5), GET(2, 6, 7));
    ACCEPTS(PUT(1, 1, 2), DEL_UNKNOWN(3), GET(1, 4, 5), GET(0, 6, 7));
    REFUSES(PUT_UNKNOWN(1, 10), GET(1, 2, 3));                                          /* before it was asked */
    REFUSES(PUT_UNKNOWN(1, 1), GET(1, 2, 3), PUT(2, 4, 5), GET(2, 6, 7), GET(1, 8, 9)); /* twice */
    REFUSES(PUT(1, 1, 2), DEL_UNKNOWN(3), GET(0, 4, 5), PUT(2, 6, 7), GET(0, 8, 9));    /* twice */
    REFUSES(PUT(1, 1, 2), CAS_UNKNOWN(9, 2, 3), GET(2, 4, 5));                          /* its condition never held */
}

static void test_compare_and_set(void)
{
    ACCEPTS(CAS(0, 1, 1, 2), CAS(1, 2, 3, 4), GET(2, 5, 6), CAS_MISMATCH(1, 3, 7, 8), CAS(2, 0, 9, 10), GET(0, 11, 12));
    REFUSES(CAS(0, 1, 1, 10), CAS(0, 2, 1, 10));               /* both created it */
    REFUSES(PUT(1, 1, 2), CAS(1, 2, 3, 20), CAS(1, 3, 3, 20)); /* both took it */
    REFUSES(PUT(1, 1, 2), CAS_MISMATCH(1, 2, 3, 4));           /* it did hold it */
    REFUSES(PUT(1, 1, 2), CAS_MISMATCH(1, 2, 3, 4), GET(1, 5, 6));
    ACCEPTS(PUT(1, 1, 2), PUT_UNKNOWN(2, 3), CAS_MISMATCH(1, 3, 4, 5)); /* the unknown one explains it */
    REFUSES(PUT(1, 1, 2), PUT_UNKNOWN(2, 3), CAS_MISMATCH(1, 3, 4, 5), GET(1, 6, 7));
}

static void test_too_many_open_is_said(void)
{
    struct lin_op ops[LIN_OPEN_MAX + 1];
    size_t at = 0;
    for (size_t i = 0; i <= LIN_OPEN_MAX; i++)
        ops[i] = (struct lin_op)PUT_UNKNOWN((uint32_t)i + 1, i);
    CU_ASSERT_EQUAL(lin_check(ops, LIN_OPEN_MAX, &at), LIN_OK);
    CU_ASSERT_EQUAL(lin_check(ops, LIN_OPEN_MAX + 1, &at), LIN_TOO_MANY_OPEN);
}

/* A history made by a real register: `clients` overlap, each operation takes effect at an instant between its ends.
 * Some puts are unknown (they did take effect). Returns the number of a get, for planting. */
static size_t make_history(struct lin_op *ops, size_t count, unsigned clients, struct random *random)
{
    uint32_t state = LIN_ABSENT;
    size_t get = 0;
    for (size_t i = 0; i < count; i++) { /* effects in order of i, at time 100 i */
        uint64_t spread = 1 + random_next(random) % (50 * clients);
        struct lin_op op = {
            LIN_PUT, LIN_DONE, (uint32_t)i + 1, 0, 100 * i + 100000 - spread, 100 * i + 100000 + spread};
        switch (random_next(random) % 8) {
        case 0:
        case 1:
            state = op.value;
            break;
        case 2:
            op.kind = LIN_DEL, op.value = LIN_ABSENT;
            state = LIN_ABSENT;
            break;
        case 3:
            op.kind = LIN_CAS, op.expected = state;
            state = op.value;
            break;
        case 4:
            op.kind = LIN_CAS, op.expected = (uint32_t)(count + 7), op.outcome = LIN_MISMATCH;
            break;
        default:
            op.kind = LIN_GET, op.value = state;
            get = i;
            break;
        }
        if (op.kind == LIN_PUT && random_next(random) % (count / 8) == 0)
            op.outcome = LIN_UNKNOWN; /* it did take effect */
        ops[i] = op;
    }
    return get;
}

static void test_long_histories(void)
{
    enum { COUNT = 20000, KEYS = 4 };
    struct lin_op *ops = malloc(COUNT * sizeof *ops);
    struct random random = {7};
    size_t at;
    CU_ASSERT_PTR_NOT_NULL_FATAL(ops);
    for (int key = 0; key < KEYS; key++) {
        size_t get = make_history(ops, COUNT, 8, &random);
        CU_ASSERT_EQUAL(lin_check(ops, COUNT, &at), LIN_OK);
        uint32_t was = ops[get].value;
        ops[get].value = COUNT + 3; /* written by nobody */
        CU_ASSERT_EQUAL(lin_check(ops, COUNT, &at), LIN_VIOLATION);
        ops[get].value = was;
        for (size_t i = get; i-- > 0;) { /* a value overwritten long before the read began */
            if (ops[i].kind == LIN_PUT && ops[i].outcome == LIN_DONE && i + 100 < get) {
                ops[get].value = ops[i].value;
                break;
            }
        }
        CU_ASSERT_EQUAL(lin_check(ops, COUNT, &at), LIN_VIOLATION);
    }
    free(ops);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"one after the other", test_one_after_the_other},
        {"at the same time", test_at_the_same_time},
        {"unknown outcomes", test_unknown_may_happen_late_or_never},
        {"compare and set", test_compare_and_set},
        {"too many open operations are said", test_too_many_open_is_said},
        {"long histories, with and without a fault", test_long_histories},
    };
    return UNIT_MAIN("lincheck", cases);
}
