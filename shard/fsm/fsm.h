/* fsm.h: the deterministic state machine: entries in, one write batch out (I1-I3), reads beside.
 *
 * Position: replica calls fsm_apply with committed entries; server reads through fsm_get and fsm_scan.
 * Thread:   loop thread; fsm_checkpoint any.
 * Keys, records and meta: shard/fsm/README.md. Apply looks at (state, entry) and nothing else: no clock, no role. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/arena.h"
#include "common/base/hlc.h"
#include "common/base/must.h"
#include "common/base/slice.h"
#include "common/sys/digest.h"
#include "proto/catalog.pb-c.h"
#include "proto/entry.pb-c.h"
#include "shard/log/log.h"

struct fsm;

#define FSM_OPCODE_MIGRATE 0x10
#define FSM_OPCODE_CHECK 0x11
#define FSM_OPCODE_COLLECT 0x12
#define FSM_FEATURE_LEVEL 6u   /* what this program can apply */
#define FSM_FEATURE_CHECK 2u   /* feature level from which on a group may hold that entry */
#define FSM_FEATURE_RESTART 3u /* from which on a batch may say that its leader drew no fresh timestamp */
#define FSM_FEATURE_TXN 4u     /* from which on it may hold transactions */
#define FSM_FEATURE_COLLECT 5u /* from which on it may hold that entry */
#define FSM_FEATURE_MIGRATE 6u /* from which on its engine can be changed */
#define FSM_ENGINE_BYTES 16

struct fsm_config {
    const char *dir; /* <replica's directory>/fsm */
    bool sync_writes;
    uint64_t cache_bytes, buffer_bytes; /* 0: the store's defaults */
};

struct fsm_genesis { /* what bootstrap fixes, the same bytes on every replica */
    uint64_t cluster;
    uint32_t group, log_epoch;
    uint64_t index, term; /* state exists as of this entry: (1, 1) */
    uint32_t heartbeat_ms, election_ms;
    uint32_t feature_level; /* 0: what this program knows */
    const Hf__Catalog__Members *members;
    const Hf__Catalog__Range *range;
};

struct fsm_applied {
    uint32_t epoch;
    uint64_t index, term;
};

/* Makes the state as of genesis, durable on return. Removes an unfinished earlier attempt in the directory first. */
HF_CHECKED int fsm_create(const struct fsm_config *config, const struct fsm_genesis *genesis, char where[256]);
/* HF_E_ABSENT, HF_E_CORRUPT (a checksum, a record out of bounds), HF_E_INVALID (what it says of itself does not read),
 * HF_E_FORMAT (feature level above ours), HF_E_IO. */
HF_CHECKED int fsm_open(const struct fsm_config *config, struct fsm **out, char where[256]);
void fsm_close(struct fsm **fsm);

/* How far collection is (docs/protocol/collection.md). */
struct fsm_collected {
    struct hlc below; /* the watermark: nothing is read below it any more; 0: everything is there */
    struct hlc pass;  /* of the pass under way: what it goes by; 0: none */
    struct hlc swept; /* of the last whole pass */
    struct hlc due;   /* no value that the pass under way, or the last one, has left expires before; 0: none does */
    uint64_t passes;  /* whole ones */
    uint64_t versions, markers, bytes; /* removed since the group was made; bytes as they were written */
};

enum fsm_migration_state { FSM_MIGRATION_NONE, FSM_MIGRATION_PREPARED, FSM_MIGRATION_SEALED }; /* as MigrationState */

/* The newest seal that took effect: the group is in its epoch still, or in the next. A state that is fetched from there tells by it what its
 * log begins behind. */
struct fsm_seal {
    uint32_t epoch; /* 0: there is none */
    uint64_t id;
    char source[FSM_ENGINE_BYTES], target[FSM_ENGINE_BYTES];
    uint64_t index, term;
};

/* The group's change of engine: the last one that was prepared and not aborted, and which can no longer be. */
struct fsm_migration {
    enum fsm_migration_state state;
    uint64_t id;
    uint32_t epoch; /* of the log that is left; the next one is epoch + 1 */
    char source[FSM_ENGINE_BYTES], target[FSM_ENGINE_BYTES];
    uint64_t configuration;       /* index of the members */
    uint64_t index, term;         /* SEALED: of the seal, the last entry of its epoch that takes effect */
    uint8_t digest[DIGEST_BYTES]; /* SEALED: as of the entry before it */
    uint64_t aborted;             /* in aborted_epoch no id up to this one can be prepared or sealed */
    uint32_t aborted_epoch;
    struct fsm_seal seal; /* with SEALED, of this one; else of the last before it */
};

/* What the machine knows of itself; borrowed until the next fsm_apply. */
struct fsm_info {
    uint64_t cluster;
    uint32_t group;
    uint32_t heartbeat_ms, election_ms;
    uint32_t feature_level;
    struct fsm_applied applied;
    uint64_t checked;   /* index of the last consistency check, 0: none */
    struct hlc ceiling; /* highest committed */
    uint64_t cutover;   /* reserved for sealed values: kept whatever becomes of it; 0: none */
    struct hlc restart; /* nothing can be read at or below it any more, but the latest; 0: no limit */
    struct fsm_collected collected;
    struct fsm_migration migration;
    struct version newest;               /* highest version applied: the next leader's stamps go on from it */
    const Hf__Catalog__Members *members; /* as of applied */
    const Hf__Catalog__Range *range;
    uint64_t sessions, markers;
    uint64_t txns, txn_bytes,
        locks;                    /* records kept of transactions, what they hold packed, keys and prefixes they lock */
    uint8_t digest[DIGEST_BYTES]; /* running hash over everything applied */
};
const struct fsm_info *fsm_info(const struct fsm *fsm);

/* The applied position that survives a crash now; nothing else is "durable applied" (I4). */
HF_CHECKED int fsm_durable_applied(struct fsm *fsm, struct fsm_applied *out);
HF_CHECKED int fsm_flush(struct fsm *fsm);       /* durable on return */
HF_CHECKED int fsm_flush_begin(struct fsm *fsm); /* in the background; fsm_durable_applied shows when it is done */
/* A flush is on its way, or one begun now would have to wait for compaction: fsm_flush_begin would hold up the loop. */
bool fsm_flush_pending(struct fsm *fsm);

/* What the durable state says of itself, all as of one entry: what a token is made of. Members and range in the arena;
 * sessions and markers are not counted. HF_E_ABSENT, HF_E_CORRUPT, HF_E_IO. */
HF_CHECKED int fsm_durable_info(struct fsm *fsm, struct arena *arena, struct fsm_info *out);

/* Hard links of the whole state in the new directory `dir`, as of some entry not before `applied` at the call; what had
 * that name goes. Flushes. Durable on return. Any thread while the loop applies; not while it closes the machine.
 * HF_E_NO_SPACE, HF_E_IO, HF_E_CORRUPT; where[] says more. */
HF_CHECKED int fsm_checkpoint(struct fsm *fsm, const char *dir, char where[256]);

/* Estimates of what there is; the records of files written before the machine was opened are not counted. */
struct fsm_extent {
    uint64_t bytes;              /* of files, as compressed */
    uint64_t entries, deletions; /* in files and in memory; deletions are entries too */
};
/* Looks at every file's name: nothing for every turn. HF_E_IO, HF_E_CORRUPT. */
HF_CHECKED int fsm_compact_extent(struct fsm *fsm, struct fsm_extent *out);

/* Begins to compact everything on a thread of its own, so that what was removed gives its room back; as
 * store_compact_begin. One at a time (HF_E_BUSY). HF_E_LIMIT: no thread. */
HF_CHECKED int fsm_compact_begin(struct fsm *fsm);
bool fsm_compact_done(struct fsm *fsm);
/* To be called before fsm_close. Cancels what is not done, then waits: HF_E_AGAIN. HF_OK: done, or none was begun;
 * HF_E_NO_SPACE, HF_E_IO: as store_compact_end. */
int fsm_compact_end(struct fsm *fsm);

/* What the state in `dir`, which nobody has open, says of itself; read-only, nothing is changed. As fsm_durable_info.
 * HF_E_ABSENT, HF_E_CORRUPT, HF_E_INVALID, HF_E_FORMAT, HF_E_IO (as fsm_open). */
HF_CHECKED int fsm_peek(const char *dir, struct arena *arena, struct fsm_info *out, char where[256]);

/* Which file and what, of the last call that failed with HF_E_IO, HF_E_CORRUPT or HF_E_NO_SPACE; "" before. Borrowed. */
const char *fsm_where(const struct fsm *fsm);

struct fsm_txn_id { /* of a transaction: its session, one of group `home`, and its number there */
    uint32_t home;
    uint64_t session, seq;
};

struct fsm_lock {
    struct fsm_txn_id id;
    struct hlc min_commit; /* its commit's timestamp, if it commits, is above */
    struct slice key;      /* or prefix */
};

enum fsm_txn_state {
    FSM_TXN_NONE,
    FSM_TXN_PREPARED,
    FSM_TXN_COMMITTED,
    FSM_TXN_ROLLED_BACK
}; /* as Hf__Entry__TxnState */

struct fsm_conflict {
    struct slice key;       /* of what was read or is written; of a range its beginning */
    struct version version; /* what is there now; zero: it is not a version that is in the way */
    struct fsm_lock lock;   /* id.home 0: nor a lock */
};

struct fsm_result {
    int code; /* HF_OK, or a conflict: COMPARE_FAILED, WRONG_SHARD, SESSION_…, LIMIT, INVALID, TOO_OLD */
    struct version version; /* of what was written, when code is HF_OK */
    uint64_t session;       /* 0x13 open: the new session's id */
    int outcome;            /* 0x13 fence: the fenced request's code, HF_E_FENCED when it never ran */
    struct version outcome_version;
    /* Of the commands of transactions. */
    enum fsm_txn_state state; /* PREPARE, COMMIT, ROLLBACK: as it is now, in this group (at home: decided so) */
    struct hlc min_commit;    /* PREPARE with HF_OK */
    struct hlc commit;        /* state COMMITTED */
    const struct fsm_conflict
        *conflict; /* CONFLICT, KEY_LOCKED: borrowed until the report returns; NULL: not known any more */
};

/* Called for each command of an entry in order, position from 0; lease, no-op and configuration entries report position
 * 0. */
typedef void fsm_result_fn(void *ctx, uint64_t index, uint64_t term, uint32_t position, const struct fsm_result *r);

/* Applies consecutive entries that follow `applied`, in one batch: all of them with their effects, or none.
 * Results are reported after the batch is written. An entry this program cannot read ends the process (fatal): skipping
 * it would make replicas differ; so whoever proposes must have checked that op and space are known ones. HF_E_NO_SPACE,
 * HF_E_IO: nothing was applied, call again with the same entries (I6). HF_E_CORRUPT: the same, but the state is damaged
 * and calling again will not help. */
HF_CHECKED int fsm_apply(struct fsm *fsm, const struct log_entry *entries, size_t count, fsm_result_fn *report,
                         void *ctx);

/* A consistency check: to be the last entry of its call of fsm_apply, so that the caller can look at the state as of it. */
bool fsm_is_check(const struct log_entry *entry);
/* A step of collection: to be the only entry of its call of fsm_apply, because it looks at what is written. */
bool fsm_is_collect(const struct log_entry *entry);
/* A step of a migration: to be the last entry of its call of fsm_apply. Afterwards the machine may be sealed. */
bool fsm_is_migrate(const struct log_entry *entry);

/* What a group knows of its migrations, as it is stored and told; borrows from `m`. */
struct fsm_migration_record {
    Hf__Entry__MigrationRecord record;
    Hf__Entry__MigrationSeal left;
};
void fsm_migration_record(const struct fsm_migration *m, struct fsm_migration_record *out);

/* Which seal the entries behind a state hold, without applying them: what entries make of the migration's record, and nothing else. */
struct fsm_foresight {
    struct fsm_applied applied;
    uint64_t configuration;
    struct fsm_migration migration; /* the digest of a seal that is foreseen is not known */
};
void fsm_foresee_begin(const struct fsm_info *info, struct fsm_foresight *out);
/* The next entry, none behind a seal; false: it is the seal, and takes effect. */
bool fsm_foresee(struct fsm_foresight *f, const struct log_entry *entry, struct arena *arena);
static inline bool fsm_foreseen_seal(const struct fsm_foresight *f)
{
    return f->migration.seal.epoch != 0 && f->migration.seal.epoch == f->applied.epoch;
}

/* The epoch's log is sealed: no entry of it can be applied any more. Entries go on in the next epoch. */
bool fsm_sealed(const struct fsm_info *info);
/* Offline: seals the machine where it stands, as an entry would: for a group of which every member stands there and nobody runs. Its id is
 * the same on all. Durable on return. HF_E_REFUSED: its feature level is below FSM_FEATURE_MIGRATE. HF_E_NO_SPACE, HF_E_IO: it may
 * be done, but is not durable: open the machine anew. */
HF_CHECKED int fsm_seal_offline(struct fsm *fsm, const char *source, const char *target);
#define FSM_OFFLINE_IDS (UINT64_C(1) << 63) /* no coordinator draws such a number */
/* Was it made so? Then no entry is the seal, and a log that goes on behind it may be one that others went on with. */
static inline bool fsm_offline_id(uint64_t migration)
{
    return (migration & FSM_OFFLINE_IDS) != 0;
}
/* The sealed machine becomes one of the next epoch, at the same index and term; durable on return. Again: nothing is done.
 * HF_E_NO_SPACE, HF_E_IO: it may be done, but is not durable: call it again. */
HF_CHECKED int fsm_enter_next_epoch(struct fsm *fsm);

enum fsm_space { FSM_USER = 0, FSM_CATALOG = 1 };

/* Is what a transaction read at `start` still there, seen from `at` (above every timestamp that a write here may still get
 * below it: the caller observed `at` and waited for what was in flight)? Locks of `id` itself are not in the way. HF_OK;
 * HF_E_CONFLICT with *out (its slices in the arena): a newer version or marker, a value that expired in between, a lock of
 * another. HF_E_TOO_OLD: `start` is below the watermark. HF_E_WRONG_SHARD, HF_E_CORRUPT, HF_E_IO. HF_E_LIMIT: its ranges hold more than may be looked at in one go. */
HF_CHECKED int fsm_validate(struct fsm *fsm, const struct fsm_txn_id *id, struct hlc start, struct hlc at,
                            Hf__Entry__TxnRead *const *reads, size_t count, struct arena *arena,
                            struct fsm_conflict *out);

struct fsm_txn {
    struct fsm_txn_id id;
    enum fsm_txn_state state; /* PREPARED, COMMITTED */
    struct hlc min_commit, expires, commit;
    uint32_t *others; /* in the arena */
    size_t others_count;
};
/* What is kept of transactions, by ascending id (home, session, seq), behind `after` (zero: from the first), at most `max`.
 * Returns how many. */
size_t fsm_txns(const struct fsm *fsm, const struct fsm_txn_id *after, size_t max, struct arena *arena,
                struct fsm_txn *out);

/* The lock that the last fsm_get or fsm_scan met which said HF_E_KEY_LOCKED; borrowed until the next fsm_apply. */
const struct fsm_lock *fsm_lock_met(const struct fsm *fsm);
/* Does a transaction hold something at or below which a reader at `at` would have to wait (0: the latest: any lock)? For readers of
 * everything: backups, images. */
bool fsm_locked_below(const struct fsm *fsm, struct hlc at);

/* Is the key in the group's own range? */
bool fsm_owns(const struct fsm *fsm, enum fsm_space space, struct slice key);

struct fsm_value {
    struct slice value; /* in the arena */
    struct version version;
    struct hlc expiry; /* 0: never */
};

/* The newest live value; `at` non-zero: the newest with timestamp < at. `now` decides expiry.
 * HF_E_NOT_FOUND, HF_E_WRONG_SHARD, HF_E_CORRUPT, HF_E_IO. HF_E_KEY_LOCKED: a transaction that may commit below `at` holds
 * it (fsm_lock_met). HF_E_TOO_OLD: `at` is below the watermark of collection. */
HF_CHECKED int fsm_get(struct fsm *fsm, enum fsm_space space, struct slice key, struct hlc at, struct hlc now,
                       struct arena *arena, struct fsm_value *out);

struct fsm_scan {
    enum fsm_space space;
    struct slice start, end; /* [start, end); empty end: to the end of the space; cut to the group's own range */
    struct hlc at, now;
    size_t items_max, bytes_max; /* a page; at least one item is returned if there is one */
    size_t
        steps_max; /* versions looked at; a page may end early, even empty, with more = true. Never stalls the loop */
    bool reverse, keys_only;
};

struct fsm_item {
    struct slice key, value; /* in the arena */
    struct version version;
    struct hlc expiry; /* 0: never */
};

struct fsm_page {
    struct fsm_item *items; /* in the arena */
    size_t count;
    bool more;
    struct slice next; /* forward: the start of the next page; reverse: its exclusive end. In the arena */
};

/* As fsm_get. HF_E_KEY_LOCKED: a lock in what the page covers. */
HF_CHECKED int fsm_scan(struct fsm *fsm, const struct fsm_scan *scan, struct arena *arena, struct fsm_page *out);
