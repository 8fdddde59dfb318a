/* test_retain.c: what leaders are told of those who still read, and what a coordinator that has just become active says. */
#include "common/base/error.h"
#include "common/sys/clock.h"
#include "coordinator/limits.h"
#include "coordinator/retain.h"
#include "tests/unit/unit.h"

#define S (UINT64_C(1000) * CLOCK_NS_PER_MS)
#define NOW 5000

static struct retain r;
static uint32_t granted;

static uint64_t lowest(uint64_t at_ns)
{
    retain_tick(&r, true, (struct hlc){NOW}, at_ns);
    return retain_lowest(&r, (struct hlc){NOW}).t;
}

static void begin(void)
{
    retain_init(&r, 30000);
    CU_ASSERT_EQUAL(retain_lowest(&r, (struct hlc){NOW}).t, 0);
    CU_ASSERT_EQUAL(lowest(1 * S), 0); /* what was promised before it was active it does not know */
    CU_ASSERT_EQUAL(lowest(31 * S - 1), 0);
    CU_ASSERT_EQUAL(lowest(31 * S), NOW);
}

static void the_lowest_of_those_who_read(void)
{
    begin();
    CU_ASSERT_EQUAL(retain_ask(&r, 1, (struct hlc){300}, 10000, 32 * S, &granted), HF_OK);
    CU_ASSERT_EQUAL(retain_ask(&r, 2, (struct hlc){200}, 5000, 32 * S, &granted), HF_OK);
    CU_ASSERT_EQUAL(granted, 5000);
    CU_ASSERT_EQUAL(lowest(33 * S), 200);
    CU_ASSERT_EQUAL(lowest(37 * S), 300); /* the second's lease is over */
    CU_ASSERT_EQUAL(retain_ask(&r, 1, (struct hlc){400}, 10000, 38 * S, &granted), HF_OK); /* it moved on */
    CU_ASSERT_EQUAL(lowest(43 * S), 400);
    CU_ASSERT_EQUAL(retain_ask(&r, 1, (struct hlc){0}, 0, 44 * S, &granted), HF_OK);
    CU_ASSERT_EQUAL(retain_ask(&r, 9, (struct hlc){0}, 0, 44 * S, &granted), HF_OK); /* nobody */
    CU_ASSERT_EQUAL(lowest(44 * S), NOW);
    retain_deinit(&r);
}

static void a_promise_is_no_longer_than_a_new_one_waits(void)
{
    begin();
    CU_ASSERT_EQUAL(retain_ask(&r, 1, (struct hlc){300}, 3600000, 40 * S, &granted), HF_OK);
    CU_ASSERT_EQUAL(granted, 30000);
    CU_ASSERT_EQUAL(lowest(70 * S - 1), 300);
    CU_ASSERT_EQUAL(lowest(70 * S), NOW);
    retain_deinit(&r);
}

static void who_lost_its_place_waits_anew(void)
{
    begin();
    retain_tick(&r, false, (struct hlc){NOW}, 40 * S);
    CU_ASSERT_EQUAL(retain_lowest(&r, (struct hlc){NOW}).t, 0);
    CU_ASSERT_EQUAL(lowest(50 * S), 0);
    CU_ASSERT_EQUAL(retain_ask(&r, 1, (struct hlc){300}, 30000, 60 * S, &granted),
                    HF_OK); /* promises are made meanwhile */
    CU_ASSERT_EQUAL(lowest(79 * S), 0);
    CU_ASSERT_EQUAL(lowest(80 * S), 300);
    retain_deinit(&r);
}

static void what_was_promised_is_not_shortened(void)
{
    begin();
    CU_ASSERT_EQUAL(retain_ask(&r, 1, (struct hlc){300}, 20000, 40 * S, &granted), HF_OK);
    CU_ASSERT_EQUAL(retain_ask(&r, 1, (struct hlc){300}, 1000, 41 * S, &granted), HF_OK); /* sent before that */
    CU_ASSERT_EQUAL(lowest(60 * S - 1), 300);
    CU_ASSERT_EQUAL(lowest(60 * S), NOW);
    retain_deinit(&r);
}

static void no_word_of_what_may_still_be_asked_for(void)
{
    begin();
    retain_tick(&r, true, (struct hlc){NOW + 10}, 61 * S);
    CU_ASSERT_EQUAL(retain_lowest(&r, (struct hlc){NOW + 20}).t, NOW);
    retain_tick(&r, true, (struct hlc){NOW + 30}, 91 * S);
    CU_ASSERT_EQUAL(retain_lowest(&r, (struct hlc){NOW + 40}).t, NOW + 10);
    retain_deinit(&r);
}

static void so_many_and_no_more(void)
{
    begin();
    for (uint64_t i = 1; i <= RETAIN_MAX; i++)
        CU_ASSERT_EQUAL(retain_ask(&r, i, (struct hlc){i}, 1000, 40 * S, &granted), HF_OK);
    CU_ASSERT_EQUAL(retain_ask(&r, RETAIN_MAX + 1, (struct hlc){1}, 1000, 40 * S, &granted), HF_E_BUSY);
    CU_ASSERT_EQUAL(retain_ask(&r, RETAIN_MAX, (struct hlc){7}, 1000, 40 * S, &granted),
                    HF_OK); /* who is there goes on */
    CU_ASSERT_EQUAL(lowest(41 * S), NOW);
    CU_ASSERT_EQUAL(r.count, 0);
    retain_deinit(&r);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"the lowest of those who read", the_lowest_of_those_who_read},
        {"a promise is no longer than a new one waits", a_promise_is_no_longer_than_a_new_one_waits},
        {"who lost its place waits anew", who_lost_its_place_waits_anew},
        {"what was promised is not shortened", what_was_promised_is_not_shortened},
        {"no word of what may still be asked for", no_word_of_what_may_still_be_asked_for},
        {"so many and no more", so_many_and_no_more},
    };
    return UNIT_MAIN("retain", cases);
}
