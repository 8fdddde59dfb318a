/* quiet_env.h: an engine's calls out, of a test that only opens it: nothing is sent, everything is applied. */
#pragma once

#include "common/base/error.h"
#include "shard/engine/engine.h"

static void quiet_send(void *ctx, uint32_t to, const Hf__Raft__Raft *m)
{
    (void)ctx, (void)to, (void)m;
}

static int quiet_apply(void *ctx, const struct log_entry *entries, size_t count)
{
    (void)ctx, (void)entries, (void)count;
    return HF_OK;
}

static void quiet_barrier(void *ctx, uint64_t id, uint64_t index)
{
    (void)ctx, (void)id, (void)index;
}

static void quiet_changed(void *ctx)
{
    (void)ctx;
}

static void quiet_needed(void *ctx, uint32_t from, uint64_t index, uint64_t term)
{
    (void)ctx, (void)from, (void)index, (void)term;
}

static int quiet_recovered(void *ctx)
{
    (void)ctx;
    return HF_OK;
}

static inline struct engine_env quiet_env(void)
{
    return (struct engine_env){.send = quiet_send,
                               .apply = quiet_apply,
                               .barrier_ready = quiet_barrier,
                               .changed = quiet_changed,
                               .snapshot_needed = quiet_needed,
                               .recovered = quiet_recovered};
}
