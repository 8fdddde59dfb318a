/* gauges.c: see gauges.h. */
#include "shard/replica/gauges.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/disk.h"
#include "common/sys/metrics.h"
#include "shard/replica/cold_start.h"

#define NS_PER_MS UINT64_C(1000000)

enum {
    M_COMMIT = GAUGES_EVENTS,
    M_LAST,
    M_FIRST,
    M_LOG_BYTES,
    M_APPLIED,
    M_TERM,
    M_IS_LEADER,
    M_HAS_LEADER,
    M_READY,
    M_CEILING,
    M_MARGIN,
    M_TXNS,
    M_LOCKS,
    M_WATERMARK,
    M_WATERMARK_AGE,
    M_PASSES,
    M_VERSIONS,
    M_MARKERS,
    M_BYTES,
    M_FREE,
    M_ARCHIVED,
    M_ROLE_CHANGES,
    M_LEADER_CHANGES,
    M_COUNT
};
static struct metric metrics[M_COUNT] = {
    [GAUGES_TURN] = {"holdfast_turns_total", NULL, "Turns of the loop", METRIC_COUNTER, 0},
    [GAUGES_APPLY_HELD] = {"holdfast_fsm_apply_held_total", NULL, "Turns in which apply could not write and waits",
                           METRIC_COUNTER, 0},
    [GAUGES_BUDGET_REFUSED] = {"holdfast_replay_budget_refused_total", NULL,
                               "Commands refused because the replay budget is used up", METRIC_COUNTER, 0},
    [M_COMMIT] = {"holdfast_raft_commit_index", NULL, "Commit index", METRIC_GAUGE, 0},
    [M_LAST] = {"holdfast_log_last_index", NULL, "Last index of the raft log", METRIC_GAUGE, 0},
    [M_FIRST] = {"holdfast_log_first_index", NULL, "First index the raft log still holds", METRIC_GAUGE, 0},
    [M_LOG_BYTES] = {"holdfast_log_disk_bytes", NULL, "Files of the raft log, spare ones included", METRIC_GAUGE, 0},
    [M_APPLIED] = {"holdfast_fsm_applied_index", NULL, "Applied index", METRIC_GAUGE, 0},
    [M_TERM] = {"holdfast_raft_term", NULL, "Term", METRIC_GAUGE, 0},
    [M_IS_LEADER] = {"holdfast_raft_is_leader", NULL, "1 while this replica leads", METRIC_GAUGE, 0},
    [M_HAS_LEADER] = {"holdfast_raft_has_leader", NULL, "1 while this replica knows of a leader", METRIC_GAUGE, 0},
    [M_READY] = {"holdfast_ready", NULL, "1 once the commit index of a current leader is applied", METRIC_GAUGE, 0},
    [M_CEILING] = {"holdfast_hlc_ceiling_timestamp_seconds", NULL,
                   "Highest committed ceiling of timestamps, as a time since 1970", METRIC_GAUGE_NS, 0},
    [M_MARGIN] = {"holdfast_hlc_ceiling_margin_seconds", NULL,
                  "Committed ceiling less the highest timestamp observed; at 0 reads wait for a renewal",
                  METRIC_GAUGE_SIGNED_NS, 0},
    [M_TXNS] = {"holdfast_transactions_kept", NULL, "Transactions the group keeps something of", METRIC_GAUGE, 0},
    [M_LOCKS] = {"holdfast_locks", NULL, "Keys and prefixes that prepared transactions lock", METRIC_GAUGE, 0},
    [M_WATERMARK] = {"holdfast_collect_watermark_timestamp_seconds", NULL,
                     "Nothing is read below it any more, as a time since 1970; 0: nothing was collected yet",
                     METRIC_GAUGE_NS, 0},
    [M_WATERMARK_AGE] = {"holdfast_collect_watermark_age_seconds", NULL,
                         "Committed ceiling less the watermark; 0: nothing was collected yet", METRIC_GAUGE_NS, 0},
    [M_PASSES] = {"holdfast_collect_passes_total", NULL, "Whole passes of collection since the group was made",
                  METRIC_COUNTER, 0},
    [M_VERSIONS] = {"holdfast_collect_versions_total", NULL, "Versions that collection removed since then",
                    METRIC_COUNTER, 0},
    [M_MARKERS] = {"holdfast_collect_markers_total", NULL,
                   "Markers of deleted prefixes that collection removed since then", METRIC_COUNTER, 0},
    [M_BYTES] = {"holdfast_collect_bytes_total", NULL, "Keys and values of what it removed since then", METRIC_COUNTER,
                 0},
    [M_FREE] = {"holdfast_disk_free_bytes", NULL, "What the file system of the replica's directory has left",
                METRIC_GAUGE, 0},
    [M_ARCHIVED] = {"holdfast_archive_bytes", NULL, "Files of logs that were left for another engine, under archive/",
                    METRIC_GAUGE, 0},
    [M_ROLE_CHANGES] = {"holdfast_raft_role_changes_total", NULL, "Changes of role, term or known leader",
                        METRIC_COUNTER, 0},
    [M_LEADER_CHANGES] = {"holdfast_raft_leader_changes_total", NULL, "Times another leader became known",
                          METRIC_COUNTER, 0},
};

static struct metric_histogram apply_seconds = {.name = "holdfast_fsm_apply_seconds",
                                                .help = "Time to apply a turn's committed entries"};

static uint32_t last_leader; /* loop thread, as the next */
static const char *last_unready;

void gauges_register(void)
{
    metrics_register(metrics, M_COUNT);
    metrics_register_histogram(&apply_seconds);
    log_metrics_register();
}

void gauges_count(enum gauges_event event)
{
    metric_add(&metrics[event], 1);
}

void gauges_changed(const struct engine_status *was, const struct engine_status *is)
{
    if (was->role != is->role || was->term != is->term || was->leader != is->leader)
        metric_add(&metrics[M_ROLE_CHANGES], 1);
    if (is->leader == 0 || is->leader == last_leader)
        return;
    last_leader = is->leader;
    metric_add(&metrics[M_LEADER_CHANGES], 1);
}

void gauges_apply_ns(uint64_t ns)
{
    metric_observe_ns(&apply_seconds, ns);
}

static uint64_t ns_of_ms(uint64_t ms)
{
    return ms < UINT64_MAX / NS_PER_MS ? ms * NS_PER_MS : UINT64_MAX;
}

static void show_collected(const struct fsm_collected *c, struct hlc ceiling)
{
    uint64_t ms = hlc_ms(c->below), ceiling_ms = hlc_ms(ceiling);
    metric_set(&metrics[M_WATERMARK], ns_of_ms(ms));
    metric_set(&metrics[M_WATERMARK_AGE], ms != 0 && ceiling_ms > ms ? ns_of_ms(ceiling_ms - ms) : 0);
    metric_set(&metrics[M_PASSES], c->passes);
    metric_set(&metrics[M_VERSIONS], c->versions);
    metric_set(&metrics[M_MARKERS], c->markers);
    metric_set(&metrics[M_BYTES], c->bytes);
}

void gauges_show(const struct gauges_look *look)
{
    const struct engine_status *e = look->engine;
    metric_set(&metrics[M_COMMIT], e->commit);
    metric_set(&metrics[M_LAST], e->last);
    metric_set(&metrics[M_FIRST], e->first);
    metric_set(&metrics[M_LOG_BYTES], e->log_bytes);
    metric_set(&metrics[M_APPLIED], look->applied);
    metric_set(&metrics[M_TERM], e->term);
    metric_set(&metrics[M_IS_LEADER], e->role == ENGINE_LEADER);
    metric_set(&metrics[M_HAS_LEADER], e->leader != 0);
    metric_set(&metrics[M_READY], look->ready);
    metric_set(&metrics[M_TXNS], look->txns);
    metric_set(&metrics[M_LOCKS], look->locks);
    uint64_t ms = hlc_ms(look->ceiling);
    metric_set(&metrics[M_CEILING], ns_of_ms(ms));
    show_collected(&look->collected, look->ceiling);
    int64_t margin_ms = look->observed.t != 0 ? (int64_t)ms - (int64_t)hlc_ms(look->observed) : 0;
    metric_set(&metrics[M_MARGIN], (uint64_t)(margin_ms * (int64_t)NS_PER_MS));
}

void gauges_ready(const struct readiness *now, const struct engine_status *engine, uint64_t applied,
                  _Atomic bool *ready, _Atomic(const char *) *unready)
{
    const char *text = readiness_text(now);
    bool changed = atomic_exchange(ready, now->ready) != now->ready;
    bool why_changed = last_unready != NULL && last_unready != text;
    last_unready = text;
    if (unready != NULL)
        atomic_store(unready, text);
    if (now->ready && changed) {
        cold_start_ready(clock_boot_ns());
        diag(DIAG_INFO, "ready applied=%" PRIu64 " leader=%" PRIu32, applied, engine->leader);
    } else if (!now->ready && (changed || why_changed)) {
        diag(changed ? DIAG_WARN : DIAG_INFO, "not ready: %s, applied=%" PRIu64 " leader=%" PRIu32 " term=%" PRIu64,
             text, applied, engine->leader, engine->term);
    }
}

void gauges_room(const char *dir)
{
    uint64_t bytes = 0;
    char archive[4096];
    if (disk_room(dir, &bytes) == HF_OK)
        metric_set(&metrics[M_FREE], bytes);
    if (snprintf(archive, sizeof archive, "%s/" ENGINE_ARCHIVE, dir) < (int)sizeof archive)
        metric_set(&metrics[M_ARCHIVED], disk_tree_bytes(archive));
}
