/* call.h: making and posting a request; what the public calls of call.c and scan.c share.
 *
 * Thread: any. */
#pragma once

#include "client/client.h"

/* A checked request with room for `bytes` of arguments, counted among the outstanding. HF_E_INVALID, HF_E_BUSY,
 * HF_E_NO_MEMORY. */
HF_CHECKED int call_new(struct hf *h, enum request_kind kind, const struct hf_call *call, size_t bytes,
                        struct hf_future **out);
/* From now on the I/O thread's, until it is done. out NULL: its callback's, or nobody's. */
void call_post(struct hf_future *f, struct hf_future **out);
/* What a synchronous call posts. In a callback on the handle's thread, which would wait for itself, call_new refuses it. */
struct hf_call call_to_wait(const struct hf *h, uint32_t deadline_ms);
int call_wait(struct hf_future *f); /* until it is done, which its deadline makes sure; its code */
bool call_from_callback(const struct hf *h);

static inline struct slice call_slice(struct hf_bytes b)
{
    return slice_make(b.data, b.size);
}
