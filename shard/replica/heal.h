/* heal.h: a state machine from another replica, while this one runs: fetched beside the loop, put in place between turns.
 *
 * Position: the replica tells it of the engine's need and asks once a turn; receiver.h fetches, install.h exchanges.
 * States:   idle → fetching [there is need, a leader, and it said where its state is] → idle [put in place, dropped, failed]
 *           A replica whose group went on in a later epoch asks who told it so.
 * Invariants: one stream at a time; a failed one is tried again after a pause that doubles; never backwards: what does not
 *           come behind the machine that is there is dropped. What is dropped, or fails, leaves nothing on disk.
 * Thread:   loop thread. */
#pragma once

#include "common/sys/net.h"
#include "shard/replica/directory.h"
#include "shard/replica/transport.h"

struct heal;

struct heal_config {
    struct net *net;             /* borrowed, as the rest */
    struct directory *directory; /* its engine is open */
    struct transport *transport;
    /* Everybody who looks at directory->fsm lets go of it, and takes the new one. */
    void *ctx;
    void (*closing)(void *ctx);
    void (*opened)(void *ctx);
    /* The machine is one of a later epoch, or sealed in it: the directory goes over and opens another engine. */
    void (*cross)(void *ctx);
};

struct heal *heal_new(const struct heal_config *config);
void heal_free(struct heal **h); /* a stream that is under way is given up */

/* As engine_env.snapshot_needed. */
void heal_needed(struct heal *h, uint32_t from, uint64_t index, uint64_t term, uint64_t now_ns);
/* The group went on in `epoch` without this replica, whose log lacks what it needs to follow: the state of `from`, which is there, is
 * taken, whoever leads here. Repeated while that is so. */
void heal_left(struct heal *h, uint32_t from, uint32_t epoch);
/* This replica is in another epoch now: what was needed of the old one is not any more. */
void heal_crossed(struct heal *h);
/* The machine that is there gave damaged data: it is replaced by any that is further on. */
void heal_damaged(struct heal *h);
/* Between turns. */
void heal_turn(struct heal *h, uint64_t now_ns);
bool heal_running(const struct heal *h); /* a stream is under way, or should be */
/* For people: what is being healed, how far that is or why it stands still. Borrowed until the next call; "": nothing. */
const char *heal_trouble(struct heal *h);
