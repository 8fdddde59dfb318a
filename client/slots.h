/* slots.h: requests under way by the id their messages carry: slot, generation of the slot's use, attempt.
 *
 * Position: attempt.c names each attempt by it, io.c finds the request of a reply.
 * Thread:   I/O thread only. */
#pragma once

#include "client/client.h"

/* Gives `r` a slot and its timer a place. HF_E_NO_MEMORY, HF_E_BUSY (all slots taken): `r` has none. */
HF_CHECKED int slots_take(struct hf *h, struct hf_future *r);
/* Nothing that was sent for `r` before is answered to it any more. */
void slots_renew(struct hf *h, struct hf_future *r);
void slots_release(struct hf *h, struct hf_future *r);
/* The id of the attempt of `r` with this number (from 1). */
uint64_t slots_id(const struct hf_future *r, uint32_t attempt);
/* NULL: nobody waits for this id any more. */
struct hf_future *slots_find(const struct hf *h, uint64_t id, uint32_t *out_attempt);
