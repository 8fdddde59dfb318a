/* snapshots.c: see snapshots.h. */
#include "tests/sim/snapshots.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "shard/snapshot/install.h"
#include "tests/sim/sim.h"

#define DIR "/replica"
#define MEDIUM DIR "/" INSTALL_MACHINE "/medium"
#define RECOVERING DIR "/recovering"
#define STEPS_MAX 12
#define TRIES_MAX 60

/* ---- whose machine is it ---- */

void snapshots_create(struct node *n)
{
    struct disk *d = simdisk_disk(n->disk);
    uint8_t which = 0;
    must(d->ops->make_dir(d, DIR "/" INSTALL_MACHINE) == 0 && d->ops->sync_dir(d, DIR) == 0);
    must(disk_replace(d, MEDIUM, slice_make(&which, 1)) == 0);
}

static int choose_medium(struct node *n)
{
    struct buf which = {0};
    int rc = disk_read_all(simdisk_disk(n->disk), MEDIUM, 1, &which);
    if (rc == 0) {
        must(which.size == 1 && which.data[0] < 2);
        n->medium = which.data[0];
        n->store = n->media[n->medium];
    }
    buf_deinit(&which);
    return rc;
}

const char *node_fsm_dir(const struct node *n)
{
    return n->fsm_dirs[n->medium];
}

bool snapshots_finish(struct node *n, bool *out_pending)
{
    struct install_record record;
    *out_pending = false;
    if (install_finish(simdisk_disk(n->disk), DIR, out_pending, &record) != 0)
        return false;
    return choose_medium(n) == 0;
}

/* ---- the pointer ---- */

static int write_token(struct node *n)
{
    struct arena arena = {0};
    struct fsm_info info;
    int rc = fsm_durable_info(n->fsm, &arena, &info);
    if (planted_bug("sim.token_ahead")) { /* what is applied, flushed or not */
        info.applied = fsm_info(n->fsm)->applied;
        info.members = fsm_info(n->fsm)->members;
    }
    struct token token = {.cluster = 1,
                          .group = 1,
                          .log_epoch = 1,
                          .index = info.applied.index,
                          .term = info.applied.term,
                          .ceiling = info.ceiling,
                          .members = info.members};
    if (rc == 0)
        rc = token_write(simdisk_disk(n->disk), DIR, &token);
    arena_deinit(&arena);
    if (rc != 0)
        return rc;
    node_look_durable(n);
    n->token_index = token.index;
    checks_see(n->sim,
               (struct check_event){.kind = CHECK_TOKEN, .node = n, .index = token.index, .other = n->durable.index});
    return 0;
}

void snapshots_publish(struct node *n)
{
    struct sim *sim = n->sim;
    if (n->fsm == NULL || sim->options.calm)
        return;
    if (!n->publishing) {
        if (n->machine.index < n->token_index + sim->faults.publish_entries)
            return;
        n->publishing = true;
        n->publish_at = n->machine.index;
        if (!planted_bug("sim.token_ahead")) {
            (void)!fsm_flush_begin(n->fsm);
            return;
        }
    }
    node_look_durable(n);
    if (n->durable.index < n->publish_at && !planted_bug("sim.token_ahead"))
        return;
    n->publishing = false;
    if (write_token(n) != 0 || n->token_index < sim->faults.trailing)
        return; /* no pointer, no cut */
    uint64_t trim = n->token_index - random_below(&n->random, sim->faults.trailing + 1);
    n->want_trim = trim > n->want_trim ? trim : n->want_trim;
}

/* ---- a stream ---- */

static void later(struct node *n, uint64_t us)
{
    sim_schedule(n->sim, (struct sim_event){.kind = EVENT_FETCH, .node = n->id, .version = ++n->fetch.version},
                 n->sim->now + us * 1000);
}

static uint64_t pace_us(struct node *n)
{
    return 100 + random_below(&n->random, random_below(&n->random, 6) == 0 ? 400000 : 4000);
}

void snapshots_need(struct node *n, uint32_t from, uint64_t index)
{
    struct fetch *f = &n->fetch;
    if (f->active || from == 0 || from == n->id)
        return;
    *f = (struct fetch){.active = true, .from = from, .min_index = index, .version = f->version};
    sim_trace(n->sim, n->id, "fetch", from, index, 0);
    later(n, pace_us(n));
}

/* A question and its answer come through. */
static bool reaches(struct node *n, const struct node *sender)
{
    const struct network *net = &n->sim->network;
    if (sender->state != NODE_UP || sender->fsm == NULL || sender->stopped_until > n->sim->now)
        return false;
    if (net->cut[n->id][sender->id] || net->cut[sender->id][n->id])
        return false;
    return random_below(&n->random, 1000) >= 2 * net->lost_permille;
}

/* The sender's checkpoint, whose own word for where it stands is the token. */
static bool begin_stream(struct node *n, struct node *sender)
{
    struct fetch *f = &n->fetch;
    struct arena arena = {0};
    struct fsm_info info;
    char where[256];
    const char *dir = n->fsm_dirs[1 - n->medium];
    bool good = fsm_checkpoint(sender->fsm, dir, where) == 0;
    if (good) {
        must(fsm_peek(dir, &arena, &info, where) == 0);
        f->index = info.applied.index;
        f->term = info.applied.term;
        node_look_durable(sender);
        sim_trace(n->sim, n->id, "stream", sender->id, f->index, f->min_index);
        good = f->index >= f->min_index;
    }
    arena_deinit(&arena);
    f->streaming = good;
    f->from_lives = sender->lives;
    f->left = 1 + (uint32_t)random_below(&n->random, STEPS_MAX);
    return good;
}

void snapshots_step(struct node *n, uint64_t version)
{
    struct fetch *f = &n->fetch;
    if (!f->active || f->version != version || n->state != NODE_UP)
        return;
    struct node *sender = &n->sim->nodes[f->from];
    if (++f->tries > TRIES_MAX) {
        f->active = false; /* a leader that needs it will say so again */
        return;
    }
    bool through = reaches(n, sender);
    if (through && f->streaming && f->from_lives != sender->lives)
        f->streaming = false; /* it was restarted: the stream begins anew */
    else if (through && !f->streaming)
        through = begin_stream(n, sender);
    else if (through && --f->left == 0) {
        f->arrived = true;
        if (planted_bug("sim.token_live")) { /* of the machine in use, not of the checkpoint */
            f->index = sender->machine.index;
            f->term = sender->machine.term;
        }
        node_wake(n, n->sim->now);
        return;
    }
    later(n, through ? pace_us(n) : 20000);
}

/* ---- the install ---- */

static int stage(struct node *n)
{
    struct stream_header header = {.version = 1, .token = {.cluster = 1, .group = 1, .log_epoch = 1}};
    struct staging *s = NULL;
    uint8_t which = (uint8_t)(1 - n->medium);
    header.token.index = n->fetch.index;
    header.token.term = n->fetch.term;
    header.token.members = n->ops->members(n->engine);
    int rc = staging_new(simdisk_disk(n->disk), DIR, &s);
    if (rc != 0)
        return rc;
    struct stream_sink sink = staging_sink(s);
    rc = sink.header(sink.ctx, &header);
    if (rc == 0)
        rc = sink.begin(sink.ctx, STREAM_FILE, "medium", 1);
    if (rc == 0)
        rc = sink.bytes(sink.ctx, slice_make(&which, 1));
    if (rc == 0)
        rc = sink.end(sink.ctx);
    if (rc == 0)
        rc = staging_sync(s);
    staging_free(&s);
    return rc;
}

bool snapshots_follow(struct node *n, uint64_t index, uint64_t term)
{
    int rc = n->ops->install(n->engine, index, term, fsm_info(n->fsm)->members);
    sim_trace(n->sim, n->id, "install", index, n->machine.index, (uint64_t)-rc);
    if (rc != 0) {
        if (rc != HF_E_IO && rc != HF_E_NO_SPACE)
            check_failed(n->sim, &check_snapshots, "replica %u: the log does not follow to %" PRIu64 ": %d", n->id,
                         index, rc);
        return false;
    }
    n->following = false;
    n->sim->result.installs++;
    checks_see(n->sim, (struct check_event){.kind = CHECK_INSTALLED,
                                            .node = n,
                                            .index = n->machine.index,
                                            .term = n->machine.term,
                                            .hash = index,
                                            .other = n->machine.chain});
    n->publishing = false;
    return write_token(n) == 0 && install_done(simdisk_disk(n->disk), DIR) == 0;
}

static bool useful(const struct node *n, const struct engine_status *status)
{
    if (n->fetch.index < status->first - 1 || status->role == ENGINE_LEADER)
        return false;
    return status->held || n->fetch.index > n->machine.index || planted_bug("native.install_back");
}

/* What it proposed long ago and waits for is not applied one by one any more: nobody learns what became of it. */
static void forget_proposals(struct node *n)
{
    for (size_t i = n->proposed_count; i-- > 0;)
        if (n->proposed[i].index <= n->machine.index)
            n->proposed[i] = n->proposed[--n->proposed_count];
}

bool snapshots_install(struct node *n)
{
    struct fetch f = n->fetch;
    struct engine_status status = n->ops->status(n->engine);
    if (!f.arrived)
        return true;
    if (!useful(n, &status)) { /* it caught up by its log meanwhile */
        sim_trace(n->sim, n->id, "too_late", f.index, n->machine.index, 0);
        n->fetch.active = n->fetch.arrived = false;
        return true;
    }
    if (!n->sim->options.calm && random_below(&n->random, 3) == 0) { /* at any operation of all this */
        n->death = random_below(&n->random, 2) == 0 ? DEATH_KILL : DEATH_POWER;
        simdisk_halt_after(n->disk, SIMDISK_CHANGES, random_below(&n->random, 60));
    }
    if (stage(n) != 0)
        return false;
    fsm_close(&n->fsm);
    struct install_record record = {
        .cluster = 1, .group = 1, .log_epoch = 1, .index = n->fetch.index, .term = n->fetch.term};
    if (install_exchange(simdisk_disk(n->disk), DIR, &record) != 0 || choose_medium(n) != 0)
        return false;
    n->fetch.active = n->fetch.arrived = false;
    n->machine_lost = false;
    n->following = true;
    node_open_fsm(n);
    if (n->fsm == NULL || !snapshots_follow(n, f.index, f.term))
        return false;
    forget_proposals(n);
    return true;
}

void snapshots_forget(struct node *n)
{
    n->fetch.active = n->fetch.arrived = false;
    n->fetch.version++;
    n->publishing = false;
}

/* ---- a damaged log (I13) ---- */

static int write_recovering(struct node *n, uint64_t number)
{
    return disk_replace(simdisk_disk(n->disk), RECOVERING, slice_make(&number, sizeof number));
}

void snapshots_read_recovering(struct node *n)
{
    struct buf number = {0};
    n->recovering = 0;
    if (disk_read_all(simdisk_disk(n->disk), RECOVERING, sizeof n->recovering, &number) == 0)
        memcpy(&n->recovering, number.data, sizeof n->recovering);
    buf_deinit(&number);
}

bool snapshots_rebuild_log(struct node *n)
{
    char where[256], quarantine[64];
    uint64_t number = (random_next(&n->random) | 2) & ~ENGINE_RECOVERING_FORGOT; /* term and vote are kept */
    uint64_t index = n->fsm != NULL ? n->machine.index : 0, term = n->fsm != NULL ? n->machine.term : 0;
    if (write_recovering(n, number) != 0)
        return false;
    n->recovering = number;
    n->rebuilding = true;
    snprintf(quarantine, sizeof quarantine, DIR "/quarantine-%" PRIu64, n->lives);
    struct engine_env env = node_environment(n);
    int rc = n->ops->rebuild(&env, quarantine, index, term, where);
    sim_trace(n->sim, n->id, "rebuild", index, term, (uint64_t)-rc);
    if (rc != 0) {
        if (rc != HF_E_IO)
            check_failed(n->sim, &check_recovery, "replica %u: its log is not rebuilt: %d %s", n->id, rc, where);
        return false;
    }
    n->rebuilding = n->damaged = false;
    n->lost_log = true;
    shadow_lose(&n->shadow, index, term);
    return true;
}

int snapshots_recovered(struct node *n)
{
    struct disk *d = simdisk_disk(n->disk);
    int rc = d->ops->remove(d, RECOVERING);
    if (rc == 0)
        rc = d->ops->sync_dir(d, DIR);
    if (rc == 0) {
        sim_trace(n->sim, n->id, "recovered", n->recovering, 0, 0);
        n->recovering = 0;
        n->lost_log = false;
    }
    return rc;
}
