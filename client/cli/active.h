/* active.h: a question that only the active coordinator answers, asked of whichever coordinator is there: a standby hands it on.
 *
 * Position: clock accept, migrate. */
#pragma once

#include "client/admin.h"
#include "client/cli/cli.h"

#define ACTIVE_TEXT_BYTES 1024

/* Within the run's time for a request. The answer's code, or of why there was none, with what was said in message[]; *out (owned)
 * may be NULL where it failed. Who surely did nothing is followed by the next one. `unknown`: what to do when it may be done. */
HF_CHECKED int active_ask(struct cli *c, struct admin *a, Hf__Client__Request *request, const char *unknown,
                          Hf__Client__Reply **out, char message[ACTIVE_TEXT_BYTES]);
