/* install.h: a stream becomes the state machine's directory: staged beside it, checked, exchanged by a durable record.
 *
 * Order: stage into snapshots/incoming/, check all, sync; write the record INSTALL; exchange fsm/ and incoming/ (one
 * atomic operation; where the file system has none, two renames that the record sees through); the log follows (engine->install); token; remove the record; remove what was exchanged out. A crash
 * at any point leaves the old or the new machine, never none: install_finish at the next start does the rest.
 *
 * A staged machine carries a file STAGED. It tells which of the two directories is the new one, so that nothing is ever
 * exchanged twice:
 *
 *   no INSTALL               nothing was decided: what is staged goes
 *   INSTALL, incoming/STAGED not exchanged yet: install_finish does it
 *   INSTALL, fsm/STAGED      exchanged; the log may not have followed: pending
 *   INSTALL, no STAGED       everything followed: only removing was left
 *
 * Thread: staging any; everything else only while nobody has fsm/ open. */
#pragma once

#include "shard/snapshot/stream.h"

#define INSTALL_NAME "INSTALL"
#define INSTALL_INCOMING "snapshots/incoming"
#define INSTALL_MACHINE "fsm"
#define INSTALL_STAGED "STAGED"

struct install_record { /* file INSTALL: text with a crc */
    uint64_t cluster;
    uint32_t group, log_epoch;
    uint64_t index, term; /* of the machine that is being put in place */
};

/* Staging: a sink that writes STREAM_FILE sections below <dir>/snapshots/incoming/. Removes an earlier attempt first.
 * HF_E_BUSY: an install is pending. */
struct staging;
HF_CHECKED int staging_new(struct disk *disk, const char *dir, struct staging **out);
/* Its calls: HF_E_SNAPSHOT_MAGIC: sections of another kind; HF_E_NO_SPACE, HF_E_IO, HF_E_EXISTS (a name twice). */
struct stream_sink staging_sink(struct staging *s);
const struct stream_header *staging_header(const struct staging *s); /* NULL before it came */
/* Everything durable. Only after stream_reader_finish said HF_OK. */
HF_CHECKED int staging_sync(struct staging *s);
void staging_free(struct staging **s); /* leaves the files */

/* What was staged goes: it is not used. Any thread, while nobody stages. Not durable: what a crash brings back is swept by
 * install_finish. HF_E_BUSY: an install is pending, its files are not touched. HF_E_IO. */
HF_CHECKED int install_discard(struct disk *disk, const char *dir);

/* Opens what was staged read-only: is it the state that the token tells of? HF_E_SNAPSHOT_TOKEN; HF_E_SNAPSHOT_BODY: it
 * is no state machine; HF_E_IO. where[] says more. Real disks only. */
HF_CHECKED int install_check(const char *dir, const struct token *token, char where[256]);

/* Writes the record and exchanges; fsm/ is closed, or not there at all. Durable on return. Crash points
 * install.before_record, install.after_record, install.after_exchange. HF_E_ABSENT: nothing is staged. HF_E_IO,
 * HF_E_NO_SPACE: the old or the new one stands: install_finish tells. */
HF_CHECKED int install_exchange(struct disk *disk, const char *dir, const struct install_record *record);
/* The log and the token have followed: the record goes, and then the old machine. Crash point install.before_done. */
HF_CHECKED int install_done(struct disk *disk, const char *dir);

/* At start, before anything is classified. *out_pending: a machine was put in place whose log may not have followed: the
 * caller installs *out_record in the log, writes the token and calls install_done. Otherwise everything is as if no
 * install had begun, or as if it were done; half streams and orphans are swept. HF_E_CORRUPT: a machine was put in place
 * and the record is damaged: the machine says what it is (fsm_peek); go on as with pending. HF_E_FORMAT. HF_E_IO. */
HF_CHECKED int install_finish(struct disk *disk, const char *dir, bool *out_pending, struct install_record *out_record);

/* The record as it is, for who only looks. HF_E_ABSENT, HF_E_CORRUPT, HF_E_FORMAT, HF_E_IO. */
HF_CHECKED int install_read(struct disk *disk, const char *dir, struct install_record *out);
