/* core_log.c: the log as the core knows it: runs of equal terms above a base. */
#include "common/base/error.h"
#include "shard/engine/native/core_state.h"

static uint64_t run_end(const struct core *c, size_t i) /* last index of run i */
{
    return i + 1 < c->run_count ? c->runs[i + 1].first - 1 : c->last;
}

/* The run that holds `index`, base ≤ index ≤ last. Recent ones are asked for most. */
static size_t run_of(const struct core *c, uint64_t index)
{
    size_t i = c->run_count - 1;
    if (c->runs[i].first <= index)
        return i;
    size_t low = 0; /* runs[low].first ≤ index < runs[i].first */
    while (low + 1 < i) {
        size_t middle = low + (i - low) / 2;
        if (c->runs[middle].first <= index)
            low = middle;
        else
            i = middle;
    }
    return low;
}

bool core_term_at(const struct core *c, uint64_t index, uint64_t *out_term)
{
    if (index < c->runs[0].first || index > c->last)
        return false;
    *out_term = c->runs[run_of(c, index)].term;
    return true;
}

uint64_t core_last(const struct core *c)
{
    return c->last;
}

uint64_t core_base(const struct core *c)
{
    return c->runs[0].first;
}

uint64_t core_log_last_term(const struct core *c)
{
    return c->runs[c->run_count - 1].term;
}

size_t core_runs_room(const struct core *c)
{
    return c->run_cap - c->run_count;
}

size_t core_runs_cap(const struct core *c)
{
    return c->run_cap;
}

struct core_run *core_give_runs(struct core *c, struct core_run *runs, size_t cap)
{
    must(cap > c->run_cap);
    struct core_run *old = c->runs;
    for (size_t i = 0; i < c->run_count; i++)
        runs[i] = old[i];
    c->runs = runs;
    c->run_cap = cap;
    return old;
}

void core_log_append(struct core *c, uint64_t term, size_t count)
{
    uint64_t newest = core_log_last_term(c);
    must(term >= newest); /* terms never fall in a log */
    if (term != newest) {
        must(c->run_count < c->run_cap);
        c->runs[c->run_count++] = (struct core_run){c->last + 1, term};
    }
    c->last += count;
}

void core_log_truncate(struct core *c, uint64_t from)
{
    must(from > c->commit && from > c->runs[0].first && from <= c->last); /* what is committed stays */
    core_trace(c, CORE_TRACE_TRUNCATED, from, c->last);
    while (c->run_count > 1 && c->runs[c->run_count - 1].first >= from)
        c->run_count--;
    c->last = from - 1;
    if (c->persisted > c->last)
        c->persisted = c->last;
    if (c->ack.match > c->last)
        c->ack.match = c->last;
    if (c->ack.sent > c->last)
        c->ack.sent = c->last;
    core_config_truncated(c, from);
}

void core_log_trim(struct core *c, uint64_t index)
{
    if (index <= c->runs[0].first)
        return;
    must(index <= c->last);
    size_t keep = run_of(c, index);
    c->runs[keep].first = index;
    c->run_count -= keep;
    for (size_t i = 0; keep > 0 && i < c->run_count; i++)
        c->runs[i] = c->runs[i + keep];
}

void core_log_restart(struct core *c, uint64_t index, uint64_t term)
{
    must(index >= c->runs[0].first);
    c->runs[0] = (struct core_run){index, term};
    c->run_count = 1;
    c->last = index;
    if (c->persisted > index)
        c->persisted = index;
}

uint64_t core_log_agree(const struct core *c, uint64_t index, uint64_t term)
{
    for (size_t i = c->run_count; i-- > 0;) {
        if (c->runs[i].first > index || c->runs[i].term > term)
            continue;
        uint64_t end = run_end(c, i);
        return end < index ? end : index;
    }
    return 0;
}

int core_log_committed(struct core *c, uint64_t index, uint64_t term)
{
    uint64_t known;
    if (index < core_base(c))
        return HF_OK; /* gone, so it was applied */
    if (!core_term_at(c, index, &known))
        return HF_E_ABSENT;
    if (known != term)
        return index <= c->commit ? HF_E_CORRUPT : HF_E_ABSENT;
    if (index > c->commit)
        c->commit = index;
    return HF_OK;
}
