/* receiver.h: fetches a stream from another replica into snapshots/incoming/, on a thread of its own.
 *
 * It pulls: asks, gives credits, resumes at its offset after a cut, gives up after a time-out without progress.
 * Thread: started and asked by the loop; the state is an atomic, so that the loop looks once a turn. */
#pragma once

#include "common/sys/net.h"
#include "shard/log/identity.h"
#include "shard/snapshot/install.h"

struct receiver;

struct receiver_config {
    struct net *net;
    const char *endpoint; /* of a sender */
    struct disk *disk;
    const char *dir;
    const struct identity *id;
    uint32_t from; /* replica expected there */
    uint64_t min_index;  /* a state older than this is of no use: HF_E_SNAPSHOT_ABSENT */
    uint32_t timeout_ms; /* without progress */
};

enum receiver_state { RECEIVER_RUNNING, RECEIVER_DONE /* staged, checked, synced */, RECEIVER_FAILED };

HF_CHECKED int receiver_start(const struct receiver_config *config, struct receiver **out);
enum receiver_state receiver_state(const struct receiver *r);
const struct stream_header *receiver_header(const struct receiver *r); /* DONE; borrowed */
int receiver_code(const struct receiver *r);                          /* FAILED: why */
const char *receiver_text(const struct receiver *r);                  /* and in words */
uint64_t receiver_bytes(const struct receiver *r);                    /* so far: progress */
void receiver_stop(struct receiver **r);                              /* aborts if running; joins */
