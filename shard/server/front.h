/* front.h: the client's door of a shard: a request comes in, is checked, becomes a write or a read, and is answered.
 *
 * Position: first and last on the way of a request through a shard process; below it is shard/replica.
 * Thread:   loop thread.
 * Every length, identity and range is checked here before anything is queued (I11, I12). */
#pragma once

#include "shard/replica/replica.h"
#include "shard/server/answer.h"

struct front;

/* `socket` is the client endpoint's listener, borrowed. */
struct front *front_new(struct net_socket *socket, struct directory *directory);
void front_free(struct front **f); /* after the replica is closed */

/* What the replica's turn calls. */
struct replica_front front_calls(struct front *f);
void front_attach(struct front *f, struct replica *replica);
