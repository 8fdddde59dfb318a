/* test_scenarios.c: schedules that each rule closes, played step by step on the real engine and log. */
#include <stdio.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "tests/sim/scenario.h"
#include "tests/unit/unit.h"

#define SEEDS 40

/* ---- elections ---- */

static void the_same_seed_gives_the_same_trace(void)
{
    uint64_t hash[3];
    for (uint64_t i = 0; i < 3; i++) {
        struct sim *sim = sim_new(&(struct sim_options){.seed = 40 + i / 2, .steps = 5000});
        sim_run(sim);
        hash[i] = sim->result.trace_hash;
        scenario_end(&sim);
    }
    CU_ASSERT_EQUAL(hash[0], hash[1]);
    CU_ASSERT_NOT_EQUAL(hash[1], hash[2]);
}

static bool die_after_voting(struct sim *sim, Hf__Raft__Raft *m, uint32_t from, uint32_t to)
{
    (void)to;
    if (m->kind == HF__RAFT__KIND__VOTE_REPLY && !m->reject && sim->nodes[from].die_before == PHASES) {
        sim->nodes[from].die_before = PHASE_APPLY; /* the vote leaves in the phase before */
        sim->nodes[from].death = DEATH_POWER;
        sim_schedule(sim, (struct sim_event){.kind = EVENT_START, .node = from}, sim->now + 5 * SIM_MS);
    }
    return true;
}

/* Raft paper, figure 2: votedFor is updated on stable storage before responding to RPCs. */
static void a_vote_survives_a_fast_restart(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = scenario_new(seed, 5);
        uint64_t deaths = sim->result.deaths;
        scenario_candidate(0);
        scenario_filter(die_after_voting);
        network_isolate(&sim->network, 1);
        CU_ASSERT(sim_run_ms(sim, 4000)); /* check_votes counts */
        CU_ASSERT(sim->result.deaths > deaths);
        scenario_filter(NULL);
        network_heal(&sim->network);
        CU_ASSERT(sim_run_ms(sim, 3000));
        CU_ASSERT_NOT_EQUAL(sim_leader(sim), 0);
        scenario_end(&sim);
    }
}

/* Ongaro 2014, 9.6: a replica that was cut off does not disturb the group when it comes back. */
static void a_returning_replica_deposes_nobody(void)
{
    struct sim *sim = scenario_new(2, 3);
    uint64_t term = sim->nodes[1].status.term;
    scenario_candidate(0);
    network_isolate(&sim->network, 3);
    CU_ASSERT(sim_run_ms(sim, 5000));
    network_heal(&sim->network);
    CU_ASSERT(sim_run_ms(sim, 1000));
    CU_ASSERT_EQUAL(sim_leader(sim), 1);
    CU_ASSERT_EQUAL(sim->nodes[1].status.term, term);
    scenario_end(&sim);
}

static void a_leader_without_a_quorum_steps_down(void)
{
    struct sim *sim = scenario_new(3, 5);
    for (uint32_t id = 3; id <= 5; id++)
        scenario_cut(sim, 1, id);
    CU_ASSERT(sim_run_ms(sim, 2 * SIM_ELECTION_MS));
    CU_ASSERT_NOT_EQUAL(sim->nodes[1].status.role, ENGINE_LEADER);
    CU_ASSERT_EQUAL(sim->nodes[1].ops->read_lease(sim->nodes[1].engine), 0);
    scenario_end(&sim);
}

/* After SIGKILL of all, with the power gone, nobody knows the commit index; a leader comes all the same and nothing
 * that was acknowledged is missing. */
static void all_killed_and_still_a_leader_comes(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = scenario_new(seed, 3);
        for (int i = 0; i < 5; i++)
            CU_ASSERT(scenario_write(sim, 1));
        uint64_t told = sim->clients.told_index;
        for (uint32_t id = 1; id <= 3; id++) {
            node_die(&sim->nodes[id], DEATH_POWER);
            scenario_start(sim, id);
        }
        scenario_candidate(0);
        CU_ASSERT(sim_run_ms(sim, SCENARIO_ELECTION_MS));
        uint32_t leader = sim_leader(sim);
        CU_ASSERT_NOT_EQUAL_FATAL(leader, 0);
        CU_ASSERT(sim->nodes[leader].machine.index > told);
        scenario_end(&sim);
    }
}

static void change_role(struct sim *sim, uint32_t replica, bool learner)
{
    struct node *leader = &sim->nodes[1];
    struct configuration *c = &leader->change;
    uint32_t i = 0;
    configuration_from(leader->ops->members(leader->engine), c);
    while (i < c->count && c->member[i].replica != replica)
        i++;
    c->member[i].replica = replica;
    c->member[i].learner = learner;
    c->count += i == c->count;
    leader->want_change = true;
    CU_ASSERT(scenario_write(sim, 1)); /* committed with it */
    CU_ASSERT_EQUAL(leader->machine.config.count, c->count);
}

/* Ongaro 2014, 4.1: requests are served whatever one's own configuration: a learner that was promoted and does not know
 * it may be the vote that is missing. */
static void a_promoted_replica_votes_before_it_knows(void)
{
    struct sim *sim = scenario_new(4, 3);
    node_copy(&sim->nodes[4], sim, 4, &sim->nodes[1]);
    node_start(&sim->nodes[4]);
    change_role(sim, 4, true);
    CU_ASSERT(sim_run_ms(sim, 500));
    CU_ASSERT_EQUAL(sim->nodes[4].machine.index, sim->nodes[1].machine.index);
    network_isolate(&sim->network, 4);
    change_role(sim, 4, false);
    node_die(&sim->nodes[3], DEATH_KILL); /* for good: the other three are just a quorum */
    node_die(&sim->nodes[1], DEATH_KILL);
    scenario_start(sim, 1);
    network_heal(&sim->network);
    CU_ASSERT_EQUAL(sim->nodes[4].status.role, ENGINE_LEARNER);
    CU_ASSERT(scenario_elect(sim, 1));
    CU_ASSERT(scenario_write(sim, 1));
    CU_ASSERT(sim_run_ms(sim, 300));
    CU_ASSERT_EQUAL(sim->nodes[4].status.role, ENGINE_FOLLOWER);
    scenario_end(&sim);
}

/* ---- commitment ---- */

/* Appends carry entries of older terms only: the leader's own never leave. */
static bool older_entries_only(struct sim *sim, Hf__Raft__Raft *m, uint32_t from, uint32_t to)
{
    (void)sim, (void)from, (void)to;
    size_t n = 0;
    while (n < m->n_entries && m->entries[n]->term < m->term)
        n++;
    m->n_entries = n;
    return true;
}

static bool no_entries(struct sim *sim, Hf__Raft__Raft *m, uint32_t from, uint32_t to)
{
    (void)sim, (void)from, (void)to;
    return m->n_entries == 0;
}

static bool has_term(const struct sim *sim, uint32_t id, uint64_t index, uint64_t term)
{
    const struct shadow *log = &sim->nodes[id].shadow;
    return index <= log->synced_last && column_get(&log->synced_term, index) == term;
}

static bool leader_5(const struct sim *sim)
{
    return sim->nodes[5].status.role == ENGINE_LEADER;
}

static bool leader_1(const struct sim *sim)
{
    return sim->nodes[1].status.role == ENGINE_LEADER;
}

/* (a) 1 writes an entry that reaches 2 only. (b) 1 dies; 5 leads and writes one that reaches nobody. (c) 5 dies; 1
 * leads again and brings the old entry to 3: it is on a majority. (d) 1 dies and 5, with the later term, overwrites it.
 */
static struct sim *play_figure_8(uint64_t *out_index, uint64_t *out_commit)
{
    struct sim *sim = scenario_new(8, 5);
    CU_ASSERT(scenario_write(sim, 1));
    CU_ASSERT(sim_run_ms(sim, 300));
    for (uint32_t id = 3; id <= 5; id++)
        scenario_cut(sim, 1, id);
    clients_write(sim, 1, 16);
    CU_ASSERT(sim_run_ms(sim, 20));
    uint64_t index = sim->nodes[1].shadow.last, term = sim->nodes[1].status.term;
    CU_ASSERT(has_term(sim, 2, index, term) && !has_term(sim, 3, index, term));
    node_die(&sim->nodes[1], DEATH_KILL); /* (b) */
    network_isolate(&sim->network, 2);
    scenario_filter(no_entries);
    scenario_candidate(5);
    CU_ASSERT_FATAL(sim_run_until(sim, SCENARIO_ELECTION_MS, leader_5));
    CU_ASSERT(sim_run_ms(sim, 20));
    CU_ASSERT(column_get(&sim->nodes[5].shadow.synced_term, index) > term);
    node_die(&sim->nodes[5], DEATH_KILL); /* (c) */
    network_heal(&sim->network);
    scenario_filter(older_entries_only);
    scenario_start(sim, 1);
    scenario_candidate(1);
    CU_ASSERT_FATAL(sim_run_until(sim, SCENARIO_ELECTION_MS, leader_1));
    (void)sim_run_ms(sim, 200);
    CU_ASSERT(has_term(sim, 1, index, term) && has_term(sim, 2, index, term) && has_term(sim, 3, index, term));
    *out_index = index;
    *out_commit = sim->nodes[1].status.commit;
    if (sim->result.failed)
        return sim;
    node_die(&sim->nodes[1], DEATH_KILL); /* (d) */
    scenario_filter(NULL);
    scenario_start(sim, 5);
    (void)scenario_elect(sim, 5);
    (void)sim_run_ms(sim, 200);
    return sim;
}

/* Raft paper, figure 8: a leader cannot determine commitment using log entries from older terms. */
static void figure_8(void)
{
    uint64_t index, commit;
    struct sim *sim = play_figure_8(&index, &commit);
    CU_ASSERT(commit < index);
    CU_ASSERT_EQUAL(sim_leader(sim), 5);
    CU_ASSERT_EQUAL(column_get(&sim->nodes[2].shadow.synced_term, index),
                    column_get(&sim->nodes[5].shadow.term, index));
    scenario_end(&sim);
}

#ifdef HF_FAILPOINTS
static void figure_8_would_be_found(void)
{
    uint64_t index, commit;
    failpoint_plant("native.commit_old_term");
    struct sim *sim = play_figure_8(&index, &commit);
    failpoint_plant(NULL);
    CU_ASSERT(sim->result.failed);
    CU_ASSERT_STRING_EQUAL(sim->result.checker, "quorum");
    sim_free(&sim);
}
#endif

static bool heartbeats_only_to_1(struct sim *sim, Hf__Raft__Raft *m, uint32_t from, uint32_t to)
{
    (void)sim, (void)from;
    return to != 1 || m->n_entries == 0;
}

/* Raft paper, figure 2: commitIndex = min(leaderCommit, index of last new entry): a stale tail is never covered. */
static void a_heartbeat_does_not_commit_a_stale_tail(void)
{
    struct sim *sim = scenario_new(9, 3);
    CU_ASSERT(scenario_write(sim, 1));
    CU_ASSERT(sim_run_ms(sim, 300));
    uint64_t common = sim->nodes[1].shadow.last;
    network_isolate(&sim->network, 1);
    for (int i = 0; i < 5; i++)
        clients_write(sim, 1, 16);
    CU_ASSERT(scenario_elect(sim, 2));
    for (int i = 0; i < 8; i++)
        CU_ASSERT(scenario_write(sim, 2));
    CU_ASSERT(sim->nodes[1].shadow.last > common);
    scenario_filter(heartbeats_only_to_1);
    network_heal(&sim->network);
    CU_ASSERT(sim_run_ms(sim, 1500));
    CU_ASSERT_EQUAL(sim->nodes[1].status.role, ENGINE_FOLLOWER);
    CU_ASSERT_EQUAL(sim->nodes[1].machine.index, common);
    scenario_filter(NULL);
    CU_ASSERT(sim_run_ms(sim, 1500));
    CU_ASSERT_EQUAL(sim->nodes[1].machine.index, sim->nodes[2].machine.index);
    scenario_end(&sim);
}

/* Raft paper, 5.3: a leader brings followers' logs in line with its own: conflicting entries are overwritten. */
static void conflicting_entries_are_overwritten(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = scenario_new(seed, 3);
        network_isolate(&sim->network, 1);
        for (uint64_t i = 0; i <= seed % 20; i++)
            clients_write(sim, 1, 16);
        CU_ASSERT(scenario_elect(sim, 2));
        for (uint64_t i = 0; i < seed % 7; i++)
            CU_ASSERT(scenario_write(sim, 2));
        network_heal(&sim->network);
        CU_ASSERT(sim_run_ms(sim, 1000));
        const struct shadow *a = &sim->nodes[1].shadow, *b = &sim->nodes[2].shadow;
        CU_ASSERT_EQUAL(a->synced_last, b->synced_last);
        for (uint64_t i = 2; i <= b->synced_last; i++)
            CU_ASSERT_EQUAL(column_get(&a->synced_term, i), column_get(&b->synced_term, i));
        scenario_end(&sim);
    }
}

/* ---- reads ---- */

/* Five replicas: the leader has its lease from 2 and 3; 4 and 5, cut off from it, campaign; 2 is killed and back at
 * once, and remembers no leader. It must not vote while the lease may stand. */
static void a_fast_restart_does_not_break_a_lease(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = scenario_new(seed, 5);
        scenario_candidate(0);
        scenario_cut(sim, 1, 4);
        scenario_cut(sim, 1, 5);
        uint64_t reads = sim->result.lease_reads;
        for (uint64_t ms = 0; ms < 4000 && !sim->result.failed; ms += 5) {
            if (ms % 600 == seed * 5 % 600) {
                node_die(&sim->nodes[2], seed % 2 == 0 ? DEATH_KILL : DEATH_POWER);
                sim_schedule(sim, (struct sim_event){.kind = EVENT_START, .node = 2}, sim->now + seed % 50 * SIM_MS);
            }
            uint32_t leader = sim_leader(sim);
            if (leader != 0 && leader != 1)
                clients_write(sim, leader, 16); /* whoever else leads moves on at once */
            if (sim->nodes[1].status.role == ENGINE_LEADER)
                clients_read(sim, 1);
            (void)sim_run_ms(sim, 5);
        }
        CU_ASSERT(sim->result.lease_reads > reads);
        scenario_end(&sim);
    }
}

static bool no_answers_to_1(struct sim *sim, Hf__Raft__Raft *m, uint32_t from, uint32_t to)
{
    (void)sim, (void)from;
    return to != 1 || m->kind != HF__RAFT__KIND__APPEND_REPLY;
}

/* A leader that is heard but hears nothing has no lease once the last confirmed round is too old. */
static void a_lease_counts_from_the_round_a_quorum_acknowledged(void)
{
    struct sim *sim = scenario_new(11, 3);
    struct node *leader = &sim->nodes[1];
    CU_ASSERT(sim_run_ms(sim, 500));
    CU_ASSERT(leader->ops->read_lease(leader->engine) > node_now(leader));
    scenario_filter(no_answers_to_1);
    uint64_t begin = node_now(leader);
    CU_ASSERT(sim_run_ms(sim, SIM_ELECTION_MS));
    uint64_t until = leader->ops->read_lease(leader->engine);
    CU_ASSERT(until <= node_now(leader));
    CU_ASSERT(until < begin + SIM_ELECTION_MS * SIM_MS); /* shorter than the time-out of those who might vote */
    scenario_end(&sim);
}

static bool lease_at_timeout_now;
static unsigned timeouts_now;

static bool watch_timeout_now(struct sim *sim, Hf__Raft__Raft *m, uint32_t from, uint32_t to)
{
    (void)to;
    const struct node *n = &sim->nodes[from];
    if (m->kind == HF__RAFT__KIND__TIMEOUT_NOW) {
        timeouts_now++;
        lease_at_timeout_now |= n->ops->read_lease(n->engine) != 0;
    }
    return true;
}

/* Ongaro 2014, 6.4.1: the lease is given up before leadership is handed over. */
static void a_transfer_drops_the_lease(void)
{
    struct sim *sim = scenario_new(12, 3);
    timeouts_now = 0;
    lease_at_timeout_now = false;
    CU_ASSERT(scenario_write(sim, 1));
    scenario_filter(watch_timeout_now);
    scenario_candidate(0);
    sim->nodes[1].want_transfer = 2;
    CU_ASSERT(sim_run_ms(sim, 300)); /* no election time-out is waited for */
    CU_ASSERT_EQUAL(sim_leader(sim), 2);
    CU_ASSERT(timeouts_now > 0);
    CU_ASSERT_FALSE(lease_at_timeout_now);
    scenario_end(&sim);
}

static bool late_timeout_now(struct sim *sim, Hf__Raft__Raft *m, uint32_t from, uint32_t to)
{
    if (m->kind != HF__RAFT__KIND__TIMEOUT_NOW)
        return true;
    struct message *message = malloc(sizeof *message + hf__raft__raft__get_packed_size(m));
    must(message != NULL);
    *message = (struct message){.from = from, .to = to, .size = hf__raft__raft__pack(m, message->bytes)};
    uint64_t at = sim->now + 2 * SIM_ELECTION_MS * SIM_MS; /* when the leader has given the transfer up */
    sim_schedule(sim, (struct sim_event){.kind = EVENT_DELIVER, .node = to, .message = message}, at);
    timeouts_now++;
    return false;
}

/* A TIMEOUT_NOW that arrives when the transfer was given up makes its receiver campaign all the same, past those who
 * hear the leader; so a leader that sent one has no lease in that term any more. */
static void a_late_timeout_now_meets_no_lease(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = scenario_new(seed, 3);
        timeouts_now = 0;
        CU_ASSERT(scenario_write(sim, 1));
        scenario_filter(late_timeout_now);
        sim->nodes[1].want_transfer = 2;
        CU_ASSERT(sim_run_ms(sim, 2 * SIM_ELECTION_MS - 50));
        CU_ASSERT(timeouts_now > 0);
        CU_ASSERT_EQUAL(sim_leader(sim), 1);
        scenario_candidate(2);
        sim->network.cut[2][1] = true; /* the old leader hears of the new one from 3, at its next heartbeat */
        for (int i = 0; i < 1000 && !sim->result.failed; i++) {
            uint32_t leader = sim_leader(sim);
            if (leader == 2)
                clients_write(sim, 2, 16);
            if (sim->nodes[1].status.role == ENGINE_LEADER)
                clients_read(sim, 1);
            (void)sim_run_ms(sim, 1);
        }
        CU_ASSERT_EQUAL(sim_leader(sim), 2);
        scenario_end(&sim);
    }
}

/* ---- the disk ---- */

/* A power loss inside the sync of a frame leaves a torn tail: it is cut, and what was acknowledged is in front of it.
 */
static void a_torn_tail_is_cut(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = scenario_new(seed, 3);
        CU_ASSERT(scenario_write(sim, 1));
        struct node *n = &sim->nodes[2];
        n->death = DEATH_POWER;
        simdisk_halt_after(n->disk, SIMDISK_SYNC, 0); /* written, not synced */
        for (int i = 0; i < 3; i++)
            CU_ASSERT(scenario_write(sim, 1));
        CU_ASSERT_EQUAL(n->state, NODE_DOWN);
        scenario_start(sim, 2);
        CU_ASSERT(sim_run_ms(sim, 1000)); /* check_recovery: what was synced, or that and the whole frame */
        CU_ASSERT_EQUAL(n->state, NODE_UP);
        CU_ASSERT_EQUAL(n->machine.index, sim->nodes[1].machine.index);
        scenario_end(&sim);
    }
}

struct found {
    char path[64];
};

static void first_segment(void *ctx, const char *name)
{
    struct found *f = ctx;
    char path[64];
    if (strncmp(name, "seg-", 4) != 0)
        return;
    snprintf(path, sizeof path, "/replica/native-1/%.40s", name);
    if (f->path[0] == '\0' || strcmp(path, f->path) < 0)
        snprintf(f->path, sizeof f->path, "%s", path);
}

/* A flipped bit with valid frames behind it is damage, not a tail: nothing is cut, the replica says so and stays down.
 */
static void a_damaged_middle_is_refused(void)
{
    struct sim *sim = scenario_new(13, 3);
    for (int i = 0; i < 10; i++)
        CU_ASSERT(scenario_write(sim, 1));
    struct node *n = &sim->nodes[2];
    struct found f = {0};
    struct disk *d = simdisk_disk(n->disk);
    node_die(n, DEATH_KILL);
    CU_ASSERT_EQUAL(d->ops->list(d, "/replica/native-1", first_segment, &f), 0);
    CU_ASSERT_EQUAL_FATAL(simdisk_flip(n->disk, f.path, 4096 + 60, 3), 0); /* in the first frame */
    node_start(n);
    CU_ASSERT_EQUAL(n->state, NODE_DOWN);
    CU_ASSERT(sim->result.failed);
    CU_ASSERT_STRING_EQUAL(sim->result.checker, "recovery");
    CU_ASSERT_PTR_NOT_NULL(strstr(sim->result.text, "does not open: -19"));
    CU_ASSERT_PTR_NOT_NULL(strstr(sim->result.text, "seg-"));
    sim_free(&sim);
}

/* A failed sync ends the process; the tail it left in the page cache counts as stored only once it was written anew, so
 * a power loss after the restart takes nothing that was acknowledged. */
static void the_page_cache_lies(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = scenario_new(seed, 3);
        struct node *n = &sim->nodes[2];
        CU_ASSERT(scenario_write(sim, 1));
        node_die(&sim->nodes[3], DEATH_KILL); /* so that 2 is needed */
        simdisk_fail(n->disk, SIMDISK_SYNC, 1, HF_E_IO, 1);
        uint64_t told = sim->result.writes_done;
        clients_write(sim, 1, 16);
        CU_ASSERT(sim_run_ms(sim, 50));
        CU_ASSERT_EQUAL(n->state, NODE_DOWN);
        CU_ASSERT_EQUAL(sim->result.writes_done, told);
        scenario_start(sim, 2);
        CU_ASSERT(sim_run_ms(sim, 300));
        CU_ASSERT(sim->result.writes_done > told); /* 2 holds it and said so */
        node_die(n, DEATH_POWER);
        scenario_start(sim, 2);
        CU_ASSERT(sim_run_ms(sim, 1)); /* check_recovery */
        node_die(&sim->nodes[1], DEATH_KILL);
        scenario_start(sim, 3);
        CU_ASSERT(scenario_elect(sim, 2)); /* check_acks: the leader has it */
        scenario_end(&sim);
    }
}

static void a_full_disk_promises_nothing_and_goes_on(void)
{
    struct sim *sim = scenario_new(14, 3);
    struct node *n = &sim->nodes[1];
    simdisk_fail(n->disk, SIMDISK_OPEN_CREATE | SIMDISK_ZERO_FILL, 1, HF_E_NO_SPACE, 0);
    for (int i = 0; i < 40; i++)
        clients_write(sim, 1, 2000); /* more than a segment */
    CU_ASSERT(sim_run_ms(sim, 1000));
    CU_ASSERT_EQUAL(n->state, NODE_UP);
    simdisk_fail(n->disk, 0, 0, 0, 0);
    CU_ASSERT(sim_run_ms(sim, 2000));
    uint32_t leader = sim_leader(sim);
    CU_ASSERT_NOT_EQUAL_FATAL(leader, 0);
    CU_ASSERT(scenario_write(sim, leader));
    CU_ASSERT(sim_run_ms(sim, 1000));
    CU_ASSERT_EQUAL(n->machine.index, sim->nodes[leader].machine.index);
    CU_ASSERT_EQUAL(shadow_durable(&n->shadow), n->shadow.last);
    scenario_end(&sim);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"the same seed gives the same trace", the_same_seed_gives_the_same_trace},
        {"a vote survives a fast restart", a_vote_survives_a_fast_restart},
        {"a returning replica deposes nobody", a_returning_replica_deposes_nobody},
        {"a leader without a quorum steps down", a_leader_without_a_quorum_steps_down},
        {"all killed and still a leader comes", all_killed_and_still_a_leader_comes},
        {"a promoted replica votes before it knows", a_promoted_replica_votes_before_it_knows},
        {"figure 8", figure_8},
#ifdef HF_FAILPOINTS
        {"figure 8 would be found", figure_8_would_be_found},
#endif
        {"a heartbeat does not commit a stale tail", a_heartbeat_does_not_commit_a_stale_tail},
        {"conflicting entries are overwritten", conflicting_entries_are_overwritten},
        {"a fast restart does not break a lease", a_fast_restart_does_not_break_a_lease},
        {"a lease counts from the round a quorum acknowledged", a_lease_counts_from_the_round_a_quorum_acknowledged},
        {"a transfer drops the lease", a_transfer_drops_the_lease},
        {"a late TIMEOUT_NOW meets no lease", a_late_timeout_now_meets_no_lease},
        {"a torn tail is cut", a_torn_tail_is_cut},
        {"a damaged middle is refused", a_damaged_middle_is_refused},
        {"the page cache lies", the_page_cache_lies},
        {"a full disk promises nothing and goes on", a_full_disk_promises_nothing_and_goes_on},
    };
    return UNIT_MAIN("scenarios", cases);
}
