/* test_txn.c: transactions of the library against a shard and a coordinator that note what they are sent (fake.h): own writes
 * in reads, the order and place of what a commit sends, conflicts, locks, and that an unknown outcome is not repeated. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/call.h"
#include "client/client.h"
#include "common/sys/clock.h"
#include "tests/unit/client/fake.h"
#include "tests/unit/unit.h"

#define DEADLINE_MS 10000u

static struct fake fake;

static struct hf *begin(bool split, int routed)
{
    struct hf *h = NULL;
    struct hf_options options = {.endpoints = fake.endpoints[FAKE_COORDINATOR], .routed = routed};
    fake.split = split;
    fake_start(&fake);
    CU_ASSERT_EQUAL_FATAL(hf_open(&options, HF_ABI, &h), HF_OK);
    return h;
}

static void prepare(void)
{
    static const char *const keys[] = {"a", "b", "c", "d", "y", "z"};
    fake_init(&fake, 21670);
    memcpy(fake.keys, keys, sizeof keys);
    fake.keys_count = sizeof keys / sizeof keys[0];
    fake.issued = 1000;
}

static void end(struct hf **h, struct hf_txn *t)
{
    hf_txn_free(t);
    hf_close(h);
    fake_stop(&fake);
}

static struct hf_bytes text(const char *s)
{
    return (struct hf_bytes){s, strlen(s)};
}

static struct hf_txn *txn(struct hf *h)
{
    struct hf_txn *t = NULL;
    CU_ASSERT_EQUAL_FATAL(hf_txn_begin(h, 0, DEADLINE_MS, &t), HF_OK);
    return t;
}

static void put(struct hf_txn *t, const char *key, const char *value)
{
    CU_ASSERT_EQUAL(hf_txn_put(t, text(key), text(value), 0), HF_OK);
}

/* The value of `key`, or "(absent)". */
static const char *got(struct hf_txn *t, const char *key)
{
    static char out[64];
    struct hf_value value;
    int rc = hf_txn_get(t, text(key), DEADLINE_MS, &value);
    if (rc == HF_E_NOT_FOUND)
        return "(absent)";
    CU_ASSERT_EQUAL_FATAL(rc, HF_OK);
    snprintf(out, sizeof out, "%.*s", (int)value.size, (const char *)value.data);
    hf_value_free(&value);
    return out;
}

/* The items of all pages of [start, end) as "key=value key=value ". */
static const char *scanned(struct hf_txn *t, const char *start, const char *stop, uint32_t limit, int reverse)
{
    static char out[256];
    char from[64], to[64];
    snprintf(from, sizeof from, "%s", start);
    snprintf(to, sizeof to, "%s", stop);
    struct hf_range range = {
        .start = {from, strlen(from)}, .end = {to, strlen(to)}, .page_items = limit, .reverse = reverse};
    out[0] = 0;
    for (int more = 1; more;) {
        struct hf_future *page;
        CU_ASSERT_EQUAL_FATAL(hf_txn_scan(t, &range, DEADLINE_MS, &page), HF_OK);
        if (limit > 0)
            CU_ASSERT(hf_future_count(page) <= limit);
        for (size_t i = 0; i < hf_future_count(page); i++) {
            struct hf_item item = hf_future_item(page, i);
            size_t size = strlen(out);
            snprintf(out + size, sizeof out - size, "%.*s=%.*s ", (int)item.key.size, (const char *)item.key.data,
                     (int)item.value.size, (const char *)item.value.data);
        }
        struct hf_bytes next;
        more = hf_future_more(page, &next);
        if (more) {
            char *into = reverse ? to : from;
            memcpy(into, next.data, next.size);
            *(reverse ? &range.end : &range.start) = (struct hf_bytes){into, next.size};
        }
        hf_future_free(page);
    }
    return out;
}

static void reads_see_what_it_wrote_itself(void)
{
    prepare();
    struct hf *h = begin(false, 0);
    struct hf_txn *t = txn(h);
    CU_ASSERT_EQUAL(hf_txn_start(t), 1001);
    CU_ASSERT_STRING_EQUAL(got(t, "a"), "a");
    put(t, "a", "1");
    put(t, "a", "2");
    CU_ASSERT_STRING_EQUAL(got(t, "a"), "2");
    CU_ASSERT_EQUAL(hf_txn_del(t, text("b")), HF_OK);
    CU_ASSERT_STRING_EQUAL(got(t, "b"), "(absent)");
    put(t, "p1", "x");
    CU_ASSERT_EQUAL(hf_txn_delete_prefix(t, text("p")), HF_OK);
    CU_ASSERT_STRING_EQUAL(got(t, "p1"), "(absent)");
    CU_ASSERT_STRING_EQUAL(got(t, "p2"), "(absent)");
    put(t, "p2", "y");
    CU_ASSERT_STRING_EQUAL(got(t, "p2"), "y");
    int before = fake.requests[FAKE_A];
    CU_ASSERT_STRING_EQUAL(got(t, "a"), "2");
    CU_ASSERT_EQUAL(fake.requests[FAKE_A], before);
    end(&h, t);
    CU_ASSERT_EQUAL(fake.txns_at_shard + fake.txns_at_coordinator, 0); /* dropped: nobody heard of it */
}

static void scans_have_its_writes_in_them(void)
{
    prepare();
    struct hf *h = begin(true, 0);
    struct hf_txn *t = txn(h);
    put(t, "aa", "1");
    put(t, "c", "2");
    put(t, "zz", "3");
    CU_ASSERT_EQUAL(hf_txn_del(t, text("b")), HF_OK);
    CU_ASSERT_EQUAL(hf_txn_delete_prefix(t, text("y")), HF_OK);
    put(t, "y1", "4");
    CU_ASSERT_STRING_EQUAL(scanned(t, "", "", 0, 0), "a=a aa=1 c=2 d=d y1=4 z=z zz=3 ");
    CU_ASSERT_STRING_EQUAL(scanned(t, "", "", 0, 1), "zz=3 z=z y1=4 d=d c=2 aa=1 a=a ");
    CU_ASSERT_STRING_EQUAL(scanned(t, "", "", 1, 0), "a=a aa=1 c=2 d=d y1=4 z=z zz=3 ");
    CU_ASSERT_STRING_EQUAL(scanned(t, "", "", 1, 1), "zz=3 z=z y1=4 d=d c=2 aa=1 a=a ");
    CU_ASSERT_STRING_EQUAL(scanned(t, "aa", "d", 2, 0), "aa=1 c=2 ");
    CU_ASSERT_STRING_EQUAL(scanned(t, "e", "f", 0, 0), "");
    end(&h, t);
}

static void a_commit_validates_just_what_was_told(void)
{
    prepare();
    struct hf *h = begin(false, 0);
    struct hf_txn *t = txn(h);
    struct hf_range range = {.start = text("a"), .end = text("x"), .page_items = 1};
    struct hf_future *page;
    put(t, "a0", "1");
    CU_ASSERT_EQUAL_FATAL(hf_txn_scan(t, &range, DEADLINE_MS, &page), HF_OK); /* a; the shard told more: to c */
    CU_ASSERT_EQUAL(hf_future_count(page), 1);
    hf_future_free(page);
    got(t, "y");
    got(t, "y");
    uint64_t timestamp = 0;
    CU_ASSERT_EQUAL(hf_txn_commit(t, DEADLINE_MS, &timestamp), HF_OK);
    CU_ASSERT(timestamp > hf_txn_start(t));
    CU_ASSERT_EQUAL(memcmp(fake_noted(&fake)->text, "+a0=1 ?y ?[a,a", 14),
                    0); /* to the first key behind a, with a byte 0 */
    CU_ASSERT_EQUAL(fake_noted(&fake)->start, 1001);
    CU_ASSERT_EQUAL(hf_txn_put(t, text("a"), text("b"), 0), HF_E_INVALID); /* it ended */
    end(&h, t);
    CU_ASSERT_EQUAL(fake.txns_at_shard, 1);
    CU_ASSERT_EQUAL(fake.executed, 1);
}

static void pages_side_by_side_are_one_range(void)
{
    prepare();
    struct hf *h = begin(false, 0);
    struct hf_txn *t = txn(h);
    CU_ASSERT_STRING_EQUAL(scanned(t, "a", "z", 0, 0), "a=a b=b c=c d=d y=y ");
    CU_ASSERT_STRING_EQUAL(scanned(t, "b", "d", 0, 1), "c=c b=b ");
    put(t, "k", "v");
    CU_ASSERT_EQUAL(hf_txn_commit(t, DEADLINE_MS, NULL), HF_OK);
    CU_ASSERT_STRING_EQUAL(fake_noted(&fake)->text, "+k=v ?[a,z) ");
    end(&h, t);
}

static void writes_go_out_in_their_order_and_once(void)
{
    prepare();
    struct hf *h = begin(false, 0);
    struct hf_txn *t = txn(h);
    put(t, "z", "1");
    put(t, "p1", "1");
    put(t, "p/1", "1");
    CU_ASSERT_EQUAL(hf_txn_delete_prefix(t, text("p/")), HF_OK);
    put(t, "p/2", "2");
    CU_ASSERT_EQUAL(hf_txn_delete_prefix(t, text("p")), HF_OK); /* lets go of all under it */
    put(t, "p1", "3");
    put(t, "a", "4");
    put(t, "p1", "5");
    CU_ASSERT_EQUAL(hf_txn_del(t, text("b")), HF_OK);
    CU_ASSERT_EQUAL(hf_txn_put(t, text("t"), text("6"), 7000), HF_OK);
    CU_ASSERT_EQUAL(hf_txn_commit(t, DEADLINE_MS, NULL), HF_OK);
    CU_ASSERT_STRING_EQUAL(fake_noted(&fake)->text, "+z=1 *p +a=4 +p1=5 -b +t=6 ");
    CU_ASSERT_EQUAL(fake_noted(&fake)->ttl, 7000);
    end(&h, t);
}

/* What is committed where: `key` is written, `read` and `other` are read. */
static void committed_at(const char *key, const char *read, const char *other, int routed, int at_shard,
                         int at_coordinator)
{
    prepare();
    struct hf *h = begin(true, routed);
    struct hf_txn *t = txn(h);
    if (key)
        put(t, key, "v");
    if (read)
        got(t, read);
    if (other)
        got(t, other);
    uint64_t timestamp = 0;
    CU_ASSERT_EQUAL(hf_txn_commit(t, DEADLINE_MS, &timestamp), HF_OK);
    CU_ASSERT(timestamp >= hf_txn_start(t));
    CU_ASSERT_EQUAL(fake.txns_at_shard, at_shard);
    CU_ASSERT_EQUAL(fake.txns_at_coordinator, at_coordinator);
    CU_ASSERT_EQUAL(fake.sessions_opened, key != NULL);
    if (key && at_coordinator)
        CU_ASSERT_EQUAL(fake_noted(&fake)->shard, key[0] < 'm' ? 1 : 2);
    end(&h, t);
}

static void what_lies_in_one_shard_goes_straight_there(void)
{
    committed_at("a", "b", NULL, 0, 1, 0);
    committed_at("z", "y", NULL, 0, 1, 0);
    committed_at("z", "a", NULL, 0, 0, 1); /* home is where it writes */
    committed_at("a", "z", NULL, 0, 0, 1);
    committed_at("a", NULL, NULL, 1, 0, 1); /* routed */
    committed_at(NULL, "a", "b", 0, 1, 0);
    committed_at(NULL, "a", "b", 1, 0, 1);
    committed_at(NULL, "a", "a", 0, 0, 0); /* one key at one moment: nothing is left to ask */
    committed_at(NULL, "a", NULL, 1, 0, 0);
    committed_at(NULL, NULL, NULL, 0, 0, 0);
}

static void what_only_read_in_several_shards_is_validated_without_a_session(void)
{
    prepare();
    struct hf *h = begin(true, 0);
    struct hf_txn *t = txn(h);
    got(t, "a");
    got(t, "z");
    uint64_t timestamp = 0;
    CU_ASSERT_EQUAL(hf_txn_commit(t, DEADLINE_MS, &timestamp), HF_OK);
    CU_ASSERT(timestamp > hf_txn_start(t));
    CU_ASSERT_STRING_EQUAL(fake_noted(&fake)->text, "?a ?z ");
    CU_ASSERT_EQUAL(fake_noted(&fake)->shard, 0);
    end(&h, t);
    CU_ASSERT_EQUAL(fake.sessions_opened, 0);
}

static void a_lost_reply_is_asked_for_again_under_the_same_number(void)
{
    for (int several = 0; several < 2; several++) {
        prepare();
        fake.lose_replies = 1;
        struct hf *h = begin(true, 0);
        struct hf_txn *t = txn(h);
        put(t, "a", "v");
        if (several)
            put(t, "z", "v");
        CU_ASSERT_EQUAL(hf_txn_commit(t, DEADLINE_MS, NULL), HF_OK);
        end(&h, t);
        CU_ASSERT_EQUAL(fake.writes, 2);
        CU_ASSERT_EQUAL(fake.executed, 1);
        CU_ASSERT_EQUAL(several ? fake.txns_at_coordinator : fake.txns_at_shard, 2);
    }
}

static void a_conflict_is_final_and_says_above_what(void)
{
    prepare();
    fake.conflicts = 1;
    fake.conflict_above = 5000;
    struct hf *h = begin(false, 0);
    struct hf_txn *t = txn(h);
    put(t, "a", "v");
    CU_ASSERT_EQUAL(hf_txn_commit(t, DEADLINE_MS, NULL), HF_E_CONFLICT);
    struct hf_bytes key;
    CU_ASSERT_EQUAL(hf_txn_conflict(t, &key), 5000);
    CU_ASSERT(key.size == 1 && memcmp(key.data, "c", 1) == 0);
    CU_ASSERT(strlen(hf_txn_message(t)) > 0);
    CU_ASSERT_EQUAL(hf_txn_commit(t, DEADLINE_MS, NULL), HF_E_INVALID);
    end(&h, t);
    CU_ASSERT_EQUAL(fake.txns_at_shard, 1);
    CU_ASSERT_EQUAL(fake.executed, 0);
}

/* What a try ends with that the deadline cut short, wherever it was: a late machine's, never wrong. */
static bool cut_short(int rc)
{
    return rc == HF_E_TIMEOUT || rc == HF_E_UNAVAILABLE || rc == HF_E_OUTCOME_UNKNOWN;
}

static int runs;

static int write_two(struct hf_txn *t, void *ctx)
{
    runs++;
    (void)ctx;
    struct hf_value value;
    int rc = hf_txn_get(t, text("a"), DEADLINE_MS, &value);
    if (rc)
        return rc;
    hf_value_free(&value);
    rc = hf_txn_put(t, text("a"), text("1"), 0);
    return rc ? rc : hf_txn_put(t, text("z"), text("2"), 0);
}

static void run_begins_again_above_the_conflict(void)
{
    prepare();
    fake.conflicts = 3;
    fake.conflict_above = 5000;
    struct hf *h = begin(true, 0);
    uint64_t timestamp = 0;
    runs = 0;
    CU_ASSERT_EQUAL(hf_txn_run(h, write_two, NULL, NULL, &timestamp), HF_OK);
    CU_ASSERT_EQUAL(runs, 4);
    CU_ASSERT(fake_noted(&fake)->start > 5000);
    CU_ASSERT(timestamp > fake_noted(&fake)->start);
    fake.conflicts = 1000000;
    struct hf_txn_options options = {.deadline_ms = 300};
    uint64_t began = clock_boot_ns();
    int rc = hf_txn_run(h, write_two, NULL, &options, &timestamp); /* the last failure */
    CU_ASSERT(rc == HF_E_CONFLICT || cut_short(rc));
    uint64_t ms = (clock_boot_ns() - began) / CLOCK_NS_PER_MS;
    CU_ASSERT(ms >= 250 && ms < 20000);
    runs = 0;
    options = (struct hf_txn_options){.tries_max = 2};
    CU_ASSERT_EQUAL(hf_txn_run(h, write_two, NULL, &options, &timestamp), HF_E_CONFLICT);
    CU_ASSERT_EQUAL(runs, 2);
    end(&h, NULL);
}

static int give_up(struct hf_txn *t, void *ctx)
{
    (void)ctx;
    runs++;
    int rc = hf_txn_put(t, text("a"), text("1"), 0);
    return rc ? rc : 42;
}

static void run_returns_what_the_function_says(void)
{
    prepare();
    struct hf *h = begin(true, 0);
    runs = 0;
    CU_ASSERT_EQUAL(hf_txn_run(h, give_up, NULL, NULL, NULL), 42);
    CU_ASSERT_EQUAL(runs, 1);
    end(&h, NULL);
    CU_ASSERT_EQUAL(fake.writes, 0);
}

static void an_unknown_outcome_is_never_repeated(void)
{
    prepare();
    fake.lose_replies = 1000;
    struct hf *h = begin(true, 0);
    struct hf_txn_options options = {.deadline_ms = 900};
    runs = 0;
    CU_ASSERT_EQUAL(hf_txn_run(h, write_two, NULL, &options, NULL), HF_E_OUTCOME_UNKNOWN);
    CU_ASSERT_EQUAL(runs, 1);
    CU_ASSERT_EQUAL(fake.executed, 1);
    CU_ASSERT_EQUAL(fake.sessions_opened, 1);
    fake.lose_replies = 0; /* its number is never over: later writes have another session */
    CU_ASSERT_EQUAL(hf_put(h, text("a"), text("v"), 0, DEADLINE_MS, NULL), HF_OK);
    CU_ASSERT_EQUAL(fake.sessions_opened, 2);
    CU_ASSERT_EQUAL(fake.last_seq, 1);
    end(&h, NULL);
}

/* A question that nobody waits for: it may still be on its way when the call that asked is over. */
static void resolved(int times, uint32_t shard)
{
    uint64_t end_ns = clock_boot_ns() + DEADLINE_MS * CLOCK_NS_PER_MS;
    while (fake.resolves < times && clock_boot_ns() < end_ns)
        (void)net_poll(NULL, 0, 1);
    CU_ASSERT_EQUAL(fake.resolves, times);
    CU_ASSERT_EQUAL(fake.resolve_shard, shard);
}

static void who_meets_a_lock_tries_again_and_has_it_looked_at(void)
{
    prepare();
    struct hf *h = begin(true, 0);
    struct hf_txn *t = txn(h);
    fake.locked = 5;
    CU_ASSERT_STRING_EQUAL(got(t, "a"), "a");
    CU_ASSERT_EQUAL(fake.locks_met, 5);
    resolved(2, 1);
    fake.locked = 2;
    CU_ASSERT_STRING_EQUAL(got(t, "z"), "z");
    resolved(3, 2);  /* where the lock is, not its home */
    fake.locked = 1; /* once: it may be gone by itself */
    CU_ASSERT_EQUAL(hf_put(h, text("a"), text("v"), 0, DEADLINE_MS, NULL), HF_OK);
    CU_ASSERT_EQUAL(fake.resolves, 3);
    put(t, "b", "v");
    fake.locked = 2;
    CU_ASSERT_EQUAL(hf_txn_commit(t, DEADLINE_MS, NULL), HF_OK);
    CU_ASSERT_EQUAL(fake.executed, 2);
    fake.locked = 1000000;
    struct hf_value value;
    CU_ASSERT_EQUAL(hf_get(h, text("a"), 0, 300, &value), HF_E_KEY_LOCKED);
    int rc = HF_OK;
    for (int i = 0; i < 20 && rc != HF_E_KEY_LOCKED; i++) {
        rc = hf_put(h, text("a"), text("v"), 0, 300, NULL);
        CU_ASSERT(rc == HF_E_KEY_LOCKED || cut_short(rc));
    }
    CU_ASSERT_EQUAL(rc, HF_E_KEY_LOCKED);
    end(&h, t);
}

static void before_its_first_read_it_begins_again_by_itself(void)
{
    prepare();
    struct hf *h = begin(false, 0);
    struct hf_txn *t = txn(h), *second = NULL;
    fake.restart = 3000;
    CU_ASSERT_STRING_EQUAL(got(t, "a"), "a");
    CU_ASSERT(hf_txn_start(t) > 3000);
    fake.restart = 6000;
    struct hf_value value;
    CU_ASSERT_EQUAL(hf_txn_get(t, text("b"), DEADLINE_MS, &value), HF_E_RESTART_ABOVE);
    CU_ASSERT_EQUAL(hf_txn_conflict(t, NULL), 6000);
    CU_ASSERT_EQUAL_FATAL(hf_txn_begin(h, 6000, DEADLINE_MS, &second), HF_OK);
    CU_ASSERT(hf_txn_start(second) > 6000);
    hf_txn_free(second);
    end(&h, t);
}

static void what_is_too_much_is_refused_when_it_comes(void)
{
    prepare();
    struct hf *h = begin(false, 0);
    struct hf_txn *t = txn(h);
    char key[16];
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof key, "k%05d", i);
        CU_ASSERT_EQUAL_FATAL(hf_txn_put(t, text(key), text("v"), 0), HF_OK);
    }
    CU_ASSERT_EQUAL(hf_txn_put(t, text("more"), text("v"), 0), HF_E_LIMIT);
    struct hf_value value;
    CU_ASSERT_EQUAL(hf_txn_get(t, text("a"), DEADLINE_MS, &value), HF_E_LIMIT);
    put(t, "k00007", "again");
    CU_ASSERT_EQUAL(hf_txn_commit(t, DEADLINE_MS, NULL), HF_OK);
    hf_txn_free(t);
    t = txn(h);
    static char big[8 * 1024 * 1024 + 1];
    struct hf_bytes large = {big, sizeof big - 1};
    CU_ASSERT_EQUAL(hf_txn_put(t, text("a"), (struct hf_bytes){big, sizeof big}, 0), HF_E_LIMIT);
    CU_ASSERT_EQUAL(hf_txn_put(t, text("a"), large, 0), HF_OK);
    CU_ASSERT_EQUAL(hf_txn_put(t, text("b"), large, 0), HF_E_LIMIT);
    CU_ASSERT_EQUAL(hf_txn_put(t, text("a"), large, 0), HF_OK);
    CU_ASSERT_EQUAL(hf_txn_put(t, text(""), text("v"), 0), HF_E_INVALID);
    CU_ASSERT_EQUAL(hf_txn_commit(t, DEADLINE_MS, NULL), HF_OK);
    end(&h, t);
}

static void a_prefix_over_shards_is_deleted_by_a_transaction(void)
{
    prepare();
    struct hf *h = begin(true, 0);
    fake.conflicts = 2;
    fake.conflict_above = 7000;
    struct hf_version version = {0, 0};
    CU_ASSERT_EQUAL(hf_delete_prefix(h, text(""), DEADLINE_MS, &version), HF_OK);
    CU_ASSERT_EQUAL(fake.txns_at_coordinator, 3);
    CU_ASSERT_EQUAL(fake.executed, 1);
    CU_ASSERT_STRING_EQUAL(fake_noted(&fake)->text, "* ");
    CU_ASSERT(fake_noted(&fake)->start > 7000);
    CU_ASSERT(version.timestamp > fake_noted(&fake)->start && version.sequence == 0);
    CU_ASSERT_EQUAL(hf_delete_prefix(h, text("a"), DEADLINE_MS, &version), HF_OK); /* one shard: as ever */
    CU_ASSERT_EQUAL(fake.txns_at_coordinator + fake.txns_at_shard, 3);
    fake.conflicts = 1000000;
    int rc = HF_OK;
    for (int i = 0; i < 20 && rc != HF_E_CONFLICT; i++) {
        rc = hf_delete_prefix(h, text(""), 300, &version);
        CU_ASSERT(rc == HF_E_CONFLICT || cut_short(rc));
    }
    CU_ASSERT_EQUAL(rc, HF_E_CONFLICT);
    end(&h, NULL);
}

static void a_commit_may_be_a_future(void)
{
    prepare();
    struct hf *h = begin(true, 0);
    struct hf_txn *t = txn(h);
    put(t, "a", "1");
    put(t, "z", "2");
    const struct hf_call call = {.deadline_ms = DEADLINE_MS};
    struct hf_future *f;
    CU_ASSERT_EQUAL_FATAL(hf_txn_commit_async(t, &call, &f), HF_OK);
    hf_txn_free(t);
    CU_ASSERT_EQUAL(call_wait(f), HF_OK);
    CU_ASSERT(hf_future_timestamp(f) > 1001);
    CU_ASSERT_EQUAL(hf_future_conflict(f, NULL), 0);
    hf_future_free(f);
    end(&h, NULL);
    CU_ASSERT_STRING_EQUAL(fake_noted(&fake)->text, "+a=1 +z=2 ");
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"reads see what it wrote itself", reads_see_what_it_wrote_itself},
        {"scans have its writes in them", scans_have_its_writes_in_them},
        {"a commit validates just what was told", a_commit_validates_just_what_was_told},
        {"pages side by side are one range", pages_side_by_side_are_one_range},
        {"writes go out in their order and once", writes_go_out_in_their_order_and_once},
        {"what lies in one shard goes straight there", what_lies_in_one_shard_goes_straight_there},
        {"what only read in several shards is validated without a session",
         what_only_read_in_several_shards_is_validated_without_a_session},
        {"a lost reply is asked for again under the same number",
         a_lost_reply_is_asked_for_again_under_the_same_number},
        {"a conflict is final and says above what", a_conflict_is_final_and_says_above_what},
        {"run begins again above the conflict", run_begins_again_above_the_conflict},
        {"run returns what the function says", run_returns_what_the_function_says},
        {"an unknown outcome is never repeated", an_unknown_outcome_is_never_repeated},
        {"who meets a lock tries again and has it looked at", who_meets_a_lock_tries_again_and_has_it_looked_at},
        {"before its first read it begins again by itself", before_its_first_read_it_begins_again_by_itself},
        {"what is too much is refused when it comes", what_is_too_much_is_refused_when_it_comes},
        {"a prefix over shards is deleted by a transaction", a_prefix_over_shards_is_deleted_by_a_transaction},
        {"a commit may be a future", a_commit_may_be_a_future},
    };
    return UNIT_MAIN("client/txn", cases);
}
