/* damage.c: see damage.h. */
#include "tests/sim/world/damage.h"

#include <stdio.h>

#include "shard/replica/swap.h"
#include "shard/snapshot/install.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/process.h"

#define MACHINE PROCESS_DIR "/" INSTALL_MACHINE
#define HEADER_BYTES 4096 /* of a segment: damage there is no torn tail */

#define PATH_BYTES 128

struct segments {
    struct random *random;
    uint64_t seen;
    char name[PATH_BYTES]; /* one of them */
};

static void note(void *ctx, const char *name)
{
    struct segments *s = ctx;
    if (strncmp(name, "seg-", 4) == 0 && random_below(s->random, ++s->seen) == 0)
        snprintf(s->name, sizeof s->name, "%.64s", name);
}

/* Of the log that identity names: in its place, or still where a swap made it. */
static void log_folder(struct process *p, char folder[PATH_BYTES])
{
    struct disk *d = simdisk_disk(p->disk);
    struct identity id;
    bool there = false;
    must(identity_read(d, PROCESS_DIR, &id) == 0);
    snprintf(folder, PATH_BYTES, PROCESS_DIR "/%s-%u", id.engine, id.log_epoch);
    must(d->ops->exists(d, folder, &there) == 0);
    if (!there)
        snprintf(folder, PATH_BYTES, PROCESS_DIR "/" SWAP_FOLDER "/%s-%u", id.engine, id.log_epoch);
}

static void flip(struct process *p)
{
    struct disk *d = simdisk_disk(p->disk);
    struct segments s = {.random = &p->random};
    char folder[PATH_BYTES], path[2 * PATH_BYTES + 2];
    log_folder(p, folder);
    must(d->ops->list(d, folder, note, &s) == 0);
    snprintf(path, sizeof path, "%s/%s", folder, s.name);
    if (s.seen > 0)
        must(simdisk_flip(p->disk, path, random_below(&p->random, HEADER_BYTES),
                          (unsigned)random_below(&p->random, 8)) == 0);
}

static void lose_machine(struct process *p)
{
    struct disk *d = simdisk_disk(p->disk);
    if (random_below(&p->random, 2) == 0)
        simstore_damage(p->store);
    else
        must(disk_remove_tree(d, MACHINE) == 0 && d->ops->sync_dir(d, PROCESS_DIR) == 0);
    judge_lost(p->world, p->number);
}

/* A running one finds out when it reads; nothing is lost. */
static void misread(struct process *p)
{
    simstore_misread(p->store, 1 + random_below(&p->random, 3));
    p->damaged = true;
}

static bool all_whole(const struct world *w, uint32_t shard)
{
    for (uint32_t r = 1; r <= WORLD_REPLICAS; r++)
        if (w->processes[world_replica(shard, r)]->damaged)
            return false;
    return true;
}

static void destroy(struct process *p, uint64_t what)
{
    world_trace(p->world, p->number, "damage", what, 0);
    p->damaged = true;
    if (what < 2 || what == 3)
        flip(p);
    if (what >= 2)
        lose_machine(p);
}

void damage_some(struct world *w)
{
    struct process *p = w->processes[1 + world_below(w, WORLD_SHARDS * WORLD_REPLICAS)];
    uint64_t what = world_below(w, 5);
    if (!all_whole(w, p->shard))
        return;
    if (what == 4) {
        world_trace(w, p->number, "misread", 0, 0);
        misread(p);
        return;
    }
    process_die(p, w->power && world_below(w, 2) == 0 ? DEATH_POWER : DEATH_KILL);
    destroy(p, what);
}

void damage_dead(struct process *p)
{
    struct world *w = p->world;
    if (w->damages && !w->healing && all_whole(w, p->shard))
        destroy(p, world_below(w, 4));
}
