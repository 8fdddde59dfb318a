/* cold_start.c: see cold_start.h. */
#include "shard/replica/cold_start.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "common/sys/metrics.h"

/* By state; behind them the forced one and the refusals: row, outcome, reason. */
enum { M_FORCED = COLD_STATES, M_REFUSED, M_RESTORE_COUNT };
/* clang-format off */
#define ROWS(X)                                                                                                        \
    X(COLD_FRESH, "fresh", "fresh")                                                                                    \
    X(COLD_AHEAD, "skipped", "ahead")                                                                                  \
    X(COLD_EQUAL, "skipped", "equal")                                                                                  \
    X(COLD_BEHIND_COVERED, "skipped", "behind")                                                                        \
    X(COLD_BEHIND_GAP, "executed", "gap")                                                                              \
    X(COLD_MISSING, "fallback", "missing")                                                                             \
    X(COLD_UNREADABLE, "fallback", "unreadable")                                                                       \
    X(COLD_FOREIGN_EPOCH, "fallback", "foreign_epoch")                                                                 \
    X(COLD_FOREIGN_TERM, "fallback", "foreign_term")                                                                   \
    X(COLD_CORRUPT_FSM, "fallback", "corrupt_fsm")                                                                     \
    X(COLD_CORRUPT_LOG, "fallback", "corrupt_log")                                                                     \
    X(M_FORCED, "executed", "forced")                                                                                  \
    X(M_REFUSED, "refused", "nobody_to_heal")

static struct metric restore_total[M_RESTORE_COUNT] = {
#define RESTORE(row, outcome, reason)                                                                                  \
    [row] = {"holdfast_fsm_cold_start_restore_total", "outcome=\"" outcome "\",reason=\"" reason "\"",                 \
             "Starts by what became of restoring the state machine", METRIC_COUNTER, 0},
    ROWS(RESTORE)
#undef RESTORE
};

static const struct {
    const char *outcome, *reason;
} labels[M_RESTORE_COUNT] = {
#define LABELS(row, outcome, reason) [row] = {outcome, reason},
    ROWS(LABELS)
#undef LABELS
};
/* clang-format on */

#define GAP(outcome)                                                                                                   \
    {                                                                                                                  \
        "holdfast_fsm_cold_start_applied_index_gap", "outcome=\"" outcome "\"",                                        \
            "Entries between the state machine and the snapshot pointer at the last start", METRIC_GAUGE, 0            \
    }

static struct metric gaps[] = {GAP("fresh"), GAP("skipped"), GAP("executed"), GAP("fallback")};
static const char *const gap_outcomes[] = {"fresh", "skipped", "executed", "fallback"};

#define PHASE(phase)                                                                                                   \
    {                                                                                                                  \
        "holdfast_cold_start_seconds", "phase=\"" phase "\"", "What the last start spent its time on",                 \
            METRIC_GAUGE_NS, 0                                                                                         \
    }

static struct metric phases[COLD_PHASES] = {[COLD_PHASE_FSM] = PHASE("open_fsm"),
                                            [COLD_PHASE_LOG] = PHASE("open_log"),
                                            [COLD_PHASE_RESTORE] = PHASE("restore"),
                                            [COLD_PHASE_TOTAL] = PHASE("ready")};

const char *cold_state_name(enum cold_state state)
{
    static const char *const names[COLD_STATES] = {
        [COLD_FRESH] = "fresh",
        [COLD_AHEAD] = "ahead",
        [COLD_EQUAL] = "equal",
        [COLD_BEHIND_COVERED] = "behind_covered",
        [COLD_BEHIND_GAP] = "behind_gap",
        [COLD_MISSING] = "missing",
        [COLD_UNREADABLE] = "unreadable",
        [COLD_FOREIGN_EPOCH] = "foreign_epoch",
        [COLD_FOREIGN_TERM] = "foreign_term",
        [COLD_CORRUPT_FSM] = "corrupt_fsm",
        [COLD_CORRUPT_LOG] = "corrupt_log",
    };
    return names[state];
}

/* A log that is damaged, or that ends below what this replica has applied or published: entries that it may have
 * acknowledged are gone (I13), whatever the state machine says. */
static bool log_lost(const struct cold_facts *f)
{
    bool standing = f->fsm_code == HF_OK && !f->fsm_foreign;
    return f->log_code != HF_OK || (standing && f->applied > f->last) || (f->token && f->snapshot > f->last);
}

static enum cold_state state_of(const struct cold_facts *f)
{
    if (f->fresh)
        return COLD_FRESH;
    if (log_lost(f))
        return COLD_CORRUPT_LOG;
    if (f->fsm_code == HF_E_ABSENT)
        return COLD_MISSING;
    if (f->fsm_code == HF_E_INVALID)
        return COLD_UNREADABLE;
    if (f->fsm_code != HF_OK)
        return COLD_CORRUPT_FSM;
    if (f->fsm_foreign)
        return COLD_FOREIGN_EPOCH;
    if (f->applied + 1 < f->first)
        return COLD_BEHIND_GAP;
    if (f->log_applied_term != f->applied_term)
        return COLD_FOREIGN_TERM;
    if (!f->token || f->applied > f->snapshot)
        return COLD_AHEAD;
    if (f->applied == f->snapshot)
        return f->applied_term == f->snapshot_term ? COLD_EQUAL : COLD_FOREIGN_TERM;
    return f->log_snapshot_term == f->snapshot_term ? COLD_BEHIND_COVERED : COLD_FOREIGN_TERM;
}

static enum cold_action action_of(enum cold_state state, const struct cold_facts *f)
{
    bool source = f->healers > 0 || f->local_stream;
    switch (state) {
    case COLD_FRESH:
        return COLD_START_FRESH;
    case COLD_AHEAD:
    case COLD_EQUAL:
        return f->force_restore && source ? COLD_RESTORE : COLD_SKIP;
    case COLD_BEHIND_COVERED:
        return f->force_restore && source ? COLD_RESTORE : COLD_REPLAY;
    case COLD_BEHIND_GAP:
    case COLD_MISSING:
    case COLD_UNREADABLE:
    case COLD_FOREIGN_EPOCH:
    case COLD_FOREIGN_TERM:
    case COLD_CORRUPT_FSM:
        return source ? COLD_RESTORE : COLD_REFUSE;
    case COLD_CORRUPT_LOG: /* what it lost it must get from those who did not: no local stream helps */
        return f->healers > 0 ? COLD_REBUILD_LOG : COLD_REFUSE;
    }
    return COLD_REFUSE;
}

/* Labels and counter come from one row. */
static unsigned row_of(enum cold_state state, enum cold_action action)
{
    if (action == COLD_REFUSE)
        return M_REFUSED;
    bool whole = state == COLD_AHEAD || state == COLD_EQUAL || state == COLD_BEHIND_COVERED;
    return whole && action == COLD_RESTORE ? (unsigned)M_FORCED : (unsigned)state;
}

struct cold_decision cold_start_classify(const struct cold_facts *f)
{
    struct cold_decision d = {.state = state_of(f)};
    d.action = action_of(d.state, f);
    unsigned row = row_of(d.state, d.action);
    d.outcome = labels[row].outcome;
    d.reason = labels[row].reason;
    uint64_t applied = f->fsm_code == HF_OK && !f->fsm_foreign ? f->applied : 0;
    uint64_t snapshot = f->token ? f->snapshot : applied;
    d.gap = applied > snapshot ? applied - snapshot : snapshot - applied;
    return d;
}

void cold_start_report(const struct cold_decision *d, const struct cold_facts *f)
{
    static bool registered;
    if (!registered) {
        metrics_register(restore_total, M_RESTORE_COUNT);
        metrics_register(gaps, sizeof gaps / sizeof gaps[0]);
        metrics_register(phases, COLD_PHASES);
        registered = true;
    }
    metric_add(&restore_total[row_of(d->state, d->action)], 1);
    for (size_t i = 0; i < sizeof gaps / sizeof gaps[0]; i++)
        if (strcmp(gap_outcomes[i], d->outcome) == 0)
            metric_set(&gaps[i], d->gap);
    /* What is refused says so itself, in the process's last line. */
    bool good = d->action == COLD_SKIP || d->action == COLD_START_FRESH || d->action == COLD_REFUSE;
    diag(good ? DIAG_INFO : DIAG_WARN,
         "cold start state=%s outcome=%s reason=%s applied=%" PRIu64 " applied_term=%" PRIu64 " snapshot=%" PRIu64
         " snapshot_term=%" PRIu64 " gap=%" PRIu64 " first=%" PRIu64 " last=%" PRIu64,
         cold_state_name(d->state), d->outcome, d->reason, f->applied, f->applied_term, f->snapshot, f->snapshot_term,
         d->gap, f->first, f->last);
}

static uint64_t begun_ns; /* 0: it is over */

void cold_start_begin(uint64_t now_ns)
{
    begun_ns = now_ns;
}

void cold_start_ready(uint64_t now_ns)
{
    if (begun_ns == 0)
        return;
    cold_start_phase(COLD_PHASE_TOTAL, now_ns - begun_ns);
    begun_ns = 0;
}

void cold_start_phase(enum cold_phase phase, uint64_t ns)
{
    metric_set(&phases[phase], ns);
}
