/* test_session.c: the client's session window and the heap of timers: pure state, no thread. */
#include <stdlib.h>

#include "client/session.h"
#include "client/timers.h"
#include "common/base/error.h"
#include "common/base/random.h"
#include "tests/unit/unit.h"

static void done_below_moves_over_answered_seqs_only(void)
{
    struct session *s = session_new(9);
    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    struct session *refs[4];
    for (uint64_t i = 0; i < 4; i++) {
        refs[i] = s;
        CU_ASSERT_EQUAL(session_take(s), i + 1);
    }
    session_done(&refs[1], 2);
    CU_ASSERT_PTR_NULL(refs[1]);
    CU_ASSERT_EQUAL(s->done_below, 1);
    session_done(&refs[2], 3);
    session_done(&refs[0], 1);
    CU_ASSERT_EQUAL(s->done_below, 4);
    session_done(&refs[3], 4);
    CU_ASSERT_EQUAL(s->done_below, 5);
    session_unref(&s);
}

static void a_full_window_has_no_room_until_its_first_is_done(void)
{
    struct session *s = session_new(9);
    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    for (uint64_t i = 1; i <= LIMIT_SESSION_WINDOW; i++) {
        CU_ASSERT_TRUE(session_room(s));
        CU_ASSERT_EQUAL(session_take(s), i);
    }
    CU_ASSERT_FALSE(session_room(s));
    struct session *ref = s;
    session_done(&ref, 2);
    CU_ASSERT_FALSE(session_room(s));
    ref = s;
    session_done(&ref, 1);
    CU_ASSERT_EQUAL(s->done_below, 3);
    for (uint64_t round = 0; round < 5000; round++) { /* many times around the ring */
        CU_ASSERT_TRUE(session_room(s));
        uint64_t seq = session_take(s);
        CU_ASSERT_TRUE(seq < s->done_below + LIMIT_SESSION_WINDOW);
        ref = s;
        session_done(&ref, s->done_below);
    }
    while (s->done_below < s->next_seq) {
        ref = s;
        session_done(&ref, s->done_below);
    }
    session_unref(&s);
}

enum { TIMERS = 500 };
static uint64_t fired[TIMERS];
static int fired_count;

static void note(void *ctx, struct timer *t)
{
    (void)ctx;
    fired[fired_count++] = t->when_ns;
}

static void timers_fire_in_order_of_time(void)
{
    struct timers ts = {0};
    struct timer all[TIMERS] = {0};
    struct random random = {5};
    CU_ASSERT_EQUAL_FATAL(timers_reserve(&ts, TIMERS), HF_OK);
    int set = 0;
    for (int i = 0; i < TIMERS; i++) {
        all[i].fire = note;
        timers_set(&ts, &all[i], 1 + random_below(&random, 1000));
    }
    for (int i = 0; i < TIMERS; i += 3) /* some move, some go */
        timers_set(&ts, &all[i], 1 + random_below(&random, 1000));
    for (int i = 1; i < TIMERS; i += 3)
        timers_clear(&ts, &all[i]);
    for (int i = 0; i < TIMERS; i++)
        set += all[i].at != 0;
    CU_ASSERT_EQUAL((int)ts.count, set);
    uint64_t next = timers_next_ns(&ts);
    timers_expire(&ts, 500, NULL);
    for (int i = 0; i < fired_count; i++)
        CU_ASSERT_TRUE(fired[i] <= 500 && (i == 0 ? fired[i] == next : fired[i] >= fired[i - 1]));
    CU_ASSERT_TRUE(timers_next_ns(&ts) > 500);
    timers_expire(&ts, 2000, NULL);
    CU_ASSERT_EQUAL(fired_count, set);
    CU_ASSERT_EQUAL(timers_next_ns(&ts), UINT64_MAX);
    timers_deinit(&ts);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"done_below moves over answered seqs only", done_below_moves_over_answered_seqs_only},
        {"a full window has no room until its first is done", a_full_window_has_no_room_until_its_first_is_done},
        {"timers fire in order of time", timers_fire_in_order_of_time},
    };
    return UNIT_MAIN("client session", cases);
}
