/* clock.c: see clock.h. */
#include "coordinator/clock.h"

#include <stdio.h>

#include "common/base/arena.h"
#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "coordinator/limits.h"
#include "proto/catalog.pb-c.h"
#include "proto/pack.h"

#define NS_PER_MS 1000000ull

void clock_init(struct clock *c, uint32_t id, const char *endpoint, uint64_t nonce)
{
    *c = (struct clock){.id = id, .endpoint = endpoint, .nonce = nonce};
}

void clock_deinit(struct clock *c)
{
    buf_deinit(&c->key.bytes);
    buf_deinit(&c->proposal);
}

void clock_check(const struct clock *c)
{
    must(c->role != CLOCK_ACTIVE || c->last.t < c->ceiling.t); /* I8: issued below the committed ceiling only */
    must(c->role != CLOCK_ACTIVE || (c->key_known && c->key.present));
}

/* Who calls may have read the clock before somebody else did: then no time has passed. */
static uint64_t since(uint64_t boot_ns, uint64_t then_ns)
{
    return boot_ns > then_ns ? boot_ns - then_ns : 0;
}

/* The wall clock as far as it is believed: further than ten minutes above the last committed ceiling it is not, and
 * time goes on from the last believed moment at the rate of CLOCK_BOOTTIME. */
static uint64_t believed_ms(struct clock *c, uint64_t wall_ms, uint64_t boot_ns)
{
    uint64_t ceiling_ms = hlc_ms(c->ceiling);
    if (ceiling_ms < c->accepted_ms)
        ceiling_ms = c->accepted_ms; /* an operator vouches for what the ceiling does for the rest */
    c->wall_refused = ceiling_ms != 0 && wall_ms > ceiling_ms + CLOCK_JUMP_MS_MAX;
    if (!c->wall_refused) {
        c->anchor_ms = wall_ms;
        c->anchor_ns = boot_ns;
        return wall_ms;
    }
    if (c->anchor_ns == 0 || c->anchor_ms > ceiling_ms + CLOCK_JUMP_MS_MAX) {
        c->anchor_ms = ceiling_ms; /* nothing was believed since the ceiling became known */
        c->anchor_ns = boot_ns;
    }
    return c->anchor_ms + since(boot_ns, c->anchor_ns) / NS_PER_MS;
}

struct hlc clock_now(struct clock *c, uint64_t wall_ms, uint64_t boot_ns)
{
    struct hlc wall = hlc_from_ms(believed_ms(c, wall_ms, boot_ns));
    return hlc_max(wall, hlc_max(c->last, c->seen));
}

void clock_observe(struct clock *c, struct hlc t)
{
    if (t.t < c->ceiling.t)
        c->seen = hlc_max(c->seen, t);
}

void clock_heard(struct clock *c, struct hlc t, uint64_t boot_ns)
{
    uint64_t before = c->seen.t;
    clock_observe(c, t);
    if (c->seen.t > before)
        c->seen_ns = boot_ns;
}

int clock_accept(struct clock *c, uint64_t wall_ms, uint64_t boot_ns, struct clock_accepted *out)
{
    if (c->role != CLOCK_ACTIVE)
        return HF_E_NOT_LEADER;
    uint64_t now_ms = hlc_ms(clock_now(c, wall_ms, boot_ns));
    if (c->accepted_ms == 0) {
        if (!c->wall_refused)
            return HF_E_NOT_FOUND;
        if (wall_ms >= hlc_ms((struct hlc){CLOCK_CEILING_MAX}) - CLOCK_JUMP_MS_MAX)
            return HF_E_REFUSED; /* its ceiling would never be read again */
        c->accepted_from_ms = now_ms;
        c->accepted_ms = wall_ms;
        c->wanted = hlc_max(c->wanted, hlc_from_ms(wall_ms));
    }
    if (hlc_ms(c->ceiling) <= c->accepted_ms)
        return HF_E_OUTCOME_UNKNOWN;
    *out = (struct clock_accepted){.from_ms = c->accepted_from_ms, .to_ms = c->accepted_ms};
    c->accepted_ms = 0;
    return HF_OK;
}

int64_t clock_skew_ms(struct clock *c, uint64_t wall_ms, uint64_t boot_ns)
{
    uint64_t now_ms = hlc_ms(clock_now(c, wall_ms, boot_ns)); /* judges the wall clock as well */
    if (c->role != CLOCK_ACTIVE) {
        if (c->seen.t == 0)
            return 0;
        now_ms = hlc_ms(c->seen) + since(boot_ns, c->seen_ns) / NS_PER_MS;
    }
    return (int64_t)wall_ms - (int64_t)now_ms;
}

bool clock_other_alive(const struct clock *c, uint64_t boot_ns)
{
    return c->role == CLOCK_STANDBY && c->key_known && c->key.present &&
           since(boot_ns, c->changed_ns) < CLOCK_LEASE_MS * NS_PER_MS;
}

static void propose(struct clock *c, uint64_t wall_ms, uint64_t boot_ns)
{
    bool mine = c->role == CLOCK_ACTIVE;
    c->proposal_now = clock_now(c, wall_ms, boot_ns);
    struct hlc floor = hlc_max(c->proposal_now, c->ceiling);
    if (mine) /* a ceiling moves with time: the old one plus three seconds each second would run away */
        floor = hlc_max(c->proposal_now, c->wanted);
    c->proposal_ceiling = hlc_max(c->ceiling, hlc_add_ms(floor, CLOCK_CEILING_AHEAD_MS));
    c->proposal_epoch = mine ? c->key.epoch : c->key.present ? c->key.epoch + 1 : 1;
    c->proposal_beat = mine ? c->key.beat + 1 : c->nonce;
    Hf__Catalog__Oracle value = HF__CATALOG__ORACLE__INIT;
    value.epoch = c->proposal_epoch;
    value.coordinator = c->id;
    value.endpoint = (char *)(uintptr_t)c->endpoint;
    value.ceiling = c->proposal_ceiling.t;
    value.beat = c->proposal_beat;
    buf_clear(&c->proposal);
    pack_append(&value.base, &c->proposal);
    c->proposal_sent_ns = 0;
    c->proposal_doubtful = false;
}

enum clock_wish clock_wish(struct clock *c, uint64_t wall_ms, uint64_t boot_ns)
{
    if (c->must_read || !c->key_known)
        return CLOCK_READ;
    if (c->proposal.size > 0)
        return CLOCK_PROPOSE;
    if (c->role == CLOCK_ACTIVE) {
        bool raise = c->wanted.t + 1 >= c->ceiling.t;
        if (!raise && since(boot_ns, c->renewed_ns) < CLOCK_RENEW_MS * NS_PER_MS)
            return CLOCK_NOTHING;
        propose(c, wall_ms, boot_ns);
        return CLOCK_PROPOSE;
    }
    /* One lease time after the last change seen, whoever made it: its lease counts from an earlier moment. */
    uint64_t wait_ms = CLOCK_LEASE_MS + CLOCK_TAKEOVER_MARGIN_MS;
    if (!c->key.present || since(boot_ns, c->changed_ns) >= wait_ms * NS_PER_MS) {
        propose(c, wall_ms, boot_ns);
        return CLOCK_PROPOSE;
    }
    return since(boot_ns, c->read_ns) >= CLOCK_WATCH_MS * NS_PER_MS ? CLOCK_READ : CLOCK_NOTHING;
}

void clock_sent(struct clock *c, uint64_t boot_ns)
{
    must(c->proposal.size > 0);
    if (!c->proposal_doubtful)
        c->proposal_sent_ns = boot_ns;
}

/* Our proposal is what the key holds. */
static void stands(struct clock *c, uint64_t boot_ns)
{
    if (c->role == CLOCK_STANDBY) { /* every older timestamp is below the old ceiling */
        c->last = hlc_max(hlc_max(c->last, c->seen), c->ceiling);
        c->last =
            hlc_max(c->last, c->proposal_now); /* the wall clock may have fallen since, and shards know that time */
    }
    c->role = CLOCK_ACTIVE;
    c->ceiling = hlc_max(c->ceiling, c->proposal_ceiling);
    c->key_known = true;
    c->key.present = true;
    c->key.epoch = c->proposal_epoch;
    c->key.beat = c->proposal_beat;
    c->key.coordinator = c->id;
    c->key.ceiling = c->proposal_ceiling;
    buf_clear(&c->key.bytes);
    buf_append(&c->key.bytes, c->proposal.data, c->proposal.size);
    snprintf(c->key_endpoint, sizeof c->key_endpoint, "%s", c->endpoint);
    buf_clear(&c->proposal);
    c->changed_ns = c->read_ns = boot_ns;
    c->renewed_ns = c->proposal_sent_ns;
    c->lease_end_ns = c->proposal_sent_ns + CLOCK_LEASE_MS * NS_PER_MS; /* from the sending, not from the answer */
    c->must_read = false;
    clock_check(c);
}

void clock_proposed(struct clock *c, int code, uint64_t boot_ns)
{
    must(c->proposal.size > 0);
    if (code == HF_OK) {
        stands(c, boot_ns);
        return;
    }
    if (code == HF_E_COMPARE_FAILED) { /* perhaps against an earlier copy of itself: the key tells */
        c->must_read = true;
        return;
    }
    if (error_class(code) == HF_CLASS_OUTCOME_UNKNOWN) {
        c->proposal_doubtful = true;
        c->must_read = true;
        return;
    }
    if (!c->proposal_doubtful)
        buf_clear(&c->proposal); /* surely not done: the next one may differ */
}

int clock_read(struct clock *c, bool present, struct slice value, uint64_t boot_ns)
{
    struct arena arena = {0};
    Hf__Catalog__Oracle *oracle = NULL;
    if (present) {
        oracle = pack_unpack(&hf__catalog__oracle__descriptor, value, &arena);
        if (oracle == NULL || oracle->ceiling >= CLOCK_CEILING_MAX ||
            strnlen(oracle->endpoint, LIMIT_TEXT_BYTES + 1) > LIMIT_TEXT_BYTES) {
            arena_deinit(&arena);
            return HF_E_CORRUPT; /* I11 */
        }
    }
    c->must_read = false;
    c->read_ns = boot_ns;
    bool same = c->key_known && c->key.present == present && slice_equal(buf_slice(&c->key.bytes), value);
    if (present && c->proposal.size > 0 && slice_equal(buf_slice(&c->proposal), value)) {
        stands(c, boot_ns);
    } else if (!same) { /* somebody else wrote: what we proposed against older bytes can never stand any more */
        c->role = CLOCK_STANDBY;
        c->wanted = (struct hlc){0};
        c->accepted_ms = 0; /* it was said to the active one */
        buf_clear(&c->proposal);
        c->key_known = true;
        c->key.present = present;
        c->key.epoch = oracle ? oracle->epoch : 0;
        c->key.beat = oracle ? oracle->beat : 0;
        c->key.coordinator = oracle ? oracle->coordinator : 0;
        c->key.ceiling.t = oracle ? oracle->ceiling : 0;
        c->ceiling = hlc_max(c->ceiling, c->key.ceiling);
        buf_clear(&c->key.bytes);
        buf_append(&c->key.bytes, value.data, value.size);
        snprintf(c->key_endpoint, sizeof c->key_endpoint, "%s", oracle ? oracle->endpoint : "");
        c->changed_ns = boot_ns;
    }
    arena_deinit(&arena);
    return HF_OK;
}

/* What time it is for who draws. Behind what was issued the wall clock says nothing; time goes on at half the pace of
 * CLOCK_BOOTTIME then: what has a time to live ends, and a wall clock that is right catches up. */
static uint64_t drawn_ms(struct clock *c, uint64_t wall_ms, uint64_t boot_ns)
{
    uint64_t now_ms = believed_ms(c, wall_ms, boot_ns), last_ms = hlc_ms(c->last);
    if (now_ms >= last_ms) {
        c->behind_ns = 0;
        return now_ms;
    }
    uint64_t slow_ms = c->behind_ms + since(boot_ns, c->behind_ns) / NS_PER_MS / 2;
    if (c->behind_ns != 0 && slow_ms >= last_ms)
        return slow_ms;
    c->behind_ms = last_ms;
    c->behind_ns = boot_ns;
    return last_ms;
}

int clock_draw(struct clock *c, uint64_t wall_ms, uint64_t boot_ns, struct hlc *out)
{
    if (c->role != CLOCK_ACTIVE)
        return HF_E_NOT_LEADER;
    struct hlc next = {c->last.t + 1};
    next = hlc_max(next, hlc_from_ms(drawn_ms(c, wall_ms, boot_ns)));
    if (next.t >= c->ceiling.t) /* the wall ran ahead of the ceiling: what is left below it may still be used */
        next.t = c->last.t + 1;
    if (next.t >= c->ceiling.t)
        return HF_E_UNAVAILABLE;
    must(next.t > c->last.t); /* I8 */
    c->last = next;
    *out = next;
    return HF_OK;
}

int clock_draw_above(struct clock *c, struct hlc above, uint64_t wall_ms, uint64_t boot_ns, struct hlc *out)
{
    if (c->role != CLOCK_ACTIVE)
        return HF_E_NOT_LEADER;
    if (hlc_ms(above) > hlc_ms(clock_now(c, wall_ms, boot_ns)) + CLOCK_ABOVE_MS_MAX)
        return HF_E_FUTURE_TIMESTAMP; /* I11: a client does not move everybody's time far */
    if (above.t + 1 >= c->ceiling.t) {
        c->wanted = hlc_max(c->wanted, above);
        return HF_E_NOT_READY;
    }
    c->last = hlc_max(c->last, above);
    return clock_draw(c, wall_ms, boot_ns, out);
}

bool clock_holds(const struct clock *c, uint64_t boot_ns)
{
    return c->role == CLOCK_ACTIVE && (boot_ns < c->lease_end_ns || planted_bug("clock.lease_unchecked"));
}
