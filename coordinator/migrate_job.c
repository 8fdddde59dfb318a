/* migrate_job.c: see migrate_job.h. */
#include "coordinator/migrate_job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "coordinator/limits.h"
#include "proto/pack.h"

#define DONE HF__CATALOG__JOB_SHARD_PHASE__SHARD_DONE
#define PLANNED HF__CATALOG__JOB_SHARD_PHASE__SHARD_PLANNED

void migrate_job_deinit(struct migrate_job *job)
{
    free(job->without);
    free(job->shards);
    *job = (struct migrate_job){0};
}

static void make_room(struct migrate_job *job, size_t shards, size_t without)
{
    job->shards = calloc(shards + 1, sizeof *job->shards);
    job->without = calloc(without + 1, sizeof *job->without);
    must(job->shards != NULL && job->without != NULL); /* out of memory */
    job->count = shards;
    job->without_count = without;
}

static int by_turn(const void *a, const void *b)
{
    uint32_t x = ((const struct migrate_shard *)a)->shard, y = ((const struct migrate_shard *)b)->shard;
    if ((x == COORDINATOR_CATALOG_SHARD) != (y == COORDINATOR_CATALOG_SHARD))
        return x == COORDINATOR_CATALOG_SHARD ? 1 : -1;
    return x < y ? -1 : x > y;
}

static void take_without(struct migrate_job *job, Hf__Catalog__JobAbsent *const *list)
{
    for (size_t i = 0; i < job->without_count; i++)
        job->without[i] = (struct migrate_absent){.shard = list[i]->shard, .replica = list[i]->replica};
}

void migrate_job_make(struct migrate_job *job, const Hf__Client__MigrateJob *q, const Hf__Catalog__Routes *routes,
                      uint64_t id)
{
    *job = (struct migrate_job){.id = id,
                                .phase = HF__CATALOG__JOB_PHASE__JOB_RUNNING,
                                .soak_ms = q->soak_ms,
                                .max_parallel = q->max_parallel ? q->max_parallel : 1};
    if (job->max_parallel > MIGRATE_PARALLEL_MAX)
        job->max_parallel = MIGRATE_PARALLEL_MAX;
    snprintf(job->target, sizeof job->target, "%s", q->target);
    make_room(job, routes->n_shards, q->n_without);
    take_without(job, q->without);
    for (size_t i = 0; i < job->count; i++)
        job->shards[i].shard = routes->shards[i]->shard;
    qsort(job->shards, job->count, sizeof job->shards[0], by_turn);
}

/* ---- the catalog's ---- */

static bool engine_ok(const char *name)
{
    return strlen(name) < MIGRATE_ENGINE_BYTES;
}

static int check(const Hf__Catalog__Job *m)
{
    bool good = m->id != 0 && m->target[0] != '\0' && engine_ok(m->target) && m->n_shards > 0 &&
                m->n_shards <= LIMIT_ROUTES && m->n_without <= REQUESTS_WITHOUT_MAX &&
                m->phase > HF__CATALOG__JOB_PHASE__JOB_NONE && m->phase <= HF__CATALOG__JOB_PHASE__JOB_FINALIZED;
    for (size_t i = 0; good && i < m->n_shards; i++) {
        const Hf__Catalog__JobShard *s = m->shards[i];
        good = s->shard != 0 && engine_ok(s->source) && s->phase >= PLANNED &&
               s->phase <= HF__CATALOG__JOB_SHARD_PHASE__SHARD_ABORTED &&
               (s->epoch != 0 || s->phase == PLANNED || s->phase == DONE);
        for (size_t k = 0; good && k < i; k++)
            good = m->shards[k]->shard != s->shard;
    }
    return good ? HF_OK : HF_E_CORRUPT;
}

static void take_shard(struct migrate_shard *s, const Hf__Catalog__JobShard *m)
{
    *s = (struct migrate_shard){.shard = m->shard,
                                .phase = m->phase,
                                .epoch = m->epoch,
                                .configuration = m->configuration,
                                .begun_ms = m->begun_ms,
                                .took_ms = m->took_ms};
    snprintf(s->source, sizeof s->source, "%s", m->source);
    snprintf(s->reason, sizeof s->reason, "%.*s", (int)sizeof s->reason - 1, m->reason);
}

int migrate_job_read(struct migrate_job *job, struct slice packed)
{
    struct arena arena = {0};
    const Hf__Catalog__Job *m = pack_unpack(&hf__catalog__job__descriptor, packed, &arena);
    *job = (struct migrate_job){0};
    int rc = m ? check(m) : HF_E_CORRUPT;
    if (rc == HF_OK) {
        *job = (struct migrate_job){
            .id = m->id, .phase = m->phase, .soak_ms = m->soak_ms, .max_parallel = m->max_parallel};
        job->max_parallel += job->max_parallel == 0;
        snprintf(job->target, sizeof job->target, "%s", m->target);
        snprintf(job->reason, sizeof job->reason, "%.*s", (int)sizeof job->reason - 1, m->reason);
        make_room(job, m->n_shards, m->n_without);
        take_without(job, m->without);
        for (size_t i = 0; i < job->count; i++)
            take_shard(&job->shards[i], m->shards[i]);
    }
    arena_deinit(&arena);
    return rc;
}

static char *text(const char *borrowed)
{
    return (char *)(uintptr_t)borrowed; /* packing only reads */
}

void migrate_job_message(const struct migrate_job *job, struct arena *arena, Hf__Catalog__Job *out)
{
    hf__catalog__job__init(out);
    out->id = job->id;
    out->target = text(job->target);
    out->phase = job->phase;
    out->soak_ms = job->soak_ms;
    out->max_parallel = job->max_parallel;
    out->reason = text(job->reason);
    out->without = arena_alloc(arena, (job->without_count + 1) * sizeof out->without[0]);
    out->shards = arena_alloc(arena, (job->count + 1) * sizeof out->shards[0]);
    for (; out->n_without < job->without_count; out->n_without++) {
        Hf__Catalog__JobAbsent *a = out->without[out->n_without] = arena_alloc(arena, sizeof *a);
        hf__catalog__job_absent__init(a);
        a->shard = job->without[out->n_without].shard;
        a->replica = job->without[out->n_without].replica;
    }
    for (; out->n_shards < job->count; out->n_shards++) {
        const struct migrate_shard *s = &job->shards[out->n_shards];
        Hf__Catalog__JobShard *m = out->shards[out->n_shards] = arena_alloc(arena, sizeof *m);
        hf__catalog__job_shard__init(m);
        m->shard = s->shard;
        m->phase = s->phase;
        m->epoch = s->epoch;
        m->source = text(s->source);
        m->reason = text(s->reason);
        m->configuration = s->configuration;
        m->begun_ms = s->begun_ms;
        m->took_ms = s->took_ms;
    }
}

/* ---- what it says ---- */

int migrate_job_leave_out(struct migrate_job *job, Hf__Catalog__JobAbsent *const *list, size_t count)
{
    if (job->without_count + count > REQUESTS_WITHOUT_MAX)
        return HF_E_LIMIT;
    job->without = realloc(job->without, (job->without_count + count + 1) * sizeof *job->without);
    must(job->without != NULL); /* out of memory */
    for (size_t i = 0; i < count; i++)
        if (!migrate_job_left_out(job, list[i]->shard, list[i]->replica))
            job->without[job->without_count++] =
                (struct migrate_absent){.shard = list[i]->shard, .replica = list[i]->replica};
    return HF_OK;
}

bool migrate_job_left_out(const struct migrate_job *job, uint32_t shard, uint32_t replica)
{
    for (size_t i = 0; i < job->without_count; i++)
        if (job->without[i].shard == shard && job->without[i].replica == replica)
            return true;
    return false;
}

bool migrate_job_open(const struct migrate_job *job)
{
    switch (job->phase) {
    case HF__CATALOG__JOB_PHASE__JOB_RUNNING:
    case HF__CATALOG__JOB_PHASE__JOB_PAUSED:
    case HF__CATALOG__JOB_PHASE__JOB_ABORTING:
    case HF__CATALOG__JOB_PHASE__JOB_STOPPED:
        return true;
    case HF__CATALOG__JOB_PHASE__JOB_NONE:
    case HF__CATALOG__JOB_PHASE__JOB_ABORTED:
    case HF__CATALOG__JOB_PHASE__JOB_DONE:
    case HF__CATALOG__JOB_PHASE__JOB_FINALIZED:
    case _HF__CATALOG__JOB_PHASE_IS_INT_SIZE:
        break;
    }
    return false;
}

size_t migrate_job_in(const struct migrate_job *job, Hf__Catalog__JobShardPhase phase)
{
    size_t count = 0;
    for (size_t i = 0; i < job->count; i++)
        count += job->shards[i].phase == phase;
    return count;
}

size_t migrate_job_next(const struct migrate_job *job)
{
    size_t open = 0, next = job->count, moved = 0;
    for (size_t i = job->count; i-- > 0;) {
        const struct migrate_shard *s = &job->shards[i];
        open += migrate_shard_open(s);
        moved += s->phase == DONE && s->epoch != 0;
        if (s->phase == PLANNED && s->epoch == 0)
            next = i;
    }
    if (next == job->count)
        return next;
    bool last = job->shards[next].shard == COORDINATOR_CATALOG_SHARD;
    size_t most = moved == 0 || last ? 1 : job->max_parallel;
    return open < most ? next : job->count;
}

uint64_t migrate_job_soak_left(const struct migrate_job *job, uint64_t now_ms)
{
    uint64_t until = 0;
    for (size_t i = 0; i < job->count; i++) {
        const struct migrate_shard *s = &job->shards[i];
        uint64_t end = s->begun_ms + s->took_ms + job->soak_ms;
        if (s->phase == DONE && s->epoch != 0 && end > until)
            until = end;
    }
    uint64_t left = until > now_ms ? until - now_ms : 0;
    return left < job->soak_ms ? left : job->soak_ms;
}

const char *migrate_phase_text(Hf__Catalog__JobPhase phase)
{
    static const char *const texts[] = {"none",    "running", "paused", "being aborted",
                                        "stopped", "aborted", "done",   "finalized"};
    return phase >= 0 && (size_t)phase < sizeof texts / sizeof texts[0] ? texts[phase] : "unknown";
}
