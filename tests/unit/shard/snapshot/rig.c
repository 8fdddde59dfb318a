/* rig.c: see rig.h. */
#include "tests/unit/shard/snapshot/rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/sys/clock.h"
#include "common/sys/disk.h"
#include "common/sys/metrics.h"
#include "proto/pack.h"

#define VALUE_BYTES ((size_t)32 * 1024)
#define PATIENCE_NS (UINT64_C(60000) * CLOCK_NS_PER_MS)

static void fill(struct machine *m, size_t bytes)
{
    static char value[VALUE_BYTES + 1];
    struct random random = {4};
    for (size_t i = 0; i * VALUE_BYTES < bytes; i++) {
        char key[32];
        snprintf(key, sizeof key, "key%06zu", i);
        for (size_t k = 0; k < VALUE_BYTES; k++)
            value[k] = (char)(' ' + random_below(&random, 95));
        (void)machine_run(m, machine_put(key, value));
    }
}

void rig_begin(struct rig *r, size_t bytes)
{
    *r = (struct rig){0};
    machine_start(&r->machine, "", "", false);
    fill(&r->machine, bytes);
    r->net = net_new(1, 64);
    snprintf(r->dir, sizeof r->dir, "/tmp/hf-send-XXXXXX");
    snprintf(r->into, sizeof r->into, "/tmp/hf-fetch-XXXXXX");
    must(mkdtemp(r->dir) && mkdtemp(r->into));
    const struct fsm_info *info = fsm_info(r->machine.fsm);
    r->id = (struct identity){
        .cluster = info->cluster, .group = info->group, .log_epoch = 1, .replica = 1, .incarnation = 77};
    r->fetcher = r->id;
    r->fetcher.replica = 2;
    r->fetcher.incarnation = 22;
}

void rig_end(struct rig *r)
{
    receiver_stop(&r->receiver);
    proxy_stop(&r->proxy);
    sender_close(&r->sender);
    net_free(&r->net);
    machine_stop(&r->machine);
    must(disk_remove_tree(disk_posix(), r->dir) == HF_OK && disk_remove_tree(disk_posix(), r->into) == HF_OK);
}

void rig_sender(struct rig *r, uint64_t rate, uint32_t keep_ms)
{
    char listen[64];
    snprintf(listen, sizeof listen, r->port ? "tcp://127.0.0.1:%u" : "tcp://127.0.0.1:*", r->port);
    struct sender_config config = {.net = r->net,
                                   .listen = listen,
                                   .disk = disk_posix(),
                                   .dir = r->dir,
                                   .id = &r->id,
                                   .rate = rate,
                                   .keep_ms = keep_ms};
    uint64_t until = clock_boot_ns() + PATIENCE_NS;
    int rc;
    while ((rc = sender_open(&config, &r->sender)) == HF_E_EXISTS && clock_boot_ns() < until)
        (void)net_poll(NULL, 0, 5); /* the old one's socket is closed by a thread of ZeroMQ's */
    CU_ASSERT_EQUAL_FATAL(rc, HF_OK);
    sender_serve(r->sender, r->machine.fsm);
    r->port = (uint16_t)strtoul(strrchr(sender_endpoint(r->sender), ':') + 1, NULL, 10);
}

void rig_proxy(struct rig *r)
{
    r->proxy = proxy_start(r->port);
}

void rig_fetch(struct rig *r, uint64_t min_index, uint32_t timeout_ms)
{
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", r->proxy ? proxy_port(r->proxy) : r->port);
    struct receiver_config config = {.net = r->net,
                                     .endpoint = endpoint,
                                     .disk = disk_posix(),
                                     .dir = r->into,
                                     .id = &r->fetcher,
                                     .from = 1,
                                     .min_index = min_index,
                                     .timeout_ms = timeout_ms};
    static bool known;
    if (!known)
        receiver_metrics();
    known = true;
    CU_ASSERT_EQUAL_FATAL(receiver_start(&config, &r->receiver), HF_OK);
}

static void pause_until(uint64_t until, const char *what)
{
    if (clock_boot_ns() > until)
        fprintf(stderr, "waited in vain: %s\n", what);
    CU_ASSERT_FATAL(clock_boot_ns() <= until);
    (void)net_poll(NULL, 0, 1);
}

enum receiver_state rig_await(struct rig *r)
{
    uint64_t until = clock_boot_ns() + PATIENCE_NS;
    while (receiver_state(r->receiver) == RECEIVER_RUNNING)
        pause_until(until, "the receiver's end");
    if (receiver_state(r->receiver) == RECEIVER_FAILED)
        fprintf(stderr, "receiver: %s\n", receiver_text(r->receiver));
    return receiver_state(r->receiver);
}

void rig_await_bytes(struct rig *r, uint64_t bytes)
{
    uint64_t until = clock_boot_ns() + PATIENCE_NS;
    while (receiver_bytes(r->receiver) < bytes)
        pause_until(until, "bytes at the receiver");
}

bool rig_same(struct rig *r)
{
    struct buf here = {0}, there = {0};
    char dir[128], where[256] = "";
    snprintf(dir, sizeof dir, "%s/snapshots/incoming", r->into);
    struct fsm_config config = {.dir = dir};
    struct fsm *fsm = NULL;
    int rc = fsm_open(&config, &fsm, where);
    if (rc) {
        fprintf(stderr, "staged machine: %s: %s\n", error_text(rc), where);
        return false;
    }
    machine_dump(r->machine.fsm, &here);
    machine_dump(fsm, &there);
    bool same = here.size > 0 && slice_equal(buf_slice(&here), buf_slice(&there));
    fsm_close(&fsm);
    buf_deinit(&here);
    buf_deinit(&there);
    return same;
}

static void count_outgoing(void *ctx, const char *name)
{
    *(size_t *)ctx += strncmp(name, "outgoing-", 9) == 0;
}

size_t rig_checkpoints(const struct rig *r)
{
    char dir[128];
    size_t count = 0;
    snprintf(dir, sizeof dir, "%s/snapshots", r->dir);
    CU_ASSERT_EQUAL_FATAL(disk_posix()->ops->list(disk_posix(), dir, count_outgoing, &count), HF_OK);
    return count;
}

void rig_await_checkpoints(const struct rig *r, size_t count)
{
    uint64_t until = clock_boot_ns() + PATIENCE_NS;
    while (rig_checkpoints(r) != count)
        pause_until(until, "checkpoints made or removed");
}

uint64_t rig_metric(const char *name, const char *labels)
{
    struct buf text = {0};
    char line[256];
    metrics_write(&text);
    buf_append(&text, "", 1);
    snprintf(line, sizeof line, labels ? "\n%s{%s} " : "\n%s ", name, labels);
    const char *at = strstr((const char *)text.data, line);
    uint64_t value = at ? strtoull(at + strlen(line), NULL, 10) : 0;
    buf_deinit(&text);
    return value;
}

void rig_await_metric(const char *name, const char *labels, uint64_t least)
{
    uint64_t until = clock_boot_ns() + PATIENCE_NS;
    while (rig_metric(name, labels) < least)
        pause_until(until, name);
}

/* ---- by hand ---- */

void hand_begin(struct hand *h, struct rig *r, uint32_t replica)
{
    const struct net_options options = {.hwm = 256, .message_bytes = TRANSFER_REPLY_BYTES_MAX};
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", r->port);
    *h = (struct hand){.id = r->fetcher, .to = 1, .attempt = digest_random_u64()};
    h->id.replica = replica;
    CU_ASSERT_EQUAL_FATAL(net_connect(r->net, endpoint, &options, &h->socket), HF_OK);
}

void hand_end(struct hand *h)
{
    net_close(&h->socket);
    arena_deinit(&h->arena);
}

void hand_send(struct hand *h, struct slice bytes)
{
    uint64_t until = clock_boot_ns() + PATIENCE_NS;
    while (net_send(h->socket, bytes) != HF_OK) /* not connected yet */
        pause_until(until, "a connection");
}

void hand_request(struct hand *h, Hf__Snapshot__Request *q)
{
    struct buf packed = {0};
    q->number = ++h->number;
    pack_append(&q->base, &packed);
    hand_send(h, buf_slice(&packed));
    buf_deinit(&packed);
}

void hand_fetch(struct hand *h, uint64_t offset, uint64_t until, uint64_t min_index)
{
    Hf__Snapshot__Request q = transfer_request(&h->id, h->to, h->attempt, h->stream);
    Hf__Snapshot__Fetch f = HF__SNAPSHOT__FETCH__INIT;
    f.offset = offset;
    f.until = until;
    f.min_index = min_index;
    q.body_case = HF__SNAPSHOT__REQUEST__BODY_FETCH;
    q.fetch = &f;
    hand_request(h, &q);
}

void hand_credit(struct hand *h, uint64_t offset, uint64_t until)
{
    Hf__Snapshot__Request q = transfer_request(&h->id, h->to, h->attempt, h->stream);
    Hf__Snapshot__Credit c = HF__SNAPSHOT__CREDIT__INIT;
    c.offset = offset;
    c.until = until;
    q.body_case = HF__SNAPSHOT__REQUEST__BODY_CREDIT;
    q.credit = &c;
    hand_request(h, &q);
}

void hand_done(struct hand *h, int code)
{
    Hf__Snapshot__Request q = transfer_request(&h->id, h->to, h->attempt, h->stream);
    Hf__Snapshot__End e = HF__SNAPSHOT__END__INIT;
    e.code = code;
    q.body_case = HF__SNAPSHOT__REQUEST__BODY_END;
    q.end = &e;
    hand_request(h, &q);
}

const Hf__Snapshot__Reply *hand_reply(struct hand *h)
{
    struct net_message message;
    uint64_t until = clock_boot_ns() + PATIENCE_NS;
    while (net_receive(h->socket, NULL, &message) != HF_OK)
        pause_until(until, "a reply");
    arena_reset(&h->arena);
    const Hf__Snapshot__Reply *p = NULL;
    enum transfer_verdict verdict = transfer_read_reply(&h->id, 1, net_message_data(&message), &h->arena, &p);
    CU_ASSERT_FATAL(verdict != TRANSFER_MALFORMED && p);
    net_message_release(&message);
    if (p->stream)
        h->stream = p->stream;
    return p;
}

const Hf__Snapshot__Reply *hand_answer(struct hand *h)
{
    const Hf__Snapshot__Reply *p;
    do
        p = hand_reply(h);
    while (p->body_case == HF__SNAPSHOT__REPLY__BODY_WAITING);
    return p;
}

int hand_refusal(struct hand *h)
{
    const Hf__Snapshot__Reply *p = hand_answer(h);
    CU_ASSERT_EQUAL_FATAL(p->body_case, HF__SNAPSHOT__REPLY__BODY_REFUSAL);
    CU_ASSERT(p->refusal->message[0] != '\0');
    return p->refusal->code;
}
