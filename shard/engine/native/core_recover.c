/* core_recover.c: a replica that lost its log to damage is in no quorum until a leader has brought it back (I13).
 *
 * It kept term and vote, but not entries that it may have acknowledged. Its log has a number, drawn when the log was
 * rebuilt, that travels with all it says. Why the leader's last index at first contact is enough, and what an
 * acknowledgement of the lost log may still do:
 *   Let F be the voters that lost their logs, a minority or not, and e an entry that was committed in term t by a quorum Q,
 *   some of it by acknowledgements that logs in F have lost since, counted before or after the loss. Whoever is elected in
 *   a later term gets its votes from a quorum of others than F. Of n voters, |Q without F| + |quorum without F| is more
 *   than n - |F|: some voter outside of F acknowledged e and voted, e is in that leader's log. So the log of every leader
 *   that a recovering replica follows holds, at first contact, all that was ever committed with the help of the lost log:
 *   its own term's by having sent it, earlier terms' by the election. The replica follows no leader of a term below its own,
 *   and its term was kept. Therefore a commit index that rests on a lost acknowledgement needs no correction, as long
 *   as the lost one votes for nobody; what may be lost is only that the group can elect somebody without it.
 * An acknowledgement of the lost log that arrives after the first contact is dropped all the same: it says nothing about
 * the log that is there now.
 * A group of two cannot bring a member back: without it nothing is committed. It takes a change of configuration, or a
 * restored backup. */
#include "shard/engine/native/core_state.h"

void core_recover_begin(struct core_peer *p)
{
    p->recovering = p->target = 0;
    p->brought = p->still_recovering = false;
}

bool core_recover_hear(struct core *c, struct core_peer *p, const struct core_message *m)
{
    if (m->recovering == 0) {
        if (!core_recover_counts(p))
            return false; /* of the lost log */
        p->still_recovering = false;
        return true;
    }
    p->still_recovering = true;
    if (m->recovering == p->recovering)
        return true;
    p->recovering = m->recovering;
    p->target = c->last;
    p->brought = false;
    p->match = 0;
    p->round = 0;
    core_replicate_probe(c, p, c->last + 1);
    core_trace(c, CORE_TRACE_PEER_RECOVERING, p->id, p->target);
    return true;
}

void core_recover_check(struct core *c, struct core_peer *p)
{
    if (core_recover_counts(p) || p->match < p->target || c->commit < p->target)
        return;
    p->brought = true;
    p->heartbeat_due = true;
    core_trace(c, CORE_TRACE_PEER_RECOVERED, p->id, p->match);
}

void core_recover_told(struct core *c, const struct core_message *m)
{
    if (m->recovered == 0 || m->recovered != c->recovering || c->recovery_due)
        return;
    c->recovery_due = true;
    core_trace(c, CORE_TRACE_RECOVERED, m->peer, c->last);
}
