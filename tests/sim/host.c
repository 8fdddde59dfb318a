/* host.c: what a process finds where the machine is, led here by the linker's --wrap: clocks, disk, random numbers, an end. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/digest.h"
#include "common/sys/metrics.h"
#include "tests/sim/node.h"
#include "tests/sim/world/process.h"

struct disk *__wrap_disk_posix(void);
uint64_t __wrap_clock_boot_ns(void);
uint64_t __wrap_clock_wall_ms(void);
uint64_t __wrap_digest_random_u64(void);
void __wrap_metrics_register(struct metric *table, size_t count);
void __wrap_metrics_register_histogram(struct metric_histogram *h);
void __wrap_diag(enum diag_level level, const char *format, ...) HF_PRINTF(2, 3);
HF_NORETURN void __wrap_fatal(const char *format, ...) HF_PRINTF(1, 2);
HF_NORETURN void __wrap_refuse(const char *format, ...) HF_PRINTF(1, 2);

static struct process *process(void)
{
    return world_now != NULL ? world_now->current : NULL;
}

struct disk *__wrap_disk_posix(void)
{
    if (process() != NULL)
        return simdisk_disk(process()->disk);
    struct node *n = logtap_node();
    must(n != NULL);
    return simdisk_disk(n->disk);
}

uint64_t __wrap_clock_boot_ns(void)
{
    return process() != NULL ? process_clock(process()) : 0;
}

uint64_t __wrap_clock_wall_ms(void)
{
    return process() != NULL ? process_wall_ms(process()) : 0;
}

uint64_t __wrap_digest_random_u64(void)
{
    must(process() != NULL);
    return random_next(&process()->random) | 1;
}

void __wrap_metrics_register(struct metric *table, size_t count)
{
    (void)table, (void)count;
}

void __wrap_metrics_register_histogram(struct metric_histogram *h)
{
    (void)h;
}

static void say(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

static void say(const char *format, va_list args)
{
    if (process() == NULL || !world_now->options.verbose)
        return;
    printf("%10.3f ms  %u  says: ", (double)world_now->now / 1e6, process()->number);
    vprintf(format, args);
    printf("\n");
}

/* No pointer may be ahead of what is durable (I4): where nothing was damaged a start skips, whatever it died of. */
static void judge_start(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

static void judge_start(const char *format, va_list args)
{
    char text[300];
    vsnprintf(text, sizeof text, format, args);
    if (!simdisk_halted(process()->disk) && !process()->damaged && strstr(text, "state=ahead ") == NULL &&
        strstr(text, "state=equal ") == NULL && strstr(text, "state=fresh ") == NULL)
        world_failed(world_now, "world.state", "process %u: %s", process()->number, text);
}

void __wrap_diag(enum diag_level level, const char *format, ...)
{
    va_list args;
    (void)level;
    if (process() != NULL && strncmp(format, "cold start ", 11) == 0) {
        va_start(args, format);
        judge_start(format, args);
        va_end(args);
    }
    va_start(args, format);
    say(format, args);
    va_end(args);
}

/* A disk of ours failed and the process says so: it is dead. A state that is half in place for want of room is for the
 * next start to finish, one that was misread for it to replace. Anything else it may not end for. */
void __wrap_fatal(const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    must(process() != NULL);
    bool amid_install = strstr(text, "put in place") != NULL || strstr(text, "the log cannot follow") != NULL;
    bool misread = process()->damaged && strstr(text, "the state machine is damaged") != NULL;
    if (!simdisk_halted(process()->disk) && !(amid_install && process()->short_of_space) && !misread)
        world_failed(world_now, "world.state", "process %u ended itself: %s", process()->number, text);
    process_end(process());
}

void __wrap_refuse(const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    must(process() != NULL);
    bool no_space = process()->short_of_space && strstr(text, error_text(HF_E_NO_SPACE)) != NULL;
    if (!simdisk_halted(process()->disk) && !no_space)
        world_failed(world_now, "world.state", "process %u does not start: %s", process()->number, text);
    process_end(process());
}

/* ---- threads: what one of them does is done when it is started ---- */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *ctx);
int __wrap_pthread_join(pthread_t thread, void **out);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *ctx)
{
    (void)attributes;
    *thread = pthread_self();
    (void)run(ctx);
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **out)
{
    (void)thread, (void)out;
    return 0;
}
