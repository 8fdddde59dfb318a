/* sender.h: serves this replica's state to others: a checkpoint as a stream, on a socket and a thread of its own.
 *
 * Position: beside the loop, which only tells it of the machine; never delays heartbeats. proto/snapshot.proto.
 * A checkpoint is made when asked for, kept while someone reads it or may resume (a time-out), removed after it. At most
 * SENDER_STREAMS_MAX at once; a rate limit over all of them.
 * Thread:   open, serve and close by the loop; all the rest on the sender's own, and a worker for each stream. */
#pragma once

#include "common/sys/net.h"
#include "shard/fsm/fsm.h"
#include "shard/log/identity.h"

#define SENDER_STREAMS_MAX 2
#define SENDER_KEEP_MS 30000 /* a stream whose receiver is silent is kept so long */

struct sender;

struct sender_config {
    struct net *net;
    const char *listen;   /* endpoint; port * = any */
    const char *announce; /* as others reach it; a port * is the one that is bound; NULL: as bound */
    struct disk *disk;
    const char *dir; /* the replica's directory: checkpoints go to <dir>/snapshots/outgoing-<n>/ */
    const struct identity *id;
    uint64_t rate;    /* bytes a second over all streams; 0: no limit */
    uint32_t keep_ms; /* 0: SENDER_KEEP_MS */
};

/* Removes checkpoints that an earlier process left. HF_E_EXISTS, HF_E_INVALID …: the endpoint cannot be had; HF_E_IO. */
HF_CHECKED int sender_open(const struct sender_config *config, struct sender **out);
void sender_close(struct sender **s);                /* waits for a checkpoint that is being made */
const char *sender_endpoint(const struct sender *s); /* as others reach it */
/* A stream is on its way, or was a moment ago: its receiver will need the log from there on. Any thread. */
bool sender_active(const struct sender *s);
/* The machine to serve; NULL: none now (it is about to be closed, or is not to be trusted): returns when no thread uses
 * the old one, and streams of it end. */
void sender_serve(struct sender *s, struct fsm *fsm);
/* The log's epoch from now on: requests of another one are refused. */
void sender_cross(struct sender *s, uint32_t log_epoch);
