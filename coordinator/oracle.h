/* oracle.h: carries the clock's wishes to the catalog key "oracle" and brings the answers back; issues timestamps.
 *
 * Position: between clock.c (the rules) and calls.c (the way to shard 1's leader). The only reader of the wall clock.
 * Thread: loop thread only. */
#pragma once

#include "coordinator/calls.h"
#include "coordinator/clock.h"

struct oracle {
    struct calls *calls; /* borrowed */
    struct clock clock;
    uint64_t cluster; /* added to requests; kept up to date by the owner */
    bool asking;
    uint64_t next_ns;             /* not before */
    bool was_active, was_refused; /* as last reported */
};

void oracle_init(struct oracle *o, struct calls *calls, uint32_t id, const char *endpoint, uint64_t nonce);
void oracle_deinit(struct oracle *o);

/* Asks what the clock wishes; `ready` is false until the cluster is known. */
void oracle_tick(struct oracle *o, bool ready, uint64_t now_ns);

/* A fresh timestamp, never equal to or below an earlier one of anybody (I8). HF_E_NOT_LEADER: another coordinator
 * issues; HF_E_UNAVAILABLE: the lease ran out or the ceiling is reached. */
HF_CHECKED int oracle_issue(struct oracle *o, struct hlc *out);
/* Likewise, above `above`. Also HF_E_FUTURE_TIMESTAMP, HF_E_NOT_READY (clock_draw_above). */
HF_CHECKED int oracle_issue_above(struct oracle *o, struct hlc above, struct hlc *out);

int oracle_accept(struct oracle *o, struct clock_accepted *out); /* clock_accept by the machine's clocks */
int64_t oracle_skew_ms(struct oracle *o);                        /* clock_skew_ms likewise */
void oracle_heard(struct oracle *o, struct hlc t);               /* clock_heard likewise */
bool oracle_active(const struct oracle *o);                      /* may issue at this moment */
struct hlc oracle_now(struct oracle *o);                         /* clock_now by the machine's clocks */
