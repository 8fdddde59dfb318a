/* problems.c: see problems.h. */
#include "client/cli/problems.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/must.h"

struct list_of {
    problems_fn *fn;
    void *ctx;
};

static void say(const struct list_of *to, const char *format, ...) HF_PRINTF(2, 3);

static void say(const struct list_of *to, const char *format, ...)
{
    char text[LIMIT_TEXT_BYTES + 256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    to->fn(to->ctx, text);
}

static void of_coordinators(const struct hf_cluster_status *s, const struct list_of *to)
{
    bool active = false;
    for (size_t i = 0; i < s->coordinators_count; i++) {
        const struct status_coordinator *c = &s->coordinators[i];
        active |= c->active && c->reachable;
        if (!c->reachable)
            say(to, "the coordinator at %s does not answer", c->endpoint);
        if (c->told && c->clock_refused)
            say(to,
                "the wall clock of the coordinator at %s is %" PRId64
                " s ahead of the cluster's time and not followed; "
                "set it right%s",
                c->endpoint, c->skew_ms / 1000, c->active ? ", or accept it: holdfast clock accept" : "");
    }
    if (s->coordinators_count == 0)
        say(to, "no coordinator was asked: the endpoints given are replicas'");
    else if (!active)
        say(to, "no coordinator is active: nobody renews leases or issues timestamps");
    if (!s->routes)
        say(to,
            "nobody told the routes, so which shards there are and how they are is unknown; they may well be serving. "
            "A replica's client endpoint tells the routes too: holdfast -c tcp://HOST:PORT status");
}

static void of_shard(const struct status_shard *s, const struct list_of *to)
{
    if (s->voters_ready < s->voters / 2 + 1)
        say(to, "shard %" PRIu32 " has no quorum: %" PRIu32 " of %" PRIu32 " voters are ready, it takes %" PRIu32,
            s->shard, s->voters_ready, s->voters, s->voters / 2 + 1);
    else if (!s->leader)
        say(to, "shard %" PRIu32 " has no leader now", s->shard);
    for (size_t i = 0; i < s->count; i++) {
        const struct status_replica *r = &s->replicas[i];
        if (!r->said)
            say(to, "replica %" PRIu32 "/%" PRIu32 " does not answer at %s", s->shard, r->member->replica,
                r->member->client_endpoint);
        else if (strcmp(r->state, "ready") != 0)
            say(to, "replica %" PRIu32 "/%" PRIu32 " is %s", s->shard, r->member->replica, r->state);
        if (r->said && r->said->marked)
            say(to,
                "replica %" PRIu32 "/%" PRIu32
                " differs from the majority; restart it: it takes the state from another",
                s->shard, r->member->replica);
        if (r->said && *r->said->trouble)
            say(to, "replica %" PRIu32 "/%" PRIu32 ": %s", s->shard, r->member->replica, r->said->trouble);
    }
}

void problems_each(const struct hf_cluster_status *s, problems_fn *fn, void *ctx)
{
    const struct list_of to = {fn, ctx};
    of_coordinators(s, &to);
    for (size_t i = 0; i < s->shards_count; i++)
        of_shard(&s->shards[i], &to);
}
