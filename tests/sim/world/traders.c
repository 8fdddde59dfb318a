/* traders.c: see traders.h. */
#include "tests/sim/world/traders.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/arena.h"
#include "common/base/error.h"
#include "shard/fsm/fsm.h"
#include "tests/sim/world/process.h"
#include "tests/sim/world/trader.h"
#include "tests/sim/world/trail.h"

static void act(struct trader *c)
{
    struct world *w = c->world;
    bool busy = c->traders->on && !w->healing && !w->options.calm;
    bool last = c->traders->last && !c->last_done;
    if (busy || last)
        trader_sessions(c);
    if (c->stage != TXN_IDLE)
        trader_go_on(c);
    else if (w->now >= c->next_at && (last || (busy && trail_count(c->traders->trail) < TXNS_MAX)))
        trader_begin(c, last);
}

void traders_act(struct world *w, uint32_t client)
{
    struct trader *c = &w->traders->traders[client];
    act(c);
    if (c->traders->on)
        world_schedule(w, (struct world_event){.kind = WORLD_TXN, .who = client},
                       w->now + (1 + world_below(w, 20)) * SIM_MS);
}

void traders_last(struct world *w)
{
    w->traders->last = w->traders->on;
}

bool traders_done(const struct world *w)
{
    for (uint32_t i = 0; i < WORLD_TRADERS; i++) {
        const struct trader *c = &w->traders->traders[i];
        if (c->stage != TXN_IDLE || (w->traders->last && !c->last_done))
            return false;
    }
    return true;
}

bool traders_forgotten(const struct world *w)
{
    for (uint32_t s = 1; s <= WORLD_SHARDS; s++)
        for (uint32_t r = 1; r <= WORLD_REPLICAS; r++) {
            const struct fsm *fsm = replica_process_fsm(w->processes[world_replica(s, r)]);
            if (fsm == NULL || fsm_info(fsm)->txns != 0 || fsm_info(fsm)->locks != 0)
                return false;
        }
    return true;
}

/* What the stores hold, as a transaction behind all others. */
static void read_all(struct world *w)
{
    for (uint32_t list = 0; list < TRAIL_LISTS; list++) {
        struct fsm *fsm = replica_process_fsm(w->processes[world_replica(trail_shard(list), 1)]);
        struct arena arena = {0};
        struct fsm_value value = {0};
        struct trail_list found;
        char name[8];
        int rc = fsm_get(fsm, FSM_USER, trail_name(list, name), (struct hlc){0}, (struct hlc){0}, &arena, &value);
        if ((rc != HF_OK && rc != HF_E_NOT_FOUND) || !trail_decode(value.value, &found))
            world_failed(w, "txns", "list %" PRIu32 " cannot be read in the end: %s", list, error_text(rc));
        else
            trail_read(w->traders->trail, list, &found);
        arena_deinit(&arena);
    }
    trail_end(w->traders->trail, TXN_DONE, w->now, w->now);
}

void traders_end(struct world *w)
{
    if (!traders_forgotten(w))
        world_failed(w, "locks", "all is quiet, and a shard still keeps something of a transaction");
    if (!w->traders->on || w->result.failed)
        return;
    read_all(w);
    trail_check(w, w->traders->trail);
}

struct traders *traders_new(struct world *w)
{
    struct traders *t = calloc(1, sizeof *t);
    must(t != NULL);
    t->trail = trail_new();
    t->on = !w->options.calm && w->options.seed % TXNS_EVERY != 0;
    for (uint32_t i = 0; i < WORLD_TRADERS; i++)
        trader_init(w, t, i);
    for (uint32_t i = 0; i < WORLD_TRADERS && t->on; i++)
        world_schedule(w, (struct world_event){.kind = WORLD_TXN, .who = i}, w->now + i * SIM_MS);
    return t;
}

void traders_free(struct traders **t)
{
    if (*t == NULL)
        return;
    trail_free(&(*t)->trail);
    free(*t);
    *t = NULL;
}
