/* test_retain.c: what leaders are told of those who still read, and what a coordinator that has just become active says. */
#include "common/base/error.h"
#include "common/sys/clock.h"
#include "coordinator/limits.h"
#include "coordinator/retain.h"
#include "tests/unit/unit.h"

#define S (UINT64_C(1000) * CLOCK_NS_PER_MS)

static struct retain r;
static uint32_t granted;

/* The oracle's time. */
static struct hlc time_at(uint64_t at_ns)
{
    return (struct hlc){1000 + at_ns / S};
}

static uint64_t lowest(uint64_t at_ns)
{
    retain_tick(&r, true, time_at(at_ns), at_ns);
    return retain_lowest(&r, time_at(at_ns)).t;
}

/* Active since second 1; at 61 everything from 31 on is kept anyway. */
static void begin(void)
{
    retain_init(&r, 30000);
    CU_ASSERT_EQUAL(retain_lowest(&r, time_at(0)).t, 0);
    CU_ASSERT_EQUAL(lowest(1 * S), 0); /* what was promised before it was active it does not know */
    CU_ASSERT_EQUAL(lowest(31 * S - 1), 0);
    CU_ASSERT_EQUAL(lowest(31 * S), 1001); /* who had a timestamp before may have asked by now */
    CU_ASSERT_EQUAL(lowest(61 * S), 1031);
}

static void the_lowest_of_those_who_read(void)
{
    begin();
    CU_ASSERT_EQUAL(retain_ask(&r, 1, (struct hlc){300}, 10000, 62 * S, &granted), HF_OK);
    CU_ASSERT_EQUAL(retain_ask(&r, 2, (struct hlc){200}, 5000, 62 * S, &granted), HF_OK);
    CU_ASSERT_EQUAL(granted, 5000);
    CU_ASSERT_EQUAL(lowest(63 * S), 200);
    CU_ASSERT_EQUAL(lowest(67 * S), 300); /* the second's lease is over */
    CU_ASSERT_EQUAL(retain_ask(&r, 1, (struct hlc){400}, 10000, 68 * S, &granted), HF_OK); /* it moved on */
    CU_ASSERT_EQUAL(retain_ask(&r, 1, (struct hlc){400}, 2000, 69 * S, &granted), HF_OK);  /* an earlier one, late */
    CU_ASSERT_EQUAL(lowest(77 * S), 400);
    CU_ASSERT_EQUAL(retain_ask(&r, 1, (struct hlc){0}, 0, 77 * S, &granted), HF_OK);
    CU_ASSERT_EQUAL(retain_ask(&r, 9, (struct hlc){0}, 0, 77 * S, &granted), HF_OK); /* nobody */
    CU_ASSERT_EQUAL(lowest(77 * S), 1031);
    retain_deinit(&r);
}

static void a_promise_is_no_longer_than_a_new_one_waits(void)
{
    begin();
    CU_ASSERT_EQUAL(retain_ask(&r, 1, (struct hlc){300}, 3600000, 62 * S, &granted), HF_OK);
    CU_ASSERT_EQUAL(granted, 30000);
    CU_ASSERT_EQUAL(lowest(92 * S - 1), 300);
    CU_ASSERT_EQUAL(lowest(92 * S), 1061);
    retain_deinit(&r);
}

static void who_lost_its_place_waits_anew(void)
{
    begin();
    retain_tick(&r, false, time_at(70 * S), 70 * S);
    CU_ASSERT_EQUAL(retain_lowest(&r, time_at(70 * S)).t, 0);
    CU_ASSERT_EQUAL(lowest(80 * S), 0);
    CU_ASSERT_EQUAL(retain_ask(&r, 1, (struct hlc){300}, 30000, 90 * S, &granted),
                    HF_OK); /* promises are made meanwhile */
    CU_ASSERT_EQUAL(lowest(109 * S), 0);
    CU_ASSERT_EQUAL(lowest(110 * S), 300);
    retain_deinit(&r);
}

/* Whoever asks within a lease of his timestamp's being issued is in time, whatever leaders were told before. */
static void no_word_names_a_time_still_to_be_asked_for(void)
{
    begin();
    for (uint64_t s = 62; s < 300; s++)
        CU_ASSERT(lowest(s * S) + 30 <= time_at(s * S).t);
    retain_deinit(&r);
}

static void so_many_and_no_more(void)
{
    begin();
    for (uint64_t i = 1; i <= RETAIN_MAX; i++)
        CU_ASSERT_EQUAL(retain_ask(&r, i, (struct hlc){i}, 1000, 41 * S, &granted), HF_OK);
    CU_ASSERT_EQUAL(retain_ask(&r, RETAIN_MAX + 1, (struct hlc){1}, 1000, 41 * S, &granted), HF_E_BUSY);
    CU_ASSERT_EQUAL(retain_ask(&r, RETAIN_MAX, (struct hlc){7}, 1000, 41 * S, &granted),
                    HF_OK); /* who is there goes on */
    CU_ASSERT_EQUAL(lowest(61 * S), 1031);
    CU_ASSERT_EQUAL(r.count, 0);
    retain_deinit(&r);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"the lowest of those who read", the_lowest_of_those_who_read},
        {"a promise is no longer than a new one waits", a_promise_is_no_longer_than_a_new_one_waits},
        {"who lost its place waits anew", who_lost_its_place_waits_anew},
        {"no word names a time still to be asked for", no_word_names_a_time_still_to_be_asked_for},
        {"so many and no more", so_many_and_no_more},
    };
    return UNIT_MAIN("retain", cases);
}
