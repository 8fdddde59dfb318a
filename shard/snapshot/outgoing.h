/* outgoing.h: one stream on its way out: a worker makes the checkpoint and writes the stream; chunks wait here until they
 * are acknowledged, so that they can be sent again after a cut.
 *
 * Position: sender.c keeps one for each receiver. A slow checkpoint holds up nobody but its own stream.
 * Thread:   the calls are the sender's; the worker fills chunks and stops when TRANSFER_WINDOW_BYTES wait (I12).
 *
 *   making → writing → written [worker ends, its directory is gone]; from each → failed [worker ends] */
#pragma once

#include "common/base/must.h"
#include "common/sys/disk.h"
#include "common/sys/mailbox.h"
#include "shard/log/identity.h"
#include "shard/snapshot/transfer.h"

struct outgoing; /* opaque */

struct outgoing_config {
    struct disk *disk;
    const char *dir; /* of the checkpoint; copied */
    /* Makes it, in the worker. HF_E_NOT_READY: there is no machine now. */
    int (*checkpoint)(void *ctx, const char *dir, char where[256]);
    void *ctx;
    const struct identity *id; /* whose state it must be; copied */
    uint64_t min_index;        /* an older state: HF_E_SNAPSHOT_ABSENT */
    struct mailbox *wake;      /* woken when there is something new */
};

/* HF_E_LIMIT: no thread to be had. */
HF_CHECKED int outgoing_start(const struct outgoing_config *config, struct outgoing **out);
void outgoing_cancel(struct outgoing *o);      /* the worker ends as soon as it can */
bool outgoing_ended(const struct outgoing *o); /* it has: outgoing_free does not wait */
void outgoing_free(struct outgoing **o);       /* cancels and waits */

struct outgoing_chunk {
    struct slice data; /* borrowed until acknowledged */
    uint32_t crc;
    bool last;
};

/* The chunk that begins at `offset`; false: it is not written yet, or there is none. */
bool outgoing_chunk(struct outgoing *o, uint64_t offset, struct outgoing_chunk *out);
/* Can the stream go on from there: at a chunk's begin, not acknowledged yet? */
bool outgoing_holds(struct outgoing *o, uint64_t offset);
/* Everything before `offset`, which was sent, is not needed any more. */
void outgoing_acknowledge(struct outgoing *o, uint64_t offset);

uint64_t outgoing_total(struct outgoing *o); /* bytes of the whole stream; 0: not known yet */
/* HF_OK, or why the stream cannot go on; *out_text (borrowed) says more. */
int outgoing_failure(struct outgoing *o, const char **out_text);
