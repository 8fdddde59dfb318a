/* test_store_compact.c: compactions on demand beside writes, iterators and closing; what RocksDB compacts by itself because
 * much of it is deleted; how large a range is. */
#include <fcntl.h>
#include <sched.h>
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
#define WAIT_MS 60000
#define FULL_TIMES 20 /* that nothing more fits, before the disk counts as full: RocksDB gives back what it reserved */
#define SMALL_DISK "size=24m"
#define BIG_KEYS 160000 /* several files of the deepest level, more than one piece */

static char dir[64];
static struct store *store;

static void open_store(uint64_t buffer_bytes)
{
    char where[256];
    struct store_config config = {.dir = dir, .buffer_bytes = buffer_bytes};
    must(store_open(&config, true, &store, where) == HF_OK);
}

static void start(uint64_t buffer_bytes)
{
    snprintf(dir, sizeof dir, "/tmp/hf-compact-XXXXXX");
    must(mkdtemp(dir) != NULL);
    open_store(buffer_bytes);
}

static void stop(void)
{
    char where[256];
    store_close(&store);
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

/* Every `step`th key. */
static void delete_keys(unsigned from, unsigned to, unsigned step)
{
    char key[16];
    struct store_batch *b = store_batch_new();
    for (unsigned i = from; i < to; i += step)
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

static struct store_extent extent(void)
{
    struct store_extent all = {0};
    CU_ASSERT_EQUAL(store_compact_extent(store, slice_text(""), slice_text(""), &all), HF_OK);
    return all;
}

static void room_comes_back(void)
{
    struct store_extent all, part;
    char key[16];
    start(256 << 10);
    put_keys(0, KEYS);
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    uint64_t full = files_bytes();
    CU_ASSERT(full > (uint64_t)KEYS * VALUE_BYTES);
    all = extent();
    CU_ASSERT(all.bytes > full * 9 / 10 && all.bytes < full * 11 / 10);
    CU_ASSERT(all.entries == KEYS && all.deletions == 0);
    CU_ASSERT_EQUAL(store_compact_extent(store, key_of(KEYS / 2, key), slice_text(""), &part), HF_OK);
    CU_ASSERT(part.bytes > full * 4 / 10 && part.bytes < full * 6 / 10);
    CU_ASSERT_EQUAL(store_compact_extent(store, slice_text("l"), slice_text(""), &part), HF_OK);
    CU_ASSERT(part.bytes == 0 && part.entries == 0);
    delete_keys(0, KEYS / 2, 1); /* too few for RocksDB to begin by itself */
    must(store_flush(store) == HF_OK);
    CU_ASSERT_EQUAL(extent().deletions, KEYS / 2);
    CU_ASSERT_EQUAL(compact(slice_text(""), key_of(KEYS / 2, key)), HF_OK);
    CU_ASSERT(files_bytes() < full * 6 / 10);
    CU_ASSERT_EQUAL(extent().deletions, 0);
    delete_keys(KEYS / 2, KEYS, 2); /* in memory: flushed first */
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    CU_ASSERT_EQUAL(count(), KEYS / 4);
    CU_ASSERT(files_bytes() < full * 3 / 10);
    stop();
}

/* Many deletions together are compacted by RocksDB itself, once they are in a file: all that they cover goes. */
static void by_itself(void)
{
    start(0);
    put_keys(0, 10 * KEYS);
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    uint64_t full = files_bytes();
    delete_keys(0, 8 * KEYS, 1);
    CU_ASSERT_EQUAL(store_flush(store), HF_OK);
    for (int i = 0; i < WAIT_MS && (files_bytes() >= full * 3 / 10 || extent().deletions > 0); i++)
        usleep(1000);
    CU_ASSERT(files_bytes() < full * 3 / 10);
    CU_ASSERT(extent().deletions == 0 && extent().entries == 2 * KEYS);
    CU_ASSERT_EQUAL(count(), 2 * KEYS);
    stop();
}

/* An iterator shows what was there when it was made, deleted since or not. */
static void beside_iterators(void)
{
    start(0);
    put_keys(0, 100);
    struct store_iterator *early = store_iterator_new(store, false), *at = store_iterator_new(store, false);
    char key[16];
    store_iterator_seek(at, key_of(51, key));
    delete_keys(1, 100, 2);
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    CU_ASSERT_EQUAL(extent().deletions, 0);
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

static struct store_compaction *begin(void)
{
    struct store_compaction *c = NULL, *second = NULL;
    CU_ASSERT_EQUAL_FATAL(store_compact_begin(store, slice_text(""), slice_text(""), &c), HF_OK);
    CU_ASSERT_EQUAL(store_compact_begin(store, slice_text(""), slice_text(""), &second), HF_E_BUSY);
    CU_ASSERT(second == NULL);
    return c;
}

/* False: it was done before, as this thread was late. */
static bool writes_and_gives_up(void)
{
    struct store_compaction *c = begin();
    put_keys(BIG_KEYS, BIG_KEYS + 100);
    delete_keys(0, 100, 1);
    bool done = store_compact_done(c); /* none of this waited for it */
    int rc = store_compact_end(&c);
    CU_ASSERT(c == NULL && (rc == HF_E_AGAIN || rc == HF_OK));
    return !done && rc == HF_E_AGAIN;
}

/* More than one piece: the loop goes on meanwhile; what is written after it began is not lost; cancelled, nothing is lost,
 * nothing has gone, and the store compacts again. */
static void beside_writes_and_cancelled(void)
{
    start(0);
    put_keys(0, BIG_KEYS);
    bool given_up = false;
    for (int i = 0; i < 10 && !given_up; i++)
        given_up = writes_and_gives_up();
    CU_ASSERT(given_up);
    struct store_compaction *c = begin();
    int rc = store_compact_end(&c);
    CU_ASSERT(rc == HF_E_AGAIN || rc == HF_OK);
    store_close(&store);
    open_store(0);
    CU_ASSERT_EQUAL(count(), BIG_KEYS);
    c = begin();
    delete_keys(100, 200, 1);
    while (!store_compact_done(c))
        sched_yield();
    CU_ASSERT_EQUAL(store_compact_end(&c), HF_OK);
    CU_ASSERT_EQUAL(count(), BIG_KEYS - 100);
    CU_ASSERT_EQUAL(compact_all(), HF_OK);
    CU_ASSERT(extent().entries == BIG_KEYS - 100 && extent().deletions == 0);
    CU_ASSERT_EQUAL(store_compact_begin(store, slice_text(""), slice_text(""), &c), HF_OK);
    (void)store_compact_end(&c); /* whichever is first */
    CU_ASSERT_EQUAL(count(), BIG_KEYS - 100);
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
    delete_keys(0, 100, 1);
    must(store_flush(store) == HF_OK);
    fill_disk(filler, 3 << 20);
    CU_ASSERT_EQUAL(compact_all(), HF_E_NO_SPACE);
    CU_ASSERT_EQUAL(extent().deletions, 100);
    must(unlink(filler) == 0);
    struct store_compaction *c = begin();
    fill_disk(filler, 0);
    for (int i = 0; i < WAIT_MS && !store_compact_done(c); i++)
        usleep(1000);
    int rc = store_compact_end(&c);
    CU_ASSERT(rc == HF_E_IO || rc == HF_E_NO_SPACE || rc == HF_OK); /* whichever was first */
    CU_ASSERT_EQUAL(count(), 6 * KEYS / 2 - 100);
    must(unlink(filler) == 0);
    for (int i = 0; i < WAIT_MS / 100 && !write_works(); i++)
        usleep(100000);
    rc = HF_E_IO;
    for (int i = 0; i < WAIT_MS / 100 && rc != HF_OK; i++) {
        usleep(100000);
        rc = compact_all();
    }
    CU_ASSERT_EQUAL(rc, HF_OK);
    CU_ASSERT_EQUAL(count(), 6 * KEYS / 2 - 100 + 1);
    CU_ASSERT_EQUAL(extent().deletions, 0);
    store_close(&store);
    must(umount(dir) == 0);
    open_store(0);
    stop();
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"room comes back", room_comes_back},
        {"by itself", by_itself},
        {"beside iterators", beside_iterators},
        {"beside writes and cancelled", beside_writes_and_cancelled},
        {"no room", no_room},
    };
    return UNIT_MAIN("store_compact", cases);
}
