/* test_timestamps.c: fresh timestamps from coordinators of which some are dead, hang, are standbys or no coordinators at
 * all; reads at one timestamp, over pages and shards, and what becomes of them when it is of no use any more. */
#include <stdio.h>
#include <string.h>

#include "client/call.h"
#include "client/client.h"
#include "common/sys/clock.h"
#include "tests/unit/client/fake.h"
#include "tests/unit/unit.h"

#define DEADLINE_MS 10000u
#define NOBODY "tcp://127.0.0.1:21598"

static struct fake one, two; /* two coordinators of a cluster; the replicas are the first one's */

static void prepare(void)
{
    static const char *const keys[] = {"a", "b", "c", "l", "m", "n", "y", "z"};
    fake_init(&one, 21600);
    fake_init(&two, 21600 + FAKE_SERVERS);
    one.issued = 1000;
    two.issued = 2000;
    memcpy(one.keys, keys, sizeof keys);
    one.keys_count = sizeof keys / sizeof keys[0];
}

/* `endpoints`: with %s twice, for the two coordinators. */
static struct hf *begin(const char *endpoints, int routed)
{
    char text[256];
    fake_start(&one);
    fake_start(&two);
    const char *first = one.endpoints[FAKE_COORDINATOR], *second = two.endpoints[FAKE_COORDINATOR];
    size_t size = 0;
    int given = 0;
    for (const char *at = endpoints; *at && size < sizeof text - 64; at++) {
        if (*at == '%')
            size += (size_t)snprintf(text + size, sizeof text - size, "%s", given++ ? second : first);
        else
            text[size++] = *at;
    }
    text[size] = 0;
    struct hf *h = NULL;
    struct hf_options options = {.endpoints = text, .routed = routed};
    CU_ASSERT_EQUAL_FATAL(hf_open(&options, HF_ABI, &h), HF_OK);
    return h;
}

static void end(struct hf **h)
{
    hf_close(h);
    fake_stop(&one);
    fake_stop(&two);
}

static uint64_t fresh(struct hf *h, uint64_t above)
{
    uint64_t t = 0;
    CU_ASSERT_EQUAL(hf_timestamp(h, above, DEADLINE_MS, &t), HF_OK);
    return t;
}

static struct hf_bytes text(const char *s)
{
    return (struct hf_bytes){s, strlen(s)};
}

static void each_is_above_the_last_and_above_what_is_asked(void)
{
    for (int routed = 0; routed < 2; routed++) {
        prepare();
        struct hf *h = begin("%", routed);
        uint64_t t = fresh(h, 0);
        CU_ASSERT_EQUAL(t, 1001);
        CU_ASSERT_EQUAL(fresh(h, 0), 1002);
        CU_ASSERT_EQUAL(fresh(h, 5000), 5001);
        CU_ASSERT_EQUAL(fresh(h, 0), 5002);
        CU_ASSERT_EQUAL(one.requests[FAKE_A], 0);
        end(&h);
    }
}

static void the_future_says_what_the_call_says(void)
{
    prepare();
    struct hf *h = begin("%", 0);
    struct hf_call call = {.deadline_ms = DEADLINE_MS};
    struct hf_future *f = NULL, *g = NULL;
    CU_ASSERT_EQUAL_FATAL(hf_timestamp_async(h, 0, &call, &f), HF_OK);
    CU_ASSERT_EQUAL(call_wait(f), HF_OK);
    CU_ASSERT_EQUAL(hf_future_timestamp(f), 1001);
    CU_ASSERT_EQUAL_FATAL(hf_get_async(h, text("a"), 0, &call, &g), HF_OK);
    CU_ASSERT_EQUAL(call_wait(g), HF_OK);
    CU_ASSERT_EQUAL(hf_future_timestamp(g), 0);
    hf_future_free(f);
    hf_future_free(g);
    end(&h);
}

static void the_dead_are_passed_over(void)
{
    prepare();
    struct hf *h = begin(NOBODY ",%", 0);
    CU_ASSERT_EQUAL(fresh(h, 0), 1001);
    CU_ASSERT_EQUAL(fresh(h, 0), 1002);
    end(&h);
}

static void a_silent_one_is_left(void)
{
    prepare();
    struct hf *h = begin("%,%", 0);
    CU_ASSERT(fresh(h, 3000) > 3000);
    struct fake *other = one.issued > 3000 ? &two : &one, *first = other == &one ? &two : &one;
    first->silent[FAKE_COORDINATOR] = true; /* it hangs: its connection stays */
    other->issued = 4000;
    CU_ASSERT_EQUAL(fresh(h, 0), 4001);
    int asked = first->requests[FAKE_COORDINATOR];
    for (uint64_t i = 2; i < 20; i++) /* from now on the other is asked first */
        CU_ASSERT_EQUAL(fresh(h, 0), 4000 + i);
    CU_ASSERT_EQUAL(first->requests[FAKE_COORDINATOR], asked);
    end(&h);
}

static void refused_by_one(int code, const char *hint, int routed)
{
    prepare();
    one.refuse_timestamps = code;
    one.timestamp_hint = hint;
    two.silent[FAKE_COORDINATOR] = true; /* the first answers the question for routes */
    struct hf *h = begin(hint ? "%" : "%,%", routed);
    struct hf_call call = {.deadline_ms = DEADLINE_MS};
    struct hf_future *f = NULL;
    CU_ASSERT_EQUAL_FATAL(hf_timestamp_async(h, 0, &call, &f), HF_OK);
    while (one.timestamps == 0)
        CU_ASSERT_EQUAL(hf_future_wait(f, 1), HF_E_AGAIN);
    two.silent[FAKE_COORDINATOR] = false;
    CU_ASSERT_EQUAL(call_wait(f), HF_OK);
    CU_ASSERT_EQUAL(hf_future_timestamp(f), 2001);
    hf_future_free(f);
    end(&h);
}

static void a_standby_sends_to_the_active_one(void)
{
    refused_by_one(HF_E_NOT_LEADER, "tcp://127.0.0.1:21603", 0); /* not in the list: it is known by the hint only */
    refused_by_one(HF_E_NOT_LEADER, "tcp://127.0.0.1:21603", 1);
}

static void a_cut_goes_the_same_way(void)
{
    uint64_t t = 0;
    prepare();
    one.refuse_timestamps = HF_E_NOT_LEADER;
    one.timestamp_hint = "tcp://127.0.0.1:21603";
    struct hf *h = begin("%", 0);
    CU_ASSERT_EQUAL(hf_cut(h, DEADLINE_MS, &t), HF_OK);
    CU_ASSERT_EQUAL(t, 2001);
    two.refuse_timestamps = HF_E_REFUSED; /* a shard cannot: no other coordinator could make it */
    CU_ASSERT_EQUAL(hf_cut(h, DEADLINE_MS, &t), HF_E_REFUSED);
    CU_ASSERT_EQUAL(t, 2001);
    end(&h);
}

static void what_is_retained_is_asked_of_the_active_one(void)
{
    uint32_t granted = 0;
    prepare();
    one.refuse_timestamps = HF_E_NOT_LEADER;
    one.timestamp_hint = "tcp://127.0.0.1:21603";
    struct hf *h = begin("%", 0);
    CU_ASSERT_EQUAL(hf_retain(h, 7, 900, 8000, DEADLINE_MS, &granted), HF_OK);
    CU_ASSERT_EQUAL(granted, 4000);
    CU_ASSERT_EQUAL(hf_retain(h, 7, 900, 8000, DEADLINE_MS, NULL), HF_OK);
    CU_ASSERT_EQUAL(hf_retain(h, 0, 900, 8000, DEADLINE_MS, &granted), HF_E_INVALID);
    CU_ASSERT_EQUAL(hf_retain(h, 7, 0, 8000, DEADLINE_MS, &granted), HF_E_INVALID);
    CU_ASSERT_EQUAL(hf_retain(h, 7, 0, 0, DEADLINE_MS, &granted), HF_OK); /* it is done */
    CU_ASSERT_EQUAL(granted, 0);
    end(&h);
    prepare();
    one.refuse_timestamps = two.refuse_timestamps = HF_E_NOT_LEADER;
    h = begin("%,%", 0);
    CU_ASSERT_EQUAL(hf_retain(h, 7, 900, 8000, 300, &granted), HF_E_UNAVAILABLE);
    end(&h);
}

static void who_has_none_is_left(void)
{
    static const int codes[] = {HF_E_NOT_LEADER, HF_E_UNAVAILABLE, HF_E_NO_ROUTE};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        refused_by_one(codes[i], NULL, 0);
}

/* The standby still names the one that hangs: it is not asked again and again, and its successor is found. */
static void a_hint_to_a_silent_one_is_not_followed(void)
{
    prepare();
    one.refuse_timestamps = HF_E_NOT_LEADER;
    one.timestamp_hint = "tcp://127.0.0.1:21603";
    two.silent[FAKE_COORDINATOR] = true;
    struct hf *h = begin("%,%", 0);
    struct hf_call call = {.deadline_ms = DEADLINE_MS};
    struct hf_future *f = NULL;
    CU_ASSERT_EQUAL_FATAL(hf_timestamp_async(h, 0, &call, &f), HF_OK);
    uint64_t begun_ns = clock_boot_ns();
    while (one.timestamps < 16)
        CU_ASSERT_EQUAL(hf_future_wait(f, 1), HF_E_AGAIN);
    uint64_t seconds = (clock_boot_ns() - begun_ns) / (1000 * CLOCK_NS_PER_MS);
    CU_ASSERT((uint64_t)two.requests[FAKE_COORDINATOR] <= 4 + seconds); /* routes, then once a second */
    one.refuse_timestamps = 0;                                          /* it has taken over */
    CU_ASSERT_EQUAL(call_wait(f), HF_OK);
    CU_ASSERT_EQUAL(hf_future_timestamp(f), 1001);
    hf_future_free(f);
    end(&h);
}

static void a_replica_in_the_list_is_no_coordinator(void)
{
    prepare();
    one.refuse_timestamps = HF_E_UNAVAILABLE; /* so that the others are asked */
    struct hf *h = begin("tcp://127.0.0.1:21601,%,tcp://127.0.0.1:21602", 0);
    struct hf_call call = {.deadline_ms = DEADLINE_MS};
    struct hf_future *f = NULL;
    CU_ASSERT_EQUAL_FATAL(hf_timestamp_async(h, 0, &call, &f), HF_OK);
    while (one.timestamps < 3 && hf_future_wait(f, 1) == HF_E_AGAIN)
        ;
    one.refuse_timestamps = 0;
    CU_ASSERT_EQUAL(call_wait(f), HF_OK);
    CU_ASSERT_EQUAL(hf_future_timestamp(f), 1001);
    CU_ASSERT(one.requests[FAKE_A] > 1 && one.requests[FAKE_B] > 1); /* more than for the routes */
    hf_future_free(f);
    end(&h);
}

static void one_that_will_have_it_soon_is_asked_again(void)
{
    prepare();
    one.refuse_timestamps = HF_E_NOT_READY;
    struct hf *h = begin("%", 0);
    struct hf_call call = {.deadline_ms = DEADLINE_MS};
    struct hf_future *f = NULL;
    CU_ASSERT_EQUAL_FATAL(hf_timestamp_async(h, 7000, &call, &f), HF_OK);
    while (one.timestamps < 3)
        CU_ASSERT_EQUAL(hf_future_wait(f, 1), HF_E_AGAIN);
    one.refuse_timestamps = 0;
    CU_ASSERT_EQUAL(call_wait(f), HF_OK);
    CU_ASSERT_EQUAL(hf_future_timestamp(f), 7001);
    hf_future_free(f);
    end(&h);
}

static void without_any_it_is_surely_not_done(void)
{
    uint64_t t = 1;
    prepare();
    one.refuse_timestamps = HF_E_NOT_LEADER;
    struct hf *h = begin("%", 0);
    CU_ASSERT_EQUAL(hf_timestamp(h, 0, 200, &t), HF_E_UNAVAILABLE);
    one.refuse_timestamps = HF_E_FUTURE_TIMESTAMP;
    CU_ASSERT_EQUAL(hf_timestamp(h, UINT64_C(1) << 63, DEADLINE_MS, &t), HF_E_FUTURE_TIMESTAMP);
    CU_ASSERT_EQUAL(t, 1);
    end(&h);
    prepare();
    h = begin(NOBODY, 0);
    CU_ASSERT_EQUAL(hf_timestamp(h, 0, 200, &t), HF_E_TIMEOUT);
    end(&h);
}

/* Puts, gets and scans of a routed handle too. */
static void routed_calls_leave_a_silent_coordinator(void)
{
    prepare();
    struct hf *h = begin("%,%", 1);
    for (int i = 0; i < 6; i++) { /* now the one, now the other hangs */
        struct fake *silent = i % 2 ? &two : &one, *alive = i % 2 ? &one : &two;
        alive->silent[FAKE_COORDINATOR] = false;
        silent->silent[FAKE_COORDINATOR] = true;
        struct hf_value value;
        CU_ASSERT_EQUAL_FATAL(hf_get(h, text("key"), 0, DEADLINE_MS, &value), HF_OK);
        hf_value_free(&value);
    }
    end(&h);
}

static void a_read_says_above_what(void)
{
    prepare();
    one.restart = 1500;
    struct hf *h = begin("%", 0);
    struct hf_call call = {.deadline_ms = DEADLINE_MS};
    struct hf_future *f = NULL;
    struct hf_value value;
    CU_ASSERT_EQUAL_FATAL(hf_get_async(h, text("a"), fresh(h, 0), &call, &f), HF_OK);
    CU_ASSERT_EQUAL(call_wait(f), HF_E_RESTART_ABOVE);
    CU_ASSERT_EQUAL(hf_future_class(f), HF_CLASS_GIVE_UP);
    CU_ASSERT_EQUAL(hf_future_timestamp(f), 1500);
    CU_ASSERT_EQUAL(hf_get(h, text("a"), fresh(h, hf_future_timestamp(f)), DEADLINE_MS, &value), HF_OK);
    hf_value_free(&value);
    hf_future_free(f);
    CU_ASSERT_EQUAL(hf_get(h, text("a"), HF_AT_FRESH, DEADLINE_MS, &value), HF_E_INVALID);
    end(&h);
}

/* Reads to the end, or to a failure, which it returns. */
static int read_all(struct hf_cursor *c, int *out_items)
{
    const struct hf_item *item = NULL;
    *out_items = 0;
    for (;;) {
        int rc = hf_cursor_next(c, &item);
        if (rc || !item)
            return rc;
        ++*out_items;
    }
}

static void every_page_of_every_shard_is_read_at_one_timestamp(void)
{
    for (int reverse = 0; reverse < 2; reverse++) {
        prepare();
        one.split = true;
        struct hf *h = begin("%", 0);
        struct hf_cursor *c = NULL;
        struct hf_range range = {.reverse = reverse, .at = fresh(h, 0)};
        int items = 0;
        CU_ASSERT_EQUAL_FATAL(hf_cursor_open(h, &range, DEADLINE_MS, &c), HF_OK);
        CU_ASSERT_EQUAL(read_all(c, &items), HF_OK);
        CU_ASSERT_EQUAL(items, 8);
        CU_ASSERT_EQUAL(hf_cursor_timestamp(c), 1001);
        CU_ASSERT_EQUAL(one.last_at, 1001);
        CU_ASSERT_EQUAL(one.at_changes, 1);
        CU_ASSERT_EQUAL(one.timestamps, 1);
        hf_cursor_close(c);
        end(&h);
    }
}

static void a_cursor_takes_its_own_and_another_above_the_mark(void)
{
    prepare();
    one.split = true;
    one.restart = 1500;
    struct hf *h = begin("%", 0);
    struct hf_cursor *c = NULL;
    struct hf_range range = {.at = HF_AT_FRESH};
    int items = 0;
    CU_ASSERT_EQUAL_FATAL(hf_cursor_open(h, &range, DEADLINE_MS, &c), HF_OK);
    CU_ASSERT_EQUAL(hf_cursor_timestamp(c), 0);
    CU_ASSERT_EQUAL(read_all(c, &items), HF_OK);
    CU_ASSERT_EQUAL(items, 8);
    CU_ASSERT_EQUAL(hf_cursor_timestamp(c), 1501);
    CU_ASSERT_EQUAL(one.last_at, 1501);
    CU_ASSERT_EQUAL(one.timestamps, 2);
    hf_cursor_close(c);
    end(&h);
}

/* The caller's timestamp, or items already given out: it is the caller's to begin again. */
static void a_cursor_never_changes_the_timestamp_of_what_is_out(void)
{
    for (int given = 0; given < 2; given++) {
        prepare();
        one.restart = 1500;
        one.restart_after = given ? 0 : 2;
        struct hf *h = begin("%", 0);
        struct hf_cursor *c = NULL;
        struct hf_range range = {.at = given ? fresh(h, 0) : HF_AT_FRESH};
        int items = 0;
        CU_ASSERT_EQUAL_FATAL(hf_cursor_open(h, &range, DEADLINE_MS, &c), HF_OK);
        CU_ASSERT_EQUAL(read_all(c, &items), HF_E_RESTART_ABOVE);
        CU_ASSERT_EQUAL(items, given ? 0 : 4);
        CU_ASSERT_EQUAL(hf_cursor_restart_above(c), 1500);
        CU_ASSERT_EQUAL(hf_cursor_timestamp(c), 1001);
        CU_ASSERT_EQUAL(one.timestamps, 1);
        hf_cursor_close(c);
        end(&h);
    }
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"each is above the last and above what is asked", each_is_above_the_last_and_above_what_is_asked},
        {"the future says what the call says", the_future_says_what_the_call_says},
        {"the dead are passed over", the_dead_are_passed_over},
        {"a silent one is left", a_silent_one_is_left},
        {"a standby sends to the active one", a_standby_sends_to_the_active_one},
        {"a cut goes the same way", a_cut_goes_the_same_way},
        {"what is retained", what_is_retained_is_asked_of_the_active_one},
        {"who has none is left", who_has_none_is_left},
        {"a hint to a silent one is not followed", a_hint_to_a_silent_one_is_not_followed},
        {"a replica in the list is no coordinator", a_replica_in_the_list_is_no_coordinator},
        {"one that will have it soon is asked again", one_that_will_have_it_soon_is_asked_again},
        {"without any it is surely not done", without_any_it_is_surely_not_done},
        {"routed calls leave a silent coordinator", routed_calls_leave_a_silent_coordinator},
        {"a read says above what", a_read_says_above_what},
        {"every page of every shard is read at one timestamp", every_page_of_every_shard_is_read_at_one_timestamp},
        {"a cursor takes its own and another above the mark", a_cursor_takes_its_own_and_another_above_the_mark},
        {"a cursor never changes the timestamp of what is out", a_cursor_never_changes_the_timestamp_of_what_is_out},
    };
    return UNIT_MAIN("client timestamps", cases);
}
