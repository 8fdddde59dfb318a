/* cluster.c: the perfect log and the scripted network around a few cores; see cluster.h. */
#include "tests/unit/shard/engine/native/cluster.h"

#include <stdlib.h>

#include "common/base/error.h"

struct cluster *cluster_new(uint32_t voters, uint32_t learners)
{
    struct cluster *cl = calloc(1, sizeof *cl);
    cl->count = voters + learners;
    cl->now_ns = 1000 * MS;
    cl->flying = calloc(FLYING_MAX, sizeof *cl->flying);
    cl->config.index = 0;
    cl->config.count = cl->count;
    for (uint32_t id = 1; id <= cl->count; id++)
        cl->config.members[id - 1] = (struct core_member){id, id <= voters};
    for (uint32_t id = 1; id <= NODES_MAX; id++)
        cl->nodes[id].drift_permille = 1000;
    return cl;
}

struct cluster *cluster_new_buggy(uint32_t voters, unsigned bugs)
{
    struct cluster *cl = cluster_new(voters, 0);
    cl->bugs = bugs;
    return cl;
}

void cluster_free(struct cluster *cl)
{
    for (uint32_t id = 1; id <= NODES_MAX; id++)
        cluster_stop(cl, id);
    free(cl->flying);
    free(cl);
}

static uint64_t clock_of(const struct cluster *cl, const struct node *n)
{
    return cl->now_ns / 1000 * n->drift_permille;
}

void cluster_put(struct cluster *cl, uint32_t id, const uint64_t *terms, size_t count, uint64_t term)
{
    struct node *n = &cl->nodes[id];
    for (size_t i = 0; i < count; i++)
        n->log[++n->last] = (struct stored){.term = terms[i], .value = terms[i] * 1000 + i};
    n->durable = n->last;
    n->saved.term = term;
}

void cluster_start(struct cluster *cl, uint32_t id)
{
    struct node *n = &cl->nodes[id];
    const struct core_config *found[2] = {&cl->config, NULL};
    n->runs = calloc(ENTRIES_MAX, sizeof *n->runs);
    n->runs[0] = (struct core_run){n->base, n->log[n->base].term};
    size_t runs = 1;
    n->last = n->durable;
    for (uint64_t i = n->base + 1; i <= n->last; i++) {
        if (n->log[i].term != n->runs[runs - 1].term)
            n->runs[runs++] = (struct core_run){i, n->log[i].term};
        if (n->log[i].is_config) {
            found[1] = found[0];
            found[0] = &n->log[i].config;
        }
    }
    struct core_start start = {.self = id,
                               .heartbeat_ms = HEARTBEAT_MS,
                               .election_ms = ELECTION_MS,
                               .seed = cl->seed * 100 + id,
                               .now_ns = clock_of(cl, n),
                               .hard_state = n->saved,
                               .applied = n->applied,
                               .last = n->last,
                               .runs = n->runs,
                               .run_count = runs,
                               .run_cap = ENTRIES_MAX,
                               .config = found[0],
                               .previous = found[1],
                               .held = n->held,
                               .recovering = n->recovering,
                               .bugs = cl->bugs};
    n->core = calloc(1, core_bytes());
    core_init(n->core, &start);
}

void cluster_stop(struct cluster *cl, uint32_t id)
{
    struct node *n = &cl->nodes[id];
    free(n->core);
    free(n->runs);
    n->core = NULL;
    n->runs = NULL;
    n->last = n->durable;
}

void cluster_lose(struct cluster *cl, uint32_t id)
{
    static uint64_t number = 1000;
    struct node *n = &cl->nodes[id];
    cluster_stop(cl, id);
    n->base = n->last = n->durable = n->applied;
    n->saved.commit = n->applied;
    n->recovering = number += 2;
    cluster_start(cl, id);
}

void cluster_wipe(struct cluster *cl, uint32_t id)
{
    static uint64_t number = 2001;
    struct node *n = &cl->nodes[id];
    cluster_stop(cl, id);
    *n = (struct node){.drift_permille = n->drift_permille, .recovering = number += 2};
    cluster_start(cl, id);
}

void cluster_trim(struct cluster *cl, uint32_t id, uint64_t index)
{
    CU_ASSERT_EQUAL(cluster_event(cl, id, (struct core_event){.kind = CORE_EVENT_TRIMMED, .index = index}), HF_OK);
    cl->nodes[id].base = core_base(cl->nodes[id].core);
}

int cluster_install(struct cluster *cl, uint32_t id, uint64_t index, uint64_t term)
{
    struct core_installed at = {.index = index, .term = term, .config = &cl->config};
    int rc = cluster_event(cl, id, (struct core_event){.kind = CORE_EVENT_INSTALLED, .installed = &at});
    if (rc == HF_OK) {
        cl->nodes[id].applied = index;
        cl->nodes[id].held = false;
    }
    return rc;
}

static void obey(struct node *n, const struct core_orders *o, const struct core_event *event, const struct flying *f,
                 uint64_t value)
{
    if (o->restart) {
        n->base = n->last = o->index;
        n->durable = n->durable < n->last ? n->durable : n->last;
        n->log[o->index] = (struct stored){.term = o->term};
        CU_ASSERT_EQUAL_FATAL(core_last(n->core), n->last);
        return;
    }
    if (o->truncate != 0) {
        CU_ASSERT_FATAL(o->truncate <= n->last && o->truncate > n->applied);
        n->last = o->truncate - 1;
        if (n->durable > n->last)
            n->durable = n->last;
    }
    if (o->append == CORE_APPEND_NOTHING)
        return;
    CU_ASSERT_EQUAL_FATAL(o->index, n->last + 1);
    for (size_t i = 0; i < o->count; i++) {
        struct stored s = {.term = o->term};
        if (o->append == CORE_APPEND_MESSAGE) {
            const struct core_entry *e = &f->m.entries[o->skip + i];
            s = (struct stored){.term = e->term, .value = f->values[o->skip + i], .is_config = e->config != NULL};
            if (s.is_config)
                s.config = *e->config;
        } else if (event->kind == CORE_EVENT_CHANGE) {
            s.is_config = true;
            s.config = *event->config;
        } else if (o->append == CORE_APPEND_PROPOSED) {
            s.value = value;
        }
        n->log[++n->last] = s;
        n->log[n->last].config.index = n->last;
    }
    CU_ASSERT_EQUAL_FATAL(core_last(n->core), n->last);
}

static int feed(struct cluster *cl, uint32_t id, const struct core_event *event, const struct flying *f)
{
    struct node *n = &cl->nodes[id];
    struct core_orders orders;
    int rc = core_step(n->core, event, &orders);
    obey(n, &orders, event, f, cl->value);
    return rc;
}

int cluster_event(struct cluster *cl, uint32_t id, struct core_event event)
{
    return feed(cl, id, &event, NULL);
}

int cluster_propose(struct cluster *cl, uint32_t id)
{
    cl->value++;
    return cluster_event(cl, id, (struct core_event){.kind = CORE_EVENT_PROPOSE, .count = 1});
}

static void fly(struct cluster *cl, uint32_t from, struct core_message *m, size_t entries)
{
    cl->sent[m->kind]++;
    if (m->kind == CORE_APPEND) {
        CU_ASSERT(m->commit <= m->index + entries);
        cl->clamped += entries > 0 && m->commit < core_hard_state(cl->nodes[from].core).commit;
    }
    if (cl->cut[from][m->peer] || cl->nodes[m->peer].core == NULL)
        return;
    CU_ASSERT_FATAL(cl->flying_count < FLYING_MAX);
    struct flying *f = &cl->flying[cl->flying_count++];
    const struct node *n = &cl->nodes[from];
    *f = (struct flying){.from = from, .m = *m};
    f->m.recovering = core_recovering(n->core);
    for (size_t i = 0; i < entries; i++) {
        const struct stored *s = &n->log[m->index + 1 + i];
        f->entries[i].term = s->term;
        f->values[i] = s->value;
        if (s->is_config) {
            f->config = s->config;
            f->entries[i].config = &f->config;
        }
    }
    f->m.entry_count = entries;
}

void cluster_send(struct cluster *cl, uint32_t from, struct core_message m, const uint64_t *terms, size_t count)
{
    struct flying f = {.from = from, .m = m};
    uint32_t to = m.peer;
    for (size_t i = 0; i < count; i++)
        f.entries[i].term = terms[i];
    f.m.peer = from;
    f.m.entries = f.entries;
    f.m.entry_count = count;
    CU_ASSERT_EQUAL(feed(cl, to, &(struct core_event){.kind = CORE_EVENT_RECEIVE, .message = &f.m}, &f), HF_OK);
}

static void drain(struct cluster *cl, uint32_t self)
{
    struct node *n = &cl->nodes[self];
    struct core_trace t;
    uint64_t id, index;
    uint32_t from;
    while (core_next_need(n->core, &from, &n->need_index, &n->need_term))
        n->needs++;
    if (core_recovery_due(n->core) && !n->no_recovered) {
        n->recovering = 0;
        CU_ASSERT_EQUAL(cluster_event(cl, self, (struct core_event){.kind = CORE_EVENT_RECOVERED}), HF_OK);
    }
    while (core_next_trace(n->core, &t))
        n->traces[t.kind]++;
    while (core_next_barrier(n->core, &id, &index)) {
        n->barriers_ready++;
        n->barrier_id = id;
        n->barrier_index = index;
    }
}

/* At most 64 entries, and one configuration among them: see struct flying. */
static size_t fitting(const struct node *n, const struct core_message *m)
{
    size_t count = 0, configs = 0;
    while (count < m->entry_count && count < 64) {
        configs += n->log[m->index + 1 + count].is_config;
        if (configs > 1)
            break;
        count++;
    }
    return count;
}

void cluster_turn(struct cluster *cl, uint32_t id)
{
    struct node *n = &cl->nodes[id];
    struct core_message m;
    CU_ASSERT_EQUAL(cluster_event(cl, id, (struct core_event){.kind = CORE_EVENT_TURN}), HF_OK);
    while (core_next_early(n->core, &m)) {
        size_t count = fitting(n, &m);
        if (count > 0)
            core_sent(n->core, &m, count, count * 100);
        fly(cl, id, &m, count);
    }
    if (!n->no_sync) {
        n->saved = core_hard_state(n->core);
        n->durable = n->last;
        CU_ASSERT_EQUAL(cluster_event(cl, id, (struct core_event){.kind = CORE_EVENT_PERSISTED, .index = n->last}),
                        HF_OK);
    }
    while (core_next_late(n->core, &m))
        fly(cl, id, &m, 0);
    if (!n->no_apply && core_apply_limit(n->core) > n->applied) {
        n->applied = core_apply_limit(n->core);
        CU_ASSERT_EQUAL(cluster_event(cl, id, (struct core_event){.kind = CORE_EVENT_APPLIED, .index = n->applied}),
                        HF_OK);
    }
    drain(cl, id);
}

static void arrive(struct cluster *cl, struct flying *f)
{
    uint32_t to = f->m.peer;
    for (size_t k = 0; k < f->m.entry_count; k++)
        f->entries[k].config = f->entries[k].config != NULL ? &f->config : NULL;
    f->m.entries = f->entries;
    f->m.peer = f->from;
    if (cl->nodes[to].core != NULL && !cl->cut[f->from][to])
        CU_ASSERT_EQUAL(feed(cl, to, &(struct core_event){.kind = CORE_EVENT_RECEIVE, .message = &f->m}, f), HF_OK);
}

void cluster_deliver(struct cluster *cl, size_t at, bool lost)
{
    must(at < cl->flying_count);
    struct flying f = cl->flying[at];
    cl->flying[at] = cl->flying[--cl->flying_count];
    if (!lost)
        arrive(cl, &f);
}

void cluster_settle(struct cluster *cl)
{
    for (unsigned round = 0; round < 2000; round++) {
        for (uint32_t id = 1; id <= NODES_MAX; id++) {
            if (cl->nodes[id].core != NULL)
                cluster_turn(cl, id);
        }
        if (cl->flying_count == 0)
            return;
        size_t count = cl->flying_count;
        struct flying *now = malloc(count * sizeof *now);
        memcpy(now, cl->flying, count * sizeof *now);
        cl->flying_count = 0;
        for (size_t i = 0; i < count; i++)
            arrive(cl, &now[i]);
        free(now);
    }
    CU_FAIL_FATAL("messages never cease: a hot loop");
}

void cluster_run(struct cluster *cl, uint64_t ms)
{
    for (uint64_t passed = 0; passed < ms; passed += 10) {
        cl->now_ns += 10 * MS;
        for (uint32_t id = 1; id <= NODES_MAX; id++) {
            struct node *n = &cl->nodes[id];
            if (n->core != NULL)
                CU_ASSERT_EQUAL(
                    cluster_event(cl, id, (struct core_event){.kind = CORE_EVENT_TICK, .now_ns = clock_of(cl, n)}),
                    HF_OK);
        }
        cluster_settle(cl);
    }
}

uint32_t cluster_leader(const struct cluster *cl)
{
    uint32_t leader = 0;
    uint64_t term = 0;
    for (uint32_t id = 1; id <= NODES_MAX; id++) {
        const struct core *c = cl->nodes[id].core;
        if (c == NULL || core_role(c) != CORE_LEADER)
            continue;
        CU_ASSERT_NOT_EQUAL(core_hard_state(c).term, term); /* one leader per term */
        if (core_hard_state(c).term > term) {
            term = core_hard_state(c).term;
            leader = id;
        }
    }
    return leader;
}

uint32_t cluster_elect(struct cluster *cl)
{
    for (uint32_t id = 1; id <= cl->count; id++) {
        if (cl->nodes[id].core == NULL)
            cluster_start(cl, id);
    }
    for (unsigned i = 0; i < 1000; i++) {
        uint32_t leader = cluster_leader(cl);
        if (leader != 0 && core_serving(cl->nodes[leader].core))
            return leader;
        cluster_run(cl, 10);
    }
    CU_FAIL_FATAL("no leader within 10 s");
    return 0;
}

void cluster_isolate(struct cluster *cl, uint32_t id, bool cut)
{
    for (uint32_t other = 1; other <= NODES_MAX; other++)
        cl->cut[id][other] = cl->cut[other][id] = cut && other != id;
}

void cluster_same_logs(const struct cluster *cl)
{
    const struct node *a = NULL;
    for (uint32_t id = 1; id <= NODES_MAX; id++) {
        const struct node *n = &cl->nodes[id];
        if (n->core == NULL)
            continue;
        a = a == NULL ? n : a;
        CU_ASSERT_EQUAL(n->last, a->last);
        CU_ASSERT_EQUAL(n->applied, a->applied);
        for (uint64_t i = (n->base > a->base ? n->base : a->base) + 1; i <= n->last && i <= a->last; i++) {
            CU_ASSERT_EQUAL(n->log[i].term, a->log[i].term);
            CU_ASSERT_EQUAL(n->log[i].value, a->log[i].value);
        }
    }
}

bool cluster_late(struct cluster *cl, uint32_t id, enum core_kind kind, struct core_message *out)
{
    while (core_next_late(cl->nodes[id].core, out)) {
        if (out->kind == kind)
            return true;
    }
    return false;
}
