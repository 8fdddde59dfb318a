/* test_transfer.c: a real state machine from a sender to a receiver over real sockets: equal whatever happens to either of
 * them or to the connection, and nothing is left behind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "common/sys/disk.h"
#include "proto/pack.h"
#include "tests/unit/shard/snapshot/rig.h"

#define SENT "holdfast_snapshot_streams_sent_total"
#define ATTEMPTS "holdfast_snapshot_attempts_total"
#define SENT_BYTES "holdfast_snapshot_sent_bytes_total"
#define RESUMED "holdfast_snapshot_resumed_total"

#define RESERVE (UINT64_C(16) << 20) /* that a state leaves for others on its disk */
#define SLACK (UINT64_C(1) << 20)    /* by which two checkpoints of a machine may differ */

static struct rig rig;
static _Atomic uint64_t room_bytes; /* that the receiver's disk has; 0: what it really has */

int __real_disk_room(const char *path, uint64_t *out_bytes);
int __wrap_disk_room(const char *path, uint64_t *out_bytes);

int __wrap_disk_room(const char *path, uint64_t *out_bytes)
{
    if (room_bytes == 0 || strcmp(path, rig.into) != 0)
        return __real_disk_room(path, out_bytes);
    *out_bytes = room_bytes;
    return HF_OK;
}

static void arrives(void)
{
    CU_ASSERT_EQUAL_FATAL(rig_await(&rig), RECEIVER_DONE);
    CU_ASSERT(rig_same(&rig));
    const struct stream_header *h = receiver_header(rig.receiver);
    const struct fsm_info *info = fsm_info(rig.machine.fsm);
    CU_ASSERT_PTR_NOT_NULL_FATAL(h);
    CU_ASSERT(h->token.index == info->applied.index && h->token.term == info->applied.term);
    CU_ASSERT(h->token.cluster == info->cluster && h->token.group == info->group);
    CU_ASSERT_EQUAL(receiver_bytes(rig.receiver), receiver_total(rig.receiver));
    rig_await_checkpoints(&rig, 0);
}

static void whole_machine_arrives(void)
{
    rig_begin(&rig, RIG_BYTES);
    rig_sender(&rig, 0, 0);
    uint64_t done = rig_metric(SENT, "outcome=\"done\"");
    rig_fetch(&rig, 0, RIG_LONG_MS);
    arrives();
    CU_ASSERT(receiver_bytes(rig.receiver) > RIG_BYTES);
    CU_ASSERT_EQUAL(rig_metric(SENT, "outcome=\"done\""), done + 1); /* told before the receiver says DONE */
    receiver_stop(&rig.receiver);
    (void)machine_run(&rig.machine, machine_put("more", "later")); /* and again, as of later */
    rig_fetch(&rig, fsm_info(rig.machine.fsm)->applied.index, RIG_LONG_MS);
    arrives();
    rig_end(&rig);
}

static void small_machine_arrives(void)
{
    rig_begin(&rig, 0);
    rig_sender(&rig, 0, 0);
    rig_fetch(&rig, 0, RIG_LONG_MS);
    arrives();
    rig_end(&rig);
}

static void the_machine_is_written_meanwhile(void)
{
    rig_begin(&rig, RIG_BYTES);
    rig_sender(&rig, 0, 0);
    rig_proxy(&rig);
    proxy_hold(rig.proxy, 1 << 20);
    rig_fetch(&rig, 0, RIG_LONG_MS);
    rig_await_bytes(&rig, TRANSFER_CHUNK_BYTES);
    uint64_t as_of = fsm_info(rig.machine.fsm)->applied.index; /* the checkpoint is made: bytes of it have arrived */
    for (int i = 0; i < 50; i++)
        (void)machine_run(&rig.machine, machine_put("key000001", "overwritten"));
    CU_ASSERT_EQUAL(fsm_flush(rig.machine.fsm), HF_OK);
    proxy_hold(rig.proxy, UINT64_MAX);
    CU_ASSERT_EQUAL_FATAL(rig_await(&rig), RECEIVER_DONE);
    CU_ASSERT_EQUAL(receiver_header(rig.receiver)->token.index, as_of);
    CU_ASSERT(!rig_same(&rig));
    rig_end(&rig);
}

static void a_cut_goes_on_where_it_was(void)
{
    rig_begin(&rig, RIG_BYTES);
    rig_sender(&rig, 0, 0);
    rig_proxy(&rig);
    uint64_t attempts = rig_metric(ATTEMPTS, NULL), sent = rig_metric(SENT_BYTES, NULL);
    uint64_t resumed = rig_metric(RESUMED, NULL);
    proxy_hold(rig.proxy, RIG_BYTES * 3 / 4);
    rig_fetch(&rig, 0, RIG_LONG_MS);
    rig_await_bytes(&rig, RIG_BYTES / 2);
    proxy_cut(rig.proxy);
    proxy_hold(rig.proxy, UINT64_MAX);
    arrives();
    uint64_t total = receiver_total(rig.receiver);
    CU_ASSERT_EQUAL(rig_metric(ATTEMPTS, NULL), attempts + 1);
    sent = rig_metric(SENT_BYTES, NULL) - sent;
    /* It gave up connections besides, where this process had no processor for seconds: another window each. */
    uint64_t more = (rig_metric(RESUMED, NULL) - resumed) * (TRANSFER_WINDOW_BYTES + TRANSFER_CHUNK_BYTES);
    CU_ASSERT(sent >= total && sent <= total + TRANSFER_WINDOW_BYTES + TRANSFER_CHUNK_BYTES + more);
    CU_ASSERT(proxy_passed(rig.proxy) < total + total / 4 + TRANSFER_WINDOW_BYTES / 2 + more);
    rig_end(&rig);
}

static void many_cuts_go_on(void)
{
    rig_begin(&rig, RIG_BYTES);
    rig_sender(&rig, 0, 0);
    rig_proxy(&rig);
    uint64_t attempts = rig_metric(ATTEMPTS, NULL);
    rig_fetch(&rig, 0, RIG_LONG_MS);
    for (uint64_t part = 1; part <= 6; part++) { /* in the middle of a message, mostly */
        proxy_hold(rig.proxy, proxy_passed(rig.proxy) + RIG_BYTES / 8 + part * 12345);
        rig_await_bytes(&rig, part * RIG_BYTES / 16);
        proxy_cut(rig.proxy);
    }
    proxy_hold(rig.proxy, UINT64_MAX);
    arrives();
    CU_ASSERT_EQUAL(rig_metric(ATTEMPTS, NULL), attempts + 1);
    rig_end(&rig);
}

static void a_sender_that_comes_back_begins_anew(void)
{
    rig_begin(&rig, RIG_BYTES);
    rig_sender(&rig, 0, 0);
    rig_proxy(&rig);
    uint64_t attempts = rig_metric(ATTEMPTS, NULL);
    proxy_hold(rig.proxy, RIG_BYTES / 2);
    rig_fetch(&rig, 0, RIG_LONG_MS);
    rig_await_bytes(&rig, RIG_BYTES / 4);
    sender_close(&rig.sender);
    CU_ASSERT_EQUAL(rig_checkpoints(&rig), 0);
    (void)machine_run(&rig.machine, machine_put("more", "later")); /* another state than the first part came from */
    proxy_cut(rig.proxy);
    rig_sender(&rig, 0, 0);
    proxy_hold(rig.proxy, UINT64_MAX);
    arrives();
    CU_ASSERT(rig_metric(ATTEMPTS, NULL) > attempts + 1);
    rig_end(&rig);
}

static void a_receiver_that_stops_tells_the_sender(void)
{
    rig_begin(&rig, RIG_BYTES);
    rig_sender(&rig, 0, 0);
    rig_proxy(&rig);
    uint64_t aborted = rig_metric(SENT, "outcome=\"aborted\"");
    proxy_hold(rig.proxy, RIG_BYTES / 2);
    rig_fetch(&rig, 0, RIG_LONG_MS);
    rig_await_bytes(&rig, RIG_BYTES / 4);
    CU_ASSERT_EQUAL(rig_checkpoints(&rig), 1);
    receiver_stop(&rig.receiver);
    rig_await_metric(SENT, "outcome=\"aborted\"", aborted + 1);
    rig_await_checkpoints(&rig, 0);
    proxy_hold(rig.proxy, UINT64_MAX);
    rig_fetch(&rig, 0, RIG_LONG_MS); /* what it had staged is in nobody's way */
    arrives();
    rig_end(&rig);
}

static void a_receiver_that_vanishes_is_forgotten(void)
{
    rig_begin(&rig, RIG_BYTES);
    rig_sender(&rig, 0, 200);
    struct hand h;
    uint64_t timeouts = rig_metric(SENT, "outcome=\"timeout\"");
    hand_begin(&h, &rig, 2);
    do /* it is heard until bytes came */
        hand_fetch(&h, 0, TRANSFER_WINDOW_BYTES, 0);
    while (hand_reply(&h)->body_case == HF__SNAPSHOT__REPLY__BODY_WAITING);
    hand_end(&h);
    rig_await_metric(SENT, "outcome=\"timeout\"", timeouts + 1);
    rig_await_checkpoints(&rig, 0);
    rig_end(&rig);
}

static void nobody_there_is_a_timeout(void)
{
    rig_begin(&rig, 0);
    rig_sender(&rig, 0, 0);
    sender_close(&rig.sender); /* nobody listens at that port any more */
    rig_fetch(&rig, 0, 300);
    CU_ASSERT_EQUAL(rig_await(&rig), RECEIVER_FAILED);
    CU_ASSERT_EQUAL(receiver_code(rig.receiver), HF_E_TIMEOUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(receiver_text(rig.receiver), "nothing came in time"));
    rig_end(&rig);
}

static void a_stream_that_stops_is_a_timeout(void)
{
    rig_begin(&rig, RIG_BYTES);
    rig_sender(&rig, 0, 0);
    rig_proxy(&rig);
    proxy_hold(rig.proxy, RIG_BYTES / 2);
    rig_fetch(&rig, 0, 1000);
    CU_ASSERT_EQUAL(rig_await(&rig), RECEIVER_FAILED);
    CU_ASSERT_EQUAL(receiver_code(rig.receiver), HF_E_TIMEOUT);
    CU_ASSERT(receiver_bytes(rig.receiver) < RIG_BYTES * 3 / 4);
    rig_end(&rig);
}

static void an_older_state_is_of_no_use(void)
{
    rig_begin(&rig, 0);
    rig_sender(&rig, 0, 0);
    rig_fetch(&rig, fsm_info(rig.machine.fsm)->applied.index + 1, RIG_LONG_MS);
    CU_ASSERT_EQUAL(rig_await(&rig), RECEIVER_FAILED);
    CU_ASSERT_EQUAL(receiver_code(rig.receiver), HF_E_SNAPSHOT_ABSENT);
    rig_await_checkpoints(&rig, 0);
    rig_end(&rig);
}

static void without_a_machine_it_waits(void)
{
    rig_begin(&rig, 0);
    rig_sender(&rig, 0, 0);
    sender_serve(rig.sender, NULL);
    uint64_t refused = rig_metric("holdfast_snapshot_requests_refused_total", "reason=\"not_ready\"");
    rig_fetch(&rig, 0, RIG_LONG_MS);
    rig_await_metric("holdfast_snapshot_requests_refused_total", "reason=\"not_ready\"", refused + 2);
    CU_ASSERT_EQUAL(receiver_state(rig.receiver), RECEIVER_RUNNING);
    sender_serve(rig.sender, rig.machine.fsm);
    arrives();
    receiver_stop(&rig.receiver);
    sender_serve(rig.sender, NULL);
    for (uint32_t ms = 600; ms < RIG_LONG_MS; ms *= 4) { /* and not for ever */
        rig_fetch(&rig, 0, ms);
        CU_ASSERT_EQUAL(rig_await(&rig), RECEIVER_FAILED);
        if (receiver_code(rig.receiver) != HF_E_TIMEOUT) /* the time was up before the first answer */
            break;
        receiver_stop(&rig.receiver);
    }
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig.receiver);
    CU_ASSERT_EQUAL(receiver_code(rig.receiver), HF_E_NOT_READY);
    rig_end(&rig);
}

/* The loop withdraws the machine while checkpoints of it are made, and closes it at once. */
static void the_machine_is_withdrawn(void)
{
    rig_begin(&rig, 1 << 20);
    rig_sender(&rig, 0, 0);
    struct hand h;
    hand_begin(&h, &rig, 2);
    for (int i = 0; i < 12; i++) {
        h.attempt++;
        h.stream = 0;
        (void)machine_run(&rig.machine, machine_put("key", "something for the flush to do"));
        hand_fetch(&h, 0, TRANSFER_WINDOW_BYTES, 0);
        (void)hand_reply(&h); /* it has begun, or was told that there is no machine */
        (void)net_poll(NULL, 0, i % 4);
        sender_serve(rig.sender, NULL);
        machine_close(&rig.machine);
        machine_open(&rig.machine);
        sender_serve(rig.sender, rig.machine.fsm);
    }
    hand_end(&h);
    rig_fetch(&rig, 0, RIG_LONG_MS);
    arrives();
    rig_end(&rig);
}

/* Damaged: whoever is being given it gets no more of it, and nobody gets it anew. */
static void a_machine_that_is_not_trusted_goes_no_further(void)
{
    rig_begin(&rig, RIG_BYTES);
    rig_sender(&rig, 0, 0);
    rig_proxy(&rig);
    proxy_hold(rig.proxy, RIG_BYTES / 2);
    uint64_t aborted = rig_metric("holdfast_snapshot_streams_sent_total", "outcome=\"aborted\"");
    rig_fetch(&rig, 0, 10000);
    rig_await_bytes(&rig, RIG_BYTES / 4);
    sender_serve(rig.sender, NULL);
    rig_await_metric("holdfast_snapshot_streams_sent_total", "outcome=\"aborted\"", aborted + 1);
    proxy_hold(rig.proxy, UINT64_MAX);
    CU_ASSERT_EQUAL(rig_await(&rig), RECEIVER_FAILED);
    rig_end(&rig);
}

static void what_does_not_fit_is_not_begun(void)
{
    rig_begin(&rig, RIG_BYTES);
    rig_sender(&rig, 0, 0);
    rig_fetch(&rig, 0, RIG_LONG_MS);
    arrives();
    uint64_t total = receiver_total(rig.receiver);
    receiver_stop(&rig.receiver);
    room_bytes = total + RESERVE - SLACK;
    rig_fetch(&rig, 0, RIG_LONG_MS);
    CU_ASSERT_EQUAL(rig_await(&rig), RECEIVER_FAILED);
    CU_ASSERT_EQUAL(receiver_code(rig.receiver), HF_E_NO_SPACE);
    CU_ASSERT_PTR_NOT_NULL(strstr(receiver_text(rig.receiver), "there is no room for it: it takes "));
    CU_ASSERT_EQUAL(receiver_bytes(rig.receiver), 0); /* not one of its bytes is written */
    receiver_stop(&rig.receiver);
    rig_await_checkpoints(&rig, 0); /* and the sender is not kept */
    room_bytes = total + RESERVE + SLACK;
    rig_fetch(&rig, 0, RIG_LONG_MS);
    arrives();
    room_bytes = 0;
    rig_end(&rig);
}

static void orphans_are_swept(void)
{
    rig_begin(&rig, 0);
    struct disk *d = disk_posix();
    struct disk_file *file = NULL;
    static const char *const names[] = {"snapshots", "snapshots/outgoing-7", "snapshots/kept"};
    char path[128];
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", rig.dir, names[i]);
        CU_ASSERT_EQUAL_FATAL(d->ops->make_dir(d, path), HF_OK);
    }
    snprintf(path, sizeof path, "%s/snapshots/outgoing-7/000009.sst", rig.dir);
    CU_ASSERT_EQUAL_FATAL(d->ops->open(d, path, DISK_CREATE, &file), HF_OK);
    d->ops->close(d, &file);
    CU_ASSERT_EQUAL(rig_checkpoints(&rig), 1);
    rig_sender(&rig, 0, 0);
    CU_ASSERT_EQUAL(rig_checkpoints(&rig), 0);
    bool there = false;
    snprintf(path, sizeof path, "%s/snapshots/kept", rig.dir);
    CU_ASSERT(d->ops->exists(d, path, &there) == HF_OK && there);
    rig_end(&rig);
}

/* However slow this machine is, bytes beyond the burst cannot have come earlier. */
static void the_rate_bounds_bytes(void)
{
    const uint64_t rate = 8 << 20;
    rig_begin(&rig, RIG_BYTES);
    rig_sender(&rig, rate, 0);
    uint64_t begun = clock_boot_ns();
    rig_fetch(&rig, 0, RIG_LONG_MS);
    CU_ASSERT_EQUAL_FATAL(rig_await(&rig), RECEIVER_DONE);
    uint64_t took_ms = (clock_boot_ns() - begun) / CLOCK_NS_PER_MS;
    uint64_t free_bytes = rate / 10 + 2 * TRANSFER_CHUNK_BYTES;
    CU_ASSERT(took_ms >= (receiver_bytes(rig.receiver) - free_bytes) * 1000 / rate);
    CU_ASSERT(rig_same(&rig));
    rig_end(&rig);
}

static void an_endpoint_in_use_is_told(void)
{
    rig_begin(&rig, 0);
    rig_sender(&rig, 0, 0);
    char listen[64];
    snprintf(listen, sizeof listen, "tcp://127.0.0.1:%u", rig.port);
    struct sender_config config = {
        .net = rig.net, .listen = listen, .disk = disk_posix(), .dir = rig.into, .id = &rig.id};
    struct sender *second = NULL;
    CU_ASSERT_EQUAL(sender_open(&config, &second), HF_E_EXISTS);
    CU_ASSERT_PTR_NULL(second);
    config.listen = "tcp://127.0.0.1:*";
    config.announce = "tcp://one.example:*";
    CU_ASSERT_EQUAL_FATAL(sender_open(&config, &second), HF_OK);
    CU_ASSERT_EQUAL(strncmp(sender_endpoint(second), "tcp://one.example:", 18), 0);
    CU_ASSERT(strtoul(sender_endpoint(second) + 18, NULL, 10) > 0);
    sender_close(&second);
    config.announce = "tcp://one.example:7777";
    CU_ASSERT_EQUAL_FATAL(sender_open(&config, &second), HF_OK);
    CU_ASSERT_STRING_EQUAL(sender_endpoint(second), "tcp://one.example:7777");
    sender_close(&second);
    rig_end(&rig);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"a whole machine arrives, and once more", whole_machine_arrives},
        {"a small machine arrives", small_machine_arrives},
        {"the machine is written meanwhile", the_machine_is_written_meanwhile},
        {"a cut goes on where it was", a_cut_goes_on_where_it_was},
        {"many cuts go on", many_cuts_go_on},
        {"a sender that comes back begins anew", a_sender_that_comes_back_begins_anew},
        {"a receiver that stops tells the sender", a_receiver_that_stops_tells_the_sender},
        {"a receiver that vanishes is forgotten", a_receiver_that_vanishes_is_forgotten},
        {"nobody there is a time-out", nobody_there_is_a_timeout},
        {"a stream that stops is a time-out", a_stream_that_stops_is_a_timeout},
        {"an older state is of no use", an_older_state_is_of_no_use},
        {"without a machine it waits", without_a_machine_it_waits},
        {"the machine is withdrawn", the_machine_is_withdrawn},
        {"a machine that is not trusted goes no further", a_machine_that_is_not_trusted_goes_no_further},
        {"what does not fit is not begun", what_does_not_fit_is_not_begun},
        {"orphans are swept", orphans_are_swept},
        {"the rate bounds bytes", the_rate_bounds_bytes},
        {"an endpoint in use is told", an_endpoint_in_use_is_told},
    };
    return UNIT_MAIN("transfer", cases);
}
