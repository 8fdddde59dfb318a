/* test_bench.c: what the benchmark's numbers rest on: the histogram's percentiles, the choice of records, their keys.
 */
#include <stdlib.h>
#include <string.h>

#include "client/bench/chooser.h"
#include "client/bench/histogram.h"
#include "tests/unit/unit.h"

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void percentiles_are_off_by_less_than_a_percent(void)
{
    enum { COUNT = 20000 };
    static uint64_t values[COUNT];
    static struct histogram h, half;
    struct random random = {3};
    for (int i = 0; i < COUNT; i++) {
        values[i] = random_next(&random) >> random_below(&random, 60); /* every order of magnitude */
        histogram_add(i % 2 ? &h : &half, values[i]);
    }
    histogram_merge(&h, &half);
    qsort(values, COUNT, sizeof values[0], by_value);
    static const double parts[] = {0.01, 0.5, 0.9, 0.99, 0.999, 1.0};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        uint64_t exact = values[(size_t)(parts[i] * COUNT + 0.5) - 1], got = histogram_at(&h, parts[i]);
        CU_ASSERT_TRUE(got >= exact && (double)got <= (double)exact * 1.008 + 1);
    }
    CU_ASSERT_EQUAL(h.count, COUNT);
    CU_ASSERT_EQUAL(histogram_at(&h, 1.0), values[COUNT - 1]);
    memset(&h, 0, sizeof h);
    CU_ASSERT_EQUAL(histogram_at(&h, 0.5), 0);
    histogram_add(&h, UINT64_MAX);
    CU_ASSERT_EQUAL(histogram_at(&h, 0.5), UINT64_MAX);
}

/* Share of all choices that fall on the most popular 1 % of the records. */
static double share_of_the_popular(bool zipfian)
{
    enum { RECORDS = 10000, CHOICES = 200000 };
    static uint64_t hits[RECORDS];
    memset(hits, 0, sizeof hits);
    struct chooser c;
    struct random random = {11};
    chooser_init(&c, RECORDS, zipfian);
    for (int i = 0; i < CHOICES; i++) {
        uint64_t record = chooser_next(&c, &random);
        CU_ASSERT_FATAL(record < RECORDS);
        hits[record]++;
    }
    qsort(hits, RECORDS, sizeof hits[0], by_value);
    uint64_t top = 0;
    for (int i = RECORDS - RECORDS / 100; i < RECORDS; i++)
        top += hits[i];
    return (double)top / CHOICES;
}

static void zipfian_prefers_few_and_uniform_none(void)
{
    CU_ASSERT_TRUE(share_of_the_popular(true) > 0.4);
    CU_ASSERT_TRUE(share_of_the_popular(false) < 0.05);
    struct chooser one;
    struct random random = {1};
    chooser_init(&one, 1, true);
    CU_ASSERT_EQUAL(chooser_next(&one, &random), 0);
}

static void keys_differ_and_spread_over_the_alphabet(void)
{
    char key[CHOOSER_KEY_BYTES + 8], other[CHOOSER_KEY_BYTES + 8];
    int letters[26] = {0};
    for (uint64_t i = 0; i < 2600; i++) {
        CU_ASSERT_EQUAL(chooser_key(i, key), 15);
        chooser_key(i + 1, other);
        CU_ASSERT_STRING_NOT_EQUAL(key, other);
        letters[key[0] - 'a']++;
    }
    for (int i = 0; i < 26; i++)
        CU_ASSERT_TRUE(letters[i] > 50 && letters[i] < 150);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"percentiles are off by less than a percent", percentiles_are_off_by_less_than_a_percent},
        {"zipfian prefers few and uniform none", zipfian_prefers_few_and_uniform_none},
        {"keys differ and spread over the alphabet", keys_differ_and_spread_over_the_alphabet},
    };
    return UNIT_MAIN("client bench", cases);
}
