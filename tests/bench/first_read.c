/* first_read.c: kills processes with SIGKILL, starts them again, and says when the first read was answered.
 *
 * first_read [--append ARG] --holdfast ENDPOINTS KEY | --etcd KEY-BASE64 | --ready  PORT[,PORT...] PID...
 *
 * The processes are started as they were (/proc: program, arguments, directory, output), all at once, with ARG behind their
 * arguments unless it is there already. From the kill on the ports are tried every millisecond; from the first that
 * accepts a connection on, a new linearizable read begins every 10 ms, each over connections of its own, so that no
 * client's waiting for a reconnect is measured; the first answer counts, looked for every millisecond. Resolution: 10 ms at
 * worst, 1 ms where an earlier read waits inside the server or is repeated by the library.
 * --holdfast: libholdfast, ENDPOINTS of replicas. --etcd: POST /v3/kv/range. --ready: GET /readyz is 200.
 * Prints JSON: milliseconds from the kill, the new pids in the order of the old ones. Exit 0, 1 no answer in a minute, 2 usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <holdfast/holdfast.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES_MAX 16
#define ARGUMENTS_MAX 128
#define ARGUMENTS_BYTES (64 << 10)
#define READS_MAX 64
#define EVERY_MS 10
#define GIVE_UP_MS 60000
#define REPLY_BYTES 8192

struct process {
    pid_t pid;
    char program[PATH_MAX], directory[PATH_MAX], output[PATH_MAX];
    char text[ARGUMENTS_BYTES];
    char *argv[ARGUMENTS_MAX + 2];
};

struct read { /* one attempt */
    bool out;
    struct hf *h; /* Holdfast's */
    struct hf_future *f;
    int fd; /* etcd's, or a look at /readyz */
    size_t size;
    char reply[REPLY_BYTES];
};

static struct process processes[PROCESSES_MAX];
static size_t processes_count;
static int ports[PROCESSES_MAX];
static size_t ports_count;
static const char *endpoints, *key, *wanted; /* endpoints NULL: HTTP, `wanted` in a reply of 200 */
static char request[4096];
static struct read reads[READS_MAX];
static unsigned reads_begun;
static struct timespec kill_time;

static _Noreturn void fail(int code, const char *what, const char *which)
{
    fprintf(stderr, "first_read: %s%s%s\n", what, which ? ": " : "", which ? which : "");
    exit(code);
}

static double ms_since_kill(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - kill_time.tv_sec) * 1e3 + (double)(now.tv_nsec - kill_time.tv_nsec) / 1e6;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

/* ---- the processes ---- */

static void link_of(pid_t pid, const char *name, char out[PATH_MAX])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    ssize_t n = readlink(path, out, PATH_MAX - 1);
    if (n <= 0)
        fail(1, "cannot look at a process", path);
    out[n] = '\0';
}

static void look_at(struct process *p, char *append)
{
    char path[64];
    link_of(p->pid, "exe", p->program);
    link_of(p->pid, "cwd", p->directory);
    link_of(p->pid, "fd/1", p->output);
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)p->pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(p->text, 1, sizeof p->text - 1, f) : 0, count = 0;
    if (f)
        fclose(f);
    for (char *at = p->text; at < p->text + n && count < ARGUMENTS_MAX; at += strlen(at) + 1)
        p->argv[count++] = at;
    if (count == 0 || count == ARGUMENTS_MAX)
        fail(1, "no arguments, or too many", path);
    if (append && strcmp(p->argv[count - 1], append) != 0)
        p->argv[count++] = append;
    p->argv[count] = NULL;
}

static void kill_all(void)
{
    int gone[PROCESSES_MAX];
    for (size_t i = 0; i < processes_count; i++)
        if ((gone[i] = (int)syscall(SYS_pidfd_open, processes[i].pid, 0)) < 0)
            fail(1, "pidfd_open", strerror(errno));
    clock_gettime(CLOCK_MONOTONIC, &kill_time);
    for (size_t i = 0; i < processes_count; i++)
        if (kill(processes[i].pid, SIGKILL) != 0)
            fail(1, "kill", strerror(errno));
    for (size_t i = 0; i < processes_count; i++) {
        if (poll(&(struct pollfd){gone[i], POLLIN, 0}, 1, GIVE_UP_MS) != 1)
            fail(1, "a killed process does not end", NULL);
        close(gone[i]);
    }
}

static void start(struct process *p)
{
    p->pid = fork();
    if (p->pid < 0)
        fail(1, "fork", strerror(errno));
    if (p->pid > 0)
        return;
    int in = open("/dev/null", O_RDONLY), out = open(p->output, O_WRONLY | O_APPEND | O_CREAT, 0644);
    bool ready = setsid() > 0 && chdir(p->directory) == 0 && in >= 0 && out >= 0 && dup2(in, 0) == 0 &&
                 dup2(out, 1) == 1 && dup2(out, 2) == 2;
    if (ready) {
        close_range(3, ~0u, 0);
        execv(p->program, p->argv);
    }
    _exit(127);
}

/* ---- HTTP ---- */

static int connect_to(int port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail(1, "socket", strerror(errno));
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) /* loopback: at once, or refused */
        return fd;
    close(fd);
    return -1;
}

static bool somebody_listens(void)
{
    for (size_t i = 0; i < ports_count; i++) {
        int fd = connect_to(ports[i]);
        if (fd >= 0) {
            close(fd);
            return true;
        }
    }
    return false;
}

static bool http_answered(struct read *r)
{
    ssize_t n = recv(r->fd, r->reply + r->size, sizeof r->reply - 1 - r->size, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return false;
    r->size += n > 0 ? (size_t)n : 0;
    r->reply[r->size] = '\0';
    if (strncmp(r->reply, "HTTP/1.", 7) == 0 && strncmp(r->reply + 8, " 200", 4) == 0 && strstr(r->reply, wanted))
        return true;
    if (n <= 0 || r->size == sizeof r->reply - 1) { /* another answer, or none: the next read will do */
        close(r->fd);
        r->out = false;
    }
    return false;
}

/* ---- reads ---- */

static void holdfast_begin(struct read *r)
{
    struct hf_options options = {.endpoints = endpoints};
    struct hf_call call = {.deadline_ms = GIVE_UP_MS};
    if (hf_open(&options, HF_ABI, &r->h) != HF_OK)
        fail(1, "hf_open", NULL);
    if (hf_get_async(r->h, (struct hf_bytes){key, strlen(key)}, 0, &call, &r->f) != HF_OK)
        fail(1, "hf_get_async", NULL);
    r->out = true;
}

static void holdfast_forget(struct read *r)
{
    hf_close(&r->h);
    hf_future_free(r->f);
    r->out = false;
}

static bool holdfast_answered(struct read *r)
{
    int code = hf_future_poll(r->f);
    if (code == HF_OK)
        return true;
    if (code == HF_E_NOT_FOUND)
        fail(1, "the key is gone", key);
    if (code != HF_E_AGAIN)
        holdfast_forget(r);
    return false;
}

static void begin(void)
{
    struct read *r = &reads[reads_begun % READS_MAX]; /* the oldest has waited long enough: a newer one may do better */
    int port = ports[reads_begun++ % ports_count];
    if (endpoints) {
        if (r->out)
            holdfast_forget(r);
        holdfast_begin(r);
        return;
    }
    if (r->out)
        close(r->fd);
    r->size = 0;
    r->fd = connect_to(port);
    r->out = r->fd >= 0;
    if (r->out && send(r->fd, request, strlen(request), MSG_NOSIGNAL) < 0) {
        close(r->fd);
        r->out = false;
    }
}

static bool answered(void)
{
    for (size_t i = 0; i < READS_MAX; i++)
        if (reads[i].out && (endpoints ? holdfast_answered(&reads[i]) : http_answered(&reads[i])))
            return true;
    return false;
}

static double first_answer(void)
{
    for (double next_ms = 0; ms_since_kill() < GIVE_UP_MS; pause_ms(1)) {
        if (answered())
            return ms_since_kill();
        if (ms_since_kill() >= next_ms) {
            begin();
            next_ms = ms_since_kill() + EVERY_MS;
        }
    }
    fail(1, "no answer in a minute", NULL);
}

static void usage(void)
{
    fail(2, "usage: [--append ARG] --holdfast ENDPOINTS KEY | --etcd KEY-BASE64 | --ready  PORT[,PORT...] PID...",
         NULL);
}

/* Fills what is asked; the first argument that is not the question's. */
static int question(int argc, char **argv, int i)
{
    if (i + 2 < argc && strcmp(argv[i], "--holdfast") == 0) {
        endpoints = argv[i + 1];
        key = argv[i + 2];
        return i + 3;
    }
    if (i + 1 < argc && strcmp(argv[i], "--etcd") == 0) {
        char body[2048];
        snprintf(body, sizeof body, "{\"key\":\"%s\"}", argv[i + 1]);
        snprintf(request, sizeof request,
                 "POST /v3/kv/range HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                 strlen(body), body);
        wanted = "\"kvs\"";
        return i + 2;
    }
    if (i < argc && strcmp(argv[i], "--ready") == 0) {
        snprintf(request, sizeof request, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        wanted = "\r\n";
        return i + 1;
    }
    usage();
    return 0;
}

int main(int argc, char **argv)
{
    char *append = NULL;
    int i = 1;
    if (argc > 2 && strcmp(argv[1], "--append") == 0) {
        append = argv[2];
        i = 3;
    }
    i = question(argc, argv, i);
    for (char *at = i < argc ? argv[i++] : NULL; at && ports_count < PROCESSES_MAX; at = strchr(at, ',')) {
        at += *at == ',';
        ports[ports_count++] = atoi(at);
    }
    for (; i < argc && processes_count < PROCESSES_MAX; i++) {
        struct process *p = &processes[processes_count++];
        p->pid = atoi(argv[i]);
        look_at(p, append);
    }
    if (processes_count == 0 || i < argc)
        usage();
    kill_all();
    double gone = ms_since_kill();
    for (size_t n = 0; n < processes_count; n++)
        start(&processes[n]);
    double started = ms_since_kill(), listening;
    while (!somebody_listens()) {
        if (ms_since_kill() > GIVE_UP_MS)
            fail(1, "nobody listens after a minute", NULL);
        pause_ms(1);
    }
    listening = ms_since_kill();
    double answer = first_answer();
    printf("{\"gone_ms\":%.1f,\"started_ms\":%.1f,\"listening_ms\":%.1f,\"answer_ms\":%.1f,\"reads\":%u,\"pids\":[",
           gone, started, listening, answer, reads_begun);
    for (size_t n = 0; n < processes_count; n++)
        printf("%s%d", n ? "," : "", (int)processes[n].pid);
    puts("]}");
    fflush(stdout);
    _exit(0); /* what is still out is nobody's concern */
}
