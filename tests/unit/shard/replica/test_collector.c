/* test_collector.c: when a leader raises its group's watermark and sweeps, and when it must not. */
#include "common/sys/clock.h"
#include "shard/replica/collector.h"
#include "shard/replica/leader_clock.h"
#include "tests/unit/unit.h"

#define MS CLOCK_NS_PER_MS
#define S (1000 * MS)

static struct collector c;
static struct fsm_info info;
static struct collector_step step;
static uint64_t now, said;

/* A group that was written to at `newest_ms`; 100 s of retention, and nobody holds anything back. */
static void begin(uint64_t newest_ms)
{
    c = (struct collector){.retention_ms = 100000};
    info = (struct fsm_info){.feature_level = FSM_FEATURE_LEVEL, .newest = {hlc_from_ms(newest_ms), 65536}};
    now = 1000 * S;
    collector_retain(&c, hlc_from_ms(UINT64_C(1) << 40), hlc_from_ms(++said), now);
}

static bool due(uint64_t time_ms)
{
    now += S;
    return collector_due(&c, &info, hlc_from_ms(time_ms), now, &step);
}

static void it_stays_behind_time_by_retention(void)
{
    begin(1000);
    CU_ASSERT(!due(100000)); /* nothing is that old */
    CU_ASSERT(!due(104000)); /* in steps */
    CU_ASSERT(due(200000) && hlc_ms(step.below) == 100000 && step.steps == COLLECTOR_STEPS);
    info.collected = (struct fsm_collected){.below = step.below, .pass = step.below};
    CU_ASSERT(due(200001) && step.below.t == info.collected.below.t && step.steps > 0); /* the pass goes on */
    info.collected.pass.t = 0;
    info.collected.swept = step.below;
    CU_ASSERT(!due(200002));
    CU_ASSERT(due(206000) && hlc_ms(step.below) == 106000 && step.steps == 0); /* nothing was written since */
}

static void it_never_goes_down_and_never_passes_what_is_retained(void)
{
    begin(1000);
    collector_retain(&c, hlc_from_ms(60000), hlc_from_ms(++said), now);
    CU_ASSERT(due(200000) && hlc_ms(step.below) == 60000);
    info.collected.below = step.below;
    collector_retain(&c, hlc_from_ms(50000), hlc_from_ms(++said), now);
    info.collected.swept = step.below;
    CU_ASSERT(!due(900000));
    collector_retain(&c, (struct hlc){0}, hlc_from_ms(++said), now); /* a coordinator that does not know yet */
    CU_ASSERT(!due(900000));
    collector_retain(&c, hlc_from_ms(300000), hlc_from_ms(++said), now);
    CU_ASSERT(due(900000) && hlc_ms(step.below) == 300000);
}

static void an_older_word_is_not_heard(void)
{
    begin(1000);
    collector_retain(&c, hlc_from_ms(60000), hlc_from_ms(said + 10), now);
    collector_retain(&c, hlc_from_ms(90000), hlc_from_ms(said + 9), now); /* of one who was active before, late */
    CU_ASSERT(due(200000) && hlc_ms(step.below) == 60000);
    collector_end(&c);
    collector_retain(&c, hlc_from_ms(90000), hlc_from_ms(said + 9),
                     now); /* to a leader of a later term it is the first */
    CU_ASSERT(due(200000) && hlc_ms(step.below) == 90000);
}

static void without_a_word_nothing_is_raised_but_a_pass_goes_on(void)
{
    begin(1000);
    collector_end(&c); /* it was said to another leader */
    CU_ASSERT(!due(900000));
    collector_retain(&c, hlc_from_ms(800000), hlc_from_ms(++said), now);
    CU_ASSERT(due(900000));
    now += 11 * S; /* the word is old */
    CU_ASSERT(!due(900000));
    info.collected.pass = info.collected.below = hlc_from_ms(5000);
    CU_ASSERT(due(900000) && hlc_ms(step.below) == 5000 && step.steps > 0);
    CU_ASSERT(due(0) && step.steps > 0); /* also of a leader that has no time yet */
}

static void one_entry_at_a_time(void)
{
    begin(1000);
    info.applied.index = 7;
    CU_ASSERT(due(200000));
    collector_proposed(&c, 9);
    CU_ASSERT(!due(300000));
    info.applied.index = 9;
    CU_ASSERT(due(300000));
    info.collected.pass = info.collected.below = step.below;
    CU_ASSERT(!collector_due(&c, &info, hlc_from_ms(300000), now + MS, &step)); /* and not at once */
    CU_ASSERT(collector_due(&c, &info, hlc_from_ms(300000), now + COLLECTOR_STEP_MS * MS, &step));
}

static void a_pass_is_made_for_something(void)
{
    begin(150000);
    info.collected = (struct fsm_collected){.below = hlc_from_ms(200000), .swept = hlc_from_ms(200000)};
    CU_ASSERT(due(900000) && step.steps == 0);
    info.collected.due = hlc_from_ms(850000);
    CU_ASSERT(due(900000) && step.steps == 0); /* not expired at the watermark */
    info.collected.due = hlc_from_ms(700000);
    CU_ASSERT(due(900000) && step.steps > 0);
    info.collected.due.t = 0;
    info.newest.t = hlc_from_ms(890000);
    CU_ASSERT(due(900000) && step.steps > 0);
    info.collected.swept = info.collected.below = hlc_from_ms(790000); /* a pass ended a moment ago */
    CU_ASSERT(due(900000) && step.steps == 0);
    CU_ASSERT(due(916000) && step.steps > 0);
}

static void an_earlier_level_is_left_alone(void)
{
    begin(1000);
    info.feature_level = FSM_FEATURE_COLLECT - 1;
    CU_ASSERT(!due(900000));
}

static void a_new_leader_stamps_above_the_watermark(void)
{
    struct leader_clock clock = {0};
    begin(1000);
    info.collected.below = hlc_from_ms(2000);
    leader_clock_begin(&clock, &info, 1, now);
    struct version v = stamp_take(&clock.stamp, 1);
    CU_ASSERT(v.t.t >= info.collected.below.t);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"it stays behind time by retention", it_stays_behind_time_by_retention},
        {"it never goes down and never passes what is retained", it_never_goes_down_and_never_passes_what_is_retained},
        {"an older word is not heard", an_older_word_is_not_heard},
        {"without a word nothing is raised but a pass goes on", without_a_word_nothing_is_raised_but_a_pass_goes_on},
        {"one entry at a time", one_entry_at_a_time},
        {"a pass is made for something", a_pass_is_made_for_something},
        {"an earlier level is left alone", an_earlier_level_is_left_alone},
        {"a new leader stamps above the watermark", a_new_leader_stamps_above_the_watermark},
    };
    return UNIT_MAIN("collector", cases);
}
