/* main.c: the `holdfast-bench` command: preload, one workload, one report. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/bench/driver.h"
#include "common/sys/options.h"

#define CLIENTS_MAX 256
#define OUTSTANDING_MAX 32768
#define LOOK_MS 3000u                /* an election is over by then */
#define OPEN_LOOP_OUTSTANDING 16384u /* an open loop never waits for answers before this */

struct settings {
    const char *endpoints, *workload, *keys;
    uint64_t records, outstanding, rate, clients, value_bytes, seconds, operations;
    bool load_only, no_load, snapshot, routed, json;
};

#define O(field) offsetof(struct settings, field)
static const struct option_spec specs[] = {
    {"coordinators", OPTION_TEXT, O(endpoints), NULL, 0, 0,
     "endpoints; default $HOLDFAST_COORDINATORS, else tcp://127.0.0.1:7400"},
    {"records", OPTION_UINT, O(records), "100000", 1, 1000000000, "records in the key space"},
    {"load-only", OPTION_FLAG, O(load_only), NULL, 0, 0, "put every record once, report that, and end"},
    {"no-load", OPTION_FLAG, O(no_load), NULL, 0, 0, "the records are there already"},
    {"workload", OPTION_TEXT, O(workload), "put", 0, 0,
     "put, get, mixed (half and half), scan (100 items), timestamp, txn (two keys of one shard) or txn-apart (of two); "
     "get, mixed and scan load first"},
    {"snapshot", OPTION_FLAG, O(snapshot), NULL, 0, 0,
     "gets and scans read as of one timestamp, drawn after the load; else the latest"},
    {"outstanding", OPTION_UINT, O(outstanding), "64", 1, OUTSTANDING_MAX,
     "closed loop: operations out at a time, over all clients"},
    {"rate", OPTION_UINT, O(rate), "0", 0, 100000000,
     "open loop: operations a second, over all clients; latency counts from the intended start"},
    {"clients", OPTION_UINT, O(clients), "1", 1, CLIENTS_MAX, "handles, each with a thread"},
    {"value-bytes", OPTION_BYTES, O(value_bytes), "256", 0, LIMIT_VALUE_BYTES, "of each put"},
    {"keys", OPTION_TEXT, O(keys), "uniform", 0, 0, "uniform or zipfian"},
    {"routed", OPTION_FLAG, O(routed), NULL, 0, 0, "through the coordinator"},
    {"seconds", OPTION_UINT, O(seconds), "10", 1, 86400, "length of the run"},
    {"operations", OPTION_UINT, O(operations), "0", 0, 1000000000000, "so many, however long they take; 0: --seconds"},
    {"json", OPTION_FLAG, O(json), NULL, 0, 0, "report as JSON"},
};

struct report {
    uint64_t ops, conflicts, errors[DRIVER_ERRORS];
    double seconds;
    struct histogram latency;
};

static void add_up(struct report *r, const struct driver *d, uint64_t begin_ns, uint64_t end_ns)
{
    r->ops += d->ops;
    r->conflicts += d->conflicts;
    for (int i = 0; i < DRIVER_ERRORS; i++)
        r->errors[i] += d->errors[i];
    histogram_merge(&r->latency, &d->latency);
    r->seconds = (double)(end_ns - begin_ns) / 1e9;
}

/* Runs the drivers of one workload. HF_OK or why a handle could not be opened. */
static int run(const struct bench *b, const struct settings *o, struct report *out)
{
    uint64_t clients = o->clients;
    struct driver *drivers = calloc(clients, sizeof *drivers);
    must(drivers);
    bool open = o->rate > 0 && b->workload != WORKLOAD_LOAD;
    uint64_t total = open ? OPEN_LOOP_OUTSTANDING : o->outstanding;
    if (b->workload == WORKLOAD_LOAD && total < 256)
        total = 256;
    for (uint64_t i = 0; i < clients; i++) {
        uint64_t share = total / clients + (i < total % clients);
        drivers[i] = (struct driver){.bench = b,
                                     .outstanding = share ? (uint32_t)share : 1,
                                     .interval_ns = open ? 1e9 * (double)clients / (double)o->rate : 0,
                                     .load_begin = b->chooser.records * i / clients,
                                     .load_end = b->chooser.records * (i + 1) / clients,
                                     .operations = o->operations / clients + (i < o->operations % clients),
                                     .random = {i * 7919 + 1}};
        must(pthread_create(&drivers[i].thread, NULL, driver_run, &drivers[i]) == 0);
    }
    int rc = HF_OK;
    uint64_t begin_ns = UINT64_MAX, end_ns = 0;
    for (uint64_t i = 0; i < clients; i++) {
        struct driver *d = &drivers[i];
        pthread_join(d->thread, NULL);
        rc = rc ? rc : d->open_error;
        begin_ns = d->begin_ns < begin_ns ? d->begin_ns : begin_ns;
        end_ns = d->end_ns > end_ns ? d->end_ns : end_ns;
        add_up(out, d, begin_ns, end_ns);
    }
    free(drivers);
    return rc;
}

static double us(const struct report *r, double part)
{
    return (double)(part >= 1 ? r->latency.max : histogram_at(&r->latency, part)) / 1000.0;
}

static bool any_error(const struct report *r)
{
    for (int i = 0; i < DRIVER_ERRORS; i++)
        if (r->errors[i])
            return true;
    return false;
}

static void print_errors(const struct report *r, bool json)
{
    const char *before = "";
    for (int i = 0; i < DRIVER_ERRORS; i++) {
        if (r->errors[i] == 0)
            continue;
        if (json)
            printf("%s\"%s\":%" PRIu64, before, hf_error_name(-i), r->errors[i]);
        else
            printf("%s%s %" PRIu64, before, hf_error_name(-i), r->errors[i]);
        before = json ? "," : ", ";
    }
}

static void print(const struct report *r, const struct settings *o, const char *what)
{
    double rate = r->seconds > 0 ? (double)r->ops / r->seconds : 0;
    if (o->json) {
        printf("{\"ops\":%" PRIu64
               ",\"seconds\":%.3f,\"ops_per_second\":%.1f,\"latency_us\":{\"p50\":%.1f,\"p99\":%.1f,"
               "\"p999\":%.1f,\"max\":%.1f},",
               r->ops, r->seconds, rate, us(r, 0.5), us(r, 0.99), us(r, 0.999), us(r, 1));
        if (strncmp(o->workload, "txn", 3) == 0)
            printf("\"conflicts\":%" PRIu64 ",", r->conflicts);
        printf("\"errors\":{");
        print_errors(r, true);
        puts("}}");
        return;
    }
    printf("%s: %" PRIu64
           " operations in %.2f s, %.0f/s\nlatency us: p50 %.0f  p99 %.0f  p99.9 %.0f  max %.0f\nerrors: ",
           what, r->ops, r->seconds, rate, us(r, 0.5), us(r, 0.99), us(r, 0.999), us(r, 1));
    print_errors(r, false);
    puts(any_error(r) ? "" : "none");
    if (r->conflicts > 0)
        printf("conflicts: %" PRIu64 "\n", r->conflicts);
}

static int fill(const struct settings *o, struct bench *b)
{
    static const char *const names[] = {[WORKLOAD_PUT] = "put",
                                        [WORKLOAD_GET] = "get",
                                        [WORKLOAD_MIXED] = "mixed",
                                        [WORKLOAD_SCAN] = "scan",
                                        [WORKLOAD_TIMESTAMP] = "timestamp",
                                        [WORKLOAD_TXN] = "txn",
                                        [WORKLOAD_TXN_APART] = "txn-apart"};
    const char *environment = getenv("HOLDFAST_COORDINATORS");
    b->endpoints = o->endpoints ? o->endpoints : environment && environment[0] ? environment : "tcp://127.0.0.1:7400";
    b->routed = o->routed;
    b->value_bytes = o->value_bytes;
    b->seconds = o->seconds;
    b->workload = WORKLOAD_LOAD;
    for (int i = WORKLOAD_PUT; i <= WORKLOAD_TXN_APART; i++)
        if (strcmp(o->workload, names[i]) == 0)
            b->workload = (enum workload)i;
    bool zipfian = strcmp(o->keys, "zipfian") == 0;
    if (b->workload == WORKLOAD_LOAD || (!zipfian && strcmp(o->keys, "uniform") != 0)) {
        fprintf(
            stderr,
            "holdfast-bench: --workload is put, get, mixed, scan, timestamp, txn or txn-apart; --keys is uniform or "
            "zipfian\n");
        return 2;
    }
    chooser_init(&b->chooser, o->records, zipfian);
    uint8_t *values = malloc(o->value_bytes + DRIVER_VALUE_SHIFT);
    must(values);
    struct random random = {42};
    for (size_t i = 0; i < o->value_bytes + DRIVER_VALUE_SHIFT; i++)
        values[i] = (uint8_t)random_next(&random);
    b->values = values;
    return 0;
}

/* HF_OK, or why there is none. */
static int draw(struct bench *b)
{
    struct hf_options options = {.endpoints = b->endpoints};
    struct hf *h = NULL;
    int rc = hf_open(&options, HF_ABI, &h);
    if (rc == HF_OK)
        rc = hf_timestamp(h, 0, LOOK_MS, &b->at);
    hf_close(&h);
    return rc;
}

/* Is anybody there? Better said before the run than counted in it. HF_OK, or after saying why an exit code. */
static int look(const struct bench *b)
{
    struct hf_options options = {.endpoints = b->endpoints, .routed = b->routed};
    struct hf *h = NULL;
    struct hf_future *f = NULL;
    int rc = hf_open(&options, HF_ABI, &h);
    if (rc == HF_OK)
        rc = hf_get_async(h, (struct hf_bytes){(const uint8_t *)"a", 1}, 0, &(struct hf_call){.deadline_ms = LOOK_MS},
                          &f);
    if (rc == HF_OK)
        do
            rc = hf_future_wait(f, LOOK_MS);
        while (rc == HF_E_AGAIN);
    bool serves = rc == HF_OK || rc == HF_E_NOT_FOUND;
    if (!serves)
        fprintf(stderr, "holdfast-bench: %s (endpoints %s)\n", f ? hf_future_message(f) : hf_error_text(rc),
                b->endpoints);
    if (f)
        hf_future_free(f);
    hf_close(&h);
    return serves ? HF_OK : rc == HF_E_INVALID ? 2 : 3;
}

static struct report load_report, work_report; /* large */

int main(int argc, char **argv)
{
    struct settings o = {0};
    int rest;
    for (int i = 1; i < argc; i++) /* as in the other command */
        if (strcmp(argv[i], "-c") == 0)
            argv[i] = (char *)(uintptr_t) "--coordinators";
    if (options_parse("holdfast-bench", specs, sizeof specs / sizeof specs[0], argc, argv, false, &o, &rest) != HF_OK)
        return 2;
    struct bench b = {0};
    int rc = fill(&o, &b);
    if (rc)
        return rc;
    rc = look(&b);
    if (rc)
        return rc;
    struct bench load = b;
    load.workload = WORKLOAD_LOAD;
    bool reads = b.workload == WORKLOAD_GET || b.workload == WORKLOAD_MIXED || b.workload == WORKLOAD_SCAN;
    bool preload = o.load_only || (reads && !o.no_load);
    if (preload)
        rc = run(&load, &o, &load_report);
    if (rc == HF_OK && o.snapshot)
        rc = draw(&b);
    if (rc == HF_OK && !o.load_only && !any_error(&load_report))
        rc = run(&b, &o, &work_report);
    free((void *)(uintptr_t)b.values);
    if (rc) {
        fprintf(stderr, "holdfast-bench: %s (endpoints %s)\n", hf_error_text(rc), b.endpoints);
        return rc == HF_E_INVALID ? 2 : 3;
    }
    bool load_only = o.load_only || any_error(&load_report);
    print(load_only ? &load_report : &work_report, &o, load_only ? "load" : o.workload);
    if (fflush(stdout) != 0) {
        perror("holdfast-bench: cannot write the report");
        return 3;
    }
    return (load_only ? &load_report : &work_report)->ops > 0 && !any_error(&load_report) ? 0 : 3;
}
