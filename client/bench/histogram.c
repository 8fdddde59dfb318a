/* histogram.c: see histogram.h. */
#include "client/bench/histogram.h"

#define SUB (UINT64_C(1) << HISTOGRAM_SUB_BITS)

/* Values below SUB have a bucket each; above, the highest bits of a value name its bucket. */
static uint32_t bucket_of(uint64_t value)
{
    if (value < SUB)
        return (uint32_t)value;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return ((shift + 1) << HISTOGRAM_SUB_BITS) + (uint32_t)(value >> shift) - (uint32_t)SUB;
}

static uint64_t highest_of(uint32_t bucket)
{
    if (bucket < SUB)
        return bucket;
    uint32_t shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t high = SUB + (bucket & (SUB - 1));
    return (high << shift) + ((UINT64_C(1) << shift) - 1);
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->bucket[bucket_of(value)]++;
    h->count++;
    h->max = value > h->max ? value : h->max;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
    into->count += from->count;
    into->max = from->max > into->max ? from->max : into->max;
}

uint64_t histogram_at(const struct histogram *h, double part)
{
    uint64_t want = (uint64_t)(part * (double)h->count + 0.5), seen = 0;
    if (want == 0)
        want = 1;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS && h->count > 0; i++) {
        seen += h->bucket[i];
        if (seen >= want)
            return highest_of(i) < h->max ? highest_of(i) : h->max;
    }
    return h->max;
}
