/* test_memory.c: buf and arena. */
#include "common/base/arena.h"
#include "common/base/buf.h"

#include "tests/unit/unit.h"

static void buf_grows_and_keeps_what_it_held(void)
{
    struct buf b = {0};
    for (unsigned i = 0; i < 10000; i++) {
        uint8_t byte = (uint8_t)i;
        buf_append(&b, &byte, 1);
    }
    CU_ASSERT_EQUAL(b.size, 10000);
    unsigned wrong = 0;
    for (unsigned i = 0; i < 10000; i++)
        wrong += b.data[i] != (uint8_t)i;
    CU_ASSERT_EQUAL(wrong, 0);
    memcpy(buf_extend(&b, 3), "xyz", 3);
    CU_ASSERT_EQUAL(memcmp(b.data + 10000, "xyz", 3), 0);
    buf_append(&b, NULL, 0);
    CU_ASSERT_EQUAL(buf_slice(&b).size, 10003);
    buf_clear(&b);
    CU_ASSERT_EQUAL(b.size, 0);
    buf_deinit(&b);
    CU_ASSERT_PTR_NULL(b.data);
    CU_ASSERT_PTR_NOT_NULL(buf_extend(&b, 0)); /* packing an empty message writes nothing, but to somewhere */
    CU_ASSERT_EQUAL(b.size, 0);
    buf_deinit(&b);
}

static void buf_reserve_keeps_the_size(void)
{
    struct buf b = {0};
    buf_reserve(&b, 1000);
    uint8_t *data = b.data;
    CU_ASSERT(b.cap >= 1000);
    CU_ASSERT_EQUAL(b.size, 0);
    buf_extend(&b, 1000);
    CU_ASSERT_PTR_EQUAL(b.data, data);
    buf_deinit(&b);
}

static void arena_memory_is_aligned_and_apart(void)
{
    struct arena a = {0};
    uint8_t *pieces[2000];
    for (size_t i = 0; i < 2000; i++) {
        pieces[i] = arena_alloc(&a, i % 200);
        CU_ASSERT_EQUAL((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)(i & 0xff), i % 200);
    }
    unsigned wrong = 0;
    for (size_t i = 0; i < 2000; i++)
        for (size_t j = 0; j < i % 200; j++)
            wrong += pieces[i][j] != (uint8_t)(i & 0xff);
    CU_ASSERT_EQUAL(wrong, 0);
    arena_deinit(&a);
}

static void a_large_request_leaves_the_open_block_in_use(void)
{
    struct arena a = {0};
    uint8_t *first = arena_alloc(&a, 16);
    uint8_t *large = arena_zalloc(&a, 3 * ARENA_BLOCK_BYTES);
    CU_ASSERT_EQUAL(large[3 * ARENA_BLOCK_BYTES - 1], 0);
    uint8_t *second = arena_alloc(&a, 16);
    CU_ASSERT_PTR_EQUAL(second, first + 16);
    CU_ASSERT_EQUAL(a.used, 3 * ARENA_BLOCK_BYTES + 32);
    arena_reset(&a);
    CU_ASSERT_EQUAL(a.used, 0);
    CU_ASSERT_PTR_EQUAL(arena_alloc(&a, 16), first); /* the block was kept */
    struct slice copy = arena_copy(&a, slice_text("hello"));
    CU_ASSERT(slice_equal(copy, slice_text("hello")));
    CU_ASSERT_EQUAL(arena_copy(&a, slice_make(NULL, 0)).size, 0);
    arena_deinit(&a);
    arena_reset(&a);
    CU_ASSERT_PTR_NULL(a.head);
}

static void a_large_first_request_is_not_kept(void)
{
    struct arena a = {0};
    arena_alloc(&a, 2 * ARENA_BLOCK_BYTES);
    arena_alloc(&a, 1);
    arena_reset(&a);
    CU_ASSERT_PTR_NOT_NULL(a.head);
    arena_reset(&a);
    CU_ASSERT_PTR_NOT_NULL(a.head);
    arena_deinit(&a);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"buf grows and keeps what it held", buf_grows_and_keeps_what_it_held},
        {"buf_reserve keeps the size", buf_reserve_keeps_the_size},
        {"arena memory is aligned and apart", arena_memory_is_aligned_and_apart},
        {"a large request leaves the open block in use", a_large_request_leaves_the_open_block_in_use},
        {"a large first request is not kept", a_large_first_request_is_not_kept},
    };
    return UNIT_MAIN("memory", cases);
}
