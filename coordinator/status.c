/* status.c: see status.h. */
#include "coordinator/status.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "coordinator/counters.h"
#include "coordinator/limits.h"
#include "proto/pack.h"

void status_init(struct status *s, const struct status_port *port)
{
    *s = (struct status){.port = *port};
    list_init(&s->gathers);
}

void status_deinit(struct status *s)
{
    must(list_empty(&s->gathers));
}

/* A shard's own word on who leads it and how far its clock is. */
static void learn(struct status *s, uint32_t shard, uint32_t replica, const Hf__Client__Status *status)
{
    bool leads = strcmp(status->role, "leader") == 0;
    if (status->shard != shard)
        return;
    oracle_heard(s->oracle, (struct hlc){status->clock});
    if (!leaders_status(s->leaders, shard, replica, leads, status->term, status->leader))
        return;
    count(COUNTER_LEADER_CHANGES);
    s->port.leader_changed(s->port.ctx, shard);
}

static void polled(void *ctx, const struct call *call, const Hf__Client__Reply *reply)
{
    struct status *s = ctx;
    struct link *link = links_find(s->links, call->shard, call->replica);
    if (link != NULL)
        link->asking = false;
    if (reply && reply->status)
        learn(s, call->shard, call->replica, reply->status);
    bool silent = link == NULL || link->heard_ns + LINK_SILENT_MS * CLOCK_NS_PER_MS < call->deadline_ns;
    if (reply == NULL && silent)
        leaders_lost(s->leaders, call->shard, call->replica);
}

static int ask(struct status *s, uint32_t shard, uint32_t replica, uint64_t now_ns, uint32_t timeout_ms,
               call_done *done, void *ctx, uint64_t tag)
{
    Hf__Client__Empty empty = HF__CLIENT__EMPTY__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT; /* no cluster: a fresh replica answers too */
    request.op_case = HF__CLIENT__REQUEST__OP_STATUS;
    request.status = &empty;
    return calls_send(s->calls, shard, replica, &request, now_ns, timeout_ms, done, ctx, tag);
}

void status_tick(struct status *s, uint64_t now_ns)
{
    for (size_t i = 0; i < s->links->count; i++) {
        struct link *link = s->links->all[i];
        bool known = leaders_known(s->leaders, link->shard) != 0;
        uint64_t pace_ns = (known ? STATUS_POLL_MS : STATUS_POLL_EAGER_MS) * CLOCK_NS_PER_MS;
        if (link->asking || now_ns - link->asked_ns < pace_ns)
            continue;
        link->asked_ns = now_ns;
        link->asking = ask(s, link->shard, link->replica, now_ns, CALL_MS, polled, s, 0) == HF_OK;
    }
}

static const Hf__Client__Status *answer_of(const struct gather *g, uint32_t shard, uint32_t replica)
{
    for (size_t i = 0; i < g->count; i++)
        if (g->answers[i].shard == shard && g->answers[i].replica == replica)
            return g->answers[i].status;
    return NULL;
}

static Hf__Client__ShardStatus *shard_status(struct gather *g, const Hf__Catalog__Shard *shard)
{
    Hf__Client__ShardStatus *out = arena_alloc(&g->arena, sizeof *out);
    hf__client__shard_status__init(out);
    out->shard = shard->shard;
    out->n_replicas = shard->n_members;
    out->replicas = arena_alloc(&g->arena, shard->n_members * sizeof out->replicas[0]);
    for (size_t i = 0; i < shard->n_members; i++) {
        Hf__Client__ReplicaStatus *replica = arena_alloc(&g->arena, sizeof *replica);
        hf__client__replica_status__init(replica);
        replica->member = shard->members[i];
        replica->status = (Hf__Client__Status *)(uintptr_t)answer_of(g, shard->shard, shard->members[i]->replica);
        replica->reachable = replica->status != NULL;
        out->replicas[i] = replica;
    }
    return out;
}

void status_self(struct status *s, Hf__Client__CoordinatorStatus *out)
{
    const struct clock *c = &s->oracle->clock;
    hf__client__coordinator_status__init(out);
    out->id = c->id;
    out->endpoint = (char *)(uintptr_t)s->endpoint;
    out->active = oracle_active(s->oracle);
    out->reachable = true;
    out->epoch = c->key.epoch;
    out->ceiling = c->ceiling.t;
    out->skew_ms = oracle_skew_ms(s->oracle);
    out->clock_refused = c->wall_refused;
}

/* Ourselves, and whoever else holds the oracle. */
static void fill_coordinators(struct status *s, struct gather *g, Hf__Client__ClusterStatus *out)
{
    struct clock *c = &s->oracle->clock;
    out->coordinators = arena_alloc(&g->arena, 2 * sizeof out->coordinators[0]);
    Hf__Client__CoordinatorStatus *self = arena_alloc(&g->arena, sizeof *self);
    status_self(s, self);
    out->coordinators[out->n_coordinators++] = self;
    if (c->role == CLOCK_ACTIVE || !c->key_known || !c->key.present || strcmp(c->key_endpoint, s->endpoint) == 0)
        return;
    Hf__Client__CoordinatorStatus *other = arena_alloc(&g->arena, sizeof *other);
    hf__client__coordinator_status__init(other);
    other->id = c->key.coordinator;
    other->endpoint = c->key_endpoint;
    other->active = other->reachable = clock_other_alive(c, clock_boot_ns());
    other->epoch = c->key.epoch;
    out->coordinators[out->n_coordinators++] = other;
}

static void gather_end(struct gather *g)
{
    struct status *s = g->owner;
    Hf__Catalog__Routes *routes = s->catalog->routes;
    Hf__Client__ClusterStatus cluster = HF__CLIENT__CLUSTER_STATUS__INIT;
    cluster.cluster = routes->cluster;
    cluster.routes = routes;
    cluster.shards = arena_alloc(&g->arena, routes->n_shards * sizeof cluster.shards[0]);
    for (size_t i = 0; i < routes->n_shards; i++)
        cluster.shards[cluster.n_shards++] = shard_status(g, routes->shards[i]);
    fill_coordinators(s, g, &cluster);
    s->port.gathered(s->port.ctx, g->client, &cluster);
    list_remove(&g->in_status);
    s->gather_count--;
    arena_deinit(&g->arena);
    free(g);
}

static void gather_answered(void *ctx, const struct call *call, const Hf__Client__Reply *reply)
{
    struct gather *g = ctx;
    if (reply && reply->status) {
        learn(g->owner, call->shard, call->replica, reply->status);
        struct buf packed = {0}; /* the reply's memory ends with this turn */
        pack_append(&reply->status->base, &packed);
        g->answers[call->tag].status = pack_unpack(&hf__client__status__descriptor, buf_slice(&packed), &g->arena);
        buf_deinit(&packed);
    }
    if (--g->open == 0)
        gather_end(g);
}

int status_gather(struct status *s, void *client, uint64_t now_ns)
{
    if (s->gather_count >= STATUS_GATHERS_MAX)
        return HF_E_BUSY;
    struct gather *g = calloc(1, sizeof *g);
    must(g != NULL); /* out of memory */
    g->owner = s;
    g->client = client;
    g->count = s->links->count;
    g->answers = arena_zalloc(&g->arena, g->count * sizeof g->answers[0] + 1);
    list_push(&s->gathers, &g->in_status);
    s->gather_count++;
    for (size_t i = 0; i < g->count; i++) {
        const struct link *link = s->links->all[i];
        g->answers[i] = (struct status_answer){.shard = link->shard, .replica = link->replica};
        if (ask(s, link->shard, link->replica, now_ns, STATUS_GATHER_MS, gather_answered, g, i) == HF_OK)
            g->open++;
    }
    if (g->open == 0)
        gather_end(g);
    return HF_OK;
}
