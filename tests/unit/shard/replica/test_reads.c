/* test_reads.c: a read looks only when it may, and an answer leaves only while the lease still holds. */
#include "shard/replica/reads.h"

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/failpoint.h"
#include "tests/unit/shard/replica/fake_engine.h"
#include "tests/unit/unit.h"

static struct fake_engine engine;
static struct reads reads;
static size_t built, sent, failed, discarded;
static int fail_code;
static bool lose_lease_while_building, held;

static void build(void *ctx, struct replica_read *r)
{
    (void)ctx;
    (void)r;
    built++;
    if (lose_lease_while_building)
        engine.lease_ns = 1; /* as a pause of the process would */
}

static size_t built_bytes(void *ctx)
{
    (void)ctx;
    return 0;
}

static void discard(void *ctx)
{
    (void)ctx;
    discarded++;
}

static void send(void *ctx, struct replica_read *r)
{
    (void)ctx;
    (void)r;
    sent++;
}

static void fail(void *ctx, struct replica_read *r, int code)
{
    (void)ctx;
    (void)r;
    failed++;
    fail_code = code;
}

static void begin_case(uint64_t lease_ns, uint64_t commit)
{
    engine = (struct fake_engine){.lease_ns = lease_ns, .commit = commit};
    built = sent = failed = discarded = 0;
    lose_lease_while_building = held = false;
    struct reads_calls calls = {
        .build = build, .built_bytes = built_bytes, .discard = discard, .send = send, .fail = fail};
    reads_init(&reads, &calls);
}

static void begin(void)
{
    reads_begin(&reads, &fake_engine_ops, (struct engine *)(void *)&engine);
}

static void serve(uint64_t applied)
{
    reads_serve(&reads, &fake_engine_ops, (struct engine *)(void *)&engine, applied, held);
}

static uint64_t far(void)
{
    return clock_boot_ns() + 3600 * 1000 * CLOCK_NS_PER_MS;
}

static void under_the_lease_it_waits_for_what_was_committed(void)
{
    struct replica_read r = {0};
    begin_case(far(), 5);
    CU_ASSERT_EQUAL(reads_queue(&reads, &r), HF_OK);
    begin();
    serve(4);
    CU_ASSERT_EQUAL(built, 0);
    serve(5);
    CU_ASSERT_EQUAL(sent, 1);
    CU_ASSERT_EQUAL(reads.count, 0);
}

/* What waits for room is committed and acknowledged to nobody; below a timestamp it is to be seen all the same. */
static void while_apply_waits_for_room_only_the_latest_is_read(void)
{
    struct replica_read latest = {0}, at = {.at = {77}}, uncertain = {0};
    begin_case(far(), 5);
    engine.last = 7;
    held = true;
    CU_ASSERT_EQUAL(reads_queue(&reads, &latest), HF_OK);
    CU_ASSERT_EQUAL(reads_queue(&reads, &at), HF_OK);
    begin();
    serve(4);
    CU_ASSERT(sent == 1 && reads.count == 1);
    serve(6);
    CU_ASSERT(sent == 1 && reads.count == 1);
    serve(7);
    CU_ASSERT(sent == 2 && reads.count == 0);
    engine.lease_ns = 0;
    CU_ASSERT_EQUAL(reads_queue(&reads, &uncertain), HF_OK);
    begin();
    serve(7);
    CU_ASSERT(sent == 2 && reads.count == 1);
}

static void without_a_lease_it_waits_for_the_barrier(void)
{
    struct replica_read r = {0};
    begin_case(0, 5);
    CU_ASSERT_EQUAL(reads_queue(&reads, &r), HF_OK);
    begin();
    CU_ASSERT_EQUAL(engine.barrier, 1);
    serve(100);
    CU_ASSERT_EQUAL(built, 0);
    reads_barrier_ready(&reads, 1, 7);
    serve(6);
    CU_ASSERT_EQUAL(built, 0);
    serve(7);
    CU_ASSERT_EQUAL(sent, 1);
}

static void lose_the_lease(void)
{
    static struct replica_read r; /* outlives this function: it is read again later */
    r = (struct replica_read){0};
    begin_case(far(), 1);
    CU_ASSERT_EQUAL(reads_queue(&reads, &r), HF_OK);
    begin();
    lose_lease_while_building = true;
    serve(1);
}

static void an_answer_built_too_long_is_thrown_away(void)
{
    lose_the_lease();
    CU_ASSERT(built == 1 && sent == 0 && discarded == 1);
    lose_lease_while_building = false;
    begin(); /* it goes on by a barrier */
    reads_barrier_ready(&reads, engine.barrier, 1);
    serve(1);
    CU_ASSERT(built == 2 && sent == 1);
}

static void the_check_above_can_fail(void)
{
    failpoint_plant("reads.lease_unchecked");
    lose_the_lease();
    failpoint_plant(NULL);
    CU_ASSERT_EQUAL(sent, 1);
}

static void a_deposed_leader_cancels(void)
{
    struct replica_read a = {0}, b = {0};
    begin_case(0, 5);
    CU_ASSERT_EQUAL(reads_queue(&reads, &a), HF_OK);
    begin();
    CU_ASSERT_EQUAL(reads_queue(&reads, &b), HF_OK);
    reads_abandon(&reads, HF_E_NOT_LEADER);
    CU_ASSERT(failed == 2 && fail_code == HF_E_NOT_LEADER && reads.count == 0);
}

static void the_engine_refuses_and_deadlines_pass(void)
{
    struct replica_read a = {0}, b = {.deadline_ns = 10}, c = {.deadline_ns = 20};
    begin_case(0, 5);
    engine.barrier_code = HF_E_NOT_LEADER;
    CU_ASSERT_EQUAL(reads_queue(&reads, &a), HF_OK);
    begin();
    CU_ASSERT(failed == 1 && fail_code == HF_E_NOT_LEADER);
    engine.barrier_code = HF_OK;
    CU_ASSERT_EQUAL(reads_queue(&reads, &b), HF_OK);
    CU_ASSERT_EQUAL(reads_queue(&reads, &c), HF_OK);
    begin();
    reads_expire(&reads, 10);
    CU_ASSERT(failed == 2 && fail_code == HF_E_UNAVAILABLE && reads.count == 1);
    reads_deinit(&reads);
    CU_ASSERT_EQUAL(failed, 3);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"under the lease", under_the_lease_it_waits_for_what_was_committed},
        {"while apply waits for room only the latest is read", while_apply_waits_for_room_only_the_latest_is_read},
        {"behind a barrier", without_a_lease_it_waits_for_the_barrier},
        {"lease lost while building", an_answer_built_too_long_is_thrown_away},
        {"planted: lease unchecked", the_check_above_can_fail},
        {"deposed leader", a_deposed_leader_cancels},
        {"refused and expired", the_engine_refuses_and_deadlines_pass},
    };
    return UNIT_MAIN("reads", cases);
}
