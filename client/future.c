/* future.c: see future.h; the public hf_future_ and hf_queue_ calls (scan results are in scan.c). */
#include "client/future.h"

#include <stdlib.h>
#include <time.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

struct meeting *future_meeting_new(void)
{
    struct meeting *m = calloc(1, sizeof *m);
    if (m && pthread_mutex_init(&m->lock, NULL) != 0) {
        free(m);
        return NULL;
    }
    if (m)
        atomic_init(&m->refs, 1);
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

/* The meeting's lock is held: makes `f` done. True: nobody wants it any more. */
static bool deliver_one(struct hf_future *f)
{
    struct hf_queue *q = f->queue;
    if (q && !f->abandoned) {
        list_push(&q->finished, &f->link);
        if (q->waited) {
            q->waited = false;
            pthread_cond_signal(&q->some);
        }
    } else if (f->waiter) {
        pthread_cond_signal(f->waiter);
    }
    bool abandoned = f->abandoned;
    atomic_store_explicit(&f->done, true, memory_order_release); /* the last touch: its owner may free it now */
    return abandoned;
}

void future_deliver(struct hf *h, struct list *finished)
{
    if (list_empty(finished))
        return;
    struct list unwanted;
    list_init(&unwanted);
    pthread_mutex_lock(&h->meeting->lock);
    LIST_EACH (it, finished) {
        struct hf_future *f = LIST_OWNER(it, struct hf_future, link);
        list_remove(&f->link);
        if (deliver_one(f))
            list_push(&unwanted, &f->link);
    }
    pthread_mutex_unlock(&h->meeting->lock);
    LIST_EACH (it, &unwanted) {
        list_remove(it);
        future_destroy(LIST_OWNER(it, struct hf_future, link));
    }
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
    if (f->queue)
        return HF_E_INVALID;
    if (atomic_load_explicit(&f->done, memory_order_acquire) || timeout_ms == 0)
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
    return atomic_load_explicit(&f->done, memory_order_acquire) ? f->code : HF_E_AGAIN;
}

void hf_future_free(struct hf_future *f)
{
    if (!f)
        return;
    struct meeting *m = f->meeting;
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
    return v ? (struct hf_version){v->t, v->seq} : (struct hf_version){0, 0};
}

struct hf_bytes hf_future_value(const struct hf_future *f)
{
    return f->reply ? (struct hf_bytes){f->reply->value.data, f->reply->value.len} : (struct hf_bytes){NULL, 0};
}

void *hf_future_tag(const struct hf_future *f)
{
    return f->tag;
}

int hf_queue_open(struct hf *h, struct hf_queue **out)
{
    struct hf_queue *q = malloc(sizeof *q);
    if (!q)
        return HF_E_NO_MEMORY;
    *q = (struct hf_queue){.meeting = h->meeting};
    atomic_fetch_add(&h->meeting->refs, 1);
    list_init(&q->finished);
    cond_init(&q->some);
    *out = q;
    return HF_OK;
}

size_t future_take(struct hf_queue *q, uint64_t timeout_ns, struct hf_future **out, size_t max)
{
    pthread_mutex_lock(&q->meeting->lock);
    if (list_empty(&q->finished) && timeout_ns > 0) {
        struct timespec end = until(timeout_ns);
        do {
            q->waited = true;
        } while (list_empty(&q->finished) && pthread_cond_timedwait(&q->some, &q->meeting->lock, &end) == 0);
        q->waited = false;
    }
    size_t count = 0;
    while (count < max && !list_empty(&q->finished)) {
        struct list *first = q->finished.next;
        list_remove(first);
        out[count++] = LIST_OWNER(first, struct hf_future, link);
    }
    pthread_mutex_unlock(&q->meeting->lock);
    return count;
}

size_t hf_queue_take(struct hf_queue *q, uint32_t timeout_ms, struct hf_future **out, size_t max)
{
    return future_take(q, timeout_ms * NS_PER_MS, out, max);
}

void hf_queue_free(struct hf_queue *q)
{
    if (!q)
        return;
    pthread_cond_destroy(&q->some);
    future_meeting_unref(&q->meeting);
    free(q);
}
