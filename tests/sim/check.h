/* check.h: what the checkers see, and the list of them: one property, one file.
 *
 * Position: node.c, turn.c, logtap.c and clients.c report events; each checker keeps what it needs to judge the next
 * one. Everything is incremental: an event costs O(1), a new leader O(log). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/must.h"
#include "shard/engine/engine.h"
#include "tests/sim/column.h"

#define SIM_NODES_MAX 9 /* replicas 1..9: at most 7 at first, others join as learners */

struct sim;
struct node;

enum check_kind {
    CHECK_OPENED,       /* a replica's log was opened: index = last, term and peer = hard state */
    CHECK_APPENDED,     /* index, term, hash of kind and payload, other = term before it */
    CHECK_STATUS,       /* role, term, index = commit, after something of it changed */
    CHECK_VOTED,        /* a vote left: term, peer = for whom */
    CHECK_ACKNOWLEDGED, /* an append reply left: index = match, term */
    CHECK_APPLIED,      /* index, term, hash, other = chain of the state machine, 0 inside a batch */
    CHECK_DURABLE,      /* index, term: what a crash would leave of the state machine */
    CHECK_RESTARTED,    /* engine and state machine are open: index, term, other = chain of the state machine */
    CHECK_WRITE_DONE,   /* a client was told: index, term, hash, other = the teller's term */
    CHECK_READ_BEGIN,   /* other = id of the read */
    CHECK_READ_DONE,    /* other = id, index = applied index of the answer */
    CHECK_TOKEN,        /* the snapshot pointer moved: index, other = durable applied index */
    CHECK_TRIMMED,      /* the log was cut: index, other = durable applied index */
    CHECK_INSTALLED, /* a state machine came from elsewhere, the log follows: index, term, other = chain of it; hash =
                           index that its token says */
    CHECK_LOST,      /* a state machine was destroyed */
    CHECK_HEALED     /* the end: index = 0, or the step that the healed cluster did not get through in time */
};

struct check_event {
    enum check_kind kind;
    const struct node *node;
    uint64_t index, term, hash, other;
    uint32_t peer;
    enum engine_role role;
};

struct checker {
    const char *name;
    size_t state_bytes; /* zeroed at start */
    void (*see)(void *state, struct sim *sim, const struct check_event *event);
    void (*deinit)(void *state);
};

extern const struct checker check_leaders, check_log_matching, check_completeness, check_machine, check_acks,
    check_reads, check_votes, check_promises, check_quorum, check_commit, check_recovery, check_liveness, check_durable,
    check_snapshots;

struct checks {
    void *states[14]; /* owned; NULL: switched off */
};

/* `only`: the name of one checker, or NULL for all. */
void checks_init(struct checks *c, const char *only);
void checks_deinit(struct checks *c);
void checks_see(struct sim *sim, struct check_event event);
bool checks_known(const char *name);

/* The first failure stands; the run ends after the step. */
void check_failed(struct sim *sim, const struct checker *checker, const char *format, ...) HF_PRINTF(3, 4);
