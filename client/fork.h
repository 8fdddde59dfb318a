/* fork.h: how a handle, queue or future notices that it is used in a child of the process that made it.
 *
 * A child has neither the handle's thread nor whoever held a lock; ZeroMQ's sockets there would be the parent's.
 * Thread: any. */
#pragma once

#include <stdint.h>

#include "common/base/must.h"

/* From the first success on forks are counted. HF_E_NO_MEMORY. */
HF_CHECKED int fork_watch(void);
/* How many forks lie between the process that first watched and this one: what was made at another count is not ours. */
uint32_t fork_count(void);
