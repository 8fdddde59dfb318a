/* counters.c: names and helps of the coordinator's metrics. */
#include "coordinator/counters.h"

#define C(name, help)                                                                                                  \
    {                                                                                                                  \
        "holdfast_coordinator_" name, NULL, help, METRIC_COUNTER, 0                                                    \
    }
#define G(name, help)                                                                                                  \
    {                                                                                                                  \
        "holdfast_coordinator_" name, NULL, help, METRIC_GAUGE, 0                                                      \
    }

#define PHASE(phase)                                                                                                   \
    {                                                                                                                  \
        "holdfast_coordinator_migration_shards", "phase=\"" phase "\"",                                                \
            "Shards of the last migration, by where they are.", METRIC_GAUGE, 0                                        \
    }

struct metric counters[COUNTERS] = {
    [COUNTER_BUILD] = {"holdfast_build_info", "program=\"holdfast-coordinator\",version=\"" HF_VERSION "\"",
                       "1; the program and its version are labels", METRIC_GAUGE, 1},
    [COUNTER_RECEIVED] = C("requests_total", "Client requests received."),
    [COUNTER_REJECTED] = C("rejected_total", "Client requests refused before any shard was asked."),
    [COUNTER_FORWARDED] = C("forwarded_total", "Client requests accepted for a shard or the active coordinator."),
    [COUNTER_ATTEMPTS] =
        C("attempts_total",
          "Forwarded requests handed to a replica's or the active coordinator's socket, repeats included."),
    [COUNTER_BUSY] = C("busy_total", "Client requests refused because the shard's queue was full."),
    [COUNTER_UNKNOWN] = C("outcome_unknown_total", "Requests answered OUTCOME_UNKNOWN."),
    [COUNTER_UNAVAILABLE] = C("unavailable_total", "Requests that no replica answered in time, surely not done."),
    [COUNTER_REPLIES_LOST] = C("replies_lost_total", "Answers whose client was gone or did not read."),
    [COUNTER_STRAY] = C("stray_replies_total", "Replies of replicas to nothing that was being waited for."),
    [COUNTER_LEADER_CHANGES] = C("leader_changes_total", "Times another leader of a shard became known."),
    [COUNTER_PENDING] = G("pending_requests", "Requests held for shards and the active coordinator."),
    [COUNTER_ROUTE_VERSION] = G("route_version", "Version of the routes in use, 0 before the first."),
    [COUNTER_ACTIVE] = G("active", "1 while this coordinator may issue timestamps."),
    [COUNTER_EPOCH] = G("epoch", "Epoch of the oracle as last seen."),
    [COUNTER_CEILING] = {"holdfast_coordinator_ceiling_timestamp_seconds", NULL,
                         "Committed ceiling of the oracle, as a time since 1970.", METRIC_GAUGE_NS, 0},
    [COUNTER_ISSUED] = C("timestamps_issued_total", "Timestamps issued."),
    [COUNTER_CLOCK_REFUSED] = G("clock_refused", "1 while the wall clock is too far ahead to be believed."),
    [COUNTER_CLOCK_SKEW] = {"holdfast_coordinator_clock_skew_seconds", NULL,
                            "The wall clock less the oracle's time, as far as it is known here.",
                            METRIC_GAUGE_SIGNED_NS, 0},
    [COUNTER_RENEWALS] = C("lease_renewals_total", "Leases of shards renewed."),
    [COUNTER_CUTS] = C("cuts_total", "Strict cuts made."),
    [COUNTER_CUTS_FAILED] =
        C("cuts_failed_total", "Attempts at a strict cut that came to nothing and were made again."),
    [COUNTER_LOCKS_MET] = C("locks_met_total", "Times that a request met a lock of a transaction."),
    [COUNTER_RESOLVED_COMMITTED] =
        {"holdfast_coordinator_txns_resolved_total", "outcome=\"committed\"",
         "Looks at transactions that nobody drove after which every shard concerned had the outcome.", METRIC_COUNTER,
         0},
    [COUNTER_RESOLVED_ROLLED_BACK] =
        {"holdfast_coordinator_txns_resolved_total", "outcome=\"rolled_back\"",
         "Looks at transactions that nobody drove after which every shard concerned had the outcome.", METRIC_COUNTER,
         0},
    [COUNTER_TXNS_UNDECIDED] =
        G("txns_undecided", "Prepared transactions that shards keep and nobody drives, counted per shard."),
    [COUNTER_TXNS_OLDEST] = {"holdfast_coordinator_txns_undecided_oldest_seconds", NULL,
                             "Time since the oldest of them was prepared.", METRIC_GAUGE_NS, 0},
    [COUNTER_TXNS] = G("txns_driven", "Transactions over several shards that are being driven."),
    [COUNTER_TXNS_COMMITTED] = {"holdfast_coordinator_txns_total", "outcome=\"committed\"",
                                "Transactions over several shards, by what their clients were told.", METRIC_COUNTER,
                                0},
    [COUNTER_TXNS_CONFLICT] = {"holdfast_coordinator_txns_total", "outcome=\"conflict\"",
                               "Transactions over several shards, by what their clients were told.", METRIC_COUNTER, 0},
    [COUNTER_TXNS_REFUSED] = {"holdfast_coordinator_txns_total", "outcome=\"refused\"",
                              "Transactions over several shards, by what their clients were told.", METRIC_COUNTER, 0},
    [COUNTER_TXNS_UNKNOWN] = {"holdfast_coordinator_txns_total", "outcome=\"unknown\"",
                              "Transactions over several shards, by what their clients were told.", METRIC_COUNTER, 0},
    [COUNTER_MIGRATION_PLANNED] = PHASE("planned"),
    [COUNTER_MIGRATION_PREPARED] = PHASE("prepared"),
    [COUNTER_MIGRATION_SEALED] = PHASE("sealed"),
    [COUNTER_MIGRATION_SWAPPED] = PHASE("swapped"),
    [COUNTER_MIGRATION_VERIFIED] = PHASE("verified"),
    [COUNTER_MIGRATION_DONE] = PHASE("done"),
    [COUNTER_MIGRATION_ABORTED] = PHASE("aborted"),
    [COUNTER_MIGRATION_LONGEST] = {"holdfast_coordinator_migration_shard_seconds", NULL,
                                   "The longest that a shard of the last migration took.", METRIC_GAUGE_NS, 0},
    [COUNTER_MIGRATION_RUNNING] = G("migration_running", "1 while the migration is driven, or undone."),
    [COUNTER_MIGRATION_STOPPED] = G("migration_stopped", "1 while the migration stands still for a reason."),
    [COUNTER_MIGRATION_STEPS] = C("migration_steps_total", "Steps asked of shards' leaders."),
    [COUNTER_RENEWALS_FAILED] = C("lease_renewals_failed_total", "Renewals that failed or went unanswered."),
};
