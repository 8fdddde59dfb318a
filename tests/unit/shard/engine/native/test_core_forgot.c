/* test_core_forgot.c: I13 under random schedules: a replica that is a learner and a voter in turn is wiped again and again, and
 * forgets its votes, while leadership changes hands and messages come late, lost or in any order. There is one leader a term, and
 * what was committed once stays. It does not look at reads or leases. A failure names its seed: FORGOT_SEED=n plays it alone. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/base/random.h"
#include "tests/unit/shard/engine/native/cluster.h"
#include "tests/unit/unit.h"

#define VOTERS_MAX 4u
#define STEPS 20000
#define SEEDS 150
#define TERMS_MAX 4096
#define SHARE(percent) (random_below(&w->random, 1000) < 10 * (percent))

struct world {
    struct cluster *cl;
    struct random random;
    uint32_t forgetful;               /* a learner at first; the others vote */
    bool side[NODES_MAX + 1];         /* of a cut network */
    unsigned standing[NODES_MAX + 1]; /* so many steps: it does nothing, and what it said does not arrive */
    uint32_t candidate;               /* only the forgetful one hears it, for now; 0: nobody */
    uint32_t leader_of[TERMS_MAX];
    struct stored committed[ENTRIES_MAX];
    uint64_t commit;               /* highest of any */
    uint32_t voted_for[TERMS_MAX]; /* by the forgetful one, as last seen */
    unsigned wipes, came_back;
    bool bad;
};

static uint32_t any(struct world *w)
{
    return 1 + (uint32_t)random_below(&w->random, w->forgetful);
}

/* A second vote in a term, while the first may still make its candidate win: that one is still waiting, and lacks nothing that
 * was committed. Its own candidacies end when it is wiped; while it recovers it grants none, and notes whom it follows. */
static bool votes_twice(struct world *w)
{
    const struct node *n = &w->cl->nodes[w->forgetful];
    uint32_t *before = &w->voted_for[n->saved.term];
    const struct node *other = &w->cl->nodes[*before]; /* of 0: not started */
    bool again = n->recovering == 0 && n->saved.vote != 0 && n->saved.vote != *before && *before != w->forgetful;
    bool waits = other->core != NULL && core_role(other->core) == CORE_CANDIDATE &&
                 core_hard_state(other->core).term == n->saved.term;
    if (n->saved.vote != 0)
        *before = n->saved.vote;
    return again && waits && other->last >= w->commit && other->log[w->commit].term == w->committed[w->commit].term;
}

static void look(struct world *w, uint32_t id)
{
    const struct node *n = &w->cl->nodes[id];
    if (n->core == NULL)
        return;
    struct core_hard_state hs = core_hard_state(n->core);
    must(hs.term < TERMS_MAX);
    w->bad |= id == w->forgetful && votes_twice(w);
    if (core_role(n->core) == CORE_LEADER) {
        w->bad |= w->leader_of[hs.term] != 0 && w->leader_of[hs.term] != id;
        w->leader_of[hs.term] = id;
    }
    for (uint64_t i = hs.commit; i > n->base; i--) {
        if (i > w->commit)
            w->committed[i] = n->log[i];
        else if (w->committed[i].term != n->log[i].term || w->committed[i].value != n->log[i].value)
            w->bad = true;
        else if (i + 50 < hs.commit)
            break; /* the rest was looked at before */
    }
    w->commit = hs.commit > w->commit ? hs.commit : w->commit;
}

static void change(struct world *w, uint32_t leader)
{
    struct core_config config = *core_config(w->cl->nodes[leader].core);
    uint32_t which = SHARE(70) ? w->forgetful : any(w);
    for (uint32_t i = 0; i < config.count; i++)
        if (config.members[i].id == which)
            config.members[i].voter = !config.members[i].voter;
    (void)!cluster_event(w->cl, leader, (struct core_event){.kind = CORE_EVENT_CHANGE, .config = &config});
}

/* Everybody is on one side or the other; or all are joined. */
static void part(struct world *w, bool joined)
{
    for (uint32_t a = 1; a <= w->forgetful; a++)
        w->side[a] = !joined && SHARE(50);
}

static void cut(struct world *w)
{
    for (uint32_t a = 1; a <= w->forgetful; a++)
        for (uint32_t b = 1; b <= w->forgetful; b++)
            w->cl->cut[a][b] = w->side[a] != w->side[b];
}

static void wipe(struct world *w)
{
    struct cluster *cl = w->cl;
    uint64_t before = cl->nodes[w->forgetful].recovering;
    w->wipes++;
    w->came_back += w->wipes > 1 && before == 0;
    w->standing[w->candidate] = 300 + (unsigned)random_below(&w->random, 1000); /* votes for it are on their way */
    cluster_wipe(cl, w->forgetful);
    part(w, SHARE(80));
    cut(w);
}

/* It has voted for somebody who does not lead yet: that is worth forgetting. */
static bool worth_wiping(const struct world *w)
{
    struct core_hard_state hs = core_hard_state(w->cl->nodes[w->forgetful].core);
    return w->cl->nodes[w->forgetful].recovering == 0 && hs.vote != 0 && hs.vote != w->forgetful &&
           w->leader_of[hs.term] == 0;
}

static void disturb(struct world *w)
{
    struct cluster *cl = w->cl;
    uint32_t id = any(w), other = any(w);
    struct core *c = cl->nodes[id].core;
    bool leads = c != NULL && core_role(c) == CORE_LEADER;
    if (c == NULL) {
        cluster_start(cl, id);
    } else if (SHARE(3) && id != w->forgetful) {
        cluster_stop(cl, id);
    } else if (SHARE(worth_wiping(w) ? 40 : 1)) {
        wipe(w);
    } else if (SHARE(10)) {
        part(w, SHARE(60));
        cut(w);
    } else if (SHARE(5)) {
        w->standing[id] = (unsigned)random_below(&w->random, 2000);
    } else if (SHARE(20) && leads) {
        change(w, id);
    } else if (SHARE(20) && leads) {
        (void)!cluster_event(cl, id, (struct core_event){.kind = CORE_EVENT_TRANSFER, .to = other == id ? 0 : other});
    } else if (leads && cl->nodes[id].last < 1000) {
        (void)!cluster_propose(cl, id);
    }
}

/* What it takes: a leader that hands over and does not hear of what comes of it, a candidate whose votes come late, a
 * forgotten one among them, and another candidate of that term. */
static void plot(struct world *w)
{
    struct cluster *cl = w->cl;
    uint32_t id = any(w);
    const struct core *c = cl->nodes[id].core;
    if (w->candidate == 0 && c != NULL && id != w->forgetful && core_role(c) == CORE_CANDIDATE && SHARE(50))
        w->candidate = id;
    if (worth_wiping(w) && core_hard_state(cl->nodes[w->forgetful].core).vote == w->candidate && SHARE(20)) {
        wipe(w);
        return;
    }
    const struct core *x = cl->nodes[w->candidate].core;
    if (x != NULL && w->leader_of[core_hard_state(x).term] != 0)
        w->standing[w->candidate] = 0; /* somebody else was elected in its term: now its votes come */
    if (w->candidate != 0 && w->standing[w->candidate] == 0 && SHARE(1))
        w->candidate = 0;
    bool whole = cl->nodes[w->forgetful].recovering == 0, leads = c != NULL && core_role(c) == CORE_LEADER;
    bool votes = cl->nodes[w->forgetful].core->self_voter, out = w->standing[w->candidate] > 0;
    if (leads && whole && !votes && SHARE(10))
        change(w, id);
    if (leads && whole && votes && SHARE(out ? 10 : 2))
        (void)!cluster_event(cl, id, (struct core_event){.kind = CORE_EVENT_TRANSFER, .to = any(w)});
}

/* Is it on its way for longer? */
static bool held_up(const struct world *w, const struct flying *f)
{
    bool whispered = f->from == w->candidate ? f->m.peer == w->forgetful : f->from == w->forgetful;
    bool about = w->candidate != 0 && (f->from == w->candidate || f->m.peer == w->candidate);
    return w->standing[f->from] > 0 || w->standing[f->m.peer] > 0 || (about && !whispered);
}

static void step(struct world *w)
{
    struct cluster *cl = w->cl;
    uint32_t id = any(w);
    if (SHARE(worth_wiping(w) ? 20 : 3))
        disturb(w);
    plot(w);
    for (uint32_t i = 1; i <= w->forgetful; i++)
        w->standing[i] -= w->standing[i] > 0;
    if (SHARE(15))
        cl->now_ns += random_below(&w->random, 20) * MS;
    if (cl->nodes[id].core != NULL && w->standing[id] == 0) {
        if (SHARE(30))
            (void)!cluster_event(cl, id, (struct core_event){.kind = CORE_EVENT_TICK, .now_ns = cl->now_ns});
        cluster_turn(cl, id);
    }
    for (unsigned n = 0; n < 3 && cl->flying_count > 0; n++) {
        size_t at = random_below(&w->random, cl->flying_count);
        if (!held_up(w, &cl->flying[at]))
            cluster_deliver(cl, at, SHARE(2));
    }
    for (unsigned n = 0; n < 20 && cl->flying_count > 200; n++) { /* nothing but a vote is late for ever */
        size_t at = random_below(&w->random, cl->flying_count);
        enum core_kind kind = cl->flying[at].m.kind;
        if (kind != CORE_VOTE && kind != CORE_VOTE_REPLY)
            cluster_deliver(cl, at, true);
    }
    for (uint32_t i = 1; i <= w->forgetful; i++)
        look(w, i);
}

static void play(struct world *w, uint64_t seed)
{
    uint32_t voters = seed % 2 == 0 ? 2 : VOTERS_MAX;
    *w = (struct world){.cl = cluster_new(voters, 1), .random = {.state = seed * 7919}, .forgetful = voters + 1};
    w->cl->seed = seed;
    for (uint32_t id = 1; id <= w->forgetful; id++)
        cluster_start(w->cl, id);
    for (unsigned i = 0; i < STEPS && !w->bad; i++)
        step(w);
    if (w->bad)
        fprintf(stderr, "two leaders or votes in a term, or two entries at an index: FORGOT_SEED=%llu\n",
                (unsigned long long)seed);
    CU_ASSERT_FALSE(w->bad);
    cluster_free(w->cl);
}

static void whoever_forgets_its_vote_breaks_nothing(void)
{
    static struct world w;
    const char *one = getenv("FORGOT_SEED");
    unsigned wipes = 0, came_back = 0;
    uint64_t commit = 0;
    for (uint64_t seed = one != NULL ? strtoull(one, NULL, 10) : 1; seed <= SEEDS || one != NULL; seed++) {
        play(&w, seed);
        wipes += w.wipes;
        came_back += w.came_back;
        commit += w.commit;
        if (one != NULL)
            return;
    }
    printf("%u wipes, %u after it had come back, %llu committed\n", wipes, came_back, (unsigned long long)commit);
    CU_ASSERT(wipes > SEEDS && came_back > SEEDS / 2 && commit > 20 * SEEDS); /* it is about something */
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"whoever forgets its vote breaks nothing", whoever_forgets_its_vote_breaks_nothing},
    };
    return UNIT_MAIN("native core: forgotten votes", cases);
}
