/* core_read.c: linearizable reads: heartbeat rounds, the barriers that ride on them, and the read lease.
 *
 * A round is a number that appends carry and replies echo. When a quorum has echoed a round, this replica was the
 * leader after the round was sent: barriers taken before hold (Raft dissertation §6.4), and no other leader can be
 * elected for one election time-out counted from the SENDING, by the clocks of those who answered. */
#include "common/base/error.h"
#include "shard/engine/native/core_state.h"

#define BARRIERS LIMIT_PENDING_REQUESTS

void core_read_reset(struct core *c)
{
    c->round_last = c->round_acked = 0;
    c->barrier_head = c->barrier_ready = c->barrier_sent = c->barrier_tail = 0;
    c->lease_from_ns = 0;
    for (uint32_t i = 0; i < c->peer_count; i++)
        c->peers[i].round = 0;
}

static uint64_t round_of(const struct core_peer *p)
{
    return p->round;
}

/* Rounds up to what a quorum has echoed are done: their barriers hold, the lease counts from the last one's sending. */
static void settle(struct core *c)
{
    uint64_t done = core_replicate_quorum(c, c->round_last, round_of);
    while (c->round_acked < done) {
        const struct core_round *r = &c->rounds[++c->round_acked % CORE_ROUNDS_MAX];
        for (uint32_t i = 0; i < r->barriers; i++)
            c->barriers[c->barrier_ready++ % BARRIERS].index = r->read_index;
        c->lease_from_ns = r->sent_ns;
    }
}

/* False: too many rounds are open; heartbeats go on with the last one, whose sending time stays what it was. */
bool core_read_begin_round(struct core *c)
{
    if (c->round_last - c->round_acked >= CORE_ROUNDS_MAX)
        return false;
    c->round_last++;
    struct core_round *r = &c->rounds[c->round_last % CORE_ROUNDS_MAX];
    *r = (struct core_round){.sent_ns = c->now_ns, .read_index = c->commit};
    if (c->commit >= c->noop) { /* before an own entry is committed our commit index may be behind the group's */
        r->barriers = (uint32_t)(c->barrier_tail - c->barrier_sent);
        c->barrier_sent = c->barrier_tail;
    }
    for (uint32_t i = 0; i < c->peer_count; i++)
        c->peers[i].heartbeat_due = true;
    settle(c); /* a group of one is its own quorum */
    return true;
}

void core_read_turn(struct core *c)
{
    if (c->role == CORE_LEADER && c->commit >= c->noop && c->barrier_sent != c->barrier_tail)
        (void)core_read_begin_round(c);
}

void core_read_echo(struct core *c, struct core_peer *p, uint64_t round)
{
    if (round <= p->round || round > c->round_last)
        return;
    p->round = round;
    if (p->voter && round > c->round_acked)
        settle(c);
}

int core_read_barrier(struct core *c, uint64_t id)
{
    if (c->role != CORE_LEADER)
        return HF_E_NOT_LEADER;
    if (c->barrier_tail - c->barrier_head >= BARRIERS)
        return HF_E_BUSY;
    c->barriers[c->barrier_tail++ % BARRIERS].id = id;
    return HF_OK;
}

bool core_next_barrier(struct core *c, uint64_t *out_id, uint64_t *out_index)
{
    if (c->barrier_head == c->barrier_ready)
        return false;
    const struct core_barrier *b = &c->barriers[c->barrier_head++ % BARRIERS];
    *out_id = b->id;
    *out_index = b->index;
    return true;
}

uint64_t core_lease_until(const struct core *c)
{
    if (!core_serving(c))
        return 0;
    if ((c->bugs & CORE_BUG_LEASE_UNCHECKED) != 0)
        return UINT64_MAX;
    if (c->lease_from_ns == 0 || c->lease_dead || c->transferee != 0)
        return 0;
    return c->lease_from_ns + c->election_ns - c->election_ns / 8; /* clocks may drift 12 % apart and it still holds */
}
