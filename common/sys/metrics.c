/* metrics.c: walks the registered tables and writes Prometheus text; series of one name stand together, as it asks. */
#include "common/sys/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/must.h"

#define METRICS_TABLES_MAX 64
#define METRICS_HISTOGRAMS_MAX 64
#define METRICS_LINE_BYTES 1024
#define METRIC_BUCKET_SHIFT 10 /* the first bucket ends at 2^10 ns */

static struct {
    struct metric *table;
    size_t count;
} tables[METRICS_TABLES_MAX];
static _Atomic size_t tables_used; /* what is below it is complete: the HTTP thread may read */
static struct metric_histogram *histograms[METRICS_HISTOGRAMS_MAX];
static _Atomic size_t histograms_used;

void metric_observe_ns(struct metric_histogram *h, uint64_t ns)
{
    size_t i = 0;
    while (i < METRIC_BUCKETS - 1 && ns > (uint64_t)1 << (METRIC_BUCKET_SHIFT + i))
        i++;
    atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_relaxed);
}

void metrics_register(struct metric *table, size_t count)
{
    size_t used = tables_used;
    for (size_t i = 0; i < used; i++)
        if (tables[i].table == table)
            return; /* of a module that was opened before */
    must(used < METRICS_TABLES_MAX);
    tables[used].table = table;
    tables[used].count = count;
    tables_used = used + 1;
}

void metrics_register_histogram(struct metric_histogram *h)
{
    size_t used = histograms_used;
    for (size_t i = 0; i < used; i++)
        if (histograms[i] == h)
            return;
    must(used < METRICS_HISTOGRAMS_MAX);
    histograms[used] = h;
    histograms_used = used + 1;
}

HF_PRINTF(2, 3) static void add(struct buf *out, const char *format, ...)
{
    char line[METRICS_LINE_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    must(n >= 0 && (size_t)n < sizeof line); /* names, labels and helps are our own constants */
    buf_append(out, line, (size_t)n);
}

static const char *kind_name(enum metric_kind kind)
{
    switch (kind) {
    case METRIC_COUNTER:
        return "counter";
    case METRIC_GAUGE:
    case METRIC_GAUGE_NS:
    case METRIC_GAUGE_SIGNED_NS:
        return "gauge";
    }
    return "untyped";
}

/* The first registered metric of this name. */
static const struct metric *first_of(const char *name)
{
    for (size_t t = 0; t < tables_used; t++)
        for (size_t i = 0; i < tables[t].count; i++)
            if (strcmp(tables[t].table[i].name, name) == 0)
                return &tables[t].table[i];
    return NULL;
}

static void write_family(struct buf *out, const struct metric *first)
{
    add(out, "# HELP %s %s\n# TYPE %s %s\n", first->name, first->help, first->name, kind_name(first->kind));
    for (size_t t = 0; t < tables_used; t++) {
        for (size_t i = 0; i < tables[t].count; i++) {
            const struct metric *m = &tables[t].table[i];
            if (strcmp(m->name, first->name) != 0)
                continue;
            uint64_t value = atomic_load_explicit(&m->value, memory_order_relaxed);
            const char *labels = m->labels != NULL ? m->labels : "";
            const char *open = m->labels != NULL ? "{" : "", *close = m->labels != NULL ? "}" : "";
            if (m->kind == METRIC_GAUGE_NS)
                add(out, "%s%s%s%s %.9f\n", m->name, open, labels, close, (double)value / 1e9);
            else if (m->kind == METRIC_GAUGE_SIGNED_NS)
                add(out, "%s%s%s%s %.9f\n", m->name, open, labels, close, (double)(int64_t)value / 1e9);
            else
                add(out, "%s%s%s%s %" PRIu64 "\n", m->name, open, labels, close, value);
        }
    }
}

static void write_histogram(struct buf *out, const struct metric_histogram *h)
{
    uint64_t total = 0;
    add(out, "# HELP %s %s\n# TYPE %s histogram\n", h->name, h->help, h->name);
    for (size_t i = 0; i < METRIC_BUCKETS; i++) {
        total += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
        if (i < METRIC_BUCKETS - 1)
            add(out, "%s_bucket{le=\"%.9g\"} %" PRIu64 "\n", h->name,
                (double)((uint64_t)1 << (METRIC_BUCKET_SHIFT + i)) / 1e9, total);
        else
            add(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", h->name, total);
    }
    uint64_t sum = atomic_load_explicit(&h->sum_ns, memory_order_relaxed);
    add(out, "%s_sum %.9f\n%s_count %" PRIu64 "\n", h->name, (double)sum / 1e9, h->name, total);
}

void metrics_write(struct buf *out)
{
    for (size_t t = 0; t < tables_used; t++)
        for (size_t i = 0; i < tables[t].count; i++)
            if (first_of(tables[t].table[i].name) == &tables[t].table[i])
                write_family(out, &tables[t].table[i]);
    for (size_t i = 0; i < histograms_used; i++)
        write_histogram(out, histograms[i]);
}
