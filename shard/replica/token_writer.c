/* token_writer.c: two mailboxes, one item that goes to and fro between loop and thread. */
#include "shard/replica/token_writer.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/failpoint.h"
#include "common/sys/mailbox.h"

struct token_writer {
    struct disk *disk; /* borrowed */
    const char *dir;   /* borrowed */
    bool threaded;
    bool busy; /* loop: `item` is the thread's, or waits in `done` */
    pthread_t thread;
    struct mailbox *todo, *done;
    /* Whoever has taken `item` out of a mailbox owns these. */
    struct list item;
    struct token token;
    struct arena arena;
    struct token_written written;
    bool stop;
};

static void write_token(struct token_writer *w)
{
    uint64_t from = clock_boot_ns();
    crash_point("publish.before_token");
    int rc = token_write(w->disk, w->dir, &w->token);
    w->written = (struct token_written){.rc = rc, .index = w->token.index};
    if (rc != HF_OK)
        snprintf(w->written.text, sizeof w->written.text, "%.200s/snapshots/token: %s", w->dir, disk_error_text(rc));
    crash_point("publish.after_token");
    w->written.took_ns = clock_boot_ns() - from;
}

static void *run(void *arg)
{
    struct token_writer *w = arg;
    for (;;) {
        struct list taken;
        struct pollfd p = {.fd = mailbox_fd(w->todo), .events = POLLIN};
        (void)poll(&p, 1, -1); /* interrupted: nothing is taken, and asked again */
        list_init(&taken);
        mailbox_take(w->todo, &taken);
        if (list_empty(&taken))
            continue;
        list_remove(&w->item);
        if (w->stop)
            return NULL;
        write_token(w);
        mailbox_post(w->done, &w->item);
    }
}

struct token_writer *token_writer_new(struct disk *disk, const char *dir, bool threaded)
{
    struct token_writer *w = calloc(1, sizeof *w);
    must(w != NULL); /* out of memory */
    w->disk = disk;
    w->dir = dir;
    w->threaded = threaded;
    list_init(&w->item);
    if (threaded) {
        w->todo = mailbox_new();
        w->done = mailbox_new();
        must(w->todo != NULL && w->done != NULL); /* out of memory or descriptors */
        must(pthread_create(&w->thread, NULL, run, w) == 0);
    }
    return w;
}

void token_writer_free(struct token_writer **writer)
{
    struct token_writer *w = *writer;
    if (w == NULL)
        return;
    if (w->threaded) {
        struct token_written last;
        token_writer_wait(w);
        (void)token_writer_done(w, &last);
        w->stop = true; /* posting hands it over */
        mailbox_post(w->todo, &w->item);
        (void)pthread_join(w->thread, NULL);
        mailbox_free(&w->todo);
        mailbox_free(&w->done);
    }
    arena_deinit(&w->arena);
    free(w);
    *writer = NULL;
}

struct arena *token_writer_arena(struct token_writer *w)
{
    must(!w->busy);
    arena_reset(&w->arena);
    return &w->arena;
}

void token_writer_start(struct token_writer *w, const struct token *token)
{
    must(!w->busy);
    w->busy = true;
    w->token = *token;
    if (w->threaded)
        mailbox_post(w->todo, &w->item);
    else
        write_token(w);
}

bool token_writer_busy(const struct token_writer *w)
{
    return w->busy;
}

bool token_writer_done(struct token_writer *w, struct token_written *out)
{
    if (!w->busy)
        return false;
    if (w->threaded) {
        struct list taken;
        list_init(&taken);
        mailbox_take(w->done, &taken);
        if (list_empty(&taken))
            return false;
        list_remove(&w->item);
    }
    w->busy = false;
    *out = w->written;
    return true;
}

void token_writer_wait(const struct token_writer *w)
{
    struct pollfd p = {.fd = token_writer_fd(w), .events = POLLIN};
    while (w->busy && w->threaded && poll(&p, 1, -1) != 1)
        ; /* a signal; only the posting of our item makes it readable */
}

int token_writer_fd(const struct token_writer *w)
{
    return w->threaded ? mailbox_fd(w->done) : -1;
}
