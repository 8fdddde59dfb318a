/* answer.h: replies to clients: their common fields, their way out.
 *
 * Position: front and fresh fill a reply's own fields and send it here. Thread: loop thread. */
#pragma once

#include "common/base/buf.h"
#include "common/sys/net.h"
#include "proto/client.pb-c.h"

struct answer {                /* who answers */
    struct net_socket *socket; /* borrowed */
    uint32_t shard;
    uint64_t route_version;
    struct buf packed; /* reused */
};

/* Sets version, id, code, class, a default message for `code`, shard and route version. */
void answer_init(const struct answer *a, Hf__Client__Reply *reply, uint64_t id, int code);

/* Sends or, when the client does not read or is gone, drops and counts. */
void answer_send(struct answer *a, const struct net_peer *peer, const Hf__Client__Reply *reply);

/* As answer_send for a reply packed before. */
void answer_send_packed(struct answer *a, const struct net_peer *peer, struct slice packed);

void answer_metrics(void); /* registers the table; once */
