/* test_simstore_compact.c: the simulator's store compacts a range when asked to, some operations long: of what is deleted
 * nothing is counted any more, and nobody sees a difference. */
#include "common/base/error.h"
#include "tests/support/simstore.h"
#include "tests/unit/unit.h"

#define KEYS 500

static struct simstore *medium;
static struct store *store;

static void start(void)
{
    char where[256];
    struct store_config config = {.dir = "sim"};
    medium = simstore_new("sim", 7);
    must(store_open(&config, true, &store, where) == HF_OK);
}

static void stop(void)
{
    store_close(&store);
    simstore_free(&medium);
}

static void write_keys(unsigned from, unsigned to, bool delete)
{
    struct store_batch *b = store_batch_new();
    for (unsigned i = from; i < to; i++) {
        char key[2] = {(char)('a' + i / 100), (char)(i % 100)};
        if (delete)
            store_batch_delete(b, slice_make(key, sizeof key));
        else
            store_batch_put(b, slice_make(key, sizeof key), slice_text("value"));
    }
    must(store_write(store, b) == HF_OK);
    store_batch_free(&b);
}

static struct store_extent extent(void)
{
    struct store_extent e = {0};
    CU_ASSERT_EQUAL(store_compact_extent(store, slice_text(""), slice_text(""), &e), HF_OK);
    return e;
}

static void compact(const char *from, const char *to)
{
    struct store_compaction *c = NULL, *second = NULL;
    CU_ASSERT_EQUAL_FATAL(store_compact_begin(store, slice_text(from), slice_text(to), &c), HF_OK);
    CU_ASSERT_EQUAL(store_compact_begin(store, slice_text(from), slice_text(to), &second), HF_E_BUSY);
    while (!store_compact_done(c))
        ;
    CU_ASSERT_EQUAL(store_compact_end(&c), HF_OK);
}

static void what_is_deleted_goes(void)
{
    start();
    write_keys(0, KEYS, false);
    CU_ASSERT_EQUAL(extent().entries, 0); /* memory is not counted */
    must(store_flush(store) == HF_OK);
    write_keys(0, 200, true);
    must(store_flush(store) == HF_OK);
    uint64_t content = simstore_content(medium);
    CU_ASSERT(extent().entries == KEYS && extent().deletions == 200);
    compact("b", "c");
    CU_ASSERT(extent().entries == KEYS - 100 && extent().deletions == 100);
    compact("", "");
    CU_ASSERT(extent().entries == KEYS - 200 && extent().deletions == 0);
    CU_ASSERT_EQUAL(simstore_content(medium), content);
    write_keys(0, 10, false);
    write_keys(0, 5, true);
    must(store_flush(store) == HF_OK);
    CU_ASSERT(extent().entries == KEYS - 190 && extent().deletions == 5);
    stop();
}

static void cancelled(void)
{
    start();
    write_keys(0, KEYS, false);
    write_keys(0, KEYS, true);
    struct store_compaction *c = NULL;
    CU_ASSERT_EQUAL_FATAL(store_compact_begin(store, slice_text(""), slice_text(""), &c), HF_OK);
    CU_ASSERT(!store_compact_done(c));
    CU_ASSERT_EQUAL(store_compact_end(&c), HF_E_AGAIN);
    CU_ASSERT(c == NULL && extent().deletions > 0);
    stop();
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"what is deleted goes", what_is_deleted_goes},
        {"cancelled", cancelled},
    };
    return UNIT_MAIN("simstore_compact", cases);
}
