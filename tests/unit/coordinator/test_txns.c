/* test_txns.c: the driver of transactions: its order, how each ends for the client, and what repeats, what is
 * refused. test_txns_random.c runs schedules over a model of shards. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/failpoint.h"
#include "coordinator/limits.h"
#include "coordinator/txns.h"
#include "proto/pack.h"
#include "tests/unit/coordinator/txnmake.h"
#include "tests/unit/unit.h"

#define MS CLOCK_NS_PER_MS
#define ASKED_MAX 256

/* The places at which the driver can be made to die. */
static const char *const crash_points[] = {
    "txns.begun",        "txns.prepared_home",  "txns.prepared_rest", "txns.drawn",          "txns.validated",
    "txns.decide_asked", "txns.committed_home", "txns.answered",      "txns.committed_rest", "txns.forgotten"};

/* ---- one driver, answered by hand ---- */

struct asked {
    uint32_t shard;
    uint64_t question;
    Hf__Client__Request *request; /* owned */
};

static struct {
    struct txns txns;
    struct asked asked[ASKED_MAX]; /* not answered yet */
    size_t count;
    bool unsent, standby;
    uint64_t next, above; /* timestamps */
    int draw_code;
    int answers, code, locks;
    uint64_t timestamp, written;
    char text[256];
    uint64_t now_ns, patience_ms; /* the client's */
} f;

static Hf__Catalog__Routes routes;

static const Hf__Catalog__Routes *port_routes(void *ctx)
{
    (void)ctx;
    return &routes;
}

static bool port_active(void *ctx)
{
    (void)ctx;
    return !f.standby;
}

static Hf__Client__Request *copy_of(const Hf__Client__Request *request)
{
    struct buf packed = {0};
    pack_append(&request->base, &packed);
    Hf__Client__Request *copy = pack_unpack_owned(&hf__client__request__descriptor, buf_slice(&packed));
    buf_deinit(&packed);
    must(copy != NULL);
    return copy;
}

static int port_ask(void *ctx, uint32_t shard, Hf__Client__Request *request, uint64_t question, uint64_t now_ns)
{
    (void)ctx;
    (void)now_ns;
    if (f.unsent)
        return HF_E_UNAVAILABLE;
    must(f.count < ASKED_MAX);
    f.asked[f.count++] = (struct asked){shard, question, copy_of(request)};
    return HF_OK;
}

static int port_draw(void *ctx, struct hlc above, struct hlc *out)
{
    (void)ctx;
    f.above = above.t;
    if (f.draw_code)
        return f.draw_code;
    f.next = f.next > above.t ? f.next + 1 : above.t + 1;
    *out = (struct hlc){f.next};
    return HF_OK;
}

static void port_locked(void *ctx, uint32_t shard, const Hf__Entry__TxnId *id, uint64_t now_ns)
{
    (void)ctx;
    (void)now_ns;
    CU_ASSERT(shard != 0 && id->home != 0);
    f.locks++;
}

static void port_answer(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply)
{
    (void)ctx;
    (void)client;
    f.answers++;
    f.code = reply->code;
    f.timestamp = reply->timestamp;
    f.written = reply->written ? reply->written->t : 0;
    snprintf(f.text, sizeof f.text, "%s", reply->message);
}

static void begin(void)
{
    memset(&f, 0, sizeof f);
    f.next = 100;
    f.now_ns = 1000 * MS;
    f.patience_ms = 5000;
    txnmake_routes(&routes);
    const struct txns_port port = {.routes = port_routes,
                                   .active = port_active,
                                   .ask = port_ask,
                                   .draw = port_draw,
                                   .locked = port_locked,
                                   .answer = port_answer};
    txns_init(&f.txns, &port, 3000);
}

static void end(void)
{
    txns_check(&f.txns);
    txns_deinit(&f.txns);
    for (size_t i = 0; i < f.count; i++)
        protobuf_c_message_free_unpacked(&f.asked[i].request->base, NULL);
}

static int try_begin(const char *writes, const char *reads, uint32_t home, uint64_t session)
{
    struct txnmake m;
    txnmake(&m, writes, reads, home, session, 50);
    uint64_t deadline_ns = f.now_ns + f.patience_ms * MS;
    return txns_begin(&f.txns, &(struct forward_client){.id = 7}, &m.request, deadline_ns, f.now_ns, f.text);
}

static void go(const char *writes, const char *reads)
{
    begin();
    CU_ASSERT_EQUAL(try_begin(writes, reads, writes[0] ? 1 : 0, writes[0] ? 9 : 0), HF_OK);
}

/* The open question to a shard; NULL: there is none. */
static struct asked *asked(uint32_t shard)
{
    for (size_t i = 0; i < f.count; i++)
        if (f.asked[i].shard == shard)
            return &f.asked[i];
    return NULL;
}

static bool is_asked(uint32_t shard, Hf__Client__Request__OpCase op)
{
    struct asked *a = asked(shard);
    return a != NULL && a->request->op_case == op;
}

static void say_reply(uint32_t shard, const Hf__Client__Reply *reply)
{
    struct asked *a = asked(shard);
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    struct asked taken = *a;
    *a = f.asked[--f.count];
    txns_said(&f.txns, taken.question, reply, f.now_ns);
    protobuf_c_message_free_unpacked(&taken.request->base, NULL);
    txns_check(&f.txns);
}

static void say(uint32_t shard, int code, Hf__Entry__TxnState state, uint64_t t)
{
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    Hf__Client__TxnOutcome txn = HF__CLIENT__TXN_OUTCOME__INIT;
    reply.code = code;
    reply.txn = &txn;
    reply.timestamp = code == HF_E_RESTART_ABOVE ? t : 0;
    txn.state = state;
    txn.min_commit = state == HF__ENTRY__TXN_STATE__PREPARED ? t : 0;
    txn.commit = state == HF__ENTRY__TXN_STATE__COMMITTED ? t : 0;
    say_reply(shard, &reply);
}

static void say_prepared(uint32_t shard, uint64_t min_commit)
{
    CU_ASSERT(is_asked(shard, HF__CLIENT__REQUEST__OP_PREPARE));
    say(shard, HF_OK, HF__ENTRY__TXN_STATE__PREPARED, min_commit);
}

static void say_code(uint32_t shard, int code)
{
    say(shard, code, HF__ENTRY__TXN_STATE__TXN_NONE, 0);
}

static void say_committed(uint32_t shard, uint64_t t)
{
    say(shard, HF_OK, HF__ENTRY__TXN_STATE__COMMITTED, t);
}

static void say_rolled_back(uint32_t shard)
{
    say(shard, HF_OK, HF__ENTRY__TXN_STATE__ROLLED_BACK, 0);
}

static void pass(uint64_t ms)
{
    f.now_ns += ms * MS;
    txns_tick(&f.txns, f.now_ns);
    txns_check(&f.txns);
}

/* Both writers of "a0 b0" have locked. */
static void lock_both(void)
{
    say_prepared(1, 150);
    say_prepared(2, 170);
}

static void home_then_the_rest_then_above_then_reads_then_home(void)
{
    go("a0 b0", "c0 a1");
    CU_ASSERT(f.count == 1 && is_asked(1, HF__CLIENT__REQUEST__OP_PREPARE));
    const Hf__Client__Request *q = asked(1)->request;
    CU_ASSERT(q->session == 9 && q->seq == 1 && q->prepare->ttl_ms == 3000 && q->prepare->n_writes == 1);
    CU_ASSERT(q->prepare->n_others == 1 && q->prepare->others[0] == 2 && q->prepare->n_reads == 0);
    CU_ASSERT(txns_drives(&f.txns, 1, 9, 1) && !txns_drives(&f.txns, 1, 9, 2));
    say_prepared(1, 150);
    CU_ASSERT(f.count == 1 && asked(2)->request->session == 0 && asked(2)->request->prepare->n_others == 0);
    say_prepared(2, 170);
    CU_ASSERT(f.above == 170 && f.count == 2 && asked(3)->request->validate->at == 171);
    CU_ASSERT(asked(1)->request->validate->start == 50 && asked(1)->request->validate->id->session == 9);
    say_code(3, HF_OK);
    CU_ASSERT(f.count == 1);
    say_code(1, HF_OK);
    CU_ASSERT(f.count == 1 && is_asked(1, HF__CLIENT__REQUEST__OP_DECIDE_COMMIT) && f.answers == 0);
    CU_ASSERT_EQUAL(asked(1)->request->decide_commit->commit, 171);
    say_committed(1, 171);
    CU_ASSERT(f.answers == 1 && f.code == HF_OK && f.timestamp == 171 && f.written == 171);
    CU_ASSERT(f.count == 1 && is_asked(2, HF__CLIENT__REQUEST__OP_DECIDE_COMMIT));
    say_code(2, HF_E_NOT_LEADER);
    pass(10);
    say_code(2, HF_E_ABSENT);
    CU_ASSERT(is_asked(1, HF__CLIENT__REQUEST__OP_FORGET));
    say_code(1, HF_OK);
    CU_ASSERT(f.txns.count == 0 && f.count == 0 && f.txns.bytes == 0);
    end();
}

static void what_reads_only_locks_nothing(void)
{
    go("", "a0 b0-b9");
    CU_ASSERT(f.count == 2 && asked(1)->request->validate->at == 101);
    say_code(1, HF_OK);
    say(2, HF_E_RESTART_ABOVE, HF__ENTRY__TXN_STATE__TXN_NONE, 300);
    CU_ASSERT(f.count == 2 && asked(1)->request->validate->at == 301 && asked(2)->request->validate->at == 301);
    say_code(1, HF_E_NOT_READY);
    say_code(2, HF_OK);
    CU_ASSERT_EQUAL(f.answers, 0);
    pass(10);
    CU_ASSERT_EQUAL(asked(1)->request->validate->at, 301);
    say_code(1, HF_OK);
    CU_ASSERT(f.answers == 1 && f.code == HF_OK && f.timestamp == 301 && f.txns.count == 0);
    end();
    go("", "a0 b0");
    say_code(2, HF_E_TOO_OLD);
    CU_ASSERT(f.answers == 1 && f.code == HF_E_CONFLICT && f.txns.count == 0);
    end();
    go("", "a0 b0");
    pass(5000);
    CU_ASSERT(f.answers == 1 && f.code == HF_E_UNAVAILABLE && f.txns.count == 0);
    end();
}

static void ranges_and_prefixes_are_cut(void)
{
    go("a* *", "a5-c5");
    const Hf__Client__Request *q = asked(1)->request;
    CU_ASSERT(q->prepare->n_writes == 2 && q->prepare->n_others == 2);
    say_prepared(1, 10);
    CU_ASSERT(asked(2)->request->prepare->n_writes == 1 && asked(2)->request->prepare->writes[0]->key.len == 0);
    say_prepared(2, 10);
    say_prepared(3, 10);
    CU_ASSERT_EQUAL(f.count, 3);
    const Hf__Entry__TxnRead *r = asked(2)->request->validate->reads[0];
    CU_ASSERT(r->range && slice_equal(pack_slice(r->key), slice_text("b")) &&
              slice_equal(pack_slice(r->end), slice_text("c")));
    r = asked(3)->request->validate->reads[0];
    CU_ASSERT(slice_equal(pack_slice(r->key), slice_text("c")) && slice_equal(pack_slice(r->end), slice_text("c5")));
    end();
}

static void a_conflict_is_told_when_home_has_rolled_back(void)
{
    go("a0 b0 c0", "");
    say_prepared(1, 150);
    say_code(3, HF_E_CONFLICT);
    CU_ASSERT(f.answers == 0 && is_asked(1, HF__CLIENT__REQUEST__OP_ROLLBACK) && asked(1)->request->rollback->force);
    say_prepared(2, 150); /* too late: it says nothing any more */
    say_code(1, HF_E_NOT_LEADER);
    pass(10);
    CU_ASSERT_EQUAL(f.answers, 0);
    say_rolled_back(1);
    CU_ASSERT(f.answers == 1 && f.code == HF_E_CONFLICT);
    CU_ASSERT(is_asked(2, HF__CLIENT__REQUEST__OP_ROLLBACK) && is_asked(3, HF__CLIENT__REQUEST__OP_ROLLBACK));
    say_rolled_back(2);
    say_rolled_back(3);
    CU_ASSERT(f.txns.count == 0 && f.count == 0);
    end();
}

static void home_may_know_of_another_driver(void)
{
    go("a0 b0", "");
    say_prepared(1, 150);
    say_code(2, HF_E_KEY_LOCKED);
    say_committed(1, 160);
    CU_ASSERT(f.answers == 1 && f.code == HF_OK && f.timestamp == 160);
    CU_ASSERT_EQUAL(asked(2)->request->decide_commit->commit, 160);
    say_code(2, HF_OK);
    CU_ASSERT(f.count == 0 && f.txns.count == 0); /* its record names the shards: not ours to remove */
    end();
    go("a0 b0", "");
    say_committed(1, 140); /* already when it was to be prepared */
    CU_ASSERT(f.answers == 1 && f.code == HF_OK && f.timestamp == 140);
    end();
    go("a0 b0", "");
    lock_both();
    say_committed(1, 165); /* not the timestamp that we drew */
    CU_ASSERT(f.timestamp == 165 && asked(2)->request->decide_commit->commit == 165);
    end();
}

static void nobody_knows_when_the_session_is_gone(void)
{
    go("a0 b0", "");
    say_prepared(1, 150);
    say_code(2, HF_E_CONFLICT);
    say(1, HF_E_SESSION_UNKNOWN, HF__ENTRY__TXN_STATE__ROLLED_BACK, 0);
    CU_ASSERT(f.answers == 1 && f.code == HF_E_OUTCOME_UNKNOWN && f.txns.count == 0);
    end();
    go("a0 b0", "");
    lock_both();
    say(1, HF_E_SESSION_WINDOW, HF__ENTRY__TXN_STATE__ROLLED_BACK, 0);
    CU_ASSERT(f.answers == 1 && f.code == HF_E_OUTCOME_UNKNOWN);
    end();
    go("a0 b0", "");
    say_code(1, HF_E_SESSION_UNKNOWN); /* nothing was prepared */
    CU_ASSERT(f.answers == 1 && f.code == HF_E_SESSION_UNKNOWN && f.count == 0 && f.txns.count == 0);
    end();
}

static void a_refusal_is_definite_only_if_nothing_is_unanswered(void)
{
    go("a0 b0", "");
    say_reply(1, NULL);
    pass(10);
    say_code(1, HF_E_LIMIT);
    CU_ASSERT(f.answers == 0 && is_asked(1, HF__CLIENT__REQUEST__OP_ROLLBACK));
    say_rolled_back(1);
    CU_ASSERT(f.answers == 1 && f.code == HF_E_LIMIT);
    end();
    go("a0 b0", "");
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    Hf__Client__Lock lock = HF__CLIENT__LOCK__INIT;
    Hf__Entry__TxnId id = HF__ENTRY__TXN_ID__INIT;
    id.home = 3;
    lock.id = &id;
    reply.code = HF_E_KEY_LOCKED;
    reply.lock = &lock;
    say_reply(1, &reply);
    CU_ASSERT(f.answers == 1 && f.code == HF_E_KEY_LOCKED && f.locks == 1 && f.txns.count == 0);
    end();
}

static void silence_before_the_commit_is_undone_in_time(void)
{
    go("a0 b0", "");
    say_prepared(1, 150);
    say_reply(2, NULL);
    pass(4800);
    CU_ASSERT(f.answers == 0 && is_asked(1, HF__CLIENT__REQUEST__OP_ROLLBACK));
    say_rolled_back(1);
    CU_ASSERT(f.answers == 1 && f.code == HF_E_UNAVAILABLE);
    end();
    go("a0 b0", "");
    say_prepared(1, 150);
    pass(4800);
    pass(200);
    CU_ASSERT(f.answers == 1 && f.code == HF_E_OUTCOME_UNKNOWN && f.txns.count == 1);
    pass(TXNS_GRACE_MS);
    CU_ASSERT_EQUAL(f.txns.count, 0);
    end();
    begin();
    f.unsent = true;
    CU_ASSERT_EQUAL(try_begin("a0 b0", "", 1, 9), HF_OK);
    pass(4800);
    CU_ASSERT(f.answers == 1 && f.code == HF_E_UNAVAILABLE && f.txns.count == 0); /* nobody was ever asked */
    end();
}

static void locks_are_not_held_as_long_as_a_client_waits(void)
{
    begin();
    f.patience_ms = 600000;
    CU_ASSERT_EQUAL(try_begin("a0 b0", "", 1, 9), HF_OK);
    say_prepared(1, 150);
    pass(TXNS_WORK_MS - 1);
    CU_ASSERT(!is_asked(1, HF__CLIENT__REQUEST__OP_ROLLBACK));
    pass(1);
    CU_ASSERT(f.answers == 0 && is_asked(1, HF__CLIENT__REQUEST__OP_ROLLBACK));
    end();
}

static void after_the_commit_was_sent_only_home_is_definite(void)
{
    go("a0 b0", "");
    lock_both();
    say_reply(1, NULL);
    pass(4800);
    CU_ASSERT(f.answers == 0 && is_asked(1, HF__CLIENT__REQUEST__OP_DECIDE_COMMIT));
    pass(200);
    CU_ASSERT(f.answers == 1 && f.code == HF_E_OUTCOME_UNKNOWN);
    end();
    go("a0 b0", "");
    lock_both();
    say(1, HF_E_FENCED, HF__ENTRY__TXN_STATE__ROLLED_BACK, 0);
    CU_ASSERT(f.answers == 1 && f.code == HF_E_CONFLICT && is_asked(2, HF__CLIENT__REQUEST__OP_ROLLBACK));
    end();
    go("a0 b0", "");
    lock_both();
    say_code(1, HF_E_INVALID); /* what comes from the network ends nobody */
    CU_ASSERT(f.answers == 1 && f.code == HF_E_OUTCOME_UNKNOWN && f.txns.count == 0);
    end();
    go("a0 b0", "");
    lock_both();
    say_code(1, HF_E_NOT_LEADER); /* surely not done: there is a way back */
    f.unsent = true;
    pass(10);
    f.unsent = false;
    pass(4790);
    CU_ASSERT(is_asked(1, HF__CLIENT__REQUEST__OP_ROLLBACK));
    end();
}

static void a_standby_undoes_what_is_not_decided(void)
{
    go("a0 b0", "");
    say_prepared(1, 150);
    f.standby = true;
    pass(5);
    CU_ASSERT(is_asked(1, HF__CLIENT__REQUEST__OP_ROLLBACK));
    end();
    go("a0 b0", "");
    lock_both();
    f.standby = true;
    pass(5);
    CU_ASSERT(is_asked(1, HF__CLIENT__REQUEST__OP_DECIDE_COMMIT));
    say_committed(1, 171);
    CU_ASSERT(f.answers == 1 && f.code == HF_OK);
    end();
}

static void a_timestamp_is_waited_for(void)
{
    go("a0 b0", "");
    f.draw_code = HF_E_NOT_READY;
    lock_both();
    CU_ASSERT_EQUAL(f.count, 0);
    f.draw_code = HF_OK;
    pass(10);
    CU_ASSERT_EQUAL(asked(1)->request->decide_commit->commit, 171);
    end();
    go("a0 b0", "");
    f.draw_code = HF_E_NOT_LEADER;
    lock_both();
    CU_ASSERT(is_asked(1, HF__CLIENT__REQUEST__OP_ROLLBACK));
    end();
}

static void the_same_one_is_driven_once(void)
{
    go("a0 b0", "");
    for (size_t i = 0; i < 2 * TXNS_ONE_CLIENTS_MAX; i++)
        CU_ASSERT_EQUAL(try_begin("a0 b0", "", 1, 9), HF_OK);
    CU_ASSERT(f.txns.count == 1 && f.count == 1);
    CU_ASSERT(f.answers == TXNS_ONE_CLIENTS_MAX + 1 && f.code == HF_E_OUTCOME_UNKNOWN); /* those that asked first */
    lock_both();
    say_committed(1, 171);
    CU_ASSERT_EQUAL(f.answers, 2 * TXNS_ONE_CLIENTS_MAX + 1);
    CU_ASSERT_EQUAL(try_begin("a0 b0", "", 1, 9), HF_OK);
    CU_ASSERT(f.answers == 2 * TXNS_ONE_CLIENTS_MAX + 2 && f.code == HF_OK && f.timestamp == 171);
    end();
}

static void what_is_no_transaction_is_refused_and_so_are_too_many(void)
{
    begin();
    CU_ASSERT_EQUAL(try_begin("a0 b0", "", 3, 9), HF_E_INVALID);
    CU_ASSERT_EQUAL(try_begin("a0 b0", "c0", 3, 9), HF_E_INVALID); /* it reads there only */
    CU_ASSERT_EQUAL(try_begin("a0 b0", "", 1, 0), HF_E_INVALID);
    for (uint64_t i = 1; i <= TXNS_MAX; i++) {
        CU_ASSERT_EQUAL(try_begin("a0 b0", "", 1, i), HF_OK);
        protobuf_c_message_free_unpacked(&f.asked[--f.count].request->base, NULL);
    }
    CU_ASSERT_EQUAL(try_begin("a0 b0", "", 1, TXNS_MAX + 1), HF_E_BUSY);
    f.unsent = true;
    pass(5000);
    pass(TXNS_GRACE_MS);
    CU_ASSERT(f.txns.count == 0 && f.answers == (int)TXNS_MAX);
    end();
}

/* One that passes every place. */
static void whole(void)
{
    go("a0 b0", "c0");
    lock_both();
    say_code(3, HF_OK);
    say_committed(1, 171);
    say_code(2, HF_OK);
    say_code(1, HF_OK);
    end();
}

static void every_place_to_die_is_passed(void)
{
    for (size_t i = 0; i < sizeof crash_points / sizeof crash_points[0]; i++) {
        pid_t child = fork();
        must(child >= 0);
        if (child == 0) {
            setenv("HOLDFAST_CRASH_POINT", crash_points[i], 1);
            execl("/proc/self/exe", "test_coordinator_txns", "whole", (char *)NULL);
            _exit(127);
        }
        int status = 0;
        CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
        CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
}

static void a_planted_bug_changes_the_order(void)
{
    failpoint_plant("txn.rest_first");
    go("a0 b0", "");
    CU_ASSERT(asked(1) == NULL && is_asked(2, HF__CLIENT__REQUEST__OP_PREPARE));
    end();
    failpoint_plant("txn.validate_first");
    go("a0 b0", "c0");
    CU_ASSERT(f.count == 1 && is_asked(3, HF__CLIENT__REQUEST__OP_VALIDATE));
    end();
    failpoint_plant("txn.read_only_unvalidated");
    go("", "a0 b0");
    CU_ASSERT(f.count == 0 && f.answers == 1 && f.code == HF_OK && f.timestamp == 50);
    end();
    failpoint_plant("txn.reads_unvalidated");
    go("a0 b0", "c0");
    lock_both();
    CU_ASSERT(asked(3) == NULL && is_asked(1, HF__CLIENT__REQUEST__OP_DECIDE_COMMIT));
    end();
    failpoint_plant("txn.no_min_commit");
    go("a0 b0", "");
    lock_both();
    CU_ASSERT_EQUAL(f.above, 0);
    end();
    failpoint_plant(NULL);
}

int main(int argc, char **argv)
{
    static const struct unit_case child[] = {{"one that passes every place", whole}};
    (void)argv;
    if (argc > 1) /* a child of every_place_to_die_is_passed */
        return UNIT_MAIN("coordinator/txns", child);
    static const struct unit_case cases[] = {
        {"home, the rest, a timestamp above, the reads, home", home_then_the_rest_then_above_then_reads_then_home},
        {"what reads only locks nothing", what_reads_only_locks_nothing},
        {"ranges and prefixes are cut", ranges_and_prefixes_are_cut},
        {"a conflict is told when home has rolled back", a_conflict_is_told_when_home_has_rolled_back},
        {"home may know of another driver", home_may_know_of_another_driver},
        {"nobody knows when the session is gone", nobody_knows_when_the_session_is_gone},
        {"a refusal is definite only if nothing is unanswered", a_refusal_is_definite_only_if_nothing_is_unanswered},
        {"silence before the commit is undone in time", silence_before_the_commit_is_undone_in_time},
        {"locks are not held as long as a client waits", locks_are_not_held_as_long_as_a_client_waits},
        {"after the commit was sent only home is definite", after_the_commit_was_sent_only_home_is_definite},
        {"a standby undoes what is not decided", a_standby_undoes_what_is_not_decided},
        {"a timestamp is waited for", a_timestamp_is_waited_for},
        {"the same one is driven once", the_same_one_is_driven_once},
        {"what is none is refused, and so are too many", what_is_no_transaction_is_refused_and_so_are_too_many},
        {"every place to die is passed", every_place_to_die_is_passed},
        {"a planted bug changes the order", a_planted_bug_changes_the_order},
    };
    return UNIT_MAIN("coordinator/txns", cases);
}
