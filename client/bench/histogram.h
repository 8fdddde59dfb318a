/* histogram.h: latencies in log-linear buckets: 128 to each power of two, so a percentile is off by less than 0.8 %.
 *
 * Position: one per driver thread, merged at the end. */
#pragma once

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 7
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t bucket[HISTOGRAM_BUCKETS];
    uint64_t count, max;
};

void histogram_add(struct histogram *h, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The value that `part` (0 to 1) of all are at or below; the bucket's highest, at most the maximum. 0 when empty. */
uint64_t histogram_at(const struct histogram *h, double part);
