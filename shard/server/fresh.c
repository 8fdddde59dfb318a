/* fresh.c: see fresh.h. */
#include "shard/server/fresh.h"

#include <stdio.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/diag.h"
#include "proto/pack.h"
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

/* true: the directory is a member now. */
static bool handle(struct answer *a, struct directory *directory, const struct net_peer *peer,
                   const Hf__Client__Request *q)
{
    char message[256] = "";
    int rc = HF_E_NOT_READY;
    if (q->version != CLIENT_PROTOCOL_VERSION) {
        reply_code(a, peer, q->id, HF_E_PROTOCOL, "unknown protocol version; this program speaks 1");
        return false;
    }
    if (q->op_case == HF__CLIENT__REQUEST__OP_STATUS) {
        reply_status(a, peer, q->id, directory);
        return false;
    }
    if (q->op_case == HF__CLIENT__REQUEST__OP_BEAT)
        return false;
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
        diag(DIAG_INFO, "bootstrapped cluster=%016llx", (unsigned long long)directory->id.cluster);
    arena_deinit(&arena);
    buf_deinit(&a.packed);
    return member;
}
