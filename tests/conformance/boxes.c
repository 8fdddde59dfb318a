/* boxes.c: see boxes.h. A box has no state machine: it remembers a digest of what it was told to apply. */
#include "tests/conformance/boxes.h"

#include <unistd.h>

struct rig rig;
const struct engine_ops *ops;

void boxes_engine(const char *name)
{
    ops = engine_find(name);
    must(ops != NULL && strcmp(ops->name, name) == 0);
}

static void on_send(void *ctx, uint32_t to, const Hf__Raft__Raft *m)
{
    struct box *b = ctx;
    b->sent++;
    if (rig.cut[b->id] || rig.cut[to] || rig.count == sizeof rig.wires / sizeof rig.wires[0])
        return;
    struct wire *w = &rig.wires[rig.count++];
    *w = (struct wire){.from = b->id, .to = to, .size = hf__raft__raft__get_packed_size(m)};
    w->bytes = malloc(w->size + 1);
    (void)hf__raft__raft__pack(m, w->bytes);
}

static int on_apply(void *ctx, const struct log_entry *entries, size_t count)
{
    struct box *b = ctx;
    if (b->refuse != 0)
        return b->refuse;
    CU_ASSERT_EQUAL(entries[0].index, b->applied + 1); /* I1: nothing twice, nothing left out */
    for (size_t i = 0; i < count; i++) {
        const struct log_entry *n = &entries[i];
        CU_ASSERT_EQUAL(n->index, entries[0].index + i);
        b->digest = (b->digest ^ n->term ^ (uint64_t)n->kind) * 1099511628211u;
        for (size_t k = 0; k < n->data.size; k += 1 + n->data.size / 64)
            b->digest = (b->digest ^ n->data.data[k]) * 1099511628211u;
        b->applied = n->index;
        b->applied_term = n->term;
        b->last_kind = (uint64_t)n->kind;
        b->last_size = n->data.size;
    }
    return 0;
}

static void on_ready(void *ctx, uint64_t id, uint64_t index)
{
    struct box *b = ctx;
    b->ready++;
    b->ready_id = id;
    b->ready_index = index;
}

static void on_changed(void *ctx)
{
    ((struct box *)ctx)->changed++;
}

static void on_snapshot_needed(void *ctx, uint32_t from, uint64_t index, uint64_t term)
{
    struct box *b = ctx;
    CU_ASSERT(from != 0 && from != b->id);
    b->needs++;
    b->need_index = index;
    b->need_term = term;
}

static int on_recovered(void *ctx)
{
    struct box *b = ctx;
    if (b->recovered++ == 0)
        return HF_E_NO_SPACE; /* asked again */
    b->recovering = 0;
    return HF_OK;
}

struct engine_env env_of(struct box *b)
{
    return (struct engine_env){.disk = rig.disk,
                               .dir = b->dir,
                               .group = 1,
                               .replica = b->id,
                               .log_epoch = 1,
                               .heartbeat_ms = 100,
                               .election_ms = 500,
                               .segment_bytes = 1024 * 1024,
                               .seed = b->id,
                               .now_ns = rig.now_ns,
                               .applied = b->applied,
                               .applied_term = b->applied_term,
                               .members = &rig.members,
                               .ctx = b,
                               .send = on_send,
                               .apply = on_apply,
                               .barrier_ready = on_ready,
                               .changed = on_changed,
                               .snapshot_needed = on_snapshot_needed,
                               .recovered = on_recovered,
                               .held = b->held,
                               .recovering = b->recovering};
}

void up(struct box *b)
{
    char where[256];
    struct engine_env env = env_of(b);
    int rc = ops->open(&env, &b->e, where);
    if (rc != HF_OK)
        printf("open: %s: %s\n", error_text(rc), where);
    CU_ASSERT_EQUAL_FATAL(rc, HF_OK);
}

bool log_there(const char *dir)
{
    char path[256];
    bool there = false;
    snprintf(path, sizeof path, "%s/%s-1", dir, ops->name);
    CU_ASSERT_EQUAL(rig.disk->ops->exists(rig.disk, path, &there), HF_OK);
    return there;
}

static void begin_group(uint32_t members, uint32_t learners, bool real)
{
    static char endpoint[] = "tcp://127.0.0.1:1";
    memset(&rig, 0, sizeof rig);
    rig.now_ns = 1000 * MS;
    if (real) {
        snprintf(rig.root, sizeof rig.root, "/tmp/hf-boxes-XXXXXX");
        CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(rig.root));
        rig.disk = disk_posix();
    } else {
        rig.sim = simdisk_new();
        rig.disk = simdisk_disk(rig.sim);
    }
    hf__catalog__members__init(&rig.members);
    rig.members.index = BASE;
    rig.members.members = rig.pointers;
    for (uint32_t i = 0; i < BOXES; i++) {
        hf__catalog__member__init(&rig.list[i]);
        rig.list[i].replica = i + 1;
        rig.list[i].incarnation = 77;
        rig.list[i].raft_endpoint = rig.list[i].client_endpoint = endpoint;
        rig.pointers[i] = &rig.list[i];
    }
    rig.members.n_members = members;
    for (uint32_t i = members - learners; i < members; i++)
        rig.list[i].role = HF__CATALOG__ROLE__LEARNER;
    for (uint32_t id = 1; id <= members; id++) {
        struct box *b = &rig.boxes[id];
        b->id = id;
        b->applied = b->applied_term = BASE;
        snprintf(b->dir, sizeof b->dir, "%s%sr%u", rig.root, real ? "/" : "", id);
        CU_ASSERT_EQUAL(rig.disk->ops->make_dir(rig.disk, b->dir), HF_OK);
        CU_ASSERT_EQUAL(rig.disk->ops->sync_dir(rig.disk, real ? rig.root : "."), HF_OK);
        struct engine_env env = env_of(b);
        CU_ASSERT_FALSE(log_there(b->dir));
        CU_ASSERT_EQUAL(ops->create(&env, BASE, BASE), HF_OK);
        CU_ASSERT_TRUE(log_there(b->dir));
        up(b);
    }
}

void begin(uint32_t voters, bool real)
{
    begin_group(voters, 0, real);
}

void begin_with_learner(void)
{
    begin_group(4, 1, false);
}

void end(void)
{
    for (uint32_t id = 1; id <= BOXES; id++)
        ops->close(&rig.boxes[id].e);
    for (size_t i = 0; i < rig.count; i++)
        free(rig.wires[i].bytes);
    simdisk_free(&rig.sim);
    if (rig.root[0] != '\0') {
        char command[64];
        snprintf(command, sizeof command, "rm -r %s", rig.root);
        CU_ASSERT_EQUAL(system(command), 0);
    }
}

void turn(struct box *b)
{
    ops->step(b->e);
    ops->send_early(b->e);
    CU_ASSERT_EQUAL(ops->persist(b->e), HF_OK);
    ops->send_late(b->e);
    while (ops->apply(b->e) > 0)
        ;
}

void down(struct box *b)
{
    ops->close(&b->e);
}

void deliver(void)
{
    static struct wire now[sizeof rig.wires / sizeof rig.wires[0]];
    size_t count = rig.count;
    memcpy(now, rig.wires, count * sizeof now[0]);
    rig.count = 0;
    for (size_t i = 0; i < count; i++) {
        Hf__Raft__Raft *m = hf__raft__raft__unpack(NULL, now[i].size, now[i].bytes);
        CU_ASSERT_PTR_NOT_NULL_FATAL(m);
        if (rig.boxes[now[i].to].e != NULL)
            ops->receive(rig.boxes[now[i].to].e, now[i].from, m);
        hf__raft__raft__free_unpacked(m, NULL);
        free(now[i].bytes);
    }
}

void settle(void)
{
    for (unsigned round = 0; round < 1000; round++) {
        for (uint32_t id = 1; id <= BOXES; id++) {
            if (rig.boxes[id].e != NULL)
                turn(&rig.boxes[id]);
        }
        if (rig.count == 0)
            return;
        deliver();
    }
    CU_FAIL_FATAL("messages never cease");
}

void run(uint64_t ms)
{
    for (uint64_t passed = 0; passed < ms; passed += 10) {
        rig.now_ns += 10 * MS;
        for (uint32_t id = 1; id <= BOXES; id++) {
            if (rig.boxes[id].e != NULL)
                ops->tick(rig.boxes[id].e, rig.now_ns);
        }
        settle();
    }
}

struct box *elect(void)
{
    for (unsigned i = 0; i < 500; i++) {
        for (uint32_t id = 1; id <= BOXES; id++) {
            if (rig.boxes[id].e != NULL && !rig.cut[id] && ops->status(rig.boxes[id].e).serving)
                return &rig.boxes[id];
        }
        run(10);
    }
    CU_FAIL_FATAL("no leader within 5 s");
    return NULL;
}

uint64_t put(struct box *b, size_t size)
{
    static uint8_t data[4 * 1024 * 1024];
    uint64_t index = 0, term = 0;
    memset(data, (int)(b->applied & 255), size);
    CU_ASSERT_EQUAL(ops->propose(b->e, LOG_COMMAND, slice_make(data, size), &index, &term), HF_OK);
    CU_ASSERT_EQUAL(term, ops->status(b->e).term);
    return index;
}

void all_equal(void)
{
    for (uint32_t id = 2; id <= BOXES; id++) {
        if (rig.boxes[id].e == NULL)
            continue;
        CU_ASSERT_EQUAL(rig.boxes[id].applied, rig.boxes[1].applied);
        CU_ASSERT_EQUAL(rig.boxes[id].digest, rig.boxes[1].digest);
    }
}

struct box *other_than(const struct box *b)
{
    return &rig.boxes[b->id % 3 + 1];
}

int install_from(struct box *b, const struct box *from)
{
    int rc = ops->install(b->e, from->applied, from->applied_term, &rig.members);
    if (rc == HF_OK) {
        b->applied = from->applied;
        b->applied_term = from->applied_term;
        b->digest = from->digest;
        b->held = false;
    }
    return rc;
}

struct box *left_behind(struct box **leader)
{
    struct box *b = other_than(*leader);
    run(200);
    rig.cut[b->id] = true;
    for (unsigned i = 0; i < 20; i++) {
        put(*leader, 100);
        settle();
    }
    run(200);
    uint64_t trimmed = (*leader)->applied - 2;
    for (uint32_t id = 1; id <= 3; id++) {
        if (id != b->id)
            CU_ASSERT_EQUAL(ops->trim(rig.boxes[id].e, trimmed), HF_OK);
    }
    put(*leader, 100); /* durable with the next sync */
    settle();
    for (uint32_t id = 1; id <= 3; id++) {
        if (id == b->id)
            continue;
        down(&rig.boxes[id]); /* nothing of it is left in memory */
        up(&rig.boxes[id]);
    }
    *leader = elect();
    CU_ASSERT_EQUAL(ops->status((*leader)->e).first, trimmed + 1);
    rig.cut[b->id] = false;
    return b;
}
