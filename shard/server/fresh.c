/* fresh.c: see fresh.h. */
#include "shard/server/fresh.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/diag.h"
#include "proto/pack.h"
#include "proto/requests.h"
#include "proto/routes.h"
#include "shard/server/answer.h"
#include "shard/server/status.h"

static void reply_code(struct answer *a, const struct net_peer *peer, uint64_t id, int code, const char *message)
{
    Hf__Client__Reply reply;
    answer_init(a, &reply, id, code);
    if (message[0])
        reply.message = (char *)(uintptr_t)message; /* packing only reads */
    answer_send(a, peer, &reply);
}

static void reply_status(struct answer *a, const struct net_peer *peer, uint64_t id, const struct directory *directory)
{
    Hf__Client__Reply reply;
    answer_init(a, &reply, id, HF_OK);
    struct status_buffer buffer;
    reply.status = status_fill(&buffer, directory, NULL);
    answer_send(a, peer, &reply);
}

static const Hf__Catalog__Shard *shard_of(const Hf__Catalog__Routes *routes, uint32_t shard)
{
    for (size_t i = 0; i < routes->n_shards; i++)
        if (routes->shards[i]->shard == shard)
            return routes->shards[i];
    return NULL;
}

/* A coordinator's beat tells who this replica is, if it was a member before its directory was wiped. A learner comes back;
 * a voter must not: what it acknowledged, and whom it voted for, is gone (I13). true: it is a member again. */
static bool take_beat(struct answer *a, struct directory *directory, const struct net_peer *peer,
                      const Hf__Client__Request *q)
{
    const Hf__Catalog__Routes *routes = q->beat->routes;
    if (!routes) { /* version 0: they come with the next */
        reply_code(a, peer, q->id, HF_OK, "");
        return false;
    }
    const struct directory_config *c = &directory->config;
    const Hf__Catalog__Shard *shard = routes_check(routes) == HF_OK ? shard_of(routes, directory->id.group) : NULL;
    Hf__Catalog__Members members = HF__CATALOG__MEMBERS__INIT;
    members.members = shard ? shard->members : NULL;
    members.n_members = shard ? shard->n_members : 0;
    const Hf__Catalog__Member *self = directory_member(&members, directory->id.replica);
    if (!self || self->incarnation == directory->id.incarnation || (c->cluster && c->cluster != routes->cluster) ||
        strcmp(self->raft_endpoint, c->raft_endpoint) != 0 || strcmp(self->client_endpoint, c->client_endpoint) != 0)
        return false;
    if (self->role != HF__CATALOG__ROLE__LEARNER)
        refuse(
            "replica %" PRIu32 "/%" PRIu32 " votes in cluster %016" PRIx64 " as incarnation %016" PRIx64
            ", and %s is empty: what it acknowledged is gone, so it may not vote again; bring its directory back, or "
            "restore the group with holdfast backup restore",
            directory->id.group, directory->id.replica, routes->cluster, self->incarnation, c->dir);
    char message[256] = "";
    int rc = directory_rejoin(directory, routes->cluster, &members, message);
    if (rc)
        refuse("%s", message);
    return true;
}

/* true: the directory is a member now. */
static bool handle(struct answer *a, struct directory *directory, const struct net_peer *peer,
                   const Hf__Client__Request *q)
{
    char message[256] = "";
    int rc = HF_E_NOT_READY;
    if (q->version != REQUESTS_VERSION) {
        reply_code(a, peer, q->id, HF_E_PROTOCOL, "unknown protocol version; this program speaks 1");
        return false;
    }
    if (q->op_case == HF__CLIENT__REQUEST__OP_STATUS) {
        reply_status(a, peer, q->id, directory);
        return false;
    }
    if (q->op_case == HF__CLIENT__REQUEST__OP_BEAT)
        return take_beat(a, directory, peer, q);
    if (q->op_case == HF__CLIENT__REQUEST__OP_BOOTSTRAP)
        rc = directory_bootstrap(directory, q->bootstrap, message);
    else
        snprintf(message, sizeof message, "this replica belongs to no group yet; run holdfast bootstrap");
    reply_code(a, peer, q->id, rc, message);
    return q->op_case == HF__CLIENT__REQUEST__OP_BOOTSTRAP && rc == HF_OK;
}

bool fresh_wait(struct directory *directory, struct net_socket *clients, int signal_fd)
{
    struct answer a = {.socket = clients, .shard = directory->id.group};
    struct arena arena = {0};
    bool member = false, stop = false;
    diag(DIAG_INFO, "fresh incarnation=%016llx: waiting for a bootstrap",
         (unsigned long long)directory->id.incarnation);
    while (!member && !stop) {
        struct net_poll_item items[] = {{.socket = clients}, {.fd = signal_fd}};
        (void)net_poll(items, 2, -1);
        stop = items[1].readable;
        struct net_peer peer;
        struct net_message message;
        int rc = net_receive(clients, &peer, &message);
        if (rc)
            continue;
        arena_reset(&arena);
        const Hf__Client__Request *q =
            pack_unpack(&hf__client__request__descriptor, net_message_data(&message), &arena);
        if (q)
            member = handle(&a, directory, &peer, q);
        net_message_release(&message);
    }
    if (member)
        diag(DIAG_INFO, "a member of cluster=%016llx", (unsigned long long)directory->id.cluster);
    arena_deinit(&arena);
    buf_deinit(&a.packed);
    return member;
}
