/* stop.h: Ctrl-C (SIGINT) and SIGTERM in a long command: it ends what it began, reports, and then ends by the signal.
 *
 * Position: `holdfast load`. A second signal ends the process at once. */
#pragma once

#include <stdbool.h>

void stop_on_signals(void);
bool stop_asked(void);
/* When a signal came: ends the process by it, as its parent expects of a process that was interrupted. */
void stop_end(void);
