/* migrator.c: see migrator.h. */
#include "tests/sim/world/migrator.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/base/hashmap.h"
#include "common/sys/failpoint.h"
#include "proto/client.pb-c.h"
#include "proto/pack.h"
#include "tests/sim/world/epochs.h"
#include "tests/sim/world/process.h"
#include "tests/sim/world/wire.h"

#define ID_FIRST (UINT64_C(1) << 35)
#define ATTEMPT_MS 400
#define ENGINE_BYTES 16
#define ASKED_MAX 16      /* requests whose answers are still taken */
#define SENT_MAX 8        /* steps that may be sent once more, much later */
#define SALT UINT64_C(50) /* one by which no seed changes engines that was kept before there was a migrator */

struct step { /* of a migration, as it is asked for */
    Hf__Entry__MigrateStep step;
    uint32_t shard, epoch;
    uint64_t id, configuration;
    char source[ENGINE_BYTES], target[ENGINE_BYTES];
};

struct asked {
    uint64_t id;      /* of the request; 0: answered, or too old */
    struct step step; /* MIGRATE_NONE: the status */
};

struct plan { /* the migration that it drives; shard 0: none */
    struct step step;
    bool prepared; /* somebody was told so */
};

struct migrator {
    struct migrators *all;
    struct net_socket *sockets[WORLD_PROCESSES];
    struct plan plan;
    struct asked asked[ASKED_MAX];
    unsigned asked_count;
    struct step sent[SENT_MAX];
    unsigned sent_count;
    uint64_t waits_for, until; /* a request, and until when */
    uint64_t next_at;
    uint32_t leader[WORLD_SHARDS + 1]; /* 0: anybody */
};

struct migrators {
    struct world *world;
    struct random random;
    uint64_t last_request, last_id, gap_ms;
    struct migrator one[MIGRATORS];
};

bool migrator_wanted(const struct sim_options *options)
{
    struct random r = {.state = options->seed ^ SALT};
    if (options->migrate != SIM_MIGRATE_DRAWN || engine_find("libraft") == NULL)
        return options->migrate == SIM_MIGRATE_ALWAYS;
    return !options->calm && random_below(&r, 3) == 0;
}

static uint64_t below(struct migrator *m, uint64_t n)
{
    return random_below(&m->all->random, n);
}

/* ---- sending ---- */

static void ask(struct migrator *m, const struct step *s, uint32_t replica)
{
    struct world *w = m->all->world;
    struct buf packed = {0};
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    Hf__Client__Empty empty = HF__CLIENT__EMPTY__INIT;
    Hf__Entry__MigrateEntry e = HF__ENTRY__MIGRATE_ENTRY__INIT;
    struct step copy = *s;
    q.version = 1;
    q.cluster = WORLD_CLUSTER;
    q.id = ID_FIRST + ++m->all->last_request;
    q.deadline_ms = 1000;
    q.shard = s->shard;
    q.op_case = HF__CLIENT__REQUEST__OP_STATUS;
    q.status = &empty;
    if (s->step != HF__ENTRY__MIGRATE_STEP__MIGRATE_NONE) {
        e.step = s->step;
        e.id = s->id;
        e.epoch = s->epoch;
        e.source = copy.source;
        e.target = copy.target;
        e.configuration = s->configuration;
        q.op_case = HF__CLIENT__REQUEST__OP_MIGRATE;
        q.migrate = &e;
        m->sent[m->sent_count++ % SENT_MAX] = *s;
    }
    m->asked[m->asked_count++ % ASKED_MAX] = (struct asked){q.id, *s};
    m->waits_for = q.id;
    m->until = w->now + ATTEMPT_MS * SIM_MS;
    pack_append(&q.base, &packed);
    uint32_t to = world_replica(s->shard, replica);
    world_trace(w, 0, "migrate", (uint64_t)s->step << 32 | s->id, to);
    int rc = net_send(m->sockets[to], buf_slice(&packed));
    (void)rc; /* as lost */
    buf_deinit(&packed);
}

static uint32_t someone(struct migrator *m)
{
    return 1 + (uint32_t)below(m, WORLD_REPLICAS);
}

static uint32_t leader(struct migrator *m, uint32_t shard)
{
    return m->leader[shard] != 0 ? m->leader[shard] : someone(m);
}

static void ask_status(struct migrator *m, uint32_t shard)
{
    ask(m, &(struct step){.shard = shard}, below(m, 2) == 0 ? leader(m, shard) : someone(m));
}

static void ask_step(struct migrator *m, Hf__Entry__MigrateStep step)
{
    struct step s = m->plan.step;
    s.step = step;
    ask(m, &s, leader(m, s.shard));
}

/* ---- being told ---- */

static void drop(struct migrator *m)
{
    m->plan = (struct plan){0};
    m->next_at = m->all->world->now + below(m, m->all->gap_ms) * SIM_MS;
}

/* Goes on with what somebody else prepared, as it stands in the record. */
static void adopt(struct migrator *m, uint32_t shard, const Hf__Entry__MigrationRecord *r)
{
    m->plan = (struct plan){.step = {.shard = shard, .epoch = r->epoch, .id = r->id, .configuration = r->configuration},
                            .prepared = true};
    snprintf(m->plan.step.source, ENGINE_BYTES, "%s", r->source);
    snprintf(m->plan.step.target, ENGINE_BYTES, "%s", r->target);
}

static void begin(struct migrator *m, uint32_t shard, const Hf__Client__Status *s)
{
    m->plan = (struct plan){.step = {.shard = shard,
                                     .epoch = s->log_epoch,
                                     .id = ++m->all->last_id,
                                     .configuration = s->members != NULL ? s->members->index : 0}};
    snprintf(m->plan.step.source, ENGINE_BYTES, "%s", s->engine);
    snprintf(m->plan.step.target, ENGINE_BYTES, "%s", strcmp(s->engine, "native") == 0 ? "libraft" : "native");
}

/* What a record says of the migration that it drives. */
static void follow(struct migrator *m, const Hf__Entry__MigrationRecord *r)
{
    struct plan *p = &m->plan;
    if (r == NULL || p->step.shard == 0)
        return;
    bool behind = r->epoch > p->step.epoch ||
                  (r->epoch == p->step.epoch && r->state == HF__ENTRY__MIGRATION_STATE__MIGRATION_SEALED);
    bool aborted = r->aborted_epoch == p->step.epoch && r->aborted >= p->step.id;
    if (behind || aborted)
        drop(m);
    else if (r->state == HF__ENTRY__MIGRATION_STATE__MIGRATION_PREPARED && r->id == p->step.id)
        p->prepared = true;
}

static void note_record(struct migrator *m, uint32_t shard, const Hf__Entry__MigrationRecord *r)
{
    struct world *w = m->all->world;
    if (r == NULL)
        return;
    if (r->aborted_epoch != 0)
        epochs_told_aborted(w, shard, r->aborted_epoch, r->aborted);
    if (r->state == HF__ENTRY__MIGRATION_STATE__MIGRATION_SEALED)
        epochs_told_sealed(w, shard, r->epoch, r->id);
    if (shard == m->plan.step.shard)
        follow(m, r);
}

static void status_heard(struct migrator *m, uint32_t shard, const Hf__Client__Status *s)
{
    const Hf__Entry__MigrationRecord *r = s->migration;
    if (s->leader != 0)
        m->leader[shard] = s->leader;
    note_record(m, shard, r);
    if (m->plan.step.shard == shard && s->log_epoch > m->plan.step.epoch)
        drop(m);
    if (m->plan.step.shard != 0 || s->cluster == 0 || s->members == NULL)
        return;
    bool prepared = r != NULL && r->state == HF__ENTRY__MIGRATION_STATE__MIGRATION_PREPARED && r->epoch == s->log_epoch;
    if (prepared && below(m, 2) == 0)
        adopt(m, shard, r);
    else
        begin(m, shard, s);
}

static void step_heard(struct migrator *m, const struct step *s, const Hf__Client__Reply *r)
{
    struct world *w = m->all->world;
    bool ours = m->plan.step.shard == s->shard && m->plan.step.id == s->id && m->plan.step.epoch == s->epoch;
    if (error_class(r->code) == HF_CLASS_RETRY_ELSEWHERE || error_class(r->code) == HF_CLASS_REFRESH_ROUTE)
        m->leader[s->shard] = r->leader;
    note_record(m, s->shard, r->migration);
    if (r->code == HF_OK && s->step == HF__ENTRY__MIGRATE_STEP__MIGRATE_ABORT)
        epochs_told_aborted(w, s->shard, s->epoch, s->id);
    if (r->code == HF_OK && s->step == HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL)
        epochs_told_sealed(w, s->shard, s->epoch, s->id);
    if (ours && r->code == HF_OK && s->step == HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE)
        m->plan.prepared = true;
    if (ours && (r->code == HF_E_COMPARE_FAILED || r->code == HF_E_FENCED || r->code == HF_E_REFUSED ||
                 (r->code == HF_E_BUSY && r->migration != NULL)))
        drop(m);
}

static void heard(void *ctx, struct slice frame)
{
    struct migrator *m = ctx;
    Hf__Client__Reply *r = hf__client__reply__unpack(NULL, frame.size, frame.data);
    must(r != NULL);
    for (unsigned i = 0; i < ASKED_MAX; i++) {
        struct asked *a = &m->asked[i];
        if (a->id != r->id || r->id == 0)
            continue;
        world_trace(m->all->world, 0, "migration", r->id - ID_FIRST, (uint64_t)-r->code);
        a->id = 0;
        if (m->waits_for == r->id)
            m->waits_for = 0;
        if (a->step.step != HF__ENTRY__MIGRATE_STEP__MIGRATE_NONE)
            step_heard(m, &a->step, r);
        else if (r->code == HF_OK && r->status != NULL)
            status_heard(m, a->step.shard, r->status);
        break;
    }
    hf__client__reply__free_unpacked(r, NULL);
}

/* ---- acting ---- */

/* A seal and an abort at once, in either order, to one replica or to two. */
static void race(struct migrator *m)
{
    bool seal_first = below(m, 2) == 0;
    struct step first = m->plan.step, second = m->plan.step;
    first.step = seal_first ? HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL : HF__ENTRY__MIGRATE_STEP__MIGRATE_ABORT;
    second.step = seal_first ? HF__ENTRY__MIGRATE_STEP__MIGRATE_ABORT : HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL;
    ask(m, &first, leader(m, first.shard));
    ask(m, &second, below(m, 2) == 0 ? leader(m, second.shard) : someone(m));
}

static void go_on(struct migrator *m)
{
    uint64_t how = below(m, 16);
    if (how == 0) {
        ask_status(m, m->plan.step.shard);
    } else if (how == 1) {
        ask_step(m, HF__ENTRY__MIGRATE_STEP__MIGRATE_ABORT);
    } else if (how == 2) { /* it is busy elsewhere */
        m->next_at = m->all->world->now + below(m, 1500) * SIM_MS;
    } else if (how == 3 && m->sent_count > 0) { /* what was sent long ago comes now */
        struct step old = m->sent[below(m, m->sent_count < SENT_MAX ? m->sent_count : SENT_MAX)];
        ask(m, &old, leader(m, old.shard));
    } else if (!m->plan.prepared) {
        ask_step(m, HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE);
    } else if (how < 6) {
        race(m);
    } else {
        ask_step(m, HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL);
    }
}

void migrators_act(struct world *w, uint32_t number)
{
    struct migrator *m = &w->migrators->one[number];
    if (m->waits_for != 0 && w->now >= m->until) { /* who does not answer does not lead; how far is it? */
        m->waits_for = 0;
        if (m->plan.step.shard != 0) {
            m->leader[m->plan.step.shard] = 0;
            ask_status(m, m->plan.step.shard);
        }
    }
    if (m->waits_for == 0 && w->now >= m->next_at && !w->healing) {
        if (m->plan.step.shard == 0)
            ask_status(m, 1 + (uint32_t)below(m, WORLD_SHARDS));
        else
            go_on(m);
    }
    world_schedule(w, (struct world_event){.kind = WORLD_MIGRATE, .who = number}, w->now + (1 + below(m, 20)) * SIM_MS);
}

struct migrators *migrators_new(struct world *w)
{
    static const uint64_t gaps_ms[] = {30, 300, 1500, 4000};
    struct migrators *all = calloc(1, sizeof *all);
    must(all != NULL);
    all->world = w;
    all->random.state = w->options.seed ^ ~SALT;
    all->gap_ms = gaps_ms[random_below(&all->random, 4)];
    for (uint32_t i = 0; i < MIGRATORS; i++) {
        struct migrator *m = &all->one[i];
        m->all = all;
        for (uint32_t p = 1; p <= WORLD_SHARDS * WORLD_REPLICAS; p++)
            m->sockets[p] = wire_client(w, 0, w->processes[p]->client, heard, m);
        uint64_t from_ms = SIM_ELECTION_MS + random_below(&all->random, 2 * all->gap_ms);
        world_schedule(w, (struct world_event){.kind = WORLD_MIGRATE, .who = i}, w->now + from_ms * SIM_MS);
    }
    return all;
}

void migrators_free(struct migrators **m)
{
    free(*m);
    *m = NULL;
}
