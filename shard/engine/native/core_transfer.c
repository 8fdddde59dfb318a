/* core_transfer.c: leadership is handed to a voter whose log is complete (Raft dissertation §3.10). */
#include "common/base/error.h"
#include "shard/engine/native/core_state.h"

static struct core_peer *most_caught_up(struct core *c)
{
    struct core_peer *best = NULL;
    for (uint32_t i = 0; i < c->peer_count; i++) {
        struct core_peer *p = &c->peers[i];
        if (p->voter && core_recover_counts(p) && c->now_ns < p->heard_ns + c->election_ns &&
            (best == NULL || p->match > best->match))
            best = p;
    }
    return best;
}

int core_transfer_start(struct core *c, uint32_t to)
{
    if (c->role != CORE_LEADER)
        return HF_E_NOT_LEADER;
    struct core_peer *p = to == 0 ? most_caught_up(c) : core_peer(c, to);
    if (p == NULL || !p->voter || !core_recover_counts(p))
        return HF_E_INVALID;
    if (c->transferee == p->id)
        return HF_OK;
    c->transferee = p->id;
    c->transfer_until_ns = c->now_ns + c->election_ns;
    c->timeout_due = false;
    core_transfer_acked(c, p);
    return HF_OK;
}

/* The transferee may have everything now. */
void core_transfer_acked(struct core *c, const struct core_peer *p)
{
    if (c->role != CORE_LEADER || p->id != c->transferee || p->match != c->last || c->timeout_due)
        return;
    c->timeout_due = true;
    c->lease_dead = true; /* before TIMEOUT_NOW, and for good: one that is late still makes its receiver campaign */
    core_trace(c, CORE_TRACE_TRANSFER, p->id, c->last);
}

void core_transfer_tick(struct core *c)
{
    if (c->transferee == 0)
        return;
    const struct core_peer *p = core_peer(c, c->transferee);
    if (p != NULL && p->voter && c->now_ns < c->transfer_until_ns) {
        if (c->now_ns + c->heartbeat_ns == c->heartbeat_at_ns) /* once a heartbeat: the first may be lost */
            core_transfer_acked(c, p);
        return;
    }
    core_trace(c, CORE_TRACE_TRANSFER_FAILED, c->transferee, p != NULL ? p->match : 0);
    c->transferee = 0;
    c->timeout_due = false;
}
