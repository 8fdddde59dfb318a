/* replica.c: see replica.h. The turn is at the end of the file. */
#include "shard/replica/replica.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/digest.h"
#include "common/sys/failpoint.h"
#include "common/sys/net.h"
#include "shard/replica/gauges.h"
#include "shard/replica/replica_internal.h"

#define TURN_EVENTS_MAX 1024 /* messages of a kind in one turn */
#define HOUSEKEEPING_NS (50 * CLOCK_NS_PER_MS)
#define ROOM_NS (5000 * CLOCK_NS_PER_MS) /* between two looks at the disk's room */
#define COLLECT_REPLAY_BYTES 4096        /* a step of collection costs a replay more than its few bytes say */
#define STOP_TRANSFER_ROUNDS 3           /* election time-outs a stopping leader waits for its successor */
#define UNLED_ROUNDS 3 /* election time-outs without a leader after which a replica is not ready any more */

static uint64_t applied_of(const struct replica *r)
{
    return r->fsm ? fsm_info(r->fsm)->applied.index : 0;
}

/* ---- what the engine calls ---- */

static void on_send(void *ctx, uint32_t to, const Hf__Raft__Raft *m)
{
    struct replica *r = ctx;
    transport_send(r->transport, to, m, r->status.commit);
}

static void on_result(void *ctx, uint64_t index, uint64_t term, uint32_t position, const struct fsm_result *result)
{
    struct replica *r = ctx;
    writes_result(&r->writes, index, term, position, result);
}

static int apply_run(struct replica *r, const struct log_entry *entries, size_t count)
{
    uint64_t from = clock_boot_ns();
    int rc = fsm_apply(r->fsm, entries, count, on_result, r);
    gauges_apply_ns(clock_boot_ns() - from);
    if (rc == HF_E_CORRUPT) {
        bool heals = r->config.directory->facts.healers > 0 &&
                     directory_mark_damaged(r->config.directory, fsm_where(r->fsm)) == HF_OK;
        fatal("the state machine is damaged, cannot apply index=%" PRIu64 ": %s; %s", entries[0].index,
              fsm_where(r->fsm), heals ? "the next start replaces it" : "replace this replica");
    }
    if (rc && rc != HF_E_NO_SPACE) /* RocksDB writes no more until it is opened again; the log holds what it lacks */
        fatal("the state machine in %s cannot be written, index=%" PRIu64 ": %s; check the disk, then start again",
              r->config.directory->fsm_dir, entries[0].index, fsm_where(r->fsm));
    if (rc && !r->held_apply)
        diag(DIAG_ERROR,
             "no space for the state machine in %s, index=%" PRIu64 " waits; writes are refused until there is",
             r->config.directory->fsm_dir, entries[0].index);
    if (!rc && r->held_apply)
        diag(DIAG_INFO, "apply goes on index=%" PRIu64, entries[0].index);
    r->held_apply = rc != 0;
    if (rc) {
        gauges_count(GAUGES_APPLY_HELD);
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t cost = entries[i].data.size + (fsm_is_collect(&entries[i]) ? COLLECT_REPLAY_BYTES : 0);
        publish_applied(r->publish, entries[i].index, cost, entries[i].kind == LOG_CONFIG);
        if (entries[i].kind == LOG_CONFIG &&
            peers_write(r->config.directory->config.disk, r->config.directory->config.dir, fsm_info(r->fsm)->members))
            diag(DIAG_WARN, "cannot write the peers file; the log is the truth, it is tried again at the next change");
    }
    return HF_OK;
}

/* A consistency check ends its run, so that the state is looked at as of it, and so does a step of a migration, behind which nothing
 * may be applied; a step of collection is one of its own. A run that was applied before one that could not be is not applied again. */
static bool ends_run(const struct log_entry *entry)
{
    return fsm_is_check(entry) || fsm_is_collect(entry) || fsm_is_migrate(entry);
}

static int on_apply(void *ctx, const struct log_entry *entries, size_t count)
{
    struct replica *r = ctx;
    size_t done = 0;
    if (!r->fsm || (r->damaged && r->status.role != ENGINE_LEADER)) /* what is fetched comes behind it */
        return HF_E_NOT_READY;
    uint64_t applied = fsm_info(r->fsm)->applied.index;
    while (done < count && entries[done].index <= r->applied_apart && entries[done].index <= applied)
        done++;
    while (done < count) {
        size_t run = 1;
        if (fsm_sealed(fsm_info(r->fsm)) && !planted_bug("cross.applies_on"))
            return HF_E_NOT_READY; /* this log is at its end, whatever it holds behind the seal */
        while (done + run < count && !ends_run(&entries[done + run - 1]) && !fsm_is_collect(&entries[done + run]))
            run++;
        int rc = apply_run(r, entries + done, run);
        if (rc)
            return rc;
        done += run;
        bool check = fsm_is_check(&entries[done - 1]);
        if (check && r->readiness.ready) /* an old one that is replayed is nobody's question any more */
            check_begin(r->check, r->fsm);
        if (check || done < count)
            r->applied_apart = entries[done - 1].index;
    }
    return HF_OK;
}

static void on_barrier_ready(void *ctx, uint64_t id, uint64_t index)
{
    struct replica *r = ctx;
    reads_barrier_ready(&r->reads, id, index);
}

static void on_snapshot_needed(void *ctx, uint32_t from, uint64_t index, uint64_t term)
{
    struct replica *r = ctx;
    if (index > applied_of(r))
        readiness_needs(&r->readiness, index);
    snapshots_needed(r->snapshots, from, index, term);
}

static int on_recovered(void *ctx)
{
    struct replica *r = ctx;
    return directory_recovered(r->config.directory);
}

static const char *const role_names[] = {"follower", "candidate", "leader", "learner"};

void replica_end_lead(struct replica *r)
{
    r->led_term = 0;
    r->was_serving = false;
    leader_clock_end(&r->clock);
    collector_end(&r->collector);
    writes_abandon(&r->writes); /* I9: the next leader may still commit what was proposed */
    reads_abandon(&r->reads, HF_E_NOT_LEADER);
}

static void on_changed(void *ctx)
{
    struct replica *r = ctx;
    struct engine_status was = r->status;
    r->status = r->ops->status(r->engine);
    gauges_changed(&was, &r->status);
    bool leads = r->status.role == ENGINE_LEADER;
    if (r->led_term && !(leads && r->status.term == r->led_term))
        replica_end_lead(r);
    r->led_term = leads ? r->status.term : 0;
    if (was.role != r->status.role || was.term != r->status.term || was.leader != r->status.leader)
        diag(DIAG_INFO, "role=%s term=%" PRIu64 " leader=%" PRIu32 " commit=%" PRIu64 " last=%" PRIu64,
             role_names[r->status.role], r->status.term, r->status.leader, r->status.commit, r->status.last);
    transport_follows(r->transport, r->status.leader, r->status.term);
    transport_members(r->transport, r->ops->members(r->engine));
}

/* ---- life ---- */

static void on_machine_closing(void *ctx)
{
    struct replica *r = ctx;
    publish_pause(r->publish);
    check_stop(r->check);
    space_stop(r->space);
    if (r->config.front.closing)
        r->config.front.closing(r->config.front.ctx);
    r->fsm = NULL;
}

static void on_machine_opened(void *ctx)
{
    struct replica *r = ctx;
    r->fsm = r->config.directory->fsm;
    const struct fsm_info *info = fsm_info(r->fsm);
    r->election_ns = info->election_ms * CLOCK_NS_PER_MS;
    r->held_apply = r->damaged = false;
    readiness_installed(&r->readiness);
    check_anew(r->check);
    publish_resume(r->publish, info->applied.index);
}

/* A state of a later epoch was put in place: nobody looks at a machine until it is opened. */
static void on_cross(void *ctx)
{
    struct replica *r = ctx;
    r->fsm = r->config.directory->fsm;
    cross_engine(r);
}

static void open_snapshots(struct replica *r)
{
    const struct replica_config *c = &r->config;
    struct snapshots_config config = {.net = c->net,
                                      .directory = c->directory,
                                      .transport = r->transport,
                                      .publish = r->publish,
                                      .listen = c->snapshot_listen,
                                      .endpoint = c->snapshot_endpoint,
                                      .rate = c->snapshot_rate,
                                      .ctx = r,
                                      .closing = on_machine_closing,
                                      .opened = on_machine_opened,
                                      .cross = on_cross};
    if (c->snapshot_listen)
        r->snapshots = snapshots_open(&config);
}

struct engine_env replica_env(struct replica *r)
{
    return (struct engine_env){.ctx = r,
                               .send = on_send,
                               .apply = on_apply,
                               .barrier_ready = on_barrier_ready,
                               .changed = on_changed,
                               .snapshot_needed = on_snapshot_needed,
                               .recovered = on_recovered};
}

struct replica *replica_open(const struct replica_config *config)
{
    struct replica *r = calloc(1, sizeof *r);
    must(r);
    struct directory *d = config->directory;
    r->config = *config;
    r->ops = d->ops;
    readiness_init(&r->readiness);
    r->collector.retention_ms = config->retention_ms;
    r->collector.steps = config->collect_steps;
    int rc = transport_open(config->net, d->config.raft_listen, &d->id, &r->transport);
    if (rc)
        refuse("cannot listen for replicas on %s (--raft-listen, else --raft-endpoint): %s", d->config.raft_listen,
               net_listen_text(rc));
    transport_members(r->transport, directory_members(d));
    r->check = check_new(d->config.disk, d->config.dir);
    r->space = space_new();
    writes_init(&r->writes, config->front.write_done, config->front.ctx);
    reads_init(&r->reads, &config->front.reads);
    struct engine_env env = replica_env(r);
    directory_open_engine(d, &env);
    r->engine = d->engine;
    r->fsm = d->fsm;
    r->election_ns = env.election_ms * CLOCK_NS_PER_MS;
    r->publish = publish_new(&config->publish, d);
    r->status = r->ops->status(r->engine);
    transport_follows(r->transport, r->status.leader, r->status.term);
    transport_members(r->transport, r->ops->members(r->engine));
    gauges_register();
    cross_metrics(r);
    diag(DIAG_INFO,
         "open engine=%s log_epoch=%" PRIu32 " applied=%" PRIu64 " first=%" PRIu64 " last=%" PRIu64 " commit=%" PRIu64,
         r->ops->name, d->id.log_epoch, applied_of(r), r->status.first, r->status.last, r->status.commit);
    open_snapshots(r);
    return r;
}

void replica_close(struct replica **r)
{
    if (!*r)
        return;
    snapshots_close(&(*r)->snapshots);
    check_free(&(*r)->check);
    space_free(&(*r)->space);
    writes_deinit(&(*r)->writes);
    reads_deinit(&(*r)->reads);
    transport_close(&(*r)->transport);
    publish_free(&(*r)->publish);
    arena_deinit(&(*r)->arena);
    free(*r);
    *r = NULL;
}

/* ---- the turn's parts ---- */

static void note_leader(struct replica *r, const Hf__Raft__Envelope *e)
{
    bool append = e->raft->kind == HF__RAFT__KIND__APPEND;
    if ((append || e->raft->kind == HF__RAFT__KIND__SNAPSHOT) && e->raft->term >= r->status.term)
        readiness_heard(&r->readiness, append ? e->commit : UINT64_MAX);
}

static long poll_timeout_ms(const struct replica *r, uint64_t now)
{
    uint64_t until = r->ops->deadline(r->engine);
    if (until > r->housekeeping_ns)
        until = r->housekeeping_ns;
    if (until > publish_deadline(r->publish))
        until = publish_deadline(r->publish);
    if (r->was_serving && until > r->collector.next_ns)
        until = r->collector.next_ns;
    if (r->held_log || r->held_apply)
        return HOUSEKEEPING_NS / CLOCK_NS_PER_MS;
    return until <= now ? 0 : (long)((until - now) / CLOCK_NS_PER_MS) + 1;
}

static void begin_stop(struct replica *r, uint64_t now)
{
    r->stopping = true;
    r->stop_by_ns = now + STOP_TRANSFER_ROUNDS * r->election_ns;
    diag(DIAG_INFO, "stopping: role=%s pending=%zu", role_names[r->status.role], r->writes.count + r->reads.count);
}

static void collect(struct replica *r, bool more)
{
    struct net_poll_item items[] = {{.socket = transport_socket(r->transport)},
                                    {.socket = r->config.client_socket},
                                    {.fd = r->config.signal_fd},
                                    {.fd = publish_fd(r->publish)}};
    (void)net_poll(items, publish_fd(r->publish) >= 0 ? 4 : 3, more ? 0 : poll_timeout_ms(r, clock_boot_ns()));
    if (items[2].readable && !r->stopping)
        begin_stop(r, clock_boot_ns());
    const Hf__Raft__Envelope *e = NULL;
    for (size_t n = 0; n < TURN_EVENTS_MAX; n++) {
        int rc = transport_receive(r->transport, &e);
        if (rc == HF_E_PROTOCOL)
            continue;
        if (rc)
            break;
        if (e->body_case == HF__RAFT__ENVELOPE__BODY_SEALED) {
            cross_told(r, e);
            continue;
        }
        note_leader(r, e);
        r->ops->receive(r->engine, e->from, e->raft);
    }
    (void)r->config.front.collect(r->config.front.ctx, TURN_EVENTS_MAX, &r->arena);
}

static void step(struct replica *r)
{
    reads_begin(&r->reads, r->ops, r->engine);
    writes_propose(&r->writes, r->ops, r->engine, &r->clock.stamp, &r->arena);
    r->ops->tick(r->engine, clock_boot_ns());
    r->ops->step(r->engine);
}

static void persist(struct replica *r)
{
    if (r->held_log && clock_boot_ns() < r->housekeeping_ns)
        return; /* a full disk is asked again at its own pace; nothing leaves meanwhile that needs the sync */
    int rc = r->ops->persist(r->engine);
    if (rc == HF_E_NO_SPACE) {
        if (!r->held_log)
            diag(DIAG_ERROR, "no space for the raft log in %s; writes are refused until there is",
                 r->config.directory->config.dir);
    } else if (rc) { /* I6: nothing may be acknowledged, and the page cache cannot be believed */
        fatal("the raft log failed: %s; %s", r->ops->where(r->engine),
              rc == HF_E_CORRUPT ? "replace this replica" : "check the disk, then start again");
    }
    r->held_log = rc == HF_E_NO_SPACE;
}

/* true: committed entries are left for the next turn. */
static bool apply(struct replica *r)
{
    int rc = r->ops->apply(r->engine);
    r->status = r->ops->status(r->engine);
    uint64_t applied = applied_of(r);
    if (r->status.serving && !r->was_serving) { /* I8: everything before our term is applied */
        leader_clock_begin(&r->clock, fsm_info(r->fsm), digest_random_u64() | 1, clock_boot_ns());
        r->was_serving = true;
    }
    if (r->was_serving)
        leader_clock_applied(&r->clock, fsm_info(r->fsm));
    if (r->damaged && r->status.role != ENGINE_LEADER)
        readiness_damaged(&r->readiness);
    else if (r->fsm)
        readiness_look(&r->readiness, applied, r->status.serving, r->status.leader != 0);
    gauges_ready(&r->readiness, &r->status, applied, r->config.ready, r->config.unready);
    struct gauges_look look = {
        .engine = &r->status, .applied = applied, .observed = r->clock.stamp.observed, .ready = r->readiness.ready};
    if (r->fsm) {
        const struct fsm_info *info = fsm_info(r->fsm);
        look.ceiling = info->ceiling;
        look.txns = info->txns;
        look.locks = info->locks;
        look.collected = info->collected;
    }
    gauges_show(&look);
    return rc > 0;
}

/* Do enough others for a quorum hold the whole log? Then they have room where we have none, and can go on without us. */
static bool others_have_room(const struct replica *r)
{
    struct engine_progress progress[LIMIT_PEERS];
    const Hf__Catalog__Members *members = r->ops->members(r->engine);
    size_t count = r->ops->progress(r->engine, progress, LIMIT_PEERS), voters = 0, complete = 0;
    for (size_t i = 0; i < members->n_members; i++) {
        const Hf__Catalog__Member *m = members->members[i];
        if (m->role != HF__CATALOG__ROLE__VOTER)
            continue;
        voters++;
        for (size_t k = 0; k < count; k++)
            if (progress[k].replica == m->replica && m->replica != r->config.directory->id.replica)
                complete += progress[k].active && progress[k].match >= r->status.last;
    }
    return complete > voters / 2;
}

/* A leader without room for its log can commit nothing more by itself; one that could not apply its first entry for want
 * of room cannot even answer reads, so it has nothing to lose; others can read what is damaged here. */
static void hand_over_when_useless(struct replica *r, uint64_t now)
{
    bool bad = r->damaged || check_marked(r->check);
    bool useless = r->status.role == ENGINE_LEADER && (bad || (r->held_apply && !r->was_serving));
    if ((!r->held_log && !useless) || r->held_since_ns == 0) {
        r->held_since_ns = r->held_log || useless ? now : 0;
        return;
    }
    if (r->status.role != ENGINE_LEADER || r->status.transferring || now - r->held_since_ns < r->election_ns ||
        !(useless || others_have_room(r)))
        return;
    r->held_since_ns = now;
    if (r->ops->transfer(r->engine, 0) == HF_OK)
        diag(DIAG_WARN, "handing leadership over: %s here",
             bad       ? "the state machine is damaged, or differs,"
             : useless ? "no space for the state machine"
                       : "no space for the raft log");
}

static void propose_mark(struct replica *r)
{
    int rc = writes_mark(&r->writes, r->ops, r->engine, r->clock.mark);
    if (rc)
        leader_clock_refused(&r->clock);
    else
        diag(DIAG_WARN, "no coordinator answers: time goes on from the committed ceiling, ms=%" PRIu64,
             hlc_ms(r->clock.mark));
}

/* Not while a full disk holds anything up. */
static void propose_collection(struct replica *r, uint64_t now)
{
    struct collector_step step;
    uint64_t index;
    const struct fsm_info *info = fsm_info(r->fsm);
    struct hlc time = leader_clock_going(&r->clock) ? leader_clock_time(&r->clock, info) : (struct hlc){0};
    if (!collector_due(&r->collector, info, time, now, &step) || r->held_log || r->held_apply || r->stopping)
        return;
    if (writes_collect(&r->writes, r->ops, r->engine, &step, &index) == HF_OK)
        collector_proposed(&r->collector, index);
}

static void reply(struct replica *r)
{
    bool leads = r->was_serving && !cross_sealed(r);
    if (leads && (!r->writes.sealing || planted_bug("cross.reads_go_on")))
        reads_serve(&r->reads, r->ops, r->engine, fsm_info(r->fsm)->applied.index, r->held_apply);
    uint64_t now = clock_boot_ns();
    if (leads)
        propose_collection(r, now);
    if (now < r->housekeeping_ns)
        return;
    r->housekeeping_ns = now + HOUSEKEEPING_NS;
    if (leads && leader_clock_give_up(&r->clock, fsm_info(r->fsm), now))
        propose_mark(r);
    hand_over_when_useless(r, now);
    /* A leader that lost its quorum steps down by itself. */
    readiness_look_at_time(&r->readiness, r->status.role == ENGINE_LEADER, now, UNLED_ROUNDS * r->election_ns);
    if (now >= r->room_ns) {
        r->room_ns = now + ROOM_NS;
        gauges_room(r->config.directory->config.dir);
    }
    writes_expire(&r->writes, now);
    reads_expire(&r->reads, now);
}

static void snapshots(struct replica *r)
{
    uint64_t now = clock_boot_ns();
    publish_turn(r->publish, now);
    if (check_marked(r->check)) /* until the next start nobody else is given it */
        snapshots_distrusted(r->snapshots);
    snapshots_turn(r->snapshots, now);
    if (r->fsm && !r->damaged)
        space_turn(r->space, r->fsm, now);
}

static bool stopped(struct replica *r)
{
    if (!r->stopping || r->writes.count + r->reads.count > 0)
        return false;
    if (r->status.role != ENGINE_LEADER || clock_boot_ns() >= r->stop_by_ns)
        return true;
    return !r->status.transferring && r->ops->transfer(r->engine, 0) != HF_OK; /* alone: nobody to hand over to */
}

static bool turn(struct replica *r, bool more)
{
    arena_reset(&r->arena);
    gauges_count(GAUGES_TURN);
    collect(r, more);               /* messages of peers, requests of clients, the clock                 */
    step(r);                        /* proposals and messages become decisions of the engine             */
    r->ops->send_early(r->engine);  /* appends to followers may leave before our own disk                */
    persist(r);                     /* hard state + entries: one write, one sync                         */
    r->ops->send_late(r->engine);   /* votes and acknowledgements promise durability, so only now (I7)   */
    more = apply(r);                /* committed and durable entries → state machine, in one batch (I1)  */
    reply(r);                       /* answers whose index is applied; a lease is checked once more      */
    snapshots(r);                   /* durably applied → pointer → the log may be cut (I4); fetched → in place */
    cross_turn(r, clock_boot_ns()); /* sealed → another engine, the next epoch                           */
    return more;
}

void replica_run(struct replica *r)
{
    bool more = false;
    while (!stopped(r))
        more = turn(r, more);
    if (r->fsm && fsm_flush(r->fsm))
        diag(DIAG_WARN, "the state machine could not be flushed; the next start replays a little more");
    diag(DIAG_INFO, "stopped applied=%" PRIu64, applied_of(r));
}
