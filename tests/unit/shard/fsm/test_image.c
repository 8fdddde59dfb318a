/* test_image.c: everything as of one index: equal digests for equal states however they came about, a changed byte tells,
 * what comes later does not show, live records in order as a scan gives them. */
#include <stdio.h>
#include <stdlib.h>

#include "shard/fsm/image.h"
#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/unit.h"

#define ENTRIES 400

static void digest_of(struct fsm *fsm, uint8_t out[DIGEST_BYTES], uint64_t *records)
{
    static const _Atomic bool never;
    char where[256] = "";
    struct image *image = image_new(fsm);
    CU_ASSERT_EQUAL(image_digest(image, &never, out, records, where), HF_OK);
    image_free(&image);
    CU_ASSERT_PTR_NULL(image);
}

static void apply_all(struct machine *m, size_t batch, bool flush)
{
    struct arena arena = {0};
    struct log_entry entries[ENTRIES];
    for (size_t i = 0; i < ENTRIES; i++)
        entries[i] = machine_random(7, i + 2, &arena);
    for (size_t at = 0; at < ENTRIES; at += batch) {
        size_t count = at + batch > ENTRIES ? ENTRIES - at : batch;
        CU_ASSERT_EQUAL(fsm_apply(m->fsm, entries + at, count, machine_report, m), HF_OK);
        if (flush && at % 5 == 0)
            CU_ASSERT_EQUAL(fsm_flush(m->fsm), HF_OK);
    }
    arena_deinit(&arena);
}

static void equal_states_have_equal_digests(void)
{
    uint8_t first[DIGEST_BYTES], second[DIGEST_BYTES], third[DIGEST_BYTES];
    uint64_t records[3];
    struct machine one, other;
    machine_start(&one, "", "", true);
    machine_start(&other, "", "", true);
    apply_all(&one, 1, false);
    apply_all(&other, 37, true);
    digest_of(one.fsm, first, &records[0]);
    digest_of(other.fsm, second, &records[1]);
    CU_ASSERT(memcmp(first, second, DIGEST_BYTES) == 0 && records[0] == records[1] && records[0] > 100);
    machine_close(&other);
    struct arena arena = {0};
    struct fsm_info info = {0};
    char where[256] = "";
    CU_ASSERT_EQUAL(image_look(other.dir, &arena, &info, third, &records[2], where), HF_OK);
    CU_ASSERT(memcmp(first, third, DIGEST_BYTES) == 0 && records[2] == records[0]);
    CU_ASSERT(info.applied.index == ENTRIES + 1 && info.checked > 0);
    arena_deinit(&arena);
    machine_open(&other);
    struct log_entry check = {ENTRIES + 2, 1 + ENTRIES, LOG_COMMAND, machine_check(&other.arena, UINT64_C(1) << 40)};
    CU_ASSERT_EQUAL(fsm_apply(other.fsm, &check, 1, machine_report, &other), HF_OK);
    digest_of(other.fsm, third, &records[2]);
    CU_ASSERT(memcmp(first, third, DIGEST_BYTES) != 0); /* the applied index alone */
    machine_stop(&one);
    machine_stop(&other);
}

/* Later entries, flushes and a cancelled walk. */
static void it_stands_still(void)
{
    static const _Atomic bool never;
    static const _Atomic bool always = true;
    uint8_t before[DIGEST_BYTES], after[DIGEST_BYTES];
    uint64_t records, again;
    char where[256] = "";
    struct machine m;
    machine_start(&m, "", "", true);
    machine_run(&m, machine_put("a", "1"));
    machine_run(&m, machine_put("b", "2"));
    digest_of(m.fsm, before, &records);
    struct image *image = image_new(m.fsm);
    machine_run(&m, machine_put("a", "other"));
    machine_run(&m, machine_delete_prefix("b"));
    CU_ASSERT_EQUAL(fsm_flush(m.fsm), HF_OK);
    CU_ASSERT_EQUAL(image_digest(image, &always, after, &again, where), HF_E_AGAIN);
    CU_ASSERT_EQUAL(image_digest(image, &never, after, &again, where), HF_OK);
    CU_ASSERT(memcmp(before, after, DIGEST_BYTES) == 0 && records == again);
    struct image_item item;
    size_t steps = 100;
    CU_ASSERT_EQUAL(image_next(image, (struct hlc){0}, (struct hlc){m.t}, &steps, &item, where), HF_OK);
    CU_ASSERT(steps < 100); /* one budget for many calls */
    CU_ASSERT(slice_equal(item.key, slice_text("a")) && slice_equal(item.value, slice_text("1")) && item.expiry.t == 0);
    CU_ASSERT_EQUAL(image_next(image, (struct hlc){0}, (struct hlc){m.t}, &steps, &item, where), HF_OK);
    CU_ASSERT(slice_equal(item.key, slice_text("b")) && slice_equal(item.value, slice_text("2")));
    CU_ASSERT_EQUAL(image_next(image, (struct hlc){0}, (struct hlc){m.t}, &steps, &item, where), HF_E_NOT_FOUND);
    CU_ASSERT_EQUAL(image_next(image, (struct hlc){0}, (struct hlc){m.t}, &steps, &item, where), HF_E_NOT_FOUND);
    image_free(&image);
    machine_stop(&m);
}

/* What a scan of the same moment gives, whatever the steps. */
static void live_records_as_a_scan(void)
{
    struct machine m;
    machine_start(&m, "", "", true);
    apply_all(&m, 11, false);
    struct hlc now = {fsm_info(m.fsm)->newest.t.t + 1};
    for (size_t steps = 1; steps < 40; steps += 13) {
        struct arena arena = {0};
        struct fsm_page page = {0};
        struct fsm_scan scan = {.now = now, .items_max = 100000, .bytes_max = SIZE_MAX, .steps_max = SIZE_MAX};
        CU_ASSERT_EQUAL_FATAL(fsm_scan(m.fsm, &scan, &arena, &page), HF_OK);
        struct image *image = image_new(m.fsm);
        struct image_item item;
        char where[256] = "";
        size_t count = 0;
        size_t left = steps;
        for (int rc; (rc = image_next(image, (struct hlc){0}, now, &left, &item, where)) != HF_E_NOT_FOUND;) {
            if (rc == HF_E_AGAIN) {
                left = steps;
                continue;
            }
            CU_ASSERT_EQUAL_FATAL(rc, HF_OK);
            CU_ASSERT_FATAL(count < page.count);
            CU_ASSERT(slice_equal(item.key, page.items[count].key) && slice_equal(item.value, page.items[count].value));
            CU_ASSERT(version_compare(item.version, page.items[count].version) == 0);
            count++;
        }
        CU_ASSERT(count == page.count && count > 5);
        image_free(&image);
        arena_deinit(&arena);
    }
    machine_stop(&m);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"equal states have equal digests", equal_states_have_equal_digests},
        {"an image stands still", it_stands_still},
        {"live records as a scan gives them", live_records_as_a_scan},
    };
    return UNIT_MAIN("fsm image", cases);
}
