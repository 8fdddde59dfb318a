/* test_cold_start.c: every state of a start, its action and its labels, from facts alone. */
#include "shard/replica/cold_start.h"

#include <string.h>

#include "common/base/error.h"
#include "tests/unit/unit.h"

struct row {
    const char *name;
    struct cold_facts facts;
    enum cold_state state;
    enum cold_action action;
    const char *outcome, *reason;
    uint64_t gap;
};

/* A group of three: the machine stands at 90 of term 3, the token at 80 of term 3, the log holds 71..100. */
#define WHOLE                                                                                                          \
    .applied = 90, .applied_term = 3, .token = true, .snapshot = 80, .snapshot_term = 3, .first = 71, .last = 100,     \
    .log_applied_term = 3, .log_snapshot_term = 3, .healers = 2

static const struct row rows[] = {
    {"a new directory", {.fresh = true}, COLD_FRESH, COLD_START_FRESH, "fresh", "fresh", 0},
    {"ahead of the pointer", {WHOLE}, COLD_AHEAD, COLD_SKIP, "skipped", "ahead", 10},
    {"no pointer yet",
     {.applied = 1, .applied_term = 1, .first = 2, .last = 9, .log_applied_term = 1, .healers = 2},
     COLD_AHEAD,
     COLD_SKIP,
     "skipped",
     "ahead",
     0},
    {"an empty log", /* cut to the machine's own position */
     {.applied = 90, .applied_term = 3, .first = 91, .last = 90, .log_applied_term = 3, .healers = 2},
     COLD_AHEAD,
     COLD_SKIP,
     "skipped",
     "ahead",
     0},
};

static const struct row equal = {.facts = {WHOLE}};

struct change { /* of the whole facts */
    const char *name;
    void (*apply)(struct cold_facts *f);
    enum cold_state state;
    enum cold_action action, alone; /* with healers, and without */
    const char *outcome, *reason;
};

static void at_the_pointer(struct cold_facts *f)
{
    f->applied = 80;
}

static void behind_covered(struct cold_facts *f)
{
    f->applied = 75;
}

static void behind_gap(struct cold_facts *f)
{
    f->applied = 69;
    f->log_applied_term = 0;
}

static void missing(struct cold_facts *f)
{
    f->fsm_code = HF_E_ABSENT;
}

static void unreadable(struct cold_facts *f)
{
    f->fsm_code = HF_E_INVALID;
}

static void foreign(struct cold_facts *f)
{
    f->fsm_foreign = true;
}

static void foreign_ahead(struct cold_facts *f) /* whatever its index: it is not ours */
{
    f->fsm_foreign = true;
    f->applied = 5000;
    f->log_applied_term = 0;
}

static void foreign_term(struct cold_facts *f)
{
    f->log_applied_term = 2;
}

static void foreign_term_at_pointer(struct cold_facts *f)
{
    f->applied = 80;
    f->applied_term = f->log_applied_term = 2;
}

static void foreign_token_term(struct cold_facts *f) /* replay would pass an entry that the pointer knows otherwise */
{
    f->applied = 75;
    f->log_snapshot_term = 2;
}

static void damaged(struct cold_facts *f)
{
    f->fsm_code = HF_E_CORRUPT;
}

static void log_damaged(struct cold_facts *f)
{
    f->log_code = HF_E_CORRUPT;
    f->first = f->last = f->log_applied_term = f->log_snapshot_term = 0;
}

static void log_short(struct cold_facts *f)
{
    f->last = 85;
    f->log_applied_term = 0;
}

static void log_below_pointer(struct cold_facts *f) /* machine and log put back together: only the token remembers */
{
    f->applied = 60;
    f->first = 41;
    f->last = 70;
    f->log_snapshot_term = 0;
}

static void both_damaged(struct cold_facts *f)
{
    log_damaged(f);
    damaged(f);
}

static void forced(struct cold_facts *f)
{
    f->force_restore = true;
}

static const struct change changes[] = {
    {"at the pointer", at_the_pointer, COLD_EQUAL, COLD_SKIP, COLD_SKIP, "skipped", "equal"},
    {"behind, covered", behind_covered, COLD_BEHIND_COVERED, COLD_REPLAY, COLD_REPLAY, "skipped", "behind"},
    {"behind, a gap", behind_gap, COLD_BEHIND_GAP, COLD_RESTORE, COLD_REFUSE, "executed", "gap"},
    {"missing", missing, COLD_MISSING, COLD_RESTORE, COLD_REFUSE, "fallback", "missing"},
    {"unreadable", unreadable, COLD_UNREADABLE, COLD_RESTORE, COLD_REFUSE, "fallback", "unreadable"},
    {"foreign", foreign, COLD_FOREIGN_EPOCH, COLD_RESTORE, COLD_REFUSE, "fallback", "foreign_epoch"},
    {"foreign, ahead", foreign_ahead, COLD_FOREIGN_EPOCH, COLD_RESTORE, COLD_REFUSE, "fallback", "foreign_epoch"},
    {"foreign term", foreign_term, COLD_FOREIGN_TERM, COLD_RESTORE, COLD_REFUSE, "fallback", "foreign_term"},
    {"foreign term at the pointer", foreign_term_at_pointer, COLD_FOREIGN_TERM, COLD_RESTORE, COLD_REFUSE, "fallback",
     "foreign_term"},
    {"the pointer's term", foreign_token_term, COLD_FOREIGN_TERM, COLD_RESTORE, COLD_REFUSE, "fallback",
     "foreign_term"},
    {"a damaged machine", damaged, COLD_CORRUPT_FSM, COLD_RESTORE, COLD_REFUSE, "fallback", "corrupt_fsm"},
    {"a damaged log", log_damaged, COLD_CORRUPT_LOG, COLD_REBUILD_LOG, COLD_REFUSE, "fallback", "corrupt_log"},
    {"a short log", log_short, COLD_CORRUPT_LOG, COLD_REBUILD_LOG, COLD_REFUSE, "fallback", "corrupt_log"},
    {"a log below the pointer", log_below_pointer, COLD_CORRUPT_LOG, COLD_REBUILD_LOG, COLD_REFUSE, "fallback",
     "corrupt_log"},
    {"both damaged", both_damaged, COLD_CORRUPT_LOG, COLD_REBUILD_LOG, COLD_REFUSE, "fallback", "corrupt_log"},
    {"forced", forced, COLD_AHEAD, COLD_RESTORE, COLD_SKIP, "executed", "forced"},
};

static void expect(const char *name, const struct cold_facts *f, enum cold_state state, enum cold_action action,
                   const char *outcome, const char *reason)
{
    struct cold_decision d = cold_start_classify(f);
    bool good = d.state == state && d.action == action && !strcmp(d.outcome, outcome) && !strcmp(d.reason, reason);
    if (!good)
        fprintf(stderr, "%s: state %s action %d outcome %s reason %s\n", name, cold_state_name(d.state), (int)d.action,
                d.outcome, d.reason);
    CU_ASSERT(good);
}

static void every_state(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *r = &rows[i];
        expect(r->name, &r->facts, r->state, r->action, r->outcome, r->reason);
        CU_ASSERT_EQUAL(cold_start_classify(&r->facts).gap, r->gap);
    }
    bool seen[COLD_STATES] = {[COLD_FRESH] = true, [COLD_AHEAD] = true};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        const struct change *c = &changes[i];
        struct cold_facts f = equal.facts;
        c->apply(&f);
        expect(c->name, &f, c->state, c->action, c->outcome, c->reason);
        seen[c->state] = true;
    }
    for (int i = 0; i < COLD_STATES; i++)
        CU_ASSERT(seen[i]); /* the table is whole */
}

static void alone_it_skips_or_refuses(void)
{
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        const struct change *c = &changes[i];
        struct cold_facts f = equal.facts;
        c->apply(&f);
        f.healers = 0;
        struct cold_decision d = cold_start_classify(&f);
        CU_ASSERT_EQUAL(d.state, c->state);
        CU_ASSERT_EQUAL(d.action, c->alone);
        if (d.action == COLD_REFUSE)
            CU_ASSERT_STRING_EQUAL(d.outcome, "refused");
    }
}

static void a_local_stream_heals_a_machine_but_no_log(void)
{
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        const struct change *c = &changes[i];
        struct cold_facts f = equal.facts;
        c->apply(&f);
        f.healers = 0;
        f.local_stream = true;
        enum cold_action wanted = c->action == COLD_REBUILD_LOG ? COLD_REFUSE : c->action;
        CU_ASSERT_EQUAL(cold_start_classify(&f).action, wanted);
    }
}

static void the_gap_is_a_distance(void)
{
    struct cold_facts f = equal.facts;
    CU_ASSERT_EQUAL(cold_start_classify(&f).gap, 10);
    f.applied = 72;
    CU_ASSERT_EQUAL(cold_start_classify(&f).gap, 8);
    f.fsm_code = HF_E_CORRUPT; /* what it said counts for nothing */
    CU_ASSERT_EQUAL(cold_start_classify(&f).gap, 80);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"every state", every_state},
        {"alone", alone_it_skips_or_refuses},
        {"a local stream", a_local_stream_heals_a_machine_but_no_log},
        {"the gap", the_gap_is_a_distance},
    };
    return UNIT_MAIN("cold start", cases);
}
