/* http.c: a listening socket of our own, so that a taken port is told apart, given to libmicrohttpd with one thread. */
#include "common/sys/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/metrics.h"
#include "common/sys/net.h"

#define HTTP_CONNECTIONS_MAX 32u
#define HTTP_TIMEOUT_S 10u
#define HTTP_BACKLOG 64
#define HTTP_HOST_BYTES 256
#define HTTP_REASON_BYTES 256
#define HTTP_TEXT_TYPE "text/plain; charset=utf-8"
#define HTTP_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct http {
    struct MHD_Daemon *daemon;                  /* owned */
    const _Atomic bool *ready;                  /* borrowed; outlives us */
    _Atomic(const _Atomic(const char *) *) why; /* likewise; NULL: nobody says */
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type, struct slice body,
                              const char *allow)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body.size, (void *)(uintptr_t)body.data, MHD_RESPMEM_MUST_COPY);
    if (response == NULL)
        return MHD_NO;
    enum MHD_Result rc = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (rc == MHD_YES && allow != NULL)
        rc = MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
    if (rc == MHD_YES)
        rc = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return rc;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status, const char *text)
{
    return answer(connection, status, HTTP_TEXT_TYPE, slice_text(text), NULL);
}

static enum MHD_Result answer_ready(const struct http *h, struct MHD_Connection *connection)
{
    char text[HTTP_REASON_BYTES];
    if (atomic_load(h->ready))
        return answer_text(connection, MHD_HTTP_OK, "ready\n");
    const _Atomic(const char *) *slot = atomic_load(&h->why);
    const char *why = slot != NULL ? atomic_load(slot) : NULL;
    bool said = why != NULL && why[0] != '\0';
    snprintf(text, sizeof text, "not ready%s%s\n", said ? ": " : "", said ? why : "");
    return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, text);
}

static enum MHD_Result handle(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_size, void **request)
{
    static char seen;
    const struct http *h = ctx;
    (void)version;
    (void)upload;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, HTTP_TEXT_TYPE, slice_text("only GET and HEAD\n"),
                      "GET, HEAD");
    if (*request == NULL) { /* the library calls once with the headers, then again: answer then */
        *request = &seen;
        return MHD_YES;
    }
    if (*upload_size > 0) {
        *upload_size = 0;
        return MHD_YES;
    }
    if (strcmp(url, "/healthz") == 0)
        return answer_text(connection, MHD_HTTP_OK, "ok\n");
    if (strcmp(url, "/readyz") == 0)
        return answer_ready(h, connection);
    if (strcmp(url, "/metrics") != 0)
        return answer_text(connection, MHD_HTTP_NOT_FOUND, "not found\n");
    struct buf text = {0};
    metrics_write(&text);
    enum MHD_Result rc = answer(connection, MHD_HTTP_OK, HTTP_METRICS_TYPE, buf_slice(&text), NULL);
    buf_deinit(&text);
    return rc;
}

/* Five digits at most; getaddrinfo would take 65536 for 0. */
static bool is_port(const char *text)
{
    size_t size = strlen(text);
    return size > 0 && size <= 5 && strspn(text, "0123456789") == size && strtoul(text, NULL, 10) <= UINT16_MAX;
}

/* "host:port", "[v6]:port" or ":port" (loopback). */
static int resolve(const char *endpoint, struct addrinfo **out)
{
    const char *colon = strrchr(endpoint, ':'), *host = endpoint;
    if (colon == NULL || !is_port(colon + 1))
        return HF_E_INVALID;
    size_t size = (size_t)(colon - endpoint);
    if (size >= 2 && host[0] == '[' && host[size - 1] == ']') {
        host++;
        size -= 2;
    }
    char name[HTTP_HOST_BYTES];
    if (size >= sizeof name)
        return HF_E_INVALID;
    memcpy(name, host, size);
    name[size] = '\0';
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    return getaddrinfo(size > 0 ? name : "127.0.0.1", colon + 1, &hints, out) == 0 ? 0 : HF_E_INVALID;
}

static int listen_on(const char *endpoint, int *out_fd)
{
    struct addrinfo *address = NULL;
    int rc = resolve(endpoint, &address);
    if (rc != 0)
        return rc;
    int one = 1, fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        rc = HF_E_IO;
    else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
             bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, HTTP_BACKLOG) != 0)
        rc = errno == EADDRINUSE ? HF_E_EXISTS : errno == EADDRNOTAVAIL ? HF_E_INVALID : HF_E_IO;
    freeaddrinfo(address);
    if (rc == 0)
        *out_fd = fd;
    else if (fd >= 0)
        close(fd);
    return rc;
}

int http_start(const char *endpoint, const _Atomic bool *ready, uint32_t patience_ms, struct http **out)
{
    uint64_t end_ns = clock_boot_ns() + patience_ms * CLOCK_NS_PER_MS;
    int rc, fd = -1;
    do
        rc = listen_on(endpoint, &fd);
    while (net_listen_again(rc, end_ns));
    if (rc != 0)
        return rc;
    struct http *h = malloc(sizeof *h);
    must(h != NULL); /* out of memory */
    h->ready = ready;
    atomic_init(&h->why, NULL);
    h->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL, handle, h,
                                 MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, HTTP_CONNECTIONS_MAX,
                                 MHD_OPTION_CONNECTION_TIMEOUT, HTTP_TIMEOUT_S, MHD_OPTION_END);
    if (h->daemon == NULL) {
        free(h);
        close(fd);
        return HF_E_IO;
    }
    *out = h;
    return 0;
}

void http_explain(struct http *h, const _Atomic(const char *) *why)
{
    atomic_store(&h->why, why);
}

void http_stop(struct http **h)
{
    if (*h == NULL)
        return;
    MHD_stop_daemon((*h)->daemon); /* closes the listening socket */
    free(*h);
    *h = NULL;
}
