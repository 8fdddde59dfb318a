/* test_bytes.c: slices, byte orders, lists, timestamps. */
#include "common/base/endian.h"
#include "common/base/hlc.h"
#include "common/base/list.h"
#include "common/base/slice.h"

#include "tests/unit/unit.h"

static void slices_order_by_bytes_then_length(void)
{
    CU_ASSERT(slice_compare(slice_text("a"), slice_text("b")) < 0);
    CU_ASSERT(slice_compare(slice_text("ab"), slice_text("a")) > 0);
    CU_ASSERT(slice_compare(slice_make("\xff", 1), slice_make("\x01", 1)) > 0);
    CU_ASSERT(slice_compare(slice_make("a\0b", 3), slice_make("a\0c", 3)) < 0);
    CU_ASSERT_EQUAL(slice_compare(slice_make(NULL, 0), slice_text("")), 0);
    CU_ASSERT(slice_compare(slice_make(NULL, 0), slice_text("a")) < 0);
}

static void equality_and_prefix(void)
{
    CU_ASSERT(slice_equal(slice_make(NULL, 0), slice_text("")));
    CU_ASSERT_FALSE(slice_equal(slice_text("ab"), slice_text("a")));
    CU_ASSERT_FALSE(slice_equal(slice_text("ab"), slice_text("ac")));
    CU_ASSERT(slice_has_prefix(slice_text("ab"), slice_text("a")));
    CU_ASSERT(slice_has_prefix(slice_text("ab"), slice_make(NULL, 0)));
    CU_ASSERT_FALSE(slice_has_prefix(slice_text("a"), slice_text("ab")));
    CU_ASSERT_FALSE(slice_has_prefix(slice_text("ba"), slice_text("a")));
}

static void integers_lie_as_their_name_says(void)
{
    uint8_t p[8];
    put_le32(p, 0x01020304);
    CU_ASSERT_EQUAL(memcmp(p, "\x04\x03\x02\x01", 4), 0);
    CU_ASSERT_EQUAL(get_le32(p), 0x01020304);
    put_le64(p, 0xf102030405060708u);
    CU_ASSERT_EQUAL(memcmp(p, "\x08\x07\x06\x05\x04\x03\x02\xf1", 8), 0);
    CU_ASSERT_EQUAL(get_le64(p), 0xf102030405060708u);
    put_be64(p, 0xf102030405060708u);
    CU_ASSERT_EQUAL(memcmp(p, "\xf1\x02\x03\x04\x05\x06\x07\x08", 8), 0);
    CU_ASSERT_EQUAL(get_be64(p), 0xf102030405060708u);
}

static void a_list_keeps_order_and_survives_removal_while_walking(void)
{
    struct node {
        int number;
        struct list link;
    } nodes[5];
    struct list head;
    list_init(&head);
    for (int i = 0; i < 5; i++) {
        nodes[i].number = i;
        list_push(&head, &nodes[i].link);
    }
    int expected = 0;
    LIST_EACH (it, &head) {
        struct node *node = LIST_OWNER(it, struct node, link);
        CU_ASSERT_EQUAL(node->number, expected++);
        if (node->number % 2 == 0)
            list_remove(it);
    }
    CU_ASSERT_EQUAL(expected, 5);
    CU_ASSERT_PTR_EQUAL(head.next, &nodes[1].link);
    CU_ASSERT_PTR_EQUAL(head.prev, &nodes[3].link);
    list_remove(&nodes[1].link);
    list_remove(&nodes[1].link);
    list_remove(&nodes[3].link);
    CU_ASSERT(list_empty(&head));
}

static void versions_order_by_timestamp_then_sequence(void)
{
    struct version old = {hlc_from_ms(5), 9}, same = {hlc_from_ms(5), 10}, later = {{(5 << 16) + 1}, 0};
    CU_ASSERT(version_compare(old, same) < 0);
    CU_ASSERT(version_compare(later, same) > 0);
    CU_ASSERT_EQUAL(version_compare(old, old), 0);
    CU_ASSERT_EQUAL(hlc_ms(later.t), 5);
    CU_ASSERT_EQUAL(hlc_add_ms(later.t, 2).t, (7 << 16) + 1);
    CU_ASSERT_EQUAL(hlc_max(old.t, later.t).t, later.t.t);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"slices order by bytes, then length", slices_order_by_bytes_then_length},
        {"equality and prefix", equality_and_prefix},
        {"integers lie as their name says", integers_lie_as_their_name_says},
        {"a list keeps order and survives removal", a_list_keeps_order_and_survives_removal_while_walking},
        {"versions order by timestamp, then sequence", versions_order_by_timestamp_then_sequence},
    };
    return UNIT_MAIN("bytes", cases);
}
