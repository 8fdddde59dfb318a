/* engine.h: the plug point: what a consensus engine does for a replica. No member is optional.
 *
 * Position: replica drives it, one turn after the other (shard/replica/replica.c); the engine owns the log.
 * Thread:   loop thread only. Nothing here blocks but `persist`.
 *
 * A turn, in this order:
 *   receive / propose / barrier / tick   any number: inputs
 *   step          decides; proposals of this turn get their indexes
 *   send_early    what may leave before our own disk: appends to followers
 *   persist       hard state and entries: one write, one sync; failure of a sync is fatal (I6)
 *   send_late     votes, acknowledgements: they promise durability (I7)
 *   apply         calls env->apply with committed entries that are durable here (I7), oldest first
 * Messages leave through env->send; the engine never opens a socket. Inputs may be decided as they come; env->changed
 * and env->barrier_ready are called from step and apply only. `tick` belongs into every turn: a lease and the silence
 * towards candidates are counted from it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/must.h"
#include "common/base/slice.h"
#include "common/sys/disk.h"
#include "proto/catalog.pb-c.h"
#include "proto/raft.pb-c.h"
#include "shard/log/log.h"

#define ENGINE_ARCHIVE "archive" /* in a replica's directory: where the logs of earlier epochs are put */

#define ENGINE_RECOVERING_FORGOT UINT64_C(1)

struct engine; /* each engine's own struct begins with nothing of ours */

/* What opening saw of the log, also when it failed: a cold start is classified from it. The engine fills it in. */
struct engine_found {
    int log_code;           /* of the log alone; HF_OK: it is whole, and what follows is known */
    uint64_t first, last;   /* entries kept; last = first - 1: none */
    uint64_t commit;        /* as persisted */
    uint64_t applied_term;  /* the log's term at env->applied; 0: the log does not reach there */
    uint64_t snapshot;      /* asked by the caller: an index */
    uint64_t snapshot_term; /* the log's term there; 0: it does not hold it */
};

enum engine_role { ENGINE_FOLLOWER, ENGINE_CANDIDATE, ENGINE_LEADER, ENGINE_LEARNER };

struct engine_env {
    /* Where and who. Borrowed for the engine's life. */
    struct disk *disk;
    const char *dir; /* the replica's directory; the engine's own files are in <dir>/<name>-<epoch>/ */
    uint32_t group, replica, log_epoch;
    uint32_t heartbeat_ms, election_ms; /* group constants; an election time-out is election_ms × 1-1.3 */
    uint64_t segment_bytes;
    uint64_t seed;                       /* for time-outs */
    uint64_t now_ns;                     /* CLOCK_BOOTTIME at open */
    uint64_t applied, applied_term;      /* of the state machine: replay starts behind it */
    const Hf__Catalog__Members *members; /* configuration as of `applied` */
    struct engine_found *found;          /* of open; NULL: nobody asks */
    /* There is no state machine yet, or one that the log does not cover (an install was interrupted before the log
     * followed): `applied` is a guess (the token's; beyond the log it is corrected), `members` the best that is known. Until
     * `install`, apply does nothing (HF_E_NOT_READY), and this replica votes and acknowledges but never leads. */
    bool held;
    /* I13: the log was rebuilt after damage. A random number, drawn and written into identity before `rebuild` and kept
     * there until `recovered`: the log's incarnation. It travels in every message, so that leaders tell what this log
     * acknowledged from what the lost one did. Its bit ENGINE_RECOVERING_FORGOT says that term and vote are lost as well (or
     * that nobody knows): then a leader asks for more before it lets this replica vote. 0: nothing was lost. */
    uint64_t recovering;
    uint64_t term_floor; /* of create: nobody is elected in the new log in this term or below */
    /* Of open: a change of engine made this log in this process: it has given no vote and followed nobody, so no lease rests on it
     * and it need not wait before it votes or campaigns. */
    bool unused;

    /* Calls out. `ctx` is passed back. */
    void *ctx;
    /* Queues a message to a replica; may drop it. `m` is borrowed for the call. */
    void (*send)(void *ctx, uint32_t to, const Hf__Raft__Raft *m);
    /* Applies committed entries [entries, +count), consecutive; 0, or negative: nothing was applied, ask again later.
     */
    int (*apply)(void *ctx, const struct log_entry *entries, size_t count);
    /* A barrier asked for with `id` holds: serve when `index` is applied. */
    void (*barrier_ready)(void *ctx, uint64_t id, uint64_t index);
    /* Role, term, known leader or configuration changed. All barriers not ready and all proposals not applied are the
     * caller's to fail when this replica stops being leader: barriers safely elsewhere, proposals with outcome unknown.
     */
    void (*changed)(void *ctx);
    /* A leader says that its log begins too late for ours: only a state machine of (index, term) or later helps. Called from
     * apply, again and again (each heartbeat) until it is installed. */
    void (*snapshot_needed)(void *ctx, uint32_t from, uint64_t index, uint64_t term);
    /* The log holds everything that the lost one may have acknowledged (I13). On return of 0 it is durable that
     * `recovering` is over: this replica may vote. Negative: asked again later. Called from apply. */
    int (*recovered)(void *ctx);
};

struct engine_status {
    enum engine_role role;
    uint64_t term;
    uint32_t leader; /* 0: unknown */
    uint64_t commit, first;
    uint64_t last;     /* with every proposal that was given an index: who reads at a timestamp waits for them */
    bool serving;      /* leader whose own no-op is applied: may stamp and serve */
    bool transferring; /* leadership is being handed over: proposals are refused */
    uint64_t log_bytes;
    bool held;       /* as env->held, until `install` */
    bool recovering; /* takes part in no quorum until a leader has brought its log up to date (I13) */
};

struct engine_progress { /* of one member, at the leader */
    uint32_t replica;
    uint64_t match;
    bool active;     /* heard within an election time-out */
    bool recovering; /* it lost its log and is counted in no quorum yet (I13) */
};

struct engine_ops {
    const char *name; /* "native" */

    /* HF_E_CORRUPT, HF_E_ABSENT, HF_E_FORMAT, HF_E_IO: where[] says which file and what. */
    int (*open)(const struct engine_env *env, struct engine **out, char where[256]);
    void (*close)(struct engine **e);

    void (*receive)(struct engine *e, uint32_t from, const Hf__Raft__Raft *m); /* borrowed for the call */
    /* One entry, data copied. The entry will be at (*out_index, *out_term) or nowhere. HF_E_NOT_LEADER, HF_E_BUSY. */
    int (*propose)(struct engine *e, enum log_kind kind, struct slice data, uint64_t *out_index, uint64_t *out_term);
    /* Linearizable read barrier, answered by env->barrier_ready. HF_E_NOT_LEADER. Batched over one heartbeat round. */
    int (*barrier)(struct engine *e, uint64_t id);
    /* Until when (CLOCK_BOOTTIME ns) this leader may answer reads without a barrier; 0: it may not. Ask again after the
     * answer is built: a pause may have outlived it. */
    uint64_t (*read_lease)(const struct engine *e);
    void (*tick)(struct engine *e, uint64_t now_ns);
    uint64_t (*deadline)(const struct engine *e); /* when `tick` must be called at the latest */

    void (*step)(struct engine *e);
    void (*send_early)(struct engine *e);
    /* HF_E_NO_SPACE: nothing promised, try again. HF_E_IO, HF_E_CORRUPT (the log cannot be written, or read): end the
     * process. */
    int (*persist)(struct engine *e);
    const char *(*where)(const struct engine *e); /* which file and what, when the log last failed; borrowed */
    void (*send_late)(struct engine *e);
    int (*apply)(struct engine *e); /* > 0: more is waiting (the turn is bounded) */

    struct engine_status (*status)(const struct engine *e);
    size_t (*progress)(const struct engine *e, struct engine_progress *out, size_t max);
    const Hf__Catalog__Members *(*members)(const struct engine *e); /* configuration in force: the latest in the log */

    /* Single-server change: `members` is the whole new configuration, whose index names the configuration it replaces
     * (compare-and-swap). HF_E_BUSY: one is in flight or no entry of the own term is committed yet.
     * HF_E_COMPARE_FAILED. HF_E_REFUSED: this engine does not change members. */
    int (*change)(struct engine *e, const Hf__Catalog__Members *members, uint64_t *out_index);
    int (*transfer)(struct engine *e, uint32_t to); /* 0: the most caught-up voter. HF_E_NOT_LEADER, HF_E_INVALID */
    void (*campaign)(struct engine *e); /* ignored while a leader is heard or after a start: a lease may rest on it */
    /* How far back `bytes` of the log's files reach from `index`, which is applied: the lowest index behind which no more
     * than that lie up to `index`, first - 1 at the least. In steps of some KiB, never too far; known as soon as the log is
     * open, whoever wrote it. */
    uint64_t (*reach)(const struct engine *e, uint64_t index, uint64_t bytes);
    /* Whoever went on in the next epoch says that the seal (index, term) of this one is committed. If the log holds it, it is
     * committed here, too, and apply comes to it. HF_E_ABSENT: the log does not hold it: only a state that covers it helps.
     * HF_E_CORRUPT: the log has committed another entry there. Idempotent. */
    int (*committed)(struct engine *e, uint64_t index, uint64_t term);
    /* Entries ≤ index may go (I4 is the caller's to keep). */
    int (*trim)(struct engine *e, uint64_t index);
    /* The state machine now stands at (index, term), whose configuration is `members`; between turns. If the log holds
     * (index, term) its suffix stays, otherwise it restarts there: the old or the new log after a crash, never a mix. Durable
     * on return of 0; apply goes on behind `index`. Nothing changes on
     *   HF_E_INVALID   index < applied (a state machine never goes back); while held: before the log's base, a later one is
     *                  needed
     *   HF_E_BUSY      this replica leads
     *   HF_E_CORRUPT   the log has committed another entry at index: not this group's state.
     * HF_E_NO_SPACE: done, but not durable: call it again with the same before anything relies on it. HF_E_IO: end the
     * process. */
    int (*install)(struct engine *e, uint64_t index, uint64_t term, const Hf__Catalog__Members *members);
    /* The group's constants, once they are known, where env's were a guess. Between turns, not while this replica leads. */
    void (*set_times)(struct engine *e, uint32_t heartbeat_ms, uint32_t election_ms);

    /* Offline, on a directory nobody runs. That its folder <name>-<epoch> is there says that it has a log there
     * (shard/replica/detect.h). */
    int (*create)(const struct engine_env *env, uint64_t index, uint64_t term); /* empty log behind (index, term) */
    int (*archive)(struct disk *disk, const char *dir, uint32_t log_epoch);     /* moves artifacts to ENGINE_ARCHIVE */
    /* I13: the log is damaged. Its segments move into the folder `quarantine` (made if absent); term and vote stay; the log is
     * empty behind (index, term), where the state machine stands (0, 0: there is none; then it is opened held). The number
     * in env->recovering is durable in identity before this is called. A crash leaves a damaged or an empty log: call it
     * again while opening says HF_E_CORRUPT. HF_E_CORRUPT: term and vote are lost as well, this replica must never vote
     * again: replace it. HF_E_ABSENT: there is no log at all: likewise. */
    int (*rebuild)(const struct engine_env *env, const char *quarantine, uint64_t index, uint64_t term,
                   char where[256]);
};

extern const struct engine_ops engine_native;
extern const struct engine_ops engine_libraft; /* where it is built */

#define ENGINE_DEFAULT "native" /* of a fresh directory */

/* The engine called `name`, or NULL: this program does not have it. */
const struct engine_ops *engine_find(const char *name);
/* What this program has, one after the other; NULL behind the last. */
const struct engine_ops *engine_at(size_t i);
/* Was an engine of that name ever part of the program, built into this one or not? Its artifacts are known by it. */
bool engine_shipped(const char *name);
/* What this program has, for a message. */
const char *engine_names(void);
