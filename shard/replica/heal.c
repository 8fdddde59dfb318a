/* heal.c: see heal.h. */
#include "shard/replica/heal.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "common/sys/metrics.h"
#include "shard/snapshot/receiver.h"

#define NEED_NS (3000 * CLOCK_NS_PER_MS) /* a need that was not repeated for so long is over */
#define PAUSE_NS_MIN (200 * CLOCK_NS_PER_MS)
#define PAUSE_NS_MAX (10000 * CLOCK_NS_PER_MS)
#define SILENT_MS 10000                  /* without a byte: the stream is given up */
#define LEFT_NS (2000 * CLOCK_NS_PER_MS) /* likewise, once another replica leads */

enum { M_DONE, M_DROPPED, M_FAILED, M_RUNNING, M_COUNT };
static const char installs_help[] = "State machines fetched from another replica, by what became of them";
static struct metric metrics[M_COUNT] = {
    [M_DONE] = {"holdfast_snapshot_installs_total", "outcome=\"done\"", installs_help, METRIC_COUNTER, 0},
    [M_DROPPED] = {"holdfast_snapshot_installs_total", "outcome=\"dropped\"", installs_help, METRIC_COUNTER, 0},
    [M_FAILED] = {"holdfast_snapshot_installs_total", "outcome=\"failed\"", installs_help, METRIC_COUNTER, 0},
    [M_RUNNING] = {"holdfast_healing", NULL, "1 while a state machine is missing or being fetched", METRIC_GAUGE, 0},
};
static struct metric_histogram install_seconds = {.name = "holdfast_snapshot_install_seconds",
                                                  .help = "Time from asking for a state to its being in place"};

struct heal {
    struct heal_config config;
    struct receiver *receiver; /* owned; NULL: idle */
    uint32_t from;             /* replica it asks, or asked last */
    uint64_t begun_ns;
    uint64_t needed_ns;    /* when the engine last spoke of need; 0: it does not */
    uint64_t needed_index; /* nothing before it helps */
    bool damaged;
    struct {
        uint32_t from, epoch; /* who told, and is in it; 0: nobody did */
        uint32_t failed;      /* who could give nothing, and is asked again only if nobody else speaks; 0: nobody */
        bool spoke;           /* that one, since */
    } left;
    uint64_t retry_ns, pause_ns;
    struct {          /* what was staged and is not used goes, on a thread of its own: it may be much */
        bool running; /* and not joined yet; nothing is staged meanwhile */
        pthread_t thread;
        _Atomic bool done;
        int code; /* the thread's until done */
    } discard;
    char failed[256];   /* why the last stream did; "": it did not */
    char trouble[1024]; /* of heal_trouble */
};

struct heal *heal_new(const struct heal_config *config)
{
    struct heal *h = calloc(1, sizeof *h);
    must(h); /* out of memory */
    h->config = *config;
    h->pause_ns = PAUSE_NS_MIN;
    metrics_register(metrics, M_COUNT);
    metrics_register_histogram(&install_seconds);
    receiver_metrics();
    return h;
}

void heal_free(struct heal **h)
{
    if (!*h)
        return;
    receiver_stop(&(*h)->receiver);
    if ((*h)->discard.running)
        pthread_join((*h)->discard.thread, NULL);
    free(*h);
    *h = NULL;
}

void heal_needed(struct heal *h, uint32_t from, uint64_t index, uint64_t term, uint64_t now_ns)
{
    if (h->needed_ns == 0)
        diag(DIAG_INFO,
             "replica %" PRIu32 " leads and its log begins too late for this one: a state of index=%" PRIu64
             " term=%" PRIu64 " or later is needed",
             from, index, term);
    h->needed_ns = now_ns;
    h->needed_index = index;
}

void heal_damaged(struct heal *h)
{
    h->damaged = true;
}

static uint64_t applied_of(const struct heal *h)
{
    const struct fsm *fsm = h->config.directory->fsm;
    return fsm ? fsm_info(fsm)->applied.index : 0;
}

/* ---- what is not used ---- */

static void *discard_run(void *ctx)
{
    struct heal *h = ctx;
    const struct directory_config *c = &h->config.directory->config; /* never changes */
    h->discard.code = install_discard(c->disk, c->dir);
    atomic_store(&h->discard.done, true);
    return NULL;
}

/* Without a thread it waits for the next attempt or start, which remove it as well. */
static void discard_begin(struct heal *h)
{
    must(!h->discard.running && !h->receiver);
    atomic_store(&h->discard.done, false);
    h->discard.running = pthread_create(&h->discard.thread, NULL, discard_run, h) == 0;
}

static bool discard_runs(struct heal *h)
{
    if (!h->discard.running || !atomic_load(&h->discard.done))
        return h->discard.running;
    pthread_join(h->discard.thread, NULL);
    h->discard.running = false;
    if (h->discard.code)
        diag(DIAG_WARN, "what was fetched and is not used cannot be removed: %s; the next start does",
             disk_error_text(h->discard.code));
    return false;
}

static void note_failure(struct heal *h, const char *text)
{
    snprintf(h->failed, sizeof h->failed, "%s", text);
}

static void again_later(struct heal *h, uint64_t now_ns)
{
    if (h->receiver) {
        receiver_stop(&h->receiver);
        discard_begin(h);
    }
    if (h->left.epoch && h->left.from == h->from) {
        h->left.failed = h->from;
        h->left.spoke = false;
        h->left.from = 0;
    }
    h->retry_ns = now_ns + h->pause_ns;
    h->pause_ns = h->pause_ns * 2 < PAUSE_NS_MAX ? h->pause_ns * 2 : PAUSE_NS_MAX;
}

static void forget_left(struct heal *h)
{
    h->left.from = h->left.epoch = h->left.failed = 0;
}

void heal_left(struct heal *h, uint32_t from, uint32_t epoch)
{
    if (h->left.epoch < epoch)
        diag(DIAG_INFO,
             "replica %" PRIu32 " is in log epoch %" PRIu32 " and this log does not hold where its own one ended: a "
             "state of that epoch is needed",
             from, epoch);
    if (h->left.epoch >= epoch && from == h->left.failed && (h->left.from != 0 || !h->left.spoke)) {
        h->left.spoke = true; /* it may have no state itself */
        return;
    }
    if (h->left.epoch < epoch || !h->receiver) { /* any of them will do */
        h->left.from = from;
        h->left.epoch = epoch;
    }
}

void heal_crossed(struct heal *h)
{
    if (h->receiver)
        again_later(h, 0);
    forget_left(h);
    h->needed_ns = 0;
    h->retry_ns = 0;
    h->pause_ns = PAUSE_NS_MIN;
}

/* ---- fetching ---- */

/* Nothing older helps. */
static uint64_t least_index(const struct heal *h, const struct engine_status *s)
{
    const struct directory *d = h->config.directory;
    uint64_t least = d->fsm ? applied_of(h) + 1 : s->first - 1; /* a log that begins behind it cannot follow */
    if (h->left.epoch)                                          /* its epoch says that it is new enough */
        return 1;
    return h->needed_ns && h->needed_index > least ? h->needed_index : least;
}

static void begin(struct heal *h, const struct engine_status *s, uint64_t now_ns)
{
    struct directory *d = h->config.directory;
    uint32_t from = h->left.epoch ? h->left.from : s->leader;
    if (from == 0 || from == d->id.replica)
        return;
    if (h->from != from) { /* whoever comes new has not failed yet */
        h->from = from;
        h->retry_ns = 0;
        h->pause_ns = PAUSE_NS_MIN;
    }
    const char *endpoint = transport_snapshots(h->config.transport, from);
    if (!endpoint || now_ns < h->retry_ns)
        return;
    uint64_t least = least_index(h, s);
    struct identity as = d->id; /* its log is the one that is asked for */
    if (h->left.epoch && !planted_bug("heal.own_epoch"))
        as.log_epoch = h->left.epoch;
    struct receiver_config config = {.net = h->config.net,
                                     .endpoint = endpoint,
                                     .disk = d->config.disk,
                                     .dir = d->config.dir,
                                     .id = &as,
                                     .from = from,
                                     .min_index = least,
                                     .timeout_ms = SILENT_MS};
    h->begun_ns = now_ns;
    h->left.failed = 0;
    int rc = receiver_start(&config, &h->receiver);
    if (rc) {
        diag(DIAG_WARN, "cannot fetch a state from %s: %s; tried again", endpoint, error_text(rc));
        again_later(h, now_ns);
        return;
    }
    diag(DIAG_INFO, "fetching a state from=%" PRIu32 " endpoint=%s least=%" PRIu64 " applied=%" PRIu64, from, endpoint,
         least, applied_of(h));
}

/* ---- putting in place ---- */

/* NULL: it may be put in place; else why not. */
static const char *useless(const struct heal *h, const struct engine_status *s, const struct token *t)
{
    const struct directory *d = h->config.directory;
    if (t->cluster != d->id.cluster || t->group != d->id.group)
        return "it is of another group";
    if (t->log_epoch > d->id.log_epoch && t->log_epoch == h->left.epoch)
        return NULL; /* it covers all that is committed in this one, whoever leads it */
    if (t->log_epoch != d->id.log_epoch)
        return "it is of another log";
    if (s->role == ENGINE_LEADER)
        return "this replica leads";
    if (d->fsm && t->index <= applied_of(h) && !planted_bug("native.install_back"))
        return "the log came further meanwhile";
    return !d->fsm && t->index + 1 < s->first ? "the log begins behind it" : NULL;
}

/* From here on a failure leaves the old machine or the new one on disk, and the next start finds out which. */
static void exchange(struct heal *h, const struct install_record *record)
{
    struct directory *d = h->config.directory;
    char where[256] = "";
    h->config.closing(h->config.ctx);
    fsm_close(&d->fsm);
    int rc = install_exchange(d->config.disk, d->config.dir, record);
    if (rc)
        fatal("the state of index=%" PRIu64 " cannot be put in place in %s: %s; check the disk, then start again",
              record->index, d->config.dir, disk_error_text(rc));
    rc = fsm_open(&d->config.fsm, &d->fsm, where);
    if (rc)
        fatal("the state of index=%" PRIu64 " that was put in place cannot be opened: %s: %s", record->index,
              error_text(rc), where);
    crash_point("install.before_log");
    if (record->log_epoch != d->id.log_epoch) {
        d->install_pending = true;
        h->config.cross(h->config.ctx);
    } else {
        rc = directory_follow_install(d);
    }
    if (rc)
        fatal("the log cannot follow the state of index=%" PRIu64 ": %s %s; start again", record->index, error_text(rc),
              d->ops->where(d->engine));
    directory_healed(d);
    h->config.opened(h->config.ctx);
}

static void finish(struct heal *h, const struct engine_status *s, uint64_t now_ns)
{
    struct directory *d = h->config.directory;
    const struct token *t = &receiver_header(h->receiver)->token;
    uint64_t bytes = receiver_bytes(h->receiver), before = applied_of(h);
    char where[256] = "";
    const char *why = useless(h, s, t);
    if (why) {
        diag(DIAG_INFO, "a state of index=%" PRIu64 " was fetched and is not used: %s", t->index, why);
        metric_add(&metrics[M_DROPPED], 1);
        again_later(h, now_ns);
        h->needed_ns = 0;
        return;
    }
    int rc = install_check(d->config.dir, t, where);
    if (rc) {
        diag(DIAG_WARN, "a state of index=%" PRIu64 " was fetched and is not used: %s: %s", t->index, error_text(rc),
             where);
        metric_add(&metrics[M_FAILED], 1);
        note_failure(h, where[0] ? where : error_text(rc));
        again_later(h, now_ns);
        return;
    }
    struct install_record record = {t->cluster, t->group, t->log_epoch, t->index, t->term};
    receiver_stop(&h->receiver);
    exchange(h, &record);
    uint64_t took = clock_boot_ns() - h->begun_ns;
    metric_add(&metrics[M_DONE], 1);
    metric_observe_ns(&install_seconds, took);
    diag(DIAG_INFO,
         "installed index=%" PRIu64 " term=%" PRIu64 " from=%" PRIu32 " before=%" PRIu64 " bytes=%" PRIu64
         " ms=%" PRIu64,
         record.index, record.term, h->from, before, bytes, (uint64_t)(took / CLOCK_NS_PER_MS));
    h->needed_ns = 0;
    forget_left(h);
    h->damaged = false;
    h->failed[0] = 0;
    h->retry_ns = 0;
    h->pause_ns = PAUSE_NS_MIN;
}

static void follow(struct heal *h, const struct engine_status *s, uint64_t now_ns)
{
    switch (receiver_state(h->receiver)) {
    case RECEIVER_RUNNING:
        if (h->left.epoch || s->leader == 0 || s->leader == h->from ||
            now_ns < receiver_progress_ns(h->receiver) + LEFT_NS)
            return;
        diag(DIAG_INFO, "from=%" PRIu32 " nothing comes any more, %" PRIu32 " leads: it is asked instead", h->from,
             s->leader);
        again_later(h, now_ns);
        return;
    case RECEIVER_DONE:
        finish(h, s, now_ns);
        return;
    case RECEIVER_FAILED:
        diag(DIAG_WARN, "fetching a state failed from=%" PRIu32 " bytes=%" PRIu64 ": %s; tried again in %" PRIu64 " ms",
             h->from, receiver_bytes(h->receiver), receiver_text(h->receiver),
             (uint64_t)(h->pause_ns / CLOCK_NS_PER_MS));
        metric_add(&metrics[M_FAILED], 1);
        note_failure(h, receiver_text(h->receiver));
        again_later(h, now_ns);
        return;
    }
}

bool heal_running(const struct heal *h)
{
    return h->receiver || h->needed_ns || h->damaged || h->left.epoch || !h->config.directory->fsm;
}

const char *heal_trouble(struct heal *h)
{
    const char *what = h->config.directory->trouble;
    if (!heal_running(h))
        return what;
    if (!what[0])
        what = "the others' logs begin too late for it, a state is fetched from another replica";
    uint64_t bytes = h->receiver ? receiver_bytes(h->receiver) : 0;
    if (bytes > 0)
        snprintf(h->trouble, sizeof h->trouble, "%s: %" PRIu64 " of %" PRIu64 " bytes came", what, bytes,
                 receiver_total(h->receiver));
    else if (h->failed[0])
        snprintf(h->trouble, sizeof h->trouble, "%s: this failed and is tried again: %s", what, h->failed);
    else
        snprintf(h->trouble, sizeof h->trouble, "%s", what);
    return h->trouble;
}

void heal_turn(struct heal *h, uint64_t now_ns)
{
    const struct directory *d = h->config.directory;
    if (h->needed_ns && now_ns - h->needed_ns > NEED_NS && !h->receiver)
        h->needed_ns = 0;
    metric_set(&metrics[M_RUNNING], heal_running(h));
    if (!heal_running(h))
        h->failed[0] = 0;
    if (discard_runs(h) || !heal_running(h))
        return;
    struct engine_status s = d->ops->status(d->engine);
    if (h->receiver)
        follow(h, &s, now_ns);
    else
        begin(h, &s, now_ns);
}
