/* test_core_replicate.c: replication: sentences of the Raft paper §5.3, §5.4.2, windows, conflict hints, clamped
 * commits. */
#include <stdlib.h>

#include "common/base/error.h"
#include "tests/unit/shard/engine/native/cluster.h"
#include "tests/unit/unit.h"

static struct core *core_of(struct cluster *cl, uint32_t id)
{
    return cl->nodes[id].core;
}

static uint64_t commit_of(struct cluster *cl, uint32_t id)
{
    return core_hard_state(core_of(cl, id)).commit;
}

/* A cluster in which `id` leads with the others' logs as they were put: it times out first, the others vote. */
static void lead(struct cluster *cl, uint32_t id)
{
    for (uint32_t other = 1; other <= cl->count; other++) {
        if (cl->nodes[other].core == NULL)
            cluster_start(cl, other);
    }
    for (unsigned i = 0; i < 400 && cluster_leader(cl) != id; i++) {
        cl->now_ns += 10 * MS;
        for (uint32_t other = 1; other <= cl->count; other++) {
            CU_ASSERT_EQUAL(
                cluster_event(cl, other, (struct core_event){.kind = CORE_EVENT_TICK, .now_ns = cl->now_ns}), HF_OK);
            if (other != id) /* nobody else comes first */
                core_of(cl, other)->election_at_ns = cl->now_ns + 200 * MS;
        }
        cluster_settle(cl);
    }
    CU_ASSERT_EQUAL_FATAL(cluster_leader(cl), id);
}

static void a_leader_appends_and_replicates_and_applies_when_a_majority_has_it(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl);
    for (unsigned i = 0; i < 100; i++) {
        CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
        cluster_settle(cl);
        CU_ASSERT_EQUAL(cl->nodes[leader].applied, cl->nodes[leader].last);
    }
    cluster_run(cl, 200);
    cluster_same_logs(cl);
    CU_ASSERT_EQUAL(cluster_propose(cl, leader % 3 + 1), HF_E_NOT_LEADER);
    cluster_free(cl);
}

static void without_a_majority_nothing_is_committed(void)
{
    struct cluster *cl = cluster_new(5, 0);
    uint32_t leader = cluster_elect(cl);
    uint64_t before = commit_of(cl, leader);
    for (uint32_t k = 0; k < 3; k++)
        cluster_isolate(cl, (leader + k) % 5 + 1, true);
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
    cluster_settle(cl);
    CU_ASSERT_EQUAL(commit_of(cl, leader), before);
    cluster_isolate(cl, leader % 5 + 1, false);
    cluster_run(cl, 200);
    CU_ASSERT_EQUAL(commit_of(cl, leader), before + 1);
    cluster_free(cl);
}

/* Figure 7 of the paper: a leader of term 8 against six ways in which a follower's log may differ. */
static void a_leader_brings_followers_logs_into_consistency_with_its_own(void)
{
    static const uint64_t leader[] = {1, 1, 1, 4, 4, 5, 5, 6, 6, 6};
    static const struct {
        uint64_t terms[12];
        size_t count;
    } logs[] = {
        {{1, 1, 1, 4, 4, 5, 5, 6, 6}, 9},           {{1, 1, 1, 4}, 4},          {{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6}, 11},
        {{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7}, 12}, {{1, 1, 1, 4, 4, 4, 4}, 7}, {{1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3}, 11},
    };
    for (size_t i = 0; i < sizeof logs / sizeof logs[0]; i++) {
        struct cluster *cl = cluster_new(3, 0);
        cluster_put(cl, 1, leader, 10, 7);
        cluster_put(cl, 2, logs[i].terms, logs[i].count, 7);
        cluster_put(cl, 3, logs[1].terms, logs[1].count, 7);
        lead(cl, 1); /* with the vote of 3, which is behind in any case */
        cluster_run(cl, 500);
        cluster_same_logs(cl);
        CU_ASSERT_EQUAL(cl->nodes[2].last, 11);
        cluster_free(cl);
    }
}

static void a_follower_keeps_a_conflicting_suffix_only_when_the_bug_is_planted(void)
{
    static const uint64_t mine[] = {1, 1, 2, 2};
    static const uint64_t theirs[] = {3, 3};
    for (unsigned bug = 0; bug <= 1; bug++) {
        struct cluster *cl = cluster_new_buggy(3, bug ? CORE_BUG_SKIP_TRUNCATE : 0);
        cluster_put(cl, 1, mine, 4, 2);
        cluster_start(cl, 1);
        cluster_send(cl, 2, (struct core_message){.kind = CORE_APPEND, .peer = 1, .term = 3, .index = 2, .log_term = 1},
                     theirs, 2);
        CU_ASSERT_EQUAL(cl->nodes[1].log[3].term, bug ? 2u : 3u);
        cluster_free(cl);
    }
}

static void a_whole_term_is_skipped_per_rejection(void)
{
    uint64_t mine[1000], theirs[1000];
    struct cluster *cl = cluster_new(3, 0);
    for (size_t i = 0; i < 1000; i++) {
        mine[i] = i < 10 ? 1 : 5;
        theirs[i] = i < 10 ? 1 : 3 + (i > 500);
    }
    cluster_put(cl, 1, mine, 1000, 5);
    cluster_put(cl, 2, theirs, 1000, 5);
    cluster_put(cl, 3, mine, 1000, 5);
    lead(cl, 1);
    uint64_t replies = cl->sent[CORE_APPEND_REPLY];
    CU_ASSERT(replies < 100);
    cluster_run(cl, 500);
    cluster_same_logs(cl);
    CU_ASSERT_EQUAL(cl->nodes[2].traces[CORE_TRACE_TRUNCATED], 1);
    cluster_free(cl);
}

static void append_entries_is_rejected_unless_prev_matches_and_is_idempotent(void)
{
    static const uint64_t mine[] = {1, 1, 2};
    static const uint64_t more[] = {2, 3};
    struct cluster *cl = cluster_new(3, 0);
    struct core_message m;
    cluster_put(cl, 1, mine, 3, 2);
    cluster_start(cl, 1);
    struct core_message append = {.kind = CORE_APPEND, .peer = 1, .term = 3, .index = 5, .log_term = 2};
    cluster_send(cl, 2, append, more, 2);
    cluster_turn(cl, 1);
    CU_ASSERT_EQUAL(cl->nodes[1].last, 3);
    append.index = 2;
    append.log_term = 1;
    for (unsigned i = 0; i < 3; i++)
        cluster_send(cl, 2, append, more, 2);
    CU_ASSERT_EQUAL(cl->nodes[1].last, 4);
    append.log_term = 2;
    cluster_send(cl, 2, append, NULL, 0); /* term at prev is another */
    CU_ASSERT_EQUAL(cl->nodes[1].last, 4);
    CU_ASSERT_EQUAL(cluster_event(cl, 1, (struct core_event){.kind = CORE_EVENT_PERSISTED, .index = 4}), HF_OK);
    CU_ASSERT(cluster_late(cl, 1, CORE_APPEND_REPLY, &m) && m.reject && m.commit == 2);
    CU_ASSERT(cluster_late(cl, 1, CORE_APPEND_REPLY, &m) && !m.reject && m.index == 4); /* three answers in one */
    CU_ASSERT_FALSE(cluster_late(cl, 1, CORE_APPEND_REPLY, &m));
    append.log_term = 1;
    cluster_send(cl, 2, append, more, 1); /* an older, shorter copy cuts nothing */
    CU_ASSERT_EQUAL(cl->nodes[1].last, 4);
    cluster_free(cl);
}

/* A stale suffix lies behind the message's entries; the leader's commit index reaches over it. */
static void a_follower_commits_only_what_the_message_vouches_for(void)
{
    static const uint64_t mine[] = {1, 1, 1, 1, 1};
    struct cluster *cl = cluster_new(3, 0);
    cluster_put(cl, 1, mine, 5, 1);
    cluster_start(cl, 1);
    cluster_send(
        cl, 2, (struct core_message){.kind = CORE_APPEND, .peer = 1, .term = 2, .index = 2, .log_term = 1, .commit = 5},
        NULL, 0);
    CU_ASSERT_EQUAL(commit_of(cl, 1), 2);
    cluster_send(
        cl, 2, (struct core_message){.kind = CORE_APPEND, .peer = 1, .term = 2, .index = 2, .log_term = 1, .commit = 5},
        mine, 1);
    CU_ASSERT_EQUAL(commit_of(cl, 1), 3);
    cluster_free(cl);
}

static void the_leader_sends_a_commit_index_within_the_message(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), cut = leader % 3 + 1;
    cluster_isolate(cl, cut, true);
    for (unsigned i = 0; i < 200; i++) {
        CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
        cluster_settle(cl);
    }
    cluster_isolate(cl, cut, false);
    uint64_t clamped = cl->clamped;
    cluster_run(cl, 500);
    CU_ASSERT(cl->clamped > clamped); /* caught up in several messages; cluster.c looks at each */
    cluster_same_logs(cl);
    cluster_free(cl);
}

/* Figure 8: S1 leads again in term 4 and spreads its entry of term 2; a majority has it, and it is still not committed.
 */
static void a_leader_commits_entries_of_older_terms_only_through_one_of_its_own(void)
{
    static const uint64_t s1[] = {1, 2};
    for (unsigned bug = 0; bug <= 1; bug++) {
        struct cluster *cl = cluster_new_buggy(3, bug ? CORE_BUG_COMMIT_OLD_TERM : 0);
        cluster_put(cl, 1, s1, 2, 3);
        cluster_put(cl, 2, s1, 1, 3);
        cluster_put(cl, 3, s1, 1, 3);
        lead(cl, 1);
        CU_ASSERT_EQUAL(cl->nodes[1].applied, 3);
        cluster_free(cl);

        cl = cluster_new_buggy(3, bug ? CORE_BUG_COMMIT_OLD_TERM : 0);
        cluster_put(cl, 1, s1, 2, 3);
        cluster_start(cl, 1);
        cluster_run(cl, 700);
        cluster_send(cl, 2, (struct core_message){.kind = CORE_PREVOTE_REPLY, .peer = 1, .term = 4}, NULL, 0);
        cluster_settle(cl);
        cluster_send(cl, 2, (struct core_message){.kind = CORE_VOTE_REPLY, .peer = 1, .term = 4}, NULL, 0);
        cluster_settle(cl);
        CU_ASSERT_EQUAL_FATAL(core_role(core_of(cl, 1)), CORE_LEADER);
        cluster_send(cl, 2, (struct core_message){.kind = CORE_APPEND_REPLY, .peer = 1, .term = 4, .index = 2}, NULL,
                     0);
        CU_ASSERT_EQUAL(commit_of(cl, 1), bug ? 2u : 0u);
        cluster_send(cl, 2, (struct core_message){.kind = CORE_APPEND_REPLY, .peer = 1, .term = 4, .index = 3}, NULL,
                     0);
        CU_ASSERT_EQUAL(commit_of(cl, 1), 3);
        cluster_free(cl);
    }
}

static void a_leader_counts_itself_only_for_what_is_durable(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), cut = leader % 3 + 1;
    cluster_isolate(cl, cut, true);
    cl->nodes[leader].no_sync = true;
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
    cluster_settle(cl);
    uint64_t last = cl->nodes[leader].last;
    CU_ASSERT_EQUAL(commit_of(cl, leader), last - 1); /* one follower has it, the leader itself not */
    cluster_isolate(cl, cut, false);
    cluster_run(cl, 200);
    CU_ASSERT_EQUAL(commit_of(cl, leader), last); /* both followers have it */
    CU_ASSERT_EQUAL(core_apply_limit(core_of(cl, leader)),
                    last - 1);                   /* but nothing is applied before it is durable here */
    CU_ASSERT_EQUAL(cluster_leader(cl), leader); /* a stalled disk is no lost quorum */
    cluster_free(cl);
}

static void an_acknowledgement_leaves_only_after_the_sync(void)
{
    static const uint64_t terms[] = {1, 1};
    for (unsigned bug = 0; bug <= 1; bug++) {
        struct cluster *cl = cluster_new_buggy(3, bug ? CORE_BUG_ACK_BEFORE_SYNC : 0);
        struct core_message m;
        cluster_start(cl, 1);
        cluster_send(cl, 2, (struct core_message){.kind = CORE_APPEND, .peer = 1, .term = 1}, terms, 2);
        bool early = cluster_late(cl, 1, CORE_APPEND_REPLY, &m);
        CU_ASSERT_EQUAL(early, bug == 1);
        CU_ASSERT_EQUAL(cluster_event(cl, 1, (struct core_event){.kind = CORE_EVENT_PERSISTED, .index = 1}), HF_OK);
        if (bug == 0) {
            CU_ASSERT(cluster_late(cl, 1, CORE_APPEND_REPLY, &m) && m.index == 1);
            CU_ASSERT_FALSE(cluster_late(cl, 1, CORE_APPEND_REPLY, &m));
            CU_ASSERT_EQUAL(cluster_event(cl, 1, (struct core_event){.kind = CORE_EVENT_PERSISTED, .index = 2}), HF_OK);
            CU_ASSERT(cluster_late(cl, 1, CORE_APPEND_REPLY, &m) && m.index == 2); /* the rest, unasked */
        }
        cluster_free(cl);
    }
}

static void what_is_in_flight_to_a_peer_is_bounded(void)
{
    struct cluster *cl = cluster_new(3, 0);
    struct core_message m;
    uint32_t leader = cluster_elect(cl);
    struct core *c = core_of(cl, leader);
    unsigned sent[NODES_MAX + 1] = {0};
    for (unsigned i = 0; i < 400; i++) {
        CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
        while (core_next_early(c, &m)) {
            if (m.entry_count > 0) {
                core_sent(c, &m, 1, 100);
                sent[m.peer]++;
            }
        }
    }
    CU_ASSERT_EQUAL(sent[leader % 3 + 1], CORE_INFLIGHT_MAX);
    for (uint32_t id = 1; id <= 3; id++) /* all of it was lost: it is found out and sent again */
        CU_ASSERT(cl->nodes[id].last < 10 || id == leader);
    cluster_run(cl, 500);
    cluster_same_logs(cl);
    CU_ASSERT(cl->nodes[1].last > 400);

    while (core_next_early(c, &m))
        ;
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
    unsigned large = 0;
    while (core_next_early(c, &m)) {
        if (m.entry_count > 0 && ++large)
            core_sent(c, &m, 1, CORE_INFLIGHT_BYTES);
    }
    CU_ASSERT_EQUAL(large, 2); /* one a peer */
    cluster_free(cl);
}

static void a_lossy_network_delays_but_loses_nothing(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cluster *cl = cluster_new(3, 0);
        struct random random = {.state = seed};
        cl->seed = seed;
        uint32_t leader = cluster_elect(cl);
        for (unsigned i = 0; i < 300; i++) {
            uint32_t a = (uint32_t)(1 + random_below(&random, 3)), b = (uint32_t)(1 + random_below(&random, 3));
            cl->cut[a][b] = random_below(&random, 2);
            if (random_below(&random, 20) == 0) {
                uint32_t id = (uint32_t)(1 + random_below(&random, 3));
                cluster_stop(cl, id);
                cluster_start(cl, id);
            }
            leader = cluster_leader(cl);
            if (leader != 0)
                (void)(cluster_propose(cl, leader) + 0);
            cluster_run(cl, 10 + 10 * random_below(&random, 20));
        }
        memset(cl->cut, 0, sizeof cl->cut);
        cluster_run(cl, 5000);
        leader = cluster_elect(cl);
        CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
        cluster_run(cl, 500);
        cluster_same_logs(cl);
        CU_ASSERT_EQUAL(cl->nodes[leader].applied, cl->nodes[leader].last);
        cluster_free(cl);
    }
}

static void a_peer_that_needs_trimmed_entries_is_told_so_at_heartbeat_pace(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), cut = leader % 3 + 1;
    cluster_isolate(cl, cut, true);
    for (unsigned i = 0; i < 50; i++) {
        CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
        cluster_settle(cl);
    }
    CU_ASSERT_EQUAL(
        cluster_event(cl, leader, (struct core_event){.kind = CORE_EVENT_TRIMMED, .index = cl->nodes[leader].applied}),
        HF_OK);
    cl->nodes[leader].base = core_base(core_of(cl, leader));
    cluster_isolate(cl, cut, false);
    uint64_t before = cl->sent[CORE_SNAPSHOT];
    cluster_run(cl, 1000);
    uint64_t told = cl->sent[CORE_SNAPSHOT] - before;
    CU_ASSERT(told >= 8 && told <= 12);
    CU_ASSERT(cl->nodes[leader].traces[CORE_TRACE_PEER_SNAPSHOT] == 1);
    CU_ASSERT(cl->nodes[cut].traces[CORE_TRACE_SNAPSHOT_NEEDED] > 0);
    CU_ASSERT_EQUAL(cluster_leader(cl), leader); /* it hears its leader and disturbs nobody */
    CU_ASSERT_EQUAL(core_leader(core_of(cl, cut)), leader);
    uint64_t commit = commit_of(cl, leader);
    CU_ASSERT_EQUAL(cluster_propose(cl, leader), HF_OK);
    cluster_settle(cl);
    CU_ASSERT_EQUAL(commit_of(cl, leader), commit + 1);
    cluster_free(cl);
}

static void runs_grow_outside_of_the_step(void)
{
    struct cluster *cl = cluster_new(1, 0);
    cluster_start(cl, 1);
    struct node *n = &cl->nodes[1];
    size_t cap = core_runs_cap(n->core);
    struct core_run *larger = calloc(cap * 2, sizeof *larger);
    struct core_run *old = core_give_runs(n->core, larger, cap * 2);
    CU_ASSERT_PTR_EQUAL(old, n->runs);
    free(old);
    n->runs = larger;
    cluster_run(cl, 50);
    CU_ASSERT_EQUAL(core_runs_cap(n->core), cap * 2);
    CU_ASSERT(core_serving(n->core));
    cluster_free(cl);
}

static void terms_are_found_in_any_run_and_after_a_trim(void)
{
    uint64_t terms[300], term;
    struct cluster *cl = cluster_new(1, 0);
    for (size_t i = 0; i < 300; i++)
        terms[i] = 1 + i / 7;
    cluster_put(cl, 1, terms, 300, 60);
    cl->nodes[1].saved.commit = 300;
    cluster_start(cl, 1);
    for (uint64_t trim = 0; trim <= 250; trim += 50) {
        cluster_turn(cl, 1); /* applies */
        CU_ASSERT_EQUAL(cluster_event(cl, 1, (struct core_event){.kind = CORE_EVENT_TRIMMED, .index = trim}), HF_OK);
        CU_ASSERT_EQUAL(core_base(core_of(cl, 1)), trim);
        for (uint64_t i = 1; i <= 300; i++) {
            bool there = core_term_at(core_of(cl, 1), i, &term);
            CU_ASSERT_EQUAL(there, i >= trim);
            CU_ASSERT(!there || term == terms[i - 1]);
        }
    }
    CU_ASSERT_FALSE(core_term_at(core_of(cl, 1), 301, &term));
    cluster_free(cl);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"a leader applies when a majority has it", a_leader_appends_and_replicates_and_applies_when_a_majority_has_it},
        {"without a majority nothing is committed", without_a_majority_nothing_is_committed},
        {"a leader brings followers' logs into consistency with its own (figure 7)",
         a_leader_brings_followers_logs_into_consistency_with_its_own},
        {"a conflicting suffix stays only with the planted bug",
         a_follower_keeps_a_conflicting_suffix_only_when_the_bug_is_planted},
        {"a whole term is skipped per rejection", a_whole_term_is_skipped_per_rejection},
        {"AppendEntries is rejected unless prev matches and is idempotent",
         append_entries_is_rejected_unless_prev_matches_and_is_idempotent},
        {"a follower commits only what the message vouches for", a_follower_commits_only_what_the_message_vouches_for},
        {"the leader sends a commit index within the message", the_leader_sends_a_commit_index_within_the_message},
        {"a leader commits older terms only through its own (figure 8)",
         a_leader_commits_entries_of_older_terms_only_through_one_of_its_own},
        {"a leader counts itself only for what is durable", a_leader_counts_itself_only_for_what_is_durable},
        {"an acknowledgement leaves only after the sync", an_acknowledgement_leaves_only_after_the_sync},
        {"what is in flight to a peer is bounded", what_is_in_flight_to_a_peer_is_bounded},
        {"a lossy network delays but loses nothing", a_lossy_network_delays_but_loses_nothing},
        {"a peer that needs trimmed entries is told so at heartbeat pace",
         a_peer_that_needs_trimmed_entries_is_told_so_at_heartbeat_pace},
        {"runs grow outside of the step", runs_grow_outside_of_the_step},
        {"terms are found in any run and after a trim", terms_are_found_in_any_run_and_after_a_trim},
    };
    return UNIT_MAIN("native core: replication", cases);
}
