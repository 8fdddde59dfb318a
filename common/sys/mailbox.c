/* mailbox.c: a list under a mutex; the eventfd is written only when the list was empty. */
#include "common/sys/mailbox.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    pthread_mutex_t mutex;
    struct list items; /* guarded by mutex */
    int fd;            /* eventfd */
};

struct mailbox *mailbox_new(void)
{
    struct mailbox *m = malloc(sizeof *m);
    if (m == NULL)
        return NULL;
    m->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (m->fd < 0) {
        free(m);
        return NULL;
    }
    pthread_mutex_init(&m->mutex, NULL);
    list_init(&m->items);
    return m;
}

void mailbox_free(struct mailbox **m)
{
    if (*m == NULL)
        return;
    must(list_empty(&(*m)->items)); /* items are owned by whoever takes them */
    pthread_mutex_destroy(&(*m)->mutex);
    close((*m)->fd);
    free(*m);
    *m = NULL;
}

int mailbox_fd(const struct mailbox *m)
{
    return m->fd;
}

void mailbox_post(struct mailbox *m, struct list *item)
{
    pthread_mutex_lock(&m->mutex);
    bool was_empty = list_empty(&m->items);
    list_push(&m->items, item);
    pthread_mutex_unlock(&m->mutex);
    if (was_empty)
        mailbox_wake(m);
}

void mailbox_wake(struct mailbox *m)
{
    uint64_t one = 1;
    ssize_t n = write(m->fd, &one, sizeof one);
    (void)n; /* a full counter is readable as it is */
}

/* The descriptor is cleared before the list is taken: whoever posts in between finds an empty list and wakes again, or
 * finds items, which this very call takes. */
void mailbox_take(struct mailbox *m, struct list *out)
{
    uint64_t count;
    ssize_t n = read(m->fd, &count, sizeof count);
    (void)n; /* nothing to clear is fine */
    pthread_mutex_lock(&m->mutex);
    if (!list_empty(&m->items)) {
        struct list *first = m->items.next, *last = m->items.prev;
        first->prev = out->prev;
        out->prev->next = first;
        last->next = out;
        out->prev = last;
        list_init(&m->items);
    }
    pthread_mutex_unlock(&m->mutex);
}
