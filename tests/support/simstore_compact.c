/* simstore_compact.c: compactions of a medium, when they are asked for; see simstore.h. */
#include <stdlib.h>

#include "common/base/error.h"
#include "tests/support/simstore_internal.h"

#define SIMSTORE_PIECE_KEYS 64  /* of a range, at most, in one job */
#define SIMSTORE_PIECE_PASSES 4 /* operations until a job of it is done, at most */

struct store_compaction {
    struct store *store;   /* borrowed */
    struct buf start, end; /* what is left; `end` empty: no bound */
    bool flushed, done;
    uint64_t passes; /* operations until the next job is done */
    int code;
};

/* Of the keys from index `from` to before `to`: of what is durable. */
static void compact(struct simstore *m, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        struct version_of *v = m->entries[i]->newest;
        if (v->batch <= m->durable_batch)
            v->compacted = v->deleted;
    }
}

int store_compact_begin(struct store *s, struct slice start, struct slice end, struct store_compaction **out)
{
    if (s->compaction != NULL)
        return HF_E_BUSY;
    struct store_compaction *c = calloc(1, sizeof *c);
    must(c != NULL);
    c->store = s;
    buf_append(&c->start, start.data, start.size);
    buf_append(&c->end, end.data, end.size);
    s->compaction = c;
    *out = c;
    return HF_OK;
}

/* RocksDB flushes before it compacts, if something of the range is in memory; a deletion of what never was is. */
static bool in_memory(const struct simstore *m, size_t from, size_t to)
{
    bool found = false;
    for (size_t i = from; i < to && !found; i++)
        found = m->entries[i]->newest->batch > m->durable_batch;
    return found;
}

/* The next file's worth of it. */
static void step(struct store_compaction *c)
{
    struct simstore *m = c->store->medium;
    if (m->fail_times > 0) {
        c->code = m->fail_code;
        c->done = true;
        return;
    }
    size_t from = simstore_find(m, buf_slice(&c->start));
    size_t end = c->end.size > 0 ? simstore_find(m, buf_slice(&c->end)) : m->count;
    if (!c->flushed && (in_memory(m, from, end) || random_below(&m->random, 2) == 0))
        simstore_flush(m, m->batch);
    c->flushed = true;
    size_t to = from + 1 + random_below(&m->random, SIMSTORE_PIECE_KEYS);
    c->done = to >= end;
    compact(m, from, c->done ? end : to);
    if (!c->done) {
        buf_clear(&c->start);
        buf_append(&c->start, m->entries[to]->key, m->entries[to]->size);
    }
    c->passes = random_below(&m->random, SIMSTORE_PIECE_PASSES);
}

void simstore_compact_pass(struct store_compaction *c)
{
    if (!c->done && !c->store->medium->halted && c->passes-- == 0)
        step(c);
}

bool store_compact_done(struct store_compaction *c)
{
    simstore_compact_pass(c);
    return c->done;
}

int store_compact_end(struct store_compaction **compaction)
{
    struct store_compaction *c = *compaction;
    if (c == NULL)
        return HF_OK;
    int rc = c->done ? c->code : HF_E_AGAIN;
    c->store->compaction = NULL;
    buf_deinit(&c->start);
    buf_deinit(&c->end);
    free(c);
    *compaction = NULL;
    return rc;
}

/* A byte is a byte; what is deleted counts until a compaction. */
int store_compact_extent(struct store *s, struct slice start, struct slice end, struct store_extent *out)
{
    const struct simstore *m = s->medium;
    struct store_extent extent = {0};
    size_t to = end.size > 0 ? simstore_find(m, end) : m->count;
    for (size_t i = simstore_find(m, start); i < to; i++) {
        const struct version_of *v = m->entries[i]->newest;
        if (v == NULL || v->batch > m->durable_batch || v->compacted)
            continue;
        extent.bytes += m->entries[i]->size + v->size;
        extent.entries++;
        extent.deletions += v->deleted;
    }
    *out = extent;
    return HF_OK;
}
