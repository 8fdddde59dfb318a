/* migrate_drive.c: the shards of a migration job: each looked at, judged, asked for a step, looked at again. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "coordinator/counters.h"
#include "coordinator/limits.h"
#include "coordinator/migrate_parts.h"
#include "proto/routes.h"

#define PHASE(name) HF__CATALOG__JOB_SHARD_PHASE__SHARD_##name
#define JOB(name) HF__CATALOG__JOB_PHASE__JOB_##name

/* ---- looks ---- */

struct migrate_look *migrate_look_begin(struct migrate *m, uint32_t shard, uint64_t now_ns)
{
    const Hf__Catalog__Shard *members = routes_shard(m->port.routes(m->port.ctx), shard);
    if (members == NULL)
        return NULL;
    size_t count = members->n_members < LIMIT_PEERS ? members->n_members : LIMIT_PEERS;
    struct migrate_look *look = calloc(1, sizeof *look + count * sizeof look->seen[0]);
    must(look != NULL); /* out of memory */
    look->id = ++m->serial;
    look->shard = shard;
    look->count = count;
    hashmap_put(&m->looks, look->id, look);
    for (size_t i = 0; i < count; i++) {
        look->seen[i].replica = members->members[i]->replica;
        look->waiting += m->port.look(m->port.ctx, look->id, shard, look->seen[i].replica, now_ns) == HF_OK;
    }
    return look;
}

void migrate_look_end(struct migrate *m, struct migrate_look **look)
{
    if (*look == NULL)
        return;
    hashmap_remove(&m->looks, (*look)->id);
    arena_deinit(&(*look)->arena);
    free(*look);
    *look = NULL;
}

void migrate_drive_forget(struct migrate *m)
{
    for (size_t i = 0; i < m->job.count; i++)
        migrate_look_end(m, &m->drives[i].look);
    hashmap_deinit(&m->acts);
    m->acts = (struct hashmap){0};
    free(m->drives);
    m->drives = NULL;
}

/* ---- what a look changes in the record ---- */

static void say(const struct migrate *m, const struct migrate_shard *s, const char *what)
{
    diag(DIAG_INFO, "migration: %s shard=%" PRIu32 " id=%016" PRIx64 " target=%s log_epoch=%" PRIu32, what, s->shard,
         m->job.id, m->job.target, s->epoch);
}

void migrate_settle(struct migrate *m)
{
    size_t open = 0, done = migrate_job_in(&m->job, PHASE(DONE));
    const struct migrate_shard *odd = NULL; /* given up: it was to be undone, and something is wrong with it */
    for (size_t i = 0; i < m->job.count; i++) {
        const struct migrate_shard *s = &m->job.shards[i];
        open += migrate_shard_open(s);
        odd = s->phase == PHASE(DONE) && s->reason[0] ? s : odd;
    }
    if (done == m->job.count && !(odd && m->job.phase == JOB(ABORTING))) {
        m->job.phase = JOB(DONE);
        m->job.reason[0] = '\0';
        crash_point("migrate_job.ended");
    } else if (m->job.phase == JOB(ABORTING) && open == 0) {
        m->job.phase = JOB(ABORTED);
        int n = snprintf(m->job.reason, sizeof m->job.reason, "%zu of %zu shards %s %s, the others are as they were",
                         done, m->job.count, odd ? "went over to" : "run", m->job.target);
        if (odd)
            snprintf(m->job.reason + n, sizeof m->job.reason - (size_t)n, "; shard %" PRIu32 ": %.160s", odd->shard,
                     odd->reason);
    }
}

static void moved(struct migrate *m, size_t at, Hf__Catalog__JobShardPhase phase, uint64_t now_ns)
{
    static const char *const texts[] = {"planned", "prepared", "sealed", "swapped", "verified", "done", "aborted"};
    struct migrate_shard *s = &m->job.shards[at];
    struct migrate_drive *d = &m->drives[at];
    if (phase == PHASE(PREPARED))
        crash_point("migrate_job.prepared");
    if (s->epoch != 0 && s->phase < PHASE(SEALED) && phase >= PHASE(SEALED) && phase <= PHASE(DONE))
        crash_point("migrate_job.sealed");
    if (phase == PHASE(VERIFIED) || phase == PHASE(DONE))
        crash_point("migrate_job.verified");
    if (phase == PHASE(ABORTED))
        crash_point("migrate_job.aborted");
    s->phase = phase;
    d->since_ns = now_ns;
    say(m, s, texts[phase]);
    if (phase == PHASE(DONE) && s->epoch != 0) {
        uint64_t ms = m->port.now_ms(m->port.ctx);
        s->took_ms = ms > s->begun_ms ? ms - s->begun_ms : 0;
        m->soak_ns = now_ns + m->job.soak_ms * CLOCK_NS_PER_MS;
    }
    migrate_settle(m);
    migrate_change(m, now_ns);
}

static void step(struct migrate *m, size_t at, const struct migrate_verdict *v, Hf__Entry__MigrateStep which,
                 uint64_t now_ns);

static void begin(struct migrate *m, size_t at, const struct migrate_verdict *v, uint64_t now_ns)
{
    struct migrate_shard *s = &m->job.shards[at];
    s->epoch = v->epoch;
    s->configuration = v->configuration;
    s->begun_ms = m->port.now_ms(m->port.ctx);
    crash_point("migrate_job.begun");
    snprintf(s->source, sizeof s->source, "%.*s", MIGRATE_ENGINE_BYTES - 1, v->source);
    m->drives[at].since_ns = now_ns;
    say(m, s, "begun");
    if (planted_bug("migrate.begin_early"))
        step(m, at, v, HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE, now_ns);
    migrate_change(m, now_ns);
}

static void stop(struct migrate *m, const struct migrate_shard *s, const char *how, uint64_t now_ns)
{
    m->job.phase = JOB(STOPPED);
    snprintf(m->job.reason, sizeof m->job.reason, "shard %" PRIu32 ": %s%.240s", s->shard, how,
             s->reason[0] ? s->reason : "it does not move");
    diag(DIAG_ERROR, "migration: stopped id=%016" PRIx64 " target=%s: %s", m->job.id, m->job.target, m->job.reason);
    migrate_change(m, now_ns);
}

/* ---- steps ---- */

static uint64_t acting(struct migrate *m, size_t at)
{
    uint64_t act = ++m->serial;
    m->drives[at].acts++;
    hashmap_put(&m->acts, act, (void *)(uintptr_t)(at + 1));
    return act;
}

static void not_sent(struct migrate *m, size_t at, uint64_t act, int rc)
{
    struct migrate_drive *d = &m->drives[at];
    hashmap_remove(&m->acts, act);
    d->acts--;
    snprintf(d->refused, sizeof d->refused, "%s", error_text(rc));
}

static void step(struct migrate *m, size_t at, const struct migrate_verdict *v, Hf__Entry__MigrateStep which,
                 uint64_t now_ns)
{
    const struct migrate_shard *s = &m->job.shards[at];
    Hf__Entry__MigrateEntry entry = HF__ENTRY__MIGRATE_ENTRY__INIT;
    entry.step = which;
    entry.id = m->job.id;
    entry.epoch = s->epoch;
    entry.source = (char *)(uintptr_t)s->source; /* packing only reads */
    entry.target = m->job.target;
    entry.configuration = s->configuration;
    uint64_t act = acting(m, at);
    int rc = m->port.step(m->port.ctx, act, s->shard, v->leader, &entry, now_ns);
    crash_point("migrate_job.step_sent");
    if (rc)
        not_sent(m, at, act, rc);
    count(COUNTER_MIGRATION_STEPS);
}

static void publish(struct migrate *m, size_t at, const struct migrate_verdict *v, uint64_t now_ns)
{
    struct migrate_drive *d = &m->drives[at];
    for (size_t i = 0; i < d->look->count; i++) {
        if (!v->behind[i])
            continue;
        uint64_t act = acting(m, at);
        int rc = m->port.publish(m->port.ctx, act, d->look->shard, d->look->seen[i].replica, now_ns);
        if (rc)
            not_sent(m, at, act, rc);
    }
    d->published = true;
}

void migrate_stepped(struct migrate *m, uint64_t act, int code, const char *message, uint64_t now_ns)
{
    size_t at = (size_t)(uintptr_t)hashmap_remove(&m->acts, act);
    if (at-- == 0)
        return;
    struct migrate_drive *d = &m->drives[at];
    must(d->acts > 0);
    d->acts--;
    d->next_ns = now_ns;
    if (code)
        snprintf(d->refused, sizeof d->refused, "%.240s", message && message[0] ? message : error_text(code));
}

static void act_on(struct migrate *m, size_t at, const struct migrate_verdict *v, uint64_t now_ns)
{
    struct migrate_shard *s = &m->job.shards[at];
    switch (v->wish) {
    case MIGRATE_WAIT:
        break;
    case MIGRATE_BEGIN:
        begin(m, at, v, now_ns);
        break;
    case MIGRATE_PREPARE:
        if (v->configuration != s->configuration) {
            s->configuration = v->configuration;
            migrate_change(m, now_ns);
            break;
        }
        crash_point("migrate_job.before_prepare");
        step(m, at, v, HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE, now_ns);
        break;
    case MIGRATE_PUBLISH:
        crash_point("migrate_job.before_publish");
        publish(m, at, v, now_ns);
        break;
    case MIGRATE_SEAL:
        crash_point("migrate_job.before_seal");
        step(m, at, v, HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL, now_ns);
        break;
    case MIGRATE_ABORT:
        crash_point("migrate_job.before_abort");
        step(m, at, v, HF__ENTRY__MIGRATE_STEP__MIGRATE_ABORT, now_ns);
        break;
    }
}

/* ---- the way of one look ---- */

/* `next`: the shard to begin next. */
static bool wanted(const struct migrate *m, size_t at, size_t next, uint64_t now_ns)
{
    const struct migrate_shard *s = &m->job.shards[at];
    bool runs = m->job.phase == JOB(RUNNING);
    if (!runs && m->job.phase != JOB(PAUSED) && m->job.phase != JOB(ABORTING))
        return false;
    return migrate_shard_open(s) || (runs && now_ns >= m->soak_ns && at == next);
}

static bool stuck(const struct migrate *m, size_t at, uint64_t now_ns)
{
    bool counts =
        m->job.phase == JOB(RUNNING) || (m->job.phase == JOB(PAUSED) && migrate_shard_sealed(&m->job.shards[at]));
    return counts && now_ns - m->drives[at].since_ns >= MIGRATE_STUCK_MS * CLOCK_NS_PER_MS;
}

static void explain(struct migrate_shard *s, const struct migrate_drive *d, const char *reason)
{
    bool both = reason[0] && d->refused[0];
    snprintf(s->reason, sizeof s->reason, "%.200s%s%.110s", reason, both ? "; " : "", d->refused);
}

void migrate_drive_seen(struct migrate *m, size_t at, uint64_t now_ns)
{
    struct migrate_shard *s = &m->job.shards[at];
    struct migrate_drive *d = &m->drives[at];
    if (m->state == MIGRATE_READY && wanted(m, at, migrate_job_next(&m->job), now_ns)) {
        struct migrate_verdict v;
        migrate_judge(&m->job, s, d->look, d->floor, d->published, &v);
        if (v.phase != s->phase)
            d->refused[0] = '\0'; /* it was of a step that is made */
        explain(s, d, v.reason);
        if (d->since_ns == 0)
            d->since_ns = now_ns;
        if (v.phase == PHASE(PREPARED) && d->floor == 0)
            d->floor = v.applied;
        if (v.phase != s->phase)
            moved(m, at, v.phase, now_ns);
        else if (v.wrong && m->job.phase == JOB(ABORTING))
            moved(m, at, PHASE(DONE), now_ns); /* nothing can be done for it any more; its reason stays */
        else if (v.wrong)
            stop(m, s, "", now_ns);
        else if (stuck(m, at, now_ns))
            stop(m, s, "for a minute now: ", now_ns);
        else
            act_on(m, at, &v, now_ns);
        bool slow = now_ns - d->since_ns > MIGRATE_LOOK_SLOW_AFTER_MS * CLOCK_NS_PER_MS;
        d->next_ns = now_ns + (slow ? MIGRATE_LOOK_SLOW_MS : MIGRATE_LOOK_MS) * CLOCK_NS_PER_MS;
    }
    migrate_look_end(m, &m->drives[at].look);
}

void migrate_drive_all(struct migrate *m, uint64_t now_ns)
{
    size_t next = migrate_job_next(&m->job);
    for (size_t i = 0; i < m->job.count && m->state == MIGRATE_READY; i++) {
        struct migrate_drive *d = &m->drives[i];
        if (d->look || d->acts > 0 || now_ns < d->next_ns || !wanted(m, i, next, now_ns))
            continue;
        d->next_ns = now_ns + MIGRATE_LOOK_SLOW_MS * CLOCK_NS_PER_MS;
        d->look = migrate_look_begin(m, m->job.shards[i].shard, now_ns);
        if (d->look == NULL)
            snprintf(m->job.shards[i].reason, MIGRATE_TEXT_BYTES, "the routes do not have it");
        else if (d->look->waiting == 0)
            migrate_drive_seen(m, i, now_ns);
    }
}

void migrate_drive_gauges(const struct migrate *m)
{
    static const enum counter phases[] = {
        COUNTER_MIGRATION_PLANNED,  COUNTER_MIGRATION_PREPARED, COUNTER_MIGRATION_SEALED, COUNTER_MIGRATION_SWAPPED,
        COUNTER_MIGRATION_VERIFIED, COUNTER_MIGRATION_DONE,     COUNTER_MIGRATION_ABORTED};
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++)
        gauge(phases[i], migrate_job_in(&m->job, (Hf__Catalog__JobShardPhase)i));
    uint64_t longest = 0;
    for (size_t i = 0; i < m->job.count; i++)
        longest = m->job.shards[i].took_ms > longest ? m->job.shards[i].took_ms : longest;
    gauge(COUNTER_MIGRATION_LONGEST, longest * CLOCK_NS_PER_MS);
    gauge(COUNTER_MIGRATION_RUNNING, m->job.phase == JOB(RUNNING) || m->job.phase == JOB(ABORTING));
    gauge(COUNTER_MIGRATION_STOPPED, m->job.phase == JOB(STOPPED));
}
