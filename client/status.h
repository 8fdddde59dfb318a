/* status.h: the state of a whole cluster, put together from what the coordinators and every replica say themselves.
 *
 * Position: beside the way of a request: `holdfast status`, `members`, `routes`, and hf_cluster_status.
 * Everything is owned by the struct: status_free. */
#pragma once

#include "client/admin.h"
#include "client/client.h"

struct status_coordinator {
    uint32_t id; /* 0: it never told */
    const char *endpoint;
    bool active, reachable;
    bool asked; /* by us; else we know of it what another said */
    bool told;  /* the rest is known: it said so of itself */
    uint64_t ceiling_ms;
    int64_t skew_ms; /* its wall clock less the oracle's time */
    bool clock_refused;
};

struct status_replica {
    const Hf__Catalog__Member *member;
    const Hf__Client__Status *said; /* NULL: unreachable */
    const char *role;               /* "leader", "follower", "learner" */
    const char *state;              /* "ready", "starting", "healing", "unreachable" */
    uint64_t lag;                   /* entries behind the shard's commit index */
};

struct status_shard {
    uint32_t shard;
    const Hf__Catalog__Shard *configured;
    uint32_t leader; /* replica; 0: none */
    const char *engine;
    uint32_t log_epoch;
    uint64_t term, commit;
    uint32_t ready, survives;
    uint32_t voters, voters_ready;
    bool troubled; /* a replica says that something keeps it from its work */
    struct status_replica *replicas;
    size_t count;
};

struct hf_cluster_status {
    uint64_t cluster; /* 0: nobody told */
    bool healthy;
    const Hf__Catalog__Routes *routes; /* NULL: nobody told */
    const Hf__Catalog__Job *job; /* under way or stopped, as the active coordinator says; NULL: none, or nobody told */
    struct status_coordinator *coordinators;
    size_t coordinators_count;
    struct status_shard *shards;
    size_t shards_count;
    /* What the rest points into: */
    char *endpoints_text;
    char *endpoints[CLIENT_COORDINATORS_MAX];
    size_t endpoints_count;
    size_t replicas_asked; /* of the endpoints, by their own word */
    struct admin_question *asked_routes, *asked;
    size_t asked_count;
};

/* `endpoints`: of coordinators, by commas. HF_E_INVALID: none. HF_E_NO_MEMORY. That nobody answers is no failure. */
HF_CHECKED int status_collect(struct admin *a, const char *endpoints, uint32_t deadline_ms,
                              struct hf_cluster_status **out);
/* As status_collect, but asks again for up to two seconds while nobody tells the routes: for what is about to do something,
 * on a machine that is busy. */
HF_CHECKED int status_find(struct admin *a, const char *endpoints, uint32_t deadline_ms,
                           struct hf_cluster_status **out);
void status_free(struct hf_cluster_status **s);
/* The shard's leader endpoint, or NULL. */
const char *status_leader_endpoint(const struct hf_cluster_status *s, uint32_t shard);
