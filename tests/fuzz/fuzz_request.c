/* fuzz_request.c: any bytes as a client's message: decoded, checked, spanned; never a crash, never an unbounded key. */
#include "common/base/error.h"
#include "common/base/limits.h"
#include "proto/pack.h"
#include "shard/server/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct arena arena;
    char message[256];
    struct request_span span;
    arena_reset(&arena);
    const Hf__Client__Request *q = pack_unpack(&hf__client__request__descriptor, slice_make(data, size), &arena);
    if (q && request_check(q, message) == HF_OK && request_span(q, &arena, &span)) {
        must(span.start.size <= LIMIT_KEY_BYTES + 1 && span.end.size <= LIMIT_KEY_BYTES + 1);
        must(!span.single || span.start.size > 0);
    }
    return 0;
}
