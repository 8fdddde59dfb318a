/* test_retry.c: the library against a shard that loses, refuses, moves and repeats (fake.h): what is retried, what is
 * executed once, and which of the three answers a call gets. */
#include <string.h>

#include "client/client.h"
#include "common/sys/clock.h"
#include "tests/unit/client/fake.h"
#include "tests/unit/unit.h"

#define DEADLINE_MS 10000u

static struct fake fake;
static int next_port = 21440;

static void prepare(void)
{
    fake_init(&fake, next_port);
    next_port += FAKE_SERVERS;
}

static struct hf *begin(int routed)
{
    fake_start(&fake);
    struct hf *h = NULL;
    struct hf_options options = {.endpoints = fake.endpoints[FAKE_COORDINATOR], .routed = routed};
    CU_ASSERT_EQUAL_FATAL(hf_open(&options, HF_ABI, &h), HF_OK);
    return h;
}

static void end(struct hf **h)
{
    hf_close(h);
    CU_ASSERT_PTR_NULL(*h);
    fake_stop(&fake);
    CU_ASSERT_EQUAL(fake.window_broken, 0);
}

static struct hf_bytes text(const char *s)
{
    return (struct hf_bytes){s, strlen(s)};
}

static int put(struct hf *h, const char *key, uint32_t deadline_ms)
{
    struct hf_version v = {0, 0};
    int rc = hf_put(h, text(key), text("value"), 0, deadline_ms, &v);
    if (rc == HF_OK)
        CU_ASSERT_EQUAL(v.sequence, 1);
    return rc;
}

static void writes_share_one_session(void)
{
    prepare();
    struct hf *h = begin(0);
    for (int i = 0; i < 20; i++)
        CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    struct hf_value value;
    CU_ASSERT_EQUAL(hf_get(h, text("key"), 0, DEADLINE_MS, &value), HF_OK);
    CU_ASSERT_EQUAL(value.size, 3);
    hf_value_free(&value);
    end(&h);
    CU_ASSERT_EQUAL(fake.sessions_opened, 1);
    CU_ASSERT_EQUAL(fake.last_seq, 20);
    CU_ASSERT_EQUAL(fake.executed, 20);
    CU_ASSERT_EQUAL(fake.requests[FAKE_COORDINATOR], 1); /* the routes; all else went straight to the leader */
}

static void routed_calls_go_through_the_coordinator(void)
{
    prepare();
    struct hf *h = begin(1);
    CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    end(&h);
    CU_ASSERT_EQUAL(fake.executed, 1);
    CU_ASSERT_EQUAL(fake.requests[FAKE_A] + fake.requests[FAKE_B], 0);
}

static void a_lost_reply_is_asked_for_again_and_executed_once(void)
{
    prepare();
    fake.lose_replies = 2;
    struct hf *h = begin(0);
    CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    end(&h);
    CU_ASSERT_EQUAL(fake.writes, 3);
    CU_ASSERT_EQUAL(fake.executed, 1);
    CU_ASSERT_EQUAL(fake.repeated, 2);
}

static void a_hint_is_followed_at_once(void)
{
    prepare();
    fake.leader = FAKE_B;
    struct hf *h = begin(0);
    CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    end(&h);
    CU_ASSERT_EQUAL(fake.executed, 1);
    CU_ASSERT_EQUAL(fake.statuses, 0);
    CU_ASSERT_EQUAL(fake.requests[FAKE_A], 1);
}

static void without_a_hint_the_replicas_are_asked_who_leads(void)
{
    prepare();
    fake.leader = FAKE_B;
    fake.hints = false;
    struct hf *h = begin(0);
    CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    end(&h);
    CU_ASSERT_EQUAL(fake.executed, 1);
    CU_ASSERT_TRUE(fake.statuses >= 1);
}

static void a_leader_that_falls_silent_is_left(void)
{
    prepare();
    struct hf *h = begin(0);
    CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    fake.silent[FAKE_A] = true;
    fake.leader = FAKE_B;
    CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    end(&h);
    CU_ASSERT_EQUAL(fake.executed, 2);
    CU_ASSERT_EQUAL(fake.sessions_opened, 1); /* the session is the shard's, not the leader's */
    CU_ASSERT_EQUAL(fake.last_seq, 2);
}

static void a_moved_key_is_followed_by_the_routes_in_the_refusal(void)
{
    prepare();
    struct hf *h = begin(0);
    fake.old_routes = true;
    fake.split = true; /* the library still believes that A has everything */
    CU_ASSERT_EQUAL(put(h, "z", DEADLINE_MS), HF_OK);
    CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    end(&h);
    CU_ASSERT_EQUAL(fake.executed, 2);
    CU_ASSERT_EQUAL(fake.sessions_opened, 2); /* each shard has its own */
}

static void an_expired_session_is_replaced_before_anything_was_lost(void)
{
    prepare();
    struct hf *h = begin(0);
    CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    fake.forget_sessions = true;
    CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    end(&h);
    CU_ASSERT_EQUAL(fake.executed, 2);
    CU_ASSERT_EQUAL(fake.sessions_opened, 2);
    CU_ASSERT_EQUAL(fake.last_seq, 1);
}

static void an_expired_session_after_a_loss_is_unknown(void)
{
    prepare();
    struct hf *h = begin(0);
    CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    struct hf_future *f;
    fake.lose_replies = 1000000; /* also what is asked for again before the session is forgotten */
    CU_ASSERT_EQUAL(hf_put_async(h, text("a"), text("v"), 0, &(struct hf_call){.deadline_ms = DEADLINE_MS}, &f), HF_OK);
    while (fake.executed < 2) /* executed, not answered */
        CU_ASSERT_EQUAL(hf_future_wait(f, 1), HF_E_AGAIN);
    fake.forget_sessions = true;
    int code;
    while ((code = hf_future_wait(f, 1000)) == HF_E_AGAIN)
        ;
    CU_ASSERT_EQUAL(code, HF_E_OUTCOME_UNKNOWN);
    CU_ASSERT_EQUAL(hf_future_class(f), HF_CLASS_OUTCOME_UNKNOWN);
    hf_future_free(f);
    end(&h);
    CU_ASSERT_EQUAL(fake.executed, 2); /* and not executed again under another session */
}

static void a_refusal_after_a_loss_proves_nothing(void)
{
    prepare();
    fake.lose_replies = 1000000; /* until it refuses, which comes first */
    struct hf *h = begin(0);
    struct hf_future *f;
    CU_ASSERT_EQUAL(hf_put_async(h, text("a"), text("v"), 0, &(struct hf_call){.deadline_ms = DEADLINE_MS}, &f), HF_OK);
    while (fake.executed < 1)
        CU_ASSERT_EQUAL(hf_future_wait(f, 1), HF_E_AGAIN);
    fake.refuse_times = 1000;
    fake.refuse_writes = HF_E_REFUSED;
    int code;
    while ((code = hf_future_wait(f, 1000)) == HF_E_AGAIN)
        ;
    CU_ASSERT_EQUAL(code, HF_E_OUTCOME_UNKNOWN);
    hf_future_free(f);
    CU_ASSERT_EQUAL(put(h, "b", DEADLINE_MS), HF_E_REFUSED); /* a first attempt that is refused is surely not done */
    end(&h);
}

static void busy_is_tried_again(void)
{
    prepare();
    fake.refuse_times = 3;
    fake.refuse_writes = HF_E_BUSY;
    struct hf *h = begin(0);
    CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    end(&h);
    CU_ASSERT_EQUAL(fake.writes, 4);
    CU_ASSERT_EQUAL(fake.executed, 1);
}

static void the_deadline_tells_never_sent_from_unanswered(void)
{
    prepare();
    fake.silent[FAKE_A] = fake.silent[FAKE_B] = true;
    struct hf *h = begin(0);
    struct hf_value value;
    CU_ASSERT_EQUAL(hf_get(h, text("a"), 0, 400, &value), HF_E_UNAVAILABLE); /* sent to A, which the routes name */
    CU_ASSERT_EQUAL(put(h, "a", 400), HF_E_TIMEOUT); /* no session could be opened: the put itself never left */
    fake.silent[FAKE_A] = fake.silent[FAKE_B] = false;
    CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    fake.lose_replies = 1000000;
    uint64_t begin_ns = clock_boot_ns();
    CU_ASSERT_EQUAL(put(h, "a", 500), HF_E_OUTCOME_UNKNOWN);
    CU_ASSERT_TRUE(clock_boot_ns() - begin_ns < 20000 * CLOCK_NS_PER_MS);
    end(&h);
}

static void a_full_disk_is_said_though_no_session_was_had(void)
{
    prepare();
    fake.refuse_sessions = HF_E_NO_SPACE;
    struct hf *h = begin(0);
    CU_ASSERT_EQUAL(put(h, "a", 400), HF_E_NO_SPACE);
    fake.refuse_sessions = HF_OK;
    CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    end(&h);
}

static void nobody_there_is_surely_not_done(void)
{
    struct hf *h = NULL;
    struct hf_options options = {.endpoints = "tcp://127.0.0.1:21599"};
    CU_ASSERT_EQUAL_FATAL(hf_open(&options, HF_ABI, &h), HF_OK);
    CU_ASSERT_EQUAL(put(h, "a", 100), HF_E_TIMEOUT);
    CU_ASSERT_EQUAL(hf_put(h, text("a"), text("b"), 0, 0, NULL), HF_E_INVALID); /* a deadline is a must */
    hf_close(&h);
    CU_ASSERT_EQUAL(hf_open(&options, HF_ABI + 1, &h), HF_E_INVALID);
    options.endpoints = "nonsense";
    CU_ASSERT_EQUAL(hf_open(&options, HF_ABI, &h), HF_E_INVALID);
}

/* One unanswered seq holds the window: nothing 1024 above it leaves, and all come through when it is answered. */
static void the_window_is_never_overrun(void)
{
    enum { COUNT = 3000 };
    prepare();
    fake.hold_seq = 5;
    struct hf *h = begin(0);
    struct hf_queue *q = NULL;
    CU_ASSERT_EQUAL_FATAL(hf_queue_open(h, &q), HF_OK);
    for (int i = 0; i < COUNT; i++) {
        struct hf_future *f;
        struct hf_call call = {.deadline_ms = 30000, .queue = q};
        CU_ASSERT_EQUAL_FATAL(hf_put_async(h, text("a"), text("v"), 0, &call, &f), HF_OK);
    }
    int done = 0;
    struct hf_future *f;
    while (done < 1027 && hf_queue_take(q, 10000, &f, 1) == 1) {
        CU_ASSERT_EQUAL(hf_future_poll(f), HF_OK);
        hf_future_free(f);
        done++;
    }
    CU_ASSERT_EQUAL(done, 1027); /* 1 to 4 and 6 to 1028: seq 5 holds done_below */
    CU_ASSERT_EQUAL(hf_queue_take(q, 100, &f, 1), 0);
    CU_ASSERT_EQUAL(fake.executed, 1028);
    fake.hold_seq = 0;
    while (done < COUNT && hf_queue_take(q, 10000, &f, 1) == 1) {
        CU_ASSERT_EQUAL(hf_future_poll(f), HF_OK);
        hf_future_free(f);
        done++;
    }
    CU_ASSERT_EQUAL(done, COUNT);
    end(&h);
    hf_queue_free(q); /* nothing names it any more, also when the test gave up */
    CU_ASSERT_EQUAL(fake.executed, COUNT);
}

static void late_duplicates_change_nothing(void)
{
    prepare();
    fake.twice = true;
    fake.lose_replies = 3;
    struct hf *h = begin(0);
    for (int i = 0; i < 200; i++)
        CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    end(&h);
    CU_ASSERT_EQUAL(fake.executed, 200);
}

static void a_prefix_in_one_shard_is_its_leaders(void)
{
    prepare();
    fake.split = true;
    struct hf *h = begin(0);
    CU_ASSERT_EQUAL(hf_delete_prefix(h, text("a"), DEADLINE_MS, NULL), HF_OK);
    CU_ASSERT_EQUAL(hf_delete_prefix(h, text("m"), DEADLINE_MS, NULL), HF_OK);
    end(&h);
    CU_ASSERT_EQUAL(fake.executed, 2);
    CU_ASSERT_EQUAL(fake.txns_at_coordinator, 0);
}

static void scan_all(struct hf *h, int reverse)
{
    struct hf_range range = {.reverse = reverse};
    struct hf_cursor *c = NULL;
    CU_ASSERT_EQUAL_FATAL(hf_cursor_open(h, &range, DEADLINE_MS, &c), HF_OK);
    for (int i = 0; i <= fake.keys_count; i++) {
        const struct hf_item *item = NULL;
        CU_ASSERT_EQUAL(hf_cursor_next(c, &item), HF_OK);
        if (i == fake.keys_count) {
            CU_ASSERT_PTR_NULL(item);
            break;
        }
        const char *want = fake.keys[reverse ? fake.keys_count - 1 - i : i];
        CU_ASSERT_PTR_NOT_NULL_FATAL(item);
        if (!item)
            break;
        CU_ASSERT_TRUE(item->key.size == strlen(want) && memcmp(item->key.data, want, item->key.size) == 0);
    }
    hf_cursor_close(c);
}

static void a_scan_goes_on_in_the_next_shard_both_ways(void)
{
    static const char *const keys[] = {"a", "b", "c", "l", "m", "n", "y", "z"};
    prepare();
    fake.split = true;
    memcpy(fake.keys, keys, sizeof keys);
    fake.keys_count = sizeof keys / sizeof keys[0];
    struct hf *h = begin(0);
    scan_all(h, 0);
    scan_all(h, 1);
    end(&h);
}

static void a_late_answer_to_a_scan_is_not_taken(void)
{
    static const char *const keys[] = {"a", "b", "c"};
    prepare();
    memcpy(fake.keys, keys, sizeof keys);
    fake.keys_count = sizeof keys / sizeof keys[0];
    fake.late_scans = 1;
    struct hf *h = begin(0);
    scan_all(h, 0);
    end(&h);
    CU_ASSERT(fake.late_scans == 0 && fake.late_id == 0); /* it was held back and sent */
}

static void closing_ends_every_call(void)
{
    prepare();
    struct hf *h = begin(0);
    CU_ASSERT_EQUAL(put(h, "a", DEADLINE_MS), HF_OK);
    fake.lose_replies = 1000000;
    struct hf_future *sent, *left;
    struct hf_call call = {.deadline_ms = DEADLINE_MS};
    CU_ASSERT_EQUAL(hf_put_async(h, text("a"), text("v"), 0, &call, &sent), HF_OK);
    CU_ASSERT_EQUAL(hf_put_async(h, text("a"), text("v"), 0, &call, &left), HF_OK);
    hf_future_free(left); /* not wanted any more: must not leak or crash */
    while (fake.executed < 3)
        CU_ASSERT_EQUAL(hf_future_wait(sent, 1), HF_E_AGAIN);
    end(&h);
    CU_ASSERT_EQUAL(hf_future_poll(sent), HF_E_OUTCOME_UNKNOWN);
    hf_future_free(sent);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"writes share one session", writes_share_one_session},
        {"routed calls go through the coordinator", routed_calls_go_through_the_coordinator},
        {"a lost reply is asked for again and executed once", a_lost_reply_is_asked_for_again_and_executed_once},
        {"a hint is followed at once", a_hint_is_followed_at_once},
        {"without a hint the replicas are asked who leads", without_a_hint_the_replicas_are_asked_who_leads},
        {"a leader that falls silent is left", a_leader_that_falls_silent_is_left},
        {"a moved key is followed by the routes in the refusal", a_moved_key_is_followed_by_the_routes_in_the_refusal},
        {"an expired session is replaced before anything was lost",
         an_expired_session_is_replaced_before_anything_was_lost},
        {"an expired session after a loss is unknown", an_expired_session_after_a_loss_is_unknown},
        {"a refusal after a loss proves nothing", a_refusal_after_a_loss_proves_nothing},
        {"busy is tried again", busy_is_tried_again},
        {"the deadline tells never sent from unanswered", the_deadline_tells_never_sent_from_unanswered},
        {"a full disk is said though no session was had", a_full_disk_is_said_though_no_session_was_had},
        {"nobody there is surely not done", nobody_there_is_surely_not_done},
        {"the window is never overrun", the_window_is_never_overrun},
        {"late duplicates change nothing", late_duplicates_change_nothing},
        {"a prefix in one shard is its leader's", a_prefix_in_one_shard_is_its_leaders},
        {"a scan goes on in the next shard both ways", a_scan_goes_on_in_the_next_shard_both_ways},
        {"a late answer to a scan is not taken", a_late_answer_to_a_scan_is_not_taken},
        {"closing ends every call", closing_ends_every_call},
    };
    return UNIT_MAIN("client retry", cases);
}
