/* find.c: see find.h. */
#include "client/find.h"

#include <stdlib.h>
#include <string.h>

#include "client/attempt.h"
#include "client/oracle.h"
#include "client/peer.h"
#include "common/sys/clock.h"
#include "proto/routes.h"

#define ROUND_MS_MAX 25u
#define REFRESH_NS (1000 * CLOCK_NS_PER_MS)
#define ROUNDS_TO_REFRESH 40u /* no leader for so long: perhaps the members are others now */

static uint64_t after_round(const struct hf *h, uint32_t rounds) /* 1, 2, 4, 8, 16, 25, 25 … ms */
{
    uint64_t ms = rounds < 6 ? 1u << (rounds - 1) : ROUND_MS_MAX;
    return h->now_ns + ms * CLOCK_NS_PER_MS;
}

/* ---- routes ---- */

static bool routes_wanted(const struct hf *h)
{
    if (!list_empty(&h->waiting))
        return true;
    for (uint32_t i = 0; i < h->shards_count; i++)
        if (!list_empty(&h->shards[i]->waiting))
            return true;
    return false;
}

static void routes_round(struct hf *h)
{
    h->find_rounds++;
    for (uint32_t i = 0; i < h->coordinators; i++) {
        struct peer *p = peer_get(h, h->coordinator_text[i]);
        if (p && !p->asked)
            p->asked = attempt_ask(h, p, REQUEST_ROUTES, NULL);
    }
    timers_set(&h->timers, &h->find_timer, after_round(h, h->find_rounds));
}

static void routes_timer(void *ctx, struct timer *t)
{
    (void)t;
    struct hf *h = ctx;
    if (routes_wanted(h))
        routes_round(h);
    else
        h->finding = false;
}

void find_routes(struct hf *h)
{
    if (h->finding)
        return;
    h->finding = true;
    h->find_rounds = 0;
    h->find_timer.fire = routes_timer;
    routes_round(h);
}

void find_newer_routes(struct hf *h)
{
    if (h->now_ns - h->refreshed_ns < REFRESH_NS)
        return;
    h->refreshed_ns = h->now_ns;
    find_routes(h);
}

static struct shard *shard_of(const struct hf *h, uint32_t id)
{
    for (uint32_t i = 0; i < h->shards_count; i++)
        if (h->shards[i]->id == id)
            return h->shards[i];
    return NULL;
}

static bool shard_add(struct hf *h, uint32_t id)
{
    if (h->shards_count == h->shards_cap) {
        uint32_t cap = h->shards_cap ? h->shards_cap * 2 : 8;
        struct shard **grown = realloc(h->shards, cap * sizeof *grown);
        if (!grown)
            return false;
        h->shards = grown;
        h->shards_cap = cap;
    }
    struct shard *s = calloc(1, sizeof *s);
    if (!s || timers_reserve(&h->timers, h->slots_count + h->shards_cap + 1) != HF_OK) {
        free(s);
        return false;
    }
    s->id = id;
    s->timer.fire = find_shard_timer;
    list_init(&s->waiting);
    list_init(&s->waiting_seq);
    h->shards[h->shards_count++] = s;
    return true;
}

static const char *member_endpoint(const Hf__Catalog__Shard *s, uint32_t replica)
{
    for (size_t i = 0; s && i < s->n_members; i++)
        if (s->members[i]->replica == replica)
            return s->members[i]->client_endpoint;
    return NULL;
}

bool find_adopt(struct hf *h, Hf__Catalog__Routes **routes)
{
    Hf__Catalog__Routes *r = *routes;
    if (!r || routes_check(r) != HF_OK)
        return false;
    if (h->routes && (r->version <= h->routes->version || r->cluster != h->routes->cluster))
        return false;
    for (size_t i = 0; i < r->n_shards; i++)
        if (!shard_of(h, r->shards[i]->shard) && !shard_add(h, r->shards[i]->shard))
            return false; /* out of memory: the old routes stay */
    for (size_t i = 0; i < r->n_shards; i++) {
        struct shard *s = shard_of(h, r->shards[i]->shard);
        if (!h->routed && !s->leader && !s->searching)
            s->leader = peer_get(h, member_endpoint(r->shards[i], r->shards[i]->leader));
    }
    if (h->routes)
        hf__catalog__routes__free_unpacked(h->routes, NULL);
    h->routes = r;
    *routes = NULL;
    h->pump = true;
    return true;
}

static void routes_answered(struct hf *h, struct hf_future *r)
{
    r->peer->asked = false;
    if (r->code != HF_OK || !r->reply || !r->reply->routes)
        return;
    find_adopt(h, &r->reply->routes);
    if (!h->routes)
        return;
    oracle_lives(h, r->peer, r->reply);
    if (h->routed && !h->coordinator) {
        h->coordinator = r->peer;
        h->pump = true;
    }
    h->finding = false;
    timers_clear(&h->timers, &h->find_timer);
}

/* ---- leaders ---- */

static void leader_round(struct hf *h, struct shard *s)
{
    const Hf__Catalog__Shard *members = routes_shard(h->routes, s->id);
    s->rounds++;
    for (size_t i = 0; members && i < members->n_members; i++) {
        struct peer *p = peer_get(h, members->members[i]->client_endpoint);
        if (p && !p->asked)
            p->asked = attempt_ask(h, p, REQUEST_STATUS, s);
    }
    if (s->rounds % ROUNDS_TO_REFRESH == 0)
        find_newer_routes(h);
    timers_set(&h->timers, &s->timer, after_round(h, s->rounds));
}

void find_leader(struct hf *h, struct shard *s)
{
    if (s->searching)
        return;
    s->searching = true;
    s->rounds = 0;
    leader_round(h, s);
}

void find_shard_timer(void *ctx, struct timer *t)
{
    struct hf *h = ctx;
    struct shard *s = LIST_OWNER(t, struct shard, timer);
    if (s->paused) {
        s->paused = false;
        h->pump = true;
    }
    if (s->searching && !list_empty(&s->waiting))
        leader_round(h, s);
    else
        s->searching = false;
}

static void status_answered(struct hf *h, struct hf_future *r)
{
    struct shard *s = r->shard;
    r->peer->asked = false;
    const Hf__Client__Status *st = r->code == HF_OK && r->reply ? r->reply->status : NULL;
    if (!st || st->shard != s->id || st->cluster != h->routes->cluster || strcmp(st->role, "leader") != 0)
        return;
    if (!s->searching || st->term < s->term)
        return;
    s->term = st->term;
    s->leader = r->peer;
    s->searching = false;
    timers_clear(&h->timers, &s->timer);
    h->pump = true;
}

void find_answered(struct hf *h, struct hf_future *r)
{
    if (r->kind == REQUEST_ROUTES)
        routes_answered(h, r);
    else if (r->kind == REQUEST_STATUS)
        status_answered(h, r);
    else if (r->code == HF_E_NOT_LEADER && r->reply)
        oracle_leave(h, r->peer, r->reply->leader_endpoint);
}
