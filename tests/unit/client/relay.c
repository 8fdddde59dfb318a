/* relay.c: see relay.h. One thread, a poll loop. */
#include "tests/unit/client/relay.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/must.h"

#define REFUSED_MS 60
#define CHUNK_BYTES 65536

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void listen_all(struct relay *r)
{
    for (int i = 0; i < RELAY_PORTS; i++) {
        int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in a = loopback(r->port + i);
        must(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
        must(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 64) == 0);
        r->listeners[i] = fd;
    }
}

static void listen_none(struct relay *r)
{
    for (int i = 0; i < RELAY_PORTS; i++)
        if (r->listeners[i] >= 0)
            close(r->listeners[i]);
    memset(r->listeners, 0xff, sizeof r->listeners);
}

static void end_pair(int *pair, bool reset)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    for (int side = 0; side < 2; side++) {
        if (reset && pair[side] >= 0)
            (void)setsockopt(pair[side], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        if (pair[side] >= 0)
            close(pair[side]);
        pair[side] = -1;
    }
}

static bool cut_now(struct relay *r)
{
    return atomic_fetch_add(&r->events, 1) == atomic_load(&r->cut_at);
}

static void cut(struct relay *r, int *pair)
{
    end_pair(pair, r->how == RELAY_REFUSE || r->how == RELAY_BEFORE);
    if (r->how == RELAY_REFUSE) {
        listen_none(r);
        r->listen_again_ms = now_ms() + REFUSED_MS;
    }
}

static void accept_one(struct relay *r, int i)
{
    int one = 1, fd = accept4(r->listeners[i], NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    int *pair = NULL;
    for (int p = 0; p < RELAY_PAIRS && !pair; p++)
        pair = r->pairs[p][0] < 0 ? r->pairs[p] : NULL;
    must(pair);
    pair[0] = fd;
    pair[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = loopback(r->to_port + i);
    (void)setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(pair[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (cut_now(r))
        cut(r, pair);
    else if (connect(pair[1], (struct sockaddr *)&a, sizeof a) != 0)
        end_pair(pair, true);
}

static void pass_on(struct relay *r, int *pair, int from)
{
    static _Thread_local char chunk[CHUNK_BYTES];
    ssize_t n = recv(pair[from], chunk, sizeof chunk, 0);
    bool now = n > 0 && cut_now(r);
    ssize_t pass = !now || r->how == RELAY_AFTER ? n : r->how == RELAY_HALF ? n / 2 : 0;
    ssize_t passed = pass > 0 ? send(pair[1 - from], chunk, (size_t)pass, MSG_NOSIGNAL) : pass;
    if (now)
        cut(r, pair);
    else if (n <= 0 || passed != pass)
        end_pair(pair, false);
}

static void turn(struct relay *r)
{
    struct pollfd all[RELAY_PORTS + 2 * RELAY_PAIRS];
    for (int i = 0; i < RELAY_PORTS; i++)
        all[i] = (struct pollfd){.fd = r->listeners[i], .events = POLLIN};
    for (int i = 0; i < 2 * RELAY_PAIRS; i++)
        all[RELAY_PORTS + i] = (struct pollfd){.fd = r->pairs[i / 2][i % 2], .events = POLLIN};
    (void)poll(all, RELAY_PORTS + 2 * RELAY_PAIRS, 10);
    for (int i = 0; i < 2 * RELAY_PAIRS; i++)
        if (all[RELAY_PORTS + i].revents && r->pairs[i / 2][i % 2] == all[RELAY_PORTS + i].fd)
            pass_on(r, r->pairs[i / 2], i % 2);
    for (int i = 0; i < RELAY_PORTS; i++)
        if (all[i].revents && r->listeners[i] == all[i].fd)
            accept_one(r, i);
    if (r->listeners[0] < 0 && now_ms() >= r->listen_again_ms)
        listen_all(r);
}

static void *run(void *ctx)
{
    struct relay *r = ctx;
    while (!atomic_load(&r->stop))
        turn(r);
    return NULL;
}

void relay_start(struct relay *r)
{
    memset(r->pairs, 0xff, sizeof r->pairs);
    r->stop = false;
    atomic_store(&r->events, 0);
    listen_all(r);
    must(pthread_create(&r->thread, NULL, run, r) == 0);
}

void relay_stop(struct relay *r)
{
    atomic_store(&r->stop, true);
    pthread_join(r->thread, NULL);
    listen_none(r);
    for (int i = 0; i < RELAY_PAIRS; i++)
        end_pair(r->pairs[i], true);
}
