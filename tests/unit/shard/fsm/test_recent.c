/* test_recent.c: the table of newest versions never answers with an old one, and stays within its bytes. */
#include "shard/fsm/recent.h"

#include <stdlib.h>

#include "common/base/random.h"
#include "tests/unit/unit.h"

enum { KEYS = 60000, STEPS = 400000 };

static struct slice prefix_of(uint64_t key, uint8_t bytes[12])
{
    memcpy(bytes, "d", 1);
    memcpy(bytes + 1, &key, sizeof key);
    memcpy(bytes + 9, "x\0\1", 3);
    return slice_make(bytes, 12);
}

static void never_old_never_too_much(void)
{
    static uint8_t payload[2000];
    struct recent r = {0};
    struct random random = {5};
    uint64_t *newest = calloc(KEYS, sizeof *newest), found = 0;
    uint8_t bytes[12];
    for (uint64_t step = 1; step <= STEPS; step++) {
        uint64_t key = random_below(&random, random_below(&random, 2) == 0 ? 100 : KEYS);
        struct slice prefix = prefix_of(key, bytes);
        struct version_found now = {.version = {{step}, key}, .value = {.flags = VERSION_EXPIRES, .expiry = {step}}},
                             got;
        now.value.payload = slice_make(payload, (size_t)random_below(&random, sizeof payload));
        memcpy(payload, &step, sizeof step);
        if (random_below(&random, 3) == 0) { /* a write */
            newest[key] = step;
            recent_update(&r, prefix, &now);
        } else if (recent_find(&r, prefix, &got)) {
            found++;
            CU_ASSERT_FATAL(got.version.t.t == newest[key] && got.value.expiry.t == newest[key] &&
                            got.version.seq == key);
            if (got.value.payload.size >= 8)
                CU_ASSERT_EQUAL_FATAL(memcmp(got.value.payload.data, &newest[key], 8), 0);
        } else { /* a read that went to the store */
            now.version.t.t = now.value.expiry.t = newest[key];
            memcpy(payload, &newest[key], 8);
            recent_note(&r, prefix, &now);
        }
        CU_ASSERT_FATAL(r.bytes <= RECENT_BYTES);
    }
    CU_ASSERT(found > STEPS / 3); /* the hundred hot keys stay */
    free(newest);
    recent_deinit(&r);
    CU_ASSERT_EQUAL(r.bytes, 0);
}

static void large_values_are_left_out(void)
{
    struct recent r = {0};
    struct version_found got, large = {.version = {{1}, 1}};
    uint8_t bytes[12], *payload = calloc(1, RECENT_BYTES);
    large.value.payload = slice_make(payload, RECENT_BYTES / 8);
    recent_note(&r, prefix_of(1, bytes), &large);
    CU_ASSERT(!recent_find(&r, prefix_of(1, bytes), &got));
    large.value.payload.size = 10;
    recent_note(&r, prefix_of(1, bytes), &large);
    CU_ASSERT(recent_find(&r, prefix_of(1, bytes), &got));
    large.value.payload.size = RECENT_BYTES / 8;
    recent_update(&r, prefix_of(1, bytes), &large); /* the small one is old now */
    CU_ASSERT(!recent_find(&r, prefix_of(1, bytes), &got));
    recent_deinit(&r);
    free(payload);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"never old, never too much", never_old_never_too_much},
        {"large values are left out", large_values_are_left_out},
    };
    return UNIT_MAIN("fsm recent", cases);
}
