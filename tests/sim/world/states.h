/* states.h: whole states between processes: shard/snapshot's sender.h and receiver.h in memory and virtual time.
 *
 * Position: shard/replica's snapshots.c and heal.c call sender_ and receiver_ functions; world.c carries a stream on. Linked in
 *           place of sender.c and receiver.c: it defines every function of their headers, or the linker finds each of them twice.
 * Real:     who asks whom, when and for what (heal.c), what the log is kept for (publish.c), fsm_checkpoint, the stream's
 *           format, staging, the exchange and what a start makes of it.
 * Simulated: the way between the two, as steps of which each may be lost, and a machine's files: one that says which of its
 *           replica's two media (tests/support/simstore.h) it stands on. */
#pragma once

#include "tests/sim/world/world.h"

#define STATES_MEDIUM "/medium-%u-%u" /* of a process, one of two */
#define STATES_FILE "medium"          /* in a machine's directory: which of them */

void states_step(struct world *w, uint32_t process, uint64_t version);
