/* counters.h: the coordinator's metrics. One table a process; written by the loop, read by the HTTP thread. */
#pragma once

#include "common/sys/metrics.h"

enum counter {
    COUNTER_RECEIVED,
    COUNTER_REJECTED,
    COUNTER_FORWARDED,
    COUNTER_ATTEMPTS,
    COUNTER_BUSY,
    COUNTER_UNKNOWN,
    COUNTER_UNAVAILABLE,
    COUNTER_REPLIES_LOST,
    COUNTER_STRAY,
    COUNTER_LEADER_CHANGES,
    COUNTER_PENDING,
    COUNTER_ROUTE_VERSION,
    COUNTER_ACTIVE,
    COUNTER_EPOCH,
    COUNTER_CEILING,
    COUNTER_ISSUED,
    COUNTER_CLOCK_REFUSED,
    COUNTER_CLOCK_SKEW,
    COUNTER_RENEWALS,
    COUNTER_RENEWALS_FAILED,
    COUNTER_CUTS,
    COUNTER_CUTS_FAILED,
    COUNTER_LOCKS_MET,
    COUNTER_RESOLVED_COMMITTED,
    COUNTER_RESOLVED_ROLLED_BACK,
    COUNTER_TXNS_UNDECIDED,
    COUNTER_TXNS_OLDEST,
    COUNTER_TXNS,
    COUNTER_TXNS_COMMITTED,
    COUNTER_TXNS_CONFLICT,
    COUNTER_TXNS_REFUSED,
    COUNTER_TXNS_UNKNOWN,
    COUNTER_BUILD,
    COUNTERS
};

extern struct metric counters[COUNTERS];

static inline void count(enum counter which)
{
    metric_add(&counters[which], 1);
}

static inline void gauge(enum counter which, uint64_t value)
{
    metric_set(&counters[which], value);
}
