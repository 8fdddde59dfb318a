/* test_publish.c: the order of a publish and every failure of a step: the pointer is never ahead of what is durable, the log
 * never cut past it (I4). The machine, the token's file and the engine are a few variables here. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "tests/unit/shard/replica/publish_world.h"
#include "tests/unit/unit.h"

static void test_order(void)
{
    begin((struct publish_config){.every_entries = 100, .trailing = 10}, 1, 1);
    apply(99, 50);
    turns(5);
    CU_ASSERT(world.flushes == 0 && world.token == 1);
    apply(1, 50);
    turns(1);
    CU_ASSERT(world.flushes == 1 && world.flushing == 101);
    apply(20, 50);
    turns(5);
    CU_ASSERT(world.token == 1 && world.base == 1); /* not before it is durable */
    CU_ASSERT(publish_state(publish).running);
    flushed();
    turns(3);
    CU_ASSERT(world.token == 101 && world.base == 91 && world.trims == 1 && world.flushes == 1);
    CU_ASSERT(!publish_state(publish).running && publish_state(publish).index == 101);
    turns(200);
    CU_ASSERT(world.token == 101 && world.flushes == 1); /* nothing more is due */
    end();
}

static void test_log_bytes(void)
{
    begin((struct publish_config){.every_bytes = 64000, .trailing = 1000000}, 1, 1);
    apply(63, 1000 - 32);
    turns(3);
    CU_ASSERT(world.flushes == 0);
    apply(1, 1000);
    turns(1);
    flushed();
    turns(3);
    CU_ASSERT(world.token == 65 && world.base <= 2); /* fewer bytes than may be kept */
    apply(128, 1000 - 32);
    turns(1);
    flushed();
    turns(3);
    CU_ASSERT(world.token == 193);
    CU_ASSERT(world.base >= 193 - 66 && world.base <= 193 - 62); /* no more than every_bytes are kept behind it */
    end();
}

/* A member that is alive and late is waited for, up to four times as long; one that is dead is not. */
static void test_late_followers(void)
{
    begin((struct publish_config){.every_bytes = 64000}, 1, 1);
    world.match = 20;
    world.active = true;
    apply(100, 1000 - 32);
    publish_now();
    CU_ASSERT(world.token == 101 && world.base == 20);
    apply(300, 1000 - 32);
    publish_now();
    CU_ASSERT(world.token == 401 && world.base >= 401 - 258 && world.base <= 401 - 254);
    world.match = 400;
    publish_now();
    CU_ASSERT(world.base == 400);
    world.match = 300;
    world.active = false;
    apply(100, 1000 - 32);
    publish_now();
    CU_ASSERT(world.token == 501 && world.base == 501);
    end();
}

static void test_configuration_and_operator(void)
{
    begin((struct publish_config){.trailing = 0}, 1, 1);
    world.applied = 2;
    publish_applied(publish, 2, 10, true);
    turns(1);
    flushed();
    turns(2);
    CU_ASSERT(world.token == 2 && world.base == 2);
    apply(5, 10);
    snapshot_publish(publish, PUBLISH_OPERATOR);
    turns(1);
    flushed();
    turns(2);
    CU_ASSERT(world.token == 7 && world.base == 7);
    end();
}

/* While a state is on its way the log behind it is kept, but not for ever. */
static void test_hold(void)
{
    begin((struct publish_config){.every_bytes = 64000}, 1, 1);
    publish_hold(publish, true);
    apply(100, 1000 - 32);
    publish_now();
    CU_ASSERT(world.token == 101 && world.base == 1);
    world.log_bytes = UINT64_C(16) * 64000;
    publish_now();
    CU_ASSERT(world.base == 101);
    world.log_bytes = 0;
    apply(100, 1000 - 32);
    publish_now();
    CU_ASSERT(world.token == 201 && world.base == 101);
    publish_hold(publish, false);
    publish_now();
    CU_ASSERT(world.base == 201);
    end();
}

/* What is asked for while a publish runs is done after it, once. */
static void test_requests_coalesce(void)
{
    begin((struct publish_config){.trailing = 0}, 1, 1);
    apply(10, 10);
    snapshot_publish(publish, PUBLISH_OPERATOR);
    turns(1);
    apply(10, 10);
    snapshot_publish(publish, PUBLISH_OPERATOR);
    snapshot_publish(publish, PUBLISH_CONFIG);
    apply(10, 10);
    turns(1);
    flushed(); /* up to 11 */
    turns(2);
    CU_ASSERT(world.token == 11);
    flushed(); /* up to 31, which covers 21 */
    turns(2);
    CU_ASSERT(world.token == 31 && world.flushes == 2);
    turns(100);
    CU_ASSERT(world.flushes == 2 && !publish_state(publish).running);
    end();
}

/* Durable applied may come to be above what was wanted, by a flush of RocksDB's own. */
static void test_a_flush_of_its_own(void)
{
    begin((struct publish_config){.every_entries = 10}, 1, 1);
    world.stuck = true; /* one is on its way: another would wait */
    apply(10, 10);
    turns(3);
    CU_ASSERT(world.flushes == 0);
    apply(3, 10);
    world.stuck = false;
    world.durable = 12;
    turns(2);
    CU_ASSERT(world.token == 12 && world.flushes == 0);
    end();
}

static void test_flush_fails(void)
{
    begin((struct publish_config){.every_entries = 10}, 1, 1);
    world.flush_code = HF_E_IO;
    apply(10, 10);
    turns(3);
    CU_ASSERT(world.flushes == 1 && world.token == 1 && world.base == 1); /* then a pause */
    turns(200);
    CU_ASSERT(world.flushes == 2 && world.token == 1);
    world.flush_code = HF_OK;
    turns(200);
    CU_ASSERT(world.flushes == 3);
    world.flushing = 0; /* it began and came to nothing */
    turns(1);
    CU_ASSERT(world.token == 1 && world.base == 1);
    turns(200);
    CU_ASSERT(world.flushes == 4);
    flushed();
    turns(3);
    CU_ASSERT(world.token == 11 && world.base == 11);
    end();
}

static void test_durable_cannot_be_read(void)
{
    begin((struct publish_config){.every_entries = 10}, 1, 1);
    world.durable_code = HF_E_IO;
    apply(10, 10);
    turns(300);
    CU_ASSERT(world.token == 1 && world.base == 1);
    world.durable_code = HF_OK;
    world.described_code = HF_E_CORRUPT;
    turns(200);
    flushed();
    turns(300);
    CU_ASSERT(world.token == 1 && world.base == 1);
    world.described_code = HF_OK;
    turns(300);
    CU_ASSERT(world.token == 11 && world.base == 11);
    end();
}

static struct {
    int calls, code;
    uint64_t index, log_first;
} told;

static void tell(void *ctx, struct publish_wait *w, int code, uint64_t index)
{
    (void)ctx, (void)w;
    told.calls++;
    told.code = code;
    told.index = index;
    told.log_first = publish_state(publish).log_first;
}

static void test_token_fails(void)
{
    struct publish_wait w = {.deadline_ns = UINT64_MAX, .done = tell};
    begin((struct publish_config){.trailing = 0}, 1, 1);
    world.token_code = HF_E_NO_SPACE;
    apply(10, 10);
    memset(&told, 0, sizeof told);
    publish_wait(publish, &w);
    turns(1);
    flushed();
    turns(3);
    CU_ASSERT(told.calls == 1 && told.code == HF_E_NO_SPACE);
    CU_ASSERT(world.token == 1 && world.base == 1 && world.trims == 0);
    world.token_code = HF_OK;
    turns(300); /* tried again by itself */
    CU_ASSERT(world.token == 11 && world.base == 11);
    end();
}

static void test_trim_fails(void)
{
    begin((struct publish_config){.every_entries = 10}, 1, 1);
    world.trim_code = HF_E_IO;
    apply(10, 10);
    turns(1);
    flushed();
    turns(3);
    CU_ASSERT(world.token == 11 && world.base == 1);
    world.trim_code = HF_OK;
    apply(10, 10);
    turns(300);
    flushed();
    turns(300);
    CU_ASSERT(world.token == 21 && world.base == 21);
    end();
}

static void test_who_waits(void)
{
    struct publish_wait w = {.deadline_ns = UINT64_MAX, .done = tell}, late = {.deadline_ns = 1, .done = tell};
    begin((struct publish_config){.trailing = 0}, 1, 1);
    memset(&told, 0, sizeof told);
    apply(3, 10);
    publish_wait(publish, &w);
    turns(1);
    CU_ASSERT(told.calls == 0);
    flushed();
    turns(2);
    CU_ASSERT(told.calls == 1 && told.code == HF_OK && told.index == 4 && told.log_first == 5);
    publish_wait(publish, &late);
    turns(1);
    CU_ASSERT(told.calls == 2 && told.code == HF_E_TIMEOUT);
    publish_wait(publish, &w); /* nothing new is applied: the pointer is written once more */
    turns(3);
    CU_ASSERT(told.calls == 3 && told.code == HF_OK && told.index == 4);
    publish_pause(publish);
    publish_wait(publish, &w);
    CU_ASSERT(told.calls == 4 && told.code == HF_E_NOT_READY);
    end();
}

static void test_replay_budget(void)
{
    begin((struct publish_config){.replay_budget = 64000}, 1, 1);
    apply(31, 1000 - 32);
    turns(100);
    CU_ASSERT(world.flushes == 0 && publish_state(publish).replay_bytes <= 32000);
    apply(2, 1000);
    turns(2);
    CU_ASSERT(world.flushes == 1 && !publish_full(publish));
    apply(31, 1000);
    CU_ASSERT(publish_full(publish));
    turns(100);
    CU_ASSERT(publish_full(publish) && world.flushes == 1);
    flushed(); /* the first 33 */
    turns(50);
    CU_ASSERT(!publish_full(publish) && publish_state(publish).replay_bytes <= 33000);
    CU_ASSERT(world.token == 1 && world.trims == 0); /* no pointer moves for it */
    end();
}

/* A pointer that was left behind by the last life is brought up to date at once: nobody counted the log since it. */
static void test_start(void)
{
    begin((struct publish_config){.every_bytes = 1000000, .every_entries = 1000}, 50, 20);
    turns(3);
    CU_ASSERT(world.token == 50 && world.flushes == 0);
    end();
    begin((struct publish_config){0}, 50, 20); /* not if nothing is ever published */
    turns(100);
    CU_ASSERT(world.token == 20);
    end();
    begin((struct publish_config){.every_entries = 10}, 50,
          70); /* an older machine was put back: it is replayed first */
    apply(19, 10);
    turns(1);
    flushed();
    turns(50);
    CU_ASSERT(world.token == 70);
    apply(2, 10);
    turns(300);
    flushed();
    turns(300);
    CU_ASSERT(world.token == 71);
    end();
}

/* Copied from elsewhere: if it were taken for ours, nothing would be published before its index is applied here. */
static void test_a_foreign_token(void)
{
    struct token ours = found;
    for (int i = 0; i < 3; i++) {
        (void)(i == 0 ? found.cluster++ : i == 1 ? found.group++ : found.log_epoch++);
        begin((struct publish_config){0}, 50, 5000);
        CU_ASSERT_EQUAL(publish_state(publish).index, 0);
        apply(10, 10);
        publish_now();
        CU_ASSERT(world.token == 60 && world.base == 60);
        end();
        found = ours;
    }
}

/* What the last life left in the log is counted like what this one wrote: followers that were away find it. */
static void test_a_start_keeps_what_is_kept(void)
{
    const struct publish_config config = {.every_bytes = 64000, .every_entries = 1000, .trailing = 50};
    for (uint64_t size = 500; size <= 5000; size += 4500) {
        begin(config, 1000, 900);
        for (uint64_t i = 1; i <= 1000; i++)
            world.sizes[i] = size;
        turns(3);
        CU_ASSERT(world.token == 1000 && world.trims == 1);
        CU_ASSERT(world.base == (size == 500 ? 950 : 1000 - 64000 / 5000)); /* but no more than every_bytes */
        apply(1, 500);
        publish_now();
        CU_ASSERT(world.base == (size == 500 ? 951 : 1000 - (64000 - 532) / 5000));
        end();
    }
    begin((struct publish_config){.every_bytes = 64000}, 1000, 900);
    for (uint64_t i = 1; i <= 1000; i++)
        world.sizes[i] = 1000;
    world.match = 500; /* who is alive is waited for four times as long */
    world.active = true;
    turns(3);
    CU_ASSERT(world.token == 1000 && world.base == 1000 - 4 * 64);
    end();
}

static void test_paused_while_a_machine_is_replaced(void)
{
    begin((struct publish_config){.every_entries = 10, .trailing = 5}, 1, 1);
    apply(10, 10);
    turns(1);
    publish_pause(publish);
    directory.fsm = NULL;
    turns(100);
    CU_ASSERT(world.token == 1 && publish_deadline(publish) == UINT64_MAX);
    directory.fsm = (struct fsm *)(void *)&world;
    world.applied = world.durable = world.token = 500;
    world.base = 500;
    world.flushing = 0;
    publish_resume(publish, 500);
    turns(100);
    CU_ASSERT(publish_state(publish).index == 500 && world.flushes == 1);
    apply(10, 10);
    turns(1);
    flushed();
    turns(3);
    CU_ASSERT(world.token == 510 && world.base == 505);
    end();
}

/* What I4 rests on is asserted: a token made of the live machine ends the process. */
static void test_a_token_ahead_is_a_bug(void)
{
    pid_t child = fork();
    if (child == 0) {
        fclose(stderr);
        begin((struct publish_config){.every_entries = 10}, 1, 1);
        failpoint_plant("publish.live_token");
        apply(10, 10);
        turns(1);
        apply(5, 10);
        flushed(); /* up to 11; 16 are applied */
        turns(3);
        _exit(0);
    }
    int how = 0;
    CU_ASSERT(waitpid(child, &how, 0) == child && WIFSIGNALED(how) && WTERMSIG(how) == SIGABRT);
}

int main(void)
{
    const struct unit_case cases[] = {
        {"order", test_order},
        {"log bytes", test_log_bytes},
        {"late followers", test_late_followers},
        {"hold", test_hold},
        {"configuration and operator", test_configuration_and_operator},
        {"requests coalesce", test_requests_coalesce},
        {"a flush of its own", test_a_flush_of_its_own},
        {"flush fails", test_flush_fails},
        {"durable cannot be read", test_durable_cannot_be_read},
        {"token fails", test_token_fails},
        {"trim fails", test_trim_fails},
        {"who waits", test_who_waits},
        {"replay budget", test_replay_budget},
        {"start", test_start},
        {"a foreign token", test_a_foreign_token},
        {"a start keeps what is kept", test_a_start_keeps_what_is_kept},
        {"paused while a machine is replaced", test_paused_while_a_machine_is_replaced},
        {"a token ahead is a bug", test_a_token_ahead_is_a_bug},
    };
    return UNIT_MAIN("publish", cases);
}
