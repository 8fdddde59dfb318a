/* links.c: see links.h. */
#include "coordinator/links.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "coordinator/limits.h"

void links_init(struct links *l, struct net *net, int hwm)
{
    *l = (struct links){.net = net, .hwm = hwm};
}

static void link_free(struct link *link)
{
    net_close(&link->socket);
    free(link->endpoint);
    free(link);
}

void links_deinit(struct links *l)
{
    for (size_t i = 0; i < l->count; i++)
        link_free(l->all[i]);
    free(l->all);
    *l = (struct links){0};
}

static int add(struct links *l, uint32_t shard, uint32_t replica, const char *endpoint)
{
    if (l->count == LINKS_MAX)
        return HF_E_LIMIT;
    struct net_options options = {.hwm = l->hwm, .message_bytes = LIMIT_REQUEST_BYTES};
    struct net_socket *socket = NULL;
    int rc = net_connect(l->net, endpoint, &options, &socket);
    if (rc)
        return rc;
    if (l->count == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 16;
        l->all = realloc(l->all, l->cap * sizeof *l->all);
        must(l->all != NULL); /* out of memory */
    }
    struct link *link = calloc(1, sizeof *link);
    must(link != NULL);
    *link = (struct link){
        .shard = shard, .replica = replica, .endpoint = strdup(endpoint), .socket = socket, .wanted = true};
    must(link->endpoint != NULL);
    l->all[l->count++] = link;
    return HF_OK;
}

int links_seed(struct links *l, const char *endpoint)
{
    return add(l, COORDINATOR_CATALOG_SHARD, LINKS_SEED_ID + (uint32_t)l->count, endpoint);
}

static void want(struct links *l, uint32_t shard, const Hf__Catalog__Member *member)
{
    if (member->client_endpoint[0] == '\0')
        return; /* a member without an address stays a member; nobody can ask it */
    struct link *link = links_find_endpoint(l, shard, member->client_endpoint);
    if (link != NULL) {
        if (link->replica != member->replica)
            link->asking = false; /* a seed's call ends under its stand-in id */
        link->replica = member->replica;
        link->wanted = true;
        return;
    }
    int rc = add(l, shard, member->replica, member->client_endpoint);
    if (rc)
        diag(DIAG_WARN, "cannot connect to a replica: shard=%" PRIu32 " replica=%" PRIu32 " endpoint=%s: %s", shard,
             member->replica, member->client_endpoint, error_text(rc));
}

void links_sync(struct links *l, const Hf__Catalog__Routes *routes)
{
    for (size_t i = 0; i < l->count; i++)
        l->all[i]->wanted = false;
    for (size_t s = 0; s < routes->n_shards; s++)
        for (size_t m = 0; m < routes->shards[s]->n_members; m++)
            want(l, routes->shards[s]->shard, routes->shards[s]->members[m]);
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (l->all[i]->wanted)
            l->all[kept++] = l->all[i];
        else
            link_free(l->all[i]);
    }
    l->count = kept;
}

struct link *links_find(const struct links *l, uint32_t shard, uint32_t replica)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->all[i]->shard == shard && l->all[i]->replica == replica)
            return l->all[i];
    return NULL;
}

struct link *links_find_endpoint(const struct links *l, uint32_t shard, const char *endpoint)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->all[i]->shard == shard && strcmp(l->all[i]->endpoint, endpoint) == 0)
            return l->all[i];
    return NULL;
}

size_t links_replicas(const struct links *l, uint32_t shard, uint32_t *out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < l->count && n < max; i++)
        if (l->all[i]->shard == shard)
            out[n++] = l->all[i]->replica;
    return n;
}

int links_send(const struct links *l, uint32_t shard, uint32_t replica, struct slice frame)
{
    struct link *link = links_find(l, shard, replica);
    return link ? net_send(link->socket, frame) : HF_E_UNAVAILABLE;
}
