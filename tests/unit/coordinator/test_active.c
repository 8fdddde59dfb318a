/* test_active.c: what becomes of a question for the clock: answered, kept for whoever becomes the active coordinator, said
 * not to be possible in time. The active one is never reached here: its endpoint has nobody. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "coordinator/active.h"
#include "coordinator/limits.h"
#include "proto/catalog.pb-c.h"
#include "proto/pack.h"
#include "tests/support/fakeclock.h"
#include "tests/unit/unit.h"

#define OWN "tcp://127.0.0.1:1"
#define OTHER "tcp://127.0.0.1:2"
#define DEADLINE_NS (1000 * CLOCK_NS_PER_MS)
#define TAKEOVER_NS ((CLOCK_LEASE_MS + CLOCK_TAKEOVER_MARGIN_MS) * CLOCK_NS_PER_MS)

struct desk { /* a coordinator as far as its clock goes */
    struct net *net;
    struct oracle oracle;
    struct retain retain;
    struct forward forward;
    struct active active;
    uint32_t clock;          /* fakeclock.h */
    struct active_reply now; /* what active_ask answered at once */
    /* What came through forward's port. */
    unsigned answers;
    int code;
    uint64_t id, timestamp;
    char text[256];
    Hf__Client__ClockAccepted accepted;
};

static int send_attempt(void *ctx, uint32_t shard, uint32_t replica, struct slice frame)
{
    struct desk *d = ctx;
    CU_ASSERT_EQUAL(shard, FORWARD_CLOCK);
    return active_send(&d->active, replica, frame);
}

static uint32_t pick(void *ctx, uint32_t shard, uint32_t avoid)
{
    struct desk *d = ctx;
    (void)shard;
    (void)avoid;
    return active_pick(&d->active);
}

static void answered(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply)
{
    struct desk *d = ctx;
    d->answers++;
    d->code = reply->code;
    d->id = client->id;
    d->timestamp = reply->timestamp;
    snprintf(d->text, sizeof d->text, "%s", reply->message);
    if (reply->clock_accepted)
        d->accepted = *reply->clock_accepted;
}

static void begin(struct desk *d)
{
    const struct forward_port port = {.ctx = d, .send = send_attempt, .pick = pick, .answer = answered};
    memset(d, 0, sizeof *d);
    d->clock = fakeclock_begin(); /* never turned: it stands still, and `later` is what it says */
    d->net = net_new(1, 8);
    oracle_init(&d->oracle, NULL, 1, OWN, 100);
    retain_init(&d->retain, 30000);
    forward_init(&d->forward, &port, 4, 1 << 20);
    active_init(&d->active, d->net, &d->oracle, &d->retain, &d->forward, OWN);
}

static void end(struct desk *d)
{
    active_deinit(&d->active);
    forward_deinit(&d->forward);
    oracle_deinit(&d->oracle);
    retain_deinit(&d->retain);
    net_free(&d->net);
    fakeclock_end(d->clock);
}

/* The key as another coordinator, or an earlier life of this one, wrote it, a lease ago. */
static void held_by(struct desk *d, const char *endpoint, uint64_t epoch, uint64_t ceiling_ms)
{
    Hf__Catalog__Oracle value = HF__CATALOG__ORACLE__INIT;
    struct buf bytes = {0};
    value.epoch = epoch;
    value.coordinator = 2;
    value.endpoint = (char *)(uintptr_t)endpoint;
    value.ceiling = hlc_from_ms(ceiling_ms).t;
    pack_append(&value.base, &bytes);
    CU_ASSERT_EQUAL_FATAL(clock_read(&d->oracle.clock, true, buf_slice(&bytes), clock_boot_ns() - TAKEOVER_NS), HF_OK);
    buf_deinit(&bytes);
}

static void propose(struct desk *d)
{
    CU_ASSERT_EQUAL_FATAL(clock_wish(&d->oracle.clock, clock_wall_ms(), clock_boot_ns()), CLOCK_PROPOSE);
    clock_sent(&d->oracle.clock, clock_boot_ns());
    clock_proposed(&d->oracle.clock, HF_OK, clock_boot_ns());
}

static void take_over(struct desk *d)
{
    propose(d);
    (void)active_follow(&d->active, clock_boot_ns());
}

static bool ask_timestamp(struct desk *d, uint64_t id, bool forwarded)
{
    Hf__Client__Timestamp op = HF__CLIENT__TIMESTAMP__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    const struct forward_client client = {.id = id};
    uint64_t now_ns = clock_boot_ns();
    op.forwarded = forwarded;
    q.version = 1;
    q.op_case = HF__CLIENT__REQUEST__OP_TIMESTAMP;
    q.timestamp = &op;
    return active_ask(&d->active, &client, &q, now_ns + DEADLINE_NS, now_ns, &d->now);
}

static bool ask_accept(struct desk *d)
{
    Hf__Client__ClockAccept op = HF__CLIENT__CLOCK_ACCEPT__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    const struct forward_client client = {.id = 9};
    uint64_t now_ns = clock_boot_ns();
    q.version = 1;
    q.op_case = HF__CLIENT__REQUEST__OP_CLOCK_ACCEPT;
    q.clock_accept = &op;
    return active_ask(&d->active, &client, &q, now_ns + DEADLINE_NS, now_ns, &d->now);
}

/* Repeats and deadlines as of `ms` from now, and what comes of them. */
static void later(struct desk *d, uint64_t ms)
{
    uint64_t now_ns = clock_boot_ns() + ms * CLOCK_NS_PER_MS;
    forward_tick(&d->forward, now_ns);
    active_serve(&d->active, now_ns);
}

static void nobody_is_known(void)
{
    struct desk d;
    begin(&d);
    CU_ASSERT_EQUAL(active_pick(&d.active), 0);
    for (uint64_t id = 1; id <= 4; id++)
        CU_ASSERT_FALSE(ask_timestamp(&d, id, false));
    CU_ASSERT_TRUE(ask_timestamp(&d, 5, false)); /* I12 */
    CU_ASSERT_EQUAL(d.now.reply.code, HF_E_BUSY);
    later(&d, 900);
    CU_ASSERT_EQUAL(d.answers, 0);
    later(&d, 1001);
    CU_ASSERT(d.answers == 4 && d.code == HF_E_UNAVAILABLE);
    CU_ASSERT_STRING_EQUAL(d.text, "the active coordinator: it could not be reached");
    end(&d);
}

static void what_was_forwarded_is_not_forwarded_again(void)
{
    struct desk d;
    begin(&d);
    held_by(&d, OTHER, 7, clock_wall_ms());
    CU_ASSERT_TRUE(active_follow(&d.active, clock_boot_ns()));
    CU_ASSERT_TRUE(ask_timestamp(&d, 1, true));
    CU_ASSERT_EQUAL(d.now.reply.code, HF_E_NOT_LEADER);
    CU_ASSERT_STRING_EQUAL(d.now.reply.leader_endpoint, OTHER);
    CU_ASSERT_EQUAL(forward_pending(&d.forward), 0);
    end(&d);
}

static void whom_to_ask_follows_the_key(void)
{
    struct desk d;
    begin(&d);
    held_by(&d, OWN, 7, clock_wall_ms()); /* an earlier life of ours: nobody is there */
    CU_ASSERT_FALSE(active_follow(&d.active, clock_boot_ns()));
    CU_ASSERT_EQUAL(active_pick(&d.active), 0);
    held_by(&d, OTHER, 8, clock_wall_ms());
    CU_ASSERT_TRUE(active_follow(&d.active, clock_boot_ns()));
    uint32_t first = active_pick(&d.active);
    CU_ASSERT(first != 0 && d.active.socket != NULL);
    held_by(&d, OTHER, 8, clock_wall_ms() + 1000); /* a renewal */
    CU_ASSERT_FALSE(active_follow(&d.active, clock_boot_ns()));
    CU_ASSERT_EQUAL(active_pick(&d.active), first);
    held_by(&d, OTHER, 9, clock_wall_ms()); /* the same place, started anew: what was sent to it is lost */
    CU_ASSERT_TRUE(active_follow(&d.active, clock_boot_ns()));
    CU_ASSERT_NOT_EQUAL(active_pick(&d.active), first);
    held_by(&d, "nonsense", 10, clock_wall_ms());
    CU_ASSERT_TRUE(active_follow(&d.active, clock_boot_ns()));
    CU_ASSERT_PTR_NULL(d.active.socket);
    CU_ASSERT_FALSE(ask_timestamp(&d, 1, false)); /* waits */
    end(&d);
}

static void what_waits_is_answered_by_who_becomes_active(void)
{
    struct desk d;
    begin(&d);
    held_by(&d, OTHER, 7, clock_wall_ms());
    (void)active_follow(&d.active, clock_boot_ns());
    CU_ASSERT_FALSE(ask_timestamp(&d, 4, false));
    uint64_t before = d.oracle.clock.ceiling.t;
    take_over(&d);
    CU_ASSERT_EQUAL(d.answers, 0);
    active_serve(&d.active, clock_boot_ns()); /* at once, without a tick */
    CU_ASSERT(d.answers == 1 && d.code == HF_OK && d.id == 4 && d.timestamp > before);
    CU_ASSERT_TRUE(ask_timestamp(&d, 5, false));
    CU_ASSERT(d.now.reply.code == HF_OK && d.now.reply.timestamp > d.timestamp);
    CU_ASSERT_EQUAL(forward_pending(&d.forward), 0);
    end(&d);
}

static void an_acceptance_is_answered_when_it_is_committed(void)
{
    struct desk d;
    begin(&d);
    uint64_t old_ms = clock_wall_ms() - 3600000;
    held_by(&d, OTHER, 7, old_ms); /* as if our clock had jumped by an hour since */
    take_over(&d);
    CU_ASSERT_TRUE(d.oracle.clock.wall_refused);
    CU_ASSERT_FALSE(ask_accept(&d));
    active_serve(&d.active, clock_boot_ns());
    later(&d, 10);
    CU_ASSERT_EQUAL(d.answers, 0);
    propose(&d);
    later(&d, 500);
    CU_ASSERT(d.answers == 1 && d.code == HF_OK && d.accepted.coordinator == 1);
    CU_ASSERT(d.accepted.from_ms < old_ms + 60000 && d.accepted.to_ms >= old_ms + 3600000);
    CU_ASSERT_TRUE(ask_accept(&d));
    CU_ASSERT_EQUAL(d.now.reply.code, HF_E_NOT_FOUND);
    end(&d);
}

static void an_acceptance_that_is_not_committed_in_time_is_unknown(void)
{
    struct desk d;
    begin(&d);
    held_by(&d, OTHER, 7, clock_wall_ms() - 3600000);
    take_over(&d);
    CU_ASSERT_FALSE(ask_accept(&d));
    active_serve(&d.active, clock_boot_ns());
    later(&d, 1001);
    CU_ASSERT(d.answers == 1 && d.code == HF_E_OUTCOME_UNKNOWN);
    end(&d);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"nobody is known", nobody_is_known},
        {"what was forwarded is not forwarded again", what_was_forwarded_is_not_forwarded_again},
        {"whom to ask follows the key", whom_to_ask_follows_the_key},
        {"what waits is answered by who becomes active", what_waits_is_answered_by_who_becomes_active},
        {"an acceptance is answered when it is committed", an_acceptance_is_answered_when_it_is_committed},
        {"an acceptance that is not committed in time is unknown",
         an_acceptance_that_is_not_committed_in_time_is_unknown},
    };
    diag_init("test", DIAG_ERROR);
    return UNIT_MAIN("coordinator/active", cases);
}
