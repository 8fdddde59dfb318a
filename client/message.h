/* message.h: a request of ours as a message of proto/client.proto.
 *
 * Position: between attempt.c, which decides to send, and peer.c, which sends.
 * Thread:   I/O thread only. */
#pragma once

#include "client/client.h"

/* Packs the next attempt of `r` (its number is r->attempts + 1) and hands it to `p`. Errors as peer_send. */
HF_CHECKED int message_send(struct hf *h, struct hf_future *r, struct peer *p);
