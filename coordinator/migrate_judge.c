/* migrate_judge.c: see migrate_judge.h. */
#include "coordinator/migrate_judge.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/sys/failpoint.h"
#include "coordinator/limits.h"

#define RECORD_PREPARED HF__ENTRY__MIGRATION_STATE__MIGRATION_PREPARED
#define RECORD_SEALED HF__ENTRY__MIGRATION_STATE__MIGRATION_SEALED

struct judging {
    const struct migrate_job *job;
    const struct migrate_shard *shard;
    const struct migrate_look *look;
    uint32_t epoch; /* the highest that a member's log has */
    const Hf__Client__Status *leader;
    struct migrate_verdict *out;
};

static void because(struct judging *j, const char *format, ...) HF_PRINTF(2, 3);
static void because(struct judging *j, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(j->out->reason, sizeof j->out->reason, format, arguments);
    va_end(arguments);
}

static const Hf__Client__Status *said(const struct judging *j, uint32_t replica)
{
    for (size_t i = 0; i < j->look->count; i++)
        if (j->look->seen[i].replica == replica)
            return j->look->seen[i].said;
    return NULL;
}

static bool is_ready(const Hf__Client__Status *s)
{
    return strcmp(s->state, "ready") == 0;
}

static void find_leader(struct judging *j)
{
    j->epoch = 0;
    j->leader = NULL;
    for (size_t i = 0; i < j->look->count; i++) {
        const Hf__Client__Status *s = j->look->seen[i].said;
        if (s && s->log_epoch > j->epoch)
            j->epoch = s->log_epoch;
    }
    for (size_t i = 0; i < j->look->count; i++) {
        const Hf__Client__Status *s = j->look->seen[i].said;
        bool leads = s && s->log_epoch == j->epoch && strcmp(s->role, "leader") == 0 && is_ready(s) && s->members;
        if (leads && (!j->leader || s->term > j->leader->term))
            j->leader = s;
    }
    if (j->leader) {
        j->out->leader = j->leader->replica;
        j->out->epoch = j->epoch;
        j->out->configuration = j->leader->members->index;
        j->out->applied = j->leader->applied;
        j->out->source = j->leader->engine;
    }
}

/* ---- may it be begun, and sealed ---- */

static bool has_engine(const Hf__Client__Status *s, const char *name)
{
    for (size_t i = 0; i < s->n_engines; i++)
        if (strcmp(s->engines[i], name) == 0)
            return true;
    return false;
}

/* "native, libraft" */
static const char *engines_of(const Hf__Client__Status *s, char out[64])
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < s->n_engines && used + strlen(s->engines[i]) + 2 < 64; i++)
        used += (size_t)snprintf(out + used, 64 - used, "%s%s", i ? ", " : "", s->engines[i]);
    return out;
}

/* What keeps one that is there from taking part. */
static bool fit(struct judging *j, const Hf__Client__Status *s)
{
    const Hf__Client__Status *leader = j->leader;
    uint32_t shard = j->look->shard;
    char engines[64];
    if (!has_engine(s, j->job->target))
        because(j, "replica %" PRIu32 "/%" PRIu32 ": its program (%s) does not have engine %s; it has %s", shard,
                s->replica, s->version, j->job->target, engines_of(s, engines));
    else if (strcmp(s->engine, leader->engine) != 0)
        because(j, "replica %" PRIu32 "/%" PRIu32 " runs engine %s, its leader %s", shard, s->replica, s->engine,
                leader->engine);
    else if (s->marked || s->trouble[0])
        because(j, "replica %" PRIu32 "/%" PRIu32 ": %.200s", shard, s->replica,
                s->marked ? "its state differs from the others'; restart it" : s->trouble);
    else if (!s->members || s->members->index != leader->members->index)
        because(j, "replica %" PRIu32 "/%" PRIu32 " does not know the newest members yet", shard, s->replica);
    else if (s->applied + MIGRATE_NEAR < leader->last)
        because(j, "replica %" PRIu32 "/%" PRIu32 " is %" PRIu64 " entries behind", shard, s->replica,
                leader->last - s->applied);
    else if (s->disk_free < s->change_bytes) /* both are 0 if its program does not tell */
        because(j,
                "replica %" PRIu32 "/%" PRIu32 " has %" PRIu64 " bytes of disk left, the change takes %" PRIu64
                " there: make room",
                shard, s->replica, s->disk_free, s->change_bytes);
    else
        return true;
    return false;
}

static bool voter_count(struct judging *j, size_t there, size_t voters)
{
    if (there > voters / 2)
        return true;
    because(j, "only %zu of %zu voters are there: that is no quorum", there, voters);
    return false;
}

static bool preflight(struct judging *j)
{
    const Hf__Client__Status *leader = j->leader;
    size_t voters = 0, there = 0;
    if (leader->feature_level < MIGRATE_FEATURE_LEVEL) {
        because(j, "its feature level is %" PRIu32 ", a change of engine takes %u", leader->feature_level,
                MIGRATE_FEATURE_LEVEL);
        return false;
    }
    for (size_t i = 0; i < leader->members->n_members; i++) {
        const Hf__Catalog__Member *m = leader->members->members[i];
        const Hf__Client__Status *s = said(j, m->replica);
        bool here = s && s->log_epoch == j->epoch && is_ready(s);
        bool left_out = migrate_job_left_out(j->job, j->look->shard, m->replica);
        if (!here && !left_out) {
            because(j,
                    "replica %" PRIu32 "/%" PRIu32 " is %s; start it, or leave it out: --without %" PRIu32 "/%" PRIu32,
                    j->look->shard, m->replica,
                    !s                         ? "not reachable"
                    : s->log_epoch != j->epoch ? "in an earlier log epoch"
                                               : s->state,
                    j->look->shard, m->replica);
            return false;
        }
        bool takes_part = here && fit(j, s);
        if (here && !takes_part && !left_out)
            return false;
        voters += m->role == HF__CATALOG__ROLE__VOTER;
        there += m->role == HF__CATALOG__ROLE__VOTER && takes_part;
    }
    j->out->reason[0] = '\0'; /* what was said of one that is left out */
    return voter_count(j, there, voters);
}

/* Prepared: what is there is made durable, so that going over has little to flush; then the seal. */
static void toward_seal(struct judging *j, uint64_t floor, bool asked)
{
    bool all = true;
    for (size_t i = 0; i < j->look->count; i++) {
        const Hf__Client__Status *s = j->look->seen[i].said;
        if (!s || migrate_job_left_out(j->job, j->look->shard, s->replica))
            continue;
        bool far = s->durable_applied < floor || (!asked && s->replay_bytes > MIGRATE_REPLAY_BYTES);
        j->out->behind[i] = floor != 0 && far;
        all &= !far;
    }
    if (floor == 0)
        because(j, "prepared");
    else
        because(j, all ? "prepared; to be sealed" : "prepared; its replicas make what they have applied durable");
    j->out->wish = floor == 0 ? MIGRATE_WAIT : all ? MIGRATE_SEAL : MIGRATE_PUBLISH;
}

static bool undone(const struct judging *j)
{
    const Hf__Entry__MigrationRecord *r = j->leader->migration;
    return r && r->aborted_epoch == j->epoch && r->aborted >= j->job->id;
}

static bool anothers(struct judging *j)
{
    const Hf__Entry__MigrationRecord *r = j->leader->migration;
    if (!r || r->epoch != j->epoch || r->state != RECORD_PREPARED || r->id == j->job->id)
        return false;
    because(j, "another migration, %016" PRIx64 ", is prepared in it; it has to be aborted first", r->id);
    return true;
}

static void judge_planned(struct judging *j)
{
    j->out->phase = HF__CATALOG__JOB_SHARD_PHASE__SHARD_PLANNED;
    if (!j->leader)
        because(j, "it has no leader that is ready");
    else if (strcmp(j->leader->engine, j->job->target) == 0)
        j->out->phase = HF__CATALOG__JOB_SHARD_PHASE__SHARD_DONE;
    else if (!anothers(j) && preflight(j))
        j->out->wish = MIGRATE_BEGIN;
}

/* Begun, and all are still in its epoch. */
static void judge_before(struct judging *j, uint64_t floor, bool asked)
{
    const Hf__Entry__MigrationRecord *r = j->leader ? j->leader->migration : NULL;
    bool prepared = r && r->epoch == j->epoch && r->state == RECORD_PREPARED && r->id == j->job->id;
    bool paused = j->job->phase == HF__CATALOG__JOB_PHASE__JOB_PAUSED;
    if (!j->leader) {
        because(j, "it has no leader that is ready");
        return;
    }
    if (j->job->phase == HF__CATALOG__JOB_PHASE__JOB_ABORTING) {
        if (undone(j) || planted_bug("migrate.abort_unseen"))
            j->out->phase = HF__CATALOG__JOB_SHARD_PHASE__SHARD_ABORTED;
        else
            j->out->wish = MIGRATE_ABORT;
        because(j, undone(j) ? "undone: nothing changed" : "being undone");
        return;
    }
    if (undone(j)) {
        because(j, "it was aborted there; abort the job, and start it again");
        j->out->wrong = true;
        return;
    }
    j->out->phase =
        prepared ? HF__CATALOG__JOB_SHARD_PHASE__SHARD_PREPARED : HF__CATALOG__JOB_SHARD_PHASE__SHARD_PLANNED;
    if (anothers(j) || !preflight(j))
        return;
    if (paused)
        because(j, "paused");
    else if (prepared)
        toward_seal(j, floor, asked);
    else
        j->out->wish = MIGRATE_PREPARE;
}

/* ---- behind the seal ---- */

static bool tells_seal(const struct judging *j, const Hf__Client__Status *s)
{
    const Hf__Entry__MigrationRecord *r = s ? s->migration : NULL;
    return r && r->state == RECORD_SEALED && r->epoch == j->shard->epoch;
}

static bool same_seal(const Hf__Entry__MigrationRecord *a, const Hf__Entry__MigrationRecord *b)
{
    return a->id == b->id && a->index == b->index && a->term == b->term && strcmp(a->target, b->target) == 0 &&
           a->digest.len == b->digest.len && a->digest.len > 0 &&
           memcmp(a->digest.data, b->digest.data, a->digest.len) == 0;
}

/* The seal that members tell of; NULL: none, or they differ (wrong). */
static const Hf__Entry__MigrationRecord *find_seal(struct judging *j)
{
    const Hf__Entry__MigrationRecord *seal = NULL;
    for (size_t i = 0; i < j->look->count; i++) {
        const Hf__Client__Status *s = j->look->seen[i].said;
        if (!tells_seal(j, s))
            continue;
        if (s->migration->id != j->job->id) {
            because(j, "it was sealed by another migration, %016" PRIx64, s->migration->id);
            if (j->job->phase == HF__CATALOG__JOB_PHASE__JOB_ABORTING && !migrate_shard_sealed(j->shard)) {
                j->out->phase = HF__CATALOG__JOB_SHARD_PHASE__SHARD_ABORTED; /* two are not sealed in one epoch */
                return NULL;
            }
        } else if (seal && !same_seal(seal, s->migration)) {
            because(
                j, "replica %" PRIu32 "/%" PRIu32 " tells of another seal, at %" PRIu64 ":%" PRIu64 ": holdfast verify",
                j->look->shard, s->replica, s->migration->index, s->migration->term);
        } else {
            seal = seal ? seal : s->migration;
            continue;
        }
        j->out->wrong = true;
        return NULL;
    }
    return seal;
}

static bool went_over(const struct judging *j, const Hf__Client__Status *s, const Hf__Entry__MigrationRecord *seal)
{
    return s && s->log_epoch == j->shard->epoch + 1 && strcmp(s->engine, j->job->target) == 0 && tells_seal(j, s) &&
           same_seal(seal, s->migration);
}

/* The voters by any member of the new epoch, and how many of them went over. */
static void count_over(const struct judging *j, const Hf__Entry__MigrationRecord *seal, size_t *voters, size_t *there)
{
    const Hf__Catalog__Members *members = NULL;
    *voters = *there = 0;
    for (size_t i = 0; i < j->look->count; i++) {
        const Hf__Client__Status *s = j->look->seen[i].said;
        if (went_over(j, s, seal) && s->members)
            members = s->members;
    }
    for (size_t i = 0; members && i < members->n_members; i++) {
        bool voter = members->members[i]->role == HF__CATALOG__ROLE__VOTER;
        *voters += voter;
        *there += voter && went_over(j, said(j, members->members[i]->replica), seal);
    }
}

/* One that is awaited and has not come; 0: all have. */
static uint32_t awaited(const struct judging *j, const Hf__Entry__MigrationRecord *seal, bool everybody)
{
    const Hf__Catalog__Members *members = j->leader->members;
    for (size_t i = 0; i < members->n_members; i++) {
        uint32_t replica = members->members[i]->replica;
        const Hf__Client__Status *s = said(j, replica);
        bool left_out = !everybody && migrate_job_left_out(j->job, j->look->shard, replica);
        if (!left_out && !(went_over(j, s, seal) && is_ready(s)))
            return replica;
    }
    return 0;
}

static void verify(struct judging *j, const Hf__Entry__MigrationRecord *seal)
{
    const Hf__Client__Status *leader = j->leader;
    j->out->phase = HF__CATALOG__JOB_SHARD_PHASE__SHARD_SWAPPED;
    if (!leader || !went_over(j, leader, seal)) {
        because(j, "a quorum runs %s; it has no leader that is ready", j->job->target);
        return;
    }
    if (leader->members->index != j->shard->configuration) {
        because(j, "its members changed: they are those of entry %" PRIu64 ", it began with %" PRIu64,
                leader->members->index, j->shard->configuration);
        j->out->wrong = true;
        return;
    }
    if (leader->applied <= seal->index || leader->applied_term <= seal->term) {
        because(j, "nothing is committed in log epoch %" PRIu32 " yet", j->epoch);
        return;
    }
    uint32_t missing = awaited(j, seal, false);
    j->out->phase = missing ? HF__CATALOG__JOB_SHARD_PHASE__SHARD_VERIFIED : HF__CATALOG__JOB_SHARD_PHASE__SHARD_DONE;
    if (missing)
        because(j, "replica %" PRIu32 "/%" PRIu32 " has not come over", j->look->shard, missing);
}

static void judge_behind(struct judging *j, const Hf__Entry__MigrationRecord *seal)
{
    size_t voters, there;
    if (j->epoch > j->shard->epoch + 1) { /* it went on since, which takes a whole change before */
        bool good = j->leader && strcmp(j->leader->engine, j->job->target) == 0;
        j->out->phase = good ? HF__CATALOG__JOB_SHARD_PHASE__SHARD_DONE : j->shard->phase;
        j->out->wrong = j->leader && !good;
        if (!good)
            because(j, "it went on to log epoch %" PRIu32 " since, by another migration", j->epoch);
        return;
    }
    if (!seal) {
        because(j, "nobody in log epoch %" PRIu32 " tells how the one before ended", j->epoch);
        return;
    }
    count_over(j, seal, &voters, &there);
    if (there > voters / 2) {
        verify(j, seal);
        return;
    }
    j->out->phase = HF__CATALOG__JOB_SHARD_PHASE__SHARD_SEALED;
    because(j, "sealed at entry %" PRIu64 "; %zu of its voters run %s", seal->index, there, j->job->target);
}

void migrate_judge(const struct migrate_job *job, const struct migrate_shard *shard, const struct migrate_look *look,
                   uint64_t floor, bool asked, struct migrate_verdict *out)
{
    *out = (struct migrate_verdict){.phase = shard->phase, .wish = MIGRATE_WAIT};
    struct judging j = {.job = job, .shard = shard, .look = look, .out = out};
    find_leader(&j);
    if (shard->epoch == 0) {
        judge_planned(&j);
        return;
    }
    const Hf__Entry__MigrationRecord *seal = find_seal(&j);
    if (out->wrong || out->phase == HF__CATALOG__JOB_SHARD_PHASE__SHARD_ABORTED)
        return;
    if (seal || j.epoch > shard->epoch)
        judge_behind(&j, seal);
    else if (migrate_shard_sealed(shard) || j.epoch < shard->epoch)
        because(&j, "none of its members that know how it stands is reachable");
    else
        judge_before(&j, floor, asked);
    if (out->phase < shard->phase && migrate_shard_sealed(shard))
        out->phase = shard->phase; /* who was seen before is not reachable now */
}

bool migrate_judge_final(const struct migrate_job *job, const struct migrate_shard *shard,
                         const struct migrate_look *look, char reason[MIGRATE_TEXT_BYTES])
{
    struct migrate_verdict verdict = {.phase = shard->phase};
    struct judging j = {.job = job, .shard = shard, .look = look, .out = &verdict};
    find_leader(&j);
    const Hf__Entry__MigrationRecord *seal = shard->epoch ? find_seal(&j) : NULL;
    uint32_t missing = 0;
    if (!j.leader)
        because(&j, "it has no leader that is ready");
    else if (shard->epoch != 0 && j.epoch == shard->epoch + 1 && seal)
        missing = awaited(&j, seal, true);
    else
        for (size_t i = 0; i < j.leader->members->n_members && !missing; i++) {
            const Hf__Client__Status *s = said(&j, j.leader->members->members[i]->replica);
            bool good = s && is_ready(s) && s->log_epoch == j.epoch && strcmp(s->engine, job->target) == 0;
            missing = good ? 0 : j.leader->members->members[i]->replica;
        }
    if (missing)
        because(&j, "replica %" PRIu32 "/%" PRIu32 " has not been seen with engine %s; start it, or replace it",
                look->shard, missing, job->target);
    snprintf(reason, MIGRATE_TEXT_BYTES, "%s", verdict.reason);
    return verdict.reason[0] == '\0';
}
