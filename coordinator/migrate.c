/* migrate.c: see migrate.h. The record in the catalog, and the way of everything that comes in. */
#include "coordinator/migrate.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "coordinator/limits.h"
#include "coordinator/migrate_parts.h"
#include "proto/pack.h"

void migrate_init(struct migrate *m, const struct migrate_port *port)
{
    *m = (struct migrate){.port = *port};
    list_init(&m->clients);
}

static void forget(struct migrate *m)
{
    migrate_survey_end(m);
    migrate_drive_forget(m);
    migrate_job_deinit(&m->job);
    buf_clear(&m->kept);
    buf_clear(&m->proposal);
    m->kept_present = false;
    m->question = m->next_ns = m->soak_ns = 0;
    m->state = MIGRATE_IDLE;
    m->reign = 0;
}

void migrate_deinit(struct migrate *m)
{
    forget(m);
    m->port.answer = NULL;
    migrate_dismiss(m);
    hashmap_deinit(&m->looks);
    hashmap_deinit(&m->acts);
    buf_deinit(&m->kept);
    buf_deinit(&m->proposal);
}

void migrate_set_job(struct migrate *m, struct migrate_job **job, uint64_t now_ns)
{
    migrate_drive_forget(m);
    migrate_job_deinit(&m->job);
    m->job = **job;
    **job = (struct migrate_job){0};
    *job = NULL;
    m->drives = calloc(m->job.count + 1, sizeof *m->drives);
    must(m->drives != NULL); /* out of memory */
    bool forgets = planted_bug("migrate.soak_forgotten");
    m->soak_ns = now_ns + (forgets ? 0 : migrate_job_soak_left(&m->job, m->port.now_ms(m->port.ctx)) * CLOCK_NS_PER_MS);
}

/* ---- the catalog ---- */

static void load(struct migrate *m, enum migrate_state state, uint64_t now_ns)
{
    m->state = state;
    m->question = ++m->serial;
    m->next_ns = now_ns + MIGRATE_RETRY_MS * CLOCK_NS_PER_MS;
    if (m->port.load(m->port.ctx, m->question, now_ns))
        m->question = 0;
}

static void store(struct migrate *m, uint64_t now_ns)
{
    struct slice expected = buf_slice(&m->kept);
    m->question = ++m->serial;
    m->next_ns = now_ns + MIGRATE_RETRY_MS * CLOCK_NS_PER_MS;
    if (m->port.store(m->port.ctx, m->question, m->kept_present ? &expected : NULL, buf_slice(&m->proposal), now_ns))
        m->question = 0;
}

void migrate_change(struct migrate *m, uint64_t now_ns)
{
    must(m->state == MIGRATE_READY && m->job.id != 0);
    struct arena arena = {0};
    Hf__Catalog__Job message;
    migrate_job_message(&m->job, &arena, &message);
    buf_clear(&m->proposal);
    pack_append(&message.base, &m->proposal);
    arena_deinit(&arena);
    m->state = MIGRATE_STORING;
    store(m, now_ns);
}

static void keep(struct migrate *m, bool present, struct slice value)
{
    buf_clear(&m->kept);
    buf_append(&m->kept, value.data, value.size);
    m->kept_present = present;
}

static void now_kept(struct migrate *m, uint64_t now_ns)
{
    keep(m, true, buf_slice(&m->proposal));
    m->state = MIGRATE_READY;
    migrate_drive_gauges(m);
    migrate_served(m, HF_OK);
    migrate_serve(m, now_ns);
}

static void take_over(struct migrate *m, bool present, struct slice value, uint64_t now_ns)
{
    struct migrate_job job = {0}, *taken = &job;
    keep(m, present, value);
    if (present && migrate_job_read(&job, value) != HF_OK)
        diag(DIAG_ERROR, "catalog key \"migration\" cannot be read; no migration is driven, a new one replaces it");
    migrate_set_job(m, &taken, now_ns);
    m->state = MIGRATE_READY;
    if (m->job.id != 0)
        diag(DIAG_INFO, "migration: taken over id=%016" PRIx64 " target=%s state=%s", m->job.id, m->job.target,
             migrate_phase_text(m->job.phase));
    migrate_drive_gauges(m);
}

void migrate_loaded(struct migrate *m, uint64_t question, int code, struct slice value, uint64_t now_ns)
{
    if (question != m->question)
        return;
    m->question = 0;
    if (code != HF_OK && code != HF_E_NOT_FOUND)
        return; /* again, behind a pause */
    bool present = code == HF_OK, checking = m->state == MIGRATE_CHECKING;
    struct slice had = buf_slice(&m->kept);
    if (checking && present && slice_equal(value, buf_slice(&m->proposal))) {
        now_kept(m, now_ns);
    } else if (checking && present == m->kept_present && (!present || slice_equal(value, had))) {
        m->state = MIGRATE_STORING; /* it was not written; an attempt that comes late writes the same */
        store(m, now_ns);
    } else {
        if (checking)
            migrate_served(m, HF_E_CONFLICT);
        take_over(m, present, value, now_ns);
        migrate_serve(m, now_ns);
    }
}

void migrate_stored(struct migrate *m, uint64_t question, int code, uint64_t now_ns)
{
    if (question != m->question)
        return;
    m->question = 0;
    if (code == HF_OK)
        now_kept(m, now_ns);
    else
        m->state = MIGRATE_CHECKING;
}

/* ---- what comes in ---- */

void migrate_saw(struct migrate *m, uint64_t look_id, uint32_t replica, const Hf__Client__Status *status,
                 uint64_t now_ns)
{
    struct migrate_look *look = hashmap_get(&m->looks, look_id);
    if (look == NULL)
        return;
    for (size_t i = 0; i < look->count; i++) {
        if (look->seen[i].replica != replica)
            continue;
        bool meant = status && status->shard == look->shard && status->replica == replica && status->log_epoch != 0;
        struct buf packed = {0}; /* the reply's memory ends with this turn */
        if (meant)
            pack_append(&status->base, &packed);
        look->seen[i].said =
            meant ? pack_unpack(&hf__client__status__descriptor, buf_slice(&packed), &look->arena) : NULL;
        buf_deinit(&packed);
    }
    if (--look->waiting > 0)
        return;
    for (size_t i = 0; i < m->job.count; i++)
        if (m->drives[i].look == look) {
            migrate_drive_seen(m, i, now_ns);
            return;
        }
    for (size_t i = 0; m->survey.on && i < m->survey.job.count; i++)
        if (m->survey.looks[i] == look) {
            migrate_survey_seen(m, i, now_ns);
            return;
        }
}

Hf__Catalog__Job *migrate_open(const struct migrate *m, struct arena *arena)
{
    if (!migrate_job_open(&m->job))
        return NULL;
    Hf__Catalog__Job *out = arena_alloc(arena, sizeof *out);
    migrate_job_message(&m->job, arena, out);
    for (size_t i = 0; i < out->n_shards; i++) {
        Hf__Catalog__JobShard *s = out->shards[i];
        s->source = s->reason = (char *)(uintptr_t)protobuf_c_empty_string;
        s->epoch = 0;
        s->configuration = s->begun_ms = s->took_ms = 0;
    }
    return out;
}

void migrate_tick(struct migrate *m, uint64_t now_ns)
{
    uint64_t reign = m->port.reign(m->port.ctx);
    if (reign != m->reign) {
        forget(m);
        migrate_dismiss(m);
        migrate_drive_gauges(m);
        m->reign = reign;
    }
    migrate_expire(m, now_ns);
    if (reign == 0 || m->port.routes(m->port.ctx) == NULL)
        return;
    bool due = m->question == 0 && now_ns >= m->next_ns;
    switch (m->state) {
    case MIGRATE_IDLE:
    case MIGRATE_LOADING:
        if (due)
            load(m, MIGRATE_LOADING, now_ns);
        break;
    case MIGRATE_STORING:
        if (due)
            store(m, now_ns);
        break;
    case MIGRATE_CHECKING:
        if (due)
            load(m, MIGRATE_CHECKING, now_ns);
        break;
    case MIGRATE_READY:
        migrate_serve(m, now_ns);
        migrate_drive_all(m, now_ns);
        break;
    }
}
