/* replica_process.c: holdfast-shard as shard/server/main.c puts it together, over a disk and a store of ours. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "shard/server/front.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/process.h"

struct replica_parts {
    struct directory directory;
    struct net *net;
    struct net_socket *clients;
    struct front *front;
    struct replica *replica;
};

/* ---- the engine, with places to die and to stand still between its phases ---- */

static void step(struct engine *e)
{
    process_point(world_now->current, PHASE_STEP);
    engine_native.step(e);
}

static void send_early(struct engine *e)
{
    process_point(world_now->current, PHASE_SEND_EARLY);
    engine_native.send_early(e);
}

static int persist(struct engine *e)
{
    process_point(world_now->current, PHASE_PERSIST);
    return engine_native.persist(e);
}

static void send_late(struct engine *e)
{
    process_point(world_now->current, PHASE_SEND_LATE);
    engine_native.send_late(e);
}

static int apply(struct engine *e)
{
    struct process *p = world_now->current;
    process_point(p, PHASE_APPLY);
    int rc = engine_native.apply(e);
    judge_applied(p->world, p->number, p->parts->directory.fsm, p->store);
    process_point(p, PHASE_REPLY);
    return rc;
}

static uint64_t read_lease(const struct engine *e)
{
    process_point(world_now->current, PHASE_REPLY); /* an answer is built: how long ago was that */
    return engine_native.read_lease(e);
}

static const struct engine_ops *taken_apart(void)
{
    static struct engine_ops ops;
    ops = engine_native;
    ops.step = step;
    ops.send_early = send_early;
    ops.persist = persist;
    ops.send_late = send_late;
    ops.apply = apply;
    ops.read_lease = read_lease;
    return &ops;
}

/* ---- life ---- */

static void open_directory(struct process *p, struct directory *d)
{
    *d = (struct directory){.config = {.disk = simdisk_disk(p->disk),
                                       .dir = "/replica",
                                       .group = p->shard,
                                       .replica = p->id,
                                       .raft_endpoint = p->raft,
                                       .client_endpoint = p->client,
                                       .raft_listen = p->raft,
                                       .segment_bytes = SIM_SEGMENT_BYTES}};
    snprintf(d->fsm_dir, sizeof d->fsm_dir, "/replica/fsm-%u-%u", p->shard, p->id);
    d->config.fsm.dir = d->fsm_dir;
    d->ops = taken_apart();
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

void replica_process_create(struct process *p)
{
    char message[256] = "", names[WORLD_REPLICAS][2][WORLD_ENDPOINT];
    struct directory d;
    p->disk = simdisk_new();
    struct disk *disk = simdisk_disk(p->disk);
    must(disk->ops->make_dir(disk, "/replica") == 0 && disk->ops->sync_dir(disk, "/") == 0);
    open_directory(p, &d);
    p->store = simstore_new(d.fsm_dir, random_next(&p->random));
    simstore_flush_permille(p->store, 1 + (uint32_t)random_below(&p->random, 200));
    d.id = (struct identity){.group = p->shard,
                             .replica = p->id,
                             .incarnation = p->shard * 100 + p->id,
                             .format = IDENTITY_FORMAT,
                             .engine = "native"};
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
    p->world->current = p;
    must(directory_bootstrap(&d, &b, message) == 0);
    p->world->current = NULL;
    simdisk_crash(p->disk, random_next(&p->random)); /* durable on return */
    simstore_halt(p->store);
    simstore_crash(p->store);
}

void replica_process_run(void *process)
{
    struct process *p = process;
    struct replica_parts *r = calloc(1, sizeof *r);
    must(r != NULL);
    p->parts = r;
    open_directory(p, &r->directory);
    must(identity_read(r->directory.config.disk, "/replica", &r->directory.id) == 0);
    r->net = net_new(1, 1);
    must(net_listen(r->net, p->client, &(struct net_options){.hwm = 1}, &r->clients) == 0);
    directory_open_fsm(&r->directory);
    judge_applied(p->world, p->number, r->directory.fsm, p->store);
    r->front = front_new(r->clients, &r->directory);
    struct replica_config config = {.net = r->net,
                                    .directory = &r->directory,
                                    .client_socket = r->clients,
                                    .signal_fd = -1,
                                    .front = front_calls(r->front),
                                    .publish = {.every_entries = 1 + random_below(&p->random, 100),
                                                .trailing = UINT64_MAX / 2, /* no stream: nobody may need one */
                                                .replay_budget = 1 << 20},
                                    .ready = &p->ready};
    r->replica = replica_open(&config);
    front_attach(r->front, r->replica);
    replica_run(r->replica);
    process_end(p);
}

void replica_process_close(struct process *p)
{
    struct replica_parts *r = p->parts;
    simdisk_halt(p->disk);
    simstore_halt(p->store);
    if (r == NULL)
        return;
    replica_close(&r->replica);
    if (r->front != NULL)
        front_free(&r->front);
    directory_close(&r->directory);
    free(r);
    p->parts = NULL;
}

struct fsm *replica_process_fsm(const struct process *p)
{
    return p->parts != NULL ? p->parts->directory.fsm : NULL;
}

bool replica_process_leads(const struct process *p)
{
    return p->parts != NULL && p->parts->replica != NULL &&
           replica_state(p->parts->replica).engine.role == ENGINE_LEADER;
}
