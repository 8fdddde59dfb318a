/* test_leader_clock.c: when a leader may stamp, with what, and what it says when no coordinator answers (I8). */
#include "shard/replica/leader_clock.h"

#include "common/sys/clock.h"
#include "tests/unit/unit.h"

#define MS CLOCK_NS_PER_MS
#define QUESTION 4711u

static struct leader_clock c;
static struct fsm_info info;

/* Leads a group whose newest version is (50, 9), whose ceiling is 200 and whose mark is `restart`. */
static void begin(uint64_t restart)
{
    c = (struct leader_clock){0};
    info = (struct fsm_info){
        .feature_level = FSM_FEATURE_LEVEL, .newest = {{50}, 9}, .ceiling = {200}, .restart = {restart}};
    leader_clock_begin(&c, &info, QUESTION, 1000 * MS);
}

static void only_an_answer_to_its_question_is_fresh(void)
{
    begin(0);
    CU_ASSERT(!leader_clock_going(&c) && leader_clock_question(&c) == QUESTION);
    leader_clock_observe(&c, (struct hlc){100}, 0); /* drawn perhaps before it asked */
    leader_clock_observe(&c, (struct hlc){101}, QUESTION + 1);
    CU_ASSERT(!leader_clock_going(&c));
    leader_clock_observe(&c, (struct hlc){102}, QUESTION);
    CU_ASSERT(leader_clock_going(&c) && leader_clock_question(&c) == 0 && c.beat);
    struct version v = stamp_take(&c.stamp, 1);
    CU_ASSERT(v.t.t == 102 && v.seq == STAMP_FIRST_SEQ);
    CU_ASSERT(!leader_clock_give_up(&c, &info, 10000 * MS));
}

static void a_late_answer_stamps_above_what_is_applied(void)
{
    begin(0);
    leader_clock_observe(&c, (struct hlc){40}, QUESTION);
    struct version v = stamp_take(&c.stamp, 1);
    CU_ASSERT(v.t.t == 50 && v.seq == STAMP_FIRST_SEQ);
}

static void without_an_answer_it_goes_on_from_the_ceiling_and_says_so(void)
{
    begin(0);
    leader_clock_wait(&c);
    CU_ASSERT(!leader_clock_give_up(&c, &info, 1400 * MS));
    info.ceiling.t = 220; /* a lease came meanwhile */
    CU_ASSERT(leader_clock_give_up(&c, &info, 1600 * MS));
    CU_ASSERT(c.mark.t == 220 && !leader_clock_going(&c) && leader_clock_question(&c) == 0);
    CU_ASSERT(leader_clock_time(&c, &info).t == 50);       /* nobody else knows of the mark yet */
    leader_clock_observe(&c, (struct hlc){110}, QUESTION); /* too late */
    CU_ASSERT(!leader_clock_going(&c));
    leader_clock_applied(&c, &info);
    CU_ASSERT(!leader_clock_going(&c));
    info.restart.t = 220;
    leader_clock_applied(&c, &info);
    CU_ASSERT(leader_clock_going(&c));
    struct version v = stamp_take(&c.stamp, 1);
    CU_ASSERT(v.t.t == 220 && v.seq == STAMP_FIRST_SEQ);
}

static void nobody_is_waited_for_in_vain(void)
{
    begin(0);
    CU_ASSERT(!leader_clock_give_up(&c, &info, 100000 * MS)); /* reads at a timestamp are as well answered later */
    CU_ASSERT(!leader_clock_going(&c) && leader_clock_question(&c) == QUESTION);
    leader_clock_wait(&c);
    leader_clock_end(&c);
    leader_clock_begin(&c, &info, QUESTION + 1, 1000 * MS);
    CU_ASSERT(!leader_clock_give_up(&c, &info, 100000 * MS)); /* who waited for an earlier leader asks again */
}

static void what_cannot_be_proposed_is_tried_again(void)
{
    begin(0);
    leader_clock_wait(&c);
    CU_ASSERT(leader_clock_give_up(&c, &info, 1600 * MS));
    leader_clock_refused(&c);
    CU_ASSERT(leader_clock_give_up(&c, &info, 1650 * MS));
}

static void the_next_leader_stamps_above_the_mark(void)
{
    begin(180);
    leader_clock_observe(&c, (struct hlc){120}, QUESTION); /* the coordinator's time is behind it */
    CU_ASSERT(leader_clock_going(&c) && stamp_take(&c.stamp, 1).t.t == 180);
    CU_ASSERT(leader_clock_time(&c, &info).t == 180);
}

static void a_mark_that_stands_is_not_made_again(void)
{
    begin(200);
    leader_clock_wait(&c);
    CU_ASSERT(!leader_clock_give_up(&c, &info, 1600 * MS));
    CU_ASSERT(leader_clock_going(&c) && stamp_take(&c.stamp, 1).t.t == 200);
}

static void groups_of_earlier_levels_have_no_mark(void)
{
    begin(0);
    leader_clock_wait(&c);
    info.feature_level = FSM_FEATURE_RESTART - 1;
    CU_ASSERT(!leader_clock_give_up(&c, &info, 1600 * MS));
    CU_ASSERT(leader_clock_going(&c) && stamp_take(&c.stamp, 1).t.t == 200);
}

static void leadership_ends(void)
{
    begin(0);
    leader_clock_observe(&c, (struct hlc){102}, QUESTION);
    leader_clock_end(&c);
    CU_ASSERT(!leader_clock_going(&c));
    leader_clock_begin(&c, &info, QUESTION + 1, 5000 * MS);
    leader_clock_wait(&c);
    leader_clock_observe(&c, (struct hlc){103}, QUESTION); /* an answer to its earlier self */
    CU_ASSERT(!leader_clock_going(&c) && !leader_clock_give_up(&c, &info, 5400 * MS));
}

static void a_hold_ends_with_its_release_or_its_time_or_the_leadership(void)
{
    begin(0);
    leader_clock_observe(&c, (struct hlc){102}, QUESTION);
    CU_ASSERT(!leader_clock_held(&c, 2000 * MS) && !leader_clock_release(&c, 7));
    leader_clock_hold(&c, 7, 2000 * MS);
    CU_ASSERT(leader_clock_held(&c, 2000 * MS) && !leader_clock_release(&c, 8));
    CU_ASSERT(leader_clock_held(&c, 2499 * MS) && leader_clock_release(&c, 7));
    CU_ASSERT(!leader_clock_held(&c, 2499 * MS) && !leader_clock_release(&c, 7));
    leader_clock_hold(&c, 9, 2000 * MS);
    leader_clock_hold(&c, 10, 2100 * MS); /* another cut */
    CU_ASSERT(!leader_clock_release(&c, 9) && leader_clock_held(&c, 2599 * MS));
    CU_ASSERT(!leader_clock_held(&c, 2600 * MS) && !leader_clock_release(&c, 10)); /* somebody may have stamped since */
    leader_clock_hold(&c, 11, 3000 * MS);
    leader_clock_end(&c);
    CU_ASSERT(!leader_clock_held(&c, 3000 * MS) && !leader_clock_release(&c, 11));
}

/* What a commit's timestamp was observed for may be lost with this leader; by the ceiling all go. */
static void what_expires_is_not_judged_by_a_time_above_the_ceiling(void)
{
    begin(0);
    leader_clock_observe(&c, (struct hlc){102}, QUESTION);
    CU_ASSERT(leader_clock_time(&c, &info).t == 102);
    stamp_observe(&c.stamp, (struct hlc){250}); /* a commit's */
    CU_ASSERT(leader_clock_time(&c, &info).t == 200 && stamp_take(&c.stamp, 1).t.t == 250);
    info.newest = (struct version){{250}, 0};
    CU_ASSERT(leader_clock_time(&c, &info).t == 250);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"a hold ends with its release, its time or the leadership",
         a_hold_ends_with_its_release_or_its_time_or_the_leadership},
        {"only an answer is fresh", only_an_answer_to_its_question_is_fresh},
        {"a late answer", a_late_answer_stamps_above_what_is_applied},
        {"from the ceiling", without_an_answer_it_goes_on_from_the_ceiling_and_says_so},
        {"nobody is waited for in vain", nobody_is_waited_for_in_vain},
        {"proposed again", what_cannot_be_proposed_is_tried_again},
        {"above the mark", the_next_leader_stamps_above_the_mark},
        {"a mark that stands", a_mark_that_stands_is_not_made_again},
        {"earlier levels", groups_of_earlier_levels_have_no_mark},
        {"leadership ends", leadership_ends},
        {"a time above the ceiling", what_expires_is_not_judged_by_a_time_above_the_ceiling},
    };
    return UNIT_MAIN("leader clock", cases);
}
