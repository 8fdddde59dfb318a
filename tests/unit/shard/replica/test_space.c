/* test_space.c: after a pass of collection that removed much, the machine is compacted beside the loop and its files are
 * smaller; a pass that removed little is not worth it; it can be stopped at any moment, before the machine is closed. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/sys/clock.h"
#include "common/sys/metrics.h"
#include "proto/pack.h"
#include "shard/replica/space.h"
#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/unit.h"

#define KEYS 1500
#define VALUE_BYTES 1000
#define SECOND_NS (1000 * CLOCK_NS_PER_MS)
#define MS ((uint64_t)1 << 16)

static struct machine m;
static uint64_t now; /* as the loop has it */

/* Values that do not compress, another one each time. */
static void put_keys(unsigned from, unsigned to)
{
    struct random random = {.state = m.index};
    char key[32], value[VALUE_BYTES + 1] = {0};
    for (unsigned i = from; i < to; i++) {
        for (size_t k = 0; k < VALUE_BYTES; k++)
            value[k] = (char)(1 + random_below(&random, 255));
        snprintf(key, sizeof key, "k%06u", i);
        machine_run(&m, machine_put(key, value));
    }
}

/* A whole pass, by what is there now. */
static void collect(void)
{
    uint64_t passes = fsm_info(m.fsm)->collected.passes;
    m.t += MS;
    Hf__Entry__CollectEntry e = HF__ENTRY__COLLECT_ENTRY__INIT;
    e.below = m.t;
    e.steps = 700;
    while (fsm_info(m.fsm)->collected.passes == passes) {
        struct buf bytes = {0};
        uint8_t opcode = FSM_OPCODE_COLLECT;
        buf_append(&bytes, &opcode, 1);
        pack_append(&e.base, &bytes);
        machine_apply_silent(&m, buf_slice(&bytes));
        buf_deinit(&bytes);
    }
}

static uint64_t counted(const char *name)
{
    struct buf text = {0};
    unsigned long long value = 0;
    metrics_write(&text);
    buf_append(&text, "", 1);
    const char *at = strstr((const char *)text.data, name);
    CU_ASSERT(at != NULL && sscanf(at + strlen(name), " %llu", &value) == 1);
    buf_deinit(&text);
    return value;
}

static uint64_t compactions(void)
{
    return counted("\nholdfast_collect_compactions_total{outcome=\"done\"}");
}

static struct fsm_extent extent(void)
{
    struct fsm_extent e = {0};
    CU_ASSERT_EQUAL(fsm_compact_extent(m.fsm, &e), HF_OK);
    return e;
}

static void turns(struct space *s, int count)
{
    for (int i = 0; i < count; i++)
        space_turn(s, m.fsm, now += SECOND_NS);
}

static void await(struct space *s)
{
    for (int i = 0; i < 20000 && space_running(s); i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        turns(s, 1);
    }
    CU_ASSERT(!space_running(s));
}

static void start(void)
{
    machine_start(&m, "", "", false);
    put_keys(0, KEYS);
    put_keys(0, KEYS);
    CU_ASSERT_EQUAL(fsm_flush(m.fsm), HF_OK);
}

static void room_comes_back(void)
{
    start();
    struct space *s = space_new();
    turns(s, 2);
    uint64_t done = compactions(), before = extent().bytes;
    CU_ASSERT(before > 2 * KEYS * VALUE_BYTES * 9 / 10);
    collect();
    CU_ASSERT_EQUAL(fsm_info(m.fsm)->collected.versions, KEYS);
    CU_ASSERT(extent().deletions >= KEYS); /* in memory */
    turns(s, 1);
    CU_ASSERT(space_running(s));
    space_turn(s, m.fsm, now); /* not looked at again at once */
    CU_ASSERT(space_running(s));
    put_keys(KEYS, KEYS + 10); /* the loop goes on */
    await(s);
    CU_ASSERT_EQUAL(compactions(), done + 1);
    CU_ASSERT(extent().bytes < before * 6 / 10);
    CU_ASSERT(counted("\nholdfast_collect_compacted_bytes_total") > before * 4 / 10);
    CU_ASSERT_EQUAL(extent().deletions, 0);
    CU_ASSERT(machine_holds(&m, "none", NULL));
    turns(s, 10); /* once a pass */
    CU_ASSERT(!space_running(s) && compactions() == done + 1);
    space_free(&s);
    space_free(&s);
    machine_stop(&m);
}

/* What is too little for one waits until there is more. */
static void not_worth_it(void)
{
    start();
    struct space *s = space_new();
    turns(s, 1);
    uint64_t done = compactions();
    collect();
    turns(s, 1);
    await(s);
    CU_ASSERT_EQUAL(compactions(), done + 1);
    for (int i = 0; i < 2; i++) {
        put_keys(0, 600);
        collect();
        turns(s, 1);
        CU_ASSERT_EQUAL(space_running(s), i == 1);
    }
    await(s);
    CU_ASSERT_EQUAL(compactions(), done + 2);
    space_free(&s);
    machine_stop(&m);
}

static void stopped(void)
{
    start();
    struct space *s = space_new();
    turns(s, 1);
    collect();
    turns(s, 1);
    CU_ASSERT(space_running(s));
    space_stop(s);
    CU_ASSERT(!space_running(s));
    machine_close(&m);
    machine_open(&m);
    turns(s, 5); /* what was removed before is RocksDB's */
    CU_ASSERT(!space_running(s));
    put_keys(0, KEYS);
    collect();
    turns(s, 1);
    CU_ASSERT(space_running(s));
    space_free(&s); /* stops too */
    machine_close(&m);
    machine_open(&m);
    machine_stop(&m);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"room comes back", room_comes_back},
        {"not worth it", not_worth_it},
        {"stopped", stopped},
    };
    return UNIT_MAIN("space", cases);
}
