/* states.c: see states.h. */
#include "tests/sim/world/states.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "shard/snapshot/receiver.h"
#include "shard/snapshot/sender.h"
#include "tests/sim/world/process.h"

#define ASK_MS 300     /* of silence, then it is asked again */
#define REFUSED_MS 250 /* until it asks one that is not ready again */
#define BEGINS_MAX 16
#define PIECES 4 /* of a stream, about */

struct sender {
    struct process *process;
    struct fsm *fsm; /* borrowed; NULL: none now */
    uint64_t life;   /* streams end with it: of the process, and of the machine it serves */
    uint64_t active; /* until then the log is kept */
    uint32_t epoch;  /* of the log that is served */
};

struct receiver {
    struct receiver_config config; /* the endpoint is ours; id is not kept */
    uint32_t epoch;                /* asked for */
    struct process *process;
    char endpoint[WORLD_ENDPOINT];
    enum receiver_state state;
    int code;
    char text[256];
    struct staging *staging;      /* owned */
    struct stream_reader *reader; /* owned */
    struct buf stream;            /* all of it, as its sender made it */
    size_t received;
    uint64_t life; /* of the sender who made it; 0: nobody did */
    unsigned begins;
    uint64_t progress_ns;
};

/* ---- the sender: what the replica tells it ---- */

int sender_open(const struct sender_config *config, struct sender **out)
{
    struct process *p = world_now->current;
    char path[256];
    snprintf(path, sizeof path, "%.200s/" TOKEN_DIR, config->dir);
    int rc = disk_ensure_dir(config->disk, config->dir, path);
    if (rc != HF_OK)
        return rc;
    struct sender *s = calloc(1, sizeof *s);
    must(s != NULL && strcmp(config->listen, p->state) == 0);
    *s = (struct sender){.process = p, .life = ++p->world->lives, .epoch = config->id->log_epoch};
    p->sender = *out = s;
    return HF_OK;
}

void sender_close(struct sender **s)
{
    if (*s == NULL)
        return;
    (*s)->process->sender = NULL;
    free(*s);
    *s = NULL;
}

const char *sender_endpoint(const struct sender *s)
{
    return s->process->state;
}

bool sender_active(const struct sender *s)
{
    for (uint32_t i = 1; i < WORLD_PROCESSES; i++) {
        const struct receiver *r = world_now->processes[i]->receiver;
        if (r != NULL && r->state == RECEIVER_RUNNING && r->life == s->life)
            return true;
    }
    return world_now->now < s->active;
}

void sender_serve(struct sender *s, struct fsm *fsm)
{
    if (s->fsm == fsm)
        return;
    s->fsm = fsm;
    s->life = ++world_now->lives;
}

void sender_cross(struct sender *s, uint32_t log_epoch)
{
    s->epoch = log_epoch;
}

/* ---- the stream ---- */

static void later(struct receiver *r, uint64_t ns)
{
    struct process *p = r->process;
    world_schedule(p->world,
                   (struct world_event){.kind = WORLD_STREAM, .who = p->number, .version = ++p->stream_version},
                   p->world->now + ns);
}

static uint64_t pace_ns(struct world *w)
{
    return (100 + world_below(w, world_below(w, 6) == 0 ? 400000 : w->pace_us)) * 1000;
}

static void end(struct receiver *r, enum receiver_state state, int code, const char *text)
{
    struct process *p = r->process;
    r->state = state;
    r->code = code;
    snprintf(r->text, sizeof r->text, "%s", text);
    world_trace(p->world, p->number, "fetched", (uint64_t)state, (uint64_t)-code);
    process_wake(p, p->world->now);
}

static void fail(struct receiver *r, int code, const char *text)
{
    end(r, RECEIVER_FAILED, code, text[0] != 0 ? text : error_text(code));
}

/* Who answers there now; NULL: nobody, or nothing comes through. */
static struct sender *reached(const struct receiver *r)
{
    struct world *w = r->process->world;
    uint32_t me = r->process->number;
    for (uint32_t i = 1; i < WORLD_PROCESSES; i++) {
        const struct process *p = w->processes[i];
        if (p->sender == NULL || strcmp(p->state, r->endpoint) != 0)
            continue;
        bool lost = world_below(w, 1000) < 2 * w->lost_permille;
        return p->stopped_until > w->now || w->cut[i][me] || w->cut[me][i] || lost ? NULL : p->sender;
    }
    return NULL;
}

static int on_stream(void *ctx, struct slice bytes)
{
    buf_append(ctx, bytes.data, bytes.size);
    return HF_OK;
}

static int write_stream(struct receiver *r, const struct fsm_info *info, uint8_t medium)
{
    const struct stream_header header = {.ceiling = info->ceiling, .token = token_from(info)};
    struct stream_writer *w = NULL;
    buf_clear(&r->stream);
    int rc = stream_writer_new(&header, on_stream, &r->stream, &w);
    if (rc == HF_OK)
        rc = stream_section_begin(w, STREAM_FILE, STATES_FILE, 1);
    if (rc == HF_OK)
        rc = stream_section_bytes(w, slice_make(&medium, 1));
    if (rc == HF_OK)
        rc = stream_section_end(w);
    if (rc == HF_OK)
        rc = stream_finish(w);
    stream_writer_free(&w);
    return rc;
}

/* The sender's checkpoint, onto the medium that the receiver does not use, and the stream of it. */
static int make_stream(struct receiver *r, struct sender *s, char where[256])
{
    const struct process *p = r->process;
    struct arena arena = {0};
    struct fsm_info info;
    uint8_t medium = (uint8_t)(1 - p->medium);
    char dir[64];
    if (s->fsm == NULL)
        return HF_E_NOT_READY;
    if (s->epoch != r->epoch)
        return HF_E_REFUSED;
    snprintf(dir, sizeof dir, STATES_MEDIUM, p->number, medium);
    int rc = fsm_checkpoint(s->fsm, dir, where);
    if (rc == HF_OK)
        rc = fsm_peek(dir, &arena, &info, where);
    if (rc == HF_OK) {
        world_trace(p->world, p->number, "stream", info.applied.index, r->config.min_index);
        rc = info.applied.index < r->config.min_index ? HF_E_SNAPSHOT_ABSENT : write_stream(r, &info, medium);
    }
    arena_deinit(&arena);
    return rc;
}

static void begin(struct receiver *r, struct sender *s)
{
    char where[256] = "";
    r->life = 0;
    r->received = 0;
    stream_reader_free(&r->reader);
    staging_free(&r->staging);
    if (++r->begins > BEGINS_MAX) {
        fail(r, HF_E_UNAVAILABLE, "the sender lost its stream again and again");
        return;
    }
    int rc = staging_new(r->config.disk, r->config.dir, &r->staging);
    if (rc == HF_OK)
        rc = make_stream(r, s, where);
    if (rc == HF_E_NOT_READY) {
        r->code = rc;
        later(r, REFUSED_MS * SIM_MS);
        return;
    }
    if (rc != HF_OK) {
        fail(r, rc, where);
        return;
    }
    struct stream_sink sink = staging_sink(r->staging);
    r->reader = stream_reader_new(&sink, r->config.bytes_max);
    r->life = s->life;
    later(r, pace_ns(r->process->world));
}

static void finish(struct receiver *r)
{
    struct process *p = r->process;
    int rc = stream_reader_finish(r->reader);
    if (rc == HF_OK)
        rc = staging_sync(r->staging);
    if (rc != HF_OK) {
        fail(r, rc, "");
        return;
    }
    if (!p->world->healing && world_below(p->world, 3) == 0) { /* it dies of any operation of what follows */
        p->death = p->world->power && world_below(p->world, 2) == 0 ? DEATH_POWER : DEATH_KILL;
        simdisk_halt_after(p->disk, SIMDISK_CHANGES, world_below(p->world, 25));
        p->damage_next = world_below(p->world, 3) == 0;
    }
    end(r, RECEIVER_DONE, HF_OK, "");
}

static void take_piece(struct receiver *r)
{
    struct world *w = r->process->world;
    size_t left = r->stream.size - r->received, size = 1 + world_below(w, 2 * r->stream.size / PIECES);
    size = size < left ? size : left;
    int rc = stream_reader_push(r->reader, slice_make(r->stream.data + r->received, size));
    if (rc != HF_OK) {
        fail(r, rc, "");
        return;
    }
    r->received += size;
    r->progress_ns = clock_boot_ns();
    if (r->received == r->stream.size)
        finish(r);
    else
        later(r, pace_ns(w));
}

static void step(struct receiver *r)
{
    struct process *p = r->process;
    struct world *w = p->world;
    if (r->state != RECEIVER_RUNNING)
        return;
    if (p->stopped_until > w->now) { /* all of its threads stand still */
        later(r, p->stopped_until - w->now);
        return;
    }
    if (clock_boot_ns() - r->progress_ns > r->config.timeout_ms * CLOCK_NS_PER_MS) {
        fail(r, r->code != 0 ? r->code : HF_E_TIMEOUT, "nothing came in time");
        return;
    }
    struct sender *s = reached(r);
    if (s == NULL) {
        later(r, ASK_MS * SIM_MS);
        return;
    }
    if (s->life != r->life)
        begin(r, s);
    else
        take_piece(r);
    s->active = w->now + w->keep_ms * SIM_MS;
}

void states_step(struct world *w, uint32_t process, uint64_t version)
{
    struct process *p = w->processes[process];
    if (p->receiver == NULL || p->stream_version != version)
        return;
    w->current = p; /* whose thread it is */
    step(p->receiver);
    w->current = NULL;
    process_look(p);
}

/* ---- the receiver: what the replica asks of it ---- */

void receiver_metrics(void)
{
}

int receiver_start(const struct receiver_config *config, struct receiver **out)
{
    struct process *p = world_now->current;
    struct receiver *r = calloc(1, sizeof *r);
    must(r != NULL && p->receiver == NULL && strlen(config->endpoint) < sizeof r->endpoint);
    *r = (struct receiver){
        .config = *config, .epoch = config->id->log_epoch, .process = p, .progress_ns = clock_boot_ns()};
    r->config.id = NULL;
    snprintf(r->endpoint, sizeof r->endpoint, "%s", config->endpoint);
    p->receiver = *out = r;
    world_trace(p->world, p->number, "fetch", config->from, config->min_index);
    later(r, pace_ns(p->world));
    return HF_OK;
}

enum receiver_state receiver_state(const struct receiver *r)
{
    return r->state;
}

const struct stream_header *receiver_header(const struct receiver *r)
{
    must(r->state == RECEIVER_DONE);
    return staging_header(r->staging);
}

int receiver_code(const struct receiver *r)
{
    return r->state == RECEIVER_FAILED ? r->code : HF_OK;
}

const char *receiver_text(const struct receiver *r)
{
    return r->state == RECEIVER_FAILED ? r->text : "";
}

uint64_t receiver_bytes(const struct receiver *r)
{
    return r->received;
}

uint64_t receiver_total(const struct receiver *r)
{
    return r->stream.size;
}

uint64_t receiver_progress_ns(const struct receiver *r)
{
    return r->progress_ns;
}

void receiver_stop(struct receiver **receiver)
{
    struct receiver *r = *receiver;
    if (r == NULL)
        return;
    r->process->receiver = NULL;
    r->process->stream_version++;
    stream_reader_free(&r->reader);
    staging_free(&r->staging);
    buf_deinit(&r->stream);
    free(r);
    *receiver = NULL;
}
