/* driver.c: see driver.h. One turn: issue what is due, take what is finished, a batch at a time. */
#include "client/bench/driver.h"

#include <stdlib.h>

#include "client/future.h"
#include "client/txn.h"
#include "common/sys/clock.h"

#define DEADLINE_MS 10000
#define SCAN_ITEMS 100
#define TAKE 512
#define WAIT_NS (100 * CLOCK_NS_PER_MS)

struct op {
    uint64_t start_ns;
    bool begun; /* a transaction: its start was drawn, its commit is out */
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
    case WORKLOAD_TXN: /* its first half */
    case WORKLOAD_TXN_APART:
        return hf_timestamp_async(s->h, 0, call, f);
    }
    return HF_E_INVALID;
}

/* The keys of a transaction: one behind the other, or one from the first half of the alphabet and one from the second, which
 * lie in two shards if there are two halves. */
static void two_keys(struct driver *d, char one[CHOOSER_KEY_BYTES + 8], char two[CHOOSER_KEY_BYTES + 8])
{
    const struct chooser *c = &d->bench->chooser;
    size_t size = chooser_key(chooser_next(c, &d->random), one);
    memcpy(two, one, size);
    memcpy(two + size, "+", 2);
    if (d->bench->workload != WORKLOAD_TXN_APART)
        return;
    for (int i = 0; i < 64 && (one[0] < 'n') == (two[0] < 'n'); i++)
        chooser_key(chooser_next(c, &d->random), two);
}

/* HF_OK: the commit is out. */
static int commit(struct state *s, uint64_t start, const struct hf_call *call)
{
    const struct bench *b = s->d->bench;
    char keys[2][CHOOSER_KEY_BYTES + 8];
    struct hf_txn t = {.h = s->h, .start = start};
    struct hf_future *f;
    two_keys(s->d, keys[0], keys[1]);
    txnset_init(&t.set);
    int rc = HF_OK;
    for (int i = 0; rc == HF_OK && i < 2; i++) {
        const uint8_t *value = b->values + random_below(&s->d->random, DRIVER_VALUE_SHIFT);
        rc = hf_txn_put(&t, (struct hf_bytes){keys[i], strlen(keys[i])}, (struct hf_bytes){value, b->value_bytes}, 0);
    }
    if (rc == HF_OK)
        rc = hf_txn_commit_async(&t, call, &f);
    txnset_deinit(&t.set);
    return rc;
}

static bool is_txn(const struct bench *b)
{
    return b->workload == WORKLOAD_TXN || b->workload == WORKLOAD_TXN_APART;
}

static void count(struct driver *d, int code, uint64_t latency_ns)
{
    if (code == HF_E_CONFLICT) {
        d->conflicts++;
        return;
    }
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
    if (d->bench->workload == WORKLOAD_LOAD)
        return s->next_record == d->load_end;
    return d->operations > 0 ? s->issued == d->operations : now_ns >= s->deadline_ns;
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
        *op = (struct op){.start_ns = start_ns};
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

/* True: the operation goes on with its second half. */
static bool goes_on(struct state *s, struct op *op, const struct hf_future *f, int *code)
{
    if (*code != HF_OK || op->begun || !is_txn(s->d->bench))
        return false;
    op->begun = true;
    const struct hf_call call = {.deadline_ms = DEADLINE_MS, .queue = s->queue, .tag = op};
    *code = commit(s, hf_future_timestamp(f), &call);
    return *code == HF_OK;
}

static void take(struct state *s, uint64_t wait_ns)
{
    struct hf_future *finished[TAKE];
    size_t n = future_take(s->queue, wait_ns, finished, TAKE);
    uint64_t now_ns = clock_boot_ns();
    for (size_t i = 0; i < n; i++) {
        struct op *op = hf_future_tag(finished[i]);
        int code = hf_future_poll(finished[i]);
        if (!goes_on(s, op, finished[i], &code)) {
            count(s->d, code, now_ns - op->start_ns);
            s->unused[s->unused_count++] = op;
        }
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
