/* test_store_compact.c: what a filter is asked and what becomes of what it drops; compactions on demand beside writes,
 * iterators and closing; how large a range is. */
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/base/random.h"
#include "shard/store/store.h"
#include "tests/unit/unit.h"

#define KEYS 2000
#define VALUE_BYTES 1000
#define WAIT_MS 20000
#define HELD_AT 20
#define FULL_TIMES 20 /* that nothing more fits, before the disk counts as full: RocksDB gives back what it reserved */
#define SMALL_DISK "size=24m"
#define BIG_KEYS 160000 /* several files of the deepest level, more than one piece */

static char dir[64];
static struct store *store;

/* Drops what ends in an odd digit, by the sum of what its judges saw. */
static struct {
    atomic_bool on, slow, held; /* held: a job does not come further than HELD_AT */
    atomic_uint begun, ended, seen, dropped, unordered;
} ctx;

struct judge {
    char last[32];
};

static void *judge_begin(void *c)
{
    must(c == &ctx);
    atomic_fetch_add(&ctx.begun, 1);
    if (atomic_load(&ctx.on)) {
        struct judge *j = calloc(1, sizeof *j);
        must(j != NULL);
        return j;
    }
    atomic_fetch_add(&ctx.ended, 1);
    return NULL;
}

static bool judge_drop(void *judge, int level, struct slice key, struct slice value)
{
    struct judge *j = judge;
    must(level >= 0 && level < 7 && key.size < sizeof j->last && value.size <= VALUE_BYTES);
    atomic_fetch_add(&ctx.seen, 1);
    if (slice_compare(slice_text(j->last), key) >= 0)
        atomic_fetch_add(&ctx.unordered, 1);
    memset(j->last, 0, sizeof j->last);
    memcpy(j->last, key.data, key.size);
    if (atomic_load(&ctx.slow))
        usleep(1000);
    while (atomic_load(&ctx.held) && ctx.seen >= HELD_AT)
        usleep(100);
    bool odd = (key.data[key.size - 1] & 1) != 0;
    atomic_fetch_add(&ctx.dropped, odd);
    return odd;
}

static void judge_end(void *judge)
{
    free(judge);
    atomic_fetch_add(&ctx.ended, 1);
}

static const struct store_filter filter = {.ctx = &ctx, .begin = judge_begin, .drop = judge_drop, .end = judge_end};

static void open_store(uint64_t buffer_bytes)
{
    char where[256];
    struct store_config config = {.dir = dir, .buffer_bytes = buffer_bytes, .filter = &filter};
    must(store_open(&config, true, &store, where) == HF_OK);
}

static void start(uint64_t buffer_bytes)
{
    snprintf(dir, sizeof dir, "/tmp/hf-compact-XXXXXX");
    must(mkdtemp(dir) != NULL);
    ctx.begun = ctx.ended = ctx.seen = ctx.dropped = ctx.unordered = 0; /* each is atomic: a whole would not be */
    ctx.slow = ctx.held = false;
    ctx.on = true;
    open_store(buffer_bytes);
}

static void stop(void)
{
    char where[256];
    store_close(&store);
    CU_ASSERT_EQUAL(ctx.unordered, 0);
    CU_ASSERT_EQUAL(ctx.begun, ctx.ended);
    must(store_destroy(dir, where) == HF_OK);
    rmdir(dir);
}

static struct slice key_of(unsigned i, char out[16])
{
    return slice_make(out, (size_t)snprintf(out, 16, "k%06u", i));
}

/* Values that do not compress. */
static void put_keys(unsigned from, unsigned to)
{
    struct random random = {.state = from + 1};
    uint64_t value[VALUE_BYTES / sizeof(uint64_t)];
    char key[16];
    struct store_batch *b = store_batch_new();
    for (unsigned i = from; i < to; i++) {
        for (size_t k = 0; k < VALUE_BYTES / sizeof value[0]; k++)
            value[k] = random_next(&random);
        store_batch_put(b, key_of(i, key), slice_make(value, sizeof value));
        if (i % 100 == 99 || i + 1 == to) {
            must(store_write(store, b) == HF_OK);
            store_batch_clear(b);
        }
    }
    store_batch_free(&b);
}

static void delete_keys(unsigned from, unsigned to)
{
    char key[16];
    struct store_batch *b = store_batch_new();
    for (unsigned i = from; i < to; i++)
        store_batch_delete(b, key_of(i, key));
    must(store_write(store, b) == HF_OK);
    store_batch_free(&b);
}

static unsigned count_keys(struct store_iterator *it)
{
    unsigned n = 0;
    for (store_iterator_seek(it, slice_text("")); store_iterator_valid(it); store_iterator_next(it))
        n++;
    CU_ASSERT_EQUAL(store_iterator_status(it), HF_OK);
    return n;
}

static unsigned count(void)
{
    struct store_iterator *it = store_iterator_new(store, false);
    unsigned n = count_keys(it);
    store_iterator_free(&it);
    return n;
}

static int compact(struct slice from, struct slice to)
{
    struct store_compaction *c = NULL;
    int rc = store_compact_begin(store, from, to, &c);
    if (rc != HF_OK)
        return rc;
    for (int i = 0; i < WAIT_MS && !store_compact_done(c); i++)
        usleep(1000);
    CU_ASSERT(store_compact_done(c));
    return store_compact_end(&c);
}

static int compact_all(void)
{
    return compact(slice_text(""), slice_text(""));
}

static uint64_t files_bytes(void)
{
    return store_property(store, "rocksdb.live-sst-files-size");
}

/* Nothing is dropped by flushes; the compaction that enough of them lead to drops, without being asked. */
static void not_at_a_flush(void)
{
    start(0);
    for (unsigned i = 0; i < 7; i++) {
        put_keys(0, 10);
        must(store_flush(store) == HF_OK);
    }
    CU_ASSERT_EQUAL(ctx.begun, 0);
    CU_ASSERT_EQUAL(count(), 10);
    put_keys(0, 10);
    must(store_flush(store) == HF_OK);
    for (int i = 0; i < WAIT_MS && count() != 5; i++)
        usleep(1000);
    CU_ASSERT_EQUAL(count(), 5);
    CU_ASSERT_EQUAL(ctx.seen, 10); /* once a key, whatever was written over */
    put_keys(0, 10);
    must(store_flush(store) == HF_OK);
    CU_ASSERT_EQUAL(count(), 10);
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    CU_ASSERT_EQUAL(count(), 5);
    stop();
}

/* A judge that is not made drops nothing; the next job is asked anew. */
static void jobs_without_a_judge(void)
{
    start(0);
    ctx.on = false;
    put_keys(0, 10);
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    CU_ASSERT(ctx.begun > 0 && ctx.seen == 0);
    CU_ASSERT_EQUAL(count(), 10);
    ctx.on = true;
    CU_ASSERT_EQUAL(compact_all(), HF_OK); /* though nothing was written: the deepest level too */
    CU_ASSERT_EQUAL(count(), 5);
    stop();
}

/* What is deleted does not reach the judge; a record written over is seen as it is now. */
static void deleted_and_written_over(void)
{
    start(0);
    put_keys(0, 10);
    must(store_flush(store) == HF_OK);
    delete_keys(0, 5);
    put_keys(6, 8);
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    CU_ASSERT_EQUAL(ctx.seen, 5);
    CU_ASSERT_EQUAL(count(), 2);
    char key[16];
    struct buf got = {0};
    CU_ASSERT_EQUAL(store_get(store, key_of(6, key), &got), HF_OK);
    CU_ASSERT_EQUAL(store_get(store, key_of(7, key), &got), HF_E_NOT_FOUND);
    store_close(&store);
    open_store(0);
    CU_ASSERT_EQUAL(count(), 2);
    CU_ASSERT_EQUAL(store_get_durable(store, key_of(7, key), &got), HF_E_NOT_FOUND);
    buf_deinit(&got);
    stop();
}

static void room_comes_back(void)
{
    struct store_extent all, half;
    char key[16];
    start(256 << 10);
    ctx.on = false;
    put_keys(0, KEYS);
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    uint64_t full = files_bytes();
    CU_ASSERT(full > (uint64_t)KEYS * VALUE_BYTES);
    CU_ASSERT_EQUAL(store_compact_extent(store, slice_text(""), slice_text(""), &all), HF_OK);
    CU_ASSERT(all.bytes > full * 9 / 10 && all.bytes < full * 11 / 10);
    CU_ASSERT_EQUAL(all.entries, KEYS);
    CU_ASSERT_EQUAL(all.deletions, 0);
    CU_ASSERT_EQUAL(store_compact_extent(store, key_of(KEYS / 2, key), slice_text(""), &half), HF_OK);
    CU_ASSERT(half.bytes > full * 4 / 10 && half.bytes < full * 6 / 10);
    CU_ASSERT_EQUAL(store_compact_extent(store, slice_text("l"), slice_text(""), &half), HF_OK);
    CU_ASSERT(half.bytes == 0 && half.entries == 0);
    delete_keys(0, KEYS / 2);
    must(store_flush(store) == HF_OK);
    CU_ASSERT_EQUAL(store_compact_extent(store, slice_text(""), slice_text(""), &all), HF_OK);
    CU_ASSERT_EQUAL(all.deletions, KEYS / 2);
    CU_ASSERT_EQUAL(compact(slice_text(""), key_of(KEYS / 2, key)), HF_OK);
    CU_ASSERT(files_bytes() < full * 6 / 10);
    CU_ASSERT_EQUAL(store_compact_extent(store, slice_text(""), slice_text(""), &all), HF_OK);
    CU_ASSERT_EQUAL(all.deletions, 0);
    ctx.on = true;
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    CU_ASSERT_EQUAL(count(), KEYS / 4);
    CU_ASSERT(files_bytes() < full * 3 / 10);
    stop();
}

/* An iterator shows what was there when it was made, dropped since or not. */
static void beside_iterators(void)
{
    start(0);
    put_keys(0, 100);
    struct store_iterator *early = store_iterator_new(store, false), *at = store_iterator_new(store, false);
    char key[16];
    store_iterator_seek(at, key_of(51, key));
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    CU_ASSERT_EQUAL(count(), 50);
    CU_ASSERT_EQUAL(count_keys(early), 100);
    CU_ASSERT(store_iterator_valid(at) && slice_equal(store_iterator_key(at), slice_text("k000051")));
    store_iterator_next(at);
    store_iterator_next(at);
    CU_ASSERT(store_iterator_valid(at) && slice_equal(store_iterator_key(at), slice_text("k000053")));
    store_iterator_free(&early);
    store_iterator_free(&at);
    stop();
}

static struct store_compaction *begin_slowly(void)
{
    struct store_compaction *c = NULL, *second = NULL;
    ctx.slow = true;
    CU_ASSERT_EQUAL_FATAL(store_compact_begin(store, slice_text(""), slice_text(""), &c), HF_OK);
    for (int i = 0; i < WAIT_MS && ctx.seen < 10; i++)
        usleep(1000);
    CU_ASSERT(!store_compact_done(c));
    CU_ASSERT_EQUAL(store_compact_begin(store, slice_text(""), slice_text(""), &second), HF_E_BUSY);
    CU_ASSERT(second == NULL);
    return c;
}

/* The loop goes on while a compaction does; what is written after it began is not lost. */
static void beside_writes(void)
{
    start(0);
    put_keys(0, 1000);
    struct store_compaction *c = begin_slowly();
    unsigned seen = ctx.seen;
    put_keys(1000, 1100);
    delete_keys(0, 100);
    must(store_flush(store) == HF_OK);
    CU_ASSERT_EQUAL(count(), 1000);
    CU_ASSERT(!store_compact_done(c) && ctx.seen < seen + 500); /* none of this waited for it */
    ctx.slow = false;
    while (!store_compact_done(c))
        sched_yield();
    CU_ASSERT_EQUAL(store_compact_end(&c), HF_OK);
    CU_ASSERT(c == NULL);
    CU_ASSERT_EQUAL(count(), 550);
    stop();
}

/* Cancelled: nothing is lost, nothing has gone, and the store compacts again. */
static void cancelled(void)
{
    start(0);
    put_keys(0, KEYS);
    struct store_compaction *c = begin_slowly();
    CU_ASSERT_EQUAL(store_compact_end(&c), HF_E_AGAIN);
    CU_ASSERT(c == NULL && ctx.seen < KEYS / 2);
    CU_ASSERT_EQUAL(count(), KEYS);
    c = begin_slowly();
    CU_ASSERT_EQUAL(store_compact_end(&c), HF_E_AGAIN);
    ctx.slow = false;
    store_close(&store);
    open_store(0);
    CU_ASSERT_EQUAL(count(), KEYS);
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    CU_ASSERT_EQUAL(count(), KEYS / 2);
    CU_ASSERT_EQUAL(store_compact_begin(store, slice_text(""), slice_text(""), &c), HF_OK);
    (void)store_compact_end(&c); /* whichever is first */
    CU_ASSERT_EQUAL(count(), KEYS / 2);
    stop();
}

/* Takes all but `left` bytes of the disk. */
static void fill_disk(const char *path, uint64_t left)
{
    static const uint8_t zeros[1 << 16];
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    must(fd >= 0);
    off_t size = 0;
    for (int full = 0; full < FULL_TIMES;) {
        ssize_t n = write(fd, zeros, sizeof zeros);
        size += n > 0 ? n : 0;
        if (n <= 0)
            full++, usleep(1000);
    }
    must(ftruncate(fd, size > (off_t)left ? size - (off_t)left : 0) == 0);
    close(fd);
}

static bool write_works(void)
{
    char key[16];
    struct store_batch *b = store_batch_new();
    store_batch_put(b, key_of(6 * KEYS, key), slice_text("even"));
    int rc = store_write(store, b);
    store_batch_free(&b);
    return rc == HF_OK && store_flush(store) == HF_OK;
}

/* Without room none is begun; when room runs out meanwhile, nothing is lost, and it goes on after room has come back. */
static void no_room(void)
{
    char filler[80];
    start(0);
    store_close(&store);
    if (mount("tmpfs", dir, "tmpfs", 0, SMALL_DISK) != 0) {
        printf("(no disk of its own can be mounted: not tested) ");
        open_store(0);
        stop();
        return;
    }
    snprintf(filler, sizeof filler, "%s/filler", dir);
    open_store(0);
    put_keys(0, 6 * KEYS / 2);
    must(store_flush(store) == HF_OK);
    fill_disk(filler, 3 << 20);
    CU_ASSERT_EQUAL(compact_all(), HF_E_NO_SPACE);
    CU_ASSERT_EQUAL(ctx.seen, 0);
    must(unlink(filler) == 0);
    ctx.held = true;
    struct store_compaction *c = begin_slowly();
    fill_disk(filler, 0);
    ctx.slow = ctx.held = false;
    for (int i = 0; i < WAIT_MS && !store_compact_done(c); i++)
        usleep(1000);
    int rc = store_compact_end(&c);
    CU_ASSERT(rc == HF_E_IO || rc == HF_OK); /* it found room all the same: reserved, or given back by something else */
    CU_ASSERT_EQUAL(count(), rc == HF_OK ? 6 * KEYS / 4 : 6 * KEYS / 2);
    must(unlink(filler) == 0);
    for (int i = 0; i < WAIT_MS / 100 && !write_works(); i++)
        usleep(100000);
    rc = HF_E_IO;
    for (int i = 0; i < WAIT_MS / 100 && rc != HF_OK; i++) {
        usleep(100000);
        rc = compact_all();
    }
    CU_ASSERT_EQUAL(rc, HF_OK);
    CU_ASSERT_EQUAL(count(), 6 * KEYS / 4 + 1);
    store_close(&store);
    must(umount(dir) == 0);
    open_store(0);
    stop();
}

/* A large range goes piece by piece, and what was done before it is cancelled stays so. */
static void in_pieces(void)
{
    start(0);
    ctx.on = false;
    put_keys(0, BIG_KEYS);
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    unsigned begun = ctx.begun;
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    CU_ASSERT(ctx.begun >= begun + 3);
    begun = ctx.begun;
    ctx.on = true;
    struct store_compaction *c = NULL;
    CU_ASSERT_EQUAL_FATAL(store_compact_begin(store, slice_text(""), slice_text(""), &c), HF_OK);
    for (int i = 0; i < WAIT_MS && ctx.begun < begun + 2; i++)
        usleep(1000);
    CU_ASSERT_EQUAL(store_compact_end(&c), HF_E_AGAIN);
    unsigned left = count();
    CU_ASSERT(left < BIG_KEYS && left > BIG_KEYS / 2);
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    CU_ASSERT_EQUAL(count(), BIG_KEYS / 2);
    stop();
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"not at a flush", not_at_a_flush},
        {"jobs without a judge", jobs_without_a_judge},
        {"deleted and written over", deleted_and_written_over},
        {"room comes back", room_comes_back},
        {"beside iterators", beside_iterators},
        {"beside writes", beside_writes},
        {"cancelled", cancelled},
        {"no room", no_room},
        {"in pieces", in_pieces},
    };
    return UNIT_MAIN("store_compact", cases);
}
