/* test_leaders.c: what is believed about leaders, and whom a request tries when nobody is known. */
#include "coordinator/leaders.h"
#include "tests/unit/unit.h"

static struct leaders three(void)
{
    struct leaders l = {0};
    leaders_members(&l, 1, (const uint32_t[]){1, 2, 3}, 3);
    return l;
}

static void unknown_shards_have_nobody(void)
{
    struct leaders l = three();
    CU_ASSERT_EQUAL(leaders_pick(&l, 2, 0), 0);
    CU_ASSERT_EQUAL(leaders_known(&l, 2), 0);
    CU_ASSERT_FALSE(leaders_hint(&l, 2, 1, 2));
    leaders_lost(&l, 2, 1);
    leaders_deinit(&l);
}

static void without_a_leader_all_take_turns(void)
{
    struct leaders l = three();
    unsigned seen = 0;
    for (int i = 0; i < 3; i++)
        seen |= 1u << leaders_pick(&l, 1, 0);
    CU_ASSERT_EQUAL(seen, 0xeu);
    for (int i = 0; i < 6; i++)
        CU_ASSERT_NOT_EQUAL(leaders_pick(&l, 1, 2), 2);
    leaders_deinit(&l);
}

static void higher_terms_win(void)
{
    struct leaders l = three();
    CU_ASSERT_TRUE(leaders_status(&l, 1, 1, true, 5, 1));
    CU_ASSERT_FALSE(leaders_status(&l, 1, 1, true, 5, 1)); /* nothing new */
    CU_ASSERT_FALSE(leaders_status(&l, 1, 2, true, 4, 2)); /* a deposed one that does not know it */
    CU_ASSERT_EQUAL(leaders_pick(&l, 1, 0), 1);
    CU_ASSERT_TRUE(leaders_status(&l, 1, 3, false, 6, 2)); /* a follower of the newer one */
    CU_ASSERT_EQUAL(leaders_pick(&l, 1, 0), 2);
    CU_ASSERT_FALSE(leaders_status(&l, 1, 3, false, 6, 9)); /* no replica of this shard */
    leaders_deinit(&l);
}

static void hints_are_followed_unless_somebody_leads(void)
{
    struct leaders l = three();
    CU_ASSERT_TRUE(leaders_hint(&l, 1, 1, 3));
    CU_ASSERT_EQUAL(leaders_known(&l, 1), 3);
    CU_ASSERT_FALSE(leaders_hint(&l, 1, 1, 2)); /* 3 has not denied it */
    CU_ASSERT_TRUE(leaders_hint(&l, 1, 3, 2));  /* now it has */
    CU_ASSERT_EQUAL(leaders_known(&l, 1), 2);
    CU_ASSERT_FALSE(leaders_hint(&l, 1, 2, 0));
    CU_ASSERT_EQUAL(leaders_known(&l, 1), 0);
    leaders_deinit(&l);
}

static void a_lost_leader_is_not_believed_by_hearsay(void)
{
    struct leaders l = three();
    leaders_status(&l, 1, 1, true, 5, 1);
    leaders_lost(&l, 1, 1);
    CU_ASSERT_EQUAL(leaders_known(&l, 1), 0);
    CU_ASSERT_FALSE(leaders_hint(&l, 1, 2, 1));
    CU_ASSERT_FALSE(leaders_status(&l, 1, 2, false, 5, 1));
    CU_ASSERT_EQUAL(leaders_known(&l, 1), 0);
    for (int i = 0; i < 6; i++)
        CU_ASSERT_NOT_EQUAL(leaders_pick(&l, 1, 0), 1);
    CU_ASSERT_TRUE(leaders_status(&l, 1, 1, true, 5, 1)); /* its own word */
    leaders_lost(&l, 1, 1);
    CU_ASSERT_TRUE(leaders_status(&l, 1, 2, false, 6, 1)); /* elected anew */
    leaders_deinit(&l);
}

static void members_may_change(void)
{
    struct leaders l = three();
    leaders_status(&l, 1, 3, true, 5, 3);
    leaders_members(&l, 1, (const uint32_t[]){2, 3}, 2);
    CU_ASSERT_EQUAL(leaders_known(&l, 1), 3);
    leaders_members(&l, 1, (const uint32_t[]){2}, 1);
    CU_ASSERT_EQUAL(leaders_known(&l, 1), 0);
    CU_ASSERT_EQUAL(leaders_pick(&l, 1, 2), 2); /* the only one, avoided or not */
    leaders_deinit(&l);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"unknown shards have nobody", unknown_shards_have_nobody},
        {"without a leader all take turns", without_a_leader_all_take_turns},
        {"higher terms win", higher_terms_win},
        {"hints are followed unless somebody leads", hints_are_followed_unless_somebody_leads},
        {"a lost leader is not believed by hearsay", a_lost_leader_is_not_believed_by_hearsay},
        {"members may change", members_may_change},
    };
    return UNIT_MAIN("coordinator/leaders", cases);
}
