/* test_replay.c: how much log lies behind an index: never less than there is, however coarse the marks became. */
#include "shard/replica/replay.h"
#include "tests/unit/unit.h"

static void test_counts(void)
{
    struct replay r;
    replay_init(&r, 100, 1000);
    CU_ASSERT(replay_behind(&r, 100) == 0);
    for (uint64_t i = 101; i <= 100 + 10 * (uint64_t)REPLAY_MARKS; i++) {
        replay_add(&r, i, 700);
        uint64_t all = (i - 100) * 700, half = 100 + (i - 100) / 2;
        CU_ASSERT(replay_behind(&r, 0) == all && replay_behind(&r, i) == 0);
        CU_ASSERT(replay_behind(&r, half) >= (i - half) * 700); /* never too small */
        CU_ASSERT(replay_behind(&r, half) < (i - half) * 700 + 2 * r.grain);
    }
    CU_ASSERT(r.grain > 1000 && r.count <= REPLAY_MARKS);
}

int main(void)
{
    const struct unit_case cases[] = {
        {"counts", test_counts},
    };
    return UNIT_MAIN("replay", cases);
}
