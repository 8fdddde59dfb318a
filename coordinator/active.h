/* active.h: questions for the clock, which only the active coordinator answers: answered here while this one is active,
 * else on their way to the one that the oracle's key names.
 *
 * Position: front.c asks. What has to wait or to travel stands in forward.c as the queue of a shard that does not exist
 * (FORWARD_CLOCK), with its bounds, deadlines and repeats; its port comes back here. When this coordinator becomes the
 * active one, what waits is answered by it.
 * Thread: loop thread only.
 *
 * A question that was forwarded says so and is not forwarded again: two standbys that take each other for the active one
 * do not pass it to and fro. Nothing is drawn beforehand: a timestamp that leaves a standby was drawn by the active one
 * after its request had come here (I8). */
#pragma once

#include "coordinator/forward.h"
#include "coordinator/oracle.h"
#include "coordinator/retain.h"

struct active_question { /* for ourselves */
    uint64_t id;         /* of the attempt */
    struct buf request;  /* owned: packed */
};

struct active_reply { /* with what it points to */
    Hf__Client__Reply reply;
    Hf__Client__ClockAccepted accepted;
};

struct active {
    struct net *net; /* borrowed, as the next four */
    struct oracle *oracle;
    struct retain *retain;
    struct forward *forward;
    const char *own; /* our endpoint */
    /* Drives what waited for an active coordinator, which is now this one; the answer comes by forward_reply. */
    void (*drive)(void *ctx, uint64_t id, const Hf__Client__Request *request, uint64_t now_ns);
    void *ctx;

    uint32_t number;           /* of whom to ask; another at each change. 0: nobody is known */
    bool self;                 /* it is ourselves */
    struct net_socket *socket; /* owned; NULL: self, nobody, or an endpoint that is none */
    char endpoint[CLOCK_ENDPOINT_BYTES];
    uint64_t epoch;
    uint32_t changes;

    struct active_question *inbox; /* owned */
    size_t inbox_count, inbox_cap;
};

void active_init(struct active *a, struct net *net, struct oracle *oracle, struct retain *retain,
                 struct forward *forward, const char *own);
void active_deinit(struct active *a);

/* Answers a timestamp, a clock_accept, a retain or, while not active, a cut or a transaction, or takes it in: true, *out is to be sent now; false, the answer comes through
 * forward's port. The texts of *out are static or live until the turn ends. */
bool active_ask(struct active *a, const struct forward_client *client, Hf__Client__Request *request,
                uint64_t deadline_ns, uint64_t now_ns, struct active_reply *out);

/* Follows the oracle. True: the socket is another one; to be called when no poll uses it. */
bool active_follow(struct active *a, uint64_t now_ns);
/* Answers what came for ourselves. */
void active_serve(struct active *a, uint64_t now_ns);

/* forward's port for FORWARD_CLOCK. */
uint32_t active_pick(const struct active *a);
int active_send(struct active *a, uint32_t number, struct slice frame);
