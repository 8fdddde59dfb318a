/* catalog.h: the routes in use: loaded from the catalog key "routes" of shard 1, replaced only by a higher version.
 *
 * Position: front.c and forward.c read it; replies with a higher route version and WRONG_SHARD feed it.
 * Thread: loop thread only.
 * Invariants: `routes` passed routes_check (I11); the version only grows; the cluster never changes. */
#pragma once

#include "common/base/arena.h"
#include "coordinator/calls.h"
#include "proto/routes.h"

struct catalog {
    struct calls *calls; /* borrowed */
    void (*changed)(void *ctx);
    void *ctx;
    struct arena arena;          /* holds `routes` */
    Hf__Catalog__Routes *routes; /* NULL: not loaded yet */
    uint64_t heard;              /* highest version any reply named */
    uint64_t next_ns;            /* of the next load */
    bool asking;
};

void catalog_init(struct catalog *c, struct calls *calls, void (*changed)(void *ctx), void *ctx);
void catalog_deinit(struct catalog *c);

uint64_t catalog_version(const struct catalog *c); /* 0: not loaded */
uint64_t catalog_cluster(const struct catalog *c);

/* Takes a packed Routes over if it is newer. HF_E_EXISTS: it is not. HF_E_CORRUPT, HF_E_LIMIT, HF_E_INVALID: not
 * usable. HF_E_WRONG_CLUSTER. */
HF_CHECKED int catalog_offer(struct catalog *c, struct slice packed);

/* A reply named this version: when it is higher than ours the catalog is read again soon. */
void catalog_heard(struct catalog *c, uint64_t version, uint64_t now_ns);

/* Loads and reloads. */
void catalog_tick(struct catalog *c, uint64_t now_ns);
