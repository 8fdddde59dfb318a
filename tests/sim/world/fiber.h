/* fiber.h: a process's own stack, so that its loop can wait in the middle of a turn while others run.
 *
 * Position: process.c runs each process on one. Thread: one for all. */
#pragma once

struct fiber;

struct fiber *fiber_new(void (*run)(void *ctx), void *ctx); /* `run` never returns: it yields for ever instead */
void fiber_free(struct fiber **f);                          /* wherever it stands; what its stack owned is leaked */
void fiber_resume(struct fiber *f);                         /* until it yields */
void fiber_yield(void);                                     /* back to who resumed it */
