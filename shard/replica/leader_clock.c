/* leader_clock.c: see leader_clock.h. */
#include "shard/replica/leader_clock.h"

#include "common/sys/failpoint.h"

#define ANSWER_NS                                                                                                      \
    (500 * CLOCK_NS_PER_MS) /* a beat takes 50 ms, an answer less; a coordinator may just be taking over */

void leader_clock_begin(struct leader_clock *c, const struct fsm_info *info, uint64_t question, uint64_t now_ns)
{
    must(c->state == LEADER_CLOCK_IDLE && question != 0);
    stamp_observe(&c->stamp, info->restart); /* a predecessor stamped from there */
    stamp_observe(&c->stamp, info->collected.below);
    stamp_continue(&c->stamp,
                   planted_bug("clock.sequence_anew") ? (struct version){.t = info->newest.t} : info->newest);
    c->state = planted_bug("clock.no_fresh_timestamp") ? LEADER_CLOCK_GOING : LEADER_CLOCK_ASKING;
    c->question = question;
    c->since_ns = now_ns;
    c->waited = c->beat = false;
}

void leader_clock_end(struct leader_clock *c)
{
    c->state = LEADER_CLOCK_IDLE;
    c->hold = 0;
}

void leader_clock_observe(struct leader_clock *c, struct hlc t, uint64_t answers)
{
    stamp_observe(&c->stamp, t);
    c->beat = true;
    bool any = answers != 0 && planted_bug("clock.any_answer");
    if (c->state == LEADER_CLOCK_ASKING && (answers == c->question || any))
        c->state = LEADER_CLOCK_GOING;
}

void leader_clock_wait(struct leader_clock *c)
{
    c->waited = true;
}

bool leader_clock_give_up(struct leader_clock *c, const struct fsm_info *info, uint64_t now_ns)
{
    if (c->state != LEADER_CLOCK_ASKING || !c->waited || now_ns - c->since_ns < ANSWER_NS)
        return false;
    c->mark = hlc_max(c->stamp.observed, info->ceiling);
    bool says = info->feature_level >= FSM_FEATURE_RESTART && info->restart.t < c->mark.t;
    if (says && !planted_bug("clock.no_restart_mark")) {
        c->state = LEADER_CLOCK_MARKING;
        return true;
    }
    stamp_observe(&c->stamp, c->mark);
    c->state = LEADER_CLOCK_GOING;
    return false;
}

void leader_clock_applied(struct leader_clock *c, const struct fsm_info *info)
{
    if (c->state != LEADER_CLOCK_MARKING || info->restart.t < c->mark.t)
        return;
    stamp_observe(&c->stamp, info->restart); /* not before: until it is committed another leader may not know of it */
    c->state = LEADER_CLOCK_GOING;
}

void leader_clock_refused(struct leader_clock *c)
{
    must(c->state == LEADER_CLOCK_MARKING);
    c->state = LEADER_CLOCK_ASKING;
}

void leader_clock_hold(struct leader_clock *c, uint64_t id, uint64_t now_ns)
{
    must(c->state == LEADER_CLOCK_GOING && id != 0);
    c->hold = id;
    c->hold_until_ns = now_ns + LEADER_CLOCK_HOLD_NS;
}

bool leader_clock_held(struct leader_clock *c, uint64_t now_ns)
{
    if (c->hold != 0 && now_ns >= c->hold_until_ns)
        c->hold = 0;
    return c->hold != 0;
}

bool leader_clock_release(struct leader_clock *c, uint64_t id)
{
    if (c->hold != id)
        return false;
    c->hold = 0;
    return true;
}

struct hlc leader_clock_time(const struct leader_clock *c, const struct fsm_info *info)
{
    struct hlc known = hlc_max(info->newest.t, info->restart), observed = c->stamp.observed;
    /* A commit was observed before its entry is committed, whatever the ceiling: no leader after this one has to know of it. */
    if (observed.t > info->ceiling.t && !planted_bug("clock.time_above_ceiling"))
        observed = info->ceiling;
    return hlc_max(observed, known);
}
