/* test_canaries.c: each checker, alone, finds a bug planted for it within a bounded number of seeds; with no bug
 * planted the same seeds are clean (sim_seeds shows that). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/sys/failpoint.h"
#include "tests/sim/seeds.h"
#include "tests/sim/world/world.h"

#define FIRST 1
#define SEEDS_MAX 600

static const struct canary {
    const char *bug, *checker; /* "abort": a must() of the product itself, in a world */
} canaries[] = {
    {"sim.refused_vote_counts", "leaders"},
    {"native.skip_truncate", "log_matching"},
    {"native.skip_truncate", "completeness"},
    {"native.skip_truncate", "machine"},
    {"native.lose_entry", "acks"},
    {"sim.reply_before_apply", "acks"},
    {"native.lease_unchecked", "reads"},
    {"sim.lease_not_checked", "reads"},
    {"native.vote_twice", "votes"},
    {"native.ack_before_sync", "promises"},
    {"native.commit_old_term", "quorum"},
    {"native.skip_truncate", "commit"},
    {"sim.sync_ignored", "recovery"},
    {"fsm.split_batch", "machine"},
    {"fsm.ignore_overlay", "machine"},
    {"fsm.sessions_forgotten", "machine"},
    {"sim.flush_not_consistent", "machine"},
    {"sim.durable_lies", "state"},
    {"sim.trim_ahead", "recovery"},
    {"sim.trim_ahead", "snapshots"},
    {"sim.token_ahead", "snapshots"},
    {"sim.token_live", "snapshots"},
    {"native.install_back", "snapshots"},
    {"native.recovering_votes", "completeness"},
    {"native.recovering_votes", "acks"},
    {"fsm.sessions_forgotten", "world.state"},
    {"publish.live_token", "abort"},
    {"sim.trim_ahead", "world.snapshots"},
    {"native.install_back", "world.snapshots"},
    {"native.lease_unchecked", "linear"},
    {"fsm.apply_twice", "once"},
    {"writes.unknown_as_refused", "once"},
    {"forward.resend_unknown", "once"},
    {"fsm.done_below_off_by_one", "sessions"},
    {"forward.answers_twice", "answers"},
    {"clock.lease_unchecked", "oracle"},
    {"clock.no_fresh_timestamp", "stable"},
    {"clock.read_unobserved", "stable"},
    {"reads.in_flight_unseen", "stable"},
    {"clock.no_restart_mark", "fresh"},
    {"native.lease_unchecked", "fresh"},
    {"clock.sequence_anew", "versions"},
    {"cut.no_hold", "cut"},
    {"build.expiry_by_now", "expiry"},
    {"clock.hold_ignored", "cut"},
    {"txn.lock_skipped", "txns"},
    {"txn.validate_first", "txns"},
    {"txn.reads_unvalidated", "txns"},
    {"txn.rest_first", "txns"},
    {"txn.rest_first", "once"},
    {"txn.marker_unchecked", "txns"},
    {"txn.commit_unobserved", "abort"},
    {"collect.markers_first", "stable"},
    {"libraft.no_first_entry", "quorum"},
    {"libraft.answer_tail", "quorum"},
    {"libraft.answer_before_sync", "promises"},
    {"cross.applies_on", "epochs"},
    {"fsm.abort_forgotten", "aborted"},
    {"transport.no_sealed", "progress"},
    {"heal.own_epoch", "progress"},
    {"swap.unflushed", "world.state"},
    {"sim.log_made_again", "epochs"},
    {"sim.refused_vote_seen", "world.votes"},
    {"sim.refused_vote_seen", "world.leaders"},
    {"sim.stays_cut", "progress"},
    {"sim.votes_lost_after_healing", "liveness"},
};

/* A bug in a change of engine is found where every world has some. */
static enum sim_migrate migrate_of(const struct canary *c)
{
    static const char *const bugs[] = {"cross.", "fsm.abort_forgotten", "transport.no_sealed",  "heal.own_epoch",
                                       "swap.",  "sim.log_made_again",  "sim.refused_vote_seen"};
    for (size_t i = 0; i < sizeof bugs / sizeof bugs[0]; i++)
        if (strncmp(c->bug, bugs[i], strlen(bugs[i])) == 0)
            return SIM_MIGRATE_ALWAYS;
    return SIM_MIGRATE_DRAWN;
}

/* A bug of an engine is planted there. */
static const struct engine_ops *engine_of(const struct canary *c)
{
    return strncmp(c->bug, "libraft.", 8) == 0 ? engine_find("libraft") : NULL;
}

int main(void)
{
    int silent = 0;
    for (size_t i = 0; i < sizeof canaries / sizeof canaries[0]; i++) {
        const struct canary *c = &canaries[i];
        const char *only = strcmp(c->checker, "abort") == 0 ? "world.snapshots" : c->checker;
        struct seeds_summary summary;
        struct seeds_plan plan = {.options = {.only = only, .engine = engine_of(c), .migrate = migrate_of(c)},
                                  .first = FIRST,
                                  .count = SEEDS_MAX,
                                  .jobs = 1,
                                  .stop_at_failure = true,
                                  .only_if_by = c->checker};
        must(checks_known(only) || world_knows(only));
        failpoint_plant(c->bug);
        seeds_run(&plan, &summary);
        failpoint_plant(NULL);
        if (summary.failures > 0)
            printf("%-30s found by %-13s at seed %" PRIu64 ": %s\n", c->bug, c->checker, summary.first_failed,
                   summary.first.text);
        else
            printf("%-30s NOT found by %s in %d seeds\n", c->bug, c->checker, SEEDS_MAX);
        silent += summary.failures == 0;
        fflush(stdout);
    }
    return silent != 0;
}
