/* test_core_recover.c: I13: a replica that lost its log is in no quorum until a leader has brought it back. */
#include "common/base/error.h"
#include "tests/unit/shard/engine/native/cluster.h"
#include "tests/unit/unit.h"

static const struct core *core_of(const struct cluster *cl, uint32_t id)
{
    return cl->nodes[id].core;
}

static uint64_t commit_of(const struct cluster *cl, uint32_t id)
{
    return core_hard_state(core_of(cl, id)).commit;
}

static void write_some(struct cluster *cl, uint32_t leader, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
        cluster_settle(cl);
    }
}

static bool holds(const struct cluster *cl, uint32_t id, uint64_t value)
{
    const struct node *n = &cl->nodes[id];
    for (uint64_t i = n->base + 1; i <= n->last; i++)
        if (n->log[i].value == value)
            return true;
    return false;
}

/* Three replicas; an entry that only `*out_leader` and `*out_lost` have is committed, the state machine of *out_lost was
 * not flushed behind it. Both are down, and the log of *out_lost is gone; the third, which never had it, is up. */
static struct cluster *entry_on_one(uint32_t *out_leader, uint32_t *out_lost, uint32_t *out_third, unsigned bugs)
{
    struct cluster *cl = cluster_new_buggy(3, bugs);
    *out_leader = cluster_elect(cl);
    *out_lost = *out_leader % 3 + 1;
    *out_third = 6 - *out_leader - *out_lost;
    write_some(cl, *out_leader, 3);
    cluster_run(cl, 200);
    uint64_t flushed = cl->nodes[*out_lost].applied;
    cluster_isolate(cl, *out_third, true);
    uint64_t commit = commit_of(cl, *out_leader);
    write_some(cl, *out_leader, 1);
    CU_ASSERT_EQUAL(commit_of(cl, *out_leader), commit + 1);
    cluster_stop(cl, *out_leader);
    cl->nodes[*out_lost].applied = flushed;
    cluster_lose(cl, *out_lost);
    cluster_isolate(cl, *out_third, false);
    return cl;
}

static void who_lost_an_entry_and_who_never_had_it_elect_nobody_until_somebody_has_it(void)
{
    uint32_t leader, lost, third;
    struct cluster *cl = entry_on_one(&leader, &lost, &third, 0);
    cluster_run(cl, 20000);
    CU_ASSERT_EQUAL(cluster_leader(cl), 0);
    CU_ASSERT_EQUAL(core_role(core_of(cl, lost)), CORE_FOLLOWER);
    cluster_start(cl, leader);
    for (unsigned i = 0; i < 500 && cluster_leader(cl) == 0; i++)
        cluster_run(cl, 10);
    CU_ASSERT_EQUAL(cluster_leader(cl), leader);
    cluster_run(cl, 1000);
    CU_ASSERT(holds(cl, lost, cl->value) && holds(cl, third, cl->value));
    CU_ASSERT_EQUAL(cl->nodes[lost].recovering, 0); /* and it is whole again */
    CU_ASSERT_EQUAL(core_recovering(core_of(cl, lost)), 0);
    cluster_stop(cl, leader);
    CU_ASSERT_NOT_EQUAL(cluster_elect(cl), 0); /* its vote counts again */
    cluster_free(cl);
}

static void with_the_bug_the_entry_is_lost(void)
{
    uint32_t leader, lost, third;
    struct cluster *cl = entry_on_one(&leader, &lost, &third, CORE_BUG_RECOVERING_VOTES);
    for (unsigned i = 0; i < 2000 && cluster_leader(cl) == 0; i++)
        cluster_run(cl, 10);
    CU_ASSERT_NOT_EQUAL(cluster_leader(cl), 0);
    CU_ASSERT_FALSE(holds(cl, cluster_leader(cl), cl->value));
    cluster_free(cl);
}

static void a_recovering_replica_grants_nothing_and_obeys_no_order_to_campaign(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), lost = leader % 3 + 1;
    struct core_message m;
    write_some(cl, leader, 3);
    cluster_isolate(cl, lost, true); /* nobody brings it back */
    cluster_lose(cl, lost);
    uint64_t term = core_hard_state(core_of(cl, lost)).term;
    cluster_run(cl, 3000);
    CU_ASSERT(core_role(core_of(cl, lost)) == CORE_FOLLOWER && core_hard_state(core_of(cl, lost)).term == term);
    for (enum core_kind kind = CORE_PREVOTE; kind <= CORE_VOTE; kind = kind == CORE_PREVOTE ? CORE_VOTE : CORE_APPEND) {
        cluster_send(
            cl, leader,
            (struct core_message){
                .kind = kind, .peer = lost, .term = term + 1, .index = 1000, .log_term = term, .transfer = true},
            NULL, 0);
        cluster_event(cl, lost, (struct core_event){.kind = CORE_EVENT_PERSISTED, .index = cl->nodes[lost].last});
        CU_ASSERT_TRUE(cluster_late(cl, lost, kind == CORE_PREVOTE ? CORE_PREVOTE_REPLY : CORE_VOTE_REPLY, &m));
        CU_ASSERT_TRUE(m.reject);
    }
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, lost)).vote, 0);
    term = core_hard_state(core_of(cl, lost)).term;
    cluster_send(cl, leader,
                 (struct core_message){.kind = CORE_APPEND, .peer = lost, .term = term, .index = 1, .log_term = 1},
                 NULL, 0);
    cluster_send(cl, leader, (struct core_message){.kind = CORE_TIMEOUT_NOW, .peer = lost, .term = term}, NULL, 0);
    CU_ASSERT_EQUAL(core_role(core_of(cl, lost)), CORE_FOLLOWER);
    CU_ASSERT_EQUAL(cluster_event(cl, lost, (struct core_event){.kind = CORE_EVENT_CAMPAIGN}), HF_OK);
    CU_ASSERT_EQUAL(core_role(core_of(cl, lost)), CORE_FOLLOWER);
    cluster_free(cl);
}

/* Leader and a recovering replica of three: nothing is committed, no barrier holds, the leader steps down. */
static void a_recovering_replica_is_in_no_quorum_of_its_leader(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), lost = leader % 3 + 1, third = 6 - leader - lost;
    write_some(cl, leader, 3);
    cluster_run(cl, 200);
    cluster_isolate(cl, third, true);
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK); /* in the leader's log alone */
    cluster_stop(cl, lost);
    cluster_turn(cl, leader);
    uint64_t commit = commit_of(cl, leader);
    cluster_lose(cl, lost);
    cluster_run(cl, 300);
    CU_ASSERT_EQUAL(core_leader(core_of(cl, lost)), leader);
    CU_ASSERT_EQUAL(core_last(core_of(cl, lost)), core_last(core_of(cl, leader)));
    CU_ASSERT_EQUAL(commit_of(cl, leader), commit);
    CU_ASSERT_NOT_EQUAL(core_recovering(core_of(cl, lost)), 0);
    CU_ASSERT_EQUAL(cluster_event(cl, leader, (struct core_event){.kind = CORE_EVENT_BARRIER, .id = 9}), HF_OK);
    CU_ASSERT_EQUAL(cluster_event(cl, leader, (struct core_event){.kind = CORE_EVENT_TRANSFER, .to = lost}),
                    HF_E_INVALID);
    cluster_run(cl, 200);
    CU_ASSERT_EQUAL(cl->nodes[leader].barriers_ready, 0);
    cluster_run(cl, 600);
    CU_ASSERT_EQUAL(cluster_leader(cl), 0); /* CheckQuorum */
    cluster_isolate(cl, third, false);
    cluster_run(cl, 3000);
    CU_ASSERT_NOT_EQUAL(cluster_leader(cl), 0);
    CU_ASSERT_EQUAL(core_recovering(core_of(cl, lost)), 0);
    cluster_same_logs(cl);
    cluster_free(cl);
}

/* Five; A acknowledges and loses it, then B acknowledges: L counts the lost acknowledgement, two hold the entry, and L
 * dies. Only B can lead. */
static void a_commit_that_rests_on_a_lost_acknowledgement_survives(void)
{
    struct cluster *cl = cluster_new(5, 0);
    uint32_t leader = cluster_elect(cl), a = leader % 5 + 1, b = a % 5 + 1;
    write_some(cl, leader, 3);
    cluster_run(cl, 200);
    for (uint32_t id = 1; id <= 5; id++)
        if (id != leader && id != a)
            cluster_isolate(cl, id, true);
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
    cluster_settle(cl); /* A has it, and the leader knows */
    uint64_t index = core_last(core_of(cl, leader));
    CU_ASSERT(commit_of(cl, leader) < index);
    cluster_isolate(cl, a, true);
    cluster_lose(cl, a);
    cl->cut[leader][b] = cl->cut[b][leader] = false;
    cluster_run(cl, 100);
    CU_ASSERT_EQUAL(commit_of(cl, leader), index); /* with A's word */
    cluster_stop(cl, leader);
    cluster_isolate(cl, b, true); /* it does not help the others either */
    for (uint32_t id = 1; id <= 5; id++)
        for (uint32_t other = 1; other <= 5; other++)
            if (id != b && other != b)
                cl->cut[id][other] = false;
    cluster_run(cl, 20000);
    CU_ASSERT_EQUAL(cluster_leader(cl), 0); /* A, C, D: without A's vote they are two */
    cluster_isolate(cl, b, false);
    for (unsigned i = 0; i < 2000 && cluster_leader(cl) == 0; i++)
        cluster_run(cl, 10);
    CU_ASSERT_EQUAL(cluster_leader(cl), b);
    cluster_run(cl, 1000);
    CU_ASSERT(holds(cl, a, cl->value));
    CU_ASSERT_EQUAL(core_recovering(core_of(cl, a)), 0);
    cluster_free(cl);
}

static void an_acknowledgement_of_the_lost_log_counts_for_nothing_after_the_first_contact(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), lost = leader % 3 + 1, third = 6 - leader - lost;
    write_some(cl, leader, 3);
    cluster_run(cl, 200);
    cluster_isolate(cl, third, true);
    cluster_stop(cl, lost);
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
    cluster_turn(cl, leader);
    uint64_t last = core_last(core_of(cl, leader)), commit = commit_of(cl, leader);
    struct core_message old = {.kind = CORE_APPEND_REPLY,
                               .peer = leader,
                               .term = core_hard_state(core_of(cl, leader)).term,
                               .index = last,
                               .round = 1};
    struct core_message contact = old;
    contact.index = 1;
    contact.recovering = 4712;
    cluster_send(cl, lost, contact, NULL, 0);
    struct core_peer *p = core_peer(cl->nodes[leader].core, lost);
    CU_ASSERT(p->recovering == 4712 && p->target == last && p->match == 1);
    cluster_send(cl, lost, old, NULL, 0);
    CU_ASSERT(p->match == 1 && commit_of(cl, leader) == commit);
    contact.recovering = 4714; /* lost once more: everything anew */
    contact.index = 0;
    contact.reject = true;
    contact.commit = last;
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
    cluster_send(cl, lost, contact, NULL, 0);
    CU_ASSERT(p->recovering == 4714 && p->target == last + 1 && p->match == 0);
    cluster_free(cl);
}

static void a_number_of_an_earlier_loss_that_comes_late_holds_until_the_next_answer(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), lost = leader % 3 + 1;
    write_some(cl, leader, 3);
    cluster_run(cl, 200);
    cluster_lose(cl, lost);
    cluster_run(cl, 500);
    CU_ASSERT_EQUAL(core_recovering(core_of(cl, lost)), 0);
    struct core_message late = {.kind = CORE_APPEND_REPLY,
                                .peer = leader,
                                .term = core_hard_state(core_of(cl, leader)).term,
                                .index = 1,
                                .round = 1,
                                .recovering = 4711};
    struct core_peer *p = core_peer(cl->nodes[leader].core, lost);
    cluster_send(cl, lost, late, NULL, 0);
    CU_ASSERT(p->recovering == 4711 && !core_recover_counts(p));
    late.recovering = 0; /* and later still, of the log that was lost */
    late.index = core_last(core_of(cl, leader));
    late.round = p->contact_round - 1;
    cluster_send(cl, lost, late, NULL, 0);
    CU_ASSERT(!core_recover_counts(p) && p->match <= 1);
    late.round = UINT64_C(1) << 40; /* of no round of this leader */
    cluster_send(cl, lost, late, NULL, 0);
    CU_ASSERT(!core_recover_counts(p) && p->match <= 1);
    cluster_run(cl, 300);
    CU_ASSERT(core_recover_counts(p));
    CU_ASSERT_EQUAL(p->match, core_last(core_of(cl, leader)));
    cluster_free(cl);
}

static void a_new_leader_starts_the_target_anew(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), lost = leader % 3 + 1, third = 6 - leader - lost;
    write_some(cl, leader, 3);
    cluster_run(cl, 200);
    cl->nodes[lost].no_recovered = true; /* the word of the first leader does not become durable */
    cluster_lose(cl, lost);
    cluster_run(cl, 500);
    CU_ASSERT_TRUE(core_recovery_due(core_of(cl, lost)));
    CU_ASSERT_EQUAL(cluster_event(cl, leader, (struct core_event){.kind = CORE_EVENT_TRANSFER, .to = third}), HF_OK);
    cluster_run(cl, 100);
    CU_ASSERT_EQUAL(cluster_leader(cl), third);
    uint64_t needed = cl->nodes[third].traces[CORE_TRACE_PEER_RECOVERING];
    CU_ASSERT_EQUAL(needed, 1);
    cl->nodes[lost].no_recovered = false;
    cluster_run(cl, 500);
    CU_ASSERT_EQUAL(core_recovering(core_of(cl, lost)), 0);
    CU_ASSERT_EQUAL(cl->nodes[third].traces[CORE_TRACE_PEER_RECOVERED], 1);
    /* From then on it is counted: the third hears nobody else. */
    cluster_stop(cl, leader);
    uint64_t commit = commit_of(cl, third);
    write_some(cl, third, 2);
    CU_ASSERT_EQUAL(commit_of(cl, third), commit + 2);
    cluster_free(cl);
}

/* The leader's log begins too late for the one that is left: a state machine first, then the rest. */
static void a_recovering_replica_behind_a_trimmed_log_is_brought_by_an_install(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), lost = leader % 3 + 1;
    write_some(cl, leader, 3);
    cluster_run(cl, 200);
    cluster_stop(cl, lost);
    write_some(cl, leader, 20);
    uint64_t at = commit_of(cl, leader) - 2, term;
    cluster_trim(cl, leader, at);
    cluster_lose(cl, lost);
    cluster_run(cl, 500);
    CU_ASSERT(cl->nodes[lost].needs > 0 && core_recovering(core_of(cl, lost)) != 0);
    CU_ASSERT(core_term_at(core_of(cl, leader), at, &term));
    CU_ASSERT_EQUAL(cluster_install(cl, lost, at, term), HF_OK);
    cluster_run(cl, 500);
    CU_ASSERT_EQUAL(core_recovering(core_of(cl, lost)), 0);
    cluster_same_logs(cl);
    cluster_free(cl);
}

static uint64_t term_of(const struct cluster *cl, uint32_t id)
{
    return core_hard_state(core_of(cl, id)).term;
}

static bool recovering(const struct cluster *cl, uint32_t id)
{
    CU_ASSERT((core_recovering(core_of(cl, id)) != 0) == (cl->nodes[id].recovering != 0));
    return core_recovering(core_of(cl, id)) != 0;
}

static void join(struct cluster *cl, uint32_t a, uint32_t b, bool joined)
{
    cl->cut[a][b] = cl->cut[b][a] = !joined;
}

/* `leader` has handed over to `to`, as far as those hear of it who are joined with `to`; no time passes. */
static void campaign(struct cluster *cl, uint32_t leader, uint32_t to)
{
    cluster_send(
        cl, leader,
        (struct core_message){.kind = CORE_TIMEOUT_NOW, .peer = to, .term = core_hard_state(core_of(cl, to)).term},
        NULL, 0);
    cluster_settle(cl);
}

/* Five, A leads. B asks in the next term and has D's vote; D is wiped and hears A, who knows nothing of it. B gets its third
 * vote after that: nobody else may be elected in that term with D's help. */
static void who_forgot_its_vote_does_not_vote_again_in_a_term_that_its_leader_does_not_know(void)
{
    struct cluster *cl = cluster_new(5, 0);
    uint32_t a = cluster_elect(cl), b = a % 5 + 1, d = b % 5 + 1, w = d % 5 + 1, z = w % 5 + 1;
    write_some(cl, a, 3);
    cluster_run(cl, 200);
    uint64_t term = term_of(cl, a) + 1, last_term = 0;
    cluster_isolate(cl, b, true);
    cluster_isolate(cl, d, true);
    join(cl, b, d, true);
    campaign(cl, a, b);
    CU_ASSERT(core_role(core_of(cl, b)) == CORE_CANDIDATE && term_of(cl, b) == term);
    CU_ASSERT(term_of(cl, d) == term && core_hard_state(core_of(cl, d)).vote == b);
    cl->nodes[b].drift_permille = 0; /* it stands still, its votes on their way */
    cluster_wipe(cl, d);
    cluster_isolate(cl, d, false);
    join(cl, b, d, false);
    cluster_run(cl, 1500);
    CU_ASSERT_EQUAL(cluster_leader(cl), a);
    CU_ASSERT_EQUAL(core_last(core_of(cl, d)), core_last(core_of(cl, a)));
    CU_ASSERT(recovering(cl, d) && term_of(cl, d) < term);
    cluster_isolate(cl, z, true);
    campaign(cl, a, w); /* A and D are asked */
    CU_ASSERT(term_of(cl, w) == term && core_role(core_of(cl, w)) != CORE_LEADER);
    join(cl, b, z, true);
    CU_ASSERT(core_term_at(core_of(cl, b), core_last(core_of(cl, b)), &last_term));
    struct core_message ask = {.kind = CORE_VOTE,
                               .peer = z,
                               .term = term,
                               .index = core_last(core_of(cl, b)),
                               .log_term = last_term,
                               .transfer = true};
    cluster_send(cl, b, ask, NULL, 0);
    cluster_settle(cl);
    CU_ASSERT_EQUAL(core_role(core_of(cl, b)), CORE_LEADER);
    CU_ASSERT_EQUAL(cluster_leader(cl), b); /* which looks for two in a term */
    cl->nodes[b].drift_permille = 1000;
    for (uint32_t id = 1; id <= 5; id++)
        cluster_isolate(cl, id, false);
    cluster_run(cl, 5000);
    CU_ASSERT_FALSE(recovering(cl, d)); /* all have answered one leader */
    cluster_same_logs(cl);
    cluster_free(cl);
}

/* Three: B was elected with D's vote and has committed with D. A, whose time is over, must not do the same with a D that has
 * forgotten it. */
static void who_forgot_its_term_helps_no_leader_whose_time_is_over(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t a = cluster_elect(cl), b = a % 3 + 1, d = 6 - a - b;
    write_some(cl, a, 3);
    cluster_run(cl, 200);
    uint64_t commit = commit_of(cl, a);
    cluster_isolate(cl, a, true);
    campaign(cl, a, b);
    CU_ASSERT_EQUAL(core_role(core_of(cl, b)), CORE_LEADER);
    write_some(cl, b, 1);
    uint64_t value = cl->value;
    CU_ASSERT_EQUAL(commit_of(cl, b), commit + 2); /* with D's acknowledgement */
    cluster_wipe(cl, d);
    cluster_isolate(cl, b, true);
    join(cl, a, d, true);
    cluster_run(cl, 250);
    CU_ASSERT(core_role(core_of(cl, a)) == CORE_LEADER && term_of(cl, d) == term_of(cl, a));
    CU_ASSERT_EQUAL(core_last(core_of(cl, d)), core_last(core_of(cl, a)));
    CU_ASSERT_EQUAL(cluster_propose(cl, a), HF_OK);
    cluster_run(cl, 250);
    CU_ASSERT_EQUAL(commit_of(cl, a), commit);
    CU_ASSERT_TRUE(recovering(cl, d));
    for (uint32_t id = 1; id <= 3; id++)
        cluster_isolate(cl, id, false);
    cluster_run(cl, 5000);
    CU_ASSERT_FALSE(recovering(cl, d));
    CU_ASSERT(holds(cl, a, value) && holds(cl, b, value) && holds(cl, d, value));
    cluster_same_logs(cl);
    cluster_free(cl);
}

/* In the term of the leader that brought it back it may have voted for somebody else: it votes for nobody but that leader. */
static void in_the_term_in_which_it_came_back_it_has_voted_for_its_leader(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t a = cluster_elect(cl), b = a % 3 + 1, d = 6 - a - b;
    struct core_message m;
    write_some(cl, a, 3);
    cluster_run(cl, 200);
    cluster_wipe(cl, d);
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, d)).term, 0);
    cluster_run(cl, 500);
    CU_ASSERT_FALSE(recovering(cl, d));
    cluster_stop(cl, d);
    cluster_start(cl, d); /* it is durable */
    uint64_t term = term_of(cl, d);
    CU_ASSERT(term == term_of(cl, a) && core_hard_state(core_of(cl, d)).vote == a);
    cluster_send(cl, b,
                 (struct core_message){
                     .kind = CORE_VOTE, .peer = d, .term = term, .index = 1000, .log_term = term, .transfer = true},
                 NULL, 0);
    CU_ASSERT_EQUAL(cluster_event(cl, d, (struct core_event){.kind = CORE_EVENT_PERSISTED, .index = cl->nodes[d].last}),
                    HF_OK);
    CU_ASSERT_TRUE(cluster_late(cl, d, CORE_VOTE_REPLY, &m));
    CU_ASSERT_TRUE(m.reject);
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, d)).vote, a);
    cluster_free(cl);
}

/* A learner's vote cannot have counted: a leader that a quorum still follows is enough, one that nobody follows is not. */
static void a_learner_that_forgot_needs_a_quorum_to_follow_its_leader(void)
{
    struct cluster *cl = cluster_new(3, 1);
    uint32_t a = cluster_elect(cl), b = a % 3 + 1;
    write_some(cl, a, 3);
    cluster_run(cl, 200);
    cluster_isolate(cl, a, true);
    join(cl, a, 4, true);
    cluster_wipe(cl, 4);
    cluster_run(cl, 300);
    CU_ASSERT_EQUAL(core_role(core_of(cl, a)), CORE_LEADER);
    CU_ASSERT_EQUAL(core_last(core_of(cl, 4)), core_last(core_of(cl, a)));
    CU_ASSERT_TRUE(recovering(cl, 4));
    cluster_isolate(cl, a, false);
    cluster_stop(cl, b);
    cluster_run(cl, 3000);
    CU_ASSERT_NOT_EQUAL(cluster_leader(cl), 0);
    CU_ASSERT_FALSE(recovering(cl, 4));
    cluster_free(cl);
}

/* Who lost its log alone need not wait for everybody; who forgot its vote waits, also for another who did. */
static void who_forgot_waits_for_every_other_voter(void)
{
    struct cluster *cl = cluster_new(5, 0);
    uint32_t a = cluster_elect(cl), down = a % 5 + 1, d = down % 5 + 1, e = d % 5 + 1;
    write_some(cl, a, 3);
    cluster_run(cl, 200);
    cluster_stop(cl, down);
    cluster_lose(cl, d);
    cluster_run(cl, 500);
    CU_ASSERT_FALSE(recovering(cl, d));
    cluster_wipe(cl, d);
    cluster_run(cl, 3000);
    CU_ASSERT_TRUE(recovering(cl, d));
    uint64_t commit = commit_of(cl, a);
    write_some(cl, a, 2);
    CU_ASSERT_EQUAL(commit_of(cl, a), commit + 2); /* nobody waits for it */
    cluster_start(cl, down);
    cluster_run(cl, 1000);
    CU_ASSERT_FALSE(recovering(cl, d));
    cluster_wipe(cl, d);
    cluster_wipe(cl, e);
    cluster_run(cl, 3000);
    CU_ASSERT(recovering(cl, d) && recovering(cl, e));
    cluster_same_logs(cl);
    cluster_free(cl);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"who lost an entry and who never had it elect nobody until somebody has it",
         who_lost_an_entry_and_who_never_had_it_elect_nobody_until_somebody_has_it},
        {"with the bug the entry is lost", with_the_bug_the_entry_is_lost},
        {"a recovering replica grants nothing and obeys no order to campaign",
         a_recovering_replica_grants_nothing_and_obeys_no_order_to_campaign},
        {"a recovering replica is in no quorum of its leader", a_recovering_replica_is_in_no_quorum_of_its_leader},
        {"a commit that rests on a lost acknowledgement survives",
         a_commit_that_rests_on_a_lost_acknowledgement_survives},
        {"an acknowledgement of the lost log counts for nothing after the first contact",
         an_acknowledgement_of_the_lost_log_counts_for_nothing_after_the_first_contact},
        {"a number that comes late", a_number_of_an_earlier_loss_that_comes_late_holds_until_the_next_answer},
        {"a new leader starts the target anew", a_new_leader_starts_the_target_anew},
        {"a recovering replica behind a trimmed log is brought by an install",
         a_recovering_replica_behind_a_trimmed_log_is_brought_by_an_install},
        {"who forgot its vote does not vote again in a term that its leader does not know",
         who_forgot_its_vote_does_not_vote_again_in_a_term_that_its_leader_does_not_know},
        {"who forgot its term helps no leader whose time is over",
         who_forgot_its_term_helps_no_leader_whose_time_is_over},
        {"in the term in which it came back it has voted for its leader",
         in_the_term_in_which_it_came_back_it_has_voted_for_its_leader},
        {"a learner that forgot needs a quorum to follow its leader",
         a_learner_that_forgot_needs_a_quorum_to_follow_its_leader},
        {"who forgot waits for every other voter", who_forgot_waits_for_every_other_voter},
    };
    return UNIT_MAIN("shard/engine/native recover", cases);
}
