/* space.c: see space.h. */
#include "shard/replica/space.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/metrics.h"

#define LOOK_NS (1000 * CLOCK_NS_PER_MS)   /* between two looks whether it is done */
#define RETRY_NS (60000 * CLOCK_NS_PER_MS) /* after a failure */
#define REMOVED_MIN 1000                   /* records; less is not worth a pass over everything */
#define PART 20 /* of records and of bytes that are to go: 5 %, else more is written than comes back */

/* Records removed, and in memory: then it is flushed, because who seeks through them passes them one by one (about 0.2 µs each
 * forwards, 1.3 backwards); of files with so many RocksDB rids itself. */
#define FLUSH_REMOVED 60000

enum { M_DONE, M_FAILED, M_BYTES, M_COUNT };
static struct metric metrics[M_COUNT] = {
    [M_DONE] = {"holdfast_collect_compactions_total", "outcome=\"done\"", "Compactions of everything after collection",
                METRIC_COUNTER, 0},
    [M_FAILED] = {"holdfast_collect_compactions_total", "outcome=\"failed\"",
                  "Compactions of everything after collection", METRIC_COUNTER, 0},
    [M_BYTES] = {"holdfast_collect_compacted_bytes_total", NULL, "Bytes of files that these compactions gave back",
                 METRIC_COUNTER, 0},
};

struct space {
    struct fsm *fsm;                   /* borrowed while a compaction runs; NULL: none does */
    bool known;                        /* `since` and `passes` are of this machine */
    struct fsm_collected since, begun; /* as of the last compaction, of the one that runs */
    uint64_t passes;                   /* looked at */
    uint64_t flushed;                  /* removed before the last flush that was begun for that */
    uint64_t bytes, begun_ns, look_ns;
};

struct space *space_new(void)
{
    struct space *s = calloc(1, sizeof *s);
    must(s != NULL); /* out of memory */
    metrics_register(metrics, M_COUNT);
    return s;
}

void space_free(struct space **s)
{
    if (*s == NULL)
        return;
    space_stop(*s);
    free(*s);
    *s = NULL;
}

bool space_running(const struct space *s)
{
    return s->fsm != NULL;
}

void space_stop(struct space *s)
{
    if (s->fsm != NULL && fsm_compact_end(s->fsm) == HF_E_AGAIN)
        diag(DIAG_INFO, "compaction after collection is given up: the state machine is being closed");
    s->fsm = NULL;
    s->known = false;
    s->look_ns = 0;
}

static void failed(struct space *s, struct fsm *fsm, int rc, uint64_t now_ns)
{
    metric_add(&metrics[M_FAILED], 1);
    s->look_ns = now_ns + RETRY_NS;
    diag(DIAG_WARN, "compaction after collection failed: %s %s; tried again after %" PRIu64 " s", error_text(rc),
         rc == HF_E_IO || rc == HF_E_CORRUPT ? fsm_where(fsm) : "", (uint64_t)(RETRY_NS / CLOCK_NS_PER_MS / 1000));
}

static void finish(struct space *s, struct fsm *fsm, uint64_t now_ns)
{
    struct fsm_extent extent;
    int rc = fsm_compact_end(fsm);
    s->fsm = NULL;
    if (rc == HF_OK)
        rc = fsm_compact_extent(fsm, &extent);
    if (rc != HF_OK) {
        failed(s, fsm, rc, now_ns);
        return;
    }
    s->since = s->begun;
    s->passes = s->begun.passes;
    metric_add(&metrics[M_DONE], 1);
    metric_add(&metrics[M_BYTES], s->bytes > extent.bytes ? s->bytes - extent.bytes : 0);
    diag(DIAG_INFO, "compacted after collection bytes_before=%" PRIu64 " bytes_after=%" PRIu64 " ms=%" PRIu64, s->bytes,
         extent.bytes, (uint64_t)((now_ns - s->begun_ns) / CLOCK_NS_PER_MS));
}

/* Deletions that RocksDB has taken down by itself do not count any more. Of files older than the machine's opening the
 * records are not known, so bytes have to say it too. */
static bool worth(const struct space *s, const struct fsm_collected *c, const struct fsm_extent *extent)
{
    uint64_t removed = c->versions + c->markers - s->since.versions - s->since.markers;
    return removed >= REMOVED_MIN && extent->deletions >= extent->entries / PART &&
           c->bytes - s->since.bytes >= extent->bytes / PART;
}

static void consider(struct space *s, struct fsm *fsm, const struct fsm_collected *c, uint64_t now_ns)
{
    struct fsm_extent extent;
    int rc = fsm_compact_extent(fsm, &extent);
    if (rc == HF_OK && !worth(s, c, &extent)) {
        s->passes = c->passes;
        return;
    }
    if (rc == HF_OK)
        rc = fsm_compact_begin(fsm);
    if (rc != HF_OK) {
        failed(s, fsm, rc, now_ns);
        return;
    }
    s->fsm = fsm;
    s->begun = *c;
    s->bytes = extent.bytes;
    s->begun_ns = now_ns;
    s->look_ns = now_ns + LOOK_NS;
}

static void flush_some(struct space *s, struct fsm *fsm, const struct fsm_collected *c)
{
    uint64_t removed = c->versions + c->markers;
    if (removed - s->flushed < FLUSH_REMOVED || fsm_flush_pending(fsm))
        return;
    s->flushed = removed;
    int rc = fsm_flush_begin(fsm);
    if (rc != HF_OK)
        diag(DIAG_WARN, "a flush beside collection failed: %s %s", error_text(rc), fsm_where(fsm));
}

void space_turn(struct space *s, struct fsm *fsm, uint64_t now_ns)
{
    const struct fsm_collected *c = &fsm_info(fsm)->collected;
    must(s->fsm == NULL || s->fsm == fsm);
    if (!s->known) {
        s->known = true;
        s->since = *c;
        s->passes = c->passes;
        s->flushed = c->versions + c->markers;
    }
    flush_some(s, fsm, c);
    if (now_ns < s->look_ns)
        return;
    if (s->fsm == NULL) {
        if (c->passes > s->passes)
            consider(s, fsm, c, now_ns);
        return;
    }
    s->look_ns = now_ns + LOOK_NS;
    if (fsm_compact_done(fsm))
        finish(s, fsm, now_ns);
}
