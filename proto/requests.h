/* requests.h: reading a client's Request: is it well formed and within the limits (I11, I12). Needs no state.
 *
 * Position: the doors of coordinator and shard check with it before anything else. */
#pragma once

#include <stdbool.h>

#include "common/base/must.h"
#include "proto/client.pb-c.h"

#define REQUESTS_ENGINE_BYTES 15   /* of an engine's name */
#define REQUESTS_WITHOUT_MAX 1024u /* replicas that a change of engine does not wait for */

#define REQUESTS_VERSION 1 /* of the client protocol */
#define REQUESTS_TEXT_BYTES 256
#define REQUESTS_DIGEST_BYTES 32

/* Is it a reply of this protocol, with a code that can be one (I11)? */
static inline bool requests_reply_ok(const Hf__Client__Reply *r)
{
    return r->version == REQUESTS_VERSION && r->code <= 0;
}

/* Version, space, session, sizes and forms of what the operation carries. HF_E_PROTOCOL, HF_E_INVALID, HF_E_LIMIT,
 * HF_E_REFUSED (the catalog at a timestamp): message[] says what is wrong, with the values. */
HF_CHECKED int requests_check(const Hf__Client__Request *q, char message[REQUESTS_TEXT_BYTES]);
