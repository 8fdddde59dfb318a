/* publish.c: see publish.h. What is wanted, a flush that is on its way and a token that is being written are three things;
 * publish_turn looks at each. */
#include "shard/replica/publish.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "common/sys/metrics.h"
#include "shard/replica/replay.h"
#include "shard/replica/token_writer.h"

#define LOOK_NS (2 * CLOCK_NS_PER_MS)        /* between two looks at durable applied while somebody waits for it */
#define LOOK_IDLE_NS (200 * CLOCK_NS_PER_MS) /* and while nobody does: flushes begin by themselves, too */
#define RETRY_NS (1000 * CLOCK_NS_PER_MS)    /* after a failure */
#define FLUSH_SLOW_NS (10 * 1000 * CLOCK_NS_PER_MS)
#define LAGGARD_FACTOR 4 /* times --snapshot-log-bytes are kept for members that are alive but late */
#define GRAINS 64        /* replay is counted in steps of the budget by this */
#define ENTRY_BYTES 32   /* what the log adds to an entry's payload, about */
#define HOLD_TIMES 16    /* as many logs of the usual size are kept for a state that is on its way */
#define HOLD_BYTES ((uint64_t)1 << 30)
#define GRAIN_BYTES_DEFAULT ((uint64_t)256 * 1024)

enum {
    M_PUBLISHED, /* one of each kind */
    M_FAILED_FLUSH = M_PUBLISHED + PUBLISH_KINDS,
    M_FAILED_TOKEN,
    M_FAILED_TRIM,
    M_INDEX,
    M_DURABLE,
    M_REPLAY,
    M_BUDGET,
    M_FLUSHES,
    M_TRIMS,
    M_COUNT
};
static const char published_help[] = "Snapshot pointers moved, by what asked first";
static const char failed_help[] = "Publishes that failed and are tried again, by step";
static struct metric metrics[M_COUNT] = {
    [M_PUBLISHED + PUBLISH_ENTRIES] = {"holdfast_snapshots_published_total", "trigger=\"entries\"", published_help,
                                       METRIC_COUNTER, 0},
    [M_PUBLISHED +
        PUBLISH_BYTES] = {"holdfast_snapshots_published_total", "trigger=\"bytes\"", published_help, METRIC_COUNTER, 0},
    [M_PUBLISHED + PUBLISH_CONFIG] = {"holdfast_snapshots_published_total", "trigger=\"config\"", published_help,
                                      METRIC_COUNTER, 0},
    [M_PUBLISHED + PUBLISH_OPERATOR] = {"holdfast_snapshots_published_total", "trigger=\"operator\"", published_help,
                                        METRIC_COUNTER, 0},
    [M_FAILED_FLUSH] = {"holdfast_snapshot_publish_failures_total", "step=\"flush\"", failed_help, METRIC_COUNTER, 0},
    [M_FAILED_TOKEN] = {"holdfast_snapshot_publish_failures_total", "step=\"token\"", failed_help, METRIC_COUNTER, 0},
    [M_FAILED_TRIM] = {"holdfast_snapshot_publish_failures_total", "step=\"trim\"", failed_help, METRIC_COUNTER, 0},
    [M_INDEX] = {"holdfast_snapshot_index", NULL, "Index of the snapshot pointer", METRIC_GAUGE, 0},
    [M_DURABLE] = {"holdfast_fsm_durable_applied_index", NULL, "Applied index that a crash leaves, as last seen",
                   METRIC_GAUGE, 0},
    [M_REPLAY] = {"holdfast_fsm_replay_pending_bytes", NULL, "Log since durable applied: what a restart would replay",
                  METRIC_GAUGE, 0},
    [M_BUDGET] = {"holdfast_fsm_replay_budget_bytes", NULL, "At half of it a flush begins, at all of it proposals wait",
                  METRIC_GAUGE, 0},
    [M_FLUSHES] = {"holdfast_fsm_flushes_begun_total", NULL, "Flushes begun by replay budget or publish",
                   METRIC_COUNTER, 0},
    [M_TRIMS] = {"holdfast_log_trims_total", NULL, "Times the log was cut at its front", METRIC_COUNTER, 0},
};
static struct metric_histogram token_seconds = {.name = "holdfast_snapshot_token_seconds",
                                                .help = "Time to write the snapshot token durably, beside the loop"};
static struct metric_histogram publish_seconds = {.name = "holdfast_snapshot_publish_seconds",
                                                  .help = "Time from a publish's trigger to its durable token"};

static struct metric_histogram loop_seconds = {
    .name = "holdfast_snapshot_loop_seconds",
    .help = "Time the loop spends on a step of a publish: a look, a flush's beginning, a token's making, a cut"};

static const char *const kind_names[] = {"entries", "bytes", "config", "operator"};

struct publish {
    struct publish_config config;
    struct directory *d; /* borrowed */
    struct token_writer *writer;
    struct replay replay;
    struct list waits;            /* of publish_wait, by rising index */
    uint64_t applied;             /* as told */
    uint64_t durable;             /* as last seen: never above the truth */
    uint64_t index;               /* of the token */
    uint64_t asked;               /* applied when a publish was asked for last, */
    enum publish_kind asked_kind; /* for this reason */
    uint64_t bytes_since;         /* applied since then */
    bool wanted; /* a publish of `want` or above, which is applied; it does not rise while it is waited for */
    uint64_t want;
    struct { /* the publish that is wanted, the one whose token is being written */
        enum publish_kind kind;
        uint64_t since_ns;
    } next, now;
    uint64_t flush_target; /* a flush covers entries up to it; 0: none is on its way */
    uint64_t flush_ns;     /* since when */
    uint64_t look_ns;      /* next look at durable applied */
    uint64_t retry_ns;     /* nothing is begun before: something failed */
    uint64_t now_ns;       /* of this turn */
    bool failing, slow;    /* and this was said */
    bool paused, hold;
    uint64_t floor; /* UINT64_MAX: none */
};

static uint64_t grain_of(const struct publish_config *c)
{
    return c->replay_budget > 0 ? c->replay_budget / GRAINS : GRAIN_BYTES_DEFAULT;
}

/* Everything applied now is durable, as after a start. */
static void begin_at(struct publish *p, uint64_t index)
{
    replay_init(&p->replay, index, grain_of(&p->config));
    p->applied = p->asked = p->durable = index;
    p->flush_target = 0;
    p->bytes_since = 0;
    p->look_ns = 0;
    metric_set(&metrics[M_DURABLE], index);
    metric_set(&metrics[M_REPLAY], 0);
}

static void read_token(struct publish *p)
{
    struct arena arena = {0};
    struct token token;
    int rc = token_read(p->d->config.disk, p->d->config.dir, &arena, &token);
    const struct identity *id = &p->d->id;
    bool ours =
        rc == HF_OK && token.cluster == id->cluster && token.group == id->group && token.log_epoch == id->log_epoch;
    p->index = ours ? token.index : 0; /* whatever is the matter with it: the next publish replaces it */
    metric_set(&metrics[M_INDEX], p->index);
    arena_deinit(&arena);
}

struct publish *publish_new(const struct publish_config *config, struct directory *d)
{
    struct publish *p = calloc(1, sizeof *p);
    must(p != NULL); /* out of memory */
    p->config = *config;
    p->d = d;
    p->writer = token_writer_new(d->config.disk, d->config.dir, config->threaded);
    p->paused = d->fsm == NULL;
    p->floor = UINT64_MAX;
    list_init(&p->waits);
    read_token(p);
    begin_at(p, p->paused ? 0 : fsm_info(d->fsm)->applied.index);
    if (!p->paused && p->index < p->applied) { /* nobody knows how much log that is: it counts as due */
        p->asked = p->index;
        p->bytes_since = config->every_bytes;
    }
    metric_set(&metrics[M_BUDGET], config->replay_budget);
    metrics_register(metrics, M_COUNT);
    metrics_register_histogram(&token_seconds);
    metrics_register_histogram(&publish_seconds);
    metrics_register_histogram(&loop_seconds);
    return p;
}

static void give_back(struct publish *p, struct publish_wait *w, int code)
{
    list_remove(&w->link);
    w->done(w->ctx, w, code, p->index); /* `w` is its owner's again */
}

static void give_all_back(struct publish *p, int code)
{
    LIST_EACH (it, &p->waits)
        give_back(p, LIST_OWNER(it, struct publish_wait, link), code);
}

void publish_free(struct publish **publish)
{
    struct publish *p = *publish;
    if (p == NULL)
        return;
    token_writer_free(&p->writer);
    give_all_back(p, HF_E_NOT_READY);
    free(p);
    *publish = NULL;
}

static void want(struct publish *p)
{
    p->wanted = true;
    p->want = p->asked > p->index ? p->asked : p->index; /* an older machine is replayed first */
    p->next.kind = p->asked_kind;
    p->next.since_ns = clock_boot_ns();
    p->look_ns = 0;
}

void snapshot_publish(struct publish *p, enum publish_kind kind)
{
    p->asked = p->applied;
    p->asked_kind = kind;
    p->bytes_since = 0;
    if (p->wanted)
        return; /* what it does not cover is looked at when its token is begun */
    want(p);
}

void publish_wait(struct publish *p, struct publish_wait *w)
{
    w->index = p->applied;
    list_push(&p->waits, &w->link);
    if (p->paused)
        give_back(p, w, HF_E_NOT_READY);
    else
        snapshot_publish(p, PUBLISH_OPERATOR);
}

void publish_applied(struct publish *p, uint64_t index, uint64_t bytes, bool config)
{
    p->applied = index;
    p->bytes_since += bytes + ENTRY_BYTES;
    replay_add(&p->replay, index, bytes + ENTRY_BYTES);
    if (config)
        snapshot_publish(p, PUBLISH_CONFIG);
}

/* One line when it begins to fail; every failure is counted. */
static void failed(struct publish *p, int metric, const char *what, int rc, const char *why)
{
    metric_add(&metrics[metric], 1);
    if (!p->failing)
        diag(DIAG_ERROR, "snapshot not published, %s: %s %s; the log is kept, tried again each second", what,
             error_text(rc), why);
    p->failing = true;
    p->retry_ns = p->look_ns = p->now_ns + RETRY_NS;
    give_all_back(p, rc);
}

/* ---- durable applied ---- */

static void look(struct publish *p)
{
    struct fsm_applied durable = {0};
    p->look_ns = p->now_ns + (p->wanted || p->flush_target > 0 ? LOOK_NS : LOOK_IDLE_NS);
    bool idle = p->flush_target > 0 && !fsm_flush_pending(p->d->fsm); /* asked first: what it did is seen below */
    int rc = fsm_durable_applied(p->d->fsm, &durable);
    if (rc != HF_OK) {
        failed(p, M_FAILED_FLUSH, "the durable applied index cannot be read", rc, fsm_where(p->d->fsm));
        return;
    }
    must(durable.index >= p->durable && durable.index <= p->applied); /* what is durable stays so */
    p->durable = durable.index;
    metric_set(&metrics[M_DURABLE], p->durable);
    metric_set(&metrics[M_REPLAY], replay_behind(&p->replay, p->durable));
    if (p->flush_target == 0)
        return;
    if (p->durable >= p->flush_target) {
        p->flush_target = 0;
        p->slow = false;
        crash_point("publish.after_flush");
    } else if (idle) {
        p->flush_target = 0;
        failed(p, M_FAILED_FLUSH, "a flush of the state machine came to nothing", HF_E_IO, "");
    } else if (p->now_ns - p->flush_ns > FLUSH_SLOW_NS && !p->slow) {
        p->slow = true;
        diag(DIAG_WARN, "a flush of the state machine takes more than %" PRIu64 " s, replay pending %" PRIu64 " bytes",
             (uint64_t)(FLUSH_SLOW_NS / CLOCK_NS_PER_MS / 1000), replay_behind(&p->replay, p->durable));
    }
}

static bool flush_due(const struct publish *p)
{
    if (p->flush_target > 0 || p->now_ns < p->retry_ns || p->durable == p->applied)
        return false;
    if (p->wanted && p->durable < p->want && p->applied >= p->want)
        return true;
    return p->config.replay_budget > 0 && replay_behind(&p->replay, p->durable) >= p->config.replay_budget / 2;
}

static void begin_flush(struct publish *p)
{
    if (fsm_flush_pending(p->d->fsm))
        return; /* beginning another would wait; the next look may make it needless */
    crash_point("publish.before_flush");
    int rc = fsm_flush_begin(p->d->fsm);
    if (rc != HF_OK) {
        failed(p, M_FAILED_FLUSH, "the state machine cannot be flushed", rc, fsm_where(p->d->fsm));
        return;
    }
    metric_add(&metrics[M_FLUSHES], 1);
    p->flush_target = p->applied;
    p->flush_ns = p->now_ns;
    p->look_ns = p->now_ns + LOOK_NS;
}

/* ---- token, then log ---- */

static void begin_token(struct publish *p)
{
    struct fsm_info info = {0};
    struct fsm_applied durable = {0};
    int rc = fsm_durable_info(p->d->fsm, token_writer_arena(p->writer), &info);
    if (planted_bug("publish.live_token"))
        info = *fsm_info(p->d->fsm);
    if (rc == HF_OK)
        rc = fsm_durable_applied(p->d->fsm, &durable);
    if (rc != HF_OK) {
        failed(p, M_FAILED_TOKEN, "the durable state's description cannot be read", rc, fsm_where(p->d->fsm));
        return;
    }
    must(info.applied.index <= durable.index && info.applied.index >= p->want); /* I4 */
    must(info.applied.index >= p->index);
    p->durable = durable.index;
    struct token token = token_from(&info);
    p->now = p->next;
    p->wanted = false;
    if (p->asked > token.index)
        want(p);
    token_writer_start(p->writer, &token);
}

/* The lowest index that a member who is alive still lacks something behind, as the leader knows; others know of none. */
static uint64_t latest_match(const struct publish *p)
{
    struct engine_progress progress[LIMIT_PEERS];
    uint64_t least = UINT64_MAX;
    size_t count = p->d->ops->progress(p->d->engine, progress, LIMIT_PEERS);
    for (size_t i = 0; i < count; i++)
        if (progress[i].active && progress[i].match < least)
            least = progress[i].match;
    return least;
}

/* Followers that are a little late shall find what they lack, but not more than the log was to grow to anyhow. Who is alive
 * and further behind, as while a whole state is on its way to it, is waited for longer: or the state would be too old when
 * it is there, again and again. */
static uint64_t cut_index(const struct publish *p)
{
    uint64_t most = p->index < p->durable ? p->index : p->durable;
    uint64_t cut = most > p->config.trailing ? most - p->config.trailing : 0;
    if (p->config.every_bytes == 0)
        return cut;
    uint64_t match = latest_match(p);
    uint64_t by_bytes = p->d->ops->reach(p->d->engine, most, p->config.every_bytes);
    uint64_t at_last = p->d->ops->reach(p->d->engine, most, LAGGARD_FACTOR * p->config.every_bytes);
    if (cut < by_bytes)
        cut = by_bytes;
    if (cut > match)
        cut = match > at_last ? match : at_last;
    return cut < most ? cut : most;
}

/* I12: neither a receiver that never ends nor a file that cannot be written keeps the log for ever. */
static bool held(const struct publish *p, uint64_t cut)
{
    uint64_t most = p->config.every_bytes > 0 ? HOLD_TIMES * p->config.every_bytes : HOLD_BYTES;
    return (p->hold || cut > p->floor) && p->d->ops->status(p->d->engine).log_bytes < most;
}

static void trim(struct publish *p)
{
    uint64_t cut = cut_index(p);
    must(cut <= p->index && cut <= p->durable); /* I4 */
    crash_point("publish.before_trim");
    uint64_t first = p->d->ops->status(p->d->engine).first;
    if (cut > p->floor && held(p, cut))
        cut = p->floor;
    if (cut < first || held(p, cut))
        return;
    int rc = p->d->ops->trim(p->d->engine, cut);
    if (rc != HF_OK)
        failed(p, M_FAILED_TRIM, "the log cannot be cut", rc, p->d->ops->where(p->d->engine));
    else
        metric_add(&metrics[M_TRIMS], 1);
}

static bool finish_token(struct publish *p)
{
    struct token_written t;
    if (!token_writer_done(p->writer, &t))
        return false;
    metric_observe_ns(&token_seconds, t.took_ns);
    if (t.rc != HF_OK) {
        failed(p, M_FAILED_TOKEN, "its token cannot be written", t.rc, t.text);
        if (!p->wanted) { /* what was wanted still is */
            p->wanted = true;
            p->want = t.index;
            p->next = p->now;
        }
        return true;
    }
    must(t.index >= p->index && t.index <= p->durable);
    if (p->failing)
        diag(DIAG_INFO, "snapshots are published again");
    p->failing = false;
    p->index = t.index;
    metric_add(&metrics[M_PUBLISHED + p->now.kind], 1);
    metric_set(&metrics[M_INDEX], p->index);
    metric_observe_ns(&publish_seconds, p->now_ns - p->now.since_ns);
    trim(p);
    diag(DIAG_INFO,
         "snapshot published index=%" PRIu64 " kind=%s applied=%" PRIu64 " log_first=%" PRIu64 " ms=%" PRIu64, p->index,
         kind_names[p->now.kind], p->applied, p->d->ops->status(p->d->engine).first,
         (uint64_t)((p->now_ns - p->now.since_ns) / CLOCK_NS_PER_MS));
    LIST_EACH (it, &p->waits) {
        struct publish_wait *w = LIST_OWNER(it, struct publish_wait, link);
        if (w->index <= p->index)
            give_back(p, w, HF_OK);
    }
    return true;
}

/* ---- the turn ---- */

static void note_triggers(struct publish *p)
{
    const struct publish_config *c = &p->config;
    if (c->every_entries > 0 && p->applied - p->asked >= c->every_entries)
        snapshot_publish(p, PUBLISH_ENTRIES);
    else if (c->every_bytes > 0 && p->bytes_since >= c->every_bytes)
        snapshot_publish(p, PUBLISH_BYTES);
}

static void expire_waits(struct publish *p)
{
    LIST_EACH (it, &p->waits) {
        struct publish_wait *w = LIST_OWNER(it, struct publish_wait, link);
        if (w->deadline_ns <= p->now_ns)
            give_back(p, w, HF_E_TIMEOUT);
    }
}

void publish_turn(struct publish *p, uint64_t now_ns)
{
    p->now_ns = now_ns;
    expire_waits(p);
    if (p->paused)
        return;
    bool step = finish_token(p);
    note_triggers(p);
    if (now_ns >= p->look_ns && (p->durable < p->applied || p->wanted || p->flush_target > 0)) {
        look(p);
        step = true;
    }
    if (flush_due(p))
        begin_flush(p);
    if (p->wanted && p->durable >= p->want && now_ns >= p->retry_ns && !token_writer_busy(p->writer))
        begin_token(p);
    if (step) /* nothing else comes without a look before it */
        metric_observe_ns(&loop_seconds, clock_boot_ns() - now_ns);
}

uint64_t publish_deadline(const struct publish *p)
{
    if (p->paused || !((p->wanted && p->applied >= p->want) || p->flush_target > 0) || token_writer_busy(p->writer))
        return UINT64_MAX;
    return p->look_ns > p->retry_ns ? p->look_ns : p->retry_ns;
}

int publish_fd(const struct publish *p)
{
    return token_writer_fd(p->writer);
}

void publish_pause(struct publish *p)
{
    struct token_written ignored; /* an older pointer than the one that follows: its cut is not worth making */
    token_writer_wait(p->writer);
    (void)token_writer_done(p->writer, &ignored);
    p->paused = true;
    p->wanted = false;
    p->flush_target = 0;
    give_all_back(p, HF_E_NOT_READY);
}

void publish_resume(struct publish *p, uint64_t index)
{
    p->paused = false;
    p->index = index;
    metric_set(&metrics[M_INDEX], index);
    begin_at(p, index);
}

bool publish_full(const struct publish *p)
{
    return p->config.replay_budget > 0 && !p->paused &&
           replay_behind(&p->replay, p->durable) >= p->config.replay_budget;
}

/* What was kept back may go now. */
static void trim_again(struct publish *p)
{
    if (!p->paused && p->index > 0 && p->index <= p->durable)
        trim(p);
}

void publish_hold(struct publish *p, bool hold)
{
    bool over = p->hold && !hold;
    p->hold = hold;
    if (over)
        trim_again(p);
}

void publish_floor(struct publish *p, uint64_t index)
{
    bool higher = p->floor < index;
    p->floor = index;
    if (higher)
        trim_again(p);
}

struct publish_state publish_state(const struct publish *p)
{
    return (struct publish_state){.index = p->index,
                                  .durable = p->durable,
                                  .log_first = p->d->ops->status(p->d->engine).first,
                                  .replay_bytes = p->paused ? 0 : replay_behind(&p->replay, p->durable),
                                  .running = p->wanted || token_writer_busy(p->writer)};
}
