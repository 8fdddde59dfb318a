/* test_abi.c: a program that sees nothing but the installed header, linked with the shared library. */
#include "client/include/holdfast/holdfast.h"

#include <string.h>

#include "tests/unit/unit.h"

static void the_error_table_is_complete(void)
{
    static const struct {
        int code, cls;
        const char *name;
    } table[] = {
#define ROW(name, number, cls) {name, cls, #name},
        HF_PUBLIC_ERRORS(ROW)
#undef ROW
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        CU_ASSERT_EQUAL(table[i].code, -(int)(i + 1));
        CU_ASSERT_EQUAL((int)hf_error_class(table[i].code), table[i].cls);
        CU_ASSERT_STRING_EQUAL(hf_error_name(table[i].code), table[i].name + strlen("HF_E_"));
        CU_ASSERT_STRING_NOT_EQUAL(hf_error_text(table[i].code), "unknown error");
    }
    CU_ASSERT_EQUAL(hf_error_class(-12345), HF_CLASS_OUTCOME_UNKNOWN);
    CU_ASSERT_STRING_EQUAL(hf_class_name(HF_CLASS_REFRESH_ROUTE), "REFRESH_ROUTE");
}

static void a_handle_opens_and_closes_without_a_cluster(void)
{
    struct hf *h = NULL;
    struct hf_options options = {.endpoints = "tcp://127.0.0.1:21598,tcp://127.0.0.1:21597"};
    CU_ASSERT_EQUAL_FATAL(hf_open(&options, HF_ABI, &h), HF_OK);
    struct hf_future *f = NULL;
    struct hf_call call = {.deadline_ms = 60000, .tag = &options};
    CU_ASSERT_EQUAL(hf_get_async(h, (struct hf_bytes){"k", 1}, 0, &call, &f), HF_OK);
    CU_ASSERT_EQUAL(hf_future_poll(f), HF_E_AGAIN);
    hf_close(&h);
    CU_ASSERT_EQUAL(hf_future_poll(f), HF_E_CLOSED);
    CU_ASSERT_PTR_EQUAL(hf_future_tag(f), &options);
    CU_ASSERT_TRUE(strlen(hf_future_message(f)) > 0);
    hf_future_free(f);
    hf_close(&h);
}

static void limits_are_enforced_before_anything_is_sent(void)
{
    static char big[8 * 1024 * 1024 + 1];
    struct hf *h = NULL;
    struct hf_options options = {.endpoints = "tcp://127.0.0.1:21598", .outstanding_max = 1};
    CU_ASSERT_EQUAL_FATAL(hf_open(&options, HF_ABI, &h), HF_OK);
    struct hf_call call = {.deadline_ms = 60000};
    struct hf_future *f = NULL, *second = NULL;
    struct hf_bytes key = {"k", 1};
    CU_ASSERT_EQUAL(hf_put_async(h, key, (struct hf_bytes){big, sizeof big}, 0, &call, &f), HF_E_LIMIT);
    CU_ASSERT_EQUAL(hf_put_async(h, (struct hf_bytes){big, 16 * 1024 + 1}, key, 0, &call, &f), HF_E_LIMIT);
    CU_ASSERT_EQUAL(hf_put_async(h, (struct hf_bytes){big, 16 * 1024}, key, 0, &call, &f), HF_OK);
    CU_ASSERT_EQUAL(hf_put_async(h, key, key, 0, &call, &second), HF_E_BUSY);
    hf_close(&h);
    hf_future_free(f);
}

static void timestamps_come_from_a_coordinator_only(void)
{
    struct hf *h = NULL;
    struct hf_options options = {.endpoints = "tcp://127.0.0.1:21598"};
    CU_ASSERT_EQUAL_FATAL(hf_open(&options, HF_ABI, &h), HF_OK);
    uint64_t t = 7;
    CU_ASSERT_EQUAL(hf_timestamp(h, 0, 100, &t), HF_E_TIMEOUT);
    CU_ASSERT_EQUAL(t, 7);
    struct hf_range range = {.at = HF_AT_FRESH};
    struct hf_cursor *c = NULL;
    const struct hf_item *item;
    CU_ASSERT_EQUAL_FATAL(hf_cursor_open(h, &range, 100, &c), HF_OK);
    CU_ASSERT_EQUAL(hf_cursor_next(c, &item), HF_E_TIMEOUT);
    CU_ASSERT_EQUAL(hf_cursor_timestamp(c), 0);
    CU_ASSERT_EQUAL(hf_cursor_restart_above(c), 0);
    hf_cursor_close(c);
    struct hf_future *f = NULL;
    struct hf_call call = {.deadline_ms = 60000};
    CU_ASSERT_EQUAL(hf_timestamp_async(h, 0, &call, &f), HF_OK);
    hf_close(&h);
    CU_ASSERT_EQUAL(hf_future_poll(f), HF_E_CLOSED);
    CU_ASSERT_EQUAL(hf_future_timestamp(f), 0);
    hf_future_free(f);
}

static void a_status_of_nothing_is_not_healthy(void)
{
    struct hf_cluster_status *s = NULL;
    CU_ASSERT_EQUAL_FATAL(hf_cluster_status("tcp://127.0.0.1:21598", 300, &s), HF_OK);
    CU_ASSERT_FALSE(hf_cluster_status_healthy(s));
    CU_ASSERT_EQUAL(hf_cluster_status_shards(s), 0);
    CU_ASSERT_EQUAL(hf_cluster_status_cluster(s), 0);
    hf_cluster_status_free(s);
    CU_ASSERT_EQUAL(hf_cluster_status("", 300, &s), HF_E_INVALID);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"the error table is complete", the_error_table_is_complete},
        {"a handle opens and closes without a cluster", a_handle_opens_and_closes_without_a_cluster},
        {"limits are enforced before anything is sent", limits_are_enforced_before_anything_is_sent},
        {"timestamps come from a coordinator only", timestamps_come_from_a_coordinator_only},
        {"a status of nothing is not healthy", a_status_of_nothing_is_not_healthy},
    };
    return UNIT_MAIN("client abi", cases);
}
