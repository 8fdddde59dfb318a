/* front.h: the door for clients: takes requests in, checks them before anything else (I11, I12), answers or hands on.
 *
 * Position: first and last on the way of a routed request. Everything it cannot answer itself goes to forward.c.
 * Thread: loop thread only. Never blocks: an answer whose client is gone or does not read is dropped and counted. */
#pragma once

#include <stdbool.h>

#include "common/base/arena.h"
#include "coordinator/forward.h"

struct coordinator;

struct front {
    struct net_socket *socket; /* owned */
    struct arena arena;        /* of one message */
    struct buf out;
    bool stopping; /* new requests are refused */
};

HF_CHECKED int front_open(struct front *f, struct net *net, const char *listen);
void front_close(struct front *f);

/* Takes at most TURN_MESSAGES requests. True: there may be more. */
bool front_receive(struct coordinator *c, uint64_t now_ns);

/* Completes version, id, class and route version of `reply` and sends it. */
void front_answer(struct coordinator *c, const struct forward_client *client, Hf__Client__Reply *reply);

/* Sizes of everything a request for a shard carries. HF_E_LIMIT, HF_E_REFUSED (the catalog's space), HF_E_INVALID; what
 * is wrong in text[text_bytes]. */
HF_CHECKED int front_check(const Hf__Client__Request *request, char *text, size_t text_bytes);
