/* core.h: the native engine's consensus as a pure function: events in, obligations out, time is an input.
 *
 * Position: native.c feeds it what the replica received and does what it orders; payloads never come here.
 * Thread:   the caller's. No clock, socket, file or allocation: memory is given at the start and by core_give_runs.
 * Source:   Ongaro, "Consensus: Bridging Theory and Practice" (2014): §3 (Raft), §4 (single-server change), §6.4
 * (ReadIndex, leases), §9.6 (PreVote), §3.10 (transfer); etcd-io/raft for probe / replicate / snapshot.
 *
 * The caller's duties, in this order, each turn:
 *   1. core_step for every event; what *out_orders says is done to the log at once (in memory), before the next event.
 *   2. CORE_EVENT_TURN: the inputs of the turn are complete; barriers get their round.
 *   3. core_next_early until false: these messages promise nothing about our disk.
 *   4. make core_hard_state and all ordered entries durable, then CORE_EVENT_PERSISTED.
 *   5. core_next_late until false: these promise durability (I7); nothing comes out that is not persisted.
 *   6. core_next_barrier until false; apply up to core_apply_limit, then CORE_EVENT_APPLIED. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/limits.h"
#include "common/base/must.h"

#define CORE_INFLIGHT_MAX 128u                  /* appends to one peer that are not acknowledged yet */
#define CORE_INFLIGHT_BYTES (16u * 1024 * 1024) /* and their payload; one message may exceed it */
#define CORE_MESSAGE_BYTES (1024u * 1024)       /* payload of one append; a single entry may exceed it */
#define CORE_MESSAGE_ENTRIES 1024u
#define CORE_ROUNDS_MAX 64u /* heartbeat rounds not acknowledged by a quorum yet */
#define CORE_LATE_MAX 256u  /* messages waiting for the sync; more are dropped, as a network would */
#define CORE_TRACES_MAX 64u
#define CORE_RUNS_ROOM 16u                 /* free places in the runs array the caller guarantees before each event */
#define CORE_INDEX_MAX (UINT64_C(1) << 62) /* indexes, terms and rounds from the network above it are refused (I11) */

/* Of a number in `recovering`: term and vote were lost as well, or nobody knows. */
#define CORE_RECOVERING_FORGOT UINT64_C(1)

struct core; /* opaque; core_bytes() of zeroed memory, owned by the caller */

enum core_role { CORE_FOLLOWER, CORE_PRECANDIDATE, CORE_CANDIDATE, CORE_LEADER, CORE_LEARNER /* no voter */ };

enum core_kind { /* as hf.raft.Kind */
                 CORE_NONE = 0,
                 CORE_PREVOTE = 1,
                 CORE_PREVOTE_REPLY = 2,
                 CORE_VOTE = 3,
                 CORE_VOTE_REPLY = 4,
                 CORE_APPEND = 5,
                 CORE_APPEND_REPLY = 6,
                 CORE_TIMEOUT_NOW = 7,
                 CORE_SNAPSHOT = 8,
                 CORE_SNAPSHOT_REPLY = 9
};

struct core_run { /* a run of entries of one term, up to the next run; runs[0].first is the base (last index let go) */
    uint64_t first, term;
};

struct core_member {
    uint32_t id;
    bool voter; /* false: learner */
};

struct core_config {
    uint64_t index; /* the entry that made it */
    uint32_t count;
    struct core_member members[LIMIT_PEERS];
};

struct core_entry {
    uint64_t term;
    const struct core_config *config; /* borrowed; NULL unless it is a configuration entry */
};

struct core_message {
    enum core_kind kind;
    uint32_t peer; /* who sent it, or whom it is for */
    uint64_t term;
    uint64_t
        index; /* APPEND: prev; VOTE, PREVOTE: last; replies: match, or a hint when rejected; SNAPSHOT: its index */
    uint64_t log_term; /* of `index` */
    uint64_t commit;   /* APPEND; in a rejecting APPEND_REPLY: the prev index that was rejected */
    uint64_t round;
    bool reject, transfer;
    uint64_t recovering; /* inbound: the sender's log was rebuilt after damage, and this is its number; 0: it was not */
    uint64_t recovered;  /* APPEND: the log of this number may vote again (I13) */
    const struct core_entry *entries; /* inbound, borrowed for the step */
    size_t entry_count; /* inbound: how many. Outbound: at most so many from index + 1 on, see core_sent */
    size_t entry_bytes; /* outbound: and about so many bytes, at least one entry */
};

enum core_event_kind {
    CORE_EVENT_TICK,    /* now_ns, CLOCK_BOOTTIME. Never goes back (an older one is ignored) */
    CORE_EVENT_RECEIVE, /* message */
    CORE_EVENT_PROPOSE, /* count. HF_E_NOT_LEADER; HF_E_BUSY: leadership is being handed over */
    CORE_EVENT_CHANGE,  /* config, whose index names the one it replaces. HF_E_NOT_LEADER, HF_E_BUSY,
                           HF_E_COMPARE_FAILED, HF_E_INVALID: more than one server differs, or no voter is left */
    CORE_EVENT_BARRIER, /* id. HF_E_NOT_LEADER, HF_E_BUSY */
    CORE_EVENT_TURN,
    CORE_EVENT_PERSISTED, /* index: hard state and all entries ≤ index, as ordered up to now, are durable */
    CORE_EVENT_APPLIED,   /* index */
    CORE_EVENT_TRIMMED,   /* index: entries ≤ index are gone from the log; index ≤ applied */
    CORE_EVENT_TRANSFER,  /* to; 0: the most caught-up voter. HF_E_NOT_LEADER, HF_E_INVALID */
    CORE_EVENT_CAMPAIGN,  /* not waiting for the time-out; ignored while this replica may not vote */
    CORE_EVENT_INSTALLED, /* installed: the state machine came from elsewhere. HF_E_INVALID: it is behind what is
                             applied, or behind the base; HF_E_BUSY: this replica leads; HF_E_CORRUPT: it contradicts
                             what is committed here */
    CORE_EVENT_COMMITTED, /* committed: somebody who went on in the next epoch knows it. HF_E_ABSENT: not in this log */
    CORE_EVENT_RECOVERED  /* it is durable that this replica is not recovering any more */
};

struct core_installed {
    uint64_t index, term;
    const struct core_config *config; /* as of `index` */
};

struct core_event {
    enum core_event_kind kind;
    union {
        uint64_t now_ns;
        const struct core_message *message; /* borrowed */
        size_t count;
        const struct core_config *config; /* borrowed */
        uint64_t id;
        uint64_t index;
        uint32_t to;
        const struct core_installed *installed; /* borrowed */
        struct {
            uint64_t index, term;
        } committed;
    };
};

enum core_append { CORE_APPEND_NOTHING, CORE_APPEND_MESSAGE, CORE_APPEND_PROPOSED, CORE_APPEND_NOOP };

struct core_orders {   /* to the log; truncation first */
    bool restart;      /* CORE_EVENT_INSTALLED: drop all entries, begin anew behind (index, term) */
    uint64_t truncate; /* drop entries ≥ this; 0: none */
    enum core_append append;
    uint64_t index, term; /* of the first entry to append; term: of proposals and no-op */
    size_t count;
    size_t skip; /* CORE_APPEND_MESSAGE: so many entries of the message are in the log already */
};

struct core_hard_state {
    uint64_t term, commit;
    uint32_t vote;
};

enum core_trace_kind {                             /* a, b: */
                       CORE_TRACE_ROLE,            /* new role, term */
                       CORE_TRACE_TERM,            /* new term, from whom */
                       CORE_TRACE_VOTED,           /* for whom, term */
                       CORE_TRACE_LEADER,          /* leader, term */
                       CORE_TRACE_TRUNCATED,       /* first index dropped, last index before */
                       CORE_TRACE_CONFIG,          /* index of the configuration now in force, members */
                       CORE_TRACE_CONFIG_ROLLBACK, /* index now in force, index dropped */
                       CORE_TRACE_PEER_PROBE,      /* peer, next index */
                       CORE_TRACE_PEER_SNAPSHOT,   /* peer, base: it needs entries that were let go */
                       CORE_TRACE_PEER_BEHIND,     /* peer, match: it misses what it acknowledged before (I13) */
                       CORE_TRACE_SNAPSHOT_NEEDED, /* leader, index: this replica needs a snapshot */
                       CORE_TRACE_QUORUM_LOST,     /* voters heard, voters */
                       CORE_TRACE_TRANSFER,        /* to, last index: TIMEOUT_NOW is on its way */
                       CORE_TRACE_TRANSFER_FAILED, /* to, its match */
                       CORE_TRACE_REFUSED,         /* from, message kind: a message no correct member sends (I11) */
                       CORE_TRACE_INSTALLED,       /* index, last index before */
                       CORE_TRACE_RESTARTED,       /* index, last index before: the log begins anew there */
                       CORE_TRACE_PEER_RECOVERING, /* peer, index to which it must be brought (I13) */
                       CORE_TRACE_PEER_RECOVERED,  /* peer, its match */
                       CORE_TRACE_RECOVERED        /* leader, last index: this replica is, but it is not durable yet */
};

struct core_trace {
    enum core_trace_kind kind;
    uint64_t a, b;
};

/* Planted bugs: checkers are proven on them (failpoint.h). 0 in the product. */
enum core_bug {
    CORE_BUG_VOTE_TWICE = 1,        /* a second vote in a term */
    CORE_BUG_COMMIT_OLD_TERM = 2,   /* entries of older terms committed by counting (figure 8) */
    CORE_BUG_ACK_BEFORE_SYNC = 4,   /* core_next_late does not wait for CORE_EVENT_PERSISTED */
    CORE_BUG_SKIP_TRUNCATE = 8,     /* a conflicting suffix stays */
    CORE_BUG_LEASE_UNCHECKED = 16,  /* the read lease never ends and CheckQuorum does not look */
    CORE_BUG_CHANGE_EARLY = 32,     /* a change of configuration before an entry of the own term is committed */
    CORE_BUG_RECOVERING_VOTES = 64, /* a replica that lost its log goes on voting (I13) */
    CORE_BUG_INSTALL_BACK = 128     /* a state machine behind the applied index is installed */
};

struct core_start {
    uint32_t self;
    uint32_t heartbeat_ms, election_ms; /* an election time-out is election_ms × 1-1.3 */
    uint64_t seed, now_ns;
    struct core_hard_state hard_state; /* as persisted */
    uint64_t applied;
    uint64_t last;             /* all entries up to it are durable */
    struct core_run *runs;     /* of the log; kept by the core until core_give_runs replaces it, freed by the caller */
    size_t run_count, run_cap; /* count ≥ 1 */
    const struct core_config *config;   /* latest in the log; copied */
    const struct core_config *previous; /* the one before, when the latest is not known to be committed, or NULL */
    bool held;           /* `applied` is nobody's: this replica does not campaign before CORE_EVENT_INSTALLED */
    uint64_t recovering; /* number of a log that was rebuilt after damage (I13), 0: it was not */
    bool unused;         /* nobody was promised anything: votes need not wait */
    unsigned bugs;
};

size_t core_bytes(void);
void core_init(struct core *c, const struct core_start *start);

/* One event. 0, or why it was refused (see core_event_kind); then nothing changed. Messages are never refused with a
 * code: what does not fit is dropped. *out_orders is always set. */
HF_CHECKED int core_step(struct core *c, const struct core_event *event, struct core_orders *out_orders);

/* The next message that may leave before our disk. For an APPEND with entry_count > 0 the caller reads entries behind
 * `index` and calls core_sent before the next core_next_early, or stops asking. */
bool core_next_early(struct core *c, struct core_message *out);
/* `count` ≥ 1 entries of `bytes` payload go with `m` (an APPEND just handed out): sets m->commit, counts them in
 * flight. */
void core_sent(struct core *c, struct core_message *m, size_t count, size_t bytes);
bool core_next_late(struct core *c, struct core_message *out);
bool core_next_barrier(struct core *c, uint64_t *out_id, uint64_t *out_index);
bool core_next_trace(struct core *c, struct core_trace *out);
/* A leader's log begins too late for ours, as of the last SNAPSHOT message; told once for each. */
bool core_next_need(struct core *c, uint32_t *out_from, uint64_t *out_index, uint64_t *out_term);
/* A leader said that this log is complete again: CORE_EVENT_RECOVERED is due once that is durable. */
bool core_recovery_due(const struct core *c);
bool core_changed(struct core *c); /* role, term, known leader or configuration changed since the last call */

/* Before an event, when fewer than CORE_RUNS_ROOM places are free: `runs` (cap larger than before) replaces the array,
 * which is returned to be freed. */
size_t core_runs_room(const struct core *c);
struct core_run *core_give_runs(struct core *c, struct core_run *runs, size_t cap);
size_t core_runs_cap(const struct core *c);

/* The group's constants, which the start had to guess. Not while it leads. */
void core_set_times(struct core *c, uint32_t heartbeat_ms, uint32_t election_ms);

struct core_hard_state core_hard_state(const struct core *c);
enum core_role core_role(const struct core *c);
uint32_t core_leader(const struct core *c); /* 0: unknown */
uint64_t core_last(const struct core *c);
uint64_t core_base(const struct core *c);
bool core_term_at(const struct core *c, uint64_t index, uint64_t *out_term); /* false: not in the log */
uint64_t core_apply_limit(const struct core *c);                             /* committed and durable here (I7) */
bool core_serving(const struct core *c);                                     /* leader whose own no-op is applied */
bool core_transferring(const struct core *c);
bool core_held(const struct core *c);
uint64_t core_recovering(const struct core *c);  /* the number; 0: it is not */
uint64_t core_lease_until(const struct core *c); /* ns; 0: no read lease */
uint64_t core_deadline(const struct core *c);    /* ns: the next CORE_EVENT_TICK is due at the latest */
const struct core_config *core_config(const struct core *c);

struct core_progress {
    uint32_t id;
    uint64_t match;
    bool active;     /* heard within an election time-out */
    bool recovering; /* it is in no quorum (I13) */
};
size_t core_progress(const struct core *c, struct core_progress *out, size_t max); /* at the leader; itself included */
