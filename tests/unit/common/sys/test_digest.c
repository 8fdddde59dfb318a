/* test_digest.c: BLAKE2b-256 and XXH3 against published values, increments, hex, random ids. */
#include "common/sys/digest.h"

#include "tests/unit/unit.h"

static void digest_of(const char *first, const char *second, char *out_hex)
{
    struct digest d;
    uint8_t bytes[DIGEST_BYTES];
    digest_begin(&d);
    digest_add(&d, slice_text(first));
    digest_add(&d, slice_text(second));
    digest_end(&d, bytes);
    digest_hex(bytes, sizeof bytes, out_hex);
}

static void digests_are_blake2b_256(void)
{
    char whole[2 * DIGEST_BYTES + 1], parts[2 * DIGEST_BYTES + 1];
    digest_of("abc", "", whole);
    CU_ASSERT_STRING_EQUAL(whole, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    digest_of("a", "bc", parts);
    CU_ASSERT_STRING_EQUAL(whole, parts);
    digest_of("", "", parts);
    CU_ASSERT_STRING_EQUAL(parts, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
}

static void sum_of(const char *first, const char *second, char *out_hex)
{
    struct sum s;
    uint8_t bytes[SUM_BYTES];
    sum_begin(&s);
    sum_add(&s, slice_text(first));
    sum_add(&s, slice_text(second));
    sum_end(&s, bytes);
    digest_hex(bytes, sizeof bytes, out_hex);
}

static void sums_are_xxh3_128(void)
{
    char whole[2 * SUM_BYTES + 1], parts[2 * SUM_BYTES + 1];
    sum_of("abc", "", whole);
    CU_ASSERT_STRING_EQUAL(whole, "06b05ab6733a618578af5f94892f3950");
    sum_of("a", "bc", parts);
    CU_ASSERT_STRING_EQUAL(whole, parts);
    sum_of("", "", parts);
    CU_ASSERT_STRING_EQUAL(parts, "99aa06d3014798d86001c324468d497f");
}

static void random_ids_differ(void)
{
    uint8_t a[16] = {0}, b[16] = {0};
    digest_random(a, sizeof a);
    digest_random(b, sizeof b);
    CU_ASSERT_NOT_EQUAL(memcmp(a, b, sizeof a), 0);
    uint64_t x = digest_random_u64(), y = digest_random_u64();
    CU_ASSERT(x != 0 && y != 0 && x != y);
}

int main(void)
{
    digest_init();
    static const struct unit_case cases[] = {
        {"digests are BLAKE2b-256", digests_are_blake2b_256},
        {"sums are XXH3 of 128 bits", sums_are_xxh3_128},
        {"random ids differ", random_ids_differ},
    };
    return UNIT_MAIN("digest", cases);
}
