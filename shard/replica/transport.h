/* transport.h: the way between replicas of one group: who may speak to whom, and envelopes around an engine's messages.
 *
 * Position: replica hands the engine's messages here and takes received ones from here.
 * Thread:   loop thread.
 * One listening socket takes from all peers; one connection to each peer sends. Nothing is queued for a peer that is
 * not connected, and anything may be dropped: engines keep their own heartbeats and repeat what matters. */
#pragma once

#include "common/sys/net.h"
#include "proto/catalog.pb-c.h"
#include "proto/raft.pb-c.h"
#include "shard/log/identity.h"

struct transport;

/* HF_E_EXISTS: the address is in use. HF_E_INVALID: bad endpoint. `id` is copied. */
HF_CHECKED int transport_open(struct net *net, const char *endpoint, const struct identity *id, struct transport **out);
void transport_close(struct transport **t);

/* Connects to members that are new or have moved, drops those that left. From then on these are heard; of whoever is no
 * member of the configuration this replica knows only requests, and only while no other leader is followed here: it may have
 * come by a change that this replica slept through. It is answered at the address it gives. */
void transport_members(struct transport *t, const Hf__Catalog__Members *members);

/* What the engine knows: 0: it follows nobody. */
void transport_follows(struct transport *t, uint32_t leader, uint64_t term);

/* From now on this replica's heartbeats tell where it serves its state (copied). */
void transport_announce(struct transport *t, const char *snapshot_endpoint);
/* Where `replica` last said that it serves its state; NULL: it did not. Borrowed until the next receive. */
const char *transport_snapshots(const struct transport *t, uint32_t replica);

/* Sends or drops. `commit` is the sender's commit index. */
void transport_send(struct transport *t, uint32_t to, const Hf__Raft__Raft *m, uint64_t commit);

/* The end of the log is applied here: the others are told, who may go over at the same time. */
void transport_tell_end(struct transport *t, const struct identity_left *left);
/* The group went on in the next epoch, and so did this replica: `id` says from where. The others are told. */
void transport_cross(struct transport *t, const struct identity *id);

/* The next message, borrowed until the next call: an engine's, or `sealed`: a member that went on says where the log before its own ended,
 * which is ours, or one after it; or, of our own epoch, that it has arrived, too. Who speaks of a log that was left is told so here. HF_E_AGAIN: none waits. HF_E_PROTOCOL: one was dropped and counted because
 * it does not match cluster, group, log epoch, engine or incarnation, or its sender is no member and may not be one (I11); more may wait. */
HF_CHECKED int transport_receive(struct transport *t, const Hf__Raft__Envelope **out);

struct net_socket *transport_socket(const struct transport *t); /* for polling */
