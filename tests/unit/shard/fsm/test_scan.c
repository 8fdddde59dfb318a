/* test_scan.c: pages, order, bounds, and that no scan stalls the loop. */
#include <stdio.h>

#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/unit.h"

static struct machine m;

static struct fsm_page scan_page(struct arena *arena, const char *start, const char *end, bool reverse, size_t items)
{
    struct fsm_scan scan = {.start = slice_text(start),
                            .end = slice_text(end),
                            .now = {m.t},
                            .items_max = items,
                            .bytes_max = 1u << 20,
                            .steps_max = 10000,
                            .reverse = reverse};
    struct fsm_page page = {0};
    CU_ASSERT_EQUAL(fsm_scan(m.fsm, &scan, arena, &page), HF_OK);
    return page;
}

/* "a b c": the keys of a page, as one text. */
static bool keys_are(const struct fsm_page *page, const char *keys)
{
    char text[256] = "";
    for (size_t i = 0; i < page->count; i++) {
        strcat(text, i > 0 ? " " : "");
        strncat(text, (const char *)page->items[i].key.data, page->items[i].key.size);
    }
    return strcmp(text, keys) == 0;
}

static void order_and_bounds(void)
{
    struct arena arena = {0};
    machine_start(&m, "a", "x", false);
    const char *keys[] = {"b", "a", "ab", "abc", "abd", "b1", "c", "w"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        machine_run(&m, machine_put(keys[i], "old"));
        machine_run(&m, machine_put(keys[i], keys[i]));
    }
    machine_run(&m, machine_delete("c"));
    struct fsm_page page = scan_page(&arena, "", "", false, 100);
    CU_ASSERT(keys_are(&page, "a ab abc abd b b1 w"));
    CU_ASSERT(slice_equal(page.items[2].value, slice_text("abc")));
    CU_ASSERT(!page.more);
    page = scan_page(&arena, "", "", true, 100);
    CU_ASSERT(keys_are(&page, "w b1 b abd abc ab a"));
    CU_ASSERT(slice_equal(page.items[2].value, slice_text("b")));
    page = scan_page(&arena, "ab", "b", false, 100);
    CU_ASSERT(keys_are(&page, "ab abc abd"));
    page = scan_page(&arena, "ab", "b", true, 100);
    CU_ASSERT(keys_are(&page, "abd abc ab"));
    page = scan_page(&arena, "b", "a", false, 100);
    CU_ASSERT(page.count == 0 && !page.more);
    page = scan_page(&arena, "", "", false, 2);
    CU_ASSERT(keys_are(&page, "a ab") && page.more && slice_equal(page.next, slice_text("abc")));
    page = scan_page(&arena, "", "", true, 2);
    CU_ASSERT(keys_are(&page, "w b1") && page.more && slice_equal(page.next, slice_text("b1")));
    struct fsm_scan keys_only = {.items_max = 1, .bytes_max = 1, .steps_max = 1, .keys_only = true};
    CU_ASSERT_EQUAL(fsm_scan(m.fsm, &keys_only, &arena, &page), HF_OK);
    CU_ASSERT(page.count == 1 && page.items[0].value.size == 0 && page.more);
    keys_only.space = FSM_CATALOG;
    CU_ASSERT_EQUAL(fsm_scan(m.fsm, &keys_only, &arena, &page), HF_E_WRONG_SHARD);
    arena_deinit(&arena);
    machine_stop(&m);
}

/* One key with many versions costs a seek, not a walk; a deleted prefix is passed in bounded pages. */
static void never_stalls(void)
{
    enum { DEAD = 20000, VERSIONS = 5000, STEPS = 500 };
    struct arena arena = {0};
    machine_start(&m, "", "", false);
    uint64_t before = m.t;
    for (int i = 0; i < VERSIONS; i++) {
        m.t++;
        machine_run(&m, machine_put("a", "v"));
    }
    for (int i = 0; i < DEAD; i += 100) {
        Hf__Entry__Command c[100];
        char keys[100][16];
        for (int j = 0; j < 100; j++) {
            snprintf(keys[j], sizeof keys[j], "k%08d", i + j);
            c[j] = machine_put(keys[j], "v");
        }
        machine_run_many(&m, c, 100);
    }
    machine_run(&m, machine_delete_prefix("k"));
    machine_run(&m, machine_put("z", "v"));
    for (int reverse = 0; reverse < 2; reverse++) {
        struct fsm_scan scan = {
            .now = {m.t}, .items_max = 100, .bytes_max = 1000, .steps_max = STEPS, .reverse = reverse};
        struct fsm_page page = {.more = true};
        size_t pages = 0, items = 0, empty = 0;
        while (page.more && pages < DEAD) {
            CU_ASSERT_EQUAL_FATAL(fsm_scan(m.fsm, &scan, &arena, &page), HF_OK);
            pages++;
            items += page.count;
            empty += page.count == 0;
            *(reverse ? &scan.end : &scan.start) = page.next;
        }
        CU_ASSERT_EQUAL(items, 2);
        CU_ASSERT(empty > 10);
        CU_ASSERT(pages <= DEAD / STEPS + 10); /* the versions of "a" took a seek, not 5,000 steps */
    }
    /* The oldest version of "a", below 5,000 newer ones, in one small page. */
    for (int reverse = 0; reverse < 2; reverse++) {
        struct fsm_scan scan = {.now = {m.t},
                                .at = {before + 2},
                                .items_max = 1,
                                .bytes_max = 1000,
                                .steps_max = 30,
                                .end = slice_text("b"),
                                .reverse = reverse};
        struct fsm_page page;
        CU_ASSERT_EQUAL(fsm_scan(m.fsm, &scan, &arena, &page), HF_OK);
        CU_ASSERT(page.count == 1 && !page.more && page.items[0].version.t.t == before + 1);
    }
    arena_deinit(&arena);
    machine_stop(&m);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"order and bounds", order_and_bounds},
        {"never stalls", never_stalls},
    };
    return UNIT_MAIN("fsm scan", cases);
}
