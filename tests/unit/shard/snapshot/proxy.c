/* proxy.c: see proxy.h. */
#include "tests/unit/shard/snapshot/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/must.h"

#define PAIRS 16
#define PIECE_BYTES 16384
#define TICK_MS 5

struct pair {
    int up, down; /* to the sender; to the receiver. 0: no pair */
};

struct proxy {
    int listener;
    uint16_t port, target;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic unsigned cuts_wanted;
    unsigned cuts;
    _Atomic uint64_t passed, hold;
    struct pair pairs[PAIRS];
};

static int tcp(uint16_t port, bool listening, uint16_t *out_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0);
    if (listening) {
        must(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 16) == 0);
        must(getsockname(fd, (struct sockaddr *)&at, &size) == 0);
        *out_port = ntohs(at.sin_port);
    } else if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void pair_close(struct pair *p)
{
    close(p->up);
    close(p->down);
    *p = (struct pair){0};
}

static void take_connection(struct proxy *p)
{
    int down = accept(p->listener, NULL, NULL), up = tcp(p->target, false, NULL);
    for (size_t i = 0; down >= 0 && up >= 0 && i < PAIRS; i++)
        if (p->pairs[i].up == 0) {
            p->pairs[i] = (struct pair){up, down};
            return;
        }
    if (down >= 0)
        close(down);
    if (up >= 0)
        close(up);
}

/* False: the connection ended. */
static bool pass(int from, int to, size_t most, uint64_t *out_bytes)
{
    char piece[PIECE_BYTES];
    ssize_t n = recv(from, piece, most < sizeof piece ? most : sizeof piece, MSG_DONTWAIT);
    if (n <= 0)
        return false;
    for (ssize_t done = 0, sent; done < n; done += sent)
        if ((sent = send(to, piece + done, (size_t)(n - done), MSG_NOSIGNAL)) <= 0)
            return false;
    *out_bytes = (uint64_t)n;
    return true;
}

static uint64_t may_pass(const struct proxy *p)
{
    uint64_t hold = atomic_load(&p->hold), passed = atomic_load(&p->passed);
    return hold > passed ? hold - passed : 0;
}

static void turn(struct proxy *p)
{
    struct pollfd polled[1 + 2 * PAIRS] = {{.fd = p->listener, .events = POLLIN}};
    for (size_t i = 0; i < PAIRS; i++) {
        bool open = p->pairs[i].up != 0;
        polled[1 + 2 * i] = (struct pollfd){.fd = open ? p->pairs[i].down : -1, .events = POLLIN};
        polled[2 + 2 * i] = (struct pollfd){.fd = open ? p->pairs[i].up : -1, .events = may_pass(p) ? POLLIN : 0};
    }
    (void)poll(polled, 1 + 2 * PAIRS, TICK_MS);
    if (atomic_load(&p->cuts_wanted) != p->cuts) {
        p->cuts = atomic_load(&p->cuts_wanted);
        for (size_t i = 0; i < PAIRS; i++)
            if (p->pairs[i].up)
                pair_close(&p->pairs[i]);
        return;
    }
    for (size_t i = 0; i < PAIRS; i++) {
        uint64_t bytes = 0, most = may_pass(p);
        struct pair *pair = &p->pairs[i];
        if (!pair->up)
            continue;
        bool goes = !polled[1 + 2 * i].revents || pass(pair->down, pair->up, PIECE_BYTES, &bytes);
        bytes = 0;
        if (goes && polled[2 + 2 * i].revents && most > 0)
            goes = pass(pair->up, pair->down, most, &bytes);
        atomic_fetch_add(&p->passed, bytes);
        if (!goes || (polled[2 + 2 * i].revents & (POLLHUP | POLLERR)))
            pair_close(pair);
    }
    if (polled[0].revents)
        take_connection(p);
}

static void *run(void *ctx)
{
    struct proxy *p = ctx;
    while (!atomic_load(&p->stop))
        turn(p);
    return NULL;
}

struct proxy *proxy_start(uint16_t port)
{
    struct proxy *p = calloc(1, sizeof *p);
    must(p);
    p->target = port;
    p->hold = UINT64_MAX;
    p->listener = tcp(0, true, &p->port);
    must(pthread_create(&p->thread, NULL, run, p) == 0);
    return p;
}

void proxy_stop(struct proxy **p)
{
    if (!*p)
        return;
    atomic_store(&(*p)->stop, true);
    pthread_join((*p)->thread, NULL);
    for (size_t i = 0; i < PAIRS; i++)
        if ((*p)->pairs[i].up)
            pair_close(&(*p)->pairs[i]);
    close((*p)->listener);
    free(*p);
    *p = NULL;
}

uint16_t proxy_port(const struct proxy *p)
{
    return p->port;
}

uint64_t proxy_passed(const struct proxy *p)
{
    return atomic_load(&p->passed);
}

void proxy_hold(struct proxy *p, uint64_t bytes)
{
    atomic_store(&p->hold, bytes);
}

void proxy_cut(struct proxy *p)
{
    atomic_fetch_add(&p->cuts_wanted, 1);
}
