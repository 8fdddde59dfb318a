/* snapshots.c: see snapshots.h. */
#include "shard/replica/snapshots.h"

#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "shard/replica/keep.h"
#include "shard/snapshot/sender.h"

struct snapshots {
    struct snapshots_config config;
    struct sender *sender; /* owned */
    struct heal *heal;     /* owned */
    struct keep *keep;     /* owned; NULL: no local streams are kept */
    uint64_t kept;         /* pointer for which one was asked */
};

static void on_closing(void *ctx)
{
    struct snapshots *s = ctx;
    sender_serve(s->sender, NULL);
    if (s->keep)
        keep_stop(s->keep);
    s->config.closing(s->config.ctx);
}

static void on_opened(void *ctx)
{
    struct snapshots *s = ctx;
    s->config.opened(s->config.ctx);
    sender_serve(s->sender, s->config.directory->fsm);
}

static void on_cross(void *ctx)
{
    struct snapshots *s = ctx;
    s->config.cross(s->config.ctx);
}

struct snapshots *snapshots_open(const struct snapshots_config *config)
{
    struct snapshots *s = calloc(1, sizeof *s);
    must(s); /* out of memory */
    struct directory *d = config->directory;
    s->config = *config;
    struct sender_config sender = {.net = config->net,
                                   .listen = config->listen,
                                   .announce = config->endpoint,
                                   .disk = d->config.disk,
                                   .dir = d->config.dir,
                                   .id = &d->id,
                                   .rate = config->rate};
    int rc = sender_open(&sender, &s->sender);
    if (rc)
        refuse("cannot serve snapshots on %s (--snapshot-listen): %s", config->listen, net_listen_text(rc));
    transport_announce(config->transport, sender_endpoint(s->sender));
    if (d->fsm)
        sender_serve(s->sender, d->fsm);
    if (d->config.keep_streams > 0)
        s->keep = keep_new(d->config.disk, d->config.dir, d->config.keep_streams);
    struct heal_config heal = {.net = config->net,
                               .directory = d,
                               .transport = config->transport,
                               .ctx = s,
                               .closing = on_closing,
                               .opened = on_opened,
                               .cross = on_cross};
    s->heal = heal_new(&heal);
    return s;
}

void snapshots_close(struct snapshots **snapshots)
{
    struct snapshots *s = *snapshots;
    if (!s)
        return;
    heal_free(&s->heal);
    keep_free(&s->keep);
    sender_close(&s->sender);
    free(s);
    *snapshots = NULL;
}

/* The log is kept for who is being given the state, and for the newest file. */
static void keep_turn(struct snapshots *s)
{
    struct publish *p = s->config.publish;
    uint64_t index = publish_state(p).index;
    publish_hold(p, sender_active(s->sender));
    if (!s->keep)
        return;
    publish_floor(p, keep_newest(s->keep));
    if (index <= s->kept || !s->config.directory->fsm)
        return;
    s->kept = index;
    keep_begin(s->keep, s->config.directory->fsm);
}

void snapshots_turn(struct snapshots *s, uint64_t now_ns)
{
    if (!s)
        return;
    keep_turn(s);
    heal_turn(s->heal, now_ns);
}

void snapshots_needed(struct snapshots *s, uint32_t from, uint64_t index, uint64_t term)
{
    if (s)
        heal_needed(s->heal, from, index, term, clock_boot_ns());
}

void snapshots_left(struct snapshots *s, uint32_t from, uint32_t epoch)
{
    if (s)
        heal_left(s->heal, from, epoch);
}

void snapshots_crossed(struct snapshots *s)
{
    if (!s)
        return;
    sender_cross(s->sender, s->config.directory->id.log_epoch);
    heal_crossed(s->heal);
}

bool snapshots_damaged(struct snapshots *s)
{
    if (!s || s->config.directory->facts.healers == 0)
        return false;
    sender_serve(s->sender, NULL);
    heal_damaged(s->heal);
    return true;
}

void snapshots_distrusted(struct snapshots *s)
{
    if (s)
        sender_serve(s->sender, NULL);
}

bool snapshots_healing(const struct snapshots *s)
{
    return s && heal_running(s->heal);
}

const char *snapshots_trouble(struct snapshots *s, const struct directory *d)
{
    return s ? heal_trouble(s->heal) : d->trouble;
}
