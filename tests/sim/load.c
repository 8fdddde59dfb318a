/* load.c: see load.h. */
#include "tests/sim/load.h"

#include <stdio.h>

#include "common/base/random.h"
#include "proto/entry.pb-c.h"
#include "proto/pack.h"

#define KEYS 40
#define COMMANDS_MAX 3
#define LEASE_MS 3000

void load_session(struct load *l, uint64_t id)
{
    for (size_t i = 0; i < LOAD_SESSIONS; i++)
        if (l->sessions[i].id == id)
            return;
    l->sessions[l->opened++ % LOAD_SESSIONS] = (struct load_session){.id = id, .next = 1, .done_below = 1};
}

void load_deinit(struct load *l)
{
    buf_deinit(&l->entry);
    arena_deinit(&l->arena);
}

static struct slice key_name(struct load *l, unsigned key)
{
    char bytes[32];
    int n = snprintf(bytes, sizeof bytes, "%c/%02u", (char)('a' + key % 3), key);
    return arena_copy(&l->arena, slice_make(bytes, (size_t)n));
}

static ProtobufCBinaryData value(struct load *l, struct random *r, uint64_t id, uint32_t size)
{
    uint8_t *bytes = arena_alloc(&l->arena, size + 8);
    for (uint32_t at = 0; at < size; at += 8) {
        uint64_t piece = at == 0 ? id : random_next(r);
        memcpy(bytes + at, &piece, 8);
    }
    return pack_bytes(slice_make(bytes, size));
}

/* A session, mostly the next seq of it, sometimes one that was asked for before. */
static void use_session(struct load *l, struct random *r, Hf__Entry__Command *c)
{
    struct load_session *s = &l->sessions[random_below(r, LOAD_SESSIONS)];
    if (s->id == 0 || random_below(r, 3) == 0)
        return;
    c->session = s->id;
    c->seq = random_below(r, 4) == 0 ? s->done_below + random_below(r, s->next - s->done_below + 1) : s->next;
    if (c->seq == s->next)
        s->next++;
    if (random_below(r, 8) == 0)
        s->done_below += random_below(r, s->next - s->done_below + 1);
    c->done_below = s->done_below;
}

static Hf__Entry__Command *command(struct load *l, struct random *r, uint64_t id, uint32_t size, struct fsm *fsm)
{
    Hf__Entry__Command *c = arena_alloc(&l->arena, sizeof *c);
    hf__entry__command__init(c);
    unsigned key = (unsigned)random_below(r, KEYS);
    struct slice name = key_name(l, key);
    uint64_t kind = random_below(r, 100);
    c->key = pack_bytes(name);
    c->op = HF__ENTRY__OP__PUT;
    if (kind < 12) {
        c->op = HF__ENTRY__OP__DELETE;
    } else if (kind < 16) {
        c->op = HF__ENTRY__OP__DELETE_PREFIX;
        c->key.len = kind == 12 ? 0 : 2;
    } else if (kind < 45) {
        struct fsm_value now;
        c->op = HF__ENTRY__OP__CAS;
        c->has_expected =
            fsm_get(fsm, FSM_USER, name, (struct hlc){0}, (struct hlc){UINT64_MAX - 1}, &l->arena, &now) == 0;
        if (c->has_expected)
            c->expected = pack_bytes(now.value);
        c->becomes_absent = kind < 20;
    } else if (kind < 50) {
        c->ttl_ms = 1 + random_below(r, 3000);
    }
    if (c->op == HF__ENTRY__OP__PUT || (c->op == HF__ENTRY__OP__CAS && !c->becomes_absent))
        c->value = value(l, r, id, size);
    use_session(l, r, c);
    return c;
}

static void commands(struct load *l, struct random *r, uint64_t id, uint32_t size, struct stamp *stamp, struct fsm *fsm)
{
    Hf__Entry__CommandBatch batch = HF__ENTRY__COMMAND_BATCH__INIT;
    Hf__Entry__Command *all[COMMANDS_MAX];
    batch.commands = all;
    batch.n_commands = 1 + random_below(r, 8) / 6 * random_below(r, COMMANDS_MAX);
    for (size_t i = 0; i < batch.n_commands; i++)
        all[i] = command(l, r, id + i, size, fsm);
    struct version v = stamp_take(stamp, batch.n_commands);
    batch.timestamp = v.t.t;
    batch.sequence = v.seq;
    pack_append(&batch.base, &l->entry);
}

static void session_entry(struct load *l, struct random *r, const struct stamp *stamp)
{
    Hf__Entry__SessionEntry entry = HF__ENTRY__SESSION_ENTRY__INIT;
    const struct load_session *s = &l->sessions[random_below(r, LOAD_SESSIONS)];
    entry.timestamp = stamp->observed.t;
    if (s->id != 0 && random_below(r, 2) == 0) {
        entry.fence_session = s->id;
        entry.fence_seq = s->done_below + random_below(r, s->next - s->done_below + 2);
    }
    pack_append(&entry.base, &l->entry);
}

struct slice load_entry(struct load *l, uint64_t id, uint32_t size, struct stamp *stamp, struct fsm *fsm)
{
    struct random r = {.state = id};
    buf_clear(&l->entry);
    arena_reset(&l->arena);
    uint8_t *opcode = buf_extend(&l->entry, 1);
    uint64_t kind = random_below(&r, 64);
    if (kind == 0) {
        *opcode = 0x02;
        Hf__Entry__LeaseEntry lease = HF__ENTRY__LEASE_ENTRY__INIT;
        lease.timestamp = stamp->observed.t;
        lease.ceiling = hlc_add_ms(stamp->observed, LEASE_MS).t;
        pack_append(&lease.base, &l->entry);
    } else if (kind < 4) {
        *opcode = 0x13;
        session_entry(l, &r, stamp);
    } else if (kind == 4) {
        *opcode = FSM_OPCODE_CHECK;
        Hf__Entry__CheckEntry check = HF__ENTRY__CHECK_ENTRY__INIT;
        check.timestamp = stamp->observed.t;
        pack_append(&check.base, &l->entry);
    } else {
        *opcode = 0x01;
        commands(l, &r, id, size, stamp, fsm);
    }
    return buf_slice(&l->entry);
}
