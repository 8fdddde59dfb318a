/* test_core_election.c: elections: sentences of the Raft paper §5.2, §5.4.1, PreVote, CheckQuorum, start waits, hostile
 * terms. */
#include "common/base/error.h"
#include "tests/unit/shard/engine/native/cluster.h"
#include "tests/unit/unit.h"

static struct core *core_of(struct cluster *cl, uint32_t id)
{
    return cl->nodes[id].core;
}

static void tick(struct cluster *cl, uint32_t id, uint64_t ms)
{
    cl->now_ns += ms * MS;
    CU_ASSERT_EQUAL(cluster_event(cl, id, (struct core_event){.kind = CORE_EVENT_TICK, .now_ns = cl->now_ns}), HF_OK);
}

static void all_servers_start_as_followers(void)
{
    struct cluster *cl = cluster_new(3, 0);
    for (uint32_t id = 1; id <= 3; id++) {
        cluster_start(cl, id);
        CU_ASSERT_EQUAL(core_role(core_of(cl, id)), CORE_FOLLOWER);
        CU_ASSERT_EQUAL(core_leader(core_of(cl, id)), 0);
    }
    cluster_run(cl, 480);
    CU_ASSERT_EQUAL(cluster_leader(cl), 0); /* nobody before an election time-out */
    cluster_free(cl);
}

static void a_candidate_wins_with_votes_of_a_majority(void)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct cluster *cl = cluster_new(seed % 2 == 0 ? 3 : 5, 0);
        cl->seed = seed;
        uint32_t leader = cluster_elect(cl);
        CU_ASSERT(cl->now_ns <= 1000 * MS + 3000 * MS);
        cluster_run(cl, 300);
        for (uint32_t id = 1; id <= cl->count; id++)
            CU_ASSERT_EQUAL(core_leader(core_of(cl, id)), leader);
        cluster_same_logs(cl);
        cluster_free(cl);
    }
}

static void a_group_of_one_campaigns_at_once(void)
{
    struct cluster *cl = cluster_new(1, 0);
    cluster_start(cl, 1);
    CU_ASSERT(core_deadline(core_of(cl, 1)) <= cl->now_ns);
    cluster_run(cl, 10);
    CU_ASSERT(core_serving(core_of(cl, 1)));
    cluster_free(cl);
}

static void a_group_of_one_with_learners_campaigns_at_once_but_sends_nothing_before_its_term_is_durable(void)
{
    struct cluster *cl = cluster_new(1, 2);
    for (uint32_t id = 1; id <= 3; id++)
        cluster_start(cl, id);
    tick(cl, 1, 1);
    CU_ASSERT_EQUAL(core_role(core_of(cl, 1)), CORE_LEADER);
    cl->nodes[1].no_sync = true;
    cluster_turn(cl, 1);
    CU_ASSERT_EQUAL(cl->sent[CORE_APPEND], 0);
    CU_ASSERT_FALSE(core_serving(core_of(cl, 1)));
    cl->nodes[1].no_sync = false;
    cluster_settle(cl);
    cluster_run(cl, 100);
    CU_ASSERT(core_serving(core_of(cl, 1)));
    cluster_same_logs(cl);
    cluster_free(cl);
}

static void each_server_votes_for_at_most_one_candidate_in_a_term(void)
{
    for (unsigned bug = 0; bug <= 1; bug++) {
        struct cluster *cl = cluster_new_buggy(3, bug ? CORE_BUG_VOTE_TWICE : 0);
        struct core_message m;
        cluster_start(cl, 1);
        tick(cl, 1, 501); /* the start wait is over, the election not begun */
        cluster_send(cl, 2, (struct core_message){.kind = CORE_VOTE, .peer = 1, .term = 5}, NULL, 0);
        cluster_send(cl, 3, (struct core_message){.kind = CORE_VOTE, .peer = 1, .term = 5}, NULL, 0);
        CU_ASSERT_FALSE(cluster_late(cl, 1, CORE_VOTE_REPLY, &m) && bug == 0); /* not before it is durable */
        if (bug == 0) {
            CU_ASSERT_EQUAL(core_hard_state(core_of(cl, 1)).vote, 2);
            CU_ASSERT_EQUAL(cluster_event(cl, 1, (struct core_event){.kind = CORE_EVENT_PERSISTED}), HF_OK);
            CU_ASSERT(cluster_late(cl, 1, CORE_VOTE_REPLY, &m) && m.peer == 2 && !m.reject);
            CU_ASSERT(cluster_late(cl, 1, CORE_VOTE_REPLY, &m) && m.peer == 3 && m.reject);
        } else {
            CU_ASSERT_EQUAL(core_hard_state(core_of(cl, 1)).vote, 3); /* the canary sings */
        }
        cluster_free(cl);
    }
}

static void a_vote_is_remembered_through_a_restart(void)
{
    struct cluster *cl = cluster_new(3, 0);
    struct core_message m;
    cluster_start(cl, 1);
    tick(cl, 1, 501);
    cluster_send(cl, 2, (struct core_message){.kind = CORE_VOTE, .peer = 1, .term = 5}, NULL, 0);
    cluster_turn(cl, 1);
    cluster_stop(cl, 1);
    cluster_start(cl, 1);
    tick(cl, 1, 501);
    cluster_send(cl, 3, (struct core_message){.kind = CORE_VOTE, .peer = 1, .term = 5}, NULL, 0);
    CU_ASSERT(cluster_late(cl, 1, CORE_VOTE_REPLY, &m) && m.reject);
    cluster_free(cl);
}

static void the_voter_denies_its_vote_if_its_own_log_is_more_up_to_date(void)
{
    static const uint64_t mine[] = {1, 2, 2};
    static const struct {
        uint64_t index, term;
        bool granted;
    } asks[] = {{3, 2, true}, {2, 2, false}, {9, 1, false}, {1, 3, true}, {4, 2, true}, {3, 1, false}};
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
        struct cluster *cl = cluster_new(3, 0);
        struct core_message m;
        cluster_put(cl, 1, mine, 3, 2);
        cluster_start(cl, 1);
        tick(cl, 1, 501);
        cluster_send(cl, 2,
                     (struct core_message){
                         .kind = CORE_PREVOTE, .peer = 1, .term = 4, .index = asks[i].index, .log_term = asks[i].term},
                     NULL, 0);
        CU_ASSERT(cluster_late(cl, 1, CORE_PREVOTE_REPLY, &m));
        CU_ASSERT_EQUAL(!m.reject, asks[i].granted);
        CU_ASSERT_EQUAL(core_hard_state(core_of(cl, 1)).term, 2); /* a pre-vote changes nothing */
        cluster_send(cl, 2,
                     (struct core_message){
                         .kind = CORE_VOTE, .peer = 1, .term = 4, .index = asks[i].index, .log_term = asks[i].term},
                     NULL, 0);
        CU_ASSERT_EQUAL(core_hard_state(core_of(cl, 1)).term, 4);
        CU_ASSERT_EQUAL(core_hard_state(core_of(cl, 1)).vote, asks[i].granted ? 2u : 0u);
        cluster_free(cl);
    }
}

static void a_server_cut_off_does_not_raise_its_term_and_disturbs_nobody_when_it_returns(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), other = leader % 3 + 1;
    uint64_t term = core_hard_state(core_of(cl, leader)).term;
    cluster_isolate(cl, other, true);
    cluster_run(cl, 5000);
    CU_ASSERT_EQUAL(core_role(core_of(cl, other)), CORE_PRECANDIDATE);
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, other)).term, term);
    cluster_isolate(cl, other, false);
    cluster_run(cl, 2000);
    CU_ASSERT_EQUAL(cluster_leader(cl), leader);
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, leader)).term, term);
    CU_ASSERT_EQUAL(core_leader(core_of(cl, other)), leader);
    cluster_free(cl);
}

static void a_leader_that_hears_no_quorum_steps_down(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl);
    cluster_isolate(cl, leader, true);
    cluster_run(cl, 800);
    CU_ASSERT_NOT_EQUAL(core_role(core_of(cl, leader)), CORE_LEADER);
    CU_ASSERT_EQUAL(cl->nodes[leader].traces[CORE_TRACE_QUORUM_LOST], 1);
    uint32_t next = cluster_leader(cl);
    CU_ASSERT(next != 0 && next != leader);
    cluster_isolate(cl, leader, false);
    cluster_run(cl, 1000);
    CU_ASSERT_EQUAL(cluster_leader(cl), next);
    cluster_same_logs(cl);
    cluster_free(cl);
}

static void a_leader_that_was_not_running_first_reads_what_the_others_said(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl);
    tick(cl, leader, 700); /* a stopped process: no tick, no message meanwhile */
    CU_ASSERT_EQUAL(core_role(core_of(cl, leader)), CORE_LEADER);
    CU_ASSERT(core_lease_until(core_of(cl, leader)) < cl->now_ns); /* but its lease is over */
    cluster_free(cl);
}

static void nobody_votes_for_one_election_time_out_after_its_start(void)
{
    struct cluster *cl = cluster_new(3, 0);
    struct core_message m;
    cluster_start(cl, 1);
    tick(cl, 1, 499);
    cluster_send(cl, 2, (struct core_message){.kind = CORE_PREVOTE, .peer = 1, .term = 9}, NULL, 0);
    cluster_send(cl, 2, (struct core_message){.kind = CORE_VOTE, .peer = 1, .term = 9}, NULL, 0);
    CU_ASSERT_FALSE(cluster_late(cl, 1, CORE_VOTE_REPLY, &m));
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, 1)).term, 0);
    CU_ASSERT_EQUAL(cluster_event(cl, 1, (struct core_event){.kind = CORE_EVENT_CAMPAIGN}), HF_OK);
    CU_ASSERT_EQUAL(core_role(core_of(cl, 1)), CORE_FOLLOWER); /* not even for itself */
    tick(cl, 1, 1);
    cluster_send(cl, 2, (struct core_message){.kind = CORE_VOTE, .peer = 1, .term = 9}, NULL, 0);
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, 1)).vote, 2);
    cluster_free(cl);
}

static void servers_disregard_vote_requests_when_they_believe_a_current_leader_exists(void)
{
    struct cluster *cl = cluster_new(3, 0);
    struct core_message m;
    uint32_t leader = cluster_elect(cl), a = leader % 3 + 1, b = a % 3 + 1;
    uint64_t term = core_hard_state(core_of(cl, a)).term;
    cluster_run(cl, 600);
    cluster_send(cl, b,
                 (struct core_message){.kind = CORE_VOTE, .peer = a, .term = term + 7, .index = 99, .log_term = term},
                 NULL, 0);
    cluster_send(
        cl, b,
        (struct core_message){.kind = CORE_VOTE, .peer = leader, .term = term + 7, .index = 99, .log_term = term}, NULL,
        0);
    cluster_send(
        cl, b, (struct core_message){.kind = CORE_PREVOTE, .peer = a, .term = term + 7, .index = 99, .log_term = term},
        NULL, 0);
    CU_ASSERT_FALSE(cluster_late(cl, a, CORE_PREVOTE_REPLY, &m));
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, a)).term, term);
    CU_ASSERT_EQUAL(cluster_leader(cl), leader);
    CU_ASSERT_EQUAL(cluster_event(cl, a, (struct core_event){.kind = CORE_EVENT_CAMPAIGN}), HF_OK);
    CU_ASSERT_EQUAL(core_role(core_of(cl, a)), CORE_FOLLOWER);
    cluster_send(cl, b,
                 (struct core_message){
                     .kind = CORE_VOTE, .peer = a, .term = term + 7, .index = 99, .log_term = term, .transfer = true},
                 NULL, 0);
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, a)).vote, b); /* the leader asked for this one */
    cluster_free(cl);
}

/* A clock that is a whole wait behind must not make a follower forget its leader early: the lease rests on it. */
static void a_leader_heard_between_ticks_counts_from_the_next_tick(void)
{
    struct cluster *cl = cluster_new(3, 0);
    cluster_start(cl, 1);
    tick(cl, 1, 510);
    cluster_send(cl, 2, (struct core_message){.kind = CORE_APPEND, .peer = 1, .term = 3}, NULL, 0);
    tick(cl, 1, 120);
    tick(cl, 1, 499);
    cluster_send(cl, 3, (struct core_message){.kind = CORE_VOTE, .peer = 1, .term = 4}, NULL, 0);
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, 1)).term, 3);
    tick(cl, 1, 1);
    cluster_send(cl, 3, (struct core_message){.kind = CORE_VOTE, .peer = 1, .term = 4}, NULL, 0);
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, 1)).term, 4);
    cluster_free(cl);
}

static void after_a_restart_a_replica_campaigns_once_it_has_applied_what_it_knows_committed(void)
{
    static const uint64_t terms[] = {1, 1, 1, 1};
    struct cluster *cl = cluster_new(3, 0);
    cluster_put(cl, 1, terms, 4, 1);
    cl->nodes[1].saved.commit = 3;
    cl->nodes[1].no_apply = true;
    cluster_start(cl, 1);
    cluster_run(cl, 3000);
    CU_ASSERT_EQUAL(core_role(core_of(cl, 1)), CORE_FOLLOWER);
    CU_ASSERT_EQUAL(core_apply_limit(core_of(cl, 1)), 3);
    cl->nodes[1].no_apply = false;
    cluster_run(cl, 200);
    CU_ASSERT_EQUAL(core_role(core_of(cl, 1)), CORE_PRECANDIDATE);
    cluster_free(cl);

    cl = cluster_new(1, 0); /* a commit index beyond the log (its tail was never synced) does not block for ever */
    cluster_put(cl, 1, terms, 4, 1);
    cl->nodes[1].saved.commit = 9;
    cluster_start(cl, 1);
    cluster_run(cl, 200);
    CU_ASSERT(core_serving(core_of(cl, 1)));
    cluster_free(cl);
}

static void if_election_time_out_elapses_without_a_winner_a_new_election_starts(void)
{
    struct cluster *cl = cluster_new(3, 0);
    cluster_start(cl, 1);
    cluster_run(cl, 700);
    uint64_t asked = cl->sent[CORE_PREVOTE];
    CU_ASSERT_EQUAL(asked, 2);
    cluster_run(cl, 700);
    CU_ASSERT(cl->sent[CORE_PREVOTE] > asked);
    cluster_free(cl);
}

static void a_candidate_that_hears_a_leader_of_its_term_returns_to_follower(void)
{
    struct cluster *cl = cluster_new(3, 0);
    cluster_start(cl, 1);
    cluster_run(cl, 700);
    cluster_send(cl, 2, (struct core_message){.kind = CORE_PREVOTE_REPLY, .peer = 1, .term = 1}, NULL, 0);
    CU_ASSERT_EQUAL(core_role(core_of(cl, 1)), CORE_CANDIDATE);
    cluster_send(cl, 3, (struct core_message){.kind = CORE_APPEND, .peer = 1, .term = 1}, NULL, 0);
    CU_ASSERT_EQUAL(core_role(core_of(cl, 1)), CORE_FOLLOWER);
    CU_ASSERT_EQUAL(core_leader(core_of(cl, 1)), 3);
    cluster_free(cl);
}

static void a_leader_that_discovers_a_higher_term_steps_down(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), other = leader % 3 + 1;
    CU_ASSERT_EQUAL(cluster_event(cl, leader, (struct core_event){.kind = CORE_EVENT_BARRIER, .id = 7}), HF_OK);
    cluster_send(cl, other,
                 (struct core_message){.kind = CORE_APPEND_REPLY, .peer = leader, .term = 40, .reject = true}, NULL, 0);
    CU_ASSERT_EQUAL(core_role(core_of(cl, leader)), CORE_FOLLOWER);
    CU_ASSERT_EQUAL(core_lease_until(core_of(cl, leader)), 0);
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, leader)).term, 40);
    uint64_t id, index;
    CU_ASSERT_FALSE(core_next_barrier(core_of(cl, leader), &id, &index));
    cluster_free(cl);
}

static void a_request_with_a_stale_term_is_rejected_with_the_current_one(void)
{
    struct cluster *cl = cluster_new(3, 0);
    struct core_message m;
    cluster_elect(cl);
    cluster_run(cl, 200);
    uint32_t a = cluster_leader(cl) % 3 + 1;
    cluster_send(cl, a % 3 + 1, (struct core_message){.kind = CORE_APPEND, .peer = a, .term = 1, .index = 0}, NULL, 0);
    if (core_hard_state(core_of(cl, a)).term == 1) { /* make it stale */
        cluster_send(cl, a % 3 + 1,
                     (struct core_message){.kind = CORE_APPEND_REPLY, .peer = a, .term = 3, .reject = true}, NULL, 0);
        cluster_turn(cl, a);
        cluster_send(cl, a % 3 + 1, (struct core_message){.kind = CORE_APPEND, .peer = a, .term = 1, .index = 0}, NULL,
                     0);
    }
    CU_ASSERT(cluster_late(cl, a, CORE_APPEND_REPLY, &m));
    CU_ASSERT(m.reject && m.term > 1);
    cluster_free(cl);
}

static void learners_get_entries_and_never_count_or_campaign(void)
{
    struct cluster *cl = cluster_new(2, 1);
    struct core_message m;
    uint32_t leader = cluster_elect(cl);
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
    cluster_settle(cl);
    cluster_run(cl, 200);
    cluster_same_logs(cl);
    CU_ASSERT_EQUAL(core_role(core_of(cl, 3)), CORE_LEARNER);
    cluster_isolate(cl, 3 - leader, true);
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
    cluster_settle(cl);
    CU_ASSERT(core_hard_state(core_of(cl, leader)).commit <
              cl->nodes[leader].last); /* two of three, but one only votes */
    CU_ASSERT_EQUAL(cl->nodes[3].last, cl->nodes[leader].last);
    cluster_isolate(cl, 3, true);
    cluster_run(cl, 3000);
    CU_ASSERT_EQUAL(core_role(core_of(cl, 3)), CORE_LEARNER);
    /* Asked, it answers: it may have been promoted and not know it. Who knows it as a learner does not count the
     * answer. */
    uint64_t term = core_hard_state(core_of(cl, 3)).term;
    cluster_send(cl, 1,
                 (struct core_message){.kind = CORE_VOTE, .peer = 3, .term = term + 1, .index = 99, .log_term = 99},
                 NULL, 0);
    CU_ASSERT_EQUAL(core_hard_state(core_of(cl, 3)).vote, 1);
    cluster_stop(cl, 3 - leader);
    cluster_isolate(cl, 3, false);
    cluster_run(cl, 3000);
    CU_ASSERT_EQUAL(cluster_leader(cl), 0);
    CU_ASSERT_FALSE(cluster_late(cl, 3, CORE_VOTE_REPLY, &m));
    cluster_free(cl);
}

static void messages_no_member_sends_change_nothing(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl);
    cluster_run(cl, 200);
    uint64_t term = core_hard_state(core_of(cl, leader)).term, last = cl->nodes[leader].last;
    static const uint64_t values[] = {0, 1, 2, 77, UINT64_MAX / 2, UINT64_MAX - 1, UINT64_MAX};
    struct random random = {.state = 42};
    for (unsigned i = 0; i < 200000; i++) {
        uint32_t to = (uint32_t)(1 + random_below(&random, 3));
        struct core_message m = {.kind = (enum core_kind)random_below(&random, 10), .peer = to};
        uint64_t terms[4], *fields[] = {&m.term, &m.index, &m.log_term, &m.commit, &m.round};
        for (size_t f = 0; f < 5; f++)
            *fields[f] = random_below(&random, 2) ? values[random_below(&random, 7)] : random_below(&random, 9);
        m.reject = random_below(&random, 2);
        m.transfer = random_below(&random, 2);
        size_t count = m.kind == CORE_APPEND ? random_below(&random, 5) : 0;
        for (size_t t = 0; t < count; t++)
            terms[t] = random_below(&random, 9);
        if (m.kind == CORE_APPEND) { /* a commit index that is a lie is beyond what a core can see through */
            m.commit = 0;
            if (m.term < CORE_INDEX_MAX)
                m.term = random_below(&random, term + 1);
        }
        if (m.kind != CORE_APPEND && m.term < CORE_INDEX_MAX)
            m.term = random_below(&random, term + 3);
        cluster_send(cl, (uint32_t)random_below(&random, 6), m, terms, count);
        struct core_message out;
        (void)cluster_late(cl, to, CORE_NONE, &out);
    }
    CU_ASSERT(cl->nodes[leader].last >= last);
    cluster_turn(cl, leader);
    CU_ASSERT(cl->nodes[leader].traces[CORE_TRACE_REFUSED] > 0);
    cluster_free(cl);
}

/* Guessed at the start as long as possible; then as if they had been known. */
static void times_that_were_guessed_are_put_right(void)
{
    struct cluster *cl = cluster_new(3, 0);
    for (uint32_t id = 1; id <= 3; id++) {
        cluster_start(cl, id);
        core_set_times(cl->nodes[id].core, HEARTBEAT_MS, 600000);
    }
    struct core *c = cl->nodes[1].core;
    uint64_t start = cl->now_ns;
    CU_ASSERT_EQUAL(c->quiet_until_ns, start + 600000 * MS);
    cluster_run(cl, 200);
    core_set_times(c, HEARTBEAT_MS, ELECTION_MS);
    CU_ASSERT_EQUAL(c->quiet_until_ns, start + ELECTION_MS * MS);
    CU_ASSERT_TRUE(core_election_keeps_quiet(c)); /* not before its time */
    cluster_run(cl, 5000);
    CU_ASSERT_EQUAL(cluster_leader(cl), 0); /* the two others are quiet */
    CU_ASSERT_FALSE(core_election_keeps_quiet(c));
    core_set_times(cl->nodes[2].core, HEARTBEAT_MS, ELECTION_MS);
    CU_ASSERT_NOT_EQUAL(cluster_elect(cl), 0);
    cluster_free(cl);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"all servers start as followers", all_servers_start_as_followers},
        {"a candidate wins with votes of a majority", a_candidate_wins_with_votes_of_a_majority},
        {"a group of one campaigns at once", a_group_of_one_campaigns_at_once},
        {"a group of one sends nothing before its term is durable",
         a_group_of_one_with_learners_campaigns_at_once_but_sends_nothing_before_its_term_is_durable},
        {"each server votes for at most one candidate in a term",
         each_server_votes_for_at_most_one_candidate_in_a_term},
        {"a vote is remembered through a restart", a_vote_is_remembered_through_a_restart},
        {"the voter denies its vote if its own log is more up to date",
         the_voter_denies_its_vote_if_its_own_log_is_more_up_to_date},
        {"a server cut off disturbs nobody when it returns",
         a_server_cut_off_does_not_raise_its_term_and_disturbs_nobody_when_it_returns},
        {"a leader that hears no quorum steps down", a_leader_that_hears_no_quorum_steps_down},
        {"a leader that was not running first reads what the others said",
         a_leader_that_was_not_running_first_reads_what_the_others_said},
        {"nobody votes for one election time-out after its start",
         nobody_votes_for_one_election_time_out_after_its_start},
        {"servers disregard vote requests when they believe a current leader exists",
         servers_disregard_vote_requests_when_they_believe_a_current_leader_exists},
        {"a leader heard between ticks counts from the next tick",
         a_leader_heard_between_ticks_counts_from_the_next_tick},
        {"after a restart a replica campaigns once it has applied what it knows committed",
         after_a_restart_a_replica_campaigns_once_it_has_applied_what_it_knows_committed},
        {"if the time-out elapses without a winner a new election starts",
         if_election_time_out_elapses_without_a_winner_a_new_election_starts},
        {"a candidate that hears a leader of its term returns to follower",
         a_candidate_that_hears_a_leader_of_its_term_returns_to_follower},
        {"a leader that discovers a higher term steps down", a_leader_that_discovers_a_higher_term_steps_down},
        {"a request with a stale term is rejected with the current one",
         a_request_with_a_stale_term_is_rejected_with_the_current_one},
        {"learners get entries and never count or campaign", learners_get_entries_and_never_count_or_campaign},
        {"times that were guessed are put right", times_that_were_guessed_are_put_right},
        {"messages no member sends change nothing", messages_no_member_sends_change_nothing},
    };
    return UNIT_MAIN("native core: elections", cases);
}
