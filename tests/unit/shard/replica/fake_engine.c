/* fake_engine.c: see fake_engine.h. */
#include "tests/unit/shard/replica/fake_engine.h"

#include "common/base/error.h"

static struct fake_engine *of(const struct engine *e)
{
    return (struct fake_engine *)(uintptr_t)e;
}

static int propose(struct engine *e, enum log_kind kind, struct slice data, uint64_t *out_index, uint64_t *out_term)
{
    struct fake_engine *f = of(e);
    (void)kind;
    if (f->propose_code)
        return f->propose_code;
    must(f->proposals < 64);
    f->opcode[f->proposals] = data.data[0];
    f->payload_bytes[f->proposals++] = data.size;
    *out_index = ++f->last;
    *out_term = f->term;
    return HF_OK;
}

static int barrier(struct engine *e, uint64_t id)
{
    of(e)->barrier = id;
    return of(e)->barrier_code;
}

static uint64_t read_lease(const struct engine *e)
{
    return of(e)->lease_ns;
}

static struct engine_status status(const struct engine *e)
{
    return (struct engine_status){.commit = of(e)->commit, .last = of(e)->last, .term = of(e)->term};
}

const struct engine_ops fake_engine_ops = {
    .name = "fake", .propose = propose, .barrier = barrier, .read_lease = read_lease, .status = status};
