/* fsm_bench.c: CPU time of a put in apply, and of reads. fsm_bench [puts [keys [cache MiB]]] */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/random.h"
#include "shard/fsm/fsm_internal.h"
#include "tests/unit/shard/fsm/machine.h"

#define VALUE_BYTES 256

struct bench {
    struct machine m;
    struct random random;
    uint64_t keys;
    uint64_t t, sequence, seq;
    uint64_t session;
    uint64_t results;
};

/* Of this thread: RocksDB's background work and other programs do not count. */
static uint64_t cpu_ns(void)
{
    struct timespec now;
    must(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* So that all reads below meet the same files. */
static void settle(struct bench *b)
{
    must(fsm_flush(b->m.fsm) == HF_OK);
    while (store_property(b->m.fsm->store, "rocksdb.compaction-pending") != 0 ||
           store_property(b->m.fsm->store, "rocksdb.num-running-compactions") != 0)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

static void count(void *ctx, uint64_t index, uint64_t term, uint32_t position, const struct fsm_result *r)
{
    struct bench *b = ctx;
    (void)index, (void)term, (void)position;
    must(r->code == HF_OK);
    b->results++;
}

static void key_text(char out[32], uint64_t key)
{
    snprintf(out, 32, "user%016llu", (unsigned long long)(key * 0x9e3779b97f4a7c15u));
}

/* One entry of `n` puts; `window`: requests of the session not yet acknowledged by done_below. */
static struct slice batch(struct bench *b, struct arena *arena, size_t n, bool sessions, uint64_t window)
{
    static uint8_t value[VALUE_BYTES];
    Hf__Entry__Command *c = arena_alloc(arena, n * sizeof *c);
    for (size_t i = 0; i < n; i++) {
        char *key = arena_alloc(arena, 32);
        key_text(key, random_below(&b->random, b->keys));
        for (size_t j = 0; j < sizeof value; j += 8)
            memcpy(value + j, &b->random.state, 8);
        c[i] = machine_put(key, NULL);
        struct slice v = arena_copy(arena, slice_make(value, sizeof value));
        c[i].value = (ProtobufCBinaryData){.len = v.size, .data = (uint8_t *)(uintptr_t)v.data};
        if (sessions) {
            b->seq++;
            c[i] = machine_in_session(c[i], b->session, b->seq, b->seq > window ? b->seq - window : 0);
        }
    }
    struct slice data = machine_batch(arena, b->t, b->sequence, c, n);
    b->sequence += n;
    return data;
}

static void bench_puts(struct bench *b, const char *name, uint64_t puts, size_t n, size_t entries, bool sessions,
                       uint64_t window)
{
    struct arena arena = {0};
    uint64_t ns = 0, done = 0;
    while (done < puts) {
        arena_reset(&arena);
        struct log_entry *e = arena_alloc(&arena, entries * sizeof *e);
        for (size_t i = 0; i < entries; i++)
            e[i] = (struct log_entry){
                .index = ++b->m.index, .term = 1, .kind = LOG_COMMAND, .data = batch(b, &arena, n, sessions, window)};
        uint64_t start = cpu_ns();
        must(fsm_apply(b->m.fsm, e, entries, count, b) == HF_OK);
        ns += cpu_ns() - start;
        done += n * entries;
    }
    arena_deinit(&arena);
    printf("%-44s %8.2f us/put\n", name, (double)ns / 1e3 / (double)done);
}

static void bench_gets(struct bench *b, const char *name, uint64_t gets, bool apply_between)
{
    struct arena arena = {0};
    uint64_t ns = 0, found = 0;
    for (uint64_t i = 0; i < gets; i++) {
        char key[32];
        struct fsm_value v;
        key_text(key, random_below(&b->random, b->keys));
        if (apply_between && i % 16 == 0) {
            struct log_entry e = {
                .index = ++b->m.index, .term = 1, .kind = LOG_COMMAND, .data = batch(b, &arena, 1, false, 0)};
            must(fsm_apply(b->m.fsm, &e, 1, count, b) == HF_OK);
        }
        uint64_t start = cpu_ns();
        int rc = fsm_get(b->m.fsm, FSM_USER, slice_text(key), (struct hlc){0}, (struct hlc){b->t}, &arena, &v);
        ns += cpu_ns() - start;
        must(rc == HF_OK || rc == HF_E_NOT_FOUND);
        found += rc == HF_OK;
        arena_reset(&arena);
    }
    arena_deinit(&arena);
    printf("%-44s %8.2f us/get (%llu%% found)\n", name, (double)ns / 1e3 / (double)gets,
           (unsigned long long)(found * 100 / gets));
}

static void bench_scan(struct bench *b, bool reverse)
{
    struct arena arena = {0};
    struct fsm_scan scan = {
        .items_max = 1000, .bytes_max = 1u << 20, .steps_max = 100000, .reverse = reverse, .now = {b->t}};
    struct fsm_page page = {.more = true};
    uint64_t start = cpu_ns(), items = 0;
    struct buf at = {0};
    while (page.more && items < 200000) {
        arena_reset(&arena);
        must(fsm_scan(b->m.fsm, &scan, &arena, &page) == HF_OK);
        items += page.count;
        buf_clear(&at);
        if (page.more)
            buf_append(&at, page.next.data, page.next.size);
        if (reverse)
            scan.end = buf_slice(&at);
        else
            scan.start = buf_slice(&at);
    }
    printf("%-44s %8.2f us/item (%llu items)\n", reverse ? "scan, backwards" : "scan, forwards",
           (double)(cpu_ns() - start) / 1e3 / (double)items, (unsigned long long)items);
    buf_deinit(&at);
    arena_deinit(&arena);
}

int main(int argc, char **argv)
{
    uint64_t puts = argc > 1 ? strtoull(argv[1], NULL, 10) : 200000;
    struct bench b = {.keys = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000, .random = {7}, .sequence = 1};
    machine_start(&b.m, "", "", false);
    if (argc > 3) {
        machine_close(&b.m);
        b.m.config.cache_bytes = strtoull(argv[3], NULL, 10) << 20;
        machine_open(&b.m);
    }
    b.t = b.m.t;
    b.session = machine_apply(&b.m, LOG_COMMAND, machine_session(&b.m.arena, b.t, 0, 0))->session;
    bench_puts(&b, "put, 64 an entry, no session", puts, 64, 1, false, 0);
    bench_puts(&b, "put, 64 an entry, session, 64 outstanding", puts, 64, 1, true, 64);
    bench_puts(&b, "put, 64 an entry, session, 1000 outstanding", puts, 64, 1, true, 1000 - 64);
    bench_puts(&b, "put, 256 an entry, session, 1000 outstanding", puts, 256, 1, true, 1000 - 256);
    bench_puts(&b, "put, 1 an entry, session", puts / 10, 1, 1, true, 1);
    bench_puts(&b, "put, 1 an entry, 64 entries a batch, session", puts, 1, 64, true, 64);
    settle(&b);
    bench_gets(&b, "get", puts, false);
    bench_gets(&b, "get, a write before every 16th", puts, true);
    bench_scan(&b, false);
    bench_scan(&b, true);
    machine_stop(&b.m);
    return 0;
}
