/* test_simstore_compact.c: the simulator's store compacts by itself, and its filters see all that RocksDB's may: parts of
 * the truth. */
#include "common/base/error.h"
#include "common/base/random.h"
#include "tests/support/simstore.h"
#include "tests/unit/unit.h"

#define ROUNDS 400
#define KEYS 8

static struct simstore *medium;
static struct store *store;

/* What its judges came across. */
static struct {
    bool drops;
    unsigned jobs, seen, stale, deleted, gaps;
    char last; /* key that the job at hand saw last; 0: none */
} ctx;

static int newest[KEYS]; /* value of each key; 0: deleted */

static void *judge_begin(void *c)
{
    ctx.jobs++;
    ctx.last = 0;
    return c;
}

static bool judge_drop(void *judge, int level, struct slice key, struct slice value)
{
    must(judge == &ctx && level >= 0 && key.size == 1 && value.size == sizeof newest[0]);
    char k = (char)key.data[0];
    int v, now = newest[k - 'a'];
    memcpy(&v, value.data, sizeof v);
    must(k > ctx.last && v > 0);
    ctx.seen++;
    ctx.stale += now != 0 && now != v;
    ctx.deleted += now == 0;
    ctx.gaps += ctx.last != 0 && k > ctx.last + 1 && newest[ctx.last + 1 - 'a'] != 0;
    ctx.last = k;
    return ctx.drops && v % 3 == 0;
}

static void judge_end(void *judge)
{
    must(judge == &ctx);
}

static const struct store_filter filter = {.ctx = &ctx, .begin = judge_begin, .drop = judge_drop, .end = judge_end};

static void open_store(bool create)
{
    char where[256];
    struct store_config config = {.dir = "sim", .filter = &filter};
    must(store_open(&config, create, &store, where) == HF_OK);
}

static void start(bool drops)
{
    memset(&ctx, 0, sizeof ctx);
    memset(newest, 0, sizeof newest);
    ctx.drops = drops;
    medium = simstore_new("sim", 7);
    simstore_flush_permille(medium, 200);
    open_store(true);
}

static void stop(void)
{
    store_close(&store);
    simstore_free(&medium);
}

static void write_one(int i)
{
    struct random random = {.state = (uint64_t)i};
    unsigned k = (unsigned)random_below(&random, KEYS);
    char key = (char)('a' + k);
    struct store_batch *b = store_batch_new();
    newest[k] = random_below(&random, 4) == 0 ? 0 : i + 1;
    if (newest[k] == 0)
        store_batch_delete(b, slice_make(&key, 1));
    else
        store_batch_put(b, slice_make(&key, 1), slice_make(&newest[k], sizeof newest[k]));
    must(store_write(store, b) == HF_OK);
    store_batch_free(&b);
}

/* 0: not there. */
static int value_of(unsigned k)
{
    char key = (char)('a' + k);
    int v = 0;
    struct buf got = {0};
    if (store_get(store, slice_make(&key, 1), &got) == HF_OK)
        memcpy(&v, got.data, sizeof v);
    buf_deinit(&got);
    return v;
}

static void parts_of_the_truth(void)
{
    start(false);
    for (int i = 0; i < ROUNDS; i++)
        write_one(i);
    CU_ASSERT(ctx.jobs > 20 && ctx.seen > ctx.jobs);
    CU_ASSERT(ctx.stale > 0);   /* written over since */
    CU_ASSERT(ctx.deleted > 0); /* deleted since */
    CU_ASSERT(ctx.gaps > 0);    /* a neighbour lies elsewhere */
    for (unsigned k = 0; k < KEYS; k++)
        CU_ASSERT_EQUAL(value_of(k), newest[k]);
    stop();
}

/* A key holds its newest value or, if that may be dropped, nothing: never an older one, after a crash neither. */
static void nothing_older_comes_back(void)
{
    unsigned gone = 0;
    start(true);
    for (int i = 0; i < ROUNDS; i++) {
        write_one(i);
        for (unsigned k = 0; k < KEYS; k++) {
            int v = value_of(k);
            CU_ASSERT(v == newest[k] || (v == 0 && newest[k] % 3 == 0));
            gone += v != newest[k];
        }
        if (i % 50 != 49)
            continue;
        must(store_flush(store) == HF_OK);
        simstore_halt(medium);
        store_close(&store);
        simstore_crash(medium);
        open_store(false);
    }
    CU_ASSERT(gone > 0);
    stop();
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"parts of the truth", parts_of_the_truth},
        {"nothing older comes back", nothing_older_comes_back},
    };
    return UNIT_MAIN("simstore_compact", cases);
}
