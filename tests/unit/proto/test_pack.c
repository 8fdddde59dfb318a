/* test_pack.c: messages in and out of our memory; one whose structures would take far more than its bytes is refused
 * (I12). */
#include "proto/pack.h"

#include "common/base/error.h"
#include "proto/client.pb-c.h"
#include "proto/routes.h"
#include "tests/unit/unit.h"

static void there_and_back(void)
{
    struct arena arena = {0};
    struct buf packed = {0};
    Hf__Client__Get get = HF__CLIENT__GET__INIT;
    get.key = pack_bytes(slice_make("a\0b", 3));
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.id = 7;
    request.op_case = HF__CLIENT__REQUEST__OP_GET;
    request.get = &get;
    pack_append(&request.base, &packed);
    const Hf__Client__Request *again = pack_unpack(&hf__client__request__descriptor, buf_slice(&packed), &arena);
    CU_ASSERT_PTR_NOT_NULL_FATAL(again);
    CU_ASSERT(again->id == 7 && slice_equal(pack_slice(again->get->key), slice_make("a\0b", 3)));
    CU_ASSERT_PTR_NULL(pack_unpack(&hf__client__request__descriptor, slice_make("\xff\xff\xff", 3), &arena));
    buf_deinit(&packed);
    arena_deinit(&arena);
}

/* `count` members of two bytes each: as structures each takes some fifty. */
static const void *unpack_members(size_t count, struct arena *arena)
{
    struct buf bytes = {0};
    for (size_t i = 0; i < count; i++)
        buf_append(&bytes, "\x12\x00", 2);
    const void *members = pack_unpack(&hf__catalog__members__descriptor, buf_slice(&bytes), arena);
    buf_deinit(&bytes);
    return members;
}

static void growth_is_bounded(void)
{
    struct arena arena = {0};
    const Hf__Catalog__Members *few = unpack_members(64, &arena);
    CU_ASSERT(few && few->n_members == 64);
    arena_reset(&arena);
    CU_ASSERT_PTR_NULL(unpack_members(1000000, &arena));
    CU_ASSERT(arena.used <= 2 * 1000000 * PACK_GROWTH_MAX + 2 * PACK_GROWTH_FREE);
    arena_deinit(&arena);
}

static void growth_is_bounded_on_the_heap_too(void)
{
    struct buf bytes = {0};
    for (size_t i = 0; i < 1000000; i++)
        buf_append(&bytes, "\x12\x00", 2);
    CU_ASSERT_PTR_NULL(pack_unpack_owned(&hf__catalog__members__descriptor, buf_slice(&bytes)));
    bytes.size = 128;
    Hf__Catalog__Members *few = pack_unpack_owned(&hf__catalog__members__descriptor, buf_slice(&bytes));
    CU_ASSERT(few && few->n_members == 64);
    protobuf_c_message_free_unpacked(&few->base, NULL); /* with sanitizers: all of it */
    bytes.size = 127;
    CU_ASSERT_PTR_NULL(pack_unpack_owned(&hf__catalog__members__descriptor, buf_slice(&bytes)));
    buf_deinit(&bytes);
}

static void largest_correct_batch_fits(void) /* apply may never refuse what a leader packed */
{
    struct arena arena = {0};
    struct buf packed = {0};
    static Hf__Entry__Command commands[1024];
    static Hf__Entry__Command *list[1024];
    for (size_t i = 0; i < 1024; i++) {
        hf__entry__command__init(&commands[i]);
        commands[i].op = HF__ENTRY__OP__DELETE;
        commands[i].key = pack_bytes(slice_text("k"));
        list[i] = &commands[i];
    }
    Hf__Entry__CommandBatch batch = HF__ENTRY__COMMAND_BATCH__INIT;
    batch.n_commands = 1024;
    batch.commands = list;
    pack_append(&batch.base, &packed);
    CU_ASSERT_PTR_NOT_NULL(pack_unpack(&hf__entry__command_batch__descriptor, buf_slice(&packed), &arena));
    buf_deinit(&packed);
    arena_deinit(&arena);
}

static void routes_case(const char *split_at, const char *next_start, uint32_t second_shard, int code, size_t found)
{
    Hf__Catalog__Member member = HF__CATALOG__MEMBER__INIT, *members[] = {&member};
    member.replica = 1;
    Hf__Catalog__Shard one = HF__CATALOG__SHARD__INIT, two = HF__CATALOG__SHARD__INIT, *shards[] = {&one, &two};
    one.shard = 1;
    two.shard = 2;
    one.n_members = two.n_members = 1;
    one.members = two.members = members;
    Hf__Catalog__Range low = HF__CATALOG__RANGE__INIT, high = HF__CATALOG__RANGE__INIT;
    low.end = pack_bytes(slice_text(split_at));
    high.start = pack_bytes(slice_text(next_start));
    Hf__Catalog__Route a = HF__CATALOG__ROUTE__INIT, b = HF__CATALOG__ROUTE__INIT, *routes[] = {&a, &b};
    a.range = &low;
    a.shard = 1;
    b.range = &high;
    b.shard = second_shard;
    Hf__Catalog__Routes r = HF__CATALOG__ROUTES__INIT;
    r.n_routes = r.n_shards = 2;
    r.routes = routes;
    r.shards = shards;
    CU_ASSERT_EQUAL(routes_check(&r), code);
    if (code == HF_OK)
        CU_ASSERT_EQUAL(routes_find(&r, slice_text("m")), found);
}

static void routes_cover_the_keys_without_gap(void)
{
    routes_case("m", "m", 2, HF_OK, 1);
    routes_case("n", "n", 2, HF_OK, 0);
    routes_case("m", "n", 2, HF_E_INVALID, 0); /* a gap */
    routes_case("n", "m", 2, HF_E_INVALID, 0); /* an overlap */
    routes_case("m", "m", 3, HF_E_INVALID, 0); /* nobody knows shard 3 */
    routes_case("", "", 2, HF_E_INVALID, 0);
}

static bool both_take(const char *bytes, size_t size)
{
    struct arena arena = {0};
    bool taken = pack_unpack(&hf__catalog__members__descriptor, slice_make(bytes, size), &arena) != NULL;
    Hf__Catalog__Members *owned = pack_unpack_owned(&hf__catalog__members__descriptor, slice_make(bytes, size));
    CU_ASSERT_EQUAL(owned != NULL, taken);
    if (owned != NULL)
        protobuf_c_message_free_unpacked(&owned->base, NULL);
    arena_deinit(&arena);
    return taken;
}

/* Found by fuzz_files: a members file with such a field was read, and written so that nobody could read it any more. */
static void what_cannot_be_written_again_is_not_taken(void)
{
    CU_ASSERT(both_take("\xf8\xff\xff\xff\x0f\x01", 6)); /* number 2^29 - 1 is the largest: a later program's, kept */
    CU_ASSERT_FALSE(both_take("\x80\x80\x80\x80\x10\x01", 6)); /* 2^29 */
    CU_ASSERT_FALSE(both_take("\x80\x00\x01", 3));             /* 0, in more bytes than it takes */
    CU_ASSERT_FALSE(both_take("\x81\x00\0\0\0\0\0\0\0\0", 10));
    CU_ASSERT(both_take("\x12\x02\x08\x01", 4));
    CU_ASSERT_FALSE(both_take("\x12\x05\x08\x01\x80\x00\x01", 7)); /* in a member */
    struct arena arena = {0};                                      /* in the operation of a request: one of a union */
    const ProtobufCMessageDescriptor *request = &hf__client__request__descriptor;
    CU_ASSERT_PTR_NOT_NULL(pack_unpack(request, slice_make("\xa2\x01\x03\x0a\x01k", 6), &arena));
    CU_ASSERT_PTR_NULL(pack_unpack(request, slice_make("\xa2\x01\x06\x0a\x01k\x80\x00\x01", 9), &arena));
    arena_deinit(&arena);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"there and back", there_and_back},
        {"growth", growth_is_bounded},
        {"growth on the heap", growth_is_bounded_on_the_heap_too},
        {"largest batch", largest_correct_batch_fits},
        {"what cannot be written again", what_cannot_be_written_again_is_not_taken},
        {"routes", routes_cover_the_keys_without_gap},
    };
    return UNIT_MAIN("pack", cases);
}
