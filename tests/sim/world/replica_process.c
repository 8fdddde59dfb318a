/* replica_process.c: holdfast-shard as shard/server/main.c puts it together, over a disk and a store of ours. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "shard/replica/detect.h"
#include "shard/replica/swap.h"
#include "shard/server/front.h"
#include "tests/sim/world/epochs.h"
#include "tests/sim/world/history.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/process.h"
#include "tests/sim/world/states.h"

#define DIR PROCESS_DIR
#define MACHINE DIR "/" INSTALL_MACHINE
#define MEDIUM STATES_FILE

struct replica_parts {
    struct directory directory;
    struct net *net;
    struct net_socket *clients;
    struct front *front;
    struct replica *replica;
};

/* ---- the engine, with places to die and to stand still between its phases ---- */

/* Of the directory as it is now: it may go over to another one while it runs. */
static const struct engine_ops *real(void)
{
    const struct replica_parts *r = world_now->current->parts;
    return engine_find(r->directory.id.engine);
}

/* What it holds now, as every checker may see it. */
static void look(struct process *p)
{
    const struct directory *d = &p->parts->directory;
    judge_applied(p->world, p->number, d->fsm, p->store);
    epochs_look(p->world, p->number, d->fsm != NULL ? fsm_info(d->fsm) : NULL, &d->id);
}

/* What the turn before did to the pointer. */
static void look_at_pointer(struct process *p)
{
    uint64_t index = replica_state(p->parts->replica).publish.index;
    if (index > p->published) {
        p->world->result.published++;
        judge_durable(p->world, p->number, p->parts->directory.fsm, "pointer", index);
    }
    p->published = index;
    if (p->damaged && replica_process_whole(p)) {
        p->damaged = false;
        p->world->result.recovered++;
        world_trace(p->world, p->number, "whole", index, 0);
    }
}

static void step(struct engine *e)
{
    look_at_pointer(world_now->current);
    process_point(world_now->current, PHASE_STEP);
    real()->step(e);
}

static void send_early(struct engine *e)
{
    process_point(world_now->current, PHASE_SEND_EARLY);
    real()->send_early(e);
}

static int persist(struct engine *e)
{
    process_point(world_now->current, PHASE_PERSIST);
    return real()->persist(e);
}

static void send_late(struct engine *e)
{
    process_point(world_now->current, PHASE_SEND_LATE);
    real()->send_late(e);
}

static int apply(struct engine *e)
{
    struct process *p = world_now->current;
    process_point(p, PHASE_APPLY);
    int rc = real()->apply(e);
    look(p);
    process_point(p, PHASE_REPLY);
    return rc;
}

static uint64_t read_lease(const struct engine *e)
{
    process_point(world_now->current, PHASE_REPLY); /* an answer is built: how long ago was that */
    return real()->read_lease(e);
}

static int trim(struct engine *e, uint64_t index)
{
    struct process *p = world_now->current;
    struct fsm *fsm = p->parts->directory.fsm;
    if (planted_bug("sim.trim_ahead"))
        index = fsm_info(fsm)->applied.index;
    uint64_t first = real()->status(e).first;
    judge_durable(p->world, p->number, fsm, "cut", index);
    int rc = real()->trim(e, index);
    p->world->result.trimmed += real()->status(e).first > first;
    return rc;
}

/* A machine was put in place: the log has not followed yet. */
static int install(struct engine *e, uint64_t index, uint64_t term, const Hf__Catalog__Members *members)
{
    struct process *p = world_now->current;
    process_point(p, PHASE_PERSIST);
    judge_installs(p->world, p->number, index);
    int rc = real()->install(e, index, term, members);
    if (rc == HF_OK) {
        p->world->result.installs++;
        p->world->result.restarts += real()->status(e).last == index;
        look(p);
    }
    return rc;
}

static int rebuild(const struct engine_env *env, const char *quarantine, uint64_t index, uint64_t term, char where[256])
{
    int rc = real()->rebuild(env, quarantine, index, term, where);
    world_now->result.rebuilt += rc == HF_OK;
    return rc;
}

/* As engine_find: a table for each engine, whose functions go by the engine that the process has at the moment. */
static const struct engine_ops *taken_apart(const char *name)
{
    static struct engine_ops tables[2];
    const struct engine_ops *found = engine_find(name);
    if (found == NULL)
        return NULL;
    struct engine_ops *table = &tables[found != &engine_native];
    struct engine_ops ops = *found;
    ops.step = step;
    ops.send_early = send_early;
    ops.persist = persist;
    ops.send_late = send_late;
    ops.apply = apply;
    ops.read_lease = read_lease;
    ops.trim = trim;
    ops.install = install;
    ops.rebuild = rebuild;
    *table = ops;
    return table;
}

/* ---- life ---- */

struct simstore *replica_process_medium(const char *dir)
{
    struct process *p = world_now->current;
    struct buf which = {0};
    char path[256];
    if (p == NULL || strncmp(dir, DIR "/", sizeof DIR) != 0)
        return NULL;
    snprintf(path, sizeof path, "%.200s/" MEDIUM, dir);
    struct simstore *medium = NULL;
    if (disk_read_all(simdisk_disk(p->disk), path, 1, &which) == 0) {
        must(which.size == 1 && which.data[0] < 2);
        medium = p->media[which.data[0]];
        if (strcmp(dir, MACHINE) == 0) {
            p->medium = which.data[0];
            p->store = medium;
        }
    }
    buf_deinit(&which);
    return medium;
}

/* Of what users wrote only collection removes anything. */
void replica_process_removes(struct slice key, struct slice value)
{
    struct process *p = world_now->current;
    history_removed(p->world, p->shard, key, value);
    judge_removed(p->world, key, value);
}

static void fill_directory(struct process *p, struct directory *d)
{
    *d = (struct directory){.config = {.disk = simdisk_disk(p->disk),
                                       .dir = DIR,
                                       .group = p->shard,
                                       .replica = p->id,
                                       .raft_endpoint = p->raft,
                                       .client_endpoint = p->client,
                                       .raft_listen = p->raft,
                                       .segment_bytes = SIM_SEGMENT_BYTES,
                                       .engines = taken_apart}};
    snprintf(d->fsm_dir, sizeof d->fsm_dir, MACHINE);
    d->config.fsm.dir = d->fsm_dir;
}

static void fill_members(uint32_t shard, Hf__Catalog__Members *members, Hf__Catalog__Member *all,
                         Hf__Catalog__Member **pointers, char names[][2][WORLD_ENDPOINT])
{
    *members = (Hf__Catalog__Members)HF__CATALOG__MEMBERS__INIT;
    for (uint32_t i = 0; i < WORLD_REPLICAS; i++) {
        snprintf(names[i][0], WORLD_ENDPOINT, "w:%u/%u/c", shard, i + 1);
        snprintf(names[i][1], WORLD_ENDPOINT, "w:%u/%u/r", shard, i + 1);
        all[i] = (Hf__Catalog__Member)HF__CATALOG__MEMBER__INIT;
        all[i].replica = i + 1;
        all[i].incarnation = shard * 100 + i + 1;
        all[i].client_endpoint = names[i][0];
        all[i].raft_endpoint = names[i][1];
        pointers[i] = &all[i];
    }
    members->members = pointers;
    members->n_members = WORLD_REPLICAS;
}

/* A disk with a directory for the machine, which says what it stands on. */
static void create_media(struct process *p)
{
    uint8_t first = 0;
    uint32_t permille = 1 + (uint32_t)random_below(&p->random, 200);
    p->disk = simdisk_new();
    struct disk *disk = simdisk_disk(p->disk);
    must(disk->ops->make_dir(disk, DIR) == 0 && disk->ops->sync_dir(disk, "/") == 0);
    must(disk->ops->make_dir(disk, MACHINE) == 0 && disk->ops->sync_dir(disk, DIR) == 0);
    must(disk_replace(disk, MACHINE "/" MEDIUM, slice_make(&first, 1)) == 0);
    for (unsigned i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, STATES_MEDIUM, p->number, i);
        p->media[i] = simstore_new(name, random_next(&p->random));
        simstore_flush_permille(p->media[i], permille);
    }
}

void replica_process_create(struct process *p)
{
    char message[256] = "", names[WORLD_REPLICAS][2][WORLD_ENDPOINT];
    struct directory d;
    create_media(p);
    fill_directory(p, &d);
    d.id = (struct identity){
        .group = p->shard, .replica = p->id, .incarnation = p->shard * 100 + p->id, .format = IDENTITY_FORMAT};
    snprintf(d.id.engine, sizeof d.id.engine, "%s", sim_engine(&p->world->options)->name);
    d.ops = sim_engine(&p->world->options);
    Hf__Catalog__Members members;
    Hf__Catalog__Member all[WORLD_REPLICAS], *pointers[WORLD_REPLICAS];
    fill_members(p->shard, &members, all, pointers, names);
    Hf__Catalog__Range range = HF__CATALOG__RANGE__INIT;
    uint8_t border = 'm';
    ProtobufCBinaryData middle = {.len = 1, .data = &border};
    range.catalog = p->shard == 1;
    *(p->shard == 1 ? &range.end : &range.start) = middle;
    Hf__Catalog__Bootstrap b = HF__CATALOG__BOOTSTRAP__INIT;
    b.cluster = WORLD_CLUSTER;
    b.shard = p->shard;
    b.replica = p->id;
    b.incarnation = d.id.incarnation;
    b.members = &members;
    b.range = &range;
    b.heartbeat_ms = SIM_HEARTBEAT_MS;
    b.election_ms = SIM_ELECTION_MS;
    b.feature_level = FSM_FEATURE_LEVEL;
    p->world->current = p;
    must(directory_bootstrap(&d, &b, message) == 0);
    p->world->current = NULL;
    simdisk_crash(p->disk, random_next(&p->random)); /* durable on return */
    simstore_halt(p->store);
    simstore_crash(p->store);
}

/* What a swap must not do that is resumed behind its commit point. */
static void make_log_again(struct directory *d)
{
    struct engine_env env = {.disk = d->config.disk,
                             .dir = DIR,
                             .group = d->id.group,
                             .replica = d->id.replica,
                             .log_epoch = d->id.log_epoch,
                             .segment_bytes = SIM_SEGMENT_BYTES,
                             .term_floor = d->id.left.term + 1};
    int rc = engine_find(d->id.engine)->create(&env, d->id.left.index, d->id.left.term);
    (void)rc; /* its disk may be dead */
}

/* As directory_open, whose lock is the machine's own. */
static void open_directory(struct process *p, struct directory *d)
{
    char message[DETECT_MESSAGE_BYTES];
    fill_directory(p, d);
    struct disk *disk = d->config.disk;
    int rc = swap_finish(disk, DIR);
    if (rc != HF_OK)
        refuse("a change of engine that was under way can neither be finished nor undone: %s", error_text(rc));
    struct detect_facts facts = {.dir = DIR, .group = p->shard, .replica = p->id, .cluster = WORLD_CLUSTER};
    rc = detect_look(disk, &facts);
    if (rc != HF_OK)
        refuse("the directory cannot be listed: %s", error_text(rc));
    if (detect_decide(&facts, message) != DETECT_MEMBER)
        refuse("%s", message);
    d->id = facts.id;
    if (p->crossed && planted_bug("sim.log_made_again"))
        make_log_again(d);
    p->crossed = false;
    d->ops = taken_apart(d->id.engine);
}

static uint64_t one_of(struct process *p, uint64_t usual, uint64_t small)
{
    return random_below(&p->random, 3) != 0 ? usual : small + random_below(&p->random, small);
}

void replica_process_run(void *process)
{
    struct process *p = process;
    struct replica_parts *r = calloc(1, sizeof *r);
    must(r != NULL);
    p->parts = r;
    open_directory(p, &r->directory);
    r->net = net_new(1, 1);
    must(net_listen(r->net, p->client, &(struct net_options){.hwm = 1}, &r->clients) == 0);
    directory_open_fsm(&r->directory);
    look(p);
    if (r->directory.fsm == NULL) /* it is put aside, misread or marked */
        judge_lost(p->world, p->number);
    r->front = front_new(r->clients, &r->directory);
    struct replica_config config = {.net = r->net,
                                    .directory = &r->directory,
                                    .client_socket = r->clients,
                                    .signal_fd = -1,
                                    .front = front_calls(r->front),
                                    .publish = {.every_entries = 1 + random_below(&p->random, 100),
                                                .every_bytes = one_of(p, 0, 6000),
                                                .trailing = p->world->trailing,
                                                .replay_budget = one_of(p, 1 << 20, 8000)},
                                    .snapshot_listen = p->state,
                                    .retention_ms = p->world->retention_ms,
                                    .collect_steps = p->world->collect_steps,
                                    .ready = &p->ready};
    r->replica = replica_open(&config);
    p->published = replica_state(r->replica).publish.index;
    front_attach(r->front, r->replica);
    replica_run(r->replica);
    process_end(p);
}

void replica_process_close(struct process *p)
{
    struct replica_parts *r = p->parts;
    simdisk_halt(p->disk);
    simstore_halt(p->media[0]);
    simstore_halt(p->media[1]);
    if (r == NULL)
        return;
    replica_close(&r->replica);
    if (r->front != NULL)
        front_free(&r->front);
    directory_close(&r->directory);
    free(r);
    p->parts = NULL;
}

bool replica_process_opened(const struct process *p)
{
    return p->parts != NULL && p->parts->replica != NULL;
}

bool replica_process_runs(const struct process *p)
{
    return replica_process_opened(p) && p->parts->directory.engine != NULL;
}

const struct identity *replica_process_identity(const struct process *p)
{
    return p->parts != NULL && p->parts->directory.id.log_epoch != 0 ? &p->parts->directory.id : NULL;
}

bool replica_process_whole(const struct process *p)
{
    const struct replica_parts *r = p->parts;
    return replica_process_runs(p) && r->directory.fsm != NULL && r->directory.id.recovering == 0 &&
           !replica_state(r->replica).healing && !simstore_misreads(p->store);
}

struct fsm *replica_process_fsm(const struct process *p)
{
    return p->parts != NULL ? p->parts->directory.fsm : NULL;
}

bool replica_process_leads(const struct process *p)
{
    return replica_process_runs(p) && replica_state(p->parts->replica).engine.role == ENGINE_LEADER;
}

bool replica_process_serves(const struct process *p, uint64_t *term)
{
    if (!replica_process_leads(p))
        return false;
    struct engine_status status = replica_state(p->parts->replica).engine;
    if (!status.serving || status.term <= *term)
        return false;
    *term = status.term;
    return true;
}
