/* future.h: how a finished request reaches the application: futures, queues, and the lock they share.
 *
 * Position: the last step of a request's way through the library. */
#pragma once

#include "client/client.h"

struct meeting *future_meeting_new(void); /* one reference; NULL: out of memory */
void future_meeting_unref(struct meeting **m);

/* Room for `bytes` of arguments behind it. meeting may be NULL (the library's own). NULL: out of memory. */
struct hf_future *future_new(struct hf *h, struct meeting *meeting, enum request_kind kind, size_t bytes);
/* Copies s into the room; the copy. */
struct slice future_copy(struct hf_future *f, struct slice s);
/* Whoever owns it alone. NULL is ignored. */
void future_destroy(struct hf_future *f);

/* I/O thread, end of a turn: every request in `finished` is done from now on and no longer ours. */
void future_deliver(struct hf *h, struct list *finished);

/* hf_queue_take with a finer clock, for the benchmark's open loop. */
size_t future_take(struct hf_queue *q, uint64_t timeout_ns, struct hf_future **out, size_t max);
