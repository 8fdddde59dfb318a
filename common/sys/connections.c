/* connections.c: see connections.h. */
#include "common/sys/connections.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <zmq.h>

#include "common/base/error.h"
#include "common/sys/metrics.h"

#define FILES_KEPT 1024    /* descriptors that connections leave for files and for our own sockets */
#define ENDED_AT_ONCE 1024 /* in one call */

enum { M_OPEN, M_REFUSED, M_COUNT };
static struct metric metrics[M_COUNT] = {
    [M_OPEN] = {"holdfast_connections", NULL, "Connections that others hold to this process", METRIC_GAUGE, 0},
    [M_REFUSED] = {"holdfast_connections_refused_total", NULL, "Connections ended at once: there are too many",
                   METRIC_COUNTER, 0},
};

size_t connections_init(void)
{
    struct rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
        limit = raised;
    metrics_register(metrics, M_COUNT);
    return limit.rlim_cur > 2 * FILES_KEPT ? limit.rlim_cur - FILES_KEPT : limit.rlim_cur / 2;
}

int connections_watch(struct connections *c, void *context, void *zmq, size_t max)
{
    char endpoint[64];
    int rc = HF_OK, none = 0;
    snprintf(endpoint, sizeof endpoint, "inproc://connections-%p", zmq);
    if (zmq_socket_monitor(zmq, endpoint, ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED) != 0)
        return errno == EMFILE ? HF_E_LIMIT : HF_E_IO;
    *c = (struct connections){.monitor = zmq_socket(context, ZMQ_PAIR), .zmq = zmq, .max = max};
    if (c->monitor == NULL) {
        (void)zmq_socket_monitor(zmq, NULL, 0);
        return HF_E_LIMIT;
    }
    /* Without a mark: at one, ZeroMQ's thread would wait for us. An event is a few bytes. */
    if (zmq_setsockopt(c->monitor, ZMQ_RCVHWM, &none, sizeof none) != 0 ||
        zmq_setsockopt(c->monitor, ZMQ_LINGER, &none, sizeof none) != 0 || zmq_connect(c->monitor, endpoint) != 0)
        rc = HF_E_IO;
    if (rc)
        connections_close(c);
    return rc;
}

void connections_close(struct connections *c)
{
    if (c->monitor != NULL) { /* in this order: ZeroMQ's thread waits for ever to tell an event that nobody can take */
        (void)zmq_socket_monitor(c->zmq, NULL, 0);
        zmq_close(c->monitor);
    }
    metric_add(&metrics[M_OPEN], 0 - (uint64_t)c->count);
    *c = (struct connections){0};
}

/* One event of two frames: a number and a descriptor; an address. False: none waits. */
static bool next_event(void *monitor, uint16_t *out_event, int32_t *out_fd)
{
    uint8_t frame[6];
    int n;
    do
        n = zmq_recv(monitor, frame, sizeof frame, ZMQ_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n != (int)sizeof frame)
        return false;
    memcpy(out_event, frame, sizeof *out_event);
    memcpy(out_fd, frame + sizeof *out_event, sizeof *out_fd);
    char address[8]; /* cut off: it is not looked at */
    (void)zmq_recv(monitor, address, sizeof address, ZMQ_DONTWAIT);
    return true;
}

void connections_take(struct connections *c)
{
    int32_t end[ENDED_AT_ONCE], fd;
    size_t ending = 0;
    uint16_t event;
    while (ending < ENDED_AT_ONCE && next_event(c->monitor, &event, &fd)) {
        if (event == ZMQ_EVENT_ACCEPTED) {
            metric_add(&metrics[M_OPEN], 1);
            if (++c->count > c->max)
                end[ending++] = fd;
            continue;
        }
        c->count -= c->count > 0;
        metric_add(&metrics[M_OPEN], UINT64_MAX);
        for (size_t i = ending; i-- > 0;)
            if (end[i] == fd) /* gone by itself: the number may be another's soon */
                end[i] = end[--ending];
    }
    for (size_t i = 0; i < ending; i++) { /* at worst it just became another connection's, which then comes again */
        metric_add(&metrics[M_REFUSED], 1);
        (void)shutdown(end[i], SHUT_RDWR);
    }
}
