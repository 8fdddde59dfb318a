/* fuzz_raft.c: any envelopes, one after the other, into a live engine of three members: dropped or followed, never a
 * crash; terms and commit index never fall, and what is out of all bounds changes nothing. */
#include "common/base/limits.h"
#include "proto/raft.pb-c.h"
#include "shard/engine/engine.h"
#include "shard/engine/native/core.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/simdisk.h"

#ifndef FUZZED /* fuzz_raft_libraft.c */
#define FUZZED engine_native
#endif
#define MEMBERS 3

static void on_send(void *ctx, uint32_t to, const Hf__Raft__Raft *m)
{
    (void)ctx;
    must(to != 0 && m->term > 0 && m->term <= CORE_INDEX_MAX + 1);
}

static int on_apply(void *ctx, const struct log_entry *entries, size_t count)
{
    uint64_t *applied = ctx;
    for (size_t i = 0; i < count; i++)
        must(entries[i].index == ++*applied && entries[i].data.size <= LIMIT_ENTRY_BYTES);
    return HF_OK;
}

static void on_barrier(void *ctx, uint64_t id, uint64_t index)
{
    (void)ctx, (void)id, (void)index;
}

static void on_snapshot_needed(void *ctx, uint32_t from, uint64_t index, uint64_t term)
{
    (void)ctx, (void)from, (void)index, (void)term;
}

static int on_recovered(void *ctx)
{
    (void)ctx;
    return HF_OK;
}

static void on_changed(void *ctx)
{
    (void)ctx;
}

static void one_turn(struct engine *e, uint64_t *now)
{
    *now += 30000000;
    FUZZED.tick(e, *now);
    FUZZED.step(e);
    FUZZED.send_early(e);
    must(FUZZED.persist(e) == HF_OK);
    FUZZED.send_late(e);
    must(FUZZED.apply(e) >= 0);
}

static bool out_of_bounds(const Hf__Raft__Raft *m)
{
    return m->term == 0 || m->term > CORE_INDEX_MAX || m->index > CORE_INDEX_MAX || m->round > CORE_INDEX_MAX ||
           m->n_entries > CORE_MESSAGE_ENTRIES || (unsigned)m->kind > HF__RAFT__KIND__SNAPSHOT_REPLY ||
           m->kind == HF__RAFT__KIND__NONE;
}

static void one_message(struct engine *e, const Hf__Raft__Raft *m, uint32_t from)
{
    struct engine_status before = FUZZED.status(e);
    FUZZED.receive(e, from, m);
    struct engine_status after = FUZZED.status(e);
    must(after.term >= before.term && after.commit >= before.commit && after.commit <= after.last);
    must(after.term <= CORE_INDEX_MAX);
    if (out_of_bounds(m))
        must(after.term == before.term && after.commit == before.commit && after.last == before.last &&
             after.leader == before.leader && after.role == before.role);
}

static void messages(struct engine *e, struct slice in)
{
    uint64_t now = 1000000000;
    struct arena arena = {0};
    while (in.size > 2) {
        uint8_t how = fuzz_byte(&in);
        uint16_t length = fuzz_word(&in);
        arena_reset(&arena);
        const Hf__Raft__Envelope *envelope =
            pack_unpack(&hf__raft__envelope__descriptor, fuzz_bytes(&in, length), &arena);
        if (envelope) {
            fuzz_stable(&envelope->base);
            if (envelope->body_case == HF__RAFT__ENVELOPE__BODY_RAFT && envelope->raft)
                one_message(e, envelope->raft, 2 + how % (MEMBERS - 1));
        }
        if (how & 0x80)
            one_turn(e, &now);
    }
    one_turn(e, &now);
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct simdisk *sd = simdisk_new();
    Hf__Catalog__Member list[MEMBERS], *pointers[MEMBERS];
    for (uint32_t i = 0; i < MEMBERS; i++) {
        hf__catalog__member__init(&list[i]);
        list[i].replica = i + 1;
        list[i].incarnation = i + 10;
        list[i].raft_endpoint = list[i].client_endpoint = (char *)"tcp://127.0.0.1:1";
        pointers[i] = &list[i];
    }
    Hf__Catalog__Members members = HF__CATALOG__MEMBERS__INIT;
    members.index = 1;
    members.n_members = MEMBERS;
    members.members = pointers;
    uint64_t applied = 1;
    struct engine_env env = {.disk = simdisk_disk(sd),
                             .dir = "d",
                             .group = 1,
                             .replica = 1,
                             .log_epoch = 1,
                             .heartbeat_ms = 100,
                             .election_ms = 500,
                             .segment_bytes = 65536,
                             .seed = 1,
                             .now_ns = 1000000000,
                             .applied = applied,
                             .applied_term = 1,
                             .members = &members,
                             .ctx = &applied,
                             .send = on_send,
                             .apply = on_apply,
                             .barrier_ready = on_barrier,
                             .changed = on_changed,
                             .snapshot_needed = on_snapshot_needed,
                             .recovered = on_recovered};
    struct engine *e = NULL;
    char where[256];
    must(env.disk->ops->make_dir(env.disk, "d") == HF_OK);
    must(FUZZED.create(&env, 1, 1) == HF_OK);
    must(FUZZED.open(&env, &e, where) == HF_OK);
    messages(e, slice_make(data, size));
    FUZZED.close(&e);
    must(FUZZED.open(&env, &e, where) == HF_OK); /* whatever was believed can be read again */
    FUZZED.close(&e);
    simdisk_free(&sd);
    return 0;
}
