/* collector.c: see collector.h. */
#include "shard/replica/collector.h"

#include "common/sys/clock.h"

#define RETAIN_NS (10 * CLOCK_NS_PER_MS * 1000) /* leases come each second */
#define IDLE_MS 200u                            /* how often it is looked whether something is due, */
#define WAIT_MS 5u                              /* whether what was proposed is applied */
#define RAISES_A_RETENTION 20u                  /* the watermark goes up in steps of that part of it, */
#define RAISE_MS_MIN 50u                        /* within these */
#define RAISE_MS_MAX 10000u
#define PASSES_A_RETENTION 4u /* at most: each reads everything */

void collector_retain(struct collector *c, struct hlc retain, struct hlc said, uint64_t now_ns)
{
    if (said.t < c->said.t)
        return;
    c->said = said;
    c->retain = retain;
    c->retain_until_ns = now_ns + RETAIN_NS;
}

void collector_end(struct collector *c)
{
    c->retain = c->said = (struct hlc){0};
    c->index = 0;
}

/* How far the watermark may go now; 0: no word. */
static struct hlc may_be(const struct collector *c, struct hlc time, uint64_t now_ns)
{
    uint64_t ms = hlc_ms(time);
    if (c->retain.t == 0 || now_ns >= c->retain_until_ns || ms <= c->retention_ms)
        return (struct hlc){0};
    struct hlc old = hlc_from_ms(ms - c->retention_ms);
    return old.t < c->retain.t ? old : c->retain;
}

static bool raised_enough(const struct collector *c, struct hlc from, struct hlc to, uint64_t part)
{
    uint64_t ms = c->retention_ms / part;
    if (part == RAISES_A_RETENTION)
        ms = ms < RAISE_MS_MIN ? RAISE_MS_MIN : ms > RAISE_MS_MAX ? RAISE_MS_MAX : ms;
    return to.t > from.t && hlc_ms(to) - hlc_ms(from) >= ms;
}

/* Would a pass find anything that the last one left? */
static bool worth_a_pass(const struct collector *c, const struct fsm_info *info, struct hlc below)
{
    const struct fsm_collected *was = &info->collected;
    bool written = info->newest.t.t >= was->swept.t, expired = was->due.t != 0 && was->due.t <= below.t;
    return (written || expired) && raised_enough(c, was->swept, below, PASSES_A_RETENTION);
}

bool collector_due(struct collector *c, const struct fsm_info *info, struct hlc time, uint64_t now_ns,
                   struct collector_step *out)
{
    const struct fsm_collected *is = &info->collected;
    if (now_ns < c->next_ns)
        return false;
    bool waits = info->applied.index < c->index;
    c->next_ns = now_ns + (waits ? WAIT_MS : IDLE_MS) * CLOCK_NS_PER_MS;
    if (info->feature_level < FSM_FEATURE_COLLECT || waits)
        return false;
    struct hlc to = may_be(c, time, now_ns);
    *out = (struct collector_step){.below = is->below};
    if (raised_enough(c, is->below, to, RAISES_A_RETENTION))
        out->below = to;
    bool sweeps = is->pass.t != 0 || (out->below.t != 0 && worth_a_pass(c, info, out->below));
    out->steps = !sweeps ? 0 : c->steps != 0 ? c->steps : COLLECTOR_STEPS;
    if (sweeps)
        c->next_ns = now_ns + COLLECTOR_STEP_MS * CLOCK_NS_PER_MS;
    return sweeps || out->below.t > is->below.t;
}

void collector_proposed(struct collector *c, uint64_t index)
{
    c->index = index;
}
