/* fuzz_transfer.c: any bytes as a message between a sender and a receiver of a state: what passes keeps every bound, and
 * means the same once packed again. */
#include "common/base/crc32c.h"
#include "common/base/limits.h"
#include "shard/snapshot/transfer.h"
#include "tests/fuzz/fuzz.h"

static const struct identity own = {.cluster = 7, .group = 1, .replica = 1, .incarnation = 10, .log_epoch = 1};

static void request(struct slice bytes, struct arena *arena)
{
    const Hf__Snapshot__Request *q = NULL;
    enum transfer_verdict verdict = transfer_read_request(&own, bytes, arena, &q);
    must((q == NULL) == (verdict == TRANSFER_MALFORMED)); /* who is refused can be answered */
    if (!q)
        return;
    must(q->version == TRANSFER_VERSION && q->attempt != 0);
    must((verdict == TRANSFER_FINE) == (transfer_verdict_code(verdict) == HF_OK));
    if (verdict == TRANSFER_FINE)
        must(q->cluster == 7 && q->group == 1 && q->log_epoch == 1 && q->to == 1 && q->from > 1);
    if (q->body_case == HF__SNAPSHOT__REQUEST__BODY_FETCH)
        must(q->fetch->offset <= q->fetch->until && q->fetch->until + TRANSFER_WINDOW_BYTES > q->fetch->until);
    if (q->body_case == HF__SNAPSHOT__REQUEST__BODY_CREDIT)
        must(q->credit->offset <= q->credit->until && q->credit->until + TRANSFER_WINDOW_BYTES > q->credit->until);
    fuzz_stable(&q->base);
}

static void reply(struct slice bytes, struct arena *arena)
{
    const Hf__Snapshot__Reply *p = NULL;
    enum transfer_verdict verdict = transfer_read_reply(&own, 2, bytes, arena, &p);
    must((p == NULL) == (verdict == TRANSFER_MALFORMED));
    if (!p)
        return;
    if (verdict == TRANSFER_FINE)
        must(p->cluster == 7 && p->group == 1 && p->from == 2);
    if (p->body_case == HF__SNAPSHOT__REPLY__BODY_CHUNK)
        must(p->chunk->data.len > 0 && p->chunk->data.len <= TRANSFER_CHUNK_BYTES && p->stream != 0 &&
             p->chunk->offset + p->chunk->data.len > p->chunk->offset);
    if (p->body_case == HF__SNAPSHOT__REPLY__BODY_REFUSAL)
        must(p->refusal->code < 0 && strlen(p->refusal->message) <= LIMIT_TEXT_BYTES);
    fuzz_stable(&p->base);
}

/* A chunk with the right checksum, so that what stands behind is reached. */
static void reply_made_right(struct slice bytes, struct arena *arena)
{
    struct buf packed = {0};
    const Hf__Snapshot__Reply *p = pack_unpack(&hf__snapshot__reply__descriptor, bytes, arena);
    if (!p || p->body_case != HF__SNAPSHOT__REPLY__BODY_CHUNK)
        return;
    p->chunk->crc = crc32c(0, p->chunk->data.data, p->chunk->data.len);
    pack_append(&p->base, &packed);
    reply(buf_slice(&packed), arena);
    buf_deinit(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct arena arena;
    arena_reset(&arena);
    request(slice_make(data, size), &arena);
    arena_reset(&arena);
    reply(slice_make(data, size), &arena);
    must(arena.used <= size * PACK_GROWTH_MAX + PACK_GROWTH_FREE + size * 16 + 4096); /* I12; rounding included */
    reply_made_right(slice_make(data, size), &arena);
    return 0;
}
