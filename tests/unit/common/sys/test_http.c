/* test_http.c: the paths, methods and states of the HTTP door over a real connection. */
#include "common/sys/http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/sys/metrics.h"
#include "tests/unit/unit.h"

#define PORT_MIN 21000
#define PORTS 50

static struct metric table[] = {{"holdfast_test_total", NULL, "Test", METRIC_COUNTER, 5}};
static _Atomic bool ready;
static struct http *door;
static char endpoint[32];
static unsigned short port;

static int start_on_a_free_port(void)
{
    int rc = HF_E_EXISTS; /* each process begins elsewhere: another run of this test may be about */
    for (int i = 0; i < PORTS; i++) {
        port = (unsigned short)(PORT_MIN + (getpid() + i) % PORTS);
        snprintf(endpoint, sizeof endpoint, "127.0.0.1:%u", port);
        rc = http_start(endpoint, &ready, 0, &door);
        if (rc != HF_E_EXISTS)
            break;
    }
    return rc;
}

/* The whole answer, headers and all, to one request; its status, or -1. */
static int request(const char *method, const char *path, char *out, size_t size)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), status = -1;
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    out[0] = '\0';
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) {
        dprintf(fd, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path);
        size_t used = 0;
        ssize_t n;
        while (used + 1 < size && (n = read(fd, out + used, size - 1 - used)) > 0)
            used += (size_t)n;
        out[used] = '\0';
        sscanf(out, "HTTP/1.1 %d", &status);
    }
    close(fd);
    return status;
}

static void paths_and_methods(void)
{
    static char answer[16384];
    CU_ASSERT_EQUAL_FATAL(start_on_a_free_port(), 0);
    CU_ASSERT_EQUAL(request("GET", "/healthz", answer, sizeof answer), 200);
    CU_ASSERT_EQUAL(request("GET", "/readyz", answer, sizeof answer), 503);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\r\n\r\nnot ready\n"));
    static _Atomic(const char *) why;
    http_explain(door, &why);
    CU_ASSERT_EQUAL(request("GET", "/readyz", answer, sizeof answer), 503);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\r\n\r\nnot ready\n"));
    atomic_store(&why, "for a reason");
    CU_ASSERT_EQUAL(request("GET", "/readyz", answer, sizeof answer), 503);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\r\n\r\nnot ready: for a reason\n"));
    atomic_store(&ready, true);
    CU_ASSERT_EQUAL(request("GET", "/readyz", answer, sizeof answer), 200);
    CU_ASSERT_EQUAL(request("GET", "/metrics", answer, sizeof answer), 200);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "text/plain; version=0.0.4"));
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\r\n\r\n# HELP holdfast_test_total Test\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\nholdfast_test_total 5\n"));
    CU_ASSERT_EQUAL(request("HEAD", "/metrics", answer, sizeof answer), 200);
    CU_ASSERT_PTR_NULL(strstr(answer, "holdfast_test_total"));
    CU_ASSERT_EQUAL(request("GET", "/", answer, sizeof answer), 404);
    CU_ASSERT_EQUAL(request("GET", "/metrics/x", answer, sizeof answer), 404);
    CU_ASSERT_EQUAL(request("POST", "/healthz", answer, sizeof answer), 405);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "Allow: GET, HEAD"));
    struct http *other = NULL;
    CU_ASSERT_EQUAL(http_start(endpoint, &ready, 0, &other), HF_E_EXISTS);
    http_stop(&door);
    CU_ASSERT_PTR_NULL(door);
    CU_ASSERT_EQUAL(request("GET", "/healthz", answer, sizeof answer), -1);
    CU_ASSERT_EQUAL(http_start(endpoint, &ready, 0, &door), 0); /* the port is free at once */
    http_stop(&door);
    http_stop(&door);
}

static void bad_endpoints(void)
{
    static const char *const bad[] = {"",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:x",
                                      "127.0.0.1:65536",
                                      "192.0.2.1:21000" /* not an address of this machine */};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_EQUAL(http_start(bad[i], &ready, 0, &door), HF_E_INVALID);
    CU_ASSERT_PTR_NULL(door);
}

int main(void)
{
    metrics_register(table, 1);
    static const struct unit_case cases[] = {
        {"paths and methods", paths_and_methods},
        {"bad endpoints", bad_endpoints},
    };
    return UNIT_MAIN("http", cases);
}
