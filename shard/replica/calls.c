/* calls.c: what the server calls on a replica: requests to be queued, and what it says of itself. */
#include <stdio.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "shard/replica/gauges.h"
#include "shard/replica/replica_internal.h"

/* Above the committed ceiling. What is less far may have been issued: the shard was away for days, or somebody accepted a clock
 * that much ahead; a renewal brings the ceiling up within seconds. */
#define FUTURE_MS UINT64_C(604800000)

static int may_serve(const struct replica *r)
{
    if (r->status.role != ENGINE_LEADER || r->stopping || r->status.transferring)
        return HF_E_NOT_LEADER;
    return r->was_serving && !cross_sealed(r) ? HF_OK : HF_E_NOT_READY;
}

/* Of a transaction that is prepared: it ends locks that others wait for. */
static bool decides(const struct replica_write *w)
{
    return w->kind == WRITE_COMMAND &&
           (w->command.op == HF__ENTRY__OP__TXN_COMMIT || w->command.op == HF__ENTRY__OP__TXN_ROLLBACK ||
            w->command.op == HF__ENTRY__OP__TXN_FORGET);
}

/* What lives for a time by what it is stamped with. */
static bool has_ttl(const Hf__Entry__Command *c)
{
    bool ttl = c->ttl_ms > 0 || (c->txn != NULL && c->txn->ttl_ms > 0);
    must(c->op != HF__ENTRY__OP__TXN_WHOLE || c->txn != NULL);
    if (c->op == HF__ENTRY__OP__TXN_WHOLE)
        for (size_t i = 0; !ttl && i < c->txn->n_writes; i++)
            ttl = c->txn->writes[i]->ttl_ms > 0;
    return ttl;
}

/* May it be stamped now? A user's write needs a leader's time, a time to live the coordinator's; the catalog's writes need
 * neither, and a lease brings its own. */
static bool needs_clock(const struct replica *r, const struct replica_write *w)
{
    if (w->kind == WRITE_LEASE || (w->kind == WRITE_COMMAND && w->command.space == HF__ENTRY__SPACE__CATALOG))
        return false;
    if (w->kind == WRITE_COMMAND && !decides(w)) /* who asks us lets it wait */
        must(r->clock.hold == 0 || planted_bug("clock.hold_ignored"));
    return !leader_clock_going(&r->clock) || (w->kind == WRITE_COMMAND && has_ttl(&w->command) && !r->clock.beat);
}

/* The leader's clock goes above what a transaction read at, and before its versions are written above its commit: what is
 * stamped from now on is later. */
static int observe_txn(struct replica *r, const Hf__Entry__Command *c)
{
    struct hlc ceiling = fsm_info(r->fsm)->ceiling, commit = {c->txn->commit};
    if (hlc_ms(commit) > hlc_ms(ceiling) + FUTURE_MS)
        return HF_E_FUTURE_TIMESTAMP; /* nobody can have issued it */
    if (c->op == HF__ENTRY__OP__TXN_COMMIT && !planted_bug("txn.commit_unobserved"))
        stamp_observe(&r->clock.stamp, commit);
    else if (c->txn->start < ceiling.t)
        stamp_observe(&r->clock.stamp, (struct hlc){c->txn->start});
    return HF_OK;
}

int replica_write(struct replica *r, struct replica_write *w)
{
    int rc = may_serve(r);
    if (rc)
        return rc;
    if (r->held_log || r->held_apply)
        return HF_E_NO_SPACE;
    if (w->kind == WRITE_COMMAND && !decides(w) &&
        publish_full(r->publish)) { /* a lease, a session, a decision is small, and others wait for it */
        gauges_count(GAUGES_BUDGET_REFUSED);
        return HF_E_BUSY;
    }
    if (needs_clock(r, w)) {
        leader_clock_wait(&r->clock);
        return HF_E_NOT_READY;
    }
    rc = w->kind == WRITE_COMMAND && w->command.txn != NULL ? observe_txn(r, &w->command) : HF_OK;
    return rc ? rc : writes_queue(&r->writes, w);
}

/* The leader's clock goes above `at` first: what is stamped from now on is not below it. */
static int read_at(struct replica *r, struct hlc at)
{
    const struct fsm_info *info = fsm_info(r->fsm);
    if (info->feature_level < FSM_FEATURE_RESTART)
        return HF_E_REFUSED;
    if (hlc_ms(at) > hlc_ms(info->ceiling) + FUTURE_MS)
        return HF_E_FUTURE_TIMESTAMP; /* nobody can have issued it */
    if (at.t >= info->ceiling.t || !leader_clock_going(&r->clock))
        return HF_E_NOT_READY; /* a lease is on its way */
    /* Before its age: beside a mark a timestamp just drawn may look old, and must hear of the mark. */
    if (at.t <= info->restart.t)
        return HF_E_RESTART_ABOVE;
    if (at.t < info->collected.below.t)
        return HF_E_TOO_OLD;
    if (!planted_bug("clock.read_unobserved"))
        stamp_observe(&r->clock.stamp, at);
    return HF_OK;
}

void replica_retain(struct replica *r, struct hlc retain, struct hlc said)
{
    if (may_serve(r) == HF_OK) /* else it is said to somebody else */
        collector_retain(&r->collector, retain, said, clock_boot_ns());
}

int replica_read(struct replica *r, struct replica_read *read)
{
    int rc = may_serve(r);
    if (!rc && read->at.t != 0)
        rc = read_at(r, read->at);
    return rc ? rc : reads_queue(&r->reads, read);
}

int replica_hold(struct replica *r, uint64_t id)
{
    int rc = may_serve(r);
    if (rc)
        return rc;
    if (fsm_info(r->fsm)->feature_level < FSM_FEATURE_RESTART)
        return HF_E_REFUSED;
    if (!leader_clock_going(&r->clock))
        return HF_E_NOT_READY;
    leader_clock_hold(&r->clock, id, clock_boot_ns());
    return HF_OK;
}

bool replica_unstamped(struct replica *r)
{
    if (leader_clock_held(&r->clock, clock_boot_ns()))
        return true;
    if (may_serve(r) || leader_clock_going(&r->clock))
        return false;
    leader_clock_wait(&r->clock);
    return true;
}

int replica_release(struct replica *r, uint64_t id, struct replica_read *read)
{
    if (read == NULL)
        return leader_clock_release(&r->clock, id) ? HF_OK : HF_E_ABSENT;
    if (r->clock.hold != id && !planted_bug("cut.no_hold"))
        return HF_E_ABSENT;
    int rc = replica_read(r, read); /* before the next stamp: it is above the read's timestamp */
    (void)leader_clock_release(&r->clock, id);
    return rc;
}

int replica_observe(struct replica *r, struct hlc t, uint64_t answers)
{
    if (!r->fsm)
        return HF_OK; /* it never leads, so it needs no clock */
    if (t.t >= fsm_info(r->fsm)->ceiling.t)
        return HF_E_FUTURE_TIMESTAMP;
    leader_clock_observe(&r->clock, t, answers);
    return HF_OK;
}

uint64_t replica_question(const struct replica *r)
{
    return leader_clock_question(&r->clock);
}

struct hlc replica_clock(const struct replica *r)
{
    return r->fsm ? leader_clock_time(&r->clock, fsm_info(r->fsm)) : r->clock.stamp.observed;
}

bool replica_doubtful(struct replica *r, struct hlc expiry)
{
    if (expiry.t == 0 || !r->fsm || leader_clock_going(&r->clock) || expiry.t > fsm_info(r->fsm)->ceiling.t)
        return false;
    leader_clock_wait(&r->clock);
    return true;
}

static const char *trouble(const struct replica *r)
{
    const char *text = snapshots_trouble(r->snapshots, r->config.directory);
    return r->held_log     ? "no space for the raft log, writes wait for room"
           : r->held_apply ? "no space for the state machine, writes wait for room"
           : text[0]       ? text
                           : readiness_trouble(&r->readiness);
}

struct replica_state replica_state(const struct replica *r)
{
    return (struct replica_state){.engine = r->status,
                                  .ready = r->readiness.ready,
                                  .stopping = r->stopping,
                                  .pending = r->writes.count + r->reads.count,
                                  .publish = publish_state(r->publish),
                                  .healing = r->status.held || r->status.recovering ||
                                             snapshots_healing(r->snapshots) || readiness_healing(&r->readiness),
                                  .trouble = trouble(r)};
}

int replica_transfer(struct replica *r, uint32_t to)
{
    return r->ops->transfer(r->engine, to);
}

void replica_snapshot(struct replica *r, struct publish_wait *w)
{
    publish_wait(r->publish, w);
}

void replica_damaged(struct replica *r)
{
    struct directory *d = r->config.directory;
    if (r->damaged || !snapshots_damaged(r->snapshots))
        return;
    if (directory_mark_damaged(d, fsm_where(r->fsm)))
        diag(DIAG_WARN, "the mark of a damaged state machine cannot be written in %s", d->config.dir);
    snprintf(d->trouble, sizeof d->trouble, "state machine damaged, it is fetched from another replica");
    r->damaged = true;
}

struct check *replica_check(const struct replica *r)
{
    return r->check;
}

const char *replica_engine(const struct replica *r)
{
    return r->ops->name;
}

struct fsm *replica_fsm(const struct replica *r)
{
    return r->fsm;
}

const Hf__Catalog__Members *replica_members(const struct replica *r)
{
    return r->ops->members(r->engine);
}
