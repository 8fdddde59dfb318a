/* test_readiness.c: who is ready, when it is withdrawn and why, and that being a little behind withdraws nothing. */
#include "shard/replica/readiness.h"

#include <string.h>

#include "tests/unit/unit.h"

static struct readiness r;

static void look(uint64_t applied)
{
    readiness_look(&r, applied, false, true);
}

static void begin_ready(uint64_t applied)
{
    readiness_init(&r);
    readiness_heard(&r, applied);
    look(applied);
    CU_ASSERT(r.ready);
}

static void test_a_start(void)
{
    readiness_init(&r);
    look(1000);
    CU_ASSERT(!r.ready && !readiness_healing(&r) && readiness_text(&r)[0]); /* no leader was heard */
    readiness_heard(&r, 50);
    readiness_heard(&r, 60); /* what came since is its leader's business */
    look(49);
    CU_ASSERT(!r.ready);
    readiness_look(&r, 50, false, false);
    CU_ASSERT(!r.ready);
    look(50);
    CU_ASSERT(r.ready && strcmp(readiness_text(&r), "") == 0);
    readiness_init(&r);
    readiness_look(&r, 7, true, true); /* a leader is its own witness */
    CU_ASSERT(r.ready);
}

static void test_a_little_behind(void)
{
    begin_ready(50);
    for (uint64_t commit = 51; commit < 5000; commit++) {
        readiness_heard(&r, commit);
        look(50);
        CU_ASSERT(r.ready);
    }
}

static void test_no_leader(void)
{
    begin_ready(50);
    readiness_look_at_time(&r, false, 1000, 1500);
    readiness_look_at_time(&r, false, 2499, 1500);
    CU_ASSERT(r.ready);
    readiness_heard(&r, UINT64_MAX); /* who says that a state is needed leads */
    readiness_look_at_time(&r, false, 2600, 1500);
    readiness_look_at_time(&r, false, 4099, 1500);
    CU_ASSERT(r.ready);
    readiness_look_at_time(&r, false, 4100, 1500);
    CU_ASSERT(!r.ready && r.why == READINESS_UNLED && !readiness_healing(&r) && !readiness_trouble(&r)[0]);
    look(50);
    CU_ASSERT(!r.ready);
    readiness_heard(&r, 70);
    look(69);
    CU_ASSERT(!r.ready);
    look(70);
    CU_ASSERT(r.ready);
    readiness_look_at_time(&r, true, 100000, 1500); /* it leads itself */
    CU_ASSERT(r.ready);
}

/* From the moment it is told until what a leader had committed behind the state is applied. */
static void test_a_state_is_needed(void)
{
    begin_ready(50);
    readiness_needs(&r, 900);
    CU_ASSERT(!r.ready && readiness_healing(&r) && readiness_trouble(&r)[0]);
    for (int beat = 0; beat < 100; beat++) {
        readiness_heard(&r, UINT64_MAX);
        readiness_needs(&r, 900 + (uint64_t)beat);
        look(50);
        CU_ASSERT(!r.ready);
    }
    readiness_installed(&r);
    look(1000);
    CU_ASSERT(!r.ready && readiness_healing(&r) && r.why == READINESS_CATCHES_UP);
    readiness_heard(&r, 1200);
    readiness_heard(&r, 1201);
    look(1199);
    CU_ASSERT(!r.ready);
    look(1200);
    CU_ASSERT(r.ready && !readiness_healing(&r));
}

/* Another leader has the log: what it knows to be committed may lie before the state that was asked for. */
static void test_a_need_that_the_log_ends(void)
{
    begin_ready(50);
    readiness_needs(&r, 900);
    readiness_heard(&r, 100);
    look(899);
    CU_ASSERT(!r.ready);
    look(900);
    CU_ASSERT(r.ready);
    readiness_needs(&r, 950); /* and again */
    CU_ASSERT(!r.ready);
    look(2000);
    CU_ASSERT(!r.ready);
}

static void test_damage(void)
{
    begin_ready(50);
    readiness_damaged(&r);
    readiness_heard(&r, 40);
    look(UINT64_MAX - 1);
    CU_ASSERT(!r.ready && readiness_healing(&r));
    readiness_installed(&r);
    readiness_heard(&r, 60);
    look(60);
    CU_ASSERT(r.ready);
}

int main(void)
{
    const struct unit_case cases[] = {
        {"a start", test_a_start},
        {"a little behind", test_a_little_behind},
        {"no leader", test_no_leader},
        {"a state is needed", test_a_state_is_needed},
        {"a need that the log ends", test_a_need_that_the_log_ends},
        {"damage", test_damage},
    };
    return UNIT_MAIN("readiness", cases);
}
