/* ticks.c: `ticks` draws timestamps from all coordinators over many connections and checks each: it must be above the highest
 * one that was in hand before its request began (I8), in this process or in another that shares --shared.
 *
 * Every timestamp is appended to --out (8 bytes each). `ticks --check FILE...` says how often one is in them twice.
 * A request that goes unanswered gives its place to another, and is still checked when its answer comes after all: a
 * coordinator that was stopped may go on much later. Once every 50 ms a line "drawn N low N twice N refused N silent N" goes
 * to stdout. Runs until SIGTERM, or until --count are drawn; exit 0 when all is recorded, whatever was found.
 * Not checked: that a timestamp has to do with the time of day. */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/options.h"
#include "proto/client.pb-c.h"
#include "proto/pack.h"

#define CONNECTIONS_MAX 64
#define WINDOW_MAX 256
#define KNOWN (1u << 20) /* requests that are still checked */
#define SHOW_MS 50
#define FAULTS_SHOWN 20
#define SILENT_SLACK_MS 500 /* beyond its deadline a request gives up its place */

struct settings {
    const char *endpoints, *out, *shared;
    uint64_t connections, window, deadline_ms, count;
    bool check;
};

static const struct option_spec specs[] = {
    {"endpoints", OPTION_TEXT, offsetof(struct settings, endpoints), "tcp://127.0.0.1:7400", 0, 0, "of coordinators"},
    {"out", OPTION_TEXT, offsetof(struct settings, out), "ticks", 0, 0, "where the timestamps go"},
    {"shared", OPTION_TEXT, offsetof(struct settings, shared), NULL, 0, 0, "the highest in hand, of several processes"},
    {"connections", OPTION_UINT, offsetof(struct settings, connections), "4", 1, 16, "to each coordinator"},
    {"window", OPTION_UINT, offsetof(struct settings, window), "8", 1, WINDOW_MAX, "requests under way on each"},
    {"deadline-ms", OPTION_UINT, offsetof(struct settings, deadline_ms), "1000", 1, 600000, "of each request"},
    {"count", OPTION_UINT, offsetof(struct settings, count), "0", 0, 0, "end when so many are drawn"},
    {"check", OPTION_FLAG, offsetof(struct settings, check), NULL, 0, 0, "do the files named hold one twice?"},
};

struct place {
    uint64_t id, sent_ns; /* id 0: free */
};

struct connection {
    void *socket;
    struct place places[WINDOW_MAX];
};

struct known {
    uint64_t id, floor; /* the highest in hand when it began */
    uint32_t connection, place;
    bool answered;
};

static struct settings set;
static struct connection connections[CONNECTIONS_MAX];
static zmq_pollitem_t items[CONNECTIONS_MAX];
static size_t connection_count;
static struct known known[KNOWN];
static uint64_t next_id = 1, drawn, low, twice, refused, silent;
static _Atomic uint64_t *highest;
static _Atomic uint64_t own_highest;
static FILE *out;
static struct buf frame;
static struct arena arena;

static void fault(const char *what, const struct known *k, uint64_t t)
{
    if (low + twice <= FAULTS_SHOWN)
        fprintf(stderr, "ticks: %s: timestamp=%" PRIx64 " in_hand_before=%" PRIx64 " connection=%" PRIu32 "\n", what, t,
                k->floor, k->connection);
}

static bool draw(size_t at, size_t place)
{
    Hf__Client__Timestamp op = HF__CLIENT__TIMESTAMP__INIT;
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    q.version = 1;
    q.id = next_id;
    q.deadline_ms = (uint32_t)set.deadline_ms;
    q.op_case = HF__CLIENT__REQUEST__OP_TIMESTAMP;
    q.timestamp = &op;
    buf_clear(&frame);
    pack_append(&q.base, &frame);
    struct known *k = &known[next_id % KNOWN];
    *k = (struct known){
        .id = next_id, .floor = atomic_load(highest), .connection = (uint32_t)at, .place = (uint32_t)place};
    if (zmq_send(connections[at].socket, frame.data, frame.size, ZMQ_DONTWAIT) < 0)
        return false;
    connections[at].places[place] = (struct place){next_id, clock_boot_ns()};
    next_id++;
    return true;
}

static void fill(void)
{
    uint64_t now_ns = clock_boot_ns(), patience_ns = (set.deadline_ms + SILENT_SLACK_MS) * CLOCK_NS_PER_MS;
    for (size_t at = 0; at < connection_count; at++) {
        bool open = true;
        for (size_t i = 0; i < set.window && open; i++) {
            struct place *p = &connections[at].places[i];
            if (p->id != 0 && now_ns - p->sent_ns > patience_ns) {
                silent++;
                p->id = 0;
            }
            if (p->id == 0)
                open = draw(at, i);
        }
    }
}

static void take(const Hf__Client__Reply *reply)
{
    struct known *k = &known[reply->id % KNOWN];
    if (k->id != reply->id)
        return; /* older than what is remembered */
    struct place *p = &connections[k->connection].places[k->place];
    if (p->id == reply->id)
        p->id = 0;
    if (k->answered) {
        twice++;
        fault("answered twice", k, reply->timestamp);
    }
    k->answered = true;
    if (reply->code != HF_OK) {
        refused++;
        return;
    }
    uint64_t t = reply->timestamp, before = atomic_load(highest);
    if (t <= k->floor) {
        low++;
        fault("not above what was in hand", k, t);
    }
    while (before < t && !atomic_compare_exchange_weak(highest, &before, t))
        ;
    fwrite(&t, sizeof t, 1, out);
    drawn++;
}

static void receive(void)
{
    for (size_t i = 0; i < connection_count; i++) {
        zmq_msg_t message;
        zmq_msg_init(&message);
        while (items[i].revents != 0 && zmq_msg_recv(&message, connections[i].socket, ZMQ_DONTWAIT) >= 0) {
            struct slice data = slice_make(zmq_msg_data(&message), zmq_msg_size(&message));
            const Hf__Client__Reply *reply = pack_unpack(&hf__client__reply__descriptor, data, &arena);
            if (reply != NULL)
                take(reply);
            arena_reset(&arena);
        }
        zmq_msg_close(&message);
    }
}

static void show(void)
{
    printf("drawn %" PRIu64 " low %" PRIu64 " twice %" PRIu64 " refused %" PRIu64 " silent %" PRIu64 "\n", drawn, low,
           twice, refused, silent);
    fflush(stdout);
}

/* Without heartbeats, which the product's own sockets have: what is on its way to a stopped coordinator stays so. */
static bool connect_to(void *context, const char *endpoint)
{
    static const int options[][2] = {{ZMQ_LINGER, 0},      {ZMQ_IMMEDIATE, 1},      {ZMQ_SNDHWM, 100000},
                                     {ZMQ_RCVHWM, 100000}, {ZMQ_RECONNECT_IVL, 20}, {ZMQ_RECONNECT_IVL_MAX, 200}};
    void *socket = zmq_socket(context, ZMQ_DEALER);
    for (size_t i = 0; socket && i < sizeof options / sizeof *options; i++)
        zmq_setsockopt(socket, options[i][0], &options[i][1], sizeof options[i][1]);
    if (socket == NULL || zmq_connect(socket, endpoint) != 0)
        return false;
    connections[connection_count].socket = socket;
    items[connection_count++] = (zmq_pollitem_t){.socket = socket, .events = ZMQ_POLLIN};
    return true;
}

static bool prepare(void *context)
{
    char *text = strdup(set.endpoints), *rest = text;
    if (text == NULL)
        return false;
    for (char *one; (one = strsep(&rest, ",")) != NULL;)
        for (uint64_t i = 0; i < set.connections && connection_count < CONNECTIONS_MAX; i++)
            if (!connect_to(context, one))
                return false;
    free(text);
    highest = &own_highest;
    if (set.shared != NULL) {
        int fd = open(set.shared, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0 || ftruncate(fd, sizeof *highest) != 0)
            return false;
        void *map = mmap(NULL, sizeof *highest, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (map == MAP_FAILED)
            return false;
        highest = map;
    }
    out = fopen(set.out, "ab");
    return out != NULL;
}

static int run(void)
{
    sigset_t ends;
    static const struct timespec at_once = {0};
    void *context = zmq_ctx_new();
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    if (context == NULL || !prepare(context)) {
        fprintf(stderr, "ticks: cannot begin: endpoints=%s out=%s\n", set.endpoints, set.out);
        return 2;
    }
    uint64_t show_ns = 0;
    while ((set.count == 0 || drawn < set.count) && sigtimedwait(&ends, NULL, &at_once) < 0) {
        fill();
        if (zmq_poll(items, (int)connection_count, SHOW_MS) > 0)
            receive();
        if (clock_boot_ns() < show_ns)
            continue;
        show_ns = clock_boot_ns() + SHOW_MS * CLOCK_NS_PER_MS;
        show();
    }
    show();
    for (size_t i = 0; i < connection_count; i++)
        zmq_close(connections[i].socket);
    zmq_ctx_term(context);
    arena_deinit(&arena);
    buf_deinit(&frame);
    return fclose(out) == 0 ? 0 : 2;
}

static int compare(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

static int check(char **paths, int count)
{
    struct buf all = {0};
    uint64_t repeated = 0;
    for (int i = 0; i < count; i++) {
        static char part[1 << 16];
        FILE *f = fopen(paths[i], "rb");
        if (f == NULL) {
            perror(paths[i]);
            return 2;
        }
        for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
            buf_append(&all, part, n);
        fclose(f);
    }
    uint64_t *t = (uint64_t *)(void *)all.data;
    size_t n = all.size / sizeof *t;
    if (n > 0)
        qsort(t, n, sizeof *t, compare);
    for (size_t i = 1; i < n; i++) {
        repeated += t[i] == t[i - 1];
        if (t[i] == t[i - 1] && repeated <= FAULTS_SHOWN)
            fprintf(stderr, "ticks: drawn twice: timestamp=%" PRIx64 "\n", t[i]);
    }
    printf("drawn %zu repeated %" PRIu64 "\n", n, repeated);
    buf_deinit(&all);
    return 0;
}

int main(int argc, char **argv)
{
    int rest;
    if (options_parse("ticks", specs, sizeof specs / sizeof *specs, argc, argv, true, &set, &rest) != 0)
        return 2;
    return set.check ? check(argv + rest, argc - rest) : run();
}
