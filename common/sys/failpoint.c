/* failpoint.c: crash points and planted bugs by environment; empty in packages. */
#include "common/sys/failpoint.h"

#ifdef HF_FAILPOINTS

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/must.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *crash_name; /* borrowed from the environment; NULL: none */
static size_t crash_name_size;
static bool crash_stops;
static atomic_ulong crash_countdown;
static const char *_Atomic planted; /* borrowed; NULL: none */

static void read_environment(void)
{
    crash_name = getenv("HOLDFAST_CRASH_POINT");
    if (crash_name != NULL) {
        const char *colon = strrchr(crash_name, ':');
        crash_name_size = colon != NULL ? (size_t)(colon - crash_name) : strlen(crash_name);
        unsigned long pass = colon != NULL ? strtoul(colon + 1, NULL, 10) : 1;
        must(crash_name_size > 0 && pass > 0); /* a mistyped test would otherwise pass */
        atomic_store(&crash_countdown, pass);
        crash_stops = getenv("HOLDFAST_CRASH_STOPS") != NULL;
    }
    const char *bug = getenv("HOLDFAST_PLANTED_BUG");
    if (bug != NULL)
        atomic_store(&planted, bug);
}

void crash_point(const char *name)
{
    pthread_once(&once, read_environment);
    if (crash_name == NULL || strlen(name) != crash_name_size || memcmp(name, crash_name, crash_name_size) != 0)
        return;
    if (crash_stops)
        raise(SIGSTOP);
    else if (atomic_fetch_sub(&crash_countdown, 1) == 1)
        raise(SIGKILL);
}

bool planted_bug(const char *name)
{
    pthread_once(&once, read_environment);
    const char *bug = atomic_load(&planted);
    return bug != NULL && strcmp(bug, name) == 0;
}

void failpoint_plant(const char *name_or_null)
{
    pthread_once(&once, read_environment);
    atomic_store(&planted, name_or_null);
}

#endif
