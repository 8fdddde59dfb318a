/* txns.c: see txns.h. */
#include "tests/sim/world/txns.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/arena.h"
#include "common/base/error.h"
#include "shard/fsm/fsm.h"
#include "tests/sim/world/process.h"
#include "tests/sim/world/trail.h"
#include "tests/sim/world/txnclient.h"

static void act(struct txn_client *c)
{
    struct world *w = c->world;
    bool busy = c->txns->on && !w->healing && !w->options.calm;
    bool last = c->txns->last && !c->last_done;
    if (busy || last)
        txn_client_sessions(c);
    if (c->stage != TXN_IDLE)
        txn_client_go_on(c);
    else if (w->now >= c->next_at && (last || (busy && trail_count(c->txns->trail) < TXNS_MAX)))
        txn_client_begin(c, last);
}

void txns_act(struct world *w, uint32_t client)
{
    struct txn_client *c = &w->txns->clients[client];
    act(c);
    if (c->txns->on)
        world_schedule(w, (struct world_event){.kind = WORLD_TXN, .who = client},
                       w->now + (1 + world_below(w, 20)) * SIM_MS);
}

void txns_last(struct world *w)
{
    w->txns->last = w->txns->on;
}

bool txns_done(const struct world *w)
{
    for (uint32_t i = 0; i < WORLD_TXN_CLIENTS; i++) {
        const struct txn_client *c = &w->txns->clients[i];
        if (c->stage != TXN_IDLE || (w->txns->last && !c->last_done))
            return false;
    }
    return true;
}

bool txns_forgotten(const struct world *w)
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
            trail_read(w->txns->trail, list, &found);
        arena_deinit(&arena);
    }
    trail_end(w->txns->trail, TXN_DONE, w->now, w->now);
}

void txns_end(struct world *w)
{
    if (!txns_forgotten(w))
        world_failed(w, "locks", "all is quiet, and a shard still keeps something of a transaction");
    if (!w->txns->on || w->result.failed)
        return;
    read_all(w);
    trail_check(w, w->txns->trail);
}

struct txns *txns_new(struct world *w)
{
    struct txns *t = calloc(1, sizeof *t);
    must(t != NULL);
    t->trail = trail_new();
    t->on = !w->options.calm && w->options.seed % TXNS_EVERY != 0;
    for (uint32_t i = 0; i < WORLD_TXN_CLIENTS; i++)
        txn_client_init(w, t, i);
    for (uint32_t i = 0; i < WORLD_TXN_CLIENTS && t->on; i++)
        world_schedule(w, (struct world_event){.kind = WORLD_TXN, .who = i}, w->now + i * SIM_MS);
    return t;
}

void txns_free(struct txns **t)
{
    if (*t == NULL)
        return;
    trail_free(&(*t)->trail);
    free(*t);
    *t = NULL;
}
