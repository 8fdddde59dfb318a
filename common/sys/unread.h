/* unread.h: how many bytes were handed to ZeroMQ for each peer of a listener and not taken from it yet.
 *
 * Position: below net.c. ZeroMQ bounds what waits for a peer by messages; a reply may be a thousand times another's size.
 * Thread:   the listener's owner asks and counts up; ZeroMQ's I/O threads count down when a message is gone.
 * Small messages are not counted: the high-water mark bounds them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/hashmap.h"
#include "common/base/slice.h"

#define UNREAD_SMALL_BYTES ((size_t)1024)                  /* up to this a message is not counted */
#define UNREAD_PEER_BYTES_MAX ((size_t)64 * 1024 * 1024)   /* of one peer, one message apart */
#define UNREAD_TOTAL_BYTES_MAX ((size_t)512 * 1024 * 1024) /* of all; above it each peer has only */
#define UNREAD_PEER_SHARE_BYTES ((size_t)1024 * 1024)      /* this, one message apart */

struct unread {
    struct hashmap peers; /* hash of the routing id → struct unread_peer, owned with the messages under way */
    size_t sweep_at;
};

void unread_deinit(struct unread *u); /* messages under way count down later */

/* May another large message wait for this peer? */
bool unread_full(const struct unread *u, struct slice peer);

/* A message that counts until unread_done: either `copied` into it, or *owned (malloc'ed, taken, NULL afterwards). */
struct unread_message;
struct unread_message *unread_copy(struct unread *u, struct slice peer, struct slice copied); /* NULL: out of memory */
struct unread_message *unread_take(struct unread *u, struct slice peer, uint8_t **owned, size_t size);
void *unread_data(struct unread_message *m);
void unread_done(void *data, void *message); /* as ZeroMQ calls it, from any thread; frees */

void unread_metrics(void); /* registers the table; once */
