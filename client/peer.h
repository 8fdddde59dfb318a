/* peer.h: the servers a handle talks to: one socket per endpoint, opened when first needed.
 *
 * Position: attempt.c sends to them, io.c receives from them.
 * Thread:   I/O thread only. */
#pragma once

#include "client/client.h"

/* The server at `endpoint` (copied), connecting if it is new. NULL: bad endpoint, too many, or out of memory. */
struct peer *peer_get(struct hf *h, const char *endpoint);
/* Packs and hands over one message. HF_E_BUSY and others: not handed over; p->refused_ns says since when. */
HF_CHECKED int peer_send(struct hf *h, struct peer *p, const Hf__Client__Request *request);
void peer_close_all(struct hf *h);
