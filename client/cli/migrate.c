/* migrate.c: migrate: the job by which the active coordinator changes the engine of all shards: begun, followed, held, undone. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/cli/active.h"
#include "client/cli/job.h"
#include "client/cli/stop.h"
#include "client/cli/text.h"
#include "common/sys/clock.h"

#define POLL_MS 200
#define SILENT_MS 60000u /* a job that nobody tells of is followed for so long */
#define JOB(name) HF__CATALOG__JOB_PHASE__JOB_##name
#define SHARD(name) HF__CATALOG__JOB_SHARD_PHASE__SHARD_##name
#define ACTION(name) HF__CLIENT__JOB_ACTION__JOB_##name
#define LOOK "look: holdfast migrate status"

struct order {
    Hf__Client__JobAction action;
    Hf__Catalog__JobAbsent absent[CLI_WITHOUT_MAX], *list[CLI_WITHOUT_MAX];
    size_t absent_count;
};

/* ---- asking ---- */

static int read_absent(struct cli *c, struct order *o)
{
    for (size_t i = 0; i < c->without_count; i++) {
        unsigned long long shard = 0, replica = 0;
        int size = 0;
        const char *text = c->without[i];
        if (sscanf(text, "%10llu/%10llu%n", &shard, &replica, &size) != 2 || text[size] || shard == 0 || replica == 0 ||
            shard > UINT32_MAX || replica > UINT32_MAX)
            return cli_usage(c, "--without \"%s\" is no SHARD/REPLICA, such as 2/3", text);
        hf__catalog__job_absent__init(&o->absent[i]);
        o->absent[i].shard = (uint32_t)shard;
        o->absent[i].replica = (uint32_t)replica;
        o->list[o->absent_count++] = &o->absent[i];
    }
    return HF_OK;
}

/* HF_OK: *out (owned) has a job. Else the code, nothing to free. */
static int ask(struct cli *c, struct admin *a, const struct order *o, Hf__Client__Reply **out,
               char message[ACTIVE_TEXT_BYTES])
{
    Hf__Client__MigrateJob body = HF__CLIENT__MIGRATE_JOB__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    body.action = o->action;
    body.target = (char *)(uintptr_t)(c->to ? c->to : ""); /* packing only reads */
    body.soak_ms = (uint32_t)(c->soak * 1000);
    body.max_parallel = (uint32_t)c->max_parallel;
    body.n_without = o->absent_count;
    body.without = (Hf__Catalog__JobAbsent **)(uintptr_t)o->list;
    request.op_case = HF__CLIENT__REQUEST__OP_MIGRATE_JOB;
    request.migrate_job = &body;
    bool changes = o->action != ACTION(PLAN) && o->action != ACTION(STATUS);
    int rc = active_ask(c, a, &request, changes ? LOOK : "nothing is changed", out, message);
    if (rc == HF_E_OUTCOME_UNKNOWN && !changes)
        rc = HF_E_TIMEOUT;
    if (rc == HF_OK && !(*out)->job) {
        rc = HF_E_PROTOCOL;
        snprintf(message, ACTIVE_TEXT_BYTES, "the coordinator's answer has no job");
    }
    if (rc && *out) {
        hf__client__reply__free_unpacked(*out, NULL);
        *out = NULL;
    }
    return rc;
}

/* ---- telling ---- */

static void tell(const struct cli *c, const Hf__Catalog__Job *j)
{
    (c->json ? job_json : job_table)(j);
}

static int degraded(struct cli *c, const char *what, const Hf__Catalog__Job *j, const char *hint)
{
    (void)cli_error(c, HF_E_REFUSED, "the migration to %s %s%s%s%s", j->target, what, j->reason[0] ? ": " : "",
                    j->reason, hint);
    return CLI_DEGRADED;
}

/* ---- following ---- */

static bool over(const Hf__Catalog__Job *j)
{
    return j->phase != JOB(RUNNING) && j->phase != JOB(PAUSED) && j->phase != JOB(ABORTING);
}

/* What is new since `was`, which may be NULL. */
static void tell_news(const struct cli *c, const Hf__Catalog__Job *was, const Hf__Catalog__Job *j)
{
    if (c->json)
        return;
    if (was && was->phase != j->phase && !over(j))
        printf("%s\n", job_phase_text(j->phase));
    for (size_t i = 0; i < j->n_shards; i++) {
        const Hf__Catalog__JobShard *s = j->shards[i], *before = was && i < was->n_shards ? was->shards[i] : NULL;
        bool news =
            before ? before->phase != s->phase || strcmp(before->reason, s->reason) != 0 : s->phase != SHARD(PLANNED);
        if (news)
            job_line(s);
    }
    fflush(stdout);
}

static int ended(struct cli *c, const struct order *o, const Hf__Catalog__Job *j)
{
    if (c->json)
        job_json(j);
    else
        printf("%s\n", job_phase_text(j->phase));
    if (j->phase == JOB(STOPPED))
        return degraded(c, "stopped", j, "; then: holdfast migrate resume, or abort");
    if (j->phase == JOB(ABORTED) && o->action != ACTION(ABORT))
        return degraded(c, "was aborted", j, "");
    if (j->phase != JOB(ABORTED) && o->action == ACTION(ABORT))
        return cli_error(c, HF_E_REFUSED, "not aborted: every shard runs %s; the way back is another migration",
                         j->target);
    return CLI_OK;
}

/* Takes *reply, which has the job as it was at first. */
static int follow(struct cli *c, struct admin *a, const struct order *o, Hf__Client__Reply **reply)
{
    char message[ACTIVE_TEXT_BYTES] = "";
    const struct order status = {.action = ACTION(STATUS)};
    uint64_t heard_ns = clock_boot_ns(), id = (*reply)->job->id;
    int rc = HF_OK;
    stop_on_signals();
    tell_news(c, NULL, (*reply)->job);
    while (!over((*reply)->job) && !stop_asked() && heard_ns + SILENT_MS * CLOCK_NS_PER_MS > clock_boot_ns()) {
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
        Hf__Client__Reply *next;
        rc = stop_asked() ? HF_E_AGAIN : ask(c, a, &status, &next, message);
        if (rc)
            continue;
        heard_ns = clock_boot_ns();
        tell_news(c, (*reply)->job, next->job);
        hf__client__reply__free_unpacked(*reply, NULL);
        *reply = next;
        if (next->job->id != id)
            break;
    }
    if (stop_asked()) {
        cli_warn(c, "the migration goes on without this command; look: holdfast migrate status");
        stop_end();
    }
    if ((*reply)->job->id != id)
        return cli_error(c, HF_E_CONFLICT, "another migration, to %s, was started meanwhile", (*reply)->job->target);
    return over((*reply)->job)
               ? ended(c, o, (*reply)->job)
               : cli_error(c, HF_E_UNAVAILABLE, "nobody tells how the migration stands: %s; " LOOK, message);
}

/* ---- commands ---- */

static int obstacles(struct cli *c, const Hf__Catalog__Job *j)
{
    size_t count = 0, first = 0;
    for (size_t i = j->n_shards; i-- > 0;)
        if (j->shards[i]->reason[0]) {
            count++;
            first = i;
        }
    if (count == 0)
        return CLI_OK;
    return cli_error(c, HF_E_REFUSED, "%zu of %zu shards cannot begin now: shard %" PRIu32 ": %s", count, j->n_shards,
                     j->shards[first]->shard, j->shards[first]->reason);
}

static int planned(struct cli *c, struct admin *a, struct order *o)
{
    char message[ACTIVE_TEXT_BYTES];
    Hf__Client__Reply *reply;
    o->action = ACTION(PLAN);
    int rc = ask(c, a, o, &reply, message);
    if (rc)
        return cli_failed(c, rc, message);
    if (c->json) {
        job_json(reply->job);
    } else {
        const Hf__Catalog__Job *j = reply->job;
        printf("to %s, in this order; %" PRIu64 " s between two; %" PRIu32 " at once\n", j->target, c->soak,
               j->max_parallel);
        for (size_t i = 0; i < j->n_shards; i++)
            printf("shard %-5" PRIu32 "  %s%s%s%s\n", j->shards[i]->shard,
                   j->shards[i]->phase == SHARD(DONE) ? "runs it already" : "from ",
                   j->shards[i]->phase == SHARD(DONE) ? ""
                   : j->shards[i]->source[0]          ? j->shards[i]->source
                                                      : "?",
                   j->shards[i]->reason[0] ? "  (!) " : "", j->shards[i]->reason);
    }
    rc = obstacles(c, reply->job);
    hf__client__reply__free_unpacked(reply, NULL);
    return cli_flush_done(c, rc);
}

static int confirm(struct cli *c, struct admin *a, struct order *o)
{
    char said[16];
    if (c->yes)
        return CLI_OK;
    if (c->json || isatty(STDIN_FILENO) != 1)
        return cli_usage(c, "migrate start changes the engine of every shard to %s: add --yes", c->to);
    int rc = planned(c, a, o);
    if (rc)
        return rc;
    printf("change the engine of these shards to %s? [y/N] ", c->to);
    fflush(stdout);
    if (fgets(said, sizeof said, stdin) && (said[0] == 'y' || said[0] == 'Y'))
        return CLI_OK;
    return cli_error(c, HF_E_REFUSED, "not started");
}

static int act(struct cli *c, struct admin *a, struct order *o)
{
    char message[ACTIVE_TEXT_BYTES];
    Hf__Client__Reply *reply;
    Hf__Client__JobAction action = o->action;
    if (action == ACTION(PLAN))
        return planned(c, a, o);
    int rc = action == ACTION(START) ? confirm(c, a, o) : CLI_OK;
    if (rc)
        return rc;
    o->action = action;
    rc = ask(c, a, o, &reply, message);
    if (rc)
        return cli_failed(c, rc, message);
    bool follows = action == ACTION(START) || action == ACTION(RESUME) || action == ACTION(ABORT);
    if (follows && !c->detach) {
        rc = follow(c, a, o, &reply);
    } else {
        tell(c, reply->job);
        bool stands = action == ACTION(STATUS) && reply->job->phase == JOB(STOPPED);
        rc = stands ? degraded(c, "is stopped", reply->job, "; then: holdfast migrate resume, or abort") : CLI_OK;
    }
    hf__client__reply__free_unpacked(reply, NULL);
    return cli_flush_done(c, rc);
}

static int run(struct cli *c, Hf__Client__JobAction action)
{
    struct order *o = arena_zalloc(&c->arena, sizeof *o);
    int rc = cli_check_endpoints(c);
    if (rc)
        return rc;
    if ((!c->to || !c->to[0]) && (action == ACTION(PLAN) || action == ACTION(START)))
        return cli_usage(c, "migrate needs the engine to change to: --to native or --to libraft");
    rc = read_absent(c, o);
    if (rc)
        return rc;
    o->action = action;
    struct admin *a = admin_open();
    rc = a ? act(c, a, o) : cli_error(c, HF_E_NO_MEMORY, NULL);
    admin_close(&a);
    return rc;
}

int migrate_plan(struct cli *c)
{
    return run(c, ACTION(PLAN));
}

int migrate_start(struct cli *c)
{
    return run(c, ACTION(START));
}

int migrate_status(struct cli *c)
{
    return run(c, ACTION(STATUS));
}

int migrate_pause(struct cli *c)
{
    return run(c, ACTION(PAUSE));
}

int migrate_resume(struct cli *c)
{
    return run(c, ACTION(RESUME));
}

int migrate_abort(struct cli *c)
{
    return run(c, ACTION(ABORT));
}

int migrate_finalize(struct cli *c)
{
    return run(c, ACTION(FINALIZE));
}
