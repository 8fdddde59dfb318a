/* checks.c: the list of checkers, and how an event reaches them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/check.h"
#include "tests/sim/sim.h"

static const struct checker *const all[] = {&check_leaders, &check_log_matching, &check_completeness, &check_machine,
                                            &check_acks,    &check_reads,        &check_votes,        &check_promises,
                                            &check_quorum,  &check_commit,       &check_recovery,     &check_liveness,
                                            &check_durable, &check_snapshots};
#define COUNT (sizeof all / sizeof all[0])
_Static_assert(COUNT == sizeof((struct checks *)0)->states / sizeof(void *), "a state for each checker");

void checks_init(struct checks *c, const char *only)
{
    for (size_t i = 0; i < COUNT; i++) {
        c->states[i] = NULL;
        if (only != NULL && strcmp(only, all[i]->name) != 0)
            continue;
        c->states[i] = calloc(1, all[i]->state_bytes);
        must(c->states[i] != NULL);
    }
}

void checks_deinit(struct checks *c)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (c->states[i] != NULL && all[i]->deinit != NULL)
            all[i]->deinit(c->states[i]);
        free(c->states[i]);
        c->states[i] = NULL;
    }
}

void checks_see(struct sim *sim, struct check_event event)
{
    for (size_t i = 0; i < COUNT && !sim->result.failed; i++)
        if (sim->checks.states[i] != NULL)
            all[i]->see(sim->checks.states[i], sim, &event);
}

bool checks_known(const char *name)
{
    for (size_t i = 0; i < COUNT; i++)
        if (strcmp(all[i]->name, name) == 0)
            return true;
    return false;
}

void check_failed(struct sim *sim, const struct checker *checker, const char *format, ...)
{
    if (sim->result.failed)
        return;
    sim->result.failed = true;
    snprintf(sim->result.checker, sizeof sim->result.checker, "%s", checker->name);
    va_list args;
    va_start(args, format);
    vsnprintf(sim->result.text, sizeof sim->result.text, format, args);
    va_end(args);
}
