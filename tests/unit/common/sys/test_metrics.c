/* test_metrics.c: the text as Prometheus reads it. */
#include "common/sys/metrics.h"

#include "tests/unit/unit.h"

static struct metric first[] = {
    {"holdfast_test_dropped_total", "reason=\"cluster\"", "Messages dropped", METRIC_COUNTER, 0},
    {"holdfast_test_bytes", NULL, "Bytes", METRIC_GAUGE, 0},
    {"holdfast_test_skew_seconds", NULL, "Skew", METRIC_GAUGE_SIGNED_NS, 0},
};
static struct metric second[] = {
    {"holdfast_test_dropped_total", "reason=\"full\"", "Messages dropped", METRIC_COUNTER, 0},
};
static struct metric_histogram histogram = {.name = "holdfast_test_seconds", .help = "Time"};

static bool contains(const struct buf *text, const char *line)
{
    return memmem(text->data, text->size, line, strlen(line)) != NULL;
}

static void text_of_counters_and_gauges(void)
{
    metric_add(&first[0], 3);
    metric_add(&second[0], 4);
    metric_set(&first[1], UINT64_MAX);
    metric_set(&first[2], (uint64_t)-1500000000);
    static const char expected[] = "# HELP holdfast_test_dropped_total Messages dropped\n"
                                   "# TYPE holdfast_test_dropped_total counter\n"
                                   "holdfast_test_dropped_total{reason=\"cluster\"} 3\n"
                                   "holdfast_test_dropped_total{reason=\"full\"} 4\n"
                                   "# HELP holdfast_test_bytes Bytes\n"
                                   "# TYPE holdfast_test_bytes gauge\n"
                                   "holdfast_test_bytes 18446744073709551615\n"
                                   "# HELP holdfast_test_skew_seconds Skew\n"
                                   "# TYPE holdfast_test_skew_seconds gauge\n"
                                   "holdfast_test_skew_seconds -1.500000000\n"
                                   "# HELP holdfast_test_seconds Time\n";
    struct buf text = {0};
    metrics_write(&text);
    CU_ASSERT(slice_has_prefix(buf_slice(&text), slice_text(expected)));
    buf_deinit(&text);
}

static void buckets_are_cumulative_and_end_at_infinity(void)
{
    metric_observe_ns(&histogram, 0);
    metric_observe_ns(&histogram, 1024); /* belongs to le, not above it */
    metric_observe_ns(&histogram, 1025);
    metric_observe_ns(&histogram, 60000000000); /* a minute: beyond the last bound */
    struct buf text = {0};
    metrics_write(&text);
    CU_ASSERT(contains(&text, "# TYPE holdfast_test_seconds histogram\n"));
    CU_ASSERT(contains(&text, "holdfast_test_seconds_bucket{le=\"1.024e-06\"} 2\n"));
    CU_ASSERT(contains(&text, "holdfast_test_seconds_bucket{le=\"2.048e-06\"} 3\n"));
    CU_ASSERT(contains(&text, "holdfast_test_seconds_bucket{le=\"4.2949673\"} 3\n"));
    CU_ASSERT(contains(&text, "holdfast_test_seconds_bucket{le=\"+Inf\"} 4\n"));
    CU_ASSERT(contains(&text, "holdfast_test_seconds_sum 60.000002049\n"));
    CU_ASSERT(contains(&text, "holdfast_test_seconds_count 4\n"));
    buf_deinit(&text);
}

int main(void)
{
    metrics_register(first, sizeof first / sizeof first[0]);
    metrics_register(second, 1);
    metrics_register_histogram(&histogram);
    static const struct unit_case cases[] = {
        {"text of counters and gauges", text_of_counters_and_gauges},
        {"buckets are cumulative and end at infinity", buckets_are_cumulative_and_end_at_infinity},
    };
    return UNIT_MAIN("metrics", cases);
}
