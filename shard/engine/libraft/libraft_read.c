/* libraft_read.c: linearizable reads, which libraft does not have: rounds of empty appends, and the barriers on them.
 *
 * A round is a number that appends carry and answers echo. An answer of our term says that its sender was in no later one
 * when it answered; when a quorum has echoed a round, nobody else was elected before it was begun: barriers taken before
 * hold, at the commit index of that moment (Raft dissertation §6.4). There is no read lease: libraft does not count its
 * silence towards candidates from what a leader sent. */
#include "common/base/error.h"
#include "shard/engine/libraft/libraft_state.h"

void libraft_read_reset(struct engine *e)
{
    e->round_last = 0;
    e->barrier_head = e->barrier_tail = 0;
    e->ready = 0;
}

int libraft_barrier(struct engine *e, uint64_t id)
{
    if (!libraft_leads(e))
        return HF_E_NOT_LEADER;
    if (e->barrier_tail - e->barrier_head >= LIMIT_PENDING_REQUESTS)
        return HF_E_BUSY;
    e->barriers[e->barrier_tail++ % LIMIT_PENDING_REQUESTS] = (struct barrier){.id = id};
    return HF_OK;
}

static bool quorum_echoed(const struct engine *e, uint64_t round)
{
    size_t voters = 0, echoed = 0;
    for (uint32_t i = 0; i < e->peer_count; i++) {
        const struct peer *p = &e->peers[i];
        if (!p->voter)
            continue;
        voters++;
        echoed += p->id == e->env.replica || (p->recovering == 0 && p->round >= round);
    }
    return echoed * 2 > voters;
}

static void settle(struct engine *e)
{
    for (;;) {
        size_t at = e->barrier_head + e->ready;
        if (at == e->barrier_tail)
            return;
        const struct barrier *b = &e->barriers[at % LIMIT_PENDING_REQUESTS];
        if (b->round == 0 || !quorum_echoed(e, b->round))
            return;
        e->ready++;
    }
}

void libraft_read_echo(struct engine *e, struct peer *p, uint64_t round)
{
    if (round <= p->round || round > e->round_last)
        return;
    p->round = round;
    settle(e);
}

void libraft_read_turn(struct engine *e)
{
    bool fresh = false;
    if (!libraft_leads(e) || e->raft.commit_index < e->barrier_index)
        return; /* before an own entry is committed our commit index may be behind the group's */
    for (size_t at = e->barrier_tail; at > e->barrier_head + e->ready; at--) {
        struct barrier *b = &e->barriers[(at - 1) % LIMIT_PENDING_REQUESTS];
        if (b->round != 0)
            break;
        b->round = e->round_last + 1;
        b->index = e->raft.commit_index;
        fresh = true;
    }
    if (!fresh)
        return;
    e->round_last++;
    for (uint32_t i = 0; i < e->peer_count; i++) {
        const struct peer *p = &e->peers[i];
        if (p->voter && p->id != e->env.replica && p->recovering == 0)
            (void)libraft_io_queue(e, HF__RAFT__KIND__APPEND, p->id); /* behind nothing: all logs agree there */
    }
    settle(e);
}
