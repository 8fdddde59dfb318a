/* epochs.c: see epochs.h. */
#include "tests/sim/world/epochs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/base/hashmap.h"
#include "common/sys/failpoint.h"
#include "proto/raft.pb-c.h"
#include "shard/log/log.h"
#include "shard/replica/swap.h"
#include "tests/sim/world/judge.h"
#include "tests/sim/world/process.h"

#define EPOCHS_MAX 256 /* of a shard in a run */

struct epoch { /* of one shard */
    bool sealed;
    uint64_t id, index, term, digest; /* of its seal; digest 0: only identities told of it so far */
    uint64_t aborted;                 /* highest id that somebody was told of, or holds */
    uint64_t applied;                 /* highest index that was applied in it */
};

struct epochs {
    struct epoch all[WORLD_SHARDS + 1][EPOCHS_MAX];
    uint32_t of[WORLD_PROCESSES];  /* highest that each was in */
    struct hashmap votes, leaders; /* by process or shard, epoch, term: 1 + replica */
};

struct epochs *epochs_new(void)
{
    struct epochs *e = calloc(1, sizeof *e);
    must(e != NULL);
    return e;
}

void epochs_free(struct epochs **e)
{
    if (*e == NULL)
        return;
    hashmap_deinit(&(*e)->votes);
    hashmap_deinit(&(*e)->leaders);
    free(*e);
    *e = NULL;
}

static struct epoch *find(struct world *w, uint32_t shard, uint32_t epoch)
{
    must(epoch < EPOCHS_MAX);
    return &w->epochs->all[shard][epoch];
}

/* ---- seals and aborts ---- */

static void check_aborted(struct world *w, uint32_t shard, uint32_t epoch)
{
    const struct epoch *e = find(w, shard, epoch);
    if (e->sealed && e->id <= e->aborted)
        world_failed(w, "aborted",
                     "shard %" PRIu32 " epoch %" PRIu32 ": migration %" PRIu64 " is sealed, and all up to %" PRIu64
                     " are aborted",
                     shard, epoch, e->id, e->aborted);
}

/* `digest` 0: whoever tells does not know it. */
static void note_seal(struct world *w, uint32_t process, uint32_t epoch, const struct epoch *seal)
{
    uint32_t shard = w->processes[process]->shard;
    struct epoch *e = find(w, shard, epoch);
    bool same = e->id == seal->id && e->index == seal->index && e->term == seal->term;
    if (e->sealed && e->digest != 0 && seal->digest != 0)
        same = same && e->digest == seal->digest;
    if (e->sealed && !same)
        world_failed(w, "epochs",
                     "replica %" PRIu32 "/%" PRIu32 " holds a seal of epoch %" PRIu32 " at %" PRIu64 ":%" PRIu64
                     " (%" PRIu64 "), others one at %" PRIu64 ":%" PRIu64 " (%" PRIu64 ")",
                     shard, w->processes[process]->id, epoch, seal->index, seal->term, seal->id, e->index, e->term,
                     e->id);
    if (!e->sealed) {
        world_trace(w, process, "sealed", epoch, seal->index);
        w->result.seals++;
        *e = (struct epoch){true, seal->id, seal->index, seal->term, seal->digest, e->aborted, e->applied};
    }
    if (e->digest == 0)
        e->digest = seal->digest;
    check_aborted(w, shard, epoch);
}

void epochs_told_aborted(struct world *w, uint32_t shard, uint32_t epoch, uint64_t id)
{
    struct epoch *e = find(w, shard, epoch);
    if (id <= e->aborted)
        return;
    e->aborted = id;
    w->result.aborts++;
    check_aborted(w, shard, epoch);
}

void epochs_told_sealed(struct world *w, uint32_t shard, uint32_t epoch, uint64_t id)
{
    const struct epoch *e = find(w, shard, epoch);
    if (!e->sealed || e->id != id)
        world_failed(w, "aborted",
                     "shard %" PRIu32 " epoch %" PRIu32 ": somebody was told that migration %" PRIu64
                     " is sealed, and no replica holds that",
                     shard, epoch, id);
}

/* ---- states and identities ---- */

static void look_at_state(struct world *w, uint32_t process, const struct fsm_info *info)
{
    const struct fsm_migration *m = &info->migration;
    const struct process *p = w->processes[process];
    struct epoch *e = find(w, p->shard, info->applied.epoch);
    if (m->state == FSM_MIGRATION_SEALED) {
        struct epoch seal = {.id = m->id, .index = m->index, .term = m->term};
        memcpy(&seal.digest, m->digest, sizeof seal.digest);
        seal.digest |= 1;
        note_seal(w, process, m->epoch, &seal);
    }
    if (m->aborted_epoch != 0)
        epochs_told_aborted(w, p->shard, m->aborted_epoch, m->aborted);
    if (info->applied.index > e->applied)
        e->applied = info->applied.index;
    if (e->sealed && e->applied > e->index)
        world_failed(w, "epochs",
                     "shard %" PRIu32 ": %" PRIu64 " was applied in epoch %" PRIu32 ", which is sealed at %" PRIu64
                     " (replica %" PRIu32 ")",
                     p->shard, e->applied, info->applied.epoch, e->index, p->id);
}

static void look_at_identity(struct world *w, uint32_t process, const struct identity *id)
{
    const struct process *p = w->processes[process];
    if (id->log_epoch < w->epochs->of[process])
        world_failed(w, "epochs", "replica %" PRIu32 "/%" PRIu32 " goes back from epoch %" PRIu32 " to %" PRIu32,
                     p->shard, p->id, w->epochs->of[process], id->log_epoch);
    w->epochs->of[process] = id->log_epoch;
    if (id->left.epoch == 0)
        return;
    struct epoch seal = {.id = id->left.migration, .index = id->left.index, .term = id->left.term};
    note_seal(w, process, id->left.epoch, &seal);
    if (id->left.epoch + 1 != id->log_epoch)
        world_failed(w, "epochs", "replica %" PRIu32 "/%" PRIu32 " is in epoch %" PRIu32 " and left %" PRIu32, p->shard,
                     p->id, id->log_epoch, id->left.epoch);
}

void epochs_look(struct world *w, uint32_t process, const struct fsm_info *info, const struct identity *id)
{
    if (!w->migrates)
        return;
    if (info != NULL)
        look_at_state(w, process, info);
    look_at_identity(w, process, id);
}

bool epochs_level(const struct world *w)
{
    for (uint32_t s = 1; s <= WORLD_SHARDS; s++) {
        const struct identity *first = replica_process_identity(w->processes[world_replica(s, 1)]);
        for (uint32_t r = 1; r <= WORLD_REPLICAS; r++) {
            const struct identity *id = replica_process_identity(w->processes[world_replica(s, r)]);
            if (id == NULL || first == NULL || id->log_epoch != first->log_epoch ||
                strcmp(id->engine, first->engine) != 0)
                return false;
        }
    }
    return true;
}

/* ---- messages ---- */

static uint64_t key_of(uint32_t who, uint32_t epoch, uint64_t term)
{
    must(epoch < EPOCHS_MAX && term < UINT64_C(1) << 40);
    return ((uint64_t)who << 8 | epoch) << 40 | term;
}

/* true: it was another one before. */
static bool differs(struct hashmap *map, uint64_t key, uint32_t replica)
{
    uintptr_t was = (uintptr_t)hashmap_put(map, key, (void *)(uintptr_t)(1 + replica));
    return was != 0 && was != 1 + replica;
}

void epochs_sent(struct world *w, uint32_t process, struct slice frame)
{
    const struct process *p = w->processes[process];
    Hf__Raft__Envelope *e = hf__raft__envelope__unpack(NULL, frame.size, frame.data);
    must(e != NULL);
    const Hf__Raft__Raft *m = e->body_case == HF__RAFT__ENVELOPE__BODY_RAFT ? e->raft : NULL;
    bool all = planted_bug("sim.refused_vote_seen"); /* as if each were granted, and won */
    if (m != NULL && m->kind == HF__RAFT__KIND__VOTE_REPLY && (!m->reject || all) &&
        differs(&w->epochs->votes, key_of(process, e->log_epoch, m->term), e->to))
        world_failed(w, "world.votes", "replica %" PRIu32 "/%" PRIu32 " votes twice in epoch %" PRIu32 " term %" PRIu64,
                     p->shard, p->id, e->log_epoch, m->term);
    bool leads = m != NULL && (m->kind == HF__RAFT__KIND__APPEND || m->kind == HF__RAFT__KIND__SNAPSHOT ||
                               (m->kind == HF__RAFT__KIND__VOTE && all));
    if (leads && differs(&w->epochs->leaders, key_of(p->shard, e->log_epoch, m->term), p->id))
        world_failed(w, "world.leaders",
                     "shard %" PRIu32 " has two leaders in epoch %" PRIu32 " term %" PRIu64 ", one is %" PRIu32,
                     p->shard, e->log_epoch, m->term, p->id);
    hf__raft__envelope__free_unpacked(e, NULL);
}

/* ---- swaps, led here by the linker's --wrap ---- */

int __real_swap_directory(struct disk *disk, const char *dir, uint64_t segment_bytes, const struct fsm_info *info,
                          struct identity *id);
int __wrap_swap_directory(struct disk *disk, const char *dir, uint64_t segment_bytes, const struct fsm_info *info,
                          struct identity *id);
int __real_log_create(const struct log_config *config, uint64_t index, uint64_t term);
int __wrap_log_create(const struct log_config *config, uint64_t index, uint64_t term);

/* It stands still here, or dies at any operation of what follows. */
static void trouble(struct process *p, bool runs)
{
    struct world *w = p->world;
    if (w->swap_halt != 0 && !p->swap_halted) {
        p->swap_halted = true;
        p->death = DEATH_POWER;
        simdisk_halt_after(p->disk, SIMDISK_CHANGES, w->swap_halt - 1);
    }
    if (w->healing || w->options.calm)
        return;
    if (runs && world_below(w, 6) == 0)
        process_stand_still(p, world_below(w, world_below(w, 2) == 0 ? 20 : 1500) * SIM_MS);
    if (world_below(w, 3) != 0)
        return;
    p->death = w->power && world_below(w, 2) == 0 ? DEATH_POWER : DEATH_KILL;
    simdisk_halt_after(p->disk, SIMDISK_CHANGES, world_below(w, 40));
    p->damage_next = world_below(w, 4) == 0;
}

int __wrap_swap_directory(struct disk *disk, const char *dir, uint64_t segment_bytes, const struct fsm_info *info,
                          struct identity *id)
{
    struct process *p = world_now->current;
    uint32_t epoch = id->log_epoch;
    bool runs = replica_process_opened(p), fetched = info->applied.epoch > epoch;
    trouble(p, runs);
    int rc = __real_swap_directory(disk, dir, segment_bytes, info, id);
    if (id->log_epoch == epoch)
        return rc;
    judge_installs(p->world, p->number, info->applied.index);
    p->crossed = true;
    world_trace(p->world, p->number, "crossed", id->log_epoch, info->applied.index);
    *(fetched ? &p->world->result.crossed_installed
      : runs  ? &p->world->result.crossed_running
              : &p->world->result.crossed_starting) += 1;
    return rc;
}

/* Once identity names it, votes may be in it. */
int __wrap_log_create(const struct log_config *config, uint64_t index, uint64_t term)
{
    struct process *p = world_now != NULL ? world_now->current : NULL;
    struct identity id;
    const char *dash = strrchr(config->dir, '-');
    if (p != NULL && p->shard != 0 && dash != NULL && identity_read(simdisk_disk(p->disk), PROCESS_DIR, &id) == HF_OK &&
        id.log_epoch >= strtoul(dash + 1, NULL, 10))
        world_failed(p->world, "epochs", "replica %" PRIu32 "/%" PRIu32 " makes log %s in epoch %" PRIu32, p->shard,
                     p->id, config->dir, id.log_epoch);
    return __real_log_create(config, index, term);
}
