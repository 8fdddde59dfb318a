/* directory_open.c: opening the state machine and the engine of a member's directory, and what is done when they cannot be:
 * put aside what is damaged, go on with what is not (cold_start.h decides). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/digest.h"
#include "common/sys/failpoint.h"
#include "shard/replica/aside.h"
#include "shard/replica/directory.h"
#include "shard/replica/keep.h"

#define HEARTBEAT_MS_GUESS 100u
#define ELECTION_MS_GUESS (10u * 60 * 1000) /* the longest there is: a vote too early could break a read lease */

/* ---- before the machine ---- */

static void check_peers(struct directory *d)
{
    int rc = peers_read(d->config.disk, d->config.dir, &d->peers);
    if (rc)
        refuse("%s/peers cannot be read: %s; bring the file back or replace this replica", d->config.dir,
               error_text(rc));
    const Hf__Catalog__Member *self = directory_member(d->peers, d->id.replica);
    if (!self || self->incarnation != d->id.incarnation)
        refuse("%s/peers does not list replica %u/%u with incarnation %016" PRIx64
               "; this directory is not the member's own",
               d->config.dir, d->id.group, d->id.replica, d->id.incarnation);
    if (strcmp(self->raft_endpoint, d->config.raft_endpoint) != 0)
        refuse("%s/peers gives replica %u/%u the raft endpoint %s, not %s; start it with --raft-endpoint %s",
               d->config.dir, d->id.group, d->id.replica, self->raft_endpoint, d->config.raft_endpoint,
               self->raft_endpoint);
    if (strcmp(self->client_endpoint, d->config.client_endpoint) != 0)
        refuse("%s/peers gives replica %u/%u the client endpoint %s, not %s; start it with --client-endpoint %s",
               d->config.dir, d->id.group, d->id.replica, self->client_endpoint, d->config.client_endpoint,
               self->client_endpoint);
}

static bool ours(const struct directory *d, uint64_t cluster, uint32_t group, uint32_t log_epoch)
{
    return cluster == d->id.cluster && group == d->id.group && log_epoch == d->id.log_epoch;
}

/* The record is not used where it is damaged. As long as a machine that was put in place is not followed by its log, it
 * still tells that much, and goes when that is done; otherwise it is put aside. */
static void damaged_record(struct directory *d)
{
    struct disk *disk = d->config.disk;
    struct install_record record;
    char staged[DIRECTORY_PATH_BYTES];
    bool placed = false;
    if (install_read(disk, d->config.dir, &record) != HF_E_CORRUPT)
        return;
    directory_path(d, INSTALL_MACHINE "/" INSTALL_STAGED, staged);
    int rc = disk->ops->exists(disk, staged, &placed);
    if (rc)
        refuse("%s: %s; %s", staged, disk_error_text(rc), directory_advice(rc));
    if (placed)
        diag(DIAG_WARN, "%s/" INSTALL_NAME " is damaged and not used: the state that was put in place says what it is",
             d->config.dir);
    else
        aside_put(d, INSTALL_NAME, "install", "it is damaged, and no state was being put in place");
}

static void finish_install(struct directory *d)
{
    damaged_record(d);
    int rc = install_finish(d->config.disk, d->config.dir, &d->install_pending, &d->install);
    if (rc == HF_E_CORRUPT) /* the record is lost; the machine says what it is */
        d->install_pending = true;
    else if (rc)
        refuse("an install in %s that was under way can neither be finished nor undone: %s; %s", d->config.dir,
               disk_error_text(rc), directory_advice(rc));
    bool later = d->install.log_epoch > d->id.log_epoch; /* it was fetched from who went on in a later epoch */
    bool left =
        d->id.left.epoch != 0 && d->install.log_epoch == d->id.left.epoch; /* and the directory went over behind it */
    uint32_t epoch = later || left ? d->id.log_epoch : d->install.log_epoch;
    if (rc == HF_OK && d->install_pending && !ours(d, d->install.cluster, d->install.group, epoch))
        refuse("%s/INSTALL is of cluster %016" PRIx64 " shard %u log epoch %u; it was copied from elsewhere",
               d->config.dir, d->install.cluster, d->install.group, d->install.log_epoch);
    if (rc == HF_OK && d->install_pending && left)
        directory_end_install(d);
}

/* A pointer that cannot be read says nothing; the machine knows by itself where it stands (I4: not before it). */
static void read_token(struct directory *d)
{
    int rc = token_read(d->config.disk, d->config.dir, &d->token_arena, &d->token);
    if (rc == HF_E_FORMAT || rc == HF_E_IO)
        refuse("%s/" TOKEN_DIR "/" TOKEN_NAME " cannot be read: %s; %s", d->config.dir, disk_error_text(rc),
               directory_advice(rc));
    d->facts.token = rc == HF_OK && ours(d, d->token.cluster, d->token.group, d->token.log_epoch);
    if (d->facts.token) {
        d->facts.snapshot = d->token.index;
        d->facts.snapshot_term = d->token.term;
    } else if (rc != HF_E_ABSENT) {
        diag(DIAG_WARN, "%s/" TOKEN_DIR "/" TOKEN_NAME " is not used: %s", d->config.dir,
             rc ? error_text(rc) : "it is of another log");
    }
}

/* ---- the machine ---- */

int directory_note_times(struct directory *d)
{
    const struct fsm_info *info = fsm_info(d->fsm);
    if (d->id.heartbeat_ms == info->heartbeat_ms && d->id.election_ms == info->election_ms)
        return HF_OK;
    struct identity id = d->id;
    id.heartbeat_ms = info->heartbeat_ms;
    id.election_ms = info->election_ms;
    int rc = identity_write(d->config.disk, d->config.dir, &id);
    if (!rc)
        d->id = id;
    return rc;
}

static void look_at_fsm(struct directory *d)
{
    struct cold_facts *f = &d->facts;
    f->fsm_code = fsm_open(&d->config.fsm, &d->fsm, d->where);
    if (f->fsm_code == HF_E_FORMAT)
        refuse("%s needs a newer program: %s", d->fsm_dir, d->where);
    if (f->fsm_code != HF_OK && f->fsm_code != HF_E_ABSENT && f->fsm_code != HF_E_INVALID &&
        f->fsm_code != HF_E_CORRUPT) /* trouble that may pass is no damage */
        refuse("%s cannot be opened: %s: %s; %s", d->fsm_dir, error_text(f->fsm_code), d->where,
               directory_advice(f->fsm_code));
    if (f->fsm_code == HF_OK && !d->install_pending && aside_marked(d)) { /* the mark is of the machine before it */
        snprintf(d->where, sizeof d->where, "it was found to be damaged while it ran");
        f->fsm_code = HF_E_CORRUPT;
        fsm_close(&d->fsm);
    }
    if (f->fsm_code != HF_OK)
        return;
    const struct fsm_info *info = fsm_info(d->fsm);
    directory_enter_epoch(d);
    f->applied = info->applied.index;
    f->applied_term = info->applied.term;
    while (directory_epoch_ends(d))
        directory_leave_epoch(d);
    f->fsm_foreign = !ours(d, info->cluster, info->group, info->applied.epoch);
    if (!f->fsm_foreign) {
        int rc = directory_note_times(d);
        if (rc)
            refuse("cannot write identity in %s: %s; the directory must be writable", d->config.dir,
                   disk_error_text(rc));
        return;
    }
    snprintf(d->where, sizeof d->where,
             "it is of cluster %016" PRIx64 " shard %u log epoch %u, one of them was copied from elsewhere",
             info->cluster, info->group, info->applied.epoch);
    fsm_close(&d->fsm);
}

static bool is_voter(const struct directory *d)
{
    const Hf__Catalog__Members *members = directory_members(d);
    for (size_t i = 0; i < members->n_members; i++)
        if (members->members[i]->replica == d->id.replica)
            return members->members[i]->role == HF__CATALOG__ROLE__VOTER;
    return false;
}

static uint32_t other_voters(const struct directory *d)
{
    const Hf__Catalog__Members *members = directory_members(d);
    uint32_t count = 0;
    for (size_t i = 0; i < members->n_members; i++)
        count += members->members[i]->role == HF__CATALOG__ROLE__VOTER && members->members[i]->replica != d->id.replica;
    return count;
}

void directory_open_fsm(struct directory *d)
{
    must(!directory_fresh(d) && !d->fsm);
    uint64_t from = clock_boot_ns();
    cold_start_begin(from);
    d->facts = (struct cold_facts){.force_restore = d->config.force_restore};
    check_peers(d);
    finish_install(d);
    read_token(d);
    look_at_fsm(d);
    d->facts.healers = other_voters(d);
    cold_start_phase(COLD_PHASE_FSM, clock_boot_ns() - from);
}

const Hf__Catalog__Members *directory_members(const struct directory *d)
{
    return d->fsm ? fsm_info(d->fsm)->members : d->facts.token ? d->token.members : d->peers;
}

/* ---- the engine ---- */

/* Behind the machine that is open; without one it is held. */
static void fill_state(const struct directory *d, struct engine_env *env)
{
    const struct fsm_info *info = d->fsm ? fsm_info(d->fsm) : NULL;
    env->held = info == NULL || d->install_pending;
    env->applied = info ? info->applied.index : d->facts.snapshot;
    env->applied_term = info ? info->applied.term : d->facts.snapshot_term;
    env->members = directory_members(d);
    env->recovering = d->id.recovering;
    env->heartbeat_ms = d->id.heartbeat_ms ? d->id.heartbeat_ms : HEARTBEAT_MS_GUESS;
    env->election_ms = d->id.election_ms ? d->id.election_ms : ELECTION_MS_GUESS;
}

void directory_fill_env(struct directory *d, struct engine_env *env)
{
    env->disk = d->config.disk;
    env->dir = d->config.dir;
    env->group = d->id.group;
    env->replica = d->id.replica;
    env->log_epoch = d->id.log_epoch;
    env->segment_bytes = d->config.segment_bytes;
    env->seed = digest_random_u64();
    env->now_ns = clock_boot_ns();
    fill_state(d, env);
}

static int open_engine(struct directory *d, struct engine_env *env, char where[256])
{
    fill_state(d, env);
    d->found = (struct engine_found){.snapshot = d->facts.snapshot};
    env->found = &d->found;
    int rc = d->ops->open(env, &d->engine, where);
    env->found = NULL; /* it is d's, and only of opening */
    return rc;
}

HF_NORETURN static void refuse_log(const struct directory *d, int rc, const char *where)
{
    refuse("the raft log of %s cannot be opened: %s: %s; %s", d->config.dir, error_text(rc), where,
           directory_advice(rc));
}

static void must_open(struct directory *d, struct engine_env *env)
{
    char where[256] = "";
    int rc = open_engine(d, env, where);
    if (rc)
        refuse_log(d, rc, where);
}

static int write_token(struct directory *d)
{
    struct token token = token_from(fsm_info(d->fsm));
    int rc = token_write(d->config.disk, d->config.dir, &token);
    if (rc)
        return rc;
    d->facts.token = true;
    d->facts.snapshot = token.index;
    d->facts.snapshot_term = token.term;
    arena_reset(&d->token_arena);
    return token_read(d->config.disk, d->config.dir, &d->token_arena, &d->token);
}

int directory_follow_install(struct directory *d)
{
    const struct fsm_info *info = fsm_info(d->fsm);
    int rc = d->ops->install(d->engine, info->applied.index, info->applied.term, info->members);
    if (!rc)
        rc = directory_note_times(d);
    if (!rc) {
        d->ops->set_times(d->engine, info->heartbeat_ms, info->election_ms);
        rc = write_token(d);
    }
    if (rc)
        return rc;
    aside_unmark(d); /* while INSTALL says that this machine is another */
    return install_done(d->config.disk, d->config.dir);
}

/* The process ended between putting a machine in place and telling the log. A log that was damaged since stays pending: it
 * is begun again behind the machine, and then told. */
static void finish_pending(struct directory *d, struct engine_env *env)
{
    if (!d->fsm) { /* what was put in place does not open: as any damaged machine */
        directory_end_install(d);
        return;
    }
    char where[256] = "";
    int rc = open_engine(d, env, where);
    if (rc == HF_E_CORRUPT)
        return;
    if (rc)
        refuse_log(d, rc, where);
    rc = directory_follow_install(d);
    if (rc)
        refuse("the log of %s cannot follow the state machine that was installed at index %" PRIu64 ": %s; %s",
               d->config.dir, d->install.index, error_text(rc), directory_advice(rc));
    d->install_pending = false;
    d->ops->close(&d->engine);
    diag(DIAG_INFO, "an install that was interrupted is finished index=%" PRIu64, d->install.index);
}

/* ---- putting aside ---- */

static void machine_aside(struct directory *d)
{
    fsm_close(&d->fsm);
    if (aside_put(d, "fsm", "fsm", d->where[0] ? d->where : cold_state_name(d->cold.state)))
        aside_unmark(d);
    snprintf(d->trouble, sizeof d->trouble, "state machine %s, it is fetched from another replica",
             cold_state_name(d->cold.state));
}

/* ---- acting ---- */

/* The log's term at `index`; 0: it does not hold it. */
static uint64_t log_term_at(struct directory *d, struct engine_env *env, uint64_t index)
{
    uint64_t snapshot = d->facts.snapshot;
    d->facts.snapshot = index;
    must_open(d, env);
    d->facts.snapshot = snapshot;
    d->ops->close(&d->engine);
    return d->found.snapshot_term;
}

/* The newest local stream that is whole, and that the log goes on from. */
static bool restore_local(struct directory *d, struct engine_env *env)
{
    struct disk *disk = d->config.disk;
    char where[256] = "";
    uint64_t below = d->found.last + 1, first = d->found.first, term = 0;
    for (uint64_t index; (index = keep_find(disk, d->config.dir, &d->id, first, below, &term)) != 0; below = index) {
        if (log_term_at(d, env, index) != term) /* I5 */
            continue;
        int rc = keep_stage(disk, d->config.dir, index, where);
        if (rc) {
            diag(DIAG_WARN, "a local stream is not used: %s: %s", error_text(rc), where);
            continue;
        }
        struct install_record record = {d->id.cluster, d->id.group, d->id.log_epoch, index, term};
        rc = install_exchange(disk, d->config.dir, &record);
        if (!rc)
            rc = fsm_open(&d->config.fsm, &d->fsm, where);
        if (rc)
            refuse("the state of index=%" PRIu64 " cannot be put in place in %s: %s %s; %s", index, d->config.dir,
                   error_text(rc), where, directory_advice(rc));
        d->install = record;
        d->install_pending = true;
        finish_pending(d, env);
        must_open(d, env);
        diag(DIAG_INFO, "restored from a local stream index=%" PRIu64, index);
        return true;
    }
    return false;
}

static void restore(struct directory *d, struct engine_env *env)
{
    bool old = d->cold.state == COLD_BEHIND_GAP || d->cold.state == COLD_AHEAD || d->cold.state == COLD_EQUAL ||
               d->cold.state == COLD_BEHIND_COVERED; /* nothing is wrong with it: it stays until it is replaced */
    if (d->engine)
        d->ops->close(&d->engine);
    if (old) {
        fsm_close(&d->fsm);
        snprintf(d->trouble, sizeof d->trouble, "state machine %s, it is fetched from another replica", d->cold.reason);
    } else {
        machine_aside(d);
    }
    uint64_t from = clock_boot_ns();
    if (d->facts.local_stream && restore_local(d, env)) {
        d->trouble[0] = 0;
        cold_start_phase(COLD_PHASE_RESTORE, clock_boot_ns() - from);
        return;
    }
    if (d->facts.healers == 0)
        refuse(
            "%s cannot be used, %s: %s, and no local stream is whole; restore the group with holdfast backup restore",
            d->fsm_dir, cold_state_name(d->cold.state), d->where);
    must_open(d, env);
}

/* I13. The number that says so is durable before anything of the log is gone. */
static void rebuild_log(struct directory *d, struct engine_env *env, const char *why)
{
    struct disk *disk = d->config.disk;
    char to[DIRECTORY_PATH_BYTES], where[256] = "";
    bool usable = d->facts.fsm_code == HF_OK && !d->facts.fsm_foreign;
    if (d->engine)
        d->ops->close(&d->engine);
    struct identity id = d->id;
    bool forgot = (id.recovering & ENGINE_RECOVERING_FORGOT) != 0; /* and that stays so */
    id.recovering = directory_recovering(forgot);
    int rc = identity_write(disk, d->config.dir, &id);
    if (rc)
        refuse("cannot write identity in %s: %s; the directory must be writable", d->config.dir, disk_error_text(rc));
    d->id = id;
    crash_point("cold.after_recovering");
    if (d->facts.token &&
        (!usable || d->facts.snapshot > d->facts.applied)) { /* a log that begins below it would be short */
        aside_put(d, TOKEN_DIR "/" TOKEN_NAME, "token", "it points behind what is left");
        d->facts.token = false;
        d->facts.snapshot = d->facts.snapshot_term = 0;
    }
    if (!usable)
        machine_aside(d);
    aside_name(d, "log", to);
    env->recovering = id.recovering;
    env->applied = usable ? d->facts.applied : 0;
    env->applied_term = usable ? d->facts.applied_term : 0;
    env->members = directory_members(d);
    rc = d->ops->rebuild(env, to, env->applied, env->applied_term, where);
    if (rc)
        refuse("the raft log of %s is damaged and cannot be begun again: %s: %s; %s", d->config.dir, error_text(rc),
               where, directory_advice(rc));
    aside_sync(d);
    crash_point("cold.after_rebuild");
    diag(DIAG_WARN, "put aside %s: %s", to, why);
    snprintf(d->trouble, sizeof d->trouble, "raft log damaged, it is fetched from another replica%s",
             usable ? "" : ", the state machine too");
    if (d->install_pending)
        finish_pending(d, env);
    must_open(d, env);
}

static void fill_facts(struct directory *d)
{
    struct cold_facts *f = &d->facts;
    f->log_code = d->found.log_code;
    f->first = d->found.first;
    f->last = d->found.last;
    f->log_applied_term = d->fsm ? d->found.applied_term : 0;
    f->log_snapshot_term = d->found.snapshot_term;
}

static void classify(struct directory *d, int open_rc)
{
    fill_facts(d);
    d->cold = cold_start_classify(&d->facts);
    bool goes_on = d->cold.action == COLD_SKIP || d->cold.action == COLD_REPLAY;
    if (open_rc == HF_OK || !goes_on)
        return;
    d->facts.log_code = HF_E_CORRUPT; /* its frames are whole, what they hold is not */
    d->cold = cold_start_classify(&d->facts);
}

static void act(struct directory *d, struct engine_env *env, const char *where)
{
    const char *why = where[0] ? where : d->where[0] ? d->where : "it ends below what was published";
    switch (d->cold.action) {
    case COLD_START_FRESH:
    case COLD_SKIP:
    case COLD_REPLAY:
        break;
    case COLD_RESTORE:
        restore(d, env);
        break;
    case COLD_REBUILD_LOG:
        rebuild_log(d, env, why);
        break;
    case COLD_REFUSE:
        refuse("%s cannot be used, %s: %s; no other voter can heal it: bring the directory back, or restore the group "
               "with holdfast backup restore",
               d->cold.state == COLD_CORRUPT_LOG ? d->config.dir : d->fsm_dir, cold_state_name(d->cold.state), why);
    }
}

void directory_open_engine(struct directory *d, struct engine_env *env)
{
    uint64_t from = clock_boot_ns();
    directory_fill_env(d, env);
    env->unused = planted_bug("directory.always_unused");
    if (d->install_pending)
        finish_pending(d, env);
    char where[256] = "";
    int rc = open_engine(d, env, where);
    if (rc && rc != HF_E_CORRUPT)
        refuse_log(d, rc, where);
    classify(d, rc);
    if (d->cold.action == COLD_RESTORE || d->cold.action == COLD_REFUSE || d->facts.force_restore) {
        uint64_t term;
        bool distrusted = aside_marked(d) && d->facts.healers > 0; /* what was kept of it may be no better than it is */
        d->facts.local_stream = !distrusted && keep_find(d->config.disk, d->config.dir, &d->id, d->found.first,
                                                         d->found.last + 1, &term) != 0;
        classify(d, rc);
    }
    cold_start_report(&d->cold, &d->facts);
    cold_start_phase(COLD_PHASE_LOG, clock_boot_ns() - from);
    act(d, env, where);
    if (d->id.recovering && !d->trouble[0])
        snprintf(d->trouble, sizeof d->trouble, "%s, it is fetched from another replica",
                 d->id.recovering & ENGINE_RECOVERING_FORGOT ? "raft log, term and vote were lost"
                                                             : "raft log was damaged");
}

/* ---- later ---- */

void directory_healed(struct directory *d)
{
    if (!d->id.recovering)
        d->trouble[0] = 0;
}

int directory_recovered(struct directory *d)
{
    struct identity id = d->id;
    id.recovering = 0;
    int rc = identity_write(d->config.disk, d->config.dir, &id);
    if (rc)
        return rc;
    d->id = id;
    if (d->fsm)
        d->trouble[0] = 0;
    diag(DIAG_INFO, "the raft log holds again what it lost; this %s again",
         is_voter(d) ? "replica votes" : "learner, which has no vote, is whole");
    return HF_OK;
}
