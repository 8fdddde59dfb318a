/* requests.h: reading a client's Request: is it well formed and within the limits (I11, I12). Needs no state.
 *
 * Position: the doors of coordinator and shard check with it before anything else. */
#pragma once

#include "common/base/must.h"
#include "proto/client.pb-c.h"

#define REQUESTS_VERSION 1 /* of the client protocol */
#define REQUESTS_TEXT_BYTES 256
#define REQUESTS_DIGEST_BYTES 32

/* Version, space, session, sizes and forms of what the operation carries. HF_E_PROTOCOL, HF_E_INVALID, HF_E_LIMIT,
 * HF_E_REFUSED (reads at a timestamp): message[] says what is wrong, with the values. */
HF_CHECKED int requests_check(const Hf__Client__Request *q, char message[REQUESTS_TEXT_BYTES]);
