/* test_store.c: batches, point reads, what is durable, both kinds of iterators, and how errors are told apart. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/sys/disk.h"
#include "shard/store/store_internal.h"
#include "tests/unit/unit.h"

static char dir[64];
static struct store *store;

static size_t prefix_of(struct slice key) /* up to the first colon */
{
    const uint8_t *colon = key.size > 0 ? memchr(key.data, ':', key.size) : NULL;
    return colon != NULL ? (size_t)(colon + 1 - key.data) : 0;
}

static void open_store(bool sync_writes)
{
    char where[256];
    struct store_config config = {.dir = dir, .sync_writes = sync_writes, .prefix = prefix_of};
    must(store_open(&config, true, &store, where) == HF_OK);
}

static void start(void)
{
    snprintf(dir, sizeof dir, "/tmp/hf-store-XXXXXX");
    must(mkdtemp(dir) != NULL);
    open_store(false);
}

static void stop(void)
{
    char where[256];
    store_close(&store);
    must(store_destroy(dir, where) == HF_OK);
    rmdir(dir);
}

static void put(const char *key, const char *value)
{
    struct store_batch *b = store_batch_new();
    store_batch_put(b, slice_text(key), slice_text(value));
    must(store_write(store, b) == HF_OK);
    store_batch_free(&b);
}

static bool holds(const char *key, const char *value)
{
    struct buf got = {0};
    int rc = store_get(store, slice_text(key), &got);
    bool same = value == NULL ? rc == HF_E_NOT_FOUND : rc == HF_OK && slice_equal(buf_slice(&got), slice_text(value));
    buf_deinit(&got);
    return same;
}

static void batches_and_reads(void)
{
    start();
    struct store_batch *b = store_batch_new();
    store_batch_put(b, slice_text("a"), slice_text("1"));
    store_batch_put(b, slice_text("b"), slice_text(""));
    store_batch_delete(b, slice_text("a"));
    store_batch_put(b, slice_text("c"), slice_text("3"));
    CU_ASSERT(holds("b", NULL));
    CU_ASSERT_EQUAL(store_write(store, b), HF_OK);
    CU_ASSERT(holds("a", NULL) && holds("b", "") && holds("c", "3"));
    store_batch_clear(b);
    store_batch_delete(b, slice_text("c"));
    CU_ASSERT_EQUAL(store_write(store, b), HF_OK);
    CU_ASSERT(holds("b", "") && holds("c", NULL));
    store_batch_free(&b);
    store_close(&store);
    open_store(false);
    CU_ASSERT(holds("b", "")); /* closing flushes */
    stop();
}

static bool durable(const char *key)
{
    struct buf got = {0};
    int rc = store_get_durable(store, slice_text(key), &got);
    buf_deinit(&got);
    return rc == HF_OK;
}

static void what_is_durable(void)
{
    start();
    put("a", "1");
    CU_ASSERT(!durable("a"));
    CU_ASSERT_EQUAL(store_flush(store), HF_OK);
    CU_ASSERT(durable("a"));
    put("b", "1");
    CU_ASSERT(durable("a") && !durable("b"));
    CU_ASSERT_EQUAL(store_flush_begin(store), HF_OK);
    for (int i = 0; i < 60000 && !durable("b"); i++)
        usleep(1000);
    CU_ASSERT(durable("b"));
    store_close(&store);
    open_store(true);
    put("c", "1");
    CU_ASSERT(durable("c"));
    stop();
}

static void iterators(void)
{
    start();
    const char *keys[] = {"a", "p:1", "p:2", "q:1", "z"};
    for (size_t i = 0; i < 5; i++)
        put(keys[i], keys[i]);
    must(store_flush(store) == HF_OK);
    put("p:3", "p:3");
    struct store_iterator *it = store_iterator_new(store, false);
    char all[64] = "";
    for (store_iterator_seek(it, slice_text("")); store_iterator_valid(it); store_iterator_next(it))
        strncat(strcat(all, " "), (const char *)store_iterator_key(it).data, store_iterator_key(it).size);
    CU_ASSERT_STRING_EQUAL(all, " a p:1 p:2 p:3 q:1 z");
    store_iterator_seek_for_prev(it, slice_text("p:9"));
    CU_ASSERT(slice_equal(store_iterator_value(it), slice_text("p:3")));
    store_iterator_prev(it);
    CU_ASSERT(slice_equal(store_iterator_key(it), slice_text("p:2")));
    CU_ASSERT_EQUAL(store_iterator_status(it), HF_OK);
    put("p:4", "later");
    store_iterator_seek(it, slice_text("p:4"));
    CU_ASSERT(slice_equal(store_iterator_key(it), slice_text("q:1"))); /* as of when it was made */
    store_iterator_free(&it);
    it = store_iterator_new(store, true);
    store_iterator_seek(it, slice_text("p:2"));
    CU_ASSERT(store_iterator_valid(it) && slice_equal(store_iterator_key(it), slice_text("p:2")));
    store_iterator_next(it);
    store_iterator_next(it);
    CU_ASSERT(slice_equal(store_iterator_key(it), slice_text("p:4")));
    store_iterator_next(it);
    CU_ASSERT(!store_iterator_valid(it)); /* not on to q: */
    store_iterator_seek(it, slice_text("o:1"));
    CU_ASSERT(!store_iterator_valid(it));
    CU_ASSERT_EQUAL(store_iterator_status(it), HF_OK);
    store_iterator_free(&it);
    stop();
}

static int error_of(const char *text)
{
    char where[256];
    char *copy = strdup(text); /* store_error frees with RocksDB's free, which is free */
    int rc = store_error(copy, where);
    CU_ASSERT_STRING_EQUAL(where, text);
    return rc;
}

static void errors(void)
{
    CU_ASSERT_EQUAL(
        error_of("IO error: No space left on device: While appending to file: /x/000012.sst: No space left on device"),
        HF_E_NO_SPACE);
    CU_ASSERT_EQUAL(error_of("IO error: While fsync: /x/000012.sst: Input/output error"), HF_E_IO);
    CU_ASSERT_EQUAL(error_of("Corruption: block checksum mismatch: stored = 1"), HF_E_CORRUPT);
    char where[256];
    struct store *none = NULL;
    struct store_config config = {.dir = "/tmp/hf-store-not-there"};
    CU_ASSERT_EQUAL(store_open(&config, false, &none, where), HF_E_ABSENT);
    CU_ASSERT(strlen(where) > 0 && none == NULL);
    start();
    config.dir = dir;
    CU_ASSERT_EQUAL(store_open(&config, false, &none, where), HF_E_LOCKED);
    stop();
}

/* A flipped bit in a table is an error, never data (I11). */
static void damage_is_found(void)
{
    start();
    put("key", "value-value-value");
    must(store_flush(store) == HF_OK);
    store_close(&store);
    char command[256], path[256] = "";
    snprintf(command, sizeof command, "ls %s/*.sst", dir);
    FILE *list = popen(command, "r");
    must(list != NULL && fgets(path, sizeof path, list) != NULL);
    pclose(list);
    path[strcspn(path, "\n")] = 0;
    int fd = open(path, O_RDWR);
    must(fd >= 0);
    uint8_t byte;
    must(pread(fd, &byte, 1, 12) == 1); /* inside the first data block */
    byte ^= 0x10;
    must(pwrite(fd, &byte, 1, 12) == 1);
    close(fd);
    open_store(false);
    struct buf got = {0};
    CU_ASSERT_EQUAL(store_get(store, slice_text("key"), &got), HF_E_CORRUPT);
    CU_ASSERT_EQUAL(got.size, 0);
    struct store_iterator *it = store_iterator_new(store, false);
    store_iterator_seek(it, slice_text(""));
    CU_ASSERT(!store_iterator_valid(it));
    CU_ASSERT_EQUAL(store_iterator_status(it), HF_E_CORRUPT);
    store_iterator_free(&it);
    buf_deinit(&got);
    stop();
}

/* A copy shows what was there when it was made, and can only be read. */
static void checkpoints(void)
{
    char copy[80], where[256] = "";
    start();
    snprintf(copy, sizeof copy, "%s.copy", dir);
    put("a", "1");
    CU_ASSERT_EQUAL(store_checkpoint(store, copy, where), HF_OK);
    put("a", "2");
    put("b", "3");
    CU_ASSERT(holds("a", "2"));
    struct store *live = store;
    struct store_config config = {.dir = copy, .read_only = true, .prefix = prefix_of};
    CU_ASSERT_EQUAL_FATAL(store_open(&config, false, &store, where), HF_OK);
    CU_ASSERT(holds("a", "1") && holds("b", NULL));
    struct store_batch *batch = store_batch_new();
    store_batch_put(batch, slice_text("a"), slice_text("4"));
    CU_ASSERT_NOT_EQUAL(store_write(store, batch), HF_OK);
    store_batch_free(&batch);
    CU_ASSERT(holds("a", "1"));
    store_close(&store);
    store = live;
    char long_name[5000];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    CU_ASSERT_EQUAL(store_checkpoint(store, long_name, where), HF_E_LIMIT);
    CU_ASSERT_EQUAL(disk_remove_tree(disk_posix(), copy), HF_OK);
    stop();
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"batches and reads", batches_and_reads},
        {"what is durable (I4)", what_is_durable},
        {"iterators", iterators},
        {"errors", errors},
        {"damage is found (I11)", damage_is_found},
        {"checkpoints", checkpoints},
    };
    return UNIT_MAIN("store", cases);
}
