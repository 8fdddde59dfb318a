/* future.c: see future.h; the public hf_future_ and hf_queue_ calls (scan results are in scan.c). */
#include "client/future.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "client/call.h"
#include "client/fork.h"
#include "client/oracle.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define DISPATCH_AT_ONCE 64 /* taken under one lock */

struct meeting *future_meeting_new(void)
{
    struct meeting *m = calloc(1, sizeof *m);
    if (m && pthread_mutex_init(&m->lock, NULL) != 0) {
        free(m);
        return NULL;
    }
    if (m) {
        atomic_init(&m->refs, 1);
        m->forks = fork_count();
    }
    return m;
}

void future_meeting_unref(struct meeting **m)
{
    if (*m && atomic_fetch_sub(&(*m)->refs, 1) == 1) {
        pthread_mutex_destroy(&(*m)->lock);
        free(*m);
    }
    *m = NULL;
}

struct hf_future *future_new(struct hf *h, struct meeting *meeting, enum request_kind kind, size_t bytes)
{
    struct hf_future *f = malloc(sizeof *f + bytes);
    if (!f)
        return NULL;
    *f = (struct hf_future){.h = h, .meeting = meeting, .kind = kind};
    list_init(&f->link);
    if (meeting)
        atomic_fetch_add_explicit(&meeting->refs, 1, memory_order_relaxed);
    return f;
}

struct slice future_copy(struct hf_future *f, struct slice s)
{
    uint8_t *to = f->bytes + f->size;
    if (s.size > 0)
        memcpy(to, s.data, s.size);
    f->size += s.size;
    return slice_make(to, s.size);
}

void future_destroy(struct hf_future *f)
{
    if (!f)
        return;
    if (f->reply)
        hf__client__reply__free_unpacked(f->reply, NULL);
    free(f->clip_bytes);
    future_meeting_unref(&f->meeting);
    free(f);
}

/* The parent's thread that would finish futures, and whoever held the lock, do not exist here. */
static bool after_fork(const struct meeting *m)
{
    return m->forks != fork_count();
}

/* The meeting's lock is held. */
static void enqueue(struct hf_queue *q, struct hf_future *f)
{
    const uint64_t one = 1;
    if (list_empty(&q->finished) && q->fd >= 0) {
        ssize_t n = write(q->fd, &one, sizeof one);
        (void)n; /* its counter was 0 */
    }
    list_push(&q->finished, &f->link);
    if (q->waited) {
        q->waited = false;
        pthread_cond_signal(&q->some);
    }
}

/* The meeting's lock is held: makes `f` done. Ours to go on with, and on `ours`: nobody wants it any more, or its
 * callback is this thread's to call. */
static void deliver_one(struct hf_future *f, struct list *ours)
{
    if (f->abandoned || (f->callback && !f->queue))
        list_push(ours, &f->link);
    else if (f->queue)
        enqueue(f->queue, f);
    else if (f->waiter)
        pthread_cond_signal(f->waiter);
    atomic_store_explicit(&f->done, true, memory_order_release); /* the last touch: its owner may free it now */
}

/* Nothing is locked: the callback may call whatever the header allows. */
static void call_back(struct hf_future *f)
{
    if (f->callback && !f->abandoned)
        f->callback(f, f->tag);
    else
        future_destroy(f);
}

static void call_back_all(struct list *futures)
{
    while (!list_empty(futures)) {
        struct list *first = futures->next;
        list_remove(first);
        call_back(LIST_OWNER(first, struct hf_future, link));
    }
}

void future_deliver(struct hf *h, struct list *finished)
{
    if (list_empty(finished))
        return;
    struct list ours;
    list_init(&ours);
    pthread_mutex_lock(&h->meeting->lock);
    LIST_EACH (it, finished) {
        list_remove(it);
        deliver_one(LIST_OWNER(it, struct hf_future, link), &ours);
    }
    pthread_mutex_unlock(&h->meeting->lock);
    call_back_all(&ours);
}

static void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

static struct timespec until(uint64_t timeout_ns)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(timeout_ns / NS_PER_S);
    t.tv_nsec += (long)(timeout_ns % NS_PER_S);
    if (t.tv_nsec >= (long)NS_PER_S) {
        t.tv_nsec -= (long)NS_PER_S;
        t.tv_sec++;
    }
    return t;
}

int hf_future_wait(struct hf_future *f, uint32_t timeout_ms)
{
    if (f->queue || f->callback)
        return HF_E_INVALID;
    bool done = atomic_load_explicit(&f->done, memory_order_acquire);
    if (done || timeout_ms == 0 || after_fork(f->meeting) || call_from_callback(f->h))
        return hf_future_poll(f);
    struct timespec end = until(timeout_ms * NS_PER_MS);
    pthread_cond_t cond;
    cond_init(&cond);
    pthread_mutex_lock(&f->meeting->lock);
    f->waiter = &cond;
    while (!atomic_load_explicit(&f->done, memory_order_relaxed) &&
           pthread_cond_timedwait(&cond, &f->meeting->lock, &end) == 0)
        ;
    f->waiter = NULL;
    pthread_mutex_unlock(&f->meeting->lock);
    pthread_cond_destroy(&cond);
    return hf_future_poll(f);
}

int hf_future_poll(const struct hf_future *f)
{
    if (atomic_load_explicit(&f->done, memory_order_acquire))
        return f->code;
    return after_fork(f->meeting) ? HF_E_OUTCOME_UNKNOWN : HF_E_AGAIN; /* the parent's thread goes on with it */
}

void hf_future_free(struct hf_future *f)
{
    if (!f)
        return;
    struct meeting *m = f->meeting;
    if (after_fork(m))
        return;
    pthread_mutex_lock(&m->lock);
    bool done = atomic_load_explicit(&f->done, memory_order_relaxed);
    f->abandoned = true;
    pthread_mutex_unlock(&m->lock);
    if (done)
        future_destroy(f);
}

const char *hf_future_message(const struct hf_future *f)
{
    if (f->message)
        return f->message;
    if (f->away && f->code == HF_E_CONFLICT)
        return "conflict: a shard or a coordinator was away, and what was locked meanwhile was given up; begin again";
    if (f->reply && f->reply->code == f->code && f->reply->message && f->reply->message[0])
        return f->reply->message;
    return error_text(f->code);
}

enum hf_class hf_future_class(const struct hf_future *f)
{
    return f->class_;
}

struct hf_version hf_future_version(const struct hf_future *f)
{
    const Hf__Client__Version *v = NULL;
    if (f->reply)
        v = f->reply->found ? f->reply->found : f->reply->written;
    if (!v && f->kind == REQUEST_TXN)
        return (struct hf_version){hf_future_timestamp(f), 0};
    return v ? (struct hf_version){v->t, v->seq} : (struct hf_version){0, 0};
}

struct hf_bytes hf_future_value(const struct hf_future *f)
{
    return f->reply ? (struct hf_bytes){f->reply->value.data, f->reply->value.len} : (struct hf_bytes){NULL, 0};
}

uint64_t hf_future_timestamp(const struct hf_future *f)
{
    if (f->kind == REQUEST_TXN && f->code == HF_OK && !f->reply)
        return f->txn->start; /* nothing was to be asked (outcome_known) */
    bool told = f->code == HF_E_RESTART_ABOVE || (f->code == HF_OK && (oracle_answers(f) || f->kind == REQUEST_TXN));
    return told && f->reply ? f->reply->timestamp : 0;
}

uint32_t hf_future_lease_ms(const struct hf_future *f)
{
    return f->kind == REQUEST_RETAIN && f->code == HF_OK && f->reply ? f->reply->lease_ms : 0;
}

uint64_t hf_future_conflict(const struct hf_future *f, struct hf_bytes *out_key)
{
    const Hf__Client__Conflict *c = f->code == HF_E_CONFLICT && f->reply ? f->reply->conflict : NULL;
    if (out_key)
        *out_key = c ? (struct hf_bytes){c->key.data, c->key.len} : (struct hf_bytes){NULL, 0};
    if (!c)
        return 0;
    return c->above == 0 && c->version ? c->version->t : c->above;
}

void *hf_future_tag(const struct hf_future *f)
{
    return f->tag;
}

int hf_queue_open(struct hf *h, struct hf_queue **out)
{
    if (after_fork(h->meeting))
        return HF_E_CLOSED;
    struct hf_queue *q = malloc(sizeof *q);
    if (!q)
        return HF_E_NO_MEMORY;
    *q = (struct hf_queue){.meeting = h->meeting, .fd = -1};
    atomic_fetch_add(&h->meeting->refs, 1);
    list_init(&q->finished);
    cond_init(&q->some);
    *out = q;
    return HF_OK;
}

int hf_queue_fd(struct hf_queue *q, int *out_fd)
{
    if (after_fork(q->meeting))
        return HF_E_CLOSED;
    pthread_mutex_lock(&q->meeting->lock);
    if (q->fd < 0)
        q->fd = eventfd(list_empty(&q->finished) ? 0 : 1, EFD_NONBLOCK | EFD_CLOEXEC);
    int fd = q->fd;
    pthread_mutex_unlock(&q->meeting->lock);
    if (fd < 0)
        return HF_E_IO;
    *out_fd = fd;
    return HF_OK;
}

/* The meeting's lock is held. Whoever posts next finds the queue empty and writes again. */
static void fd_clear(struct hf_queue *q)
{
    uint64_t count;
    ssize_t n = read(q->fd, &count, sizeof count);
    (void)n; /* nothing to clear is fine */
}

/* The meeting's lock is held. */
static void await_some(struct hf_queue *q, uint64_t timeout_ns)
{
    if (!list_empty(&q->finished) || timeout_ns == 0)
        return;
    struct timespec end = until(timeout_ns);
    do {
        q->waited = true;
    } while (list_empty(&q->finished) && pthread_cond_timedwait(&q->some, &q->meeting->lock, &end) == 0);
    q->waited = false;
}

size_t future_take(struct hf_queue *q, uint64_t timeout_ns, struct hf_future **out, size_t max)
{
    if (after_fork(q->meeting))
        return 0;
    pthread_mutex_lock(&q->meeting->lock);
    await_some(q, timeout_ns);
    size_t count = 0;
    while (count < max && !list_empty(&q->finished)) {
        struct list *first = q->finished.next;
        list_remove(first);
        out[count++] = LIST_OWNER(first, struct hf_future, link);
    }
    if (q->fd >= 0 && list_empty(&q->finished))
        fd_clear(q);
    pthread_mutex_unlock(&q->meeting->lock);
    return count;
}

size_t hf_queue_dispatch(struct hf_queue *q, uint32_t timeout_ms, size_t max)
{
    struct hf_future *taken[DISPATCH_AT_ONCE];
    size_t count = 0, room = max;
    for (uint64_t wait_ns = timeout_ms * NS_PER_MS; room > 0; wait_ns = 0) {
        size_t n = future_take(q, wait_ns, taken, room < DISPATCH_AT_ONCE ? room : DISPATCH_AT_ONCE);
        for (size_t i = 0; i < n; i++)
            call_back(taken[i]);
        count += n;
        room -= n;
        if (n < DISPATCH_AT_ONCE)
            break;
    }
    return count;
}

size_t hf_queue_take(struct hf_queue *q, uint32_t timeout_ms, struct hf_future **out, size_t max)
{
    return future_take(q, timeout_ms * NS_PER_MS, out, max);
}

void hf_queue_free(struct hf_queue *q)
{
    if (!q || after_fork(q->meeting))
        return;
    if (q->fd >= 0)
        close(q->fd);
    pthread_cond_destroy(&q->some);
    future_meeting_unref(&q->meeting);
    free(q);
}
