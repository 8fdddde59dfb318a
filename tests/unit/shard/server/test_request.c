/* test_request.c: what a shard refuses at its door, and which keys a request touches (I11, I12). */
#include "shard/server/request.h"

#include <stdlib.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "proto/pack.h"
#include "tests/unit/unit.h"

static char message[256];

static ProtobufCBinaryData bytes_of(const char *text)
{
    return pack_bytes(slice_text(text));
}

static Hf__Client__Request request(Hf__Client__Request__OpCase op)
{
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    q.version = 1;
    q.op_case = op;
    return q;
}

static int check_put(size_t key_bytes, size_t value_bytes)
{
    uint8_t *memory = calloc(1, key_bytes + value_bytes + 1);
    Hf__Client__Put put = HF__CLIENT__PUT__INIT;
    put.key = (ProtobufCBinaryData){key_bytes, memory};
    put.value = (ProtobufCBinaryData){value_bytes, memory};
    Hf__Client__Request q = request(HF__CLIENT__REQUEST__OP_PUT);
    q.put = &put;
    int rc = request_check(&q, message);
    free(memory);
    return rc;
}

static void keys_and_values_are_bounded(void)
{
    CU_ASSERT_EQUAL(check_put(1, 0), HF_OK);
    CU_ASSERT_EQUAL(check_put(LIMIT_KEY_BYTES, LIMIT_VALUE_BYTES), HF_OK);
    CU_ASSERT_EQUAL(check_put(0, 1), HF_E_INVALID);
    CU_ASSERT_EQUAL(check_put(LIMIT_KEY_BYTES + 1, 1), HF_E_LIMIT);
    CU_ASSERT_EQUAL(check_put(1, LIMIT_VALUE_BYTES + 1), HF_E_LIMIT);
    CU_ASSERT_STRING_EQUAL(message, "the value has 8388609 bytes, the limit is 8388608");
}

static int check_range(size_t start_bytes, size_t end_bytes, bool prefix)
{
    uint8_t *memory = calloc(1, start_bytes + end_bytes + 1);
    Hf__Client__Scan scan = HF__CLIENT__SCAN__INIT;
    Hf__Client__Key key = HF__CLIENT__KEY__INIT;
    scan.start = key.key = (ProtobufCBinaryData){start_bytes, memory};
    scan.end = (ProtobufCBinaryData){end_bytes, memory};
    Hf__Client__Request q = request(prefix ? HF__CLIENT__REQUEST__OP_DELETE_PREFIX : HF__CLIENT__REQUEST__OP_SCAN);
    if (prefix)
        q.delete_prefix = &key;
    else
        q.scan = &scan;
    int rc = request_check(&q, message);
    free(memory);
    return rc;
}

static void bounds_are_keys_or_their_successors(void)
{
    CU_ASSERT_EQUAL(check_range(0, 0, false), HF_OK);
    CU_ASSERT_EQUAL(check_range(LIMIT_KEY_BYTES + 1, LIMIT_KEY_BYTES + 1, false), HF_OK);
    CU_ASSERT_EQUAL(check_range(LIMIT_KEY_BYTES + 2, 0, false), HF_E_LIMIT);
    CU_ASSERT_EQUAL(check_range(0, LIMIT_KEY_BYTES + 2, false), HF_E_LIMIT);
    CU_ASSERT_EQUAL(check_range(LIMIT_KEY_BYTES, 0, true), HF_OK);
    CU_ASSERT_EQUAL(check_range(LIMIT_KEY_BYTES + 1, 0, true), HF_E_LIMIT);
}

static void unknown_versions_spaces_and_operations(void)
{
    Hf__Client__Request q = request(HF__CLIENT__REQUEST__OP_STATUS);
    Hf__Client__Empty empty = HF__CLIENT__EMPTY__INIT;
    q.status = &empty;
    CU_ASSERT_EQUAL(request_check(&q, message), HF_OK);
    q.version = 2;
    CU_ASSERT_EQUAL(request_check(&q, message), HF_E_PROTOCOL);
    q.version = 1;
    q.space = (Hf__Entry__Space)7;
    CU_ASSERT_EQUAL(request_check(&q, message), HF_E_PROTOCOL);
    q = request(HF__CLIENT__REQUEST__OP__NOT_SET);
    CU_ASSERT_EQUAL(request_check(&q, message), HF_E_PROTOCOL);
    q = request(HF__CLIENT__REQUEST__OP_CLUSTER_STATUS);
    CU_ASSERT_EQUAL(request_check(&q, message), HF_E_INVALID);
}

static void the_catalog_is_not_read_at_a_timestamp(void)
{
    Hf__Client__Request q = request(HF__CLIENT__REQUEST__OP_GET);
    Hf__Client__Get get = HF__CLIENT__GET__INIT;
    get.key = bytes_of("k");
    q.get = &get;
    CU_ASSERT_EQUAL(request_check(&q, message), HF_OK);
    get.at = 1;
    CU_ASSERT_EQUAL(request_check(&q, message), HF_OK);
    q.space = HF__ENTRY__SPACE__CATALOG;
    CU_ASSERT_EQUAL(request_check(&q, message), HF_E_REFUSED);
}

static int check_lease(uint64_t ceiling, uint64_t timestamp)
{
    Hf__Client__Lease lease = HF__CLIENT__LEASE__INIT;
    lease.ceiling = ceiling;
    lease.timestamp = timestamp;
    Hf__Client__Request q = request(HF__CLIENT__REQUEST__OP_LEASE);
    q.lease = &lease;
    return request_check(&q, message);
}

static int check_fence(uint64_t session, uint64_t seq)
{
    Hf__Client__SessionFence fence = HF__CLIENT__SESSION_FENCE__INIT;
    fence.session = session;
    fence.seq = seq;
    Hf__Client__Request q = request(HF__CLIENT__REQUEST__OP_SESSION_FENCE);
    q.session_fence = &fence;
    return request_check(&q, message);
}

static void absurd_leases_and_fences(void)
{
    CU_ASSERT_EQUAL(check_lease(100, 99), HF_OK);
    CU_ASSERT_EQUAL(check_lease(100, 100), HF_E_INVALID);
    CU_ASSERT_EQUAL(check_lease(UINT64_MAX, 1), HF_E_INVALID); /* it would never fall again */
    CU_ASSERT_EQUAL(check_fence(1, 1), HF_OK);
    CU_ASSERT_EQUAL(check_fence(0, 7), HF_E_INVALID); /* session 0 would open one */
    CU_ASSERT_EQUAL(check_fence(7, 0), HF_E_INVALID);
}

static void sessions_and_sequence_numbers_go_together(void)
{
    Hf__Client__Request q = request(HF__CLIENT__REQUEST__OP_DEL);
    Hf__Client__Key key = HF__CLIENT__KEY__INIT;
    key.key = bytes_of("k");
    q.del = &key;
    q.session = 5;
    CU_ASSERT_EQUAL(request_check(&q, message), HF_E_INVALID);
    q.seq = 3;
    q.done_below = 3;
    CU_ASSERT_EQUAL(request_check(&q, message), HF_OK);
    q.done_below = 4;
    CU_ASSERT_EQUAL(request_check(&q, message), HF_E_INVALID);
    q = request(HF__CLIENT__REQUEST__OP_DEL);
    q.del = &key;
    q.seq = 3;
    CU_ASSERT_EQUAL(request_check(&q, message), HF_E_INVALID);
}

static void prefix_case(struct slice prefix, struct slice end)
{
    struct arena arena = {0};
    Hf__Client__Key key = HF__CLIENT__KEY__INIT;
    key.key = pack_bytes(prefix);
    Hf__Client__Request q = request(HF__CLIENT__REQUEST__OP_DELETE_PREFIX);
    q.delete_prefix = &key;
    struct request_span span;
    CU_ASSERT(request_span(&q, &arena, &span));
    CU_ASSERT(!span.single && slice_equal(span.start, prefix) && slice_equal(span.end, end));
    arena_deinit(&arena);
}

static void a_prefix_spans_up_to_its_successor(void)
{
    prefix_case(slice_text("ab"), slice_text("ac"));
    prefix_case(slice_make("a\xff\xff", 3), slice_text("b"));
    prefix_case(slice_make("\xff", 1), slice_make(NULL, 0));
    prefix_case(slice_make(NULL, 0), slice_make(NULL, 0));
}

static void requests_without_keys_span_nothing(void)
{
    struct arena arena = {0};
    struct request_span span;
    Hf__Client__Request q = request(HF__CLIENT__REQUEST__OP_STATUS);
    CU_ASSERT(!request_span(&q, &arena, &span));
    arena_deinit(&arena);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"bounds", keys_and_values_are_bounded},
        {"ranges", bounds_are_keys_or_their_successors},
        {"unknown versions, spaces, operations", unknown_versions_spaces_and_operations},
        {"reads at a timestamp", the_catalog_is_not_read_at_a_timestamp},
        {"leases and fences", absurd_leases_and_fences},
        {"sessions", sessions_and_sequence_numbers_go_together},
        {"prefix spans", a_prefix_spans_up_to_its_successor},
        {"no keys", requests_without_keys_span_nothing},
    };
    return UNIT_MAIN("request", cases);
}
