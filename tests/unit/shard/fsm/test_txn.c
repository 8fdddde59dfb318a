/* test_txn.c: transactions: what is checked, prepared, decided and forgotten; each rule one by one. */
#include <stdio.h>

#include "common/base/limits.h"
#include "tests/unit/shard/fsm/transact.h"
#include "tests/unit/unit.h"

#define MS ((uint64_t)1 << 16)

static struct machine m;
static uint64_t session; /* one that is open */

static void start(const char *from, const char *to)
{
    machine_start(&m, from, to, false);
    m.sequence = 65536;
    session = machine_apply(&m, LOG_COMMAND, machine_session(&m.arena, m.t, 0, 0))->session;
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

static void later(uint64_t ms)
{
    m.t += ms * MS;
}

static int put(const char *key, const char *value)
{
    return machine_run(&m, machine_put(key, value))->code;
}

static int whole(const Hf__Entry__Txn *t)
{
    return machine_run(&m, transact_whole(t))->code;
}

static int prepare(const Hf__Entry__Txn *t)
{
    return machine_run(&m, transact_prepare(t))->code;
}

static const struct fsm_result *commit(const Hf__Entry__Txn *t)
{
    later(1);
    return machine_run(&m, transact_commit(t, m.t));
}

static const struct fsm_result *rollback(const Hf__Entry__Txn *t, bool force)
{
    return machine_run(&m, transact_rollback(t, force));
}

/* Of another group, writing one key; not sent yet. */
static Hf__Entry__Txn *foreign(uint64_t seq, const char *key)
{
    Hf__Entry__Txn *t = transact(TRANSACT_OTHER, 900, seq, m.t + 1);
    transact_put(t, key, "of another");
    return t;
}

static Hf__Entry__Txn *own(uint64_t seq)
{
    return transact(TRANSACT_GROUP, session, seq, m.t + 1);
}

static void whole_writes(void)
{
    start("", "");
    put("gone", "1");
    put("dir/a", "1");
    Hf__Entry__Txn *t = own(1);
    transact_put(t, "a", "1");
    transact_put(t, "b", "2");
    transact_delete(t, "gone");
    transact_delete_prefix(t, "dir/");
    transact_put(t, "dir/b", "after");
    transact_put_for(t, "brief", "x", 10);
    transact_put(t, "a", "again");
    uint64_t first = m.sequence + 1;
    const struct fsm_result *r = machine_run(&m, transact_whole(t));
    CU_ASSERT(r->code == HF_OK && r->version.t.t == m.t && r->version.seq == first && r->state == FSM_TXN_NONE);
    CU_ASSERT(fsm_info(m.fsm)->newest.seq == first + 6); /* one for each write */
    for (int round = 0; round < 2; round++, reopen()) {
        CU_ASSERT(machine_holds(&m, "a", "again") && machine_holds(&m, "b", "2") && machine_holds(&m, "gone", NULL));
        CU_ASSERT(machine_holds(&m, "dir/a", NULL) && machine_holds(&m, "dir/b", "after"));
        CU_ASSERT(machine_holds(&m, "brief", "x"));
        CU_ASSERT_EQUAL(fsm_info(m.fsm)->txns, 0);
    }
    r = machine_run(&m, transact_whole(t)); /* once only */
    CU_ASSERT(r->code == HF_OK && r->version.seq == first);
    later(10);
    CU_ASSERT(machine_holds(&m, "brief", NULL));
    t = transact(0, 0, 0, m.t); /* read only, without a session: one stamp */
    transact_read(t, "a");
    uint64_t before = m.sequence;
    CU_ASSERT(whole(t) == HF_OK && fsm_info(m.fsm)->newest.seq == before + 1);
    stop();
}

static void whole_writes_conflict(void)
{
    start("", "");
    uint64_t then = m.t;
    put("a", "1");
    put("d", "1");
    put("dir/x", "1");
    later(1);
    machine_run(&m, machine_delete("d"));
    machine_run(&m, machine_delete_prefix("dir/"));
    static const char *const keys[] = {"a", "d", "dir/x"};
    for (size_t i = 0; i < 3; i++) { /* a value as of exactly the start, a deletion, a marker */
        Hf__Entry__Txn *t = transact(TRANSACT_GROUP, session, 1 + i, i == 0 ? then : m.t);
        transact_put(t, "other", "2");
        transact_put(t, keys[i], "2");
        CU_ASSERT_EQUAL(whole(t), HF_E_CONFLICT);
        CU_ASSERT(m.conflict.version.t.t == (i == 0 ? then : m.t) && m.conflict.lock.id.home == 0);
        CU_ASSERT(machine_holds(&m, "other", NULL));
        CU_ASSERT_EQUAL(whole(t), HF_E_CONFLICT); /* as stored */
        CU_ASSERT_EQUAL(machine_run(&m, machine_in_session(machine_put("z", "z"), session, 1 + i, 0))->code,
                        HF_E_CONFLICT);
    }
    Hf__Entry__Txn *t = transact(TRANSACT_GROUP, session, 9, then); /* a deleted prefix is blind */
    transact_delete_prefix(t, "dir/");
    CU_ASSERT_EQUAL(whole(t), HF_OK);
    t = transact(TRANSACT_GROUP, session, 10, m.t + 1);
    transact_put(t, "a", "2");
    CU_ASSERT_EQUAL(whole(t), HF_OK);
    stop();
}

static int reads(uint64_t since, const char *key, const char *end)
{
    Hf__Entry__Txn *t = transact(0, 0, 0, since);
    if (end != NULL)
        transact_range(t, key, end);
    else
        transact_read(t, key);
    return whole(t);
}

/* What a transaction of one shard read, and the same of one of several. */
static int validates(uint64_t since, const char *key, const char *end)
{
    Hf__Entry__Txn *t = transact(TRANSACT_GROUP, session, 1, since);
    struct arena arena = {0};
    struct fsm_conflict conflict;
    const struct fsm_txn_id id = {TRANSACT_GROUP, session, 1};
    if (end != NULL)
        transact_range(t, key, end);
    else
        transact_read(t, key);
    int rc = fsm_validate(m.fsm, &id, (struct hlc){since}, (struct hlc){m.t}, t->reads, 1, &arena, &conflict);
    arena_deinit(&arena);
    return rc;
}

static void both(uint64_t since, const char *key, const char *end, int code)
{
    CU_ASSERT_EQUAL(validates(since, key, end), code);
    CU_ASSERT_EQUAL(reads(since, key, end), code);
}

static void what_was_read(void)
{
    start("", "");
    put("a", "1");
    put("b", "1");
    put("dir/a", "1");
    Hf__Entry__Command c = machine_put("brief", "1");
    c.ttl_ms = 10;
    machine_run(&m, c);
    later(1);
    uint64_t since = m.t;
    later(1);
    both(since, "a", NULL, HF_OK);
    both(since, "none", NULL, HF_OK);
    both(since, "", "", HF_OK);
    put("b", "2");
    put("new", "1");
    machine_run(&m, machine_delete_prefix("dir/"));
    for (int round = 0; round < 2; round++, reopen()) {
        both(since, "a", NULL, HF_OK);
        both(since, "b", NULL, HF_E_CONFLICT);
        both(since, "new", NULL, HF_E_CONFLICT); /* it was absent */
        both(since, "dir/a", NULL, HF_E_CONFLICT);
        both(since, "dir/none", NULL, HF_OK);
        both(since, "a", "b", HF_OK);
        both(since, "a", "b0", HF_E_CONFLICT);
        both(since, "c", "dir/a", HF_OK);
        both(since, "c", "e", HF_E_CONFLICT);
        both(since, "n", "", HF_E_CONFLICT);
        both(since, "o", "", HF_OK);
        both(since, "b", "a", HF_OK); /* nothing lies in it */
    }
    both(since, "brief", NULL, HF_OK);
    later(8); /* it expires at exactly this time */
    both(since, "brief", NULL, HF_E_CONFLICT);
    both(since, "br", "bs", HF_E_CONFLICT);
    both(m.t, "brief", NULL, HF_OK); /* over before that start */
    stop();
}

/* Keys and ranges read, of what earlier commands of the same batch wrote. */
static void within_a_batch(void)
{
    start("b", "y");
    put("k", "0");
    later(1);
    for (int n = 0; n < 4; n++) {
        Hf__Entry__Txn *t = transact(0, 0, 0, m.t);
        if (n == 0)
            transact_read(t, "k");
        else if (n == 1)
            transact_range(t, "", "");
        else if (n == 2)
            transact_range(t, "l", "");
        else
            transact_read(t, "m");
        Hf__Entry__Command c[] = {machine_put("k", "1"), machine_put("k", "2"), transact_whole(t)};
        size_t before = machine_result_count(&m);
        machine_run_many(&m, c, 3);
        CU_ASSERT_EQUAL(machine_result_count(&m), before + 3);
        CU_ASSERT_EQUAL(machine_last(&m)->r.code, n < 2 ? HF_E_CONFLICT : HF_OK);
        CU_ASSERT(n >= 2 || m.conflict.version.seq == m.sequence - 1); /* the newest */
        later(1);
    }
    Hf__Entry__Txn *one = foreign(1, "l"), *two = foreign(2, "l"), *w = transact(0, 0, 0, m.t + 1);
    transact_range(w, "", "");
    Hf__Entry__Command c[] = {transact_prepare(one), transact_prepare(two),         machine_put("l", "x"),
                              transact_whole(w),     transact_commit(one, m.t + 1), transact_prepare(two),
                              machine_put("l", "x")};
    size_t before = machine_result_count(&m);
    machine_run_many(&m, c, 7);
    static const int codes[] = {HF_OK, HF_E_KEY_LOCKED, HF_E_KEY_LOCKED, HF_E_KEY_LOCKED, HF_OK, HF_E_CONFLICT, HF_OK};
    const struct machine_result *r = (const void *)m.results.data;
    for (size_t i = 0; i < 7; i++)
        CU_ASSERT_EQUAL(r[before + i].r.code, codes[i]);
    CU_ASSERT_EQUAL(fsm_info(m.fsm)->locks, 0);
    later(2);
    Hf__Entry__Txn *three = foreign(3, "held"); /* who meets the lock hears of it, though it goes in the same batch */
    CU_ASSERT_EQUAL(prepare(three), HF_OK);
    Hf__Entry__Command gone[] = {machine_put("held", "x"), transact_rollback(three, true)};
    machine_run_many(&m, gone, 2);
    CU_ASSERT_STRING_EQUAL(m.locked, "held");
    stop();
}

static void refusals(void)
{
    start("b", "y");
    for (int n = 0; n < 5; n++) {
        Hf__Entry__Txn *t = own(1);
        transact_put(t, n == 0 ? "a" : n == 1 ? "" : "k", "1");
        if (n == 2)
            t->writes[0]->op = HF__ENTRY__OP__CAS;
        static char large[LIMIT_KEY_BYTES + 2];
        memset(large, 'k', sizeof large - 1);
        if (n == 3)
            transact_put(t, large, "1");
        int code = n == 0 ? HF_E_WRONG_SHARD : n == 3 ? HF_E_LIMIT : n == 4 ? HF_OK : HF_E_INVALID;
        if (n != 4) /* INVALID of a whole one is stored */
            CU_ASSERT_EQUAL(prepare(t), code);
        if (n != 1 && n != 2)
            CU_ASSERT_EQUAL(whole(t), code); /* the same number every time: nothing was stored */
    }
    Hf__Entry__Txn *t = own(2);
    CU_ASSERT_EQUAL(prepare(t), HF_E_INVALID); /* nothing to lock */
    transact_delete_prefix(t, "a");            /* reaches over the group's range */
    CU_ASSERT_EQUAL(whole(t), HF_OK);
    t = transact(TRANSACT_GROUP, session + 1, 1, m.t + 1);
    transact_put(t, "k", "1");
    CU_ASSERT(whole(t) == HF_E_SESSION_UNKNOWN && prepare(t) == HF_E_SESSION_UNKNOWN);
    t = own(LIMIT_SESSION_WINDOW);
    transact_put(t, "k", "1");
    CU_ASSERT(whole(t) == HF_E_SESSION_WINDOW && prepare(t) == HF_E_SESSION_WINDOW);
    Hf__Entry__Command c = transact_prepare(foreign(1, "k"));
    c.txn->id = NULL; /* nobody sends that */
    CU_ASSERT_EQUAL(machine_run(&m, c)->code, HF_E_INVALID);
    c = transact_whole(foreign(1, "k"));
    c.space = HF__ENTRY__SPACE__CATALOG;
    CU_ASSERT_EQUAL(machine_run(&m, c)->code, HF_E_INVALID);
    stop();
}

static void prepared_at_home(void)
{
    start("", "");
    Hf__Entry__Txn *t = own(1);
    transact_put(t, "a", "1");
    transact_delete(t, "b");
    transact_put_for(t, "brief", "x", 10);
    transact_other(t, TRANSACT_OTHER);
    const struct fsm_result *r = machine_run(&m, transact_prepare(t));
    uint64_t min = m.t;
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_PREPARED && r->min_commit.t == min);
    CU_ASSERT(fsm_info(m.fsm)->txns == 1 && fsm_info(m.fsm)->locks == 3 && fsm_info(m.fsm)->txn_bytes > 0);
    later(5);
    reopen();
    CU_ASSERT(fsm_info(m.fsm)->txns == 1 && fsm_info(m.fsm)->locks == 3);
    r = machine_run(&m, transact_prepare(t)); /* again: nothing changes */
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_PREPARED && r->min_commit.t == min);
    CU_ASSERT_EQUAL(machine_run(&m, machine_in_session(machine_put("z", "1"), session, 1, 0))->code, HF_E_INVALID);
    CU_ASSERT_EQUAL(whole(t), HF_E_INVALID); /* that number is this transaction's */
    r = machine_run(&m, transact_commit(t, min));
    CU_ASSERT(r->code == HF_E_INVALID && r->state == FSM_TXN_PREPARED);
    CU_ASSERT_EQUAL(machine_run(&m, transact_forget(t))->code, HF_E_INVALID);
    r = commit(t);
    uint64_t at = m.t;
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_COMMITTED && r->commit.t == at);
    CU_ASSERT(r->version.t.t == at && r->version.seq == 0);
    for (int round = 0; round < 2; round++, reopen()) {
        CU_ASSERT(fsm_info(m.fsm)->txns == 1 && fsm_info(m.fsm)->locks == 0);
        CU_ASSERT(machine_holds(&m, "a", "1") && machine_holds(&m, "brief", "x"));
        r = machine_run(&m, transact_commit(t, m.t + 77)); /* it stays at what it was */
        CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_COMMITTED && r->commit.t == at);
        r = machine_run(&m, transact_prepare(t));
        CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_COMMITTED && r->commit.t == at);
        r = rollback(t, true);
        CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_COMMITTED && r->commit.t == at);
    }
    CU_ASSERT_EQUAL(machine_run(&m, transact_forget(t))->code, HF_OK);
    CU_ASSERT_EQUAL(machine_run(&m, transact_forget(t))->code, HF_OK);
    CU_ASSERT_EQUAL(fsm_info(m.fsm)->txns, 0);
    r = machine_run(&m, transact_commit(t, m.t + 77)); /* by the session */
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_COMMITTED && r->commit.t == at);
    r = rollback(t, true);
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_COMMITTED && r->commit.t == at);
    r = machine_run(&m, transact_prepare(t));
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_COMMITTED && r->commit.t == at);
    CU_ASSERT(fsm_info(m.fsm)->txns == 0 && fsm_info(m.fsm)->txn_bytes == 0);
    m.t = at + 10 * MS; /* the time to live counts from the commit */
    CU_ASSERT(machine_holds(&m, "brief", NULL));
    stop();
}

static void without_others(void)
{
    start("", "");
    Hf__Entry__Txn *t = own(1);
    transact_put(t, "a", "1");
    transact_put(t, "a", "2");
    CU_ASSERT(prepare(t) == HF_OK && commit(t)->code == HF_OK);
    CU_ASSERT(fsm_info(m.fsm)->txns == 0 && machine_holds(&m, "a", "2"));
    t = own(2);
    transact_put(t, "a", "3");
    t->start = m.t;
    const struct fsm_result *r = machine_run(&m, transact_prepare(t)); /* conflict: decided */
    CU_ASSERT(r->code == HF_E_CONFLICT && r->state == FSM_TXN_ROLLED_BACK);
    CU_ASSERT(m.conflict.version.t.t == m.t && m.conflict.version.seq == 1);
    t->start = m.t + 1;
    r = machine_run(&m, transact_prepare(t));
    CU_ASSERT(r->code == HF_E_CONFLICT && r->state == FSM_TXN_ROLLED_BACK);
    r = commit(t);
    CU_ASSERT(r->code == HF_E_FENCED && r->state == FSM_TXN_ROLLED_BACK);
    stop();
}

static void rolled_back(void)
{
    start("", "");
    Hf__Entry__Txn *t = own(1);
    transact_put(t, "a", "1");
    t->ttl_ms = 100;
    prepare(t);
    later(99);
    const struct fsm_result *r = rollback(t, false); /* not yet */
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_PREPARED && fsm_info(m.fsm)->locks == 1);
    later(1);
    reopen();
    r = rollback(t, false);
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_ROLLED_BACK && fsm_info(m.fsm)->txns == 0);
    CU_ASSERT(put("a", "2") == HF_OK);
    for (int round = 0; round < 2; round++, reopen()) {
        CU_ASSERT_EQUAL(prepare(t), HF_E_CONFLICT);
        CU_ASSERT_EQUAL(commit(t)->code, HF_E_FENCED);
        CU_ASSERT_EQUAL(rollback(t, true)->state, FSM_TXN_ROLLED_BACK);
        CU_ASSERT_EQUAL(machine_run(&m, transact_forget(t))->code, HF_OK);
    }
    t = own(2); /* by force, long before */
    transact_put(t, "b", "1");
    prepare(t);
    r = rollback(t, true);
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_ROLLED_BACK && fsm_info(m.fsm)->locks == 0);
    t = own(3); /* before it was ever prepared: never, then */
    transact_put(t, "c", "1");
    r = rollback(t, false);
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_ROLLED_BACK);
    reopen();
    CU_ASSERT(prepare(t) == HF_E_CONFLICT && fsm_info(m.fsm)->txns == 0);
    CU_ASSERT_EQUAL(commit(own(4))->code, HF_E_FENCED); /* a commit of what was never prepared, too */
    CU_ASSERT_EQUAL(machine_run(&m, machine_in_session(machine_put("z", "1"), session, 4, 0))->code, HF_E_CONFLICT);
    stop();
}

/* Home without a record and without the session's word does not say what it cannot know. */
static void session_gone(void)
{
    start("", "");
    Hf__Entry__Txn *t = transact(TRANSACT_GROUP, session + 1000, 1, m.t);
    for (int n = 0; n < 2; n++) {
        const struct fsm_result *r = n == 0 ? rollback(t, true) : commit(t);
        CU_ASSERT(r->code == HF_E_SESSION_UNKNOWN && r->state == FSM_TXN_ROLLED_BACK);
    }
    machine_run(&m, machine_in_session(machine_put("z", "1"), session, 5, 5));
    for (int n = 0; n < 2; n++) {
        const struct fsm_result *r = n == 0 ? rollback(own(4), true) : commit(own(4));
        CU_ASSERT(r->code == HF_E_SESSION_WINDOW && r->state == FSM_TXN_ROLLED_BACK);
        r = n == 0 ? rollback(own(5000), true) : commit(own(5000)); /* may come yet */
        CU_ASSERT(r->code == HF_E_SESSION_WINDOW && r->state == FSM_TXN_NONE);
    }
    t = own(6);
    transact_put(t, "a", "1");
    transact_other(t, TRANSACT_OTHER);
    CU_ASSERT_EQUAL(prepare(t), HF_OK);
    machine_run(&m, machine_in_session(machine_put("z", "1"), session, 9, 9)); /* done_below passes it */
    CU_ASSERT_EQUAL(prepare(t), HF_OK);
    Hf__Entry__Txn *second = own(10), *third = own(11);
    transact_put(second, "b", "1");
    transact_put(third, "c", "1");
    CU_ASSERT(prepare(second) == HF_OK && prepare(third) == HF_OK);
    later(3601 * 1000);
    CU_ASSERT_EQUAL(machine_run(&m, machine_in_session(machine_put("z", "1"), session, 12, 9))->code,
                    HF_E_SESSION_UNKNOWN);
    reopen();
    CU_ASSERT_EQUAL(prepare(t), HF_OK); /* the record comes first */
    const struct fsm_result *r = commit(t);
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_COMMITTED && machine_holds(&m, "a", "1"));
    CU_ASSERT(machine_run(&m, transact_prepare(t))->state == FSM_TXN_COMMITTED);
    CU_ASSERT(rollback(second, false)->state == FSM_TXN_ROLLED_BACK);
    r = machine_apply(&m, LOG_COMMAND, machine_session(&m.arena, m.t, session, 11));
    CU_ASSERT(r->code == HF_E_SESSION_UNKNOWN && fsm_info(m.fsm)->locks == 0);
    r = machine_apply(&m, LOG_COMMAND, machine_session(&m.arena, m.t, session, 6));
    CU_ASSERT(r->code == HF_OK && r->outcome == HF_OK && r->outcome_version.t.t == fsm_info(m.fsm)->newest.t.t);
    stop();
}

static void fenced(void)
{
    start("", "");
    Hf__Entry__Txn *t = own(1);
    transact_put(t, "a", "1");
    prepare(t);
    const struct fsm_result *r = machine_apply(&m, LOG_COMMAND, machine_session(&m.arena, m.t, session, 1));
    CU_ASSERT(r->code == HF_OK && r->outcome == HF_E_FENCED && fsm_info(m.fsm)->txns == 0);
    CU_ASSERT(prepare(t) == HF_E_FENCED && commit(t)->code == HF_E_FENCED);
    CU_ASSERT(rollback(t, true)->state == FSM_TXN_ROLLED_BACK);
    t = own(2);
    transact_put(t, "a", "2");
    transact_other(t, TRANSACT_OTHER);
    prepare(t);
    commit(t);
    for (int n = 0; n < 2; n++) { /* committed, forgotten */
        r = machine_apply(&m, LOG_COMMAND, machine_session(&m.arena, m.t, session, 2));
        CU_ASSERT(r->code == HF_OK && r->outcome == HF_OK && r->outcome_version.t.t == m.t);
        machine_run(&m, transact_forget(t));
    }
    CU_ASSERT(machine_holds(&m, "a", "2"));
    stop();
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"one shard: writes", whole_writes},
        {"one shard: what it writes has changed", whole_writes_conflict},
        {"what was read has changed", what_was_read},
        {"several commands in one batch", within_a_batch},
        {"refusals", refusals},
        {"prepared, committed and forgotten at home", prepared_at_home},
        {"nobody else writes", without_others},
        {"rolled back", rolled_back},
        {"a session that is gone", session_gone},
        {"fences", fenced},
    };
    return UNIT_MAIN("fsm transactions", cases);
}
