/* status.c: see status.h. */
#include "client/status.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/hlc.h"
#include "common/sys/clock.h"
#include "proto/routes.h"

#define ROUTES_GRACE_MS 100u /* a second coordinator may know newer routes */
#define FIND_MS 2000u
#define CONNECT_MS 300u  /* a process that is down takes no message */
#define DEADLINE_MS 900u /* a dead member costs no more than this */

static int split(struct hf_cluster_status *s, const char *endpoints)
{
    s->endpoints_text = strdup(endpoints ? endpoints : "");
    if (!s->endpoints_text)
        return HF_E_NO_MEMORY;
    char *rest = NULL;
    for (char *one = strtok_r(s->endpoints_text, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
        if (s->endpoints_count == CLIENT_COORDINATORS_MAX)
            return HF_E_LIMIT;
        s->endpoints[s->endpoints_count++] = one;
    }
    return s->endpoints_count > 0 ? HF_OK : HF_E_INVALID;
}

/* Asks all coordinators for the routes, keeps the newest. */
static int ask_routes(struct admin *a, struct hf_cluster_status *s, uint32_t deadline_ms)
{
    Hf__Client__Empty empty = HF__CLIENT__EMPTY__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.op_case = HF__CLIENT__REQUEST__OP_ROUTES;
    request.routes = &empty;
    s->asked_routes = calloc(s->endpoints_count, sizeof *s->asked_routes);
    if (!s->asked_routes)
        return HF_E_NO_MEMORY;
    for (size_t i = 0; i < s->endpoints_count; i++)
        s->asked_routes[i] = (struct admin_question){
            .endpoint = s->endpoints[i], .request = &request, .optional = s->endpoints_count > 1};
    struct admin_patience first = {.deadline_ms = deadline_ms, .connect_ms = CONNECT_MS, .grace_ms = ROUTES_GRACE_MS};
    admin_ask(a, s->asked_routes, s->endpoints_count, first);
    for (size_t i = 0; i < s->endpoints_count; i++) {
        const Hf__Client__Reply *r = s->asked_routes[i].reply;
        if (r && r->code == HF_OK && r->routes && routes_check(r->routes) == HF_OK &&
            (!s->routes || r->routes->version > s->routes->version))
            s->routes = r->routes;
    }
    s->cluster = s->routes ? s->routes->cluster : 0;
    return HF_OK;
}

static size_t members_count(const Hf__Catalog__Routes *routes)
{
    size_t n = 0;
    for (size_t i = 0; routes && i < routes->n_shards; i++)
        n += routes->shards[i]->n_members;
    return n;
}

/* Asks every endpoint for its own status and for its view of the cluster, and every member for its status, all at once,
 * in this order. A coordinator's view takes as long as its slowest replica: it is not waited for. */
static int ask_everybody(struct admin *a, struct hf_cluster_status *s, uint32_t deadline_ms)
{
    Hf__Client__Empty empty = HF__CLIENT__EMPTY__INIT;
    Hf__Client__Request cluster = HF__CLIENT__REQUEST__INIT, own = HF__CLIENT__REQUEST__INIT;
    cluster.op_case = HF__CLIENT__REQUEST__OP_CLUSTER_STATUS;
    cluster.cluster_status = &empty;
    own.op_case = HF__CLIENT__REQUEST__OP_STATUS;
    own.status = &empty;
    s->asked = calloc(2 * s->endpoints_count + members_count(s->routes), sizeof *s->asked);
    if (!s->asked)
        return HF_E_NO_MEMORY;
    for (size_t i = 0; i < s->endpoints_count; i++)
        s->asked[s->asked_count++] = (struct admin_question){.endpoint = s->endpoints[i], .request = &own};
    for (size_t i = 0; i < s->endpoints_count; i++)
        s->asked[s->asked_count++] =
            (struct admin_question){.endpoint = s->endpoints[i], .request = &cluster, .optional = true};
    for (size_t i = 0; s->routes && i < s->routes->n_shards; i++)
        for (size_t m = 0; m < s->routes->shards[i]->n_members; m++)
            s->asked[s->asked_count++] =
                (struct admin_question){.endpoint = s->routes->shards[i]->members[m]->client_endpoint, .request = &own};
    admin_ask(
        a, s->asked, s->asked_count,
        (struct admin_patience){.deadline_ms = deadline_ms, .connect_ms = CONNECT_MS, .grace_ms = ROUTES_GRACE_MS});
    return HF_OK;
}

/* What the endpoint i told of the cluster; NULL: nothing. */
static const Hf__Client__ClusterStatus *view_of(const struct hf_cluster_status *s, size_t i)
{
    const Hf__Client__Reply *reply = s->asked[s->endpoints_count + i].reply;
    return reply ? reply->cluster : NULL;
}

static struct status_coordinator *coordinator_at(struct hf_cluster_status *s, uint32_t id, const char *endpoint)
{
    must(endpoint);
    for (size_t i = 0; i < s->coordinators_count; i++) {
        struct status_coordinator *c = &s->coordinators[i];
        must(c->endpoint != NULL);
        if ((id != 0 && c->id == id) || strcmp(c->endpoint, endpoint) == 0)
            return c;
    }
    struct status_coordinator *c = &s->coordinators[s->coordinators_count++];
    *c = (struct status_coordinator){.id = id, .endpoint = endpoint};
    return c;
}

static void fill_clock(struct status_coordinator *c, const Hf__Client__CoordinatorStatus *said)
{
    c->told = true;
    c->ceiling_ms = hlc_ms((struct hlc){said->ceiling});
    c->skew_ms = said->skew_ms;
    c->clock_refused = said->clock_refused;
}

/* Those we asked ourselves: what others say of them counts for nothing. A replica answers too, with its shard, and is
 * no coordinator. */
static void fill_asked(struct hf_cluster_status *s)
{
    for (size_t i = 0; i < s->endpoints_count; i++) {
        const Hf__Client__Reply *reply = s->asked[i].reply;
        const Hf__Client__Status *self = reply ? reply->status : NULL;
        if (reply && reply->shard != 0) {
            s->replicas_asked++;
            continue;
        }
        struct status_coordinator *c = coordinator_at(s, self ? self->replica : 0, s->endpoints[i]);
        c->asked = true;
        c->reachable |= reply != NULL;
        c->active |= self && strcmp(self->role, "active") == 0;
        s->job = reply && reply->job ? reply->job : s->job;
        if (self && reply->cluster && reply->cluster->n_coordinators == 1)
            fill_clock(c, reply->cluster->coordinators[0]);
    }
}

/* Who answered is reachable; of those we could not ask we know what those say who answered. */
static int fill_coordinators(struct hf_cluster_status *s)
{
    size_t most = s->endpoints_count;
    for (size_t i = 0; i < s->endpoints_count; i++)
        if (view_of(s, i))
            most += view_of(s, i)->n_coordinators;
    s->coordinators = calloc(most + 1, sizeof *s->coordinators);
    if (!s->coordinators)
        return HF_E_NO_MEMORY;
    fill_asked(s);
    for (size_t i = 0; i < s->endpoints_count; i++) {
        const Hf__Client__ClusterStatus *said = view_of(s, i);
        for (size_t c = 0; said && c < said->n_coordinators; c++) {
            const Hf__Client__CoordinatorStatus *one = said->coordinators[c];
            struct status_coordinator *mine = coordinator_at(s, one->id, one->endpoint);
            mine->id = one->id ? one->id : mine->id;
            mine->active |= one->active && !mine->asked;
            mine->reachable |= one->reachable && !mine->asked;
        }
    }
    return HF_OK;
}

static const char *role_of(const struct status_replica *r)
{
    if (r->said && strcmp(r->said->role, "leader") == 0)
        return "leader";
    bool learner = r->member->role == HF__CATALOG__ROLE__LEARNER;
    return learner || (r->said && strcmp(r->said->role, "learner") == 0) ? "learner" : "follower";
}

static const char *state_of(const struct status_replica *r, uint64_t cluster)
{
    if (!r->said)
        return "unreachable";
    bool member = r->said->cluster == cluster && strcmp(r->said->role, "fresh") != 0;
    if (member && (strcmp(r->said->state, "ready") == 0 || strcmp(r->said->state, "healing") == 0))
        return r->said->state;
    return "starting";
}

/* The leader of the highest term; its term and commit index are the shard's. */
static void judge_shard(struct status_shard *out)
{
    for (size_t i = 0; i < out->count; i++) {
        const Hf__Client__Status *said = out->replicas[i].said;
        if (!said)
            continue;
        bool leads = strcmp(out->replicas[i].role, "leader") == 0;
        if (leads && (!out->leader || said->term > out->term)) {
            out->leader = said->replica;
            out->term = said->term;
        }
        if (!out->leader && said->term > out->term)
            out->term = said->term;
        out->commit = said->commit > out->commit ? said->commit : out->commit;
        out->engine = said->engine[0] ? said->engine : out->engine;
        out->log_epoch = said->log_epoch > out->log_epoch ? said->log_epoch : out->log_epoch;
    }
    uint32_t voters = 0, alive = 0;
    for (size_t i = 0; i < out->count; i++) {
        struct status_replica *r = &out->replicas[i];
        bool ready = strcmp(r->state, "ready") == 0;
        bool votes = r->member->role == HF__CATALOG__ROLE__VOTER;
        if (strcmp(r->role, "leader") == 0 && r->said->replica != out->leader)
            r->role = "follower"; /* deposed, and does not know it yet */
        r->lag = r->said && r->said->applied < out->commit ? out->commit - r->said->applied : 0;
        out->ready += ready;
        out->troubled |= r->said && (*r->said->trouble || r->said->marked);
        voters += votes;
        alive += votes && ready;
    }
    out->voters = voters;
    out->voters_ready = alive;
    uint32_t quorum = voters / 2 + 1;
    out->survives = alive > quorum ? alive - quorum : 0;
}

static int fill_shard(struct hf_cluster_status *s, const Hf__Catalog__Shard *configured, struct status_shard *out,
                      const struct admin_question *answers)
{
    *out = (struct status_shard){.shard = configured->shard, .configured = configured, .engine = ""};
    out->replicas = calloc(configured->n_members, sizeof *out->replicas);
    if (!out->replicas)
        return HF_E_NO_MEMORY;
    out->count = configured->n_members;
    for (size_t i = 0; i < out->count; i++) {
        struct status_replica *r = &out->replicas[i];
        r->member = configured->members[i];
        const Hf__Client__Reply *reply = answers[i].reply;
        bool right = reply && reply->code == HF_OK && reply->status && reply->status->shard == out->shard &&
                     reply->status->replica == r->member->replica;
        r->said = right ? reply->status : NULL;
        r->role = role_of(r);
        r->state = state_of(r, s->cluster);
    }
    judge_shard(out);
    return HF_OK;
}

static int fill_shards(struct hf_cluster_status *s)
{
    s->healthy = s->routes != NULL;
    bool active = false;
    for (size_t i = 0; i < s->coordinators_count; i++)
        active |= s->coordinators[i].active && s->coordinators[i].reachable;
    s->healthy &= active;
    if (!s->routes)
        return HF_OK;
    s->shards = calloc(s->routes->n_shards, sizeof *s->shards);
    if (!s->shards)
        return HF_E_NO_MEMORY;
    const struct admin_question *answers = s->asked + 2 * s->endpoints_count;
    for (size_t i = 0; i < s->routes->n_shards; i++) {
        struct status_shard *out = &s->shards[s->shards_count++];
        int rc = fill_shard(s, s->routes->shards[i], out, answers);
        if (rc)
            return rc;
        answers += out->count;
        s->healthy &= out->leader != 0 && out->ready == out->count && !out->troubled;
    }
    return HF_OK;
}

int status_collect(struct admin *a, const char *endpoints, uint32_t deadline_ms, struct hf_cluster_status **out)
{
    uint32_t ms = deadline_ms < DEADLINE_MS ? deadline_ms : DEADLINE_MS;
    struct hf_cluster_status *s = calloc(1, sizeof *s);
    if (!s)
        return HF_E_NO_MEMORY;
    int rc = split(s, endpoints);
    if (rc == HF_OK)
        rc = ask_routes(a, s, ms / 3);
    if (rc == HF_OK)
        rc = ask_everybody(a, s, ms - ms / 3);
    if (rc == HF_OK)
        rc = fill_coordinators(s);
    if (rc == HF_OK)
        rc = fill_shards(s);
    if (rc)
        status_free(&s);
    else
        *out = s;
    return rc;
}

int status_find(struct admin *a, const char *endpoints, uint32_t deadline_ms, struct hf_cluster_status **out)
{
    uint64_t until_ns = clock_boot_ns() + (deadline_ms < FIND_MS ? deadline_ms : FIND_MS) * CLOCK_NS_PER_MS;
    for (;;) {
        int rc = status_collect(a, endpoints, deadline_ms, out);
        if (rc || (*out)->routes || clock_boot_ns() >= until_ns)
            return rc;
        status_free(out);
    }
}

void status_free(struct hf_cluster_status **s)
{
    struct hf_cluster_status *c = *s;
    if (!c)
        return;
    if (c->asked_routes)
        admin_forget(c->asked_routes, c->endpoints_count);
    if (c->asked)
        admin_forget(c->asked, c->asked_count);
    for (size_t i = 0; i < c->shards_count; i++)
        free(c->shards[i].replicas);
    free(c->shards);
    free(c->coordinators);
    free(c->asked_routes);
    free(c->asked);
    free(c->endpoints_text);
    free(c);
    *s = NULL;
}

const char *status_leader_endpoint(const struct hf_cluster_status *s, uint32_t shard)
{
    for (size_t i = 0; i < s->shards_count; i++)
        for (size_t r = 0; s->shards[i].shard == shard && r < s->shards[i].count; r++)
            if (s->shards[i].leader != 0 && s->shards[i].replicas[r].member->replica == s->shards[i].leader)
                return s->shards[i].replicas[r].member->client_endpoint;
    return NULL;
}

/* ---- the public face ---- */

int hf_cluster_status(const char *endpoints, uint32_t deadline_ms, struct hf_cluster_status **out)
{
    if (deadline_ms == 0)
        return HF_E_INVALID;
    struct admin *a = admin_open();
    if (!a)
        return HF_E_NO_MEMORY;
    int rc = status_collect(a, endpoints, deadline_ms, out);
    admin_close(&a);
    return rc;
}

void hf_cluster_status_free(struct hf_cluster_status *s)
{
    status_free(&s);
}

int hf_cluster_status_healthy(const struct hf_cluster_status *s)
{
    return s->healthy;
}

uint64_t hf_cluster_status_cluster(const struct hf_cluster_status *s)
{
    return s->cluster;
}

size_t hf_cluster_status_shards(const struct hf_cluster_status *s)
{
    return s->shards_count;
}

struct hf_shard_status hf_cluster_status_shard(const struct hf_cluster_status *s, size_t i)
{
    const struct status_shard *one = &s->shards[i];
    return (struct hf_shard_status){.shard = one->shard,
                                    .leader = one->leader,
                                    .term = one->term,
                                    .commit = one->commit,
                                    .replicas = (uint32_t)one->count,
                                    .ready = one->ready,
                                    .survives = one->survives};
}
