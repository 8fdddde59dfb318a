/* store_transcript.c: the same random operations on whichever store it is linked with, and every answer on stdout.
 *
 * Linked once with RocksDB and once with tests/support/simstore.c; test_simstore.sh compares what the two say. A life is
 * one process that opens the store, works, and closes it or is killed. The next finds what that left behind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/base/random.h"
#include "shard/store/store.h"
#ifdef TRANSCRIPT_SIM
#include "tests/support/simstore.h"
#endif

#define LIVES 12
#define STEPS 400
#define PREFIXES 6
#define SUFFIXES 12
#define ITERATORS 3

struct life {
    struct store *store;
    struct random random;
    bool sync_writes;
    uint64_t marks; /* of flushes that were waited for */
    struct store_iterator *iterators[ITERATORS];
    bool prefixed[ITERATORS];
};

static size_t prefix_of(struct slice key) /* up to the first colon */
{
    const uint8_t *colon = key.size > 0 ? memchr(key.data, ':', key.size) : NULL;
    return colon != NULL ? (size_t)(colon + 1 - key.data) : 0;
}

static uint64_t below(struct life *l, uint64_t n)
{
    return random_below(&l->random, n);
}

static struct slice some_key(struct life *l, char out[32])
{
    int n = snprintf(out, 32, "k%u:%02u", (unsigned)below(l, PREFIXES), (unsigned)below(l, SUFFIXES));
    return slice_make(out, (size_t)n);
}

static void say(const char *what, int rc, struct slice text)
{
    printf("%s %d %.*s\n", what, rc, (int)text.size, text.size > 0 ? (const char *)text.data : "");
}

static void write_some(struct life *l)
{
    struct store_batch *b = store_batch_new();
    for (uint64_t n = 1 + below(l, 6); n > 0; n--) {
        char key[32], value[64];
        struct slice k = some_key(l, key);
        int size = snprintf(value, sizeof value, "%llx", (unsigned long long)random_next(&l->random));
        if (below(l, 4) == 0)
            store_batch_delete(b, k);
        else
            store_batch_put(b, k, slice_make(value, below(l, 5) == 0 ? 0 : (size_t)size));
        if (below(l, 40) == 0)
            store_batch_clear(b);
    }
    say("write", store_write(l->store, b), slice_make(NULL, 0));
    store_batch_free(&b);
}

static void get_one(struct life *l, bool durable)
{
    char key[32];
    struct buf got = {0};
    struct slice k = some_key(l, key);
    int rc = durable ? store_get_durable(l->store, k, &got) : store_get(l->store, k, &got);
    say(durable ? "durable" : "get", rc, buf_slice(&got));
    buf_deinit(&got);
}

/* A flush in the background is waited for by a mark of its own, so that both stores stand at the same place. */
static void flush(struct life *l, bool begin)
{
    char mark[32];
    int n = snprintf(mark, sizeof mark, "z%llu", (unsigned long long)l->marks++);
    struct store_batch *b = store_batch_new();
    store_batch_put(b, slice_make(mark, (size_t)n), slice_make("x", 1));
    int rc = store_write(l->store, b);
    store_batch_free(&b);
    if (rc == HF_OK)
        rc = begin ? store_flush_begin(l->store) : store_flush(l->store);
    struct buf got = {0};
    bool there = false;
    for (int i = 0; rc == HF_OK && !there && i < 120000; i++) {
        there = store_get_durable(l->store, slice_make(mark, (size_t)n), &got) == HF_OK;
        if (!there && i > 100)
            usleep(1000);
    }
    say(begin ? "flush_begin" : "flush", rc, slice_text(there ? "durable" : "NOT durable"));
    buf_deinit(&got);
}

static int compact_range(struct life *l, const struct slice ends[2])
{
    struct store_compaction *c = NULL;
    int rc = store_compact_begin(l->store, ends[0], ends[1], &c);
    for (int i = 0; rc == HF_OK && !store_compact_done(c) && i < 120000; i++)
        if (i > 100)
            usleep(1000);
    return rc == HF_OK ? store_compact_end(&c) : rc;
}

/* After a flush: RocksDB begins with one only if something of the range is in memory. */
static void compact(struct life *l)
{
    flush(l, false);
    char text[2][16];
    struct slice ends[2] = {{0}, {0}};
    int prefix = (int)below(l, 2 * PREFIXES);
    prefix = prefix < PREFIXES ? prefix : PREFIXES;
    for (int i = 0; i < 2 && prefix < PREFIXES; i++)
        ends[i] = slice_make(text[i], (size_t)snprintf(text[i], sizeof text[i], "k%d", prefix + i));
    int rc = compact_range(l, ends);
    say(prefix == PREFIXES ? "compact all" : "compact", rc, ends[0]);
}

static void show(const char *what, struct store_iterator *it)
{
    if (!store_iterator_valid(it)) {
        say(what, store_iterator_status(it), slice_text("end"));
        return;
    }
    say(what, HF_OK, store_iterator_key(it));
    say("  =", HF_OK, store_iterator_value(it));
}

static void walk(struct life *l)
{
    size_t i = below(l, ITERATORS);
    struct store_iterator **it = &l->iterators[i];
    if (*it != NULL && below(l, 6) == 0)
        store_iterator_free(it);
    if (*it == NULL) {
        l->prefixed[i] = below(l, 2) == 0;
        *it = store_iterator_new(l->store, l->prefixed[i]);
    }
    char key[32];
    struct slice k = some_key(l, key);
    bool back = below(l, 3) == 0 && !l->prefixed[i];
    if (store_iterator_valid(*it) && below(l, 3) != 0)
        show("still", *it);
    else if (back)
        store_iterator_seek_for_prev(*it, k), show("seek_for_prev", *it);
    else
        store_iterator_seek(*it, k), show("seek", *it);
    for (uint64_t n = below(l, 8); n > 0 && store_iterator_valid(*it); n--) {
        if (back)
            store_iterator_prev(*it);
        else
            store_iterator_next(*it);
        show(back ? "prev" : "next", *it);
    }
}

static void show_all(struct life *l)
{
    struct store_iterator *it = store_iterator_new(l->store, false);
    for (store_iterator_seek(it, slice_make(NULL, 0)); store_iterator_valid(it); store_iterator_next(it))
        show("holds", it);
    store_iterator_free(&it);
}

static void drop_iterators(struct life *l)
{
    for (size_t i = 0; i < ITERATORS; i++)
        store_iterator_free(&l->iterators[i]);
}

/* false: it is to be killed as it stands. */
static bool live(const char *dir, uint64_t seed, uint64_t number, struct life *l)
{
    char where[256] = "";
    l->random.state = seed * 1000 + number;
    l->sync_writes = below(l, 5) == 0;
    l->marks = number * STEPS;
    struct store_config config = {.dir = dir, .sync_writes = l->sync_writes, .prefix = prefix_of};
    printf("life %llu\n", (unsigned long long)number);
    struct store *second = NULL;
    if (number == 0)
        say("absent", store_open(&config, false, &l->store, where), slice_make(NULL, 0));
    int rc = store_open(&config, number == 0, &l->store, where);
    say("open", rc, slice_make(NULL, 0));
    if (rc != HF_OK)
        return false;
    say("again", store_open(&config, false, &second, where), slice_make(NULL, 0));
    show_all(l);
    for (int i = 0; i < STEPS; i++) {
        uint64_t what = below(l, 40);
        if (what < 16)
            write_some(l);
        else if (what < 22)
            get_one(l, false);
        else if (what < 27)
            get_one(l, true);
        else if (what < 28)
            flush(l, below(l, 2) == 0);
        else if (what == 28 && below(l, 4) == 0)
            compact(l);
        else
            walk(l);
    }
    return below(l, 3) == 0;
}

int main(int argc, char **argv)
{
    must(argc == 3);
    const char *dir = argv[1];
    uint64_t seed = strtoull(argv[2], NULL, 10);
#ifdef TRANSCRIPT_SIM
    struct simstore *medium = simstore_new(dir, seed);
    for (uint64_t i = 0; i < LIVES; i++) {
        struct life l = {0};
        bool close = live(dir, seed, i, &l);
        drop_iterators(&l);
        if (!close)
            simstore_halt(medium);
        store_close(&l.store);
        if (!close)
            simstore_crash(medium);
    }
    simstore_free(&medium);
#else
    for (uint64_t i = 0; i < LIVES; i++) { /* a process each: RocksDB's threads do not survive a fork */
        fflush(NULL);
        pid_t pid = fork();
        must(pid >= 0);
        if (pid == 0) {
            struct life l = {0};
            bool close = live(dir, seed, i, &l);
            drop_iterators(&l);
            if (close)
                store_close(&l.store);
            fflush(NULL);
            _exit(0);
        }
        int status = 0;
        must(waitpid(pid, &status, 0) == pid && status == 0);
    }
#endif
    return 0;
}
