/* txnrun.c: a transaction as a function of the application that is run again after a conflict. */
#include <time.h>

#include "client/call.h"
#include "client/txn.h"
#include "common/sys/clock.h"

#define PAUSE_MS_MIN 2u
#define PAUSE_MS_MAX 100u
#define DEADLINE_MS 10000u

static uint64_t left_ms(uint64_t end_ns)
{
    uint64_t now = clock_boot_ns();
    return now < end_ns ? (end_ns - now) / CLOCK_NS_PER_MS : 0;
}

/* Surely not done, and another beginning may succeed. */
static bool worth_another(int code)
{
    return code == HF_E_CONFLICT || code == HF_E_RESTART_ABOVE || code == HF_E_TOO_OLD || code == HF_E_KEY_LOCKED;
}

/* So that two that were in each other's way are not again. */
static void pause_before(uint32_t tries, uint64_t end_ns)
{
    struct random random = {clock_boot_ns()};
    uint64_t ms = (uint64_t)PAUSE_MS_MIN << (tries < 6 ? tries : 6), left = left_ms(end_ns);
    ms = ms < PAUSE_MS_MAX ? ms : PAUSE_MS_MAX;
    ms = ms < left ? ms : left;
    if (ms == 0)
        return;
    uint64_t ns = ms * CLOCK_NS_PER_MS / 2;
    ns += random_below(&random, ns);
    nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL);
}

/* *above: where the next one is to begin. */
static int run_once(struct hf *h, hf_txn_fn *fn, void *ctx, uint64_t end_ns, uint64_t *above, uint64_t *out_timestamp)
{
    struct hf_txn *t;
    uint64_t left = left_ms(end_ns);
    if (left == 0)
        return HF_E_TIMEOUT;
    int rc = hf_txn_begin(h, *above, (uint32_t)left, &t);
    if (rc)
        return rc;
    t->deadline_ns = end_ns;
    rc = fn(t, ctx);
    if (rc == HF_OK && !t->ended)
        rc = hf_txn_commit(t, UINT32_MAX, out_timestamp);
    uint64_t told = hf_txn_conflict(t, NULL);
    if (told > *above)
        *above = told;
    hf_txn_free(t);
    return rc;
}

int hf_txn_run(struct hf *h, hf_txn_fn *fn, void *ctx, const struct hf_txn_options *options, uint64_t *out_timestamp)
{
    uint32_t deadline_ms = options && options->deadline_ms ? options->deadline_ms : DEADLINE_MS;
    uint32_t tries_max = options && options->tries_max ? options->tries_max : UINT32_MAX;
    uint64_t above = 0, end_ns = clock_boot_ns() + deadline_ms * CLOCK_NS_PER_MS, timestamp = 0;
    if (!fn || call_from_callback(h))
        return HF_E_INVALID;
    int rc = run_once(h, fn, ctx, end_ns, &above, &timestamp);
    for (uint32_t tries = 1; worth_another(rc) && tries < tries_max && left_ms(end_ns) > 0; tries++) {
        pause_before(tries, end_ns);
        int again = left_ms(end_ns) > 0 ? run_once(h, fn, ctx, end_ns, &above, &timestamp) : rc;
        rc = again == HF_E_TIMEOUT ? rc : again; /* why there was no time left says more */
    }
    if (rc == HF_OK && out_timestamp)
        *out_timestamp = timestamp;
    return rc;
}
