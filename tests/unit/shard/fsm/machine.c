/* machine.c: see machine.h. */
#include "tests/unit/shard/fsm/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/pack.h"
#include "shard/fsm/fsm_internal.h"

static const uint64_t first_t = (uint64_t)1000000 << 16;

void machine_create(struct machine *m, const char *start, const char *end, bool catalog)
{
    char where[256] = "";
    Hf__Catalog__Member one = HF__CATALOG__MEMBER__INIT, *list[] = {&one};
    one.replica = 1;
    one.incarnation = 77;
    one.raft_endpoint = (char *)"tcp://127.0.0.1:1";
    Hf__Catalog__Members members = HF__CATALOG__MEMBERS__INIT;
    members.index = 1;
    members.n_members = 1;
    members.members = list;
    Hf__Catalog__Range range = HF__CATALOG__RANGE__INIT;
    range.start = pack_bytes(slice_text(start));
    range.end = pack_bytes(slice_text(end));
    range.catalog = catalog;
    struct fsm_genesis genesis = {.cluster = 0x1122334455667788,
                                  .group = 3,
                                  .log_epoch = 1,
                                  .index = 1,
                                  .term = 1,
                                  .heartbeat_ms = 100,
                                  .election_ms = 500,
                                  .feature_level = m->feature_level,
                                  .members = &members,
                                  .range = &range};
    int rc = fsm_create(&m->config, &genesis, where);
    if (rc != HF_OK)
        fprintf(stderr, "fsm_create: %s: %s\n", error_text(rc), where);
    must(rc == HF_OK);
}

bool machine_try_open(struct machine *m)
{
    char where[256] = "";
    int rc = fsm_open(&m->config, &m->fsm, where);
    if (rc != HF_OK)
        fprintf(stderr, "fsm_open: %s: %s\n", error_text(rc), where);
    else
        m->index = fsm_info(m->fsm)->applied.index;
    return rc == HF_OK;
}

void machine_open(struct machine *m)
{
    must(machine_try_open(m));
}

void machine_start(struct machine *m, const char *start, const char *end, bool catalog)
{
    digest_init();
    *m = (struct machine){.t = first_t};
    snprintf(m->dir, sizeof m->dir, "/tmp/hf-fsm-XXXXXX");
    must(mkdtemp(m->dir) != NULL);
    m->config = (struct fsm_config){.dir = m->dir};
    machine_create(m, start, end, catalog);
    machine_open(m);
}

void machine_close(struct machine *m)
{
    fsm_close(&m->fsm);
}

void machine_stop(struct machine *m)
{
    char where[256];
    machine_close(m);
    must(store_destroy(m->dir, where) == HF_OK);
    rmdir(m->dir);
    arena_deinit(&m->arena);
    buf_deinit(&m->results);
}

size_t machine_result_count(const struct machine *m)
{
    return m->results.size / sizeof(struct machine_result);
}

const struct machine_result *machine_last(const struct machine *m)
{
    return (const struct machine_result *)(const void *)m->results.data + machine_result_count(m) - 1;
}

void machine_report(void *ctx, uint64_t index, uint64_t term, uint32_t position, const struct fsm_result *r)
{
    struct machine *m = ctx;
    struct machine_result one;
    memset(&one, 0, sizeof one); /* padding too: results are compared as bytes */
    one.index = index;
    one.term = term;
    one.position = position;
    one.r.code = r->code;
    one.r.version = r->version;
    one.r.session = r->session;
    one.r.outcome = r->outcome;
    one.r.outcome_version = r->outcome_version;
    one.r.state = r->state;
    one.r.min_commit = r->min_commit;
    one.r.commit = r->commit;
    if (r->conflict != NULL && r->conflict->lock.id.home != 0)
        snprintf(m->locked, sizeof m->locked, "%.*s", (int)r->conflict->lock.key.size,
                 (const char *)r->conflict->lock.key.data);
    m->conflict = r->conflict != NULL ? *r->conflict : (struct fsm_conflict){0};
    m->conflict.key = m->conflict.lock.key = (struct slice){0}; /* borrowed until here */
    buf_append(&m->results, &one, sizeof one);
}

static ProtobufCBinaryData text_bytes(const char *text)
{
    return text == NULL ? (ProtobufCBinaryData){0} : pack_bytes(slice_text(text));
}

Hf__Entry__Command machine_put(const char *key, const char *value)
{
    Hf__Entry__Command c = HF__ENTRY__COMMAND__INIT;
    c.op = HF__ENTRY__OP__PUT;
    c.key = text_bytes(key);
    c.value = text_bytes(value);
    return c;
}

Hf__Entry__Command machine_delete(const char *key)
{
    Hf__Entry__Command c = machine_put(key, NULL);
    c.op = HF__ENTRY__OP__DELETE;
    return c;
}

Hf__Entry__Command machine_delete_prefix(const char *prefix)
{
    Hf__Entry__Command c = machine_put(prefix, NULL);
    c.op = HF__ENTRY__OP__DELETE_PREFIX;
    return c;
}

Hf__Entry__Command machine_cas(const char *key, const char *expected, const char *value)
{
    Hf__Entry__Command c = machine_put(key, value);
    c.op = HF__ENTRY__OP__CAS;
    c.has_expected = expected != NULL;
    c.expected = text_bytes(expected);
    c.becomes_absent = value == NULL;
    return c;
}

Hf__Entry__Command machine_in_session(Hf__Entry__Command c, uint64_t session, uint64_t seq, uint64_t done_below)
{
    c.session = session;
    c.seq = seq;
    c.done_below = done_below;
    return c;
}

static struct slice packed(struct arena *arena, uint8_t opcode, const ProtobufCMessage *message)
{
    struct buf bytes = {0};
    buf_append(&bytes, &opcode, 1);
    pack_append(message, &bytes);
    struct slice s = arena_copy(arena, buf_slice(&bytes));
    buf_deinit(&bytes);
    return s;
}

struct slice machine_batch(struct arena *arena, uint64_t t, uint64_t sequence, const Hf__Entry__Command *c, size_t n)
{
    Hf__Entry__CommandBatch batch = HF__ENTRY__COMMAND_BATCH__INIT;
    Hf__Entry__Command **list = arena_alloc(arena, n * sizeof *list);
    for (size_t i = 0; i < n; i++)
        list[i] = (Hf__Entry__Command *)(uintptr_t)&c[i];
    batch.timestamp = t;
    batch.sequence = sequence;
    batch.n_commands = n;
    batch.commands = list;
    return packed(arena, 0x01, &batch.base);
}

struct slice machine_lease(struct arena *arena, uint64_t ceiling, uint64_t t)
{
    Hf__Entry__LeaseEntry lease = HF__ENTRY__LEASE_ENTRY__INIT;
    lease.ceiling = ceiling;
    lease.timestamp = t;
    return packed(arena, 0x02, &lease.base);
}

struct slice machine_check(struct arena *arena, uint64_t t)
{
    Hf__Entry__CheckEntry e = HF__ENTRY__CHECK_ENTRY__INIT;
    e.timestamp = t;
    return packed(arena, FSM_OPCODE_CHECK, &e.base);
}

struct slice machine_collect(struct arena *arena, uint64_t below, uint32_t steps)
{
    Hf__Entry__CollectEntry e = HF__ENTRY__COLLECT_ENTRY__INIT;
    e.below = below;
    e.steps = steps;
    return packed(arena, FSM_OPCODE_COLLECT, &e.base);
}

struct slice machine_migrate(struct arena *arena, Hf__Entry__MigrateStep step, uint64_t id, uint32_t epoch,
                             uint64_t configuration)
{
    Hf__Entry__MigrateEntry e = HF__ENTRY__MIGRATE_ENTRY__INIT;
    e.step = step;
    e.id = id;
    e.epoch = epoch;
    e.configuration = configuration;
    e.source = (char *)(uintptr_t)(epoch % 2 ? "native" : "libraft");
    e.target = (char *)(uintptr_t)(epoch % 2 ? "libraft" : "native");
    return packed(arena, FSM_OPCODE_MIGRATE, &e.base);
}

struct slice machine_restart(struct arena *arena, uint64_t t)
{
    Hf__Entry__CommandBatch e = HF__ENTRY__COMMAND_BATCH__INIT;
    e.timestamp = t;
    e.restart = true;
    return packed(arena, 0x01, &e.base);
}

struct slice machine_session(struct arena *arena, uint64_t t, uint64_t fence_session, uint64_t fence_seq)
{
    Hf__Entry__SessionEntry e = HF__ENTRY__SESSION_ENTRY__INIT;
    e.timestamp = t;
    e.fence_session = fence_session;
    e.fence_seq = fence_seq;
    return packed(arena, 0x13, &e.base);
}

const struct fsm_result *machine_apply(struct machine *m, enum log_kind kind, struct slice data)
{
    struct log_entry entry = {.index = ++m->index, .term = 1, .kind = kind, .data = data};
    size_t before = machine_result_count(m);
    int rc = fsm_apply(m->fsm, &entry, 1, machine_report, m);
    must(rc == HF_OK);
    must(machine_result_count(m) > before);
    return &((const struct machine_result *)(const void *)m->results.data + before)->r;
}

void machine_apply_silent(struct machine *m, struct slice data)
{
    struct log_entry entry = {.index = ++m->index, .term = 1, .kind = LOG_COMMAND, .data = data};
    int rc = fsm_apply(m->fsm, &entry, 1, machine_report, m);
    must(rc == HF_OK);
}

const struct fsm_result *machine_run_many(struct machine *m, const Hf__Entry__Command *c, size_t n)
{
    uint64_t first = m->sequence + 1;
    arena_reset(&m->arena);
    for (size_t i = 0; i < n; i++)
        m->sequence += c[i].op == HF__ENTRY__OP__TXN_WHOLE && c[i].txn->n_writes > 1 ? c[i].txn->n_writes : 1;
    return machine_apply(m, LOG_COMMAND, machine_batch(&m->arena, m->t, first, c, n));
}

const struct fsm_result *machine_run(struct machine *m, Hf__Entry__Command c)
{
    return machine_run_many(m, &c, 1);
}

bool machine_holds(struct machine *m, const char *key, const char *value)
{
    struct arena arena = {0};
    struct fsm_value found;
    int rc = fsm_get(m->fsm, FSM_USER, slice_text(key), (struct hlc){0}, (struct hlc){m->t}, &arena, &found);
    bool same = value == NULL ? rc == HF_E_NOT_FOUND : rc == HF_OK && slice_equal(found.value, slice_text(value));
    arena_deinit(&arena);
    return same;
}

/* Few keys, some of them prefixes of others and with zero bytes, so that commands meet. */
static ProtobufCBinaryData random_key(struct random *r, struct arena *arena)
{
    static const uint8_t letters[] = {'a', 'b', 0, 0xff};
    uint64_t size = random_below(r, 16) == 0 ? 0 : 1 + random_below(r, 3);
    uint8_t *key = arena_alloc(arena, size);
    for (uint64_t i = 0; i < size; i++)
        key[i] = letters[random_below(r, sizeof letters)];
    return (ProtobufCBinaryData){.len = size, .data = key};
}

static ProtobufCBinaryData random_value(struct random *r, struct arena *arena)
{
    uint64_t size = random_below(r, 8) == 0 ? 40 + random_below(r, 400) : 1;
    uint8_t *value = arena_alloc(arena, size);
    memset(value, (int)('0' + random_below(r, 4)), size);
    return (ProtobufCBinaryData){.len = size, .data = value};
}

#define COLLECT_EVERY 8u
#define SESSION_EVERY 40u /* entries at multiples open a session */
#define MS ((uint64_t)1 << 16)

bool machine_random_txns;
uint32_t machine_random_collects;

#define TXN_EVERY 4u       /* entries to a transaction's number */
#define TXN_GIVEN_UP 8u    /* numbers later it is rolled back */
#define TXN_SEQ_FIRST 240u /* above most others of the session */

/* Every second one is at home here. */
static Hf__Entry__Txn *txn_of(uint64_t number, struct arena *arena)
{
    Hf__Entry__Txn *t = arena_alloc(arena, sizeof *t);
    Hf__Entry__TxnId *id = arena_alloc(arena, sizeof *id);
    hf__entry__txn__init(t);
    hf__entry__txn_id__init(id);
    id->home = number % 2 == 0 ? 3 : 7;
    id->session = number * TXN_EVERY / SESSION_EVERY * SESSION_EVERY;
    id->seq = TXN_SEQ_FIRST + number % (SESSION_EVERY / TXN_EVERY);
    t->id = id;
    return t;
}

static void random_writes(struct random *r, Hf__Entry__Txn *t, struct arena *arena)
{
    t->n_writes = (size_t)random_below(r, 4);
    t->writes = arena_alloc(arena, (t->n_writes + 1) * sizeof *t->writes);
    for (size_t i = 0; i < t->n_writes; i++) {
        Hf__Entry__TxnWrite *w = t->writes[i] = arena_alloc(arena, sizeof *w);
        uint64_t kind = random_below(r, 100);
        hf__entry__txn_write__init(w);
        w->op = kind < 60 ? HF__ENTRY__OP__PUT : kind < 88 ? HF__ENTRY__OP__DELETE : HF__ENTRY__OP__DELETE_PREFIX;
        w->key = random_key(r, arena);
        if (w->op == HF__ENTRY__OP__PUT)
            w->value = random_value(r, arena);
        if (w->op == HF__ENTRY__OP__PUT && random_below(r, 5) == 0)
            w->ttl_ms = random_below(r, 30);
    }
}

static void random_reads(struct random *r, Hf__Entry__Txn *t, struct arena *arena)
{
    t->n_reads = (size_t)random_below(r, 3);
    t->reads = arena_alloc(arena, (t->n_reads + 1) * sizeof *t->reads);
    for (size_t i = 0; i < t->n_reads; i++) {
        Hf__Entry__TxnRead *read = t->reads[i] = arena_alloc(arena, sizeof *read);
        hf__entry__txn_read__init(read);
        read->key = random_key(r, arena);
        read->range = random_below(r, 3) == 0;
        if (read->range)
            read->end = random_key(r, arena);
    }
}

static Hf__Entry__Command txn_command(Hf__Entry__Txn *t, Hf__Entry__Op op)
{
    Hf__Entry__Command c = HF__ENTRY__COMMAND__INIT;
    c.op = op;
    c.txn = t;
    if (t->id->home == 3) {
        c.session = t->id->session;
        c.seq = t->id->seq;
    }
    return c;
}

static Hf__Entry__Command random_txn(struct random *r, uint64_t index, uint64_t t_now, struct arena *arena)
{
    static const Hf__Entry__Op ops[] = {
        HF__ENTRY__OP__TXN_WHOLE,  HF__ENTRY__OP__TXN_PREPARE, HF__ENTRY__OP__TXN_PREPARE,  HF__ENTRY__OP__TXN_PREPARE,
        HF__ENTRY__OP__TXN_COMMIT, HF__ENTRY__OP__TXN_COMMIT,  HF__ENTRY__OP__TXN_ROLLBACK, HF__ENTRY__OP__TXN_FORGET};
    static uint32_t others[] = {7, 9};
    Hf__Entry__Op op = ops[random_below(r, sizeof ops / sizeof ops[0])];
    Hf__Entry__Txn *t = txn_of(index / TXN_EVERY - random_below(r, 5), arena);
    t->start = t_now - random_below(r, 12) * MS;
    if (op == HF__ENTRY__OP__TXN_WHOLE || op == HF__ENTRY__OP__TXN_PREPARE)
        random_writes(r, t, arena);
    if (op == HF__ENTRY__OP__TXN_WHOLE)
        random_reads(r, t, arena);
    t->n_others = op == HF__ENTRY__OP__TXN_PREPARE && t->id->home == 3 ? (size_t)random_below(r, 3) : 0;
    t->others = others;
    t->ttl_ms = random_below(r, 20);
    if (op == HF__ENTRY__OP__TXN_COMMIT)
        t->commit = t_now - 1 - random_below(r, MS - 2); /* above what was stamped before, below what is now */
    t->force = random_below(r, 2) == 0;
    return txn_command(t, op);
}

/* Nothing stays locked for long. */
static Hf__Entry__Command give_up(uint64_t index, struct arena *arena)
{
    Hf__Entry__Txn *t = txn_of(index / TXN_EVERY - TXN_GIVEN_UP, arena);
    t->force = true;
    return txn_command(t, HF__ENTRY__OP__TXN_ROLLBACK);
}

static Hf__Entry__Command random_command(struct random *r, uint64_t index, struct arena *arena)
{
    Hf__Entry__Command c = HF__ENTRY__COMMAND__INIT;
    uint64_t kind = random_below(r, 100);
    c.op = kind < 45   ? HF__ENTRY__OP__PUT
           : kind < 60 ? HF__ENTRY__OP__DELETE
           : kind < 96 ? HF__ENTRY__OP__CAS
                       : HF__ENTRY__OP__DELETE_PREFIX;
    c.key = random_key(r, arena);
    c.value = random_value(r, arena);
    c.space = random_below(r, 10) == 0 ? HF__ENTRY__SPACE__CATALOG : HF__ENTRY__SPACE__USER;
    if (c.op == HF__ENTRY__OP__PUT && random_below(r, 5) == 0)
        c.ttl_ms = random_below(r, 30);
    if (c.op == HF__ENTRY__OP__CAS) {
        c.has_expected = random_below(r, 2) == 0;
        c.expected = random_value(r, arena);
        c.becomes_absent = random_below(r, 6) == 0;
    }
    if (random_below(r, 3) > 0 && index > SESSION_EVERY) {
        uint64_t newest = (index - 1) / SESSION_EVERY, back = random_below(r, 5);
        c.session = (back < newest ? newest - back : newest) * SESSION_EVERY;
        c.seq = index - c.session + random_below(r, 12); /* repeats happen */
        c.done_below = c.seq > 20 ? c.seq - random_below(r, 20) : 0;
    }
    return c;
}

static struct slice random_collect(struct random *r, uint64_t t, struct arena *arena)
{
    uint32_t max = machine_random_collects,
             steps = max == UINT32_MAX ? max : (uint32_t)random_below(r, (uint64_t)max + 1);
    return machine_collect(arena, t - random_below(r, 12) * MS, steps);
}

uint64_t machine_random_time(uint64_t index)
{
    return first_t + index * MS + index / 400 * 3601 * 1000 * MS; /* now and then more than an hour passes */
}

struct log_entry machine_random(uint64_t seed, uint64_t index, struct arena *arena)
{
    struct random r = {seed ^ index * 0x9e3779b97f4a7c15u};
    uint64_t t = machine_random_time(index), kind = random_below(&r, 100);
    struct log_entry e = {.index = index, .term = 1 + index / 100, .kind = LOG_COMMAND};
    if (index % SESSION_EVERY == 0) {
        e.data = machine_session(arena, t, 0, 0);
    } else if (machine_random_collects > 0 && index % COLLECT_EVERY == 5) {
        e.data = random_collect(&r, t, arena);
    } else if (kind < 3) {
        e.kind = LOG_NOOP;
    } else if (kind < 6) {
        Hf__Catalog__Members members = HF__CATALOG__MEMBERS__INIT;
        struct buf bytes = {0};
        pack_append(&members.base, &bytes);
        e.kind = LOG_CONFIG;
        e.data = arena_copy(arena, buf_slice(&bytes));
        buf_deinit(&bytes);
    } else if (kind == 6) {
        e.data = machine_check(arena, t);
    } else if (kind == 10) {
        e.data = machine_restart(arena, t + random_below(&r, 2000) * MS);
    } else if (kind < 10) {
        e.data = machine_lease(arena, t + random_below(&r, 3000) * MS, t);
    } else if (kind < 15 && index > SESSION_EVERY) {
        e.data = machine_session(arena, t, (index - 1) / SESSION_EVERY * SESSION_EVERY,
                                 machine_random_txns && random_below(&r, 2) == 0 ? TXN_SEQ_FIRST + random_below(&r, 10)
                                                                                 : random_below(&r, 60));
    } else {
        size_t n = 1 + random_below(&r, 6);
        Hf__Entry__Command *c = arena_alloc(arena, n * sizeof *c);
        for (size_t i = 0; i < n; i++)
            c[i] = machine_random_txns && index > SESSION_EVERY * 2 && random_below(&r, 4) == 0
                       ? random_txn(&r, index, t, arena)
                       : random_command(&r, index, arena);
        if (machine_random_txns && index > SESSION_EVERY * 2)
            c[0] = give_up(index, arena);
        e.data = machine_batch(arena, t, 1 + random_below(&r, 5), c, n);
    }
    return e;
}

void machine_dump(struct fsm *fsm, struct buf *out)
{
    struct store_iterator *it = store_iterator_new(fsm->store, false);
    for (store_iterator_seek(it, slice_make("", 0)); store_iterator_valid(it); store_iterator_next(it)) {
        struct slice parts[] = {store_iterator_key(it), store_iterator_value(it)};
        for (size_t i = 0; i < 2; i++) {
            buf_append(out, &parts[i].size, sizeof parts[i].size);
            if (parts[i].size > 0)
                buf_append(out, parts[i].data, parts[i].size);
        }
    }
    must(store_iterator_status(it) == HF_OK);
    store_iterator_free(&it);
}
