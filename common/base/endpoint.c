/* endpoint.c: see endpoint.h. Whether a host exists is not asked here. */
#include "common/base/endpoint.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static bool begins(struct slice text, const char *with)
{
    return slice_has_prefix(text, slice_text(with));
}

static bool is_any(struct slice text)
{
    return text.size == 1 && text.data[0] == '*';
}

static bool is_port(struct slice text, uint32_t min)
{
    uint32_t port = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || port > UINT16_MAX)
            return false;
        port = port * 10 + (uint32_t)(text.data[i] - '0');
    }
    return text.size > 0 && port >= min && port <= UINT16_MAX;
}

/* At the last colon. */
static bool split(struct slice text, struct slice *out_host, struct slice *out_port)
{
    for (size_t i = text.size; i > 0; i--) {
        if (text.data[i - 1] != ':')
            continue;
        *out_host = slice_make(text.data, i - 1);
        *out_port = slice_make(text.data + i, text.size - i);
        return true;
    }
    return false;
}

static bool usable(struct slice text, bool to_listen)
{
    if (begins(text, "ipc://"))
        return text.size > 6;
    struct slice host, port;
    if (!begins(text, "tcp://") || !split(slice_make(text.data + 6, text.size - 6), &host, &port) || host.size == 0)
        return false;
    if (to_listen)
        return is_any(port) || is_port(port, 0);
    return !is_any(host) && is_port(port, 1);
}

bool endpoint_to_connect(struct slice text)
{
    return usable(text, false);
}

bool endpoint_to_listen(struct slice text)
{
    return usable(text, true);
}

bool endpoint_http(struct slice text)
{
    struct slice host, port;
    return split(text, &host, &port) && is_port(port, 0) && !begins(text, "http://") && !begins(text, "tcp://");
}

bool endpoint_http_loopback(const char *text)
{
    struct slice t = slice_text(text);
    return begins(t, ":") || begins(t, "127.") || begins(t, "[::1]:") || begins(t, "localhost:");
}

bool endpoint_loopback(const char *text)
{
    return !begins(slice_text(text), "tcp://") || (text[6] != ':' && endpoint_http_loopback(text + 6));
}

void endpoint_fill_port(const char *announce, const char *bound, char *out, size_t size)
{
    size_t length = strlen(announce);
    const char *port = strrchr(bound, ':');
    if (length > 2 && strcmp(announce + length - 2, ":*") == 0 && port)
        snprintf(out, size, "%.*s%s", (int)(length - 2), announce, port);
    else
        snprintf(out, size, "%s", announce);
}
