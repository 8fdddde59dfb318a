/* simstore_compact.c: compactions of a medium: what a filter drops; see simstore.h. */
#include <stdlib.h>

#include "common/base/error.h"
#include "tests/support/simstore_internal.h"

#define SIMSTORE_LEVELS 6          /* that a compaction may begin at */
#define SIMSTORE_PIECE_KEYS 64     /* of a range that is compacted on demand, at most, in one job */
#define SIMSTORE_PIECE_PASSES 4    /* operations until a job of it is done, at most */
#define SIMSTORE_SAME_PERMILLE 900 /* neighbours that lie in files of the same batches */

struct store_compaction {
    struct store *store;   /* borrowed */
    struct buf start, end; /* what is left; `end` empty: no bound */
    bool flushed, done;
    uint64_t passes; /* operations until the next job is done */
    int code;
};

/* The newest record of a key within batches (low, high]: what a job with these in its files sees. NULL: none, or it is
 * deleted there. */
static struct version_of *within(const struct entry *e, uint64_t low, uint64_t high)
{
    struct version_of *v = e->newest;
    while (v != NULL && v->batch > high)
        v = v->older;
    return v != NULL && v->batch > low && !v->deleted && v->dropped == 0 ? v : NULL;
}

static void drop(struct simstore *m, const struct entry *e, struct version_of *v)
{
    v->dropped = m->compactions;
    if (e->newest == v)
        m->content -= v->hash;
    v->hash = 0;
}

/* Files of which batches lie at a key. */
struct files {
    uint64_t low, high;
};

static struct files some_files(struct simstore *m)
{
    struct files f = {.high = m->durable_batch};
    uint64_t what = random_below(&m->random, 4);
    if (what & 1)
        f.high = random_below(&m->random, m->durable_batch + 1);
    if (what & 2)
        f.low = random_below(&m->random, f.high + 1);
    return f;
}

/* Of the keys from index `from` to before `to`. `partial`: of each the records of some batches; else all that are durable. */
static void job(struct simstore *m, size_t from, size_t to, bool partial)
{
    const struct store_filter *filter = m->open->config.filter;
    void *judge = filter != NULL ? filter->begin(filter->ctx) : NULL;
    if (judge == NULL)
        return;
    m->compactions++;
    int level = (int)random_below(&m->random, SIMSTORE_LEVELS);
    bool fails = partial && random_below(&m->random, 8) == 0; /* after it has judged: what it wrote is thrown away */
    struct files f = {.high = m->durable_batch};
    for (size_t i = from; i < to; i++) {
        if (partial && (i == from || random_below(&m->random, 1000) >= SIMSTORE_SAME_PERMILLE))
            f = some_files(m);
        struct entry *e = m->entries[i];
        struct version_of *v = within(e, f.low, f.high);
        if (v != NULL && filter->drop(judge, level, simstore_key(e), slice_make(v->value, v->size)) && !fails)
            drop(m, e, v);
    }
    filter->end(judge);
}

void simstore_compact_something(struct simstore *m)
{
    if (m->halted || m->open == NULL || m->open->config.filter == NULL || m->count == 0)
        return;
    uint64_t what = random_below(&m->random, 4);
    if (what == 0)
        return;
    size_t from = what == 1 ? 0 : random_below(&m->random, m->count);
    size_t to = what == 1 ? m->count : from + 1 + random_below(&m->random, m->count - from);
    job(m, from, to, true);
}

/* ---- on demand ---- */

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
    job(m, from, c->done ? end : to, false);
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
        if (v == NULL || v->batch > m->durable_batch || v->dropped != 0)
            continue;
        extent.bytes += m->entries[i]->size + v->size;
        extent.entries++;
        extent.deletions += v->deleted;
    }
    *out = extent;
    return HF_OK;
}
