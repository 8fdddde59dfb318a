/* proxy.h: stands between a receiver and a sender on loopback, on a thread of its own: counts what passes down, holds it
 * back after so many bytes, cuts connections. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct proxy;

/* Listens on any port and connects to `port` of 127.0.0.1 for each connection. */
struct proxy *proxy_start(uint16_t port);
void proxy_stop(struct proxy **p);
uint16_t proxy_port(const struct proxy *p);

uint64_t proxy_passed(const struct proxy *p);     /* bytes from the sender's side, all connections together */
void proxy_hold(struct proxy *p, uint64_t bytes); /* so many pass down, then nothing more; UINT64_MAX: everything */
void proxy_cut(struct proxy *p);                  /* ends the connections there are; what was under way is lost */
