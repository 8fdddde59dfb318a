/* txnload.c: loads a cluster with transactions through libholdfast and records them; the workloads are in txnload_work.c.
 *
 * --clients threads, every second one through the coordinator. Lines go to --out (txncheck_main.c says the format), each as
 * soon as its transaction has ended. Once every 50 ms a line "acked N unknown N failed N conflicts N violations N
 * last_ack_ns N lists N …" goes to stdout; what a workload finds wrong by itself to stderr, one line each. Runs until SIGTERM
 * or --seconds, then looks at everything once more; exit 0 when all is recorded. */
#include "tests/support/txnload.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/sys/options.h"

#define LOOK_SECONDS 30 /* the first and the last look may take so long */

struct load_settings load_set;
atomic_uint_fast64_t load_done[LOAD_WORKS];

static const char *const work_names[LOAD_WORKS] = {"lists", "slots", "bank", "skew", "prefix"};
static const struct option_spec specs[] = {
    {"endpoints", OPTION_TEXT, offsetof(struct load_settings, endpoints), "tcp://127.0.0.1:7400", 0, 0,
     "of coordinators"},
    {"out", OPTION_TEXT, offsetof(struct load_settings, out), "history", 0, 0, "where the history goes"},
    {"tag", OPTION_TEXT, offsetof(struct load_settings, tag), "t", 0, 0, "part of every key; one a process"},
    {"work", OPTION_TEXT, offsetof(struct load_settings, work), "lists,slots,bank,skew,prefix", 0, 0, "by commas"},
    {"clients", OPTION_UINT, offsetof(struct load_settings, clients), "8", 1, 64, "threads"},
    {"epoch", OPTION_UINT, offsetof(struct load_settings, epoch), "300", 1, 0, "steps before new lists"},
    {"deadline-ms", OPTION_UINT, offsetof(struct load_settings, deadline_ms), "4000", 1, 60000, "of each call"},
    {"pause-us", OPTION_UINT, offsetof(struct load_settings, pause_us), "2000", 0, 0, "between two steps of a thread"},
    {"seconds", OPTION_UINT, offsetof(struct load_settings, seconds), "0", 0, 0, "0: until SIGTERM"},
    {"seed", OPTION_UINT, offsetof(struct load_settings, seed), "1", 0, 0, "of the choices"},
};

static FILE *out;
static bool works[LOAD_WORKS];
static atomic_bool stopping;
static atomic_uint_fast64_t acked, unknown, failed, conflicts, violations, last_ack_ns;

uint64_t load_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct hf_bytes load_bytes(const char *text)
{
    return (struct hf_bytes){text, strlen(text)};
}

void load_violation(const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (atomic_fetch_add(&violations, 1) < 100)
        fprintf(stderr, "violation: %s\n", text);
}

static uint32_t deadline(void)
{
    return (uint32_t)load_set.deadline_ms;
}

/* ---- one transaction */

bool load_begin(struct load_client *c, struct load_txn *t, bool plain)
{
    *t = (struct load_txn){.client = c, .invoked = load_now_ns(), .code = HF_OK, .above = c->above};
    c->above = 0;
    t->record = open_memstream(&t->text, &t->size);
    if (t->record == NULL)
        exit(2);
    if (!plain)
        t->code = hf_txn_begin(c->h, t->above, deadline(), &t->t);
    return t->code == HF_OK;
}

static bool text_of(struct load_txn *t, const char *key, const void *data, size_t size, char *value)
{
    if (size < LOAD_VALUE_BYTES && memchr(data, 0, size) == NULL) {
        memcpy(value, data, size); // NOLINT(bugprone-not-null-terminated-result): the next line ends it
        value[size] = 0;
        return true;
    }
    load_violation("%s holds %zu bytes that nobody wrote", key, size);
    t->code = HF_E_CORRUPT;
    return false;
}

bool load_get(struct load_txn *t, const char *key, char *value)
{
    struct hf_value got = {0};
    bool good = true;
    t->code = t->t != NULL ? hf_txn_get(t->t, load_bytes(key), deadline(), &got)
                           : hf_get(t->client->h, load_bytes(key), 0, deadline(), &got);
    if (t->code == HF_E_NOT_FOUND) {
        t->code = HF_OK;
        value[0] = 0;
        return true;
    }
    if (t->code == HF_OK)
        good = text_of(t, key, got.data ? got.data : "", got.size, value);
    hf_value_free(&got);
    return good && t->code == HF_OK;
}

bool load_put(struct load_txn *t, const char *key, const char *value)
{
    t->code = hf_txn_put(t->t, load_bytes(key), load_bytes(value), 0);
    return t->code == HF_OK;
}

bool load_delete_prefix(struct load_txn *t, const char *prefix)
{
    t->code = hf_txn_delete_prefix(t->t, load_bytes(prefix));
    return t->code == HF_OK;
}

bool load_scan(struct load_txn *t, const char *start, const char *end,
               void (*each)(void *context, const char *key, const char *value), void *context)
{
    struct hf_range range = {.start = load_bytes(start), .end = load_bytes(end), .page_items = 7};
    char at[512], key[512], value[LOAD_VALUE_BYTES];
    bool more = true;
    while (more) {
        struct hf_future *page = NULL;
        struct hf_bytes next = {0};
        t->code = hf_txn_scan(t->t, &range, deadline(), &page);
        if (t->code != HF_OK) {
            hf_future_free(page);
            return false;
        }
        for (size_t i = 0; i < hf_future_count(page); i++) {
            struct hf_item item = hf_future_item(page, i);
            if (item.key.size < sizeof key && text_of(t, start, item.key.data, item.key.size, key) &&
                text_of(t, key, item.value.data, item.value.size, value))
                each(context, key, value);
        }
        more = hf_future_more(page, &next) != 0;
        if (next.size > sizeof at)
            exit(2);
        if (more)
            memcpy(at, next.data, next.size);
        range.start = (struct hf_bytes){at, next.size};
        hf_future_free(page);
    }
    return t->code == HF_OK;
}

void load_saw(struct load_txn *t, const char *key, const char *list)
{
    fprintf(t->record, "r:%s:%s ", key, list);
}

void load_appended(struct load_txn *t, const char *key, const char *value)
{
    fprintf(t->record, "a:%s:%s ", key, value);
}

/* Writes the line, counts; true: it is done. */
static bool record(struct load_txn *t, bool is_unknown, enum load_work work)
{
    uint64_t returned = load_now_ns();
    const char *outcome = t->code == HF_OK ? "ok" : is_unknown ? "unknown" : "fail";
    if (t->code == HF_OK) {
        atomic_fetch_add(&acked, 1);
        atomic_fetch_add(&load_done[work], 1);
        atomic_store(&last_ack_ns, returned);
    } else {
        atomic_fetch_add(is_unknown ? &unknown : t->code == HF_E_CONFLICT ? &conflicts : &failed, 1);
    }
    if (fclose(t->record) != 0)
        exit(2);
    fprintf(out, "%s.%u%s\t%" PRIu64 "\t%" PRIu64 "\t%s\t%s\t%s\t%" PRIu64 "\n", load_set.tag, t->client->number,
            t->client->routed ? "r" : "", t->invoked, returned, outcome, hf_error_name(t->code), t->text, t->commit);
    free(t->text);
    return t->code == HF_OK;
}

bool load_end(struct load_txn *t, enum load_work work)
{
    bool is_unknown = false;
    if (t->t != NULL && t->code == HF_OK) {
        t->code = hf_txn_commit(t->t, deadline(), &t->commit);
        is_unknown = hf_error_class(t->code) == HF_CLASS_OUTCOME_UNKNOWN;
    }
    if (t->t != NULL && random_below(&t->client->random, 2)) /* else what is in the way may be met again */
        t->client->above = hf_txn_conflict(t->t, NULL);
    hf_txn_free(t->t);
    return record(t, is_unknown, work);
}

bool load_end_plain(struct load_txn *t, int code, enum load_work work)
{
    t->code = code;
    return record(t, hf_error_class(code) == HF_CLASS_OUTCOME_UNKNOWN, work);
}

/* ---- threads */

static void open_client(struct load_client *c, unsigned number)
{
    struct hf_options options = {.endpoints = load_set.endpoints, .routed = (int)(number % 2)};
    *c = (struct load_client){.number = number, .routed = number % 2, .random = {load_set.seed * 1000 + number}};
    int code = hf_open(&options, HF_ABI, &c->h);
    if (code != HF_OK) {
        fprintf(stderr, "txnload: hf_open: %s\n", hf_error_text(code));
        exit(2);
    }
}

static void *client_thread(void *argument)
{
    struct load_client c;
    struct timespec pause = {(time_t)(load_set.pause_us / 1000000), (long)(load_set.pause_us % 1000000) * 1000};
    open_client(&c, (unsigned)(uintptr_t)argument);
    while (!atomic_load(&stopping)) {
        unsigned work = (unsigned)random_below(&c.random, LOAD_WORKS);
        if (!works[work])
            continue;
        load_once(&c, (enum load_work)work);
        nanosleep(&pause, NULL);
    }
    hf_close(&c.h);
    return NULL;
}

static void progress(void)
{
    printf("acked %" PRIuFAST64 " unknown %" PRIuFAST64 " failed %" PRIuFAST64 " conflicts %" PRIuFAST64
           " violations %" PRIuFAST64 " last_ack_ns %" PRIuFAST64,
           atomic_load(&acked), atomic_load(&unknown), atomic_load(&failed), atomic_load(&conflicts),
           atomic_load(&violations), atomic_load(&last_ack_ns));
    for (int i = 0; i < LOAD_WORKS; i++)
        printf(" %s %" PRIuFAST64, work_names[i], atomic_load(&load_done[i]));
    printf("\n");
    fflush(stdout);
}

/* Again and again until it is done. */
static bool until_done(struct load_client *c, bool (*what)(struct load_client *c))
{
    static const struct timespec tick = {0, 50000000};
    uint64_t until = load_now_ns() + LOOK_SECONDS * 1000000000u;
    while (!what(c)) {
        if (load_now_ns() > until)
            return false;
        nanosleep(&tick, NULL);
    }
    return true;
}

static void choose_works(void)
{
    for (int i = 0; i < LOAD_WORKS; i++)
        works[i] = strstr(load_set.work, work_names[i]) != NULL;
    for (int i = 0; i < LOAD_WORKS; i++)
        if (works[i])
            return;
    fprintf(stderr, "txnload: no such work: %s\n", load_set.work);
    exit(2);
}

int main(int argc, char **argv)
{
    pthread_t threads[64] = {0};
    struct load_client c;
    sigset_t ends;
    int rest_at;
    if (options_parse("txnload", specs, sizeof specs / sizeof *specs, argc, argv, false, &load_set, &rest_at) != 0)
        return 2;
    choose_works();
    out = fopen(load_set.out, "w");
    if (out == NULL || setvbuf(out, NULL, _IOLBF, 1 << 16) != 0) {
        perror(load_set.out);
        return 2;
    }
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    open_client(&c, 64);
    if (!until_done(&c, load_prepare)) {
        fprintf(stderr, "txnload: the first transaction does not succeed\n");
        return 2;
    }
    for (uintptr_t i = 0; i < load_set.clients; i++)
        if (pthread_create(&threads[i], NULL, client_thread, (void *)i) != 0)
            return 2;
    uint64_t until = load_set.seconds ? load_now_ns() + load_set.seconds * 1000000000u : UINT64_MAX;
    static const struct timespec tick = {0, 50000000};
    while (load_now_ns() < until && sigtimedwait(&ends, NULL, &tick) < 0)
        progress();
    atomic_store(&stopping, true);
    for (size_t i = 0; i < load_set.clients; i++)
        pthread_join(threads[i], NULL);
    if (!until_done(&c, load_look))
        fprintf(stderr, "txnload: the last look does not succeed\n");
    else
        atomic_store(&stopping, false);
    hf_close(&c.h);
    progress();
    return fclose(out) == 0 && !atomic_load(&stopping) ? 0 : 2;
}
