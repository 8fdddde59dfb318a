/* metrics.h: counters, gauges and histograms in static tables beside the module they speak of; text for Prometheus.
 *
 * Thread: values are relaxed atomics: the owner writes, the HTTP thread reads. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"

enum metric_kind {
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_GAUGE_NS,       /* a gauge kept in ns, exported in seconds */
    METRIC_GAUGE_SIGNED_NS /* likewise; may be below zero */
};

struct metric {
    const char *name;   /* "holdfast_raft_messages_dropped_total" */
    const char *labels; /* "reason=\"cluster\"" or NULL */
    const char *help;
    enum metric_kind kind;
    _Atomic uint64_t value;
};

static inline void metric_add(struct metric *m, uint64_t n)
{
    atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
}

static inline void metric_set(struct metric *m, uint64_t v)
{
    atomic_store_explicit(&m->value, v, memory_order_relaxed);
}

#define METRIC_BUCKETS 24
struct metric_histogram { /* powers of two from 2^10 ns (1 µs) up; exported in seconds */
    const char *name;
    const char *help;
    _Atomic uint64_t bucket[METRIC_BUCKETS];
    _Atomic uint64_t sum_ns;
};

void metric_observe_ns(struct metric_histogram *h, uint64_t ns);

/* Makes a table known to metrics_write; by one thread, at start. The tables live as long as the process. */
void metrics_register(struct metric *table, size_t count);
void metrics_register_histogram(struct metric_histogram *h);
void metrics_write(struct buf *out); /* Prometheus text format 0.0.4 */
