/* driver.c: see driver.h. One turn: issue what is due, take what is finished, a batch at a time. */
#include "client/bench/driver.h"

#include <stdlib.h>

#include "client/future.h"
#include "common/sys/clock.h"

#define DEADLINE_MS 10000
#define SCAN_ITEMS 100
#define TAKE 512
#define WAIT_NS (100 * CLOCK_NS_PER_MS)

struct op {
    uint64_t start_ns;
};

struct state {
    struct driver *d;
    struct hf *h;
    struct hf_queue *queue;
    struct op *ops;     /* one per operation that may be out */
    struct op **unused; /* stack */
    uint32_t unused_count;
    uint64_t issued, next_record, deadline_ns;
    bool ended;
};

static int issue_put(struct state *s, struct hf_bytes key, const struct hf_call *call, struct hf_future **f)
{
    const struct bench *b = s->d->bench;
    uint64_t shift = random_below(&s->d->random, DRIVER_VALUE_SHIFT);
    return hf_put_async(s->h, key, (struct hf_bytes){b->values + shift, b->value_bytes}, 0, call, f);
}

static int issue(struct state *s, const struct hf_call *call, struct hf_future **f)
{
    const struct bench *b = s->d->bench;
    char text[CHOOSER_KEY_BYTES + 8];
    uint64_t record = b->workload == WORKLOAD_LOAD ? s->next_record++ : chooser_next(&b->chooser, &s->d->random);
    struct hf_bytes key = {text, chooser_key(record, text)};
    struct hf_range range = {.start = key, .page_items = SCAN_ITEMS, .at = b->at};
    switch (b->workload) {
    case WORKLOAD_LOAD:
    case WORKLOAD_PUT:
        return issue_put(s, key, call, f);
    case WORKLOAD_GET:
        return hf_get_async(s->h, key, b->at, call, f);
    case WORKLOAD_MIXED:
        return random_next(&s->d->random) & 1 ? issue_put(s, key, call, f) : hf_get_async(s->h, key, b->at, call, f);
    case WORKLOAD_SCAN:
        return hf_scan_async(s->h, &range, call, f);
    case WORKLOAD_TIMESTAMP:
        return hf_timestamp_async(s->h, 0, call, f);
    }
    return HF_E_INVALID;
}

static void count(struct driver *d, int code, uint64_t latency_ns)
{
    if (code != HF_OK) {
        d->errors[-code < DRIVER_ERRORS && code < 0 ? -code : DRIVER_ERRORS - 1]++;
        return;
    }
    d->ops++;
    histogram_add(&d->latency, latency_ns);
}

static bool over(const struct state *s, uint64_t now_ns)
{
    const struct driver *d = s->d;
    return d->bench->workload == WORKLOAD_LOAD ? s->next_record == d->load_end : now_ns >= s->deadline_ns;
}

/* Issues until nothing is due or no more may be out. Returns when the next is due (ns), 0: when an answer comes. */
static uint64_t issue_due(struct state *s, uint64_t now_ns)
{
    struct driver *d = s->d;
    while (s->unused_count > 0 && !s->ended) {
        uint64_t start_ns = now_ns;
        if (d->interval_ns > 0) {
            start_ns = d->begin_ns + (uint64_t)((double)s->issued * d->interval_ns);
            if (start_ns > now_ns)
                return start_ns;
        }
        s->ended = over(s, start_ns);
        if (s->ended)
            break;
        struct op *op = s->unused[--s->unused_count];
        op->start_ns = start_ns;
        struct hf_call call = {.deadline_ms = DEADLINE_MS, .queue = s->queue, .tag = op};
        struct hf_future *f;
        int rc = issue(s, &call, &f);
        s->issued++;
        if (rc) {
            s->unused[s->unused_count++] = op;
            count(d, rc, 0);
            if (rc == HF_E_BUSY)
                return 0;
        }
    }
    return 0;
}

static void take(struct state *s, uint64_t wait_ns)
{
    struct hf_future *finished[TAKE];
    size_t n = future_take(s->queue, wait_ns, finished, TAKE);
    uint64_t now_ns = clock_boot_ns();
    for (size_t i = 0; i < n; i++) {
        struct op *op = hf_future_tag(finished[i]);
        count(s->d, hf_future_poll(finished[i]), now_ns - op->start_ns);
        s->unused[s->unused_count++] = op;
        hf_future_free(finished[i]);
    }
}

static void drive(struct state *s)
{
    struct driver *d = s->d;
    d->begin_ns = clock_boot_ns();
    s->deadline_ns = d->begin_ns + d->bench->seconds * 1000 * CLOCK_NS_PER_MS;
    s->next_record = d->load_begin;
    while (!s->ended || s->unused_count < d->outstanding) {
        uint64_t now_ns = clock_boot_ns();
        uint64_t due_ns = s->ended ? 0 : issue_due(s, now_ns);
        if (s->ended && s->unused_count == d->outstanding)
            break;
        take(s, due_ns == 0 ? WAIT_NS : due_ns > now_ns ? due_ns - now_ns : 0);
    }
    d->end_ns = clock_boot_ns();
}

void *driver_run(void *driver)
{
    struct state s = {.d = driver};
    struct driver *d = driver;
    (void)pthread_setname_np(pthread_self(), "driver");
    struct hf_options options = {.endpoints = d->bench->endpoints, .routed = d->bench->routed};
    d->open_error = hf_open(&options, HF_ABI, &s.h);
    if (d->open_error)
        return NULL;
    d->open_error = hf_queue_open(s.h, &s.queue);
    s.ops = calloc(d->outstanding, sizeof *s.ops);
    s.unused = calloc(d->outstanding, sizeof(struct op *));
    must(s.ops && s.unused);
    for (uint32_t i = 0; i < d->outstanding; i++)
        s.unused[s.unused_count++] = &s.ops[i];
    if (!d->open_error)
        drive(&s);
    hf_queue_free(s.queue);
    hf_close(&s.h);
    free(s.ops);
    free(s.unused);
    return NULL;
}
