/* test_cuts.c: every connection may fail at every moment: for every n, the n-th event of a session's work (a connection
 * accepted, bytes from either side) is the last of its connection, in each of four ways, direct and routed. The calls then
 * still succeed within their deadlines, every write is executed exactly once, and no descriptor is left behind. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "tests/unit/client/fake.h"
#include "tests/unit/client/relay.h"
#include "tests/unit/unit.h"

#define DEADLINE_MS 20000u
#define WRITES 5
#define EVENTS_MIN 20 /* of one round; fewer, and the relay does not see what it should */
#define FIRST_PORT 21610

struct lane { /* one way of cutting, with servers of its own: the lanes run side by side, as they mostly wait */
    struct fake fake;
    struct relay relay;
    int routed;
    int failures;
    long rounds;
    pthread_t thread;
};

static struct lane lanes[8];

static struct hf_bytes text(const char *s)
{
    return (struct hf_bytes){s, strlen(s)};
}

static void want(struct lane *l, long n, const char *what, long got, long wanted)
{
    if (got == wanted)
        return;
    fprintf(stderr, "cut %d at event %ld, %s: %s is %ld, not %ld\n", (int)l->relay.how, n,
            l->routed ? "routed" : "direct", what, got, wanted);
    l->failures++;
}

static void called_back(struct hf_future *f, void *tag)
{
    int *code = tag;
    *code = hf_future_poll(f);
    hf_future_free(f);
}

static void work(struct lane *l, struct hf *h, long n)
{
    struct hf_value value = {0};
    struct hf_bytes v = text("v"), w = text("w");
    struct hf_queue *q = NULL;
    struct hf_future *page = NULL;
    const struct hf_range range = {0};
    int code = HF_E_AGAIN;
    want(l, n, "put", hf_put(h, text("k"), v, 0, DEADLINE_MS, NULL), HF_OK);
    want(l, n, "get", hf_get(h, text("k"), 0, DEADLINE_MS, &value), HF_OK);
    want(l, n, "size of the value", (long)value.size, 1);
    hf_value_free(&value);
    want(l, n, "cas", hf_cas(h, text("k"), &v, &w, DEADLINE_MS, NULL), HF_OK);
    int rc = hf_scan(h, &range, DEADLINE_MS, &page);
    want(l, n, "scan", rc, HF_OK);
    want(l, n, "items", rc == HF_OK ? (long)hf_future_count(page) : 2, 2);
    hf_future_free(page);
    want(l, n, "del", hf_del(h, text("k"), DEADLINE_MS, NULL), HF_OK);
    want(l, n, "delete_prefix", hf_delete_prefix(h, text("k"), DEADLINE_MS, NULL), HF_OK);
    want(l, n, "queue", hf_queue_open(h, &q), HF_OK);
    struct hf_call call = {.deadline_ms = DEADLINE_MS, .queue = q, .tag = &code, .callback = called_back};
    want(l, n, "put with a callback", hf_put_async(h, text("k"), v, 0, &call, NULL), HF_OK);
    want(l, n, "callbacks", (long)hf_queue_dispatch(q, DEADLINE_MS, SIZE_MAX), 1);
    want(l, n, "its code", code, HF_OK);
    hf_queue_free(q);
}

/* True: the cut came. */
static bool one_round(struct lane *l, long n)
{
    struct hf *h = NULL;
    struct hf_options options = {.endpoints = l->fake.endpoints[FAKE_COORDINATOR], .routed = l->routed};
    atomic_store(&l->relay.cut_at, n);
    l->fake.sessions_count = 0;
    int before = l->fake.executed;
    relay_start(&l->relay);
    int rc = hf_open(&options, HF_ABI, &h);
    want(l, n, "open", rc, HF_OK);
    if (rc == HF_OK) {
        work(l, h, n);
        hf_close(&h);
    }
    relay_stop(&l->relay);
    want(l, n, "writes executed", l->fake.executed - before, WRITES);
    return l->relay.events > n;
}

static void *run_lane(void *ctx)
{
    struct lane *l = ctx;
    fake_start(&l->fake);
    while (l->failures < 5 && one_round(l, l->rounds))
        l->rounds++;
    fake_stop(&l->fake);
    return NULL;
}

static int descriptors(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        count++;
    closedir(d);
    return count;
}

static void every_event_may_be_the_last_of_its_connection(void)
{
    int before = descriptors();
    for (int i = 0; i < 8; i++) {
        struct lane *l = &lanes[i];
        fake_init(&l->fake, FIRST_PORT + i * 2 * RELAY_PORTS);
        l->fake.relay_port = l->relay.port = l->fake.port + RELAY_PORTS;
        l->relay.to_port = l->fake.port;
        l->fake.keys[0] = "a";
        l->fake.keys[1] = "b";
        l->fake.keys_count = 2;
        l->relay.how = (enum relay_cut)(i / 2);
        l->routed = i % 2;
        CU_ASSERT_EQUAL_FATAL(pthread_create(&l->thread, NULL, run_lane, l), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(lanes[i].thread, NULL);
        CU_ASSERT_EQUAL(lanes[i].failures, 0);
        CU_ASSERT_TRUE(lanes[i].rounds >= EVENTS_MIN);
        printf("%s, cut %d: %ld events\n", lanes[i].routed ? "routed" : "direct", (int)lanes[i].relay.how,
               lanes[i].rounds);
    }
    CU_ASSERT_EQUAL(descriptors(), before);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"every event may be the last of its connection", every_event_may_be_the_last_of_its_connection}};
    return UNIT_MAIN("client cuts", cases);
}
