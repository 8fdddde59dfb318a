/* leaders.c: see leaders.h. */
#include "coordinator/leaders.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/must.h"

void leaders_deinit(struct leaders *l)
{
    size_t at = 0;
    uint64_t key;
    void *value;
    while (hashmap_each(&l->shards, &at, &key, &value))
        free(value);
    hashmap_deinit(&l->shards);
}

static struct leaders_shard *get(const struct leaders *l, uint32_t shard)
{
    return hashmap_get(&l->shards, shard);
}

static bool has(const struct leaders_shard *s, uint32_t replica)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->replicas[i] == replica)
            return true;
    return false;
}

void leaders_members(struct leaders *l, uint32_t shard, const uint32_t *replicas, size_t count)
{
    struct leaders_shard *s = get(l, shard);
    if (s == NULL) {
        s = calloc(1, sizeof *s);
        must(s != NULL); /* out of memory */
        s->shard = shard;
        hashmap_put(&l->shards, shard, s);
    }
    s->count = count < LIMIT_PEERS ? count : LIMIT_PEERS;
    memcpy(s->replicas, replicas, s->count * sizeof replicas[0]);
    if (!has(s, s->leader))
        s->leader = 0;
}

uint32_t leaders_known(const struct leaders *l, uint32_t shard)
{
    const struct leaders_shard *s = get(l, shard);
    return s ? s->leader : 0;
}

uint32_t leaders_pick(struct leaders *l, uint32_t shard, uint32_t avoid)
{
    struct leaders_shard *s = get(l, shard);
    if (s == NULL || s->count == 0)
        return 0;
    if (s->leader != 0 && s->leader != avoid)
        return s->leader;
    for (size_t tries = 0; tries < s->count; tries++) {
        uint32_t replica = s->replicas[s->turn++ % s->count];
        if (replica != avoid && (replica != s->lost || s->count <= 2))
            return replica;
    }
    return s->replicas[s->turn++ % s->count];
}

static bool follow(struct leaders_shard *s, uint32_t leader)
{
    bool changed = s->leader != leader;
    s->leader = leader;
    return changed;
}

bool leaders_status(struct leaders *l, uint32_t shard, uint32_t from, bool leads, uint64_t term, uint32_t leader)
{
    struct leaders_shard *s = get(l, shard);
    if (s == NULL || !has(s, from))
        return false;
    if (leads && term >= s->term) {
        s->term = term;
        if (s->lost == from)
            s->lost = 0;
        return follow(s, from);
    }
    if (!leads && s->leader == from && term >= s->term)
        s->leader = 0; /* it says itself that it does not */
    if (leads || leader == 0 || leader == from || !has(s, leader))
        return false;
    if (leader == s->lost && term <= s->lost_term)
        return false;
    if (term < s->term || (term == s->term && s->leader != 0))
        return false;
    s->term = term;
    return follow(s, leader);
}

bool leaders_hint(struct leaders *l, uint32_t shard, uint32_t from, uint32_t leader)
{
    struct leaders_shard *s = get(l, shard);
    if (s == NULL || !has(s, from))
        return false;
    if (s->leader == from)
        s->leader = 0;
    else if (s->leader != 0)
        return false; /* we know one that has not denied it */
    if (leader == 0 || leader == from || leader == s->lost || !has(s, leader))
        return false;
    return follow(s, leader);
}

void leaders_lost(struct leaders *l, uint32_t shard, uint32_t replica)
{
    struct leaders_shard *s = get(l, shard);
    if (s == NULL || !has(s, replica))
        return;
    if (s->leader == replica)
        s->leader = 0;
    s->lost = replica;
    s->lost_term = s->term;
}
