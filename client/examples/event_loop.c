/* event_loop.c: callbacks in a program's own epoll loop: one thread waits for its input and for the cluster together.
 *
 * event_loop ENDPOINTS < LINES     each line "key value" is written; prints "ok key" as each is done; exit 0 when all are.
 * LINES come through a pipe or terminal: epoll does not watch plain files. */
#include <errno.h>
#include <holdfast/holdfast.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define DEADLINE_MS 10000u
#define LINE_BYTES 4096

struct program {
    struct hf *h;
    struct hf_queue *queue;
    char input[LINE_BYTES]; /* what came and is no whole line yet */
    size_t input_size;
    size_t under_way, failed;
    int ended; /* the input */
};

struct write { /* one call; its callback's tag */
    struct program *program;
    char key[];
};

/* Called by hf_queue_dispatch in the loop's own thread: it may touch everything the loop may. */
static void written(struct hf_future *f, void *tag)
{
    struct write *w = tag;
    int code = hf_future_poll(f);
    if (code == HF_OK)
        printf("ok %s\n", w->key);
    else
        printf("%s %s: %s\n", hf_future_class(f) == HF_CLASS_OUTCOME_UNKNOWN ? "unknown" : "failed", w->key,
               hf_future_message(f));
    w->program->failed += code != HF_OK;
    w->program->under_way--;
    free(w);
    hf_future_free(f);
}

static void line(struct program *p, char *text)
{
    char *value = strchr(text, ' ');
    size_t size = value ? (size_t)(value - text) : strlen(text);
    struct write *w = calloc(1, sizeof *w + size + 1);
    int rc = HF_E_NO_MEMORY;
    if (w) {
        w->program = p;
        memcpy(w->key, text, size);
        struct hf_call call = {.deadline_ms = DEADLINE_MS, .queue = p->queue, .tag = w, .callback = written};
        struct hf_bytes v = {value ? value + 1 : "", value ? strlen(value + 1) : 0};
        rc = hf_put_async(p->h, (struct hf_bytes){w->key, size}, v, 0, &call, NULL);
    }
    if (rc == HF_OK) {
        p->under_way++;
        return;
    }
    printf("failed %s: %s\n", text, hf_error_text(rc)); /* nothing is called back for it */
    p->failed++;
    free(w);
}

static void input(struct program *p)
{
    ssize_t n = read(STDIN_FILENO, p->input + p->input_size, sizeof p->input - 1 - p->input_size);
    if (n < 0 && errno == EINTR)
        return;
    p->ended = n <= 0;
    p->input_size += n > 0 ? (size_t)n : 0;
    char *begin = p->input, *end;
    p->input[p->input_size] = 0;
    while ((end = strchr(begin, '\n'))) {
        *end = 0;
        line(p, begin);
        begin = end + 1;
    }
    p->input_size = strlen(begin);
    memmove(p->input, begin, p->input_size);
}

static int watch(int loop, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
}

static int run(struct program *p)
{
    int queue_fd, loop = epoll_create1(EPOLL_CLOEXEC);
    int rc = hf_queue_fd(p->queue, &queue_fd);
    if (rc || loop < 0 || watch(loop, queue_fd) != 0 || watch(loop, STDIN_FILENO) != 0) {
        fprintf(stderr, "%s\n", rc ? hf_error_text(rc) : strerror(errno));
        return 1;
    }
    while (!p->ended || p->under_way > 0) {
        struct epoll_event events[2];
        int n = epoll_wait(loop, events, 2, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == queue_fd)
                hf_queue_dispatch(p->queue, 0, 64); /* a bounded slice; what is left keeps the descriptor readable */
            else if (!p->ended)
                input(p);
            if (p->ended)
                (void)epoll_ctl(loop, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
        }
    }
    close(loop);
    return p->failed ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: event_loop ENDPOINTS\n");
        return 2;
    }
    static struct program p;
    struct hf_options options = {.endpoints = argv[1]};
    int rc = hf_open(&options, HF_ABI, &p.h);
    if (rc == HF_OK)
        rc = hf_queue_open(p.h, &p.queue);
    if (rc) {
        fprintf(stderr, "%s\n", hf_error_text(rc));
        return 1;
    }
    rc = run(&p);
    hf_close(&p.h);
    hf_queue_dispatch(p.queue, 0, SIZE_MAX); /* of a loop that gave up: what hf_close ended is called back here */
    hf_queue_free(p.queue);
    return rc;
}
