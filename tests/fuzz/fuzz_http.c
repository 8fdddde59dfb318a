/* fuzz_http.c: any bytes at the HTTP door of a process: answered with a status line or hung up on, and the door stays
 * open for the next. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/sys/http.h"
#include "tests/fuzz/fuzz.h"

#define PORT_FIRST 21100
#define PORT_LAST 21199
#define WAIT_MS 30

static _Atomic bool ready = true;
static struct http *http;
static uint16_t port;

static void end(void)
{
    http_stop(&http);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    for (port = PORT_FIRST; port <= PORT_LAST; port++) {
        char endpoint[32];
        snprintf(endpoint, sizeof endpoint, "127.0.0.1:%u", port);
        if (http_start(endpoint, &ready, 0, &http) == HF_OK)
            break;
    }
    must(http != NULL);
    atexit(end);
    return 0;
}

/* Sends all of it, shuts its side and reads to the end; how many bytes came, the first of them in `out`. */
static size_t talk(const void *data, size_t size, char out[16])
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0);
    for (int tries = 0; connect(fd, (const struct sockaddr *)&to, sizeof to) != 0; tries++) {
        must(tries < 5000); /* all local ports may be in use for a moment: by tens of thousands of connections before */
        usleep(1000);
    }
    struct linger now = {1, 0}; /* no port is left waiting */
    must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    size_t got = 0;
    (void)!send(fd, data, size, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    char buffer[4096];
    struct pollfd item = {.fd = fd, .events = POLLIN};
    while (poll(&item, 1, got ? 0 : WAIT_MS) > 0) {
        ssize_t n = recv(fd, buffer, sizeof buffer, 0);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n && got + (size_t)i < 16; i++)
            out[got + (size_t)i] = buffer[i];
        got += (size_t)n;
    }
    close(fd);
    return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned inputs;
    char head[16] = "";
    size_t got = talk(data, size, head);
    must(got < 9 || memcmp(head, "HTTP/1.", 7) == 0);
    if (inputs++ % 64 != 0)
        return 0;
    static const char good[] = "GET /healthz HTTP/1.0\r\n\r\n";
    memset(head, 0, sizeof head);
    for (int tries = 0; tries < 300 && (got = talk(good, sizeof good - 1, head)) == 0; tries++)
        continue; /* the one thread may still be at what came before */
    must(got > 12 && memcmp(head + 8, " 200", 4) == 0);
    return 0;
}
