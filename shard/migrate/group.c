/* group.c: see group.h. */
#include "shard/migrate/group.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/sys/diag.h"

void group_position(const char *dir, const struct identity *id, const struct fsm_info *info,
                    const struct fsm_seal *seal, uint64_t index, uint64_t term, const char *target,
                    struct position *out)
{
    bool sealed = seal->epoch != 0;
    bool done = !sealed && strcmp(id->engine, target) == 0;
    bool over = done && id->left.epoch != 0;
    *out = (struct position){.dir = dir,
                             .id = id,
                             .info = info,
                             .seal = *seal,
                             .index = sealed ? seal->index
                                      : over ? id->left.index
                                             : index,
                             .term = sealed ? seal->term
                                     : over ? id->left.term
                                            : term,
                             .done = done};
}

/* ---- one group ---- */

static void same_group(const struct position *a, const struct position *b)
{
    if (a->id->cluster != b->id->cluster || a->id->group != b->id->group)
        refuse("%s and %s are not of one group: shard %" PRIu32 " of cluster %016" PRIx64 ", shard %" PRIu32
               " of cluster %016" PRIx64 "; give the directories of one shard",
               a->dir, b->dir, a->id->group, a->id->cluster, b->id->group, b->id->cluster);
    if (a->id->replica == b->id->replica)
        refuse("%s and %s are both of replica %" PRIu32 "/%" PRIu32 "; one of them is a copy", a->dir, b->dir,
               a->id->group, a->id->replica);
}

static uint32_t next_epoch(const struct position *p)
{
    return p->seal.epoch ? p->seal.epoch + 1 : p->id->log_epoch + !p->done;
}

static void same_place(const struct position *a, const struct position *b)
{
    if (next_epoch(a) != next_epoch(b))
        refuse("%s is of log epoch %" PRIu32 ", %s of %" PRIu32
               "; start the group, and let the ones that are behind catch up",
               a->dir, a->id->log_epoch, b->dir, b->id->log_epoch);
    if (a->info->applied.index == b->info->applied.index && memcmp(a->info->digest, b->info->digest, DIGEST_BYTES) != 0)
        refuse("%s and %s differ: their states at index %" PRIu64
               " have different digests; start the group, and find the one "
               "that is wrong with holdfast verify",
               a->dir, b->dir, a->info->applied.index);
}

void group_same_members(const struct position *p, size_t count, uint64_t configuration)
{
    for (size_t i = 0; i < count; i++)
        if (p[i].info->members->index != configuration)
            refuse("%s has members as of entry %" PRIu64 ", %s as of %" PRIu64
                   "; start the group, let it settle, and stop it again",
                   p[0].dir, configuration, p[i].dir, p[i].info->members->index);
}

static bool among(const Hf__Catalog__Member *m, const struct position *p, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (p[i].id->replica == m->replica && p[i].id->incarnation == m->incarnation)
            return true;
    return false;
}

uint32_t group_missing(const struct position *p, size_t count)
{
    const Hf__Catalog__Members *members = p[0].info->members;
    for (size_t i = 0; i < members->n_members; i++)
        if (!among(members->members[i], p, count))
            return members->members[i]->replica;
    return 0;
}

/* ---- a change that has begun ---- */

/* The one that leads out of the earliest epoch that one of them is in; its member, or NULL: none has begun. */
static const struct position *begun(const struct position *p, size_t count, struct fsm_seal *out)
{
    uint32_t earliest = p[0].id->log_epoch;
    for (size_t i = 0; i < count; i++)
        earliest = p[i].id->log_epoch < earliest ? p[i].id->log_epoch : earliest;
    for (size_t i = 0; i < count; i++)
        if (p[i].seal.epoch) {
            *out = p[i].seal;
            return &p[i];
        }
    for (size_t i = 0; i < count; i++) {
        const struct identity_left *left = &p[i].id->left;
        if (left->epoch != earliest)
            continue;
        *out = (struct fsm_seal){.epoch = left->epoch, .id = left->migration, .index = left->index, .term = left->term};
        memcpy(out->source, left->engine, sizeof out->source);
        memcpy(out->target, p[i].id->engine, sizeof out->target);
        return &p[i];
    }
    return NULL;
}

static bool holds(const struct position *p, const struct fsm_seal *s)
{
    const struct identity_left *left = &p->id->left;
    bool over = left->epoch == s->epoch && left->migration == s->id && left->index == s->index && left->term == s->term;
    bool sealed = p->seal.epoch == s->epoch && p->seal.id == s->id && p->seal.index == s->index &&
                  p->seal.term == s->term && strcmp(p->seal.target, s->target) == 0;
    return over || sealed;
}

static void same_change(const struct position *p, size_t count, const char *target)
{
    struct fsm_seal s;
    const struct position *first = begun(p, count, &s);
    if (!first)
        return;
    bool offline = fsm_offline_id(s.id);
    if (strcmp(s.target, target) != 0 && offline)
        refuse("%s: an earlier run was killed on the way to %s, which is sealed at %" PRIu64
               "; finish it with --to %s, then go to %s",
               first->dir, s.target, s.index, s.target, target);
    if (strcmp(s.target, target) != 0)
        refuse("%s: shard %" PRIu32 " is being changed to %s, which is sealed at %" PRIu64
               "; start its replicas, they finish it, then change to %s",
               first->dir, first->id->group, s.target, s.index, target);
    for (size_t i = 0; i < count; i++) {
        bool follows = offline && p[i].seal.epoch == 0 && p[i].id->log_epoch == s.epoch; /* by where it ends */
        if (!follows && !holds(&p[i], &s))
            refuse("shard %" PRIu32 " is being changed to %s, which is sealed at %" PRIu64 ":%" PRIu64
                   " in %s, and %s does not hold that; start its replicas, they finish it",
                   first->id->group, s.target, s.index, s.term, first->dir, p[i].dir);
    }
}

void group_compare(const struct position *p, size_t count, const char *target)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            same_group(&p[k], &p[i]);
    same_change(p, count, target);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            same_place(&p[k], &p[i]);
}

/* ---- where it ends ---- */

static int by_end(const void *a, const void *b) /* as elections compare: the best first */
{
    const struct cut *x = a, *y = b;
    if (x->term != y->term)
        return x->term < y->term ? 1 : -1;
    return x->index < y->index ? 1 : x->index > y->index ? -1 : 0;
}

static bool votes(const struct position *p, const struct position *among_these)
{
    const Hf__Catalog__Member *self = directory_member(among_these->info->members, p->id->replica);
    return self && self->role == HF__CATALOG__ROLE__VOTER;
}

struct cut group_cut(const struct position *p, size_t count)
{
    struct cut ends[LIMIT_PEERS];
    size_t voters = 0;
    for (size_t i = 0; i < count; i++) {
        if (p[i].seal.epoch || (p[i].done && p[i].id->left.epoch))
            return (struct cut){p[i].index, p[i].term};
        if (votes(&p[i], p))
            ends[voters++] = (struct cut){p[i].index, p[i].term};
    }
    must(voters > 0); /* of a configuration with nobody missing */
    qsort(ends, voters, sizeof ends[0], by_end);
    return ends[voters / 2];
}

void group_stayed(const struct position *p, size_t count, struct cut cut)
{
    const struct position *beyond = NULL;
    size_t voters = 0, went_on = 0;
    for (size_t i = 0; i < count; i++) {
        struct cut end = {p[i].index, p[i].term};
        bool on = votes(&p[i], p) && !p[i].done && by_end(&end, &cut) < 0;
        voters += votes(&p[i], p);
        went_on += on;
        beyond = on ? &p[i] : beyond;
    }
    if (went_on > voters / 2)
        refuse("a majority went on behind %" PRIu64 ":%" PRIu64 ", as %s, to %" PRIu64 ":%" PRIu64
               ", and may have acknowledged that; start it, and replace who went over to another engine before",
               cut.index, cut.term, beyond->dir, beyond->index, beyond->term);
}
