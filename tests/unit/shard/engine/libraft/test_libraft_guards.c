/* test_libraft_guards.c: each guard around libraft 0.15: with it no harm is done, without it (a planted bug) the harm is there.
 */
#include "tests/conformance/boxes.h"

static void forget_messages(void)
{
    for (size_t i = 0; i < rig.count; i++)
        free(rig.wires[i].bytes);
    rig.count = 0;
}

static Hf__Raft__Raft message(Hf__Raft__Kind kind, uint64_t term, uint64_t index, uint64_t log_term)
{
    Hf__Raft__Raft m = HF__RAFT__RAFT__INIT;
    m.kind = kind;
    m.term = term;
    m.index = index;
    m.log_term = log_term;
    return m;
}

/* The messages under way from b, of one kind: how many, and the last of them in *last. */
static size_t sent(const struct box *b, Hf__Raft__Kind kind, uint32_t to, Hf__Raft__Raft *last)
{
    size_t count = 0;
    for (size_t i = 0; i < rig.count; i++) {
        Hf__Raft__Raft *m = hf__raft__raft__unpack(NULL, rig.wires[i].size, rig.wires[i].bytes);
        if (rig.wires[i].from == b->id && m->kind == kind && (to == 0 || rig.wires[i].to == to)) {
            count++;
            if (last != NULL) {
                *last = *m;
                last->n_entries = 0;
                last->entries = NULL;
            }
        }
        hf__raft__raft__free_unpacked(m, NULL);
    }
    return count;
}

static struct box *third_of(const struct box *a, const struct box *b)
{
    return &rig.boxes[6 - a->id - b->id];
}

static void plant(const char *bug)
{
    failpoint_plant(bug);
}

static void finish(void)
{
    failpoint_plant(NULL);
    end();
}

/* G1: an entry of an earlier term is committed because a majority has it, with none of the leader's own behind it. */
static bool commits_an_old_term(const char *bug)
{
    begin(3, false);
    struct box *a = elect(), *b = other_than(a), *c = third_of(a, b);
    run(200);
    rig.cut[b->id] = rig.cut[c->id] = true;
    uint64_t index = put(a, 100);
    turn(a);
    uint64_t term = ops->status(a->e).term;
    down(a);
    down(c);
    up(a);
    rig.cut[b->id] = false;
    plant(bug);
    bool harm = false;
    for (unsigned i = 0; i < 300 && a->applied < index; i++) {
        rig.now_ns += 10 * MS;
        for (unsigned k = 0; k < 4; k++) {
            for (uint32_t id = a->id, n = 0; n < 2; id = b->id, n++) {
                ops->tick(rig.boxes[id].e, rig.now_ns);
                turn(&rig.boxes[id]);
            }
            struct engine_status s = ops->status(a->e);
            harm |= s.role == ENGINE_LEADER && s.term > term && s.commit == index;
            deliver();
        }
    }
    CU_ASSERT(a->applied >= index);
    forget_messages();
    finish();
    return harm;
}

/* G2: entries of an old leader are stored while a new one speaks: who is told of them? */
static bool tells_the_wrong_leader(const char *bug)
{
    begin(3, false);
    struct box *a = elect(), *b = other_than(a), *c = third_of(a, b);
    run(200);
    plant(bug);
    struct engine_status s = ops->status(b->e);
    Hf__Raft__Entry entry = HF__RAFT__ENTRY__INIT, *entries[] = {&entry};
    entry.term = s.term;
    entry.kind = HF__RAFT__ENTRY_KIND__COMMAND;
    entry.data = pack_bytes(slice_text("of the old leader"));
    Hf__Raft__Raft old = message(HF__RAFT__KIND__APPEND, s.term, s.last, s.term);
    old.n_entries = 1;
    old.entries = entries;
    Hf__Raft__Raft young = message(HF__RAFT__KIND__APPEND, s.term + 1, s.last, s.term);
    ops->receive(b->e, a->id, &old);
    ops->receive(b->e, c->id, &young);
    turn(b);
    Hf__Raft__Raft answer = HF__RAFT__RAFT__INIT;
    CU_ASSERT(sent(b, HF__RAFT__KIND__APPEND_REPLY, c->id, &answer) >= 1);
    bool harm = !answer.reject && answer.term == s.term + 1 && answer.index > s.last;
    forget_messages();
    finish();
    return harm;
}

/* G3: the leader hands over, steps down for somebody else's candidacy, votes for him, and for the transferee as well. */
static bool votes_twice(const char *bug)
{
    begin(3, false);
    struct box *a = elect(), *b = other_than(a), *c = third_of(a, b);
    run(200);
    plant(bug);
    struct engine_status s = ops->status(a->e);
    CU_ASSERT_EQUAL(ops->transfer(a->e, b->id), HF_OK);
    Hf__Raft__Raft vote = message(HF__RAFT__KIND__VOTE, s.term + 1, s.last, s.term);
    vote.transfer = true;
    ops->receive(a->e, c->id, &vote);
    ops->receive(a->e, b->id, &vote);
    turn(a);
    Hf__Raft__Raft to_b = HF__RAFT__RAFT__INIT, to_c = HF__RAFT__RAFT__INIT;
    CU_ASSERT_EQUAL(sent(a, HF__RAFT__KIND__VOTE_REPLY, c->id, &to_c), 1);
    CU_ASSERT_FALSE(to_c.reject);
    bool harm = sent(a, HF__RAFT__KIND__VOTE_REPLY, b->id, &to_b) == 1 && !to_b.reject;
    forget_messages();
    finish();
    return harm;
}

/* G4: under a stream of proposals libraft looks for a quorum at an entry that nobody else has yet. */
static bool a_stream_stands_still(const char *bug)
{
    begin(3, false);
    struct box *a = elect();
    run(200);
    plant(bug);
    uint64_t first = put(a, 10);
    for (unsigned i = 0; i < 60; i++) {
        put(a, 10);
        turn(a); /* stored here before anybody has answered for the one before */
        deliver();
        for (uint32_t id = 1; id <= 3; id++) {
            if (id != a->id)
                turn(&rig.boxes[id]);
        }
        put(a, 10);
        turn(a);
        deliver();
    }
    bool harm = a->applied < first + 60;
    settle();
    finish();
    return harm;
}

/* G6: a long tail goes out in pieces; a piece's commit index must not speak for what it does not carry. */
static bool a_piece_says_too_much(const char *bug)
{
    begin(3, false);
    struct box *a = elect(), *b = other_than(a);
    run(200);
    rig.cut[b->id] = true;
    for (unsigned i = 0; i < 40; i++) {
        put(a, 400 * 1024);
        settle();
    }
    plant(bug);
    rig.cut[b->id] = false;
    bool harm = false;
    size_t pieces = 0;
    for (unsigned i = 0; i < 1000 && b->applied < a->applied; i++) {
        rig.now_ns += 10 * MS;
        for (uint32_t id = 1; id <= 3; id++) {
            ops->tick(rig.boxes[id].e, rig.now_ns);
            turn(&rig.boxes[id]);
        }
        for (size_t k = 0; k < rig.count; k++) {
            Hf__Raft__Raft *m = hf__raft__raft__unpack(NULL, rig.wires[k].size, rig.wires[k].bytes);
            size_t bytes = 0;
            for (size_t n = 0; n < m->n_entries; n++)
                bytes += m->entries[n]->data.len;
            CU_ASSERT(bytes <= 1024u * 1024 && m->n_entries <= 1024);
            pieces += m->n_entries > 0;
            harm |= m->kind == HF__RAFT__KIND__APPEND && m->commit > m->index + m->n_entries;
            hf__raft__raft__free_unpacked(m, NULL);
        }
        deliver();
    }
    CU_ASSERT(b->applied == a->applied && pieces >= 20);
    finish();
    return harm;
}

/* G7: libraft asks for a snapshot to send with every proposal, and the follower is never told what it needs. */
static bool snapshots_never_cease(const char *bug)
{
    begin(3, false);
    struct box *a = elect(), *b = left_behind(&a);
    plant(bug);
    run(600);
    for (unsigned i = 0; i < 100; i++) {
        put(a, 10);
        for (unsigned k = 0; k < 3; k++) {
            for (uint32_t id = 1; id <= 3; id++)
                turn(&rig.boxes[id]);
            deliver();
        }
    }
    bool harm = b->needs == 0;
    settle();
    finish();
    return harm;
}

/* G8: who has entries on the way to the disk is no candidate. */
static bool campaigns_with_a_full_disk(const char *bug)
{
    begin(3, false);
    struct box *a = elect(), *b = other_than(a);
    run(200);
    plant(bug);
    put(a, 3 * 1024 * 1024 - 4096);
    turn(a);
    turn(a);
    simdisk_limit(rig.sim, simdisk_used(rig.sim));
    deliver();
    bool harm = false;
    for (unsigned i = 0; i < 300; i++) {
        rig.now_ns += 10 * MS;
        ops->tick(b->e, rig.now_ns);
        ops->step(b->e);
        ops->send_early(b->e);
        CU_ASSERT_EQUAL(ops->persist(b->e), HF_E_NO_SPACE);
        ops->send_late(b->e);
        harm |= ops->status(b->e).role != ENGINE_FOLLOWER;
    }
    forget_messages();
    simdisk_limit(rig.sim, 0);
    finish();
    return harm;
}

/* G13: an answer to a heartbeat names the last entry stored, whoever that came from. */
static bool vouches_for_a_stale_tail(const char *bug)
{
    begin(3, false);
    struct box *a = elect(), *b = other_than(a), *c = third_of(a, b);
    run(200);
    struct engine_status s = ops->status(b->e);
    rig.cut[c->id] = true;
    put(a, 10);
    settle(); /* b has stored it; then another leads who has it not */
    forget_messages();
    rig.cut[c->id] = false;
    plant(bug);
    Hf__Raft__Raft heartbeat = message(HF__RAFT__KIND__APPEND, s.term + 1, s.last, s.term);
    CU_ASSERT(ops->status(b->e).last > s.last);
    ops->receive(b->e, c->id, &heartbeat);
    turn(b);
    Hf__Raft__Raft answer = HF__RAFT__RAFT__INIT;
    CU_ASSERT_EQUAL(sent(b, HF__RAFT__KIND__APPEND_REPLY, c->id, &answer), 1);
    bool harm = !answer.reject && answer.index > s.last;
    forget_messages();
    finish();
    return harm;
}

/* G14: the only voter leads again in the term it had. */
static bool leads_twice_in_a_term(const char *bug)
{
    begin(1, false);
    struct box *a = elect();
    uint64_t term = ops->status(a->e).term;
    plant(bug);
    down(a);
    up(a);
    run(50);
    bool harm = ops->status(a->e).term == term;
    finish();
    return harm;
}

/* G15: a candidate behind in terms must hear of the higher one. */
static bool hides_its_term(const char *bug)
{
    begin(3, false);
    struct box *a = elect(), *b = other_than(a);
    run(200);
    plant(bug);
    struct engine_status s = ops->status(a->e);
    Hf__Raft__Raft ask = message(HF__RAFT__KIND__PREVOTE, 1, s.last, s.term);
    ops->receive(a->e, b->id, &ask);
    turn(a);
    Hf__Raft__Raft answer = HF__RAFT__RAFT__INIT;
    CU_ASSERT_EQUAL(sent(a, HF__RAFT__KIND__PREVOTE_REPLY, b->id, &answer), 1);
    CU_ASSERT_TRUE(answer.reject);
    bool harm = answer.term < s.term;
    forget_messages();
    finish();
    return harm;
}

/* G5: all that is proposed in a turn is one append to each follower. */
static void a_turn_is_one_append(void)
{
    begin(3, false);
    struct box *a = elect();
    run(200);
    for (unsigned i = 0; i < 500; i++)
        put(a, 20);
    turn(a);
    CU_ASSERT_EQUAL(sent(a, HF__RAFT__KIND__APPEND, 0, NULL), 2);
    settle();
    CU_ASSERT_EQUAL(a->applied, ops->status(a->e).last);
    finish();
}

/* What this engine never wrote it refuses: that is no damage, which would cost the log. */
static void a_foreign_log_is_no_damage(void)
{
    char where[256] = "", path[96], to[96];
    uint64_t index = 0;
    boxes_engine("native");
    begin(3, false);
    struct box *a = elect(), *b = other_than(a);
    run(200);
    Hf__Catalog__Members next = rig.members;
    next.n_members = 4;
    rig.list[3].role = HF__CATALOG__ROLE__LEARNER;
    CU_ASSERT_EQUAL(ops->change(a->e, &next, &index), HF_OK);
    put(a, 100);
    run(300);
    down(b);
    snprintf(path, sizeof path, "%s/native-1", b->dir);
    snprintf(to, sizeof to, "%s/libraft-1", b->dir);
    CU_ASSERT_EQUAL(rig.disk->ops->rename(rig.disk, path, to), HF_OK);
    b->applied = b->applied_term = BASE;
    struct engine_env env = env_of(b);
    struct engine *e = NULL;
    CU_ASSERT_EQUAL(engine_libraft.open(&env, &e, where), HF_E_FORMAT);
    CU_ASSERT_PTR_NULL(e);
    CU_ASSERT_PTR_NOT_NULL(strstr(where, "configuration entry"));
    finish();
    boxes_engine("libraft");
}

#define GUARD(function, bug)                                                                                           \
    static void guard_##function(void)                                                                                 \
    {                                                                                                                  \
        CU_ASSERT_FALSE(function(NULL));                                                                               \
        CU_ASSERT_TRUE(function(bug));                                                                                 \
    }
GUARD(commits_an_old_term, "libraft.no_first_entry")
GUARD(tells_the_wrong_leader, "libraft.answer_new_term")
GUARD(votes_twice, "libraft.second_vote")
GUARD(a_stream_stands_still, "libraft.no_group_commit")
GUARD(a_piece_says_too_much, "libraft.whole_commit")
GUARD(snapshots_never_cease, "libraft.snapshot_failed")
GUARD(campaigns_with_a_full_disk, "libraft.tick_anyway")
GUARD(vouches_for_a_stale_tail, "libraft.answer_tail")
GUARD(leads_twice_in_a_term, "libraft.same_term")
GUARD(hides_its_term, "libraft.term_unsaid")

int main(void)
{
    static const struct unit_case cases[] = {
        {"G1: nothing is committed through an earlier term", guard_commits_an_old_term},
        {"G2: an answer goes to whom it is for", guard_tells_the_wrong_leader},
        {"G3: one vote a term", guard_votes_twice},
        {"G4: a stream of proposals is committed", guard_a_stream_stands_still},
        {"G5: a turn is one append", a_turn_is_one_append},
        {"G6: a piece vouches for itself", guard_a_piece_says_too_much},
        {"G7: a follower that needs a state is left to it", guard_snapshots_never_cease},
        {"G8: no candidate with entries on their way to the disk", guard_campaigns_with_a_full_disk},
        {"G13: an answer vouches for what the message carried", guard_vouches_for_a_stale_tail},
        {"G14: the only voter leads in a new term", guard_leads_twice_in_a_term},
        {"a foreign log is no damage", a_foreign_log_is_no_damage},
        {"G15: a candidate hears of a higher term", guard_hides_its_term},
    };
    boxes_engine("libraft");
    return UNIT_MAIN("libraft guards", cases);
}
