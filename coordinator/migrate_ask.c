/* migrate_ask.c: what operators ask of the migration job: one after the other, each answered when the catalog has it. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "coordinator/limits.h"
#include "coordinator/migrate_parts.h"
#include "proto/pack.h"
#include "proto/routes.h"

#define JOB(name) HF__CATALOG__JOB_PHASE__JOB_##name
#define ACTION(name) HF__CLIENT__JOB_ACTION__JOB_##name

struct migrate_client {
    struct list link;
    struct forward_client client;
    uint64_t deadline_ns;
    struct arena arena;
    const Hf__Client__MigrateJob *q; /* in the arena */
    bool changed;                    /* the job is as it wants it; the catalog is being told */
};

static struct migrate_client *head(struct migrate *m)
{
    return list_empty(&m->clients) ? NULL : LIST_OWNER(m->clients.next, struct migrate_client, link);
}

/* ---- answers ---- */

static void answer(struct migrate *m, struct migrate_client *one, int code, const char *message,
                   const struct migrate_job *job)
{
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    Hf__Catalog__Job said;
    reply.code = code;
    reply.message = (char *)(uintptr_t)message; /* packing only reads */
    if (job) {
        migrate_job_message(job, &one->arena, &said);
        reply.job = &said;
    }
    list_remove(&one->link);
    m->client_count--;
    if (m->port.answer)
        m->port.answer(m->port.ctx, &one->client, &reply);
    arena_deinit(&one->arena);
    free(one);
}

static void refuse_job(struct migrate *m, struct migrate_client *one, int code, const char *format, ...)
    HF_PRINTF(4, 5);
static void refuse_job(struct migrate *m, struct migrate_client *one, int code, const char *format, ...)
{
    char message[2 * MIGRATE_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    answer(m, one, code, message, NULL);
}

static void give_up(struct migrate *m, struct migrate_client *one, const char *why)
{
    bool changed = one->changed;
    refuse_job(m, one, changed ? HF_E_OUTCOME_UNKNOWN : HF_E_UNAVAILABLE,
               changed ? "%s; it may be done: holdfast migrate status" : "%s; nothing is changed", why);
}

void migrate_served(struct migrate *m, int code)
{
    struct migrate_client *one = head(m);
    if (one == NULL || !one->changed)
        return;
    if (code != HF_OK) {
        give_up(m, one, "another coordinator wrote the job meanwhile");
        return;
    }
    if (one->q->action == ACTION(START))
        crash_point("migrate_job.started");
    answer(m, one, HF_OK, "", &m->job);
}

void migrate_expire(struct migrate *m, uint64_t now_ns)
{
    LIST_EACH (it, &m->clients) {
        struct migrate_client *one = LIST_OWNER(it, struct migrate_client, link);
        if (one->deadline_ns > now_ns)
            continue;
        bool survey = one == head(m) && m->survey.on;
        if (one == head(m))
            migrate_survey_end(m);
        give_up(m, one,
                survey ? "not all members said in time how they are"
                       : "shard 1, which has the catalog, did not answer in time");
    }
}

void migrate_dismiss(struct migrate *m)
{
    while (!list_empty(&m->clients))
        give_up(m, head(m), "this coordinator is not the active one any more");
}

/* ---- a look at all shards ---- */

void migrate_survey_end(struct migrate *m)
{
    struct migrate_survey *s = &m->survey;
    for (size_t i = 0; s->on && i < s->job.count; i++)
        migrate_look_end(m, &s->looks[i]);
    free(s->looks);
    migrate_job_deinit(&s->job);
    *s = (struct migrate_survey){0};
}

static void made(struct migrate *m, struct migrate_client *one, uint64_t now_ns)
{
    one->changed = true;
    migrate_change(m, now_ns);
}

static void start(struct migrate *m, struct migrate_client *one, uint64_t now_ns)
{
    struct hlc id;
    const struct migrate_job *plan = &m->survey.job;
    for (size_t i = 0; i < plan->count; i++)
        if (plan->shards[i].reason[0]) {
            refuse_job(m, one, HF_E_REFUSED, "not started: shard %" PRIu32 ": %s", plan->shards[i].shard,
                       plan->shards[i].reason);
            return;
        }
    int rc = m->port.draw(m->port.ctx, &id);
    if (rc) {
        refuse_job(m, one, rc, "not started: no timestamp now: %s", error_text(rc));
        return;
    }
    struct migrate_job job, *taken = &job;
    migrate_job_make(&job, one->q, m->port.routes(m->port.ctx), id.t);
    migrate_set_job(m, &taken, now_ns);
    diag(DIAG_INFO, "migration: started id=%016" PRIx64 " target=%s shards=%zu", m->job.id, m->job.target,
         m->job.count);
    made(m, one, now_ns);
}

static void finalize(struct migrate *m, struct migrate_client *one, uint64_t now_ns)
{
    const struct migrate_job *found = &m->survey.job;
    for (size_t i = 0; i < found->count; i++)
        if (found->shards[i].reason[0]) {
            refuse_job(m, one, HF_E_REFUSED, "not finalized: shard %" PRIu32 ": %s", found->shards[i].shard,
                       found->shards[i].reason);
            return;
        }
    m->job.phase = JOB(FINALIZED);
    made(m, one, now_ns);
}

static void surveyed(struct migrate *m, uint64_t now_ns)
{
    struct migrate_client *one = head(m);
    must(one != NULL); /* it ends with who asked for it */
    if (one->q->action == ACTION(PLAN))
        answer(m, one, HF_OK, "", &m->survey.job);
    else if (m->state != MIGRATE_READY)
        refuse_job(m, one, HF_E_UNAVAILABLE, "the job changed meanwhile; ask again; nothing is changed");
    else if (one->q->action == ACTION(START))
        start(m, one, now_ns);
    else
        finalize(m, one, now_ns);
    migrate_survey_end(m);
}

static const struct migrate_shard *shard_of(const struct migrate_job *job, uint32_t shard)
{
    for (size_t i = 0; i < job->count; i++)
        if (job->shards[i].shard == shard)
            return &job->shards[i];
    return NULL;
}

void migrate_survey_seen(struct migrate *m, size_t at, uint64_t now_ns)
{
    struct migrate_survey *s = &m->survey;
    struct migrate_shard *shard = &s->job.shards[at];
    if (head(m)->q->action == ACTION(FINALIZE)) {
        const struct migrate_shard *kept = shard_of(&m->job, shard->shard);
        (void)migrate_judge_final(&m->job, kept ? kept : shard, s->looks[at], shard->reason);
    } else {
        struct migrate_verdict v;
        migrate_judge(&s->job, shard, s->looks[at], 0, false, &v);
        shard->phase = v.phase;
        snprintf(shard->reason, sizeof shard->reason, "%s", v.reason);
        snprintf(shard->source, sizeof shard->source, "%.*s", MIGRATE_ENGINE_BYTES - 1, v.source ? v.source : "");
    }
    migrate_look_end(m, &s->looks[at]);
    if (--s->waiting == 0)
        surveyed(m, now_ns);
}

static void survey(struct migrate *m, const struct migrate_client *one, uint64_t now_ns)
{
    struct migrate_survey *s = &m->survey;
    Hf__Client__MigrateJob q = *one->q;
    if (q.action == ACTION(FINALIZE))
        q.target = m->job.target;
    migrate_job_make(&s->job, &q, m->port.routes(m->port.ctx), 0);
    s->job.phase = JOB(NONE);
    s->looks = calloc(s->job.count + 1, sizeof *s->looks);
    must(s->looks != NULL); /* out of memory */
    s->on = true;
    size_t count = s->waiting = s->job.count;
    for (size_t i = 0; i < count; i++)
        s->looks[i] = migrate_look_begin(m, s->job.shards[i].shard, now_ns);
    for (size_t i = 0; i < count && s->on; i++)
        if (s->looks[i]->waiting == 0)
            migrate_survey_seen(m, i, now_ns);
}

/* ---- what is asked ---- */

static void set_phase(struct migrate *m, struct migrate_client *one, Hf__Catalog__JobPhase phase, uint64_t now_ns)
{
    if (migrate_job_leave_out(&m->job, one->q->without, one->q->n_without)) {
        refuse_job(m, one, HF_E_LIMIT, "more than %u replicas would be left out", REQUESTS_WITHOUT_MAX);
        return;
    }
    if (m->job.phase == phase) { /* so it is here; the catalog is asked whether it is there */
        made(m, one, now_ns);
        return;
    }
    m->job.phase = phase;
    m->job.reason[0] = '\0';
    for (size_t i = 0; i < m->job.count; i++)
        m->drives[i].since_ns = m->drives[i].next_ns = 0;
    diag(DIAG_INFO, "migration: %s id=%016" PRIx64 " target=%s", migrate_phase_text(phase), m->job.id, m->job.target);
    migrate_settle(m);
    made(m, one, now_ns);
}

/* False: answered. */
static bool may(struct migrate *m, struct migrate_client *one)
{
    const char *target = one->q->target;
    const struct migrate_job *job = &m->job;
    bool starts = one->q->action == ACTION(START), ends = one->q->action == ACTION(FINALIZE);
    bool over = !migrate_job_open(job);
    if (starts && !over)
        refuse_job(
            m, one, HF_E_REFUSED,
            "not started: a migration to %s is %s; wait for its end, or abort it: holdfast migrate abort --to %s",
            job->target, migrate_phase_text(job->phase), job->target);
    else if (!starts && job->id == 0)
        refuse_job(m, one, HF_E_ABSENT, "there is no migration; begin one: holdfast migrate start --to ENGINE");
    else if (!starts && target[0] && strcmp(target, job->target) != 0)
        refuse_job(m, one, HF_E_REFUSED, "the migration is one to %s, not to %s", job->target, target);
    else if (ends && job->phase != JOB(DONE) && job->phase != JOB(FINALIZED))
        refuse_job(m, one, HF_E_REFUSED, "not finalized: the migration to %s is %s; it has to be done first",
                   job->target, migrate_phase_text(job->phase));
    else if (one->q->action == ACTION(ABORT) && job->phase == JOB(ABORTED))
        answer(m, one, HF_OK, "", job); /* asked again: the first answer was lost */
    else if (!starts && !ends && over)
        refuse_job(m, one, HF_E_REFUSED, "the migration to %s is %s%s", job->target, migrate_phase_text(job->phase),
                   job->phase == JOB(DONE) ? "; the way back is another one" : "");
    else if (!starts && job->phase == JOB(ABORTING) && one->q->action != ACTION(ABORT))
        refuse_job(m, one, HF_E_REFUSED, "the migration to %s is being aborted", job->target);
    else if (one->q->action == ACTION(PAUSE) && job->phase == JOB(STOPPED))
        refuse_job(m, one, HF_E_REFUSED, "the migration to %s is stopped: %s", job->target, job->reason);
    else
        return true;
    return false;
}

/* Everybody left out is a member; else it was named by mistake. */
static bool members_named(struct migrate *m, struct migrate_client *one)
{
    const Hf__Catalog__Routes *routes = m->port.routes(m->port.ctx);
    for (size_t i = 0; i < one->q->n_without; i++) {
        const Hf__Catalog__JobAbsent *a = one->q->without[i];
        const Hf__Catalog__Shard *shard = routes_shard(routes, a->shard);
        bool found = false;
        for (size_t k = 0; shard && k < shard->n_members; k++)
            found |= shard->members[k]->replica == a->replica;
        if (found)
            continue;
        refuse_job(m, one, HF_E_ABSENT,
                   "there is no replica %" PRIu32 "/%" PRIu32 " to go without; holdfast members lists them", a->shard,
                   a->replica);
        return false;
    }
    return true;
}

static void serve_one(struct migrate *m, struct migrate_client *one, uint64_t now_ns)
{
    if (one->q->action == ACTION(PLAN)) {
        if (members_named(m, one))
            survey(m, one, now_ns);
        return;
    }
    if (!may(m, one) || !members_named(m, one))
        return;
    switch (one->q->action) {
    case ACTION(START):
        survey(m, one, now_ns);
        break;
    case ACTION(FINALIZE):
        if (m->job.phase == JOB(FINALIZED))
            answer(m, one, HF_OK, "", &m->job);
        else
            survey(m, one, now_ns);
        break;
    case ACTION(PAUSE):
        set_phase(m, one, JOB(PAUSED), now_ns);
        break;
    case ACTION(RESUME):
        set_phase(m, one, JOB(RUNNING), now_ns);
        break;
    case ACTION(ABORT):
        set_phase(m, one, JOB(ABORTING), now_ns);
        break;
    case ACTION(PLAN):
    case ACTION(STATUS):
    case _HF__CLIENT__JOB_ACTION_IS_INT_SIZE:
        must(false); /* not here */
    }
}

void migrate_serve(struct migrate *m, uint64_t now_ns)
{
    if (m->state != MIGRATE_READY)
        return;
    LIST_EACH (it, &m->clients) {
        struct migrate_client *one = LIST_OWNER(it, struct migrate_client, link);
        if (one->q->action == ACTION(STATUS))
            answer(m, one, HF_OK, "", &m->job);
    }
    while (m->state == MIGRATE_READY && !m->survey.on && head(m) != NULL)
        serve_one(m, head(m), now_ns);
}

int migrate_ask(struct migrate *m, const struct forward_client *client, const Hf__Client__MigrateJob *q,
                uint64_t deadline_ns, uint64_t now_ns)
{
    if (m->client_count >= MIGRATE_CLIENTS_MAX)
        return HF_E_BUSY;
    struct migrate_client *one = calloc(1, sizeof *one);
    must(one != NULL); /* out of memory */
    one->client = *client;
    one->deadline_ns = deadline_ns;
    struct buf packed = {0}; /* the request's memory ends with this turn */
    pack_append(&q->base, &packed);
    one->q = pack_unpack(&hf__client__migrate_job__descriptor, buf_slice(&packed), &one->arena);
    buf_deinit(&packed);
    must(one->q != NULL); /* it was unpacked before */
    m->client_count++;
    list_push(&m->clients, &one->link);
    migrate_serve(m, now_ns);
    return HF_OK;
}
