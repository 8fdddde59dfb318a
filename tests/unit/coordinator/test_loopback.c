/* test_loopback.c: a whole coordinator over real sockets: a client of the test on one side, replicas played by a thread
 * on the other. What must hold when a shard is silent, full, led by somebody else, or the coordinator itself goes. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/digest.h"
#include "coordinator/coordinator.h"
#include "coordinator/limits.h"
#include "proto/pack.h"
#include "tests/unit/coordinator/replicas.h"
#include "tests/unit/unit.h"

#define PORT_COORDINATOR 21210
#define PORT_REPLICAS 21220
#define PORTS_TAKEOVER 30 /* further up: both runs may go at once */
#define PATIENCE_MS 20000u
#define TEXT_LARGE (LIMIT_KEY_BYTES + 1)

struct run { /* one coordinator */
    struct coordinator *coordinator;
    pthread_t thread;
    int stop_fd;
    char listen[64];
    struct net_socket *client;
};

static struct replicas replicas;
static struct net *net;
static struct arena arena; /* of replies, for one case */
static uint64_t next_id;
static int port_base; /* added to all ports */

static void *run_thread(void *ctx)
{
    struct run *run = ctx;
    coordinator_run(run->coordinator, run->stop_fd);
    return NULL;
}

static void run_start(struct run *run, uint32_t id, uint64_t queue_max)
{
    snprintf(run->listen, sizeof run->listen, "tcp://127.0.0.1:%d", PORT_COORDINATOR + port_base + (int)id);
    struct coordinator_options options = {
        .id = id, .listen = run->listen, .seeds = replicas.seeds, .request_timeout_ms = 5000, .queue_max = queue_max};
    run->stop_fd = eventfd(0, 0);
    CU_ASSERT_EQUAL_FATAL(coordinator_open(&options, &run->coordinator), HF_OK);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&run->thread, NULL, run_thread, run), 0);
    struct net_options socket = {.hwm = 1000, .message_bytes = LIMIT_REQUEST_BYTES};
    CU_ASSERT_EQUAL_FATAL(net_connect(net, run->listen, &socket, &run->client), HF_OK);
}

static void run_ask_stop(struct run *run)
{
    uint64_t one = 1;
    CU_ASSERT_EQUAL(write(run->stop_fd, &one, sizeof one), (ssize_t)sizeof one);
}

static void run_stop(struct run *run)
{
    run_ask_stop(run);
    pthread_join(run->thread, NULL);
    net_close(&run->client);
    coordinator_close(&run->coordinator);
    close(run->stop_fd);
}

/* Waits for what must come; false after PATIENCE_MS. The pause only keeps the processor free. */
#define WAIT_FOR(condition)                                                                                            \
    do {                                                                                                               \
        uint64_t end_ns = clock_boot_ns() + PATIENCE_MS * CLOCK_NS_PER_MS;                                             \
        while (!(condition) && clock_boot_ns() < end_ns)                                                               \
            usleep(1000);                                                                                              \
        CU_ASSERT_TRUE(condition);                                                                                     \
    } while (0)

static uint64_t send_bytes(struct run *run, struct slice bytes)
{
    uint64_t end_ns = clock_boot_ns() + PATIENCE_MS * CLOCK_NS_PER_MS;
    int rc;
    while ((rc = net_send(run->client, bytes)) != HF_OK && clock_boot_ns() < end_ns)
        usleep(1000); /* connecting */
    CU_ASSERT_EQUAL(rc, HF_OK);
    return next_id;
}

static uint64_t post(struct run *run, Hf__Client__Request *q)
{
    struct buf out = {0};
    if (q->version == 0)
        q->version = 1;
    q->id = ++next_id;
    pack_append(&q->base, &out);
    send_bytes(run, buf_slice(&out));
    buf_deinit(&out);
    return q->id;
}

/* The next reply, whatever it answers; NULL after `ms`. */
static const Hf__Client__Reply *take(struct run *run, uint32_t ms)
{
    struct net_poll_item item = {.socket = run->client};
    struct net_message message;
    if (net_poll(&item, 1, (long)ms) <= 0 || net_receive(run->client, NULL, &message) != HF_OK)
        return NULL;
    const Hf__Client__Reply *reply = pack_unpack(&hf__client__reply__descriptor, net_message_data(&message), &arena);
    net_message_release(&message);
    return reply;
}

static const Hf__Client__Reply *call(struct run *run, Hf__Client__Request *q)
{
    uint64_t id = post(run, q);
    const Hf__Client__Reply *reply = take(run, PATIENCE_MS);
    must(reply != NULL); /* nothing can be tested any more */
    CU_ASSERT_EQUAL(reply->id, id);
    return reply;
}

struct put {
    Hf__Client__Put op;
    Hf__Client__Request q;
};

static Hf__Client__Request *put(struct put *p, const char *key, uint64_t session, uint32_t deadline_ms)
{
    hf__client__put__init(&p->op);
    hf__client__request__init(&p->q);
    p->op.key = pack_bytes(slice_text(key));
    p->q.op_case = HF__CLIENT__REQUEST__OP_PUT;
    p->q.put = &p->op;
    p->q.session = session;
    p->q.seq = session ? 1 : 0;
    p->q.shard = session ? (strcmp(key, REPLICAS_SPLIT) < 0 ? 1 : 2) : 0;
    p->q.deadline_ms = deadline_ms;
    return &p->q;
}

static const Hf__Client__Reply *simple(struct run *run, Hf__Client__Request__OpCase op)
{
    static Hf__Client__Empty empty;
    static Hf__Client__Timestamp timestamp;
    hf__client__empty__init(&empty);
    hf__client__timestamp__init(&timestamp);
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    q.op_case = op;
    q.status = &empty; /* a union: all others of these are Empty */
    if (op == HF__CLIENT__REQUEST__OP_TIMESTAMP)
        q.timestamp = &timestamp;
    return call(run, &q);
}

static uint64_t post_timestamp(struct run *run, uint32_t deadline_ms, bool forwarded)
{
    Hf__Client__Timestamp op = HF__CLIENT__TIMESTAMP__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    q.op_case = HF__CLIENT__REQUEST__OP_TIMESTAMP;
    q.timestamp = &op;
    q.deadline_ms = deadline_ms;
    op.forwarded = forwarded;
    return post(run, &q);
}

static const Hf__Client__Reply *timestamp(struct run *run, uint32_t deadline_ms, bool forwarded)
{
    uint64_t id = post_timestamp(run, deadline_ms, forwarded);
    const Hf__Client__Reply *reply = take(run, PATIENCE_MS);
    must(reply != NULL);
    CU_ASSERT_EQUAL(reply->id, id);
    return reply;
}

static const Hf__Client__Reply *accept_clock(struct run *run)
{
    Hf__Client__ClockAccept op = HF__CLIENT__CLOCK_ACCEPT__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    q.op_case = HF__CLIENT__REQUEST__OP_CLOCK_ACCEPT;
    q.clock_accept = &op;
    return call(run, &q);
}

static void begin(struct run *run, uint64_t queue_max)
{
    replicas_start(&replicas, PORT_REPLICAS + port_base);
    net = net_new(1, 64);
    run_start(run, 1, queue_max);
    WAIT_FOR(run->coordinator->ready);
}

static void finish(struct run *run)
{
    run_stop(run);
    net_free(&net);
    replicas_stop(&replicas);
    arena_deinit(&arena);
}

/* Waits until shard 2's leader is known, so that a case begins in a settled state. */
static void settle(struct run *run)
{
    struct put p;
    CU_ASSERT_EQUAL(call(run, put(&p, "a", 0, 0))->code, HF_OK);
    CU_ASSERT_EQUAL(call(run, put(&p, "z", 0, 0))->code, HF_OK);
    WAIT_FOR(simple(run, HF__CLIENT__REQUEST__OP_ROUTES)->routes->shards[1]->leader == 1);
}

static void requests_reach_their_shard(void)
{
    struct run run;
    struct put p;
    begin(&run, 100);
    settle(&run);
    const Hf__Client__Reply *reply = call(&run, put(&p, "z", 0, 0));
    CU_ASSERT(reply->code == HF_OK && reply->shard == 2 && reply->route_version == 1);
    reply = call(&run, put(&p, "a", 0, 0));
    CU_ASSERT(reply->code == HF_OK && reply->shard == 1);
    Hf__Client__Scan scan = HF__CLIENT__SCAN__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    q.op_case = HF__CLIENT__REQUEST__OP_SCAN;
    q.scan = &scan;
    reply = call(&run, &q);
    CU_ASSERT(reply->shard == 1 && reply->more && slice_equal(pack_slice(reply->next), slice_text(REPLICAS_SPLIT)));
    CU_ASSERT(slice_equal(pack_slice(reply->value), slice_text(REPLICAS_SPLIT))); /* what shard 1 was asked to end at */
    scan.start = reply->next;
    reply = call(&run, &q);
    CU_ASSERT(reply->shard == 2 && !reply->more);
    finish(&run);
}

static void a_lock_is_resolved(void)
{
    struct run run;
    begin(&run, 100);
    settle(&run);
    Hf__Entry__TxnId id = HF__ENTRY__TXN_ID__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    q.op_case = HF__CLIENT__REQUEST__OP_RESOLVE;
    q.resolve = &id;
    CU_ASSERT_EQUAL(call(&run, &q)->code, HF_E_INVALID);
    id.session = id.seq = 7;
    id.home = 9;
    CU_ASSERT_EQUAL(call(&run, &q)->code, HF_E_ABSENT);
    id.home = 1;
    q.shard = 2;
    const Hf__Client__Reply *reply = call(&run, &q);
    CU_ASSERT(reply->code == HF_OK && reply->txn->state == HF__ENTRY__TXN_STATE__ROLLED_BACK);
    CU_ASSERT_EQUAL(replicas_at(&replicas, 1, 1)->rolled_back, 1); /* home was asked, */
    CU_ASSERT_EQUAL(replicas_at(&replicas, 2, 1)->rolled_back, 1); /* and the shard told */
    WAIT_FOR(replicas_at(&replicas, 1, 1)->swept > 1 && replicas_at(&replicas, 2, 1)->swept > 1);
    finish(&run);
}

static void a_silent_shard_delays_no_other(void)
{
    struct run run;
    struct put p;
    begin(&run, 100);
    settle(&run);
    replicas_at(&replicas, 2, 1)->silent = replicas_at(&replicas, 2, 2)->silent = true;
    uint64_t lost = post(&run, put(&p, "z", 0, 3000));
    uint64_t began_ns = clock_boot_ns();
    for (int i = 0; i < 20; i++)
        CU_ASSERT_EQUAL(call(&run, put(&p, "a", 0, 0))->code, HF_OK);
    CU_ASSERT(clock_boot_ns() - began_ns < 3000 * CLOCK_NS_PER_MS);
    const Hf__Client__Reply *reply = take(&run, PATIENCE_MS);
    CU_ASSERT_PTR_NOT_NULL_FATAL(reply);
    CU_ASSERT(reply->id == lost && reply->code == HF_E_OUTCOME_UNKNOWN && reply->class_ == HF_CLASS_OUTCOME_UNKNOWN);
    Hf__Client__Get get = HF__CLIENT__GET__INIT;
    get.key = pack_bytes(slice_text("z"));
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    q.op_case = HF__CLIENT__REQUEST__OP_GET;
    q.deadline_ms = 200;
    q.get = &get;
    CU_ASSERT_EQUAL(call(&run, &q)->code, HF_E_UNAVAILABLE);
    finish(&run);
}

static void a_full_queue_says_busy(void)
{
    struct run run;
    struct put p;
    begin(&run, 4);
    settle(&run);
    replicas_at(&replicas, 2, 1)->holds_writes = true;
    for (int i = 0; i < 4; i++)
        post(&run, put(&p, "z", 0, 500));
    const Hf__Client__Reply *reply = call(&run, put(&p, "z", 0, 500)); /* answered before the four */
    CU_ASSERT(reply->code == HF_E_BUSY && reply->class_ == HF_CLASS_RETRY_SAME);
    CU_ASSERT_EQUAL(call(&run, put(&p, "a", 0, 0))->code, HF_OK);
    for (int i = 0; i < 4; i++) {
        reply = take(&run, PATIENCE_MS);
        CU_ASSERT(reply != NULL && reply->code == HF_E_OUTCOME_UNKNOWN);
    }
    replicas_at(&replicas, 2, 1)->holds_writes = false;
    CU_ASSERT_EQUAL(call(&run, put(&p, "z", 0, 500))->code, HF_OK);
    finish(&run);
}

static void a_hint_is_followed(void)
{
    struct run run;
    struct put p;
    begin(&run, 100);
    settle(&run);
    struct replica_play *old = replicas_at(&replicas, 2, 1), *new = replicas_at(&replicas, 2, 2);
    new->leads = true; /* its status keeps saying that it leads, as that of a leader not yet told */
    old->denies = true;
    uint64_t denied = old->denied;
    const Hf__Client__Reply *reply = call(&run, put(&p, "z", 0, 1000));
    CU_ASSERT(reply->code == HF_OK && reply->session == 2);
    CU_ASSERT(old->denied > denied || new->executed == 1);
    CU_ASSERT_EQUAL(new->executed, 1); /* once, though a write without a session was refused before */
    finish(&run);
}

/* The leader takes requests and says nothing; another replica is elected. */
static void only_sessions_are_sent_again(void)
{
    struct run run;
    struct put with, without;
    begin(&run, 100);
    settle(&run);
    struct replica_play *old = replicas_at(&replicas, 2, 1), *new = replicas_at(&replicas, 2, 2);
    old->holds_writes = true;
    uint64_t safe = post(&run, put(&with, "z", 7, 10000));
    uint64_t unsafe = post(&run, put(&without, "z", 0, 900));
    WAIT_FOR(old->swallowed >= 2);
    old->silent = true;
    new->term = 2;
    new->leads = true;
    for (int i = 0; i < 2; i++) { /* mostly in this order */
        const Hf__Client__Reply *reply = take(&run, PATIENCE_MS);
        CU_ASSERT_PTR_NOT_NULL_FATAL(reply);
        if (reply->id == safe)
            CU_ASSERT(reply->code == HF_OK && reply->session == 2);
        if (reply->id != safe)
            CU_ASSERT(reply->id == unsafe && reply->code == HF_E_OUTCOME_UNKNOWN);
    }
    CU_ASSERT_EQUAL(new->executed, 1);
    finish(&run);
}

static void what_is_wrong_is_said_before_anybody_is_asked(void)
{
    struct run run;
    struct put p;
    static char large[TEXT_LARGE + 1];
    begin(&run, 100);
    settle(&run);
    uint64_t before = replicas_at(&replicas, 1, 1)->executed + replicas_at(&replicas, 2, 1)->executed;
    Hf__Client__Request *q = put(&p, "a", 0, 0);
    q->version = 2;
    CU_ASSERT_EQUAL(call(&run, q)->code, HF_E_PROTOCOL);
    q = put(&p, "a", 0, 0);
    q->cluster = 1;
    CU_ASSERT_EQUAL(call(&run, q)->code, HF_E_WRONG_CLUSTER);
    q = put(&p, "a", 0, 0);
    q->space = HF__ENTRY__SPACE__CATALOG;
    CU_ASSERT_EQUAL(call(&run, q)->code, HF_E_REFUSED);
    memset(large, 'a', TEXT_LARGE);
    CU_ASSERT_EQUAL(call(&run, put(&p, large, 0, 0))->code, HF_E_LIMIT);
    q = put(&p, "a", 7, 0);
    q->shard = 0;
    CU_ASSERT_EQUAL(call(&run, q)->code, HF_E_INVALID);
    q = put(&p, "a", 7, 0);
    q->shard = 2;
    const Hf__Client__Reply *reply = call(&run, q);
    CU_ASSERT(reply->code == HF_E_WRONG_SHARD && reply->routes != NULL && reply->routes->version == 1);
    send_bytes(&run, slice_text("\xff\xff\xff\xff"));
    reply = take(&run, PATIENCE_MS);
    CU_ASSERT(reply != NULL && reply->code == HF_E_PROTOCOL);
    Hf__Client__Beat beat = HF__CLIENT__BEAT__INIT;
    Hf__Client__Request other = HF__CLIENT__REQUEST__INIT;
    other.op_case = HF__CLIENT__REQUEST__OP_BEAT;
    other.beat = &beat;
    CU_ASSERT_EQUAL(call(&run, &other)->code, HF_E_REFUSED);
    CU_ASSERT_EQUAL(replicas_at(&replicas, 1, 1)->executed + replicas_at(&replicas, 2, 1)->executed, before);
    finish(&run);
}

static void without_a_catalog_there_are_no_routes(void)
{
    struct run run;
    struct put p;
    replicas_start(&replicas, PORT_REPLICAS + port_base);
    replicas.no_catalog = true;
    net = net_new(1, 64);
    run_start(&run, 1, 100);
    CU_ASSERT_EQUAL(call(&run, put(&p, "a", 0, 0))->code, HF_E_NO_ROUTE);
    const Hf__Client__Reply *reply = simple(&run, HF__CLIENT__REQUEST__OP_STATUS);
    CU_ASSERT(reply->status != NULL && strcmp(reply->status->state, "starting") == 0 && reply->status->shard == 0);
    replicas.no_catalog = false;
    WAIT_FOR(run.coordinator->ready);
    CU_ASSERT_EQUAL(call(&run, put(&p, "a", 0, 0))->code, HF_OK);
    finish(&run);
}

static void status_waits_for_the_dead_less_than_a_second(void)
{
    struct run run;
    begin(&run, 100);
    settle(&run);
    replicas_at(&replicas, 2, 2)->silent = true;
    const Hf__Client__Reply *reply = NULL;
    uint64_t took_ns = UINT64_MAX;
    for (int i = 0; i < 5 && took_ns >= 1000 * CLOCK_NS_PER_MS; i++) { /* the best of a few: the machine may be busy */
        uint64_t began_ns = clock_boot_ns();
        reply = simple(&run, HF__CLIENT__REQUEST__OP_CLUSTER_STATUS);
        took_ns = clock_boot_ns() - began_ns;
    }
    CU_ASSERT(took_ns < 1000 * CLOCK_NS_PER_MS);
    must(reply->cluster != NULL);
    CU_ASSERT(reply->cluster->n_shards == 2 && reply->cluster->n_coordinators == 1);
    CU_ASSERT_TRUE(reply->cluster->coordinators[0]->active);
    CU_ASSERT_STRING_EQUAL(reply->cluster->coordinators[0]->endpoint, run.listen);
    Hf__Client__ShardStatus *second = reply->cluster->shards[1];
    CU_ASSERT(second->n_replicas == 2 && second->replicas[0]->reachable && !second->replicas[1]->reachable);
    CU_ASSERT(second->replicas[0]->status != NULL && strcmp(second->replicas[0]->status->role, "leader") == 0);
    CU_ASSERT(second->replicas[1]->status == NULL && second->replicas[1]->member->replica == 2);
    finish(&run);
}

static void beats_and_leases_reach_the_shards(void)
{
    struct run run;
    begin(&run, 100);
    for (size_t i = 0; i < REPLICAS; i++) {
        WAIT_FOR(replicas.play[i].beats > 5 && replicas.play[i].beat_routes > 0); /* routes: it said it knew none */
        CU_ASSERT_FALSE(replicas.play[i].beats_fell);
    }
    for (uint32_t shard = 1; shard <= 2; shard++) {
        struct replica_play *leader = replicas_at(&replicas, shard, 1);
        WAIT_FOR(leader->leases >= 2);
        CU_ASSERT(leader->last_ceiling > leader->last_beat);
        CU_ASSERT_EQUAL(replicas_at(&replicas, shard, 2)->leases, 0);
    }
    finish(&run);
}

/* The active coordinator goes while shard 1 is away: the standby cannot take over, yet keeps the other shard's lease.
 */
static void a_standby_renews_and_takes_over(void)
{
    struct run first, second;
    begin(&first, 100);
    WAIT_FOR(simple(&first, HF__CLIENT__REQUEST__OP_TIMESTAMP)->code == HF_OK);
    uint64_t t = 0;
    for (int i = 0; i < 100; i++) {
        const Hf__Client__Reply *reply = simple(&first, HF__CLIENT__REQUEST__OP_TIMESTAMP);
        CU_ASSERT(reply->code == HF_OK && reply->timestamp > t);
        t = reply->timestamp;
    }
    run_start(&second, 2, 100);
    WAIT_FOR(second.coordinator->ready);
    const Hf__Client__Reply *reply = timestamp(&second, 0, true); /* forwarded once: not again */
    CU_ASSERT_EQUAL(reply->code, HF_E_NOT_LEADER);
    CU_ASSERT_STRING_EQUAL(reply->leader_endpoint, first.listen);
    for (int i = 0; i < 100; i++) { /* in turn from both: drawn by the active one after they were asked for */
        reply = timestamp(i % 2 ? &first : &second, 0, false);
        CU_ASSERT(reply->code == HF_OK && reply->timestamp > t);
        t = reply->timestamp;
    }
    CU_ASSERT_EQUAL(accept_clock(&second)->code, HF_E_NOT_FOUND); /* the active one says so */
    struct put p;
    CU_ASSERT_EQUAL(call(&second, put(&p, "a", 0, 0))->code, HF_OK); /* it forwards all the same */
    reply = simple(&second, HF__CLIENT__REQUEST__OP_CLUSTER_STATUS);
    must(reply->cluster != NULL);
    CU_ASSERT_EQUAL_FATAL(reply->cluster->n_coordinators, 2);
    CU_ASSERT(!reply->cluster->coordinators[0]->active && reply->cluster->coordinators[1]->active);
    replicas_at(&replicas, 1, 1)->silent = replicas_at(&replicas, 1, 2)->silent = true;
    run_stop(&first);
    struct replica_play *leader = replicas_at(&replicas, 2, 1);
    uint64_t leases = leader->leases;
    WAIT_FOR(leader->leases >= leases + 2);
    CU_ASSERT_EQUAL(call(&second, put(&p, "z", 0, 0))->code, HF_OK);
    uint64_t began_ns = clock_boot_ns();
    reply = timestamp(&second, 300, false); /* the active one is dead, nobody can take over */
    CU_ASSERT(reply->code == HF_E_UNAVAILABLE && clock_boot_ns() - began_ns < 20000 * CLOCK_NS_PER_MS);
    uint64_t waits = post_timestamp(&second, 60000, false);
    replicas_at(&replicas, 1, 1)->silent = replicas_at(&replicas, 1, 2)->silent = false;
    reply = take(&second, 2 * PATIENCE_MS); /* it waited for the take-over, and is answered by us */
    CU_ASSERT(reply != NULL && reply->id == waits && reply->code == HF_OK && reply->timestamp > t);
    CU_ASSERT_EQUAL(simple(&second, HF__CLIENT__REQUEST__OP_TIMESTAMP)->code, HF_OK);
    finish(&second);
}

static void stopping_finishes_what_is_in_flight(void)
{
    struct run run;
    struct put p;
    begin(&run, 100);
    settle(&run);
    struct replica_play *leader = replicas_at(&replicas, 2, 1), *other = replicas_at(&replicas, 2, 2);
    leader->holds_writes = true;
    uint64_t id = post(&run, put(&p, "z", 7, 4000));
    WAIT_FOR(leader->swallowed >= 1);
    run_ask_stop(&run);
    WAIT_FOR(!run.coordinator->ready);
    const Hf__Client__Reply *reply = call(&run, put(&p, "a", 0, 0));
    CU_ASSERT_EQUAL(reply->code, HF_E_UNAVAILABLE); /* nothing new is taken */
    leader->silent = true;
    other->term = 2;
    other->leads = true;
    reply = take(&run, PATIENCE_MS);
    CU_ASSERT(reply != NULL && reply->id == id && reply->code == HF_OK);
    finish(&run);
}

/* "takeover" runs the one case that takes as long as a lease, without an argument all others run. */
int main(int argc, char **argv)
{
    static const struct unit_case cases[] = {
        {"requests reach their shard", requests_reach_their_shard},
        {"a lock is resolved", a_lock_is_resolved},
        {"a silent shard delays no other", a_silent_shard_delays_no_other},
        {"a full queue says busy", a_full_queue_says_busy},
        {"a hint is followed", a_hint_is_followed},
        {"only sessions are sent again", only_sessions_are_sent_again},
        {"what is wrong is said before anybody is asked", what_is_wrong_is_said_before_anybody_is_asked},
        {"without a catalog there are no routes", without_a_catalog_there_are_no_routes},
        {"status waits for the dead less than a second", status_waits_for_the_dead_less_than_a_second},
        {"beats and leases reach the shards", beats_and_leases_reach_the_shards},
        {"stopping finishes what is in flight", stopping_finishes_what_is_in_flight},
    };
    static const struct unit_case takeover[] = {
        {"a standby renews and takes over", a_standby_renews_and_takes_over},
    };
    diag_init("test", DIAG_ERROR);
    digest_init();
    if (argc > 1 && strcmp(argv[1], "takeover") == 0) {
        port_base = PORTS_TAKEOVER;
        return UNIT_MAIN("coordinator/takeover", takeover);
    }
    return UNIT_MAIN("coordinator/loopback", cases);
}
