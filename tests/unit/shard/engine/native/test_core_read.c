/* test_core_read.c: linearizable reads: barriers over heartbeat rounds, the read lease, leadership transfer. */
#include "common/base/error.h"
#include "tests/unit/shard/engine/native/cluster.h"
#include "tests/unit/unit.h"

static struct core *core_of(struct cluster *cl, uint32_t id)
{
    return cl->nodes[id].core;
}

static int barrier(struct cluster *cl, uint32_t id, uint64_t number)
{
    return cluster_event(cl, id, (struct core_event){.kind = CORE_EVENT_BARRIER, .id = number});
}

static void a_barrier_holds_after_a_quorum_answered_a_round_sent_after_it(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl);
    struct node *n = &cl->nodes[leader];
    CU_ASSERT_EQUAL(barrier(cl, leader % 3 + 1, 1), HF_E_NOT_LEADER);
    CU_ASSERT_EQUAL(barrier(cl, leader, 8), HF_OK);
    CU_ASSERT_EQUAL(barrier(cl, leader, 9), HF_OK);
    uint64_t sent = cl->sent[CORE_APPEND];
    cluster_turn(cl, leader);
    CU_ASSERT_EQUAL(n->barriers_ready, 0);
    CU_ASSERT_EQUAL(cl->sent[CORE_APPEND] - sent, 2); /* one message a peer for both */
    cluster_settle(cl);
    CU_ASSERT_EQUAL(n->barriers_ready, 2);
    CU_ASSERT_EQUAL(n->barrier_id, 9);
    CU_ASSERT_EQUAL(n->barrier_index, core_hard_state(n->core).commit);
    cluster_free(cl);
}

static void a_leader_cut_off_answers_no_barrier(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl);
    cluster_isolate(cl, leader, true);
    CU_ASSERT_EQUAL(barrier(cl, leader, 1), HF_OK);
    cluster_run(cl, 3000);
    CU_ASSERT_EQUAL(cl->nodes[leader].barriers_ready, 0);
    CU_ASSERT_NOT_EQUAL(core_role(core_of(cl, leader)), CORE_LEADER); /* who asks is told by the change of role */
    cluster_isolate(cl, leader, false);
    cluster_run(cl, 1000);
    CU_ASSERT_EQUAL(cl->nodes[leader].barriers_ready, 0);
    cluster_free(cl);
}

static void a_barrier_waits_for_an_entry_of_the_own_term(void)
{
    struct cluster *cl = cluster_new(3, 0);
    for (uint32_t id = 1; id <= 3; id++)
        cluster_start(cl, id);
    cluster_run(cl, 700);
    uint32_t leader = cluster_elect(cl), other = leader % 3 + 1;
    cluster_stop(cl, leader);
    cl->nodes[other].no_sync = true; /* and nobody can commit for a while */
    cl->nodes[other % 3 + 1].no_sync = true;
    cluster_run(cl, 400);
    cl->nodes[other].no_sync = false;
    cl->nodes[other % 3 + 1].no_sync = false;
    for (unsigned i = 0; i < 300 && cluster_leader(cl) == 0; i++)
        cluster_run(cl, 10);
    uint32_t next = cluster_leader(cl);
    CU_ASSERT_FATAL(next != 0);
    CU_ASSERT_EQUAL(barrier(cl, next, 5), HF_OK);
    cluster_run(cl, 300);
    CU_ASSERT_EQUAL(cl->nodes[next].barriers_ready, 1);
    CU_ASSERT(cl->nodes[next].barrier_index >= core_of(cl, next)->noop);
    cluster_free(cl);

    cl = cluster_new(3, 0); /* by hand: elected, the no-op on nobody else yet, a round answered all the same */
    cluster_start(cl, 1);
    cluster_run(cl, 700);
    cluster_send(cl, 2, (struct core_message){.kind = CORE_PREVOTE_REPLY, .peer = 1, .term = 1}, NULL, 0);
    cluster_turn(cl, 1);
    cluster_send(cl, 2, (struct core_message){.kind = CORE_VOTE_REPLY, .peer = 1, .term = 1}, NULL, 0);
    CU_ASSERT_EQUAL(core_role(core_of(cl, 1)), CORE_LEADER);
    CU_ASSERT_EQUAL(barrier(cl, 1, 6), HF_OK);
    cluster_turn(cl, 1);
    uint64_t round = core_of(cl, 1)->round_last;
    cluster_send(cl, 2, (struct core_message){.kind = CORE_APPEND_REPLY, .peer = 1, .term = 1, .round = round}, NULL,
                 0);
    cluster_turn(cl, 1);
    CU_ASSERT_EQUAL(cl->nodes[1].barriers_ready, 0);
    CU_ASSERT_EQUAL(core_lease_until(core_of(cl, 1)), 0);
    cluster_send(cl, 2,
                 (struct core_message){.kind = CORE_APPEND_REPLY, .peer = 1, .term = 1, .index = 1, .round = round},
                 NULL, 0);
    cluster_turn(cl, 1);
    CU_ASSERT_EQUAL(cl->nodes[1].barriers_ready, 0); /* that round began before the no-op was committed */
    round = core_of(cl, 1)->round_last;
    cluster_turn(cl, 1);
    CU_ASSERT(core_of(cl, 1)->round_last >= round);
    cluster_send(cl, 2,
                 (struct core_message){
                     .kind = CORE_APPEND_REPLY, .peer = 1, .term = 1, .index = 1, .round = core_of(cl, 1)->round_last},
                 NULL, 0);
    cluster_turn(cl, 1);
    CU_ASSERT_EQUAL(cl->nodes[1].barriers_ready, 1);
    cluster_free(cl);
}

static void barriers_have_a_limit_and_rounds_too(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl);
    cluster_isolate(cl, leader, true);
    unsigned taken = 0;
    for (unsigned i = 0; i < LIMIT_PENDING_REQUESTS + 100; i++) {
        taken += barrier(cl, leader, i) == HF_OK;
        if (i % 50 == 0)
            cluster_turn(cl, leader);
    }
    CU_ASSERT_EQUAL(taken, LIMIT_PENDING_REQUESTS);
    CU_ASSERT(core_of(cl, leader)->round_last - core_of(cl, leader)->round_acked <= CORE_ROUNDS_MAX);
    cluster_isolate(cl, leader, false);
    cluster_run(cl, 200);
    CU_ASSERT_EQUAL(cl->nodes[leader].barriers_ready, LIMIT_PENDING_REQUESTS);
    cluster_free(cl);
}

static void a_round_nobody_sent_is_not_believed(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), a = leader % 3 + 1;
    uint64_t term = core_hard_state(core_of(cl, leader)).term;
    CU_ASSERT_EQUAL(barrier(cl, leader, 1), HF_OK);
    cluster_turn(cl, leader);
    cl->flying_count = 0;
    cluster_send(cl, a,
                 (struct core_message){.kind = CORE_APPEND_REPLY, .peer = leader, .term = term, .round = 1000000}, NULL,
                 0);
    cluster_turn(cl, leader);
    CU_ASSERT_EQUAL(cl->nodes[leader].barriers_ready, 0);
    cluster_free(cl);
}

static void the_lease_counts_from_the_sending_of_the_round_a_quorum_answered(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl);
    struct core *c = core_of(cl, leader);
    cluster_run(cl, 300);
    uint64_t until = core_lease_until(c), last_sent = c->rounds[c->round_acked % CORE_ROUNDS_MAX].sent_ns;
    CU_ASSERT_EQUAL(until, last_sent + ELECTION_MS * MS - ELECTION_MS * MS / 8);
    CU_ASSERT(ELECTION_MS / 8 * 10 >= ELECTION_MS); /* at least 10 % of margin */
    uint32_t a = leader % 3 + 1;
    cluster_isolate(cl, a, true); /* one answer is enough, none is not */
    cluster_run(cl, 300);
    CU_ASSERT(core_lease_until(c) > until);
    cluster_isolate(cl, a % 3 + 1, true);
    until = core_lease_until(c);
    cluster_run(cl, 200);
    CU_ASSERT_EQUAL(core_lease_until(c), until);
    cluster_free(cl);
}

/* The schedule that the margin and the waits close: whatever is cut or restarted, no second leader while a lease runs.
 */
static void no_leader_is_elected_while_another_may_read_by_its_lease(void)
{
    for (unsigned bug = 0; bug <= 1; bug++) {
        unsigned overlaps = 0;
        for (uint64_t seed = 1; seed <= 60; seed++) {
            struct cluster *cl = cluster_new(5, 0);
            struct random random = {.state = seed};
            cl->seed = seed;
            cl->bugs = bug ? CORE_BUG_LEASE_UNCHECKED : 0;
            for (uint32_t id = 1; id <= 5; id++)
                cl->nodes[id].drift_permille = 960 + random_below(&random, 80);
            cluster_elect(cl);
            for (unsigned i = 0; i < 100; i++) {
                uint32_t a = (uint32_t)(1 + random_below(&random, 5)), b = (uint32_t)(1 + random_below(&random, 5));
                cl->cut[a][b] = random_below(&random, 3) != 0;
                if (random_below(&random, 4) == 0)
                    cluster_isolate(cl, a, random_below(&random, 2));
                if (random_below(&random, 5) == 0) {
                    cluster_stop(cl, b);
                    cluster_start(cl, b);
                }
                if (random_below(&random, 5) == 0 && cl->nodes[a].core != NULL)
                    (void)(cluster_event(cl, a, (struct core_event){.kind = CORE_EVENT_CAMPAIGN}) + 0);
                if (random_below(&random, 8) == 0 && cl->nodes[a].core != NULL)
                    (void)(cluster_event(cl, a, (struct core_event){.kind = CORE_EVENT_TRANSFER, .to = b}) + 0);
                cluster_run(cl, 10 * (1 + random_below(&random, 30)));
                unsigned reading = 0, leading = 0;
                uint64_t newest = cluster_leader(cl);
                for (uint32_t id = 1; id <= 5; id++) {
                    struct node *n = &cl->nodes[id];
                    leading += core_role(n->core) == CORE_LEADER;
                    reading += core_lease_until(n->core) > n->core->now_ns && id != newest;
                }
                overlaps += reading > 0 && leading > 1;
            }
            cluster_free(cl);
        }
        CU_ASSERT_EQUAL(overlaps > 0, bug == 1);
    }
}

static void leadership_goes_to_a_voter_that_has_everything(void)
{
    struct cluster *cl = cluster_new(3, 1);
    uint32_t leader = cluster_elect(cl), to = leader % 3 + 1;
    uint64_t started = cl->now_ns, term = core_hard_state(core_of(cl, leader)).term;
    CU_ASSERT_EQUAL(cluster_event(cl, leader, (struct core_event){.kind = CORE_EVENT_TRANSFER, .to = 4}), HF_E_INVALID);
    CU_ASSERT_EQUAL(cluster_event(cl, leader, (struct core_event){.kind = CORE_EVENT_TRANSFER, .to = 77}),
                    HF_E_INVALID);
    CU_ASSERT_EQUAL(cluster_event(cl, to, (struct core_event){.kind = CORE_EVENT_TRANSFER}), HF_E_NOT_LEADER);
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK); /* not with the target yet */
    CU_ASSERT_EQUAL(cluster_event(cl, leader, (struct core_event){.kind = CORE_EVENT_TRANSFER, .to = to}), HF_OK);
    CU_ASSERT(core_transferring(core_of(cl, leader)));
    CU_ASSERT_EQUAL(core_lease_until(core_of(cl, leader)), 0);
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_E_BUSY);
    cluster_settle(cl);
    CU_ASSERT_EQUAL(cluster_leader(cl), to); /* at once, though everybody hears the old leader */
    CU_ASSERT_EQUAL(cl->now_ns, started);
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, to)).term, term + 1);
    cluster_run(cl, 300);
    cluster_same_logs(cl);
    CU_ASSERT_EQUAL(cluster_event(cl, to, (struct core_event){.kind = CORE_EVENT_TRANSFER}), HF_OK);
    cluster_settle(cl);
    CU_ASSERT_NOT_EQUAL(cluster_leader(cl), to);
    cluster_free(cl);
}

static void a_transfer_is_given_up_after_an_election_time_out_and_the_lease_stays_away(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), to = leader % 3 + 1;
    struct core *c = core_of(cl, leader);
    cluster_run(cl, 300);
    CU_ASSERT_EQUAL(cluster_event(cl, leader, (struct core_event){.kind = CORE_EVENT_TRANSFER, .to = to}), HF_OK);
    cl->cut[leader][to] = true; /* TIMEOUT_NOW is late */
    cluster_run(cl, 300);
    CU_ASSERT(core_transferring(c));
    cl->cut[leader][to] = false;
    cl->cut[to][leader] = true;
    cl->cut[leader][to] = true;
    cluster_run(cl, 300);
    CU_ASSERT_FALSE(core_transferring(c));
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
    cluster_run(cl, 200);
    CU_ASSERT_EQUAL(cl->nodes[leader].applied, cl->nodes[leader].last);
    CU_ASSERT_EQUAL(core_lease_until(c), 0);
    CU_ASSERT_EQUAL(barrier(cl, leader, 3), HF_OK);
    cluster_settle(cl);
    CU_ASSERT_EQUAL(cl->nodes[leader].barriers_ready, 1);
    cluster_free(cl);
}

static void only_the_leader_of_the_term_can_order_a_campaign(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), a = leader % 3 + 1, b = a % 3 + 1;
    uint64_t term = core_hard_state(core_of(cl, a)).term;
    cluster_run(cl, 200);
    cluster_send(cl, b, (struct core_message){.kind = CORE_TIMEOUT_NOW, .peer = a, .term = term}, NULL, 0);
    CU_ASSERT_EQUAL(core_role(core_of(cl, a)), CORE_FOLLOWER);
    cluster_send(cl, leader, (struct core_message){.kind = CORE_TIMEOUT_NOW, .peer = a, .term = term + 1}, NULL, 0);
    CU_ASSERT_EQUAL(core_role(core_of(cl, a)), CORE_FOLLOWER);
    cluster_send(cl, leader, (struct core_message){.kind = CORE_TIMEOUT_NOW, .peer = a, .term = term}, NULL, 0);
    CU_ASSERT_EQUAL(core_role(core_of(cl, a)), CORE_CANDIDATE);
    cluster_free(cl);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"a barrier holds after a quorum answered a round sent after it",
         a_barrier_holds_after_a_quorum_answered_a_round_sent_after_it},
        {"a leader cut off answers no barrier", a_leader_cut_off_answers_no_barrier},
        {"a barrier waits for an entry of the own term", a_barrier_waits_for_an_entry_of_the_own_term},
        {"barriers have a limit and rounds too", barriers_have_a_limit_and_rounds_too},
        {"a round nobody sent is not believed", a_round_nobody_sent_is_not_believed},
        {"the lease counts from the sending of the round a quorum answered",
         the_lease_counts_from_the_sending_of_the_round_a_quorum_answered},
        {"no leader is elected while another may read by its lease",
         no_leader_is_elected_while_another_may_read_by_its_lease},
        {"leadership goes to a voter that has everything", leadership_goes_to_a_voter_that_has_everything},
        {"a transfer is given up after an election time-out",
         a_transfer_is_given_up_after_an_election_time_out_and_the_lease_stays_away},
        {"only the leader of the term can order a campaign", only_the_leader_of_the_term_can_order_a_campaign},
    };
    return UNIT_MAIN("native core: reads and transfer", cases);
}
