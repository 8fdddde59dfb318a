/* progress.c: see progress.h. */
#include "client/cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define EVERY_NS UINT64_C(100000000)
#define BAR 30

void progress_start(struct progress *p, uint64_t now_ns)
{
    *p = (struct progress){.on = isatty(STDERR_FILENO) == 1, .begin_ns = now_ns, .shown_ns = now_ns};
}

void progress_show(struct progress *p, uint64_t now_ns, uint64_t records, uint64_t bytes, uint64_t size)
{
    if (!p->on || now_ns - p->shown_ns < EVERY_NS)
        return;
    double now_rate = (double)(records - p->shown_records) * 1e9 / (double)(now_ns - p->shown_ns);
    p->rate = p->rate > 0 ? 0.8 * p->rate + 0.2 * now_rate : now_rate;
    p->shown_ns = now_ns;
    p->shown_records = records;
    if (size == 0) {
        fprintf(stderr, "\r\x1b[K%" PRIu64 " records  %.0f/s", records, p->rate);
        return;
    }
    char bar[BAR + 1];
    double part = (double)bytes / (double)size;
    for (int i = 0; i < BAR; i++)
        bar[i] = (double)i < part * BAR ? '#' : '.';
    bar[BAR] = 0;
    fprintf(stderr, "\r\x1b[K[%s] %3.0f %%  %" PRIu64 " records  %.0f/s", bar, part * 100, records, p->rate);
}

void progress_bytes(struct progress *p, uint64_t now_ns, uint64_t bytes, uint64_t size)
{
    if (!p->on || now_ns - p->shown_ns < EVERY_NS)
        return;
    double now_rate = (double)(bytes - p->shown_records) * 1e9 / (double)(now_ns - p->shown_ns);
    p->rate = p->rate > 0 ? 0.8 * p->rate + 0.2 * now_rate : now_rate;
    p->shown_ns = now_ns;
    p->shown_records = bytes;
    if (size == 0)
        fprintf(stderr, "\r\x1b[K%.1f MiB  %.1f MiB/s", (double)bytes / 1048576, p->rate / 1048576);
    else
        fprintf(stderr, "\r\x1b[K%3.0f %%  %.1f MiB  %.1f MiB/s", (double)bytes * 100 / (double)size,
                (double)bytes / 1048576, p->rate / 1048576);
}

void progress_clear(const struct progress *p)
{
    if (p->on)
        fputs("\r\x1b[K", stderr);
}

void progress_end(struct progress *p)
{
    progress_clear(p);
    p->on = false;
}
