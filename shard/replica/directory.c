/* directory.c: see directory.h. */
#include "shard/replica/directory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/digest.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "shard/replica/detect.h"
#include "shard/replica/swap.h"

void directory_path(const struct directory *d, const char *name, char out[DIRECTORY_PATH_BYTES])
{
    int n = snprintf(out, DIRECTORY_PATH_BYTES, "%s/%s", d->config.dir, name);
    must(n > 0 && n < DIRECTORY_PATH_BYTES); /* the length of --dir is checked when the options are read */
}

const char *directory_advice(int rc)
{
    switch (rc) {
    case HF_E_NO_SPACE:
        return "make room, then start again";
    case HF_E_IO:
        return "check the disk, then start again";
    case HF_E_LOCKED:
        return "stop the process that has it open";
    case HF_E_FORMAT:
        return "use a newer program";
    default: /* a number, not an enum: damaged or missing */
        return "bring the directory back, or replace this replica";
    }
}

static void take_lock(const struct directory *d)
{
    if (mkdir(d->config.dir, 0700) && errno != EEXIST)
        refuse("cannot make directory %s: %s; make it, or give another --dir", d->config.dir, strerror(errno));
    char lock[DIRECTORY_PATH_BYTES];
    directory_path(d, "LOCK", lock);
    int rc = disk_lock(lock);
    if (rc == HF_E_LOCKED)
        refuse("directory %s is in use by another process (LOCK is held); stop that process first", d->config.dir);
    if (rc)
        refuse("cannot lock %s: %s; the directory must be writable", lock, strerror(errno));
}

static void draw_identity(struct directory *d)
{
    d->id = (struct identity){.group = d->config.group,
                              .replica = d->config.replica,
                              .incarnation = digest_random_u64(),
                              .format = IDENTITY_FORMAT};
    snprintf(d->id.engine, sizeof d->id.engine, "%s", d->config.engine ? d->config.engine : ENGINE_DEFAULT);
    int rc = identity_write(d->config.disk, d->config.dir, &d->id);
    if (rc)
        refuse("cannot write identity in %s: %s; the directory must be writable", d->config.dir, error_text(rc));
}

void directory_open(struct directory *d, const struct directory_config *config)
{
    *d = (struct directory){.config = *config};
    directory_path(d, "fsm", d->fsm_dir);
    d->config.fsm.dir = d->fsm_dir;
    take_lock(d);
    if (disk_sweep_temp(config->disk, config->dir))
        refuse("cannot sweep temporary files in %s; the directory must be writable", config->dir);
    int rc = swap_finish(config->disk, config->dir);
    if (rc)
        refuse("a change of engine in %s that was under way can neither be finished nor undone: %s; %s", config->dir,
               disk_error_text(rc), directory_advice(rc));
    struct detect_facts facts = {.dir = config->dir,
                                 .group = config->group,
                                 .replica = config->replica,
                                 .engine = config->engine,
                                 .cluster = config->cluster};
    char message[DETECT_MESSAGE_BYTES];
    if (detect_look(config->disk, &facts))
        refuse("cannot list directory %s; it must be readable", config->dir);
    switch (detect_decide(&facts, message)) {
    case DETECT_REFUSED:
        refuse("%s", message);
    case DETECT_NEW:
        draw_identity(d);
        break;
    case DETECT_FRESH:
    case DETECT_MEMBER:
        d->id = facts.id;
        break;
    }
    d->ops = config->engines ? config->engines(d->id.engine) : engine_find(d->id.engine);
    must(d->ops); /* I10: detect_decide refuses what this program does not have */
}

const Hf__Catalog__Member *directory_member(const Hf__Catalog__Members *members, uint32_t replica)
{
    for (size_t i = 0; i < members->n_members; i++)
        if (members->members[i]->replica == replica)
            return members->members[i];
    return NULL;
}

#define HEARTBEAT_MS_MAX (60u * 1000)
#define ELECTION_MS_MAX (10u * 60 * 1000)

/* What could never run: a directory that took it would refuse every start from then on. */
static bool runnable(const Hf__Catalog__Bootstrap *b)
{
    struct slice start = pack_slice(b->range->start), end = pack_slice(b->range->end);
    bool voter = false;
    for (size_t i = 0; i < b->members->n_members; i++)
        voter |= b->members->members[i]->role == HF__CATALOG__ROLE__VOTER;
    return voter && b->heartbeat_ms >= 1 && b->heartbeat_ms <= HEARTBEAT_MS_MAX && b->election_ms <= ELECTION_MS_MAX &&
           b->election_ms >= 2 * b->heartbeat_ms && start.size <= LIMIT_KEY_BYTES && end.size <= LIMIT_KEY_BYTES &&
           (end.size == 0 || slice_compare(start, end) < 0);
}

static int check_bootstrap(const struct directory *d, const Hf__Catalog__Bootstrap *b, char message[256])
{
    if (!b->cluster || !b->members || !b->range || peers_check(b->members) || !runnable(b)) {
        snprintf(message, 256,
                 "bootstrap request is incomplete, or its members, range or times (heartbeat %" PRIu32
                 " ms, election %" PRIu32 " ms) are malformed",
                 b->heartbeat_ms, b->election_ms);
        return HF_E_INVALID;
    }
    if (b->shard != d->id.group || b->replica != d->id.replica || b->incarnation != d->id.incarnation) {
        snprintf(message, 256,
                 "bootstrap is for replica %u/%u incarnation %016" PRIx64 ", this is %u/%u incarnation %016" PRIx64,
                 b->shard, b->replica, b->incarnation, d->id.group, d->id.replica, d->id.incarnation);
        return HF_E_REFUSED;
    }
    const Hf__Catalog__Member *self = directory_member(b->members, d->id.replica);
    if (!self || self->incarnation != d->id.incarnation || strcmp(self->raft_endpoint, d->config.raft_endpoint) != 0 ||
        strcmp(self->client_endpoint, d->config.client_endpoint) != 0) {
        snprintf(message, 256,
                 "bootstrap names other endpoints or another incarnation for replica %u/%u than it runs with",
                 d->id.group, d->id.replica);
        return HF_E_REFUSED;
    }
    if (b->feature_level > FSM_FEATURE_LEVEL) {
        snprintf(message, 256,
                 "bootstrap asks for feature level %" PRIu32 ", replica %u/%u knows %u: use a newer program",
                 b->feature_level, d->id.group, d->id.replica, FSM_FEATURE_LEVEL);
        return HF_E_REFUSED;
    }
    for (size_t i = 0; i < b->members->n_members; i++)
        if (b->members->members[i]->incarnation == 0) {
            snprintf(message, 256, "bootstrap does not name the incarnation of replica %u",
                     b->members->members[i]->replica);
            return HF_E_INVALID;
        }
    if (d->config.cluster && d->config.cluster != b->cluster) {
        snprintf(message, 256, "bootstrap names cluster %016" PRIx64 ", this process was started for %016" PRIx64,
                 b->cluster, d->config.cluster);
        return HF_E_REFUSED;
    }
    return HF_OK;
}

#define GENESIS_INDEX 1
#define GENESIS_TERM 1

int directory_bootstrap(struct directory *d, const Hf__Catalog__Bootstrap *b, char message[256])
{
    must(directory_fresh(d));
    int rc = check_bootstrap(d, b, message);
    if (rc)
        return rc;
    Hf__Catalog__Members members = *b->members;
    members.index = GENESIS_INDEX;
    struct fsm_genesis genesis = {.cluster = b->cluster,
                                  .group = b->shard,
                                  .log_epoch = 1,
                                  .index = GENESIS_INDEX,
                                  .term = GENESIS_TERM,
                                  .heartbeat_ms = b->heartbeat_ms,
                                  .election_ms = b->election_ms,
                                  .feature_level = b->feature_level ? b->feature_level : 1,
                                  .members = &members,
                                  .range = b->range};
    struct engine_env env = {.disk = d->config.disk,
                             .dir = d->config.dir,
                             .group = d->id.group,
                             .replica = d->id.replica,
                             .log_epoch = 1,
                             .segment_bytes = d->config.segment_bytes,
                             .members = &members};
    char where[256] = "";
    char peers[DIRECTORY_PATH_BYTES];
    directory_path(d, "peers", peers);
    rc = d->config.disk->ops->remove(d->config.disk,
                                     peers); /* of an attempt that was killed before it was told the truth */
    if (rc == HF_OK || rc == HF_E_ABSENT)
        rc = fsm_create(&d->config.fsm, &genesis, where);
    if (!rc)
        rc = d->ops->create(&env, GENESIS_INDEX, GENESIS_TERM);
    if (!rc)
        rc = peers_write(d->config.disk, d->config.dir, &members);
    crash_point("bootstrap.before_identity");
    struct identity id = d->id;
    id.cluster = b->cluster;
    id.log_epoch = 1;
    id.heartbeat_ms = b->heartbeat_ms;
    id.election_ms = b->election_ms;
    if (!rc)
        rc = identity_write(d->config.disk, d->config.dir, &id); /* the commit point */
    if (rc) {
        snprintf(message, 256, "bootstrap failed in %.100s: %s %.100s", d->config.dir, error_text(rc), where);
        return rc;
    }
    crash_point("bootstrap.after_identity");
    d->id = id;
    return HF_OK;
}

uint64_t directory_recovering(bool forgot)
{
    uint64_t number = digest_random_u64();
    return forgot ? number | ENGINE_RECOVERING_FORGOT : (number | 2) & ~ENGINE_RECOVERING_FORGOT;
}

int directory_rejoin(struct directory *d, uint64_t cluster, const Hf__Catalog__Members *members, char message[256])
{
    must(directory_fresh(d));
    const Hf__Catalog__Member *self = directory_member(members, d->id.replica);
    must(self && self->role == HF__CATALOG__ROLE__LEARNER);
    Hf__Catalog__Members peers = *members;
    peers.index = GENESIS_INDEX;
    struct engine_env env = {.disk = d->config.disk,
                             .dir = d->config.dir,
                             .group = d->id.group,
                             .replica = d->id.replica,
                             .log_epoch = 1,
                             .segment_bytes = d->config.segment_bytes,
                             .members = &peers};
    char path[DIRECTORY_PATH_BYTES];
    directory_path(d, "peers", path);
    int rc = d->config.disk->ops->remove(d->config.disk, path); /* of an attempt that was killed */
    if (rc == HF_OK || rc == HF_E_ABSENT)
        rc = d->ops->create(&env, 0, 0);
    if (!rc)
        rc = peers_write(d->config.disk, d->config.dir, &peers);
    crash_point("rejoin.before_identity");
    struct identity id = d->id;
    id.cluster = cluster;
    id.incarnation = self->incarnation;
    id.log_epoch = 1;
    id.recovering = directory_recovering(true); /* it may have been made a voter: who knows what it promised */
    if (!rc)
        rc = identity_write(d->config.disk, d->config.dir, &id); /* the commit point */
    if (rc) {
        snprintf(message, 256, "%.100s cannot become the learner it was: %s", d->config.dir, error_text(rc));
        return rc;
    }
    d->id = id;
    return HF_OK;
}

void directory_close(struct directory *d)
{
    if (d->engine)
        d->ops->close(&d->engine);
    fsm_close(&d->fsm);
    arena_deinit(&d->token_arena);
    if (d->peers)
        hf__catalog__members__free_unpacked(d->peers, NULL);
    d->peers = NULL;
}
