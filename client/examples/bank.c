/* bank.c: money moves between accounts, and none is made or lost: each transfer is one transaction, over whichever shards its
 * accounts lie in.
 *
 * bank ENDPOINTS open N AMOUNT           opens the accounts 0 … N-1 with so much in each: keys account/0, savings/1, account/2 …
 * bank ENDPOINTS move FROM TO AMOUNT     moves it, unless there is less in FROM
 * bank ENDPOINTS run N TIMES             moves 1 to 9 between accounts at random, so often; says how long the longest took
 * bank ENDPOINTS total                   adds all accounts up, as of one moment
 *
 * hf_txn_run repeats a transfer that met another one. An unknown outcome it does not repeat: the transfer may be done. So each
 * run of this program counts its transfers in a key of its own, in the same transaction: reading it tells. */
#include <holdfast/holdfast.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEADLINE_MS 5000u
#define TEXT_BYTES 64
#define TRIES_MAX 12
#define TOO_LITTLE 1 /* what a transfer returns that is not to be made; the library's codes are negative */

struct transfer {
    struct hf *h;
    char from[TEXT_BYTES], to[TEXT_BYTES];
    long amount;
    char counter[TEXT_BYTES]; /* the key that counts; "": nobody counts */
    long step;                /* what it holds when this transfer is done */
    int done;                 /* look_into: it is */
};

static struct hf_bytes text(const char *s)
{
    struct hf_bytes b = {s, strlen(s)};
    return b;
}

static long number(const void *data, size_t size)
{
    char digits[TEXT_BYTES];
    snprintf(digits, sizeof digits, "%.*s", (int)size, (const char *)data);
    return strtol(digits, NULL, 10);
}

static int read_number(struct hf_txn *t, const char *key, long *out)
{
    struct hf_value value;
    int rc = hf_txn_get(t, text(key), DEADLINE_MS, &value);
    if (rc)
        return rc;
    *out = number(value.data, value.size);
    hf_value_free(&value);
    return HF_OK;
}

static int write_number(struct hf_txn *t, const char *key, long n)
{
    char digits[TEXT_BYTES];
    snprintf(digits, sizeof digits, "%ld", n);
    return hf_txn_put(t, text(key), text(digits), 0);
}

/* One transfer. It may be run several times, of which one counts: it changes nothing but the transaction. */
static int transfer(struct hf_txn *t, void *ctx)
{
    const struct transfer *m = ctx;
    long from, to;
    int rc = read_number(t, m->from, &from);
    if (rc == HF_OK && from < m->amount)
        return TOO_LITTLE;
    if (rc == HF_OK)
        rc = write_number(t, m->from, from - m->amount);
    if (rc == HF_OK)
        rc = read_number(t, m->to, &to); /* sees the line above, should it be the same account */
    if (rc == HF_OK)
        rc = write_number(t, m->to, to + m->amount);
    if (rc == HF_OK && m->counter[0])
        rc = write_number(t, m->counter, m->step);
    return rc;
}

/* After an unknown outcome: is it done? This one reads and writes the same counter, so once it is through, the one in doubt
 * is decided: done before, or in conflict with this for ever. */
static int look_into(struct hf_txn *t, void *ctx)
{
    struct transfer *m = ctx;
    long count = 0;
    int rc = read_number(t, m->counter, &count);
    if (rc == HF_OK || rc == HF_E_NOT_FOUND)
        rc = write_number(t, m->counter, count);
    m->done = count == m->step;
    return rc;
}

/* Surely not done, because nobody was there to do it (a leader or a coordinator is being replaced), or others always were first. */
static int worth_another(int rc)
{
    enum hf_class cls = hf_error_class(rc);
    return rc == HF_E_TIMEOUT || rc == HF_E_CONFLICT || cls == HF_CLASS_RETRY_SAME || cls == HF_CLASS_RETRY_ELSEWHERE;
}

/* The transfer happens exactly once, or it is said why not. */
static int move(struct transfer *m)
{
    const struct hf_txn_options options = {.deadline_ms = DEADLINE_MS};
    int rc = HF_OK;
    m->done = 0;
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        rc = hf_txn_run(m->h, transfer, m, &options, NULL);
        if (rc == HF_OK || rc == TOO_LITTLE)
            return rc;
        if (hf_error_class(rc) != HF_CLASS_OUTCOME_UNKNOWN && !worth_another(rc))
            return rc;
        if (hf_error_class(rc) != HF_CLASS_OUTCOME_UNKNOWN)
            continue;
        for (int looks = 0; looks < TRIES_MAX; looks++) { /* to look twice does no harm, whatever became of it */
            rc = hf_txn_run(m->h, look_into, m, &options, NULL);
            if (hf_error_class(rc) != HF_CLASS_OUTCOME_UNKNOWN && !worth_another(rc))
                break;
        }
        if (rc || m->done)
            return rc;
    }
    return rc;
}

/* Of two kinds, which lie apart in the order of keys, and so in different shards. */
static void name_account(char out[TEXT_BYTES], unsigned long i)
{
    snprintf(out, TEXT_BYTES, "%s/%lu", i % 2 ? "savings" : "account", i);
}

struct opening {
    unsigned long count;
    long amount;
};

static int open_all(struct hf_txn *t, void *ctx)
{
    const struct opening *o = ctx;
    char key[TEXT_BYTES];
    int rc = hf_txn_delete_prefix(t, text("account/"));
    if (rc == HF_OK)
        rc = hf_txn_delete_prefix(t, text("savings/"));
    for (unsigned long i = 0; rc == HF_OK && i < o->count; i++) {
        name_account(key, i);
        rc = write_number(t, key, o->amount);
    }
    return rc;
}

static int add_up_range(struct hf_txn *t, const char *start, const char *end, long *total)
{
    struct hf_range range = {.start = text(start), .end = text(end)};
    char next_start[TEXT_BYTES];
    for (int more = 1; more;) {
        struct hf_future *page;
        struct hf_bytes next;
        int rc = hf_txn_scan(t, &range, DEADLINE_MS, &page);
        if (rc)
            return rc;
        for (size_t i = 0; i < hf_future_count(page); i++) {
            struct hf_item item = hf_future_item(page, i);
            *total += number(item.value.data, item.value.size);
        }
        more = hf_future_more(page, &next);
        if (more && next.size <= sizeof next_start) {
            memcpy(next_start, next.data, next.size);
            range.start.data = next_start;
            range.start.size = next.size;
        }
        hf_future_free(page);
    }
    return HF_OK;
}

static int add_up(struct hf_txn *t, void *ctx)
{
    long *total = ctx;
    *total = 0;
    int rc = add_up_range(t, "account/", "account0", total);
    return rc == HF_OK ? add_up_range(t, "savings/", "savings0", total) : rc;
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static int run_many(struct hf *h, unsigned long accounts, unsigned long times)
{
    struct timespec now;
    long long longest = 0;
    clock_gettime(CLOCK_REALTIME, &now);
    unsigned seed = (unsigned)now.tv_nsec;
    struct transfer m = {.h = h};
    snprintf(m.counter, sizeof m.counter, "transfers/%lld.%09ld", (long long)now.tv_sec, now.tv_nsec);
    int rc = HF_OK;
    for (unsigned long i = 0; i < times && (rc == HF_OK || rc == TOO_LITTLE); i++) {
        name_account(m.from, (unsigned long)rand_r(&seed) % accounts);
        name_account(m.to, (unsigned long)rand_r(&seed) % accounts);
        m.amount = 1 + rand_r(&seed) % 9;
        m.step++;
        long long begin = now_ms();
        rc = move(&m);
        if (now_ms() - begin > longest)
            longest = now_ms() - begin;
        m.step -= rc == TOO_LITTLE; /* it was not made: nothing counted it */
    }
    printf("%ld transfers, the longest took %lld ms\n", m.step, longest);
    return rc == TOO_LITTLE ? HF_OK : rc;
}

static int command(struct hf *h, int argc, char **argv)
{
    const char *name = argv[2];
    if (argc == 5 && strcmp(name, "open") == 0 && strtoul(argv[3], NULL, 10) > 0) {
        struct opening o = {strtoul(argv[3], NULL, 10), strtol(argv[4], NULL, 10)};
        return hf_txn_run(h, open_all, &o, NULL, NULL);
    }
    if (argc == 6 && strcmp(name, "move") == 0 && strtol(argv[5], NULL, 10) > 0) { /* less would take it from TO */
        struct transfer m = {.h = h, .amount = strtol(argv[5], NULL, 10), .step = 1};
        name_account(m.from, strtoul(argv[3], NULL, 10));
        name_account(m.to, strtoul(argv[4], NULL, 10));
        snprintf(m.counter, sizeof m.counter, "transfers/%lld.%ld", (long long)time(NULL), (long)clock());
        return move(&m);
    }
    if (argc == 5 && strcmp(name, "run") == 0 && strtoul(argv[3], NULL, 10) > 0)
        return run_many(h, strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
    if (argc == 3 && strcmp(name, "total") == 0) {
        long total;
        int rc = hf_txn_run(h, add_up, &total, NULL, NULL);
        if (rc == HF_OK)
            printf("%ld\n", total);
        return rc;
    }
    return HF_E_INVALID;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bank ENDPOINTS open N AMOUNT | move FROM TO AMOUNT | run N TIMES | total\n");
        return 2;
    }
    struct hf_options options = {.endpoints = argv[1]};
    struct hf *h = NULL;
    int rc = hf_open(&options, HF_ABI, &h);
    if (rc == HF_OK)
        rc = command(h, argc, argv);
    hf_close(&h);
    if (rc)
        fprintf(stderr, "bank: %s\n", rc == TOO_LITTLE ? "there is too little in the account" : hf_error_text(rc));
    return rc != 0;
}
