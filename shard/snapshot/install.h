/* install.h: a stream becomes the state machine's directory: staged beside it, checked, exchanged by a durable record.
 *
 * Order: stage into snapshots/incoming/, check all, sync; write the record INSTALL; exchange fsm/ and incoming/ (one
 * atomic operation); the log follows (engine->install); token; remove the record; remove what was exchanged out. A crash
 * at any point leaves the old or the new machine, never none: install_finish at the next start does the rest.
 * Thread: staging any; the exchange only while nobody has fsm/ open. */
#pragma once

#include "shard/snapshot/stream.h"

struct install_record { /* file INSTALL: text with a crc */
    uint64_t cluster;
    uint32_t group, log_epoch;
    uint64_t index, term; /* of the machine that is being put in place */
};

/* Staging: a sink that writes STREAM_FILE sections below <dir>/snapshots/incoming/. Removes an earlier attempt first. */
struct staging;
HF_CHECKED int staging_new(struct disk *disk, const char *dir, struct staging **out);
struct stream_sink staging_sink(struct staging *s);
const struct stream_header *staging_header(const struct staging *s); /* NULL before it came */
HF_CHECKED int staging_sync(struct staging *s); /* everything durable */
void staging_free(struct staging **s);          /* leaves the files */

/* Writes the record and exchanges; fsm/ is closed. `keep_old` moves the old machine into quarantine/ instead of removing
 * it. Crash points install.before_record, install.after_record, install.after_exchange. */
HF_CHECKED int install_exchange(struct disk *disk, const char *dir, const struct install_record *record);
/* The log and the token follow: the record and the old machine go. Crash point install.before_done. */
HF_CHECKED int install_done(struct disk *disk, const char *dir);

/* At start, before anything is classified. *out_pending: a machine was put in place whose log has not followed: the
 * caller installs *out_record in the log, writes the token and calls install_done. Otherwise everything is as if no
 * install had begun; half streams and orphans are swept. */
HF_CHECKED int install_finish(struct disk *disk, const char *dir, bool *out_pending, struct install_record *out_record);
