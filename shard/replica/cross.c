/* cross.c: a running replica goes over to the next epoch, and hears of others that did.
 *
 * A seal that was applied is the end of the log. The leader waits for a moment, so that all who live get it the usual way; then each
 * closes its engine, the directory goes over (swap.h), and the next engine is opened for the same machine. Who is there tells the
 * others; who led campaigns when enough of them are there. A member that learns from them where its log ended takes that for committed
 * if its log holds it, and takes their state if not. */
#include <inttypes.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "common/sys/metrics.h"
#include "shard/replica/replica_internal.h"

#define LINGER_NS (250 * CLOCK_NS_PER_MS) /* a leader waits so long for its followers to hold the seal */

enum { M_CHANGES, M_EPOCH, M_NONE, M_PREPARED, M_SEALED, M_COUNT };
#define STATE(state)                                                                                                   \
    {                                                                                                                  \
        "holdfast_migration_state", "state=\"" state "\"", "Change of engine of the group, as applied here",           \
            METRIC_GAUGE, 0                                                                                            \
    }
static struct metric metrics[M_COUNT] = {
    [M_NONE] = STATE("none"),
    [M_PREPARED] = STATE("prepared"),
    [M_SEALED] = STATE("sealed"),
    [M_CHANGES] = {"holdfast_engine_changes_total", NULL, "Times this replica went over to another engine while it ran",
                   METRIC_COUNTER, 0},
    [M_EPOCH] = {"holdfast_log_epoch", NULL, "Generation of the raft log: each change of engine begins another",
                 METRIC_GAUGE, 0},
};
static struct metric_histogram change_seconds = {
    .name = "holdfast_engine_change_seconds",
    .help = "Time from closing one engine to having opened the next, beside which nothing is served"};

static struct metric_histogram pause_seconds = {
    .name = "holdfast_engine_change_pause_seconds",
    .help = "Time from the end of one log, as applied here, until the group has a leader in the next"};

static void note_state(struct replica *r)
{
    bool sealed = cross_sealed(r), leads = r->status.role == ENGINE_LEADER;
    bool prepared = r->fsm && fsm_info(r->fsm)->migration.state == FSM_MIGRATION_PREPARED;
    metric_set(&metrics[M_NONE], !sealed && !prepared);
    metric_set(&metrics[M_PREPARED], prepared);
    metric_set(&metrics[M_SEALED], sealed);
    if (r->cross.paused_ns == 0 || sealed || (leads ? !r->was_serving : r->status.leader == 0))
        return;
    metric_observe_ns(&pause_seconds, clock_boot_ns() - r->cross.paused_ns);
    r->cross.paused_ns = 0;
}

void cross_metrics(const struct replica *r)
{
    metrics_register(metrics, M_COUNT);
    metrics_register_histogram(&change_seconds);
    metrics_register_histogram(&pause_seconds);
    metric_set(&metrics[M_EPOCH], r->config.directory->id.log_epoch);
}

bool cross_sealed(const struct replica *r)
{
    return r->fsm && fsm_sealed(fsm_info(r->fsm));
}

/* ---- who is there ---- */

static void note_arrival(struct cross *c, uint32_t replica, uint32_t epoch)
{
    if (epoch < c->epoch)
        return;
    if (epoch > c->epoch)
        c->arrived_count = 0;
    c->epoch = epoch;
    for (size_t i = 0; i < c->arrived_count; i++)
        if (c->arrived[i] == replica)
            return;
    if (c->arrived_count < LIMIT_PEERS)
        c->arrived[c->arrived_count++] = replica;
}

static bool quorum_arrived(const struct replica *r)
{
    const struct cross *c = &r->cross;
    const Hf__Catalog__Members *members = r->ops->members(r->engine);
    size_t voters = 0, there = 0;
    for (size_t i = 0; i < members->n_members; i++) {
        const Hf__Catalog__Member *m = members->members[i];
        if (m->role != HF__CATALOG__ROLE__VOTER)
            continue;
        voters++;
        for (size_t k = 0; c->epoch == r->config.directory->id.log_epoch && k < c->arrived_count; k++)
            there += c->arrived[k] == m->replica;
    }
    return there > voters / 2;
}

static void succeed(struct replica *r)
{
    if (!r->cross.succeeds || !quorum_arrived(r))
        return;
    r->cross.succeeds = false;
    if (r->status.leader == 0)
        r->ops->campaign(r->engine);
}

/* ---- being told ---- */

static void cannot_follow(struct replica *r, const Hf__Raft__Envelope *e, const char *why)
{
    if (!r->cross.told)
        diag(DIAG_ERROR,
             "replica %" PRIu32 " went on in log epoch %" PRIu32 ", the one before ended at %" PRIu64 ":%" PRIu64
             ": %s",
             e->from, e->log_epoch, e->sealed->index, e->sealed->term, why);
    r->cross.told = true;
}

/* No entry is the seal of an offline change: what lies behind it in this log may be of a majority that was started without it, and
 * acknowledged. */
static bool goes_on(const struct replica *r, const Hf__Raft__Sealed *sealed)
{
    return fsm_offline_id(sealed->migration) && r->ops->status(r->engine).last > sealed->index;
}

void cross_told(struct replica *r, const Hf__Raft__Envelope *e)
{
    uint32_t epoch = r->config.directory->id.log_epoch;
    note_arrival(&r->cross, e->from, e->log_epoch);
    if (e->log_epoch == epoch || (cross_sealed(r) && !r->damaged)) /* a damaged one does not go over by itself */
        return;
    bool ours = e->sealed->epoch == epoch; /* an index says nothing outside of its own epoch */
    if (ours && goes_on(r, e->sealed)) {
        cannot_follow(r, e,
                      "it was changed while it was stopped, and the log of this one goes on behind that; replace that "
                      "replica, or this one if the group serves without it");
        return;
    }
    int rc = ours ? r->ops->committed(r->engine, e->sealed->index, e->sealed->term) : HF_E_ABSENT;
    uint64_t applied = r->fsm ? fsm_info(r->fsm)->applied.index : 0;
    if (rc == HF_E_CORRUPT || (ours && applied > e->sealed->index))
        cannot_follow(r, e, "this one has committed something else there, or behind it; replace this replica");
    else if (rc == HF_OK && r->fsm && !r->damaged && applied < e->sealed->index)
        return; /* apply comes to it */
    else if (!r->snapshots)
        cannot_follow(r, e,
                      "its log does not hold that, and it fetches no states (--snapshot-listen); replace this replica");
    else
        snapshots_left(r->snapshots, e->from, e->log_epoch);
}

/* ---- going over ---- */

/* Does everybody who lives hold the seal? Who does not would have to be given the whole state. */
static bool all_hold_it(const struct replica *r, uint64_t index)
{
    struct engine_progress progress[LIMIT_PEERS];
    size_t count = r->ops->progress(r->engine, progress, LIMIT_PEERS);
    for (size_t i = 0; i < count; i++)
        if (progress[i].replica != r->config.directory->id.replica && progress[i].active && progress[i].match < index)
            return false;
    return true;
}

void cross_engine(struct replica *r)
{
    struct directory *d = r->config.directory;
    struct engine_env env = replica_env(r);
    uint64_t from = clock_boot_ns();
    bool led = r->status.role == ENGINE_LEADER;
    replica_end_lead(r);
    r->ops->close(&d->engine);
    r->engine = NULL;
    crash_point("cross.closed");
    while (directory_epoch_ends(d))
        directory_leave_epoch(d);
    crash_point("cross.before_open");
    directory_change_engine(d, &env);
    r->ops = d->ops;
    r->engine = d->engine;
    r->status = r->ops->status(r->engine);
    r->held_log = false;
    r->cross.sealed_ns = 0;
    r->cross.succeeds = led;
    r->cross.told = false;
    note_arrival(&r->cross, d->id.replica, d->id.log_epoch);
    transport_cross(r->transport, &d->id);
    transport_members(r->transport, r->ops->members(r->engine));
    snapshots_crossed(r->snapshots);
    metric_add(&metrics[M_CHANGES], 1);
    metric_set(&metrics[M_EPOCH], d->id.log_epoch);
    metric_observe_ns(&change_seconds, clock_boot_ns() - from);
    crash_point("cross.opened");
}

/* The seal is committed, and they need not wait for a heartbeat to know, or until this one is there. */
static void tell_followers(struct replica *r)
{
    const struct fsm_migration *m = &fsm_info(r->fsm)->migration;
    struct identity_left left = {.epoch = m->epoch, .migration = m->id, .index = m->index, .term = m->term};
    transport_tell_end(r->transport, &left);
}

void cross_turn(struct replica *r, uint64_t now_ns)
{
    succeed(r);
    note_state(r);
    if (!cross_sealed(r) || r->damaged)
        return;
    uint64_t index = fsm_info(r->fsm)->migration.seal.index;
    if (r->cross.sealed_ns == 0) {
        r->cross.sealed_ns = r->cross.paused_ns = now_ns;
        diag(DIAG_INFO, "the log is sealed index=%" PRIu64 ": going over to engine %s", index,
             fsm_info(r->fsm)->migration.seal.target);
    }
    if (r->status.role == ENGINE_LEADER && now_ns < r->cross.sealed_ns + LINGER_NS && !all_hold_it(r, index))
        return;
    if (r->status.role == ENGINE_LEADER)
        tell_followers(r);
    publish_pause(r->publish);
    cross_engine(r);
    publish_resume(r->publish, fsm_info(r->fsm)->applied.index);
}
