/* test_snapshots.c: schedules around states that are sent and installed, and around damaged logs and machines, step by step on
 * the real engine, log, state machine, token and install. */
#include <CUnit/CUnit.h>
#include <stdio.h>

#include "tests/sim/scenario.h"
#include "tests/unit/unit.h"

#define SEEDS 5

static void flush(struct sim *sim, uint32_t id)
{
    must(fsm_flush(sim->nodes[id].fsm) == 0);
    node_look_durable(&sim->nodes[id]);
}

/* The log goes up to what is durable. */
static void trim(struct sim *sim, uint32_t id)
{
    struct node *n = &sim->nodes[id];
    flush(sim, id);
    n->want_trim = n->durable.index;
    node_wake(n, sim->now);
    CU_ASSERT(sim_run_ms(sim, 10));
    CU_ASSERT_EQUAL(n->ops->status(n->engine).first, n->durable.index + 1);
}

static void write_some(struct sim *sim, uint32_t node, int count)
{
    for (int i = 0; i < count; i++)
        CU_ASSERT(scenario_write(sim, node));
}

static uint32_t successor;

static bool taken_over(const struct sim *sim)
{
    return sim_leader(sim) == successor;
}

static void hand_over(struct sim *sim, uint32_t from, uint32_t to)
{
    successor = to;
    scenario_candidate(to);
    sim->nodes[from].want_transfer = to;
    CU_ASSERT(sim_run_until(sim, 1000, taken_over));
}

static bool streaming_to_3(const struct sim *sim)
{
    return sim->nodes[3].fetch.streaming;
}

static bool arrived_at_3(const struct sim *sim)
{
    return sim->nodes[3].fetch.arrived;
}

/* Replica 3 of three was away while the others wrote and cut their logs; it is back, and 1 leads. */
static struct sim *left_behind(uint64_t seed)
{
    struct sim *sim = scenario_new(seed, 3);
    write_some(sim, 1, 3);
    network_isolate(&sim->network, 3);
    write_some(sim, 1, 20);
    trim(sim, 1);
    trim(sim, 2);
    write_some(sim, 1, 3);
    network_heal(&sim->network);
    return sim;
}

static bool same_as_1(struct sim *sim, uint32_t id)
{
    CU_ASSERT(sim_run_ms(sim, 1500));
    const struct node *a = &sim->nodes[1], *b = &sim->nodes[id];
    return b->state == NODE_UP && a->machine.index == b->machine.index && node_chain(a) == node_chain(b);
}

static void a_follower_behind_a_cut_log_is_sent_the_state_and_goes_on(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = left_behind(seed);
        CU_ASSERT(same_as_1(sim, 3));
        CU_ASSERT_EQUAL(sim->result.installs, 1);
        CU_ASSERT_EQUAL(sim->result.restarts, 1); /* its log could not be continued */
        write_some(sim, 1, 3);
        CU_ASSERT(same_as_1(sim, 3));
        scenario_end(&sim);
    }
}

/* The sender applies on while it sends: the stream's own token counts, not what the sender has applied at its end. */
static void the_token_is_read_from_the_checkpoint(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = left_behind(seed);
        struct fetch *f = &sim->nodes[3].fetch;
        for (int i = 0; i < 1000 && !f->arrived && sim->result.installs == 0; i++) {
            clients_write(sim, 1, 16);
            (void)sim_run_ms(sim, 5);
        }
        CU_ASSERT(f->arrived || sim->result.installs > 0);
        CU_ASSERT(same_as_1(sim, 3)); /* check_snapshots: installed where the token says */
        scenario_end(&sim);
    }
}

/* Cut at each operation of the disk from the staging to the last removal: the old or the new machine is found, and the
 * log that belongs to it. */
static void an_install_cut_at_any_operation_leaves_the_old_or_the_new(void)
{
    for (int kind = 0; kind < 2; kind++) {
        bool died = true;
        uint64_t cut = 0, old = 0;
        for (; died; cut++) {
            struct sim *sim = left_behind(cut + 1);
            struct node *n = &sim->nodes[3];
            CU_ASSERT(sim_run_until(sim, 3000, arrived_at_3));
            n->death = kind == 0 ? DEATH_KILL : DEATH_POWER;
            simdisk_halt_after(n->disk, SIMDISK_CHANGES, cut);
            uint64_t deaths = sim->result.deaths;
            CU_ASSERT(sim_run_ms(sim, 5));
            died = sim->result.deaths > deaths;
            if (n->state == NODE_DOWN)
                scenario_start(sim, 3);
            CU_ASSERT(sim_run_ms(sim, 1));
            CU_ASSERT_EQUAL(n->state, NODE_UP);
            old += died && sim->result.installs == 0;
            simdisk_halt_after(n->disk, 0, 0);
            CU_ASSERT(same_as_1(sim, 3)); /* check_durable, check_recovery, check_snapshots watch */
            scenario_end(&sim);
        }
        CU_ASSERT(cut > 25 && old > 10 && old + 5 < cut);
    }
}

/* A stream that ends when the follower has caught up by its log, from another leader, is dropped. */
static void a_slow_stream_that_ends_after_the_follower_caught_up_is_dropped(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = scenario_new(seed, 3);
        write_some(sim, 1, 3);
        network_isolate(&sim->network, 3);
        write_some(sim, 1, 20);
        trim(sim, 1);            /* 2 keeps its log */
        scenario_cut(sim, 2, 3); /* 3 sees 1 alone, at first */
        sim->network.cut[1][3] = sim->network.cut[3][1] = false;
        struct node *n = &sim->nodes[3];
        CU_ASSERT(sim_run_until(sim, 3000, streaming_to_3));
        uint64_t index = n->fetch.index;
        n->fetch.left = 1;
        n->fetch.version += 100; /* it hangs */
        network_heal(&sim->network);
        hand_over(sim, 1, 2);
        write_some(sim, 2, 3);
        CU_ASSERT(sim_run_ms(sim, 500));
        CU_ASSERT(n->machine.index > index && index != 0);
        uint64_t applied = n->machine.index;
        sim_schedule(sim, (struct sim_event){.kind = EVENT_FETCH, .node = 3, .version = n->fetch.version}, sim->now);
        CU_ASSERT(sim_run_ms(sim, 100));
        CU_ASSERT_FALSE(n->fetch.active);
        CU_ASSERT(n->machine.index >= applied && sim->result.installs == 0);
        scenario_end(&sim);
    }
}

/* Replica 3 led and wrote what nobody else took; the others went on, further than that, and cut their logs. */
static void a_follower_with_a_longer_conflicting_log_is_put_right(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = scenario_new(seed, 3);
        write_some(sim, 1, 3);
        hand_over(sim, 1, 3);
        network_isolate(&sim->network, 3);
        for (int i = 0; i < 60; i++)
            clients_write(sim, 3, 16);
        CU_ASSERT(sim_run_ms(sim, 50));
        uint64_t last = sim->nodes[3].ops->status(sim->nodes[3].engine).last;
        CU_ASSERT(scenario_elect(sim, 1));
        write_some(sim, 1, 10);
        trim(sim, 1);
        trim(sim, 2);
        CU_ASSERT(last > sim->nodes[1].machine.index);
        network_heal(&sim->network);
        CU_ASSERT(same_as_1(sim, 3));
        CU_ASSERT_EQUAL(sim->result.restarts, 1);
        scenario_end(&sim);
    }
}

static void a_sender_that_dies_is_asked_anew(void)
{
    struct sim *sim = left_behind(3);
    struct node *n = &sim->nodes[3];
    CU_ASSERT(sim_run_until(sim, 3000, streaming_to_3));
    uint64_t lives = n->fetch.from_lives;
    node_die(&sim->nodes[1], DEATH_POWER);
    scenario_start(sim, 1);
    scenario_candidate(0);
    CU_ASSERT(sim_run_ms(sim, 4000));
    CU_ASSERT_NOT_EQUAL(sim_leader(sim), 0);
    CU_ASSERT(same_as_1(sim, 3));
    CU_ASSERT(sim->result.installs == 1 && sim->nodes[1].lives > lives);
    scenario_end(&sim);
}

/* Its log and vote stay and count; it leads only when it has a state machine again. */
static void a_replica_whose_machine_is_lost_votes_and_is_sent_a_new_one(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = scenario_new(seed, 3);
        write_some(sim, 1, 10);
        flush(sim, 1);
        node_die(&sim->nodes[3], DEATH_KILL);
        node_lose_machine(&sim->nodes[3]);
        network_isolate(&sim->network, 2);
        sim->network.cut[1][3] = sim->network.cut[3][1] = false;
        scenario_start(sim, 3);
        CU_ASSERT(scenario_write(sim, 1)); /* with its acknowledgement alone */
        CU_ASSERT_TRUE(sim->nodes[3].ops->status(sim->nodes[3].engine).held || sim->result.installs == 1);
        CU_ASSERT(same_as_1(sim, 3));
        CU_ASSERT_EQUAL(sim->result.installs, 1);
        network_heal(&sim->network);
        hand_over(sim, 1, 3);
        scenario_end(&sim);
    }
}

static bool led_by_anybody(const struct sim *sim)
{
    return sim_leader(sim) != 0;
}

/* I13: an entry is on L and A, acknowledged; A's log is damaged; L dies. B, without it, and A elect nobody. */
static void three_replicas_one_lost_its_log_elect_nobody_without_the_one_that_has_it(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = scenario_new(seed, 3);
        write_some(sim, 1, 3);
        flush(sim, 2);
        network_isolate(&sim->network, 3);
        sim->network.cut[3][3] = false;
        write_some(sim, 1, 5);
        node_die(&sim->nodes[1], DEATH_KILL);
        node_die(&sim->nodes[2], DEATH_KILL);
        node_damage_log(&sim->nodes[2]);
        network_heal(&sim->network);
        scenario_candidate(0);
        scenario_start(sim, 2);
        CU_ASSERT(sim_run_ms(sim, 20000));
        CU_ASSERT_EQUAL(sim->result.rebuilt, 1);
        CU_ASSERT_EQUAL(sim_leader(sim), 0);
        scenario_start(sim, 1);
        CU_ASSERT(sim_run_until(sim, 5000, led_by_anybody));
        CU_ASSERT_EQUAL(sim_leader(sim), 1);
        CU_ASSERT(same_as_1(sim, 2));
        CU_ASSERT_EQUAL(sim->result.recovered, 1);
        node_die(&sim->nodes[1], DEATH_KILL); /* from then on its vote counts */
        CU_ASSERT(sim_run_until(sim, 5000, led_by_anybody));
        scenario_end(&sim);
    }
}

/* I13: of five, A (2) acknowledges and loses it, then B (3) acknowledges: L counts both. L dies. */
static void five_replicas_a_commit_that_rests_on_a_lost_acknowledgement_survives(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = scenario_new(seed, 5);
        write_some(sim, 1, 3);
        flush(sim, 2);
        for (uint32_t id = 3; id <= 5; id++)
            scenario_cut(sim, 1, id);
        clients_write(sim, 1, 16);
        CU_ASSERT(sim_run_ms(sim, 20)); /* A has it */
        uint64_t told = sim->result.writes_done;
        node_die(&sim->nodes[2], DEATH_KILL);
        node_damage_log(&sim->nodes[2]);
        sim->network.cut[1][3] = sim->network.cut[3][1] = false;
        CU_ASSERT(sim_run_ms(sim, 200));
        CU_ASSERT_EQUAL(sim->result.writes_done, told + 1); /* told, on the word of a log that is gone */
        node_die(&sim->nodes[1], DEATH_KILL);
        network_isolate(&sim->network, 3);
        scenario_start(sim, 2);
        scenario_candidate(0);
        CU_ASSERT(sim_run_ms(sim, 20000)); /* A, C, D */
        CU_ASSERT_EQUAL(sim_leader(sim), 0);
        network_heal(&sim->network);
        CU_ASSERT(sim_run_until(sim, 8000, led_by_anybody)); /* check_acks watches */
        CU_ASSERT_EQUAL(sim_leader(sim), 3);
        CU_ASSERT(sim_run_ms(sim, 2000));
        CU_ASSERT_EQUAL(sim->result.recovered, 1);
        scenario_end(&sim);
    }
}

/* Log and state machine of one are lost together: it is sent a state, then the rest, then it may vote. */
static void a_replica_that_lost_everything_but_its_vote_comes_back(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = scenario_new(seed, 3);
        write_some(sim, 1, 10);
        node_die(&sim->nodes[2], DEATH_POWER);
        node_damage_log(&sim->nodes[2]);
        node_lose_machine(&sim->nodes[2]);
        write_some(sim, 1, 10);
        trim(sim, 1);
        scenario_start(sim, 2);
        CU_ASSERT(same_as_1(sim, 2));
        CU_ASSERT(sim->result.installs == 1 && sim->result.recovered == 1);
        hand_over(sim, 1, 2);
        scenario_end(&sim);
    }
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"a follower behind a cut log is sent the state and goes on",
         a_follower_behind_a_cut_log_is_sent_the_state_and_goes_on},
        {"the token is read from the checkpoint", the_token_is_read_from_the_checkpoint},
        {"an install cut at any operation leaves the old or the new",
         an_install_cut_at_any_operation_leaves_the_old_or_the_new},
        {"a slow stream that ends after the follower caught up is dropped",
         a_slow_stream_that_ends_after_the_follower_caught_up_is_dropped},
        {"a follower with a longer conflicting log is put right",
         a_follower_with_a_longer_conflicting_log_is_put_right},
        {"a sender that dies is asked anew", a_sender_that_dies_is_asked_anew},
        {"a replica whose machine is lost votes and is sent a new one",
         a_replica_whose_machine_is_lost_votes_and_is_sent_a_new_one},
        {"three replicas: one lost its log, nobody is elected without the one that has it",
         three_replicas_one_lost_its_log_elect_nobody_without_the_one_that_has_it},
        {"five replicas: a commit that rests on a lost acknowledgement survives",
         five_replicas_a_commit_that_rests_on_a_lost_acknowledgement_survives},
        {"a replica that lost everything but its vote comes back",
         a_replica_that_lost_everything_but_its_vote_comes_back},
    };
    return UNIT_MAIN("snapshots in the simulator", cases);
}
