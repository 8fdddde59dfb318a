/* outgoing.c: see outgoing.h. Chunk k of a stream is bytes [k, k + 1) × TRANSFER_CHUNK_BYTES, the last one is shorter. */
#include "shard/snapshot/outgoing.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/crc32c.h"
#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "shard/fsm/fsm.h"
#include "shard/snapshot/stream.h"

#define SLOTS (TRANSFER_WINDOW_BYTES / TRANSFER_CHUNK_BYTES)

struct slot {
    uint8_t *data; /* owned; NULL until first used */
    size_t size;
    uint32_t crc;
    bool last;
};

struct outgoing {
    struct outgoing_config config;
    struct identity id;
    char dir[LIMIT_TEXT_BYTES];
    pthread_t worker;
    _Atomic bool ended;
    pthread_mutex_t mutex; /* of all that follows */
    pthread_cond_t changed;
    bool cancelled;
    struct slot slots[SLOTS]; /* chunk k is in slot k % SLOTS; from `acknowledged` to `written` they are the sender's */
    uint64_t acknowledged, written; /* chunks */
    uint64_t end;                   /* bytes of the whole stream; UINT64_MAX: not written to its end yet */
    uint64_t total;
    int code;
    char text[256];
};

/* ---- the worker ---- */

static struct slot *filling(struct outgoing *o)
{
    return &o->slots[o->written % SLOTS]; /* only the worker moves `written` */
}

/* Waits for a slot that the sender does not need any more. */
static int take_slot(struct outgoing *o)
{
    pthread_mutex_lock(&o->mutex);
    while (!o->cancelled && o->written - o->acknowledged == SLOTS)
        pthread_cond_wait(&o->changed, &o->mutex);
    bool cancelled = o->cancelled;
    pthread_mutex_unlock(&o->mutex);
    if (cancelled)
        return HF_E_CLOSED;
    struct slot *s = filling(o);
    if (!s->data)
        s->data = malloc(TRANSFER_CHUNK_BYTES);
    must(s->data); /* out of memory */
    s->size = 0;
    s->last = false;
    return HF_OK;
}

static void give_slot(struct outgoing *o, bool last)
{
    struct slot *s = filling(o);
    s->crc = crc32c(0, s->data, s->size);
    s->last = last;
    crash_point("snapshot.chunk_written");
    pthread_mutex_lock(&o->mutex);
    if (last)
        o->end = o->written * TRANSFER_CHUNK_BYTES + s->size;
    o->written++;
    pthread_mutex_unlock(&o->mutex);
    mailbox_wake(o->config.wake);
}

static int on_bytes(void *ctx, struct slice bytes)
{
    struct outgoing *o = ctx;
    while (bytes.size > 0) {
        struct slot *s = filling(o);
        if (s->size == TRANSFER_CHUNK_BYTES) { /* not before there is more: the last chunk is never empty */
            give_slot(o, false);
            int rc = take_slot(o);
            if (rc)
                return rc;
            s = filling(o);
        }
        size_t part = TRANSFER_CHUNK_BYTES - s->size < bytes.size ? TRANSFER_CHUNK_BYTES - s->size : bytes.size;
        memcpy(s->data + s->size, bytes.data, part);
        s->size += part;
        bytes.data += part;
        bytes.size -= part;
    }
    return HF_OK;
}

/* The token of a stream is what its own checkpoint says. */
static int read_header(struct outgoing *o, struct arena *arena, struct stream_header *out, char text[256])
{
    struct fsm_info info;
    int rc = fsm_peek(o->dir, arena, &info, text);
    if (rc)
        return rc;
    if (info.cluster != o->id.cluster || info.group != o->id.group || info.applied.epoch != o->id.log_epoch) {
        snprintf(text, 256, "the checkpoint is of another cluster, group or log epoch");
        return HF_E_CORRUPT;
    }
    if (info.applied.index < o->config.min_index) {
        snprintf(text, 256, "applied %" PRIu64 " here, %" PRIu64 " is wanted", info.applied.index, o->config.min_index);
        return HF_E_SNAPSHOT_ABSENT;
    }
    *out = (struct stream_header){.ceiling = info.ceiling, .cutover = info.cutover, .token = token_from(&info)};
    return HF_OK;
}

static int write_stream(struct outgoing *o, char text[256])
{
    struct arena arena = {0};
    struct stream_header header;
    struct stream_writer *w = NULL;
    uint64_t total = 0;
    int rc = o->config.checkpoint(o->config.ctx, o->dir, text);
    if (!rc)
        rc = read_header(o, &arena, &header, text);
    if (!rc)
        rc = stream_directory_bytes(&header, o->dir, &total);
    pthread_mutex_lock(&o->mutex);
    o->total = total;
    pthread_mutex_unlock(&o->mutex);
    if (!rc)
        rc = take_slot(o);
    if (!rc)
        rc = stream_writer_new(&header, on_bytes, o, &w);
    if (!rc)
        rc = stream_write_directory(w, o->dir);
    if (!rc)
        rc = stream_finish(w);
    stream_writer_free(&w);
    arena_deinit(&arena);
    if (!rc)
        give_slot(o, true);
    return rc;
}

static void *work(void *ctx)
{
    struct outgoing *o = ctx;
    char text[256] = "";
    int rc = write_stream(o, text);
    if (disk_remove_tree(o->config.disk, o->dir))
        diag(DIAG_WARN, "cannot remove %s; the next start does", o->dir);
    if (rc && rc != HF_E_CLOSED) {
        pthread_mutex_lock(&o->mutex);
        o->code = rc;
        memcpy(o->text, text, sizeof text);
        pthread_mutex_unlock(&o->mutex);
    }
    atomic_store(&o->ended, true);
    mailbox_wake(o->config.wake);
    return NULL;
}

/* ---- the sender's side ---- */

int outgoing_start(const struct outgoing_config *config, struct outgoing **out)
{
    struct outgoing *o = calloc(1, sizeof *o);
    must(o); /* out of memory */
    o->config = *config;
    o->id = *config->id;
    o->end = UINT64_MAX;
    must((size_t)snprintf(o->dir, sizeof o->dir, "%s", config->dir) < sizeof o->dir);
    pthread_mutex_init(&o->mutex, NULL);
    pthread_cond_init(&o->changed, NULL);
    if (pthread_create(&o->worker, NULL, work, o) == 0) {
        *out = o;
        return HF_OK;
    }
    pthread_cond_destroy(&o->changed);
    pthread_mutex_destroy(&o->mutex);
    free(o);
    return HF_E_LIMIT;
}

void outgoing_cancel(struct outgoing *o)
{
    pthread_mutex_lock(&o->mutex);
    o->cancelled = true;
    pthread_cond_signal(&o->changed);
    pthread_mutex_unlock(&o->mutex);
}

bool outgoing_ended(const struct outgoing *o)
{
    return atomic_load(&o->ended);
}

void outgoing_free(struct outgoing **o)
{
    if (!*o)
        return;
    outgoing_cancel(*o);
    pthread_join((*o)->worker, NULL);
    for (size_t i = 0; i < SLOTS; i++)
        free((*o)->slots[i].data);
    pthread_cond_destroy(&(*o)->changed);
    pthread_mutex_destroy(&(*o)->mutex);
    free(*o);
    *o = NULL;
}

/* With the mutex. */
static bool holds(const struct outgoing *o, uint64_t offset)
{
    if (o->end != UINT64_MAX && offset == o->end)
        return true;
    uint64_t chunk = offset / TRANSFER_CHUNK_BYTES;
    return offset % TRANSFER_CHUNK_BYTES == 0 && chunk >= o->acknowledged && chunk <= o->written;
}

bool outgoing_holds(struct outgoing *o, uint64_t offset)
{
    pthread_mutex_lock(&o->mutex);
    bool there = holds(o, offset);
    pthread_mutex_unlock(&o->mutex);
    return there;
}

bool outgoing_chunk(struct outgoing *o, uint64_t offset, struct outgoing_chunk *out)
{
    uint64_t chunk = offset / TRANSFER_CHUNK_BYTES;
    pthread_mutex_lock(&o->mutex);
    bool there = offset % TRANSFER_CHUNK_BYTES == 0 && chunk >= o->acknowledged && chunk < o->written;
    if (there) {
        const struct slot *s = &o->slots[chunk % SLOTS];
        *out = (struct outgoing_chunk){slice_make(s->data, s->size), s->crc, s->last};
    }
    pthread_mutex_unlock(&o->mutex);
    return there;
}

void outgoing_acknowledge(struct outgoing *o, uint64_t offset)
{
    pthread_mutex_lock(&o->mutex);
    must(holds(o, offset) ||
         offset / TRANSFER_CHUNK_BYTES < o->acknowledged); /* only what was sent: the sender's check */
    uint64_t chunks = offset == o->end ? o->written : offset / TRANSFER_CHUNK_BYTES;
    if (chunks > o->acknowledged) {
        o->acknowledged = chunks;
        pthread_cond_signal(&o->changed);
    }
    pthread_mutex_unlock(&o->mutex);
}

uint64_t outgoing_total(struct outgoing *o)
{
    pthread_mutex_lock(&o->mutex);
    uint64_t total = o->total;
    pthread_mutex_unlock(&o->mutex);
    return total;
}

int outgoing_failure(struct outgoing *o, const char **out_text)
{
    pthread_mutex_lock(&o->mutex);
    int code = o->code;
    *out_text = o->text;
    pthread_mutex_unlock(&o->mutex);
    return code;
}
