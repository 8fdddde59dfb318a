/* sessions.h: the session table: which requests of a client ran and how they ended, so that none runs twice.
 *
 * Position:   apply, before and after each command that names a session.
 * Invariants: per session, outcomes are kept for seqs in [done_below, done_below + LIMIT_SESSION_WINDOW); done_below only
 *             grows; sessions are listed by ascending id, so that a sweep meets them in the same order everywhere (I2).
 * Changes since the last commit can be taken back: a write that failed leaves no trace. */
#pragma once

#include "common/base/arena.h"
#include "common/base/hashmap.h"
#include "common/base/hlc.h"
#include "common/base/list.h"
#include "common/base/must.h"
#include "common/sys/digest.h"
#include "shard/store/store.h"

#define SESSIONS_TTL_MS ((uint64_t)3600 * 1000) /* unused for so long by the entries' timestamps: gone */

struct session; /* opaque */

struct sessions {
    struct hashmap by_id;
    struct list all;   /* by ascending id */
    struct list dirty; /* changed since the last commit */
    struct list gone;  /* removed since the last commit */
    struct buf record; /* scratch */
};

struct session_outcome {
    int code;
    struct version version;
};

void sessions_init(struct sessions *s);
void sessions_deinit(struct sessions *s);
/* An id is the index of the entry that opened it, so none is above `applied`. HF_E_CORRUPT, HF_E_IO. */
HF_CHECKED int sessions_load(struct sessions *s, struct store *store, uint64_t applied);

/* At LIMIT_SESSIONS the one unused for longest makes room (the lowest id of equals), its id goes into the sum: its
 * client opens another when it comes back. */
void sessions_open(struct sessions *s, uint64_t id, struct hlc now, struct sum *sum);
/* The session, used at `now`; NULL: unknown or expired (and now removed). Ready to be changed. `arena` holds what
 * rollback needs; it must live until commit or rollback. */
struct session *sessions_use(struct sessions *s, uint64_t id, struct hlc now, struct arena *arena);
/* Removes all that expired at `now`; their ids go into the sum. */
void sessions_sweep(struct sessions *s, struct hlc now, struct sum *sum);

/* The client has the answers of all seqs below. Never goes back. */
void sessions_done_below(struct session *session, uint64_t done_below);
uint64_t sessions_below(const struct session *session); /* the lowest seq whose outcome is kept */
/* HF_E_NOT_FOUND: has not run, may run now. HF_OK: *out is how it ended. HF_E_SESSION_WINDOW: outside the window. */
HF_CHECKED int sessions_outcome(const struct session *session, uint64_t seq, struct session_outcome *out);
void sessions_record(struct session *session, uint64_t seq, const struct session_outcome *outcome); /* in the window */

void sessions_write(struct sessions *s, struct store_batch *batch); /* the records of all that changed */
void sessions_commit(struct sessions *s);
void sessions_rollback(struct sessions *s);
