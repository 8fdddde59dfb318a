/* turn.c: the turn of shard/replica, phase by phase, with places to die and to stand still between them. */
#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "tests/sim/sim.h"

#define SPLIT_ONE_IN 6
#define SPLIT_US_MAX 500
#define HELD_MS 5

/* ---- what the engine calls ---- */

static void on_send(void *ctx, uint32_t to, const Hf__Raft__Raft *m)
{
    struct node *n = ctx;
    if (m->kind == HF__RAFT__KIND__VOTE)
        checks_see(n->sim, (struct check_event){.kind = CHECK_VOTED, .node = n, .term = m->term, .peer = n->id});
    if (m->kind == HF__RAFT__KIND__VOTE_REPLY && !m->reject)
        checks_see(n->sim, (struct check_event){.kind = CHECK_VOTED, .node = n, .term = m->term, .peer = to});
    if (m->kind == HF__RAFT__KIND__APPEND_REPLY && !m->reject)
        checks_see(n->sim,
                   (struct check_event){.kind = CHECK_ACKNOWLEDGED, .node = n, .term = m->term, .index = m->index});
    network_send(n->sim, n->id, to, m);
}

static void answer_write(struct node *n, const struct log_entry *e)
{
    for (size_t i = 0; i < n->proposed_count; i++) {
        struct write w = n->proposed[i];
        if (w.index != e->index)
            continue;
        n->proposed[i--] = n->proposed[--n->proposed_count];
        if (w.term == e->term)
            clients_write_done(n, &w);
    }
}

/* `chain`: of the state machine with this entry applied, 0 inside a batch. */
static void applied_one(struct node *n, const struct log_entry *e, uint64_t chain)
{
    uint64_t hash = logtap_hash(e->kind, e->data);
    struct machine *m = &n->machine;
    m->index++;
    m->term = e->term;
    m->chain = chain;
    if (e->kind == LOG_CONFIG)
        n->sim->result.changes++;
    sim_trace(n->sim, n->id, "apply", e->index, e->term, hash);
    checks_see(n->sim,
               (struct check_event){
                   .kind = CHECK_APPLIED, .node = n, .index = e->index, .term = e->term, .hash = hash, .other = chain});
    answer_write(n, e);
}

static void on_result(void *ctx, uint64_t index, uint64_t term, uint32_t position, const struct fsm_result *r)
{
    struct node *n = ctx;
    (void)term, (void)position;
    if (r->session != 0) /* one was opened, whoever led */
        load_session(&n->sim->clients.load, index);
}

/* One batch of the state machine. */
static int apply_batch(struct node *n, const struct log_entry *entries, size_t count)
{
    int rc = fsm_apply(n->fsm, entries, count, on_result, n);
    if (rc != 0)
        return rc;
    const struct fsm_info *info = fsm_info(n->fsm);
    for (size_t i = 0; i < count; i++) {
        if (entries[i].kind == LOG_CONFIG)
            configuration_from(info->members, &n->machine.config);
        applied_one(n, &entries[i], i + 1 == count ? node_chain(n) : 0);
    }
    must(info->applied.index == n->machine.index && info->applied.term == n->machine.term); /* I3, I5 */
    node_look_durable(n);
    return 0;
}

/* Cuts the entries into batches of its own: where they are cut may change nothing (I1). */
static int on_apply(void *ctx, const struct log_entry *entries, size_t count)
{
    struct node *n = ctx;
    if (!n->sim->healing && random_below(&n->random, 1000) < n->sim->faults.hold_permille) {
        simstore_fail(n->store, HF_E_NO_SPACE, 1);
        return fsm_apply(n->fsm, entries, count, on_result, n); /* I6: nothing of it may stay */
    }
    for (size_t at = 0; at < count;) {
        size_t some = random_below(&n->random, 4) == 0 ? 1 + random_below(&n->random, count - at) : count - at;
        must(apply_batch(n, &entries[at], some) == 0);
        at += some;
    }
    return 0;
}

static void on_barrier_ready(void *ctx, uint64_t id, uint64_t index)
{
    struct node *n = ctx;
    for (size_t i = 0; i < n->read_count; i++)
        if (n->reads[i].barrier == id && !n->reads[i].fresh)
            n->reads[i].index = index;
}

static void on_changed(void *ctx)
{
    struct node *n = ctx;
    struct engine_status now = n->ops->status(n->engine);
    if (n->status.role != ENGINE_LEADER || (now.role == ENGINE_LEADER && now.term == n->status.term))
        return;
    n->was_serving = false;
    n->read_count = n->queued_count =
        0; /* proposals are waited for: stricter than the product, which answers "unknown" */
}

static void on_snapshot_needed(void *ctx, uint32_t from, uint64_t index, uint64_t term)
{
    (void)term;
    snapshots_need(ctx, from, index);
}

static int on_recovered(void *ctx)
{
    struct node *n = ctx;
    int rc = snapshots_recovered(n);
    n->sim->result.recovered += rc == 0;
    return rc;
}

void turn_env(struct node *n, struct engine_env *env)
{
    env->ctx = n;
    env->send = on_send;
    env->apply = on_apply;
    env->barrier_ready = on_barrier_ready;
    env->changed = on_changed;
    env->snapshot_needed = on_snapshot_needed;
    env->recovered = on_recovered;
}

/* ---- reads ---- */

static bool leased_now(const struct node *n)
{
    return n->ops->read_lease(n->engine) > node_now(n) || planted_bug("sim.lease_not_checked");
}

static void begin_reads(struct node *n)
{
    uint64_t barrier = 0;
    for (size_t i = 0; i < n->read_count; i++) {
        struct read *r = &n->reads[i];
        if (!r->fresh)
            continue;
        bool serves = node_serves(n);
        bool leased = serves && leased_now(n) && random_below(&n->random, 8) != 0;
        if (serves && !leased && barrier == 0) {
            barrier = ++n->sim->clients.last_id;
            serves = n->ops->barrier(n->engine, barrier) == 0;
        }
        if (!serves) {
            n->reads[i--] = n->reads[--n->read_count];
            continue;
        }
        r->fresh = false;
        r->leased = leased;
        r->barrier = leased ? 0 : barrier;
        r->index = leased ? n->ops->status(n->engine).commit : UINT64_MAX;
    }
}

static void build_reads(struct node *n)
{
    for (size_t i = 0; i < n->read_count; i++)
        if (!n->reads[i].fresh && n->reads[i].index <= n->machine.index && n->was_serving)
            n->reads[i].built = n->machine.index;
}

static void answer_reads(struct node *n)
{
    for (size_t i = 0; i < n->read_count; i++) {
        struct read r = n->reads[i];
        if (r.built == 0)
            continue;
        if (r.leased && !leased_now(n)) {
            n->reads[i].built = 0;
            n->reads[i].fresh = true; /* by a barrier, or a new lease */
            continue;
        }
        n->reads[i--] = n->reads[--n->read_count];
        n->sim->result.lease_reads += r.leased;
        clients_read_done(n, r.id, r.built);
    }
}

/* ---- phases ---- */

static void collect(struct node *n)
{
    n->split = random_below(&n->random, SPLIT_ONE_IN) == 0;
    for (size_t i = 0; i < n->inbox_count; i++) {
        struct message *packed = n->inbox[i];
        Hf__Raft__Raft *m = hf__raft__raft__unpack(NULL, packed->size, packed->bytes);
        must(m != NULL);
        sim_trace(n->sim, n->id, "receive", packed->from, (uint64_t)m->kind << 32 | m->term, m->index);
        n->ops->receive(n->engine, packed->from, m);
        hf__raft__raft__free_unpacked(m, NULL);
        free(packed);
    }
    n->inbox_count = 0;
}

static void propose(struct node *n)
{
    struct load *load = &n->sim->clients.load;
    for (size_t i = 0; i < n->queued_count; i++) {
        struct write w = n->queued[i];
        if (!node_serves(n) || n->proposed_count == NODE_WRITES_MAX)
            continue;
        stamp_observe(&n->stamp, hlc_from_ms(1000 + n->sim->now / SIM_MS));
        struct slice data = load_entry(load, w.id, w.size, &n->stamp, n->fsm);
        w.hash = logtap_hash(w.kind, data);
        if (n->ops->propose(n->engine, w.kind, data, &w.index, &w.term) != 0)
            continue;
        if (planted_bug("sim.reply_before_apply"))
            clients_write_done(n, &w);
        else
            n->proposed[n->proposed_count++] = w;
    }
    n->queued_count = 0;
}

static void steer(struct node *n)
{
    if (n->want_transfer != 0) {
        int rc = n->ops->transfer(n->engine, n->want_transfer == NODE_TRANSFER_ANY ? 0 : n->want_transfer);
        sim_trace(n->sim, n->id, "transfer", n->want_transfer, (uint64_t)-rc, 0);
    }
    if (n->want_change) {
        struct members_box box;
        uint64_t index = 0;
        configuration_box(&n->change, &box);
        int rc = n->ops->change(n->engine, &box.members, &index);
        sim_trace(n->sim, n->id, "change", n->change.count, (uint64_t)-rc, index);
    }
    uint64_t trim = n->want_trim < n->durable.index ? n->want_trim : n->durable.index; /* I4 */
    if (trim > 0 && planted_bug("sim.trim_ahead"))
        trim = n->machine.index;
    if (trim > 0) {
        int rc = n->ops->trim(n->engine, trim);
        sim_trace(n->sim, n->id, "trim", trim, (uint64_t)-rc, 0);
        checks_see(n->sim,
                   (struct check_event){.kind = CHECK_TRIMMED, .node = n, .index = trim, .other = n->durable.index});
    }
    n->want_transfer = 0;
    n->want_change = false;
    n->want_trim = 0;
}

static void persist(struct node *n)
{
    int rc = n->ops->persist(n->engine);
    if (rc == 0)
        return;
    sim_trace(n->sim, n->id, "persist", (uint64_t)-rc, 0, 0);
    if (rc == HF_E_NO_SPACE)
        n->more = true; /* tried again soon */
    else
        node_die(n, simdisk_halted(n->disk) ? n->death : DEATH_KILL); /* I6 */
}

static void apply(struct node *n)
{
    int rc = n->ops->apply(n->engine);
    n->more |= rc != 0;
    struct engine_status status = n->ops->status(n->engine);
    if (status.held)
        snapshots_need(n, status.leader, status.first - 1); /* its log is as good as any, nobody tells it */
    if (n->ops->status(n->engine).serving && !n->was_serving) {
        n->was_serving = true;
        stamp_continue(&n->stamp, fsm_info(n->fsm)->newest); /* I8 */
    }
    build_reads(n);
}

static void run_phase(struct node *n)
{
    switch (n->phase) {
    case PHASE_COLLECT:
        n->more = false;
        if (!snapshots_install(n)) {
            node_die(n, simdisk_halted(n->disk) ? n->death : DEATH_KILL);
            break;
        }
        collect(n);
        break;
    case PHASE_STEP:
        begin_reads(n);
        propose(n);
        snapshots_publish(n);
        steer(n);
        n->ops->tick(n->engine, node_now(n));
        n->ops->step(n->engine);
        break;
    case PHASE_SEND_EARLY:
        n->ops->send_early(n->engine);
        break;
    case PHASE_PERSIST:
        persist(n);
        break;
    case PHASE_SEND_LATE:
        n->ops->send_late(n->engine);
        break;
    case PHASE_APPLY:
        apply(n);
        break;
    case PHASE_REPLY:
        answer_reads(n);
        break;
    case PHASES:
        must(n->phase != PHASES);
    }
}

static void end_turn(struct node *n)
{
    n->sim->result.turns++;
    bool waiting = n->inbox_count > 0 || n->queued_count > 0;
    for (size_t i = 0; i < n->read_count; i++)
        waiting |= n->reads[i].fresh;
    uint64_t now = n->sim->now;
    if (waiting)
        node_wake(n, now + 20000);
    if (n->more)
        node_wake(n, now + random_below(&n->random, HELD_MS * SIM_MS));
    node_wake(n, node_global(n, n->ops->deadline(n->engine)));
}

void turn_run(struct node *n)
{
    while (!n->sim->result.failed) {
        if (n->stopped_until > n->sim->now) {
            node_wake(n, n->stopped_until);
            return;
        }
        if (n->phase == n->die_before) {
            node_die(n, n->death);
            return;
        }
        if (n->phase == n->stop_before) {
            n->stop_before = PHASES;
            n->stopped_until = n->sim->now + n->stop_for;
            sim_trace(n->sim, n->id, "stopped", n->phase, n->stop_for / SIM_MS, 0);
            continue;
        }
        logtap_begin(n);
        run_phase(n);
        logtap_end();
        if (n->state == NODE_UP && simdisk_halted(n->disk))
            node_die(n, n->death);
        if (n->state != NODE_UP)
            return;
        node_look(n);
        n->phase = (enum phase)((n->phase + 1) % PHASES);
        if (n->phase == PHASE_COLLECT) {
            end_turn(n);
            return;
        }
        if (n->split) {
            node_wake(n, n->sim->now + random_below(&n->random, SPLIT_US_MAX) * 1000);
            return;
        }
    }
}
