/* job.c: see job.h. */
#include "client/cli/job.h"

#include <inttypes.h>
#include <stdio.h>

#include "client/cli/text.h"

#define SHARD(name) HF__CATALOG__JOB_SHARD_PHASE__SHARD_##name

const char *job_phase_text(Hf__Catalog__JobPhase phase)
{
    static const char *const texts[] = {"none",    "running", "paused", "aborting",
                                        "stopped", "aborted", "done",   "finalized"};
    return phase >= 0 && (size_t)phase < sizeof texts / sizeof texts[0] ? texts[phase] : "unknown";
}

static const char *shard_text(Hf__Catalog__JobShardPhase phase)
{
    static const char *const texts[] = {"planned", "prepared", "sealed", "swapped", "verified", "done", "aborted"};
    return phase >= 0 && (size_t)phase < sizeof texts / sizeof texts[0] ? texts[phase] : "unknown";
}

void job_json(const Hf__Catalog__Job *j)
{
    printf("{\"id\":\"%016" PRIx64 "\",\"target\":", j->id);
    text_json(stdout, slice_text(j->target));
    printf(",\"phase\":\"%s\",\"soak_ms\":%" PRIu32 ",\"max_parallel\":%" PRIu32 ",\"reason\":",
           job_phase_text(j->phase), j->soak_ms, j->max_parallel);
    text_json(stdout, slice_text(j->reason));
    fputs(",\"without\":[", stdout);
    for (size_t i = 0; i < j->n_without; i++)
        printf("%s\"%" PRIu32 "/%" PRIu32 "\"", i ? "," : "", j->without[i]->shard, j->without[i]->replica);
    fputs("],\"shards\":[", stdout);
    for (size_t i = 0; i < j->n_shards; i++) {
        const Hf__Catalog__JobShard *s = j->shards[i];
        printf("%s{\"shard\":%" PRIu32 ",\"phase\":\"%s\",\"epoch\":%" PRIu32 ",\"source\":", i ? "," : "", s->shard,
               shard_text(s->phase), s->epoch);
        text_json(stdout, slice_text(s->source));
        printf(",\"begun_ms\":%" PRIu64 ",\"took_ms\":%" PRIu64 ",\"reason\":", s->begun_ms, s->took_ms);
        text_json(stdout, slice_text(s->reason));
        putchar('}');
    }
    fputs("]}\n", stdout);
}

void job_line(const Hf__Catalog__JobShard *s)
{
    printf("shard %-5" PRIu32 "  %-8s", s->shard, shard_text(s->phase));
    if (s->phase == SHARD(DONE) && s->took_ms)
        printf("  %.1f s", (double)s->took_ms / 1000);
    printf("%s%s\n", s->reason[0] ? "  " : "", s->reason);
}

void job_table(const Hf__Catalog__Job *j)
{
    if (j->id == 0 && j->n_shards == 0) {
        puts("no migration");
        return;
    }
    printf("migration to %s: %s%s%s\n", j->target, j->id ? job_phase_text(j->phase) : "a plan",
           j->reason[0] ? ": " : "", j->reason);
    for (size_t i = 0; i < j->n_shards; i++)
        job_line(j->shards[i]);
}

static size_t shards_done(const Hf__Catalog__Job *j)
{
    size_t count = 0;
    for (size_t i = 0; i < j->n_shards; i++)
        count += j->shards[i]->phase == SHARD(DONE);
    return count;
}

void job_json_brief(const Hf__Catalog__Job *j)
{
    printf("{\"kind\":\"migration\",\"id\":\"%016" PRIx64 "\",\"target\":", j->id);
    text_json(stdout, slice_text(j->target));
    printf(",\"phase\":\"%s\",\"shards\":%zu,\"done\":%zu,\"reason\":", job_phase_text(j->phase), j->n_shards,
           shards_done(j));
    text_json(stdout, slice_text(j->reason));
    putchar('}');
}

void job_table_brief(const Hf__Catalog__Job *j)
{
    printf("migration to %s: %s, %zu of %zu shards done%s%s; look: holdfast migrate status\n", j->target,
           job_phase_text(j->phase), shards_done(j), j->n_shards, j->reason[0] ? ": " : "", j->reason);
}
