/* migrate_job.h: the record of the migration job: what of it the catalog keeps, and which shard comes next.
 *
 * Position: migrate.c drives it, migrate_judge.c reads it. Pure. Thread: loop thread only.
 * Invariants (migrate_job_read): every shard once; a shard that was begun has an epoch. */
#pragma once

#include "common/base/arena.h"
#include "common/base/slice.h"
#include "proto/catalog.pb-c.h"
#include "proto/client.pb-c.h"
#include "proto/requests.h"

#define MIGRATE_ENGINE_BYTES (REQUESTS_ENGINE_BYTES + 1)
#define MIGRATE_TEXT_BYTES 320u /* a reason */

struct migrate_absent {
    uint32_t shard, replica;
};

struct migrate_shard {
    uint32_t shard;
    Hf__Catalog__JobShardPhase phase;
    uint32_t epoch;         /* of the log that is left; 0: not begun, or there was nothing to do */
    uint64_t configuration; /* index of the members when it began */
    uint64_t begun_ms, took_ms;
    char source[MIGRATE_ENGINE_BYTES];
    char reason[MIGRATE_TEXT_BYTES];
};

struct migrate_job {
    uint64_t id; /* 0: there is none */
    char target[MIGRATE_ENGINE_BYTES];
    Hf__Catalog__JobPhase phase;
    uint32_t soak_ms, max_parallel;
    char reason[MIGRATE_TEXT_BYTES];
    struct migrate_absent *without; /* owned */
    size_t without_count;
    struct migrate_shard *shards; /* owned; in the order in which they go */
    size_t count;
};

void migrate_job_deinit(struct migrate_job *job); /* leaves none */

/* A job of all shards of `routes`, by their numbers, shard 1, which has the catalog, last. `q` was checked. */
void migrate_job_make(struct migrate_job *job, const Hf__Client__MigrateJob *q, const Hf__Catalog__Routes *routes,
                      uint64_t id);

/* HF_E_CORRUPT: it cannot be one; *job is none. */
HF_CHECKED int migrate_job_read(struct migrate_job *job, struct slice packed);
/* Borrows from `job`; lists are in `arena`. */
void migrate_job_message(const struct migrate_job *job, struct arena *arena, Hf__Catalog__Job *out);

/* Leaves out these, too. HF_E_LIMIT: they would be more than REQUESTS_WITHOUT_MAX; nothing is changed. */
HF_CHECKED int migrate_job_leave_out(struct migrate_job *job, Hf__Catalog__JobAbsent *const *list, size_t count);
bool migrate_job_left_out(const struct migrate_job *job, uint32_t shard, uint32_t replica);

/* Something may still be done for it: another cannot be started. */
bool migrate_job_open(const struct migrate_job *job);

/* It was begun and is neither done nor undone. */
static inline bool migrate_shard_open(const struct migrate_shard *s)
{
    return s->epoch != 0 && s->phase != HF__CATALOG__JOB_SHARD_PHASE__SHARD_DONE &&
           s->phase != HF__CATALOG__JOB_SHARD_PHASE__SHARD_ABORTED;
}

/* Its seal is applied somewhere: only forward. */
static inline bool migrate_shard_sealed(const struct migrate_shard *s)
{
    return s->phase == HF__CATALOG__JOB_SHARD_PHASE__SHARD_SEALED ||
           s->phase == HF__CATALOG__JOB_SHARD_PHASE__SHARD_SWAPPED ||
           s->phase == HF__CATALOG__JOB_SHARD_PHASE__SHARD_VERIFIED;
}

/* How many are in `phase`. */
size_t migrate_job_in(const struct migrate_job *job, Hf__Catalog__JobShardPhase phase);

/* The shard to begin next; the job's count: none now. The first goes alone, then at most max_parallel at once, and shard 1
 * alone when all others are done. */
size_t migrate_job_next(const struct migrate_job *job);

/* For how many milliseconds the next shard is not to be begun, as the last one was done less than soak_ms ago. `now_ms`: as begun_ms. */
uint64_t migrate_job_soak_left(const struct migrate_job *job, uint64_t now_ms);

const char *migrate_phase_text(Hf__Catalog__JobPhase phase); /* "running" */
