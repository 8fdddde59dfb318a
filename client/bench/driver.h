/* driver.h: one client of the benchmark: a thread with a handle of its own that keeps a number of operations out.
 *
 * Position: main.c starts one per --clients. */
#pragma once

#include <pthread.h>

#include "client/bench/chooser.h"
#include "client/bench/histogram.h"
#include "client/client.h"

enum workload {
    WORKLOAD_LOAD,
    WORKLOAD_PUT,
    WORKLOAD_GET,
    WORKLOAD_MIXED,
    WORKLOAD_SCAN,
    WORKLOAD_TIMESTAMP,
    WORKLOAD_TXN,
    WORKLOAD_TXN_APART
};

#define DRIVER_ERRORS 64 /* by the code's number */

struct bench { /* what all drivers share; constant while they run */
    const char *endpoints;
    bool routed;
    enum workload workload;
    struct chooser chooser;
    uint64_t value_bytes, seconds;
    uint64_t at;           /* gets and scans read as of it; 0: the latest */
    const uint8_t *values; /* value_bytes + DRIVER_VALUE_SHIFT random bytes */
};
#define DRIVER_VALUE_SHIFT 4096

struct driver {
    const struct bench *bench;
    pthread_t thread;
    uint32_t outstanding;          /* at most so many out at a time */
    double interval_ns;            /* open loop: between intended starts; 0: closed loop */
    uint64_t load_begin, load_end; /* WORKLOAD_LOAD: the records that are this driver's */
    uint64_t operations;           /* it ends after so many, however long they take; 0: after the seconds */
    struct random random;
    /* results */
    int open_error;
    uint64_t ops, conflicts, begin_ns, end_ns;
    uint64_t errors[DRIVER_ERRORS];
    struct histogram latency; /* ns, from the intended start in an open loop */
};

void *driver_run(void *driver); /* of pthread_create */
