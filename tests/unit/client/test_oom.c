/* test_oom.c: out of memory is an answer, never an abort: each allocation of the library fails once, in its turn, and
 * every call then either works or says so; the handle goes on, at last everything is freed. What the library asks of
 * others counts as an allocation too: a thread, a descriptor, a socket, a message, a decoded reply. (What libzmq allocates
 * inside ends the process, by its own choice: docs/LIBRARY.md.) */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <zmq.h>

#include "client/client.h"
#include "tests/unit/client/fake.h"
#include "tests/unit/unit.h"

#define DEADLINE_MS 5000u /* a lost answer is asked for again after 300 ms */
#define WAIT_MS 60000u    /* by the machine's clock, which may be far ahead of the library's */

static _Atomic long countdown = -1; /* the allocation that fails: 0 is the next; below 0: none */
static _Thread_local bool exempt;   /* the fake's thread */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t size);
void *__real_zmq_ctx_new(void);
void *__real_zmq_socket(void *context, int type);
int __real_zmq_msg_init_size(zmq_msg_t *m, size_t size);
int __real_eventfd(unsigned count, int flags);
int __real_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*run)(void *), void *ctx);
Hf__Client__Reply *__real_hf__client__reply__unpack(ProtobufCAllocator *a, size_t size, const uint8_t *data);
void *__wrap_zmq_ctx_new(void);
void *__wrap_zmq_socket(void *context, int type);
int __wrap_zmq_msg_init_size(zmq_msg_t *m, size_t size);
int __wrap_eventfd(unsigned count, int flags);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*run)(void *), void *ctx);
Hf__Client__Reply *__wrap_hf__client__reply__unpack(ProtobufCAllocator *a, size_t size, const uint8_t *data);

static bool fails(void)
{
    return !exempt && atomic_load(&countdown) >= 0 && atomic_fetch_sub(&countdown, 1) == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *s)
{
    return fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t size)
{
    return fails() ? NULL : __real_strndup(s, size);
}

static int none(int code)
{
    errno = code;
    return -1;
}

void *__wrap_zmq_ctx_new(void)
{
    return fails() ? NULL : __real_zmq_ctx_new();
}

void *__wrap_zmq_socket(void *context, int type)
{
    if (!fails())
        return __real_zmq_socket(context, type);
    errno = EMFILE;
    return NULL;
}

int __wrap_zmq_msg_init_size(zmq_msg_t *m, size_t size)
{
    return fails() ? none(ENOMEM) : __real_zmq_msg_init_size(m, size);
}

int __wrap_eventfd(unsigned count, int flags)
{
    return fails() ? none(EMFILE) : __real_eventfd(count, flags);
}

int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*run)(void *), void *ctx)
{
    return fails() ? EAGAIN : __real_pthread_create(id, attr, run, ctx);
}

Hf__Client__Reply *__wrap_hf__client__reply__unpack(ProtobufCAllocator *a, size_t size, const uint8_t *data)
{
    return fails() ? NULL : __real_hf__client__reply__unpack(a, size, data);
}

static void exempt_thread(void)
{
    exempt = true;
}

static struct fake fake;

static struct hf_bytes text(const char *s)
{
    return (struct hf_bytes){s, strlen(s)};
}

static void want_fair(int rc) /* what a call may say after one allocation failed */
{
    bool fair = rc == HF_OK || rc == HF_E_NO_MEMORY || rc == HF_E_TIMEOUT || rc == HF_E_UNAVAILABLE || rc == HF_E_IO ||
                rc == HF_E_LIMIT;
    if (!fair)
        fprintf(stderr, "%s\n", hf_error_name(rc));
    CU_ASSERT_TRUE(fair);
}

static _Atomic int accepted, called; /* calls with a callback */

static void called_back(struct hf_future *f, void *tag)
{
    CU_ASSERT_PTR_EQUAL(tag, &called);
    if (hf_future_poll(f) != HF_E_CLOSED && hf_future_class(f) != HF_CLASS_OUTCOME_UNKNOWN) /* by hf_close */
        want_fair(hf_future_poll(f));
    CU_ASSERT_PTR_NOT_NULL(hf_future_message(f));
    hf_future_free(f);
    atomic_fetch_add(&called, 1);
}

static void write_keys(struct hf *h)
{
    char *big = __real_calloc(1, 100000); /* takes the path of large messages */
    struct hf_bytes v = text("v"), w = text("w");
    want_fair(hf_put(h, text("a"), v, 0, DEADLINE_MS, NULL));
    want_fair(hf_put(h, text("z"), (struct hf_bytes){big, 100000}, 0, DEADLINE_MS, NULL));
    want_fair(hf_cas(h, text("a"), &v, &w, DEADLINE_MS, NULL));
    want_fair(hf_del(h, text("z"), DEADLINE_MS, NULL));
    want_fair(hf_delete_prefix(h, text("a"), DEADLINE_MS, NULL));
    free(big);
}

static void read_keys(struct hf *h)
{
    struct hf_value value;
    struct hf_range range = {.at = HF_AT_FRESH};
    struct hf_cursor *cursor = NULL;
    const struct hf_item *item;
    uint64_t t;
    want_fair(hf_timestamp(h, 0, DEADLINE_MS, &t));
    int rc = hf_get(h, text("a"), 0, DEADLINE_MS, &value);
    want_fair(rc);
    if (rc == HF_OK)
        hf_value_free(&value);
    rc = hf_cursor_open(h, &range, DEADLINE_MS, &cursor);
    want_fair(rc);
    while (rc == HF_OK && (rc = hf_cursor_next(cursor, &item)) == HF_OK && item)
        ;
    want_fair(rc);
    hf_cursor_close(cursor);
}

static int transfer(struct hf_txn *t, void *ctx)
{
    struct hf_value value;
    struct hf_future *page = NULL;
    const struct hf_range range = {.end = text("n")};
    (void)ctx;
    int rc = hf_txn_put(t, text("b"), text("own"), 0);
    if (rc == HF_OK)
        rc = hf_txn_delete_prefix(t, text("c"));
    if (rc == HF_OK)
        rc = hf_txn_scan(t, &range, DEADLINE_MS, &page);
    hf_future_free(page);
    if (rc == HF_OK)
        rc = hf_txn_get(t, text("z"), DEADLINE_MS, &value);
    if (rc == HF_OK)
        hf_value_free(&value);
    return rc ? rc : hf_txn_del(t, text("z"));
}

static void use_transactions(struct hf *h)
{
    const struct hf_txn_options options = {.deadline_ms = 3 * DEADLINE_MS};
    want_fair(hf_txn_run(h, transfer, NULL, &options, NULL));
    want_fair(hf_delete_prefix(h, text(""), DEADLINE_MS, NULL)); /* over shards, unless routed by a fake of one */
}

static int start(struct hf *h, struct hf_queue *q)
{
    struct hf_call call = {.deadline_ms = DEADLINE_MS, .queue = q, .tag = &called, .callback = called_back};
    int rc = hf_get_async(h, text("a"), 0, &call, NULL);
    want_fair(rc);
    atomic_fetch_add(&accepted, rc == HF_OK);
    return rc;
}

/* One call waits in a queue, one is called back on the handle's thread, one is under way when the handle closes. */
static void use_futures(struct hf *h, struct hf_queue **q)
{
    int fd = -1, rc = hf_queue_open(h, q);
    want_fair(rc);
    if (rc == HF_OK) {
        want_fair(hf_queue_fd(*q, &fd));
        if (start(h, *q) == HF_OK)
            CU_ASSERT_EQUAL(hf_queue_dispatch(*q, WAIT_MS, 1), 1);
        (void)start(h, *q);
    }
    (void)start(h, NULL);
}

static void look_at_the_cluster(void)
{
    struct hf_cluster_status *status = NULL;
    int rc = hf_cluster_status(fake.endpoints[FAKE_COORDINATOR], 200, &status);
    want_fair(rc);
    hf_cluster_status_free(status);
}

/* The n-th allocation from here on fails; false: there were fewer. */
static bool nth_fails(long n, int routed)
{
    struct hf *h = NULL;
    struct hf_queue *q = NULL;
    struct hf_options options = {.endpoints = fake.endpoints[FAKE_COORDINATOR], .routed = routed};
    fake.sessions_count = 0;
    accepted = called = 0;
    atomic_store(&countdown, n);
    int rc = hf_open(&options, HF_ABI, &h);
    want_fair(rc);
    if (rc == HF_OK) {
        write_keys(h);
        read_keys(h);
        use_transactions(h);
        use_futures(h, &q);
    }
    bool before_close = atomic_load(&countdown) < 0;
    if (rc == HF_OK && before_close) /* there is memory again, and it works */
        CU_ASSERT_EQUAL(hf_put(h, text("a"), text("v"), 0, 5000, NULL), HF_OK);
    hf_close(&h);
    if (q)
        (void)hf_queue_dispatch(q, 0, SIZE_MAX);
    hf_queue_free(q);
    CU_ASSERT_EQUAL(called, accepted);
    return atomic_exchange(&countdown, -1) < 0;
}

static void every_allocation_may_fail(int routed)
{
    static const char *const keys[] = {"a", "b", "c", "m", "z"};
    fake_init(&fake, 21430);
    memcpy(fake.keys, keys, sizeof keys);
    fake.keys_count = sizeof keys / sizeof keys[0];
    fake.split = !routed;
    fake.thread_begins = exempt_thread;
    fake_start(&fake);
    long n = 0;
    while (nth_fails(n, routed))
        n++;
    CU_ASSERT_TRUE(n > 60); /* it did reach the allocations */
    printf("%ld allocations\n", n);
    fake_stop(&fake);
}

static void of_direct_calls(void)
{
    every_allocation_may_fail(0);
}

static void of_routed_calls(void)
{
    every_allocation_may_fail(1);
}

static void of_a_status(void)
{
    fake_init(&fake, 21430);
    fake.thread_begins = exempt_thread;
    fake_start(&fake);
    long n = 0;
    for (bool failed = true; failed; n++) {
        atomic_store(&countdown, n);
        look_at_the_cluster();
        failed = atomic_exchange(&countdown, -1) < 0;
    }
    CU_ASSERT_TRUE(n > 10);
    fake_stop(&fake);
}

int main(void)
{
    static const struct unit_case cases[] = {{"every allocation of direct calls may fail", of_direct_calls},
                                             {"every allocation of routed calls may fail", of_routed_calls},
                                             {"every allocation of a status may fail", of_a_status}};
    return UNIT_MAIN("client out of memory", cases);
}
