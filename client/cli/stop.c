/* stop.c: see stop.h. */
#include "client/cli/stop.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static volatile sig_atomic_t asked;

static void note(int number)
{
    asked = number;
}

void stop_on_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = note;
    action.sa_flags = (int)SA_RESETHAND; /* no SA_RESTART: a read that waits for input ends */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool stop_asked(void)
{
    return asked != 0;
}

void stop_end(void)
{
    if (!asked)
        return;
    fflush(stdout);
    signal(asked, SIG_DFL);
    raise(asked);
}
