/* receiver.h: fetches a stream from another replica into snapshots/incoming/, on a thread of its own.
 *
 * It pulls: asks, gives credits, resumes at its offset after a cut, begins anew when the sender has lost the stream, gives
 * up after a time-out without progress. What arrives is checked and staged as it comes (snapshot/install.h).
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
    const char *dir; /* the replica's directory */
    const struct identity *id;
    uint32_t from;       /* replica expected there */
    uint64_t min_index;  /* a state older than this is of no use: HF_E_SNAPSHOT_ABSENT */
    uint64_t bytes_max;  /* of the stream: HF_E_SNAPSHOT_TOO_LARGE above; 0: as many as the disk takes */
    uint32_t timeout_ms; /* without progress: HF_E_TIMEOUT, or why the sender refused meanwhile */
};

enum receiver_state { RECEIVER_RUNNING, RECEIVER_DONE /* staged, checked, synced */, RECEIVER_FAILED };

/* The texts of the configuration are copied. HF_E_INVALID: no endpoint. HF_E_LIMIT: no thread or socket to be had. */
HF_CHECKED int receiver_start(const struct receiver_config *config, struct receiver **out);
enum receiver_state receiver_state(const struct receiver *r);
const struct stream_header *receiver_header(const struct receiver *r); /* DONE; borrowed until receiver_stop */
int receiver_code(const struct receiver *r);                           /* FAILED: why */
const char *receiver_text(const struct receiver *r);                   /* and in words; borrowed */
uint64_t receiver_bytes(const struct receiver *r);                     /* so far: progress */
uint64_t receiver_total(const struct receiver *r);       /* of how many, as the sender says; 0: it did not */
uint64_t receiver_progress_ns(const struct receiver *r); /* when bytes last came, or it was started: clock_boot_ns */
/* Aborts if running, and joins: waits for a write or sync that is under way. What is staged stays. */
void receiver_stop(struct receiver **r);

void receiver_metrics(void); /* registers the table; once, at start */
