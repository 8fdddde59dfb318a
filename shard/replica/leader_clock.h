/* leader_clock.h: the time a leader stamps with, and from when on it may (I8).
 *
 * Position: replica tells it of beats, of the begin and end of leadership and of what was applied; writes.c stamps with it.
 * Pure: time is an argument, nothing is sent from here. Thread: loop thread.
 *
 *     IDLE → ASKING    [leader, everything of earlier terms is applied]
 *     ASKING → GOING   [the coordinator answered with a timestamp drawn after it was asked]
 *     ASKING → MARKING [no answer in time, and somebody waits: goes on from the committed ceiling, and says so in an entry
 *                       of its own]
 *     MARKING → GOING  [that entry is applied]
 *     any → IDLE       [leadership is over]
 *
 * Why a fresh timestamp is enough: a read at T that an earlier leader served came before a quorum confirmed its leadership
 * for it, so before this leader was elected, so T was drawn before the fresh one; and what the earlier one had stamped below T
 * it waited for. Without an answer every served T is below the committed ceiling, which all leaders know: stamps from it are
 * above them. But an acknowledged write is then stamped later than timestamps still to be drawn, so nothing is read at or
 * below that ceiling any more (fsm_info.restart), by this leader or another. So it does that only for a write, or for a read
 * of the latest that cannot be answered: when a whole cluster starts, a coordinator that comes a little later is waited for.
 *
 * A hold, of a leader that is GOING: nothing of users' is stamped until it is released, so that stamps of all shards can
 * stand still at one moment (a strict cut). It ends by itself: it is the coordinator's word that counts, and who is asked
 * after that says that the hold is not the same any more.
 *
 * Before GOING no user's write is stamped. The catalog's are: nobody reads them at a timestamp, and the coordinator needs
 * them to issue one. */
#pragma once

#include <stdbool.h>

#include "common/sys/clock.h"
#include "shard/fsm/fsm.h"
#include "shard/replica/stamp.h"

#define LEADER_CLOCK_HOLD_NS                                                                                           \
    (500 * CLOCK_NS_PER_MS) /* a cut takes two rounds; a coordinator that died holds nobody longer */

enum leader_clock_state { LEADER_CLOCK_IDLE, LEADER_CLOCK_ASKING, LEADER_CLOCK_MARKING, LEADER_CLOCK_GOING };

struct leader_clock {
    enum leader_clock_state state;
    struct stamp stamp;
    uint64_t question;            /* ASKING: comes back with the answer */
    uint64_t since_ns;            /* it may lead since then */
    struct hlc mark;              /* MARKING: what the entry says */
    uint64_t hold, hold_until_ns; /* whose; 0: stamps are not held */
    bool waited;                  /* ASKING: for somebody the answer is late */
    bool beat; /* since then a timestamp came from the coordinator: this is its time, not an old ceiling */
};

/* `info` as of everything before this leader's term; question: random, not 0. */
void leader_clock_begin(struct leader_clock *c, const struct fsm_info *info, uint64_t question, uint64_t now_ns);
void leader_clock_end(struct leader_clock *c);

/* A timestamp that was issued, below the committed ceiling; `answers`: the question after which it was drawn, or 0. */
void leader_clock_observe(struct leader_clock *c, struct hlc t, uint64_t answers);

/* A write, or a read of the latest, is refused until there is a time. Not reads at a timestamp: they are what a mark ends. */
void leader_clock_wait(struct leader_clock *c);
/* Somebody waits, and the coordinator was silent for long enough: from now on MARKING, and the caller proposes an entry that says `mark`. */
bool leader_clock_give_up(struct leader_clock *c, const struct fsm_info *info, uint64_t now_ns);
/* What was applied, after each apply. */
void leader_clock_applied(struct leader_clock *c, const struct fsm_info *info);
/* The entry could not be proposed: it is tried again. */
void leader_clock_refused(struct leader_clock *c);

/* From now on until leader_clock_release or LEADER_CLOCK_HOLD_NS later; it takes the place of an earlier one, whose cut is lost. */
void leader_clock_hold(struct leader_clock *c, uint64_t id, uint64_t now_ns);
/* Is it held now? One that came to its end is gone. */
bool leader_clock_held(struct leader_clock *c, uint64_t now_ns);
/* False: it is not held by `id`; it may have been stamped since that was said. */
bool leader_clock_release(struct leader_clock *c, uint64_t id);

/* No leader before was ahead of it, and none after will be behind it: what expired by it has expired. */
struct hlc leader_clock_time(const struct leader_clock *c, const struct fsm_info *info);

/* What the coordinator is to answer; 0: nothing. */
static inline uint64_t leader_clock_question(const struct leader_clock *c)
{
    return c->state == LEADER_CLOCK_ASKING ? c->question : 0;
}

static inline bool leader_clock_going(const struct leader_clock *c)
{
    return c->state == LEADER_CLOCK_GOING;
}
