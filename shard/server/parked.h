/* parked.h: users' writes that came while nothing was stamped (a strict cut, a new leader without a time): as they came, in
 * order, until it is over.
 *
 * Position: front puts messages aside here instead of taking them, and takes them later as if they came then.
 * Thread:   loop thread. Limits (I12): PARKED_MAX messages, PARKED_BYTES; a hold lasts milliseconds, at most half a second. */
#pragma once

#include "common/base/list.h"
#include "common/base/must.h"
#include "common/base/slice.h"
#include "common/sys/net.h"

#define PARKED_MAX 8192
#define PARKED_BYTES ((size_t)16 * 1024 * 1024)

struct parked {
    struct list messages; /* owned: struct parked_message */
    size_t count, bytes;
};

struct parked_message {
    struct list link;
    struct net_peer peer;
    size_t size;
    uint8_t bytes[];
};

void parked_init(struct parked *p);
void parked_deinit(struct parked *p);

/* Keeps a copy. HF_E_BUSY: too many. */
HF_CHECKED int parked_add(struct parked *p, const struct net_peer *peer, struct slice bytes);
/* The oldest, which is the caller's to free(); NULL: none. */
struct parked_message *parked_take(struct parked *p);
