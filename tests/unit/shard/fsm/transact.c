/* transact.c: see transact.h. */
#include "tests/unit/shard/fsm/transact.h"

#include "proto/pack.h"

static struct arena arena;

void transact_reset(void)
{
    arena_deinit(&arena);
}

Hf__Entry__Txn *transact(uint32_t home, uint64_t session, uint64_t seq, uint64_t start)
{
    Hf__Entry__Txn *t = arena_alloc(&arena, sizeof *t);
    Hf__Entry__TxnId *id = arena_alloc(&arena, sizeof *id);
    hf__entry__txn__init(t);
    hf__entry__txn_id__init(id);
    id->home = home;
    id->session = session;
    id->seq = seq;
    t->id = id;
    t->start = start;
    t->ttl_ms = 3000;
    return t;
}

/* The list of `count` with room for one more. */
static void *longer(void *list, size_t count, size_t size)
{
    void *to = arena_alloc(&arena, (count + 1) * size);
    if (count > 0)
        memcpy(to, list, count * size);
    return to;
}

static Hf__Entry__TxnWrite *add_write(Hf__Entry__Txn *t, Hf__Entry__Op op, const char *key)
{
    Hf__Entry__TxnWrite *w = arena_alloc(&arena, sizeof *w);
    hf__entry__txn_write__init(w);
    w->op = op;
    w->key = pack_bytes(arena_copy(&arena, slice_text(key)));
    t->writes = longer(t->writes, t->n_writes, sizeof *t->writes);
    t->writes[t->n_writes++] = w;
    return w;
}

void transact_put_for(Hf__Entry__Txn *t, const char *key, const char *value, uint64_t ttl_ms)
{
    Hf__Entry__TxnWrite *w = add_write(t, HF__ENTRY__OP__PUT, key);
    w->value = pack_bytes(arena_copy(&arena, slice_text(value)));
    w->ttl_ms = ttl_ms;
}

void transact_put(Hf__Entry__Txn *t, const char *key, const char *value)
{
    transact_put_for(t, key, value, 0);
}

void transact_delete(Hf__Entry__Txn *t, const char *key)
{
    (void)add_write(t, HF__ENTRY__OP__DELETE, key);
}

void transact_delete_prefix(Hf__Entry__Txn *t, const char *prefix)
{
    (void)add_write(t, HF__ENTRY__OP__DELETE_PREFIX, prefix);
}

static Hf__Entry__TxnRead *add_read(Hf__Entry__Txn *t, const char *key)
{
    Hf__Entry__TxnRead *r = arena_alloc(&arena, sizeof *r);
    hf__entry__txn_read__init(r);
    r->key = pack_bytes(arena_copy(&arena, slice_text(key)));
    t->reads = longer(t->reads, t->n_reads, sizeof *t->reads);
    t->reads[t->n_reads++] = r;
    return r;
}

void transact_read(Hf__Entry__Txn *t, const char *key)
{
    (void)add_read(t, key);
}

void transact_range(Hf__Entry__Txn *t, const char *start, const char *end)
{
    Hf__Entry__TxnRead *r = add_read(t, start);
    r->range = true;
    r->end = pack_bytes(arena_copy(&arena, slice_text(end)));
}

void transact_other(Hf__Entry__Txn *t, uint32_t group)
{
    t->others = longer(t->others, t->n_others, sizeof *t->others);
    t->others[t->n_others++] = group;
}

static Hf__Entry__Command command(const Hf__Entry__Txn *t, Hf__Entry__Op op)
{
    Hf__Entry__Command c = HF__ENTRY__COMMAND__INIT;
    Hf__Entry__Txn *copy = arena_alloc(&arena, sizeof *copy);
    *copy = *t;
    c.op = op;
    c.txn = copy;
    if (t->id->home == TRANSACT_GROUP) {
        c.session = t->id->session;
        c.seq = t->id->seq;
    }
    return c;
}

Hf__Entry__Command transact_prepare(const Hf__Entry__Txn *t)
{
    return command(t, HF__ENTRY__OP__TXN_PREPARE);
}

Hf__Entry__Command transact_whole(const Hf__Entry__Txn *t)
{
    return command(t, HF__ENTRY__OP__TXN_WHOLE);
}

/* Only the id, as the coordinator sends it. */
static Hf__Entry__Command bare(const Hf__Entry__Txn *t, Hf__Entry__Op op)
{
    Hf__Entry__Txn *only = transact(t->id->home, t->id->session, t->id->seq, 0);
    only->ttl_ms = 0;
    return command(only, op);
}

Hf__Entry__Command transact_commit(const Hf__Entry__Txn *t, uint64_t commit)
{
    Hf__Entry__Command c = bare(t, HF__ENTRY__OP__TXN_COMMIT);
    c.txn->commit = commit;
    return c;
}

Hf__Entry__Command transact_rollback(const Hf__Entry__Txn *t, bool force)
{
    Hf__Entry__Command c = bare(t, HF__ENTRY__OP__TXN_ROLLBACK);
    c.txn->force = force;
    return c;
}

Hf__Entry__Command transact_forget(const Hf__Entry__Txn *t)
{
    return bare(t, HF__ENTRY__OP__TXN_FORGET);
}
