/* admission.h: the checks of a request that need the state machine: range, leases, feature level.
 *
 * Position: front, behind request_check. Thread: loop thread. */
#pragma once

#include "shard/replica/replica.h"
#include "shard/server/request.h"

/* HF_OK, or a code and what to say in message[] (may stay empty). */
HF_CHECKED int admission_check(const struct replica *replica, const Hf__Client__Request *q, struct arena *turn,
                               char message[REQUESTS_TEXT_BYTES]);
