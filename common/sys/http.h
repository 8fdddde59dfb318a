/* http.h: the process's small HTTP door: /metrics, /healthz, /readyz, by libmicrohttpd on a thread of its own. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/must.h"

struct http;

/* While the port is in use it is tried again for `patience_ms`, as net_serve does. `endpoint` is "host:port"; loopback
 * unless the host says otherwise. `ready` is read by the HTTP thread and must outlive it: 200 while true, else 503.
 * HF_E_EXISTS: port in use. HF_E_INVALID: bad endpoint. */
HF_CHECKED int http_start(const char *endpoint, const _Atomic bool *ready, uint32_t patience_ms, struct http **out);
/* From now on a 503 of /readyz says why: a static text, read by the HTTP thread; NULL or "": no reason is given. */
void http_explain(struct http *h, const _Atomic(const char *) *why);
void http_stop(struct http **h);
