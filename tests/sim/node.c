/* node.c: the life of a replica: created, started, dead, started again; its clock; what waits for its next turn. */
#include "tests/sim/node.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "tests/sim/sim.h"

#define GENESIS 1 /* index and term of a group's first state */
#define PPM 1000000
#define FAR_NS (UINT64_C(3600) * 1000 * SIM_MS)

/* ---- configurations ---- */

void configuration_box(const struct configuration *c, struct members_box *out)
{
    out->members = (Hf__Catalog__Members)HF__CATALOG__MEMBERS__INIT;
    out->members.index = c->index;
    out->members.n_members = c->count;
    out->members.members = out->pointer;
    for (uint32_t i = 0; i < c->count; i++) {
        out->member[i] = (Hf__Catalog__Member)HF__CATALOG__MEMBER__INIT;
        out->member[i].replica = c->member[i].replica;
        out->member[i].incarnation = c->member[i].replica;
        out->member[i].role = c->member[i].learner ? HF__CATALOG__ROLE__LEARNER : HF__CATALOG__ROLE__VOTER;
        out->pointer[i] = &out->member[i];
    }
}

void configuration_from(const Hf__Catalog__Members *m, struct configuration *out)
{
    *out = (struct configuration){.index = m->index, .count = (uint32_t)m->n_members};
    must(m->n_members <= SIM_NODES_MAX);
    for (uint32_t i = 0; i < out->count; i++) {
        out->member[i].replica = m->members[i]->replica;
        out->member[i].learner = m->members[i]->role == HF__CATALOG__ROLE__LEARNER;
    }
}

/* ---- clock ---- */

uint64_t node_now(const struct node *n)
{
    uint64_t elapsed = n->sim->now - n->clock_global;
    return n->clock_local + (uint64_t)((int64_t)elapsed + (int64_t)elapsed / 1000 * n->clock_ppm / (PPM / 1000));
}

uint64_t node_global(const struct node *n, uint64_t local_ns)
{
    uint64_t now = node_now(n);
    if (local_ns <= now)
        return n->sim->now;
    uint64_t ahead = local_ns - now < FAR_NS ? local_ns - now : FAR_NS;
    return n->sim->now + ahead / 1000 * PPM / (uint64_t)(PPM + n->clock_ppm) * 1000 + 1000;
}

/* ---- life ---- */

struct engine_env node_environment(struct node *n)
{
    struct engine_env env = {.disk = simdisk_disk(n->disk),
                             .dir = "/replica",
                             .group = 1,
                             .replica = n->id,
                             .log_epoch = 1,
                             .heartbeat_ms = SIM_HEARTBEAT_MS,
                             .election_ms = SIM_ELECTION_MS,
                             .segment_bytes = SIM_SEGMENT_BYTES,
                             .seed = random_next(&n->random),
                             .now_ns = node_now(n),
                             .applied = n->durable.index,
                             .applied_term = n->durable.term,
                             .held = n->fsm == NULL,
                             .recovering = n->recovering,
                             .members = n->fsm != NULL ? fsm_info(n->fsm)->members : &n->boot.members};
    turn_env(n, &env);
    return env;
}

static void create_directory(struct node *n, struct sim *sim, uint32_t id)
{
    must(n->state == NODE_ABSENT);
    n->sim = sim;
    n->id = id;
    n->ops = sim_engine(&sim->options);
    n->state = NODE_DOWN;
    n->disk = simdisk_new();
    for (int i = 0; i < 2; i++) {
        snprintf(n->fsm_dirs[i], sizeof n->fsm_dirs[i], "/replica/fsm-1-%" PRIu32 "-%d", id, i);
        n->media[i] = simstore_new(n->fsm_dirs[i], random_next(&n->random));
    }
    n->store = n->media[0];
    n->wake_at = UINT64_MAX;
    n->die_before = n->stop_before = PHASES;
    n->clock_global = sim->now;
    n->clock_local = 1;
    struct disk *d = simdisk_disk(n->disk);
    must(d->ops->make_dir(d, "/replica") == 0);
    must(d->ops->sync_dir(d, "/") == 0);
    snapshots_create(n);
}

static void create_log(struct node *n)
{
    shadow_create(&n->shadow, n->durable.index, n->durable.term);
    struct engine_env env = node_environment(n);
    must(n->ops->create(&env, n->durable.index, n->durable.term) == 0);
    simdisk_crash(n->disk, random_next(&n->random)); /* durable on return */
    simstore_halt(n->store);
    simstore_crash(n->store);
    simdisk_ignore_sync(n->disk, planted_bug("sim.sync_ignored"));
}

void node_create(struct node *n, struct sim *sim, uint32_t id)
{
    char where[256] = "";
    create_directory(n, sim, id);
    struct configuration first = {.index = GENESIS, .count = sim->replicas};
    for (uint32_t i = 0; i < sim->replicas; i++)
        first.member[i].replica = i + 1;
    configuration_box(&first, &n->boot);
    Hf__Catalog__Range range = HF__CATALOG__RANGE__INIT;
    range.catalog = true;
    struct fsm_genesis genesis = {.cluster = 1,
                                  .group = 1,
                                  .log_epoch = 1,
                                  .index = GENESIS,
                                  .term = GENESIS,
                                  .heartbeat_ms = SIM_HEARTBEAT_MS,
                                  .election_ms = SIM_ELECTION_MS,
                                  .members = &n->boot.members,
                                  .range = &range};
    logtap_begin(n);
    must(fsm_create(&(struct fsm_config){.dir = node_fsm_dir(n)}, &genesis, where) == 0);
    logtap_end();
    n->durable = n->machine = (struct machine){.index = GENESIS, .term = GENESIS, .config = first};
    create_log(n);
}

void node_copy(struct node *n, struct sim *sim, uint32_t id, struct node *donor)
{
    create_directory(n, sim, id);
    struct arena arena = {0};
    struct fsm_info info;
    char where[256];
    simstore_copy(n->store, donor->store);
    must(fsm_peek(node_fsm_dir(n), &arena, &info, where) == 0); /* a flush may have ended since it was looked at */
    n->durable = n->machine = (struct machine){.index = info.applied.index, .term = info.applied.term};
    configuration_from(info.members, &n->machine.config);
    configuration_box(&n->machine.config, &n->boot);
    arena_deinit(&arena);
    create_log(n);
}

uint64_t node_chain(const struct node *n)
{
    uint64_t digest;
    memcpy(&digest, fsm_info(n->fsm)->digest, sizeof digest);
    return (digest ^ simstore_content(n->store)) | 1;
}

void node_look_durable(struct node *n)
{
    struct fsm_applied durable;
    if (n->fsm == NULL || n->following)
        return;
    must(fsm_durable_applied(n->fsm, &durable) == 0);
    n->durable.index = durable.index;
    n->durable.term = durable.term;
    checks_see(n->sim,
               (struct check_event){.kind = CHECK_DURABLE, .node = n, .index = durable.index, .term = durable.term});
}

void node_open_fsm(struct node *n)
{
    char where[256] = "";
    simstore_flush_permille(n->store, (uint32_t)n->sim->faults.flush_permille);
    int rc = fsm_open(&(struct fsm_config){.dir = node_fsm_dir(n)}, &n->fsm, where);
    if (rc != 0) {
        check_failed(n->sim, &check_durable, "replica %u: its state machine does not open: %d %s", n->id, rc, where);
        return;
    }
    const struct fsm_info *info = fsm_info(n->fsm);
    n->machine = (struct machine){.index = info->applied.index, .term = info->applied.term, .chain = node_chain(n)};
    configuration_from(info->members, &n->machine.config);
    n->durable.index = n->machine.index;
    n->durable.term = n->machine.term;
    n->stamp = (struct stamp){0};
}

static void forget_requests(struct node *n)
{
    for (size_t i = 0; i < n->inbox_count; i++)
        free(n->inbox[i]);
    n->inbox_count = n->queued_count = n->proposed_count = n->read_count = 0;
}

/* The oldest segment. */
static void note_first(void *ctx, const char *name)
{
    char *path = ctx, this[64];
    if (strncmp(name, "seg-", 4) != 0)
        return;
    snprintf(this, sizeof this, "%.40s", name);
    if (path[0] == '\0' || strcmp(this, path) < 0)
        memcpy(path, this, sizeof this);
}

static void stop(struct node *n)
{
    n->ops->close(&n->engine);
    if (n->state == NODE_UP)
        node_look_durable(n);
    for (int i = 0; i < 2; i++)
        simstore_halt(n->media[i]);
    fsm_close(&n->fsm);
    for (int i = 0; i < 2; i++)
        simstore_crash(n->media[i]);
    simdisk_fail(n->disk, 0, 0, 0, 0);
    if (n->death == DEATH_POWER) {
        simdisk_crash(n->disk, random_next(&n->random));
        n->clock_local = 1 + random_below(&n->random, 100 * SIM_MS); /* counts from the machine's boot */
        n->clock_global = n->sim->now;
    } else {
        simdisk_restart(n->disk);
    }
    forget_requests(n);
    snapshots_forget(n);
    n->state = NODE_DOWN;
    n->status = (struct engine_status){0};
    n->was_serving = false;
    n->wake_at = UINT64_MAX;
    n->wake_version++;
    faults_died(n);
}

void node_die(struct node *n, enum node_death death)
{
    if (n->state != NODE_UP)
        return;
    sim_trace(n->sim, n->id, "die", death, n->phase, n->machine.index);
    n->sim->result.deaths++;
    n->death = death;
    simdisk_halt(n->disk);
    stop(n);
}

void node_damage_log(struct node *n)
{
    struct disk *d = simdisk_disk(n->disk);
    char folder[64], first[64] = "", path[160];
    must(n->state == NODE_DOWN);
    snprintf(folder, sizeof folder, "/replica/%s-1", n->ops->name);
    must(d->ops->list(d, folder, note_first, first) == 0);
    snprintf(path, sizeof path, "%s/%s", folder, first);
    must(simdisk_flip(n->disk, path, random_below(&n->random, 4096), (unsigned)random_below(&n->random, 8)) == 0);
    n->damaged = true; /* its header: whatever follows, that is no torn tail */
    sim_trace(n->sim, n->id, "damage", n->machine.index, 0, 0);
}

void node_lose_machine(struct node *n)
{
    must(n->state == NODE_DOWN);
    n->machine_lost = true;
    n->machine = n->durable = (struct machine){0};
    n->token_index = 0;
    sim_trace(n->sim, n->id, "lost", 0, 0, 0);
    checks_see(n->sim, (struct check_event){.kind = CHECK_LOST, .node = n});
}

/* ---- a start ---- */

static int open_engine(struct node *n, bool tapped, bool held)
{
    char where[256] = "";
    struct engine_env env = node_environment(n);
    env.held |= held;
    if (tapped)
        logtap_begin(n);
    int rc = n->ops->open(&env, &n->engine, where);
    logtap_end();
    if (rc == 0)
        return 0;
    n->engine = NULL;
    if (!simdisk_halted(n->disk) && tapped)
        check_failed(n->sim, &check_recovery, "replica %u does not open: %d %s", n->id, rc, where);
    return rc;
}

/* Is it damaged where it counts? If so it begins anew (I13). False: the process is to die. */
static bool heal_log(struct node *n)
{
    snapshots_read_recovering(n);
    if (!n->damaged)
        return true;
    int rc = n->rebuilding ? HF_E_CORRUPT : open_engine(n, false, true);
    if (rc == 0) {
        n->ops->close(&n->engine);
        n->damaged = false;
        return true;
    }
    if (rc != HF_E_CORRUPT)
        return false;
    n->sim->result.rebuilt++;
    return snapshots_rebuild_log(n);
}

static bool open_all(struct node *n)
{
    bool pending;
    n->following = false;
    if (!snapshots_finish(n, &pending))
        return false;
    n->following = pending;
    n->machine_lost = n->machine_lost && !pending;
    if (!n->machine_lost) {
        node_open_fsm(n);
        if (n->fsm == NULL)
            return false;
    }
    if (!heal_log(n) || open_engine(n, true, pending) != 0)
        return false;
    logtap_begin(n);
    bool good = !pending || snapshots_follow(n, n->machine.index, n->machine.term);
    logtap_end();
    return good;
}

void node_start(struct node *n)
{
    must(n->state == NODE_DOWN);
    n->phase = PHASE_COLLECT;
    n->status = (struct engine_status){0};
    n->was_serving = n->more = n->want_change = false;
    n->want_transfer = 0;
    n->want_trim = 0;
    n->stopped_until = 0;
    n->die_before = n->stop_before = PHASES;
    n->lives++;
    sim_trace(n->sim, n->id, "start", n->durable.index, n->lives, 0);
    if (!n->sim->options.calm && !n->sim->healing && random_below(&n->random, 12) == 0) { /* it dies of its recovery */
        n->death = random_below(&n->random, 2) == 0 ? DEATH_KILL : DEATH_POWER;
        simdisk_halt_after(n->disk, SIMDISK_CHANGES, random_below(&n->random, 30));
    }
    if (!open_all(n)) {
        if (!simdisk_halted(n->disk))
            simdisk_halt(n->disk);
        sim_trace(n->sim, n->id, "dies", 0, 0, 0);
        stop(n);
        return;
    }
    n->state = NODE_UP;
    if (n->fsm != NULL)
        checks_see(n->sim, (struct check_event){.kind = CHECK_RESTARTED,
                                                .node = n,
                                                .index = n->machine.index,
                                                .term = n->machine.term,
                                                .other = n->machine.chain});
    node_look(n);
    node_wake(n, n->sim->now);
}

void node_free(struct node *n)
{
    if (n->state == NODE_UP) {
        simdisk_halt(n->disk);
        n->ops->close(&n->engine);
        fsm_close(&n->fsm);
    }
    forget_requests(n);
    shadow_deinit(&n->shadow);
    simdisk_free(&n->disk);
    simstore_free(&n->media[0]);
    simstore_free(&n->media[1]);
    n->state = NODE_ABSENT;
}

/* ---- what waits for the next turn ---- */

void node_wake(struct node *n, uint64_t at)
{
    if (n->state != NODE_UP || at >= n->wake_at)
        return;
    n->wake_at = at;
    sim_schedule(n->sim, (struct sim_event){.kind = EVENT_WAKE, .node = n->id, .version = ++n->wake_version}, at);
}

static void wake_soon(struct node *n)
{
    if (n->phase == PHASE_COLLECT && n->stopped_until <= n->sim->now)
        node_wake(n, n->sim->now + (5 + random_below(&n->random, 100)) * 1000);
}

void node_receive(struct node *n, struct message *m)
{
    if (n->inbox_count == NODE_INBOX_MAX) {
        free(m);
        return;
    }
    n->inbox[n->inbox_count++] = m;
    wake_soon(n);
}

void node_write(struct node *n, uint64_t id, uint32_t size)
{
    if (n->state != NODE_UP || n->queued_count == NODE_WRITES_MAX)
        return;
    n->queued[n->queued_count++] = (struct write){.id = id, .size = size, .kind = LOG_COMMAND};
    wake_soon(n);
}

void node_read(struct node *n, uint64_t id)
{
    if (n->state != NODE_UP || n->read_count == NODE_READS_MAX)
        return;
    n->reads[n->read_count++] = (struct read){.id = id, .fresh = true};
    wake_soon(n);
}

bool node_serves(const struct node *n)
{
    return n->state == NODE_UP && n->status.role == ENGINE_LEADER && n->was_serving && !n->status.transferring;
}

void node_look(struct node *n)
{
    struct engine_status was = n->status;
    n->status = n->ops->status(n->engine);
    if (n->status.role == was.role && n->status.term == was.term && n->status.commit == was.commit)
        return;
    if (n->status.role != was.role || n->status.term != was.term) {
        sim_trace(n->sim, n->id, "role", n->status.role, n->status.term, n->status.leader);
        n->sim->result.elections += n->status.role == ENGINE_LEADER;
    }
    checks_see(n->sim, (struct check_event){.kind = CHECK_STATUS,
                                            .node = n,
                                            .role = n->status.role,
                                            .term = n->status.term,
                                            .index = n->status.commit});
}
