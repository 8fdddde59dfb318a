/* core_recover.c: a replica that lost its log to damage is in no quorum until a leader has brought it back (I13).
 *
 * Its log has a number, drawn when the log was rebuilt, that travels with all it says. Without CORE_RECOVERING_FORGOT it kept
 * term and vote, but not entries that it may have acknowledged. Why the leader's last index at first contact is enough then,
 * and what an acknowledgement of the lost log may still do:
 *   Let F be the voters that lost their logs, a minority or not, and e an entry that was committed in term t by a quorum Q,
 *   some of it by acknowledgements that logs in F have lost since, counted before or after the loss. Whoever is elected in
 *   a later term gets its votes from a quorum of others than F. Of n voters, |Q without F| + |quorum without F| is more
 *   than n - |F|: some voter outside of F acknowledged e and voted, e is in that leader's log. So the log of every leader
 *   that a recovering replica follows holds, at first contact, all that was ever committed with the help of the lost log:
 *   its own term's by having sent it, earlier terms' by the election. The replica follows no leader of a term below its own,
 *   and its term was kept. Therefore a commit index that rests on a lost acknowledgement needs no correction, as long
 *   as the lost one votes for nobody; what may be lost is only that the group can elect somebody without it.
 * An acknowledgement of the lost log that arrives after the first contact is dropped all the same: it says nothing about
 * the log that is there now. It can only answer a round that had begun when the number was heard. Who answers a later one
 * and says that nothing is missing is whole: the number was a late word of an earlier loss, or another leader has brought it
 * back and its word was slow to become durable.
 * A group of two cannot bring a member back: without it nothing is committed. It takes a change of configuration, or a
 * restored backup.
 *
 * With CORE_RECOVERING_FORGOT, term and vote are gone too: the directory was wiped. Call the replica D, its leader L of term
 * T. All of the above was said of a term that was kept. Now L may be out of date: X, a candidate of a term t > T, may hold D's
 * vote of t. If D were brought back by L alone, its acknowledgements could commit in T what X lacks, and X could still win
 * with a vote that came later; or D could help Y to win in t as well as X. (Three: X leads t by D's vote, and L commits with
 * D. Five: X has D's vote and its own, a third says yes after D came back.) So D may come back only as somebody whose term
 * was not above T, which is a replica that was slow: whatever D held of terms up to T is in what L brings, or was never
 * committed, and in T itself it votes for L alone (core_recover_follow; durable before the first acknowledgement that L can
 * count). That D promised nothing in any t > T that can still matter is known when, besides match and commit,
 *   L's configuration C is committed, and
 *   if D votes in C: every other voter has echoed, in T, a round begun after the first contact. Who asked D for anything in t
 *     had the term t itself, durably, before D was wiped, and terms do not fall: no voter of C did. An X that is no voter of C
 *     asked under an older configuration, and lacks C; what it would win with it could have won with before D came
 *     back, when D was merely dead, against what is committed: leader completeness forbids it. (X does not hold a newer
 *     one: nobody led in a term above T, or a voter of C other than D would have voted for it.)
 *   if D does not vote in C: a quorum has echoed such a round, so nobody led in a term above T before the first contact.
 *     Then what X holds is of terms up to T, and who wins with it holds C and L's own entries, behind which is no
 *     configuration in which D votes: X never counted D.
 * An echo of somebody who is in no quorum himself is none: his term, too, may be forgotten. Two voters that forgot wait for
 * each other for ever, which is right: what they promised together may be a majority's. */
#include "shard/engine/native/core_state.h"

void core_recover_begin(struct core_peer *p)
{
    p->recovering = p->target = p->contact_round = 0;
    p->brought = p->still_recovering = false;
}

bool core_recover_hear(struct core *c, struct core_peer *p, const struct core_message *m)
{
    if (m->recovering == 0) {
        if (!core_recover_counts(p)) {
            if (m->round < p->contact_round || m->round > c->round_last)
                return false; /* of the lost log */
            core_recover_begin(p);
            core_trace(c, CORE_TRACE_PEER_RECOVERED, p->id, p->match);
        }
        p->still_recovering = false;
        return true;
    }
    p->still_recovering = true;
    if (m->recovering == p->recovering)
        return true;
    p->recovering = m->recovering;
    p->target = c->last;
    p->contact_round = c->round_last + 1;
    p->brought = false;
    p->match = 0;
    p->round = 0;
    core_replicate_probe(c, p, c->last + 1);
    core_trace(c, CORE_TRACE_PEER_RECOVERING, p->id, p->target);
    return true;
}

/* Has it promised nothing in a term above ours that can still matter? (see above) */
static bool promised_nothing_above(const struct core *c, const struct core_peer *p)
{
    if ((p->recovering & CORE_RECOVERING_FORGOT) == 0)
        return true; /* it would know */
    if (c->commit < c->config.index)
        return false;
    if (!p->voter)
        return c->round_acked >= p->contact_round;
    for (uint32_t i = 0; i < c->peer_count; i++) {
        const struct core_peer *other = &c->peers[i];
        if (other != p && other->voter && (!core_recover_counts(other) || other->round < p->contact_round))
            return false;
    }
    return true;
}

void core_recover_check(struct core *c, struct core_peer *p)
{
    if (core_recover_counts(p) || p->match < p->target || c->commit < p->target || !promised_nothing_above(c, p))
        return;
    p->brought = true;
    p->heartbeat_due = true;
    core_trace(c, CORE_TRACE_PEER_RECOVERED, p->id, p->match);
}

void core_recover_follow(struct core *c, uint32_t leader)
{
    if ((c->recovering & CORE_RECOVERING_FORGOT) == 0 || c->vote != 0)
        return;
    c->vote = leader;
    c->hard_state_dirty = true;
}

void core_recover_told(struct core *c, const struct core_message *m)
{
    if (m->recovered == 0 || m->recovered != c->recovering || c->recovery_due)
        return;
    c->recovery_due = true;
    core_trace(c, CORE_TRACE_RECOVERED, m->peer, c->last);
}
