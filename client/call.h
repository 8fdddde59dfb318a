/* call.h: making and posting a request; what the public calls of call.c and scan.c share.
 *
 * Thread: any. */
#pragma once

#include "client/client.h"

/* A checked request with room for `bytes` of arguments, counted among the outstanding. HF_E_INVALID, HF_E_BUSY,
 * HF_E_NO_MEMORY. */
HF_CHECKED int call_new(struct hf *h, enum request_kind kind, const struct hf_call *call, size_t bytes,
                        struct hf_future **out);
void call_post(struct hf_future *f); /* from now on the I/O thread's, until it is done */
int call_wait(struct hf_future *f);  /* until it is done, which its deadline makes sure; its code */

static inline struct slice call_slice(struct hf_bytes b)
{
    return slice_make(b.data, b.size);
}
