/* test_forward.c: what is repeated, what never, and how each request ends, with a port that records instead of sending.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/error.h"
#include "coordinator/forward.h"
#include "coordinator/limits.h"
#include "proto/pack.h"
#include "tests/unit/unit.h"

#define MS 1000000ull
#define SENT_MAX 256

struct fixture {
    struct forward forward;
    struct arena arena;
    struct {
        uint32_t shard, replica;
        const Hf__Client__Request *request;
    } sent[SENT_MAX];
    size_t sent_count;
    int send_code;   /* what sending yields */
    uint32_t leader; /* what picking yields, unless avoided */
    size_t answered;
    int code; /* of the last answer */
    uint64_t answer_id;
    bool more;
    char next[32], message[256];
    enum forward_reroute reroute;
    uint32_t moved_to;
    size_t locks;      /* told to the port */
    uint64_t lock_seq; /* of the last one */
    uint64_t told_seq; /* and of that in the last answer */
};

static struct fixture x;

static int fake_send(void *ctx, uint32_t shard, uint32_t replica, struct slice frame)
{
    (void)ctx;
    if (x.send_code)
        return x.send_code;
    CU_ASSERT_FATAL(x.sent_count < SENT_MAX);
    x.sent[x.sent_count].shard = shard;
    x.sent[x.sent_count].replica = replica;
    x.sent[x.sent_count].request = pack_unpack(&hf__client__request__descriptor, frame, &x.arena);
    CU_ASSERT_PTR_NOT_NULL_FATAL(x.sent[x.sent_count].request);
    x.sent_count++;
    return HF_OK;
}

static uint32_t fake_pick(void *ctx, uint32_t shard, uint32_t avoid)
{
    (void)ctx;
    (void)shard;
    return x.leader != avoid ? x.leader : x.leader % 3 + 1;
}

static void fake_answer(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply)
{
    (void)ctx;
    x.answered++;
    x.code = reply->code;
    x.answer_id = client->id;
    x.more = reply->more;
    x.told_seq = reply->lock ? reply->lock->id->seq : 0;
    snprintf(x.next, sizeof x.next, "%.*s", (int)reply->next.len, reply->next.data ? (char *)reply->next.data : "");
    snprintf(x.message, sizeof x.message, "%s", reply->message);
}

static enum forward_reroute fake_reroute(void *ctx, struct slice body, uint32_t shard, uint32_t *out_shard)
{
    (void)ctx;
    (void)shard;
    struct arena arena = {0};
    Hf__Client__Request *request = pack_unpack(&hf__client__request__descriptor, body, &arena);
    CU_ASSERT(request != NULL && request->id == 77); /* the client's own bytes, without what attempts appended */
    arena_deinit(&arena);
    *out_shard = x.moved_to;
    return x.reroute;
}

static void fake_locked(void *ctx, uint32_t shard, const Hf__Entry__TxnId *id, uint64_t now_ns)
{
    (void)ctx;
    (void)now_ns;
    CU_ASSERT(shard == 1 && id->home == 2 && id->session == 3);
    x.locks++;
    x.lock_seq = id->seq;
}

static void begin_fixture(uint64_t requests_max, uint64_t bytes_max)
{
    const struct forward_port port = {
        .send = fake_send, .pick = fake_pick, .answer = fake_answer, .reroute = fake_reroute, .locked = fake_locked};
    x = (struct fixture){.leader = 1};
    forward_init(&x.forward, &port, requests_max, bytes_max);
    x.forward.cluster = 5;
    x.forward.route_version = 9;
}

static void end_fixture(void)
{
    CU_ASSERT_EQUAL(forward_pending(&x.forward), 0);
    forward_deinit(&x.forward);
    arena_deinit(&x.arena);
}

static int put(enum forward_kind kind, uint32_t shard, uint64_t deadline_ms)
{
    struct buf body = {0};
    Hf__Client__Put op = HF__CLIENT__PUT__INIT;
    op.key = pack_bytes(slice_text("k"));
    op.value = pack_bytes(slice_text("v"));
    Hf__Client__Request r = HF__CLIENT__REQUEST__INIT;
    r.version = 1;
    r.id = 77;
    r.deadline_ms = 1;
    r.op_case = HF__CLIENT__REQUEST__OP_PUT;
    r.put = &op;
    pack_append(&r.base, &body);
    struct forward_request request = {
        .client.id = 77, .kind = kind, .shard = shard, .body = buf_slice(&body), .deadline_ns = deadline_ms * MS};
    int rc = forward_begin(&x.forward, &request, 0);
    buf_deinit(&body);
    return rc;
}

static bool reply_to(size_t sent, int code, uint64_t now_ms)
{
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    reply.id = x.sent[sent].request->id;
    reply.code = code;
    return forward_reply(&x.forward, &reply, now_ms * MS);
}

static void tick_until(uint64_t from_ms, uint64_t to_ms)
{
    for (uint64_t ms = from_ms; ms <= to_ms; ms += 5)
        forward_tick(&x.forward, ms * MS);
}

static void an_answer_goes_back_under_the_clients_id(void)
{
    begin_fixture(10, 1000);
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 1000), HF_OK);
    CU_ASSERT_EQUAL_FATAL(x.sent_count, 1);
    const Hf__Client__Request *sent = x.sent[0].request;
    CU_ASSERT_NOT_EQUAL(sent->id, 77);
    CU_ASSERT(sent->cluster == 5 && sent->route_version == 9 && sent->shard == 1 && sent->deadline_ms == 1000);
    CU_ASSERT(sent->op_case == HF__CLIENT__REQUEST__OP_PUT && sent->put->value.len == 1);
    CU_ASSERT_TRUE(reply_to(0, HF_OK, 1));
    CU_ASSERT(x.answered == 1 && x.code == HF_OK && x.answer_id == 77);
    CU_ASSERT_FALSE(reply_to(0, HF_OK, 2)); /* doubled: nobody waits */
    CU_ASSERT_EQUAL(x.answered, 1);
    end_fixture();
}

static void refused_attempts_are_repeated_elsewhere(void)
{
    begin_fixture(10, 1000);
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 1000), HF_OK);
    x.leader = 2;
    CU_ASSERT_TRUE(reply_to(0, HF_E_NOT_LEADER, 1)); /* the first refusal costs no pause */
    CU_ASSERT_EQUAL_FATAL(x.sent_count, 2);
    CU_ASSERT_EQUAL(x.sent[1].replica, 2);
    CU_ASSERT_TRUE(reply_to(1, HF_E_NOT_READY, 2));
    CU_ASSERT_EQUAL(x.sent_count, 2);
    tick_until(5, 30);
    CU_ASSERT_EQUAL_FATAL(x.sent_count, 3);
    CU_ASSERT_TRUE(reply_to(2, HF_E_COMPARE_FAILED, 40));
    CU_ASSERT(x.answered == 1 && x.code == HF_E_COMPARE_FAILED);
    end_fixture();
}

static void refused_to_the_end_is_surely_not_done(void)
{
    begin_fixture(10, 1000);
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 300), HF_OK);
    for (uint64_t ms = 0; ms < 300; ms += 5) {
        for (size_t i = 0; i < x.sent_count; i++)
            (void)reply_to(i, HF_E_NOT_LEADER, ms);
        forward_tick(&x.forward, ms * MS);
    }
    for (size_t i = 0; i < x.sent_count; i++)
        (void)reply_to(i, HF_E_NOT_LEADER, 299);
    CU_ASSERT(x.sent_count > 3 && x.sent_count < 20); /* it tries again, at a falling rate */
    tick_until(300, 300);
    CU_ASSERT(x.answered == 1 && x.code == HF_E_UNAVAILABLE);
    end_fixture();
}

static void never_sent_is_surely_not_done(void)
{
    begin_fixture(10, 1000);
    x.send_code = HF_E_UNAVAILABLE;
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 300), HF_OK);
    CU_ASSERT_EQUAL(put(FORWARD_REPEATABLE, 1, 300), HF_OK);
    CU_ASSERT_EQUAL(put(FORWARD_READ, 1, 300), HF_OK);
    tick_until(0, 295);
    CU_ASSERT_EQUAL(x.answered, 0);
    tick_until(300, 300);
    CU_ASSERT(x.answered == 3 && x.code == HF_E_UNAVAILABLE);
    end_fixture();
}

static void silence_ends_by_kind(void)
{
    static const struct {
        enum forward_kind kind;
        int code;
        bool repeated;
    } rows[] = {{FORWARD_READ, HF_E_UNAVAILABLE, true},
                {FORWARD_REPEATABLE, HF_E_OUTCOME_UNKNOWN, true},
                {FORWARD_ONCE, HF_E_OUTCOME_UNKNOWN, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin_fixture(10, 1000);
        CU_ASSERT_EQUAL(put(rows[i].kind, 1, 3000), HF_OK);
        tick_until(0, 2995);
        forward_leader_changed(&x.forward, 1, 2996 * MS);
        CU_ASSERT_EQUAL(x.sent_count > 1, rows[i].repeated);
        CU_ASSERT_EQUAL(x.answered, 0);
        tick_until(3000, 3000);
        CU_ASSERT(x.answered == 1 && x.code == rows[i].code);
        end_fixture();
    }
}

static void a_new_leader_gets_what_may_be_repeated_at_once(void)
{
    begin_fixture(10, 1000);
    CU_ASSERT_EQUAL(put(FORWARD_REPEATABLE, 1, 1000), HF_OK);
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 1000), HF_OK);
    CU_ASSERT_EQUAL(put(FORWARD_REPEATABLE, 2, 1000), HF_OK);
    x.leader = 3;
    forward_leader_changed(&x.forward, 1, 10 * MS);
    CU_ASSERT_EQUAL_FATAL(x.sent_count, 4);
    CU_ASSERT(x.sent[3].replica == 3 && x.sent[3].request->id != x.sent[0].request->id);
    CU_ASSERT_TRUE(reply_to(3, HF_OK, 20));
    CU_ASSERT_FALSE(reply_to(0, HF_OK, 21)); /* the late answer to the first attempt */
    CU_ASSERT_TRUE(reply_to(1, HF_OK, 22));
    CU_ASSERT_TRUE(reply_to(2, HF_OK, 22));
    CU_ASSERT_EQUAL(x.answered, 3);
    end_fixture();
}

/* Attempt 1 goes unanswered, attempt 2 is refused: no refusal makes the request surely not done (I9). */
static void a_later_refusal_does_not_undo_an_unanswered_attempt(void)
{
    static const int refusals[] = {HF_E_SESSION_UNKNOWN, HF_E_SESSION_WINDOW, HF_E_WRONG_CLUSTER};
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        begin_fixture(10, 1000);
        CU_ASSERT_EQUAL(put(FORWARD_REPEATABLE, 1, 1000), HF_OK);
        x.leader = 2;
        forward_leader_changed(&x.forward, 1, 10 * MS);
        CU_ASSERT_TRUE(reply_to(1, refusals[i], 20));
        CU_ASSERT(x.answered == 1 && x.code == HF_E_OUTCOME_UNKNOWN);
        end_fixture();
    }
    begin_fixture(10, 1000);
    CU_ASSERT_EQUAL(put(FORWARD_REPEATABLE, 1, 1000), HF_OK);
    x.leader = 2;
    forward_leader_changed(&x.forward, 1, 10 * MS);
    CU_ASSERT_TRUE(reply_to(1, HF_E_BUSY, 20));
    CU_ASSERT_EQUAL(x.answered, 0); /* surely not done by that attempt only */
    tick_until(1000, 1000);
    CU_ASSERT(x.answered == 1 && x.code == HF_E_OUTCOME_UNKNOWN);
    end_fixture();
}

static void the_session_table_decides(void)
{
    static const int answers[] = {HF_OK, HF_E_NOT_FOUND, HF_E_COMPARE_FAILED, HF_E_CONFLICT, HF_E_FENCED};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        begin_fixture(10, 1000);
        CU_ASSERT_EQUAL(put(FORWARD_REPEATABLE, 1, 1000), HF_OK);
        CU_ASSERT_TRUE(reply_to(0, HF_E_OUTCOME_UNKNOWN, 1)); /* deposed before it committed, perhaps */
        CU_ASSERT_EQUAL(x.answered, 0);
        tick_until(5, 20);
        CU_ASSERT_EQUAL_FATAL(x.sent_count, 2);
        CU_ASSERT_TRUE(reply_to(1, answers[i], 30));
        CU_ASSERT(x.answered == 1 && x.code == answers[i]);
        end_fixture();
    }
    begin_fixture(10, 1000);
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 1000), HF_OK);
    CU_ASSERT_TRUE(reply_to(0, HF_E_OUTCOME_UNKNOWN, 1)); /* nothing can decide: told at once */
    CU_ASSERT(x.answered == 1 && x.code == HF_E_OUTCOME_UNKNOWN);
    end_fixture();
}

static void queues_are_bounded_each_for_itself(void)
{
    begin_fixture(2, 1000);
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 100), HF_OK);
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 100), HF_OK);
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 100), HF_E_BUSY);
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 2, 100), HF_OK);
    CU_ASSERT_TRUE(reply_to(0, HF_OK, 1));
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 100), HF_OK);
    tick_until(100, 100);
    end_fixture();
    begin_fixture(100, 40); /* bytes */
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 100), HF_OK);
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 100), HF_E_BUSY);
    tick_until(100, 100);
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 100), HF_OK);
    tick_until(100, 100);
    end_fixture();
}

static void wrong_shard_moves_with_the_routes(void)
{
    begin_fixture(10, 1000);
    x.reroute = FORWARD_MOVED;
    x.moved_to = 2;
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 1000), HF_OK);
    CU_ASSERT_TRUE(reply_to(0, HF_E_WRONG_SHARD, 1));
    CU_ASSERT_EQUAL_FATAL(x.sent_count, 2);
    CU_ASSERT(x.sent[1].shard == 2 && x.sent[1].request->shard == 2);
    x.reroute = FORWARD_SAME; /* our routes are as old: again a little later */
    CU_ASSERT_TRUE(reply_to(1, HF_E_WRONG_SHARD, 2));
    CU_ASSERT_EQUAL(x.answered, 0);
    tick_until(5, 20);
    CU_ASSERT_EQUAL_FATAL(x.sent_count, 3);
    x.reroute = FORWARD_REFUSED;
    CU_ASSERT_TRUE(reply_to(2, HF_E_WRONG_SHARD, 30));
    CU_ASSERT(x.answered == 1 && x.code == HF_E_WRONG_SHARD);
    end_fixture();
}

static void a_scan_goes_on_where_the_shard_ends(void)
{
    begin_fixture(10, 1000);
    Hf__Client__Request r = HF__CLIENT__REQUEST__INIT;
    struct buf body = {0};
    pack_append(&r.base, &body);
    struct forward_request request = {.kind = FORWARD_READ,
                                      .shard = 1,
                                      .body = buf_slice(&body),
                                      .deadline_ns = 100 * MS,
                                      .scan_more = true,
                                      .scan_next = slice_text("m")};
    CU_ASSERT_EQUAL(forward_begin(&x.forward, &request, 0), HF_OK);
    CU_ASSERT_TRUE(reply_to(0, HF_OK, 1));
    CU_ASSERT(x.more && strcmp(x.next, "m") == 0);
    CU_ASSERT_EQUAL(forward_begin(&x.forward, &request, 0), HF_OK);
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    reply.id = x.sent[1].request->id;
    reply.more = true; /* the shard has more itself */
    reply.next = pack_bytes(slice_text("c"));
    CU_ASSERT_TRUE(forward_reply(&x.forward, &reply, 1));
    CU_ASSERT(x.more && strcmp(x.next, "c") == 0);
    buf_deinit(&body);
    end_fixture();
}

/* Two attempts are out, then the routes change: neither what the later one says of its place nor what the first one says
 * too late may be mixed into an answer. */
static void a_late_answer_to_a_scan_is_nobodys(void)
{
    begin_fixture(10, 1000);
    Hf__Client__Request r = HF__CLIENT__REQUEST__INIT;
    r.id = 77;
    struct buf body = {0};
    pack_append(&r.base, &body);
    struct forward_request request = {
        .kind = FORWARD_READ, .shard = 1, .body = buf_slice(&body), .deadline_ns = 9000 * MS};
    CU_ASSERT_EQUAL(forward_begin(&x.forward, &request, 0), HF_OK);
    tick_until(1, 2 * RESEND_MS_MIN);
    CU_ASSERT_FATAL(x.sent_count >= 2);
    x.reroute = FORWARD_REFUSED; /* as coordinator.c answers for every scan: only the client can begin it anew */
    CU_ASSERT_TRUE(reply_to(1, HF_E_WRONG_SHARD, 2 * RESEND_MS_MIN + 1));
    CU_ASSERT(x.answered == 1 && x.code == HF_E_WRONG_SHARD);
    CU_ASSERT_FALSE(reply_to(0, HF_OK, 2 * RESEND_MS_MIN + 2));
    CU_ASSERT_EQUAL(x.answered, 1);
    buf_deinit(&body);
    end_fixture();
}

/* Found by the simulator: the second copy passed for the answer of the attempt that came after. */
static void a_doubled_refusal_counts_once(void)
{
    begin_fixture(10, 1000);
    CU_ASSERT_EQUAL(put(FORWARD_ONCE, 1, 1000), HF_OK);
    CU_ASSERT_TRUE(reply_to(0, HF_E_NOT_LEADER, 1));
    CU_ASSERT_EQUAL_FATAL(x.sent_count, 2); /* elsewhere, at once */
    CU_ASSERT_FALSE(reply_to(0, HF_E_NOT_LEADER, 2));
    tick_until(5, 200);
    CU_ASSERT_EQUAL(x.sent_count, 2); /* the second may be executed: no third */
    CU_ASSERT_TRUE(reply_to(1, HF_OK, 201));
    CU_ASSERT(x.answered == 1 && x.code == HF_OK);
    end_fixture();
}

static bool reply_locked(size_t sent, uint64_t seq, uint64_t now_ms)
{
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    Hf__Client__Lock lock = HF__CLIENT__LOCK__INIT;
    Hf__Entry__TxnId id = HF__ENTRY__TXN_ID__INIT;
    id.home = 2;
    id.session = 3;
    id.seq = seq;
    lock.id = &id;
    reply.lock = &lock;
    reply.id = x.sent[sent].request->id;
    reply.code = HF_E_KEY_LOCKED;
    return forward_reply(&x.forward, &reply, now_ms * MS);
}

static void a_locked_key_is_waited_for(void)
{
    static const enum forward_kind kinds[] = {FORWARD_READ, FORWARD_REPEATABLE, FORWARD_ONCE};
    for (size_t i = 0; i < 3; i++) {
        begin_fixture(10, 1000);
        CU_ASSERT_EQUAL(put(kinds[i], 1, 1000), HF_OK);
        CU_ASSERT_TRUE(reply_locked(0, 7, 10));
        CU_ASSERT(x.locks == 1 && x.lock_seq == 7 && x.answered == 0 && x.sent_count == 1);
        forward_tick(&x.forward, 11 * MS);
        CU_ASSERT_EQUAL(x.sent_count, 1);
        forward_tick(&x.forward, 12 * MS);
        CU_ASSERT_EQUAL_FATAL(x.sent_count, 2);
        CU_ASSERT_EQUAL(x.sent[1].replica, 1); /* the leader it is */
        CU_ASSERT_TRUE(reply_locked(1, 8, 13));
        forward_tick(&x.forward, 16 * MS);
        CU_ASSERT_EQUAL(x.sent_count, 2); /* the pause grows */
        forward_tick(&x.forward, 17 * MS);
        CU_ASSERT_EQUAL_FATAL(x.sent_count, 3);
        CU_ASSERT_TRUE(reply_to(2, HF_OK, 18));
        CU_ASSERT(x.answered == 1 && x.code == HF_OK && x.locks == 2);
        end_fixture();
    }
}

static void locked_to_the_end(void)
{
    static const struct {
        enum forward_kind kind;
        bool silent; /* the last attempt goes unanswered */
        int code;
    } rows[] = {{FORWARD_READ, false, HF_E_KEY_LOCKED},           {FORWARD_REPEATABLE, false, HF_E_KEY_LOCKED},
                {FORWARD_ONCE, false, HF_E_KEY_LOCKED},           {FORWARD_READ, true, HF_E_KEY_LOCKED},
                {FORWARD_REPEATABLE, true, HF_E_OUTCOME_UNKNOWN}, {FORWARD_ONCE, true, HF_E_OUTCOME_UNKNOWN}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin_fixture(10, 1000);
        CU_ASSERT_EQUAL(put(rows[i].kind, 1, 300), HF_OK);
        for (uint64_t ms = 0; ms < 300; ms += 5) {
            for (size_t sent = 0; sent < x.sent_count && !(rows[i].silent && ms > 100); sent++)
                (void)reply_locked(sent, 9, ms);
            forward_tick(&x.forward, ms * MS);
        }
        for (size_t sent = 0; sent < x.sent_count && !rows[i].silent; sent++)
            (void)reply_locked(sent, 9, 299);
        CU_ASSERT(x.sent_count > 3 && x.sent_count < 20);
        tick_until(300, 300);
        CU_ASSERT(x.answered == 1 && x.code == rows[i].code);
        CU_ASSERT_EQUAL(x.told_seq, rows[i].code == HF_E_KEY_LOCKED ? 9 : 0);
        end_fixture();
    }
}

/* An earlier attempt is unanswered: that a later one is locked makes nothing surely not done (I9). */
static void a_lock_does_not_undo_an_unanswered_attempt(void)
{
    begin_fixture(10, 1000);
    CU_ASSERT_EQUAL(put(FORWARD_REPEATABLE, 1, 400), HF_OK);
    x.leader = 2;
    forward_leader_changed(&x.forward, 1, 10 * MS);
    CU_ASSERT_TRUE(reply_locked(1, 9, 20));
    x.send_code = HF_E_UNAVAILABLE;
    tick_until(25, 400);
    CU_ASSERT(x.answered == 1 && x.code == HF_E_OUTCOME_UNKNOWN);
    end_fixture();
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"an answer goes back under the client's id", an_answer_goes_back_under_the_clients_id},
        {"refused attempts are repeated elsewhere", refused_attempts_are_repeated_elsewhere},
        {"refused to the end is surely not done", refused_to_the_end_is_surely_not_done},
        {"never sent is surely not done", never_sent_is_surely_not_done},
        {"silence ends by kind", silence_ends_by_kind},
        {"a new leader gets what may be repeated at once", a_new_leader_gets_what_may_be_repeated_at_once},
        {"a later refusal does not undo an unanswered attempt", a_later_refusal_does_not_undo_an_unanswered_attempt},
        {"the session table decides", the_session_table_decides},
        {"queues are bounded, each for itself", queues_are_bounded_each_for_itself},
        {"wrong shard moves with the routes", wrong_shard_moves_with_the_routes},
        {"a scan goes on where the shard ends", a_scan_goes_on_where_the_shard_ends},
        {"a doubled refusal counts once", a_doubled_refusal_counts_once},
        {"a locked key is waited for", a_locked_key_is_waited_for},
        {"locked to the end", locked_to_the_end},
        {"a lock does not undo an unanswered attempt", a_lock_does_not_undo_an_unanswered_attempt},
        {"a late answer to a scan is nobody's", a_late_answer_to_a_scan_is_nobodys},
    };
    return UNIT_MAIN("coordinator/forward", cases);
}
