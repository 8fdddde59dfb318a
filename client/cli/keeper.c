/* keeper.c: see keeper.h. */
#include "client/cli/keeper.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/base/must.h"
#include "common/sys/clock.h"
#include "common/sys/digest.h"

#define LEASE_MS 30000u /* a coordinator may grant less */
#define ASK_MS 5000u
#define AGAIN_MS 1000u /* after a failure, and before the first: most commands are done by then */
#define SLICE_MS 50u   /* how soon it notices that it is over */

struct keeper {
    struct hf *h;
    uint64_t reader;
    pthread_t thread;
    _Atomic uint64_t at;
    _Atomic bool stop;
};

/* Asks once; what was granted, 0: nothing. */
static uint32_t ask(struct keeper *k)
{
    struct hf_future *f;
    const struct hf_call call = {.deadline_ms = ASK_MS};
    uint64_t at = atomic_load(&k->at);
    if (at == 0 || hf_retain_async(k->h, k->reader, at, LEASE_MS, &call, &f))
        return 0;
    int rc;
    do
        rc = hf_future_wait(f, SLICE_MS);
    while (rc == HF_E_AGAIN && !atomic_load(&k->stop));
    uint32_t granted = rc == HF_OK ? hf_future_lease_ms(f) : 0;
    hf_future_free(f);
    return granted;
}

static void *run(void *ctx)
{
    struct keeper *k = ctx;
    uint64_t next_ns = clock_boot_ns() + AGAIN_MS * CLOCK_NS_PER_MS;
    const struct timespec slice = {.tv_nsec = (long)(SLICE_MS * CLOCK_NS_PER_MS)};
    while (!atomic_load(&k->stop)) {
        if (clock_boot_ns() < next_ns) {
            (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &slice, NULL);
            continue;
        }
        uint32_t granted = ask(k);
        next_ns = clock_boot_ns() + (granted > 0 ? granted / 3 : AGAIN_MS) * CLOCK_NS_PER_MS;
    }
    return NULL;
}

struct keeper *keeper_begin(struct hf *h)
{
    sigset_t all, was;
    struct keeper *k = calloc(1, sizeof *k);
    must(k != NULL); /* out of memory */
    k->h = h;
    k->reader = digest_random_u64() | 1;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &was); /* signals are the command's */
    int rc = pthread_create(&k->thread, NULL, run, k);
    (void)pthread_sigmask(SIG_SETMASK, &was, NULL);
    if (rc == 0)
        return k;
    free(k);
    return NULL;
}

void keeper_at(struct keeper *k, uint64_t at)
{
    if (k != NULL)
        atomic_store(&k->at, at);
}

void keeper_end(struct keeper **k)
{
    if (*k == NULL)
        return;
    atomic_store(&(*k)->stop, true);
    must(pthread_join((*k)->thread, NULL) == 0);
    free(*k);
    *k = NULL;
}
