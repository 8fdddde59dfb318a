/* log.h: the durable raft log and hard state of one replica, in one directory (<engine>-<epoch>/).
 *
 * Position: below every engine. The engine appends and truncates in memory, then log_sync makes one turn durable:
 *           one frame, one write, one fdatasync.
 * Thread:   loop thread only.
 * Files:    hardstate (two copies), seg-<id>.log: zero-filled segments of a fixed size, recycled. Format: README.md.
 * Invariants: entries are consecutive from log_first to log_last; terms never fall; a frame is written only after the
 *           sync of the frame before it returned; nothing is read back that failed its checksum (I11).
 * Failure:  a failed write or sync poisons the log (I6): the caller must end the process; later calls fail as well. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/arena.h"
#include "common/base/must.h"
#include "common/base/slice.h"
#include "common/sys/disk.h"

enum log_kind { LOG_NOOP = 0, LOG_COMMAND = 1, LOG_CONFIG = 2 }; /* as hf.raft.EntryKind */

struct log_entry {
    uint64_t index;
    uint64_t term;
    enum log_kind kind;
    struct slice data; /* borrowed */
};

struct log_hard_state {
    uint64_t term;   /* highest term seen */
    uint64_t vote;   /* replica voted for in `term`; 0: none */
    uint64_t commit; /* a lower bound of the commit index; rides along, never causes a sync */
};

struct log_config {
    struct disk *disk;      /* borrowed for the log's life */
    const char *dir;        /* copied; must exist for log_open, is made by log_create */
    uint64_t segment_bytes; /* size of new segments; a larger frame gets a segment of its own size */
    uint64_t cache_bytes;   /* recent entries kept in memory, about */
    uint64_t term_floor;    /* of log_create: its hard state begins with this term, if it is the higher one */
};

struct log_report { /* what opening found; for one printed line */
    uint64_t segments, frames, entries;
    uint64_t torn_bytes; /* of a torn tail that was cut, 0: none */
};

struct log; /* opaque */

/* Makes `config->dir` an empty log that begins after (index, term), with hard state {term or floor, no vote, commit = index};
 * durable on return. Any earlier content of the directory is removed first (a creation that did not finish).
 * HF_E_IO, HF_E_NO_SPACE. */
HF_CHECKED int log_create(const struct log_config *config, uint64_t index, uint64_t term);

/* Opens and recovers. A torn tail is cut (a bad frame after which no valid frame of the same segment id and higher
 * sequence follows); the last frame is rewritten and synced before it counts as stored (I6: the page cache may lie).
 * HF_E_ABSENT: no log there. HF_E_CORRUPT: damage that is not a torn tail (I13), *out_where says file and offset.
 * HF_E_FORMAT, HF_E_IO. */
HF_CHECKED int log_open(const struct log_config *config, struct log **out, struct log_report *out_report,
                        char out_where[256]);

void log_close(struct log **log); /* unsynced appends are lost, as in a crash */

struct log_hard_state log_hard_state(const struct log *log); /* as last set */
uint64_t log_first(const struct log *log);                   /* index of the first entry kept, or last + 1 when empty */
uint64_t log_last(const struct log *log);                    /* with unsynced appends; the base index when empty */
uint64_t log_synced(const struct log *log);                  /* last index that is durable */
/* The term of `index`, for base ≤ index ≤ last; HF_E_ABSENT otherwise. */
HF_CHECKED int log_term(const struct log *log, uint64_t index, uint64_t *out_term);

/* Buffer changes for the next log_sync. Data is copied. Appends must continue the log (must()). */
void log_append(struct log *log, const struct log_entry *entries, size_t count);
/* Drops all entries ≥ index (index > base). A record in the log, so that a crash keeps the order. */
void log_truncate(struct log *log, uint64_t index);
/* The term never falls, a vote stands in its term (must()). */
void log_set_hard_state(struct log *log, struct log_hard_state hs);

/* Does log_sync have something that must be durable? A commit alone does not count. */
bool log_dirty(const struct log *log);

/* Makes all buffered changes durable: hard state first if term or vote changed, then one frame. HF_E_IO poisons. The
 * hard state's term is then not below the last entry's (must(); so a log whose hard state went back in time is found at
 * open). HF_E_NO_SPACE: no new segment could be had; nothing was written, the changes stay buffered, it may be tried
 * again. */
HF_CHECKED int log_sync(struct log *log);

/* Entries [from, …] up to `count_max` entries and about `bytes_max` payload bytes, always at least one. Slices live in
 * `arena` or in the log's cache until the next append, truncate or trim. HF_E_ABSENT: `from` is not in the log.
 * HF_E_CORRUPT: damage found on reading (I11). */
HF_CHECKED int log_read(struct log *log, uint64_t from, size_t count_max, size_t bytes_max, struct arena *arena,
                        struct log_entry **out, size_t *out_count);

/* Lets everything ≤ index go; whole segments become spare and are recycled. The new base is (index, its term).
 * The caller guarantees I4 (index ≤ durable applied, so index ≤ log_synced: must()). Durable by the next log_sync,
 * which then recycles; nothing at or below the base is asked for. HF_E_IO: the log is poisoned. */
HF_CHECKED int log_trim(struct log *log, uint64_t index);

/* Everything goes, the log begins anew behind (index, term): the state machine came from elsewhere. Buffered: durable by
 * the next log_sync, in one frame with whatever else it makes durable, so that a crash leaves the old log or the new one.
 * The hard state is kept; its commit becomes at least `index` (not to be raised before), its term is the caller's to raise
 * first. The base never
 * falls (must()). */
void log_restart(struct log *log, uint64_t index, uint64_t term);

/* Offline: the log in `config->dir` is damaged (I13). Its segments move into the directory `quarantine`, which is made if
 * absent; then the log is empty behind (index, term) with the term and vote it had. Durable on return. A crash leaves a
 * log that log_open calls damaged, or the new one. HF_E_ABSENT, HF_E_CORRUPT: no hard state that can be believed (both
 * copies, or its term is below an entry's): nothing was changed. HF_E_IO, HF_E_NO_SPACE. */
HF_CHECKED int log_rebuild(const struct log_config *config, const char *quarantine, uint64_t index, uint64_t term,
                           char out_where[256]);

/* Runs of equal terms, oldest first, from the base on: what an engine's core needs to know of the log at start. */
struct log_run {
    uint64_t first, term;
};
size_t log_runs(const struct log *log, const struct log_run **out); /* borrowed until the next change */

uint64_t log_disk_bytes(const struct log *log); /* of all segments, spare ones included */

/* How far back `bytes` of frames reach from `index` (base ≤ index ≤ synced): the lowest index behind which no more than
 * that lie up to `index`; not below the base. Counted in stretches of some KiB (or one larger frame): a stretch counts when
 * any of its entries does, so it is never too far. No I/O: opening found what is asked for here. */
uint64_t log_reach(const struct log *log, uint64_t index, uint64_t bytes);

/* Where and what, of the last call on this log that failed ("seg-….log at offset …: …"); "" before. Borrowed. */
const char *log_where(const struct log *log);

void log_metrics_register(void); /* once a process */
