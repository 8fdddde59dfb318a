/* test_callbacks.c: callbacks on the handle's thread and through a queue: once for each call whatever becomes of it, with
 * nothing locked, in the right thread; a queue's descriptor in an epoll loop; what a child after fork() may do. */
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/client.h"
#include "tests/unit/client/fake.h"
#include "tests/unit/unit.h"

#define DEADLINE_MS 10000u
#define CALLS 200

static struct fake fake;
static int next_port = 21500;

static struct hf *begin(void)
{
    fake_init(&fake, next_port);
    next_port += FAKE_SERVERS;
    fake_start(&fake);
    struct hf *h = NULL;
    struct hf_options options = {.endpoints = fake.endpoints[FAKE_COORDINATOR]};
    CU_ASSERT_EQUAL_FATAL(hf_open(&options, HF_ABI, &h), HF_OK);
    return h;
}

static struct hf_bytes text(const char *s)
{
    return (struct hf_bytes){s, strlen(s)};
}

struct seen { /* what the callbacks of one test saw */
    struct hf *h;
    struct hf_queue *queue;
    _Atomic int calls, ok, unknown, closed, refused;
    _Atomic int nested; /* so many more calls are to be started by callbacks */
    pthread_t thread;   /* of the last one */
    sem_t each;
};

static struct seen *seen_new(void)
{
    struct seen *s = calloc(1, sizeof *s);
    must(s && sem_init(&s->each, 0, 0) == 0);
    return s;
}

static void seen_free(struct seen *s)
{
    sem_destroy(&s->each);
    free(s);
}

static void await_calls(struct seen *s, int count)
{
    for (int i = 0; i < count; i++)
        while (sem_wait(&s->each) != 0 && errno == EINTR)
            ;
}

static void count_it(struct hf_future *f, void *tag)
{
    struct seen *s = tag;
    CU_ASSERT_PTR_EQUAL(hf_future_tag(f), s);
    int code = hf_future_poll(f);
    CU_ASSERT_NOT_EQUAL(code, HF_E_AGAIN);
    s->thread = pthread_self();
    atomic_fetch_add(code == HF_OK                  ? &s->ok
                     : code == HF_E_OUTCOME_UNKNOWN ? &s->unknown
                     : code == HF_E_CLOSED          ? &s->closed
                                                    : &s->refused,
                     1);
    atomic_fetch_add(&s->calls, 1);
    hf_future_free(f);
    if (atomic_fetch_sub(&s->nested, 1) > 0) {
        struct hf_call again = {.deadline_ms = DEADLINE_MS, .queue = s->queue, .tag = s, .callback = count_it};
        int rc = hf_put_async(s->h, text("again"), text("v"), 0, &again, NULL);
        CU_ASSERT_TRUE(rc == HF_OK || rc == HF_E_CLOSED);
    }
    sem_post(&s->each);
}

static void start(struct seen *s, int count)
{
    for (int i = 0; i < count; i++) {
        struct hf_call call = {.deadline_ms = DEADLINE_MS, .queue = s->queue, .tag = s, .callback = count_it};
        CU_ASSERT_EQUAL(hf_put_async(s->h, text("k"), text("v"), 0, &call, NULL), HF_OK);
    }
}

static void on_the_handles_thread_once_each(void)
{
    struct seen *s = seen_new();
    s->h = begin();
    s->nested = CALLS; /* each starts another */
    start(s, CALLS);
    await_calls(s, 2 * CALLS);
    CU_ASSERT_TRUE(pthread_equal(s->thread, s->h->thread));
    hf_close(&s->h);
    fake_stop(&fake);
    CU_ASSERT_EQUAL(s->calls, 2 * CALLS);
    CU_ASSERT_EQUAL(s->ok, 2 * CALLS);
    CU_ASSERT_EQUAL(fake.executed, 2 * CALLS);
    seen_free(s);
}

/* Whatever takes the shared lock or would wait for the very thread it runs on. */
static void try_everything(struct hf_future *f, void *tag)
{
    struct seen *s = tag;
    struct hf_future *other = NULL;
    struct hf_value value;
    struct hf_queue *q = NULL;
    CU_ASSERT_EQUAL(hf_get(s->h, text("k"), 0, DEADLINE_MS, &value), HF_E_INVALID);
    CU_ASSERT_EQUAL(hf_put(s->h, text("k"), text("v"), 0, DEADLINE_MS, NULL), HF_E_INVALID);
    CU_ASSERT_EQUAL(hf_get_async(s->h, text("k"), 0, &(struct hf_call){.deadline_ms = DEADLINE_MS}, &other), HF_OK);
    CU_ASSERT_EQUAL(hf_future_wait(other, DEADLINE_MS), HF_E_AGAIN);
    hf_future_free(other);
    CU_ASSERT_EQUAL(hf_queue_open(s->h, &q), HF_OK);
    CU_ASSERT_EQUAL(hf_queue_take(q, 0, &other, 1), 0);
    hf_queue_free(q);
    struct hf *h = s->h;
    hf_close(&h);
    CU_ASSERT_PTR_NOT_NULL(h);
    count_it(f, tag);
}

static void nothing_is_locked_and_waiting_is_refused(void)
{
    struct seen *s = seen_new();
    s->h = begin();
    struct hf_call call = {.deadline_ms = DEADLINE_MS, .tag = s, .callback = try_everything};
    struct hf_future *f = NULL;
    CU_ASSERT_EQUAL(hf_put_async(s->h, text("k"), text("v"), 0, &call, &f), HF_OK);
    CU_ASSERT_PTR_NOT_NULL(f);
    await_calls(s, 1);
    CU_ASSERT_EQUAL(s->ok, 1);
    hf_close(&s->h);
    fake_stop(&fake);
    CU_ASSERT_EQUAL(fake.executed, 1);
    seen_free(s);
}

static void close_calls_back_what_is_under_way(bool through_queue)
{
    struct seen *s = seen_new();
    s->h = begin();
    if (through_queue)
        CU_ASSERT_EQUAL_FATAL(hf_queue_open(s->h, &s->queue), HF_OK);
    CU_ASSERT_EQUAL(hf_put(s->h, text("k"), text("v"), 0, DEADLINE_MS, NULL), HF_OK);
    int writes = fake.writes;
    fake.lose_replies = 1000000; /* sent, never answered */
    start(s, 10);
    while (atomic_load(&fake.writes) < writes + 10)
        usleep(1000);
    s->nested = 5; /* started while it closes: refused, and nothing is called for them */
    hf_close(&s->h);
    if (through_queue) {
        CU_ASSERT_EQUAL(s->calls, 0);
        s->nested = 0; /* there is no handle any more */
        CU_ASSERT_EQUAL(hf_queue_dispatch(s->queue, 0, 4), 4);
        CU_ASSERT_EQUAL(hf_queue_dispatch(s->queue, 0, SIZE_MAX), 6);
        CU_ASSERT_EQUAL(hf_queue_dispatch(s->queue, 0, SIZE_MAX), 0);
        CU_ASSERT_TRUE(pthread_equal(s->thread, pthread_self()));
        hf_queue_free(s->queue);
    }
    CU_ASSERT_EQUAL(s->calls, 10);
    CU_ASSERT_EQUAL(s->unknown, 10);
    fake_stop(&fake);
    seen_free(s);
}

static void close_calls_back_on_the_handles_thread(void)
{
    close_calls_back_what_is_under_way(false);
}

static void close_leaves_the_rest_in_the_queue(void)
{
    close_calls_back_what_is_under_way(true);
}

static void never_sent_is_closed(void)
{
    struct seen *s = seen_new();
    struct hf_options options = {.endpoints = "tcp://127.0.0.1:21599"}; /* nobody */
    CU_ASSERT_EQUAL_FATAL(hf_open(&options, HF_ABI, &s->h), HF_OK);
    s->nested = 3;
    start(s, 3);
    hf_close(&s->h);
    CU_ASSERT_EQUAL(s->calls, 3);
    CU_ASSERT_EQUAL(s->closed, 3);
    seen_free(s);
}

static bool readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

static void the_descriptor_is_readable_while_something_waits(void)
{
    struct seen *s = seen_new();
    s->h = begin();
    int fd = -1, same = -1;
    struct hf_future *f = NULL;
    CU_ASSERT_EQUAL_FATAL(hf_queue_open(s->h, &s->queue), HF_OK);
    start(s, 1);
    while (hf_queue_take(s->queue, DEADLINE_MS, &f, 1) == 0)
        ;
    CU_ASSERT_EQUAL(s->calls, 0); /* taken over: not called */
    hf_future_free(f);
    start(s, 2);
    CU_ASSERT_EQUAL(hf_put(s->h, text("k"), text("v"), 0, DEADLINE_MS, NULL), HF_OK); /* those before it are done */
    CU_ASSERT_EQUAL_FATAL(hf_queue_fd(s->queue, &fd), HF_OK);
    CU_ASSERT_EQUAL(hf_queue_fd(s->queue, &same), HF_OK);
    CU_ASSERT_EQUAL(fd, same);
    CU_ASSERT_TRUE(readable(fd, 0)); /* also of what finished before the descriptor was asked for */
    CU_ASSERT_EQUAL(hf_queue_dispatch(s->queue, 0, 1), 1);
    CU_ASSERT_TRUE(readable(fd, 0)); /* level-triggered: one is left */
    CU_ASSERT_EQUAL(hf_queue_dispatch(s->queue, 0, SIZE_MAX), 1);
    CU_ASSERT_FALSE(readable(fd, 0));
    for (int i = 0; i < 50; i++) {
        start(s, 1);
        CU_ASSERT_TRUE(readable(fd, (int)DEADLINE_MS));
        CU_ASSERT_EQUAL(hf_queue_dispatch(s->queue, 0, SIZE_MAX), 1);
        CU_ASSERT_FALSE(readable(fd, 0));
    }
    hf_close(&s->h);
    hf_queue_free(s->queue);
    CU_ASSERT_EQUAL(s->calls, 52);
    fake_stop(&fake);
    seen_free(s);
}

/* The trap of edge-triggered descriptors: a loop that waits with EPOLLET and takes until nothing is left misses nothing. */
static void no_edge_is_lost_in_an_epoll_loop(uint32_t flags, size_t at_once)
{
    struct seen *s = seen_new();
    s->h = begin();
    int fd = -1, loop = epoll_create1(EPOLL_CLOEXEC);
    CU_ASSERT_EQUAL_FATAL(hf_queue_open(s->h, &s->queue), HF_OK);
    CU_ASSERT_EQUAL_FATAL(hf_queue_fd(s->queue, &fd), HF_OK);
    struct epoll_event event = {.events = EPOLLIN | flags};
    CU_ASSERT_EQUAL_FATAL(epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event), 0);
    s->nested = 20 * CALLS; /* each finished call starts the next from inside the loop */
    start(s, 50);
    while (s->calls < 20 * CALLS + 50) {
        int n = epoll_wait(loop, &event, 1, (int)DEADLINE_MS);
        CU_ASSERT_EQUAL_FATAL(n, 1);
        size_t got;
        do
            got = hf_queue_dispatch(s->queue, 0, at_once);
        while ((flags & EPOLLET) && got == at_once);
    }
    CU_ASSERT_EQUAL(s->ok, 20 * CALLS + 50);
    CU_ASSERT_FALSE(readable(fd, 0));
    hf_close(&s->h);
    hf_queue_free(s->queue);
    close(loop);
    fake_stop(&fake);
    seen_free(s);
}

static void a_level_triggered_loop(void)
{
    no_edge_is_lost_in_an_epoll_loop(0, 3);
}

static void an_edge_triggered_loop(void)
{
    no_edge_is_lost_in_an_epoll_loop(EPOLLET, 3);
}

static void what_nobody_wants_is_freed(void)
{
    struct hf *h = begin();
    struct hf_queue *q = NULL;
    struct hf_future *f = NULL;
    CU_ASSERT_EQUAL_FATAL(hf_queue_open(h, &q), HF_OK);
    struct hf_call call = {.deadline_ms = DEADLINE_MS}, queued = {.deadline_ms = DEADLINE_MS, .queue = q};
    CU_ASSERT_EQUAL(hf_put_async(h, text("k"), text("v"), 0, &call, NULL), HF_OK);
    CU_ASSERT_EQUAL(hf_put_async(h, text("k"), text("v"), 0, &queued, NULL), HF_OK);
    CU_ASSERT_EQUAL(hf_put_async(h, text("k"), text("v"), 0, &queued, &f), HF_OK);
    CU_ASSERT_EQUAL(hf_queue_dispatch(q, DEADLINE_MS, SIZE_MAX), 1); /* without a callback: freed */
    hf_close(&h);
    CU_ASSERT_EQUAL(hf_queue_take(q, 0, &f, 1), 0);
    hf_queue_free(q);
    fake_stop(&fake);
    CU_ASSERT_EQUAL(fake.executed, 3);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"on the handle's thread, once each", on_the_handles_thread_once_each},
        {"nothing is locked, and waiting is refused", nothing_is_locked_and_waiting_is_refused},
        {"close calls back on the handle's thread", close_calls_back_on_the_handles_thread},
        {"close leaves the rest in the queue", close_leaves_the_rest_in_the_queue},
        {"never sent is closed", never_sent_is_closed},
        {"the descriptor is readable while something waits", the_descriptor_is_readable_while_something_waits},
        {"a level-triggered loop", a_level_triggered_loop},
        {"an edge-triggered loop", an_edge_triggered_loop},
        {"what nobody wants is freed", what_nobody_wants_is_freed},
    };
    return UNIT_MAIN("client callbacks", cases);
}
