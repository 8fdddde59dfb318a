/* fuzz_request.c: any bytes as a client's message at a shard's door: what passes the checks keeps every limit. */
#include "common/base/hlc.h"
#include "common/base/limits.h"
#include "shard/server/request.h"
#include "tests/fuzz/fuzz.h"

/* The catalog is read as it is. */
static bool at_of_users(const Hf__Client__Request *q, uint64_t at)
{
    return at == 0 || q->space == HF__ENTRY__SPACE__USER;
}

static void within_limits(const Hf__Client__Request *q)
{
    must(q->version == REQUESTS_VERSION && q->done_below <= q->seq && (q->session != 0) == (q->seq != 0));
    must(q->space == HF__ENTRY__SPACE__USER || q->space == HF__ENTRY__SPACE__CATALOG);
    if (q->op_case == HF__CLIENT__REQUEST__OP_PUT)
        must(q->put->key.len > 0 && q->put->key.len <= LIMIT_KEY_BYTES && q->put->value.len <= LIMIT_VALUE_BYTES);
    if (q->op_case == HF__CLIENT__REQUEST__OP_CAS)
        must(q->cas->key.len > 0 && q->cas->key.len <= LIMIT_KEY_BYTES && q->cas->value.len <= LIMIT_VALUE_BYTES);
    if (q->op_case == HF__CLIENT__REQUEST__OP_GET)
        must(q->get->key.len > 0 && q->get->key.len <= LIMIT_KEY_BYTES && at_of_users(q, q->get->at));
    if (q->op_case == HF__CLIENT__REQUEST__OP_SCAN)
        must(at_of_users(q, q->scan->at));
    if (q->op_case == HF__CLIENT__REQUEST__OP_DEL)
        must(q->del->key.len > 0 && q->del->key.len <= LIMIT_KEY_BYTES);
    if (q->op_case == HF__CLIENT__REQUEST__OP_DELETE_PREFIX)
        must(q->delete_prefix->key.len <= LIMIT_KEY_BYTES);
    if (q->op_case == HF__CLIENT__REQUEST__OP_LEASE)
        must(q->lease->timestamp < q->lease->ceiling && hlc_ms((struct hlc){q->lease->ceiling}) < UINT64_C(1) << 45);
    must(q->op_case != HF__CLIENT__REQUEST__OP_TIMESTAMP && q->op_case != HF__CLIENT__REQUEST__OP__NOT_SET);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct arena arena;
    char message[REQUESTS_TEXT_BYTES] = "";
    struct request_span span;
    arena_reset(&arena);
    const Hf__Client__Request *q = pack_unpack(&hf__client__request__descriptor, slice_make(data, size), &arena);
    if (q == NULL)
        return 0;
    must(arena.used <= size * PACK_GROWTH_MAX + PACK_GROWTH_FREE + size * 16 + 4096); /* I12; rounding included */
    fuzz_stable(&q->base);
    int rc = request_check(q, message);
    if (rc != HF_OK) {
        must(error_class(rc) == HF_CLASS_GIVE_UP &&
             message[0] != '\0'); /* a refusal says why, and does not ask to retry */
        return 0;
    }
    within_limits(q);
    if (request_span(q, &arena, &span)) {
        must(span.start.size <= LIMIT_KEY_BYTES + 1 && span.end.size <= LIMIT_KEY_BYTES + 1);
        must(!span.single || span.start.size > 0);
    }
    return 0;
}
