/* fuzz_raft.c: any raft messages, one after the other, into a live engine of three members: dropped or followed, never
 * a crash. Each message is a length byte, a sender and that many bytes of hf.raft.Raft. */
#include "common/base/error.h"
#include "shard/engine/engine.h"
#include "tests/support/simdisk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_send(void *ctx, uint32_t to, const Hf__Raft__Raft *m)
{
    (void)ctx, (void)to, (void)m;
}

static int on_apply(void *ctx, const struct log_entry *entries, size_t count)
{
    (void)ctx, (void)entries, (void)count;
    return HF_OK;
}

static void on_barrier(void *ctx, uint64_t id, uint64_t index)
{
    (void)ctx, (void)id, (void)index;
}

static void on_changed(void *ctx)
{
    (void)ctx;
}

static void one_turn(struct engine *e, uint64_t *now)
{
    *now += 30000000;
    engine_native.tick(e, *now);
    engine_native.step(e);
    engine_native.send_early(e);
    must(engine_native.persist(e) == HF_OK);
    engine_native.send_late(e);
    (void)engine_native.apply(e);
}

static void messages(struct engine *e, const uint8_t *data, size_t size)
{
    uint64_t now = 1000000000;
    while (size > 2) {
        size_t bytes = data[0] < size - 2 ? data[0] : size - 2;
        Hf__Raft__Raft *m = hf__raft__raft__unpack(NULL, bytes, data + 2);
        if (m) {
            engine_native.receive(e, 2 + data[1] % 2, m);
            hf__raft__raft__free_unpacked(m, NULL);
        }
        if (data[1] & 0x80)
            one_turn(e, &now);
        data += 2 + bytes;
        size -= 2 + bytes;
    }
    one_turn(e, &now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct simdisk *sd = simdisk_new();
    Hf__Catalog__Member list[3], *pointers[3];
    for (uint32_t i = 0; i < 3; i++) {
        hf__catalog__member__init(&list[i]);
        list[i].replica = i + 1;
        list[i].incarnation = i + 10;
        list[i].raft_endpoint = list[i].client_endpoint = "tcp://127.0.0.1:1";
        pointers[i] = &list[i];
    }
    Hf__Catalog__Members members = HF__CATALOG__MEMBERS__INIT;
    members.index = 1;
    members.n_members = 3;
    members.members = pointers;
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
                             .applied = 1,
                             .applied_term = 1,
                             .members = &members,
                             .send = on_send,
                             .apply = on_apply,
                             .barrier_ready = on_barrier,
                             .changed = on_changed};
    struct engine *e = NULL;
    char where[256];
    must(env.disk->ops->make_dir(env.disk, "d") == HF_OK);
    must(engine_native.create(&env, 1, 1) == HF_OK);
    must(engine_native.open(&env, &e, where) == HF_OK);
    messages(e, data, size);
    engine_native.close(&e);
    simdisk_free(&sd);
    return 0;
}
