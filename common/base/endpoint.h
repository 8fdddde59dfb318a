/* endpoint.h: the form of an address as people write it, before a socket is asked to understand it. */
#pragma once

#include <stdbool.h>

#include "common/base/slice.h"

#define ENDPOINT_FORM "tcp://HOST:PORT or ipc://PATH"
#define ENDPOINT_HTTP_FORM "HOST:PORT, [V6]:PORT or :PORT"

/* tcp://HOST:PORT with a port of 1 to 65535, or ipc://PATH. */
bool endpoint_to_connect(struct slice text);
/* Likewise, and HOST may be * (every address), PORT * or 0 (any free one). */
bool endpoint_to_listen(struct slice text);
/* HOST:PORT, [V6]:PORT, :PORT (loopback), without a scheme. */
bool endpoint_http(struct slice text);

/* Of a well-formed one: only this machine reaches it. */
bool endpoint_loopback(const char *text);
bool endpoint_http_loopback(const char *text);

/* "tcp://host:*" with the port of `bound`, "tcp://…:port"; any other text as it is. */
void endpoint_fill_port(const char *announce, const char *bound, char *out, size_t size);
