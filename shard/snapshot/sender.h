/* sender.h: serves this replica's state to others: a checkpoint as a stream, on a socket and a thread of its own.
 *
 * Position: beside the loop, which only tells it of the machine; never delays heartbeats. proto/snapshot.proto.
 * A checkpoint is made when asked for, kept while someone reads it or may resume (a time-out), removed after it. At most
 * two streams at once; a rate limit over all of them. */
#pragma once

#include "common/sys/net.h"
#include "shard/fsm/fsm.h"
#include "shard/log/identity.h"

struct sender;

struct sender_config {
    struct net *net;
    const char *listen;   /* endpoint; port * = any */
    const char *announce; /* as others reach it; NULL: as bound */
    struct disk *disk;
    const char *dir; /* the replica's directory: checkpoints go to <dir>/snapshots/outgoing-<n>/ */
    const struct identity *id;
    uint64_t rate; /* bytes a second over all streams; 0: no limit */
};

/* HF_E_IO …: the endpoint cannot be had. */
HF_CHECKED int sender_open(const struct sender_config *config, struct sender **out);
void sender_close(struct sender **s);
const char *sender_endpoint(const struct sender *s); /* as others reach it */
/* The machine to serve; NULL: none now (an install is about to close it): returns when no thread uses the old one. */
void sender_serve(struct sender *s, struct fsm *fsm);
