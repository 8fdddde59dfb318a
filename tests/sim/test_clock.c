/* test_clock.c: schedules around the clock, step by step on whole processes: who may issue timestamps, what leaders stamp, what
 * reads at a timestamp show. Where a bug can be planted that a schedule is about, the schedule finds it. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "tests/sim/stage.h"
#include "tests/sim/stage_frames.h"
#include "tests/unit/unit.h"

#define SEEDS 3
#define HOUR_MS 3600000
#define KEY_1 0u               /* of shard 1 */
#define KEY_2 (JUDGE_KEYS / 2) /* of shard 2 */

/* ---- who may issue ---- */

static uint32_t late;

static bool renewal_left(struct world *w)
{
    (void)w;
    return stage_frames.written > 0;
}

static bool another_is_active(struct world *w)
{
    return stage_active(w) != 0 && stage_active(w) != late;
}

static void ask_both(struct world *w)
{
    for (int i = 0; i < 40; i++) {
        (void)stage_ask_timestamp(w, world_coordinator(1 + (uint32_t)i % WORLD_COORDINATORS), 0);
        stage_run(w, 20);
    }
}

/* The active one stands still with a renewal in flight that comes `renewal_ms` late, and goes on after `stop_ms`. */
static void two_coordinators(struct world *w, uint64_t renewal_ms, uint64_t stop_ms)
{
    stage_frames.writer = late = stage_active(w);
    stage_frames.writer_ms = renewal_ms;
    EXPECT(stage_until(w, 2000, renewal_left));
    process_stop(w->processes[late], stop_ms);
    stage_frames.writer = 0;
    EXPECT(stage_until(w, stop_ms - 100, another_is_active));
    uint64_t up_to = w->processes[late]->stopped_until;
    for (; w->now + 50 * SIM_MS < up_to && !w->result.failed; stage_run(w, 10))
        (void)stage_timestamp(w, 0);
    ask_both(w);
    EXPECT(stage_active(w) != 0);
}

static void a_renewal_that_comes_after_the_takeover(struct world *w)
{
    two_coordinators(w, 6000, 8000);
}

static void a_renewal_that_comes_before_the_takeover(struct world *w)
{
    two_coordinators(w, 900, 7000);
}

static void a_timestamp_in_hand_while_another_takes_over(struct world *w)
{
    late = stage_active(w);
    w->processes[late]->stop_after_draw = 7000;
    EXPECT(stage_until(w, 6500, another_is_active));
    for (int i = 0; i < 20; i++)
        (void)stage_timestamp(w, 0);
    stage_run(w, 2000);
    ask_both(w);
}

/* Both were away; who comes back begins above what was issued before. */
static void both_coordinators_killed(struct world *w)
{
    struct stage_moment before = stage_timestamp(w, 0);
    for (uint32_t c = 1; c <= WORLD_COORDINATORS; c++) {
        process_set_wall(w->processes[world_coordinator(c)], -HOUR_MS, 0);
        process_die(w->processes[world_coordinator(c)], DEATH_KILL);
    }
    struct stage_moment after = stage_timestamp(w, 0);
    EXPECT(after.t > before.t);
}

/* ---- wall clocks ---- */

static uint64_t ms_of(uint64_t t)
{
    return hlc_ms((struct hlc){t});
}

/* A write and a read at a fresh timestamp in each shard, soon. */
static void all_goes_on(struct world *w, uint32_t value)
{
    uint64_t begin = w->now;
    stage_put(w, KEY_1, value);
    stage_put(w, KEY_2, value + 1);
    struct stage_moment t = stage_timestamp(w, 0);
    EXPECT(stage_look(w, KEY_1, &t).value == value);
    EXPECT(stage_look(w, KEY_2, &t).value == value + 1);
    EXPECT(w->now - begin < 2000 * SIM_MS);
}

static void wall_clocks_jump_and_nothing_waits(struct world *w)
{
    static const int64_t jumps[][2] = {{-HOUR_MS, 0}, {HOUR_MS, 0}, {-2000, 0}, {2000, 0}, {0, -1000}, {0, 2000}};
    for (uint32_t i = 0; i < sizeof jumps / sizeof jumps[0]; i++) {
        uint64_t before = ms_of(stage_timestamp(w, 0).t), began = w->now;
        for (uint32_t p = 1; p < WORLD_PROCESSES; p++) /* replicas have one, and do not look at it */
            process_set_wall(w->processes[p], p <= WORLD_SHARDS * WORLD_REPLICAS ? -jumps[i][0] : jumps[i][0],
                             jumps[i][1]);
        all_goes_on(w, 60000 + 10 * i);
        stage_run(w, 1500);
        all_goes_on(w, 60005 + 10 * i);
        uint64_t passed = (w->now - began) / SIM_MS, moved = ms_of(stage_timestamp(w, 0).t) - before;
        EXPECT(moved < 3 * passed + 5000); /* an hour ahead is not believed */
    }
}

static void a_client_moves_nobodys_clock(struct world *w)
{
    struct stage_moment before = stage_timestamp(w, 0), future = before;
    for (int i = 0; i < 3; i++) {
        future.t = UINT64_C(1) << (61 + i);
        EXPECT(stage_look(w, KEY_1, &future).code == HF_E_FUTURE_TIMESTAMP);
        EXPECT(stage_ask_timestamp(w, stage_active(w), future.t).code == HF_E_FUTURE_TIMESTAMP);
    }
    future.t = before.t + (UINT64_C(1000000) << 16); /* a quarter of an hour: no shard says so */
    EXPECT(stage_ask_timestamp(w, stage_active(w), future.t).code == HF_E_FUTURE_TIMESTAMP);
    static struct stage_answer look;
    stage_send_look(w, stage_leader(w, 1), KEY_1, &future, &look);
    stage_run(w, 1000);
    EXPECT(look.code == HF_E_NOT_READY);
    EXPECT(ms_of(stage_timestamp(w, 0).t) < ms_of(before.t) + 5000);
    EXPECT(ms_of(stage_put(w, KEY_1, 61000).version.t.t) < ms_of(before.t) + 5000);
}

/* ---- what leaders stamp ---- */

/* Proposed below T, not committed, and T is read at a leader whose lease stands: the read waits. */
static void a_write_in_flight_below_the_timestamp_that_is_read(struct world *w)
{
    static struct stage_answer put, look;
    uint32_t leader = stage_leader(w, 1);
    stage_put(w, KEY_1, 62000);
    stage_frames_beats_lost(1, true);
    stage_run(w, 5);
    struct stage_moment t = stage_timestamp(w, 0);
    stage_frames.silent = leader;
    stage_frames.silent_ms = 150;
    stage_send_put(w, leader, KEY_1, 62001, &put);
    stage_run(w, 2);
    stage_send_look(w, leader, KEY_1, &t, &look);
    stage_run(w, 60);
    EXPECT(!put.came && !look.came);
    stage_run(w, 1000);
    EXPECT(put.came && put.code == HF_OK && put.version.t.t < t.t);
    EXPECT(look.came && look.code == HF_OK && look.value == 62001);
    stage_frames.silent = 0;
    stage_frames_beats_lost(1, false);
    stage_other_leader(w, 1);
    EXPECT(stage_look(w, KEY_1, &t).value == 62001);
}

/* What comes after a read at T is stamped above it, though no beat came for a while. */
static void a_write_after_a_read(struct world *w)
{
    stage_put(w, KEY_1, 63000);
    stage_frames_beats_lost(1, true);
    stage_run(w, 5);
    for (uint32_t i = 0; i < 5; i++) {
        struct stage_moment t = stage_timestamp(w, 0);
        EXPECT(stage_look(w, KEY_1, &t).value == 63000 + i);
        EXPECT(stage_put(w, KEY_1, 63001 + i).version.t.t >= t.t);
        EXPECT(stage_look(w, KEY_1, &t).value == 63000 + i);
    }
    stage_frames_beats_lost(1, false);
}

/* The old leader served at T; the next one heard of no timestamp since long before, and is asked to write at once. */
static void a_new_leader_stamps_above_what_the_old_one_served(struct world *w)
{
    uint32_t old = stage_leader(w, 1);
    stage_frames_beats_lost(1, true);
    stage_run(w, 200);
    stage_put(w, KEY_1, 64000);
    struct stage_moment t = stage_timestamp(w, 0);
    EXPECT(stage_look(w, KEY_1, &t).value == 64000);
    stage_other_leader(w, 1);
    stage_frames_beats_lost(1, false);
    EXPECT(stage_leader(w, 1) != old);
    EXPECT(stage_put(w, KEY_1, 64001).version.t.t >= t.t);
    EXPECT(stage_look(w, KEY_1, &t).value == 64000);
}

/* Acknowledged, then a timestamp, then another leader: none of the two others answers without it. */
static void a_just_elected_leader_shows_what_was_acknowledged(struct world *w)
{
    static struct stage_answer early[200];
    stage_put(w, KEY_1, 65000);
    struct stage_moment t = stage_timestamp(w, 0);
    uint32_t old = stage_leader(w, 1);
    for (uint32_t other = 1; other < WORLD_PROCESSES; other++)
        stage_cut(w, old, other); /* clients reach it */
    for (int i = 0; i < 200; i++) {
        stage_send_look(w, world_replica(1, 1 + (uint32_t)i % WORLD_REPLICAS), KEY_1, &t, &early[i]);
        stage_run(w, 10);
    }
    EXPECT(stage_leader(w, 1) != old && stage_look(w, KEY_1, &t).value == 65000);
    for (int i = 0; i < 200; i++)
        EXPECT(!early[i].came || early[i].code != HF_OK || early[i].value == 65000);
    stage_mend(w);
}

/* ---- what expires ---- */

/* A leader that read at a timestamp said that a key is gone; the next one, which nobody answers, does not show it again. */
static void what_expired_stays_expired(struct world *w)
{
    static struct stage_answer looks[200];
    struct stage_moment latest = {0}, t;
    stage_frames_beats_lost(2, true);
    stage_ttl_ms = 300;
    struct version v = stage_put(w, KEY_2, 74000).version;
    stage_ttl_ms = 0;
    EXPECT(stage_look(w, KEY_2, &latest).value == 74000);
    stage_cut_coordinators(w, 2);
    stage_run(w, 400);
    do
        t = stage_timestamp(w, 0);
    while (t.t <= hlc_add_ms(v.t, 300).t && !w->result.failed);
    EXPECT(stage_look(w, KEY_2, &t).code == HF_E_NOT_FOUND);
    EXPECT(stage_look(w, KEY_2, &latest).code == HF_E_NOT_FOUND);
    stage_other_leader(w, 2);
    bool again = false;
    for (int i = 0; i < 200; i++, stage_run(w, 5))
        if (stage_leader(w, 2) != 0)
            stage_send_look(w, stage_leader(w, 2), KEY_2, &latest, &looks[i]);
    for (int i = 0; i < 200; i++)
        again |= looks[i].came && looks[i].code == HF_OK;
    if (again)
        world_failed(w, "expiry", "a key that was gone is there again");
    EXPECT(stage_look(w, KEY_2, &latest).code == HF_E_NOT_FOUND);
    stage_mend(w);
    stage_frames_beats_lost(2, false);
}

/* ---- strict cuts ---- */

static void send_request(struct world *w, uint32_t process, Hf__Client__Request *q)
{
    struct buf packed = {0};
    q->version = 1;
    q->id = 1;
    q->cluster = WORLD_CLUSTER;
    pack_append(&q->base, &packed);
    stage_send_frame(w, process, buf_slice(&packed));
    buf_deinit(&packed);
}

/* While stamps are held for a cut: sessions are opened and checks begin, writes wait, not for ever. */
static void what_stamps_nothing_while_stamps_are_held(struct world *w)
{
    static struct stage_answer put;
    uint32_t leader = stage_leader(w, 1);
    Hf__Client__Request q = HF__CLIENT__REQUEST__INIT;
    Hf__Client__Hold hold = HF__CLIENT__HOLD__INIT;
    Hf__Client__SessionOpen open = HF__CLIENT__SESSION_OPEN__INIT;
    Hf__Client__Empty check = HF__CLIENT__EMPTY__INIT;
    hold.id = 7; /* of a coordinator that died */
    q.op_case = HF__CLIENT__REQUEST__OP_HOLD;
    q.hold = &hold;
    send_request(w, leader, &q);
    stage_run(w, 5);
    uint64_t begin = w->now;
    stage_send_put(w, leader, KEY_1, 73000, &put);
    q.op_case = HF__CLIENT__REQUEST__OP_SESSION_OPEN;
    q.session_open = &open;
    send_request(w, leader, &q);
    q.op_case = HF__CLIENT__REQUEST__OP_CHECK;
    q.check = &check;
    send_request(w, leader, &q);
    stage_run(w, 100);
    EXPECT(!put.came && stage_leader(w, 1) == leader);
    stage_run(w, 900);
    EXPECT(put.came && put.code == HF_OK && w->now - begin >= 900 * SIM_MS);
}

/* ---- without a coordinator ---- */

/* Timestamps are issued above the ceiling of a shard that no lease reaches: nothing is served at them, for who leads next
 * knows the ceiling only. */
static void nothing_is_served_above_the_ceiling(struct world *w)
{
    static struct stage_answer looks[60];
    stage_put(w, KEY_2, 68000);
    stage_cut_coordinators(w, 2);
    stage_run(w, 4000);
    struct stage_moment t = stage_timestamp(w, 0);
    for (int i = 0; i < 20; i++, stage_run(w, 5))
        stage_send_look(w, stage_leader(w, 2), KEY_2, &t, &looks[i]);
    stage_other_leader(w, 2);
    for (int i = 20; i < 60; i++, stage_run(w, 5))
        stage_send_look(w, stage_leader(w, 2), KEY_2, &t, &looks[i]);
    EXPECT(stage_put(w, KEY_2, 68001).version.t.t < t.t);
    for (int i = 0; i < 60; i++)
        EXPECT(looks[i].came && looks[i].code == HF_E_NOT_READY);
    stage_mend(w);
    t = stage_timestamp(w, 0);
    EXPECT(stage_look(w, KEY_2, &t).value == 68001);
}

static bool lease_left(struct world *w)
{
    (void)w;
    return stage_frames.leases == 0;
}

/* A lease of long ago arrives after newer ones, and then another leader goes on from the ceiling. */
static void a_lease_that_comes_late(struct world *w)
{
    stage_put(w, KEY_2, 71000);
    stage_frames_beats_lost(2, true);
    stage_frames.leased = 2;
    stage_frames.lease_ms = 4000;
    stage_frames.leases = 1;
    EXPECT(stage_until(w, 2000, lease_left));
    uint64_t arrives = w->now + 4000 * SIM_MS;
    stage_run(w, 3700);
    struct stage_moment t = stage_timestamp(w, 0);
    EXPECT(stage_look(w, KEY_2, &t).value == 71000 && w->now < arrives);
    stage_run(w, (arrives - w->now) / SIM_MS + 2);
    stage_cut_coordinators(w, 2);
    stage_run(w, 20);
    stage_other_leader(w, 2);
    EXPECT(version_compare(stage_put(w, KEY_2, 71001).version, (struct version){.t = {t.t}}) > 0);
    (void)stage_look(w, KEY_2, &t);
    stage_mend(w);
    stage_frames_beats_lost(2, false);
}

/* Beats arrive and leases do not: what is stamped stays below the ceiling, so that the next leader goes on above it. */
static void beats_above_the_ceiling(struct world *w)
{
    stage_frames.leased = 2;
    stage_frames.lease_ms = UINT64_MAX;
    stage_frames.leases = UINT_MAX;
    struct stage_moment old = stage_timestamp(w, 0);
    stage_run(w, 6000);
    struct version v = stage_put(w, KEY_2, 72000).version;
    EXPECT(v.t.t < stage_timestamp(w, 0).t && ms_of(v.t.t) < ms_of(old.t) + 3500);
    stage_cut_coordinators(w, 2);
    stage_other_leader(w, 2);
    EXPECT(version_compare(stage_put(w, KEY_2, 72001).version, v) > 0);
    stage_mend(w);
    stage_frames.leases = 0;
    struct stage_moment t = stage_timestamp(w, 0);
    EXPECT(stage_look(w, KEY_2, &t).value == 72001);
}

/* A coordinator that reaches no catalog renews shard 2's lease by a clock that is five minutes ahead, and shard 2's next
 * leader goes on from there: when all is well again, it is read as before. */
static void a_mark_far_ahead_of_all_timestamps(struct world *w)
{
    for (uint32_t c = 1; c <= WORLD_COORDINATORS; c++)
        process_set_wall(w->processes[world_coordinator(c)], 300000, 0);
    stage_cut_coordinators(w, 1);
    stage_run(w, 5000);
    stage_cut_coordinators(w, 2);
    stage_other_leader(w, 2);
    stage_put(w, KEY_2, 69000);
    for (uint32_t c = 1; c <= WORLD_COORDINATORS; c++)
        process_set_wall(w->processes[world_coordinator(c)], 0, 0);
    stage_mend(w);
    uint64_t above = 0, begin = w->now;
    struct stage_answer a = {.code = HF_E_RESTART_ABOVE};
    for (int i = 0; i < 5 && a.code == HF_E_RESTART_ABOVE && !w->result.failed; i++, above = a.timestamp) {
        struct stage_moment t = stage_timestamp(w, above);
        a = stage_look(w, KEY_2, &t);
    }
    EXPECT(a.code == HF_OK && a.value == 69000);
    EXPECT(w->now - begin < 10000 * SIM_MS);
}

static void leads_again(struct world *w, uint32_t shard, uint32_t first)
{
    for (int i = 0; i < 40 && stage_leader(w, shard) != first && !w->result.failed; i++)
        stage_other_leader(w, shard);
    EXPECT(stage_leader(w, shard) == first);
}

/* A leader's question is answered late: when it leads again, and another one served reads in between. */
static void an_answer_to_a_question_of_an_earlier_term(struct world *w)
{
    uint32_t first = stage_leader(w, 2);
    stage_put(w, KEY_2, 70000);
    stage_other_leader(w, 2);
    stage_frames.asker = first;
    leads_again(w, 2, first);
    for (int i = 0; i < 100 && stage_frames.answer.size == 0; i++)
        stage_run(w, 5);
    EXPECT(stage_frames.answer.size > 0);
    stage_frames.deaf = true;
    stage_other_leader(w, 2);
    struct stage_moment t = stage_timestamp(w, 0);
    EXPECT(stage_look(w, KEY_2, &t).value == 70000);
    leads_again(w, 2, first);
    stage_send_frame(w, first, buf_slice(&stage_frames.answer));
    buf_deinit(&stage_frames.answer);
    EXPECT(stage_put(w, KEY_2, 70001).version.t.t >= t.t);
    (void)stage_look(w, KEY_2, &t);
}

/* Two leaders in turn that nobody answers go on from the same ceiling. The coordinator's clock stands still meanwhile, so
 * that it would issue timestamps below what they stamped. */
static void two_leaders_go_on_from_the_same_ceiling(struct world *w)
{
    struct stage_moment old = stage_timestamp(w, 0);
    for (uint32_t c = 1; c <= WORLD_COORDINATORS; c++)
        process_set_wall(w->processes[world_coordinator(c)], -HOUR_MS, 0);
    struct version last = stage_put(w, KEY_2, 66000).version;
    stage_cut_coordinators(w, 2);
    for (uint32_t i = 1; i <= 3; i++) {
        stage_other_leader(w, 2);
        struct version v = stage_put(w, KEY_2, 66000 + i).version;
        EXPECT(version_compare(v, last) > 0);
        last = v;
    }
    struct stage_moment low = stage_timestamp(w, 0);
    EXPECT(low.t < last.t.t); /* or the schedule is not what it says */
    stage_mend(w);
    struct stage_moment mark = {.t = stage_look(w, KEY_2, &old).timestamp};
    EXPECT(mark.t > old.t && stage_look(w, KEY_2, &old).code == HF_E_RESTART_ABOVE);
    EXPECT(stage_look(w, KEY_2, &mark).code == HF_E_RESTART_ABOVE); /* what is stamped from it is not seen at it */
    struct stage_answer no = stage_look(w, KEY_2, &low);
    EXPECT(no.code == HF_E_RESTART_ABOVE && no.timestamp >= last.t.t);
    stage_other_leader(w, 2);
    EXPECT(stage_look(w, KEY_2, &low).code == HF_E_RESTART_ABOVE);
    struct stage_moment t = stage_timestamp(w, no.timestamp);
    EXPECT(t.t > no.timestamp && stage_look(w, KEY_2, &t).value == 66003);
    EXPECT(stage_look(w, KEY_1, &low).code == HF_OK); /* the other shard serves it */
}

/* Without shard 1 no timestamp is issued; the other shard works on, also under a new leader, and its ceiling rises. */
static void shard_1_away_stops_nobody_else(struct world *w)
{
    stage_cut_coordinators(w, 1);
    stage_run(w, 4000);
    EXPECT(stage_active(w) == 0);
    uint64_t begin = w->now;
    stage_put(w, KEY_2, 67000);
    EXPECT(w->now - begin < 500 * SIM_MS);
    stage_run(w, 5000);
    stage_other_leader(w, 2);
    begin = w->now;
    struct version v = stage_put(w, KEY_2, 67001).version;
    EXPECT(w->now - begin < 2000 * SIM_MS);
    EXPECT(ms_of(v.t.t) * SIM_MS > 9000 * SIM_MS);
    stage_mend(w);
    uint64_t above = 0;
    struct stage_answer a = {.code = HF_E_RESTART_ABOVE};
    for (int i = 0; i < 10 && a.code == HF_E_RESTART_ABOVE; i++, above = a.timestamp) {
        struct stage_moment t = stage_timestamp(w, above);
        a = stage_look(w, KEY_2, &t);
    }
    EXPECT(a.code == HF_OK && a.value == 67001);
}

/* ---- all of them ---- */

static const struct schedule {
    const char *name;
    void (*play)(struct world *w);
    const char *bug, *checker; /* what it finds when this is planted; NULL: none can be */
} schedules[] = {
    {"a renewal that comes after the takeover", a_renewal_that_comes_after_the_takeover, "clock.lease_unchecked",
     "oracle"},
    {"a renewal that comes before the takeover", a_renewal_that_comes_before_the_takeover, "clock.lease_unchecked",
     "oracle"},
    {"a timestamp in hand while another takes over", a_timestamp_in_hand_while_another_takes_over,
     "clock.lease_unchecked", "oracle"},
    {"both coordinators killed", both_coordinators_killed, NULL, NULL},
    {"wall clocks jump and nothing waits", wall_clocks_jump_and_nothing_waits, NULL, NULL},
    {"a client moves nobody's clock", a_client_moves_nobodys_clock, NULL, NULL},
    {"a write in flight below the timestamp that is read", a_write_in_flight_below_the_timestamp_that_is_read,
     "reads.in_flight_unseen", "stable"},
    {"a write after a read", a_write_after_a_read, "clock.read_unobserved", "stable"},
    {"a new leader stamps above what the old one served", a_new_leader_stamps_above_what_the_old_one_served,
     "clock.no_fresh_timestamp", "stable"},
    {"a just elected leader shows what was acknowledged", a_just_elected_leader_shows_what_was_acknowledged, NULL,
     NULL},
    {"two leaders go on from the same ceiling", two_leaders_go_on_from_the_same_ceiling, "clock.no_restart_mark",
     "fresh"},
    {"two leaders go on from the same ceiling: sequences", two_leaders_go_on_from_the_same_ceiling,
     "clock.sequence_anew", "versions"},
    {"nothing is served above the ceiling", nothing_is_served_above_the_ceiling, NULL, NULL},
    {"a lease that comes late", a_lease_that_comes_late, "fsm.ceiling_falls", "stable"},
    {"beats above the ceiling", beats_above_the_ceiling, NULL, NULL},
    {"a mark far ahead of all timestamps", a_mark_far_ahead_of_all_timestamps, NULL, NULL},
    {"an answer to a question of an earlier term", an_answer_to_a_question_of_an_earlier_term, "clock.any_answer",
     "stable"},
    {"what expired stays expired", what_expired_stays_expired, "build.expiry_undoubted", "expiry"},
    {"what stamps nothing while stamps are held", what_stamps_nothing_while_stamps_are_held, NULL, NULL},
    {"shard 1 away stops nobody else", shard_1_away_stops_nobody_else, NULL, NULL},
};

static void plant(const char *bug)
{
#ifdef HF_FAILPOINTS
    failpoint_plant(bug);
#else
    must(bug == NULL);
#endif
}

static const char *play(const struct schedule *s, uint64_t seed, const char *bug)
{
    stage_frames = (struct stage_frames){0};
    stage_bug = bug != NULL;
    struct world *w = stage_new(seed);
    w->filter = stage_frames_hold;
    plant(bug);
    s->play(w);
    const char *found = stage_end(&w);
    plant(NULL);
    stage_bug = false;
    return found;
}

static void every_schedule_is_clean(void)
{
    const char *only = getenv("SCHEDULE");
    for (size_t i = 0; i < sizeof schedules / sizeof schedules[0]; i++)
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            if (only != NULL && strstr(schedules[i].name, only) == NULL)
                continue;
            unsigned before = CU_get_number_of_failures();
            CU_ASSERT_PTR_NULL(play(&schedules[i], seed, NULL));
            if (CU_get_number_of_failures() > before)
                printf("\n  in: %s, seed %llu\n", schedules[i].name, (unsigned long long)seed);
        }
}

#ifdef HF_FAILPOINTS
static void every_schedule_finds_its_bug(void)
{
    for (size_t i = 0; i < sizeof schedules / sizeof schedules[0]; i++) {
        const struct schedule *s = &schedules[i];
        const char *found = s->bug != NULL ? play(s, 1, s->bug) : NULL;
        bool right = s->bug == NULL || (found != NULL && strcmp(found, s->checker) == 0);
        if (!right)
            printf("\n  %s: %s found by %s\n", s->name, s->bug, found != NULL ? found : "nobody");
        CU_ASSERT(right);
    }
}
#endif

int main(void)
{
    static const struct unit_case cases[] = {
        {"every schedule is clean", every_schedule_is_clean},
#ifdef HF_FAILPOINTS
        {"every schedule finds its bug", every_schedule_finds_its_bug},
#endif
    };
    return UNIT_MAIN("the clock in the simulator", cases);
}
