/* libraft_feed.c: at the leader: followers that libraft cannot serve are sent entries from the log instead.
 *
 * Two kinds. One is behind what libraft has in memory: libraft would send it a snapshot, and leaves it alone until an answer
 * reaches that snapshot's index or rejects it. The other lost its log (I13): nothing it says may be counted, so libraft hears
 * nothing of it. Both are probed from our log, with every heartbeat and every answer; where the log does not reach, they are
 * told to fetch the state machine. The first is given back to libraft with the first answer that says where it stands. */
#include <inttypes.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "shard/engine/libraft/libraft_state.h"

static struct raft_progress *progress_of(const struct engine *e, const struct peer *p)
{
    return &e->raft.leader_state.progress[p - e->peers];
}

bool libraft_feed_needed(const struct engine *e, const struct peer *p)
{
    must(libraft_leads(e));
    return p->recovering != 0 || progress_of(e, p)->state == LIBRAFT_SNAPSHOT;
}

void libraft_feed_send(struct engine *e, struct peer *p)
{
    uint64_t base = log_first(e->log) - 1, last = log_last(e->log), term = 0;
    if (p->next == 0 || p->next > last + 1)
        p->next = last + 1;
    bool reachable = p->next - 1 >= base;
    uint64_t prev = reachable ? p->next - 1 : last;
    if (log_term(e->log, prev, &term) != HF_OK)
        return;
    struct waiting_message *w = libraft_io_queue(e, HF__RAFT__KIND__APPEND, p->id);
    if (w == NULL)
        return;
    w->m.index = prev;
    w->m.log_term = term;
    w->m.commit = e->raft.commit_index;
    w->feed = true;
    p->probed = prev;
    if (reachable || log_term(e->log, base, &term) != HF_OK)
        return;
    w = libraft_io_queue(e, HF__RAFT__KIND__SNAPSHOT, p->id);
    if (w != NULL) {
        w->m.index = base;
        w->m.log_term = term;
    }
}

void libraft_feed_look(struct engine *e, struct peer *p)
{
    uint64_t match = p->recovering != 0 ? p->match : progress_of(e, p)->match_index, first = log_first(e->log);
    bool silent = e->now_ns > p->heard_ns + (uint64_t)e->env.election_ms * 1000000;
    bool fed = libraft_feed_needed(e, p) && p->next != 0 && p->next < first;
    bool needs = fed || (match > 0 && match + 1 < first && silent);
    if (needs && !p->needs_state)
        diag(DIAG_WARN, "peer needs a snapshot peer=%" PRIu32 " base=%" PRIu64, p->id, first - 1);
    if (needs || match + 1 >= first)
        p->needs_state = needs;
}

/* libraft hears the answer. Where its memory begins it takes over again: it is told that the snapshot is not wanted. */
static void give_back(struct engine *e, struct peer *p, const struct raft_append_entries_result *answer, bool further)
{
    libraft_answer(e, p, answer);
    if (!libraft_leads(e) || progress_of(e, p)->state != LIBRAFT_SNAPSHOT)
        return;
    if (p->match <= e->raft.log.offset) {
        if (further)
            libraft_feed_send(e, p);
        return;
    }
    struct raft_append_entries_result unwanted = {
        .term = e->raft.current_term, .rejected = progress_of(e, p)->snapshot_index, .last_log_index = p->match};
    libraft_answer(e, p, &unwanted);
}

/* It is there: that counts when libraft looks for a quorum to lead. The rejection it hears means nothing to it. */
static void still_there(struct engine *e, struct peer *p)
{
    struct raft_append_entries_result heard = {
        .term = e->raft.current_term, .rejected = progress_of(e, p)->snapshot_index + 1, .last_log_index = 0};
    if (p->recovering == 0)
        libraft_answer(e, p, &heard);
}

void libraft_feed_answer(struct engine *e, struct peer *p, const struct raft_append_entries_result *answer)
{
    if (answer->rejected != 0) {
        still_there(e, p);
        if (answer->rejected != p->probed)
            return; /* stale */
        p->next = answer->last_log_index < answer->rejected ? answer->last_log_index + 1 : answer->rejected;
        if (p->next - 1 >= log_first(e->log) - 1)
            libraft_feed_send(e, p);
        return;
    }
    uint64_t match = answer->last_log_index < log_last(e->log) ? answer->last_log_index : log_last(e->log);
    bool further = match > p->match;
    if (further) {
        p->match = match;
        p->next = match + 1;
    }
    if (p->recovering == 0)
        give_back(e, p, answer, further);
    else if (further && match < log_last(e->log))
        libraft_feed_send(e, p);
}

/* ---- who lost its log (shard/engine/native/core_recover.c has the argument; nothing here differs from it) ---- */

static void forget_loss(struct peer *p)
{
    p->recovering = p->target = p->contact_round = 0;
    p->brought = p->still_recovering = false;
    p->next = 0;
}

bool libraft_feed_hear(struct engine *e, struct peer *p, const Hf__Raft__Raft *m)
{
    if (m->recovering == 0) {
        if (p->recovering != 0) {
            if (m->round < p->contact_round || m->round > e->round_last)
                return false; /* of the lost log */
            diag(DIAG_INFO, "peer is in every quorum again peer=%" PRIu32 " match=%" PRIu64, p->id, p->match);
            forget_loss(p);
        }
        return true;
    }
    p->still_recovering = true;
    if (m->recovering == p->recovering)
        return true;
    p->recovering = m->recovering;
    p->target = log_last(e->log);
    p->contact_round = e->round_last + 1;
    p->brought = false;
    p->held = false;
    p->match = p->round = 0;
    p->next = p->probed = 0;
    diag(DIAG_WARN, "peer lost its log and is in no quorum peer=%" PRIu32 " until=%" PRIu64, p->id, p->target);
    return true;
}

/* Has it promised nothing in a term above ours that can still matter? The configuration is committed. */
static bool promised_nothing_above(const struct engine *e, const struct peer *p)
{
    size_t voters = 0, echoed = 0;
    bool all = true;
    if ((p->recovering & ENGINE_RECOVERING_FORGOT) == 0)
        return true; /* it would know */
    for (uint32_t i = 0; i < e->peer_count; i++) {
        const struct peer *other = &e->peers[i];
        if (!other->voter || other == p)
            continue;
        bool echo = other->id == e->env.replica || (other->recovering == 0 && other->round >= p->contact_round);
        voters++;
        echoed += echo;
        all = all && echo;
    }
    return p->voter ? all : echoed * 2 > voters;
}

void libraft_feed_check(struct engine *e)
{
    for (uint32_t i = 0; libraft_leads(e) && i < e->peer_count; i++) {
        struct peer *p = &e->peers[i];
        if (p->recovering == 0 || p->brought)
            continue;
        if (p->match >= p->target && e->raft.commit_index >= p->target && e->raft.commit_index >= e->barrier_index &&
            promised_nothing_above(e, p)) {
            p->brought = true;
            libraft_feed_send(e, p); /* tells it so */
        } else if (p->contact_round > e->round_last) {
            e->round_last++; /* rides on the next heartbeats */
        }
    }
}
