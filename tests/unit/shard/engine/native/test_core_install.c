/* test_core_install.c: a state machine that came from elsewhere: what the log does then, and who may lead meanwhile. */
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

/* A leader of three whose log begins behind what `*out_cut` has. */
static struct cluster *left_behind(uint32_t *out_leader, uint32_t *out_cut)
{
    struct cluster *cl = cluster_new(3, 0);
    *out_leader = cluster_elect(cl);
    *out_cut = *out_leader % 3 + 1;
    write_some(cl, *out_leader, 5);
    cluster_isolate(cl, *out_cut, true);
    write_some(cl, *out_leader, 20);
    cluster_run(cl, 300);
    cluster_trim(cl, *out_leader, commit_of(cl, *out_leader) - 3);
    cluster_isolate(cl, *out_cut, false);
    return cl;
}

static void a_peer_in_need_is_sent_nothing_but_the_heartbeat_until_it_is_installed(void)
{
    uint32_t leader, cut;
    struct cluster *cl = left_behind(&leader, &cut);
    struct node *n = &cl->nodes[cut];
    cluster_run(cl, 300);
    CU_ASSERT(n->needs >= 2);
    CU_ASSERT_EQUAL(n->need_index, core_base(core_of(cl, leader)));
    uint64_t appends = cl->sent[CORE_APPEND], told = cl->sent[CORE_SNAPSHOT];
    cluster_run(cl, 1000);
    CU_ASSERT(cl->sent[CORE_SNAPSHOT] - told <= 11 && cl->sent[CORE_SNAPSHOT] - told >= 9);
    CU_ASSERT(cl->sent[CORE_APPEND] - appends <= 11); /* the other's heartbeats */
    uint64_t at = commit_of(cl, leader) - 1, term;
    CU_ASSERT(core_term_at(core_of(cl, leader), at, &term));
    CU_ASSERT_EQUAL(cluster_install(cl, cut, at, term), HF_OK);
    CU_ASSERT(core_base(n->core) == at && core_last(n->core) == at && commit_of(cl, cut) == at);
    uint64_t needs = n->needs;
    cluster_run(cl, 300);
    CU_ASSERT_EQUAL(n->needs, needs);
    cluster_same_logs(cl);
    cluster_free(cl);
}

static void installed_where_the_leader_has_trimmed_already_it_needs_another(void)
{
    uint32_t leader, cut;
    struct cluster *cl = left_behind(&leader, &cut);
    uint64_t at = commit_of(cl, leader) - 10, term;
    cluster_run(cl, 200);
    CU_ASSERT_EQUAL(cluster_install(cl, cut, at, cl->nodes[leader].log[at].term), HF_OK);
    uint64_t needs = cl->nodes[cut].needs;
    cluster_run(cl, 300);
    CU_ASSERT(cl->nodes[cut].needs > needs);
    CU_ASSERT(core_term_at(core_of(cl, leader), core_base(core_of(cl, leader)), &term));
    CU_ASSERT_EQUAL(cluster_install(cl, cut, core_base(core_of(cl, leader)), term), HF_OK);
    cluster_run(cl, 300);
    cluster_same_logs(cl);
    cluster_free(cl);
}

/* The next leader does not know yet that what was installed is committed. */
static void installed_above_a_new_leaders_commit_index_it_goes_on(void)
{
    uint32_t leader, cut;
    struct cluster *cl = left_behind(&leader, &cut);
    uint32_t other = 6 - leader - cut;
    uint64_t at = cl->nodes[leader].applied, term;
    CU_ASSERT(core_term_at(core_of(cl, leader), at, &term));
    cluster_run(cl, 100);
    CU_ASSERT_EQUAL(cluster_install(cl, cut, at, term), HF_OK);
    cluster_turn(cl, cut);
    cluster_stop(cl, leader);
    cluster_stop(cl, other);
    cl->nodes[other].applied = 3; /* its state machine was not flushed, its bound is old */
    cl->nodes[other].saved.commit = 3;
    cluster_start(cl, other);
    for (unsigned i = 0; i < 500 && cluster_leader(cl) == 0; i++)
        cluster_run(cl, 10);
    CU_ASSERT_NOT_EQUAL(cluster_leader(cl), 0);
    cluster_run(cl, 500);
    cluster_same_logs(cl);
    cluster_free(cl);
}

static void the_suffix_stays_if_the_log_holds_the_entry(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), f = leader % 3 + 1;
    write_some(cl, leader, 10);
    cl->nodes[f].no_apply = true;
    write_some(cl, leader, 10);
    cluster_run(cl, 200);
    struct node *n = &cl->nodes[f];
    uint64_t at = n->applied + 5, last = core_last(n->core), term;
    CU_ASSERT(core_term_at(n->core, at, &term));
    CU_ASSERT_EQUAL(cluster_install(cl, f, at, term), HF_OK);
    CU_ASSERT(core_last(n->core) == last && core_base(n->core) < at);
    n->no_apply = false;
    write_some(cl, leader, 1);
    cluster_run(cl, 200);
    cluster_same_logs(cl);
    cluster_free(cl);
}

static void a_longer_conflicting_log_goes_as_a_whole(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint64_t committed[] = {1, 1, 1, 3, 3, 3}, mine[] = {1, 1, 1, 2, 2, 2, 2, 2, 2, 2};
    cluster_put(cl, 1, committed, 6, 3);
    cluster_put(cl, 2, committed, 6, 3);
    cluster_put(cl, 3, mine, 10, 2);
    cluster_start(cl, 3);
    struct node *n = &cl->nodes[3];
    CU_ASSERT_EQUAL(cluster_install(cl, 3, 5, 3), HF_OK);
    CU_ASSERT(core_base(n->core) == 5 && core_last(n->core) == 5 && core_hard_state(n->core).term == 3);
    CU_ASSERT_EQUAL(core_hard_state(n->core).vote, 0); /* of the older term */
    cluster_turn(cl, 3);
    uint32_t leader = cluster_elect(cl);
    write_some(cl, leader, 3);
    cluster_run(cl, 200);
    cluster_same_logs(cl);
    cluster_free(cl);
}

static void a_state_machine_never_goes_back_and_none_contradicts_what_is_committed(void)
{
    uint32_t leader, cut;
    struct cluster *cl = left_behind(&leader, &cut);
    struct node *n = &cl->nodes[6 - leader - cut];
    uint32_t f = 6 - leader - cut;
    uint64_t applied = n->applied, last = core_last(n->core), term = core_hard_state(n->core).term;
    CU_ASSERT_EQUAL(cluster_install(cl, f, applied - 1, n->log[applied - 1].term), HF_E_INVALID);
    CU_ASSERT_EQUAL(cluster_install(cl, f, applied, n->log[applied].term + 1), HF_E_CORRUPT);
    CU_ASSERT_EQUAL(cluster_install(cl, leader, last, term), HF_E_BUSY);
    CU_ASSERT_EQUAL(core_last(n->core), last);
    CU_ASSERT_EQUAL(cluster_install(cl, f, applied, n->log[applied].term), HF_OK); /* again the same */
    CU_ASSERT_EQUAL(core_last(n->core), last);
    cluster_free(cl);
}

static void nothing_leaves_before_an_install_is_durable(void)
{
    uint32_t leader, cut;
    struct cluster *cl = left_behind(&leader, &cut);
    struct core_message m;
    cluster_run(cl, 100);
    uint64_t at = commit_of(cl, leader);
    CU_ASSERT_EQUAL(cluster_install(cl, cut, at, core_hard_state(core_of(cl, leader)).term), HF_OK);
    cluster_send(cl, leader,
                 (struct core_message){.kind = CORE_SNAPSHOT,
                                       .peer = cut,
                                       .term = core_hard_state(core_of(cl, leader)).term,
                                       .index = at,
                                       .log_term = core_hard_state(core_of(cl, leader)).term},
                 NULL, 0);
    CU_ASSERT_FALSE(core_next_late(cl->nodes[cut].core, &m));
    CU_ASSERT_EQUAL(cluster_event(cl, cut, (struct core_event){.kind = CORE_EVENT_PERSISTED, .index = at}), HF_OK);
    CU_ASSERT_TRUE(cluster_late(cl, cut, CORE_SNAPSHOT_REPLY, &m));
    cluster_free(cl);
}

/* Votes and acknowledges, but leads neither by time-out nor by order, although its log is as good as anybody's. */
static void without_a_state_machine_a_replica_votes_and_never_leads(void)
{
    struct cluster *cl = cluster_new(3, 0);
    uint32_t leader = cluster_elect(cl), f = leader % 3 + 1;
    write_some(cl, leader, 10);
    cluster_run(cl, 200);
    cluster_stop(cl, f);
    cl->nodes[f].held = cl->nodes[f].no_apply = true;
    cluster_start(cl, f);
    cluster_run(cl, 700);
    cluster_send(
        cl, leader,
        (struct core_message){.kind = CORE_TIMEOUT_NOW, .peer = f, .term = core_hard_state(core_of(cl, leader)).term},
        NULL, 0);
    CU_ASSERT_EQUAL(core_role(core_of(cl, f)), CORE_FOLLOWER);
    CU_ASSERT_EQUAL(cluster_event(cl, f, (struct core_event){.kind = CORE_EVENT_CAMPAIGN}), HF_OK);
    uint32_t other = 6 - leader - f;
    uint64_t at = commit_of(cl, leader);
    cluster_stop(cl, other);
    write_some(cl, leader, 3);
    CU_ASSERT_EQUAL(commit_of(cl, leader), at + 3); /* its acknowledgements count */
    cluster_stop(cl, leader);
    cluster_run(cl, 5000);
    CU_ASSERT_EQUAL(core_role(core_of(cl, f)), CORE_FOLLOWER);
    CU_ASSERT_EQUAL(cluster_leader(cl), 0);
    cluster_start(cl, leader);
    for (unsigned i = 0; i < 500 && cluster_leader(cl) == 0; i++)
        cluster_run(cl, 10);
    CU_ASSERT_EQUAL(cluster_leader(cl), leader); /* its vote made it one */
    cl->nodes[f].no_apply = false;
    /* A state machine behind the guess, which the log covers, is as good. */
    CU_ASSERT_EQUAL(cluster_install(cl, f, 3, cl->nodes[f].log[3].term), HF_OK);
    cluster_run(cl, 500);
    cluster_same_logs(cl);
    cluster_stop(cl, leader);
    cluster_start(cl, other);
    cluster_run(cl, 5000);
    CU_ASSERT_EQUAL(cluster_leader(cl), f); /* the other's log lacks three */
    cluster_free(cl);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"a peer in need is sent nothing but the heartbeat until it is installed",
         a_peer_in_need_is_sent_nothing_but_the_heartbeat_until_it_is_installed},
        {"installed where the leader has trimmed already it needs another",
         installed_where_the_leader_has_trimmed_already_it_needs_another},
        {"installed above a new leader's commit index it goes on",
         installed_above_a_new_leaders_commit_index_it_goes_on},
        {"the suffix stays if the log holds the entry", the_suffix_stays_if_the_log_holds_the_entry},
        {"a longer conflicting log goes as a whole", a_longer_conflicting_log_goes_as_a_whole},
        {"a state machine never goes back and none contradicts what is committed",
         a_state_machine_never_goes_back_and_none_contradicts_what_is_committed},
        {"nothing leaves before an install is durable", nothing_leaves_before_an_install_is_durable},
        {"without a state machine a replica votes and never leads",
         without_a_state_machine_a_replica_votes_and_never_leads},
    };
    return UNIT_MAIN("shard/engine/native install", cases);
}
