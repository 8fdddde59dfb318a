/* check.c: see check.h. */
#include "shard/replica/check.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/metrics.h"
#include "shard/fsm/image.h"

#define PATH_BYTES 4096

enum { M_CHECKS, M_FAILED, M_MARKED, M_COUNT };
static struct metric metrics[M_COUNT] = {
    [M_CHECKS] = {"holdfast_fsm_checks_total", NULL, "Consistency checks this replica hashed its state for",
                  METRIC_COUNTER, 0},
    [M_FAILED] = {"holdfast_fsm_checks_failed_total", NULL, "Consistency checks that could not read the whole state",
                  METRIC_COUNTER, 0},
    [M_MARKED] = {"holdfast_fsm_marked", NULL, "1: the state differs from the majority's and waits for a restart",
                  METRIC_GAUGE, 0},
};

struct check {
    struct disk *disk;
    const char *dir;
    pthread_t thread;
    bool started; /* and not joined yet */
    bool marked;
    uint64_t index;
    /* Set before the thread begins, the thread's own until `phase` says that it ended: */
    struct image *image;
    uint8_t digest[DIGEST_BYTES];
    uint64_t records;
    int code;
    _Atomic bool cancel;
    _Atomic int phase; /* enum check_phase */
};

static void mark_path(const struct check *c, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/" CHECK_MARK_NAME, c->dir);
    must(n > 0 && n < PATH_BYTES);
}

struct check *check_new(struct disk *disk, const char *dir)
{
    struct check *c = calloc(1, sizeof *c);
    must(c != NULL); /* out of memory */
    c->disk = disk;
    c->dir = dir;
    metrics_register(metrics, M_COUNT);
    check_anew(c);
    return c;
}

void check_anew(struct check *c)
{
    char path[PATH_BYTES];
    check_stop(c);
    mark_path(c, path);
    if (c->disk->ops->exists(c->disk, path, &c->marked) != HF_OK)
        c->marked = false;
    metric_set(&metrics[M_MARKED], c->marked);
    c->index = 0;
    atomic_store(&c->phase, CHECK_NONE);
}

void check_stop(struct check *c)
{
    if (!c->started)
        return;
    atomic_store(&c->cancel, true);
    must(pthread_join(c->thread, NULL) == 0);
    c->started = false;
    atomic_store(&c->cancel, false);
}

void check_free(struct check **c)
{
    if (*c == NULL)
        return;
    check_stop(*c);
    free(*c);
    *c = NULL;
}

static void *run(void *ctx)
{
    struct check *c = ctx;
    char where[256] = "";
    uint64_t from = clock_boot_ns();
    int rc = image_digest(c->image, &c->cancel, c->digest, &c->records, where);
    image_free(&c->image);
    c->code = rc;
    if (rc == HF_OK)
        diag(DIAG_INFO, "consistency check index=%" PRIu64 " records=%" PRIu64 " ms=%" PRIu64, c->index, c->records,
             (uint64_t)((clock_boot_ns() - from) / CLOCK_NS_PER_MS));
    else if (rc != HF_E_AGAIN)
        diag(DIAG_ERROR, "consistency check index=%" PRIu64 " failed: %s: %s", c->index, error_text(rc), where);
    metric_add(&metrics[rc == HF_OK ? M_CHECKS : M_FAILED], 1);
    atomic_store(&c->phase, rc == HF_OK ? CHECK_DONE : CHECK_FAILED);
    return NULL;
}

void check_begin(struct check *c, struct fsm *fsm)
{
    check_stop(c);
    c->index = fsm_info(fsm)->applied.index;
    c->image = image_new(fsm);
    c->records = 0;
    atomic_store(&c->phase, CHECK_RUNNING);
    if (pthread_create(&c->thread, NULL, run, c) == 0) {
        c->started = true;
        return;
    }
    image_free(&c->image);
    c->code = HF_E_IO;
    atomic_store(&c->phase, CHECK_FAILED);
    diag(DIAG_WARN, "consistency check index=%" PRIu64 " failed: no thread for it", c->index);
}

bool check_marked(const struct check *c)
{
    return c->marked;
}

bool check_damaged(const struct check *c)
{
    return atomic_load(&c->phase) == CHECK_FAILED && c->code == HF_E_CORRUPT;
}

struct check_state check_state(struct check *c)
{
    struct check_state s = {.phase = (enum check_phase)atomic_load(&c->phase), .index = c->index, .marked = c->marked};
    if (s.phase != CHECK_DONE)
        return s;
    s.records = c->records;
    memcpy(s.digest, c->digest, DIGEST_BYTES);
    return s;
}

int check_verdict(struct check *c, uint64_t index, const uint8_t digest[DIGEST_BYTES], bool *out_marked)
{
    struct check_state s = check_state(c);
    if (s.phase != CHECK_DONE || s.index != index)
        return HF_E_ABSENT;
    *out_marked = memcmp(s.digest, digest, DIGEST_BYTES) != 0;
    if (!*out_marked)
        return HF_OK;
    char path[PATH_BYTES], text[128];
    mark_path(c, path);
    int n = snprintf(text, sizeof text, "differs from the majority at index %" PRIu64 "\n", index);
    int rc = disk_replace(c->disk, path, slice_make(text, (size_t)n));
    if (rc != HF_OK)
        return rc;
    c->marked = true;
    metric_set(&metrics[M_MARKED], 1);
    diag(DIAG_ERROR,
         "the state machine differs from the majority's at index=%" PRIu64
         "; it is set aside and rebuilt from another replica at the next start",
         index);
    return HF_OK;
}
