/* core_state.h: what the core's files share: its state, and the functions they call across. Nobody else includes it
 * (tests of the core apart).
 *
 * Roles (core_election.c; core_state_check asserts the invariants after every event):
 *
 *                 time-out                  quorum of pre-votes          quorum of votes
 *      FOLLOWER ------------> PRECANDIDATE ---------------------> CANDIDATE --------> LEADER
 *         ^  |                     |                                 |                  |
 *         |  '--- TIMEOUT_NOW, or a group of one: straight to -------^                  |
 *         '----------------- higher term, leader heard, quorum lost --------------------'
 *      LEARNER: not a voter of the configuration in force; turns FOLLOWER and back with the configuration.
 *
 *   FOLLOWER     → PRECANDIDATE [election_start]   → CANDIDATE [election_candidate]
 *   PRECANDIDATE → CANDIDATE [election_count]      → FOLLOWER [election_follow]
 *   CANDIDATE    → LEADER [election_count]         → PRECANDIDATE [election_start]   → FOLLOWER [election_follow]
 *   LEADER       → FOLLOWER [election_follow: higher term, quorum lost, removed and committed]
 *   any          ↔ LEARNER [election_follow, election_role_from_config]
 *
 *   PRECANDIDATE, CANDIDATE: leader == 0.   CANDIDATE, LEADER: vote == self.   LEADER: leader == self, own no-op is in
 * the log. Others than LEADER: no barrier, no transfer, no lease.
 *
 * Peers, at the leader (core_replicate.c):
 *   PROBE     one append at a time until the peer's log is found to match → REPLICATE; needs trimmed entries → SNAPSHOT
 *   REPLICATE a window of appends in flight; next is optimistic; a rejection → PROBE
 *   SNAPSHOT  told so at heartbeat pace and nothing else; when it reports an index the log still holds → PROBE
 *
 * Recovery (I13, core_recover.c), at the leader, across those states; `recovering` is the number of the peer's log:
 *   0          nothing was lost, as far as this leader was told
 *   not 0      first contact [core_recover_hear]: match forgotten, target = our last index; in no quorum until
 *   + brought  match and commit have reached the target [core_recover_check]: in every quorum, told so until it knows
 * A number not heard before is a first contact again. A new leader begins at 0.
 * Of a number with CORE_RECOVERING_FORGOT `brought` asks for more: core_recover_check. */
#pragma once

#include "common/base/random.h"
#include "shard/engine/native/core.h"

#define CORE_NS_PER_MS UINT64_C(1000000)

enum core_peer_state { CORE_PEER_PROBE, CORE_PEER_REPLICATE, CORE_PEER_SNAPSHOT };

struct core_flight {
    uint64_t last; /* index of the last entry of the message */
    uint64_t bytes;
};

struct core_peer {
    uint32_t id;
    bool voter;
    bool heartbeat_due;
    bool probe_out;
    bool vote_known, vote_granted; /* of the current (pre-)election */
    enum core_peer_state state;
    uint64_t next, match;
    uint64_t heard_ns;
    uint64_t round; /* highest echoed */
    uint64_t recovering, target;
    uint64_t contact_round;         /* rounds from it on were begun after the first contact */
    bool brought, still_recovering; /* still_recovering: its last answer said so */
    uint64_t flight_bytes;
    uint32_t flight_head, flight_count;
    struct core_flight flights[CORE_INFLIGHT_MAX];
};

struct core_round {
    uint64_t sent_ns;
    uint64_t read_index; /* of its barriers */
    uint32_t barriers;
};

struct core_barrier {
    uint64_t id, index;
};

struct core_ack { /* what this follower owes the leader of its term; replies of one turn are one message */
    bool owed;
    uint64_t match, sent, round;
};

struct core {
    /* who */
    uint32_t self;
    unsigned bugs;
    uint64_t heartbeat_ns, election_ns;
    struct random random;

    /* hard state */
    uint64_t term, commit;
    uint32_t vote;
    bool hard_state_dirty; /* term or vote not persisted yet: nothing leaves */

    /* log: runs[0].first is the base */
    struct core_run *runs; /* borrowed from the caller, see core_give_runs */
    size_t run_count, run_cap;
    uint64_t last, persisted, applied;

    /* configuration in force (the latest in the log) and the one before, for a rollback; index 0: none */
    struct core_config config, previous;
    bool self_voter;
    uint32_t voters;

    /* role */
    enum core_role role;
    uint32_t leader;
    bool changed;
    uint64_t now_ns, ticked_ns; /* last tick, the one before */
    uint64_t election_at_ns;    /* not the leader: start an election */
    uint64_t quiet_until_ns;    /* after start: no vote before; 0: an unused log */
    uint64_t heard_ns;          /* a leader was heard at or before; 0: never */
    bool heard;                 /* since the last tick: counted from the next one, never too early */
    bool transfer_election;     /* this candidacy was ordered by the leader */
    uint64_t campaign_from;     /* index to be applied before the first campaign */
    bool held;                  /* no state machine */
    uint64_t recovering;        /* number of our log, until it is complete again; 0: it is */
    bool recovery_due;
    uint32_t need_from; /* a leader's SNAPSHOT that was not told yet; 0: none */
    uint64_t need_index, need_term;
    struct core_ack ack;

    /* leader */
    uint64_t noop; /* index of the own no-op */
    uint64_t heartbeat_at_ns, quorum_at_ns;
    uint32_t transferee; /* 0: none */
    bool timeout_due;
    uint64_t transfer_until_ns;
    uint64_t lease_from_ns; /* 0: none */
    bool lease_dead; /* TIMEOUT_NOW left in this term: whoever gets it late may still campaign, so no lease any more */

    /* peers: the other members; refilled when the configuration changes */
    uint32_t peer_count, cursor;
    struct core_peer peers[LIMIT_PEERS];

    /* rounds: numbers round_acked + 1 .. round_last wait for a quorum; slot = number % CORE_ROUNDS_MAX */
    uint64_t round_last, round_acked;
    struct core_round rounds[CORE_ROUNDS_MAX];
    /* barriers: [head, ready) hold, [ready, sent) belong to rounds, [sent, tail) wait for one; slot = counter % max */
    uint64_t barrier_head, barrier_ready, barrier_sent, barrier_tail;
    struct core_barrier barriers[LIMIT_PENDING_REQUESTS];

    uint32_t late_head, late_count;
    struct core_message late[CORE_LATE_MAX];
    uint32_t trace_head, trace_count;
    struct core_trace traces[CORE_TRACES_MAX];
};

/* core.c */
void core_trace(struct core *c, enum core_trace_kind kind, uint64_t a, uint64_t b);
struct core_message *core_late(struct core *c, enum core_kind kind, uint32_t to); /* queued; never NULL, may displace */
struct core_peer *core_peer(struct core *c, uint32_t id);                         /* NULL: not a member */
void core_state_check(const struct core *c);

/* core_log.c: the log as runs */
void core_log_append(struct core *c, uint64_t term, size_t count);
void core_log_truncate(struct core *c, uint64_t from);
void core_log_trim(struct core *c, uint64_t index);
void core_log_restart(struct core *c, uint64_t index, uint64_t term);
int core_log_committed(struct core *c, uint64_t index, uint64_t term); /* as CORE_EVENT_COMMITTED */
uint64_t core_log_last_term(const struct core *c);
uint64_t core_log_agree(const struct core *c, uint64_t index,
                        uint64_t term); /* largest i ≤ index with term(i) ≤ term; 0 */

/* core_election.c */
void core_election_follow(struct core *c, uint64_t term, uint32_t leader, uint32_t from);
void core_election_role_from_config(struct core *c);
void core_election_heard(struct core *c);
bool core_election_hears(const struct core *c);
/* A leader may be counting its lease on us: no vote now. After a start for one election time-out, and while one is
 * heard. */
bool core_election_keeps_quiet(const struct core *c);
void core_election_start(struct core *c, struct core_orders *out);
void core_election_timeout_now(struct core *c, const struct core_message *m, struct core_orders *out);
void core_election_request(struct core *c, const struct core_message *m);
void core_election_reply(struct core *c, const struct core_message *m, struct core_orders *out);
void core_election_tick(struct core *c, struct core_orders *out);
void core_election_rearm(struct core *c);

/* core_follow.c */
void core_follow_append(struct core *c, const struct core_message *m, struct core_orders *out);
void core_follow_snapshot(struct core *c, const struct core_message *m);
bool core_follow_may_lead(const struct core *c); /* has a state machine, and it is not behind what it was */
bool core_follow_ack(struct core *c, struct core_message *out);

/* core_replicate.c */
void core_replicate_begin(struct core *c, struct core_peer *p);
void core_replicate_probe(struct core *c, struct core_peer *p, uint64_t next);
void core_replicate_reply(struct core *c, const struct core_message *m);
void core_replicate_commit(struct core *c);
uint64_t core_replicate_quorum(const struct core *c, uint64_t self, uint64_t (*value)(const struct core_peer *p));
void core_replicate_tick(struct core *c);

/* core_recover.c */
/* May what this peer says be counted? */
static inline bool core_recover_counts(const struct core_peer *p)
{
    return p->recovering == 0 || p->brought;
}
void core_recover_begin(struct core_peer *p); /* of a new leadership */
/* A reply came; false: it is not this log's, nothing of it counts. */
bool core_recover_hear(struct core *c, struct core_peer *p, const struct core_message *m);
void core_recover_check(struct core *c, struct core_peer *p);
/* At the recovering replica, which follows the leader of its term: if it forgot its vote, this is the one. */
void core_recover_follow(struct core *c, uint32_t leader);
void core_recover_told(struct core *c, const struct core_message *m); /* at the recovering replica: an APPEND */

/* core_install.c */
int core_install(struct core *c, const struct core_installed *installed, struct core_orders *out);

/* core_read.c */
void core_read_reset(struct core *c);
bool core_read_begin_round(struct core *c);
void core_read_turn(struct core *c);
void core_read_echo(struct core *c, struct core_peer *p, uint64_t round);
int core_read_barrier(struct core *c, uint64_t id);

/* core_config.c */
bool core_config_sane(const struct core_config *config);
void core_config_install(struct core *c, const struct core_config *config, uint64_t index);
void core_config_truncated(struct core *c, uint64_t from);
void core_config_refresh(struct core *c);
int core_config_change(struct core *c, const struct core_config *config, struct core_orders *out);

/* core_transfer.c */
int core_transfer_start(struct core *c, uint32_t to);
void core_transfer_tick(struct core *c);
void core_transfer_acked(struct core *c, const struct core_peer *p);
