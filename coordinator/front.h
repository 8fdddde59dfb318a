/* front.h: the door for clients: takes requests in, checks them before anything else (I11, I12), answers or hands on.
 *
 * Position: first and last on the way of a routed request. Everything it cannot answer itself goes to forward.c.
 * Thread: loop thread only. Never blocks: an answer whose client is gone or does not read is dropped and counted. */
#pragma once

#include <stdbool.h>

#include "common/base/arena.h"
#include "coordinator/forward.h"
#include "proto/requests.h"

struct coordinator;

struct front {
    struct net_socket *socket; /* owned */
    struct arena arena;        /* of one message */
    struct buf out;
    bool stopping; /* new requests are refused */
};

HF_CHECKED int front_open(struct front *f, struct net *net, const char *listen, size_t connections_max);
void front_close(struct front *f);

/* Takes at most TURN_MESSAGES requests. True: there may be more. */
bool front_receive(struct coordinator *c, uint64_t now_ns);

/* Completes version, id, class and route version of `reply` and sends it. */
void front_answer(struct coordinator *c, const struct forward_client *client, Hf__Client__Reply *reply);

/* requests_check, and HF_E_REFUSED for the catalog's space; what is wrong in text[]. */
HF_CHECKED int front_check(const Hf__Client__Request *request, char text[REQUESTS_TEXT_BYTES]);

/* Drives a checked transaction over several shards, here; answers by coordinator_answer. */
void front_commit(struct coordinator *c, const struct forward_client *client, const Hf__Client__Request *request,
                  uint64_t now_ns);
/* Hands a checked migrate_job to the job of this coordinator; answers by coordinator_answer. */
void front_migrate(struct coordinator *c, const struct forward_client *client, const Hf__Client__Request *request,
                   uint64_t now_ns);
