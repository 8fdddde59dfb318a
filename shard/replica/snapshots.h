/* snapshots.h: what a replica does with whole states, on threads and sockets of its own: gives its state to others (sender),
 * keeps it in files (keep), takes another's (heal).
 *
 * Position: beside the turn.
 * Thread:   loop thread. */
#pragma once

#include "shard/replica/heal.h"
#include "shard/replica/publish.h"

struct snapshots;

struct snapshots_config {
    struct net *net;
    struct directory *directory; /* its engine is open */
    struct transport *transport;
    struct publish *publish;
    const char *listen, *endpoint; /* where the state is served, and as others reach it; NULL: as bound */
    uint64_t rate;                 /* bytes a second; 0: no limit */
    void *ctx;                     /* of these three, as in heal.h */
    void (*closing)(void *ctx);
    void (*opened)(void *ctx);
    void (*cross)(void *ctx);
};

/* Refuses (exit 6) when the endpoint cannot be had. */
struct snapshots *snapshots_open(const struct snapshots_config *config);
void snapshots_close(struct snapshots **s);
/* Between turns: a state that was fetched is put in place, one that was published is kept. */
void snapshots_turn(struct snapshots *s, uint64_t now_ns);

/* As in heal.h; NULL: nothing is ever fetched. */
void snapshots_needed(struct snapshots *s, uint32_t from, uint64_t index, uint64_t term);
void snapshots_left(struct snapshots *s, uint32_t from, uint32_t epoch);
/* The directory is in another epoch, with another log. */
void snapshots_crossed(struct snapshots *s);
bool snapshots_damaged(struct snapshots *s); /* false: nobody to take another state from */
/* The machine waits to be replaced at the next start: nobody else is given it. */
void snapshots_distrusted(struct snapshots *s);
bool snapshots_healing(const struct snapshots *s);
/* As heal_trouble; `s` NULL: what the directory says. */
const char *snapshots_trouble(struct snapshots *s, const struct directory *d);
