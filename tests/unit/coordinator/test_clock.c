/* test_clock.c: the oracle's rules: one case per sentence, then random schedules of three coordinators on one key with
 * lost, late and reordered compare-and-sets, pauses, restarts and wall clocks that jump, in which no timestamp may
 * repeat or fall (I8). Replay one schedule: test_coordinator_clock SEED */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/base/random.h"
#include "coordinator/clock.h"
#include "coordinator/limits.h"
#include "proto/catalog.pb-c.h"
#include "proto/pack.h"
#include "tests/unit/unit.h"

#define MS 1000000ull
#define WALL 1700000000000ull
#define LEASE_NS (CLOCK_LEASE_MS * MS)
#define TAKEOVER_NS ((CLOCK_LEASE_MS + CLOCK_TAKEOVER_MARGIN_MS) * MS)

static const struct slice nothing = {0};

/* Becomes active on an absent key at `boot`, its compare-and-set answered `late` ns after the sending. */
static struct clock fresh_active(uint64_t boot, uint64_t late)
{
    struct clock c;
    clock_init(&c, 1, "tcp://a", 100);
    CU_ASSERT_EQUAL_FATAL(clock_wish(&c, WALL, boot), CLOCK_READ);
    CU_ASSERT_EQUAL_FATAL(clock_read(&c, false, nothing, boot), HF_OK);
    CU_ASSERT_EQUAL_FATAL(clock_wish(&c, WALL, boot), CLOCK_PROPOSE);
    clock_sent(&c, boot);
    clock_proposed(&c, HF_OK, boot + late);
    CU_ASSERT_EQUAL_FATAL(c.role, CLOCK_ACTIVE);
    return c;
}

static void a_fresh_cluster_is_taken_at_once(void)
{
    struct clock c = fresh_active(MS, 0);
    struct hlc a = {0}, b = {0};
    CU_ASSERT_EQUAL(c.key.epoch, 1);
    CU_ASSERT_EQUAL(hlc_ms(c.ceiling), WALL + CLOCK_CEILING_AHEAD_MS);
    CU_ASSERT_EQUAL(clock_draw(&c, WALL, MS, &a), HF_OK);
    CU_ASSERT_EQUAL(clock_draw(&c, WALL, MS, &b), HF_OK);
    CU_ASSERT(hlc_ms(a) == WALL && b.t > a.t);
    clock_deinit(&c);
}

static void time_begins_where_the_first_ceiling_was_reckoned(void)
{
    struct clock c;
    struct hlc a = {0};
    clock_init(&c, 1, "tcp://a", 100);
    CU_ASSERT_EQUAL(clock_read(&c, false, nothing, MS), HF_OK);
    CU_ASSERT_EQUAL(clock_wish(&c, WALL, MS), CLOCK_PROPOSE);
    clock_sent(&c, MS);
    clock_proposed(&c, HF_OK, 3 * MS);
    CU_ASSERT_EQUAL(clock_draw(&c, WALL - 1000000, 3 * MS, &a), HF_OK); /* the wall clock fell meanwhile */
    CU_ASSERT_EQUAL(hlc_ms(a), WALL);
    clock_deinit(&c);
}

static void the_lease_counts_from_the_sending(void)
{
    struct clock c = fresh_active(MS, 2000 * MS);
    CU_ASSERT_TRUE(clock_holds(&c, MS + LEASE_NS - 1));
    CU_ASSERT_FALSE(clock_holds(&c, MS + LEASE_NS));
    clock_deinit(&c);
}

static void an_unanswered_proposal_stays_the_same(void)
{
    struct clock c = fresh_active(MS, 0);
    uint64_t boot = MS + CLOCK_RENEW_MS * MS;
    CU_ASSERT_EQUAL_FATAL(clock_wish(&c, WALL + 1000, boot), CLOCK_PROPOSE);
    clock_sent(&c, boot);
    struct buf first = {0}, old = {0};
    buf_append(&first, c.proposal.data, c.proposal.size);
    buf_append(&old, c.key.bytes.data, c.key.bytes.size);
    clock_proposed(&c, HF_E_OUTCOME_UNKNOWN, boot + 1000 * MS);
    CU_ASSERT_EQUAL(clock_wish(&c, WALL + 2000, boot + 1000 * MS), CLOCK_READ);
    CU_ASSERT_EQUAL(clock_read(&c, true, buf_slice(&old), boot + 1000 * MS), HF_OK); /* not there, not lost either */
    CU_ASSERT_EQUAL(clock_wish(&c, WALL + 2000, boot + 1000 * MS), CLOCK_PROPOSE);
    CU_ASSERT_TRUE(slice_equal(buf_slice(&first), buf_slice(&c.proposal)));
    clock_sent(&c, boot + 1000 * MS);
    clock_proposed(&c, HF_E_COMPARE_FAILED, boot + 1100 * MS); /* against its own first copy */
    CU_ASSERT_EQUAL(clock_wish(&c, WALL + 2100, boot + 1100 * MS), CLOCK_READ);
    CU_ASSERT_EQUAL(clock_read(&c, true, buf_slice(&first), boot + 1200 * MS), HF_OK);
    CU_ASSERT_EQUAL(c.role, CLOCK_ACTIVE);
    CU_ASSERT_TRUE(clock_holds(&c, boot + LEASE_NS - 1)); /* from the first sending */
    CU_ASSERT_FALSE(clock_holds(&c, boot + LEASE_NS));
    buf_deinit(&first);
    buf_deinit(&old);
    clock_deinit(&c);
}

static void a_standby_takes_over_one_lease_after_the_last_change(void)
{
    struct clock a = fresh_active(MS, 0), b;
    struct hlc t;
    clock_init(&b, 2, "tcp://b", 200);
    CU_ASSERT_EQUAL(clock_read(&b, true, buf_slice(&a.key.bytes), 10 * MS), HF_OK);
    CU_ASSERT_EQUAL(clock_draw(&b, WALL, 10 * MS, &t), HF_E_NOT_LEADER);
    CU_ASSERT_TRUE(clock_other_alive(&b, 11 * MS));
    uint64_t due = 10 * MS + TAKEOVER_NS;
    CU_ASSERT_NOT_EQUAL(clock_wish(&b, WALL, due - 1), CLOCK_PROPOSE);
    CU_ASSERT_EQUAL(clock_read(&b, true, buf_slice(&a.key.bytes), due - 1), HF_OK); /* unchanged: the wait goes on */
    CU_ASSERT_FALSE(clock_other_alive(&b, due));
    CU_ASSERT_EQUAL(clock_wish(&b, WALL - 5000, due), CLOCK_PROPOSE); /* its wall is behind: starts at the ceiling */
    struct hlc ceiling = a.ceiling;
    clock_sent(&b, due);
    clock_proposed(&b, HF_OK, due);
    CU_ASSERT_EQUAL(b.key.epoch, 2);
    CU_ASSERT_EQUAL(clock_draw(&b, WALL - 5000, due, &t), HF_OK);
    CU_ASSERT(t.t > ceiling.t);
    CU_ASSERT_EQUAL(clock_read(&a, true, buf_slice(&b.key.bytes), due), HF_OK);
    CU_ASSERT_EQUAL(a.role, CLOCK_STANDBY);
    CU_ASSERT_EQUAL(clock_draw(&a, WALL, due, &t), HF_E_NOT_LEADER);
    clock_deinit(&a);
    clock_deinit(&b);
}

/* A turn's time was read before another part of the turn read the clock again. */
static void an_older_reading_moves_nothing(void)
{
    static const uint64_t walls[] = {WALL, WALL - 5000, WALL + 3600000}; /* believed, behind what was issued, refused */
    for (size_t i = 0; i < sizeof walls / sizeof walls[0]; i++) {
        struct clock c = fresh_active(MS, 0), standby;
        struct hlc t = {0};
        CU_ASSERT_EQUAL(clock_draw(&c, WALL, 2 * MS, &t), HF_OK);
        uint64_t now = hlc_ms(clock_now(&c, walls[i], 20 * MS));
        CU_ASSERT(hlc_ms(clock_now(&c, walls[i], 10 * MS)) <= now + 20);
        CU_ASSERT_EQUAL(clock_wish(&c, walls[i], 10 * MS), CLOCK_NOTHING); /* it was renewed a moment ago */
        CU_ASSERT(hlc_ms(c.wanted) < WALL + 3700000);
        CU_ASSERT_EQUAL(clock_draw(&c, walls[i], 10 * MS, &t), HF_OK);
        CU_ASSERT(hlc_ms(t) <= now + 20);
        (void)clock_now(&c, WALL, 30 * MS); /* believed at a later reading than the one at which it is refused */
        CU_ASSERT(hlc_ms(clock_now(&c, WALL + 3600000, 10 * MS)) <= now + 20);
        clock_init(&standby, 2, "tcp://b", 200);
        CU_ASSERT_EQUAL(clock_read(&standby, true, buf_slice(&c.key.bytes), 20 * MS), HF_OK);
        CU_ASSERT_EQUAL(clock_wish(&standby, walls[i], 10 * MS), CLOCK_NOTHING); /* it saw the key change just now */
        CU_ASSERT_TRUE(clock_other_alive(&standby, 10 * MS));
        clock_deinit(&standby);
        clock_deinit(&c);
    }
}

static void two_processes_with_one_id_are_told_apart(void)
{
    struct clock a, b;
    clock_init(&a, 1, "tcp://a", 100);
    clock_init(&b, 1, "tcp://a", 101);
    CU_ASSERT_EQUAL(clock_read(&a, false, nothing, MS), HF_OK);
    CU_ASSERT_EQUAL(clock_read(&b, false, nothing, MS), HF_OK);
    CU_ASSERT_EQUAL(clock_wish(&a, WALL, MS), CLOCK_PROPOSE);
    CU_ASSERT_EQUAL(clock_wish(&b, WALL, MS), CLOCK_PROPOSE);
    clock_sent(&a, MS);
    clock_sent(&b, MS);
    clock_proposed(&a, HF_OK, 2 * MS);
    clock_proposed(&b, HF_E_COMPARE_FAILED, 2 * MS);
    CU_ASSERT_EQUAL(clock_read(&b, true, buf_slice(&a.key.bytes), 3 * MS), HF_OK);
    CU_ASSERT_EQUAL(b.role, CLOCK_STANDBY);
    clock_deinit(&a);
    clock_deinit(&b);
}

static void wall_jumps(void)
{
    struct clock c = fresh_active(MS, 0);
    struct hlc before = {0}, t = {0};
    CU_ASSERT_EQUAL(clock_draw(&c, WALL + 100, 101 * MS, &before), HF_OK);
    CU_ASSERT_EQUAL(clock_draw(&c, WALL - 3600000, 102 * MS, &t), HF_OK); /* backwards: ignored */
    CU_ASSERT_EQUAL(t.t, before.t + 1);
    CU_ASSERT_FALSE(c.wall_refused);
    uint64_t far = hlc_ms(c.ceiling) + CLOCK_JUMP_MS_MAX + 1;
    CU_ASSERT_EQUAL(clock_draw(&c, WALL + 150, 151 * MS, &t), HF_OK);
    CU_ASSERT_EQUAL(clock_draw(&c, far, 251 * MS, &t), HF_OK); /* forwards: refused, time goes on by the other clock */
    CU_ASSERT_TRUE(c.wall_refused);
    CU_ASSERT_EQUAL(hlc_ms(t), WALL + 250);
    CU_ASSERT(hlc_ms(clock_now(&c, far, 251 * MS)) < far);
    CU_ASSERT_EQUAL(clock_draw(&c, WALL + 300, 301 * MS, &t), HF_OK);
    CU_ASSERT_FALSE(c.wall_refused);
    CU_ASSERT_EQUAL(hlc_ms(t), WALL + 300);
    clock_deinit(&c);
}

static void behind_the_last_timestamp_time_goes_on_slowly(void)
{
    struct clock c = fresh_active(MS, 0);
    struct hlc t = {0}, before = {0};
    CU_ASSERT_EQUAL(clock_draw(&c, WALL + 100, 101 * MS, &before), HF_OK);
    uint64_t back = WALL - 3600000, at = 102 * MS;
    for (uint64_t i = 0; i <= 1000; i++, before = t) { /* drawn often or not, the pace is the same */
        CU_ASSERT_EQUAL(clock_draw(&c, back + i, at + i * MS, &t), HF_OK);
        CU_ASSERT(t.t > before.t);
    }
    CU_ASSERT(hlc_ms(t) >= WALL + 599 && hlc_ms(t) <= WALL + 601);
    CU_ASSERT_EQUAL(clock_draw(&c, back, 2102 * MS, &t), HF_OK);
    CU_ASSERT(hlc_ms(t) >= WALL + 1099 && hlc_ms(t) <= WALL + 1101);
    CU_ASSERT_EQUAL(clock_draw(&c, WALL + 2100, 2103 * MS, &t), HF_OK); /* right again: followed */
    CU_ASSERT_EQUAL(hlc_ms(t), WALL + 2100);
    struct hlc above = hlc_from_ms(WALL + 2500);
    CU_ASSERT_EQUAL(clock_draw_above(&c, above, WALL + 2100, 2103 * MS, &t), HF_OK); /* goes on from there */
    CU_ASSERT_EQUAL(t.t, above.t + 1);
    CU_ASSERT_EQUAL(clock_draw(&c, WALL + 2200, 2203 * MS, &t), HF_OK);
    CU_ASSERT(hlc_ms(t) >= WALL + 2549 && hlc_ms(t) <= WALL + 2551);
    CU_ASSERT_EQUAL(clock_draw(&c, back, 60000 * MS, &before), HF_OK); /* never to the ceiling (I8) */
    CU_ASSERT(before.t > t.t && before.t < c.ceiling.t);
    clock_deinit(&c);
}

/* Sends what the clock wishes, and it stands at once. */
static void propose_now(struct clock *c, uint64_t wall, uint64_t boot)
{
    CU_ASSERT_EQUAL_FATAL(clock_wish(c, wall, boot), CLOCK_PROPOSE);
    clock_sent(c, boot);
    clock_proposed(c, HF_OK, boot);
}

static void a_jump_is_followed_once_it_is_accepted_and_committed(void)
{
    struct clock c = fresh_active(MS, 0);
    struct clock_accepted accepted = {0};
    struct hlc t = {0}, before = {0};
    uint64_t hour = WALL + 3600000, later = 200 * MS;
    CU_ASSERT_EQUAL(clock_draw(&c, WALL, MS, &before), HF_OK);
    CU_ASSERT_EQUAL(clock_accept(&c, WALL, MS, &accepted), HF_E_NOT_FOUND);
    CU_ASSERT_EQUAL(clock_accept(&c, WALL + 60000, MS, &accepted), HF_E_NOT_FOUND); /* believed without */
    CU_ASSERT_EQUAL(clock_draw(&c, WALL + 100, 101 * MS, &before), HF_OK);
    CU_ASSERT_EQUAL(clock_accept(&c, hour, later, &accepted), HF_E_OUTCOME_UNKNOWN);
    CU_ASSERT_EQUAL(clock_draw(&c, hour, later, &t), HF_OK); /* as yet below the old ceiling */
    CU_ASSERT(t.t > before.t && hlc_ms(t) < WALL + CLOCK_CEILING_AHEAD_MS);
    propose_now(&c, hour, later); /* at once, not at the next renewal */
    CU_ASSERT_EQUAL(clock_accept(&c, hour + 5, later, &accepted), HF_OK);
    CU_ASSERT(accepted.from_ms == WALL + 199 && accepted.to_ms == hour);
    CU_ASSERT_FALSE(c.wall_refused);
    CU_ASSERT_EQUAL(clock_draw(&c, hour + 5, later, &t), HF_OK);
    CU_ASSERT_EQUAL(hlc_ms(t), hour + 5);
    CU_ASSERT_EQUAL(clock_accept(&c, hour + 6, later, &accepted), HF_E_NOT_FOUND);
    CU_ASSERT_EQUAL(clock_draw(&c, hour + 3600000, later, &t), HF_OK); /* one jump was accepted, not every one */
    CU_ASSERT(c.wall_refused && hlc_ms(t) < hour + 1000);
    CU_ASSERT_EQUAL(clock_accept(&c, 1ull << 45, later, &accepted), HF_E_REFUSED);
    clock_deinit(&c);
}

static void an_acceptance_ends_with_the_role(void)
{
    struct clock a = fresh_active(MS, 0), b;
    struct clock_accepted accepted;
    uint64_t hour = WALL + 3600000, due = 10 * MS + TAKEOVER_NS;
    clock_init(&b, 2, "tcp://b", 200);
    CU_ASSERT_EQUAL(clock_accept(&b, hour, MS, &accepted), HF_E_NOT_LEADER);
    CU_ASSERT_EQUAL(clock_read(&b, true, buf_slice(&a.key.bytes), 10 * MS), HF_OK);
    CU_ASSERT_EQUAL(clock_accept(&a, hour, 10 * MS, &accepted), HF_E_OUTCOME_UNKNOWN);
    propose_now(&b, WALL, due);
    CU_ASSERT_EQUAL(clock_read(&a, true, buf_slice(&b.key.bytes), due), HF_OK);
    CU_ASSERT_EQUAL(clock_accept(&a, hour, due, &accepted), HF_E_NOT_LEADER);
    CU_ASSERT(hlc_ms(clock_now(&a, hour, due)) < hour && a.wall_refused);
    clock_deinit(&a);
    clock_deinit(&b);
}

static void the_skew_is_against_the_oracles_time(void)
{
    struct clock a = fresh_active(MS, 0), b;
    struct hlc t = {0};
    CU_ASSERT_EQUAL(clock_draw(&a, WALL, MS, &t), HF_OK);
    CU_ASSERT_EQUAL(clock_skew_ms(&a, WALL + 20, 21 * MS), 0); /* its own clock is the oracle's */
    CU_ASSERT_EQUAL(clock_skew_ms(&a, WALL + 3600020, 21 * MS), 3600000);
    CU_ASSERT_TRUE(a.wall_refused);
    CU_ASSERT_EQUAL(clock_skew_ms(&a, WALL - 3600000, 21 * MS), -3600000);
    clock_init(&b, 2, "tcp://b", 200);
    CU_ASSERT_EQUAL(clock_skew_ms(&b, WALL, 10 * MS), 0); /* nothing is known */
    CU_ASSERT_EQUAL(clock_read(&b, true, buf_slice(&a.key.bytes), 10 * MS), HF_OK);
    clock_heard(&b, t, 20 * MS);
    clock_heard(&b, t, 25 * MS); /* nothing new */
    CU_ASSERT_EQUAL(clock_skew_ms(&b, WALL + 510, 30 * MS), 500);
    CU_ASSERT_EQUAL(clock_skew_ms(&b, WALL - 490, 30 * MS), -500);
    clock_deinit(&a);
    clock_deinit(&b);
}

static void nothing_is_issued_at_the_ceiling(void)
{
    struct clock c = fresh_active(MS, 0);
    struct hlc t = {0};
    CU_ASSERT_EQUAL(clock_draw(&c, WALL + 60000, MS, &t), HF_OK); /* wall beyond the ceiling: below it goes on */
    CU_ASSERT(t.t < c.ceiling.t);
    c.last.t = c.ceiling.t - 2;
    CU_ASSERT_EQUAL(clock_draw(&c, WALL, MS, &t), HF_OK);
    CU_ASSERT_EQUAL(clock_draw(&c, WALL, MS, &t), HF_E_UNAVAILABLE);
    clock_check(&c);
    clock_deinit(&c);
}

static void damaged_and_absurd_input_changes_nothing(void)
{
    struct clock c = fresh_active(MS, 0);
    CU_ASSERT_EQUAL(clock_read(&c, true, slice_text("\xff\xff\xff"), 2 * MS), HF_E_CORRUPT);
    Hf__Catalog__Oracle oracle = HF__CATALOG__ORACLE__INIT; /* a ceiling never falls again: not one of nobody's clock */
    struct buf value = {0};
    struct hlc before = c.ceiling;
    oracle.ceiling = CLOCK_CEILING_MAX;
    pack_append(&oracle.base, &value);
    CU_ASSERT_EQUAL(clock_read(&c, true, buf_slice(&value), 2 * MS), HF_E_CORRUPT);
    CU_ASSERT(c.ceiling.t == before.t && c.key.epoch == 1);
    buf_deinit(&value);
    CU_ASSERT_EQUAL(c.role, CLOCK_ACTIVE);
    clock_observe(&c, (struct hlc){1ull << 63});
    CU_ASSERT_EQUAL(c.seen.t, 0);
    clock_deinit(&c);
}

/* ---- random schedules ---- */

#define PLAYERS 3
#define STEPS 4000
#define FLIGHTS 64

struct flight { /* a question on its way: reaches the key at `at`, its answer is back at `back` unless lost */
    bool used, applied, read, lost;
    int player;
    unsigned life; /* of the asking process */
    uint64_t at, back;
    struct buf expected, value;
    bool expect_present, present;
    int code;
};

struct world {
    struct random random;
    uint64_t now;
    struct buf key;
    bool present;
    struct clock clocks[PLAYERS];
    unsigned lives[PLAYERS];
    bool open[PLAYERS];
    uint64_t give_up[PLAYERS], paused[PLAYERS], next[PLAYERS];
    int64_t offset_ms[PLAYERS];
    struct flight flights[FLIGHTS];
    struct hlc newest;
    uint64_t issued, takeovers, accepted, bad;
};

static uint64_t wall(const struct world *w, int p)
{
    return (uint64_t)((int64_t)(WALL + w->now / MS) + w->offset_ms[p]);
}

static void copy(struct buf *to, struct slice from)
{
    buf_clear(to);
    buf_append(to, from.data, from.size);
}

static void set_out(struct world *w, int p, bool read)
{
    struct clock *c = &w->clocks[p];
    struct flight *f = NULL;
    for (int i = 0; i < FLIGHTS && f == NULL; i++)
        if (!w->flights[i].used)
            f = &w->flights[i];
    if (f == NULL)
        return;
    if (!read)
        clock_sent(c, w->now);
    uint64_t slow = random_below(&w->random, 8) == 0 ? 6000 : 40; /* some are stuck in a log for seconds */
    f->used = true;
    f->applied = false;
    f->read = read;
    f->lost = random_below(&w->random, 10) == 0;
    f->player = p;
    f->life = w->lives[p];
    f->at = w->now + random_below(&w->random, slow) * MS;
    f->back = f->at + random_below(&w->random, 40) * MS;
    f->expect_present = c->key.present;
    copy(&f->expected, buf_slice(&c->key.bytes));
    copy(&f->value, read ? nothing : buf_slice(&c->proposal));
    w->open[p] = true;
    w->give_up[p] = w->now + 1000 * MS;
}

static void apply(struct world *w, struct flight *f)
{
    f->applied = true;
    if (f->read) {
        f->present = w->present;
        copy(&f->value, buf_slice(&w->key));
        return;
    }
    bool equal = w->present == f->expect_present && slice_equal(buf_slice(&w->key), buf_slice(&f->expected));
    f->code = equal ? HF_OK : HF_E_COMPARE_FAILED;
    if (equal) {
        copy(&w->key, buf_slice(&f->value));
        w->present = true;
    }
}

static void answer(struct world *w, struct flight *f)
{
    int p = f->player;
    f->used = false;
    if (f->lost || f->life != w->lives[p] || !w->open[p])
        return;
    w->open[p] = false;
    bool was = w->clocks[p].role == CLOCK_ACTIVE;
    if (f->read)
        CU_ASSERT_EQUAL(clock_read(&w->clocks[p], f->present, buf_slice(&f->value), w->now), HF_OK)
    else
        clock_proposed(&w->clocks[p], f->code, w->now);
    w->takeovers += !was && w->clocks[p].role == CLOCK_ACTIVE;
}

static void deliver(struct world *w)
{
    for (int i = 0; i < FLIGHTS; i++)
        if (w->flights[i].used && !w->flights[i].applied && w->flights[i].at <= w->now)
            apply(w, &w->flights[i]);
    for (int i = 0; i < FLIGHTS; i++) {
        struct flight *f = &w->flights[i];
        if (f->used && f->applied && f->back <= w->now && w->paused[f->player] <= w->now)
            answer(w, f);
    }
}

static void trouble(struct world *w, int p)
{
    switch (random_below(&w->random, 400)) {
    case 0: /* killed, back at once under the same id */
        clock_deinit(&w->clocks[p]);
        clock_init(&w->clocks[p], (uint32_t)p + 1, "tcp://x", random_next(&w->random) >> 8);
        w->lives[p]++;
        w->open[p] = false;
        break;
    case 1: /* stopped for a while */
        w->paused[p] = w->now + random_below(&w->random, 8000) * MS;
        break;
    case 2: /* its wall clock is set */
        w->offset_ms[p] = (int64_t)random_below(&w->random, 7200000) - 3600000;
        break;
    case 3:
        w->offset_ms[p] = 0;
        break;
    case 4:
        w->offset_ms[p] = (int64_t)random_below(&w->random, 2000) - 1000;
        break;
    case 5: { /* an operator accepts whatever it shows */
        struct clock_accepted accepted;
        w->accepted += clock_accept(&w->clocks[p], wall(w, p), w->now, &accepted) == HF_E_OUTCOME_UNKNOWN;
        break;
    }
    default:
        break;
    }
}

static void act(struct world *w, int p)
{
    struct clock *c = &w->clocks[p];
    struct hlc t;
    if (w->open[p] && w->give_up[p] <= w->now) { /* an answer that comes later finds nobody */
        w->open[p] = false;
        w->lives[p]++;
        if (c->proposal.size > 0 && !c->must_read)
            clock_proposed(c, HF_E_OUTCOME_UNKNOWN, w->now);
    }
    if (!w->open[p] && w->next[p] <= w->now) {
        w->next[p] = w->now + 20 * MS;
        switch (clock_wish(c, wall(w, p), w->now)) {
        case CLOCK_NOTHING:
            break;
        case CLOCK_READ:
            set_out(w, p, true);
            break;
        case CLOCK_PROPOSE:
            set_out(w, p, false);
            break;
        }
    }
    for (uint64_t n = random_below(&w->random, 4); n > 0; n--) {
        if (clock_draw(c, wall(w, p), w->now, &t) != HF_OK || !clock_holds(c, w->now))
            break;
        w->bad += t.t <= w->newest.t;
        w->newest = t;
        w->issued++;
        clock_check(c);
    }
}

static void run(struct world *w, uint64_t seed)
{
    *w = (struct world){.random = {seed}, .now = 1000 * MS};
    for (int p = 0; p < PLAYERS; p++)
        clock_init(&w->clocks[p], (uint32_t)p + 1, "tcp://x", random_next(&w->random) >> 8);
    for (int step = 0; step < STEPS; step++) {
        w->now += random_below(&w->random, 30) * MS;
        deliver(w);
        for (int p = 0; p < PLAYERS; p++) {
            if (w->paused[p] > w->now)
                continue;
            trouble(w, p);
            act(w, p);
        }
    }
    for (int p = 0; p < PLAYERS; p++)
        clock_deinit(&w->clocks[p]);
    for (int i = 0; i < FLIGHTS; i++) {
        buf_deinit(&w->flights[i].expected);
        buf_deinit(&w->flights[i].value);
    }
    buf_deinit(&w->key);
}

static uint64_t only_seed;

static void timestamps_only_grow_whatever_happens(void)
{
    static struct world w;
    uint64_t issued = 0, takeovers = 0, accepted = 0;
    uint64_t first = only_seed ? only_seed : 1, last = only_seed ? only_seed : 200;
    for (uint64_t seed = first; seed <= last; seed++) {
        run(&w, seed);
        issued += w.issued;
        takeovers += w.takeovers;
        accepted += w.accepted;
        CU_ASSERT_EQUAL(w.bad, 0);
        if (w.bad)
            fprintf(stderr, "replay: test_coordinator_clock %llu\n", (unsigned long long)seed);
    }
    if (!only_seed) { /* the schedules must have been worth it */
        CU_ASSERT(issued > 100000);
        CU_ASSERT(takeovers > 400);
        CU_ASSERT(accepted > 50);
    }
    printf(" [%llu issued, %llu take-overs, %llu jumps accepted] ", (unsigned long long)issued,
           (unsigned long long)takeovers, (unsigned long long)accepted);
}

int main(int argc, char **argv)
{
    static const struct unit_case cases[] = {
        {"a fresh cluster is taken at once", a_fresh_cluster_is_taken_at_once},
        {"time begins where the first ceiling was reckoned", time_begins_where_the_first_ceiling_was_reckoned},
        {"the lease counts from the sending", the_lease_counts_from_the_sending},
        {"an unanswered proposal stays the same", an_unanswered_proposal_stays_the_same},
        {"a standby takes over one lease after the last change", a_standby_takes_over_one_lease_after_the_last_change},
        {"an older reading moves nothing", an_older_reading_moves_nothing},
        {"two processes with one id are told apart", two_processes_with_one_id_are_told_apart},
        {"wall jumps", wall_jumps},
        {"behind the last timestamp time goes on slowly", behind_the_last_timestamp_time_goes_on_slowly},
        {"a jump is followed once it is accepted and committed", a_jump_is_followed_once_it_is_accepted_and_committed},
        {"an acceptance ends with the role", an_acceptance_ends_with_the_role},
        {"the skew is against the oracle's time", the_skew_is_against_the_oracles_time},
        {"nothing is issued at the ceiling", nothing_is_issued_at_the_ceiling},
        {"damaged and absurd input changes nothing", damaged_and_absurd_input_changes_nothing},
        {"timestamps only grow, whatever happens", timestamps_only_grow_whatever_happens},
    };
    only_seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    return UNIT_MAIN("coordinator/clock", cases);
}
