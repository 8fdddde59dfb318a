/* hammer.c: loads a cluster through libholdfast and records every operation: invocation, return, outcome.
 *
 * "Hot" threads put, get, compare-and-set and delete on a few keys at a time (synchronous calls; a new set of keys
 * every
 * --epoch operations, so that a key's history stays short). "Unique" threads put each key once, --window at a time.
 * Lines go to --out (lincheck_main.c says the format; a padded value stands there by its id). Once every 50 ms a line
 * "acked N unknown N failed N last_ack_ns N" goes to stdout. Runs until SIGTERM or --seconds; exit 0 when all is
 * recorded. */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/include/holdfast/holdfast.h"
#include "common/base/random.h"
#include "common/sys/options.h"

#define WINDOW_MAX 1024
#define KEY_BYTES 96

struct settings {
    const char *endpoints, *out, *tag;
    uint64_t hot, unique, keys, epoch, window, deadline_ms, value_bytes, pause_us, seconds, seed;
    bool routed;
};

static const struct option_spec specs[] = {
    {"endpoints", OPTION_TEXT, offsetof(struct settings, endpoints), "tcp://127.0.0.1:7400", 0, 0, "of coordinators"},
    {"out", OPTION_TEXT, offsetof(struct settings, out), "history", 0, 0, "where the history goes"},
    {"tag", OPTION_TEXT, offsetof(struct settings, tag), "h", 0, 0, "part of every key and value; one a process"},
    {"hot", OPTION_UINT, offsetof(struct settings, hot), "4", 0, 64, "threads on the few keys"},
    {"unique", OPTION_UINT, offsetof(struct settings, unique), "2", 0, 64, "threads that put each key once"},
    {"keys", OPTION_UINT, offsetof(struct settings, keys), "4", 1, 1000, "keys at a time"},
    {"epoch", OPTION_UINT, offsetof(struct settings, epoch), "800", 1, 0, "operations before a new set of keys"},
    {"window", OPTION_UINT, offsetof(struct settings, window), "32", 1, WINDOW_MAX, "puts under way, a unique thread"},
    {"deadline-ms", OPTION_UINT, offsetof(struct settings, deadline_ms), "8000", 1, 0, "of each operation"},
    {"value-bytes", OPTION_BYTES, offsetof(struct settings, value_bytes), "64", 0, 65536, "padding of each value"},
    {"pause-us", OPTION_UINT, offsetof(struct settings, pause_us), "2000", 0, 0, "between two operations of a thread"},
    {"seconds", OPTION_UINT, offsetof(struct settings, seconds), "0", 0, 0, "0: until SIGTERM"},
    {"seed", OPTION_UINT, offsetof(struct settings, seed), "1", 0, 0, "of the choices"},
    {"routed", OPTION_FLAG, offsetof(struct settings, routed), NULL, 0, 0, "through the coordinator"},
};

static struct settings set;
static FILE *out;
static atomic_bool stopping;
static atomic_uint_fast64_t acked, unknown, failed, hot_operations, last_ack_ns;

struct op {
    const char *name;
    char key[KEY_BYTES], value[KEY_BYTES], expected[KEY_BYTES], read[KEY_BYTES];
    uint64_t invoked;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void rest(void)
{
    struct timespec t = {(time_t)(set.pause_us / 1000000), (long)(set.pause_us % 1000000) * 1000};
    nanosleep(&t, NULL);
}

static struct hf_bytes bytes_of(const char *text)
{
    return (struct hf_bytes){text, strlen(text)};
}

/* "id:ppp…": the id stands for the value in the history. `room` holds KEY_BYTES + value_bytes. */
static struct hf_bytes padded(const char *id, char *room)
{
    size_t size = strlen(id);
    memcpy(room, id, size); // NOLINT(bugprone-not-null-terminated-result): the colon ends it
    room[size] = ':';
    memset(&room[size + 1], 'p', set.value_bytes);
    return (struct hf_bytes){room, size + 1 + set.value_bytes};
}

/* The id of a value that was read; anything that `padded` did not make becomes "?SIZE", which nobody wrote. */
static void id_of(struct hf_bytes value, char out_id[KEY_BYTES])
{
    const char *text = value.data;
    size_t size = 0;
    while (size < value.size && text[size] != ':' && text[size] > ' ')
        size++;
    bool good = size > 0 && size < KEY_BYTES && size < value.size && text[size] == ':' &&
                value.size == size + 1 + set.value_bytes;
    for (size_t i = size + 1; good && i < value.size; i++)
        good = text[i] == 'p';
    if (good)
        snprintf(out_id, KEY_BYTES, "%.*s", (int)size, text);
    else
        snprintf(out_id, KEY_BYTES, "?%zu", value.size);
}

static void record(unsigned client, const struct op *op, int code, enum hf_class cls)
{
    uint64_t returned = now_ns();
    const char *outcome = "fail";
    if (code == HF_OK)
        outcome = "ok";
    else if (code == HF_E_NOT_FOUND)
        outcome = "notfound";
    else if (code == HF_E_COMPARE_FAILED)
        outcome = "mismatch";
    else if (cls == HF_CLASS_OUTCOME_UNKNOWN)
        outcome = "unknown";
    if (outcome[0] == 'f') {
        atomic_fetch_add(&failed, 1);
    } else if (outcome[0] == 'u') {
        atomic_fetch_add(&unknown, 1);
    } else {
        atomic_fetch_add(&acked, 1);
        atomic_store(&last_ack_ns, returned);
    }
    fprintf(out, "%s.%u\t%s\t%s\t%s\t%s\t%" PRIu64 "\t%" PRIu64 "\t%s\t%s\t%s\n", set.tag, client, op->name, op->key,
            op->value, op->expected, op->invoked, returned, outcome, op->read, hf_error_name(code));
}

static struct hf *open_handle(void)
{
    struct hf_options options = {.endpoints = set.endpoints, .routed = set.routed};
    struct hf *h = NULL;
    int code = hf_open(&options, HF_ABI, &h);
    if (code != HF_OK) {
        fprintf(stderr, "hammer: hf_open: %s\n", hf_error_text(code));
        exit(2);
    }
    return h;
}

/* One operation on a hot key; `last` is what this thread read last, and of which key, for compare-and-set. */
static void hot_once(struct hf *h, unsigned client, struct random *random, uint64_t n, struct op *last, char *room)
{
    uint64_t epoch = atomic_fetch_add(&hot_operations, 1) / set.epoch, k = random_below(random, set.keys);
    struct op op = {.value = "-", .expected = "-", .read = "-"};
    uint32_t deadline = (uint32_t)set.deadline_ms;
    unsigned what = (unsigned)random_below(random, 10);
    snprintf(op.key, sizeof op.key, "%c-hot-%s-%" PRIu64 "-%" PRIu64, k % 2 ? 'z' : 'a', set.tag, epoch, k);
    if (what < 4 || what == 9)
        snprintf(op.value, sizeof op.value, "%s.%u.%" PRIu64, set.tag, client, n);
    bool absent = what == 9 || last->read[0] == 0; /* of the compare-and-sets */
    if (what == 3 && !absent)
        memcpy(op.key, last->key, sizeof op.key);
    struct hf_bytes key = bytes_of(op.key), value = padded(op.value, room), expected;
    int code;
    op.invoked = now_ns();
    if (what < 3) {
        op.name = "put";
        code = hf_put(h, key, value, 0, deadline, NULL);
    } else if (what == 3 || what == 9) {
        op.name = "cas";
        char other[KEY_BYTES + 65536];
        if (!absent)
            memcpy(op.expected, last->read, sizeof op.expected);
        expected = padded(op.expected, other);
        code = hf_cas(h, key, absent ? NULL : &expected, &value, deadline, NULL);
    } else if (what < 5) {
        op.name = "del";
        code = hf_del(h, key, deadline, NULL);
    } else {
        struct hf_value got = {0};
        op.name = "get";
        code = hf_get(h, key, 0, deadline, &got);
        if (code == HF_OK) {
            id_of((struct hf_bytes){got.data, got.size}, op.read);
            *last = op;
            hf_value_free(&got);
        }
    }
    record(client, &op, code, hf_error_class(code));
}

static void *hot_thread(void *argument)
{
    unsigned client = (unsigned)(uintptr_t)argument;
    struct random random = {set.seed * 1000 + client};
    struct hf *h = open_handle();
    struct op last = {.read = ""};
    char *room = malloc(KEY_BYTES + set.value_bytes);
    if (room == NULL)
        exit(2);
    for (uint64_t n = 0; !atomic_load(&stopping); n++) {
        hot_once(h, client, &random, n, &last, room);
        rest();
    }
    free(room);
    hf_close(&h);
    return NULL;
}

/* Takes finished puts and records them; returns how many. */
static size_t unique_take(struct hf_queue *q, unsigned client, uint32_t wait_ms, struct op **free_ops,
                          size_t *free_count)
{
    struct hf_future *done[64];
    size_t count = hf_queue_take(q, wait_ms, done, 64);
    for (size_t i = 0; i < count; i++) {
        struct op *op = hf_future_tag(done[i]);
        record(client, op, hf_future_poll(done[i]), hf_future_class(done[i]));
        free_ops[(*free_count)++] = op;
        hf_future_free(done[i]);
    }
    return count;
}

static void *unique_thread(void *argument)
{
    unsigned client = (unsigned)(uintptr_t)argument;
    struct hf *h = open_handle();
    struct hf_queue *q = NULL;
    struct op *ops = calloc(set.window, sizeof *ops), **free_ops = calloc(set.window, sizeof(struct op *));
    char *room = malloc(KEY_BYTES + set.value_bytes);
    size_t free_count = 0;
    if (ops == NULL || free_ops == NULL || room == NULL || hf_queue_open(h, &q) != HF_OK)
        exit(2);
    for (; free_count < set.window; free_count++)
        free_ops[free_count] = &ops[free_count];
    for (uint64_t n = 0; !atomic_load(&stopping) || free_count < set.window;) {
        if (!atomic_load(&stopping) && free_count > 0) {
            struct op *op = free_ops[free_count - 1];
            struct hf_call call = {.deadline_ms = (uint32_t)set.deadline_ms, .queue = q, .tag = op};
            struct hf_future *f;
            *op = (struct op){.name = "put", .expected = "-", .read = "-"};
            snprintf(op->key, sizeof op->key, "%c-u-%s-%u-%" PRIu64, n % 2 ? 'z' : 'a', set.tag, client, n);
            snprintf(op->value, sizeof op->value, "%s.%u.%" PRIu64, set.tag, client, n);
            n++;
            op->invoked = now_ns();
            int code = hf_put_async(h, bytes_of(op->key), padded(op->value, room), 0, &call, &f);
            if (code == HF_OK)
                free_count--;
            else
                record(client, op, code, hf_error_class(code));
            unique_take(q, client, 0, free_ops, &free_count);
            rest();
        } else {
            unique_take(q, client, 50, free_ops, &free_count);
        }
    }
    hf_queue_free(q);
    hf_close(&h);
    free(ops);
    free(free_ops);
    free(room);
    return NULL;
}

static void progress(void)
{
    printf("acked %" PRIuFAST64 " unknown %" PRIuFAST64 " failed %" PRIuFAST64 " last_ack_ns %" PRIuFAST64 "\n",
           atomic_load(&acked), atomic_load(&unknown), atomic_load(&failed), atomic_load(&last_ack_ns));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    pthread_t threads[128];
    sigset_t ends;
    int rest_at;
    if (options_parse("hammer", specs, sizeof specs / sizeof *specs, argc, argv, false, &set, &rest_at) != 0)
        return 2;
    out = fopen(set.out, "w");
    if (out == NULL) {
        perror(set.out);
        return 2;
    }
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    for (uintptr_t i = 0; i < set.hot + set.unique; i++)
        if (pthread_create(&threads[i], NULL, i < set.hot ? hot_thread : unique_thread, (void *)i) != 0)
            return 2;
    uint64_t until = set.seconds ? now_ns() + set.seconds * 1000000000u : UINT64_MAX;
    static const struct timespec tick = {0, 50000000};
    while (now_ns() < until && sigtimedwait(&ends, NULL, &tick) < 0)
        progress();
    atomic_store(&stopping, true);
    for (size_t i = 0; i < set.hot + set.unique; i++)
        pthread_join(threads[i], NULL);
    progress();
    return fclose(out) == 0 ? 0 : 2;
}
