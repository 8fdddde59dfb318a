/* test_txn_edges.c: transactions: other groups' ones, locks and readers, limits, writes that fail, what halts. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "common/base/limits.h"
#include "proto/pack.h"
#include "shard/fsm/fsm_internal.h"
#include "tests/unit/shard/fsm/transact.h"
#include "tests/unit/unit.h"

#define MS ((uint64_t)1 << 16)

static struct machine m;
static bool store_fails;

int __real_store_write(struct store *s, const struct store_batch *b);
int __wrap_store_write(struct store *s, const struct store_batch *b);

int __wrap_store_write(struct store *s, const struct store_batch *b)
{
    return store_fails ? HF_E_NO_SPACE : __real_store_write(s, b);
}

static uint64_t start(void)
{
    machine_start(&m, "", "", false);
    m.sequence = 65536;
    return machine_apply(&m, LOG_COMMAND, machine_session(&m.arena, m.t, 0, 0))->session;
}

static void stop(void)
{
    machine_stop(&m);
    transact_reset();
}

static void reopen(void)
{
    machine_close(&m);
    machine_open(&m);
}

static int run(Hf__Entry__Command c)
{
    return machine_run(&m, c)->code;
}

static Hf__Entry__Txn *foreign(uint64_t seq)
{
    return transact(TRANSACT_OTHER, 900, seq, m.t + 1);
}

static void elsewhere(void)
{
    uint64_t session = start();
    Hf__Entry__Txn *t = foreign(1);
    t->id->session = session; /* the same number, of another group: not one of our sessions */
    transact_put(t, "a", "1");
    transact_put(t, "b", "2");
    const struct fsm_result *r = machine_run(&m, transact_prepare(t));
    uint64_t min = m.t;
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_PREPARED && r->min_commit.t == min);
    CU_ASSERT_EQUAL(run(machine_in_session(machine_put("z", "1"), session, 1, 0)), HF_OK);
    m.t += MS;
    reopen();
    r = machine_run(&m, transact_prepare(t));
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_PREPARED && r->min_commit.t == min);
    r = machine_run(&m, transact_commit(t, m.t));
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_COMMITTED && r->commit.t == m.t);
    CU_ASSERT(fsm_info(m.fsm)->txns == 0 && machine_holds(&m, "a", "1") && machine_holds(&m, "b", "2"));
    CU_ASSERT_EQUAL(run(transact_commit(t, m.t)), HF_E_ABSENT);
    r = machine_run(&m, transact_rollback(t, false));
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_ROLLED_BACK);
    CU_ASSERT_EQUAL(run(transact_forget(t)), HF_OK);
    CU_ASSERT_EQUAL(run(transact_prepare(t)), HF_E_CONFLICT); /* a late one meets its own versions */
    t = foreign(2);
    transact_put(t, "c", "1");
    run(transact_prepare(t));
    r = machine_run(&m, transact_rollback(t, false)); /* home said so: nobody looks at the time */
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_ROLLED_BACK && fsm_info(m.fsm)->locks == 0);
    CU_ASSERT(machine_holds(&m, "c", NULL));
    stop();
}

/* A late PREPARE that deletes prefixes only meets nothing; the commit of it says that it was carried out before. */
static void late_prefixes(void)
{
    start();
    Hf__Entry__Txn *t = foreign(1);
    transact_delete_prefix(t, "dir/");
    run(machine_put("dir/a", "1"));
    run(transact_prepare(t));
    m.t += MS;
    uint64_t at = m.t;
    CU_ASSERT_EQUAL(run(transact_commit(t, at)), HF_OK);
    CU_ASSERT(machine_holds(&m, "dir/a", NULL));
    m.t += MS;
    run(machine_put("dir/a", "2"));
    CU_ASSERT_EQUAL(run(transact_prepare(t)), HF_OK);
    CU_ASSERT_EQUAL(run(machine_put("dir/a", "3")), HF_E_KEY_LOCKED);
    reopen();
    const struct fsm_result *r = machine_run(&m, transact_commit(t, at));
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_COMMITTED && r->commit.t == at);
    for (int round = 0; round < 2; round++, reopen()) {
        CU_ASSERT(fsm_info(m.fsm)->txns == 0 && fsm_info(m.fsm)->locks == 0);
        CU_ASSERT(machine_holds(&m, "dir/a", "2"));
    }
    stop();
}

static void locks_bind_writers(void)
{
    uint64_t session = start();
    run(machine_put("k", "0"));
    m.t += MS;
    Hf__Entry__Txn *t = foreign(1);
    transact_put(t, "k", "1");
    transact_delete_prefix(t, "dir/sub/");
    transact_delete_prefix(t, "dir/"); /* over the one before */
    transact_put(t, "dir/x", "1");
    run(transact_prepare(t));
    for (int round = 0; round < 2; round++, reopen()) {
        const Hf__Entry__Command refused[] = {machine_in_session(machine_put("k", "2"), session, 1, 0),
                                              machine_delete("k"),
                                              machine_cas("k", "0", "2"),
                                              machine_put("dir/y", "2"),
                                              machine_put("dir/sub/y", "2"),
                                              machine_delete_prefix(""),
                                              machine_delete_prefix("k"),
                                              machine_delete_prefix("dir/sub/under"),
                                              machine_delete_prefix("di")};
        for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
            CU_ASSERT_EQUAL(run(refused[i]), HF_E_KEY_LOCKED);
            CU_ASSERT(m.conflict.lock.id.home == TRANSACT_OTHER && m.conflict.lock.id.seq == 1);
        }
        CU_ASSERT_EQUAL(run(machine_put("k1", "2")), HF_OK);
        CU_ASSERT_EQUAL(run(machine_put("dir", "2")), HF_OK);
        CU_ASSERT_EQUAL(run(machine_delete_prefix("k1")), HF_OK);
        static const char *const writes[] = {"k", "dir/y", "dir/sub/y"};
        for (size_t i = 0; i < 3; i++) {
            Hf__Entry__Txn *w = transact(TRANSACT_GROUP, session, 2 + i, m.t + 1);
            transact_put(w, writes[i], "2");
            CU_ASSERT(run(transact_whole(w)) == HF_E_KEY_LOCKED && run(transact_prepare(w)) == HF_E_KEY_LOCKED);
        }
        Hf__Entry__Txn *w = transact(TRANSACT_GROUP, session, 9, m.t + 1);
        transact_delete_prefix(w, "d");
        CU_ASSERT(run(transact_whole(w)) == HF_E_KEY_LOCKED && run(transact_prepare(w)) == HF_E_KEY_LOCKED);
        Hf__Entry__Txn *r = transact(0, 0, 0, m.t + 1);
        transact_read(r, "k");
        CU_ASSERT_EQUAL(run(transact_whole(r)), HF_E_KEY_LOCKED);
        r = transact(0, 0, 0, m.t + 1);
        transact_range(r, "dir/z", "e"); /* the locked prefix begins before it */
        CU_ASSERT_EQUAL(run(transact_whole(r)), HF_E_KEY_LOCKED);
        r = transact(0, 0, 0, m.t + 1);
        transact_range(r, "e", "k");
        CU_ASSERT_EQUAL(run(transact_whole(r)), HF_OK);
    }
    run(transact_rollback(t, true));
    CU_ASSERT_EQUAL(run(machine_in_session(machine_put("k", "2"), session, 1, 0)), HF_OK); /* no outcome was stored */
    CU_ASSERT(machine_holds(&m, "k", "2") && fsm_info(m.fsm)->locks == 0);
    stop();
}

static int get(const char *key, uint64_t at)
{
    struct arena arena = {0};
    struct fsm_value v;
    int rc = fsm_get(m.fsm, FSM_USER, slice_text(key), (struct hlc){at}, (struct hlc){m.t}, &arena, &v);
    arena_deinit(&arena);
    return rc;
}

static int scan(const char *from, const char *to, uint64_t at, bool reverse, size_t items)
{
    struct arena arena = {0};
    struct fsm_page page;
    const struct fsm_scan s = {.start = slice_text(from),
                               .end = slice_text(to),
                               .at = {at},
                               .now = {m.t},
                               .items_max = items,
                               .bytes_max = 1u << 20,
                               .steps_max = 1000,
                               .reverse = reverse};
    int rc = fsm_scan(m.fsm, &s, &arena, &page);
    arena_deinit(&arena);
    return rc;
}

static void locks_bind_readers(void)
{
    start();
    run(machine_put("a", "1"));
    run(machine_put("b", "1"));
    run(machine_put("c", "1"));
    run(machine_put("p/1", "1"));
    run(machine_put("z", "1"));
    m.t += MS;
    Hf__Entry__Txn *t = foreign(1);
    transact_put(t, "bb", "1"); /* not there yet */
    transact_delete_prefix(t, "p/");
    run(transact_prepare(t));
    const uint64_t min = m.t;
    m.t += MS;
    for (int round = 0; round < 2; round++, reopen()) {
        for (int n = 0; n < 2; n++) { /* the latest; above min_commit */
            uint64_t at = n == 0 ? 0 : min + 1;
            CU_ASSERT(get("bb", at) == HF_E_KEY_LOCKED && fsm_lock_met(m.fsm)->id.seq == 1);
            CU_ASSERT(fsm_lock_met(m.fsm)->id.home == TRANSACT_OTHER && fsm_lock_met(m.fsm)->min_commit.t == min);
            CU_ASSERT(get("p/1", at) == HF_E_KEY_LOCKED && get("p/none", at) == HF_E_KEY_LOCKED);
            CU_ASSERT(get("b", at) == HF_OK && get("p", at) == HF_E_NOT_FOUND);
            for (int reverse = 0; reverse < 2; reverse++) {
                CU_ASSERT_EQUAL(scan("", "", at, reverse != 0, 100), HF_E_KEY_LOCKED);
                CU_ASSERT_EQUAL(scan("b", "c", at, reverse != 0, 100), HF_E_KEY_LOCKED);
                CU_ASSERT_EQUAL(scan("p/0", "p/2", at, reverse != 0, 100), HF_E_KEY_LOCKED);
                CU_ASSERT_EQUAL(scan("p/7", "p/8", at, reverse != 0, 100), HF_E_KEY_LOCKED); /* nothing is there */
                CU_ASSERT_EQUAL(scan("c", "p", at, reverse != 0, 100), HF_OK);
                CU_ASSERT_EQUAL(scan("a", "bb", at, reverse != 0, 100), HF_OK);
                CU_ASSERT_EQUAL(scan("", "", at, reverse != 0, 1), HF_OK); /* the page ends before */
            }
            CU_ASSERT_EQUAL(scan("b", "", at, false, 2), HF_E_KEY_LOCKED); /* between its two */
            CU_ASSERT(fsm_locked_below(m.fsm, (struct hlc){at}));
        }
        CU_ASSERT(get("bb", min) == HF_E_NOT_FOUND && get("p/1", min) == HF_OK);
        CU_ASSERT(scan("", "", min, false, 100) == HF_OK && scan("", "", min, true, 100) == HF_OK);
        CU_ASSERT(!fsm_locked_below(m.fsm, (struct hlc){min}));
        struct fsm_conflict conflict;
        struct arena arena = {0};
        Hf__Entry__Txn *r = foreign(2);
        transact_range(r, "p/7", "p/8");
        const struct fsm_txn_id other = {TRANSACT_OTHER, 900, 2}, same = {TRANSACT_OTHER, 900, 1};
        CU_ASSERT_EQUAL(
            fsm_validate(m.fsm, &other, (struct hlc){min}, (struct hlc){min}, r->reads, 1, &arena, &conflict),
            HF_E_CONFLICT); /* whatever its min_commit */
        CU_ASSERT(conflict.lock.id.seq == 1);
        CU_ASSERT_EQUAL(
            fsm_validate(m.fsm, &same, (struct hlc){min}, (struct hlc){min}, r->reads, 1, &arena, &conflict), HF_OK);
        arena_deinit(&arena);
    }
    run(transact_commit(t, m.t));
    CU_ASSERT(get("bb", 0) == HF_OK && get("p/1", 0) == HF_E_NOT_FOUND && get("p/1", m.t) == HF_OK);
    CU_ASSERT(scan("", "", 0, false, 100) == HF_OK && !fsm_locked_below(m.fsm, (struct hlc){0}));
    stop();
}

static void listed(void)
{
    start();
    for (uint64_t i = 1; i <= 5; i++) {
        Hf__Entry__Txn *t = transact(i % 2 ? 2 : 300, 256 * (6 - i), i, m.t + 1);
        char key[2] = {(char)('a' + i), 0};
        transact_put(t, key, "1");
        transact_other(t, 9);
        CU_ASSERT_EQUAL(run(transact_prepare(t)), HF_OK);
    }
    reopen();
    struct fsm_txn_id after = {0};
    struct arena arena = {0};
    static const uint64_t order[] = {5, 3, 1, 4, 2};
    struct fsm_txn page[2];
    size_t got = 0;
    for (size_t n; (n = fsm_txns(m.fsm, &after, 2, &arena, page)) > 0; after = page[n - 1].id)
        for (size_t i = 0; i < n; i++, got++)
            CU_ASSERT(got < 5 && page[i].id.seq == order[got] && page[i].state == FSM_TXN_PREPARED &&
                      page[i].others_count == 1 && page[i].others[0] == 9 && page[i].min_commit.t == m.t);
    CU_ASSERT_EQUAL(got, 5);
    arena_deinit(&arena);
    stop();
}

/* All that apply changes in memory goes back, and the same entry gives then what it would have given. */
static void failed_writes(void)
{
    uint64_t session = start();
    Hf__Entry__Txn *home = transact(TRANSACT_GROUP, session, 1, m.t + 1), *other = foreign(1), *late = foreign(2);
    transact_put(home, "a", "1");
    transact_other(home, TRANSACT_OTHER);
    transact_delete_prefix(other, "dir/");
    transact_put(late, "a", "2");
    CU_ASSERT_EQUAL(run(transact_prepare(home)), HF_OK);
    m.t += MS;
    Hf__Entry__Command c[] = {transact_prepare(other), transact_commit(home, m.t), transact_prepare(late),
                              transact_rollback(transact(TRANSACT_GROUP, session, 2, 1), false)};
    struct buf before = {0}, after = {0};
    struct fsm_info info = *fsm_info(m.fsm);
    machine_dump(m.fsm, &before);
    struct log_entry e = {.index = m.index + 1, .term = 1, .kind = LOG_COMMAND};
    e.data = machine_batch(&m.arena, m.t, m.sequence + 1, c, 4);
    size_t results = machine_result_count(&m);
    store_fails = true;
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(fsm_apply(m.fsm, &e, 1, machine_report, &m), HF_E_NO_SPACE);
        CU_ASSERT(machine_result_count(&m) == results && fsm_info(m.fsm)->txns == 1);
        CU_ASSERT_EQUAL(memcmp(&info, fsm_info(m.fsm), sizeof info), 0);
        CU_ASSERT(m.fsm->txns.reserved == 0 && m.fsm->txns.bytes == info.txn_bytes && txns_locks(&m.fsm->txns) == 1);
        CU_ASSERT(get("a", 0) == HF_E_KEY_LOCKED && get("dir/a", 0) == HF_E_NOT_FOUND);
    }
    machine_dump(m.fsm, &after);
    CU_ASSERT(slice_equal(buf_slice(&before), buf_slice(&after)));
    store_fails = false;
    CU_ASSERT_EQUAL(fsm_apply(m.fsm, &e, 1, machine_report, &m), HF_OK);
    static const int codes[] = {HF_OK, HF_OK, HF_E_CONFLICT, HF_OK};
    const struct machine_result *r = (const void *)m.results.data;
    for (size_t i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(r[results + i].r.code, codes[i]);
    CU_ASSERT(m.fsm->txns.reserved == 1 && fsm_info(m.fsm)->txns == 2 && machine_holds(&m, "a", "1"));
    buf_deinit(&before);
    buf_deinit(&after);
    stop();
}

/* In entries as a leader would make them. */
static void run_all(const Hf__Entry__Command *c, size_t n)
{
    for (size_t done = 0, some; done < n; done += some) {
        some = n - done < 1000 ? n - done : 1000;
        machine_run_many(&m, c + done, some);
    }
}

/* Prefixes that prepared transactions delete have their place; others are refused in time. */
static void markers_are_promised(void)
{
    uint64_t session = start();
    enum { BATCH = 1000 };
    static Hf__Entry__Command c[BATCH];
    static char names[BATCH][8];
    for (unsigned made = 0; made < LIMIT_MARKERS - 2; made += BATCH) {
        unsigned n = LIMIT_MARKERS - 2 - made < BATCH ? LIMIT_MARKERS - 2 - made : BATCH;
        for (unsigned i = 0; i < n; i++) {
            snprintf(names[i], sizeof names[i], "%06x", made + i);
            c[i] = machine_delete_prefix(names[i]);
        }
        machine_run_many(&m, c, n);
    }
    CU_ASSERT_EQUAL(fsm_info(m.fsm)->markers, LIMIT_MARKERS - 2);
    Hf__Entry__Txn *t = foreign(1), *more = transact(TRANSACT_GROUP, session, 1, m.t + 1);
    transact_delete_prefix(t, "x/");
    transact_delete_prefix(t, "y/");
    transact_delete_prefix(more, "z/");
    CU_ASSERT_EQUAL(run(transact_prepare(t)), HF_OK);
    for (int round = 0; round < 2; round++, reopen()) {
        CU_ASSERT(run(transact_prepare(more)) == HF_E_LIMIT && run(transact_whole(more)) == HF_E_LIMIT);
        CU_ASSERT_EQUAL(run(machine_delete_prefix("z/")), HF_E_LIMIT);
        CU_ASSERT_EQUAL(m.fsm->txns.reserved, 2);
    }
    m.t += MS;
    CU_ASSERT_EQUAL(run(transact_commit(t, m.t)), HF_OK);
    CU_ASSERT(fsm_info(m.fsm)->markers == LIMIT_MARKERS && m.fsm->txns.reserved == 0);
    CU_ASSERT(run(machine_delete_prefix("z/")) == HF_E_LIMIT && run(machine_delete_prefix("x/")) == HF_OK);
    reopen();
    CU_ASSERT_EQUAL(run(transact_whole(more)), HF_E_LIMIT);
    stop();
}

enum { RANGE_KEYS = 20000 }; /* of one transaction's ranges */

static int read_all(size_t ranges)
{
    Hf__Entry__Txn *t = transact(0, 0, 0, m.t + 1);
    for (size_t i = 0; i < ranges; i++)
        transact_range(t, "", "");
    return run(transact_whole(t));
}

/* The bound is on the keys, wherever the batch in which they were written ends. */
static void ranges_are_bounded(void)
{
    start();
    static Hf__Entry__Command c[RANGE_KEYS + 2];
    static char names[RANGE_KEYS + 2][8];
    for (unsigned i = 0; i < RANGE_KEYS + 1; i++) {
        snprintf(names[i], sizeof names[i], "%06u", i);
        c[i] = machine_put(names[i], "");
    }
    run_all(c, RANGE_KEYS / 2);
    run_all(c, RANGE_KEYS / 2); /* versions do not count */
    CU_ASSERT(read_all(1) == HF_OK && read_all(2) == HF_OK && read_all(3) == HF_E_LIMIT);
    Hf__Entry__Txn *t = transact(0, 0, 0, m.t + 1);
    transact_range(t, "", "");
    c[RANGE_KEYS + 1] = transact_whole(t);
    run_all(c + RANGE_KEYS / 2 - 5, RANGE_KEYS / 2 + 5);
    CU_ASSERT_EQUAL(read_all(1), HF_OK);
    machine_run_many(&m, c + RANGE_KEYS, 2); /* one more, in the same batch */
    CU_ASSERT_EQUAL(machine_last(&m)->r.code, HF_E_LIMIT);
    CU_ASSERT_EQUAL(read_all(1), HF_E_LIMIT);
    reopen();
    CU_ASSERT_EQUAL(read_all(1), HF_E_LIMIT);
    stop();
}

static void records_are_bounded(void)
{
    start();
    Hf__Entry__Command *c = calloc(LIMIT_TXNS, sizeof *c);
    char key[8];
    for (unsigned i = 0; i < LIMIT_TXNS; i++) {
        Hf__Entry__Txn *t = foreign(1 + i);
        snprintf(key, sizeof key, "%06u", i);
        transact_put(t, key, "");
        c[i] = transact_prepare(t);
    }
    run_all(c, LIMIT_TXNS);
    free(c);
    CU_ASSERT_EQUAL(fsm_info(m.fsm)->txns, LIMIT_TXNS);
    Hf__Entry__Txn *t = foreign(LIMIT_TXNS + 1);
    transact_put(t, "x", "");
    CU_ASSERT_EQUAL(run(transact_prepare(t)), HF_E_LIMIT);
    reopen();
    CU_ASSERT_EQUAL(run(transact_prepare(t)), HF_E_LIMIT);
    CU_ASSERT(run(transact_prepare(foreign(1))) == HF_OK); /* it is there */
    run(transact_rollback(foreign(7), false));
    CU_ASSERT_EQUAL(run(transact_prepare(t)), HF_OK);
    stop();
}

static void write_record(uint64_t seq, Hf__Entry__TxnRecord *record, size_t cut)
{
    const struct fsm_txn_id id = {TRANSACT_OTHER, 900, seq};
    uint8_t key[1 + TXNS_ID_BYTES];
    struct buf packed = {0};
    struct store_batch *batch = store_batch_new();
    txns_key(&id, key);
    pack_append(&record->base, &packed);
    store_batch_put(batch, slice_make(key, sizeof key), slice_make(packed.data, packed.size - cut));
    CU_ASSERT_EQUAL(store_write(m.fsm->store, batch), HF_OK);
    store_batch_free(&batch);
    buf_deinit(&packed);
}

/* Records that no apply has written are not taken for what they say. */
static void damaged_records(void)
{
    for (int n = 0; n < 7; n++) {
        start();
        Hf__Entry__Txn *there = foreign(1), *t = foreign(2);
        transact_put(there, "dir/a", "1");
        CU_ASSERT_EQUAL(run(transact_prepare(there)), HF_OK);
        if (n != 1)
            transact_put(t, n == 2 ? "dir/a" : "b", "1");
        if (n == 3)
            transact_delete_prefix(t, "d");
        Hf__Entry__TxnRecord record = HF__ENTRY__TXN_RECORD__INIT;
        record.state = n == 4 ? HF__ENTRY__TXN_STATE__COMMITTED : HF__ENTRY__TXN_STATE__PREPARED;
        record.txn = t;
        record.min_commit = 1;
        write_record(n == 5 ? 3 : 2, &record, n == 6 ? 1 : 0);
        machine_close(&m);
        CU_ASSERT_EQUAL(machine_try_open(&m), n == 0); /* the first is sound */
        stop();
    }
}

extern char **environ;
static char *self;

/* What a group of level 3 cannot hold, and an operation with nothing in it; the child must not survive it. */
static int halt_child(const char *dir, int n)
{
    struct machine child = {.config = {.dir = dir}};
    Hf__Entry__Txn *t = transact(TRANSACT_OTHER, 1, 1, 1);
    transact_put(t, "a", "1");
    Hf__Entry__Command c[] = {transact_whole(t), transact_prepare(t), transact_commit(t, 9), transact_rollback(t, true),
                              transact_forget(t)};
    digest_init();
    machine_open(&child);
    if (n >= 5)
        c[n - 5].txn = NULL;
    machine_apply(&child, LOG_COMMAND, machine_batch(&child.arena, 1, 1, &c[n % 5], 1));
    return 0;
}

static void halts(void)
{
    start();
    machine_close(&m);
    for (int n = 0; n < 10; n++) {
        char number[3], where[256] = "";
        must(store_destroy(m.dir, where) == HF_OK);
        m.feature_level = n < 5 ? 3 : 4;
        machine_create(&m, "", "", false);
        snprintf(number, sizeof number, "%d", n);
        char *args[] = {self, m.dir, number, NULL};
        pid_t pid;
        int status;
        must(posix_spawn(&pid, self, NULL, NULL, args, environ) == 0);
        must(waitpid(pid, &status, 0) == pid);
        CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 70);
    }
    machine_open(&m);
    stop();
}

int main(int argc, char **argv)
{
    self = argv[0];
    if (argc == 3)
        return halt_child(argv[1], atoi(argv[2]));
    static const struct unit_case cases[] = {
        {"prepared elsewhere", elsewhere},
        {"a late delete of a prefix", late_prefixes},
        {"locks bind writers", locks_bind_writers},
        {"locks bind readers", locks_bind_readers},
        {"listed", listed},
        {"a failed write leaves no trace (I6)", failed_writes},
        {"markers are promised", markers_are_promised},
        {"ranges are bounded", ranges_are_bounded},
        {"records are bounded", records_are_bounded},
        {"damaged records", damaged_records},
        {"level 3 and nothing in it", halts},
    };
    return UNIT_MAIN("fsm transactions at the edges", cases);
}
