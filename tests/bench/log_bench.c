/* log_bench.c: how long log_sync takes, above all at worst, on a real disk.
 * log_bench [MiB [frame KiB [directory [segment MiB]]]]   the directory is made, and removed in the end */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/error.h"
#include "shard/log/log.h"

#define ENTRY_HEADERS_BYTES 64u /* of frame, record and entry, about: a frame is as long as asked */

static uint64_t now_ns(void)
{
    struct timespec now;
    must(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void remove_file(void *ctx, const char *name)
{
    char path[1024];
    if (snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name) < (int)sizeof path)
        (void)remove(path);
}

static void report(uint64_t *times, size_t count, uint64_t all_ns, uint64_t bytes, uint64_t disk_bytes)
{
    qsort(times, count, sizeof *times, by_size);
    printf("frames=%zu frame_bytes=%" PRIu64 " mib_per_second=%.1f disk_mib=%.1f\n", count, bytes / count,
           (double)bytes / 1048576 / ((double)all_ns / 1e9), (double)disk_bytes / 1048576);
    printf("sync_ms p50=%.2f p99=%.2f p99.9=%.2f longest=%.2f %.2f %.2f\n", (double)times[count / 2] / 1e6,
           (double)times[count * 99 / 100] / 1e6, (double)times[count * 999 / 1000] / 1e6,
           (double)times[count - 1] / 1e6, (double)times[count > 1 ? count - 2 : 0] / 1e6,
           (double)times[count > 2 ? count - 3 : 0] / 1e6);
}

static uint64_t argument(int argc, char **argv, int i, uint64_t otherwise)
{
    uint64_t value = argc > i ? strtoull(argv[i], NULL, 10) : otherwise;
    must(value > 0 && value <= 65536);
    return value;
}

int main(int argc, char **argv)
{
    uint64_t mib = argument(argc, argv, 1, 512), frame = argument(argc, argv, 2, 64) * 1024;
    const char *dir = argc > 3 ? argv[3] : "/tmp/holdfast-log-bench";
    struct log_config config = {.disk = disk_posix(), .dir = dir, .cache_bytes = 4u << 20};
    config.segment_bytes = argument(argc, argv, 4, 64) << 20;
    struct log *log = NULL;
    struct log_report found;
    char where[256];
    bool there = false;
    must(config.disk->ops->exists(config.disk, dir, &there) == 0);
    if (there) {
        fprintf(stderr, "%s is there already\n", dir);
        return 2;
    }
    must(log_create(&config, 0, 1) == 0 && log_open(&config, &log, &found, where) == 0);
    size_t count = (size_t)((mib << 20) / frame), done = 0;
    count = count == 0 ? 1 : count;
    uint64_t *times = calloc(count, sizeof *times), began = now_ns();
    uint8_t *payload = malloc((size_t)frame);
    must(times != NULL && payload != NULL);
    memset(payload, 'x', (size_t)frame);
    int rc = 0;
    for (; rc == 0 && done < count; done++) {
        struct log_entry entry = {.index = log_last(log) + 1, .term = 1, .kind = LOG_COMMAND};
        entry.data = slice_make(payload, (size_t)frame - ENTRY_HEADERS_BYTES);
        log_append(log, &entry, 1);
        uint64_t start = now_ns();
        rc = log_sync(log);
        times[done] = now_ns() - start;
    }
    if (rc == 0)
        report(times, count, now_ns() - began, count * frame, log_disk_bytes(log));
    else
        fprintf(stderr, "%s: %s\n", error_text(rc), log_where(log));
    log_close(&log);
    (void)config.disk->ops->list(config.disk, dir, remove_file, (void *)(uintptr_t)dir);
    (void)config.disk->ops->remove(config.disk, dir);
    free(times);
    free(payload);
    return rc == 0 ? 0 : 1;
}
