/* fiber.c: contexts of ucontext.h on stacks of their own, kept for reuse. */
#include "tests/sim/world/fiber.h"

#include <stdbool.h>
#include <stdlib.h>
#include <ucontext.h>

#include "common/base/must.h"

#define STACK_BYTES ((size_t)256 * 1024)
#define POOL 32

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

struct fiber {
    ucontext_t context, back;
    void (*run)(void *ctx);
    void *ctx;
    char *stack;            /* owned */
    void *fake, *fake_back; /* of the address sanitizer */
    const void *back_stack;
    size_t back_bytes;
};

static struct fiber *current;
static char *pool[POOL];
static unsigned pooled;

static void switch_to(struct fiber *f, bool in)
{
#ifdef __SANITIZE_ADDRESS__
    if (in)
        __sanitizer_start_switch_fiber(&f->fake_back, f->stack, STACK_BYTES);
    else
        __sanitizer_start_switch_fiber(&f->fake, f->back_stack, f->back_bytes);
#endif
    must((in ? swapcontext(&f->back, &f->context) : swapcontext(&f->context, &f->back)) == 0);
#ifdef __SANITIZE_ADDRESS__
    if (in)
        __sanitizer_finish_switch_fiber(f->fake_back, NULL, NULL);
    else
        __sanitizer_finish_switch_fiber(f->fake, &f->back_stack, &f->back_bytes);
#endif
}

static void begin(void)
{
    struct fiber *f = current;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(NULL, &f->back_stack, &f->back_bytes);
#endif
    f->run(f->ctx);
    for (;;)
        fiber_yield();
}

struct fiber *fiber_new(void (*run)(void *ctx), void *ctx)
{
    struct fiber *f = calloc(1, sizeof *f);
    must(f != NULL);
    f->run = run;
    f->ctx = ctx;
    f->stack = pooled > 0 ? pool[--pooled] : malloc(STACK_BYTES);
    must(f->stack != NULL && getcontext(&f->context) == 0);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&f->context, begin, 0);
    return f;
}

void fiber_free(struct fiber **f)
{
    if (*f == NULL)
        return;
    must(current != *f);
#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION((*f)->stack, STACK_BYTES); /* frames that never returned */
#endif
    if (pooled < POOL)
        pool[pooled++] = (*f)->stack;
    else
        free((*f)->stack);
    free(*f);
    *f = NULL;
}

void fiber_resume(struct fiber *f)
{
    must(current == NULL);
    current = f;
    switch_to(f, true);
    current = NULL;
}

void fiber_yield(void)
{
    must(current != NULL);
    switch_to(current, false);
}
