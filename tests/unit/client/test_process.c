/* test_process.c: the library as a guest in somebody's process: signals, descriptors over exec, fork. Linked with the
 * shared library; what it asks of a server it asks fake.h's. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/include/holdfast/holdfast.h"
#include "tests/unit/client/fake.h"
#include "tests/unit/unit.h"

#define DEADLINE_MS 40000u
#define DESCRIPTORS_MAX 256
#define SIGNALS 65

static struct fake fake;
static int next_port = 21560;

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

static int put(struct hf *h)
{
    return hf_put(h, text("k"), text("v"), 0, DEADLINE_MS, NULL);
}

/* ---- signals ---- */

struct signals {
    struct sigaction actions[SIGNALS];
    sigset_t mask;
};

static void signals_now(struct signals *out)
{
    memset(out, 0, sizeof *out);
    for (int i = 1; i < SIGNALS; i++)
        (void)sigaction(i, NULL, &out->actions[i]);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &out->mask);
}

static bool same_signals(const struct signals *a, const struct signals *b)
{
    for (int i = 1; i < SIGNALS; i++)
        if (a->actions[i].sa_handler != b->actions[i].sa_handler || a->actions[i].sa_flags != b->actions[i].sa_flags ||
            sigismember(&a->mask, i) != sigismember(&b->mask, i))
            return false;
    return true;
}

/* Of every thread but this one: all signals that can be are blocked, so that handlers run in the application's threads. */
static int threads_that_take_signals(int *out_threads)
{
    DIR *d = opendir("/proc/self/task");
    int bad = 0;
    *out_threads = 0;
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        char path[64], line[256];
        if (e->d_name[0] == '.' || atoi(e->d_name) == getpid())
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%.16s/status", e->d_name);
        FILE *f = fopen(path, "re");
        unsigned long long blocked = 0;
        while (f && fgets(line, sizeof line, f))
            (void)sscanf(line, "SigBlk: %llx", &blocked);
        if (f)
            fclose(f);
        ++*out_threads;
        bad += !(blocked >> (SIGPIPE - 1) & 1) || !(blocked >> (SIGTERM - 1) & 1) || !(blocked >> (SIGALRM - 1) & 1);
    }
    closedir(d);
    return bad;
}

static void handlers_and_masks_stay_the_applications(void)
{
    struct signals before, after;
    int threads;
    signals_now(&before);
    CU_ASSERT_EQUAL(before.actions[SIGPIPE].sa_handler, SIG_DFL);
    struct hf_options options = {.endpoints = "tcp://127.0.0.1:21599"};
    struct hf *h = NULL;
    CU_ASSERT_EQUAL_FATAL(hf_open(&options, HF_ABI, &h), HF_OK);
    CU_ASSERT_NOT_EQUAL(hf_put(h, text("k"), text("v"), 0, 100, NULL), HF_OK);
    CU_ASSERT_EQUAL(threads_that_take_signals(&threads), 0);
    CU_ASSERT_TRUE(threads >= 3); /* the handle's and ZeroMQ's two (a sanitizer may have one, which blocks them too) */
    signals_now(&after);
    CU_ASSERT_TRUE(same_signals(&before, &after));
    hf_close(&h);
    signals_now(&after);
    CU_ASSERT_TRUE(same_signals(&before, &after));
}

/* SIGPIPE at its default would end this process. The server's sockets are closed with requests on the way to them. */
static void a_closed_connection_raises_no_sigpipe(void)
{
    CU_ASSERT_EQUAL(signal(SIGPIPE, SIG_DFL), SIG_DFL);
    struct hf *h = begin();
    char *big = calloc(1, 1 << 20);
    struct hf_call call = {.deadline_ms = 500};
    CU_ASSERT_EQUAL(put(h), HF_OK);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 20; i++)
            CU_ASSERT_EQUAL(hf_put_async(h, text("k"), (struct hf_bytes){big, 1 << 20}, 0, &call, NULL), HF_OK);
        fake_stop(&fake);
        fake.stop = false;
        fake_start(&fake);
        CU_ASSERT_EQUAL(put(h), HF_OK);
    }
    hf_close(&h);
    fake_stop(&fake);
    free(big);
    sigset_t pending;
    sigpending(&pending);
    CU_ASSERT_EQUAL(sigismember(&pending, SIGPIPE), 0);
}

/* ---- descriptors ---- */

static int open_descriptors(bool *open_now)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        int fd = atoi(e->d_name);
        if (e->d_name[0] == '.' || fd == dirfd(d) || fd >= DESCRIPTORS_MAX)
            continue;
        open_now[fd] = true;
        count++;
    }
    closedir(d);
    return count;
}

/* What a program finds open that this process starts: a line for each, by the shell's ls. */
static int inherited_by_a_program(const bool *before)
{
    FILE *p = popen("exec ls -1 /proc/self/fd", "re");
    CU_ASSERT_PTR_NOT_NULL_FATAL(p);
    char line[64];
    int ours = 0;
    while (fgets(line, sizeof line, p)) {
        int fd = atoi(line);
        ours += fd > 4 && !before[fd]; /* 0-2, and what ls itself opens at the lowest free number */
    }
    pclose(p);
    return ours;
}

static void descriptors_are_closed_on_exec(void)
{
    bool before[DESCRIPTORS_MAX] = {false}, after[DESCRIPTORS_MAX] = {false};
    int first = open_descriptors(before);
    struct hf_options options = {0};
    fake_init(&fake, next_port);
    next_port += FAKE_SERVERS;
    fake_start(&fake);
    options.endpoints = fake.endpoints[FAKE_COORDINATOR];
    struct hf *h = NULL;
    struct hf_queue *q = NULL;
    int fd = -1;
    CU_ASSERT_EQUAL_FATAL(hf_open(&options, HF_ABI, &h), HF_OK);
    CU_ASSERT_EQUAL(put(h), HF_OK); /* connected to a coordinator and a leader */
    CU_ASSERT_EQUAL(hf_queue_open(h, &q), HF_OK);
    CU_ASSERT_EQUAL(hf_queue_fd(q, &fd), HF_OK);
    int second = open_descriptors(after), left = 0;
    CU_ASSERT_TRUE(second >= first + 8);
    for (int i = 0; i < DESCRIPTORS_MAX; i++)
        if (after[i] && !before[i] && !(fcntl(i, F_GETFD) & FD_CLOEXEC)) {
            char path[64], target[128] = "";
            snprintf(path, sizeof path, "/proc/self/fd/%d", i);
            (void)!readlink(path, target, sizeof target - 1);
            fprintf(stderr, "descriptor %d (%s) is not close-on-exec\n", i, target);
            left++;
        }
    CU_ASSERT_EQUAL(left, 0);
    CU_ASSERT_EQUAL(inherited_by_a_program(before), 0);
    hf_close(&h);
    hf_queue_free(q);
    fake_stop(&fake);
    bool last[DESCRIPTORS_MAX] = {false};
    CU_ASSERT_EQUAL(open_descriptors(last), first); /* and none is left behind */
}

/* ---- fork ---- */

static void never(struct hf_future *f, void *tag)
{
    (void)f;
    (void)tag;
    _exit(99);
}

#define CHILD(expr)                                                                                                    \
    do {                                                                                                               \
        if (!(expr)) {                                                                                                 \
            fprintf(stderr, "in the child: %s\n", #expr);                                                              \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

static void in_the_child(struct hf *h, struct hf_queue *q, struct hf_future *pending, struct hf_future *done)
{
    alarm(60); /* waiting for a thread that is not there ends the child, not the test */
    struct hf_future *f = NULL;
    struct hf_value value;
    struct hf_queue *another = NULL;
    struct hf_call call = {.deadline_ms = DEADLINE_MS, .callback = never};
    int fd = -1;
    CHILD(put(h) == HF_E_CLOSED);
    CHILD(hf_error_class(HF_E_CLOSED) == HF_CLASS_GIVE_UP);
    CHILD(hf_get(h, text("k"), 0, DEADLINE_MS, &value) == HF_E_CLOSED);
    CHILD(hf_put_async(h, text("k"), text("v"), 0, &call, NULL) == HF_E_CLOSED);
    CHILD(hf_scan(h, &(struct hf_range){.page_items = 1}, DEADLINE_MS, &f) == HF_E_CLOSED);
    CHILD(hf_queue_open(h, &another) == HF_E_CLOSED);
    CHILD(hf_queue_take(q, DEADLINE_MS, &f, 1) == 0);
    CHILD(hf_queue_dispatch(q, DEADLINE_MS, 1) == 0);
    CHILD(hf_queue_fd(q, &fd) == HF_E_CLOSED);
    CHILD(hf_future_wait(pending, DEADLINE_MS) == HF_E_OUTCOME_UNKNOWN);
    CHILD(hf_future_poll(pending) == HF_E_OUTCOME_UNKNOWN);
    CHILD(hf_future_poll(done) == HF_OK);
    hf_future_free(pending);
    hf_future_free(done);
    hf_queue_free(q);
    hf_close(&h);
    CHILD(h == NULL);
#ifdef __SANITIZE_THREAD__ /* it does not know threads that are started after a fork */
    _exit(0);
#endif
    struct hf_options options = {.endpoints = fake.endpoints[FAKE_COORDINATOR]};
    CHILD(hf_open(&options, HF_ABI, &h) == HF_OK); /* its own */
    CHILD(put(h) == HF_OK);
    CHILD(hf_get_async(h, text("k"), 0, &(struct hf_call){.deadline_ms = DEADLINE_MS}, &f) == HF_OK);
    CHILD(hf_future_wait(f, DEADLINE_MS) == HF_OK);
    hf_future_free(f);
    hf_close(&h);
    _exit(0);
}

static void a_child_is_refused_and_the_parent_goes_on(void)
{
    struct hf *h = begin();
    struct hf_queue *q = NULL;
    struct hf_future *pending = NULL, *done = NULL;
    struct hf_call call = {.deadline_ms = DEADLINE_MS};
    CU_ASSERT_EQUAL_FATAL(hf_queue_open(h, &q), HF_OK);
    CU_ASSERT_EQUAL(hf_put_async(h, text("k"), text("v"), 0, &call, &done), HF_OK);
    CU_ASSERT_EQUAL(hf_future_wait(done, DEADLINE_MS), HF_OK);
    fake.hold_seq = fake.last_seq + 1; /* this one stays under way */
    CU_ASSERT_EQUAL(hf_put_async(h, text("k"), text("v"), 0, &call, &pending), HF_OK);
    while (fake.writes < 2)
        usleep(1000);
    pid_t child = fork();
    if (child == 0)
        in_the_child(h, q, pending, done);
    int status = -1;
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
    fake.hold_seq = 0;
    CU_ASSERT_EQUAL(hf_future_wait(pending, DEADLINE_MS), HF_OK);
    CU_ASSERT_EQUAL(put(h), HF_OK);
    hf_future_free(pending);
    hf_future_free(done);
    hf_close(&h);
    hf_queue_free(q);
    fake_stop(&fake);
#ifndef __SANITIZE_THREAD__
    CU_ASSERT(fake.sessions_opened >= 2); /* the parent's and the child's own; a late answer makes one more */
#endif
}

/* Forks while other threads are inside the library: no lock that one of them holds stops the child. */
static void *busy(void *ctx)
{
    struct hf *h = ctx;
    int rc = HF_OK;
    for (int i = 0; i < 200 && rc == HF_OK; i++)
        rc = put(h);
    CU_ASSERT_EQUAL(rc, HF_OK);
    return NULL;
}

static void forks_in_the_middle_of_calls(void)
{
    struct hf *h = begin();
    struct hf_queue *q = NULL;
    pthread_t threads[2];
    CU_ASSERT_EQUAL_FATAL(hf_queue_open(h, &q), HF_OK);
    for (int i = 0; i < 2; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, busy, h), 0);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(60);
            struct hf_future *f;
            CHILD(put(h) == HF_E_CLOSED);
            CHILD(hf_queue_take(q, DEADLINE_MS, &f, 1) == 0);
            hf_queue_free(q);
            hf_close(&h);
            _exit(0);
        }
        int status = -1;
        CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
        CU_ASSERT_EQUAL(status, 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    hf_close(&h);
    hf_queue_free(q);
    fake_stop(&fake);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"handlers and masks stay the application's", handlers_and_masks_stay_the_applications},
        {"a closed connection raises no SIGPIPE", a_closed_connection_raises_no_sigpipe},
        {"descriptors are closed on exec", descriptors_are_closed_on_exec},
        {"a child is refused and the parent goes on", a_child_is_refused_and_the_parent_goes_on},
        {"forks in the middle of calls", forks_in_the_middle_of_calls},
    };
    return UNIT_MAIN("client in a process", cases);
}
