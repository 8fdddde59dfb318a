/* fakeclock.c: see fakeclock.h. */
#include "tests/support/fakeclock.h"

#include <pthread.h>
#include <time.h>

#include "common/base/must.h"

#define STEP_NS_MAX (UINT64_C(2000000) * FAKECLOCK_TURN_MS) /* two fakes turn at different moments */

uint64_t __wrap_clock_boot_ns(void);
uint64_t __wrap_clock_wall_ms(void);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t now_ns, seen_ns; /* what it shows; the machine's when it last moved */
static uint32_t running, turned; /* fakes, a bit for each */

static uint64_t machine_ns(clockid_t clock)
{
    struct timespec t;
    must(clock_gettime(clock, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void move(uint64_t most_ns)
{
    uint64_t real_ns = machine_ns(CLOCK_BOOTTIME), passed_ns = real_ns - seen_ns;
    now_ns += passed_ns < most_ns ? passed_ns : most_ns;
    seen_ns = real_ns;
}

uint64_t __wrap_clock_boot_ns(void)
{
    pthread_mutex_lock(&lock);
    if (running == 0)
        move(UINT64_MAX);
    uint64_t shown_ns = now_ns;
    pthread_mutex_unlock(&lock);
    return shown_ns;
}

uint64_t __wrap_clock_wall_ms(void)
{
    static _Atomic uint64_t ahead_ns; /* of the other */
    uint64_t ns = __wrap_clock_boot_ns();
    if (ahead_ns == 0)
        ahead_ns = machine_ns(CLOCK_REALTIME) - ns;
    return (ns + ahead_ns) / 1000000u;
}

uint32_t fakeclock_begin(void)
{
    pthread_mutex_lock(&lock);
    if (running == 0)
        move(UINT64_MAX);
    uint32_t fake = ~running & (running + 1); /* the lowest bit that is free */
    must(fake);
    running |= fake;
    pthread_mutex_unlock(&lock);
    return fake;
}

void fakeclock_turn(uint32_t fake)
{
    pthread_mutex_lock(&lock);
    turned |= fake;
    if (turned == running) {
        move(STEP_NS_MAX);
        turned = 0;
    }
    pthread_mutex_unlock(&lock);
}

void fakeclock_end(uint32_t fake)
{
    pthread_mutex_lock(&lock);
    running &= ~fake;
    turned &= running;
    if (running == 0)
        move(STEP_NS_MAX);
    pthread_mutex_unlock(&lock);
}
