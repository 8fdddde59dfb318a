/* connections.h: how many connections others may hold at a listener; whoever comes beyond is let in and shown out.
 *
 * Position: below net.c. Descriptors are one purse for sockets and for the files of log and state machine: a process that
 * clients can empty of them ends. ZeroMQ itself takes all that come.
 * Thread:   the listener's owner. */
#pragma once

#include <stddef.h>

#include "common/base/must.h"

/* Raises this process's soft limit of descriptors to the hard one and says how many of them connections may take. A
 * server does this once, before it listens; a library never does. */
size_t connections_init(void);

struct connections {
    void *monitor; /* owned; NULL: not watched */
    void *zmq;     /* the listener */
    size_t count, max;
};

/* Watches the listener `zmq` of `context` from its bind on. */
HF_CHECKED int connections_watch(struct connections *c, void *context, void *zmq, size_t max);
void connections_close(struct connections *c); /* before the listener is closed */

/* Counts who came and went since the last call, and ends what is too many. */
void connections_take(struct connections *c);
