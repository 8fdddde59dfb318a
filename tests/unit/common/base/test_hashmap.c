/* test_hashmap.c: the map against a plain array as model. */
#include "common/base/hashmap.h"

#include "common/base/random.h"
#include "tests/unit/unit.h"

#define KEYS 512

static void random_puts_and_removes_match_a_model(void)
{
    static char cells[KEYS];
    void *model[KEYS] = {0};
    struct hashmap map = {0};
    struct random random = {42};
    for (int step = 0; step < 40000; step++) {
        size_t key = (size_t)random_below(&random, KEYS);
        void *value = random_below(&random, 2) ? &cells[random_below(&random, KEYS)] : NULL;
        void *was = value != NULL ? hashmap_put(&map, key, value) : hashmap_remove(&map, key);
        CU_ASSERT_PTR_EQUAL(was, model[key]);
        model[key] = value;
    }
    size_t live = 0;
    for (size_t key = 0; key < KEYS; key++) {
        CU_ASSERT_PTR_EQUAL(hashmap_get(&map, key), model[key]);
        live += model[key] != NULL;
    }
    CU_ASSERT_EQUAL(map.count, live);
    size_t at = 0, seen = 0;
    uint64_t key;
    void *value;
    while (hashmap_each(&map, &at, &key, &value)) {
        CU_ASSERT_FATAL(key < KEYS);
        CU_ASSERT_PTR_EQUAL(value, model[key]);
        seen++;
    }
    CU_ASSERT_EQUAL(seen, live);
    hashmap_deinit(&map);
    CU_ASSERT_EQUAL(map.cap, 0);
}

static void an_empty_map_holds_nothing(void)
{
    struct hashmap map = {0};
    size_t at = 0;
    uint64_t key;
    void *value;
    CU_ASSERT_PTR_NULL(hashmap_get(&map, 0));
    CU_ASSERT_PTR_NULL(hashmap_remove(&map, 0));
    CU_ASSERT_FALSE(hashmap_each(&map, &at, &key, &value));
    CU_ASSERT_PTR_NULL(hashmap_put(&map, 0, &map));
    CU_ASSERT_PTR_EQUAL(hashmap_get(&map, 0), &map);
    CU_ASSERT_PTR_NULL(hashmap_get(&map, UINT64_MAX));
    hashmap_deinit(&map);
}

static void hash_of_bytes_tells_neighbours_apart(void)
{
    CU_ASSERT_EQUAL(hashmap_hash_bytes("abc", 3), hashmap_hash_bytes("abc", 3));
    CU_ASSERT_NOT_EQUAL(hashmap_hash_bytes("abc", 3), hashmap_hash_bytes("abd", 3));
    CU_ASSERT_NOT_EQUAL(hashmap_hash_bytes("a\0", 2), hashmap_hash_bytes("a", 1));
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"random puts and removes match a model", random_puts_and_removes_match_a_model},
        {"an empty map holds nothing", an_empty_map_holds_nothing},
        {"the hash of bytes tells neighbours apart", hash_of_bytes_tells_neighbours_apart},
    };
    return UNIT_MAIN("hashmap", cases);
}
