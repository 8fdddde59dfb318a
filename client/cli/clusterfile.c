/* clusterfile.c: see clusterfile.h. */
#include "client/cli/clusterfile.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/text.h"
#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/config.h"
#include "proto/routes.h"

struct reading {
    struct arena *arena;
    char *message;
};

static int wrong(const struct reading *r, const char *format, ...) HF_PRINTF(2, 3);
static int wrong(const struct reading *r, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r->message, 512, format, arguments);
    va_end(arguments);
    return HF_E_INVALID;
}

static int number(const struct reading *r, const struct config *node, const char *name, const char *otherwise,
                  uint32_t *out)
{
    const char *text = config_get(node, name, otherwise);
    char *end = NULL;
    errno = 0;
    unsigned long n = text && text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;
    if (!end || *end || errno || n == 0 || n > UINT32_MAX)
        return wrong(r, "%s: %s = \"%s\" is not a number from 1 on", config_name(node), name, text ? text : "");
    *out = (uint32_t)n;
    return HF_OK;
}

/* Everything in `node` is one of `names`: a misspelled setting is not one that was left out. */
static int only(const struct reading *r, const struct config *node, const char *const names[])
{
    for (const struct config *child = config_child(node); child; child = config_next(child)) {
        size_t i = 0;
        while (names[i] && strcmp(names[i], config_name(child)) != 0)
            i++;
        if (!names[i])
            return wrong(r, "%s: \"%s\" is no setting of it", config_name(node), config_name(child));
    }
    return HF_OK;
}

static int key(const struct reading *r, const struct config *node, const char *name, ProtobufCBinaryData *out)
{
    struct slice text = slice_text(config_get(node, name, ""));
    out->data = arena_alloc(r->arena, text.size + 1);
    if (!text_unescape(text, out->data, &out->len))
        return wrong(r, "%s: %s has an escape that is none of \\t \\n \\\\ \\xHH", config_name(node), name);
    return HF_OK;
}

static int endpoint(const struct reading *r, const struct config *node, const char *name, char **out)
{
    const char *text = config_get(node, name, "");
    if (strncmp(text, "tcp://", 6) != 0 && strncmp(text, "ipc://", 6) != 0)
        return wrong(r, "replica: %s = \"%s\" is no endpoint (tcp://HOST:PORT)", name, text);
    size_t size = strlen(text) + 1;
    *out = arena_alloc(r->arena, size);
    memcpy(*out, text, size);
    return HF_OK;
}

static int replica(const struct reading *r, const struct config *node, Hf__Catalog__Member *m)
{
    static const char *const names[] = {"id", "role", "raft", "client", NULL};
    hf__catalog__member__init(m);
    if (only(r, node, names))
        return HF_E_INVALID;
    const char *role = config_get(node, "role", "voter");
    bool learner = strcmp(role, "learner") == 0;
    if (!learner && strcmp(role, "voter") != 0)
        return wrong(r, "replica: role = \"%s\" is neither voter nor learner", role);
    m->role = learner ? HF__CATALOG__ROLE__LEARNER : HF__CATALOG__ROLE__VOTER;
    int rc = number(r, node, "id", "", &m->replica);
    if (!rc)
        rc = endpoint(r, node, "raft", &m->raft_endpoint);
    return rc ? rc : endpoint(r, node, "client", &m->client_endpoint);
}

static int replicas(const struct reading *r, const struct config *node, Hf__Catalog__Shard *shard)
{
    bool voter = false;
    shard->members = arena_alloc(r->arena, LIMIT_PEERS * sizeof shard->members[0]);
    for (const struct config *child = config_child(node); child; child = config_next(child)) {
        if (strcmp(config_name(child), "replica") != 0)
            continue;
        if (shard->n_members == LIMIT_PEERS)
            return wrong(r, "shard %u: more than %u replicas", shard->shard, (unsigned)LIMIT_PEERS);
        Hf__Catalog__Member *m = arena_alloc(r->arena, sizeof *m);
        int rc = replica(r, child, m);
        if (rc)
            return rc;
        for (size_t i = 0; i < shard->n_members; i++)
            if (shard->members[i]->replica == m->replica)
                return wrong(r, "shard %u: replica %u stands there twice", shard->shard, m->replica);
        voter |= m->role == HF__CATALOG__ROLE__VOTER;
        shard->members[shard->n_members++] = m;
    }
    return voter ? HF_OK : wrong(r, "shard %u has no voter", shard->shard);
}

static int add_shard(const struct reading *r, const struct config *node, Hf__Catalog__Routes *routes)
{
    Hf__Catalog__Shard *shard = arena_alloc(r->arena, sizeof *shard);
    Hf__Catalog__Route *route = arena_alloc(r->arena, sizeof *route);
    Hf__Catalog__Range *range = arena_alloc(r->arena, sizeof *range);
    hf__catalog__shard__init(shard);
    hf__catalog__route__init(route);
    hf__catalog__range__init(range);
    route->range = range;
    static const char *const names[] = {"id", "start", "end", "catalog", "replica", NULL};
    int rc = only(r, node, names);
    if (!rc)
        rc = number(r, node, "id", "", &shard->shard);
    if (!rc)
        rc = key(r, node, "start", &range->start);
    if (!rc)
        rc = key(r, node, "end", &range->end);
    if (!rc)
        rc = replicas(r, node, shard);
    if (rc)
        return rc;
    route->shard = shard->shard;
    range->catalog = strcmp(config_get(node, "catalog", "0"), "1") == 0;
    if (range->catalog != (shard->shard == 1))
        return wrong(r, "shard %u: catalog = \"1\" belongs to shard 1 and to no other", shard->shard);
    routes->shards[routes->n_shards++] = shard;
    routes->routes[routes->n_routes++] = route;
    return HF_OK;
}

static int read_tree(const struct reading *r, const struct config *root, struct clusterfile *out)
{
    Hf__Catalog__Routes *routes = &out->routes;
    hf__catalog__routes__init(routes);
    routes->version = 1;
    routes->shards = arena_alloc(r->arena, LIMIT_ROUTES * sizeof routes->shards[0]);
    routes->routes = arena_alloc(r->arena, LIMIT_ROUTES * sizeof routes->routes[0]);
    *out = (struct clusterfile){.heartbeat_ms = 100, .election_ms = 500, .routes = *routes};
    for (const struct config *node = config_child(root); node; node = config_next(node)) {
        int rc = HF_OK;
        if (strcmp(config_name(node), "cluster") == 0) {
            static const char *const names[] = {"heartbeat_ms", "election_ms", NULL};
            rc = only(r, node, names);
            if (!rc)
                rc = number(r, node, "heartbeat_ms", "100", &out->heartbeat_ms);
            if (!rc)
                rc = number(r, node, "election_ms", "500", &out->election_ms);
        } else if (strcmp(config_name(node), "shard") == 0) {
            rc = out->routes.n_shards == LIMIT_ROUTES ? wrong(r, "more than %u shards", (unsigned)LIMIT_ROUTES)
                                                      : add_shard(r, node, &out->routes);
        } else {
            rc = wrong(r, "\"%s\" is neither cluster nor shard", config_name(node));
        }
        if (rc)
            return rc;
    }
    if (out->routes.n_shards == 0)
        return wrong(r, "no shard");
    if (routes_check(&out->routes) != HF_OK)
        return wrong(r, "the shards' ranges do not cover the key space one after the other: each start must be the end "
                        "before it, the first start and the last end empty, no id twice");
    return HF_OK;
}

int clusterfile_read(const char *path, struct arena *arena, struct clusterfile *out, char message[512])
{
    const struct reading r = {arena, message};
    errno = 0;
    struct config *root = config_load(path);
    if (!root) {
        wrong(&r, "%s", errno ? strerror(errno) : "not in zconfig format");
        return errno == ENOENT ? HF_E_ABSENT : HF_E_INVALID;
    }
    int rc = read_tree(&r, root, out);
    config_free(&root);
    return rc;
}
