/* test_transfer_messages.c: a sender asked by hand, and a receiver answered by hand: who is refused, how much may come
 * without being acknowledged, and that garbage changes nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/crc32c.h"
#include "common/base/error.h"
#include "common/sys/clock.h"
#include "proto/pack.h"
#include "tests/unit/shard/snapshot/rig.h"

#define REFUSED "holdfast_snapshot_requests_refused_total"
#define SENT "holdfast_snapshot_streams_sent_total"
#define CHUNK TRANSFER_CHUNK_BYTES
#define WINDOW TRANSFER_WINDOW_BYTES

static struct rig rig;
static struct hand hand;

static void begin(size_t bytes)
{
    rig_begin(&rig, bytes);
    rig_sender(&rig, 0, 0);
    hand_begin(&hand, &rig, 2);
}

static void end(void)
{
    hand_end(&hand);
    rig_end(&rig);
}

/* Takes chunks that follow `offset` until everything before `until` is there; returns where they end. */
static uint64_t take(struct hand *h, uint64_t offset, uint64_t until)
{
    while (offset < until) {
        const Hf__Snapshot__Reply *p = hand_answer(h);
        CU_ASSERT_EQUAL_FATAL(p->body_case, HF__SNAPSHOT__REPLY__BODY_CHUNK);
        CU_ASSERT_EQUAL_FATAL(p->chunk->offset, offset);
        offset += p->chunk->data.len;
        if (p->chunk->last)
            break;
    }
    return offset;
}

/* Nothing more comes, however often and long it is waited for. */
static void nothing_comes(struct hand *h, uint64_t offset, uint64_t until)
{
    for (int i = 0; i < 10; i++) {
        hand_fetch(h, offset, until, 0);
        CU_ASSERT_EQUAL(hand_reply(h)->body_case, HF__SNAPSHOT__REPLY__BODY_WAITING);
        (void)net_poll(NULL, 0, 5);
    }
}

static void credits_are_respected(void)
{
    begin(RIG_BYTES);
    hand_fetch(&hand, 0, 3 * CHUNK, 0);
    CU_ASSERT_EQUAL(take(&hand, 0, 3 * CHUNK), 3 * CHUNK);
    nothing_comes(&hand, 0, 3 * CHUNK);
    hand_credit(&hand, 3 * CHUNK, 5 * CHUNK);
    CU_ASSERT_EQUAL(take(&hand, 3 * CHUNK, 5 * CHUNK), 5 * CHUNK);
    nothing_comes(&hand, 5 * CHUNK, 5 * CHUNK);
    hand_credit(&hand, 5 * CHUNK, 5 * CHUNK + 1); /* the chunk that crosses it comes whole */
    CU_ASSERT_EQUAL(take(&hand, 5 * CHUNK, 6 * CHUNK), 6 * CHUNK);
    nothing_comes(&hand, 6 * CHUNK, 6 * CHUNK);
    end();
}

static void no_more_than_a_window_waits(void)
{
    begin(RIG_BYTES);
    uint64_t sent = rig_metric("holdfast_snapshot_sent_bytes_total", NULL);
    hand_fetch(&hand, 0, UINT64_C(1) << 50, 0); /* it would take anything, and does not say that it had any */
    CU_ASSERT_EQUAL(take(&hand, 0, WINDOW), WINDOW);
    nothing_comes(&hand, 0, UINT64_C(1) << 50);
    CU_ASSERT_EQUAL(rig_metric("holdfast_snapshot_sent_bytes_total", NULL) - sent, WINDOW);
    hand_credit(&hand, 2 * CHUNK, UINT64_C(1) << 50);
    CU_ASSERT_EQUAL(take(&hand, WINDOW, WINDOW + 2 * CHUNK), WINDOW + 2 * CHUNK);
    nothing_comes(&hand, 2 * CHUNK, UINT64_C(1) << 50);
    end();
}

static void a_new_connection_gets_the_rest_again(void)
{
    begin(RIG_BYTES);
    hand_fetch(&hand, 0, 4 * CHUNK, 0);
    CU_ASSERT_EQUAL(take(&hand, 0, 4 * CHUNK), 4 * CHUNK);
    struct hand second;
    hand_begin(&second, &rig, 2);
    second.attempt = hand.attempt;
    second.stream = hand.stream;
    second.number = hand.number + 5;
    hand_fetch(&second, CHUNK, 2 * CHUNK, 0);
    CU_ASSERT_EQUAL(take(&second, CHUNK, 2 * CHUNK), 2 * CHUNK);
    hand_credit(&second, 3 * CHUNK, 6 * CHUNK); /* it found more that had come over the old one */
    CU_ASSERT_EQUAL(take(&second, 3 * CHUNK, 6 * CHUNK), 6 * CHUNK);
    hand_credit(&hand, 3 * CHUNK, 16 * CHUNK); /* a late one over the old connection moves nothing */
    nothing_comes(&second, 6 * CHUNK, 6 * CHUNK);
    hand_fetch(&second, 5 * CHUNK, 6 * CHUNK, 0); /* acknowledged before: gone */
    CU_ASSERT_EQUAL(hand_refusal(&second), HF_E_ABSENT);
    hand_end(&second);
    end();
}

static void what_was_not_sent_is_not_acknowledged(void)
{
    begin(RIG_BYTES);
    uint64_t gone = rig_metric(REFUSED, "reason=\"gone\"");
    hand_fetch(&hand, 0, 2 * CHUNK, 0);
    CU_ASSERT_EQUAL(take(&hand, 0, 2 * CHUNK), 2 * CHUNK);
    static const uint64_t offsets[] = {3 * CHUNK, CHUNK + 1, UINT64_C(1) << 40};
    for (size_t i = 0; i < 3; i++) {
        hand_credit(&hand, offsets[i], UINT64_C(1) << 50);
        CU_ASSERT_EQUAL(hand_refusal(&hand), HF_E_ABSENT);
    }
    hand.stream++; /* of another sender */
    hand_fetch(&hand, 2 * CHUNK, 4 * CHUNK, 0);
    CU_ASSERT_EQUAL(hand_refusal(&hand), HF_E_ABSENT);
    hand.stream--;
    hand.attempt++;
    hand_fetch(&hand, 2 * CHUNK, 4 * CHUNK, 0); /* no such attempt */
    CU_ASSERT_EQUAL(hand_refusal(&hand), HF_E_ABSENT);
    hand.attempt--;
    CU_ASSERT_EQUAL(rig_metric(REFUSED, "reason=\"gone\""), gone + 5);
    hand_credit(&hand, 2 * CHUNK, 3 * CHUNK); /* none of it harmed the stream */
    CU_ASSERT_EQUAL(take(&hand, 2 * CHUNK, 3 * CHUNK), 3 * CHUNK);
    end();
}

static void others_are_refused(void)
{
    begin(0);
    const struct identity own = hand.id;
#define WRONG(change, reason, code)                                                                                    \
    do {                                                                                                               \
        uint64_t before = rig_metric(REFUSED, "reason=\"" reason "\"");                                                \
        hand.id = own;                                                                                                 \
        hand.to = 1;                                                                                                   \
        change;                                                                                                        \
        hand_fetch(&hand, 0, WINDOW, 0);                                                                               \
        CU_ASSERT_EQUAL(hand_refusal(&hand), code);                                                                    \
        CU_ASSERT_EQUAL(rig_metric(REFUSED, "reason=\"" reason "\""), before + 1);                                     \
    } while (0)
    WRONG(hand.id.cluster++, "cluster", HF_E_WRONG_CLUSTER);
    WRONG(hand.id.group++, "group", HF_E_REFUSED);
    WRONG(hand.id.log_epoch++, "epoch", HF_E_REFUSED);
    WRONG(hand.to = 3, "replica", HF_E_REFUSED);
    WRONG(hand.id.replica = 1, "replica", HF_E_REFUSED);
    WRONG(hand.id.replica = 0, "replica", HF_E_REFUSED);
#undef WRONG
    CU_ASSERT_EQUAL(rig_checkpoints(&rig), 0);
    hand.id = own;
    hand.to = 1;
    hand_fetch(&hand, 0, WINDOW, 0);
    (void)take(&hand, 0, WINDOW);
    end();
}

static void a_receiver_is_told_why(void)
{
    rig_begin(&rig, 0);
    rig_sender(&rig, 0, 0);
    rig.fetcher.log_epoch = 2;
    rig_fetch(&rig, 0, RIG_LONG_MS);
    CU_ASSERT_EQUAL(rig_await(&rig), RECEIVER_FAILED);
    CU_ASSERT_EQUAL(receiver_code(rig.receiver), HF_E_REFUSED);
    CU_ASSERT_STRING_EQUAL(receiver_text(rig.receiver), "another log epoch");
    rig_end(&rig);
}

static void two_at_once_and_no_more(void)
{
    begin(RIG_BYTES);
    struct hand second, third;
    hand_begin(&second, &rig, 3);
    hand_begin(&third, &rig, 4);
    uint64_t busy = rig_metric(REFUSED, "reason=\"busy\"");
    hand_fetch(&hand, 0, CHUNK, 0);
    hand_fetch(&second, 0, CHUNK, 0);
    CU_ASSERT_EQUAL(take(&hand, 0, CHUNK), CHUNK);
    CU_ASSERT_EQUAL(take(&second, 0, CHUNK), CHUNK);
    CU_ASSERT_EQUAL(rig_checkpoints(&rig), 2);
    hand_fetch(&third, 0, CHUNK, 0);
    CU_ASSERT_EQUAL(hand_refusal(&third), HF_E_BUSY);
    CU_ASSERT_EQUAL(rig_metric(REFUSED, "reason=\"busy\""), busy + 1);
    rig.fetcher.replica = 4; /* and a receiver waits until there is room */
    rig_fetch(&rig, 0, RIG_LONG_MS);
    rig_await_metric(REFUSED, "reason=\"busy\"", busy + 3);
    hand_done(&second, HF_OK);
    CU_ASSERT_EQUAL(hand_answer(&second)->body_case, HF__SNAPSHOT__REPLY__BODY_ENDED);
    hand_done(&second, HF_OK); /* safe to repeat */
    CU_ASSERT_EQUAL(hand_answer(&second)->body_case, HF__SNAPSHOT__REPLY__BODY_ENDED);
    CU_ASSERT_EQUAL(rig_await(&rig), RECEIVER_DONE);
    CU_ASSERT(rig_same(&rig));
    hand_credit(&hand, CHUNK, 2 * CHUNK); /* the other went on all the while */
    CU_ASSERT_EQUAL(take(&hand, CHUNK, 2 * CHUNK), 2 * CHUNK);
    hand_end(&second);
    hand_end(&third);
    end();
}

static void a_new_attempt_takes_the_place_of_the_old(void)
{
    begin(RIG_BYTES);
    uint64_t aborted = rig_metric(SENT, "outcome=\"aborted\"");
    for (uint64_t i = 0; i < 5; i++) {
        hand.attempt++;
        hand.stream = 0;
        hand_fetch(&hand, 0, CHUNK, 0);
        const Hf__Snapshot__Reply *p = hand_answer(&hand);
        if (p->body_case == HF__SNAPSHOT__REPLY__BODY_REFUSAL) { /* old workers are still ending */
            CU_ASSERT_EQUAL(p->refusal->code, HF_E_BUSY);
            continue;
        }
        CU_ASSERT_EQUAL(p->body_case, HF__SNAPSHOT__REPLY__BODY_CHUNK);
        CU_ASSERT_EQUAL(p->chunk->offset, 0);
    }
    CU_ASSERT(rig_metric(SENT, "outcome=\"aborted\"") > aborted);
    rig_await_checkpoints(&rig, 1);
    end();
}

static void garbage_is_counted(void)
{
    begin(RIG_BYTES);
    uint64_t before = rig_metric(REFUSED, "reason=\"malformed\""), sent = 0;
    hand_fetch(&hand, 0, CHUNK, 0);
    CU_ASSERT_EQUAL(take(&hand, 0, CHUNK), CHUNK);
    static const uint8_t noise[] = {0xff, 0x00, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f};
    for (size_t size = 0; size <= sizeof noise; size++, sent++)
        hand_send(&hand, slice_make(noise, size));
    Hf__Snapshot__Request q = transfer_request(&hand.id, 1, hand.attempt, hand.stream);
    hand_request(&hand, &q), sent++; /* no body */
    Hf__Snapshot__Credit c = HF__SNAPSHOT__CREDIT__INIT;
    q.body_case = HF__SNAPSHOT__REQUEST__BODY_CREDIT;
    q.credit = &c;
    c.offset = 2 * CHUNK; /* beyond `until` */
    hand_request(&hand, &q), sent++;
    c.offset = UINT64_MAX - CHUNK;
    c.until = UINT64_MAX;
    hand_request(&hand, &q), sent++;
    c = (Hf__Snapshot__Credit)HF__SNAPSHOT__CREDIT__INIT;
    q.version = 2;
    hand_request(&hand, &q), sent++;
    q.version = 1;
    q.attempt = 0;
    hand_request(&hand, &q), sent++;
    rig_await_metric(REFUSED, "reason=\"malformed\"", before + sent);
    CU_ASSERT_EQUAL(rig_metric(REFUSED, "reason=\"malformed\""), before + sent);
    hand_credit(&hand, CHUNK, 2 * CHUNK); /* the stream is as it was */
    CU_ASSERT_EQUAL(take(&hand, CHUNK, 2 * CHUNK), 2 * CHUNK);
    end();
}

/* ---- a sender by hand ---- */

static struct net_socket *listener;

static const Hf__Snapshot__Request *next_request(struct arena *arena, struct net_peer *peer, unsigned body)
{
    uint64_t until = clock_boot_ns() + 60000 * CLOCK_NS_PER_MS;
    while (clock_boot_ns() < until) {
        struct net_message message;
        const Hf__Snapshot__Request *q = NULL;
        if (net_receive(listener, peer, &message) != HF_OK) {
            (void)net_poll(NULL, 0, 1);
            continue;
        }
        CU_ASSERT_EQUAL_FATAL(transfer_read_request(&rig.id, net_message_data(&message), arena, &q), TRANSFER_FINE);
        net_message_release(&message);
        if (q->body_case == body)
            return q;
    }
    CU_FAIL_FATAL("no request came");
    return NULL;
}

static int answer(const struct net_peer *peer, const Hf__Snapshot__Reply *p)
{
    struct buf packed = {0};
    pack_append(&p->base, &packed);
    int rc = net_send_to(listener, peer, buf_slice(&packed));
    buf_deinit(&packed);
    return rc;
}

static uint64_t claimed; /* bytes of the whole stream, as its chunks say */

static void answer_chunk(const struct net_peer *peer, uint64_t attempt, uint64_t offset, uint32_t crc_off)
{
    uint8_t bytes[100] = "HFSNAP99 is no version that anybody knows";
    Hf__Snapshot__Reply p = transfer_reply(&rig.id, attempt, 5);
    Hf__Snapshot__Chunk c = HF__SNAPSHOT__CHUNK__INIT;
    c.offset = offset;
    c.total = claimed;
    c.data = pack_bytes(slice_make(bytes, sizeof bytes));
    c.crc = crc32c(0, bytes, sizeof bytes) + crc_off;
    p.body_case = HF__SNAPSHOT__REPLY__BODY_CHUNK;
    p.chunk = &c;
    CU_ASSERT_EQUAL(answer(peer, &p), HF_OK);
}

/* A receiver asks, and the sender is played by hand. */
static void begin_as_sender(void)
{
    const struct net_options options = {.hwm = 100, .message_bytes = 4096};
    char bound[64];
    rig_begin(&rig, 0);
    CU_ASSERT_EQUAL_FATAL(net_listen(rig.net, "tcp://127.0.0.1:*", &options, &listener), HF_OK);
    net_endpoint(listener, bound, sizeof bound);
    rig.port = (uint16_t)strtoul(strrchr(bound, ':') + 1, NULL, 10);
    rig_fetch(&rig, 0, RIG_LONG_MS);
}

/* Every length that another process may claim, also one that grows beyond 64 bits with the reserve. */
static void a_claimed_length_is_not_believed(void)
{
    static const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX - 1000, UINT64_C(1) << 62};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct arena arena = {0};
        struct net_peer peer;
        begin_as_sender();
        const Hf__Snapshot__Request *q = next_request(&arena, &peer, HF__SNAPSHOT__REQUEST__BODY_FETCH);
        claimed = lengths[i];
        answer_chunk(&peer, q->attempt, 0, 0);
        CU_ASSERT_EQUAL(rig_await(&rig), RECEIVER_FAILED);
        CU_ASSERT_EQUAL(receiver_code(rig.receiver), HF_E_NO_SPACE);
        CU_ASSERT_EQUAL(receiver_bytes(rig.receiver), 0);
        claimed = 0;
        net_close(&listener);
        arena_deinit(&arena);
        rig_end(&rig);
    }
}

static void what_does_not_fit_is_not_staged(void)
{
    const unsigned fetch = HF__SNAPSHOT__REQUEST__BODY_FETCH;
    struct arena arena = {0};
    struct net_peer peer, again;
    begin_as_sender();
    const Hf__Snapshot__Request *q = next_request(&arena, &peer, fetch);
    uint64_t dropped = rig_metric("holdfast_snapshot_replies_dropped_total", "reason=\"malformed\"");
    uint64_t foreign = rig_metric("holdfast_snapshot_replies_dropped_total", "reason=\"foreign\"");
    CU_ASSERT(q->fetch->offset == 0 && q->stream == 0 && q->fetch->until == WINDOW);
    answer_chunk(&peer, q->attempt, 0, 1); /* its checksum does not hold */
    rig.id.cluster++;
    answer_chunk(&peer, q->attempt, 0, 0);
    rig.id.cluster--;
    rig.id.replica++; /* not who was asked */
    answer_chunk(&peer, q->attempt, 0, 0);
    rig.id.replica--;
    answer_chunk(&peer, q->attempt + 1, 0, 0); /* of another attempt */
    rig_await_metric("holdfast_snapshot_replies_dropped_total", "reason=\"foreign\"", foreign + 2);
    CU_ASSERT_EQUAL(rig_metric("holdfast_snapshot_replies_dropped_total", "reason=\"malformed\""), dropped + 1);
    answer_chunk(&peer, q->attempt, 100, 0); /* one before it is missing: another connection asks again */
    do
        q = next_request(&arena, &again, fetch);
    while (again.size == peer.size && memcmp(again.id, peer.id, peer.size) == 0);
    CU_ASSERT(q->fetch->offset == 0 && q->stream == 5);
    CU_ASSERT_EQUAL(receiver_bytes(rig.receiver), 0);
    answer_chunk(&again, q->attempt, 0, 0); /* a chunk that is no stream */
    CU_ASSERT_EQUAL(rig_await(&rig), RECEIVER_FAILED);
    CU_ASSERT_EQUAL(receiver_code(rig.receiver), HF_E_SNAPSHOT_MAGIC);
    q = next_request(&arena, &again, HF__SNAPSHOT__REQUEST__BODY_END); /* and the sender need not keep it */
    CU_ASSERT(q->end->code < 0);
    net_close(&listener);
    arena_deinit(&arena);
    rig_end(&rig);
}

static void a_stream_lost_again_and_again(void)
{
    struct arena arena = {0};
    struct net_peer peer;
    begin_as_sender();
    while (receiver_state(rig.receiver) == RECEIVER_RUNNING) {
        struct net_message message;
        const Hf__Snapshot__Request *q = NULL;
        if (net_receive(listener, &peer, &message) != HF_OK) {
            (void)net_poll(NULL, 0, 1);
            continue;
        }
        CU_ASSERT_EQUAL_FATAL(transfer_read_request(&rig.id, net_message_data(&message), &arena, &q), TRANSFER_FINE);
        net_message_release(&message);
        Hf__Snapshot__Reply p = transfer_reply(&rig.id, q->attempt, 0);
        Hf__Snapshot__Refusal r = HF__SNAPSHOT__REFUSAL__INIT;
        r.code = HF_E_ABSENT;
        p.body_case = HF__SNAPSHOT__REPLY__BODY_REFUSAL;
        p.refusal = &r;
        int rc = answer(&peer, &p); /* it may have asked twice, and gone with the first answer */
        CU_ASSERT(rc == HF_OK || (rc == HF_E_UNAVAILABLE && receiver_state(rig.receiver) != RECEIVER_RUNNING));
    }
    CU_ASSERT_EQUAL(receiver_code(rig.receiver), HF_E_UNAVAILABLE);
    net_close(&listener);
    arena_deinit(&arena);
    rig_end(&rig);
}

/* ---- the rate alone ---- */

static void the_rate_is_kept(void)
{
    const uint64_t second = UINT64_C(1000000000);
    struct transfer_rate none = {0}, r = {.rate = 1000};
    transfer_rate_take(&none, 5, SIZE_MAX);
    CU_ASSERT_EQUAL(transfer_rate_wait_ns(&none, 5), 0);
    uint64_t now = 100 * second, sent = 0;
    for (uint64_t begun = now; now < begun + 10 * second; now += second / 1000 + 7)
        while (transfer_rate_wait_ns(&r, now) == 0) {
            transfer_rate_take(&r, now, 250);
            sent += 250;
        }
    CU_ASSERT(sent >= 9750 && sent <= 10000 + 100 + 250);
    CU_ASSERT(transfer_rate_wait_ns(&r, now) <= second / 4);
    now += 1000 * second; /* a long rest is not made up for */
    sent = 0;
    while (transfer_rate_wait_ns(&r, now) == 0) {
        transfer_rate_take(&r, now, 10);
        sent += 10;
    }
    CU_ASSERT(sent <= 100 + 10);
    struct transfer_rate slow = {.rate = 1};
    transfer_rate_take(&slow, now, CHUNK);
    CU_ASSERT_EQUAL(transfer_rate_wait_ns(&slow, now), CHUNK * second - second / 10);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"credits are respected", credits_are_respected},
        {"no more than a window waits", no_more_than_a_window_waits},
        {"a new connection gets the rest again", a_new_connection_gets_the_rest_again},
        {"what was not sent is not acknowledged", what_was_not_sent_is_not_acknowledged},
        {"others are refused", others_are_refused},
        {"a receiver is told why", a_receiver_is_told_why},
        {"two at once and no more", two_at_once_and_no_more},
        {"a new attempt takes the place of the old", a_new_attempt_takes_the_place_of_the_old},
        {"garbage is counted", garbage_is_counted},
        {"a claimed length is not believed", a_claimed_length_is_not_believed},
        {"what does not fit is not staged", what_does_not_fit_is_not_staged},
        {"a stream lost again and again", a_stream_lost_again_and_again},
        {"the rate is kept", the_rate_is_kept},
    };
    return UNIT_MAIN("transfer messages", cases);
}
