/* relay.h: TCP between the library and fake.h's servers that cuts a connection at its n-th event, in one of four ways. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum relay_cut {
    RELAY_REFUSE, /* the event's connection is reset, and for a moment nobody listens */
    RELAY_BEFORE, /* what came is not passed on */
    RELAY_HALF,   /* half of it is */
    RELAY_AFTER,  /* all of it is, then the connection ends */
};

#define RELAY_PORTS 3
#define RELAY_PAIRS 64

struct relay {
    int port, to_port; /* the first of RELAY_PORTS each */
    enum relay_cut how;
    _Atomic long cut_at; /* the event, counted from 0; below 0: none */
    _Atomic long events; /* a connection accepted, or bytes from one side */

    pthread_t thread;
    _Atomic bool stop;
    int listeners[RELAY_PORTS]; /* -1: refuses just now */
    int pairs[RELAY_PAIRS][2];  /* client's and server's side; -1: free */
    long listen_again_ms;
};

void relay_start(struct relay *r); /* port, to_port, how and cut_at are set */
void relay_stop(struct relay *r);
