/* migrate_judge.h: what the members of a shard say of themselves, and what that means for its change of engine.
 *
 * The members are the truth: every step is decided by a look at all of them, and nothing is believed because a step was asked
 * for. Pure. Thread: loop thread only.
 *
 *     PLANNED → PREPARED → SEALED → SWAPPED → VERIFIED → DONE       [migrate_judge; each may be seen later than it came]
 *        └──────────┴──→ ABORTED                                    [the leader's applied state remembers the abort]
 *
 * - Before the seal: the leader's applied record decides; a ready leader has applied all that anybody was told.
 * - From the first member whose applied state holds the seal on there is no way back (`phase` never falls from there).
 * - VERIFIED: a quorum of the voters runs the target in the next epoch, all that tell of the seal tell the same index, term and
 *   digest, the members are those of the beginning, and an entry of the new epoch is committed and applied. */
#pragma once

#include "common/base/limits.h"
#include "coordinator/migrate_job.h"

#define MIGRATE_FEATURE_LEVEL 6u

struct migrate_seen {
    uint32_t replica;
    const Hf__Client__Status *said; /* in the look's arena; NULL: nothing in time */
};

struct migrate_look {
    uint64_t id;
    uint32_t shard;
    size_t count, waiting; /* answers to come */
    struct arena arena;
    struct migrate_seen seen[]; /* of the members by the routes */
};

enum migrate_wish {
    MIGRATE_WAIT,
    MIGRATE_BEGIN,   /* nothing is in its way */
    MIGRATE_PREPARE, /* ask the leader for the entry; likewise: */
    MIGRATE_SEAL,
    MIGRATE_ABORT,
    MIGRATE_PUBLISH, /* ask those of `behind` for a snapshot: what they have applied becomes durable */
};

struct migrate_verdict {
    Hf__Catalog__JobShardPhase phase;
    enum migrate_wish wish;
    bool wrong;             /* nothing comes right by waiting: the job stops */
    uint32_t leader, epoch; /* of the steps, as the next two */
    uint64_t configuration, applied;
    const char *source;       /* in the look */
    bool behind[LIMIT_PEERS]; /* by place in the look */
    char reason[MIGRATE_TEXT_BYTES];
};

/* `floor`: what is durable everywhere before the seal: an index that the leader had applied when it was first seen prepared;
 * 0: this is that look. `asked`: snapshots were asked for since. */
void migrate_judge(const struct migrate_job *job, const struct migrate_shard *shard, const struct migrate_look *look,
                   uint64_t floor, bool asked, struct migrate_verdict *out);

/* Every member, left out or not, runs the target behind the same seal. False: reason[] says who does not. */
bool migrate_judge_final(const struct migrate_job *job, const struct migrate_shard *shard,
                         const struct migrate_look *look, char reason[MIGRATE_TEXT_BYTES]);
