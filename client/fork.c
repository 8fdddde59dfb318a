/* fork.c: see fork.h. */
#include "client/fork.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/base/error.h"

static _Atomic uint32_t forks;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool watching; /* lock */

static void in_child(void)
{
    atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
    pthread_mutex_init(&lock, NULL); /* another thread may have held it */
}

int fork_watch(void)
{
    pthread_mutex_lock(&lock);
    if (!watching)
        watching = pthread_atfork(NULL, NULL, in_child) == 0;
    bool ok = watching;
    pthread_mutex_unlock(&lock);
    return ok ? HF_OK : HF_E_NO_MEMORY;
}

uint32_t fork_count(void)
{
    return atomic_load_explicit(&forks, memory_order_relaxed);
}
